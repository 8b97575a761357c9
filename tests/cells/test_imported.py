"""Cells imported by name: what is accepted, and one clear line for everything else."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cell_modules import MODULE, forgotten, write_module

from ohlol.cells import CELLS, check_cell_name, import_cell, name_states, select_cell
from ohlol.config import ModelSettings
from ohlol.models.inputs import Sizes
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_module(tmp_path)
    monkeypatch.chdir(tmp_path)
    with forgotten():
        yield tmp_path


def model_of(cell: str, **settings: object) -> SequenceModel:
    import_cell(cell)
    return SequenceModel(ModelSettings(cell=cell, hidden_size=6, embedding_size=4, **settings), Sizes(5, 3))  # type: ignore[arg-type]


def test_a_cell_of_the_current_directory_is_imported_and_registered() -> None:
    before = list(sys.path)
    spec = import_cell("mycells:Peephole")
    assert spec is CELLS["mycells:Peephole"] is import_cell("mycells:Peephole") is select_cell("mycells:Peephole")
    assert (spec.name, spec.step, spec.gates, spec.bounded) == ("mycells:Peephole", None, (), False)
    assert spec.module is sys.modules[MODULE].Peephole
    assert sys.path == before


def test_a_registered_cell_and_an_installed_class() -> None:
    assert import_cell("gru") is CELLS["gru"]
    assert import_cell("torch.nn:GRUCell").module is torch.nn.GRUCell


def test_a_function_may_make_the_cell(folder: Path) -> None:
    (folder / "made_by.py").write_text("import torch\ndef make(i, h): return torch.nn.GRUCell(i, h, bias=False)\n")
    assert model_of("made_by:make").layers.cells[0].bias_ih is None


@pytest.mark.parametrize(
    ("cell", "names", "sizes", "output_size"),
    [
        ("Peephole", ("h", "c"), (6, 6), 6),
        ("Widths", ("h", "c"), (6, 3), 7),
        ("OneTuple", ("h",), (6,), 6),
        ("Four", ("h", "c", "state_2", "state_3"), (6, 6, 6, 6), 6),
        ("InLoop", ("h",), (6,), 6),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_states_are_found(
    device: str, cell: str, names: tuple[str, ...], sizes: tuple[int, ...], output_size: int
) -> None:
    with torch.device(device):
        model = model_of(f"mycells:{cell}", num_layers=2, bidirectional=True)
    assert (model.state_names, model.state_sizes, model.output_size) == (names, sizes, output_size)
    assert model.head.width == 2 * output_size
    assert {weight.device.type for weight in model.state_dict().values()} == {device}


def test_the_names_of_states() -> None:
    assert [name_states(n) for n in range(4)] == [(), ("h",), ("h", "c"), ("h", "c", "state_2")]


HOSTILE = [
    "", ":", "x:", ":y", "a.b", "gruu", "../x:y", "/tmp/x:y", ".x:y", "x..y:z", "x.:y", "x:y.z", "x:y:z", "x:y()",
    "x y:z", "x:__import__('os')", "mycells:Peephole\n", "mycells\0:Peephole", "\x1b[31mx:y", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_other_forms_are_refused_in_one_short_line(name: str) -> None:
    for call in (import_cell, select_cell, check_cell_name):
        with pytest.raises(
            InputError, match=r"^`cell` is .*; it must be one of rnn, .*, or package.module:Class$"
        ) as e:
            call(name)
        assert str(e.value).isprintable()
        assert len(str(e.value)) < 600


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:system", r"cannot be made as system\(input_size, hidden_size\): too many positional arguments"),
        ("json:loads", r"cannot be made as loads\(input_size, hidden_size\): too many positional arguments"),
        ("nowhere:Cell", "there is no module nowhere in the current directory or among the installed packages"),
        ("os.nowhere:Cell", r"there is no module os\.nowhere in the current directory"),
        ("mycells.Peephole:forward", r"there is no module mycells\.Peephole in the current directory"),
        ("mycells:Missing", r"the module mycells \(.*mycells\.py\) has no Missing"),
        ("mycells:ThreeArguments", r"cannot be made as .*: missing a required argument: 'bias'"),
        ("mycells:NotAModule", "NotAModule is not a class of torch.nn.Module"),
        ("mycells:number", "number is an object of type int, not a class of torch.nn.Module"),
        ("mycells:made", "made is an object of type OneTuple, not a class of torch.nn.Module"),
        ("broken:Cell", r"importing broken raised ZeroDivisionError: division by zero \(.*broken\.py:2\)"),
        ("grammar:Cell", r"importing grammar raised SyntaxError: .*grammar\.py, line 1"),
        ("absent:Cell", r"importing absent raised ModuleNotFoundError: No module named 'nowhere' \(.*absent\.py:1\)"),
        ("leaves:Cell", r"importing leaves raised SystemExit: 3 \(.*leaves\.py:1\)"),
        ("within:Cell", r"importing within raised RuntimeError: .*negative dimension.* \(.*within\.py:2\)"),
    ],
)
def test_what_cannot_be_imported(folder: Path, name: str, message: str) -> None:
    (folder / "broken.py").write_text("def divide(): return 1 / 0\ndivide() if False else 1 / 0\n")
    (folder / "grammar.py").write_text("def (:\n")
    (folder / "absent.py").write_text("import nowhere\n")
    (folder / "leaves.py").write_text("import sys; sys.exit(3)\n")
    (folder / "within.py").write_text("import torch\ntorch.nn.Linear(-1, 2)  # raises in torch\n")
    with pytest.raises(InputError, match=message) as error:
        import_cell(name)
    assert str(error.value).startswith(f"`cell` {name}")
    assert "\n" not in str(error.value)
    assert name not in CELLS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mycells:Raises",
            r"cannot be made of input size 4 and hidden size 6: KeyError: 'no such gate' \(.*mycells\.py:\d+\)",
        ),
        ("mycells:make_number", r"makes an object of type int, not a torch\.nn\.Module"),
        ("mycells:OtherWidth", "cannot run: OtherWidth does not return its next state"),
        (
            "mycells:InFloat64",
            r"has the weight cells\.0\.peepholes of torch\.float64; weights of a model are torch\.float32",
        ),
        ("math:pow", r"makes an object of type float, not a torch\.nn\.Module"),
        ("torch.nn:Linear", "cannot run: Linear does not return its next state"),
        (
            "torch.nn:Sequential",
            "cannot be made of input size 4 and hidden size 6: TypeError: int is not a Module subclass",
        ),
    ],
)
def test_what_cannot_be_made_or_run(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        model_of(name)
    assert str(error.value).startswith(f"`cell` {name}")
    assert "\n" not in str(error.value)


def test_a_model_needs_something_to_train() -> None:
    import_cell("mycells:WithoutParameters")
    settings = ModelSettings(cell="mycells:WithoutParameters", hidden_size=3, embedding_size=0, head="identity")
    with pytest.raises(InputError, match="`cell` mycells:WithoutParameters and `head` identity have no parameters"):
        SequenceModel(settings, Sizes(5, 3))


def test_reading_a_name_imports_nothing(folder: Path) -> None:
    (folder / "marked.py").write_text("open('imported', 'w').close()\n")
    check_cell_name("marked:Cell")
    with pytest.raises(
        InputError, match=r"the cell marked:Cell is code outside of ohlol, .*: give `cell=marked:Cell`$"
    ):
        select_cell("marked:Cell")
    with pytest.raises(InputError, match="`cell=marked:Cell`"):
        SequenceModel(ModelSettings(cell="marked:Cell"), Sizes(5, 3))
    assert not os.path.exists("imported")
    with pytest.raises(InputError, match="has no Cell"):
        import_cell("marked:Cell")
    assert os.path.exists("imported")
