"""The layout of the repository: every module has a test file, and few entries lie at the top."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE, TESTS = ROOT / "src" / "ohlol", ROOT / "tests"
MAX_ENTRIES = 18
"""Packages and modules directly in the package."""
NOT_COUNTED = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}

TESTED_ELSEWHERE = {
    "__main__.py": "cli/test_cli.py starts it in a process of its own",
}
"""Modules without a test file of their name, and the reason."""

TO_DO = {
    # cells, models, nn, ops
    "cells/equations.py", "models/heads/base.py", "models/heads/identity.py", "models/heads/regression.py",
    "models/heads/softmax.py", "models/reference.py", "nn/benchmark.py", "ops/backend.py", "ops/gather.py",
    "ops/recurrence.py", "ops/single.py", "ops/stream.py", "ops/torch_path.py",
    # cli, tuning
    "cli/data.py", "cli/doctor.py", "cli/frame.py", "cli/see.py", "cli/serve.py", "cli/ship.py", "cli/speed.py",
    "cli/train.py", "cli/tune.py", "cli/use.py", "tuning/progress_text.py", "tuning/samplers.py", "tuning/storage.py",
    "tuning/summary_text.py",
    # data
    "config.py", "data/corpus/cache.py", "data/corpus/encoded.py", "data/corpus/pieces.py", "data/corpus/shards.py",
    "data/counts.py", "data/lines.py", "data/loading.py", "data/mapped.py", "data/readers/arrow.py",
    "data/readers/arrow_size.py", "data/readers/columns.py", "data/readers/formats.py", "data/readers/labelled.py",
    "data/readers/tables.py", "data/sequences.py", "data/split.py", "data/targets.py",
    # display
    "display/curves_text.py", "display/neurons_text.py", "display/progress.py", "display/shapes_text.py",
    # evaluation, inference, interop, training
    "evaluation/evaluate.py", "inference/batch_predict.py", "inference/step.py", "interop/onnx_reader.py",
    "interop/onnx_verify.py", "interop/torch.py", "training/callbacks.py", "training/fit.py", "training/interrupts.py",
    "training/loader.py", "training/loss.py", "training/memory_check.py", "training/precision.py",
    "training/resume.py",
    # serve
    "serve/access.py", "serve/app.py", "serve/batching.py", "serve/connections.py", "serve/encoding.py",
    "serve/limits.py", "serve/metrics.py", "serve/models.py", "serve/pages.py", "serve/routes.py", "serve/run.py",
    "serve/schemas.py", "serve/server.py", "serve/service.py", "serve/sessions.py", "serve/streams.py",
    "serve/training.py",
}  # fmt: skip
"""Modules whose test file is still to be written; new modules do not belong here."""


def list_modules() -> list[str]:
    """Every module of the package that is not an `__init__`, by its path."""
    return sorted(str(p.relative_to(SOURCE)) for p in SOURCE.rglob("*.py") if p.name != "__init__.py")


def path_of_test(module: str) -> Path:
    path = Path(module)
    return TESTS / path.parent / f"test_{path.name}"


@pytest.mark.parametrize("module", list_modules())
def test_a_module_has_a_test_file_of_its_name(module: str) -> None:
    assert path_of_test(module).exists() or module in TESTED_ELSEWHERE or module in TO_DO


@pytest.mark.parametrize("module", sorted(TESTED_ELSEWHERE))
def test_an_exception_is_needed(module: str) -> None:
    assert (SOURCE / module).exists()
    assert not path_of_test(module).exists()


def test_few_entries_lie_at_the_top() -> None:
    entries = {path.name for path in SOURCE.iterdir()} - NOT_COUNTED
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


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
