"""Mending of text read in the wrong encoding: real codecs do the damage; clean text of ten languages must not move."""

import gzip
import json
import unicodedata
from pathlib import Path

import ftfy.bad_codecs  # noqa: F401  (registers sloppy-windows-1252: every byte is a character, as browsers read it)
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vocabopt.errors import OptionError, VocaboptError
from vocabopt.preparation.step import DocumentStep
from vocabopt.preparation.steps.repair import Repair

KOREAN = """
    아침에 창문을 열면 바람이 들어온다 나는 오늘도 학교에 갑니다 그리고 저녁에는 책을 읽었다 대한민국의 수도는 서울이다
    정말 좋았어요 다음 주에 다시 만나자 회의는 세 시에 시작한다 값이 올라서 걱정이다
"""
CLEAN = """
    大韓民國 漢字 東京 家의 樂園 女子 l’été forêt naïve cœur Ça où déjà Noël ÉCOLE À Straße größer Ähre MÜSSEN ÖL Übung
    não AÇÃO INFORMAÇÕES AMANHÃ IRMÃ pães Ã avô São ¿Qué? ¡Así! señor AÑO Đây Việt NƯỚC Łódź żółć smørrebrød ÅÄÖ Æsop
    «à» “quote” ‘it’ — … 37°C ±3 ×2 ½ ·· ···· °°° €5 £3 §12 ®© ㅋㅋㅋ 1998-2003 don't &amp; ﬁn ＡＢＣ
"""
WORDS_KO = KOREAN.split()
WORDS_CLEAN = WORDS_KO + CLEAN.split()
korean = st.lists(st.sampled_from(WORDS_KO), min_size=4, max_size=12, unique=True).map(" ".join)
clean = st.tuples(
    st.lists(st.sampled_from(WORDS_CLEAN), max_size=14), st.sampled_from([" ", "\n", "\xa0", ", ", "\t", "… ", "» "])
).map(lambda parts: parts[1].join(parts[0]))


def mended(*texts: str, step: Repair | None = None) -> list[str]:
    series = pl.Series(texts, dtype=pl.String)
    outcome = (step or Repair()).load()(series)
    assert outcome.why.null_count() == len(texts)
    return outcome.texts.to_list()


def misread(text: str, encoding: str, as_if: str) -> str:
    return text.encode(encoding).decode(as_if)


def test_it_is_a_document_step() -> None:
    assert isinstance(Repair(), DocumentStep)


@given(korean, st.sampled_from(["latin-1", "sloppy-windows-1252"]), st.integers(1, 2))
def test_korean_utf8_read_as_latin_comes_back_even_when_done_twice(text: str, as_if: str, times: int) -> None:
    damaged = text
    for _ in range(times):
        damaged = misread(damaged, "utf-8", as_if)
    assert mended(damaged) == [text]


@given(korean, st.sampled_from(["latin-1", "sloppy-windows-1252"]))
def test_korean_cp949_read_as_latin_comes_back(text: str, as_if: str) -> None:
    assert mended(misread(text, "cp949", as_if)) == [text]


@given(korean)
def test_korean_utf8_read_as_cp949_comes_back_wherever_no_byte_was_lost(text: str) -> None:
    words = []
    for word in text.split(" "):
        try:
            damaged = misread(word, "utf-8", "cp949")
        except UnicodeDecodeError:  # a program that reads on leaves a question mark: that word is lost
            continue
        words.append((damaged, word))
    for damaged, word in words:
        assert mended(damaged) == [word]


def test_known_cases_are_mended() -> None:
    assert mended("ÇÑ±Û ¹®¼\xad´Â 1998³â¿¡") == ["한글 문서는 1998년에"]
    assert mended("media 窓: 諛붾엺") == ["media 窓: 바람"]
    assert mended("donâ€™t stop") == ["don’t stop"]
    assert mended("\x93quoted\x94 \x96 words") == ["“quoted” – words"]


def test_a_capital_at_the_end_of_a_word_is_left_alone_and_inside_it_is_mended() -> None:
    assert mended("AMANHÃ» NÔ", "MAÃ‘ANA", "37Â°C", "maÃ±ana") == ["AMANHÃ» NÔ", "MAÑANA", "37°C", "mañana"]


def test_two_kinds_of_damage_are_told_apart() -> None:
    twice = misread(misread("배우", "utf-8", "sloppy-windows-1252"), "utf-8", "sloppy-windows-1252")
    assert mended(f"2013년 {twice}와 만나자") == ["2013년 배우와 만나자"]
    assert mended(misread("엄청웃겨요 ㅋㅋㅋ ~~~", "cp949", "latin-1")) == ["엄청웃겨요 ㅋㅋㅋ ~~~"]
    assert mended(f"각 {misread('민족', 'utf-8', 'cp949')} 고유의") == ["각 민족 고유의"]


def test_only_the_damaged_line_changes() -> None:
    good, line = "값은 ½입니다. café “둘” &amp; ﬁn ＡＢＣ", "회의는 세 시에 시작한다"
    text = "\n".join([good, misread(line, "utf-8", "sloppy-windows-1252"), "", good])
    assert mended(text) == ["\n".join([good, line, "", good])]


def test_a_syllable_alone_is_mended_in_a_damaged_line() -> None:
    line = "정말 " + misread("아침에 바람이 들어온다, 1998년 끝", "utf-8", "sloppy-windows-1252")
    assert mended(line) == ["정말 아침에 바람이 들어온다, 1998년 끝"]


def test_a_lost_byte_costs_its_word_and_no_other() -> None:
    damaged = misread("대한민국의 수도는 서울이다", "cp949", "latin-1")
    first, second, third = damaged.split(" ")
    assert mended(f"{first} {second[:-1]} {third}") == [f"대한민국의 {second[:-1]} 서울이다"]


@given(clean)
@example("AÇÃO INFORMAÇÕES")
@example("INFORMAÇÕES» °°°» 아침에")
@example("°°°°°»")
@example("AMANHÃ É")
@example("°°····±±")
@example("AMANHÃ\xa0É «IRMÃ» “MAÇÔ")
@example("así…»")
@example("家의 고")
def test_clean_text_comes_through_unchanged(text: str) -> None:
    assert mended(text) == [text]


@given(st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)) | st.text("가나다家國人民 .,\n", max_size=40))
def test_hangul_and_hanja_in_any_order_come_through_unchanged(text: str) -> None:
    assert mended(text) == [text]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_no_control_character_is_left_but_tab_and_line_feed(text: str) -> None:
    (kept,) = mended(text)
    assert {char for char in kept if unicodedata.category(char) == "Cc"} <= {"\t", "\n"}


def test_what_ends_a_line_becomes_a_line_feed_and_colours_go() -> None:
    assert mended("\ufeff가\r\n나\r다\x0c라\x00마\t\x1b[36;44m바\x1b[0m") == ["가\n나\n다\n라마\t바"]
    assert mended("we\ufeff—", "") == ["we\ufeff—", ""]


def test_keep_leaves_control_characters() -> None:
    assert mended("가\x00나\r\n다", step=Repair(control_characters="keep")) == ["가\x00나\r\n다"]


def test_another_value_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^\[repair\] control_characters 'drop': must be one of remove, keep\.$"):
        Repair(control_characters="drop")


def test_without_ftfy_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ftfy", None)
    with pytest.raises(VocaboptError, match=r"\[repair\] needs ftfy .*pip install .*'\.\[prepare\]'"):
        Repair().load()


@pytest.mark.data
@pytest.mark.parametrize("folder", ["ko_wiki", "en_wiki"])
def test_an_encyclopedia_comes_through_unchanged(data: Path, folder: str) -> None:
    (path,) = (data / folder).glob("*.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = pl.Series([json.loads(line)["text"] for line, _ in zip(file, range(20_000), strict=False)])
    assert (Repair().load()(texts).texts != texts).sum() == 0
