"""What requests and answers look like, for validation and for the OpenAPI document; knows nothing of what is done."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

SEED_TOP = (1 << 63) - 1
Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Sequence = Annotated[list[Text], Field(min_length=1)]


class Strict(BaseModel):
    """A body in which a name that does not exist is an error."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """What was wrong, in one line."""

    detail: str


class Predict(Strict):
    """Give `inputs`, or for a model of numbers `rows`."""

    inputs: Annotated[
        Text | list[Text] | list[Sequence] | None,
        Field(description="A text, several texts, or several lists of symbols.", examples=["hello", ["hello", "hole"]]),
    ] = None
    rows: Annotated[
        list[list[Number]] | None, Field(description="The last rows of a series, one number a column, oldest first.")
    ] = None
    n_best: Annotated[int, Field(ge=1, le=100, description="Labels a step, with their probabilities.")] = 1
    steps: Annotated[int, Field(ge=1, le=1000, description="Rows to forecast.")] = 1


class Labelled(BaseModel):
    """What a model says of one sequence."""

    symbols: list[str]
    labels: Annotated[list[str], Field(description="One a symbol; one in all for a model that classifies.")]
    probabilities: list[float]
    best: Annotated[list[list[tuple[str, float]]], Field(description="The n best labels of each step, best first.")]
    unknown: Annotated[list[str], Field(description="Symbols that were read as <unk>.")]


class Predicted(BaseModel):
    """Predictions in the order of the inputs, or the rows that follow."""

    model: str
    predictions: list[Labelled] | None = None
    columns: list[str] | None = None
    rows: list[list[float]] | None = None


class Generate(Strict):
    """How a text is to go on."""

    prompt: Annotated[str, Field(description="What comes before; not repeated.")] = ""
    length: Annotated[int, Field(ge=0, le=1 << 20, description="Symbols to make.")] = 200
    temperature: Annotated[Number, Field(ge=0, le=100, description="0 takes the likeliest.")] = 0.8
    top_k: Annotated[int, Field(ge=0, le=1 << 20, description="Among the k likeliest only; 0: all.")] = 0
    top_p: Annotated[Number, Field(gt=0, le=1, description="Among the likeliest with this probability together.")] = 1.0
    seed: Annotated[int | None, Field(ge=0, le=SEED_TOP, description="Makes the text repeatable.")] = None


class Explain(Strict):
    """What is to be explained."""

    input: Annotated[Text | Sequence, Field(examples=["hello"])]
    target: Annotated[str | list[str] | None, Field(description="What should come out, as `ohlol explain` has it.")] = (
        None
    )
    saliency: Annotated[bool, Field(description="Add the influence of each input on each prediction.")] = False


class ExplainPage(Strict):
    """What is to be explained, as a page."""

    input: Annotated[Text | Sequence, Field(examples=["hello"])]
    lang: Annotated[str, Field(pattern="^(en|zh)$")] = "en"


class Explained(BaseModel):
    """Every number of a model over one sequence: what `ohlol explain --json` prints."""

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
    """A model that is served."""

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
    example: Annotated[str | None, Field(description="An input it was trained on, where it was trained on pairs.")]
    identity: str
    streams: Annotated[bool, Field(description="Whether it reads a stream, symbol by symbol.")]


class Reloaded(BaseModel):
    """What became of a model that was read again."""

    name: str
    changed: bool
    identity: str
    error: str | None


class Pair(Strict):
    """An input and what should come out, a label a character."""

    input: Annotated[str, Field(min_length=1, max_length=1000)]
    target: Annotated[str, Field(min_length=1, max_length=1000)]


class Train(Strict):
    """A training to watch."""

    pairs: Annotated[list[Pair], Field(min_length=1, max_length=100)] = Field(
        default=[Pair(input="hello", target="ohlol")]
    )
    cell: Annotated[str, Field(pattern="^(rnn|gru|lstm)$")] = "rnn"
    head: Annotated[bool, Field(description="A linear layer on the hidden state, which is the scores without it.")] = (
        False
    )
    hidden_size: Annotated[int | None, Field(ge=1, le=1 << 20, description="Only with a head.")] = None
    epochs: Annotated[int, Field(ge=1, le=1 << 20)] = 20
    lr: Annotated[Number, Field(gt=0, le=10)] = 0.1
    seed: Annotated[int, Field(ge=0, le=SEED_TOP)] = 1
    pace: Annotated[Number, Field(ge=0, le=2, description="Seconds between two epochs, to watch them.")] = 0.0


class Health(BaseModel):
    """Whether the server lives."""

    status: str
