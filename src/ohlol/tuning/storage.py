"""The storage of a study: a file, or any database that optuna and SQLAlchemy support."""

import tempfile
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ohlol.tuning.summary import OPTUNA_IS_MISSING
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.files import write_bytes

try:
    import optuna
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
except ImportError:
    raise InputError(OPTUNA_IS_MISSING) from None

NOT_WRITTEN = "elsewhere"
"""Stands in a study's file for a URL that may contain a password."""
SQLITE_TIMEOUT = 120
"""Seconds to wait for another process that writes to the file; a write takes milliseconds."""


class Storage:
    """The database of a study, by its URL, whose password is never shown or written.

    Args:
        stated: the URL that the user gave; None for a file in the directory of the study.
        out: the directory of the study.

    Raises:
        InputError: it is not the URL of a database.
    """

    def __init__(self, stated: str | None, out: Path):
        self.stated = stated
        try:
            self.url = make_url(stated) if stated else URL.create("sqlite", database=str(out / "study.db"))
        except ArgumentError:  # its text repeats the URL
            raise InputError(
                "`storage` is not the URL of a database; give one such as sqlite:///study.db or postgresql://host/name"
            ) from None
        try:
            self.shown = self.url.render_as_string(hide_password=True).partition("?")[0]
        except UnicodeEncodeError:
            raise InputError(
                "`out` is {out}, which is not UTF-8; the URL of a database must be UTF-8, so give another `out`",
                out=out,
            ) from None

    @staticmethod
    def select(stated: str | None, out: Path, study_file: dict[str, Any]) -> "Storage":
        """The storage of a study: the one its file names, or the one the user gave.

        Args:
            stated: the URL that the user gave, if any.
            out: the directory of the study.
            study_file: the contents of its file; empty for a new study.

        Raises:
            InputError: the URL is malformed, missing, or given for a study that has its own file.
        """
        written = study_file.get("storage") if study_file else stated
        if study_file and stated and written is None:
            raise InputError(
                "the study in {out} uses {file}: leave out `storage`, or give another `out`",
                out=out,
                file=out / "study.db",
            )
        if written == NOT_WRITTEN and not stated:
            raise InputError(
                "{out}: the URL of its storage was not written, since it may contain a password: give `storage`",
                out=out,
            )
        return Storage(stated or written, out)

    @property
    def written(self) -> str | None:
        """The URL as the study's file has it: None for the default, `NOT_WRITTEN` where it may contain a password."""
        return NOT_WRITTEN if self.stated and (self.url.password or self.url.query) else self.stated

    def open(self) -> optuna.storages.RDBStorage:
        """Connect to the database.

        Raises:
            InputError: its driver is not installed, or it was written by another version of optuna.
        """
        options: dict[str, Any] = {"pool_pre_ping": True}  # a connection may be closed during an epoch of hours
        if self.url.get_backend_name() == "sqlite":
            options = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
        if self.stated is None:
            _create_database(Path(self.url.database or ""))
        url = self.url.render_as_string(hide_password=False)
        try:
            try:
                return optuna.storages.RDBStorage(url, engine_kwargs=options)
            except SQLAlchemyError:  # two processes may create the tables at the same time
                time.sleep(1)
                return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except (ImportError, RuntimeError) as error:
            raise InputError(
                "cannot use the storage {shown}: {error}", shown=self.shown, error=self._without_secrets(error)
            ) from None

    @contextmanager
    def report_errors(self) -> Generator[None]:
        """Turn errors of the database into an InputError of one line without secrets."""
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise InputError(
                "cannot use the storage {shown}: {error}", shown=self.shown, error=self._without_secrets(error)
            ) from None

    def _without_secrets(self, error: Exception) -> str:
        text = str(error.__cause__ or error).strip().partition("\n")[0]
        for secret in filter(None, [self.url.password, *map(str, self.url.query.values())]):
            text = text.replace(str(secret), "***")
        return shorten(text)


def _create_database(path: Path) -> None:
    """Create a file with the tables of optuna, unless it exists; completely or not at all.

    Optuna creates tables and indexes one by one. A process that is killed meanwhile would leave a database without
    the index that keeps names unique, and every later process would create the study again.
    """
    if path.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / path.name
        storage = optuna.storages.RDBStorage(f"sqlite:///{new}")
        storage.remove_session()
        storage.engine.dispose()
        write_bytes(path, new.read_bytes())


@contextmanager
def silence_optuna() -> Generator[None]:
    """Suppress the log messages and the warnings about experimental features of optuna."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
