"""Several processes train one run: the losses and metrics of one process, and output printed once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SALES, TINY, bytes_of, conll_file, names_file, sales_file, sine_file, text_file, upper_pairs
from launch import ENVIRONMENT, flags, run, start, torchrun, train, workers
from word_vector_files import make_vectors, write_glove

import ohlol
from ohlol.data.batches import Buckets, ContiguousBatches, Dataset, Ragged
from ohlol.utils.distributed import rank_seed

STEPS = 100
TOLERANCE = 1e-5
"""Of a loss in float64 after at most 100 steps: the parts of a batch are summed in another order."""


def conll_file_and_vectors(path: Path) -> None:
    """Sentences, and beside them word vectors of some of their words."""
    write_glove(path.with_name("vectors.txt"), make_vectors("Ada bob Rome sees in New"))
    conll_file(path)


SAME: dict[str, Any] = {"hidden_size": 6, "num_layers": 1, "dropout": 0.0, "embedding_dropout": 0.0, "lr": 0.01}
RUNS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "label": (upper_pairs, "a.tsv", {"embedding_size": 5, "batch_size": 3, "epochs": 13, "class_weights": "balanced"}),
    "spans": (conll_file, "b.conll", {"embedding_size": 5, "batch_size": 5, "epochs": 20, "char_rnn_size": 4}),
    "sum": (
        upper_pairs,
        "c.tsv",
        {"embedding_size": 5, "batch_size": 4, "epochs": 17, "loss_reduction": "sum", "cell": "gru", "loop": True},
    ),
    "next": (text_file, "d.txt", {"embedding_size": 5, "batch_size": 7, "bptt": 7, "epochs": 13, "tie_weights": False}),
    "few streams": (
        text_file,
        "e.txt",
        {"embedding_size": 5, "batch_size": 2, "bptt": 9, "epochs": 5, "max_grad_norm": 0.1},
    ),
    "classify": (
        names_file,
        "f.csv",
        {"embedding_size": 5, "batch_size": 4, "epochs": 15, "input": "name", "target": "kind"},
    ),
    "vectors": (
        conll_file_and_vectors,
        "i.conll",
        {"embedding_size": 5, "batch_size": 5, "epochs": 20, "vectors": "vectors.txt", "vectors_training": "late"},
    ),
    "next_row": (
        sine_file,
        "g.csv",
        {"task": "next_row", "batch_size": 5, "bptt": 9, "epochs": 20, "lr_schedule": "plateau"},
    ),
    "forecast": (sales_file, "h.csv", {**SALES, "batch_size": 3, "bptt": 9, "epochs": 30, "patience": 0}),
}
"""Batches that two and three processes cannot share evenly; some last batches have fewer rows than processes."""


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one, two and three processes, each in its own directory."""
    folder = tmp_path_factory.mktemp("curves")
    for size in (1, 2, 3):
        runs = []
        for name, (make, file, settings) in RUNS.items():
            make(folder / file)
            out = folder / str(size) / name
            out.parent.mkdir(exist_ok=True)
            runs.append(
                {
                    "data": str(folder / file),
                    "out": str(out),
                    "losses": str(out) + ".losses",
                    "settings": {**SAME, **settings},
                }
            )
        plan = folder / f"{size}.json"
        plan.write_text(json.dumps(runs))
        script = [str(Path(__file__).with_name("worker.py")), str(plan)]
        run([sys.executable, *script] if size == 1 else torchrun(size, *script), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", RUNS)
def test_losses_equal_those_of_one_process(curves: Path, name: str, size: int) -> None:
    one, many = (json.loads((curves / f"{n}" / f"{name}.losses").read_text()) for n in (1, size))
    assert len(one) == len(many)
    assert len(one) >= (STEPS if name != "few streams" else 50)
    assert one[-1] != one[0]
    assert np.abs(np.array(one) - np.array(many))[:STEPS].max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", RUNS)
def test_metrics_equal_those_of_one_process(curves: Path, name: str, size: int) -> None:
    one, many = (ohlol.checkpoint.run_directory.read_config(curves / f"{n}" / name).metrics for n in (1, size))
    assert one.keys() == many.keys()
    assert many == pytest.approx(one, rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_all_processes_leave_out_the_same_steps_in_fp16(tmp_path: Path) -> None:
    """Overflows are detected after the gradients are averaged, so all processes leave out the same step."""
    text_file(tmp_path / "data.txt")
    settings = {
        **SAME,
        "cell": "gru",
        "embedding_size": 5,
        "batch_size": 7,
        "bptt": 7,
        "epochs": 4,
        "precision": "fp16",
    }
    for size in (1, 2):
        out = tmp_path / str(size)
        plan = {"data": str(tmp_path / "data.txt"), "out": str(out), "losses": f"{out}.losses", "settings": settings}
        (tmp_path / f"{size}.json").write_text(json.dumps([{**plan, "scale": 2.0**26}]))
        script = [str(Path(__file__).with_name("worker.py")), str(tmp_path / f"{size}.json")]
        run([sys.executable, *script] if size == 1 else torchrun(size, *script), tmp_path)
    one, two = (ohlol.checkpoint.metrics_log.read_metrics(tmp_path / n) for n in "12")
    left_out = sum(line.get("overflows", 0) for line in two)
    assert left_out >= 2
    assert abs(left_out - sum(line.get("overflows", 0) for line in one)) <= 1  # fp16 is lowered before it is averaged
    assert [line["train_loss"] for line in two] == pytest.approx([line["train_loss"] for line in one], rel=0.02)
    assert two[-1]["train_loss"] < two[0]["train_loss"]
    assert not any(line.get("skipped") for line in two)


def test_shares_partition_the_batch() -> None:
    lengths = np.random.default_rng(2).integers(1, 9, 53)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    data = Dataset(Ragged(np.arange(offsets[-1]), offsets), np.arange(offsets[-1]) * 10)
    for size in (2, 3, 8):
        for whole, shares in (
            (Buckets(data, 5, (0, 1)), [Buckets(data, 5, (0, 1), (r, size)) for r in range(size)]),
            (ContiguousBatches(data, 5, 7), [ContiguousBatches(data, 5, 7, (r, size)) for r in range(size)]),
        ):
            for index in range(len(whole)):
                batch = whole[index]
                parts = [part for share in shares if not (part := share[index]).is_filler]
                assert sorted(np.concatenate([p.rows for p in parts]).tolist()) == sorted(batch.rows.tolist())
                assert sorted(np.concatenate([p.inputs for p in parts]).tolist()) == sorted(batch.inputs.tolist())
                for part in parts:
                    assert part.positions is not None
                    assert (batch.inputs[part.positions] == part.inputs).all()
                    assert part.total == len(batch.inputs)
                    assert part.batch_sizes.sum() == len(part.inputs)


def test_seeds_differ_by_rank() -> None:
    assert len({rank_seed(seed, rank) for seed in range(5) for rank in range(5)}) == 25
    assert rank_seed(7, 0) == 7
    assert 0 <= rank_seed((1 << 63) - 1, 511) < 1 << 63


SETTINGS: dict[str, Any] = {**TINY, "bptt": 7, "dropout": 0.2, "checkpoint_every": "20"}


def test_only_the_main_process_writes_and_prints(tmp_path: Path) -> None:
    text_file(tmp_path / "data.txt")
    out, err = run(train(2, "data.txt", "--out", "run", *flags(SETTINGS)), tmp_path)
    assert out.count("saved: run") == 1
    assert out.count("epoch 1/3") == 1
    assert "warning" not in err.lower().replace("userwarning", "")
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["machine"]["processes"] == 2


@pytest.mark.slow
def test_the_main_process_prints_what_is_refused(tmp_path: Path) -> None:
    ohlol.fit(text_file(tmp_path / "data.txt"), out=tmp_path / "run", **SETTINGS)
    _, err = run(train(2, "data.txt", "--out", "run", *flags(SETTINGS)), tmp_path, expected=1)
    assert err.count("ohlol: run exists") == 1
    assert 'Traceback (most recent call last):\n  File "' + str(Path(ohlol.__file__).parent) not in err
    _, err = run(train(2, "data.txt", *flags(SETTINGS)), tmp_path, expected=1)
    assert "ohlol: --out is required with several processes" in err


@pytest.mark.slow
def test_resumed_by_another_number_of_processes(tmp_path: Path) -> None:
    """SIGTERM stops all processes after the same step; as many resume to the same bytes, and fewer finish the run."""
    text_file(tmp_path / "data.txt", 2500)
    run(train(2, "data.txt", "--out", "whole", *flags(SETTINGS)), tmp_path)
    process = start(train(2, "data.txt", "--out", "run", *flags(SETTINGS)), tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/3"):
            process.send_signal(signal.SIGTERM)
            break
    process.communicate()
    assert process.returncode != 0
    one = json.loads((tmp_path / "run" / "config.json").read_text())
    assert one["metrics"] == {}
    run(["cp", "-r", "run", "alone"], tmp_path)
    run(train(2, "--resume", "--out", "run"), tmp_path)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    _, err = run(train(1, "--resume", "--out", "alone"), tmp_path)
    assert "saved by 2 processes, and now there are 1" in err
    assert ohlol.load(tmp_path / "alone").config.metrics


@pytest.mark.slow
def test_an_encoded_corpus_is_shared(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "data.tsv", 60)
    run([sys.executable, "-m", "ohlol", "encode", "data.tsv", "--out", "c", "--jobs", "1"], tmp_path)
    settings = flags({**TINY, "dropout": 0.0, "embedding_dropout": 0.0})
    for size in (1, 2):
        run(train(size, "c", "--out", f"run{size}", *settings), tmp_path)
    one, two = (
        [json.loads(line) for line in (tmp_path / f"run{n}" / "metrics.jsonl").read_text().splitlines()] for n in (1, 2)
    )
    assert [line["train_loss"] for line in two] == pytest.approx([line["train_loss"] for line in one], rel=1e-3)


HOSTS = [f"oh{os.getpid()}{letter}" for letter in "ab"]
"""Namespaces and their interfaces, by names that another run of the tests does not have."""


def addresses() -> list[list[str]] | None:
    """Two hosts with their own addresses, as prefixes of commands; None if the system does not permit them."""
    one, two = HOSTS
    made = [
        ["ip", "netns", "add", one],
        ["ip", "netns", "add", two],
        ["ip", "link", "add", one, "netns", one, "type", "veth", "peer", two, "netns", two],
    ]
    for number, host in enumerate(HOSTS, 1):
        inside = ["ip", "netns", "exec", host, "ip"]
        made += [
            [*inside, "address", "add", f"10.231.7.{number}/24", "dev", host],
            [*inside, "link", "set", host, "up"],
            [*inside, "link", "set", "lo", "up"],
        ]
    try:
        if any(subprocess.run(command, capture_output=True).returncode for command in made):
            return None
    except OSError:
        return None
    return [["ip", "netns", "exec", host] for host in HOSTS]


@pytest.mark.slow
def test_two_hosts_end_with_the_bytes_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In network namespaces if the system permits them, otherwise as two launchers on this host."""
    text_file(tmp_path / "data.txt", 2000)
    run(train(2, "data.txt", "--out", "whole", *flags(SETTINGS)), tmp_path)
    hosts = addresses()
    try:
        where = "two network namespaces" if hosts else "one host twice"
        address = "10.231.7.1:29411" if hosts else "localhost:29411"
        started = []
        for number, prefix in enumerate(hosts or [[], []]):
            command = [
                *prefix, sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
                "--rdzv-backend=c10d", f"--rdzv-endpoint={address}", "--rdzv-id=two", "--max-restarts=0",
            ]  # fmt: skip
            if hosts:
                command += [f"--local-addr=10.231.7.{number + 1}", f"--rdzv-conf=is_host={int(number == 0)}"]
            environment = dict(ENVIRONMENT)
            if hosts:
                environment["GLOO_SOCKET_IFNAME"] = HOSTS[number]
            started.append(
                subprocess.Popen(
                    [*command, "-m", "ohlol", "train", "data.txt", "--out", "run", *flags(SETTINGS)],
                    cwd=tmp_path,
                    env=environment,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
            time.sleep(0.5)
        said = [process.communicate() for process in started]
        assert [process.returncode for process in started] == [0, 0], said
        assert sum("saved: run" in out for out, _ in said) == 1
    finally:
        if shutil.which("ip"):
            for host in HOSTS:
                subprocess.run(["ip", "netns", "delete", host], check=False, capture_output=True)
    found, wanted = bytes_of(tmp_path / "run"), bytes_of(tmp_path / "whole")
    for name in ("model.safetensors", "metrics.jsonl"):
        assert found[name] == wanted[name]
    with capsys.disabled():
        print(f"two hosts: {where}")


def test_the_workers_of_a_launcher_are_listed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time, subprocess; subprocess.run(['sleep', '5'])"])
    deadline = time.monotonic() + 30
    while not workers(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers(process.pid)) == 1
    process.kill()
    process.wait()
