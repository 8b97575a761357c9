"""The cells of the package torchrecurrent, as layers."""

import pytest
import torch

from ohlol import nn

PEER_CELLS = [
    "ATRCell",
    "AntisymmetricRNNCell",
    "BRCell",
    "CFNCell",
    "DSGUCell",
    "FastGRNNCell",
    "FastRNNCell",
    "GatedAntisymmetricRNNCell",
    "IndRNNCell",
    "IntersectionRNNCell",
    "JANETCell",
    "LEMCell",
    "LiGRUCell",
    "LightRUCell",
    "MCLSTMCell",
    "MGUCell",
    "MUT1Cell",
    "MUT2Cell",
    "MUT3Cell",
    "MiRU1Cell",
    "MiRU2Cell",
    "MinimalRNNCell",
    "MultiplicativeLSTMCell",
    "NASCell",
    "NBRCell",
    "OriginalLSTMCell",
    "PeepholeLSTMCell",
    "RANCell",
    "ResLSTMCell",
    "SCRNCell",
    "SGRNCell",
    "SGUCell",
    "STARCell",
    "TGRUCell",
    "TLSTMCell",
    "TRNNCell",
    "UGRNNCell",
    "UnICORNNCell",
    "WMCLSTMCell",
    "coRNNCell",
    "tauGRUCell",
]


def peer_layer(name: str, H: int, dtype: torch.dtype) -> nn.Recurrent:
    """A layer of the cell; its recurrent weights are small, so that no state grows from step to step."""
    package = pytest.importorskip("torchrecurrent", reason="torchrecurrent 0.2.5 is not installed")
    cell = getattr(package, name)(H, H)
    with torch.no_grad():
        for parameter_name, parameter in cell.named_parameters():
            if parameter_name.startswith("weight"):
                parameter *= 0.25 if "Antisymmetric" in name or name == "IndRNNCell" else 0.5
            elif "bias" in parameter_name:
                parameter += 0.1 * torch.randn_like(parameter)
    return nn.Recurrent(cell).to(dtype)
