"""The head `softmax`: a linear layer gives the logits of independent labels."""

from torch import Tensor

from ohlol.models.heads.base import MEAN_LOSS, LabelHead, LinearHead, LossOptions, register
from ohlol.ops.cross_entropy import LinearLayer, block_rows, can_measure, linear_cross_entropy, measure


class SoftmaxHead(LinearHead, LabelHead):
    """A linear layer and the softmax of its output."""

    def loss_of_inputs(  # noqa: D102
        self, hidden: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        return linear_cross_entropy(hidden, LinearLayer(self.weight, self.bias), targets, **options._asdict())

    def rows_in_memory(self, rows: int) -> int:  # noqa: D102
        return min(rows, block_rows(self.outputs))

    def measure_inputs(  # noqa: D102
        self, hidden: Tensor, targets: Tensor, batch_sizes: Tensor | None = None
    ) -> tuple[Tensor | float, Tensor]:
        layer = LinearLayer(self.weight, self.bias)
        if not can_measure(hidden, layer, targets):
            return super().measure_inputs(hidden, targets, batch_sizes)
        return measure(hidden, layer, targets)


register("softmax", SoftmaxHead)
