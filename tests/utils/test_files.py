"""Files: a failed write keeps the old file, NaN is not written to JSON, and no other module writes files."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import ohlol
from ohlol.utils.errors import InputError
from ohlol.utils.files import (
    append_line,
    check_encodable,
    replace_link,
    write_json,
    write_output,
    write_utf8,
)


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    target = {"write": (Path, "open"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[broken]
    with monkeypatch.context() as patched:
        patched.setattr(*target, fail)
        with pytest.raises(InputError) as refused:
            write_json(path, {"new": 2})
    assert str(refused.value) == f"{path}: cannot be written: No space left on device; the existing file is unchanged"
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    for name in before:
        with pytest.raises(
            InputError, match=f"{name}: cannot be written: not a plain file; the existing file is unchanged"
        ):
            write_json(tmp_path / name, {"new": 2})
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before


def test_nan_and_infinity_are_not_written_to_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_append_leaves_the_lines_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    assert append_line(path, b"one\n") == 4
    assert append_line(path, b"two\n") == 8

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(InputError, match="No space left on device; the existing file is unchanged"):
            append_line(path, b"three\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_the_name_of_a_new_file_is_flushed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    for _ in range(2):
        append_line(tmp_path / "metrics.jsonl", b"one\n")
    path, folder = str(tmp_path / "metrics.jsonl"), str(tmp_path)
    assert flushed == [path, folder, path]


def test_replace_link_replaces_an_existing_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "best.tmp").touch()  # of a process that was killed
        assert replace_link(tmp_path / "best", tmp_path / "runs" / name)
        assert os.readlink(tmp_path / "best") == f"runs/{name}"
    assert not (tmp_path / "best.tmp").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="exists and is not a symbolic link"):
        replace_link(tmp_path / "mine", tmp_path / "runs/one")

    def none(*_: object, **__: object) -> None:
        raise OSError("this system has no symbolic links")

    monkeypatch.setattr(Path, "symlink_to", none)
    assert not replace_link(tmp_path / "best", tmp_path / "runs/one")
    assert os.readlink(tmp_path / "best") == "runs/two"


SOURCE = Path(ohlol.__file__).parent
WRITES = {"write_text", "write_bytes", "save_file", "savefig", "savez", "tofile", "dump", "rename", "memmap"}
"""Methods and functions of libraries that write a file."""
FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
ALLOWED = {
    ("utils/files.py", "open"),  # the implementation: temporary name, flush, rename
    (
        "data/corpus/shards.py",
        "open",
    ),  # arrays that grow, by the same steps; nothing reads them before the file that lists them
    ("cli/__init__.py", "open"),  # the null device in place of a closed standard error
    ("display/figures.py", "savefig"),  # to memory
    ("explain/review/watcher.py", "open"),  # events of a process that may be killed, which its parent reads and removes
}


def writes(path: Path) -> Iterator[tuple[str, int]]:
    """Calls that write a file without files.py, or that could execute the content of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from ((name, node.lineno) for name in names if name.split(".")[0] in FORBIDDEN)
        if not isinstance(node, ast.Call):
            continue
        owner, name = None, getattr(node.func, "id", None)
        if isinstance(node.func, ast.Attribute):
            owner, name = getattr(node.func.value, "id", "?"), node.func.attr
        modes = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
        if name in WRITES and not (owner is None and name == "write_bytes"):
            yield str(name), node.lineno
        elif name == "open" and any(isinstance(mode, str) and set(mode) & set("wax+") for mode in modes):
            yield "open", node.lineno
        elif (owner, name) in {("torch", "load"), ("torch", "save"), ("np", "save"), (None, "eval"), (None, "exec")}:
            yield f"{owner}.{name}", node.lineno


def test_only_the_files_module_writes_and_nothing_is_executed() -> None:
    """Files are written completely or not at all only if files.py writes them."""
    found = [
        (str(path.relative_to(SOURCE)), what, line)
        for path in sorted(SOURCE.rglob("*.py"))
        for what, line in writes(path)
    ]
    assert [f"{module}:{line}: {what}" for module, what, line in found if (module, what) not in ALLOWED] == []
    assert {(module, what) for module, what, _ in found} == ALLOWED  # so that the search itself is tested


@pytest.mark.parametrize("value", ["\ud800", ["a", "\udfff"], {"k": {"a\udc80": 1}}, ("b", ["\ud800\ud800"])])
def test_half_a_surrogate_pair_is_not_text(value: object) -> None:
    with pytest.raises(ValueError, match="half a surrogate pair") as refused:
        check_encodable(value)
    str(refused.value).encode("utf-8")
    check_encodable(["a", {"b": ["\U0001f600", 1, None]}])


@pytest.mark.parametrize("name", ["é" * 127 + "x", "x" * 255, "short"])
def test_a_name_of_any_length_is_written(tmp_path: Path, name: str) -> None:
    write_utf8(tmp_path / name, "text\udcff")
    assert (tmp_path / name).read_bytes() == b"text\\udcff"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_output_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "page.html", tmp_path / "link.html"
    path.write_text("old", encoding="utf-8")
    link.symlink_to(path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(InputError, match=r"page\.html: cannot be written: No space left"):
            write_output(link, b"new")
    assert path.read_text(encoding="utf-8") == "old"
    assert sorted(os.listdir(tmp_path)) == ["link.html", "page.html"]
    write_output(link, b"new")
    assert (path.read_bytes(), link.is_symlink()) == (b"new", True)
    write_output(Path(os.devnull), b"new")
    assert not Path(os.devnull).is_file()
