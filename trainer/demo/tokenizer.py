"""The tokenizer of a demo base: SentencePiece BPE with byte fallback, as the paper's base SOLAR and its kin have it."""

import io
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sentencepiece

from vocabopt.errors import OptionError
from vocabopt.merge.export import merged_files
from vocabopt.merge.extension import Addition
from vocabopt.tokenizer import Base, load_base

#: As Llama's and Mistral's: digits alone, text as it is, and every byte a piece.
SETTINGS: Mapping[str, Any] = {
    "model_type": "bpe",
    "byte_fallback": True,
    "split_digits": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    # Characters rarer than that are spelled in bytes.
    "character_coverage": 0.9995,
    # Longer documents are left out silently otherwise.
    "max_sentence_length": 1 << 30,
    "minloglevel": 2,
}
_NOTHING = Addition(method="grow", pieces=(), texts=(), merges=(), details=())


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> bytes:
    """A SentencePiece model file of `vocab_size` tokens; the same text in the same order gives the same bytes.

    Raises:
        OptionError: the text does not give so many, or its characters need more.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(documents), model_writer=model, vocab_size=vocab_size, **SETTINGS
        )
    except RuntimeError as error:
        raise OptionError(
            f"--vocab-size {vocab_size}: sentencepiece cannot train it on this text ({error}). Name another size, or "
            "give more text."
        ) from error
    return model.getvalue()


def base_of_model(data: bytes) -> Base:
    """The base tokenizer that a SentencePiece model file makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(data)
        return load_base(str(path))


def tokenizer_files(base: Base) -> dict[str, bytes]:
    """tokenizer.json, tokenizer_config.json and tokenizer.model, as a merge writes them, with nothing added."""
    return merged_files(base, _NOTHING, base)
