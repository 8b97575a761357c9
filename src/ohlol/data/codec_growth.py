"""The codec of a run that starts from another one: it encodes the symbols of both, and numbers as that one did."""

from dataclasses import replace

from ohlol.data.codec import Codec
from ohlol.data.vocab import Vocab
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, message_id, translate


def grow_codec(codec: Codec, start: Codec) -> Codec:
    """The codec that was fitted to new data, joined with that of the run to start from.

    The symbols, characters and bigrams of both have an id, which may differ from that in `start`. Labels of the same
    task that `start` has all of are those of `start`. Growing a codec that was grown from `start` changes nothing.

    Raises:
        InputError: one reads numbers and the other symbols, or other columns of numbers.
    """
    check_inputs(codec, start)
    keeps_target = codec.task == start.task and codec.target_columns == start.target_columns
    symbols = _union(codec.symbols, start.symbols)
    return replace(
        codec,
        symbols=symbols,
        labels=symbols if codec.kind.continues_text else _keep_labels(codec, start),
        chars=_union(codec.chars, start.chars),
        bigrams=_union(codec.bigrams, start.bigrams),
        scale=start.scale,
        target_scale=start.target_scale if keeps_target else codec.target_scale,
        statics=start.statics,
    )


def has_same_targets(codec: Codec, start: Codec) -> bool:
    """Whether a head for the targets of one codec is one for those of the other; a text grows with its symbols."""
    if codec.task != start.task:
        return False
    if codec.kind.continues_text:
        return True
    mine, other = codec.of_files, start.of_files
    labels = [None if one.labels is None else one.labels.symbols for one in (mine, other)]
    numbers = [(one.target_columns, one.target_scale, one.panel) for one in (mine, other)]
    return labels[0] == labels[1] and numbers[0] == numbers[1]


def check_inputs(codec: Codec, start: Codec) -> None:
    """Check that the inputs of two codecs are of one kind, with the same columns where they are numbers.

    Raises:
        InputError: they are not.
    """
    kinds = [_describe_inputs(one) for one in (codec, start)]
    if kinds[0] != kinds[1]:
        raise InputError(
            "`start_from` names a run that reads {start}, and the data are {data}", start=kinds[1], data=kinds[0]
        )
    read = [(one.columns or one.statics.names) if one.panel is None else () for one in (codec, start)]
    if read[0] != read[1]:
        mine, other = (join_list(names) or translate("none") for names in read)
        raise InputError(
            "`start_from` names a run whose input columns are {other}, and those of the data are {mine}"
            if codec.symbols is None
            else "`start_from` names a run whose `static` columns are {other}, and those of the data are {mine}",
            other=other,
            mine=mine,
        )


def _describe_inputs(codec: Codec) -> str:
    if codec.panel is not None:
        return translate("series whose rows are forecast")
    return message_id("symbols", "what is read") if codec.symbols is not None else translate("rows of numbers")


def _union(vocab: Vocab | None, other: Vocab | None) -> Vocab | None:
    return vocab if vocab is None or other is None else vocab.union(other)


def _keep_labels(codec: Codec, start: Codec) -> Vocab | None:
    """The labels of `start`, with how often the data have each, where the data have no others; or those of the data."""
    known = start.of_files.labels
    if codec.labels is None or known is None or codec.task != start.task:
        return codec.labels
    counts = dict(zip(codec.labels.symbols, codec.labels.counts, strict=True))
    if not counts.keys() <= set(known.symbols):
        return codec.labels
    return Vocab(known.symbols, tuple(counts.get(label, 0) for label in known.symbols))
