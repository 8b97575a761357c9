"""The comparison of other projects' tests: which differences fail it, and a small project run with both classes."""

from pathlib import Path

import compare
import pytest
from compare import Expected, Run, Suite

KNOWN = Expected("*::test_known*", "passed", "failed", "why")

PROJECT = """
import pytest
import torch
from os import only_in_an_older_version

LAYER = torch.nn.LSTM

def test_a_layer_runs():
    assert torch.nn.modules.rnn.LSTM is LAYER
    assert LAYER(3, 4)(torch.rand(2, 1, 3))[0].shape == (2, 1, 4)
    assert LAYER(3, 4, proj_size=2)(torch.rand(2, 1, 3))[0].shape == (2, 1, 2)

def test_the_class_is_named():
    assert LAYER.__module__.startswith("torch.")

def test_no_option_is_new():
    assert not hasattr(LAYER(3, 4), "regularization")

def test_random_numbers_are_the_same():
    assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(0))

@pytest.mark.skip
def test_skipped(): ...

@pytest.mark.xfail  # in a suite that this test writes: the comparison must count such an outcome
def test_fails():
    assert False

@pytest.fixture
def broken():
    raise ValueError

def test_error(broken): ...
"""

SUITE = """
[suites.small]
from = "checkout"
package = "project"
tests = ["test_project.py"]
options = ["--define=os.only_in_an_older_version"]

[[suites.small.expected]]
tests = "*::test_the_class_is_named"
torch = "passed"
ohlol = "failed"
reason = "the class is another"
"""


def run_of(**outcomes: str) -> Run:
    return Run({f"t.py::test_{name}": outcome for name, outcome in outcomes.items()}, {}, {"kernels": 1})


def test_the_outcomes_are_compared_test_by_test() -> None:
    torch = run_of(same="failed", known="passed", known_otherwise="passed", gone="passed")
    ohlol = run_of(same="failed", known="failed", known_otherwise="error", new="passed")
    comparison = compare.compare(torch, ohlol, [KNOWN])
    assert comparison.expected == {"t.py::test_known": KNOWN}
    assert comparison.unexpected == {
        "t.py::test_known_otherwise": ("passed", "error"),
        "t.py::test_gone": ("passed", "absent"),
        "t.py::test_new": ("absent", "passed"),
    }
    assert comparison.gone == []


def test_what_fails_a_comparison() -> None:
    suite = Suite("s", "wheel", ["t.py"], expected=[KNOWN])
    same = run_of(known="passed", other="passed")
    problems = compare.find_problems(suite, same, same, compare.compare(same, same, suite.expected))
    assert problems == ["no difference in *::test_known*: why"]
    none = Run({}, {}, {})
    suite = Suite("s", "wheel", ["t.py"])
    assert compare.find_problems(suite, none, none, compare.compare(none, none, [])) == [
        "no test ran",
        "no call ran in the kernels",
    ]
    failing = run_of(other="failed", skipped="skipped")
    assert compare.find_problems(suite, failing, failing, compare.compare(failing, failing, [])) == [
        "no test passed with torch's classes"
    ]
    before, after = (
        run_of(other="passed"),
        Run({"t.py::test_other": "failed"}, {"t.py::test_other": "E"}, {"kernels": 1}),
    )
    assert compare.find_problems(suite, before, after, compare.compare(before, after, [])) == [
        "t.py::test_other: passed with torch's classes, failed with ohlol's: E"
    ]


def test_the_suites_are_complete() -> None:
    suites = compare.read_suites(compare.HERE / "suites.toml")
    for suite in suites.values():
        assert suite.origin in ("debian", "sdist", "wheel", "checkout")
        assert suite.tests
        assert suite.package if suite.origin in ("debian", "checkout") else suite.install
        assert bool(suite.release) == (suite.origin == "debian")
        for expected in suite.expected:
            assert expected.torch != expected.ohlol
            assert expected.reason


@pytest.mark.slow
def test_a_project_is_run_with_both_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the environment to the table: one difference is expected, and another one fails."""
    project = tmp_path / "checkouts" / "project"
    project.mkdir(parents=True)
    (project / "test_project.py").write_text(PROJECT)
    (tmp_path / "suites.toml").write_text(SUITE)
    arguments = ["--cache", str(tmp_path / "cache"), "--checkouts", str(tmp_path / "checkouts")]
    assert compare.main(arguments, tmp_path / "suites.toml") == 1
    out = capsys.readouterr().out
    counts = "4 passed, 1 error, 1 skipped, 1 xfailed", "2 passed, 2 failed, 1 error, 1 skipped, 1 xfailed"
    assert f"| small | {counts[0]} | {counts[1]} | 1 | 2 |" in out
    assert "small: 1 expected: the class is another" in out
    assert "test_no_option_is_new: passed with torch's classes, failed with ohlol's: " in out


def test_expected_differences_do_not_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {"torch": run_of(the_class_is_named="passed"), "ohlol": run_of(the_class_is_named="failed")}
    monkeypatch.setattr(compare, "install", lambda *_: Path("python"))
    monkeypatch.setattr(compare, "run", lambda *arguments: runs[arguments[3]])
    (tmp_path / "suites.toml").write_text(SUITE)
    (tmp_path / "project").mkdir()
    arguments = ["small", "--cache", str(tmp_path), "--checkouts", str(tmp_path)]
    assert compare.main(arguments, tmp_path / "suites.toml") == 0
    assert "| small | 1 passed | 1 failed | 1 | 1 |" in capsys.readouterr().out


def test_a_checkout_that_is_absent_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "suites.toml").write_text(SUITE)
    for names in (["small"], []):
        assert compare.main([*names, "--cache", str(tmp_path)], tmp_path / "suites.toml") == 1
        out = capsys.readouterr().out
        assert "small: not run: needs a checkout of project below --checkouts" in out
        assert out.endswith("0 of 1 suites were run\n")
