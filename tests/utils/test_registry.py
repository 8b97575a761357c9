"""Registries: names in the order of registration, unknown and duplicate names, and loading on first use."""

import sys
from pathlib import Path

import pytest

from ohlol.utils.errors import InputError
from ohlol.utils.registry import Registry


@pytest.fixture
def colours() -> Registry[int]:
    registry = Registry[int]("colour")
    registry.add("red", 0xFF0000)
    registry.add("blue", 0x0000FF)
    return registry


def test_members_have_the_order_of_their_registration(colours: Registry[int]) -> None:
    assert list(colours) == ["red", "blue"]
    assert (len(colours), colours["blue"], "red" in colours, "green" in colours) == (2, 0x0000FF, True, False)


def test_a_name_is_registered_once(colours: Registry[int]) -> None:
    colours.add("red", colours["red"])  # the same member again
    with pytest.raises(ValueError, match="the colour 'red' is registered already"):
        colours.add("red", object())  # pyright: ignore[reportArgumentType]
    assert len(colours) == 2


def test_an_unknown_name_is_refused_with_the_known_ones(colours: Registry[int]) -> None:
    assert colours.select("red") == 0xFF0000
    with pytest.raises(InputError, match="`colour` is 'green'; it must be one of red, blue"):
        colours.select("green")
    with pytest.raises(KeyError):
        colours["green"]


def test_the_package_of_the_members_is_imported_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry[str]("shape", package="shapes_of_a_test")
    holder = tmp_path / "registry_of_a_test.py"
    holder.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shapes_of_a_test.py").write_text(
        "from registry_of_a_test import SHAPES\nSHAPES.add('disc', 'round')\n"
    )
    import registry_of_a_test  # pyright: ignore[reportMissingImports]

    registry_of_a_test.SHAPES = registry
    registry.add("mine", "own")  # adding imports nothing
    assert "shapes_of_a_test" not in sys.modules
    assert dict(registry) == {"mine": "own", "disc": "round"}
    for name in ("registry_of_a_test", "shapes_of_a_test"):
        monkeypatch.delitem(sys.modules, name)
