"""The union method, as the paper and Chinese-LLaMA do it: a base model and a vocabulary trained apart, in one model."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from bench.measure import n_cores
from bench.texts import BenchError

# Its classes are made when it is imported, which type checkers cannot see.
_sp_pb2: Any = sentencepiece_model_pb2
#: Below Mistral's and Llama 2's lowest score (their white-space pieces), in the smallest steps float32 holds there.
#: A score between those and the ordinary pieces would let new pieces merge before "▁▁".
LOWEST_SCORE = -1e9
SCORE_STEP = 64.0
_NORMAL = 1
# Most of the time goes into making Python lists; of 2,000, 20,000 and all lines at once, this was fastest.
_N_LINES = 2000


@dataclass(frozen=True)
class Union:
    """A merged model, how many trained pieces the base had already, and how many rows were added."""

    model: bytes
    n_overlap: int
    n_new: int


def base_model() -> bytes:
    """Mistral v1's tokenizer.model, from the package mistral-common (found without importing it)."""
    spec = find_spec("mistral_common")
    if spec is None or not spec.submodule_search_locations:
        raise BenchError("the package mistral-common is not installed: pip install mistral-common")
    return (Path(next(iter(spec.submodule_search_locations))) / "data" / "tokenizer.model.v1").read_bytes()


def train(text: Path, prefix: Path, size: int, *, max_line_bytes: int | None = None) -> Path:
    """Train a sentencepiece BPE model of `size` pieces; all settings but the threads are the library's defaults.

    max_line_bytes: longer lines are left out; sentencepiece's own 4,192 if None.
    """
    options: dict[str, Any] = {} if max_line_bytes is None else {"max_sentence_length": max_line_bytes}
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(prefix),
        model_type="bpe",
        vocab_size=size,
        num_threads=n_cores(),
        minloglevel=1,
        **options,
    )
    return prefix.with_name(f"{prefix.name}.model")


def unite(base: bytes, trained: bytes) -> Union:
    """The base with the trained pieces that it lacks after its own, in their order, scored below all of its scores."""
    model, other = _sp_pb2.ModelProto(), _sp_pb2.ModelProto()
    model.ParseFromString(base)
    other.ParseFromString(trained)
    held = {piece.piece for piece in model.pieces}
    lowest = min(piece.score for piece in model.pieces)
    if lowest < LOWEST_SCORE:
        raise BenchError(f"the base has a score of {lowest}, below {LOWEST_SCORE}: new pieces would not come last")
    new = [piece.piece for piece in other.pieces if piece.piece not in held]
    for index, piece in enumerate(new):
        model.pieces.add(piece=piece, score=LOWEST_SCORE - SCORE_STEP * (index + 1), type=_NORMAL)
    return Union(model.SerializeToString(), len(other.pieces) - len(new), len(new))


def train_union(base: bytes, text: Path, folder: Path, n_rows: int, *, max_line_bytes: int) -> tuple[Union, list[int]]:
    """The union with exactly `n_rows` new rows, and the sizes that were trained to find it, the last one taken.

    One piece more in a vocabulary is one new row or none: from below the next size cannot overshoot, from above not
    undershoot, so the search ends at a vocabulary with `n_rows` new pieces and nothing is cut from it.
    """
    size = n_rows + n_rows // 6  # the paper's base holds a seventh of such a vocabulary already
    tried: dict[int, int] = {}
    while size not in tried:
        trained = train(text, folder / f"union-{size}", size, max_line_bytes=max_line_bytes).read_bytes()
        united = unite(base, trained)
        if united.n_new == n_rows:
            return united, [*tried, size]
        tried[size] = united.n_new
        size += n_rows - united.n_new
    raise BenchError(f"no vocabulary has exactly {n_rows:,} pieces that the base lacks; tried (size, new) {tried}")


def count_tokens(model: bytes, text: Path) -> int:
    """Tokens of all lines of `text`."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    threads = n_cores()
    return sum(len(ids) for lines in batches(text, _N_LINES) for ids in processor.encode(lines, num_threads=threads))


def batches(text: Path, n_lines: int) -> Iterator[list[str]]:
    """The documents of a built text, `n_lines` at a time."""
    with text.open(encoding="utf-8", newline="\n") as file:
        lines = (line.removesuffix("\n") for line in file)
        while batch := list(islice(lines, n_lines)):
            yield batch
