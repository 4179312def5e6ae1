"""What a SentencePiece BPE model does to text, as merges: its scores, and the symbols that come before any merge.

sentencepiece takes user-defined symbols out of the normalised text first, from left to right and the longest at each
place; they merge with nothing. Where merges can do the same they do, so that such text needs no other treatment.
"""

from dataclasses import dataclass
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class UserDefined:
    """The user-defined symbols of a model that text can hold.

    single: single characters; merges leave them alone. runs: character -> the longest of its runs, all lengths from two
    on being symbols; merges in front of all others make them. cut_out: all other symbols.
    """

    single: frozenset[str]
    runs: dict[str, int]
    cut_out: tuple[str, ...]

    @property
    def longer(self) -> list[str]:
        """Symbols of two characters or more that text cannot hold without giving them."""
        return [character * 2 for character in self.runs] + list(self.cut_out)


def user_defined(model: Any) -> UserDefined:
    # Spaces are written as ▁ before symbols are looked for, so one that holds a space is never found.
    symbols = [piece.piece for piece in model.pieces if piece.type == USER_DEFINED and " " not in piece.piece]
    known = {piece.piece for piece in model.pieces if piece.type in (NORMAL, USER_DEFINED)}
    lengths: dict[str, set[int]] = {}
    mixed = []
    for symbol in symbols:
        if len(symbol) > 1 and len(set(symbol)) == 1:
            lengths.setdefault(symbol[0], set()).add(len(symbol))
        elif len(symbol) > 1:
            mixed.append(symbol)
    runs = {
        character: max(found)
        for character, found in lengths.items()
        if found == {*range(2, max(found) + 1)}
        and character in known
        # A longer symbol could begin inside a run.
        and not any(character in symbol for symbol in mixed)
    }
    return UserDefined(
        single=frozenset(symbol for symbol in symbols if len(symbol) == 1),
        runs=runs,
        cut_out=tuple(symbol for symbol in symbols if len(symbol) > 1 and symbol[0] * len(symbol) != symbol)
        + tuple(s for s in symbols if len(s) > 1 and s[0] * len(s) == s and s[0] not in runs),
    )


def merges_of(model: Any) -> list[tuple[str, str]]:
    """All merges of a SentencePiece BPE model, in an order that makes tokenizer.json encode as sentencepiece does.

    SentencePiece merges the neighbours whose union has the best score, leftmost first. Every split of a piece into
    two pieces is therefore a merge, ranked by the piece's score. Equal scores (the white-space pieces of Llama 2
    and Mistral, all at -1e9) are merged leftmost first by sentencepiece; ranking them by the length of the left
    part, longest first, gives the same: a run of spaces grows from its left end. User-defined runs grow alike, before
    everything else.
    """
    scores = mergeable(model)
    ranked = []
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            left = piece[:cut]
            if left in scores and (right := piece[cut:]) in scores:
                ranked.append((-score, -cut, cut - len(piece), left, right))
    ranked.sort()
    return _run_merges(user_defined(model)) + [(left, right) for *_, left, right in ranked]


def _run_merges(symbols: UserDefined) -> list[tuple[str, str]]:
    return [
        (character * n, character) for character, longest in symbols.runs.items() for n in range(longest - 1, 0, -1)
    ]


def mergeable(model: Any) -> dict[str, float]:
    """Scores of the pieces that merges can make or take: no user-defined symbol is in them, as none is left in text."""
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    symbols = user_defined(model)
    if not symbols.single and not symbols.longer:
        return scores
    by_beginning: dict[str, list[str]] = {}
    for symbol in symbols.longer:
        by_beginning.setdefault(symbol[:2], []).append(symbol)

    def holds_symbol(piece: str) -> bool:
        return not symbols.single.isdisjoint(piece) or any(
            piece.startswith(symbol, i)
            for i in range(len(piece) - 1)
            for symbol in by_beginning.get(piece[i : i + 2], ())
        )

    return {piece: score for piece, score in scores.items() if not holds_symbol(piece)}


def frozen_ids(model: Any) -> frozenset[int]:
    """Pieces of text that take part in no merge."""
    return frozenset(index for index, piece in enumerate(model.pieces) if piece.type in (USER_DEFINED, UNUSED))
