"""The documents keep step with the code: commands, flags, version, source tree and links."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
from transcripts import ROOT

import ohlol
from ohlol.cli import app

MARKDOWN = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    if ".venv" not in path.parts
)
SOURCES = sorted((ROOT / "src/ohlol").rglob("*.py"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def make_cli() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs/make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date() -> None:
    assert read("docs/cli.md") == make_cli().reference(), "docs/cli.md is stale: python docs/make_cli.py"


def test_every_command_and_flag_is_documented() -> None:
    page = read("docs/cli.md")
    for name, command in typer.main.get_command(app).commands.items():
        _, found, rest = page.partition(f"\n## ohlol {name}\n")
        assert found, f"{name} is not in docs/cli.md"
        section = rest.split("\n## ")[0]
        for parameter in command.params:
            assert parameter.help, f"{name}: {parameter.name} has no help"
            if parameter.param_type_name == "argument":
                continue
            for flag in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"`{flag}[ `]", section), f"{name}: {flag} is not in docs/cli.md"


def test_both_readmes_name_every_command() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        for command in typer.main.get_command(app).commands:
            assert f"ohlol {command}" in read(name), f"{name} does not show ohlol {command}"


def test_the_changelog_has_this_version() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert version == ohlol.__version__
    assert re.search(rf"^## \[{re.escape(version)}\]", read("CHANGELOG.md"), re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_source_file_is_in_the_tree(path: Path) -> None:
    inside = path.relative_to(ROOT / "src/ohlol")
    for name in ("docs/design.md", "README.md", "README.zh-CN.md"):
        tree = read(name).split("src/ohlol/\n", 1)[1].split("```")[0]
        shown = [line.split()[0] for line in tree.splitlines() if line.strip()]
        assert inside.name in shown, f"{inside} is not in the tree of {name}"


def test_the_trees_name_no_file_that_is_gone() -> None:
    there = {path.name for path in (ROOT / "src/ohlol").iterdir()} | {path.name for path in SOURCES}
    for name in ("docs/design.md", "README.md", "README.zh-CN.md"):
        tree = read(name).split("src/ohlol/\n", 1)[1].split("```")[0].split("\n\n")[0]
        shown = [line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")]
        assert set(shown) <= there, f"{name}: {sorted(set(shown) - there)}"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_dead_links(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{link}: no such heading"
