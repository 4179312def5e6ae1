"""The report of a run whose model was adapted, in Chromium: its charts and tables in both themes and on a phone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from report_data import HOSTILE
from training_data import begun_adaptation, full_adaptation, hostile_adaptation, stopped_adaptation

from browser.conftest import Opened
from browser.pages import LAPTOP, PHONE, Open, ready
from vocabopt.report.page import rebuild_report

pytestmark = pytest.mark.browser

CHARTS = ("training_bits", "training_loss", "training_memory")
INK = {"light": "rgb(10, 95, 180)", "dark": "rgb(109, 179, 248)"}
RECORDS = {
    "full": full_adaptation,
    "begun": begun_adaptation,
    "stopped": stopped_adaptation,
    "hostile": hostile_adaptation,
}


@pytest.fixture(scope="module")
def pages(korean: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """report.html as `vocabopt report` makes it of a run with each adapt.json."""
    root = tmp_path_factory.mktemp("adapted")
    found = {}
    for name, record in RECORDS.items():
        shutil.copytree(korean.out, root / name)
        (root / name / "adapt.json").write_text(json.dumps(record()))
        found[name] = rebuild_report(root / name)
    return found


@pytest.fixture
def adapted(pages: dict[str, Path], open_page: Open) -> Callable[[str], Opened]:
    def opened(name: str) -> Opened:
        found = open_page(pages[name])
        found.page.on("dialog", lambda dialog: found.errors.append(dialog.message))
        return ready(found)

    return opened


def shown_rows(opened: Opened, table: str) -> list[list[str]]:
    rows: list[list[str]] = opened.page.evaluate(
        "(id) => [...document.querySelectorAll(`#${id} tbody tr`)].map((row) => [...row.cells].map("
        "(cell) => cell.textContent.trim()))",
        table,
    )
    return rows


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_charts_are_whole_and_in_the_theme_s_colours_on_any_screen(
    adapted: Callable[[str], Opened], viewport: Any, scheme: Any
) -> None:
    opened = adapted("full")
    page = opened.page
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme=scheme)
    for chart in CHARTS:
        drawn = page.locator(f"[data-chart={chart}] svg")
        assert drawn.is_visible()
        frame = drawn.bounding_box()
        assert frame is not None
        assert frame["width"] > 0.8 * min(viewport["width"], 736)
        assert frame["height"] > 100
        assert frame["x"] + frame["width"] <= viewport["width"]
        # Every line, bar and word lies inside its figure.
        outside = drawn.evaluate(
            """(svg) => {
              const frame = svg.getBoundingClientRect();
              return [...svg.querySelectorAll("path, text")].filter((part) => {
                const box = part.getBoundingClientRect();
                return box.left < frame.left - 1 || box.right > frame.right + 1
                  || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
              }).map((part) => part.textContent || part.outerHTML.slice(0, 120));
            }"""
        )
        assert outside == [], chart
        blue = "fill" if chart == "training_memory" else "stroke"
        mark = drawn.locator(f".{blue[0].replace('s', 'k')}-s0").first
        assert mark.evaluate(f"(part) => getComputedStyle(part).{blue}") == INK[scheme]
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert (opened.errors, opened.requests) == ([], [])


def test_words_in_a_chart_do_not_lie_on_each_other(adapted: Callable[[str], Opened]) -> None:
    opened = adapted("full")
    for viewport in (LAPTOP, PHONE):
        size: Any = viewport
        opened.page.set_viewport_size(size)
        for chart in CHARTS:
            met = opened.page.evaluate(
                """(chart) => {
                  const words = [...document.querySelectorAll(`[data-chart=${chart}] svg text`)];
                  const boxes = words.map((word) => word.getBoundingClientRect());
                  const met = [];
                  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
                    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                    // A line's box is taller than its letters.
                    if (wide > 1 && high > 4) met.push([words[i].textContent, words[i + 1 + j].textContent]);
                  }));
                  return met;
                }""",
                chart,
            )
            assert met == [], (chart, viewport)


def test_the_story_stands_after_the_recommendation_and_the_first_screen_leads_to_it(
    adapted: Callable[[str], Opened],
) -> None:
    opened = adapted("full")
    page = opened.page
    size: Any = LAPTOP
    page.set_viewport_size(size)
    link = page.locator("#adapted a")
    frame = link.bounding_box()
    assert frame is not None
    assert frame["y"] + frame["height"] < LAPTOP["height"]
    ids = page.evaluate("[...document.querySelectorAll('main section[id]')].map((section) => section.id)")
    assert ids[:2] == ["recommendation", "training"]
    link.click()
    page.wait_for_function("Math.abs(document.getElementById('training').getBoundingClientRect().top) < 200")
    assert "the control wins by 0.0500." in page.inner_text("#training-result")


def test_tables_and_samples_can_be_read_on_a_phone(adapted: Callable[[str], Opened]) -> None:
    opened = adapted("full")
    page = opened.page
    size: Any = PHONE
    page.set_viewport_size(size)
    for table in ("texts", "forgetting", "stages", "read"):
        wide = page.locator(f".wide:has(> #table-{table})")
        frame = wide.bounding_box()
        assert frame is not None
        assert frame["x"] >= 0
        assert frame["x"] + frame["width"] <= PHONE["width"]
        wide.evaluate("(element) => { element.scrollLeft = element.scrollWidth; }")
        last = page.locator(f"#table-{table} tbody tr").first.locator("td").last.bounding_box()
        assert last is not None
        assert last["x"] + last["width"] <= PHONE["width"]
    # The stage's name stays where its numbers are read.
    name = page.locator("#table-stages tbody th.stage").first.bounding_box()
    assert name is not None
    assert 0 <= name["x"] < 30
    assert name["width"] < PHONE["width"] / 2
    page.locator("summary", has_text="The control, stage by stage").click()
    assert page.locator("#table-control").is_visible()
    columns = page.locator(".written").first.evaluate(
        "(group) => [...group.children].map((part) => Math.round(part.getBoundingClientRect().left))"
    )
    assert len(set(columns)) == 1
    wide_size: Any = LAPTOP
    page.set_viewport_size(wide_size)
    columns = page.locator(".written").first.evaluate(
        "(group) => [...group.children].map((part) => Math.round(part.getBoundingClientRect().left))"
    )
    assert len(set(columns)) == 3  # before, after, control; the prompt above the first
    assert page.locator('.written [lang="ko"]').first.inner_text() == "오늘 아침에 우리는"


def test_a_stopped_run_and_one_that_began_are_quiet_and_fit(adapted: Callable[[str], Opened]) -> None:
    stopped = adapted("stopped")
    size: Any = PHONE
    stopped.page.set_viewport_size(size)
    assert stopped.page.inner_text("#training-status").startswith("This run stopped: stage odd-blocks forgot 16.0 %")
    assert len(shown_rows(stopped, "table-stages")) == 1 + 1 + 2
    begun = adapted("begun")
    begun.page.set_viewport_size(size)
    row = ["1", "ko", "target", "300,000", "0.600", "0.250", "2.6000", "2.7500", "2.7500", "+5.8 %"]
    assert shown_rows(begun, "table-texts") == [row]
    assert begun.page.locator("#training svg").count() == 1
    for opened in (stopped, begun):
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert (opened.errors, opened.requests) == ([], [])


def test_hostile_stages_prompts_and_texts_are_text_and_widen_nothing(adapted: Callable[[str], Opened]) -> None:
    opened = adapted("hostile")
    page = opened.page
    shown = HOSTILE.replace("\u202e", "U+202E").replace("\u0000", "U+0000")
    for viewport in (LAPTOP, PHONE):
        size: Any = viewport
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert shown in page.locator("#training-status").text_content()
    assert page.locator(".written .prompt").first.text_content() == shown
    assert shown in [row[1] for row in shown_rows(opened, "table-texts")]
    assert shown in shown_rows(opened, "table-stages")[2][0]
    assert page.locator("#training :is(script, img, b b, iframe)").count() == 0
    assert page.evaluate("window.harm ?? null") is None
    assert (opened.errors, opened.requests) == ([], [])


def test_on_paper_the_training_is_open_and_light(adapted: Callable[[str], Opened]) -> None:
    opened = adapted("full")
    page = opened.page
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for place in ("#table-stages", "#table-control", "[data-chart=training_bits] svg", ".written"):
        assert page.locator(place).first.is_visible(), place
    line = page.locator("[data-chart=training_bits] .k-s0").first
    assert line.evaluate("(part) => getComputedStyle(part).stroke") == INK["light"]


def test_the_page_grows_little_and_paints_as_fast(korean: Run, pages: dict[str, Path], open_page: Open) -> None:
    """Three charts and tables cost some 100 kB; the first paint does not wait for anything more."""
    before, after = (path.stat().st_size for path in (korean.out / "report.html", pages["full"]))
    assert after - before < 150_000
    opened = ready(open_page(pages["full"]))
    paint = opened.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
    assert paint < 3_000
