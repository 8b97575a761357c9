"""The layout of the repository: every module has a test file, and the package has few top-level modules."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE, TESTS = ROOT / "src" / "ohlol", ROOT / "tests"
MAX_TOP_LEVEL_MODULES = 18
"""Packages and modules directly in `src/ohlol`."""
NOT_COUNTED = {"__init__.py", "__main__.py", "py.typed", "__pycache__", "sklearn.py"}
"""`sklearn.py` is a name to import from, and holds no code."""

TESTED_ELSEWHERE = {
    "__main__.py": "cli/test_cli.py starts it in a process of its own",
    "cli/app.py": "cli/test_cli.py runs its options through the commands",
    "cli/data.py": "cli/test_cli.py runs the command",
    "cli/encode.py": "data/corpus/test_encode.py runs the command",
    "cli/evaluate.py": "cli/test_cli.py runs the command for each kind of data",
    "cli/explain.py": "explain/test_history.py, explain/test_neurons.py and display/test_trace_text.py run the command",
    "cli/export.py": "interop/test_onnx_export.py runs the command",
    "cli/generate.py": "cli/test_cli.py runs the command",
    "cli/import_run.py": "interop/test_import_run.py runs the command",
    "cli/playground.py": "display/test_playground.py runs the command",
    "cli/plot.py": "explain/test_curves.py and tuning/test_summary.py run the command",
    "cli/prove.py": "explain/test_equivalence.py runs the command",
    "cli/serve.py": "serve/test_serve_http.py runs the command",
    "cli/train.py": "cli/test_cli.py runs the command for each kind of data",
    "cli/tune.py": "tuning/test_search.py runs the command",
    "sklearn.py": "interop/test_sklearn.py imports it",
}
"""Modules without a test file of their name, and the reason."""

UNTESTED_MODULES = {
    "cells/test_cells.py compares every cell with torch and with its equation": {
        "cells/base.py", "cells/gru.py", "cells/lstm.py", "cells/rnn.py", "cells/unroll.py",
    },
    "cells/test_own_cells.py compares every cell that is a module with its equation": {
        "cells/coupled_lstm.py", "cells/indrnn.py", "cells/initial_values.py", "cells/layernorm_lstm.py",
        "cells/mgu.py", "cells/mingru.py", "cells/minlstm.py", "cells/mogrifier_lstm.py", "cells/peephole_lstm.py",
        "cells/reset_gru.py",
        "cells/rglru.py", "cells/slstm.py", "cells/sru.py", "cells/ugrnn.py",
    },
    "distributed/test_batch_predict.py runs the command in one process and in several": {
        "inference/batch_predict.py",
    },
    "models/test_sequence_model.py and extending/test_head.py run them as parts of a model": {
        "models/encoder.py", "models/heads/base.py", "models/heads/identity.py", "models/heads/regression.py",
        "models/heads/softmax.py", "models/inputs.py", "models/reference.py",
    },
    "data/readers/test_panels.py reads tables with them": {
        "data/readers/times.py",
    },
    "data/readers/test_labelled.py reads files with it": {
        "data/readers/ts.py",
    },
    "cells/test_cells.py runs it": {
        "nn/loop.py",
    },
    "nn/test_regularization.py compares layers with loops that draw the same masks": {
        "nn/regularized_layers.py",
    },
    "nn/test_quantization.py asks layers for what they cannot do with a reduced precision": {
        "nn/reduced.py",
    },
    "parity/ compares every path with torch and with the equations": {
        "ops/backend.py", "ops/gather.py", "ops/recurrence.py", "ops/reduced.py", "ops/single.py", "ops/stepping.py",
        "ops/torch_path.py",
    },
    "explain/review/test_findings.py runs every check on programs with and without its mistake": {
        "explain/review/check.py", "explain/review/checks/axes.py", "explain/review/checks/carried_state.py",
        "explain/review/checks/final_state.py", "explain/review/checks/losses.py",
        "explain/review/checks/padding.py", "explain/review/checks/running.py", "explain/review/checks/training.py",
        "explain/review/checks/evaluation.py", "explain/review/gradients.py",
    },
    "explain/review/test_dataflow.py follows values through programs with them": {
        "explain/review/names.py", "explain/review/tensors.py", "explain/review/values.py",
    },
    "cells/test_step_graph.py, ops/test_step_recurrence.py and parity/test_recurrent.py compare them with torch": {
        "cells/step_gradient.py", "cells/step_lowering.py", "cells/step_operations.py", "cells/step_values.py",
        "ops/program_writer.py",
    },
    "the files serve/test_serve_*.py, one per subject, send requests to a server": {
        "serve/access.py", "serve/app.py", "serve/batching.py", "serve/connections.py", "serve/encoding.py",
        "serve/forecasts.py", "serve/framing.py", "serve/limits.py", "serve/metrics.py", "serve/models.py",
        "serve/pages.py", "serve/routes.py", "serve/run.py", "serve/schemas.py", "serve/server.py", "serve/service.py",
        "serve/sessions.py", "serve/streams.py", "serve/training.py",
    },
    "training/test_trainer.py, faults/test_run.py and checkpoint/test_resume_state.py run whole trainings": {
        "training/fit.py", "training/interrupts.py",
        "training/loss.py", "training/memory_check.py", "training/resume.py",
    },
}  # fmt: skip
"""Modules without a test file of their own, by what covers them; a new module needs its own file."""
EXCEPTIONS = {*TESTED_ELSEWHERE, *(module for modules in UNTESTED_MODULES.values() for module in modules)}


def list_modules() -> list[str]:
    """Every module of the package that is not an `__init__`, by its path."""
    return sorted(str(p.relative_to(SOURCE)) for p in SOURCE.rglob("*.py") if p.name != "__init__.py")


def path_of_test(module: str) -> Path:
    path = Path(module)
    return TESTS / path.parent / f"test_{path.name}"


@pytest.mark.parametrize("module", list_modules())
def test_a_module_has_a_test_file_of_its_name(module: str) -> None:
    assert path_of_test(module).exists() or module in EXCEPTIONS


@pytest.mark.parametrize("module", sorted(EXCEPTIONS))
def test_an_exception_is_necessary(module: str) -> None:
    assert (SOURCE / module).exists()
    assert not path_of_test(module).exists()


def test_the_number_of_top_level_modules_is_bounded() -> None:
    entries = {path.name for path in SOURCE.iterdir()} - NOT_COUNTED
    assert len(entries) <= MAX_TOP_LEVEL_MODULES, sorted(entries)


def test_a_module_that_is_not_counted_holds_no_code() -> None:
    docstring, *statements = ast.parse((SOURCE / "sklearn.py").read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert [type(statement) for statement in statements] == [ast.ImportFrom, ast.Assign]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_lists_no_file_twice(name: str) -> None:
    """A file may be linked from the text; within blocks and tables of files each stands once."""
    text = (ROOT / name).read_text(encoding="utf-8")
    listed = re.findall(r"^\s*(?:[|] `?|[│├└─\s]*)([\w/]+\.(?:py|md|h|cpp|js|mk|toml))\b", text, re.M)
    assert [path for path, count in Counter(listed).items() if count > 1] == []


def test_the_directories_of_helper_modules_can_be_imported_from() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = {ROOT / path for path in config["tool"]["pytest"]["ini_options"]["pythonpath"]}
    helpers = {path for path in TESTS.rglob("*.py") if not re.match(r"test_|conftest|__init__", path.name)}
    scripts = {TESTS / "golden" / "make.py"}
    assert {path.parent for path in helpers - scripts if not (path.parent / "__init__.py").exists()} <= listed


def test_the_names_of_helper_modules_differ() -> None:
    helpers = [p.name for p in TESTS.rglob("*.py") if not re.match(r"test_|conftest|__init__", p.name)]
    helpers = [name for name in helpers if not (TESTS / "parity" / name).exists()]
    assert [name for name, count in Counter(helpers).items() if count > 1] == []
