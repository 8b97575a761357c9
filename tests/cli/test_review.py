"""`ohlol review`: text, JSON, languages and exit status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ohlol.cli import main

WRONG = "import torch\nx = torch.softmax(y, 1)\nloss = torch.nn.functional.cross_entropy(x, t)\n"


def review(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["review", *arguments])
    output = capsys.readouterr()
    return end.value.code, output.out, output.err


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(WRONG)
    return path


def test_findings_are_a_result_and_no_failure(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = review(capsys, str(program), "--lang", "en")
    assert status == 0
    assert "softmax-before-loss" in out
    assert "x = y" in out
    assert review(capsys, str(program), "--strict")[0] == 1
    program.write_text("x = 1\n")
    assert review(capsys, str(program), "--strict")[0] == 0


@pytest.mark.parametrize(("lang", "word"), [("en", "logits and applies"), ("zh", "该损失的输入是 logits")])
def test_json_for_editors(program: Path, lang: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = review(capsys, str(program), "--json", "--lang", lang)
    result = json.loads(out)
    (finding,) = result["findings"]
    assert (finding["line"], finding["column"], finding["check"]) == (2, 5, "softmax-before-loss")
    assert word in finding["message"]
    assert finding["instead"] == "x = y"
    assert result["file"] == finding["file"] == str(program)
    assert "run" not in result


def test_a_run_adds_what_its_shapes_show(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.write_text(
        "import torch\nprint('hello')\n"
        "loss = torch.nn.MSELoss()\nloss(torch.zeros(4, 1), torch.zeros(4))\ntorch.nn.GRU(1, 1)(torch.zeros(1, 1, 2))\n"
    )
    status, out, _ = review(capsys, str(program), "--run", "--json", "--lang", "en")
    result = json.loads(out)
    assert status == 0
    assert [f["check"] for f in result["findings"]] == ["loss-broadcast", "wrong-shape"]
    assert result["run"]["error"].startswith("RuntimeError")
    assert result["run"]["stopped"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py"], "ohlol: missing.py: no such file"),
        (["broken.py"], "ohlol: broken.py:1: not a Python program: invalid syntax"),
        (["broken.py", "--run"], "ohlol: broken.py:1: not a Python program: invalid syntax"),
        (["right.py", "--run", "--seconds", "0"], "ohlol: --seconds is 0; it must be greater than 0"),
        (["right.py", "--lang", "fr"], "ohlol: --lang is 'fr'; it must be one of en, zh"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("x = = 1\n")
    Path("right.py").write_text("x = 1\n")
    assert review(capsys, *arguments) == (2, "", message + "\n")


def test_the_static_part_does_not_import_torch(program: Path) -> None:
    code = (
        "import sys\nfrom ohlol.cli import main\ntry:\n    main(['review', sys.argv[1]])\n"
        "except SystemExit:\n    assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(program)], check=True, capture_output=True)
