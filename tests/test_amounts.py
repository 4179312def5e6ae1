"""Bytes in words: the unit that fits, and progress in it, from where an interrupted run had stopped."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabopt import console
from vocabopt.amounts import counted, shown_bytes
from vocabopt.console import Console
from vocabopt.tables import shown_change


def test_a_count_stands_with_its_noun_in_the_right_number() -> None:
    assert [counted(n, "file") for n in (0, 1, 2, 1_000)] == ["0 files", "1 file", "2 files", "1,000 files"]


_FACTORS = {"bytes": 1, "byte": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@pytest.mark.parametrize(
    ("n_bytes", "expected"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (4_250_000, "4.3 MB"),
        (80_000_000_000, "80.0 GB"),
        (1_500_000_000_000_000, "1,500.0 TB"),
        (-2_000_000, "-2.0 MB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_fits(n_bytes: int, expected: str) -> None:
    assert shown_bytes(n_bytes) == expected


@given(st.integers(1, 10**17))
def test_what_is_shown_is_within_a_twentieth_and_never_nothing(n_bytes: int) -> None:
    number, unit = shown_bytes(n_bytes).split()
    value = float(number.replace(",", "")) * _FACTORS[unit]
    assert value > 0
    assert abs(value - n_bytes) <= 0.05 * n_bytes
    assert unit == "TB" or float(number.replace(",", "")) < 1_000


def test_small_texts_have_progress_in_their_own_unit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_PLAIN_EVERY_SECONDS", 0.0)
    with Console().step("read", 45_200, "bytes") as advance:
        advance(12_300)
    assert "read: 12.3 kB of 45.2 kB (27%)" in capsys.readouterr().err


def test_no_rate_counts_what_an_interrupted_run_had_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """10 tokens in at least a tenth of a second are at most 100 a second, whatever was done before."""
    monkeypatch.setattr(console, "_PLAIN_EVERY_SECONDS", 0.0)
    with Console().step("stage", 1_000, "tokens", before=900) as advance:
        time.sleep(0.1)
        advance(910)
    told = capsys.readouterr().err
    found = re.search(r"stage: 910 tokens of 1,000 tokens \(91%\), (\d+) s left, (\d+) tokens/s", told)
    assert found is not None, told
    assert 0 < int(found[2]) <= 100
    assert int(found[1]) >= 1


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (-0.2213, "-22.1%"),
        (0.003, "+0.3%"),
        (0.0, "0.0%"),
        (-0.0, "0.0%"),
        (-0.0003, "0.0%"),
        (0.0004, "0.0%"),
        (None, "-"),
    ],
)
def test_a_change_of_nothing_has_no_sign(share: float | None, shown: str) -> None:
    assert shown_change(share) == shown
