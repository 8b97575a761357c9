"""Where a study is kept: a file, or any database that optuna and SQLAlchemy know; knows nothing of what a study is."""

import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ohlol.utils.errors import InputError, cut

try:
    import optuna
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
except ImportError:
    raise InputError("a sweep needs optuna: pip install 'ohlol[tune]'") from None

ELSEWHERE = "elsewhere"
"""Stands in a study's file for a URL that may hold a password."""


class Storage:
    """Where a study is kept: a database, by its URL, whose password is never shown or written.

    Raises:
        InputError: it is no URL of a database.
    """

    def __init__(self, given: str | None, out: Path):
        self.given = given
        try:
            self.url = make_url(given) if given else URL.create("sqlite", database=str(out / "study.db"))
        except ArgumentError:  # whose text repeats what was given
            raise InputError(
                "`storage` is no URL of a database; give one such as sqlite:///study.db or postgresql://host/name"
            ) from None
        self.shown = self.url.render_as_string(hide_password=True).partition("?")[0]

    @staticmethod
    def of(given: str | None, out: Path, about: dict[str, Any]) -> "Storage":
        """The storage of a study's directory, of which `about` is what its file says, if there is one.

        Raises:
            InputError: the URL that is given is none, is needed, or is not wanted.
        """
        written = about.get("storage") if about else given
        if about and given and written is None:
            raise InputError(f"{out} keeps its study in {out / 'study.db'}: leave out `storage`, or give another `out`")
        if written == ELSEWHERE and not given:
            raise InputError(
                f"{out}: the URL of its storage may hold a password and is not written down: give `storage`"
            )
        return Storage(given or written, out)

    @property
    def lasting(self) -> str | None:
        """The URL as it is written down: None where it is the default, and not itself where it could hold a secret."""
        return ELSEWHERE if self.given and (self.url.password or self.url.query) else self.given

    def open(self) -> optuna.storages.RDBStorage:
        """Connect to it.

        Raises:
            InputError: what speaks to such a database is not installed, or it is of another version of optuna.
        """
        options: dict[str, Any] = {"pool_pre_ping": True}  # a connection may close while an epoch lasts for hours
        if self.url.get_backend_name() == "sqlite":
            options = {"connect_args": {"timeout": 120}}  # another process writes for some milliseconds
        url = self.url.render_as_string(hide_password=False)
        try:
            try:
                return optuna.storages.RDBStorage(url, engine_kwargs=options)
            except SQLAlchemyError:  # perhaps two processes make the tables at one moment
                time.sleep(1)
                return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except (ImportError, RuntimeError) as error:
            raise InputError(f"the storage {self.shown} cannot be used: {self._without_secrets(error)}") from None

    @contextmanager
    def asked(self) -> Generator[None]:
        """Say in one line, without secrets, what the database could not do."""
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise InputError(f"the storage {self.shown} cannot be used: {self._without_secrets(error)}") from None

    def _without_secrets(self, error: Exception) -> str:
        text = str(error.__cause__ or error).strip().partition("\n")[0]
        for secret in filter(None, [self.url.password, *map(str, self.url.query.values())]):
            text = text.replace(str(secret), "***")
        return cut(text)


@contextmanager
def quiet() -> Generator[None]:
    """Without what optuna says of itself."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
