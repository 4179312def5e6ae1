"""Is the tokenizer.json that a SentencePiece model becomes the same tokenizer? sentencepiece is asked, on hard text.

What is compared at load: text on which tokenizers go wrong, the model's user-defined symbols in many places, and text
made of the model's own pieces wherever its scores leave open what merges do. A sweep adds a sample of its own text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import tokenizers

from vocabopt.errors import BaseTokenizerError, quoted, tell
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.tokenizer.sentencepiece_model import (
    SPACE_SYMBOL,
    UNUSED,
    USER_DEFINED,
    mergeable,
    processor_of,
    read_model,
    to_tokenizer_json,
    untied_model,
    user_defined,
)
from vocabopt.tokenizer.tokenizer import Tokenizer

_BATCH_TEXTS = 10_000
_MAX_SHOWN = 60
#: A character that few models have a piece for, and none a longer one: nothing merges with its bytes.
_BREAK = "\x01"


@dataclass(frozen=True)
class Difference:
    """A text that sentencepiece and tokenizer.json encode otherwise, and the pieces of both."""

    text: str
    by_model: list[str]
    by_json: list[str]

    def sentence(self) -> str:
        """The text, and where the two part."""
        pairs = enumerate(zip(self.by_model, self.by_json, strict=False))
        n_same = next((i for i, (one, other) in pairs if one != other), 0)
        one, other = (
            " ".join(map(repr, pieces[max(n_same - 1, 0) : n_same + 4])) for pieces in (self.by_model, self.by_json)
        )
        return f"{quoted(self.text, _MAX_SHOWN)} is {one} to sentencepiece and {other} to tokenizer.json"


def differences(tokenizer: tokenizers.Tokenizer, data: bytes, texts: Iterable[str]) -> Iterator[Difference]:
    """The texts that `tokenizer` encodes otherwise than sentencepiece with the model `data`.

    Names of control pieces are text to sentencepiece, and here to the tokenizer as well: they are compared, too.
    """
    processor = processor_of(data)
    rest = iter(texts)
    while batch := list(islice(rest, _BATCH_TEXTS)):
        expected = processor.encode(batch, num_threads=-1)
        for text, one, other in zip(batch, expected, ids_with_names_as_text(tokenizer, batch), strict=True):
            if one != other:
                yield Difference(
                    text, processor.id_to_piece(one), [tokenizer.id_to_token(index) or "" for index in other]
                )


def ids_with_names_as_text(tokenizer: tokenizers.Tokenizer, texts: list[str]) -> list[list[int]]:
    """Ids of texts in which names of special tokens are text like any other."""
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    finally:
        tokenizer.encode_special_tokens = before


def settled(base: Tokenizer, place: str) -> Tokenizer:
    """Compare a base that was read from a model with it, on everything that is known before any text is.

    Where pieces that share a score meet in text, sentencepiece merges the leftmost first, whichever piece it is, and
    merges of tokenizer.json go by their rank: of two pieces that can each come first, as ab and ba in aba and bab, the
    one or the other is wrong. If nothing else sets the two apart, tokenizer.json is what is counted, and what
    transformers and the programs behind it load; the model is not written again.

    Returns:
        The base; one `has_ties` where only ties set it apart from its model.

    Raises:
        BaseTokenizerError: a text is encoded otherwise for another reason; it is in the message.
    """
    if (found := _first_difference(base)) is None:
        return base
    assert base.sentencepiece_model is not None
    data = untied_model(base.sentencepiece_model)
    files = tuple(replace(form, data=data) for form in base.files)
    apart = replace(base, tokenizer_json=to_tokenizer_json(read_model(data)), files=files)
    if _first_difference(apart) is not None:
        _refuse(found, place)
    tell(
        f"ties {place}",
        f"{place}: pieces that share a score meet in text: {found.sentence()}. No tokenizer.json can do what "
        "sentencepiece does there. Counts are those of tokenizer.json, and tokenizer.model is not written again.",
    )
    files = tuple(replace(form, has_same_ids=False) for form in base.files)
    return replace(base, written="tokenizer.json", has_ties=True, files=files)


def _first_difference(base: Tokenizer) -> Difference | None:
    assert base.sentencepiece_model is not None
    model = read_model(base.sentencepiece_model)
    merges = [(left, right) for left, right in base.tokenizer_json["model"]["merges"]]
    own = (f"{_BREAK}{text.replace(SPACE_SYMBOL, ' ')}" for text in dict.fromkeys(doubtful_texts(model, merges)))
    return base_difference(base, chain(hard_strings(), symbol_texts(model), own))


def by_model(base: Tokenizer, texts: Sequence[str]) -> tuple[int, int]:
    """How many texts sentencepiece encodes otherwise than the tokenizer.json of a base that `has_ties`, and its tokens
    of all of them. Names of control pieces are text in both."""
    expected = processor_of(base.forms["tokenizer.model"]).encode(list(texts), num_threads=-1)
    found = ids_with_names_as_text(base.full, list(texts))
    return sum(one != other for one, other in zip(expected, found, strict=True)), sum(map(len, expected))


def base_difference(base: Tokenizer, texts: Iterable[str]) -> Difference | None:
    """The first text that the base's tokenizer.json encodes otherwise than its SentencePiece model; None for none."""
    assert base.sentencepiece_model is not None
    foreign = foreign_tokens(base)
    judged = (text for text in texts if not any(content in text for content in foreign))
    return next(differences(base.full, base.sentencepiece_model, judged), None)


def foreign_tokens(base: Tokenizer) -> list[str]:
    """Added tokens of a folder that its SentencePiece model does not know."""
    return [content for content in base.added_contents if content not in base.model_pieces]


def check_text(base: Tokenizer, texts: Iterable[str]) -> str | None:
    """Compare a base with its SentencePiece model on some of the text that it is for.

    Returns:
        Of a base that has a tokenizer.json of its own, a sentence on how the two differ, if they do on these texts or
        the built-in ones; else None.

    Raises:
        BaseTokenizerError: a base that was read from the model differs from it.
    """
    if base.sentencepiece_model is None:
        return None
    if base.written == "tokenizer.model":
        _refuse(base_difference(base, texts), base.source)
        return None
    if (found := base_difference(base, chain(texts, hard_strings()))) is None:
        return None
    return (
        f"{base.name}: its tokenizer.model is not its tokenizer.json: {found.sentence()}. What is counted is "
        "tokenizer.json."
    )


def _refuse(found: Difference | None, place: str) -> None:
    if found is not None:
        raise BaseTokenizerError(
            f"{place}: no tokenizer.json encodes as this model does: {found.sentence()}. Pass the tokenizer.json that "
            "its publisher gives with it."
        )


def doubtful_texts(model: Any, merges: Iterable[Sequence[str]]) -> Iterator[str]:
    """Texts made of the model's own pieces on which its merges could take another way than sentencepiece.

    sentencepiece merges pieces of equal score from left to right; merges go by their rank. So: three neighbours of
    which both pairs merge with one score, and four of which the two outer pairs do, where what one gives merges with
    the other's part before that is made. Pieces of characters that are no pieces, which sentencepiece joins all the
    same. And what a piece marked UNUSED, which sentencepiece builds and takes apart again, keeps its neighbours from.
    """
    scores = mergeable(model)
    characters = {piece for piece in scores if len(piece) == 1}
    yield from (piece for piece in scores if len(piece) > 1 and not characters.issuperset(piece))
    n_pieces = Counter(scores.values())
    # Few scores leave anything open, so that lists are made for those alone.
    is_open = {score for score, n in n_pieces.items() if n > 1}
    from_left: dict[str, list[str]] = {}
    from_right: dict[str, list[str]] = {}
    for left, right in merges:
        piece = left + right
        if (score := scores.get(piece)) is None:
            continue
        if piece.startswith(right):
            is_open.add(score)
        # A piece whose score is no better than that of one made of it: where all scores fall there is none.
        if len(left) > 1 and score >= scores[left]:
            from_left.setdefault(left, []).append(right)
            is_open.add(scores[left])
        if len(right) > 1 and score >= scores[right]:
            from_right.setdefault(right, []).append(left)
            is_open.add(scores[right])
    by_score: dict[float, list[tuple[str, str]]] = {}
    for left, right in merges:
        if (score := scores.get(left + right)) in is_open:
            by_score.setdefault(score, []).append((left, right))
    for pairs in by_score.values():
        rights: dict[str, list[str]] = {}
        lefts: dict[str, list[str]] = {}
        for left, right in pairs:
            rights.setdefault(left, []).append(right)
            lefts.setdefault(right, []).append(left)
        for left, right in pairs:
            yield from (left + right + third for third in rights.get(right, ()))
            for third in from_left.get(left + right, ()):
                yield from (left + right + third + fourth for fourth in rights.get(third, ()))
            for third in from_right.get(left + right, ()):
                yield from (fourth + third + left + right for fourth in lefts.get(third, ()))
    yield from _around_unused(model, merges)


def _around_unused(model: Any, merges: Iterable[Sequence[str]]) -> Iterator[str]:
    unused = {piece.piece for piece in model.pieces if piece.type == UNUSED}
    if not unused:
        return
    known = {*mergeable(model), *unused}
    concerned = {piece for piece in known if len(piece) > 1 and any(part in piece for part in unused)}
    every_cut = {piece: [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))] for piece in concerned}
    cuts = {piece: [pair for pair in pairs if known.issuperset(pair)] for piece, pairs in every_cut.items()}
    parts = {part for piece in unused & concerned for pair in cuts[piece] for part in pair}
    after = {part: [right for left, right in merges if left == part] for part in parts}
    before = {part: [left for left, right in merges if right == part] for part in parts}
    for piece in sorted(concerned):
        if piece not in unused:
            yield piece
            continue
        for left, right in cuts[piece]:
            yield piece
            yield from (piece + more for more in after[right])
            yield from (more + piece for more in before[left])


def symbol_texts(model: Any) -> Iterator[str]:
    """User-defined symbols alone, side by side, and in text."""
    symbols = [piece.piece for piece in model.pieces if piece.type == USER_DEFINED]
    for i, symbol in enumerate(symbols):
        other = symbols[i - 1]
        yield from (symbol, f"x{symbol}y", f" {symbol} z", f"{symbol}{other} {symbol}가", f"{symbol[:-1]} {symbol * 3}")
    for character, longest in user_defined(model).runs.items():
        written = " " if character == SPACE_SYMBOL else character
        yield from (written * n + end for n in range(1, 2 * longest + 3) for end in ("", "a", "가", "\n"))
