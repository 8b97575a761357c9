"""What the expressions of a program stand for."""

import ast

import pytest

from ohlol.explain.review.program import Program
from ohlol.explain.review.values import Value


def value_of(source: str, expression: str) -> Value | None:
    """The value of the last place in a program where an expression stands."""
    program = Program(source)
    places = [n for n in program.nodes if isinstance(n, ast.expr) and ast.unparse(n) == expression]
    return program.value(max(places, key=lambda n: (n.lineno, n.col_offset)))


LAYER = "rnn = nn.LSTM(3, 5, 2, batch_first=True)\nx = torch.randn(2, 7, 3)\nout, (h, c) = rnn(x)\n"

AXES = [
    ("out", ("B", "T", "H")),
    ("h", ("S", "B", "H")),
    ("h[-1]", ("B", "H")),
    ("out[:, -1]", ("B", "H")),
    ("out[:, 0, :]", ("B", "H")),
    ("out[:, :, :5]", ("B", "T", "?")),
    ("out.transpose(0, 1)", ("T", "B", "H")),
    ("torch.transpose(out, 1, 2)", ("B", "H", "T")),
    ("out.permute(2, 0, -2)", ("H", "B", "T")),
    ("out.permute((1, 0, 2))", ("T", "B", "H")),
    ("nn.Linear(5, 9)(out)", ("B", "T", "K")),
    ("F.dropout(out, 0.2)", ("B", "T", "H")),
    ("out.mean(dim=1)", ("B", "H")),
    ("out.unsqueeze(1)", ("B", "1", "T", "H")),
    ("h.squeeze(0)", ("B", "H")),
    ("out.flatten(0, 1)", ("N", "H")),
    ("out.view(-1, 5)", ("?", "H")),
    ("out + 1", ("B", "T", "H")),
    ("out.numpy()", None),
    ("out.permute(*order)", None),
    ("out[mask]", None),
]


@pytest.mark.parametrize(("expression", "axes"), AXES)
def test_axes_are_followed(expression: str, axes: tuple[str, ...] | None) -> None:
    value = value_of(LAYER + f"y = {expression}\n", expression)
    assert (value.axes if value is not None else None) == axes


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("3, 5", (False, False, 1)),
        ("3, 5, 4, True, True, 0.1, True", (True, True, 4)),
        ("input_size=3, hidden_size=5, num_layers=layers", (False, False, None)),
        ("3, 5, **options", (None, None, None)),
        ("3, 5, bidirectional=flag", (False, None, 1)),
        ("3, 5, bidirectional=True, **options", (None, True, None)),
    ],
)
def test_options_are_known_or_unknown(arguments: str, expected: tuple[object, ...]) -> None:
    layer = value_of(f"rnn = nn.GRU({arguments})\n", f"nn.GRU({arguments})")
    assert layer is not None
    assert (layer.batch_first, layer.bidirectional, layer.num_layers) == expected


def test_layers_pass_through_classes_and_functions() -> None:
    source = """
class Net(nn.Module):
    def __init__(self, size, two_ways):
        super().__init__()
        self.rnn = nn.GRU(size, size, bidirectional=two_ways)

    def forward(self, x):
        return self.rnn(x)

def run(net, x):
    output, state = net(x)
    return state

state = run(Net(4, True).to(device), x)
print(state)
"""
    value = value_of(source, "state")
    assert value is not None
    assert value.layer is not None
    assert (value.name, value.layer.name, value.layer.bidirectional) == ("h_n", "GRU", True)


@pytest.mark.parametrize(
    ("branches", "is_known"),
    [
        ("rnn = nn.LSTM(3, 4)", "rnn = nn.GRU(3, 4)"),
        ("rnn = nn.LSTM(3, 4)", "raise ValueError"),
        ("rnn = nn.LSTM(3, 4)", ""),
    ],
)
def test_branches_that_agree_on_the_layout(branches: str, is_known: str) -> None:
    source = f"if flag:\n    {branches}\nelse:\n    {is_known or 'pass'}\nprint(rnn)\n"
    value = value_of(source, "rnn")
    assert value is not None
    assert value.kind == "layer"


def test_branches_that_differ_leave_a_layer_unknown() -> None:
    assert value_of("if f:\n    r = nn.GRU(3, 4)\nelse:\n    r = nn.GRU(3, 4, 2)\nprint(r)\n", "r") is None
    source = """
class Net(nn.Module):
    def __init__(self, flag):
        if flag:
            self.rnn = nn.GRU(3, 4)
        else:
            self.rnn = nn.GRU(3, 4, bidirectional=True)
    def forward(self, x):
        return self.rnn(x)
"""
    assert value_of(source, "self.rnn") is None


def test_arguments_that_differ_leave_a_parameter_unknown() -> None:
    source = "def f(a):\n    print(a)\nf(nn.GRU(3, 4))\n"
    assert value_of(source, "a") is not None
    assert value_of(source + "f(nn.GRU(3, 4, 2))\n", "a") is None


def test_a_loop_carries_its_values() -> None:
    source = "rnn = nn.RNNCell(3, 4)\nh = None\nfor x in xs:\n    print(h)\n    h = rnn(x, h)\n"
    value = value_of(source, "h")
    assert value is not None
    assert value.layer is not None
    assert value.layer.name == "RNNCell"


def test_deeply_nested_loops_are_followed_in_a_short_time() -> None:
    source = "".join("    " * k + f"for x{k} in y:\n" for k in range(18)) + "    " * 18 + "z = nn.GRU(3, 4)\n"
    assert value_of(source, "nn.GRU(3, 4)") is not None


@pytest.mark.parametrize(
    ("expression", "dtype"),
    [
        ("F.one_hot(y, 4)", "long"),
        ("F.one_hot(y, 4).float()", "float"),
        ("F.one_hot(y, 4).to(torch.float32)", "float"),
        ("F.one_hot(y, 4).to(device)", "long"),
        ("torch.tensor([[1, 0], [0, 1]])", "long"),
        ("torch.tensor([[1, 0.5]])", "float"),
        ("torch.tensor([[1, 0]], dtype=torch.float)", "float"),
        ("torch.Tensor([[1, 0]])", "float"),
        ("torch.FloatTensor([1, 0])", "float"),
        ("torch.tensor([1, 0], dtype=kind)", "other"),
        ("torch.tensor([1, 0]).type(torch.cuda.LongTensor)", "long"),
        ("torch.tensor([1.5, 0.5]).to(other.dtype)", "other"),
        ("torch.tensor([1.5, 0.5]).to('cpu')", "float"),
        ("torch.zeros(3, 4)", "float"),
        ("torch.zeros(3, 4, dtype=torch.long)", "long"),
    ],
)
def test_dtypes_are_followed(expression: str, dtype: str) -> None:
    value = value_of(f"x = {expression}\n", expression)
    assert value is not None
    assert value.dtype == dtype
