"""The pages match the code: commands, options, version, packages, figures, included files and links."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
from transcripts import INCLUDED, ROOT, entries, pages, with_included_files

from ohlol.cli import app

MARKDOWN = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    if ".venv" not in path.parts
)
PACKAGE = ROOT / "src/ohlol"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def import_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("make_*.py")), ids=lambda path: path.stem)
def test_the_scripts_of_the_pages_import_what_exists(path: Path) -> None:
    assert import_script(path.stem).__doc__


def test_the_reference_is_up_to_date() -> None:
    module = import_script("make_cli")
    for lang, page in module.PAGES.items():
        assert read(f"docs/{page.name}") == module.reference(lang), (
            f"docs/{page.name} is stale: python docs/make_cli.py"
        )


def test_every_command_and_option_is_documented() -> None:
    page = read("docs/cli.md")
    for name, command in typer.main.get_command(app).commands.items():
        _, heading, rest = page.partition(f"\n## ohlol {name}\n")
        assert heading, f"{name} is not in docs/cli.md"
        section = rest.split("\n## ")[0]
        for parameter in command.params:
            assert parameter.help, f"{name}: {parameter.name} has no help"
            if parameter.param_type_name == "argument":
                continue
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"`{option}[ `]", section), f"{name}: {option} is not in docs/cli.md"


def test_a_page_runs_every_command() -> None:
    shown = {tuple(entry.code.split()[:2]) for name in pages() for entry in entries(read(name))}
    for command in typer.main.get_command(app).commands:
        assert ("ohlol", command) in shown, f"no page runs ohlol {command}"


def test_the_tree_of_the_design_lists_the_packages() -> None:
    tree = read("docs/design.md").split("src/ohlol/\n", 1)[1].split("```")[0]
    listed = [line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")]
    packages = {path.parent.name for path in PACKAGE.rglob("__init__.py")} - {PACKAGE.name}
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert sorted(listed) == sorted(packages | modules)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_speeds_of_a_readme_are_measured(name: str) -> None:
    table = "\n".join(line for line in read(name).splitlines() if line.startswith("| "))
    speeds = re.findall(r"\d+\.\d+x", table)
    assert speeds
    assert set(speeds) <= set(re.findall(r"\d+\.\d+x", read("docs/kernels.md")))


def test_the_limits_of_the_page_on_reliability_are_in_the_source() -> None:
    rows = re.findall(
        r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|.*\(\.\./(src/\S+)\) \|$", read("docs/reliability.md"), re.MULTILINE
    )
    assert len(rows) > 5
    for names, file in rows:
        for name in re.findall(r"[A-Z_]+", names):
            assert re.search(rf"^(\w+, )?{name}\b.* = ", read(file), re.MULTILINE), f"{file} has no {name}"


@pytest.mark.parametrize("name", ["docs/extending.md", "docs/extending.zh.md"])
def test_the_page_on_extending_shows_the_tested_modules(name: str) -> None:
    page = read(name)
    shown = [ROOT / match[1] for match in INCLUDED.finditer(page)]
    assert sorted(shown) == sorted((ROOT / "tests/extending").glob("toy_*.py"))
    assert page == with_included_files(page), "python tests/docs/transcripts.py docs/extending.md shows the new content"


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
