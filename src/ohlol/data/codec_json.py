"""The form of a codec in `vocab.json`, which docs/run-directory.md describes."""

from dataclasses import replace
from typing import Any

from ohlol.data.char_lm import CharLM, check_directions
from ohlol.data.codec import Codec
from ohlol.data.file_labels import FileLabels
from ohlol.data.panel_codec import PanelCodec
from ohlol.data.scale import Scale
from ohlol.data.spans import IOB1, IOB2, bioes_labels
from ohlol.data.statics import Statics
from ohlol.data.targets import TARGET_KINDS
from ohlol.data.vocab import UNK, Vocab
from ohlol.data.word_vectors import WordVectors
from ohlol.utils.errors import InputError, describe_error
from ohlol.utils.files import check_encodable


def codec_to_json(codec: Codec) -> dict[str, Any]:
    """The content of `vocab.json`."""
    if codec.panel is not None:
        return {"task": codec.task, "panel": codec.panel.to_json()}
    named = {
        "symbols": codec.symbols,
        "labels": codec.labels if codec.kind.has_labels else None,
        "chars": codec.chars,
        "bigrams": codec.bigrams,
        "file_labels": None if codec.file_labels is None else codec.file_labels.labels,
    }
    data: dict[str, Any] = {"task": codec.task}
    data |= {name: vocab.to_json() for name, vocab in named.items() if vocab is not None}
    if codec.scale is not None:
        data["columns"] = codec.scale.to_json(codec.columns)
    if codec.vectors is not None:
        data["vectors"] = codec.vectors.to_json()
    if codec.char_lms:
        data["char_lms"] = [lm.to_json() for lm in codec.char_lms]
    if codec.statics.size:
        data["statics"] = codec.statics.to_json()
    if codec.file_labels is not None:
        data["scheme"] = codec.file_labels.scheme
    if codec.target_scale is not None:
        data["target_columns"] = codec.target_scale.to_json(codec.target_columns)
    return data


def codec_from_json(data: Any) -> Codec:
    """The reverse of `codec_to_json`.

    Raises:
        InputError: not what `codec_to_json` writes.
    """
    try:
        check_encodable(data)
        return _read_panel(data) if TARGET_KINDS[data["task"]].horizon else _read_codec(data)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError("vocab.json is not a vocabulary of ohlol: {error}", error=describe_error(error)) from None


def _read_panel(data: Any) -> Codec:
    if "columns" in data:
        raise InputError(
            "vocab.json is of an earlier version of ohlol, whose task {task} gave the next row: "
            "train again, with `task` next_row for the same",
            task=data["task"],
        )
    return Codec.of_panel(data["task"], PanelCodec.from_json(data["panel"]))


def _read_codec(data: Any) -> Codec:
    kind = TARGET_KINDS[data["task"]]
    codec = Codec(data["task"])
    if kind.numeric or "columns" in data:
        codec = replace(codec, columns=_names(data["columns"]), scale=Scale.from_json(data["columns"]))
    if kind.numeric or kind.quantity:
        targets = data["target_columns"]
        codec = replace(codec, target_columns=_names(targets), target_scale=Scale.from_json(targets))
    elif not kind.continues_text:
        codec = replace(codec, labels=Vocab.from_json(data["labels"]))
    return codec if codec.scale is not None else _read_symbols(codec, data)


def _names(columns: Any) -> tuple[str, ...]:
    return tuple(str(column["name"]) for column in columns)


def _read_symbols(codec: Codec, data: Any) -> Codec:
    """The codec with what reads sequences of symbols."""
    symbols, kind = Vocab.from_json(data["symbols"]), codec.kind
    vectors = WordVectors.from_json(data["vectors"]) if "vectors" in data else None
    if vectors is not None and symbols.unk is None:
        raise ValueError(f"vectors without {UNK}")
    char_lms = check_directions(tuple(map(CharLM.from_json, data.get("char_lms", ()))))
    if char_lms and ("chars" not in data or not kind.is_supervised):
        raise ValueError("language models read the characters of words, and there are none")
    statics = Statics.from_json(data.get("statics", ()))
    if statics.size and not kind.per_sequence:
        raise ValueError("static columns stand beside sequences with one target each")
    chars, bigrams = (Vocab.from_json(data[name]) if name in data else None for name in ("chars", "bigrams"))
    codec = replace(
        codec,
        symbols=symbols,
        labels=symbols if kind.continues_text else codec.labels,
        chars=chars,
        bigrams=bigrams,
        vectors=vectors,
        char_lms=char_lms,
        statics=statics,
    )
    return codec if "file_labels" not in data else _with_file_labels(codec, data)


def _with_file_labels(codec: Codec, data: Any) -> Codec:
    file_labels = FileLabels(Vocab.from_json(data["file_labels"]), data["scheme"])
    if file_labels.scheme not in (IOB1, IOB2) or not replace(codec, labels=file_labels.labels).marks_iob:
        raise ValueError("the labels of the files are not in IOB1 or IOB2")
    if codec.labels is None or {*codec.labels.symbols} != {*bioes_labels(file_labels.labels.symbols)}:
        raise ValueError("the labels are not those of BIOES with the types of the files")
    return replace(codec, file_labels=file_labels)
