"""A character n-gram language model, estimated on reference text and written as an ARPA file, which kenlm reads.

kenlm's Python package scores text but has no estimator. This is the one of its `lmplz`: interpolated modified
Kneser-Ney (Chen & Goodman 1998, An Empirical Study of Smoothing Techniques for Language Modeling, section 3; Heafield
et al. 2013, Scalable Modified Kneser-Ney Language Model Estimation), with characters in place of words.

A line is a sentence. A symbol is a character; white space is a symbol like any other, written ▁ (a ▁ of the text is the
same symbol); a character that the reference lacks is <unk>, as likely as one of the unigrams' uniform share.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import CorpusError
from vocabopt.folder import write_atomic
from vocabopt.preparation import character_lm_kernel as kernel

#: What the published kenlm is compiled for.
MAX_ORDER = 6
SPACE = "▁"

_FIRST_NODES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class CharacterModel:
    """Every kept n-gram of each length, by its log10 probability.

    tables: of length 1, 2, ... order; columns log10_probability (Float32), ngram (String, symbols with a space
    between) and log10_backoff (Float32; not in the last).
    """

    tables: tuple[pl.DataFrame, ...]

    @property
    def n_ngrams(self) -> int:
        return sum(map(len, self.tables))

    def write_arpa(self, path: Path) -> None:
        """Write the model as an ARPA file: equal models give equal bytes. Raises RunDirectoryError."""

        def write(file: IO[bytes]) -> None:
            sizes = "".join(f"ngram {n}={len(table)}\n" for n, table in enumerate(self.tables, 1))
            file.write(f"\\data\\\n{sizes}".encode())
            for n, table in enumerate(self.tables, 1):
                file.write(f"\n\\{n}-grams:\n".encode())
                table.write_csv(file, include_header=False, separator="\t", quote_style="never")
            file.write(b"\n\\end\\\n")

        write_atomic(path, write)


def sentences(texts: pl.Series) -> pl.Series:
    """The lines of texts as sentences: stripped, white space as ▁, without empty ones. texts: String [n]."""
    lines = texts.str.split("\n").explode() if texts.str.contains("\n", literal=True).any() else texts
    lines = lines.str.strip_chars().str.replace_all(r"\s", SPACE)
    return lines.filter(lines != "")


def estimate(blocks: Iterable[pl.Series], *, order: int = 5, min_count: int = 1) -> CharacterModel:
    """Estimate a model of n-grams of up to `order` symbols on blocks of texts.

    min_count: an n-gram of three symbols or more that occurs less often is left out, and its share goes to the shorter
    context, as with `lmplz --prune`; discounts come from all counts.

    Memory is some 70 bytes for each distinct n-gram, however often it occurs. Korean encyclopedia text at order 5: 4.3
    million n-grams and 300 MB for the first 10 MB of text, 700 MB for 40 MB.

    Raises:
        CorpusError: there is no text.
    """
    assert 2 <= order <= MAX_ORDER, order
    keys, counts, slots, n = _counted(blocks, order)
    if n == 1:
        raise CorpusError("a language model needs text, and the reference has none; name another.")
    depths, suffixes, adjusted = np.zeros(n, np.int8), np.zeros(n, np.int32), np.zeros(n, np.int32)
    counts_of_counts = kernel.adjust(order, keys, counts, slots, depths, suffixes, adjusted)
    del slots
    # A longer n-gram never occurs more often than its parts, so what is kept has all its parts.
    kept = (depths <= 2) | (counts >= min_count)
    discounts = np.stack([discounts_of(row) for row in counts_of_counts])
    backoffs, probabilities = np.zeros(n), np.zeros(n)
    unknown = kernel.interpolate(order, keys, kept, depths, suffixes, adjusted, discounts, backoffs, probabilities)
    tables: list[pl.DataFrame] = []
    place = np.zeros(n, np.int32)  # of a node in its table
    for depth in range(1, order + 1):
        nodes = np.flatnonzero((depths == depth) & kept)
        place[nodes] = np.arange(len(nodes))
        symbols, places = np.unique(keys[nodes] & kernel.SYMBOL_MASK, return_inverse=True)
        spelled = {kernel.BEGIN: "<s>", kernel.END: "</s>"}
        ngrams = pl.Series([spelled.get(int(s)) or chr(s) for s in symbols], dtype=pl.String).gather(places)
        if depth > 1:
            ngrams = tables[-1]["ngram"].gather(place[keys[nodes] >> kernel.SYMBOL_BITS]) + " " + ngrams
        columns = {"log10_probability": _log10(probabilities[nodes]), "ngram": ngrams}
        if depth < order:
            columns["log10_backoff"] = _log10(backoffs[nodes])
        tables.append(pl.DataFrame(columns))
    # <unk> comes first. <s> is never predicted: its probability is read by nobody, and -99 by custom.
    first = pl.DataFrame({"log10_probability": _log10(np.array([unknown])), "ngram": ["<unk>"]})
    probability = pl.when(pl.col("ngram") == "<s>").then(pl.lit(-99.0, pl.Float32)).otherwise("log10_probability")
    unigrams = tables[0].with_columns(log10_probability=probability)
    tables[0] = pl.concat([first.with_columns(log10_backoff=pl.lit(0.0, pl.Float32)), unigrams])
    return CharacterModel(tables=tuple(tables))


def _counted(
    blocks: Iterable[pl.Series], order: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], int]:
    """The kernel's tables of all n-grams: keys and counts of the nodes, slots, and how many nodes there are."""
    keys, counts = np.zeros(_FIRST_NODES, np.int64), np.zeros(_FIRST_NODES, np.int32)
    slots, n = np.full(2 * _FIRST_NODES, -1, np.int32), 1
    for texts in blocks:
        lines = sentences(texts)
        # BEGIN, code points, END of each line, one after another.
        codes = np.frombuffer("\n".join(lines).encode("utf-32-le"), np.int32)
        ends = np.append(np.flatnonzero(codes == ord("\n")), len(codes)) if len(lines) else np.zeros(0, np.int64)
        starts = ends - lines.str.len_chars().to_numpy()
        symbols = np.insert(codes, np.concatenate([starts, ends]), np.repeat([kernel.BEGIN, kernel.END], len(lines)))
        symbols = symbols[symbols != ord("\n")]
        at, n = kernel.count(symbols, 0, order, keys, counts, n, slots)
        while at < len(symbols):  # the tables are full
            keys = np.concatenate([keys, np.zeros_like(keys)])
            counts = np.concatenate([counts, np.zeros_like(counts)])
            slots = np.full(2 * len(slots), -1, np.int32)
            kernel.place_all(keys, n, slots)
            at, n = kernel.count(symbols, at, order, keys, counts, n, slots)
    return keys[:n], counts[:n], slots, n


def discounts_of(counts_of_counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken from a count of 1, of 2, and of 3 or more: [0, D1, D2, D3+].

    Chen & Goodman (1998), equation 26, from the numbers t1 to t4 of n-grams seen once to four times. Where one is 0 or
    the three are no discounts, as with little text, the single discount of Kneser-Ney, t1 / (t1 + 2 t2), for all; and
    1/2 where nothing was seen once.

    counts_of_counts: int64 [5], the first unused.
    """
    t1, t2, t3, t4 = (int(t) for t in counts_of_counts[1:5])
    if not t1:
        return np.array([0.0, 0.5, 0.5, 0.5])
    single = t1 / (t1 + 2 * t2)
    if t2 and t3 and t4:
        modified = np.array([0.0, single, 2 - 3 * single * t3 / t2, 3 - 4 * single * t4 / t3])
        if (modified[1:] > 0).all() and (modified <= np.arange(4)).all():
            return modified
    return np.array([0.0, single, single, single])


def _log10(values: NDArray[np.float64]) -> pl.Series:
    """Float32, as kenlm keeps them. A sum that should be 1 can come out above it, which kenlm refuses."""
    with np.errstate(divide="ignore"):
        return pl.Series(np.minimum(np.log10(values), 0.0).astype(np.float32) + np.float32(0.0))
