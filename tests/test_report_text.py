"""Values and tokens as the report writes them."""

import pytest

from vocabopt.report import text


def test_byte_alphabet_pieces_are_shown_as_text() -> None:
    assert str(text.piece("ĠíķľêµŃ", " 한국".encode())) == "<bdi>\u2423한국</bdi>"
    assert str(text.piece("\u2581한국", " 한국".encode())) == "<bdi>\u2581한국</bdi>"
    assert str(text.piece("\u2581한국", "\u2581한국".encode())) == "<bdi>\u2581한국</bdi>"
    assert str(text.piece(None, None)) == text.DASH


#: Halves that a float holds exactly: JavaScript's toFixed takes them away from zero.
HALVES = (0.8125, 0.0625, -0.0625, 0.00125, 0.5, 2.5, 1.0625, 40.03125, 0.95, 0.2675, 1234.5)


def test_halves_are_rounded_away_from_zero_as_the_page_s_script_does() -> None:
    assert text.percent(0.8125) == "81.3 %"
    assert text.percent(0.0625, 0) == "6 %"
    assert text.percent(-0.8125) == "\u221281.3 %"
    assert text.fixed(1.0625) == "1.063"
    assert text.times(0.125) == "0.13 \u00d7"
    assert text.short_count(1_250_000) == "1.3 M"
    assert text.size_of(4_250_000) == "4.3 MB"
    # No half: the float of 2.005 lies just below it, at 2.00499999999999989...
    assert text.fixed(2.005, 2) == "2.00"


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
