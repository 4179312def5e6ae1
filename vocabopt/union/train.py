"""Training a SentencePiece BPE vocabulary on the chunks that a sweep counted: once, at the largest size asked for.

The trainer works on words and their counts, whatever lines they stood in (sentencepiece, trainer_interface.cc,
SplitSentencesByWhitespace; bpe_model_trainer.cc). So unique chunks with their counts give the vocabulary that the
documents would give, of the same documents that the curve was grown on, and no line is left out silently for being
longer than 4,192 bytes or holding a tab.
"""

import re
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import sentencepiece
from numpy.typing import NDArray

from vocabopt.errors import OptionError
from vocabopt.growth.counts import ChunkCounts

#: All that differs from sentencepiece's defaults, and the default that decides which characters are in.
SETTINGS: Mapping[str, Any] = {
    "model_type": "bpe",
    "character_coverage": 0.9995,
    # The base normalises as it does; the chunks are as it sees them, their spaces included.
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    # At the end of the text the vocabulary is as large as it gets.
    "hard_vocab_limit": False,
}
#: Characters that the trainer keeps for itself, or that end a line: what is between them is trained on.
_RESERVED = r"[\t\n\r\x00\u2581\u2585]"
_POLL_SECONDS = 0.1


def train(counts: ChunkCounts, weight: NDArray[np.int64], size: int) -> bytes:
    """Train a vocabulary of `size` pieces, or as many as the text gives.

    Args:
        weight: int64 [n_chunks], how often each chunk counts.

    Returns:
        The SentencePiece model file.

    Raises:
        OptionError: `size` is too small for the characters of the text.
    """
    with tempfile.TemporaryDirectory(prefix="vocabopt-union-") as folder:
        text, prefix = Path(folder) / "chunks.tsv", Path(folder) / "trained"
        _write_chunks(text, counts, weight)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                sentencepiece.SentencePieceTrainer.train(
                    input=str(text),
                    input_format="tsv",
                    model_prefix=str(prefix),
                    vocab_size=size,
                    max_sentence_length=1 << 30,
                    minloglevel=2,
                    **SETTINGS,
                )
            except (RuntimeError, OSError) as error:
                failures.append(error)

        # In a thread, so that Ctrl-C is heard.
        thread = threading.Thread(target=work, name="sentencepiece", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
        if failures:
            raise OptionError(
                f"--method union: sentencepiece could not train a vocabulary of {size:,} pieces ({failures[0]}). Name "
                "other --sizes."
            ) from failures[0]
        return prefix.with_suffix(".model").read_bytes()


def _write_chunks(path: Path, counts: ChunkCounts, weight: NDArray[np.int64]) -> None:
    """A line a chunk: its text, a tab, its count. In order of the text, not of the input."""
    frame = pl.DataFrame({"chunk": counts.texts(), "n": weight}).lazy().filter(pl.col("n") > 0)
    parts = (
        frame.with_columns(pl.col("chunk").str.replace_all(_RESERVED, "\n").str.split("\n"))
        .explode("chunk")
        .filter(pl.col("chunk").str.len_bytes() > 0)
        .group_by("chunk")
        .agg(pl.col("n").sum())
        .sort("chunk")
    )
    parts.select(pl.concat_str("chunk", pl.lit("\t"), "n")).collect().write_csv(
        path, include_header=False, quote_style="never"
    )


def unsupported_piece(pieces: Iterable[str]) -> str | None:
    """A piece with a space or a line end beside another character: chunks end there, so it would not be counted."""
    return next((piece for piece in pieces if re.search(r"[^▁]▁|.\n|\n.", piece, re.DOTALL)), None)
