"""Batches on their way to the device: what a step reads, and the next one made ready meanwhile; knows no model.

A batch is a pure function of seed, epoch and place, so making it ready early changes no number.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.data.batches import Batch, Buckets, Streams, with_unknowns
from ohlol.data.codec import Codec
from ohlol.models.sequence_model import Steps
from ohlol.utils.devices import to_device


class Ready(NamedTuple):
    """A batch, and its tensors on the device."""

    batch: Batch
    steps: Steps
    wanted: Tensor
    """Its targets."""


class Feed:
    """The batches of an epoch, by their places.

    Args:
        batches: those of the epoch.
        codec: whose symbols they are.
        keep: how probable it is that a symbol is read as itself; None where all are.
        seed: the run's, and the epoch.
        device: where they go.
    """

    def __init__(
        self,
        batches: Buckets | Streams,
        codec: Codec,
        keep: NDArray[np.float64] | None,
        seed: tuple[int, int],
        device: torch.device,
    ):
        self._batches, self._codec, self._keep, self._seed, self._device = batches, codec, keep, seed, device
        self._next: tuple[int, Ready] | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, place: int) -> Ready:
        made, self._next = self._next, None
        return made[1] if made is not None and made[0] == place else self._made(place)

    def prepare(self, place: int) -> None:
        """Make the batch of a place ready, if there is one, while the device computes; the CPU has no time for it."""
        if self._device.type != "cpu" and place < len(self):
            self._next = place, self._made(place)

    def _made(self, place: int) -> Ready:
        batch = self._batches[place]
        if self._keep is not None:
            random = np.random.default_rng((*self._seed, place, 1))
            symbols = self._codec.symbols
            assert symbols is not None
            assert symbols.unk is not None
            ids = with_unknowns(batch.inputs, self._keep, symbols.unk, random, batch.places, batch.total)
            batch = replace(batch, inputs=ids)
        assert batch.targets is not None
        return Ready(batch, Steps.of(batch, self._device), to_device(batch.targets, self._device))
