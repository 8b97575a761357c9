"""The head `crf`: its reductions, its constraints, and labels that the constraints rule out."""

import itertools

import pytest
import torch
from chains import rows_of, sizes_of
from helpers import BIOES_LABELS
from torch import Tensor

from ohlol.data.spans import is_span_scheme, to_bioes
from ohlol.models.heads import HEADS, Head, LossOptions
from ohlol.ops import crf_equations
from ohlol.utils.errors import InputError

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SIZES = sizes_of([6, 4, 4, 1])
S = 15


def head_of(labels: tuple[str, ...], seed: int = 0) -> Head:
    """A head with random weights that knows its labels."""
    torch.manual_seed(seed)
    head = HEADS["crf"](5, len(labels)).double()
    head.learn_labels(labels)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return head


def logits_of(head: Head, scale: float = 1.0) -> Tensor:
    """Random logits; large ones ask for impossible sequences."""
    return scale * torch.randn(S, head.outputs, dtype=torch.float64)


def test_the_loss_is_reduced_over_the_predictions() -> None:
    head = head_of(BIO)
    logits = logits_of(head)
    targets = head.decode(logits, SIZES)
    total = head.loss(logits, targets, SIZES, LossOptions(reduction="sum"))
    assert head.loss(logits, targets, SIZES).item() == pytest.approx(total.item() / S)
    steps = head.loss(logits, targets, SIZES, LossOptions(reduction="none"))
    assert steps.shape == (S,)
    assert steps.sum().item() == pytest.approx(total.item())
    best, probabilities = head.best_sequences(logits, 2, SIZES)
    assert torch.equal(best[:, 0], targets)
    assert total.item() == pytest.approx(-probabilities[:, 0].log().sum().item())
    assert (probabilities[:, 0] >= probabilities[:, 1]).all()


@pytest.mark.parametrize("labels", [BIO, BIOES_LABELS, ("B", "M", "E", "S"), ("O", "B-X", "I-X", "L-X", "U-X")])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_no_impossible_sequence_comes_out(labels: tuple[str, ...], scale: float) -> None:
    """A sequence of a scheme is that of its spans, written in the scheme again."""
    assert is_span_scheme(labels)
    for seed in range(5):
        head = head_of(labels, seed)
        logits = logits_of(head, scale)
        decoded, marginals = head.decode(logits, SIZES), head.probabilities(logits, SIZES)
        best, probabilities = head.best_sequences(logits, 3, SIZES)
        for rows, p in zip(rows_of(SIZES), probabilities, strict=True):
            for ids in (decoded[rows], *best[rows][:, p > 0].T):
                names = [labels[i] for i in ids.tolist()]
                for before, after in itertools.pairwise(["O", *names, "O"]):
                    opens, continues = before[0] in "BIM" and set("ESLU") & {n[0] for n in labels}, after[0] in "IMEL"
                    assert not opens or (continues and before[1:] == after[1:]), names
                    assert not continues or (before[0] in "BIM" and before[1:] == after[1:]), names
        first = torch.tensor([name[0] in "IMEL" for name in labels])
        assert (marginals[: int(SIZES[0])][:, first] == 0).all()


def test_labels_that_mark_no_spans_are_free() -> None:
    head = head_of(("NOUN", "VERB", "B"))
    assert all((possible == 1).all() for possible in head.possible)


def test_impossible_targets_count_as_unknown() -> None:
    """The loss is that of the labels which can be right: of all sequences that agree with them."""
    head = head_of(BIO)
    logits = logits_of(head).requires_grad_()
    sizes = sizes_of([3])
    logits = logits[:3]
    targets = torch.tensor([0, 2, 3])  # O I-PER B-LOC: I-PER cannot follow O
    loss = head.loss(logits, targets, sizes, LossOptions(reduction="sum"))
    scores = head.scores(torch.float64)
    total = crf_equations.log_partition(logits, scores, sizes)
    agreeing = [
        crf_equations.score_labels(logits, torch.tensor([first, second, 3]), scores, sizes)
        for first in range(5)
        for second in range(5)
    ]
    expected = total - torch.stack(agreeing).logsumexp(0)
    assert loss.item() == pytest.approx(expected.item())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("labels", [BIO, BIOES_LABELS])
def test_every_target_has_a_finite_loss(labels: tuple[str, ...]) -> None:
    head = head_of(labels)
    for seed in range(20):
        torch.manual_seed(seed)
        logits, targets = logits_of(head), torch.randint(len(labels), (S,))
        loss = head.loss(logits, targets, SIZES)
        assert loss.isfinite()
        assert loss >= 0
        spans = [to_bioes([labels[i] for i in targets[rows].tolist()]) for rows in rows_of(SIZES)]
        if labels == BIOES_LABELS:  # valid targets have the loss of the equations
            valid = torch.empty_like(targets)
            for rows, names in zip(rows_of(SIZES), spans, strict=True):
                valid[rows] = torch.tensor([labels.index(name) for name in names])
            exact = crf_equations.step_losses(logits, valid, head.scores(torch.float64), SIZES)
            assert head.loss(logits, valid, SIZES).item() == pytest.approx(exact.mean().item())


def test_what_the_loss_does_not_have_is_refused() -> None:
    head = head_of(BIO)
    logits, targets = logits_of(head), torch.zeros(S, dtype=torch.int64)
    for options in (LossOptions(weight=torch.ones(5)), LossOptions(label_smoothing=0.1)):
        with pytest.raises(InputError, match="`head` crf has a loss of whole sequences"):
            head.loss(logits, targets, SIZES, options)
    with pytest.raises(TypeError, match="independent of each other"):
        HEADS["softmax"](5, 5).best_sequences(logits, 2, SIZES)


def test_without_batch_sizes_each_prediction_is_a_sequence() -> None:
    head = head_of(BIO)
    logits = logits_of(head)
    assert torch.equal(head.decode(logits), head.decode(logits, torch.tensor([S])))
    assert head.probabilities(logits).sum(1).tolist() == pytest.approx([1.0] * S)


def test_the_constraints_are_saved_with_the_weights() -> None:
    head, other = head_of(BIO), HEADS["crf"](5, 5).double()
    other.load_state_dict(head.state_dict())
    logits = logits_of(head, 100.0)
    assert torch.equal(other.decode(logits, SIZES), head.decode(logits, SIZES))
    assert {name for name, _ in other.named_parameters()} == {"weight", "bias", *other.decoder}
