"""The run directory: its files, its creation, and the model read from it.

    run/  config.json         task, settings of data, model and training, metrics; format version
          vocab.json          symbols and labels, or columns and their scales
          vectors.npy         pretrained word vectors, if the model reads them
          char_lm/            config.json, vocab.json and model.safetensors of each language model that the model reads
          model.safetensors   the best weights
          README.md           model card
          metrics.jsonl       one line for each evaluation; without times, so that equal runs write equal bytes
          snapshots/          the weights after each epoch, with the setting `snapshots`
          resume/last.safetensors   weights, optimizer, RNG and position, whose JSON is in the file's metadata
          resume/before.safetensors the previous saved state, in case the last one is damaged

No file holds a pickle. Each is written atomically (`utils.files`) and holds a SHA-256 of itself; names, shapes and
types are checked before anything is built from a file.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ohlol.cells import import_cell
from ohlol.checkpoint import snapshots
from ohlol.checkpoint.resume_state import state_paths
from ohlol.checkpoint.run_config import RunConfig, build_meta_model, sizes_from_codec
from ohlol.checkpoint.weights import check_weights, get_weights, load_weights, read_tensors, write_tensors
from ohlol.config import FULL_PRECISION
from ohlol.data.char_lm import FOLDER as CHAR_LMS
from ohlol.data.char_lm import CharLM, check_directions
from ohlol.data.codec import Codec
from ohlol.data.codec_json import codec_to_json
from ohlol.data.corpus.encoded import can_be_read_again, remove, sources_of
from ohlol.data.corpus.encoded import read_codec as codec_of
from ohlol.data.corpus.store import read_manifest
from ohlol.data.vocab import UNK
from ohlol.data.word_vectors import TABLE, read_table, write_table
from ohlol.models.contextual import ContextualVectors, LanguageModel
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.devices import to_numpy
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.files import read_bytes, read_json, write_bytes, write_error, write_json
from ohlol.utils.locks import lock_run
from ohlol.utils.translation import translate

CHAR_LM_FILES = ("config.json", "vocab.json", "model.safetensors")
"""The files of a language model that a run keeps."""
LARGEST_CHAR_LM = 1 << 32
"""Bytes of the largest of them."""
FILES = ("model.safetensors", "metrics.jsonl", "vocab.json", TABLE, "README.md", "config.json")
"""The files of a run directory, without those in `resume/`; `TABLE` is in a run with word vectors only."""
DATA_FOLDER = Path("resume") / "data"
"""The folder of the encoded training data."""

STEM_LENGTH = 60
"""Characters of a data file's name, or of an input, in the name of its run: a name has at most 255 bytes."""


def create(out: Path, *, overwrite: bool, resources: ExitStack | None = None, trains: bool = True) -> None:
    """Create a run directory.

    Args:
        out: the directory.
        overwrite: replace a run that exists there.
        resources: receives the lock of the directory, which is held until this stack is closed.
        trains: whether the run could be resumed instead, which the error then says.

    Raises:
        InputError: the directory exists and `overwrite` is false, is not a run directory, or cannot be created.
    """
    if out.exists():
        if not overwrite:
            go_on = translate(" `resume` to go on with it,") if trains else ""
            raise InputError(
                "{out} exists: give `overwrite` to replace it,{go_on} or another `out`", out=out, go_on=go_on
            )
        if not out.is_dir() or not _is_run(out):
            raise InputError("{out} is not a run directory and is left alone: give another `out`", out=out)
    try:
        (out / "resume").mkdir(parents=True, exist_ok=True)
        if resources is not None:
            resources.enter_context(lock_run(out))
        for path in (*state_paths(out), *(out / name for name in FILES)):
            path.unlink(missing_ok=True)
        snapshots.clear(out)
        remove(out / CHAR_LMS)
        remove(out / DATA_FOLDER)
    except OSError as error:
        raise InputError("{out}: cannot be made: {strerror}", out=out, strerror=error.strerror) from None


def remove_training_files(run: Path, *, keep_weights: bool) -> None:
    """Remove what a finished run no longer needs: its saved states and, without `keep_weights`, its weights.

    The configuration, the vocabulary and the metrics log remain.

    Raises:
        InputError: a file cannot be removed.
    """
    try:
        if not keep_weights:
            snapshots.clear(run)
            (run / "model.safetensors").unlink(missing_ok=True)
            (run / TABLE).unlink(missing_ok=True)
            remove(run / CHAR_LMS)
            (run / "README.md").unlink(missing_ok=True)
        remove(run / "resume")
    except OSError as error:
        raise InputError("{run}: cannot be made smaller: {strerror}", run=run, strerror=error.strerror) from None


def _is_run(out: Path) -> bool:
    """Whether a directory is empty or holds a run of any version, perhaps one that has no config.json yet."""
    names = {path.name.removesuffix(".tmp") for path in out.iterdir()}
    if not (out / "config.json").exists():  # or only its temporary file
        return names <= {"resume", "vocab.json", TABLE, CHAR_LMS, "config.json"}
    try:
        config = read_json(out / "config.json")
    except InputError:
        return False
    return isinstance(config, dict) and {"format", "ohlol"} <= set(config)


def choose_free_name(stem: str, root: Path = Path("runs")) -> Path:
    """The first run directory that does not exist yet of runs/stem-1, runs/stem-2 and so on."""
    name, number = stem[:STEM_LENGTH], 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"


def trained_on(run: Path, files: Iterable[str | Path]) -> list[str]:
    """Those of some files that have the content of a training file of a run, whatever their names are.

    Empty where the run has no `resume/data`, which records the checksums.
    """
    try:
        sources = read_manifest(run / DATA_FOLDER).sources
    except InputError:
        return []
    known = {(source["bytes"], source.get("sha256")) for source in sources if not source.get("dev")}
    lengths = {length for length, _ in known}
    same: list[str] = []
    for file in files:
        if not can_be_read_again(file) or not Path(file).is_file() or Path(file).stat().st_size not in lengths:
            continue
        (source,) = sources_of([file])
        same += [str(file)] * ((source["bytes"], source["sha256"]) in known)
    return same


def read_config(run: Path) -> RunConfig:
    """The configuration of a run directory.

    Raises:
        InputError: there is no such directory, it is not a run directory, or it has another version.
    """
    if not run.is_dir():
        raise InputError("{run}: there is no such run directory; `ohlol train` makes one", run=run)
    if not (run / "config.json").exists():
        raise InputError(
            "{run}: is not a run directory: it has no config.json; `ohlol train` makes one: use `overwrite` to start a "
            "new run where one began",
            run=run,
        )
    content = read_json(run / "config.json")
    try:
        return RunConfig.from_json(content)
    except InputError as error:
        raise InputError("{run}: {error}", run=run, error=error) from None


def read_codec(run: Path) -> Codec:
    """The vocabulary of a run directory; raises InputError."""
    return codec_of(run / "vocab.json")


def write_codec(run: Path, codec: Codec) -> Codec:
    """Write the vocabulary, the word vectors and the language models; returns it with these as they are in the run."""
    if codec.vectors is not None:
        write_table(run, codec.vectors)
    for lm in codec.char_lms:
        assert lm.folder is not None
        _copy_char_lm(lm.folder, run / CHAR_LMS / lm.name)
    write_json(run / "vocab.json", codec_to_json(codec))
    return map_pretrained(run, codec)


def map_pretrained(run: Path, codec: Codec) -> Codec:
    """The codec of a run with its word vectors, mapped into memory, and the folders of its language models.

    Raises:
        InputError: the vectors are missing or damaged.
    """
    vectors = None if codec.vectors is None else read_table(run, codec.vectors)
    char_lms = tuple(replace(lm, folder=run / CHAR_LMS / lm.name) for lm in codec.char_lms)
    return replace(codec, vectors=vectors, char_lms=char_lms)


def _copy_char_lm(source: Path, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None
    for name in CHAR_LM_FILES:
        write_bytes(folder / name, read_bytes(source / name, LARGEST_CHAR_LM))


def open_char_lms(runs: str | None) -> tuple[CharLM, ...]:
    """The language models of the setting `char_lm`, the one that reads forward first.

    Raises:
        InputError: a run cannot be loaded, or is not a language model over characters that reads in one direction.
    """
    found: list[CharLM] = []
    for name in (runs or "").split(",") if runs is not None else ():
        if not name.strip():
            raise InputError("`char_lm` has an empty name; give one run, or two separated by a comma")
        config, codec, model = _load_char_lm(folder := Path(name.strip()))
        identity = compute_identity(config, codec, model)
        found.append(CharLM(bool(config.data.reversed), model.output_size, identity, folder))
    return check_directions(tuple(found))


def _load_char_lm(folder: Path) -> tuple[RunConfig, Codec, SequenceModel]:
    config, codec = read_description(folder)
    symbols = codec.symbols
    if not codec.kind.continues_text or config.data.level != "char" or config.model.bidirectional:
        raise InputError(
            "`char_lm` {folder}: is not a language model over characters in one direction: its task is {task}{level}",
            folder=folder,
            task=config.task,
            level="" if config.data.level is None else translate(", by {level}", level=config.data.level),
        )
    if symbols is None or symbols.unk is None:
        raise InputError(
            "`char_lm` {folder}: has no {unk} for characters that it has not seen: train it with "
            "`unk_probability` above 0",
            folder=folder,
            unk=UNK,
        )
    return load_model(folder)


def build_model(config: RunConfig, codec: Codec) -> SequenceModel:
    """The model of a configuration with initial weights, and with the word vectors and language models of its codec.

    Raises:
        InputError: a language model cannot be loaded, or is another one.
    """
    model = SequenceModel(config.model, config.sizes)
    if codec.vectors is not None:
        assert codec.vectors.table is not None
        model.encoder.attach_vectors(torch.from_numpy(codec.vector_rows), torch.from_numpy(codec.vectors.table))
    if codec.char_lms:
        model.encoder.attach_char_lms(_read_char_lms(codec))
    return model


def _read_char_lms(codec: Codec) -> ContextualVectors:
    assert codec.chars is not None
    models: list[LanguageModel] = []
    for lm in codec.char_lms:
        assert lm.folder is not None
        config, own, network = _load_char_lm(lm.folder)
        if compute_identity(config, own, network) != lm.identity:
            raise InputError("{folder}: is another language model than that of the run", folder=lm.folder)
        assert own.symbols is not None
        models.append(LanguageModel.of(network, lm.reversed, codec.chars, own.symbols))
    return ContextualVectors(models)


def read_description(run: Path, cell: str | None = None) -> tuple[RunConfig, Codec]:
    """The configuration and the vocabulary of a run.

    Args:
        run: the directory.
        cell: its cell, which is imported if it is named as package.module:Class; nothing else is imported.

    Raises:
        InputError: they describe different models; the cell is another one, or has to be imported and is not given.
    """
    config, codec = read_config(run), read_codec(run)
    if cell is not None:
        if cell != config.model.cell:
            raise InputError(
                "{run} has the `cell` {cell}, not {given}", run=run, cell=config.model.cell, given=shorten(cell)
            )
        import_cell(cell)
    if config.task != codec.task or config.sizes != sizes_from_codec(codec):
        raise InputError("{run}: config.json and vocab.json do not belong together", run=run)
    try:
        build_meta_model(config)
    except InputError as error:
        raise InputError("{run}: {error}", run=run, error=error) from None
    return config, codec


def save_model(run: Path, model: SequenceModel) -> None:
    """Write the weights; a tied weight is written once, and `load_model` ties it again."""
    write_tensors(run / "model.safetensors", get_weights(model), {"format": "pt"})


def write_model(run: Path, config: RunConfig, codec: Codec, model: SequenceModel) -> None:
    """Write what `load_model` reads into a directory that exists; raises InputError where it cannot be written."""
    write_json(run / "config.json", config.to_json())
    write_codec(run, codec)
    save_model(run, model)


def read_weights(run: Path, model: SequenceModel) -> dict[str, Tensor]:
    """The best weights of a run; raises InputError where they do not fit the model."""
    path, expected = run / "model.safetensors", get_weights(model)
    weights = read_tensors(path, sum(t.nbytes for t in expected.values()))[0]
    check_weights(weights, expected, str(path))
    return weights


def compute_identity(config: RunConfig, codec: Codec, model: SequenceModel) -> str:
    """The SHA-256, in hexadecimal, of what a model's output depends on: task, level, cell, vocabulary, named weights.

    Training settings, and settings that later versions may add, are not part of it; shapes are, with the weights.
    """
    about: list[Any] = [config.task, config.data.level, config.model.cell, codec_to_json(codec)]
    if model.pooling is not None:
        about.append(config.model.pooling)
    if model.precision != FULL_PRECISION:
        about.append(model.precision)
    if codec.panel is not None:
        about.append(config.training.bptt)  # as many rows are read before a forecast
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(get_weights(model).items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(to_numpy(tensor).tobytes())
    return digest.hexdigest()


def load_model(run: Path, cell: str | None = None) -> tuple[RunConfig, Codec, SequenceModel]:
    """Read a run's configuration, vocabulary and best weights; arguments and errors are those of `read_description`."""
    config, codec = read_description(run, cell)
    if not (run / "model.safetensors").exists():
        raise InputError(
            "{run}: has no model.safetensors: its training saved no weights yet, or `ohlol tune` keeps those "
            "of better trials only",
            run=run,
        )
    weights = read_weights(
        run, build_meta_model(config)
    )  # before memory is allocated for sizes that only config.json claims
    codec = map_pretrained(run, codec)
    model = build_model(config, codec)
    load_weights(model, weights, str(run))
    return config, codec, model.eval()
