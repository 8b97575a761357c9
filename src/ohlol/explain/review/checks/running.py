"""The mistakes that only show while a program runs."""

from ohlol.explain.review.check import watched

watched(
    "wrong-shape",
    "The layer cannot read this tensor, or reads its axes in another order.",
    "该层无法读取这个张量，或者会按另一种顺序理解它的维。",
)
watched(
    "batch-read-as-time",
    "The data loader makes batches of this size, and the layer reads the axis of that size as time: `batch_first` does "
    "not fit the data.",
    "数据加载器的批大小就是这一维的大小，而该层把这一维当作时间：`batch_first` 与数据不符。",
)
watched(
    "single-steps",
    "Every call had one time step and no state from the step before: the layer has nothing to remember. Pass whole "
    "sequences, or the state of the step before.",
    "每次调用都只有一个时间步，又没有传入上一步的状态：该层没有可记忆的内容。请传入整个序列，或传入上一步的状态。",
)
watched(
    "loss-broadcast",
    "Input and target of the loss have different shapes, and one is repeated to fit: each output is compared with each "
    "target.",
    "损失的输入与目标形状不同，较小的一个会被广播：每个输出都与每个目标相比较。",
)
