"""Rows freed: an example worked by hand, random bases beside plain re-encoding, and what may never be freed."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from helpers import Counted, base_of, toy_sentencepiece, train_byte_level, train_sentencepiece
from swap_reference import ReferenceFreeing

from vocabopt.swap.freeing import Freed, free, may_be_freed, units_of
from vocabopt.text.sets import TRAIN
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.families import spelled

#: In the order of their ranks and of the ids of what they make.
TEN_MERGES = [
    ("a", "b"), ("c", "d"), ("ab", "cd"), ("d", "e"), ("b", "c"),
    ("cd", "e"), ("bc", "de"), ("a", "bcde"), ("e", "a"), ("ab", "c"),
]  # fmt: skip


def base_with(merges: Sequence[tuple[str, str]], characters: str) -> Tokenizer:
    """A SentencePiece-style base of these characters and merges."""
    pieces = dict.fromkeys(left + right for left, right in merges)
    value = toy_sentencepiece(characters, *pieces)
    value["model"]["merges"] = [list(pair) for pair in merges]
    return base_of(value)


def freed_of(base: Tokenizer, documents: Sequence[str], may_go: np.ndarray[Any, Any], n_wanted: int) -> Freed:
    """Rows freed on documents of one text set, each token of which costs 1."""
    counted = Counted.of(base, {TRAIN: documents})
    return free(base, counted.counts, counted.counts.weights()[:, 0], may_go, n_wanted)


def only(base: Tokenizer, *pieces: str) -> np.ndarray[Any, Any]:
    return np.array([base.spelling.get(index) in pieces for index in range(base.n_tokens)])


def listed(base: Tokenizer, freed: Freed) -> list[tuple[str, int]]:
    return [(base.spelling[row], cost) for row, cost in zip(freed.ids.tolist(), freed.costs.tolist(), strict=True)]


# --- An example worked by hand ----------------------------------------------------------------------------------------


def test_a_freed_row_lets_its_neighbours_merge_otherwise_as_worked_by_hand() -> None:
    """Ten times abcde, which is abcd e; and three times eab, which is e ab.

    abc goes first: no text has it, and of the rows that cost nothing it has the highest id. Without abcd the text is
    ab cd e, and now cd and e meet: ab cde, again two tokens, so abcd costs nothing either. Then ab is no part of a kept
    merge any more. Without it abcde is a b cde, one token more each time; eab would be e a b, but e and a meet: ea b.
    """
    base = base_with(TEN_MERGES, "abcde")
    freed = freed_of(base, ["abcde"] * 10 + ["eab"] * 3, only(base, "abcd", "abc", "ab"), 3)
    assert listed(base, freed) == [("abc", 0), ("abcd", 0), ("ab", 10)]


def test_a_freed_row_can_save_tokens_as_worked_by_hand() -> None:
    """Ten times abcde and four times bcde, which is b cde.

    Without abcd: ab cde, nothing lost. Without cde: ab cd e and b cd e, a token more each of 14 times. Without cd the
    first is abc de, and the second, for the first time, bc de and so bcde: 10 and twice 4 tokens fewer.
    """
    base = base_with(TEN_MERGES, "abcde")
    freed = freed_of(base, ["abcde"] * 10 + ["bcde"] * 4, only(base, "abcd", "cde", "cd"), 3)
    assert listed(base, freed) == [("abcd", 0), ("cde", 14), ("cd", -18)]


def test_what_stands_in_for_a_row_is_counted_again_when_it_goes_as_worked_by_hand() -> None:
    """abcd costs nothing while cde stands in for it (abcde -> ab cde), and 10 tokens once that is gone.

    cde goes first: it costs nothing too, and has the higher id.
    """
    base = base_with(TEN_MERGES, "abcde")
    freed = freed_of(base, ["abcde"] * 10, only(base, "abcd", "cde"), 2)
    assert listed(base, freed) == [("cde", 0), ("abcd", 10)]


def test_a_character_without_its_row_takes_its_bytes() -> None:
    base = base_with([("a", "b")], "ab한é")
    freed = freed_of(base, ["ab 한"] * 5 + ["é"] * 4, may_be_freed(base), 9)
    assert listed(base, freed) == [("é", 4), ("ab", 5), ("한", 10)]


# --- Random bases beside plain re-encoding ----------------------------------------------------------------------------


def random_base(generator: random.Random, characters: str, n_merges: int) -> list[tuple[str, str]]:
    """Merges of any two pieces that there are, no piece twice."""
    pieces, merges = [*characters], []
    while len(merges) < n_merges:
        left, right = generator.choice(pieces), generator.choice(pieces)
        if left + right not in pieces and len(left + right) <= 6:
            pieces.append(left + right)
            merges.append((left, right))
    return merges


@pytest.mark.parametrize("seed", range(60))
def test_random_rows_are_freed_as_encoding_everything_again_says(seed: int) -> None:
    generator = random.Random(seed)
    characters = "abcd가"
    merges = random_base(generator, characters, 30)
    base = base_with(merges, characters)
    documents = ["".join(generator.choices("abcd가é ", k=generator.randint(1, 12))) for _ in range(60)]
    documents = [text for text in documents if text.strip()]
    chosen = {left + right for left, right in merges if generator.random() < 0.9} | {"가"}
    counted = Counted.of(base, {TRAIN: documents})
    weight = counted.counts.weights()[:, 0] * generator.randint(1, 3)
    freed = free(base, counted.counts, weight, only(base, *chosen), 25)
    texts, weights = units_of(base, counted.counts, weight)
    units = dict(zip(texts.to_list(), weights.tolist(), strict=True))
    reference = ReferenceFreeing(units, merges, base.vocab, chosen)
    reference.free(25)
    assert listed(base, freed) == list(zip(reference.freed, reference.costs, strict=True))
    # The units are cut where no merge crosses: whole chunks give the same numbers.
    whole = ReferenceFreeing(chunks_of(counted, weight), merges, base.vocab, chosen)
    whole.free(25)
    assert (whole.freed, whole.costs) == (reference.freed, reference.costs)


def chunks_of(counted: Counted, weight: np.ndarray[Any, Any]) -> Mapping[str, int]:
    texts = counted.counts.texts().str.replace_all(" ", "▁").to_list()
    return dict(zip(texts, weight.tolist(), strict=True))


def test_rows_of_trained_bases_are_freed_as_encoding_everything_again_says() -> None:
    lines = [
        f"{word} and {word}s of {word[::-1]}" for word in ("kernel", "shell", "tokens", "merges", "한국어", "말뭉치")
    ]
    for value in (train_byte_level(lines, 330), train_sentencepiece(lines, 330, character_coverage=1.0)):
        base = base_of(value)
        counted = Counted.of(base, {TRAIN: lines})
        weight = counted.counts.weights()[:, 0]
        freed = free(base, counted.counts, weight, may_be_freed(base), 40)
        assert len(freed.ids) == 40
        assert not freed.n_odd_units
        texts, weights = units_of(base, counted.counts, weight)
        spelling = [spelled(text.encode()) if base.is_byte_level else text for text in texts]
        merges = [(left, right) for left, right in base.tokenizer_json["model"]["merges"]]
        chosen = {base.spelling[row] for row in np.flatnonzero(may_be_freed(base)).tolist()}
        reference = ReferenceFreeing(dict(zip(spelling, weights.tolist(), strict=True)), merges, base.vocab, chosen)
        reference.free(40)
        assert listed(base, freed) == list(zip(reference.freed, reference.costs, strict=True))


# --- What may never be freed ------------------------------------------------------------------------------------------


def test_special_tokens_bytes_and_single_bytes_are_never_freed(llama_like: Tokenizer, gpt2_like: Tokenizer) -> None:
    for base in (llama_like, gpt2_like):
        may_go = may_be_freed(base)
        kept = [base.spelling[index] for index in range(base.n_tokens) if not may_go[index]]
        texts = [base.texts.get(index, b"") for index in range(base.n_tokens)]
        assert {*base.added_contents} <= {*kept}
        assert all(len(texts[index]) > 1 for index in np.flatnonzero(may_go))
        # Any byte of any text can still be written.
        n_bytes = sum(piece.startswith("<0x") for piece in kept)
        assert n_bytes == 256 or {bytes([byte]) for byte in range(256)} <= {*texts}


def test_a_user_defined_symbol_is_never_freed_and_text_with_it_has_no_part_in_the_order() -> None:
    lines = ["the <sep> of the <sep> and the rest of the text"] * 20
    base = base_of(train_sentencepiece(lines, 300, user_defined_symbols=["<sep>"]))
    may_go = may_be_freed(base)
    assert not may_go[base.vocab["<sep>"]]
    freed = freed_of(base, lines, may_go, 10)
    assert base.vocab["<sep>"] not in freed.ids
