"""A study in its storage: what is proposed, what other machines leave, and databases that do not work."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from helpers import upper_pairs

import ohlol
from ohlol.tasks import TASKS
from ohlol.tuning import study as room
from ohlol.tuning.samplers import Proposer, distribution_of, pruner_of
from ohlol.tuning.space import OTHERS, Space, chosen, parse
from ohlol.tuning.storage import Storage
from ohlol.tuning.study import GRACE, Study, load_board
from ohlol.tuning.summary import Lost, is_study, read_file
from ohlol.utils.errors import InputError
from ohlol.utils.files import write_json

SPACE = chosen(["cell=gru,lstm", "lr=1e-4:1e-2:log"], {}, "label", "char")
FIRST = {"cell": "lstm", "lr": 0.002}
MADE_FOR = {"data": "0" * 64, "score": "accuracy", "search": list(SPACE.texts.values()), "settings": {"epochs": 3}}


def opened(out: Path, space: Space = SPACE, storage: str | None = None, **made_for: Any) -> Study:
    out.mkdir(exist_ok=True)
    about = read_file(out) if is_study(out) else {}
    study = Study(
        out, Storage.of(storage, out, about), "study", space=space, seed=1, first=space.nearest_to(FIRST),
        made_for=MADE_FOR | {"search": list(space.texts.values())} | made_for,
    )  # fmt: skip
    study.prune_by("auto", 20, 3)
    return study


def test_every_range_is_one_of_optunas() -> None:
    for text in {
        text for task in TASKS.values() for level in ("char", "word") for text in task.search_space(level)
    } | set(OTHERS):
        one = parse(text)
        distribution = distribution_of(one)  # a warning would fail this test
        for value in one.values or (one.low, one.high):
            assert distribution._contains(distribution.to_internal_repr(value))


def test_what_is_proposed_depends_on_seed_number_and_history_alone(tmp_path: Path) -> None:
    def proposals(seed: int, stop: int = 0) -> list[dict[str, Any]]:
        study = optuna.create_study(direction="maximize", sampler=Proposer(SPACE, seed))
        for n in range(16):
            if n == stop:  # another process goes on
                study.sampler = Proposer(SPACE, seed)
            trial = study.ask(Proposer(SPACE, 0).distributions)
            study.tell(trial, -abs(trial.params["lr"] - 0.003))
        return [trial.params for trial in study.trials]

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    assert proposals(1) == proposals(1, stop=13)
    assert proposals(1) != proposals(2)


def test_no_settings_are_proposed_twice() -> None:
    space = chosen(["cell=rnn,gru,lstm", "num_layers=1:4"], {}, "label", "char")
    study = optuna.create_study(direction="maximize", sampler=Proposer(space, 0))
    for _ in range(12):
        study.tell(study.ask(Proposer(space, 0).distributions), 1.0)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == space.size == 12


@pytest.mark.parametrize(
    ("kind", "trials", "epochs", "name"),
    [
        ("auto", 20, 15, "median"),
        ("auto", 59, 15, "median"),
        ("auto", 60, 15, "hyperband"),
        ("auto", 1000, 2, "median"),
        ("median", 1000, 15, "median"),
        ("hyperband", 5, 15, "hyperband"),
        ("none", 20, 15, "none"),
    ],
)
def test_the_pruner_fits_the_number_of_trials(kind: str, trials: int, epochs: int, name: str) -> None:
    assert pruner_of(kind, trials, epochs)[0] == name


def test_trials_of_two_processes_and_of_one_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = opened(tmp_path / "study"), opened(tmp_path / "study")
    first, second = one.take(3), two.take(3)
    assert first is not None
    assert second is not None
    assert (first.number, first.is_default, first.settings) == (0, True, FIRST)
    assert (second.number, second.is_default) == (1, False)
    one.report(first, 1, 0.5)
    later = time.time() + GRACE + 1
    monkeypatch.setattr(room.time, "time", lambda: later)
    assert two.take(2) is None  # it gave no sign for long, and yet it is there
    one.close()  # as the system does for a process that ends
    again = two.take(3)
    assert again is not None
    assert (again.number, again.again, again.settings, again.reported) == (0, True, FIRST, {1: 0.5})
    two.report(again, 1, 0.5)  # which the study knows already
    third = two.take(3)
    assert third is not None
    assert third.number == 2
    assert two.take(3) is None
    two.tell(again, "complete", scores={"accuracy": 0.7, "loss": 1.0})
    two.tell(second, "pruned")
    two.tell(third, "failed", why="it did")
    assert two.take(3) is None
    board = two.board()
    assert [(t.number, t.state, t.score, t.why) for t in board.trials] == [
        (0, "complete", 0.7, ""), (1, "pruned", None, ""), (2, "failed", None, "it did"),
    ]  # fmt: skip
    two.close()


def test_what_another_machine_left_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(room.socket, "gethostname", lambda: "elsewhere")
        there = opened(tmp_path / "there", storage=url)
        left = there.take(3), there.take(3)
    here = opened(tmp_path / "here", storage=url)
    third = here.take(3)
    assert third is not None
    assert third.number == 2
    assert here.take(3) is None  # three are at work
    later = time.time() + GRACE + 1
    monkeypatch.setattr(room.time, "time", lambda: later)
    third.handle.set_user_attr("seen", later)
    anew = here.take(3), here.take(3)
    assert here.take(3) is None
    for before, after in zip(left, (anew[1], anew[0]), strict=True):
        assert before is not None
        assert after is not None
        assert after.number > 2
        assert after.is_default == before.is_default
        assert after.settings == before.settings
    assert [t.number for t in here.board().trials] == [2, 3, 4]
    assert {t.host for t in here.board().trials} != {"elsewhere"}
    with pytest.raises(Lost):  # the machine comes back
        there.report(left[0], 1, 0.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(Lost):
        there.tell(left[0], "complete", scores={"accuracy": 1.0, "loss": 1.0})  # pyright: ignore[reportArgumentType]
    left[0].signed = 0.0  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(Lost):
        there.sign(left[0])  # pyright: ignore[reportArgumentType]
    there.close()
    here.close()


def test_where_no_system_tells_who_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.locks, "fcntl", None)
    one, two = opened(tmp_path / "study"), opened(tmp_path / "study")
    first = one.take(1)
    assert first is not None
    assert two.take(1) is None
    later = time.time() + GRACE + 1
    monkeypatch.setattr(room.time, "time", lambda: later)
    anew = two.take(1)
    assert anew is not None
    assert (anew.number, anew.settings, anew.again) == (1, first.settings, False)
    one.close()
    two.close()


def test_a_machine_that_was_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one, two = opened(tmp_path / "one", storage=url), opened(tmp_path / "two", storage=url)
    ask = one._study.ask

    def late() -> optuna.Trial:
        assert two.take(1) is not None  # between our counting and our asking
        return ask()

    monkeypatch.setattr(one._study, "ask", late)
    assert one.take(1) is None
    assert len(two.board().trials) == 1
    one.close()
    two.close()


def test_a_trial_whose_process_ended_before_it_was_anybodys(tmp_path: Path) -> None:
    study = opened(tmp_path / "study")
    study._study.ask()
    taken = [study.take(2), study.take(2)]
    assert [one.number for one in taken if one is not None] == [1, 2]
    assert [t.number for t in study.board().trials] == [1, 2]
    study.close()


def test_passwords_are_neither_shown_nor_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "postgresql://me:pa%40ss@localhost:1/x?sslpassword=hidden"
    with pytest.raises(InputError) as error:
        opened(tmp_path / "study", storage=secret)
    assert "postgresql://me:***@localhost:1/x cannot be used" in str(error.value)
    with pytest.raises(InputError) as other:
        opened(tmp_path / "study", storage="pa@ss")
    assert "`storage` is no URL of a database" in str(other.value)
    for said in (error, other):
        assert not any(word in str(said.value) for word in ("pa%40ss", "pa@ss", "hidden"))
    file = tmp_path / "shared.db"
    opened(tmp_path / "plain", storage=f"sqlite:///{file}").close()
    assert read_file(tmp_path / "plain")["storage"] == f"sqlite:///{file}"
    opened(tmp_path / "plain").close()  # it is written down
    opened(tmp_path / "query", storage=f"sqlite:///{file}?timeout=77").close()
    assert read_file(tmp_path / "query")["storage"] == "elsewhere"
    assert "77" not in (tmp_path / "query/study.json").read_text()
    with pytest.raises(InputError, match="may hold a password and is not written down: give `storage`"):
        opened(tmp_path / "query")
    opened(tmp_path / "own").close()
    with pytest.raises(InputError, match=r"keeps its study in .*study.db: leave out `storage`"):
        opened(tmp_path / "own", storage=f"sqlite:///{file}")


def test_storages_that_do_not_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sqlite:////nowhere/x.db cannot be used: .*unable to open database file"):
        opened(tmp_path / "study", storage="sqlite:////nowhere/x.db")
    (tmp_path / "rubbish.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(InputError, match=r"cannot be used: .*file is not a database"):
        opened(tmp_path / "study", storage=f"sqlite:///{tmp_path / 'rubbish.db'}")
    with pytest.raises(InputError, match=r"cannot be used: .*nodriver"):
        opened(tmp_path / "study", storage="nodriver://host/name")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    foreign = optuna.create_study(study_name="study", storage=f"sqlite:///{tmp_path / 'foreign.db'}")
    foreign.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(InputError, match="is none of ohlol's: give another `study`"):
        opened(tmp_path / "study", storage=f"sqlite:///{tmp_path / 'foreign.db'}")


def test_directories_that_are_no_studies(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no study; `ohlol tune` makes one"):
        load_board(tmp_path)
    for found, said in (
        ({"format": 9, "study": "x"}, "not that of a study that this version"),
        ({"format": 2}, "not that of a study"),
        ({"format": 2, "study": "x", "storage": 5}, "does not say where"),
        ({"format": 2, "study": "x", "storage": None}, "has no study.db"),
        ({"format": 2, "study": "x", "storage": "\0"}, "`storage` is no URL"),
    ):
        write_json(tmp_path / "study.json", found)
        with pytest.raises(InputError, match=said):
            load_board(tmp_path)
    opened(tmp_path / "study").close()
    write_json(tmp_path / "study/study.json", {"format": 2, "study": "gone", "storage": None})
    with pytest.raises(InputError, match="holds no study gone"):
        load_board(tmp_path / "study")


def test_without_optuna_there_is_one_line(tmp_path: Path) -> None:
    data = upper_pairs(tmp_path / "data.tsv")
    code = "import sys; sys.modules['optuna'] = None; from ohlol.cli import main; main(sys.argv[1:])"
    for arguments in (["tune", str(data), "--out", str(tmp_path / "study")], ["plot", str(tmp_path / "study")]):
        if arguments[0] == "plot":
            (tmp_path / "study").mkdir(exist_ok=True)
            write_json(tmp_path / "study/study.json", {"format": 2, "study": "x", "storage": None})
        found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert (found.returncode, found.stderr) == (2, "ohlol: a sweep needs optuna: pip install 'ohlol[tune]'\n")
    assert callable(ohlol.tune)


def test_help_does_not_wait_for_optuna() -> None:
    code = "import sys, ohlol.cli; assert not {'optuna', 'sqlalchemy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
