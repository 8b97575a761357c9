"""The series of the learning curves are those of `metrics.jsonl`."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import TINY, sine_file, text_file, upper_pairs

import ohlol
from ohlol.cli import main
from ohlol.explain.curves import load_curves
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fpartial = tmp_path_factory.mktemp("runs")
    ohlol.fit([("hello", "ohlol")], seed=1, out=fpartial / "hello")
    ohlol.fit([("hello", "ohlol")], seed=3, cell="rnn", loop=True, out=fpartial / "cell")
    ohlol.fit(upper_pairs(fpartial / "data.tsv"), out=fpartial / "tags", **TINY)
    ohlol.fit(text_file(fpartial / "text.txt"), out=fpartial / "text", **TINY)
    ohlol.fit(
        sine_file(fpartial / "sine.csv"), task="next_row", out=fpartial / "sine", hidden_size=6, epochs=2, num_layers=1
    )
    return fpartial


def test_the_curves_equal_the_log(runs: Path) -> None:
    panels = load_curves([runs / "hello"])
    lines = [json.loads(line) for line in (runs / "hello/metrics.jsonl").read_text().splitlines()]
    assert [(panel.key, panel.name) for panel in panels] == [
        ("loss", ""),
        ("metric", "accuracy"),
        ("grad_norm", ""),
        ("saturation", ""),
    ]
    columns = [line for panel in panels for line in panel.lines]
    names = ["loss", "train_loss", "accuracy", "grad_norm", "saturation"]
    for line, name in zip(columns, names, strict=True):
        assert line.values == tuple(entry[name] for entry in lines)
        assert line.steps == tuple(range(1, 21))
    best = max(k for k, entry in enumerate(lines) if entry["best"])
    assert [line.best for line in columns] == [best, None, best, None, best]
    assert [line.is_training for line in columns] == [False, True, False, True, False]


def test_gradient_norm_and_saturation_are_recomputed(tmp_path: Path) -> None:
    """Both are computed again with torch alone, for an epoch of a single step."""
    import torch

    model = ohlol.fit([("hello", "ohlol")], seed=1, epochs=1, snapshots=True, out=tmp_path / "run")
    line = json.loads((tmp_path / "run/metrics.jsonl").read_text())
    from ohlol.explain.history import load_epoch
    from ohlol.explain.trace import trace

    before = load_epoch(model, 0)
    x = torch.eye(4)[[before.codec.symbols.symbols.index(c) for c in "hello"]]  # pyright: ignore[reportOptionalMemberAccess]
    plain = torch.nn.RNN(4, 4)
    plain.load_state_dict({k.removeprefix("layers."): v for k, v in before.network.state_dict().items()})
    wanted = torch.tensor([before.codec.labels.symbols.index(c) for c in "ohlol"])  # pyright: ignore[reportOptionalMemberAccess]
    torch.nn.functional.cross_entropy(plain(x)[0], wanted).backward()
    norm = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None]).norm()
    assert line["grad_norm"] == pytest.approx(float(norm), rel=1e-5)
    after = trace(load_epoch(model, 1), "hello").layers[0].after["h"]
    assert line["saturation"] == (abs(after) > 0.95).mean()
    slope = 1 - 0.95**2
    assert slope < 0.1


def test_runs_of_all_kinds_share_panels(runs: Path) -> None:
    panels = load_curves([runs / name for name in ("hello", "cell", "tags", "text", "sine")])
    shown = {(panel.key, panel.name): [line.run for line in panel.lines] for panel in panels}
    assert shown == {
        ("loss", ""): ["hello", "hello", "cell", "tags", "tags", "text", "text"],
        ("squared_error", ""): ["sine", "sine"],
        ("summed_loss", ""): ["cell"],
        ("metric", "accuracy"): ["hello", "cell", "tags"],
        ("metric", "bits"): ["text"],
        ("metric", "rmse"): ["sine"],
        ("grad_norm", ""): ["hello", "cell", "tags", "text", "sine"],
        ("saturation", ""): ["hello", "cell", "tags", "text", "sine"],
    }


def test_runs_with_the_same_name_get_different_labels(runs: Path, tmp_path: Path) -> None:
    ohlol.fit([("hello", "ohlol")], seed=2, epochs=2, out=tmp_path / "hello")
    (_, *_, saturation) = load_curves([runs / "hello", tmp_path / "hello"])
    assert [line.run for line in saturation.lines] == [f"{runs.name}/hello", f"{tmp_path.name}/hello"]
    with pytest.raises(InputError, match="the same run was given twice"):
        load_curves([tmp_path / "hello", tmp_path / "hello"])


def test_partial_and_unfinished_runs(runs: Path, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    shutil.copytree(runs / "hello", partial)
    lines = [json.loads(line) for line in (partial / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["grad_norm"], line["saturation"]
    (partial / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [panel.key for panel in load_curves([partial])] == ["loss", "metric"]
    ohlol.fit([("hello", "ohlol")], epochs=1, out=tmp_path / "run")
    (tmp_path / "run/metrics.jsonl").unlink()
    with pytest.raises(InputError, match="no epoch is finished yet"):
        load_curves([tmp_path / "run"])
    with pytest.raises(InputError, match="there is no such run directory"):
        load_curves([tmp_path / "nowhere"])


def test_plot_shows_the_curves_of_runs(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main(["plot", *arguments])
        assert end.value.code == status
        found = capsys.readouterr()
        return found.err if status else found.out

    assert run(str(runs / "hello"), "--lang", "en").startswith("loss, nats\n")
    assert run(str(runs / "hello"), "--lang", "zh").startswith("损失（nat）\n")
    assert run(str(runs / "nowhere"), status=2).count("\n") == 1
