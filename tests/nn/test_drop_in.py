"""What other parts of torch do with an accelerated model: each line of the table in docs/torch.md."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from all_kinds import AllKinds
from torch import Tensor
from torch.nn.utils import parametrizations, parametrize, prune

import ohlol
from ohlol import nn

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is deprecated:DeprecationWarning",
    "ignore:.*is deprecated:FutureWarning",
    "ignore:.*is not supported:DeprecationWarning",
    "ignore:.*quantized tensor creation:UserWarning",
    "ignore::torch.jit.TracerWarning",
    "ignore:You are using torch.load:FutureWarning",
)


@pytest.fixture
def model() -> AllKinds:
    module = ohlol.accelerate(AllKinds())
    assert isinstance(module, AllKinds)
    return module


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 2, 3)


def assert_unchanged(model: AllKinds) -> None:
    assert (type(model.layer), type(model.cell)) == (nn.LSTM, nn.GRUCell)


class First(torch.nn.Module):
    """The output of a layer, for TorchScript, which compiles no layer alone."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


def test_jit_script_refuses_and_changes_nothing(model: AllKinds, x: Tensor) -> None:
    first = First(model.layer)
    with pytest.raises(RuntimeError, match=r"script a copy with them: torch\.jit\.script\(ohlol\.restore"):
        torch.jit.script(first)
    assert_unchanged(model)
    assert first.layer is model.layer
    scripted = torch.jit.script(ohlol.restore(copy.deepcopy(first)))
    torch.testing.assert_close(scripted(x), first(x))
    assert_unchanged(model)


@pytest.mark.parametrize("cell_class", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_jit_script_of_a_cell(cell_class: Any) -> None:
    cell, x = cell_class(3, 4), torch.randn(2, 3)
    with pytest.raises(RuntimeError, match="script a copy"):
        torch.jit.script(cell)
    scripted, expected = torch.jit.script(ohlol.restore(copy.deepcopy(cell)))(x), cell(x)
    torch.testing.assert_close(scripted, expected)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRUCell])
def test_a_script_module_refuses(kind: Any) -> None:
    class Script(torch.jit.ScriptModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(3, 4)

        @torch.jit.script_method
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]

    with pytest.raises(RuntimeError, match="script a copy"):
        Script()


def test_jit_trace(model: AllKinds, x: Tensor) -> None:
    torch.testing.assert_close(torch.jit.trace(model.layer, (x,), check_trace=False)(x), model.layer(x))
    assert_unchanged(model)


def test_fx_takes_layers_for_nodes(model: AllKinds, x: Tensor) -> None:
    traced = torch.fx.symbolic_trace(model)
    modules = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    assert modules == {"layer", "cell", "own", "head"}
    assert torch.equal(traced(x), model(x))
    assert traced.layer is model.layer


def test_fx_passes_a_state() -> None:
    class WithState(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.own = nn.GRU(3, 4), nn.Recurrent(torch.nn.GRUCell(4, 4))

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            output, h = self.layer(x, h)
            return self.own(output, h)[0]

    module, x, h = WithState(), torch.randn(5, 2, 3), torch.randn(1, 2, 4)
    assert torch.equal(torch.fx.symbolic_trace(module)(x, h), module(x, h))


def test_quantize_dynamic_says_what_it_leaves(model: AllKinds) -> None:
    kinds: Any = {torch.nn.LSTM, torch.nn.GRUCell, torch.nn.Linear}
    with pytest.warns(UserWarning, match=r"leaves this ohlol.nn.(LSTM|GRUCell|RNNCell) as it is.*ohlol.restore"):
        quantized = torch.ao.quantization.quantize_dynamic(model, kinds)
    assert type(quantized.layer) is nn.LSTM
    restored = torch.ao.quantization.quantize_dynamic(ohlol.restore(copy.deepcopy(model)), kinds)
    assert isinstance(restored.layer, torch.ao.nn.quantized.dynamic.LSTM)
    assert_unchanged(model)


def test_copy_pickle_and_save(model: AllKinds, x: Tensor, tmp_path: Path) -> None:
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        assert_unchanged(twin)
        assert torch.equal(twin(x), model(x))
        assert nn.explain_backend(twin.layer, x).startswith("kernel")


def test_functional_call_and_gradients_of_torch_func(model: AllKinds, x: Tensor) -> None:
    weights = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    plain = ohlol.restore(copy.deepcopy(model))
    found = []
    for module in (model, plain):

        def run(weights: dict[str, Tensor], module: torch.nn.Module = module) -> Tensor:
            return torch.func.functional_call(module, weights, (x,)).sum(0)

        found.append([run(weights), *torch.func.jacrev(run)(weights).values()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("apply", [
    lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"),
    lambda layer: parametrizations.orthogonal(layer, "weight_hh_l0"),
    lambda layer: torch.nn.utils.weight_norm(layer, "weight_hh_l0"),
    lambda layer: prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5),
])  # fmt: skip
def test_computed_weights(model: AllKinds, x: Tensor, apply: Any) -> None:
    plain = ohlol.restore(copy.deepcopy(model))
    results = []
    for module in (model, plain):
        torch.manual_seed(1)
        apply(module.layer)
        output = module(x)
        results.append([output, *torch.autograd.grad(output.sum(), list(module.parameters()))])
    assert nn.explain_backend(model.layer, x).startswith("kernel")
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_restore_of_a_parametrized_layer(model: AllKinds) -> None:
    parametrizations.weight_norm(model.layer, "weight_hh_l0")
    with pytest.raises(ValueError, match=r"layer is a ParametrizedLSTM.*remove the parametrizations"):
        ohlol.restore(model)
    assert type(model.cell) is nn.GRUCell
    parametrize.remove_parametrizations(model.layer, "weight_hh_l0")
    assert type(ohlol.restore(model).get_submodule("layer")) is torch.nn.LSTM


def test_a_parametrized_layer_is_left_alone_and_says_so(x: Tensor) -> None:
    layer = torch.nn.LSTM(3, 4)
    parametrizations.weight_norm(layer, "weight_hh_l0")
    assert "a ParametrizedLSTM has no kernel" in nn.explain_backend(ohlol.accelerate(layer), x)


def test_meta_device_and_skip_init(x: Tensor) -> None:
    with torch.device("meta"):
        layer = nn.LSTM(3, 4)
    assert layer(x.to("meta"))[0].shape == (5, 2, 4)
    layer.to_empty(device="cpu").load_state_dict(nn.LSTM(3, 4).state_dict())
    assert nn.explain_backend(layer, x).startswith("kernel")
    cell, skipped = nn.GRUCell(3, 4), torch.nn.utils.skip_init(nn.GRUCell, 3, 4)
    skipped.load_state_dict(cell.state_dict())
    assert torch.equal(skipped(x[0]), cell(x[0]))
    for layer_class in (torch.nn.LSTM, nn.LSTM):  # torch cannot see that its own layer takes a device
        with pytest.raises(RuntimeError, match="must support a 'device' arg"):
            torch.nn.utils.skip_init(layer_class, 3, 4)


class Named(torch.Tensor):
    """A subclass of tensors."""


def test_subclasses_of_tensors_use_torch(model: AllKinds, x: Tensor) -> None:
    named = x.as_subclass(Named)
    assert nn.explain_backend(model.layer, named) == "torch: the input is a Named, not a plain torch.Tensor"
    assert isinstance(model(named), Named)
    torch.testing.assert_close(model(named).as_subclass(Tensor), model(x))


@pytest.fixture
def process_group(tmp_path: Path) -> Any:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_data_parallel(model: AllKinds, x: Tensor) -> None:
    expected = copy.deepcopy(model)
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    for module in (wrapped, expected):
        module(x).sum().backward()
    for a, b in zip(wrapped.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@pytest.mark.usefixtures("process_group")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_fully_sharded(model: AllKinds, x: Tensor) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    expected = copy.deepcopy(model)
    mesh = init_device_mesh("cpu", (1,))
    fully_shard(model.layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert isinstance(model.layer, nn.LSTM)
    output = model(x)
    torch.testing.assert_close(output, expected(x))
    output.sum().backward()
    expected(x).sum().backward()
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a.grad.full_tensor(), b.grad)
