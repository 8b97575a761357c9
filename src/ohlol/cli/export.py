"""`ohlol export`: a trained model as an ONNX graph."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ohlol.cli.app import EXCHANGE, Cell, Run, app
from ohlol.utils.errors import InputError
from ohlol.utils.terminal import print_message
from ohlol.utils.translation import message_id, translate

if TYPE_CHECKING:
    from ohlol.data.batches import Dataset
    from ohlol.inference.trained_model import TrainedModel

WIDTH = 80
"""Columns of the output."""


@app.command(rich_help_panel=EXCHANGE)
def export(
    run: Run,
    file: Annotated[Path, typer.Argument(help="ONNX file to write, such as model.onnx.", metavar="FILE")],
    step: Annotated[
        bool, typer.Option("--step", help="Also write a graph of a single time step, as NAME.step.onnx.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Compare onnxruntime with ohlol; write nothing if they differ."),
    ] = True,
    quantize: Annotated[
        str | None, typer.Option(help="int8: 8-bit integer weights for the LSTM.", metavar="int8")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Data to compare both graphs on with --quantize; else the run's --dev; repeatable."),
    ] = None,
    cell: Cell = None,
) -> None:
    """Write a model as an ONNX graph with dynamic batch and time axes, and the state as input and output."""
    if quantize not in (None, "int8"):
        raise InputError("`quantize` is {quantize!r}; it must be int8", quantize=quantize)
    if data and not quantize:
        raise InputError("`data` is used with `quantize=int8` only: give both")
    if file.is_dir() or not file.parent.is_dir():
        raise InputError(
            "{path}: is a directory" if file.is_dir() else "{path}: its directory does not exist", path=file
        )
    from ohlol.inference.trained_model import load
    from ohlol.interop import onnx_export
    from ohlol.utils.files import check_suffix, write_bytes

    check_suffix(file, message_id("an ONNX graph"), (".onnx",))
    model = load(run, cell=cell)
    graphs = {file: onnx_export.build_graph(model)}
    if step:
        graphs[file.with_name(f"{file.stem}.step{file.suffix}")] = onnx_export.build_graph(model, step=True)
    descriptions = [_describe(model, path, graph, verify) for path, graph in graphs.items()]
    comparison = ""
    if quantize:
        from ohlol.interop import onnx_verify

        quantized = {path: onnx_verify.quantize(model, graph) for path, graph in graphs.items()}
        comparison = _compare(model, graphs[file], quantized[file], data or [])
        graphs = quantized
    for path, graph in graphs.items():
        write_bytes(path, graph)
    print_message("\n".join(descriptions) + comparison)


def _describe(model: "TrainedModel", path: Path, graph: bytes, verify: bool) -> str:
    """The inputs and outputs of a graph and, with `verify`, how far onnxruntime is from ohlol.

    Raises:
        InputError: they differ by more than the tolerance.
    """
    from ohlol.interop.onnx_export import describe_graph

    size, inputs, outputs = describe_graph(graph)
    lines = [f"{path}: {size}", *_wrap(translate("inputs"), inputs), *_wrap(translate("outputs"), outputs)]
    if verify:
        from ohlol.interop import onnx_verify

        result = onnx_verify.verify(model, graph)
        if not result.passed:
            raise InputError(
                "{path}: onnxruntime {runtime_version} and ohlol differ by {largest:.1e} in {location}; "
                "{tolerance:.0e} is allowed; nothing was written",
                path=path,
                runtime_version=onnx_verify.runtime_version(),
                largest=result.largest,
                location=result.location,
                tolerance=onnx_verify.TOLERANCE,
            )
        lines += [
            translate(
                "  onnxruntime {runtime_version} agrees, over whole sequences and over parts of them:",
                runtime_version=onnx_verify.runtime_version(),
            ),
            translate(
                "  {compared} tensors, largest difference {largest:.1e}, allowed {tolerance:.0e}",
                compared=result.compared,
                largest=result.largest,
                tolerance=onnx_verify.TOLERANCE,
            ),
        ]
    return "\n".join(lines)


def _wrap(heading: str, items: list[str]) -> list[str]:
    """Items as lines of at most `WIDTH` columns."""
    from rich.cells import cell_len

    lines = [f"  {heading}"]
    for number, item in enumerate(items, 1):
        item += "," * (number < len(items))
        if cell_len(lines[-1]) + 1 + len(item) > WIDTH:
            lines.append(" " * (2 + cell_len(heading)))
        lines[-1] += f" {item}"
    return lines


def _compare(model: "TrainedModel", original: bytes, quantized: bytes, files: list[str]) -> str:
    """The size, speed and metrics of the graph before and after quantization."""
    from ohlol.interop import onnx_verify
    from ohlol.tasks.metrics import format_metrics

    data, name = _read_data(model, files)
    rows = onnx_verify.compare_graphs(model, [original, quantized], data)
    lines: list[str] = []
    for dtype, row in zip(("float32", "int8"), rows, strict=True):
        lines.append(
            translate(
                "{dtype:<7} {size:>11,} bytes {speed:>11,.0f} steps/s", dtype=dtype, size=row.size, speed=row.speed
            )
        )
        if row.metrics:
            lines.append(f"        {format_metrics(row.metrics)}")
    if data is None:
        share = onnx_verify.measure_agreement(model, quantized)
        lines.append(
            translate(
                "no data to evaluate on (--data FILE): {share:.2f} % equal labels on random input", share=100 * share
            )
        )
    else:
        lines.append(translate("evaluated on {name}", name=name))
    return translate("\nquantized, and written as int8:\n  ") + "\n  ".join(lines)


def _read_data(model: "TrainedModel", files: list[str]) -> "tuple[Dataset | None, str]":
    from ohlol.data.codec_encoding import encode_data
    from ohlol.data.sequences import read

    dev = model.config.dev_file
    if not files and dev is not None and Path(dev).is_file():
        files = [dev]
    if not files:
        return None, ""
    return encode_data(model.codec, read(files, model.data_settings())), ", ".join(files)
