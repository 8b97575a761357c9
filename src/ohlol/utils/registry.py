"""Registries: the members of an extension point by name, each registered by its own module."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar

from ohlol.utils.errors import InputError, shorten
from ohlol.utils.translation import join_list

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """The members of an extension point by name, in the order in which they were registered.

    Args:
        kind: what a member is called in messages: "cell", "head", "task" or "format".
        package: the package whose import registers the members that ohlol brings; it is imported on first use.

    >>> colours = Registry[int]("colour")
    >>> colours.add("red", 0xFF0000)
    >>> list(colours), "red" in colours
    (['red'], True)
    """

    def __init__(self, kind: str, package: str = ""):
        self.kind = kind
        self._package = package
        self._members: dict[str, T] = {}

    def add(self, name: str, member: T) -> None:
        """Register a member.

        Raises:
            ValueError: another member has this name.
        """
        if self._members.get(name, member) is not member:
            raise ValueError(f"the {self.kind} {name!r} is registered already")
        self._members[name] = member

    def select(self, name: str) -> T:
        """The member of a name that a user gave.

        Raises:
            InputError: there is none; the message lists those there are.
        """
        if name not in self:
            raise InputError(
                "`{name}` is {value}; it must be one of {choices}",
                name=self.kind,
                value=shorten(repr(name)),
                choices=join_list(self),
            )
        return self[name]

    def _loaded(self) -> dict[str, T]:
        if self._package:
            package, self._package = self._package, ""
            import_module(package)
        return self._members

    def __getitem__(self, name: str) -> T:
        return self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())
