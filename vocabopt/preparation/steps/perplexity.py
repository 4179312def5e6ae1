"""Perplexity per character of documents, by kenlm: what the steps perplexity and select share.

    perplexity = 10 ^ (-log10 P / n),  n = characters of its lines + one end of each line

A line is a sentence, and a document's log-probability the sum over its lines, as CCNet has it with words (Wenzek et al.
2020, section 3.3). It is the number of equally likely next characters that would surprise the model as much; its log2
is the bits per character.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from vocabopt.amounts import parse_bytes
from vocabopt.errors import CorpusError, OptionError, how_to_install
from vocabopt.option_fields import Check, at_least, option
from vocabopt.preparation.character_lm import MAX_ORDER, SPACE, estimate, sentences
from vocabopt.preparation.step import DocumentStep, Outcome, Step
from vocabopt.text.corpus import TextFile, fingerprint, named_set
from vocabopt.text.readers import ReadOptions, read_blocks

#: String [n] to perplexity per character, float64 [n]; NaN for a document without text.
Perplexities: TypeAlias = Callable[[pl.Series], NDArray[np.float64]]

_VERSION = 1  # of the models that `ByModel.prepare` keeps


class ByModel(Step):
    """A step with a kenlm model of characters, given or estimated on the first `reference_bytes` of `reference`.

    order: characters of the longest n-gram. min_count: a longer n-gram than 2 that the reference holds less often is
    left out: at 2 a third of the n-grams of Korean encyclopedia text stay, for 1.2 % more bits per character of such
    text held out.
    """

    model: str | None
    reference: str | None
    reference_bytes: str
    order: int = 5
    min_count: int = 2

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(path for path in (self.model, self.reference) if path is not None)

    def prepare(self, work: Path) -> Self:
        """The step with a model, which is made once in `work` for the same text and options.

        Raises:
            CorpusError: the reference is missing, unreadable or holds no text.
            RunDirectoryError: the folder cannot be written.
        """
        if self.reference is None:
            return self
        max_bytes = parse_bytes(self.reference_bytes, f"[{self.name}] reference_bytes")
        files = named_set("reference", self.reference, "eval").files
        identity = [f"{_VERSION} {self.order} {self.min_count} {max_bytes}", *map(fingerprint, files)]
        path = work / f"characters-{xxhash.xxh3_128_hexdigest(chr(10).join(identity).encode())}.arpa"
        if not path.exists():
            texts = _first_texts(files, max_bytes)
            try:
                model = estimate(texts, order=self.order, min_count=self.min_count)
            except CorpusError as error:
                raise CorpusError(f"{self.reference}: {error}") from error
            model.write_arpa(path)
        given: Any = {"model": str(path), "reference": None}
        return replace(self, **given)


def _first_texts(files: tuple[TextFile, ...], max_bytes: int) -> Iterator[pl.Series]:
    """Texts of the files, from the beginning to the next whole block."""
    n_read = 0
    for block in itertools.chain.from_iterable(read_blocks(file, ReadOptions()) for file in files):
        yield block.documents
        n_read += int(block.documents.str.len_bytes().sum())
        if n_read >= max_bytes:
            return


def load_perplexities(step: str, model: str) -> Perplexities:
    """The scorer by a model file. step: the name of the step, for messages.

    Raises:
        OptionError: kenlm is not installed, or the file is missing, no model, or one of words.
    """
    try:
        import kenlm
    except ImportError as error:
        raise OptionError(f"[{step}] needs kenlm. {how_to_install('prepare')}") from error
    place = f'[{step}] model "{model}"'
    if not Path(model).is_file():
        raise OptionError(f"{place}: no such file. Name a kenlm model, .arpa or binary, or give reference instead.")
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        loaded = kenlm.Model(model, config)
    except (OSError, RuntimeError) as error:
        raise OptionError(f"{place}: kenlm cannot load it ({' '.join(str(error).split())[:200]}).") from error
    if SPACE not in loaded:
        raise OptionError(
            f"{place}: has no symbol {SPACE}, so its symbols are not characters with {SPACE} for a space. Train one "
            "such, or give reference instead."
        )
    score = loaded.score

    def perplexities(texts: pl.Series) -> NDArray[np.float64]:
        lines = pl.DataFrame({"document": np.arange(len(texts)), "line": texts.str.split("\n")}).explode("line")
        # Lines of one document after another, so that `sentences`, which drops empty ones, keeps them in step.
        lines = lines.filter(pl.col("line").str.strip_chars() != "")
        own = sentences(lines["line"])
        log10 = np.fromiter((score(" ".join(line)) for line in own), np.float64, len(own))
        documents = lines["document"].to_numpy()
        n_symbols = np.bincount(documents, own.str.len_chars().to_numpy() + 1.0, minlength=len(texts))
        total = np.bincount(documents, log10, minlength=len(texts))
        with np.errstate(invalid="ignore"):
            return np.asarray(10.0 ** (-total / n_symbols), np.float64)

    return perplexities


_PERPLEXITY = Check(lambda value: 1 <= value < float("inf"), "must be at least 1, which is certainty")


@dataclass(frozen=True, kw_only=True)
class Perplexity(ByModel, DocumentStep):
    """Remove documents by their perplexity per character.

    model: a kenlm file, .arpa or binary, whose symbols are characters, ▁ for white space; or
    reference: clean text, a path or glob, that `prepare` estimates such a model on.
    max_perplexity, min_perplexity: documents above, or below, are removed. They mean nothing without the model: look at
    its scores on text that must stay. A share of the text is what the step select cuts.
    order: characters of the longest n-gram. min_count: a longer n-gram than 2 that the reference holds less often is
    left out. reference_bytes: so much of the reference is read, from its beginning.
    """

    name: ClassVar[str] = "perplexity"
    model: str | None = None
    reference: str | None = None
    max_perplexity: float | None = option(None, check=_PERPLEXITY)
    min_perplexity: float | None = option(None, check=_PERPLEXITY)
    order: int = option(
        5, check=Check(lambda n: 2 <= n <= MAX_ORDER, f"must be from 2 to {MAX_ORDER}, which kenlm can read")
    )
    min_count: int = option(2, check=at_least(1))
    reference_bytes: str = "50MB"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.model is None) == (self.reference is None):
            given = "neither" if self.model is None else "both"
            raise OptionError(f"[{self.name}] model, reference: {given} given; give one of them.")
        if self.max_perplexity is None and self.min_perplexity is None:
            raise OptionError(f"[{self.name}] max_perplexity, min_perplexity: neither given; give one or both.")
        if self.max_perplexity is not None and (self.min_perplexity or 0) > self.max_perplexity:
            told = f"must not be above max_perplexity, which is {self.max_perplexity}."
            raise self.refusal("min_perplexity", self.min_perplexity, told)
        parse_bytes(self.reference_bytes, f"[{self.name}] reference_bytes")

    def load(self) -> Callable[[pl.Series], Outcome]:
        """Raises OptionError: kenlm is not installed, or cannot use the model."""
        assert self.model is not None, "prepare the step first"
        perplexities = load_perplexities(self.name, self.model)
        highest = np.inf if self.max_perplexity is None else self.max_perplexity
        lowest = 0.0 if self.min_perplexity is None else self.min_perplexity

        def remove(texts: pl.Series) -> Outcome:
            scores = perplexities(texts)
            above, below = scores > highest, scores < lowest  # neither of a text without characters, which is NaN
            limit, side = np.where(above, highest, lowest), np.where(above, "above", "below")
            why = pl.DataFrame({"score": scores, "limit": limit, "side": side}).select(
                pl.format("perplexity {} {} {}", pl.col("score").round_sig_figs(4), "side", "limit")
            )
            return Outcome.removing(texts, why.to_series().str.replace_all(r"\.0\b", ""), pl.Series(above | below))

        return remove
