"""Masking of personal data: what must go, what must stay, that the quick look misses nothing. Numbers are made up."""

import re

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vocabopt.errors import OptionError
from vocabopt.preparation.step import DocumentStep
from vocabopt.preparation.steps.personal import MAY_HOLD, MAY_HOLD_COMPANY, Personal, passes_luhn

STEP = Personal()
COMPANY = Personal(company_numbers=True)
PARTS = [
    *"0123456789",
    *"-. ()/@,:가a_+",
    "010",
    "1234",
    "5678",
    "02",
    "+82",
    "a@b.kr",
    "900101",
    "1588",
    "=",
    "tel",
    "4111",
    "1111",
]
numbers = st.lists(st.sampled_from(PARTS), max_size=16).map("".join)


def masked(text: str, step: Personal = STEP) -> str:
    outcome = step.load()(pl.Series([text, "다른 글"], dtype=pl.String))
    assert outcome.why.null_count() == 2
    assert outcome.texts[1] == "다른 글"
    return str(outcome.texts[0])


def test_it_is_a_document_step() -> None:
    assert isinstance(STEP, DocumentStep)


@pytest.mark.parametrize(
    "number",
    [
        "900101-1234567",
        "000229-3234567",  # 2000 was a leap year
        "850615-5234567",  # a foreigner
        "900101 - 2234567",
        "900101–2234567",
        "9001011234568",  # 2*9 + 5*1 + 7*1 + 8*1 + 9*2 + 2*3 + 3*4 + 4*5 + 5*6 = 124, 11 - 124 % 11 = 8
    ],
)
def test_resident_registration_numbers_are_masked(number: str) -> None:
    assert masked(f"번호는 {number}이다") == "번호는 [RRN]이다"


@pytest.mark.parametrize(
    "number",
    [
        "901301-1234567",  # month 13
        "900230-1234567",  # 30 February
        "000229-1234567",  # 1900 was none
        "900101-9234567",  # no such digit since the 1800s
        "900101-1******",
        "9001011234567",  # thirteen digits whose check digit fails
        "8801234567893",  # a bar code
        "9788937460449",  # ISBN-13
        "978-89-374-6044-9",
        "1612345678901",  # milliseconds
        "1900101-12345678",
    ],
)
def test_what_is_no_resident_registration_number_stays(number: str) -> None:
    assert masked(f"번호는 {number}이다") == f"번호는 {number}이다"


@pytest.mark.parametrize(
    "number",
    [
        *["010-1234-5678", "010.1234.5678", "010 1234 5678", "01012345678", "011-234-5678", "019-9234-5678"],
        *["02-123-4567", "(02)1234-5678", "(02) 1234-5678", "031-123-4567", "064 712 3456", "0511234567"],
        *["070-1234-5678", "0505-123-4567", "0507-1234-5678", "+82-10-1234-5678", "+82 10 1234 5678"],
        *["+821012345678", "+82 (0)10 1234 5678", "+82-2-123-4567", "0082-10-1234-5678", "010–1234–5678"],
    ],
)
@pytest.mark.parametrize("around", ["전화{}로", "T.{} 로", "문의: {}, 담당", "({})", "H.P:{}"])
def test_phone_numbers_are_masked(number: str, around: str) -> None:
    assert masked(around.format(number)) == around.format("[PHONE]")


def test_a_bracket_after_the_area_code_goes_with_the_number() -> None:
    assert masked("전화 02)1234-5678, 팩스 031) 123-4567") == "전화 [PHONE], 팩스 [PHONE]"


@pytest.mark.parametrize(
    "text",
    [
        *["1998-2003년", "2003-12-25", "2003.12.25 14:30", "2023년 5월 10일", "1910.10.01-1945.08.15"],
        *[
            "ISBN 0312345678",
            "ISBN-10: 0-312-34567-8",
            "ISBN 89-374-6044-9",
            "ISSN 0317-8471",
            "doi:10.1016/0311234567",
        ],
        *["1,234,567,890원", "010,123,4567", "3.14159265358979", "0.0212345678", "0.4111111111111111"],
        *["제12조제3항제4호", "법률 제10012345호", "192.168.0.1:8080", "10.0.2.15", "127.0.0.1 - 255.255.255.255"],
        *["1-800-123-4567", "12-010-1234-5678", "0102-123-45678", "id=01012345678", "x0101234567812", "a_0311234567"],
        *["1588-1234", "1566-5555", "01-02-03-04-05", "123 4567 8901", "010-123-456", "030-0123-4567"],
        *["1 2 3 4 5 6 7 8 9 10", "@vocabopt", "icon@2x.png", "a @ b.kr", "user@localhost", "x@1.2.3", "5,000@10"],
        *["4111 1111 1111 1112", "1234567890123456", "4111-1111 1111-1111", "20210304050607"],
    ],
)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert masked(f"앞 {text} 뒤") == f"앞 {text} 뒤"


@pytest.mark.parametrize(
    "address", ["a@b.kr", "kim.chul-su+x@mail.example.co.kr", "A_1@EXAMPLE.COM", "x@xn--3e0b707e.kr"]
)
def test_email_addresses_are_masked(address: str) -> None:
    assert masked(f"메일({address})로, {address}.") == "메일([EMAIL])로, [EMAIL]."


@pytest.mark.parametrize(
    "card",
    [  # the test numbers that payment services publish
        *["4111111111111111", "4111-1111-1111-1111", "4111 1111 1111 1111", "5555555555554444", "2223003122003222"],
        *["378282246310005", "3782-822463-10005", "6011111111111117", "3530111333300000", "30569309025904"],
        *["3056-930902-5904", "4222222222222", "6200000000000005"],
    ],
)
def test_cards_are_masked(card: str) -> None:
    assert masked(f"카드 {card}입니다") == "카드 [CARD]입니다"


def test_luhn_takes_the_example_of_its_patent_and_no_single_wrong_digit() -> None:
    assert passes_luhn("79927398713")
    assert [digit for digit in "0123456789" if passes_luhn(f"7992739871{digit}")] == ["3"]


def test_company_numbers_are_masked_when_asked_and_years_are_not() -> None:
    assert masked("문의 1588-1234, 080-123-4567", COMPANY) == "문의 [PHONE], [PHONE]"
    assert masked("문의 1588-9999, 080-123-4567") == "문의 1588-9999, 080-123-4567"
    assert masked("1588-1998", COMPANY) == "1588-1998"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("연락처=010-1234-5678", "연락처=[PHONE]"),
        ("Tel010-1234-5678", "Tel[PHONE]"),
        ("kakao010.1234.5678", "kakao[PHONE]"),
        ("#010-1234-5678", "#[PHONE]"),
        ("010-1234-5678_홍길동", "[PHONE]_홍길동"),
        ("010-1234-5678Tel", "[PHONE]Tel"),
        ("홍길동_010-1234-5678", "홍길동_[PHONE]"),
        ("name=x&phone=01012345678", "name=x&phone=[PHONE]"),
        ('{"tel":"01012345678"}', '{"tel":"[PHONE]"}'),
        ("Tel01012345678", "Tel[PHONE]"),
        ("FAX=0212345678", "FAX=[PHONE]"),
        ("연락처=01012345678", "연락처=[PHONE]"),
        ("주민번호=900101-1234567", "주민번호=[RRN]"),
        ("RRN900101-1234567", "RRN[RRN]"),
        ("rrn=9001011234568", "rrn=[RRN]"),
        ("card=4111111111111111", "card=[CARD]"),
        ("card_no=4111111111111111", "card_no=[CARD]"),
        ("Visa4111-1111-1111-1111", "Visa[CARD]"),
        ("id=4111-1111-1111-1111", "id=[CARD]"),
        ("메일=a@b.kr", "메일=[EMAIL]"),
        ("_kim@b.kr", "[EMAIL]"),
        ("-kim@b.kr-문의", "-[EMAIL]-문의"),
        ("kim_@b.kr", "[EMAIL]"),
        ("mailto:kim@b.kr?subject=x", "mailto:[EMAIL]?subject=x"),
    ],
)
def test_what_stands_against_a_label_or_a_sign_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert masked(f"앞 {text} 뒤") == f"앞 {expected} 뒤"


@pytest.mark.parametrize(
    "text",
    [
        *["id=01012345678", "order_01012345678", "hotel01012345678", "#0212345678", "v=0311234567&t=1"],
        *["id=9001011234568", "x9001011234568", "id=4111111111111111", "postcard4111111111111111", "a4111111111111111"],
        *["01012345678abc", "tel01012345678abc", "900101-1234567890", "10-010-1234-5678", "0x0101234567"],
        *["a@b", "@a.kr", "a@.kr", "kim@b.k1", "010/1234/5678", "010_1234_5678", "０１０-1234-5678"],
    ],
)
def test_identifiers_and_what_the_docs_leave_out_stay(text: str) -> None:
    assert masked(f"앞 {text} 뒤") == f"앞 {text} 뒤"


def test_a_company_number_against_a_sign_is_masked_when_asked() -> None:
    assert masked("문의=1588-1234, id=0801234567", COMPANY) == "문의=[PHONE], id=0801234567"


def test_several_in_one_text_each_get_their_own_mask() -> None:
    text = "900101-1234567 / 010-1234-5678/02-123-4567\na@b.kr, 4111111111111111"
    assert masked(text) == "[RRN] / [PHONE]/[PHONE]\n[EMAIL], [CARD]"
    own = Personal(phone_mask="<전화>", email_mask="", resident_mask="x", card_mask="y")
    assert masked(text, own) == "x / <전화>/<전화>\n, y"


@given(numbers | st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.booleans())
@example("a@b.kr010-1234-5678", False)
@example("010-1234-5678010-1234-5678", False)
def test_masking_twice_is_masking_once_for_any_text(text: str, company: bool) -> None:
    step = COMPANY if company else STEP
    once = masked(text, step)
    assert masked(once, step) == once


@given(numbers)
def test_the_quick_look_flags_every_text_that_masking_would_change(text: str) -> None:
    if STEP.mask(text) != text:
        assert pl.Series([text]).str.contains(MAY_HOLD)[0]
    if COMPANY.mask(text) != text:
        assert pl.Series([text]).str.contains(MAY_HOLD_COMPANY)[0]


@given(numbers.map(lambda text: re.sub("[0-9@]", "", text)))
def test_text_without_digits_and_at_signs_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("mask", ["[1]", "@", "a\nb", 3])
def test_a_mask_that_could_be_masked_is_refused(mask: str) -> None:
    with pytest.raises(
        OptionError, match=r"^\[personal\] phone_mask .*: must be text (on one line without digits and @|in quotes)"
    ):
        Personal(phone_mask=mask)


def test_a_flag_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^\[personal\] company_numbers 'no': must be true or false\.$"):
        Personal(company_numbers="no")  # type: ignore[arg-type]
