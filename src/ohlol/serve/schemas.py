"""The contents of requests and responses, for validation and for the OpenAPI document."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ohlol.cells import CELLS
from ohlol.cells.imported import is_import_path
from ohlol.config import TUTORIAL_MODEL

MAX_SEED = (1 << 63) - 1
Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(fail_fast=True)]
"""Validation of a list ends at its first error, since a body may have half a million."""
Sequence = Annotated[list[Text], Field(min_length=1, fail_fast=True)]
Sequences = Annotated[list[Sequence], Field(fail_fast=True)]
Row = Annotated[list[Number], Field(fail_fast=True)]
Rows = Annotated[list[Row], Field(fail_fast=True)]
SparseRow = Annotated[list[Number | None], Field(fail_fast=True)]
"""Null is a missing value, for a model that forecasts series."""
SparseRows = Annotated[list[SparseRow], Field(fail_fast=True)]


class StrictModel(BaseModel):
    """A body in which an unknown member is an error, and a text in place of a number, too."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """An error in one line."""

    detail: str


class Series(StrictModel):
    """One series to forecast, or to give a label or a number to, which takes its name and rows alone."""

    name: Annotated[str, Field(max_length=1000, description="Its name in the response.")] = ""
    rows: Annotated[
        SparseRows,
        Field(description="Oldest first; in each the targets, then the known, then the observed columns."),
    ]
    start: Annotated[
        str | None,
        Field(description="The time of the first row, for a model of dated rows.", examples=["2024-01-31"]),
    ] = None
    static: Annotated[list[str], Field(fail_fast=True, description="The categories of the series.")] = []
    future: Annotated[SparseRows, Field(description="The known columns of the rows to forecast.")] = []


class Predict(StrictModel):
    """A request to predict: `inputs`, or `rows` or `series` for a model that reads numbers."""

    inputs: Annotated[
        Text | Texts | Sequences | None,
        Field(description="A text, several texts, or several lists of symbols.", examples=["hello", ["hello", "hole"]]),
    ] = None
    rows: Annotated[
        SparseRows | None,
        Field(description="The rows of a series, oldest first; a number for each column."),
    ] = None
    series: Annotated[
        list[Series] | None, Field(description="Several series, or one with times, known columns or categories.")
    ] = None
    static: Annotated[
        list[dict[str, str | Number | bool | None]] | None,
        Field(
            description="For each input the columns that the model reads beside the text, by name; null is missing.",
            examples=[[{"country": "DE", "price": 9.5}]],
        ),
    ] = None
    n_best: Annotated[int, Field(ge=1, le=100, description="Labels for each step, with their probabilities.")] = 1
    steps: Annotated[
        int | None,
        Field(ge=1, le=1000, description="Rows to predict; by default the horizon of a forecast, or the next row."),
    ] = None
    intervals: Annotated[
        list[Annotated[Number, Field(gt=0, lt=100)]] | None,
        Field(max_length=10, description="Intervals of a forecast in per cent.", examples=[[80, 95]]),
    ] = None


class Labelled(BaseModel):
    """The prediction for one sequence."""

    symbols: Annotated[list[str], Field(description="None for a series of numbers.")]
    labels: Annotated[
        list[str],
        Field(description="One for each symbol; for a classifier one in all, or those of a set; none for a number."),
    ]
    probabilities: list[float]
    best: Annotated[list[list[tuple[str, float]]], Field(description="The n best labels of each step, best first.")]
    unknown: Annotated[list[str], Field(description="Symbols that were read as <unk>.")]
    name: Annotated[str | None, Field(description="The name of a series of numbers.")] = None
    number: Annotated[float | None, Field(description="The number for a sequence, of task regress.")] = None


class Interval(BaseModel):
    """The bounds of a forecast, a number for each column in each row."""

    percent: float
    lower: list[list[float]]
    upper: list[list[float]]


class Forecasted(BaseModel):
    """The rows that follow a series."""

    series: str
    times: Annotated[list[str] | None, Field(description="ISO 8601; null where rows are counted.")]
    medians: Annotated[list[list[float]], Field(description="A number for each column in each row.")]
    intervals: list[Interval]


class Predicted(BaseModel):
    """Predictions in the order of the inputs, the next rows, or forecasts in the order of the series."""

    model: str
    predictions: list[Labelled] | None = None
    columns: list[str] | None = None
    rows: list[list[float]] | None = None
    forecasts: list[Forecasted] | None = None


class Generate(StrictModel):
    """A request to generate text."""

    prompt: Annotated[str, Field(description="The text to continue; not repeated.")] = ""
    length: Annotated[int, Field(ge=0, le=1 << 20, description="Symbols to generate.")] = 200
    temperature: Annotated[Number, Field(ge=0, le=100, description="0 takes the most probable.")] = 0.8
    top_k: Annotated[int, Field(ge=0, le=1 << 20, description="Only the k most probable; 0: all.")] = 0
    top_p: Annotated[Number, Field(gt=0, le=1, description="The most probable, up to this probability.")] = 1.0
    seed: Annotated[int | None, Field(ge=0, le=MAX_SEED, description="The same seed gives the same text.")] = None


class Explain(StrictModel):
    """A request to explain."""

    input: Annotated[Text | Sequence, Field(examples=["hello"])]
    target: Annotated[
        str | Annotated[list[str], Field(fail_fast=True)] | None,
        Field(description="The expected output, as in `ohlol explain`."),
    ] = None
    saliency: Annotated[bool, Field(description="Add the influence of each input on each prediction.")] = False


class ExplainPage(StrictModel):
    """A request for an explanation that the page draws."""

    input: Annotated[Text | Sequence, Field(examples=["hello"])]
    lang: Annotated[str, Field(pattern="^(en|zh)$")] = "en"


class Explained(BaseModel):
    """Every number of a model over one sequence, as `ohlol explain` prints them in JSON."""

    model_config = ConfigDict(extra="allow")
    task: str
    per_sequence: bool
    symbols: list[str]
    labels: list[str]
    loss: float | None
    difference: float
    layers: list[dict[str, Any]]
    predictions: list[dict[str, Any]]


class Described(BaseModel):
    """The description of a model."""

    name: str
    task: str
    level: str | None
    cell: str
    layers: int
    hidden_size: int
    bidirectional: bool
    parameters: int
    symbols: int | None
    labels: list[str] | None
    columns: list[str] | None
    static: Annotated[list[str] | None, Field(description="The columns that are read beside a text.")] = None
    example: Annotated[str | None, Field(description="An input of a model that was trained on pairs.")]
    identity: str
    streams: Annotated[bool, Field(description="Whether it has a stream, symbol by symbol.")]


class Reloaded(BaseModel):
    """The result of reading a model again."""

    name: str
    changed: bool
    identity: str
    error: str | None


class Pair(StrictModel):
    """An input and its target, a label for each character."""

    input: Annotated[str, Field(min_length=1, max_length=1000)]
    target: Annotated[str, Field(min_length=1, max_length=1000)]


class Train(StrictModel):
    """A request to train."""

    pairs: Annotated[list[Pair], Field(min_length=1, max_length=100)] = Field(
        default=[Pair(input="hello", target="ohlol")]
    )
    cell: Annotated[str, Field(pattern=f"^({'|'.join(name for name in CELLS if not is_import_path(name))})$")] = (
        TUTORIAL_MODEL.cell
    )
    head: Annotated[bool, Field(description="A linear layer on the hidden state, which is the logits without it.")] = (
        False
    )
    hidden_size: Annotated[int | None, Field(ge=1, le=1 << 20, description="Only with a head.")] = None
    epochs: Annotated[int, Field(ge=1, le=1 << 20)] = 20
    lr: Annotated[Number, Field(gt=0, le=10)] = 0.1
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 1
    pace: Annotated[Number, Field(ge=0, le=2, description="Seconds between two epochs.")] = 0.0


class Health(BaseModel):
    """The state of the server."""

    status: str
