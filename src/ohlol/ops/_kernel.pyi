"""The compiled kernels (csrc/bindings.cpp): addresses from `Tensor.data_ptr()`, 0 where there is no tensor.

Shapes: T steps, B entries, I input size, H hidden size, G gates, S rows, V symbols. Nothing is checked.
"""

from collections.abc import Sequence

KERNELS: dict[tuple[str, str], int]
"""The number of each kernel, by the name a `CellSpec` has as `kernel` and "float32", "float64", "bf16" or "int8"."""
FORMATS: dict[str, int]
"""The number of each reduced precision of a `StepProgram`."""
SERIAL_BELOW: float
FORWARD_ARGUMENTS: list[str]
BACKWARD_ARGUMENTS: list[str]

def supported() -> list[str]: ...
def select(name: str, /) -> None: ...
def selected() -> str: ...
def set_poison(on: bool, /) -> None: ...
def set_serial_below(work: float, /) -> None: ...
def limit_threads(processors: int, /) -> None: ...
def force_threads(on: bool, /) -> None: ...
def set_leave_timeout(nanoseconds: int, /) -> None: ...
def threaded_calls() -> list[int]: ...
def reduced_products() -> int: ...
def is_contended() -> bool: ...
def packed_batch(batch_sizes: int, T: int, rows: int, /) -> int: ...
def forward(
    *,
    kernel: int,
    threads: int,
    shape: tuple[int, int, int, int],  # T, B, H, I
    # batch_sizes (T,), time_stride, batch_stride, reverse: entry b of step t is row t * time_stride + b * batch_stride,
    # or packed by batch_sizes
    rows: tuple[int, int, int, bool],
    weights: tuple[int, int, int, int],  # W_ih (G*H, I), W_hh (G*H, H), b_ih (G*H,), b_hh
    states: tuple[int, int],  # h_0, c_0, each (B, H)
    x: int = 0,  # (S, I)
    out: tuple[int, int],  # (S, .) and the distance of its rows
    saved: tuple[int, int, int],  # gates (S, G*H), cell states (S, H), W_hn h + b_hn (S, H): kept for backward
    lookup: tuple[int, int] = ...,  # table (V, G*H) and ids (S,), instead of x and W_ih
    final_states: tuple[int, int],  # h_n, c_n, each (B, H)
    packed_weights: int = 0,  # by pack_weights, for the same kernel
) -> None: ...
def pack_weights(
    *, kernel: int, I: int, H: int, weights: Sequence[int], destination: int
) -> int: ...  # the bytes needed, and only that if the destination is 0
def backward(
    *,
    kernel: int,
    threads: int,
    shape: tuple[int, int, int, int],
    rows: tuple[int, int, int, bool],
    weights: tuple[int, int, int, int],
    states: tuple[int, int],
    x: int = 0,
    out: tuple[int, int],
    saved: tuple[int, int, int],
    grad_out: tuple[int, int],  # (S, .) and the distance of its rows
    grad_final_states: tuple[int, int],
    d_input_terms: int = 0,  # (S, G*H), the gradient of W_ih x + b_ih
    d_weights: tuple[int, int, int, int],
    d_states: tuple[int, int],  # of h_0 and c_0
    d_x: tuple[int, bool],  # and whether to add to what it holds
) -> None: ...

class PackedLayersFloat32:
    def __init__(self, *, kernel: int, H: int) -> None: ...
    def add_layer(self, *, I: int, W_ih: int, W_hh: int, b_ih: int, b_hh: int, table: int) -> None: ...
    def set_head(self, *, K: int, W: int, bias: int) -> None: ...
    def step(self, *, threads: int, x: int, id: int, h: int, c: int, out: int) -> None: ...
    def step_batch(
        self, *, threads: int, slots: Sequence[int], x: int, ids: Sequence[int], h: int, c: int, logits: int
    ) -> list[int]: ...
    def generate(
        self,
        *,
        threads: int,
        id: int,
        h: int,
        c: int,
        count: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        ids: int,
    ) -> None: ...

class PackedLayersFloat64(PackedLayersFloat32): ...

PROGRAM_OPERATIONS: list[str]
"""The operations of the vector machine; an instruction has the place of its operation in this list."""
PROGRAM_MEMORIES: list[str]
"""The kinds of its memories, likewise."""

class StepProgram:
    """A program of the vector machine; ValueError if it, or a tensor of a call, would lead outside of memory."""

    def __init__(
        self,
        *,
        float64: bool,
        memories: Sequence[int],  # (kind, index, width, distance of rows) of each
        # operation, width and packed matrix, then memory, column and is_scalar of the result and three operands;
        # memory -1 is no operand
        instructions: Sequence[int],
        sections: Sequence[int],  # (first, last) instruction of each
        parts: Sequence[int],  # matrix, first and last row, first and last column
        matrices: Sequence[int],  # (first, last) part and whether they are transposed
        # products over all rows: memory, column and K of the operand, memory, column and N of the gradient
        products: Sequence[int],
        numbers: Sequence[float],
        states: Sequence[int],  # widths
        vectors: Sequence[int],
        accumulators: Sequence[int],
    ) -> None: ...
    def run(
        self,
        *,
        threads: int,
        shape: tuple[int, int, int],  # T, B, S
        batch_sizes: int,
        reverse: bool,
        # address and length of each: rows, vectors, initial states (address 0 is zeros), final states, accumulators,
        # and products over all rows, (N, K) each
        tensors: Sequence[int],
        matrices: Sequence[int],  # address, length, rows, columns and their strides
        before: StepProgram | None = None,  # runs first, on all rows
        before_threads: int = 1,
        format: int = 0,  # of FORMATS, or 0 for float32 and float64
        packed: tuple[int, int, int, int] = ...,  # address and length of the packed matrices, and of those of `before`
    ) -> None: ...
    def pack(
        self,
        *,
        format: int,
        matrices: Sequence[int],
        destination: int,  # 64-byte aligned; 0 to get the size
    ) -> int: ...  # bytes needed

def crf_forward_float32(
    *,
    threads: int,
    shape: tuple[int, int, int, int],  # T, B, S, K
    batch_sizes: int,  # (T,)
    emissions: int,  # (S, K)
    transitions: int,  # (K, K)
    start: int,  # (K,)
    end: int,
    labels: int,  # (S,) or 0; IndexError where one is not below K
    alphas: int,  # (S, K), kept for backward
    losses: int,  # (B,)
) -> None: ...
def crf_backward_float32(
    *,
    threads: int,
    shape: tuple[int, int, int, int],
    batch_sizes: int,
    emissions: int,
    transitions: int,
    start: int,
    end: int,
    labels: int,
    alphas: int,
    grad: int,  # (B,)
    gradients: tuple[int, int, int, int],  # of emissions, transitions, start and end
) -> None: ...
def crf_decode_float32(
    *,
    threads: int,
    shape: tuple[int, int, int, int],
    batch_sizes: int,
    emissions: int,
    transitions: int,
    start: int,
    end: int,
    best: int,  # (S,)
    scores: int,  # (B,)
) -> None: ...

crf_forward_float64 = crf_forward_float32
crf_backward_float64 = crf_backward_float32
crf_decode_float64 = crf_decode_float32

def smooth(
    *,
    threads: int,
    shape: tuple[int, int, int, int, int],  # T, M, m, horizon, the row from which on errors are summed
    values: int,  # (T,) float64
    rates: tuple[int, int, int, int],  # alpha, beta, phi, gamma, each (M,)
    states: tuple[int, int, int],  # level (M,), slope (M,), seasons (m, M) before the first row
    squared: int,  # (M,)
    forecasts: int,  # (T, horizon, M)
) -> None: ...
def take_step_float32(
    *,
    rule: int,  # 0 adam, 1 adamw, 2 sgd, 3 rmsprop
    threads: int,
    # parameter, gradient, first and second moment, mean of the parameter (0 for none) and size of each tensor
    tensors: Sequence[int],
    rates: Sequence[float],  # lr, lr / (1 - beta1^t) and sqrt(1 - beta2^t) of each
    constants: tuple[
        float, float, float, float, float, float
    ],  # beta1, beta2, eps, weight decay, max norm, mean weight
) -> float: ...  # the norm of the gradients
def cross_entropy_float32(
    *,
    threads: int,
    shape: tuple[int, int, int],  # rows, labels K, and the distance of two rows, which has space for full vectors
    logits: int,  # (rows, K) without the bias; become their gradients, or logits with the bias
    bias: int,  # (K,) or 0, here and below
    weights: int,  # (K,), of the labels
    targets: int,  # (rows,); IndexError where one is neither `ignored` nor below K
    ignored: int,
    smoothing: float,
    scale: float,  # of the gradients
    with_gradients: bool,
    d_bias: int,  # (K,), to which the gradients are added
    best: int,  # (rows,), the labels with the largest logits
) -> float: ...  # the sum of the losses
def scatter_rows_float32(
    *,
    threads: int,
    shape: tuple[int, int, int],  # S, N and the number of ids
    values: int,  # (S, N)
    ids: int,  # (S,); IndexError where one is not below the number of ids
    sums: int,  # (number of ids, N)
) -> None: ...

take_step_float64 = take_step_float32
scatter_rows_float64 = scatter_rows_float32
cross_entropy_float64 = cross_entropy_float32

def measure_peak(variant: str, float64: bool, threads: int, seconds: float) -> float: ...
def apply_float32(function: int, x: int, y: int, n: int, /) -> None: ...
def apply_float64(function: int, x: int, y: int, n: int, /) -> None: ...
