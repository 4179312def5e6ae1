"""Text in report.html, in Chromium: tokens searched, sentences and any text cut exactly, and nothing in it acts."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Run
from helpers import lines_of, merged
from report_data import HOSTILE, hostile_run, records_of

from browser.conftest import Opened
from browser.pages import LAPTOP, PHONE, Open, ready, rows_of
from vocabopt.report.page import rebuild_report, write_report
from vocabopt.report.view import View

pytestmark = pytest.mark.browser


def test_search_finds_every_token_that_holds_the_text(korean: Run, report: Opened) -> None:
    page = report.page
    ranks = korean.curve.filter(pl.col("piece").str.contains("다", literal=True))["rank"].to_list()
    assert len(ranks) > 100
    page.fill("#token-query", "다")
    assert page.inner_text("#token-found") == f"{len(ranks):,} tokens found"
    found = [row[0] for row in rows_of(report)]
    while page.locator("[data-turn=on]").is_enabled():
        page.click("[data-turn=on]")
        found += [row[0] for row in rows_of(report)]
    assert [int(rank.replace(",", "")) for rank in found] == ranks
    page.fill("#token-query", "no such text")
    assert page.inner_text("#token-found") == "0 tokens found"
    assert rows_of(report) == []


def test_a_rank_is_found_and_the_size_limits_the_search(korean: Run, report: Opened) -> None:
    page, last = report.page, len(korean.curve)
    page.fill("#token-query", f"{last:,}")
    given = korean.curve.row(last - 1, named=True)
    assert rows_of(report)[0][:2] == [f"{last:,}", given["piece"].replace("\u2581", "\u2423")]
    assert rows_of(report)[0][-1] == str(korean.base.n_tokens + last - 1)
    page.check("#token-within")
    assert page.inner_text("#token-found") == "0 tokens found"
    page.fill("#size-field", str(last))
    page.wait_for_selector("#token-found:text-is('1 token found')")


def test_each_token_is_shown_with_what_it_replaced(korean: Run, report: Opened) -> None:
    base = korean.base
    texts = [*base.pieces, *korean.curve["bytes"]]
    rows = rows_of(report)
    assert len(rows) == 50
    kinds = set()
    for row, given in zip(rows, korean.curve.head(50).to_dicts(), strict=True):
        kinds.add(given["kind"])
        parts = [texts[i].decode() for i in (given["left"], given["right"])] if given["kind"] == "merge" else []
        parts = parts or [f"{byte:02X}" for byte in given["bytes"]]
        assert row[2] == " + ".join(part.replace(" ", "\u2423") for part in parts)
    assert kinds == {"merge", "char"}


def cut_of(report: Opened, place: str) -> list[dict[str, list[str]]]:
    """Per text under `place`: the tokens shown on each side."""
    found: list[dict[str, list[str]]] = report.page.evaluate(
        """(place) => [...document.querySelectorAll(`${place} .beside`)].map((pair) => Object.fromEntries(
          [...pair.children].map((side) => [
            side.dataset.side, [...side.querySelectorAll(".t")].map((token) => token.textContent)]),
        ))""",
        place,
    )
    return found


def ids_of(report: Opened) -> dict[str, list[int]]:
    found: dict[str, list[int]] = report.page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("#playground-result .beside > div")].map(
          (side) => [side.dataset.side, [...side.querySelectorAll(".t small")].map((id) => Number(id.textContent))]))"""
    )
    return found


def test_playground_shows_the_tokens_of_the_exported_tokenizer(run: Run, open_page: Open) -> None:
    opened = ready(open_page(rebuild_report(run.out)))
    page = opened.page
    given = " ".join([*lines_of("ko")[::300], *lines_of("en")[::400], "\n\n  x\t😀 한글 e\u0301 <s>&amp;</s>"])
    page.check("#playground-ids")
    page.fill("#playground-text", given)
    for size in (0, len(run.curve) // 2, len(run.curve)):
        page.fill("#size-field", str(size))
        page.wait_for_selector(f"#playground-result :text('with {size:,} added')")
        ids = merged(run.base, run.curve, size).encode(given, add_special_tokens=False).ids
        assert ids_of(opened)["added"] == ids
        assert ids_of(opened)["base"] == merged(run.base, run.curve, 0).encode(given, add_special_tokens=False).ids
        counts = page.locator("#playground-result .caption b").all_inner_texts()
        assert counts[1] == f"{len(ids):,} tokens"
        if run.base.family == "sentencepiece-bpe":
            coloured = page.locator("#playground-result .t.new").count()
            assert coloured == sum(i >= run.base.n_tokens for i in ids)
    assert opened.errors == []


def test_sample_sentences_of_every_set_are_cut_again_at_each_size(korean: Run, report: Opened) -> None:
    page = report.page
    samples = json.loads((korean.out / "samples.json").read_text("utf-8"))["samples"]
    buttons = page.locator("#sample-sets button")
    assert sorted(buttons.all_inner_texts()) == sorted(name for name, texts in samples.items() if texts)
    for size in (0, 50, len(korean.curve)):
        page.fill("#size-field", str(size))
        page.wait_for_selector(f"#samples .note [data-live=size]:text-is('{size:,}')")
        tokenizer = merged(korean.base, korean.curve, size)
        for button in buttons.all():
            button.click()
            expected = [
                len(tokenizer.encode(given, add_special_tokens=False).ids) for given in samples[button.inner_text()]
            ]
            assert [len(cut["added"]) for cut in cut_of(report, "#sample-texts")] == expected


def test_a_long_paste_is_cut_to_its_beginning_and_says_so(report: Opened) -> None:
    page = report.page
    page.evaluate(
        """() => { const field = document.getElementById("playground-text");
          field.value = "가나다라마바사".repeat(200_000); field.dispatchEvent(new Event("input")); }"""
    )
    page.wait_for_selector("#playground-note:has-text('Kept are the first 20,000 characters')", timeout=5_000)
    assert "1,380,000 more were left out" in page.inner_text("#playground-note")
    page.wait_for_selector("#playground-result :text('more tokens')", timeout=5_000)


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_hostile_text_does_nothing_and_moves_nothing(open_page: Open, tmp_path: Path, viewport: Any) -> None:
    page_path = write_report(tmp_path, View(*records_of(*hostile_run())))
    opened = open_page(page_path)
    page = opened.page
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.set_viewport_size(viewport)
    ready(opened)
    for size in ("0", "3", "900"):
        page.fill("#size-field", size)
    page.fill("#token-query", "script")
    page.wait_for_selector("#token-found:text-is('1 token found')")
    first = rows_of(opened)[0][1]
    assert first.startswith("<script>alert('x')</script>\"><img\u2423src=x")
    assert "U+202E" in first
    page.fill("#token-query", "xxxxx")
    assert rows_of(opened)[0][1].startswith("x" * 60 + "\u2026")
    assert HOSTILE[:27] in page.inner_text("[data-chart=sets] .readout")
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0
    assert (dialogs, opened.errors, opened.requests) == ([], [], [])
