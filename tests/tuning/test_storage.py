"""The storage of a study: passwords are neither printed nor written, and a database error is one line."""

from pathlib import Path

import optuna
import pytest

from ohlol.tuning.summary import read_study_file
from ohlol.utils.errors import InputError
from tuning.studies import open_study


def test_passwords_are_neither_printed_nor_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "postgresql://me:pa%40ss@localhost:1/x?sslpassword=hidden"
    with pytest.raises(InputError) as error:
        open_study(tmp_path / "study", storage=secret)
    assert "cannot use the storage postgresql://me:***@localhost:1/x" in str(error.value)
    with pytest.raises(InputError) as other:
        open_study(tmp_path / "study", storage="pa@ss")
    assert "`storage` is not the URL of a database" in str(other.value)
    for said in (error, other):
        assert not any(word in str(said.value) for word in ("pa%40ss", "pa@ss", "hidden"))
    file = tmp_path / "shared.db"
    open_study(tmp_path / "plain", storage=f"sqlite:///{file}").close()
    assert read_study_file(tmp_path / "plain")["storage"] == f"sqlite:///{file}"
    open_study(tmp_path / "plain").close()  # its name is stored
    open_study(tmp_path / "query", storage=f"sqlite:///{file}?timeout=77").close()
    assert read_study_file(tmp_path / "query")["storage"] == "elsewhere"
    assert "77" not in (tmp_path / "query/study.json").read_text()
    with pytest.raises(InputError, match="was not written, since it may contain a password: give `storage`"):
        open_study(tmp_path / "query")
    open_study(tmp_path / "own").close()
    with pytest.raises(InputError, match=r"the study in .* uses .*study.db: leave out `storage`"):
        open_study(tmp_path / "own", storage=f"sqlite:///{file}")


def test_invalid_storages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cannot use the storage sqlite:////nowhere/x.db: .*unable to open database file"
    ):
        open_study(tmp_path / "study", storage="sqlite:////nowhere/x.db")
    (tmp_path / "rubbish.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(InputError, match=r"cannot use the storage .*file is not a database"):
        open_study(tmp_path / "study", storage=f"sqlite:///{tmp_path / 'rubbish.db'}")
    with pytest.raises(InputError, match=r"cannot use the storage .*nodriver"):
        open_study(tmp_path / "study", storage="nodriver://host/name")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    foreign = optuna.create_study(study_name="study", storage=f"sqlite:///{tmp_path / 'foreign.db'}")
    foreign.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(InputError, match="was not created by ohlol: give another `study`"):
        open_study(tmp_path / "study", storage=f"sqlite:///{tmp_path / 'foreign.db'}")
