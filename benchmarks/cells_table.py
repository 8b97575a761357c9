"""Every cell of the package, and three of torchrecurrent, on `names` at equal numbers of parameters.

    python benchmarks/cells_table.py [--cells NAME ...] [--seeds N ...] [--results FILE] [--quick]

Reads `names` from OHLOL_DATA (default ../shared/data). All models have the default settings of `ohlol train` for this
task; the hidden size of each cell is the one whose model has the number of parameters nearest to that of the LSTM's.
Prints a table of the best epoch's metrics on the test set: the mean over the seeds, with the least and the greatest.
With `--results`, finished runs are added to a file, and those that are in it are not run again.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from statistics import mean

from timing import parse_arguments

from ohlol import fit
from ohlol.cells import CELLS, import_cell
from ohlol.config import ModelSettings
from ohlol.models.inputs import Sizes
from ohlol.models.sequence_model import SequenceModel

ROOT = Path(__file__).parents[1]
PEERS = ("torchrecurrent:NASCell", "torchrecurrent:RANCell", "torchrecurrent:STARCell")
MAX_HIDDEN = 1 << 14
REFERENCE = "lstm"


def count_parameters(model: ModelSettings, sizes: Sizes) -> int:
    """The parameters of a model that is trained."""
    return sum(p.numel() for p in SequenceModel(model, sizes).parameters() if p.requires_grad)


def find_hidden_size(model: ModelSettings, sizes: Sizes, total: int) -> int:
    """The hidden size whose model has a number of parameters nearest to the total."""
    low, high = 1, 1
    while high < MAX_HIDDEN and count_parameters(replace(model, hidden_size=high), sizes) < total:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        is_less = count_parameters(replace(model, hidden_size=middle), sizes) < total
        low, high = (middle, high) if is_less else (low, middle)
    return min((low, high), key=lambda size: abs(count_parameters(replace(model, hidden_size=size), sizes) - total))


def run(train: Path, test: Path, options: dict[str, object], model: ModelSettings, seed: int) -> dict[str, float]:
    """The metrics on the test set."""
    fitted = fit(train, cell=model.cell, hidden_size=model.hidden_size, seed=seed, **options)
    return {name: float(value) for name, value in fitted.evaluate(test).metrics().items()}


def format_rate(values: list[float]) -> str:
    """The mean in percent, with the least and the greatest if there are several."""
    text = f"{100 * mean(values):.2f} %"
    return text if len(values) == 1 else f"{text} ({100 * min(values):.2f} to {100 * max(values):.2f})"


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=[*CELLS, *PEERS], help="names, or package.module:Class")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--results", type=Path, help="a file of finished runs, one line each")
    arguments = parse_arguments(parser, cells=["lstm", "mgu", "indrnn"], seeds=[1])
    data = Path(os.environ.get("OHLOL_DATA", ROOT.parent / "shared/data")) / "names"
    train, test = data / "names_train.csv", data / "names_test.csv"
    options: dict[str, object] = {"input": "1", "target": "2"}
    if arguments.quick:
        train = test = ROOT / "examples/words.csv"
        options = {"input": "word", "target": "language", "epochs": 1}
    for cell in arguments.cells:
        import_cell(cell)

    config = fit(train, cell=REFERENCE, seed=1, **{**options, "epochs": 1}).config
    total = count_parameters(config.model, config.sizes)
    models: dict[str, ModelSettings] = {}
    for cell in arguments.cells:
        model = replace(config.model, cell=cell)
        models[cell] = replace(model, hidden_size=find_hidden_size(model, config.sizes, total))
    finished: dict[tuple[str, int], dict[str, float]] = {}
    if arguments.results is not None and arguments.results.exists():
        for line in arguments.results.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            finished[entry["cell"], entry["seed"]] = entry["metrics"]
    for seed in arguments.seeds:
        for cell in arguments.cells:
            if (cell, seed) in finished:
                continue
            finished[cell, seed] = run(train, test, options, models[cell], seed)
            if arguments.results is not None:
                with arguments.results.open("a", encoding="utf-8") as file:
                    entry = {"cell": cell, "seed": seed, "metrics": finished[cell, seed]}
                    file.write(json.dumps(entry) + "\n")

    print("| cell | hidden units | parameters | accuracy | macro F1 |")
    print("|---|---|---|---|---|")
    for cell, model in models.items():
        metrics = [finished[cell, seed] for seed in arguments.seeds]
        rates = (format_rate([m[name] for m in metrics]) for name in ("accuracy", "macro_f1"))
        print(f"| `{cell}` | {model.hidden_size} | {count_parameters(model, config.sizes):,} | {' | '.join(rates)} |")


if __name__ == "__main__":
    main()
