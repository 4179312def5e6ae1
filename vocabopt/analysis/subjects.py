"""The tokenizers that are compared: loaded from what a user names, and encoding whole documents.

A place is a pair of offsets into the documents joined by NUL, in characters where `tokenizers` encodes and in UTF-8
bytes where sentencepiece does. Tokens that hold a part of one character share its place. Neither starts nor ends ever
decrease; a piece that stands for nothing in the text (the dummy prefix) may be empty.
"""

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from sentencepiece import sentencepiece_pb2
from tokenizers import Tokenizer as JsonTokenizer

from vocabopt.analysis.vocabulary import Vocabulary
from vocabopt.errors import OptionError
from vocabopt.failures import encoded
from vocabopt.options import DEFAULT_BASE, AnalyzeOptions
from vocabopt.tokenizer import Tokenizer, load_tokenizer
from vocabopt.tokenizer.encoders import ModelEncoder
from vocabopt.tokenizer.sentencepiece_model import read_model
from vocabopt.tokenizer.tokenizer_json import without_model

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Tokens of some texts, in order, and their places in the texts joined by NUL.

    ids, starts, ends: int64 [n_tokens]. n_tokens: int64 [n_texts], of each text. in_bytes: the unit of places.
    """

    ids: Ints
    starts: Ints
    ends: Ints
    n_tokens: Ints
    in_bytes: bool

    @property
    def text_of_token(self) -> Ints:
        """The number of the text that each token is of."""
        return np.repeat(np.arange(len(self.n_tokens)), self.n_tokens)


def json_spans(tokenizer: JsonTokenizer, texts: Sequence[str], source: str) -> Spans:
    """Encode with the `tokenizers` library; places in characters. Raises BaseTokenizerError as `encoded`."""
    encodings = encoded(tokenizer, texts, source, with_offsets=True)
    rows = [encoding.ids for encoding in encodings]
    places = _flat(chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings)))
    return _joined(_flat(chain.from_iterable(rows)), places, rows, [len(text) for text in texts], in_bytes=False)


def model_spans(processor: sentencepiece.SentencePieceProcessor, texts: Sequence[str]) -> Spans:
    """Encode with sentencepiece; places in bytes."""
    rows: list[Any] = []
    for serialized in processor.encode(list(texts), out_type="serialized_proto", num_threads=-1):
        message = sentencepiece_pb2.SentencePieceText()  # type: ignore[attr-defined]
        message.ParseFromString(serialized)
        rows.append(message.pieces)
    ids = _flat(piece.id for row in rows for piece in row)
    places = _flat(place for row in rows for piece in row for place in (piece.begin, piece.end))
    return _joined(ids, places, rows, [len(text.encode()) for text in texts], in_bytes=True)


def _flat(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)


def _joined(ids: Ints, places: Ints, rows: Sequence[Any], lengths: list[int], *, in_bytes: bool) -> Spans:
    n_tokens = np.fromiter(map(len, rows), np.int64, len(rows))
    first = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64) + 1)[:-1]]) if rows else np.zeros(0, np.int64)
    shift = np.repeat(first, n_tokens)
    starts, ends = places[0::2] + shift, places[1::2] + shift
    # A normaliser that moves characters can leave a place before its neighbour's.
    return Spans(
        ids=ids,
        starts=np.maximum.accumulate(starts),
        ends=np.maximum.accumulate(ends),
        n_tokens=n_tokens,
        in_bytes=in_bytes,
    )


_NAMED = re.compile(r"([^=/\\]+)=(.+)", re.DOTALL)
_SENTENCEPIECE_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_KNOWN_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A tokenizer under analysis. name: unique among those analysed."""

    name: str
    side: Tokenizer

    @property
    def base(self) -> Tokenizer | None:
        """The base that it is, where it is of a family that can be grown; its text can then be counted in chunks."""
        return self.side if self.side.can_grow else None

    @property
    def family(self) -> str:
        """The kind of tokenizer, in a word or two."""
        if self.base is not None:
            return str(self.base.family)
        if not self.side.encodes_as_json:
            kind = read_model(self.side.forms["tokenizer.model"]).trainer_spec.model_type
            return f"sentencepiece-{_SENTENCEPIECE_KINDS.get(kind, 'unknown')}"
        return str(self.side.tokenizer_json["model"].get("type", "unknown")).lower()

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.side)

    @functools.cached_property
    def _cutter(self) -> tuple[JsonTokenizer, re.Pattern[str]] | None:
        """Normaliser and pre-tokenizer, and its added tokens as a pattern; None where nothing but the model cuts."""
        side = self.side
        if not side.encodes_as_json or side.tokenizer_json.get("pre_tokenizer") is None:
            return None
        names = sorted(side.added_contents, key=lambda content: (-len(content), content))
        return without_model(side.tokenizer_json), re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def n_chunks(self, texts: Sequence[str]) -> int | None:
        """Into how many parts its pre-tokenizer cuts whole documents, an added token one; None where it has none."""
        if self._cutter is None:
            return None
        tokenizer, names = self._cutter
        normalize = (lambda text: text) if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str
        parts = [part for text in texts for part in names.split(text) if part]
        n_names = sum(len(names.findall(text)) for text in texts)
        return n_names + sum(len(tokenizer.pre_tokenizer.pre_tokenize_str(normalize(part))) for part in parts)

    def spans(self, texts: Sequence[str]) -> Spans:
        """Encode whole documents, and say which characters each token holds."""
        if self.side.encodes_as_json:
            return json_spans(self.side.full, texts, self.side.source)
        encoder = self.side.encoders["tokenizer.model"]
        assert isinstance(encoder, ModelEncoder)
        return model_spans(encoder.processor, texts)


class Subjects:
    """The tokenizers of the options, loaded once in each process: another one is sent their names."""

    def __init__(self, options: AnalyzeOptions) -> None:
        self._options = options

    @functools.cached_property
    def loaded(self) -> tuple[Subject, ...]:
        """In the order of the options. Raises as `load_subjects`."""
        return load_subjects(self._options)

    def __reduce__(self) -> tuple[type["Subjects"], tuple[AnalyzeOptions]]:
        return Subjects, (self._options,)


def load_subjects(options: AnalyzeOptions) -> tuple[Subject, ...]:
    """Load all tokenizers of the options, in their order.

    Raises:
        BaseTokenizerError: one cannot be loaded, and nothing here can encode with it.
        OptionError: two have one name, or --pattern and --specials complete nothing.
    """
    named = []
    for value in options.tokenizers:
        # NAME=PATH in two; a path that is there is taken as it stands.
        match = None if Path(value).exists() else _NAMED.fullmatch(value)
        if match is None and value.startswith("="):
            raise OptionError(f"{value}: the name is missing. Write NAME=PATH, or the path alone.")
        named.append((match[1], match[2]) if match else (None, value))
    subjects: dict[str, Subject] = {}
    for given, path in named:
        side = load_tokenizer(_file_of(path), pattern=options.pattern, specials=options.specials)
        is_folder = path != DEFAULT_BASE and Path(path).is_dir()
        name = given or (Path(path).resolve().name if is_folder else side.name)
        if name in subjects:
            raise OptionError(
                f"{path}: is called {name!r}, as {subjects[name].side.source} is. Name one of them: NAME={path}"
            )
        subjects[name] = Subject(name=name, side=side)
    if (options.pattern or options.specials) and all(each.side.written != "tiktoken" for each in subjects.values()):
        option = "--pattern" if options.pattern else "--specials"
        raise OptionError(f"{option}: is for tiktoken rank files, and no tokenizer given is one. Leave it out.")
    return tuple(subjects.values())


def _file_of(path: str) -> str:
    """A folder that holds a .model of another name, as T5's have, and nothing else to read, stands for that file."""
    folder = Path(path)
    if path in (DEFAULT_BASE, "") or not folder.is_dir() or any((folder / name).is_file() for name in _KNOWN_FILES):
        return path
    models = sorted(folder.glob("*.model"))
    return str(models[0]) if len(models) == 1 and not list(folder.glob("*.tiktoken")) else path
