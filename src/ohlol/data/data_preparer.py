"""Preparing data for training: files, pairs or an encoded corpus become the arrays that a trainer reads.

There is one path for a new run, a resumed run, another process of a run and the trials of a study: a `DataPreparer`
reads the source once, splits and encodes it as the settings of a model ask for, and `PreparedData.save` writes it into
a folder, where the next one finds it.
"""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data import sequences
from ohlol.data.batches import Dataset, fingerprint
from ohlol.data.char_lm import CharLM
from ohlol.data.codec import Codec
from ohlol.data.codec_encoding import encode_data
from ohlol.data.codec_fitting import fit_codec, supports_bigrams, supports_chars
from ohlol.data.codec_growth import check_inputs, grow_codec
from ohlol.data.corpus import encoded, store
from ohlol.data.corpus.encoded import Encoded
from ohlol.data.lines import FRAME
from ohlol.data.pairs import data_from_pairs
from ohlol.data.panel import Panel
from ohlol.data.panel_dataset import encode_panel, encode_panel_parts
from ohlol.data.prepared_data import PreparedData, prepared_from
from ohlol.data.raw_data import RawData
from ohlol.data.source import Source, is_tutorial
from ohlol.data.split import split_dev
from ohlol.data.targets import COUNT_HEADS
from ohlol.data.vector_files import read_vectors
from ohlol.data.vocab import UNK, Vocab
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

SHORTEST_HORIZON = 6
"""Steps to forecast where the season is shorter and the setting is not chosen."""


class DataPreparer:
    """Prepares one source for one model or for several; the source is read once, when it is first needed.

    Args:
        source: the data.
        chosen: settings of the data that were chosen, by name; the others are inferred.
        vectors: word vectors in memory, in the place of the file that a model names.
        start: the codec of the run that a model starts from, which is grown by the symbols of the data.
        char_lms: the language models that a model names, with their folders.
    """

    def __init__(
        self,
        source: Source,
        chosen: dict[str, Any],
        vectors: Any = None,
        start: Codec | None = None,
        char_lms: tuple[CharLM, ...] = (),
    ):
        self.source, self.chosen, self.vectors, self.start, self.char_lms = source, chosen, vectors, start, char_lms

    @property
    def settings(self) -> DataSettings:
        """How the data are read, complete; raises InputError where they cannot be read."""
        return self._data.settings

    def prepare(
        self,
        model: ModelSettings,
        training: TrainSettings,
        *,
        cache: Path | None = None,
        codec: Codec | None = None,
        verify: bool = True,
    ) -> PreparedData:
        """The arrays for a model.

        Args:
            model: decides what is encoded in addition to the symbols: characters of words, bigrams.
            training: how much is set apart, and whether the vocabulary has <unk>.
            cache: a folder that `PreparedData.save` may have written; its data are loaded if they are of these files.
            codec: that of the model, where it exists; what is in the cache must have the same.
            verify: whether the cache is compared with the files; a process that waited for it to be written need not.

        Raises:
            InputError: the data cannot be read, or the validation data are of another kind.
        """
        if cache is not None and self.source.files:
            sources = encoded.sources_of(self.source.files, self.source.dev) if verify else ()
            corpus = encoded.find_cached(cache, sources, codec) if verify else encoded.read(cache)
            if corpus is not None:
                return prepared_from(corpus, self.source)
        data = self._data
        if model.vectors is not None:
            _check_vectors(data, training)
        if model.char_lm is not None:
            _check_char_lm(data)
        known = codec or self.start
        if isinstance(data, Encoded):
            prepared = self._trim(data, model, known)
        else:
            prepared = self._encode(data, model, training, known)
        return prepared.as_bioes() if codec is not None and codec.file_labels is not None else prepared

    def release(self) -> None:
        """Free the memory of what was read; it is read again if it is needed."""
        self.__dict__.pop("_data", None)

    @cached_property
    def _data(self) -> RawData | Encoded:
        """The sequences of files or pairs, or an encoded corpus."""
        if self.source.corpus is None:
            if self.source.pairs:
                return data_from_pairs(self.source.pairs)
            return sequences.read(self.source.records or self.source.files, DataSettings(**self.chosen))
        corpus = encoded.read(self.source.corpus)
        settings = replace(corpus.settings, encoding=self.chosen.get("encoding"))  # of the file to evaluate on
        corpus = replace(corpus, settings=settings)
        for name, value in self.chosen.items():
            actual = getattr(settings, name)
            if actual != value:
                raise InputError(
                    "{corpus} was encoded with `{name}` {actual}, not {value}",
                    corpus=self.source.corpus,
                    name=name,
                    actual=actual,
                    value=value,
                )
        return corpus

    def _with_pretrained(self, codec: Codec, model: ModelSettings, known: Codec | None) -> Codec:
        """A codec with the word vectors and the language models of a model.

        They are those of a codec that is known, or vectors that are read for its symbols and the language models given.
        """
        if model.char_lm is not None and codec.chars is not None:
            char_lms = self.char_lms if known is None else known.char_lms
            is_encoded = self.source.corpus is not None
            chars = codec.chars if is_encoded else codec.chars.union(_characters(char_lms))
            codec = replace(codec, char_lms=char_lms, chars=chars)
        if model.vectors is None:
            return codec
        assert codec.symbols is not None
        if known is not None:
            return replace(codec, vectors=known.vectors)
        vectors = self.vectors if self.vectors is not None else model.vectors
        return replace(codec, vectors=read_vectors(vectors, codec.symbols, model.vectors_limit))

    def _encode(self, raw: RawData, model: ModelSettings, training: TrainSettings, known: Codec | None) -> PreparedData:
        """Split sequences into training data and validation data, fit the codec to the former, and encode both."""
        unknowns = bool(training.unk_probability)
        other = self.source.dev_records or self.source.dev
        if raw.panel is not None:
            dev_panel = None if other is None else sequences.read(other, raw.settings).panel
            return self._encode_panel(raw, raw.panel, dev_panel, training, is_count=COUNT_HEADS.select(model.head))
        if other is not None:
            train, dev = raw, sequences.read(other, raw.settings)
        else:
            train, dev = split_dev(raw, training.dev_fraction, training.seed, unknowns=unknowns)
        level = raw.settings.level
        by_character = supports_bigrams(raw.kind, level)
        codec = fit_codec(
            train,
            unknowns=unknowns,
            with_chars=bool(model.char_rnn_size or model.char_lm) and supports_chars(raw.kind, level),
            with_bigrams=bool(model.bigram_size) and by_character,
            joint_vocabulary=is_tutorial(self.source.pairs) and by_character,
        )
        codec = codec if self.start is None else grow_codec(codec, self.start)
        codec = self._with_pretrained(codec, model, known)
        train_data = encode_data(codec, train)
        dev_data = encode_data(codec, dev, unseen_labels=other is not None) if dev is not None else None
        digest = fingerprint(train_data, dev_data)
        return PreparedData(
            self.source, codec, raw.settings, train_data, dev_data, digest, interpretation=raw.interpretation
        )

    def _encode_panel(
        self, raw: RawData, panel: Panel, dev_panel: Panel | None, training: TrainSettings, *, is_count: bool
    ) -> PreparedData:
        """Fit the codec to the series without their ends, which are the validation data, and encode both parts."""
        horizon = raw.settings.horizon or max(panel.season, SHORTEST_HORIZON)
        start = None if self.start is None else self.start.panel
        if start is not None:
            start.check_panel(panel, str(raw.places[0].file))
            for name, value, own in (("season", start.season, panel.season), ("horizon", start.horizon, horizon)):
                if value != own and (name == "season" or raw.settings.horizon is not None):
                    raise InputError(
                        "`start_from` names a run with `{name}` {value}, and that of the data is {own}",
                        name=name,
                        value=value,
                        own=own,
                    )
            horizon = start.horizon
        settings = replace(raw.settings, horizon=horizon)
        fraction = 0.0 if dev_panel is not None else training.dev_fraction
        codec, train, dev = encode_panel_parts(panel, horizon, fraction, training.bptt, start, is_count=is_count)
        if self.start is not None:
            check_inputs(Codec.of_panel(raw.task, codec), self.start)
        if dev_panel is not None:
            codec.check_panel(dev_panel, str(self.source.dev or FRAME))
            dev = encode_panel(codec, dev_panel)
        digest = fingerprint(train, dev)
        return PreparedData(
            self.source,
            Codec.of_panel(raw.task, codec),
            settings,
            train,
            dev,
            digest,
            interpretation=raw.interpretation,
        )

    def _trim(self, corpus: Encoded, model: ModelSettings, known: Codec | None) -> PreparedData:
        """The arrays of an encoded corpus that a model reads, and the validation data of the source if it has any."""
        folder = self.source.corpus
        pretrained = (
            translate("word vectors")
            if corpus.codec.vectors
            else translate("language models")
            if corpus.codec.char_lms
            else ""
        )
        if pretrained and self.start is None:
            raise InputError(
                "{folder} was encoded for a run with {pretrained}, and only that run can read it",
                folder=folder,
                pretrained=pretrained,
            )
        if self.start is not None and not self.start.can_read(corpus.codec):
            raise InputError(
                "{folder} was encoded with another vocabulary than that of the run in `start_from`: encode "
                "it again with `vocab`, which names this run",
                folder=folder,
            )
        codec = self._with_pretrained(corpus.codec, model, known)
        dev, digest = corpus.dev, corpus.data_sha256
        if self.source.dev is not None and store.is_corpus(self.source.dev):
            other = encoded.read(Path(self.source.dev))
            if other.codec != corpus.codec:
                raise InputError(
                    "{dev} was encoded with another vocabulary: encode it again with `vocab` {folder}",
                    dev=self.source.dev,
                    folder=folder,
                )
            if other.dev is not None:
                raise InputError(
                    "a part of {dev} was set apart for evaluation: encode it again with `dev_fraction` 0",
                    dev=self.source.dev,
                )
            dev, digest = other.train, digest + other.data_sha256
        elif (source := self.source.dev_records or self.source.dev) is not None:
            dev = encode_data(codec, sequences.read(source, corpus.settings), unseen_labels=True)
            digest += fingerprint(dev)
        if corpus.train.targets is None and not corpus.codec.kind.continues_text:
            raise InputError(
                "{folder} was encoded without targets; encode it again without `targets=False`", folder=folder
            )
        train, dev = _drop_unused_arrays(corpus.train, model), None if dev is None else _drop_unused_arrays(dev, model)
        return PreparedData(self.source, codec, corpus.settings, train, dev, digest, mapped=True)


def _check_vectors(data: RawData | Encoded, training: TrainSettings) -> None:
    """Check that data are read by word and training has an <unk>, as word vectors need; raises InputError."""
    kind = data.kind if isinstance(data, RawData) else data.codec.kind
    if kind.reads_numbers or data.settings.level != "word":
        read = (
            translate("are numbers")
            if kind.reads_numbers
            else translate("are read by character; `level=word` reads words")
        )
        raise InputError("`vectors` are those of words, and the data {read}", read=read)
    if not training.unk_probability:
        raise InputError("`vectors` need an <unk> for words that training does not hold: set `unk_probability` above 0")


def _check_char_lm(data: RawData | Encoded) -> None:
    """Check that data are words with targets, as language models beside the words need; raises InputError."""
    kind = data.kind if isinstance(data, RawData) else data.codec.kind
    if kind.reads_numbers or not supports_chars(kind, data.settings.level):
        read = (
            translate("are numbers")
            if kind.reads_numbers
            else translate("are read by {level} for {task}", level=data.settings.level, task=data.settings.task)
        )
        raise InputError("`char_lm` reads the text of words that have a target, and the data {read}", read=read)


def _characters(char_lms: tuple[CharLM, ...]) -> Vocab:
    """The characters of language models, none of which was counted."""
    symbols = {UNK: None}
    for lm in char_lms:
        assert lm.folder is not None
        vocab = encoded.read_codec(lm.folder / store.VOCAB).symbols
        assert vocab is not None
        symbols |= dict.fromkeys(symbol for symbol in vocab.symbols if len(symbol) == 1)
    return Vocab(tuple(symbols), (0,) * len(symbols))


def _drop_unused_arrays(data: Dataset, model: ModelSettings) -> Dataset:
    """The data without the arrays that a model does not read."""
    if not model.char_rnn_size and model.char_lm is None:
        data = replace(data, word_ids=None, word_chars=None)
    return data if model.bigram_size else replace(data, bigrams=None)
