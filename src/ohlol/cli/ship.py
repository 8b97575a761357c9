"""The commands that hand a model on and take one in: `ohlol export` and `import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ohlol.cli.frame import app
from ohlol.utils.errors import InputError

if TYPE_CHECKING:
    from ohlol.data.batches import Dataset
    from ohlol.inference.trained_model import TrainedModel


WIDTH = 80
"""Columns of a terminal that nobody made wider."""


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    file: Annotated[Path, typer.Argument(help="The ONNX file to write, such as model.onnx.")],
    step: Annotated[
        bool, typer.Option("--step", help="Write a second graph, FILE with .step before its suffix, of one step.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify", help="Hold onnxruntime against ohlol, and write nothing where they differ."
        ),
    ] = True,
    quantize: Annotated[
        str | None, typer.Option(help="int8: weights of the LSTM as 8-bit integers.", metavar="int8")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Data to score both graphs on with --quantize; else the run's --dev.")
    ] = None,
) -> None:
    """Write a model as an ONNX graph: batch and time dynamic, the state in and out by name."""
    if quantize not in (None, "int8"):
        raise InputError(f"--quantize is {quantize!r}; it must be int8")
    if data and not quantize:
        raise InputError("--data is what --quantize int8 is scored on: give both")
    if file.is_dir() or not file.parent.is_dir():
        raise InputError(f"{file}: {'is a directory' if file.is_dir() else 'its directory does not exist'}")
    from ohlol.inference.trained_model import load
    from ohlol.interop import onnx_export
    from ohlol.utils.files import write_bytes

    model = load(run)
    graphs = {file: onnx_export.build_graph(model)}
    if step:
        graphs[file.with_name(f"{file.stem}.step{file.suffix}")] = onnx_export.build_graph(model, step=True)
    said = {path: _told(model, path, graph, verify) for path, graph in graphs.items()}
    compared = ""
    if quantize:
        from ohlol.interop import onnx_verify

        small = {path: onnx_verify.quantize(model, graph) for path, graph in graphs.items()}
        compared = _compared(model, graphs[file], small[file], data or [])
        graphs = small
    for path, graph in graphs.items():
        write_bytes(path, graph)
    print("\n".join(said.values()) + compared)


def _told(model: "TrainedModel", path: Path, graph: bytes, verify: bool) -> str:
    """What a graph is and, with `verify`, that it is right; raises InputError where it is not."""
    from ohlol.interop.onnx_export import describe_graph

    size, reads, gives = describe_graph(graph)
    lines = [f"{path}: {size}", *_listed("reads", reads), *_listed("gives", gives)]
    if verify:
        from ohlol.interop import onnx_verify

        found = onnx_verify.verify(model, graph)
        if not found.passed:
            raise InputError(
                f"{path}: onnxruntime {onnx_verify.runtime_version()} and ohlol differ by {found.largest:.1e} in "
                f"{found.location}, allowed is {onnx_verify.TOLERANCE:.0e}: nothing was written"
            )
        told = f"onnxruntime {onnx_verify.runtime_version()} gives the same"
        lines += [
            f"  {told}, whole and in pieces: {found.compared} tensors compared,",
            f"  largest difference {found.largest:.1e}, allowed {onnx_verify.TOLERANCE:.0e}",
        ]
    return "\n".join(lines)


def _listed(head: str, items: list[str]) -> list[str]:
    """Items on as few lines as hold them whole."""
    lines = [f"  {head}"]
    for number, item in enumerate(items, 1):
        item += "," * (number < len(items))
        if len(lines[-1]) + 1 + len(item) > WIDTH:
            lines.append(" " * (2 + len(head)))
        lines[-1] += f" {item}"
    return lines


def _compared(model: "TrainedModel", before: bytes, after: bytes, files: list[str]) -> str:
    """What quantizing changed, in a few lines."""
    from ohlol.interop import onnx_verify
    from ohlol.tasks.metrics import format_metrics

    data, named = _data(model, files)
    rows = onnx_verify.compare_graphs(model, [before, after], data)
    lines: list[str] = []
    for name, row in zip(("float32", "int8"), rows, strict=True):
        lines.append(f"{name:<7} {row.size:>11,} bytes {row.speed:>11,.0f} symbols/s")
        if row.metrics:
            lines.append(f"        {format_metrics(row.metrics)}")
    if data is None:
        share = onnx_verify.measure_agreement(model, after)
        lines.append(f"no data to score on (--data FILE): {100 * share:.2f} % of made-up steps get the same label")
    else:
        lines.append(f"scored on {named}")
    return "\nquantized, and written as int8:\n  " + "\n  ".join(lines)


def _data(model: "TrainedModel", files: list[str]) -> "tuple[Dataset | None, str]":
    from ohlol.data import sequences

    dev = model.config.dev_file
    if not files and dev is not None and Path(dev).is_file():
        files = [dev]
    if not files:
        return None, ""
    return model.codec.encode(sequences.read(files, model.config.data)), ", ".join(files)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A model.onnx, or a state_dict.safetensors of torch.nn layers.")],
    out: Annotated[Path | None, typer.Option(help="Run directory to write.", show_default="runs/FILE-1")] = None,
    task: Annotated[
        str | None, typer.Option(help="label|next|classify|forecast; a graph of ohlol knows its own.")
    ] = None,
    symbols: Annotated[
        Path | None, typer.Option(help="File of the symbols by id, or of the columns, one a line; else numbers.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File of the labels in the order of the scores; else numbers.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
) -> None:
    """Make a run of the weights of a plain torch.nn model: embedding, RNN, GRU or LSTM, linear head."""
    from ohlol.checkpoint.run_directory import choose_free_name
    from ohlol.interop import import_run

    model, found = import_run.import_model(file, task=task, symbols=symbols, labels=labels)
    run = choose_free_name(file.name.split(".")[0]) if out is None else out
    import_run.save_run(model, run, overwrite=overwrite)
    print(f"read: {found}\nsaved: {run}")
