"""The page of a preparation, and the funnel in the report of a sweep of its text, in Chromium."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import vocabopt, written
from helpers import lines_of
from report_data import HOSTILE

from browser.pages import LAPTOP, PHONE, Open

pytestmark = pytest.mark.browser

SHOWN = HOSTILE.replace("\0", "")  # a document with NUL is no text and is not read


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    lines = [*lines_of("ko")[:400], *lines_of("ko")[:40], *[f"{SHOWN} 010-1234-5678"] * 2]
    records = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines)
    written(folder / "text" / "in.jsonl", records)
    result = vocabopt("prepare", folder / "text", "--steps", "personal,exact", "--out", folder / "out", "--quiet")
    assert result.exit_code == 0, result.output
    return folder / "out"


def record_of(out: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((out / "prepare.json").read_text(encoding="utf-8"))
    return value


@pytest.mark.parametrize("size", [PHONE, LAPTOP])
def test_the_table_holds_the_funnel_and_fits_the_screen(prepared: Path, open_page: Open, size: Any) -> None:
    opened = open_page(prepared / "report.html")
    opened.page.set_viewport_size(size)
    rows = opened.page.locator("#table-funnel tbody tr")
    assert rows.count() == 3
    for i, step in enumerate(record_of(prepared)["steps"]):
        cells = [re.sub(r"[^0-9a-z_]", "", cell) for cell in rows.nth(i).locator("th, td").all_inner_texts()]
        assert cells[:3] == [step["step"], str(step["n_documents_in"]), str(step["n_documents_out"])]
    assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert opened.page.locator("#figure-funnel svg").is_visible()
    assert opened.errors == []


def test_examples_open_and_show_foreign_text_as_text(prepared: Path, open_page: Open) -> None:
    opened = open_page(prepared / "report.html")
    page = opened.page
    page.on("dialog", lambda dialog: opened.errors.append(dialog.message))
    taken = page.locator("details.behind", has=page.locator("summary", has_text="What exact took"))
    assert not taken.locator(".written").first.is_visible()
    taken.locator("summary").click()
    assert taken.locator(".written").count() == 10
    assert taken.locator(".written").first.is_visible()
    changed = page.locator("details.behind", has=page.locator("summary", has_text="What personal took"))
    changed.locator("summary").click()
    assert "[PHONE]" in changed.locator(".written").first.inner_text()
    assert opened.errors == []


def test_the_report_of_a_sweep_shows_the_funnel(prepared: Path, open_page: Open, tmp_path: Path) -> None:
    result = vocabopt("sweep", prepared, "--out", tmp_path / "run", "--max-added", 200, "--quiet")
    assert result.exit_code == 0, result.output
    opened = open_page(tmp_path / "run" / "report.html")
    opened.page.wait_for_selector("html[data-ready]")
    assert opened.page.locator("#prepared #table-funnel tbody tr").count() == 3
    assert opened.page.locator("#prepared #figure-funnel svg").is_visible()
    assert opened.errors == []
