"""What a release is made of: workflow files, settings of the wheels, versions, and the README as an index shows it."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCE = PROJECT["project"]["urls"]["Source"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def read_workflow(path: Path) -> dict[Any, Any]:
    """A workflow as data; YAML reads its key `on` as True."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def list_steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def make_targets() -> set[str]:
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "csrc.mk"))
    return {name for line in re.findall(r"^([\w -]+):(?!=)", text, re.MULTILINE) for name in line.split()}


def convert_readme() -> str:
    """README.md as the provider of the metadata changes it."""
    settings = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = "".join((ROOT / fragment["path"]).read_text(encoding="utf-8") for fragment in settings["fragments"])
    for substitution in settings["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    return text


def releases() -> list[str]:
    """The versions that have a section in the changelog, the newest first."""
    return re.findall(
        r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )


def test_there_is_a_workflow_for_each_purpose() -> None:
    assert {path.stem for path in WORKFLOWS} == {"test", "wheels", "docs", "release"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_bounded_and_may_only_read_by_default(path: Path) -> None:
    workflow = read_workflow(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 120, f"{name} has no time limit"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_only_what_exists(path: Path) -> None:
    workflow = read_workflow(path)
    commands = "\n".join(step.get("run", "") for step in list_steps(workflow))
    assert set(re.findall(r"^make ([\w-]+)", commands, re.MULTILINE)) <= make_targets()
    for script in re.findall(r"^bash (\S+)", commands, re.MULTILINE):
        assert (ROOT / script).is_file()
    for job in workflow["jobs"].values():
        if job.get("uses", "").startswith("./"):
            assert (ROOT / job["uses"]).is_file()


def test_only_the_job_that_publishes_gets_a_token_of_the_index() -> None:
    jobs = read_workflow(ROOT / ".github/workflows/release.yml")["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    assert jobs["publish"]["needs"] == "wheels"
    assert jobs["wheels"]["needs"] == "changelog"


def test_wheels_are_for_all_supported_versions_of_python() -> None:
    first_stable = PROJECT["tool"]["scikit-build"]["wheel"]["py-api"]
    assert PROJECT["tool"]["cibuildwheel"]["build"] == ["cp311-*", f"{first_stable}-*"]
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_a_build_without_a_compiler_makes_a_wheel_for_any_system() -> None:
    (override,) = PROJECT["tool"]["scikit-build"]["overrides"]
    assert override == {"if": {"failed": True}, "wheel": {"cmake": False, "py-api": "py3"}}


def test_no_wheel_copies_a_library_that_torch_ships() -> None:
    settings = PROJECT["tool"]["cibuildwheel"]
    for system, library in (("linux", "libgomp.so.1"), ("macos", "libomp"), ("windows", "libiomp5md.dll")):
        assert f"--exclude {library} " in settings[system]["repair-wheel-command"]


def test_the_version_of_a_source_tree_without_git_is_that_of_the_last_release() -> None:
    assert PROJECT["tool"]["setuptools_scm"]["fallback_version"] == releases()[0]


def test_every_tag_has_a_section_in_the_changelog() -> None:
    tags = subprocess.run(["git", "tag", "--list", "v[0-9]*"], cwd=ROOT, capture_output=True, text=True).stdout
    assert {tag.removeprefix("v") for tag in tags.split()} <= set(releases())


def test_the_readme_of_an_index_has_absolute_links_to_files_that_exist() -> None:
    links = re.findall(r"\]\(([^)]+)\)", convert_readme())
    pages, pictures = (
        f"{SOURCE}/blob/v$HFPR_VERSION/",
        SOURCE.replace("github", "raw.githubusercontent", 1) + "/v$HFPR_VERSION/",
    )
    local = [link.removeprefix(prefix) for link in links for prefix in (pages, pictures) if link.startswith(prefix)]
    assert len(local) > 30
    assert [link for link in links if not link.startswith("https://")] == []
    assert [path for path in local if not (ROOT / path.split("#")[0]).exists()] == []
    assert f"({pictures}docs/picture.png)" in convert_readme()


def test_the_classifiers_name_no_version_of_python_that_is_refused() -> None:
    assert not [line for line in PROJECT["project"]["classifiers"] if re.search(r":: 3\.(10|[0-9])$", line)]
