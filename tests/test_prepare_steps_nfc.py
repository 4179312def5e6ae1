"""NFC, against Python's unicodedata."""

import sys
import unicodedata

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.preparation.step import DocumentStep
from vocabopt.preparation.steps.repair import MAY_CHANGE, Normalize

# Marks of several combining classes, Jamo of the three kinds, and letters they compose with.
composing = st.text("aeoAｅ가갸한각ᄀᄒ하ᅡᅵᆨᆫᇂ\u0301\u0302\u0323\u0327\u3099かカক\u09be\u09c7Ω豈fi", max_size=12)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def all_characters() -> list[str]:
    """1,112,064 strings, 90 MB: made by the two tests that need them."""
    return [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def normalized(texts: list[str]) -> list[str]:
    outcome = Normalize().load()(pl.Series(texts, dtype=pl.String))
    assert outcome.why.null_count() == len(texts)
    return outcome.texts.to_list()


def test_it_is_a_document_step() -> None:
    assert isinstance(Normalize(), DocumentStep)


@given(composing | any_text)
def test_any_text_becomes_what_unicodedata_makes_of_it(text: str) -> None:
    assert normalized([text, "가"]) == [unicodedata.normalize("NFC", text), "가"]


def test_each_character_becomes_what_unicodedata_makes_of_it() -> None:
    # A character unassigned in Python's Unicode may have been given a decomposition since.
    known = [char for char in all_characters() if unicodedata.category(char) != "Cn"]
    assert normalized(known) == [unicodedata.normalize("NFC", char) for char in known]


def test_the_flag_holds_every_character_that_can_change_a_text() -> None:
    characters = all_characters()
    flagged = dict(zip(characters, pl.Series(characters).str.contains(MAY_CHANGE), strict=True))
    for char in characters:
        decomposed = unicodedata.normalize("NFD", char)
        if unicodedata.combining(char) or unicodedata.normalize("NFC", char) != char:
            assert flagged[char], hex(ord(char))
        elif len(decomposed) > 1:  # what follows the first character of a composite is what composes
            assert all(flagged[part] for part in decomposed[1:]), hex(ord(char))


def test_korean_in_the_form_of_macos_becomes_syllables_and_ascii_is_the_same_column() -> None:
    text = "값이 올라서 걱정이다. café"
    assert unicodedata.normalize("NFD", text) != text
    assert normalized([unicodedata.normalize("NFD", text)]) == [text]
    ascii_texts = pl.Series(["plain"])
    assert Normalize().load()(ascii_texts).texts is ascii_texts


def test_compatibility_characters_stay() -> None:
    assert normalized(["ＡＢＣ ﬁ ㈜ ㄱㄴ"]) == ["ＡＢＣ ﬁ ㈜ ㄱㄴ"]
