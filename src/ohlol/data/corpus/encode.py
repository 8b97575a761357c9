"""Files larger than memory become an encoded corpus, in pieces and by several processes; knows nothing of training.

Every file is cut into pieces of some megabytes where lines begin. The symbols of all pieces are counted, the vocabulary
is made, and every piece becomes a shard. What is done is written down under `resume/`, so that a second call with the
same files and settings goes on where the first was stopped. The result does not depend on the number of processes.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ohlol.config import DataSettings
from ohlol.data.codec import Codec
from ohlol.data.corpus import encoded, store
from ohlol.data.corpus.encoded import Encoded
from ohlol.data.corpus.pieces import Piece, Plan, lengths, make_plan, rows, source_of, split_examples
from ohlol.data.corpus.shards import ShardWriter
from ohlol.data.corpus.store import Layout, Manifest, Shard
from ohlol.data.counts import Counts, Moments, Running
from ohlol.data.lines import STDIN, text_pieces
from ohlol.data.sequences import text_words
from ohlol.data.vocab import CODES, code_points
from ohlol.utils.errors import InputError
from ohlol.utils.files import read_json, write_error, write_json
from ohlol.utils.locks import lock_run

PIECE = 1 << 26
"""Bytes of a file that become a shard."""
WORK = "resume"
"""Where in the corpus that is being made the finished parts of the work are written down."""


Report = Callable[[str, int, int], None]
"""Is told what is being done, how many pieces are through, and of how many."""


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
    """Encode files as a corpus, or go on with one that was begun.

    Args:
        files: of one kind; they are read twice, so standard input is none of them.
        out: the directory of the corpus.
        settings: what is known of the files; what is None is told from the first.
        dev_fraction: share set apart for measuring: the end of each text or series, or sequences chosen at random.
        seed: of that choice.
        vocab: a run or a corpus whose vocabulary is used; nothing is set apart then.
        targets: whether the targets are read.
        jobs: processes; without it as many as there are processors, or one for less than `PIECE` bytes.
        piece: bytes of a file that become a shard.
        overwrite: replace a corpus that is there.
        report: is told of the progress.

    Raises:
        InputError: a file is missing, damaged or changed since the work began; `out` holds something else.
    """
    if not 0 <= dev_fraction <= 0.5:
        raise InputError(f"--dev-fraction is {dev_fraction}; it must be from 0 to 0.5")
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs is {jobs}; it must be at least 1")
    if STDIN in files:
        raise InputError("- cannot be encoded: the symbols are counted first and encoded then; give files")
    codec = encoded.read_codec(vocab / store.VOCAB) if vocab is not None else None
    if not targets and codec is None:
        raise InputError("--no-targets needs --vocab: data without targets are for a model that there is")
    _refuse_others(out, overwrite)
    plan = make_plan(files, settings, 0.0 if vocab is not None else dev_fraction, seed, targets, piece)
    if codec is not None and codec.task != plan.task:
        raise InputError(f"{vocab} has the task {codec.task}, and {files[0]} is read for {plan.task}; give --task")
    sources = tuple(source_of(file) for file in dict.fromkeys(files))
    with ExitStack() as held:
        _begin(out, overwrite, held, _written_down(plan, sources, codec))
        few = sum(source["bytes"] for source in sources) <= PIECE  # done before another process has started
        pool = Pool(out, plan, jobs or (1 if few else os.cpu_count() or 1), report)
        if codec is None and not (out / store.VOCAB).exists():
            counts = Counts()
            for found in pool.each("count", count):
                counts.join(_counts_of(found))
            _refuse_nothing(plan, counts, files)
            codec = Codec.counted(
                plan.task,
                plan.settings.level,
                counts,
                unknowns=plan.task != "forecast",
                spelled=plan.spelled,
                paired=plan.paired,
            )
            write_json(out / store.VOCAB, codec.to_json())
        elif codec is not None:
            write_json(out / store.VOCAB, codec.to_json())
        shards = [Shard(**shard) for found in pool.each("encode", write) for shard in found["shards"]]
        shards.sort(key=lambda shard: (store.PARTS.index(shard.part), shard.name))
        manifest = Manifest(
            plan.task,
            asdict(plan.settings),
            tuple(shards),
            sources,
            dev_fraction=plan.dev_fraction,
            data_sha256=store.digest_of(shards),
        )
        store.write_manifest(out, manifest)
    shutil.rmtree(out / WORK, ignore_errors=True)
    return encoded.read(out)


def _refuse_others(out: Path, overwrite: bool) -> None:
    """Refuse a directory that is no corpus, and one that is complete where it is not to be replaced."""
    if store.is_corpus(out):
        if not overwrite:
            raise InputError(f"{out} is an encoded corpus already: give --overwrite to replace it, or another --out")
    elif out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / WORK / "plan.json").is_file())):
        raise InputError(f"{out} is no encoded corpus and is left alone: give another --out")


def _begin(out: Path, overwrite: bool, held: ExitStack, plan: dict[str, Any]) -> None:
    """Make the directory and write the plan down; the plan that is there must be the same."""
    try:
        (out / WORK).mkdir(parents=True, exist_ok=True)
        held.enter_context(lock_run(out))
        if overwrite:
            for path in out.iterdir():
                if path.name != WORK:
                    encoded.remove(path) if path.is_dir() else path.unlink()
            for path in (out / WORK).glob("*.json"):
                path.unlink()
        elif (out / WORK / "plan.json").exists():
            if read_json(out / WORK / "plan.json") != plan:
                raise InputError(
                    f"{out} was begun with other files or settings, or the files changed since: give --overwrite to "
                    "start anew, or another --out"
                )
            return
        write_json(out / WORK / "plan.json", plan)
    except OSError as error:
        raise write_error(out, error) from None


def _written_down(plan: Plan, sources: Sequence[dict[str, Any]], codec: Codec | None) -> dict[str, Any]:
    pieces = [[*piece.span, piece.part] for piece in plan.pieces]
    return {
        **asdict(replace(plan, pieces=())),
        "pieces": pieces,
        "sources": list(sources),
        "vocab": codec.to_json() if codec is not None else None,
    }


class Pool:
    """Does the pieces of a plan in several processes, and writes down what came of each."""

    def __init__(self, out: Path, plan: Plan, jobs: int, report: Report | None):
        self.out, self.plan, self.report = out, plan, report or (lambda *_: None)
        self.jobs = min(jobs, len(plan.pieces))

    def each(self, what: str, work: "Callable[[Path, Plan, Piece], dict[str, Any]]") -> Iterator[dict[str, Any]]:
        """What came of each piece, in their order."""
        left = [piece for piece in self.plan.pieces if not self._path(what, piece).exists()]
        done = len(self.plan.pieces) - len(left)
        self.report(what, done, len(self.plan.pieces))
        for piece, found in self._worked(work, left):
            write_json(self._path(what, piece), found)
            done += 1
            self.report(what, done, len(self.plan.pieces))
        for piece in self.plan.pieces:
            yield read_json(self._path(what, piece))

    def _path(self, what: str, piece: Piece) -> Path:
        return self.out / WORK / f"{what}-{piece.number:05d}.json"

    def _worked(
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
                    "a process of the encoder was ended, perhaps for lack of memory; the same command goes on, with "
                    "fewer --jobs if need be"
                ) from None
            finally:
                executor.shutdown(cancel_futures=True)


def count(out: Path, plan: Plan, piece: Piece) -> dict[str, Any]:
    """What a piece adds to the vocabulary."""
    if plan.settings.format == "text":
        return _counted(Counts(symbols=_text_symbols(plan, piece) if piece.part == "train" else Counter()))
    if plan.task == "forecast":
        return _counted(_series_counts(plan, piece))
    counts = Counts()
    for part, corpus in split_examples(plan, piece):
        found = Counts.of(corpus, paired=plan.paired)
        if part == "dev":  # its labels may be chosen, but nothing is learned of how frequent they are
            found = Counts(labels=Counter(dict.fromkeys(found.labels, 0)))
        counts.join(found)
    return _counted(counts)


def _text_symbols(plan: Plan, piece: Piece) -> "Counter[str]":
    if plan.settings.level == "word":
        words: Counter[str] = Counter()
        for text in text_pieces(piece.span):
            words.update(text_words(text))
        return words
    totals = np.zeros(CODES, np.int64)
    for text in text_pieces(piece.span):
        found = np.bincount(code_points(text))
        totals[: len(found)] += found
    return Counter({chr(code): int(totals[code]) for code in np.flatnonzero(totals).tolist()})


def _series_counts(plan: Plan, piece: Piece) -> Counts:
    """Names and moments of the columns of a series, of what is trained on."""
    inputs, targets, names = Running(), Running(), ((), ())
    for part, _, found in rows(plan, piece, lengths(plan, piece)):
        if part == "train" and found.targets is not None:
            inputs.add(found.inputs)
            targets.add(found.targets)
            names = found.input_names, found.target_names
    return Counts(inputs=inputs.moments(), targets=targets.moments(), columns=names[0], target_columns=names[1])


def _counted(counts: Counts) -> dict[str, Any]:
    """Counts as JSON."""
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


def _counts_of(found: dict[str, Any]) -> Counts:
    """The reverse of `_counted`."""

    def moments(entry: Any) -> Moments | None:
        return None if entry is None else Moments(entry[0], np.array(entry[1]), np.array(entry[2]))

    return Counts(
        Counter(found["symbols"]),
        Counter(found["labels"]),
        Counter(found["bigrams"]),
        moments(found["inputs"]),
        moments(found["targets"]),
        tuple(found["columns"]),
        tuple(found["target_columns"]),
    )


def _refuse_nothing(plan: Plan, counts: Counts, files: Sequence[str]) -> None:
    if not counts.symbols and counts.inputs is None:
        raise InputError(f"{files[0]}: no sequences; the file is empty")
    if plan.settings.format == "conll" and set(counts.labels) == {"_"}:
        raise InputError(f"{files[0]}: column {plan.settings.target!r} holds only _; choose another with --target")


def write(out: Path, plan: Plan, piece: Piece) -> dict[str, Any]:
    """The shards of a piece."""
    codec = encoded.read_codec(out / store.VOCAB)
    layout = codec.layout(targets=plan.targets)
    if plan.settings.format == "text":
        return {"shards": _write_text(out, plan, piece, codec, layout)}
    if plan.task == "forecast":
        return {"shards": _write_series(out, plan, piece, codec, layout)}
    with ExitStack() as held:
        writers: dict[str, ShardWriter] = {}
        for part, corpus in split_examples(plan, piece):
            if part not in writers:
                writers[part] = held.enter_context(ShardWriter(out, f"{part}-{piece.number:05d}", layout))
            writers[part].add(codec.encode(corpus))
        return {"shards": [asdict(writer.close()) for writer in writers.values()]}


def _write_text(out: Path, plan: Plan, piece: Piece, codec: Codec, layout: Layout) -> list[dict[str, Any]]:
    """A text is one sequence, and its symbols are encoded without being taken one by one where they are characters."""
    vocab = codec.symbols
    assert vocab is not None
    by_word = plan.settings.level == "word"
    table = vocab.table(store.smallest(len(vocab))) if vocab.unk is not None and not by_word else None
    with ShardWriter(out, f"{piece.part}-{piece.number:05d}", layout) as writer:
        for text in text_pieces(piece.span):
            if table is not None:
                writer.add_steps(table[code_points(text)])
            else:
                writer.add_steps(codec.ids(text_words(text) if by_word else text, piece.span.file, piece.span.line))
        if not writer.steps:
            return []
        writer.end_sequences(np.array([writer.steps], np.int64))
        return [asdict(writer.close())]


def _write_series(out: Path, plan: Plan, piece: Piece, codec: Codec, layout: Layout) -> list[dict[str, Any]]:
    """A series is one sequence a part; of its rows all but the last are read, and all but the first are targets."""
    assert codec.scale is not None
    assert codec.target_scale is not None
    parts = lengths(plan, piece)
    with ExitStack() as held:
        writers = {part: held.enter_context(ShardWriter(out, f"{part}-{piece.number:05d}", layout)) for part in parts}
        for part, before, found in rows(plan, piece, parts):
            codec.refuse_others(found.input_names, piece.span.file)
            last = parts[part] - 1 - before
            writers[part].add_steps(codec.scale.apply(found.inputs[:last]))
            if found.targets is not None:
                writers[part].add_targets(codec.target_scale.apply(found.targets[before == 0 :]))
        for writer in writers.values():
            writer.end_sequences(np.array([writer.steps], np.int64))
        return [asdict(writer.close()) for writer in writers.values()]
