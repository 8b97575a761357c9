"""Draw the gates and states of every cell for docs/cells.md, as docs/cells/NAME.png: `python docs/make_cells.py`.

A small model of each cell is trained on examples/sonnets.txt; the picture has a column for each character of the first
line and a row for each unit. Gates between 0 and 1 are shown from white to violet, other values from blue to orange.
"""

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from ohlol import fit
from ohlol.cells import CELLS, CellSpec
from ohlol.display import figures
from ohlol.explain.trace import LayerTrace, Numbers, trace

DOCS = Path(__file__).parent
TEXT = "Shall I compare thee to a summer's day?"
UNITS = 12


def values_of(spec: CellSpec, layer: LayerTrace) -> dict[str, Numbers]:
    """The gates in the order of the equation, then the output and the states, each (T, W)."""
    lines = {name: values for _, name, values in layer.lines_over_time()}  # the last value of each name
    gates = lines | {gate.name: gate.value for gate in layer.gates}
    symbols = [line.partition(" = ")[0].strip() for line in spec.equation]
    values = {symbol: gates[symbol] for symbol in symbols if symbol in gates and symbol not in spec.states}
    if "h" not in spec.states:
        values["h"] = layer.output
    return values | {f"{state}'": layer.after[state] for state in spec.states}


def draw(values: dict[str, Numbers], text: str) -> Figure:
    """A heat map for each gate and state above each other."""
    with mpl.rc_context(figures.Fonts(text).style):
        figure = Figure(figsize=(6.4, 0.62 * len(values) + 0.3), layout="constrained")
        grid = figure.subplots(len(values), 1, squeeze=False)[:, 0]
        for axes, (name, rows) in zip(grid, values.items(), strict=True):
            is_gate = rows.min() >= 0 and rows.max() <= 1
            top = 1.0 if is_gate else abs(rows).max()
            colours = figures.SEQUENTIAL if is_gate else figures.DIVERGING
            axes.imshow(
                rows.T, cmap=colours, vmin=0 if is_gate else -top, vmax=top, aspect="auto", interpolation="nearest"
            )
            axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
            axes.set_yticks([])
            axes.set_xticks([])
            axes.spines[:].set_color(figures.GRID)
            axes.tick_params(length=0)
        grid[-1].set_xticks(range(len(text)), text, fontsize=9)
        figure.draw_without_rendering()  # the layout needs the style of this context
    return figure


def main() -> None:
    """Draw the cells that are named, or all."""
    for name in sys.argv[1:] or CELLS:
        model = fit(
            DOCS.parent / "examples/sonnets.txt", cell=name, hidden_size=UNITS, embedding_size=8, epochs=40,
            batch_size=4, bptt=32, lr=1e-2, seed=1,
        )  # fmt: skip
        (layer,) = trace(model, TEXT).layers
        figures.save_figure(draw(values_of(CELLS[name], layer), TEXT), DOCS / f"cells/{name}.png")
        print(f"wrote cells/{name}.png")


if __name__ == "__main__":
    main()
