"""State dicts of torch modules: anything other than an embedding, one stack of layers and a linear head is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from interop.torch_models import TorchModel
from ohlol.interop import import_run
from ohlol.utils.errors import InputError


def state(**changes: Any) -> dict[str, torch.Tensor]:
    tensors = dict(TorchModel("lstm").state_dict())
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    return tensors


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {}, "the weights do not determine the task: give `task`, one of classify, label, multilabel, next$"),
        ({"emb__weight": None}, {}, "give `task`, one of classify, label, multilabel, next_row, next$"),
        (
            {"emb__weight": None},
            {"task": "forecast"},
            "has no scale of its numbers, so it cannot be imported",
        ),
        ({}, {"task": "next_row"}, "has an embedding, so it reads symbols"),
        ({}, {"task": "next"}, "7 symbols and 4 outputs; the task next has a logit for each symbol"),
        ({}, {"task": "tag"}, "`task` is 'tag'; it must be one of classify"),
        ({"norm__weight": torch.zeros(6)}, {"task": "label"}, "'norm.weight' belongs to no embedding, recurrent layer"),
        (
            {"fc2__weight": torch.zeros(4, 4), "fc2__bias": torch.zeros(4)},
            {"task": "label"},
            "fc.weight, fc2.weight: at most one embedding and one linear head",
        ),
        ({"emb2__weight": torch.zeros(7, 5)}, {"task": "label"}, "emb.weight, emb2.weight: at most one embedding"),
        ({"fc__weight": torch.zeros(4, 9)}, {"task": "label"}, r"\(4, 9\); the recurrent layers have 6"),
        ({"fc__bias": torch.zeros(3)}, {"task": "label"}, r"linear layer is \(4, 6\)"),
        ({"emb__weight": torch.zeros(7, 4)}, {"task": "label"}, r"the embedding is \(7, 4\); the first layer reads 5"),
        ({"rnn__weight_hh_l0": None}, {"task": "label"}, "layer 0 has bias_hh, bias_ih, weight_ih only"),
        ({"rnn__bias_hh_l0": None}, {"task": "label"}, "layer 0 has bias_ih, weight_hh, weight_ih only"),
        ({"rnn__weight_hh_l0": torch.zeros(12, 6)}, {"task": "label"}, "not those of one RNN, GRU or LSTM"),
        ({"rnn__weight_hh_l0": torch.zeros(24)}, {"task": "label"}, r"weight_hh of layer 0 is \(24,\)"),
        ({"rnn__bias_hh_l0": torch.zeros(23)}, {"task": "label"}, r"b_hh of layer 0 is \(23,\)"),
        ({"rnn__weight_ih_l2": torch.zeros(24, 6)}, {"task": "label"}, "some are missing"),
        ({"rnn__weight_hr_l0": torch.zeros(2, 6)}, {"task": "label"}, "proj_size, which is not supported"),
        ({"b__weight_ih_l0": torch.zeros(24, 6)}, {"task": "label"}, "has 2 recurrent modules, '"),
        ({"emb__weight": torch.full((7, 5), torch.nan)}, {"task": "label"}, "a weight holds NaN or infinity"),
        ({"emb__weight": torch.zeros(7, 5).int()}, {"task": "label"}, "dtype torch.int32; a float is expected"),
    ],
)
def test_unsupported_state_dicts_are_refused(changes: Any, options: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(state(**changes), path)
    with pytest.raises(InputError, match=message) as caught:
        import_run.import_model(path, **options)
    assert "\n" not in str(caught.value)
