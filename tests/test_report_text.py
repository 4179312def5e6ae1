"""Values and tokens as the report writes them."""

import pytest

from vocabopt.report import text


def test_byte_alphabet_pieces_are_shown_as_text() -> None:
    assert str(text.piece("ĠíķľêµŃ", " 한국".encode())) == "<bdi>\u2423한국</bdi>"
    assert str(text.piece("\u2581한국", " 한국".encode())) == "<bdi>\u2581한국</bdi>"
    assert str(text.piece("\u2581한국", "\u2581한국".encode())) == "<bdi>\u2581한국</bdi>"
    assert str(text.piece(None, None)) == text.DASH


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.percent(0.0), "0 %"),
        (text.percent(1.0), "100 %"),
        (text.percent(0.9999), "99.99 %"),
        (text.percent(0.00001), "0.001 %"),
        (text.percent(1e-12), "< 0.1 %"),
        (text.percent(-0.031), "\u22123.1 %"),
        (text.percent(None), "\u2013"),
        (text.percent(float("nan")), "\u2013"),
        (text.fixed(1.0), "1.000"),
        (text.fixed(0.99998), "0.99998"),
        (text.fixed(1 - 1e-12), "< 1"),
        (text.fixed(0.0), "0.000"),
        (text.fixed(3e-12), "3.0e-12"),
        (text.fixed(None), "\u2013"),
        (text.count(1234567), "1,234,567"),
        (text.count(None), "\u2013"),
        (text.count(0), "0"),
        (text.short_count(164_626_432), "164.6 M"),
        (text.seconds(0.0), "0.00 s"),
        (text.seconds(0.0004), "0.0004 s"),
    ],
)
def test_zero_and_all_are_shown_only_when_truly_so(shown: str, expected: str) -> None:
    assert shown == expected
