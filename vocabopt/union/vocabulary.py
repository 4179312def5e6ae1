"""A SentencePiece vocabulary trained apart, and what of it is new to a base.

sentencepiece's BPE trainer puts pieces into a vocabulary in the order in which it merged them, and behind them all
single characters that the coverage asks for; its size is only where it stops (bpe_model_trainer.cc). So the vocabulary
of a smaller size is the first merged pieces of a larger one with the same characters, and one training gives every
size.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vocabopt.errors import BaseTokenizerError, OptionError, RunDirectoryError
from vocabopt.merging.extension import Addition, Scores
from vocabopt.text.utf8 import read_whole
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.sentencepiece_model import NORMAL, SPACE_SYMBOL, is_bpe, parse_any_model


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """pieces: those that text is made of, in the order of their ids. n_other: control, unknown and byte pieces.

    sha256: of the .model file. is_bpe: only then are smaller sizes prefixes.
    """

    pieces: Sequence[str]
    n_other: int
    is_bpe: bool
    sha256: str

    @property
    def size(self) -> int:
        """Pieces in all, as sentencepiece's --vocab_size counts them."""
        return len(self.pieces) + self.n_other

    @property
    def smallest(self) -> int:
        """The smallest size that the same training could have given: single characters are in every size."""
        return self.n_other + sum(len(piece) == 1 for piece in self.pieces)

    def at(self, size: int) -> list[str]:
        """The pieces of the vocabulary of `size`, in the order of their ids."""
        assert self.is_bpe
        assert self.smallest <= size <= self.size
        merged = [piece for piece in self.pieces if len(piece) > 1]
        return merged[: size - self.smallest] + [piece for piece in self.pieces if len(piece) == 1]

    def with_rows(self, base: Tokenizer, n_added: int, *, place: str) -> list[str]:
        """The pieces of the smallest vocabulary that has exactly `n_added` pieces which the base lacks.

        One piece more is one new row or none, so there is one for every number between the ends.

        Raises:
            OptionError: fewer than its characters alone, or more than there are.
        """
        held = base.tokenizer_json["model"]["vocab"]
        is_new = {piece: _spelled(base, piece) not in held for piece in self.pieces}
        n_new = sum(new for piece, new in is_new.items() if len(piece) == 1)
        first, size = n_new, self.smallest
        for new in (new for piece, new in is_new.items() if len(piece) > 1):
            if n_new == n_added:
                break
            n_new += new
            size += 1
        if n_new != n_added:
            raise OptionError(
                f"--size {n_added}: the union of {place} has {first:,} to {n_new:,} new rows. Choose one of these."
            )
        return self.at(size)


_AGAIN = "Sweep into this folder with --method union again."


def read_vocabulary(path: Path, *, sha256: str | None = None) -> Vocabulary:
    """Read a SentencePiece .model of any kind as a list of pieces.

    Args:
        sha256: what the file's must be, where it is that of a run, whose union.json names it.

    Raises:
        OptionError: no such file, or no SentencePiece model.
        RunDirectoryError: the same of a run's file, or it is another than union.json names.
    """
    try:
        data = read_whole(path)
        model = parse_any_model(data, str(path))
    except (OSError, BaseTokenizerError) as error:
        if sha256 is not None:
            raise RunDirectoryError(f"{path}: cannot be read ({error}). {_AGAIN}") from error
        raise OptionError(f"--vocab {path}: no SentencePiece .model could be read there ({error}).") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise RunDirectoryError(f"{path}: is not the vocabulary that union.json was made from. {_AGAIN}")
    pieces = [piece.piece for piece in model.pieces if piece.type == NORMAL]
    return Vocabulary(pieces=pieces, n_other=len(model.pieces) - len(pieces), is_bpe=is_bpe(model), sha256=found)


def union_addition(base: Tokenizer, pieces: Sequence[str], *, scores: Scores, place: str) -> Addition:
    """The pieces that the base lacks, in their order, to be appended.

    Args:
        pieces: as SentencePiece spells them, a space as ▁.
        place: where they come from, for messages.

    Raises:
        OptionError: a piece is spelled like a special token of the base, or `scores` cannot be had with this base.
    """
    if scores == "zero" and not any(original.kind == "tokenizer.model" for original in base.originals):
        raise OptionError(
            f"--scores zero: is about the scores of a SentencePiece model, and {base.name} is not one. Leave it out."
        )
    vocab, special = base.tokenizer_json["model"]["vocab"], {*base.added_contents}
    spelled = [_spelled(base, piece) for piece in pieces]
    if clash := [piece for piece, spelling in zip(pieces, spelled, strict=True) if {piece, spelling} & special]:
        raise OptionError(
            f"{place}: {len(clash)} pieces are spelled like special tokens of {base.name} ({clash[0]!r}, ...): text "
            "would be taken for them. Train the vocabulary without them (sentencepiece: as control symbols, or leave "
            "the lines that hold them out)."
        )
    kept = [piece for piece in dict.fromkeys(spelled) if piece not in vocab]
    texts = [base.piece_bytes(piece) for piece in kept]
    return Addition(method="union", pieces=kept, texts=texts, merges=None, scores=scores)


def _spelled(base: Tokenizer, piece: str) -> str:
    """A piece of SentencePiece, a space as ▁, as the base's tokenizer.json spells it."""
    return base.piece_string(piece.replace(SPACE_SYMBOL, " ").encode())
