"""Corpora larger than memory, and several processes: what they cost here, each figure of docs/scale.md.

    python benchmarks/scale.py memory FOLDER [--kinds text pairs csv parquet] [--megabytes 30 125 500 2000]
    python benchmarks/scale.py processes FOLDER [--rounds 5]
    python benchmarks/scale.py generate FILE --megabytes 30

`memory` generates data, encodes them by one process and by two, trains on them until some steps are saved, ends that
with SIGTERM as a user would, goes on with `--resume`, and prints a line of a table for each size. A peak is the largest
resident set of one process (what the system counts: `VmHWM`), seconds are those of the processor, which other
programs lengthen little. What was generated is removed.

`processes` times one process and two in turns, a thread each.
"""

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from safetensors import safe_open

LETTERS = "abcdefghijklmnopqrstuvwxyzéèàçñöüå的一是不了在人有我他这中大来上国"
WORDS, LINE = 20_000, 12
"""Different words, and how many stand in a line."""
KINDS = {
    "text": ("txt", []),
    "pairs": ("tsv", []),
    "csv": ("csv", ["--input", "text", "--target", "kind"]),
    "parquet": ("parquet", ["--input", "text", "--target", "kind"]),
}
"""For each kind of data the suffix of its file and what `encode` is told."""
SAVED, MORE = 300, 100
"""Steps that are saved before training is stopped, and steps after it went on."""
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
OHLOL = [sys.executable, "-m", "ohlol"]
MB = 1_000_000


def lines(megabytes: float, seed: int = 0) -> Iterator[list[str]]:
    """Lines of words, some megabytes at a time; they are the same for a seed."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(2, 10, WORDS)
    words = np.array(["".join(chance.choice(list(LETTERS), n)) for n in lengths], object)
    left = megabytes * MB
    while left > 0:
        made = [" ".join(row) for row in words[chance.integers(0, WORDS, (1 << 15, LINE))].tolist()]
        size = sum(len(line.encode()) + 1 for line in made)
        if size > left:
            made = made[: max(1, int(len(made) * left / size))]
        left -= size
        yield made


def generate(path: Path, kind: str, megabytes: float) -> None:
    """Write a file of one kind: a text, pairs with a label a character, or lines with a class."""
    vowels = str.maketrans({letter: "v" if letter in "aeiouéèàöüå" else "c" for letter in LETTERS})
    if kind == "parquet":
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        with parquet.ParquetWriter(path, arrow.schema({"text": arrow.string(), "kind": arrow.string()})) as file:
            for made in lines(megabytes):
                file.write_table(arrow.table({"text": made, "kind": [line[0] for line in made]}))
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if kind == "csv":  # every eighth cell holds a line end, and stands in quotes
            rows = csv.writer(file)
            rows.writerow(["text", "kind"])
            for made in lines(megabytes):
                rows.writerows(
                    (line.replace(" ", "\n", 1) if i % 8 == 0 else line, line[0]) for i, line in enumerate(made)
                )
            return
        for made in lines(megabytes / (2 if kind == "pairs" else 1)):
            file.writelines(f"{line}\t{line.translate(vowels)}\n" if kind == "pairs" else line + "\n" for line in made)


@dataclass
class Cost:
    """What a command took."""

    peak: float
    """Megabytes of its largest process."""
    seconds: float
    """Of the processor, of all its processes together."""
    own: float = 0.0
    """Megabytes of its own at the end, and of files, which other processes share and the system may take back."""
    files: float = 0.0


def run(command: list[str], folder: Path, stop_at: int = 0) -> Cost:
    """Run a command to its end, or with SIGTERM once a run has saved so many steps."""
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(command, cwd=folder, env=ONE_THREAD, stdout=said, stderr=said)
        own = files = 0.0
        while stop_at and process.returncode is None:
            time.sleep(0.2)
            own, files = resident(process.pid) or (own, files)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if stop_at and saved(folder / "run" / "resume" / "last.safetensors") >= stop_at:
                process.send_signal(signal.SIGTERM)
                stop_at = 0
        else:
            _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 130):
        raise SystemExit(f"{command} ended with {code}:\n{(folder / 'said.txt').read_text()}")
    return Cost(usage.ru_maxrss * 1024 / MB, usage.ru_utime + usage.ru_stime, own, files)


def resident(process: int) -> tuple[float, float] | None:
    """Megabytes of a process: its own, and of files."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = dict(line.split(":", 1) for line in status.splitlines())
    if "RssAnon" not in found:
        return None
    own, files, shared = (int(found[f"Rss{kind}"].split()[0]) * 1024 / MB for kind in ("Anon", "File", "Shmem"))
    return own, files + shared


def saved(state: Path) -> int:
    """The step of a saved state; 0 where there is none."""
    try:
        with safe_open(state, "numpy") as file:
            text = "".join(file.metadata().values())
    except OSError:
        return 0
    return int(text.partition('"step": ')[2].partition(",")[0])


def memory(folder: Path, kind: str, megabytes: float) -> str:
    """Generate, encode, train, stop and go on; a line of the table."""
    place = folder / f"{kind}-{megabytes:g}"
    rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    suffix, flags = KINDS[kind]
    name = f"data.{suffix}"
    generate(place / name, kind, megabytes)
    size = (place / name).stat().st_size / MB
    one = run([*OHLOL, "encode", name, *flags, "--out", "corpus", "--jobs", "1"], place)
    two = run([*OHLOL, "encode", name, *flags, "--out", "two", "--jobs", "2"], place)
    if (place / "corpus" / "corpus.json").read_bytes() != (place / "two" / "corpus.json").read_bytes():
        raise SystemExit("two processes made another corpus than one")
    disk = sum(path.stat().st_size for path in (place / "corpus").rglob("*") if path.is_file()) / MB
    rmtree(place / "two")
    (place / name).unlink()
    train = [*OHLOL, "train", "corpus", "--out", "run", "--checkpoint-every", "100"]
    first = run(train, place, SAVED)
    reached = saved(place / "run" / "resume" / "last.safetensors")
    again = run([*OHLOL, "train", "--resume", "--out", "run"], place, reached + MORE)
    end = saved(place / "run" / "resume" / "last.safetensors")
    rmtree(place)
    cells = [kind, f"{size:,.1f}", f"{one.seconds:.1f}", f"{size / one.seconds:.1f}"]
    cells += [f"{one.peak:.0f}", f"{two.peak:.0f}", f"{disk:,.1f}"]
    cells += [f"{reached}", f"{first.peak:.0f}", f"{first.own:.0f} + {first.files:.0f}", f"{end}", f"{again.peak:.0f}"]
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| data | MB | encoding, s | MB/s | peak MB, 1 process | of each of 2 | on disk, MB "
    "| steps | peak MB | own + files | resumed to | peak MB |"
)

MODELS: dict[str, list[str]] = {
    "LSTM of 256": ["--hidden-size", "256"],
    "LSTM of 1024": ["--hidden-size", "1024"],
}
SYMBOLS = {"LSTM of 256": 400_000, "LSTM of 1024": 40_000}
"""Of the text that is read once: some seconds by one process."""


def speeds(folder: Path, rounds: int) -> None:
    """One process, two, one, two and so on: symbols a second that training itself reports."""
    folder.mkdir(parents=True, exist_ok=True)
    for model, flags in MODELS.items():
        text = "\n".join(line for made in lines(SYMBOLS[model] / MB * 2) for line in made)[: SYMBOLS[model]]
        (folder / "data.txt").write_text(text, encoding="utf-8")
        same = [
            "data.txt",
            *flags,
            "--num-layers",
            "1",
            "--epochs",
            "1",
            "--dropout",
            "0",
            "--batch-size",
            "64",
            "--overwrite",
        ]
        two = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"]
        two += ["--rdzv-endpoint=localhost:0", "-m", "ohlol"]
        found: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for processes, command in ((1, OHLOL), (2, two)):
                done = subprocess.run(
                    [*command, "train", *same, "--out", "run"],
                    cwd=folder,
                    env=ONE_THREAD,
                    capture_output=True,
                    text=True,
                )
                if done.returncode:
                    raise SystemExit(done.stdout + done.stderr)
                line = next(line for line in done.stdout.splitlines() if "symbols/s" in line)
                found[processes].append(float(line.split(" symbols/s")[0].split()[-1].replace(",", "")))
        middle = {processes: statistics.median(of) for processes, of in found.items()}
        for processes, of in found.items():
            each = "  ".join(f"{one:,.0f}" for one in of)
            print(
                f"| {model} | {processes} | {each} | {middle[processes]:,.0f} | {middle[processes] / middle[1]:.2f} |",
                flush=True,
            )
    rmtree(folder)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of: dict[str, Any] = {name: commands.add_parser(name) for name in ("memory", "processes", "generate")}
    for name in ("memory", "processes"):
        of[name].add_argument("folder", type=Path)
    of["memory"].add_argument("--kinds", nargs="+", default=["text"], choices=KINDS)
    of["memory"].add_argument("--megabytes", nargs="+", type=float, default=[30, 125, 500, 2000])
    of["processes"].add_argument("--rounds", type=int, default=5)
    of["generate"].add_argument("file", type=Path)
    of["generate"].add_argument("--kind", default="text", choices=KINDS)
    of["generate"].add_argument("--megabytes", type=float, required=True)
    given = parser.parse_args()
    if given.command == "generate":
        generate(given.file, given.kind, given.megabytes)
    elif given.command == "processes":
        print("| model | processes | symbols a second, each run | median | times |\n|---|---|---|---|---|")
        speeds(given.folder, given.rounds)
    else:
        print(f"{HEAD}\n{'|---' * 12}|")
        for kind in given.kinds:
            for megabytes in given.megabytes:
                print(memory(given.folder, kind, megabytes), flush=True)


if __name__ == "__main__":
    main()
