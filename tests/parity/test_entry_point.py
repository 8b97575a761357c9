"""The named arguments of the compiled functions: those of the stub, and errors that name what is wrong."""

import ast
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from ohlol import ops
from ohlol.cells import CELLS
from ohlol.ops import backend


@pytest.mark.parametrize("function", ["forward", "backward"])
def test_the_stub_has_the_arguments_of_the_module(function: str) -> None:
    assert backend.KERNEL is not None
    stub = ast.parse(Path(backend.__file__).with_name("_kernel.pyi").read_text(encoding="utf-8"))
    (definition,) = [node for node in stub.body if isinstance(node, ast.FunctionDef) and node.name == function]
    names = getattr(backend.KERNEL, f"{function.upper()}_ARGUMENTS")
    assert [argument.arg for argument in definition.args.kwonlyargs] == names
    assert len(names) <= 15  # more would be passed in a dictionary


def test_every_kernel_of_a_cell_is_in_the_module() -> None:
    assert backend.KERNEL is not None
    names = {spec.kernel for spec in CELLS.values() if spec.kernel is not None}
    assert {name for name, _ in backend.KERNEL.KERNELS} == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 0}, r"forward\(\) needs the argument 'threads'"),
        ({"kernal": 0}, r"forward\(\) has no argument 'kernal'"),
    ],
)
def test_wrong_names(arguments: dict[str, Any], message: str) -> None:
    for _ in range(20):  # each call has a new tuple of names, which must not match an earlier one
        with pytest.raises(TypeError, match=message):
            backend.run_forward(**arguments)


def test_a_library_that_the_kernels_miss_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    reason = "the compiled kernels cannot be loaded: libgomp.so.1: cannot open shared object file"
    monkeypatch.delenv("OHLOL_KERNEL", raising=False)
    monkeypatch.setattr(backend.importlib, "import_module", fail)
    with pytest.warns(UserWarning, match=reason):
        assert backend._load() == (None, reason)
    monkeypatch.setenv("OHLOL_KERNEL", "baseline")
    with pytest.raises(ImportError, match=f"^OHLOL_KERNEL=baseline: {reason}"):
        backend._load()


@pytest.mark.parametrize("files", [[], ["_kernel.cpython-30-x86_64-linux-gnu.so"]])
def test_only_a_module_that_is_there_and_not_loaded_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: list[str]
) -> None:
    """As one for another version of Python."""

    def fail(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    for name in ("_kernel.pyi", *files):
        (tmp_path / name).touch()
    monkeypatch.setattr(backend, "__file__", str(tmp_path / "backend.py"))
    monkeypatch.setattr(backend.importlib, "import_module", fail)
    monkeypatch.delenv("OHLOL_KERNEL", raising=False)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        module, reason = backend._load()
    assert module is None
    assert len(found) == len(files)
    assert ("not installed" in reason) == (not files)
    monkeypatch.setenv("OHLOL_KERNEL", "avx2")
    with pytest.raises(ImportError, match=r"^OHLOL_KERNEL=avx2: the compiled kernels"):
        backend._load()


@pytest.mark.parametrize("name", ["avx1024", ""])
def test_a_variant_that_does_not_run_here_is_refused(name: str) -> None:
    for call in (lambda: ops.select(name), lambda: backend.measure_peak(name, torch.float32, 1, 0.001)):
        with pytest.raises(ValueError, match=f"does not run the kernel variant '{name}'"):
            call()
    assert backend.measure_peak("baseline", torch.float32, 1, 0.001) > 0


def test_wrong_values_are_refused() -> None:
    arguments: dict[str, Any] = {
        "kernel": 0, "threads": 1, "shape": (1, 1, 1, 1), "rows": (0, 1, 1, False), "weights": (0, 0, 0, 0),
        "states": (0, 0), "out": (0, 1), "saved": (0, 0, 0), "final_states": (0, 0),
    }  # fmt: skip
    for wrong, message in (
        ({"shape": (1, 1, 1)}, "needs a tuple of 4 integers as 'shape'"),
        ({"shape": 1}, "needs a tuple of 4 integers as 'shape'"),
        ({"threads": 1.5}, "float"),
        ({"weights": (0, 0, 0, None)}, "NoneType"),
    ):
        with pytest.raises(TypeError, match=message):
            backend.run_forward(**{**arguments, **wrong})
    run: Any = backend.run_forward
    with pytest.raises(TypeError, match="takes named arguments only"):
        run(0)


def test_ids_outside_the_table_are_refused() -> None:
    weights = [torch.zeros(5, 4), torch.zeros(4, 4)]
    spec = ops.LayerSpec("rnn", bias=False)
    for id in (-1, 5):
        ids = torch.tensor([[0], [id]])
        with pytest.raises(IndexError, match=f"id {id} has no row in a table of 5 symbols"):
            ops.recurrence(ids, None, None, weights, spec)
    with pytest.raises(TypeError, match="must be int64"):
        ops.recurrence(torch.zeros(2, 1, dtype=torch.int32), None, None, weights, spec)
    assert ops.recurrence(torch.tensor([[0], [4]]), None, None, weights, spec)[0].shape == (2, 1, 4)
