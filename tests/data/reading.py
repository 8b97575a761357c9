"""Helpers of the tests of readers."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ohlol.config import DataSettings
from ohlol.data.sequences import read
from ohlol.utils.errors import InputError

DATA = Path(os.environ.get("OHLOL_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}; set OHLOL_DATA")
slow_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
Write = Callable[[str, str | bytes], Path]
"""Writes a file of a name and a content."""


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
