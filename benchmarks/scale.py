"""Corpora larger than memory, and several processes: what they cost, as docs/scale.md reports it.

    python benchmarks/scale.py memory FOLDER [--kinds text pairs csv parquet] [--megabytes 30 125 500 2000] [--quick]
    python benchmarks/scale.py processes FOLDER [--rounds 5] [--quick]
    python benchmarks/scale.py generate FILE --kinds text --megabytes 30

`memory` generates data, encodes them with one process and with two, trains on them until some steps are saved, stops
with SIGTERM as a user would, resumes with `--resume`, and prints a table row for each size. A peak is the largest
resident set of one process (`VmHWM`); seconds are processor time, which other programs lengthen little. The generated
files are removed.

`processes` times one process and two in turns, with a thread each. No speed is shown unless both end with the same
loss.
"""

import argparse
import csv
import json
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

import numpy as np
from safetensors import safe_open
from timing import parse_arguments

LETTERS = "abcdefghijklmnopqrstuvwxyzéèàçñöüå的一是不了在人有我他这中大来上国"
VOWELS = "aeiouéèàöüå"
VOCABULARY, WORDS_PER_LINE = 20_000, 12
KINDS = {
    "text": ("txt", []),
    "pairs": ("tsv", []),
    "csv": ("csv", ["--input", "text", "--target", "kind"]),
    "parquet": ("parquet", ["--input", "text", "--target", "kind"]),
}
"""For each kind of data the suffix of its file and the flags of `ohlol encode`."""
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
OHLOL = [sys.executable, "-m", "ohlol"]
MB = 1_000_000
QUICK_MODEL = ["--hidden-size", "8", "--embedding-size", "4", "--num-layers", "1", "--batch-size", "8"]
LOSS_TOLERANCE = 1e-3
"""Largest relative difference of the training losses of one process and two: they add up in another order."""


def generate_lines(megabytes: float, seed: int = 0) -> Iterator[list[str]]:
    """Lines of random words, some megabytes at a time; equal for equal seeds."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 10, VOCABULARY)
    words = np.array(["".join(random.choice(list(LETTERS), n)) for n in lengths], object)
    left = megabytes * MB
    while left > 0:
        lines = [" ".join(row) for row in words[random.integers(0, VOCABULARY, (1 << 15, WORDS_PER_LINE))].tolist()]
        size = sum(len(line.encode()) + 1 for line in lines)
        if size > left:
            lines = lines[: max(1, int(len(lines) * left / size))]
        left -= size
        yield lines


def generate(path: Path, kind: str, megabytes: float) -> None:
    """Write a file of one kind: a text, pairs with a label for each character, or lines with a class."""
    labels = str.maketrans({letter: "v" if letter in VOWELS else "c" for letter in LETTERS})
    if kind == "parquet":
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        with parquet.ParquetWriter(path, arrow.schema({"text": arrow.string(), "kind": arrow.string()})) as file:
            for lines in generate_lines(megabytes):
                file.write_table(arrow.table({"text": lines, "kind": [line[0] for line in lines]}))
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if kind == "csv":  # every eighth cell contains a line end and is quoted
            writer = csv.writer(file)
            writer.writerow(["text", "kind"])
            for lines in generate_lines(megabytes):
                writer.writerows(
                    (line.replace(" ", "\n", 1) if i % 8 == 0 else line, line[0]) for i, line in enumerate(lines)
                )
            return
        for lines in generate_lines(megabytes / (2 if kind == "pairs" else 1)):
            file.writelines(f"{line}\t{line.translate(labels)}\n" if kind == "pairs" else line + "\n" for line in lines)


@dataclass
class Cost:
    """The resources that a command used."""

    peak: float
    """Megabytes of its largest process."""
    seconds: float
    """Processor time of all its processes."""
    anonymous: float = 0.0
    """Megabytes of memory of the process alone, shortly before its end."""
    mapped: float = 0.0
    """Megabytes of mapped files, which processes share and the system may reclaim."""


def run(command: list[str], folder: Path, stop_at: int = 0) -> Cost:
    """Run a command to its end, or stop it with SIGTERM once its run has saved step `stop_at`."""
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=ONE_THREAD, stdout=output, stderr=output)
        anonymous = mapped = 0.0
        while stop_at and process.returncode is None:
            time.sleep(0.2)
            anonymous, mapped = read_resident_memory(process.pid) or (anonymous, mapped)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if stop_at and read_saved_step(folder) >= stop_at:
                process.send_signal(signal.SIGTERM)
                stop_at = 0
        else:
            _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 130):
        raise SystemExit(f"{command} ended with {code}:\n{(folder / 'output.txt').read_text()}")
    return Cost(usage.ru_maxrss * 1024 / MB, usage.ru_utime + usage.ru_stime, anonymous, mapped)


def read_resident_memory(process: int) -> tuple[float, float] | None:
    """Megabytes of a process: anonymous memory, and mapped files; None where the system does not say."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    entries = dict(line.split(":", 1) for line in status.splitlines())
    if "RssAnon" not in entries:
        return None
    anonymous, files, shared = (int(entries[f"Rss{k}"].split()[0]) * 1024 / MB for k in ("Anon", "File", "Shmem"))
    return anonymous, files + shared


def read_saved_step(folder: Path) -> int:
    """The step of the last saved state of the run in a folder; 0 where there is none."""
    try:
        with safe_open(folder / "run" / "resume" / "last.safetensors", "numpy") as file:
            text = "".join(file.metadata().values())
    except OSError:
        return 0
    return int(text.partition('"step": ')[2].partition(",")[0])


MEMORY_HEAD = (
    "| data | MB | encoding, s | MB/s | peak MB, 1 process | of each of 2 | on disk, MB "
    "| steps | peak MB | own + files | resumed to | peak MB |"
)


def measure_memory(folder: Path, kind: str, megabytes: float, options: argparse.Namespace) -> str:
    """Generate, encode, train, stop and resume; a row of the table."""
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
        raise SystemExit("two processes wrote another corpus than one: no figure is shown")
    disk = sum(path.stat().st_size for path in (place / "corpus").rglob("*") if path.is_file()) / MB
    rmtree(place / "two")
    (place / name).unlink()
    every = ["--checkpoint-every", str(max(1, options.steps // 3))]
    train = [*OHLOL, "train", "corpus", "--out", "run", *every, *(QUICK_MODEL if options.quick else [])]
    first = run(train, place, options.steps)
    reached = read_saved_step(place)
    resumed = run([*OHLOL, "train", "--resume", "--out", "run"], place, reached + options.steps // 3)
    end = read_saved_step(place)
    if not 0 < reached < end:
        raise SystemExit(f"training stopped at step {reached} and resumed to step {end}: no figure is shown")
    rmtree(place)
    cells = [kind, f"{size:,.1f}", f"{one.seconds:.1f}", f"{size / one.seconds:.1f}"]
    cells += [f"{one.peak:.0f}", f"{two.peak:.0f}", f"{disk:,.1f}"]
    cells += [f"{reached}", f"{first.peak:.0f}", f"{first.anonymous:.0f} + {first.mapped:.0f}"]
    return f"| {' | '.join([*cells, f'{end}', f'{resumed.peak:.0f}'])} |"


MODELS: dict[str, tuple[list[str], int]] = {
    "LSTM of 256": (["--hidden-size", "256"], 400_000),
    "LSTM of 1024": (["--hidden-size", "1024"], 40_000),
}
"""For each model its flags and the number of symbols of the text: some seconds for one process."""
QUICK_MODELS = {"LSTM of 8": (["--hidden-size", "8", "--embedding-size", "4"], 4_000)}


def measure_processes(folder: Path, rounds: int, *, quick: bool) -> None:
    """Print the speed of one process and two, as training reports it, measured in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    for model, (flags, symbols) in (QUICK_MODELS if quick else MODELS).items():
        text = "\n".join(line for lines in generate_lines(symbols / MB * 2) for line in lines)[:symbols]
        (folder / "data.txt").write_text(text, encoding="utf-8")
        fixed = [
            "--num-layers",
            "1",
            "--epochs",
            "1",
            "--dropout",
            "0",
            "--batch-size",
            "64",
            "--out",
            "run",
            "--overwrite",
        ]
        two = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"]
        two += ["--rdzv-endpoint=localhost:0", "-m", "ohlol"]
        speeds: dict[int, list[float]] = {1: [], 2: []}
        losses: dict[int, float] = {}
        for _ in range(rounds):
            for processes, command in ((1, OHLOL), (2, two)):
                done = subprocess.run(
                    [*command, "train", "data.txt", *flags, *fixed],
                    cwd=folder,
                    env=ONE_THREAD,
                    capture_output=True,
                    text=True,
                )
                if done.returncode:
                    raise SystemExit(done.stdout + done.stderr)
                line = next(line for line in done.stdout.splitlines() if "steps/s" in line)
                speeds[processes].append(float(line.split(" steps/s")[0].split()[-1].replace(",", "")))
                losses[processes] = json.loads((folder / "run" / "metrics.jsonl").read_text())["train_loss"]
        if abs(losses[1] - losses[2]) > LOSS_TOLERANCE * losses[1]:
            raise SystemExit(f"one process and two end with the losses {losses}: no speed is shown")
        medians = {processes: statistics.median(measured) for processes, measured in speeds.items()}
        for processes, measured in speeds.items():
            each = "  ".join(f"{speed:,.0f}" for speed in measured)
            ratio = medians[processes] / medians[1]
            print(f"| {model} | {processes} | {each} | {medians[processes]:,.0f} | {ratio:.2f} |", flush=True)
    rmtree(folder)


def main() -> None:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("memory", "processes", "generate"))
    parser.add_argument("path", type=Path, help="the folder to work in; for generate, the file to write")
    parser.add_argument("--kinds", nargs="+", default=["text"], choices=KINDS)
    parser.add_argument("--megabytes", nargs="+", type=float, default=[30, 125, 500, 2000])
    parser.add_argument("--steps", type=int, default=300, help="steps before training is stopped")
    parser.add_argument("--rounds", type=int, default=5)
    options = parse_arguments(parser, megabytes=[0.1], steps=30, rounds=1)
    if options.command == "generate":
        generate(options.path, options.kinds[0], options.megabytes[0])
    elif options.command == "processes":
        print("| model | processes | symbols a second, each run | median | times |\n|---|---|---|---|---|")
        measure_processes(options.path, options.rounds, quick=options.quick)
    else:
        print(f"{MEMORY_HEAD}\n{'|---' * 12}|")
        for kind in options.kinds:
            for megabytes in options.megabytes:
                print(measure_memory(options.path, kind, megabytes, options), flush=True)


if __name__ == "__main__":
    main()
