"""Truncated, flipped, swapped and hostile files of a run directory: loading gives equal content or one line."""

import itertools
import json
import os
import random
import resource
import shutil
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, bytes_of, sine_file, text_file, upper_pairs
from runs import KEPT
from safetensors.torch import save

import ohlol
from ohlol.checkpoint import resume_state, run_directory
from ohlol.checkpoint.weights import HEADER_LIMIT, read_tensors
from ohlol.cli import main
from ohlol.utils.errors import InputError, InputWarning

FLIPS = int(os.environ.get("OHLOL_FLIPS", "400"))
"""Bits turned over, one at a time, over all files; `make faults` asks for 2,000."""
STEP = 64 if FLIPS >= 2000 else 512
"""Bytes between two truncations."""
READ = ("config.json", "vocab.json", "model.safetensors")
STATES = ("resume/last.safetensors", "resume/before.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    ohlol.fit(upper_pairs(folder / "data.tsv"), out=folder / "run", checkpoint_every=2, **TINY)
    ohlol.fit(text_file(folder / "data.txt"), out=folder / "other", bptt=16, **TINY)
    ohlol.fit(sine_file(folder / "data.csv"), out=folder / "series", task="next_row", bptt=16, **TINY)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def content(run: Path) -> tuple[Any, ...]:
    """Everything that loading a run returns."""
    config, codec, model = run_directory.load_model(run)
    return config, codec, {k: v.numpy().tobytes() for k, v in model.state_dict().items()}


def state(run: Path) -> tuple[Any, ...]:
    tensors, position = resume_state.load_state(run)
    return {k: v.numpy().tobytes() for k, v in tensors.items()}, position


def one_line(error: InputError, run: Path | None) -> None:
    said = str(error)
    assert said.isprintable()  # one line without control characters
    assert len(said) < 600
    assert run is None or str(run) in said


@contextmanager
def one_line_or_none(run: Path | None = None) -> Generator[None]:
    """The block succeeds, or raises one line that names the run or, without one, a data file."""
    try:
        yield
    except InputError as error:
        one_line(error, run)


class Outcome:
    """Counts loads that succeeded and that were refused; anything else fails the test."""

    def __init__(self) -> None:
        self.equal = self.refused = self.fell_back = 0

    def load(self, run: Path, wanted: tuple[Any, ...]) -> None:
        try:
            found = content(run)
        except InputError as error:
            one_line(error, run)
            self.refused += 1
            return
        assert found == wanted
        self.equal += 1

    def resume(self, run: Path, last: tuple[Any, ...], before: tuple[Any, ...]) -> None:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                found = state(run)
            except InputError as error:
                one_line(error, run)
                self.refused += 1
                return
        if warned:
            assert issubclass(warned[0].category, InputWarning)
            assert "last.safetensors" in str(warned[0].message)
            assert found == before
            self.fell_back += 1
        else:
            assert found == last
            self.equal += 1


def states(run: Path) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    last = state(run)
    newest = run / STATES[0]
    kept = newest.read_bytes()
    newest.unlink()
    before = state(run)
    newest.write_bytes(kept)
    assert last != before
    return last, before


@pytest.mark.parametrize("name", [*READ, *STATES])
def test_truncated_files_are_detected(run: Path, name: str) -> None:
    wanted, (last, before) = content(run), states(run)
    whole = (run / name).read_bytes()
    found = Outcome()
    lengths = [*range(0, len(whole), STEP), len(whole) - 1]
    for length in lengths:
        (run / name).write_bytes(whole[:length])
        if name in READ:
            found.load(run, wanted)
        else:
            found.resume(run, last, before)
    if name == STATES[0]:
        assert found.fell_back == len(lengths)
    elif name == STATES[1]:
        assert found.equal == len(lengths)  # the newest state is undamaged
    else:
        assert found.refused >= len(lengths) - 1  # JSON without its last line end is still valid


def test_flipped_bits_never_change_what_is_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted, (last, before) = content(run), states(run)
    chance, found = random.Random(FLIPS), Outcome()
    wholes = {name: (run / name).read_bytes() for name in (*READ, STATES[0])}
    for number in range(FLIPS):
        name = list(wholes)[number % len(wholes)]
        raw = bytearray(wholes[name])
        header = number % 8 >= 4 and name.endswith(".safetensors")  # half of them in the header
        bit = chance.randrange(min(8 * 1024, 8 * len(raw)) if header else 8 * len(raw))
        raw[bit // 8] ^= 1 << bit % 8
        (run / name).write_bytes(raw)
        if name in READ:
            found.load(run, wanted)
        else:
            found.resume(run, last, before)
        (run / name).write_bytes(wholes[name])
    assert found.equal + found.refused + found.fell_back == FLIPS
    assert found.refused > FLIPS // 2
    assert found.fell_back > FLIPS // 5
    with capsys.disabled():
        print(f"{FLIPS} bits: {found.refused} refused, {found.fell_back} fell back, {found.equal} of equal content")


def test_a_run_with_a_damaged_newest_state_ends_with_the_same_bytes(made: Path, run: Path) -> None:
    newest = run / STATES[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(InputWarning, match=r"last\.safetensors: cannot be read: .*going on from the state before it"):
        ohlol.fit(out=run, resume=True)
    found, wanted = bytes_of(run), bytes_of(made / "run")
    for name in KEPT:
        if name != "README.md":  # it names the directory
            assert found[name] == wanted[name], name


def test_a_damaged_newest_state_is_reported_in_one_line_on_stderr(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = run / STATES[0]
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", "--out", str(run)])
    assert ended.value.code == 0
    err = capsys.readouterr().err
    assert err.startswith(f"ohlol: warning: {newest}: cannot be read: ")
    assert err.count("\n") == 1


def test_resuming_with_two_damaged_states_is_refused(run: Path) -> None:
    for name in STATES:
        (run / name).write_bytes((run / name).read_bytes()[:100])
    with pytest.raises(InputError, match=r"last\.safetensors: .* nor can the state before it: .*before\.safetensors"):
        ohlol.fit(out=run, resume=True)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-3], lambda raw: raw.replace(b'"epoch": 1', b'"epoch": 7'), bytes])
def test_damaged_metrics_are_reported_when_the_run_is_resumed(run: Path, damage: Callable[[bytes], bytes]) -> None:
    metrics = run / "metrics.jsonl"
    raw = metrics.read_bytes()
    metrics.write_bytes(damage(raw) if damage is not bytes else b"")
    with pytest.raises(InputError, match=r"metrics\.jsonl: its first \d+ bytes are not those that were written"):
        ohlol.fit(out=run, resume=True)


@pytest.mark.parametrize("one", [*READ, *STATES])
@pytest.mark.parametrize("other", [*READ, *STATES])
def test_swapped_files_are_detected_or_harmless(made: Path, run: Path, one: str, other: str) -> None:
    """A file of this run, or of another, in the place of each."""
    wanted, (last, before) = content(run), states(run)
    found = Outcome()
    for source in ("run", "other"):
        shutil.copy(made / source / other, run / one)
        if one in READ:
            found.load(run, wanted)
        elif one == STATES[0] and other in STATES:
            with pytest.raises(InputError) if source == "other" else warnings.catch_warnings():
                ohlol.fit(out=run, resume=True)
        else:
            found.resume(run, last, before)
        shutil.rmtree(run)
        shutil.copytree(made / "run", run)
    if one in READ:
        assert found.equal == (one == other)


DEEP, BIG = b"[" * 1_000_000, b"9" * 5_000
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "deep": DEEP,
    "deep objects": b'{"a":' * 100_000,
    "NaN": b'{"format": 2, "metrics": {"loss": NaN}}',
    "infinity": b'{"format": 2, "task": -Infinity}',
    "a key twice": b'{"format": 2, "format": 2}',
    "a huge number": b'{"format": ' + BIG + b"}",
    "a large exponent": b'{"format": 1e999}',
    "not UTF-8": b'{"format": "\xff\xfe"}',
    "a lone surrogate": b'{"format": 2, "task": "\\ud800"}',
    "NUL bytes": b"\0" * 4096,
    "garbage": random.Random(0).randbytes(65536),
    "another encoding": '{"format": 2}'.encode("utf-16"),
}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", READ)
def test_hostile_content_is_refused(run: Path, name: str, hostile: str) -> None:
    (run / name).write_bytes(HOSTILE[hostile])
    with pytest.raises(InputError) as refused:
        ohlol.load(run)
    one_line(refused.value, run)


def set_in(run: Path, name: str, path: tuple[Any, ...], value: Any) -> None:
    data = json.loads((run / name).read_text(encoding="utf-8"))
    del data["sha256"]  # otherwise the checksum refuses every change
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    (run / name).write_text(json.dumps(data), encoding="utf-8")


CLAIMS: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "a million units": ("config.json", ("model", "hidden_size"), 1 << 20),
    "a million layers": ("config.json", ("model", "num_layers"), 1 << 20),
    "as many layers as may be": ("config.json", ("model", "num_layers"), 256),
    "a huge embedding": ("config.json", ("model", "embedding_size"), 1 << 20),
    "a number no float holds": ("config.json", ("metrics",), {"loss": 10**400}),
    "a negative size": ("config.json", ("sizes", "inputs"), -5),
    "a huge size": ("config.json", ("sizes", "outputs"), 1 << 60),
    "dropout above 1": ("config.json", ("model", "dropout"), 1.5),
    "a list for a name": ("config.json", ("model", "cell"), ["lstm"]),
    "an object for a file": ("config.json", ("train_files",), 7),
    "symbols without end": ("vocab.json", ("symbols", "symbols"), ["x" * 1000] * 1000),
    "counts of another kind": ("vocab.json", ("symbols", "counts"), {"a": 1}),
    "no task": ("vocab.json", ("task",), None),
    "a task as list": ("vocab.json", ("task",), [1]),
}


KINDS: list[Any] = [None, True, -1, 10**30, 1.5, "", "x" * 300, "\x1b[2J\ud800", [], {}, [None], [["a", "b"]]]
"""What is put in the place of each value of a file."""


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vocab.json", ("symbols", "symbols", 0)),
        ("vocab.json", ("labels", "symbols", -1)),
        ("config.json", ("pairs", 0, 0)),
        ("config.json", ("data", "input")),
    ],
)
def test_a_lone_surrogate_is_refused(run: Path, name: str, path: tuple[Any, ...], text: str) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    if path[0] == "pairs" and not config["pairs"]:
        path, text = ("pairs",), [[text, "a"]]  # pyright: ignore[reportAssignmentType]
    set_in(run, name, path, text)
    with pytest.raises(InputError, match="half a surrogate pair") as refused:
        ohlol.load(run)
    one_line(refused.value, None)
    str(refused.value).encode("utf-8")


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values of JSON, of a list those to its first two entries."""
    entries = data.items() if isinstance(data, dict) else enumerate(data[:2]) if isinstance(data, list) else ()
    return [path, *(place for key, value in entries for place in places(value, (*path, key)))][not path :]


@pytest.mark.parametrize("name", ["config.json", "vocab.json"])
@pytest.mark.parametrize("source", ["run", "series"])
def test_values_of_other_types_are_read_or_refused(made: Path, tmp_path: Path, source: str, name: str) -> None:
    run = Path(shutil.copytree(made / source, tmp_path / "run"))
    kept = (run / name).read_bytes()
    values = [place for place in places(json.loads(kept)) if place != ("sha256",)]
    for number, (place, kind) in enumerate(itertools.product(values, KINDS)):
        set_in(run, name, place, kind)
        with one_line_or_none(run):
            ohlol.load(run)
        if number % 5 == 0:
            with one_line_or_none():
                ohlol.fit(out=run, resume=True)
        (run / name).write_bytes(kept)


@pytest.fixture
def memory() -> Generator[None]:
    """Two GiB more than is in use are all there is, so that a claim that is believed fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("claim", CLAIMS)
def test_declared_sizes_are_checked_before_memory_is_allocated(run: Path, claim: str) -> None:
    set_in(run, *CLAIMS[claim])
    began = time.monotonic()
    with pytest.raises(InputError) as refused:
        ohlol.load(run)
    one_line(refused.value, run)
    assert time.monotonic() - began < 20


def safetensors(header: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    return (len(header) if size is None else size).to_bytes(8, "little") + header + data


def entry(shape: list[int], end: int, dtype: str = "F32") -> bytes:
    return json.dumps({"head.bias": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()


def two(one: list[int], other: list[int]) -> bytes:
    about = {"dtype": "F32", "shape": [4]}
    return json.dumps({"a": {**about, "data_offsets": one}, "b": {**about, "data_offsets": other}}).encode()


WEIGHTS: dict[str, bytes] = {
    "a header longer than the file": safetensors(b"{}", size=1 << 40),
    "the longest header": safetensors(b"{}", size=(1 << 64) - 1),
    "a header over the limit": safetensors(b" " * (HEADER_LIMIT + 8)),
    "an enormous shape": safetensors(entry([1 << 40, 1 << 20], 16), b"\0" * 16),
    "a shape that overflows": safetensors(entry([1 << 62, 4], 16), b"\0" * 16),
    "an end beyond the file": safetensors(entry([1 << 20], 4 << 20), b"\0" * 16),
    "a negative shape": safetensors(entry([-1], 16), b"\0" * 16),
    "another type": safetensors(entry([4], 16, "I32"), b"\0" * 16),
    "an unknown type": safetensors(entry([4], 16, "PICKLE"), b"\0" * 16),
    "a type of another world": safetensors(entry([4], 16, "\x1b[2J"), b"\0" * 16),
    "four bits a number": safetensors(entry([32], 16, "F4"), b"\0" * 16),
    "bytes that overlap": safetensors(two([0, 16], [8, 24]), b"\0" * 24),
    "the same bytes twice": safetensors(two([0, 16], [0, 16]), b"\0" * 16),
    "bytes of none": safetensors(two([0, 16], [24, 40]), b"\0" * 40),
    "bytes after the last": safetensors(entry([4], 16), b"\0" * 1024),
    "bytes before the first": safetensors(two([16, 32], [32, 48]), b"\0" * 48),
    "an end before its start": safetensors(two([0, 16], [32, 16]), b"\0" * 32),
    "offsets that are no integers": safetensors(entry([4], 16).replace(b"16]", b"1.6e1]"), b"\0" * 16),
    "offsets no number holds": safetensors(two([1 << 70, 1 << 71], [0, 16]), b"\0" * 16),
    "thousands of axes": safetensors(entry([1] * 5000, 4), b"\0" * 4),
    "20,000 tensors": safetensors(
        json.dumps({f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)}).encode()
    ),
    "an endless name": safetensors(entry([4], 16).replace(b"head.bias", b"x" * 1_000_000), b"\0" * 16),
    "a key twice": safetensors(entry([4], 16)[:-1] + b"," + entry([4], 16)[1:], b"\0" * 16),
    "a deep header": safetensors(b'{"a":' * 100_000),
    "metadata that are no strings": safetensors(b'{"__metadata__":{"sha256":[1]}}'),
    "a name that leads out": save({"../../../../etc/passwd": torch.zeros(1)}),
    "values that are not finite": b"",  # built in the test from the names and shapes of the run
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.",
}


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("weights", WEIGHTS)
def test_hostile_weights_are_refused(run: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    path = run / "model.safetensors"
    raw = WEIGHTS[weights]
    if not raw:
        raw = save({k: torch.full_like(v, torch.nan) for k, v in read_tensors(path)[0].items()})
    path.write_bytes(raw)
    before = {p.name for p in run.iterdir()}
    with pytest.raises(InputError) as refused:
        ohlol.load(run)
    one_line(refused.value, run)
    assert {p.name for p in run.iterdir()} == before


@pytest.mark.parametrize("name", READ)
def test_a_huge_sparse_file_is_refused(run: Path, name: str) -> None:
    with (run / name).open("r+b") as file:
        file.truncate(1 << 40)
    began = time.monotonic()
    with pytest.raises(InputError, match="bytes"):
        ohlol.load(run)
    assert time.monotonic() - began < 20


def test_a_huge_sparse_state_is_not_read(run: Path) -> None:
    with (run / STATES[0]).open("r+b") as file:
        file.truncate(1 << 40)
    began = time.monotonic()
    with pytest.warns(
        InputWarning, match=r"last\.safetensors: .* bytes are expected.*; going on from the state before"
    ):
        ohlol.fit(out=run, resume=True)
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("memory")
def test_a_file_that_does_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    path.write_bytes(safetensors(entry([1 << 30], 4 << 30)))
    with path.open("r+b") as file:
        file.truncate(4 << 30)
    with pytest.raises(InputError, match=r"large\.safetensors: cannot be read: its content does not fit into memory"):
        read_tensors(path)


@pytest.mark.parametrize("name", READ)
def test_pipes_devices_and_directories_are_refused(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(InputError, match="not a plain file"):
        ohlol.load(run)
    (run / name).unlink()
    (run / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a plain file"):
        ohlol.load(run)
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(InputError, match="not a plain file"):
        ohlol.load(run)


def test_nothing_is_written_through_a_link(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for name in ("metrics.jsonl", "config.json.tmp", "config.json", "model.safetensors", "README.md"):
        shutil.rmtree(run)
        outside.write_text("mine")
        ohlol.fit(out=run, epochs=2)
        state_of, position = resume_state.load_state(run)
        resume_state.save_state(run, state_of, {**position, "epoch": 1, "metrics_bytes": 0, "metrics_sha256": ""})
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside)
        try:
            ohlol.fit(out=run, resume=True)
        except InputError as error:
            one_line(error, run)
        assert outside.read_text() == "mine", name


def test_a_link_in_the_place_of_resume_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "resume").rename(tmp_path / "elsewhere")
    (run / "resume").symlink_to(tmp_path / "elsewhere")
    before = bytes_of(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a symbolic link; nothing is written through one"):
        ohlol.fit(out=run, resume=True)
    assert bytes_of(tmp_path / "elsewhere") == before


POSITIONS: dict[str, Any] = {
    "epoch": "2",
    "batch": -1,
    "step": 1.5,
    "best": [1],
    "seconds": -1.0,
    "lr": None,
    "epochs_without_improvement": None,
    "lr_factor": "x",
    "metrics_bytes": 1 << 60,
    "machine": 3,
    "loss_weight": 10**400,
}


@pytest.mark.parametrize("name", POSITIONS)
def test_a_forged_position_is_refused(run: Path, name: str) -> None:
    tensors, position = resume_state.load_state(run)
    for _ in range(2):  # both states
        resume_state.save_state(run, tensors, {**position, name: POSITIONS[name]})
    with pytest.raises(InputError) as refused:
        ohlol.fit(out=run, resume=True)
    one_line(refused.value, run)


def test_forged_tensors_of_a_state_are_refused(run: Path) -> None:
    tensors, position = resume_state.load_state(run)
    name = next(k for k in tensors if k.startswith("optimizer.") and k.endswith("exp_avg"))
    for odd in (
        {name: torch.zeros(3, 3, 3)},
        {"optimizer.99.exp_avg": torch.zeros(1)},
        {"optimizer.x.exp_avg": torch.zeros(1)},
        {"optimizer.0": torch.zeros(1)},
        {"rng": torch.zeros(5, dtype=torch.uint8)},
        {"rng": torch.zeros(5)},
        {"state.0": torch.zeros(1)},
    ):
        for _ in range(2):
            resume_state.save_state(run, {**tensors, **odd}, position)
        with pytest.raises(InputError) as refused:
            ohlol.fit(out=run, resume=True)
        one_line(refused.value, run)
