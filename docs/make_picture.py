"""Draw the pictures of the README, of curves, of a trace and of a search, from real runs: `make pictures`."""

import tempfile
from math import exp, log
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

from ohlol import fit, tune
from ohlol.display import figures
from ohlol.explain.curves import load_curves
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.training.callbacks import Callback, Epoch
from ohlol.tuning.figures import draw_study
from ohlol.tuning.study import load_summary

matplotlib.use("Agg")

PICTURE = Path(__file__).with_name("picture.png")
RIGHT, WRONG, INK = "#0072b2", "#d55e00", "#222222"
"""Blue and vermilion of Okabe and Ito's palette, which are distinct for every kind of colour vision."""
WORD, SEED = "ohlol", 1
"""This seed learns the word within 20 epochs, as about three in four do."""


class EpochRecorder(Callback):
    """Keeps every epoch."""

    def __init__(self):
        self.epochs: list[Epoch] = []

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Append an epoch."""
        self.epochs.append(epoch)


def draw_training() -> None:
    """Draw the README's picture: the predictions and the loss of each epoch of the tutorial."""
    recorder = EpochRecorder()
    model = fit(callbacks=[recorder], seed=SEED)
    numbers = [epoch.number for epoch in recorder.epochs]
    losses = [epoch.loss for epoch in recorder.epochs]
    plt.rcParams.update({"font.size": 12, "text.color": INK, "axes.labelcolor": INK, "svg.hashsalt": "ohlol"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5), width_ratios=(2, 3), layout="constrained")

    for epoch in recorder.epochs:
        for step, (label, target) in enumerate(zip(epoch.predictions[0], WORD, strict=True)):
            colour = RIGHT if label == target else WRONG
            weight = "bold" if label == target else "normal"
            left.text(step, epoch.number, label, ha="center", va="center", color=colour, family="monospace",
                      fontsize=13, weight=weight)  # fmt: skip
    left.set(xlim=(-0.6, 4.6), ylim=(len(numbers) + 0.7, 0.3), ylabel="epoch")
    left.set_yticks([1, 5, 10, 15, 20])
    left.set_xticks(range(5), list("hello"), family="monospace", fontsize=13)
    left.xaxis.tick_top()
    left.set_title("predictions for hello", fontsize=12, pad=12)
    left.tick_params(length=0)

    labels = model.config.sizes.outputs
    lowest = log(1 + (labels - 1) * exp(-2))
    right.plot(numbers, losses, color=RIGHT, marker="o", markersize=5)
    right.axhline(lowest, color=INK, linestyle="--", linewidth=1)
    right.text(1, lowest + 0.008, f"{lowest:.3f}: lower bound for logits between -1 and 1", ha="left", va="bottom",
               fontsize=10.5)  # fmt: skip
    right.set(xlabel="epoch", ylabel="training loss, nats per letter", ylim=(0, max(losses) * 1.08))
    right.set_xticks([1, 5, 10, 15, 20])
    right.set_title("loss", fontsize=12, pad=12)
    right.grid(color="#dddddd")
    right.set_axisbelow(True)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    left.spines[["left", "bottom"]].set_visible(False)
    figure.savefig(PICTURE, dpi=120, facecolor="white", metadata={"Software": None})


def draw_figures() -> None:
    """Draw curves.png, trace.png and tuning.png."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / "state-as-logits", Path(folder) / "with-head"]
        without, _ = (
            fit(seed=SEED, epochs=60, head=head, out=run)
            for head, run in zip(("identity", "softmax"), runs, strict=True)
        )
        figures.save_figure(figures.draw_curves(load_curves(runs)), PICTURE.with_name("curves.png"))
        figure = figures.draw_trace(trace(without, "hello"), saliency=compute_saliency(without, "hello"))
        figures.save_figure(figure, PICTURE.with_name("trace.png"))
        days, study = PICTURE.parents[1] / "examples/temperature.csv", Path(folder) / "study"
        tune(days, trials=40, out=study, task="next_row", epochs=12, batch_size=4, bptt=32)
        figures.save_figure(draw_study(load_summary(study)), PICTURE.with_name("tuning.png"))


if __name__ == "__main__":
    draw_training()
    draw_figures()
