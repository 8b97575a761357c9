"""Lower precisions on the CPU: what is cast, what stays float32, and overflows in fp16."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, cell_settings, prepared, text_file, upper_pairs
from on_device import Losses

import ohlol
from ohlol.checkpoint import resume_state
from ohlol.checkpoint.weights import read_tensors
from ohlol.training import precision
from ohlol.training.loss import Loss
from ohlol.training.trainer import Interrupted, Trainer
from ohlol.utils.errors import InputError, InputWarning

pytestmark = pytest.mark.filterwarnings("ignore:`precision`:ohlol.utils.errors.InputWarning")


class Scaled(Losses):
    """Starts with a loss scale so large that the first gradients overflow."""

    def __init__(self, exponent: int, stop: int = 0):
        super().__init__(stop)
        self.exponent = exponent
        self.weights: list[torch.Tensor] = []

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        assert trainer.precision.scaler is not None
        if trainer.progress.step == 0:
            trainer.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**self.exponent)

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        super().on_batch_end(epoch, done, total, loss, symbols)
        assert self.trainer is not None
        self.weights.append(next(self.trainer.model.parameters()).detach().clone())

    @property
    def scale(self) -> float:
        """At the end."""
        assert self.trainer is not None
        assert self.trainer.precision.scaler is not None
        return self.trainer.precision.scaler.get_scale()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "lstm in a loop"])
@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_every_cell_trains_and_stays_float32(cell: str, kind: str, tmp_path: Path) -> None:
    data = text_file(tmp_path / "data.txt")
    plain, lowered = Losses(), Losses()
    settings = {**TINY, **cell_settings(cell), "bptt": 7, "epochs": 2}
    ohlol.fit(data, callbacks=[plain], **settings)
    seen: list[torch.dtype] = []

    def look(layer: Any, given: Any, gave: Any) -> None:
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)

    class Watched(Losses):
        def on_train_begin(self, trainer: Trainer) -> None:
            super().on_train_begin(trainer)
            trainer.model.layers.register_forward_hook(look)

    lowered = Watched()
    model = ohlol.fit(data, out=tmp_path / "run", callbacks=[lowered], precision=kind, **settings)
    assert set(seen) == {precision.DTYPES[kind], torch.float32}  # in training and in evaluation
    assert plain.losses != lowered.losses
    assert lowered.losses == pytest.approx(plain.losses, rel=0.02)
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    for name in ("model.safetensors", "resume/last.safetensors"):
        tensors, _ = read_tensors(tmp_path / "run" / name)
        assert {t.dtype for n, t in tensors.items() if n != "scaler" and not n.startswith("rng")} == {torch.float32}
    assert ohlol.load(tmp_path / "run").config.metrics == pytest.approx(model.config.metrics)


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_settings_of_torch_may_be_frozen(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `torch.backends.disable_global_flags` does; they are the same after training."""
    monkeypatch.setattr(torch.backends.m, "__allow_nonbracketed_mutation_flag", False)
    before = torch.backends.mkldnn.enabled
    ohlol.fit(upper_pairs(tmp_path / "data.tsv"), precision=kind, **{**TINY, "epochs": 1, "cell": "lstm"})
    assert torch.backends.mkldnn.enabled == before


def test_metrics_equal_those_of_evaluate(tmp_path: Path) -> None:
    data, dev = upper_pairs(tmp_path / "data.tsv"), upper_pairs(tmp_path / "dev.tsv", seed=8)
    model = ohlol.fit(data, dev=dev, out=tmp_path / "run", precision="bf16", **TINY)
    assert model.config.metrics == ohlol.load(tmp_path / "run").evaluate(dev).metrics()


@pytest.mark.filterwarnings("default:`precision`:ohlol.utils.errors.InputWarning")
def test_a_low_precision_on_the_cpu_is_a_warning() -> None:
    with pytest.warns(
        InputWarning, match="`precision` bf16 on the CPU runs torch's own layers instead of ohlol's kern"
    ):
        ohlol.fit(precision="bf16", epochs=1)


def test_an_invalid_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`precision` is 'tf32'; it must be one of fp32, bf16, fp16"):
        ohlol.fit(out=tmp_path / "run", precision="tf32")
    ohlol.fit(out=tmp_path / "run", precision="bf16", epochs=1)
    with pytest.raises(InputError, match="was started with `precision` bf16, not fp16; `resume` keeps it"):
        ohlol.fit(out=tmp_path / "run", resume=True, precision="fp16")


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_a_scale_that_overflows_is_halved_and_the_step_left_out(on_nan: str, tmp_path: Path) -> None:
    data, settings = prepared("next", tmp_path)
    settings |= {"precision": "fp16", "on_nan": on_nan}
    watch = Scaled(28)
    ohlol.fit(data, out=tmp_path / "run", callbacks=[watch], **settings)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    left_out = lines[0]["overflows"]
    assert 3 < left_out < len(watch.losses) // 3
    assert watch.scale == 2.0 ** (28 - left_out)
    assert (
        [line.get("overflows", 0) for line in lines] == [epoch.overflows for epoch in watch.epochs] == [left_out, 0, 0]
    )
    assert not any(line.get("skipped") for line in lines)
    for number in range(1, len(watch.weights)):
        assert torch.equal(watch.weights[number], watch.weights[0]) == (number < left_out)
    assert lines[0]["train_loss"] > 1  # the losses of those steps are finite and included


def test_a_run_stopped_between_overflows_ends_with_the_same_bytes(tmp_path: Path) -> None:
    data, settings = prepared("next", tmp_path)
    settings |= {"precision": "fp16"}
    ohlol.fit(data, out=tmp_path / "whole", callbacks=[Scaled(30)], **settings)
    for at in (2, 9):  # while the scale falls, and after
        out = tmp_path / f"run{at}"
        with pytest.raises(Interrupted):
            ohlol.fit(data, out=out, callbacks=[Scaled(30, stop=at)], **settings)
        assert resume_state.load_state(out)[1]["overflows"] >= 2
        ohlol.fit(out=out, resume=True)
        for name in ("model.safetensors", "metrics.jsonl", "resume/last.safetensors"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def broken(monkeypatch: pytest.MonkeyPatch, what: str, first: int) -> None:
    real = Trainer._combine_losses

    def combine_losses(self: Trainer, batch: Any, own: Loss, penalty: Any) -> Any:
        if self.progress.step >= first:
            worse = own.mean * math.nan if what == "loss" else own.mean + (own.mean * 0).sqrt()  # sqrt at 0: slope inf
            own = own._replace(mean=worse)
        return real(self, batch, own, penalty)

    monkeypatch.setattr(Trainer, "_combine_losses", combine_losses)


def test_a_nan_loss_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, settings = prepared("next", tmp_path)
    broken(monkeypatch, "loss", 3)
    with pytest.raises(
        InputError, match=r"epoch 1, step 4: the loss is nan; .* or `precision=bf16`, which has the range"
    ):
        ohlol.fit(data, precision="fp16", **settings)


def test_a_gradient_that_is_nan_at_any_scale_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = text_file(tmp_path / "data.txt", 2000)
    broken(monkeypatch, "gradient", 3)
    halvings = 16 + 13  # from the initial scale of 65536 to the minimum
    with pytest.raises(InputError, match=rf"epoch 1, step {3 + halvings + 1}: the gradient is nan"):
        ohlol.fit(data, precision="fp16", **{**TINY, "bptt": 7})


@pytest.mark.parametrize("scaler", [[0.0, 0.0], [math.inf, 0.0], [1.0, -1.0], [1.0], None])
def test_an_invalid_scale_is_refused(scaler: list[float] | None, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        ohlol.fit(out=tmp_path / "run", precision="fp16", callbacks=[Losses(stop=3)])
    tensors, position = resume_state.load_state(tmp_path / "run")
    if scaler is None:
        del tensors["scaler"]
    else:
        tensors["scaler"] = torch.tensor(scaler, dtype=torch.float64)
    resume_state.save_state(tmp_path / "run", tensors, position)
    with pytest.raises(InputError, match="the saved state does not fit"):
        ohlol.fit(out=tmp_path / "run", resume=True)


def test_float64_is_not_cast(tmp_path: Path) -> None:
    """Autocast does not cast float64; the rest of training must support that."""
    data = text_file(tmp_path / "data.txt")
    torch.set_default_dtype(torch.float64)
    try:
        plain, lowered = Losses(), Losses()
        ohlol.fit(data, callbacks=[plain], **TINY)
        ohlol.fit(data, callbacks=[lowered], precision="bf16", **TINY)
    finally:
        torch.set_default_dtype(torch.float32)
    assert lowered.losses == pytest.approx(plain.losses, abs=1e-9)
