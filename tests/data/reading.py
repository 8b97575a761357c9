"""Helpers of the tests of readers."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from ohlol.config import DataSettings
from ohlol.data.panel import Panel, TimeStep
from ohlol.data.sequences import PanelData, read, read_panel
from ohlol.utils.errors import InputError

DATA = Path(os.environ.get("OHLOL_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}; set OHLOL_DATA")
slow_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
Write = Callable[[str, str | bytes], Path]
"""Writes a file of a name and a content."""


DAILY = TimeStep("s", 86400)
WAVE = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
"""Numbers that neither count nor repeat in a cycle."""
TEXTS = [f"text {n * 7919 % 101}" for n in range(100)]
"""Different texts."""


def table_of(header: str, *columns: Any, mark: str = ",") -> str:
    """A CSV text of columns."""
    rows = zip(*columns, strict=True)
    return "\n".join([header, *(mark.join(map(str, row)) for row in rows)]) + "\n"


def days(count: int, start: str = "2020-01-01", step: int = 1) -> list[str]:
    return [str(np.datetime64(start) + day) for day in range(0, count * step, step)]


def read_error(path: Path, chosen: DataSettings | None = None, *, with_targets: bool = True) -> str:
    """The error message for a file, without its directory."""
    with pytest.raises(InputError) as caught:
        read(path, chosen, with_targets=with_targets)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}{os.sep}", "")


CONLLU = """\
# sent_id = 1
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVB\t_\t_\t_\t_\t_
2\tn't\tnot\tPART\tRB\t_\t_\t_\t_\t_
2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
3\t1 000\t1 000\tNUM\tCD\t_\t_\t_\t_\t_

# text = # 1.5
1\t#\t#\tSYM\tNN\t_\t_\t_\t_\t_
2\t1.5\t1.5\tNUM\tCD\t_\t_\t_\t_\t_
"""


def panel_of(path: Path, **chosen: Any) -> PanelData:
    return read_panel(path, DataSettings(**chosen))


def rows_of(panel: Panel) -> dict[str, list[list[float]]]:
    """The rows of each series; NaN is None."""
    return {one.name: [[None if v != v else v for v in row] for row in one.values.tolist()] for one in panel.series}  # type: ignore


def panel_error(path: Path, **chosen: Any) -> str:
    """The error message for a file, without its directory."""
    with pytest.raises(InputError) as caught:
        panel_of(path, **chosen)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}/", "")


WIDE = 'name,region,V1,V2,V3,V4,V5\n"H1",x,1,2,,4,5\nH2,y,7,8,9,,\n'
