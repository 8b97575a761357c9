"""The mistakes that only show while a program runs."""

from ohlol.explain.review.check import watched

watched(
    "wrong-shape",
    "The layer cannot read this tensor, or reads its axes in another order.",
)
watched(
    "batch-read-as-time",
    "The data loader makes batches of this size, and the layer reads the axis of that size as time: `batch_first` does "
    "not fit the data.",
)
watched(
    "single-steps",
    "Every call had one time step and no state from the step before: the layer has nothing to remember. Pass whole "
    "sequences, or the state of the step before.",
)
watched(
    "loss-broadcast",
    "Input and target of the loss have different shapes, and one is repeated to fit: each output is compared with each "
    "target.",
)
