"""Lines of boilerplate: what a page shows around its text goes, text about the same things stays."""

import re

import polars as pl
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.errors import OptionError
from vocabopt.preparation.step import DocumentStep
from vocabopt.preparation.steps.lines import ALL_RULES, Lines

GOOD = "아침에 창문을 열자 바람이 들어왔다."


def outcome_of(step: Lines, *texts: str) -> list[tuple[str | None, str | None]]:
    outcome = step.load()(pl.Series(texts, dtype=pl.String))
    return list(zip(outcome.texts, outcome.why, strict=True))


def test_it_is_a_document_step() -> None:
    assert isinstance(Lines(), DocumentStep)


BOILERPLATE = {
    "markup": [
        "<div class='x'>",
        "본문입니다<br/>",
        "{| class=wikitable",
        "</p>",
        "<!-- 광고 -->",
        '<a href="x">여기</a>',
    ],
    "javascript": [
        "Please enable JavaScript to view this page.",
        "JavaScript must be enabled",
        "자바스크립트를 활성화해 주세요.",
        "이 브라우저는 JavaScript를 지원하지 않습니다.",
        "javascript:goPage(3)",
    ],
    "cookies": ["이 사이트는 쿠키를 사용합니다", "We use cookies to improve this page.", "Cookie settings"],
    "notice": [
        "저작권자 ⓒ 새벽신문, 무단 전재 및 재배포 금지",
        "무단전재 및 재배포를 금합니다",
        "Copyright 2020 Dawn Inc. All rights reserved.",
        "<ⓒ 새벽뉴스, 무단 전재-재배포, AI 학습 및 활용 금지>",
    ],
    "contact": ["기사제보 02-123-4567", "김새벽 기자 dawn@example.co.kr", "dawn@example.com", "[EMAIL]", "김새벽 기자"],
    "navigation": [
        "홈 | 로그인 | 회원가입 | 사이트맵",
        "홈 > 뉴스 > 정치",
        "목록 이전글 다음글",
        "공유하기 · 인쇄 · 글자크기",
        "Home / About us / Contact",
        "본문 바로가기",
        "댓글 3 | 추천 12 | 조회 1,204",
    ],
}


@pytest.mark.parametrize(("rule", "line"), [(rule, line) for rule, lines in BOILERPLATE.items() for line in lines])
def test_boilerplate_goes_and_the_text_around_it_stays(rule: str, line: str) -> None:
    assert outcome_of(Lines(), f"{GOOD}\n{line}\n{GOOD}") == [(f"{GOOD}\n{GOOD}", f"1 of 3 lines: 1 {rule}")]
    assert outcome_of(Lines(), line) == [(None, f"1 of 1 lines: 1 {rule}")]
    others = Lines(rules=[other for other in ALL_RULES if other != rule], max_symbol_share=None)
    assert outcome_of(others, line) == [(line, None)]


@pytest.mark.parametrize(
    "line",
    [
        *[
            "자바스크립트를 배우고 싶다.",
            "JavaScript is a language.",
            "쿠키를 구워 먹었다.",
            "쿠키 사용 여부를 묻는다.",
        ],
        *["무단으로 복제한 사람은 벌을 받는다.", "저작권자는 권리를 갖는다.", "그 기자는 다음 날 떠났다.", "좋아요"],
        *[
            "김 기자는 이메일을 보냈다.",
            "홈런을 쳤다.",
            "다음",
            "a < b 이고 b > c 이다.",
            "R&amp;B 가수",
            "p < 0.05였다.",
        ],
        *[
            "문의는 dawn@example.com으로 하면 된다.",
            "1,234.5 (+0.3%)",
            "1998-2003",
            "웃기다ㅋㅋㅋㅋㅋㅋ",
            "정말 최고.....",
        ],
        *["List<String> names", "세금과 이전 소득, 다음 해의 검색량", "로그인", "Next year we share more."],
    ],
)
def test_text_about_these_things_stays(line: str) -> None:
    assert outcome_of(Lines(), line) == [(line, None)]


def test_a_long_line_is_no_boilerplate() -> None:
    line = (
        "무단 전재 및 재배포 금지라는 문구는 " + "신문 기사의 끝에서 자주 볼 수 있는 말인데, " * 5 + "그 뜻은 이렇다."
    )
    assert len(line) > 120
    assert outcome_of(Lines(), line) == [(line, None)]
    assert outcome_of(Lines(max_boilerplate_chars=500), line) == [(None, "1 of 1 lines: 1 notice")]


@given(
    st.text("가a1 \t.!~|\u0301😀", max_size=20).filter(lambda line: line.strip() != ""),
    st.sampled_from([0, 0.3, 0.6, 1]),
)
def test_symbols_are_what_is_no_letter_mark_digit_or_space(line: str, limit: float) -> None:
    n_symbols = len(regex.findall(r"[^\p{L}\p{M}\p{N}\s]", line))
    n_chars = len(re.sub(r"\s", "", line))
    ((kept, _),) = outcome_of(Lines(rules=(), max_symbol_share=limit), line)
    assert (kept is None) == (n_symbols > limit * n_chars)


@given(st.lists(st.text("ㅋ!가 ", max_size=9), min_size=1, max_size=5), st.integers(1, 5))
def test_runs_are_those_a_regular_expression_finds(lines: list[str], limit: int) -> None:
    long_run = re.compile(rf"([^\s])\1{{{limit}}}")
    text = "\n".join(lines)
    ((kept, _),) = outcome_of(Lines(rules=(), max_symbol_share=None, max_run_chars=limit), text, "")[:1]
    if any(map(long_run.search, lines)):
        left = "\n".join(line for line in lines if not long_run.search(line)).strip("\n")
        assert kept == (left if left.strip() else None)
    else:
        assert kept == (text if text.strip() else None)


def test_a_run_does_not_reach_from_one_document_into_the_next() -> None:
    step = Lines(max_run_chars=3, max_symbol_share=None)
    assert outcome_of(step, "가ㅋㅋ", "ㅋㅋ나", "", "ㅋㅋㅋㅋ") == [
        ("가ㅋㅋ", None),
        ("ㅋㅋ나", None),
        (None, "no text"),
        (None, "1 of 1 lines: 1 run of one character"),
    ]


def test_lines_without_a_sentence_end_go_when_asked() -> None:
    text = "제목\n바람이 들어왔다.\n“왜요?”\n값이 올랐다\n(가을에)\n\n2020년 봄"
    assert outcome_of(Lines(require_sentence_end=True), text) == [
        ("바람이 들어왔다.\n“왜요?”\n값이 올랐다", "3 of 6 lines: 3 no sentence end")
    ]
    assert outcome_of(Lines(), text) == [(text, None)]


def test_own_patterns_reach_lines_of_any_length() -> None:
    step = Lines(patterns=["^광고", "출처:"])
    long = "광고 " + "가나다 " * 100
    assert outcome_of(step, f"{GOOD}\n출처: 새벽\n{long}", GOOD) == [(GOOD, "2 of 3 lines: 2 pattern"), (GOOD, None)]


def test_the_reason_counts_lines_by_rule_and_no_blank_ones() -> None:
    text = f"홈 > 뉴스\n\n{GOOD}\n\n=====\n=====\n로그인 | 검색"
    assert outcome_of(Lines(), text) == [(GOOD, "4 of 5 lines: 2 navigation, 2 symbols")]


@given(st.lists(st.sampled_from([GOOD, "", " ", "홈 > 뉴스", "=====", "ㅋ" * 40]), max_size=8))
def test_documents_keep_their_place_and_lines_their_order(lines: list[str]) -> None:
    text = "\n".join(lines)
    first, result, last = outcome_of(Lines(), GOOD, text, "홈 > 뉴스")
    assert (first, last) == ((GOOD, None), (None, "1 of 1 lines: 1 navigation"))
    kept = "\n".join(line for line in lines if line.strip() == "" or line == GOOD)
    expected = text if kept == text else kept.strip("\n")
    assert result[0] == (expected if GOOD in lines else None)
    assert (result[1] is None) == (kept == text and GOOD in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patterns": ["("]}, r"^\[lines\] patterns '\(': not a regular expression that Rust reads: .*unclosed group"),
        ({"patterns": ["a(?=b)"]}, r"^\[lines\] patterns 'a\(\?=b\)': not a regular expression that Rust reads"),
        ({"patterns": "광고"}, r"^\[lines\] patterns '광고': must be a list of texts\.$"),
        ({"rules": ["menu"]}, r"^\[lines\] rules menu: must be among markup, javascript, cookies, notice, contact"),
        ({"max_symbol_share": 2}, r"^\[lines\] max_symbol_share 2: must be a share"),
        ({"max_run_chars": 0}, r"^\[lines\] max_run_chars 0: must be at least 1\.$"),
        ({"max_boilerplate_chars": -1}, r"^\[lines\] max_boilerplate_chars -1: must be at least 0\.$"),
        ({"require_sentence_end": 1}, r"^\[lines\] require_sentence_end 1: must be true or false\.$"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Lines(**options)  # type: ignore[arg-type]
