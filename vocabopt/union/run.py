"""`vocabopt sweep --method union`: one vocabulary trained apart, or given, and what its union with the base gives."""

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vocabopt.artifacts import FORMAT_VERSION, write_bytes_atomic, write_json_atomic
from vocabopt.choice.complexity import N_EVEN_STEPS, PAPER_SIZES
from vocabopt.choice.knee import chord_knee
from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.merge.addition import Scores
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.text.utf8 import read_whole
from vocabopt.tokenizer import Base
from vocabopt.union.files import UNION_JSON, UNION_MODEL
from vocabopt.union.measure import Measure
from vocabopt.union.train import SETTINGS, train, unsupported_piece
from vocabopt.union.vocabulary import Vocabulary, read_vocabulary, union_addition


def run_union(
    measure: Measure,
    out: Path,
    *,
    sizes: tuple[int, ...] | None,
    vocab: str | None,
    scores: Scores,
    console: Console,
) -> dict[str, Any]:
    """Train or read the vocabulary, measure it at each size, and write union.model and union.json.

    Args:
        sizes: pieces of the vocabulary, those that the base has already included (the paper's axis); None for the
            paper's, as far as the text goes.
        vocab: a SentencePiece .model trained elsewhere; None to train one on the training set.

    Returns:
        What union.json holds.

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
    record = {
        "format_version": FORMAT_VERSION,
        "vocab": None if vocab is None else str(Path(vocab).resolve()),
        "vocab_size": vocabulary.size,
        "sha256": hashlib.sha256(data).hexdigest(),
        "trained": trained,
        "scores": scores,
        "scripts": list(measure.scripts),
        "base_n_rows": measure.table.base_n_rows,
        "points": points,
        "choice": _choice(points),
    }
    write_json_atomic(out / UNION_JSON, record)
    return record


def check_vocabulary(base: Base, path: Path, scores: Scores) -> None:
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


def _choice(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The knee among the sizes measured, as the paper chooses; where there is one size only, that one."""
    text_set = HELDOUT if points[0]["sets"][HELDOUT]["n_tokens"] else TRAIN
    knee = chord_knee(
        [point["n_added"] for point in points],
        [point["ratio_embedding"] for point in points],
        [point["sets"][text_set]["ratio_input"] for point in points],
    )
    window = [points[0]["vocab_size"], points[-1]["vocab_size"]]
    point = points[0] if len(points) == 1 else next((p for p in points if p["n_added"] == knee), None)
    text = "held-out" if text_set == HELDOUT else "training"
    if point is None:
        of_sizes = f"{len(points)} vocabularies of {window[0]:,}..{window[1]:,} pieces"
        reason = f"The union has no size to choose: the {text} input ratio has no knee over {of_sizes}."
    else:
        why = "the only size measured" if len(points) == 1 else f"the knee over {window[0]:,}..{window[1]:,} pieces"
        reason = (
            f"Union: a vocabulary of {point['vocab_size']:,} pieces, {why}; the base has {point['n_overlap']:,} of "
            f"them, so {point['n_added']:,} rows are new, and {text} text takes "
            f"{point['sets'][text_set]['ratio_input']:.1%} of the base's tokens."
        )
    return {
        "rule": "knee",
        "vocab_size": None if point is None else point["vocab_size"],
        "n_added": None if point is None else point["n_added"],
        "window": window,
        "set": text_set,
        "reason": reason,
    }
