"""How a file is read, and why: the line that `ohlol train` prints before it trains."""

from dataclasses import dataclass

from ohlol.config import DataSettings
from ohlol.data.readers.column_names import list_names, split_names

READ_BY = {"char": "by character", "word": "by word"}


@dataclass(frozen=True)
class Interpretation:
    """How a file is read, and why."""

    file: str
    """As messages name it."""
    settings: DataSettings
    """Complete."""
    reason: str
    """Why it has its format."""
    names: tuple[str, ...] = ()
    """The names of all columns of a table; empty where a file is no table."""

    @property
    def unread(self) -> tuple[str, ...]:
        """The columns of a table that are not read."""
        settings = self.settings
        if not self.names:
            return ()
        chosen = [name for names in (settings.input, settings.target) if names for name in _columns(names, self.names)]
        read = {name if name in self.names else self.names[int(name) - 1] for name in chosen}
        return tuple(name for name in self.names if name not in read)

    def __str__(self) -> str:
        """One line: file, format with the reason, task, columns and level."""
        settings = self.settings
        parts = [f"{self.file}: {settings.format} ({self.reason})", f"task {settings.task}"]
        if settings.input and settings.input == settings.target:
            parts.append(f"input and target {_listed(settings.input, self.names)}")
        else:
            columns = (("input", settings.input), ("target", settings.target))
            parts += [f"{role} {_listed(names, self.names)}" for role, names in columns if names]
        parts += [READ_BY[settings.level]] if settings.level else []
        parts += [f"decimal mark {settings.decimal!r}"] if settings.decimal else []
        parts += [f"thousands separator {settings.thousands!r}"] if settings.thousands else []
        parts += [f"labels separated by {settings.label_separator!r}"] if settings.label_separator else []
        parts += [f"sheet {settings.sheet!r}"] if settings.sheet else []
        parts += [f"encoding {settings.encoding}"] if settings.encoding else []
        return ", ".join(parts) + (f"; not read: {list_names(self.unread)}" if self.unread else "")


def _columns(setting: str, names: tuple[str, ...]) -> list[str]:
    return [setting] if setting in names or not names else split_names(setting)


def _listed(setting: str, names: tuple[str, ...]) -> str:
    return list_names(tuple(_columns(setting, names)))
