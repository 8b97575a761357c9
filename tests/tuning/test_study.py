"""A study in its storage: claims of trials, trials abandoned by other machines, and invalid studies."""

import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from helpers import upper_pairs

import ohlol
from ohlol.tuning import study as study_module
from ohlol.tuning.study import GRACE_PERIOD, load_summary
from ohlol.tuning.summary import TrialLost
from ohlol.utils.errors import InputError
from ohlol.utils.files import write_json
from tuning.studies import FIRST, open_study


def test_two_processes_claim_trials_and_resume_an_abandoned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = open_study(tmp_path / "study"), open_study(tmp_path / "study")
    first, second = one.claim_trial(3), two.claim_trial(3)
    assert first is not None
    assert second is not None
    assert (first.number, first.is_default, first.settings) == (0, True, FIRST)
    assert (second.number, second.is_default) == (1, False)
    one.report_epoch(first, 1, 0.5)
    later = time.time() + GRACE_PERIOD + 1
    monkeypatch.setattr(study_module.time, "time", lambda: later)
    assert two.claim_trial(2) is None  # no heartbeat, but the process still holds its lock
    one.close()  # releases the lock, as the end of a process does
    again = two.claim_trial(3)
    assert again is not None
    assert (again.number, again.is_continued, again.settings, again.reported) == (0, True, FIRST, {1: 0.5})
    two.report_epoch(again, 1, 0.5)  # already reported by the first process
    third = two.claim_trial(3)
    assert third is not None
    assert third.number == 2
    assert two.claim_trial(3) is None
    two.finish_trial(again, "complete", metrics={"accuracy": 0.7, "loss": 1.0})
    two.finish_trial(second, "pruned")
    two.finish_trial(third, "failed", reason="it did")
    assert two.claim_trial(3) is None
    summary = two.summarize()
    assert [(t.number, t.state, t.value, t.reason) for t in summary.trials] == [
        (0, "complete", 0.7, ""), (1, "pruned", None, ""), (2, "failed", None, "it did"),
    ]  # fmt: skip
    two.close()


def test_an_abandoned_trial_of_another_machine_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(study_module.socket, "gethostname", lambda: "elsewhere")
        there = open_study(tmp_path / "there", storage=url)
        left = there.claim_trial(3), there.claim_trial(3)
    here = open_study(tmp_path / "here", storage=url)
    third = here.claim_trial(3)
    assert third is not None
    assert third.number == 2
    assert here.claim_trial(3) is None  # three trials are running
    later = time.time() + GRACE_PERIOD + 1
    monkeypatch.setattr(study_module.time, "time", lambda: later)
    third.handle.set_user_attr("heartbeat", later)
    anew = here.claim_trial(3), here.claim_trial(3)
    assert here.claim_trial(3) is None
    for before, after in zip(left, (anew[1], anew[0]), strict=True):
        assert before is not None
        assert after is not None
        assert after.number > 2
        assert after.is_default == before.is_default
        assert after.settings == before.settings
    assert [t.number for t in here.summarize().trials] == [2, 3, 4]
    assert {t.host for t in here.summarize().trials} != {"elsewhere"}
    with pytest.raises(TrialLost):  # the first machine continues
        there.report_epoch(left[0], 1, 0.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TrialLost):
        there.finish_trial(left[0], "complete", metrics={"accuracy": 1.0, "loss": 1.0})  # pyright: ignore[reportArgumentType]
    left[0].last_heartbeat = 0.0  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(TrialLost):
        there.send_heartbeat(left[0])  # pyright: ignore[reportArgumentType]
    there.close()
    here.close()


def test_abandoned_trials_without_file_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module.locks, "fcntl", None)
    one, two = open_study(tmp_path / "study"), open_study(tmp_path / "study")
    first = one.claim_trial(1)
    assert first is not None
    assert two.claim_trial(1) is None
    later = time.time() + GRACE_PERIOD + 1
    monkeypatch.setattr(study_module.time, "time", lambda: later)
    anew = two.claim_trial(1)
    assert anew is not None
    assert (anew.number, anew.settings, anew.is_continued) == (1, first.settings, False)
    one.close()
    two.close()


def test_a_race_for_the_last_trial_has_one_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one, two = open_study(tmp_path / "one", storage=url), open_study(tmp_path / "two", storage=url)
    ask = one._study.ask

    def late() -> optuna.Trial:
        assert two.claim_trial(1) is not None  # after `one` counted the trials and before it asks for one
        return ask()

    monkeypatch.setattr(one._study, "ask", late)
    assert one.claim_trial(1) is None
    assert len(two.summarize().trials) == 1
    one.close()
    two.close()


def test_a_trial_without_owner_is_not_counted(tmp_path: Path) -> None:
    study = open_study(tmp_path / "study")
    study._study.ask()
    taken = [study.claim_trial(2), study.claim_trial(2)]
    assert [one.number for one in taken if one is not None] == [1, 2]
    assert [t.number for t in study.summarize().trials] == [1, 2]
    study.close()


def test_directories_without_a_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no study; `ohlol tune` creates one"):
        load_summary(tmp_path)
    for found, said in (
        ({"format": 9, "study": "x"}, "is not the file of a study that this version"),
        ({"format": 2}, "is not the file of a study"),
        ({"format": 2, "study": "x", "storage": 5}, "does not name the storage"),
        ({"format": 2, "study": "x", "storage": None}, "study.db, the storage of its study, is missing"),
        ({"format": 2, "study": "x", "storage": "\0"}, "`storage` is not the URL"),
    ):
        write_json(tmp_path / "study.json", found)
        with pytest.raises(InputError, match=said):
            load_summary(tmp_path)
    open_study(tmp_path / "study").close()
    write_json(tmp_path / "study/study.json", {"format": 2, "study": "gone", "storage": None})
    with pytest.raises(InputError, match="contains no study gone"):
        load_summary(tmp_path / "study")


def test_a_missing_optuna_is_reported_in_one_line(tmp_path: Path) -> None:
    data = upper_pairs(tmp_path / "data.tsv")
    code = "import sys; sys.modules['optuna'] = None; from ohlol.cli import main; main(sys.argv[1:])"
    for arguments in (["tune", str(data), "--out", str(tmp_path / "study")], ["plot", str(tmp_path / "study")]):
        if arguments[0] == "plot":
            (tmp_path / "study").mkdir(exist_ok=True)
            write_json(tmp_path / "study/study.json", {"format": 2, "study": "x", "storage": None})
        found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert (found.returncode, found.stderr) == (2, "ohlol: tuning needs optuna: pip install 'ohlol[tune]'\n")
    assert callable(ohlol.tune)


def test_help_does_not_wait_for_optuna() -> None:
    code = "import sys, ohlol.cli; assert not {'optuna', 'sqlalchemy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
