"""From what a user names to the tokenizers that are analysed, of every kind that something here can encode with."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vocabopt.analyze.spans import Spans, json_spans, model_spans
from vocabopt.analyze.vocabulary import Vocabulary
from vocabopt.errors import OptionError
from vocabopt.options import DEFAULT_BASE, AnalyzeOptions
from vocabopt.tokenizer import Base
from vocabopt.tokenizer.sentencepiece_model import read_model
from vocabopt.verify.encoders import ModelEncoder
from vocabopt.verify.load import load_side
from vocabopt.verify.sides import Side

_NAMED = re.compile(r"([^=/\\]+)=(.+)", re.DOTALL)
_SENTENCEPIECE_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_KNOWN_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A tokenizer under analysis. name: unique among those analysed."""

    name: str
    side: Side

    @property
    def base(self) -> Base | None:
        """The base that it is, where it is of a family that can be grown; its text can then be counted in chunks."""
        return self.side.base

    @property
    def family(self) -> str:
        """The kind of tokenizer, in a word or two."""
        if self.base is not None:
            return self.base.family
        if not self.side.encodes_as_json:
            kind = read_model(self.side.forms["tokenizer.model"]).trainer_spec.model_type
            return f"sentencepiece-{_SENTENCEPIECE_KINDS.get(kind, 'unknown')}"
        return str(self.side.vocabulary_json["model"].get("type", "unknown")).lower()

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.side)

    def spans(self, texts: Sequence[str]) -> Spans:
        """Encode whole documents, and say which characters each token holds."""
        if self.side.full is not None:
            return json_spans(self.side.full, texts, self.side.source)
        encoder = self.side.encoders["tokenizer.model"]
        assert isinstance(encoder, ModelEncoder)
        return model_spans(encoder.processor, texts)


def load_subjects(options: AnalyzeOptions) -> tuple[Subject, ...]:
    """Load all tokenizers of the options, in their order.

    Raises:
        BaseTokenizerError: one cannot be loaded, and nothing here can encode with it.
        OptionError: two have one name, or --pattern and --specials complete nothing.
    """
    given = [_named(value) for value in options.tokenizers]
    loaded = [
        (name, path, load_side(_file_of(path), pattern=options.pattern, specials=options.specials))
        for name, path in given
    ]
    subjects: dict[str, Subject] = {}
    for name, path, side in loaded:
        name = name or _own_name(path, side)
        if name in subjects:
            raise OptionError(
                f"{path}: is called {name!r}, as {subjects[name].side.source} is. Name one of them: NAME={path}"
            )
        subjects[name] = Subject(name=name, side=side)
    if (options.pattern or options.specials) and all(side.written != "tiktoken" for *_, side in loaded):
        option = "--pattern" if options.pattern else "--specials"
        raise OptionError(f"{option}: is for tiktoken rank files, and no tokenizer given is one. Leave it out.")
    return tuple(subjects.values())


def _named(value: str) -> tuple[str | None, str]:
    """NAME=PATH in two; a path that is there is taken as it stands."""
    match = None if Path(value).exists() else _NAMED.fullmatch(value)
    if match is None and value.startswith("="):
        raise OptionError(f"{value}: the name is missing. Write NAME=PATH, or the path alone.")
    return (match[1], match[2]) if match else (None, value)


def _file_of(path: str) -> str:
    """A folder that holds a .model of another name, as T5's have, and nothing else to read, stands for that file."""
    folder = Path(path)
    if (
        path == DEFAULT_BASE
        or not path
        or not folder.is_dir()
        or any((folder / name).is_file() for name in _KNOWN_FILES)
    ):
        return path
    models = sorted(folder.glob("*.model"))
    return str(models[0]) if len(models) == 1 and not list(folder.glob("*.tiktoken")) else path


def _own_name(path: str, side: Side) -> str:
    return Path(path).resolve().name if path != DEFAULT_BASE and Path(path).is_dir() else side.name
