"""Encoding files of any size as a corpus, in pieces and by several processes.

Each file is cut into pieces of some megabytes. The symbols of all pieces are counted, the vocabulary is made from the
counts, and each piece becomes a shard. Finished pieces are recorded in `resume/`, so that a call with the same files
and settings continues where an earlier one was stopped. The result does not depend on the number of processes.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ohlol.config import DataSettings
from ohlol.data.codec import Codec
from ohlol.data.codec_encoding import encode_data, encode_text
from ohlol.data.codec_fitting import fit_to_counts, supports_bigrams, supports_chars
from ohlol.data.codec_json import codec_to_json
from ohlol.data.corpus import encoded, store
from ohlol.data.corpus.encoded import Encoded
from ohlol.data.corpus.pieces import Piece, Plan, make_plan, part_lengths, source_of, split_examples, split_rows
from ohlol.data.corpus.shards import ShardWriter
from ohlol.data.corpus.store import Manifest, Shard
from ohlol.data.counts import Counts, Moments, RunningMoments
from ohlol.data.layout import ArrayLayout, smallest_type
from ohlol.data.lines import STDIN, Place, text_pieces
from ohlol.data.symbols import split_lines
from ohlol.data.vocab import CODES, code_points
from ohlol.utils.errors import InputError
from ohlol.utils.files import read_json, write_error, write_json
from ohlol.utils.locks import lock_run
from ohlol.utils.processors import find_processors

PIECE = 1 << 26
"""Bytes of a file that become a shard."""
WORK = "resume"
"""The folder in an unfinished corpus that records the finished pieces."""


Report = Callable[[str, int, int], None]
"""Called with the stage, "count" or "encode", the number of finished pieces and the number of all pieces."""


def encode(
    files: Sequence[str],
    out: Path,
    settings: DataSettings,
    *,
    dev_fraction: float = 0.1,
    seed: int = 0,
    vocab: Path | None = None,
    targets: bool = True,
    jobs: int | None = None,
    piece: int = PIECE,
    overwrite: bool = False,
    report: Report | None = None,
) -> Encoded:
    """Encode files as a corpus, or continue one that was begun.

    Args:
        files: of one format; they are read twice, so standard input is refused.
        out: the directory of the corpus.
        settings: those chosen; what is None is inferred from the first file.
        dev_fraction: share set apart for evaluation: the end of each text or series, or sequences chosen at random.
        seed: of that choice.
        vocab: a run or a corpus whose vocabulary is used; nothing is set apart then.
        targets: whether the targets are read.
        jobs: processes; by default one for each processor, or a single one for at most `PIECE` bytes.
        piece: bytes of a file that become a shard.
        overwrite: replace an existing corpus.
        report: called as the work progresses.

    Raises:
        InputError: a file is missing, damaged or has changed since the work began; `out` holds something else.
    """
    if not 0 <= dev_fraction <= 0.5:
        raise InputError("`dev_fraction` is {dev_fraction}; it must be from 0 to 0.5", dev_fraction=dev_fraction)
    if jobs is not None and jobs < 1:
        raise InputError("`jobs` is {jobs}; it must be at least 1", jobs=jobs)
    if settings.static:
        raise InputError("`static` columns are not encoded as a corpus: train on the file")
    if settings.reversed:
        raise InputError("`reversed` reads a whole text, and an encoded corpus has it in pieces; train on the file")
    if STDIN in files:
        raise InputError("standard input cannot be encoded, because the data are read twice; give files")
    codec = encoded.read_codec(vocab / store.VOCAB) if vocab is not None else None
    if not targets and codec is None:
        raise InputError("`targets=False` needs `vocab`: data without targets are encoded for an existing model")
    _check_out(out, overwrite)
    plan = make_plan(files, settings, 0.0 if vocab is not None else dev_fraction, seed, targets, piece)
    if codec is not None and codec.task != plan.task:
        raise InputError(
            "{vocab} has the task {task}, and {files} is read for {chosen}; choose `task`",
            vocab=vocab,
            task=codec.task,
            files=files[0],
            chosen=plan.task,
        )
    sources = tuple(source_of(file) for file in dict.fromkeys(files))
    with ExitStack() as resources:
        _begin(out, overwrite, resources, _plan_to_json(plan, sources, codec))
        is_small = sum(source["bytes"] for source in sources) <= PIECE  # encoded before another process has started
        pool = Pool(out, plan, jobs or (1 if is_small else find_processors().count), report)
        if codec is None and not (out / store.VOCAB).exists():
            counts = Counts()
            for result in pool.each("count", count):
                counts.join(_counts_from_json(result))
            _check_counts(plan, counts, files)
            codec = fit_to_counts(
                plan.task,
                plan.settings.level,
                counts,
                unknowns=not plan.kind.numeric,
                with_chars=supports_chars(plan.kind, plan.settings.level),
                with_bigrams=supports_bigrams(plan.kind, plan.settings.level),
            )
            write_json(out / store.VOCAB, codec_to_json(codec))
        elif codec is not None:
            write_json(out / store.VOCAB, codec_to_json(codec))
        shards = [Shard(**shard) for result in pool.each("encode", write) for shard in result["shards"]]
        shards.sort(key=lambda shard: (store.PARTS.index(shard.part), shard.name))
        manifest = Manifest(
            plan.task,
            plan.settings.to_json(),
            tuple(shards),
            sources,
            dev_fraction=plan.dev_fraction,
            data_sha256=store.digest_of(shards),
        )
        store.write_manifest(out, manifest)
    shutil.rmtree(out / WORK, ignore_errors=True)
    return encoded.read(out)


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise InputError where a directory is not a corpus, or is a complete one that must not be replaced."""
    if store.is_corpus(out):
        if not overwrite:
            raise InputError(
                "{out} is an encoded corpus: set `overwrite` to replace it, or choose another `out`", out=out
            )
    elif out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / WORK / "plan.json").is_file())):
        raise InputError("{out} is not an encoded corpus and is not replaced: choose another `out`", out=out)


def _begin(out: Path, overwrite: bool, resources: ExitStack, plan: dict[str, Any]) -> None:
    """Create the directory and write the plan; a plan that is already there must be the same."""
    try:
        (out / WORK).mkdir(parents=True, exist_ok=True)
        resources.enter_context(lock_run(out))
        if overwrite:
            for path in out.iterdir():
                if path.name != WORK:
                    encoded.remove(path) if path.is_dir() else path.unlink()
            for path in (out / WORK).glob("*.json"):
                path.unlink()
        elif (out / WORK / "plan.json").exists():
            if read_json(out / WORK / "plan.json") != plan:
                raise InputError(
                    "{out} was begun with other files or settings, or the files have changed since: set "
                    "`overwrite` to start again, or choose another `out`",
                    out=out,
                )
            return
        write_json(out / WORK / "plan.json", plan)
    except OSError as error:
        raise write_error(out, error) from None


def _plan_to_json(plan: Plan, sources: Sequence[dict[str, Any]], codec: Codec | None) -> dict[str, Any]:
    return {
        "settings": plan.settings.to_json(),
        "dev_fraction": plan.dev_fraction,
        "seed": plan.seed,
        "targets": plan.with_targets,
        "pieces": [[*piece.span, piece.part] for piece in plan.pieces],
        "sources": list(sources),
        "vocab": codec_to_json(codec) if codec is not None else None,
    }


class Pool:
    """Processes that work on the pieces of a plan and record the result of each."""

    def __init__(self, out: Path, plan: Plan, jobs: int, report: Report | None):
        self.out, self.plan, self.report = out, plan, report or (lambda *_: None)
        self.jobs = min(jobs, len(plan.pieces))

    def each(self, what: str, work: "Callable[[Path, Plan, Piece], dict[str, Any]]") -> Iterator[dict[str, Any]]:
        """The results of all pieces, in order; `work` is called for those without a recorded result."""
        remaining = [piece for piece in self.plan.pieces if not self._path(what, piece).exists()]
        done = len(self.plan.pieces) - len(remaining)
        self.report(what, done, len(self.plan.pieces))
        for piece, result in self._results(work, remaining):
            write_json(self._path(what, piece), result)
            done += 1
            self.report(what, done, len(self.plan.pieces))
        for piece in self.plan.pieces:
            yield read_json(self._path(what, piece))

    def _path(self, what: str, piece: Piece) -> Path:
        return self.out / WORK / f"{what}-{piece.number:05d}.json"

    def _results(
        self, work: "Callable[[Path, Plan, Piece], dict[str, Any]]", pieces: list[Piece]
    ) -> Iterator[tuple[Piece, dict[str, Any]]]:
        if self.jobs == 1 or len(pieces) < 2:
            for piece in pieces:
                yield piece, work(self.out, self.plan, piece)
            return
        with ProcessPoolExecutor(self.jobs, get_context("spawn")) as executor:
            futures = {executor.submit(work, self.out, self.plan, piece): piece for piece in pieces}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenProcessPool:
                raise InputError(
                    "a process of the encoder was killed, perhaps for lack of memory; the same call "
                    "continues the work, with fewer `jobs` if necessary"
                ) from None
            finally:
                executor.shutdown(cancel_futures=True)


def count(out: Path, plan: Plan, piece: Piece) -> dict[str, Any]:
    """Count the symbols of a piece, or compute the moments of its numbers."""
    if plan.reader.is_text:
        return _counts_to_json(Counts(symbols=_text_symbols(plan, piece) if piece.part == "train" else Counter()))
    if plan.kind.numeric:
        return _counts_to_json(_series_counts(plan, piece))
    counts = Counts()
    for part, data in split_examples(plan, piece):
        part_counts = Counts.of(data, with_bigrams=supports_bigrams(plan.kind, plan.settings.level))
        if part == "dev":  # its labels are in the vocabulary, with a count of 0
            part_counts = Counts(labels=Counter(dict.fromkeys(part_counts.labels, 0)))
        counts.join(part_counts)
    return _counts_to_json(counts)


def _text_symbols(plan: Plan, piece: Piece) -> "Counter[str]":
    if plan.settings.level == "word":
        words: Counter[str] = Counter()
        for text in text_pieces(piece.span, encoding=plan.settings.encoding):
            words.update(split_lines(text, plan.settings.level))
        return words
    totals = np.zeros(CODES, np.int64)
    for text in text_pieces(piece.span, encoding=plan.settings.encoding):
        counts = np.bincount(code_points(text))
        totals[: len(counts)] += counts
    return Counter({chr(code): int(totals[code]) for code in np.flatnonzero(totals).tolist()})


def _series_counts(plan: Plan, piece: Piece) -> Counts:
    """Names and moments of the columns in the training part of a series."""
    inputs, targets, names = RunningMoments(), RunningMoments(), ((), ())
    for part, _, rows in split_rows(plan, piece, part_lengths(plan, piece)):
        if part == "train" and rows.targets is not None:
            inputs.add(rows.inputs)
            targets.add(rows.targets)
            names = rows.input_names, rows.target_names
    return Counts(inputs=inputs.moments(), targets=targets.moments(), columns=names[0], target_columns=names[1])


def _counts_to_json(counts: Counts) -> dict[str, Any]:
    moments = {
        name: None if m is None else [m.rows, m.mean.tolist(), m.variance.tolist()]
        for name, m in (("inputs", counts.inputs), ("targets", counts.targets))
    }
    return {
        "symbols": dict(counts.symbols),
        "labels": dict(counts.labels),
        "bigrams": dict(counts.bigrams),
        "columns": list(counts.columns),
        "target_columns": list(counts.target_columns),
        **moments,
    }


def _counts_from_json(data: dict[str, Any]) -> Counts:

    def moments(entry: Any) -> Moments | None:
        return None if entry is None else Moments(entry[0], np.array(entry[1]), np.array(entry[2]))

    return Counts(
        Counter(data["symbols"]),
        Counter(data["labels"]),
        Counter(data["bigrams"]),
        moments(data["inputs"]),
        moments(data["targets"]),
        tuple(data["columns"]),
        tuple(data["target_columns"]),
    )


def _check_counts(plan: Plan, counts: Counts, files: Sequence[str]) -> None:
    if not counts.symbols and counts.inputs is None:
        raise InputError("{file}: no sequences; the file is empty", file=files[0])
    if plan.kind.has_labels:
        plan.reader.check_labels(files[0], plan.settings, counts.labels)


def write(out: Path, plan: Plan, piece: Piece) -> dict[str, Any]:
    """Encode a piece as a shard for each part of the corpus."""
    codec = encoded.read_codec(out / store.VOCAB)
    layout = codec.layout(with_targets=plan.with_targets)
    if plan.reader.is_text:
        return {"shards": _write_text(out, plan, piece, codec, layout)}
    if plan.kind.numeric:
        return {"shards": _write_series(out, plan, piece, codec, layout)}
    with ExitStack() as resources:
        writers: dict[str, ShardWriter] = {}
        for part, data in split_examples(plan, piece):
            if part not in writers:
                writers[part] = resources.enter_context(ShardWriter(out, f"{part}-{piece.number:05d}", layout))
            writers[part].add(encode_data(codec, data))
        return {"shards": [asdict(writer.close()) for writer in writers.values()]}


def _write_text(out: Path, plan: Plan, piece: Piece, codec: Codec, layout: ArrayLayout) -> list[dict[str, Any]]:
    """Encode a text as one sequence; characters are looked up in a table of all code points."""
    vocab = codec.symbols
    assert vocab is not None
    by_word = plan.settings.level == "word"
    table = vocab.table(smallest_type(len(vocab))) if vocab.unk is not None and not by_word else None
    with ShardWriter(out, f"{piece.part}-{piece.number:05d}", layout) as writer:
        for text in text_pieces(piece.span, encoding=plan.settings.encoding):
            if table is not None:
                writer.add_steps(table[code_points(text)])
            else:
                symbols = split_lines(text, plan.settings.level)
                writer.add_steps(encode_text(codec, symbols, Place(piece.span.file, piece.span.line)))
        if not writer.steps:
            return []
        writer.end_sequences(np.array([writer.steps], np.int64))
        return [asdict(writer.close())]


def _write_series(out: Path, plan: Plan, piece: Piece, codec: Codec, layout: ArrayLayout) -> list[dict[str, Any]]:
    """Encode a series as one sequence for each part: inputs are all rows but the last, targets all but the first."""
    assert codec.scale is not None
    assert codec.target_scale is not None
    lengths = part_lengths(plan, piece)
    with ExitStack() as resources:
        writers = {
            part: resources.enter_context(ShardWriter(out, f"{part}-{piece.number:05d}", layout)) for part in lengths
        }
        for part, before, rows in split_rows(plan, piece, lengths):
            codec.check_columns(rows.input_names, piece.span.file)
            last = lengths[part] - 1 - before
            writers[part].add_steps(codec.scale.apply(rows.inputs[:last]))
            if rows.targets is not None:
                writers[part].add_targets(codec.target_scale.apply(rows.targets[before == 0 :]))
        for writer in writers.values():
            writer.end_sequences(np.array([writer.steps], np.int64))
        return [asdict(writer.close()) for writer in writers.values()]
