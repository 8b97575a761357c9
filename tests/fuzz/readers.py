"""Fuzz the readers with atheris: `python tests/fuzz/readers.py [INPUTS]`; run by `make fuzz`.

Atheris watches which branches an input reaches and changes inputs towards new ones. It is no dependency: without it
this says so and ends.
"""

import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    print("atheris is not installed (pip install atheris): fuzzing left out")
    sys.exit(0)

sys.path.insert(0, str(Path(__file__).parents[1]))
with atheris.instrument_imports(include=["ohlol.data"]):
    from faults.damaged_files import FORMATS, try_to_read

INPUTS = sys.argv[1] if len(sys.argv) > 1 else "20000"


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        kinds = [
            kind for kind in FORMATS if not kind.startswith(("Parquet", "Arrow"))
        ]  # that is Arrow's own code, not ours
        seeds = Path(place) / "seeds"
        seeds.mkdir()
        for number, kind in enumerate(kinds):
            make, name, _ = FORMATS[kind]
            raw = make(Path(place) / name).read_bytes()[:400]
            (seeds / str(number)).write_bytes(bytes([number]) + raw)

        def one(data: bytes) -> None:
            if not data:
                return
            _, name, how = FORMATS[kinds[data[0] % len(kinds)]]
            path = Path(place) / name
            path.write_bytes(data[1:])
            try_to_read(path, how)

        atheris.Setup(
            [sys.argv[0], f"-runs={INPUTS}", "-max_len=600", "-rss_limit_mb=4096", "-timeout=20", str(seeds)], one
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
