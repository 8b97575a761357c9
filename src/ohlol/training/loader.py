"""The data loader: batches as tensors on the device, the next one prepared while a GPU computes.

A batch is a pure function of the seed, the epoch and its index, so that preparing it early changes no number.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.data.batches import Batch, Buckets, ContiguousBatches, with_unknowns
from ohlol.data.codec import Codec
from ohlol.models.inputs import PackedInputs
from ohlol.utils.devices import to_device


class DeviceBatch(NamedTuple):
    """A batch, and its tensors on the device."""

    batch: Batch
    packed: PackedInputs
    targets: Tensor


class BatchLoader:
    """The batches of an epoch by their index.

    Args:
        batches: the batches in memory or on disk.
        codec: by which their symbols were encoded.
        keep_probabilities: for each symbol the probability that it is not replaced by <unk>; None replaces none.
        seed: the seed of the run, and the epoch.
        device: where the tensors go.
    """

    def __init__(
        self,
        batches: Buckets | ContiguousBatches,
        codec: Codec,
        keep_probabilities: NDArray[np.float64] | None,
        seed: tuple[int, int],
        device: torch.device,
    ):
        self._batches, self._codec, self._keep_probabilities = batches, codec, keep_probabilities
        self._seed, self._device = seed, device
        self._prepared: tuple[int, DeviceBatch] | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> DeviceBatch:
        prepared, self._prepared = self._prepared, None
        return prepared[1] if prepared is not None and prepared[0] == index else self._load(index)

    def prepare(self, index: int) -> None:
        """Load a batch in advance, if there is one, while the device computes; on the CPU this does nothing."""
        if self._device.type != "cpu" and index < len(self):
            self._prepared = index, self._load(index)

    def _load(self, index: int) -> DeviceBatch:
        batch = self._batches[index]
        if self._keep_probabilities is not None:
            rng = np.random.default_rng((*self._seed, index, 1))
            unknown = self._codec.unknown_ids
            ids = with_unknowns(batch.inputs, self._keep_probabilities, unknown, rng, batch.positions, batch.total)
            batch = replace(batch, inputs=ids)
        assert batch.targets is not None
        return DeviceBatch(batch, PackedInputs.of(batch, self._device), to_device(batch.targets, self._device))
