"""`vocabopt sweep --method union`: one vocabulary trained apart, or given, and what its union with the base gives.

Measured at each size: what it saves, what of it is of no use, what it does to other text.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.choice.complexity import N_EVEN_STEPS, PAPER_SIZES, EmbeddingTable
from vocabopt.choice.knee import chord_knee
from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.folder import write_bytes_atomic
from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.grow import protected_chunks
from vocabopt.growth.proof import recount
from vocabopt.merging.export import extended_original, merged_base
from vocabopt.merging.extension import Addition, Scores
from vocabopt.records import Changed, SetTokens, UnionChoice, UnionPoint, UnionRecord, write_record
from vocabopt.text.scripts import contains_target
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.text.utf8 import read_whole
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.encoders import Encoder, JsonEncoder, ModelEncoder
from vocabopt.tokenizer.families import decoded
from vocabopt.union import UNION_JSON, UNION_MODEL
from vocabopt.union.train import SETTINGS, train, unsupported_piece
from vocabopt.union.vocabulary import Vocabulary, read_vocabulary, union_addition

#: Text set -> its documents, read again, in blocks.
DocumentsOf = Mapping[str, Callable[[], Iterable[pl.Series]]]


def run_union(
    measure: "Measure",
    out: Path,
    *,
    sizes: tuple[int, ...] | None,
    vocab: str | None,
    scores: Scores,
    console: Console,
) -> None:
    """Train or read the vocabulary, measure it at each size, and write union.model and union.json.

    Args:
        sizes: pieces of the vocabulary, those that the base has already included (the paper's axis); None for the
            paper's, as far as the text goes.
        vocab: a SentencePiece .model trained elsewhere; None to train one on the training set.

    Raises:
        OptionError: the vocabulary cannot be read or trained, or has none of the sizes.
    """
    asked = tuple(size for size in sizes or () if size > 0)
    if vocab is None:
        with console.step("train"):
            train_weight = measure.weights[:, list(measure.counts.sets).index(TRAIN)]
            data = train(measure.counts, train_weight, max(asked, default=PAPER_SIZES[-1]))
        trained: dict[str, Any] | None = {**SETTINGS, "sentencepiece": importlib.metadata.version("sentencepiece")}
    else:
        trained, data = None, read_whole(Path(vocab))
    write_bytes_atomic(out / UNION_MODEL, data)
    vocabulary = read_vocabulary(out / UNION_MODEL)
    chosen = _sizes(vocabulary, asked, vocab)
    points = []
    with console.step("union", len(chosen), "vocabularies") as advance:
        for done, size in enumerate(chosen, 1):
            points.append(measure(vocabulary, size, scores))
            advance(done)
    record = UnionRecord(
        vocab=None if vocab is None else str(Path(vocab).resolve()),
        vocab_size=vocabulary.size,
        sha256=vocabulary.sha256,
        trained=trained,
        scores=scores,
        scripts=measure.scripts,
        base_n_rows=measure.table.base_n_rows,
        points=tuple(points),
        choice=_choice(points, measure),
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


def _choice(points: Sequence[UnionPoint], measure: "Measure") -> UnionChoice:
    """The knee among the sizes measured, as the paper chooses; where there is one size only, that one."""
    text_set = HELDOUT if points[0].sets[HELDOUT].n_tokens else TRAIN
    knee = chord_knee(
        [point.n_added for point in points],
        [measure.table.ratio(point.n_added) for point in points],
        [point.sets[text_set].n_tokens / measure.base_tokens[text_set] for point in points],
    )
    point = points[0] if len(points) == 1 else next((point for point in points if point.n_added == knee), None)
    return UnionChoice(
        vocab_size=None if point is None else point.vocab_size,
        n_added=None if point is None else point.n_added,
        window=(points[0].vocab_size, points[-1].vocab_size),
        set=text_set,
    )


# --- One size ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ScoredRuns:
    """Runs of chunks by sentencepiece, as `ChunkEncoder` encodes them."""

    encoder: Encoder
    name: str = "sentencepiece"

    def encode(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = self.encoder.encode(data.decode().split("\0"))
        ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
        return np.fromiter((index for row in rows for index in row), np.int64), ends


#: The encoder of the base, and that of the base with the addition merged in.
Encoders = tuple[Encoder, Encoder]


def _encoders_of(base: Tokenizer, merged: Tokenizer, addition: Addition) -> tuple[Encoders, Encoders]:
    """Encoders of chunks and single pieces, as they stand; and encoders of documents, with the dummy prefix.

    With tied scores sentencepiece, which merges the leftmost pair, whichever piece it makes: no tokenizer.json does.
    """
    if addition.scores == "zero":
        form = next(form for form in base.originals if form.kind == "tokenizer.model")
        old, new = form.data, extended_original(base, form, addition)
        chunks = ModelEncoder.of(old, prefix=False), ModelEncoder.of(new, prefix=False)
        return chunks, (ModelEncoder.of(old), ModelEncoder.of(new))
    whole = (JsonEncoder(one.whole_chunk_tokenizer, one.source) for one in (base, merged))
    return (next(whole), next(whole)), (JsonEncoder(base.full, base.source), JsonEncoder(merged.full, merged.source))


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What every size is measured on.

    weights: int64 [n_chunks, n_sets]. base_tokens: tokens per text set with the base. protected: the text sets that
    must not change.
    """

    base: Tokenizer
    counts: ChunkCounts
    weights: NDArray[np.int64]
    base_tokens: Mapping[str, int]
    scripts: tuple[str, ...]
    table: EmbeddingTable
    protected: DocumentsOf

    def __call__(self, vocabulary: Vocabulary, size: int, scores: Scores) -> UnionPoint:
        """One size, as union.json holds it."""
        pieces = vocabulary.at(size) if vocabulary.is_bpe else list(vocabulary.pieces)
        addition = union_addition(self.base, pieces, scores=scores, place=f"the vocabulary of {size:,} pieces")
        merged = merged_base(self.base, addition)
        of_chunks, of_documents = _encoders_of(self.base, merged, addition)
        of_base, of_merged = of_chunks
        counted = recount(merged, self.counts, self.weights, _ScoredRuns(of_merged) if scores == "zero" else None)
        heldout, first_new_id = list(self.counts.sets).index(HELDOUT), self.base.n_tokens
        n_tokens = counted.n_tokens(self.counts)
        new_pieces = enumerate(of_merged.encode([text.decode() for text in addition.texts]), first_new_id)
        texts = {index: text for index, data in enumerate(self.base.pieces) if (text := decoded(data))}
        base_pieces = zip(texts, of_base.encode([*texts.values()]), of_merged.encode([*texts.values()]), strict=True)
        return UnionPoint(
            vocab_size=size,
            n_overlap=len(pieces) - addition.n_added,
            n_added=addition.n_added,
            n_rows_total=self.table.n_rows(addition.n_added),
            n_embedding_params=self.table.n_params(addition.n_added),
            n_unreachable=sum(ids != [index] for index, ids in new_pieces),
            n_unused=int((counted.token_counts[heldout, first_new_id:] == 0).sum()) if n_tokens[HELDOUT] else None,
            n_base_broken=sum(old == [index] != new for index, old, new in base_pieces),
            protected=self._protected(of_chunks, of_documents),
            encoder=counted.encoder,
            sets={name: SetTokens(n_tokens=n) for name, n in n_tokens.items()},
        )

    def _protected(self, of_chunks: Encoders, of_documents: Encoders) -> dict[str, Changed]:
        """Documents of the protected sets that changed.

        A document changes when a chunk of it does; so only those that hold the text of a changed chunk are encoded.
        """
        sets = list(self.counts.sets)
        chosen = [sets.index(name) for name in self.protected]
        if not chosen:
            return {}
        mask = protected_chunks(self.counts, self.weights, chosen, self.scripts)
        texts = self.counts.texts().filter(mask).to_list()
        encoded = zip(texts, *(encoder.encode(texts) for encoder in of_chunks), strict=True)
        changed = sorted({text.strip(" ") for text, old, new in encoded if old != new})
        return {name: self._changed_documents(name, changed, of_documents) for name in self.protected}

    def _changed_documents(self, name: str, changed: list[str], of_documents: Encoders) -> Changed:
        n_documents = n_changed = 0
        for block in self.protected[name]():
            judged = block
            if self.scripts:
                judged = pl.Series([text for text in block if not contains_target(text, self.scripts)], dtype=pl.String)
            n_documents += len(judged)
            # A literal ▁ is counted as the space it stands for.
            suspects = judged.str.contains("▁", literal=True)
            if changed:  # polars refuses an empty list
                suspects |= judged.str.contains_any(changed)
            texts = judged.filter(suspects).to_list() if "" not in changed else judged.to_list()
            n_changed += sum(
                old != new for old, new in zip(*(encoder.encode(texts) for encoder in of_documents), strict=True)
            )
        return Changed(n_documents=n_documents, n_changed=n_changed)
