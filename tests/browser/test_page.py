"""report.html in Chromium: every number follows the slider, nothing leaves the page, and it fits screen and paper."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from browser.conftest import Opened
from browser.pages import LAPTOP, PHONE, Open, live, plot_of, ready, words_at
from vocabopt.report import text
from vocabopt.report.page import asset

pytestmark = pytest.mark.browser


# --- The size --------------------------------------------------------------------------------------------------------


def test_numbers_before_the_slider_is_touched_are_those_of_the_choice(korean: Run, report: Opened) -> None:
    assert live(report) == words_at(korean, korean.sweep["choice"]["n_added"])


def test_every_number_follows_the_slider(korean: Run, report: Opened) -> None:
    end = len(korean.curve)
    for size in (0, 1, 2, 100, end // 2, end - 1, end):
        report.page.fill("#size-slider", str(size))
        report.page.wait_for_selector(f"#size-told ~ section [data-live=size]:text-is('{size:,}')")
        assert live(report) == words_at(korean, size), size


def test_the_script_writes_every_number_as_the_page_had_it(open_page: Open, tmp_path: Path) -> None:
    """Halves above all: Python's own formatting takes them to even, JavaScript's away from zero."""
    (tmp_path / "page.html").write_text("<!DOCTYPE html><title>empty</title>")
    values = [n / 32 for n in range(-64, 65)] + [n / 1600 for n in range(1600)] + [0.00125, 0.99995, 1e-12, 1234.5]
    values += [n * 50_000.0 for n in range(1, 60)] + [999_999.9, 1.25e9, 2.35e12, 1e15]
    shown = open_page(tmp_path / "page.html").page.evaluate(
        f"(values) => {{ {asset('format.js')}; return values.map((value) => [percent(value), fixed(value), "
        "fixed(value, 4), times(value), shortCount(value), count(value)]); }",
        values,
    )
    assert shown == [
        [text.percent(value), text.fixed(value), text.fixed(value, 4), text.times(value), text.short_count(value),
         text.count(value)]
        for value in values
    ]  # fmt: skip


def test_size_is_set_by_keyboard_by_number_and_back(korean: Run, report: Opened) -> None:
    page, end, choice = report.page, len(korean.curve), korean.sweep["choice"]["n_added"]
    heading = page.locator("#explore h2 [data-live=size]")

    def assert_size(size: int) -> None:
        page.wait_for_selector(f"#explore h2 [data-live=size]:text-is('{size:,}')", timeout=5_000)
        assert heading.inner_text() == f"{size:,}"
        assert page.input_value("#size-field") == page.input_value("#size-slider") == str(size)

    assert page.locator("#size-back").is_disabled()
    page.focus("#size-slider")
    page.keyboard.press("ArrowRight")
    assert_size(choice + 1)
    page.keyboard.press("End")
    assert_size(end)
    page.keyboard.press("Home")
    assert_size(0)
    page.click("#size-back")
    assert_size(choice)
    page.fill("#size-field", str(end + 1_000))
    page.keyboard.press("Tab")
    assert_size(end)
    page.fill("#size-field", "")
    page.keyboard.press("Tab")
    assert_size(end)
    assert page.get_attribute("#size-slider", "aria-valuetext") == f"{end:,} added tokens"
    page.wait_for_selector(f"#size-told:has-text('{end:,} added tokens')", state="attached")


# --- Charts ----------------------------------------------------------------------------------------------------------


def test_line_dots_and_read_outs_of_each_chart_follow(korean: Run, report: Opened) -> None:
    size, end = len(korean.curve) // 3, len(korean.curve)
    report.page.fill("#size-slider", str(size))
    report.page.wait_for_selector(f"[data-chart=complexity] .where:text-is('at {size:,}')")
    for chart in ("complexity", "rules", "sets", "used"):
        found = plot_of(report, chart)
        left, _, width, _ = found["plot"]
        assert found["line"] == pytest.approx(left + width * size / end, abs=0.01), chart
    found, words = plot_of(report, "complexity"), words_at(korean, size)
    (ratio,) = words["ratio:0"]
    left, top, width, height = found["plot"]
    assert found["dots"][0] == pytest.approx([left + width * size / end, top + height * (1 - float(ratio))], abs=0.02)
    assert f"heldout {ratio}" in found["told"]
    assert f"in use {min(words['used'])}" in plot_of(report, "used")["told"]


def test_the_pointer_reads_another_size_and_a_click_takes_it(korean: Run, report: Opened) -> None:
    page, end, choice = report.page, len(korean.curve), korean.sweep["choice"]["n_added"]
    page.evaluate("document.getElementById('recommendation').scrollIntoView()")
    found = plot_of(report, "complexity")
    left, top, width, height = found["plot"]
    x = found["left"] + found["scale"] * (left + width * 0.75)
    y = found["top"] + found["scale"] * (top + height / 2)
    page.mouse.move(x, y)
    told = plot_of(report, "complexity")["told"]
    size = int(told.split()[1].replace(",", ""))
    assert size == pytest.approx(0.75 * end, abs=end / 100)
    assert page.input_value("#size-slider") == str(choice)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(f"#explore h2 [data-live=size]:text-is('{size:,}')")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - found["scale"] * width / 2, y, steps=4)
    page.mouse.up()
    assert int(page.input_value("#size-slider")) == pytest.approx(0.25 * end, abs=end / 100)


# --- The page itself -------------------------------------------------------------------------------------------------


def paper_of(report: Opened) -> str:
    colour: str = report.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_dark_and_light_follow_the_system_until_the_reader_chooses(report: Opened) -> None:
    page = report.page
    page.emulate_media(color_scheme="light")
    light = paper_of(report)
    page.emulate_media(color_scheme="dark")
    dark = paper_of(report)
    assert (light, dark) == ("rgb(253, 253, 252)", "rgb(22, 25, 31)")
    ink = "getComputedStyle(document.querySelector('[data-chart=complexity] .k-s0')).stroke"
    assert page.evaluate(ink) == "rgb(109, 179, 248)"
    page.click("#theme")
    assert paper_of(report) == light
    assert page.evaluate(ink) == "rgb(10, 95, 180)"
    page.reload()
    ready(report)
    assert paper_of(report) == light
    page.click("#theme")
    page.emulate_media(color_scheme="light")
    assert paper_of(report) == dark
    page.emulate_media(media="print")
    assert page.evaluate(ink) == "rgb(10, 95, 180)"
    report.requests.clear()  # the reload


def test_policy_holds_against_what_the_page_does_not_bring(korean: Run, open_page: Open) -> None:
    opened = ready(open_page(korean.out / "report.html"))
    blocked = opened.page.evaluate(
        """async () => {
          const blocked = [];
          document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.harm = 1";
          document.body.append(script);
          document.body.insertAdjacentHTML(
            "beforeend", "<p style='color: red' onclick='harm = 1'>x</p><img src='data:,'>");
          document.body.lastElementChild.previousElementSibling.click();
          await fetch("https://example.org/").catch(() => null);
          // Later, since what this call runs itself is let through.
          setTimeout(() => { try { Function("return 1")(); } catch (error) { blocked.push(error.name); } });
          await new Promise((resolve) => setTimeout(resolve, 200));
          return [blocked, window.harm ?? null];
        }"""
    )
    assert blocked[1] is None
    assert set(blocked[0]) >= {
        "script-src-elem",
        "style-src-attr",
        "script-src-attr",
        "img-src",
        "connect-src",
        "EvalError",
    }


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_first_screen_holds_recommendation_numbers_and_curve(report: Opened, viewport: Any) -> None:
    page = report.page
    page.set_viewport_size(viewport)
    for place in ("h1", ".lead", ".numbers", "[data-chart=complexity] svg"):
        frame = page.locator(place).bounding_box()
        assert frame is not None
        assert frame["y"] + frame["height"] <= viewport["height"], place
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_everything_that_can_be_used_has_a_name(report: Opened) -> None:
    nameless = report.page.evaluate(
        """() => [...document.querySelectorAll("input, textarea, button, summary, a, [role=region], svg")].filter(
          (element) => !(element.labels?.length || element.ariaLabel || element.textContent.trim()
            || element.getAttribute("aria-labelledby"))).map((element) => element.outerHTML.slice(0, 80))"""
    )
    assert nameless == []


def test_without_javascript_the_report_is_whole_to_read(korean: Run, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport=LAPTOP)
    page = context.new_page()
    page.goto((korean.out / "report.html").as_uri())
    for place in (
        "h1",
        ".numbers",
        "#figure-complexity svg",
        "#table-rules",
        "#table-first",
        "#table-last",
        "noscript p",
    ):
        assert page.locator(place).first.is_visible(), place
    for place in ("#bar", "#token-search", "#samples", "#playground-tools", "#theme"):
        assert not page.locator(place).is_visible(), place
    page.locator("summary", has_text="The table of sizes").click()
    assert page.locator("#table-points").is_visible()
    context.close()


def test_on_paper_every_table_is_open_and_nothing_that_moves_is_left(report: Opened) -> None:
    page = report.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for place in ("#table-points", "#table-windows", "#table-first", "#table-used"):
        assert page.locator(place).is_visible(), place
    for place in ("#bar", "#token-search", "#samples", "#playground", "#theme"):
        assert not page.locator(place).is_visible(), place
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert not page.locator("#table-points").is_visible()
