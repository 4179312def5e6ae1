"""`vocabopt sweep --method union`: one vocabulary trained apart, or given, and what its union with the base gives.

Measured at each size: what it saves, what of it is of no use, what it does to other text.
"""

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocabopt.choice.complexity import N_EVEN_STEPS, PAPER_SIZES, EmbeddingTable
from vocabopt.choice.knee import chord_knee
from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.folder import write_bytes_atomic
from vocabopt.growth.counts import ChunkCounts, SetStats
from vocabopt.merging.extension import Scores
from vocabopt.merging.recounting import Arrays
from vocabopt.records import Changed, SetTokens, UnionChoice, UnionPoint, UnionRecord, write_record
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.text.utf8 import read_whole
from vocabopt.tokenizer import Tokenizer
from vocabopt.union import UNION_JSON, UNION_MODEL
from vocabopt.union.measure import NO_DOCUMENTS, DocumentsOf, Joined, UnionSizes, encoder_of
from vocabopt.union.train import SETTINGS, train, unsupported_piece
from vocabopt.union.vocabulary import Vocabulary, read_vocabulary, union_addition


@dataclass(frozen=True, kw_only=True)
class UnionText:
    """The text that vocabularies are measured on.

    base_tokens: tokens per text set with the base; special tokens in the text are among them, and so are those of
    `sets`. counts: its unique chunks, None where not all of it fits into memory: then `recount` counts each size.
    protected: the documents of the text sets that must not change, read again.
    """

    base_tokens: Mapping[str, int]
    sets: Mapping[str, SetStats]
    protected: DocumentsOf
    counts: ChunkCounts | None
    recount: Callable[[UnionSizes], list[Arrays]]


def vocabulary_of(
    counts: ChunkCounts,
    out: Path,
    *,
    sizes: tuple[int, ...] | None,
    vocab: str | None,
    scores: Scores,
    scripts: tuple[str, ...],
    console: Console,
) -> tuple[UnionSizes, dict[str, Any] | None]:
    """Train or read the vocabulary, and write union.model.

    Args:
        counts: unique chunks of the text that tokens are learned from.
        sizes: pieces of the vocabulary, those that the base has already included (the paper's axis); None for the
            paper's, as far as the text goes.
        vocab: a SentencePiece .model trained elsewhere; None to train one on the training set.

    Returns:
        The vocabulary at the sizes to measure, and with what it was trained.

    Raises:
        OptionError: the vocabulary cannot be read or trained, or has none of the sizes.
    """
    asked = tuple(size for size in sizes or () if size > 0)
    if vocab is None:
        with console.step("train"):
            train_weight = counts.weights()[:, list(counts.sets).index(TRAIN)]
            data = train(counts, train_weight, max(asked, default=PAPER_SIZES[-1]))
        trained: dict[str, Any] | None = {**SETTINGS, "sentencepiece": importlib.metadata.version("sentencepiece")}
    else:
        trained, data = None, read_whole(Path(vocab))
    write_bytes_atomic(out / UNION_MODEL, data)
    vocabulary = read_vocabulary(out / UNION_MODEL)
    chosen = tuple(_sizes(vocabulary, asked, vocab))
    return UnionSizes(vocabulary=vocabulary, sizes=chosen, scores=scores, scripts=scripts), trained


def run_union(
    base: Tokenizer,
    sizes: UnionSizes,
    text: UnionText,
    table: EmbeddingTable,
    out: Path,
    *,
    vocab: str | None,
    trained: dict[str, Any] | None,
    console: Console,
) -> None:
    """Measure the vocabulary at each size, and write union.json.

    Args:
        table: the embedding of the base.
        vocab: where the vocabulary was trained elsewhere; trained: with what it was trained here.
    """
    points = []
    sums = None if text.counts is not None else text.recount(sizes)
    with console.step("union", len(sizes.sizes), "vocabularies") as advance:
        for number in sizes.numbers:
            joined = sizes.at(base, number)
            if text.counts is not None:
                found = joined.count_all(text.counts, text.protected)
            else:
                assert sums is not None
                found = sums[number]
            points.append(_point(joined, sizes, number, found, text, table))
            advance(number + 1)
    vocabulary = sizes.vocabulary
    record = UnionRecord(
        vocab=None if vocab is None else str(Path(vocab).resolve()),
        vocab_size=vocabulary.size,
        sha256=vocabulary.sha256,
        trained=trained,
        scores=sizes.scores,
        scripts=sizes.scripts,
        base_n_rows=table.base_n_rows,
        points=tuple(points),
        choice=_choice(points, text.base_tokens, table),
    )
    write_record(out / UNION_JSON, record)


def check_vocabulary(base: Tokenizer, path: Path, scores: Scores) -> None:
    """Find out before the long work that a given vocabulary cannot be joined to the base, or not be counted.

    Raises:
        OptionError: it cannot be read, a piece crosses the borders of chunks or is a special token of the base.
    """
    pieces = read_vocabulary(path).pieces
    if crossing := unsupported_piece(pieces):
        raise OptionError(
            f"--vocab {path}: its piece {crossing!r} goes on behind a space or a line end, where the base's text is "
            "counted apart. Use a vocabulary trained with split_by_whitespace."
        )
    union_addition(base, pieces, scores=scores, place=f"--vocab {path}")


def _sizes(vocabulary: Vocabulary, asked: tuple[int, ...], vocab: str | None) -> Sequence[int]:
    """The sizes to measure: those asked for that the vocabulary has, else the paper's, else even steps to its own."""
    if not vocabulary.is_bpe:
        return [vocabulary.size]
    first, last = vocabulary.smallest, vocabulary.size
    within = [size for size in asked or PAPER_SIZES if first <= size <= last]
    if asked and not within:
        raise OptionError(
            f"--sizes: {', '.join(f'{size:,}' for size in asked)}: the {'given' if vocab else 'trained'} vocabulary "
            f"can have {first:,} to {last:,} pieces (with --method union a size is that of the vocabulary). Choose "
            "some of these."
        )
    if asked or (within and vocab is None and last >= PAPER_SIZES[-1]):
        return within
    if vocab is not None:
        return sorted({*within, last})
    return sorted({max(first, round(last * step / N_EVEN_STEPS)) for step in range(1, N_EVEN_STEPS + 1)})


def _choice(points: Sequence[UnionPoint], base_tokens: Mapping[str, int], table: EmbeddingTable) -> UnionChoice:
    """The knee among the sizes measured, as the paper chooses; where there is one size only, that one."""
    text_set = HELDOUT if points[0].sets[HELDOUT].n_tokens else TRAIN
    knee = chord_knee(
        [point.n_added for point in points],
        [table.ratio(point.n_added) for point in points],
        [point.sets[text_set].n_tokens / base_tokens[text_set] for point in points],
    )
    point = points[0] if len(points) == 1 else next((point for point in points if point.n_added == knee), None)
    return UnionChoice(
        vocab_size=None if point is None else point.vocab_size,
        n_added=None if point is None else point.n_added,
        window=(points[0].vocab_size, points[-1].vocab_size),
        set=text_set,
    )


def _point(
    joined: Joined, sizes: UnionSizes, number: int, found: Arrays, text: UnionText, table: EmbeddingTable
) -> UnionPoint:
    """One size, as union.json holds it."""
    n_added, names = joined.addition.n_added, list(text.sets)
    n_unreachable, n_base_broken = joined.n_unreachable(), joined.n_base_broken()
    n_tokens = {
        name: int(n) + text.sets[name].n_special_tokens for name, n in zip(names, found["n_tokens"], strict=True)
    }
    n_unused = int((found["n_new"][names.index(HELDOUT)] == 0).sum())
    return UnionPoint(
        vocab_size=sizes.sizes[number],
        n_overlap=len(sizes.pieces(number)) - n_added,
        n_added=n_added,
        n_rows_total=table.n_rows(n_added),
        n_embedding_params=table.n_params(n_added),
        n_unreachable=n_unreachable,
        n_unused=n_unused if n_tokens[HELDOUT] else None,
        n_base_broken=n_base_broken,
        protected={
            name: Changed(n_documents=int(changed[0]), n_changed=int(changed[1]))
            for name in text.protected
            for changed in [found.get(f"changed_{name}", NO_DOCUMENTS)]
        },
        encoder=encoder_of(found),
        sets={name: SetTokens(n_tokens=n) for name, n in n_tokens.items()},
    )
