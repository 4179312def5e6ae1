"""Personal data masked: resident registration numbers, payment cards, phone numbers, e-mail addresses.

What is looked for is Korean: numbers of the Resident Registration Act and the numbering plan of the Telecommunications
Business Act; card numbers as ISO/IEC 7812 has them. A pattern that polars runs over the column finds the documents with
an at sign or nine digits in reach of each other; only these are read by Python, where a number must also pass what is
known of its kind: a date that exists, a check digit, an area code.
"""

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from vocabopt.option_fields import Check, option
from vocabopt.preparation.step import DocumentStep, Outcome, change_flagged

_HYPHEN = "[-‐‑‒–−－]"
#: A superset of everything below: nine digits with at most three separators between two, or an at sign in a word.
MAY_HOLD = r"[0-9](?:[-‐‑‒–−－. ()]{0,3}[0-9]){8}|[A-Za-z0-9_+-]@[A-Za-z0-9]"
MAY_HOLD_COMPANY = MAY_HOLD + r"|1[568][0-9]{2}[-‐‑‒–−－][0-9]{4}"

# What a number may not stand in: a longer number or a decimal.
_BEFORE = r"(?<![0-9])(?<![0-9][-./,:])"
_AFTER = r"(?![0-9])(?![-.][0-9])"
# Against these a run of digits may be an identifier ("id=01012345678", "x9001011234568"): see `_stands_alone`.
_GLUE_BEFORE = re.compile(r"[0-9A-Za-z_=%#&]")
_GLUE_AFTER = re.compile(r"[0-9A-Za-z_]")
_DIGITS = re.compile("[0-9]+")
# What says that an identifier is a number of this kind: "Tel01012345678", "card=4111111111111111".
_LABEL = re.compile(
    r"(?:(?<![A-Za-z])(?:tel|telephone|phone|mobile|cell|fax|hp|rrn|ssn|card|(?:phone|mobile|card)[_-]?(?:no|num|number))"
    r"|전화|휴대폰|핸드폰|휴대전화|연락처|팩스|번호|카드)[_\"']?[=#&]{0,2}$",
    re.IGNORECASE,
)
_LABEL_CHARS = 24


def _stands_alone(match: re.Match[str]) -> bool:
    """Whether a number is one for itself and not a part of an identifier.

    Against a letter, an underscore or one of = % # & it counts where it is written with separators, which identifiers
    are not, or where a word before it says what it is.
    """
    before, after = match.string[max(0, match.start() - 1) : match.start()], match.string[match.end() : match.end() + 1]
    if not _GLUE_BEFORE.match(before) and not _GLUE_AFTER.match(after):
        return True
    if _DIGITS.fullmatch(match[0]) is None:
        return True
    start = max(0, match.start() - _LABEL_CHARS)
    return not _GLUE_AFTER.match(after) and _LABEL.search(match.string[start : match.start()]) is not None


# --- Resident registration numbers -----------------------------------------------------------------------------------

# Birth date, then the digit of century and sex: 1, 2 (5, 6 for foreigners) of the 1900s, 3, 4 (7, 8) of the 2000s.
_RESIDENT = re.compile(
    rf"{_BEFORE}([0-9]{{2}})([0-9]{{2}})([0-9]{{2}})( ?{_HYPHEN} ?|)([1-8])([0-9]{{6}}){_AFTER}", re.ASCII
)
_RESIDENT_WEIGHTS = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)


def _is_resident_number(match: re.Match[str]) -> bool:
    year, month, day, hyphen, sex, rest = match.groups()
    if not _stands_alone(match):
        return False
    century = 1900 if sex in "1256" else 2000
    if not 1 <= int(month) <= 12 or not 1 <= int(day) <= monthrange(century + int(year), int(month))[1]:
        return False
    # Numbers given since October 2020 have no check digit; without one, thirteen digits in a row may be a bar code.
    if hyphen:
        return True
    digits = [int(digit) for digit in year + month + day + sex + rest]
    total = sum(weight * digit for weight, digit in zip(_RESIDENT_WEIGHTS, digits[:12], strict=True))
    expected = (11 - total % 11) % 10
    # Of a foreigner's it is 2 more.
    return digits[12] in (expected, (expected + 2) % 10 if sex in "5678" else expected)


# --- Payment cards ---------------------------------------------------------------------------------------------------

_CARD = re.compile(
    rf"(?<![-./,:]){_BEFORE}(?:[0-9]{{13,19}}|[0-9]{{4}}([- ])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{1,4}}(?:\1[0-9]{{3}})?"
    rf"|3[0-9]{{3}}([- ])[0-9]{{6}}\2[0-9]{{4,5}})(?![.,]?[0-9]){_AFTER}"
)
# Prefix and the lengths it comes in. 94: Korean cards that are used at home only.
_CARD_KINDS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12,15}|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|62\d{14,17}|94\d{14}",
    re.ASCII,
)


def _is_card(match: re.Match[str]) -> bool:
    digits = match[0].replace("-", "").replace(" ", "")
    return _CARD_KINDS.fullmatch(digits) is not None and passes_luhn(digits) and _stands_alone(match)


def passes_luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1: every second digit from the right doubled, the sum a multiple of ten."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


# --- Phone numbers ---------------------------------------------------------------------------------------------------

_SEPARATOR = rf"(?: ?{_HYPHEN} ?|\.| )"
_AREA = "1[016789]|2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|50[2-8]"
# "(02) 123-4567" loses both brackets, "(010-1234-5678)" keeps them.
_TRUNK = rf"(?:\(\+82\)|(?:\+|00)82){_SEPARATOR}?(?:\(0\)|0)?(?:{_AREA})|\(0(?:{_AREA})\)|0(?:{_AREA})\)?"
_PHONE = re.compile(rf"{_BEFORE}(?:{_TRUNK}){_SEPARATOR}?[1-9][0-9]{{2,3}}{_SEPARATOR}?[0-9]{{4}}{_AFTER}")
# An international standard book number of ten digits looks like the number of a landline.
_BOOK_BEFORE = re.compile(r"ISBN[^\n0-9]{0,12}$|/$", re.IGNORECASE)
_COMPANY = re.compile(
    rf"{_BEFORE}(?:(15(?:22|33|44|66|77|88|99)|16(?:00|11|22|33|44|55|61|66|68|70|77|88|99)|18(?:00|11|33|55|66|77|99)){_HYPHEN}"
    rf"([0-9]{{4}})|080{_SEPARATOR}?[0-9]{{3,4}}{_SEPARATOR}?[0-9]{{4}}){_AFTER}"
)


def _is_phone(match: re.Match[str]) -> bool:
    is_bare = _DIGITS.fullmatch(match[0]) is not None
    is_book = is_bare and _BOOK_BEFORE.search(match.string, max(0, match.start() - 20), match.start()) is not None
    return _stands_alone(match) and not is_book


def _is_company_phone(match: re.Match[str]) -> bool:
    """1588-1998 can be the years from 1588 to 1998."""
    return _stands_alone(match) and (match[1] is None or not int(match[1]) <= int(match[2]) <= 2100)


# --- E-mail ----------------------------------------------------------------------------------------------------------

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9_])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}(?<=[A-Za-z0-9_+-])@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}([A-Za-z]{2,24})(?![A-Za-z0-9]|-+[A-Za-z0-9])"
)
_FILE_ENDINGS = frozenset(("bmp", "css", "gif", "ico", "jpeg", "jpg", "js", "json", "png", "svg", "webp"))


def _is_email(match: re.Match[str]) -> bool:
    """icon@2x.png is the name of a picture."""
    return match[1].lower() not in _FILE_ENDINGS


# --- The step --------------------------------------------------------------------------------------------------------

#: No mask that could be masked itself.
_MASK = Check(lambda mask: not re.search(r"[0-9@\n]", mask), "must be text on one line without digits and @")


@dataclass(frozen=True, kw_only=True)
class Personal(DocumentStep):
    """Replace personal data by masks. Nothing is removed; a text that differs shows what was masked.

    resident_mask, card_mask, phone_mask, email_mask: what stands in place of a number or address; no digit and no at
    sign in it, so that masking twice is masking once. company_numbers: mask company numbers too (1588-xxxx, 080), which
    belong to no person.

    Resident registration numbers (foreigners' too) are masked with a hyphen where the date exists, and as thirteen
    digits in a row where the check digit holds as well. Phone numbers: mobile, landline, 070, 050x, +82, with hyphens,
    points, spaces or nothing between. Cards: 13 to 19 digits with a known prefix and a check digit that holds. A number
    against a Latin letter, an underscore or one of = % # & is masked where it is written with separators
    ("Tel010-1234-5678") or where a word before it says what it is ("card=4111111111111111"); other digits in a row
    there are identifiers and stay ("id=01012345678"). Not found: full-width digits, slashes or underscores between the
    parts of a number, digits in words ("공일공"), addresses written out ("at", "골뱅이"), names and places.
    """

    name: ClassVar[str] = "personal"
    resident_mask: str = option("[RRN]", check=_MASK)
    card_mask: str = option("[CARD]", check=_MASK)
    phone_mask: str = option("[PHONE]", check=_MASK)
    email_mask: str = option("[EMAIL]", check=_MASK)
    company_numbers: bool = False

    def load(self) -> Callable[[pl.Series], Outcome]:
        flag = MAY_HOLD_COMPANY if self.company_numbers else MAY_HOLD
        return lambda texts: Outcome.changing(change_flagged(texts, texts.str.contains(flag), self.mask))

    def mask(self, text: str) -> str:
        """One text, masked."""
        kinds = [
            (_RESIDENT, _is_resident_number, self.resident_mask),
            (_CARD, _is_card, self.card_mask),
            (_PHONE, _is_phone, self.phone_mask),
            (_EMAIL, _is_email, self.email_mask),
        ]
        if self.company_numbers:
            kinds.append((_COMPANY, _is_company_phone, self.phone_mask))
        # A mask can free what it stood against ("a@b.kr010-1234-5678"). Each holds no digit and no @: this ends.
        while True:
            before = text
            for pattern, is_one, mask in kinds:
                text = _masked(text, pattern, is_one, mask)
            if text == before:
                return text


def _masked(text: str, pattern: re.Pattern[str], is_one: Callable[[re.Match[str]], bool], mask: str) -> str:
    return pattern.sub(lambda match: mask if is_one(match) else match[0], text)
