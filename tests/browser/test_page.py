"""report.html in Chromium: every number follows the slider, nothing leaves the page, no text in it does harm."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Run
from helpers import CORPUS, lines_of, merged
from report_data import HOSTILE, hostile_run

from browser.conftest import Opened
from vocabopt.report import text, write_report
from vocabopt.report.rebuild import rebuild_report

pytestmark = pytest.mark.browser
Open = Callable[[Path], Opened]
PHONE, LAPTOP = {"width": 400, "height": 800}, {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def korean(run_on: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A sweep of the sample corpus, and its page with everything in it."""
    run = run_on(tmp_path_factory.mktemp("runs") / "korean", "mistral-7b-v1", CORPUS)
    rebuild_report(run.out)
    return run


@pytest.fixture
def opened(korean: Run, open_page: Open) -> Iterator[Opened]:
    found = ready(open_page(korean.out / "report.html"))
    yield found
    assert found.errors == []
    assert found.requests == []


def ready(opened: Opened) -> Opened:
    """The page once all its data are unpacked."""
    opened.page.emulate_media(reduced_motion="reduce")
    opened.page.wait_for_selector("html[data-ready]")
    return opened


def live(opened: Opened) -> dict[str, set[str]]:
    """What each number of the page says now, by its name; twice the same number says the same."""
    found: list[list[str]] = opened.page.evaluate(
        "[...document.querySelectorAll('[data-live]')].map((place) => [place.dataset.live, place.textContent])"
    )
    names: dict[str, set[str]] = {}
    for name, words in found:
        names.setdefault(name, set()).add(words)
    return names


def words_at(run: Run, size: int) -> dict[str, set[str]]:
    """What the numbers of the page are to say, from curve.parquet and sweep.json."""
    sets: Mapping[str, Any] = run.sweep["sets"]
    order = ["heldout", "train", *(name for name in sets if name not in ("heldout", "train"))]
    n_tokens = {name: run.count(name, size) for name in order}
    ratios = {name: n_tokens[name] / sets[name]["n_tokens_base"] for name in order}
    rows, base_rows = [max(run.sweep["base"]["n_rows"], run.base.n_tokens + n) for n in (size, 0)]
    per_row = run.sweep["model"]["hidden_size"] * (1 if run.sweep["model"]["tied_embeddings"] else 2)
    cost, ratio = run.sweep["choice"]["model_cost"], ratios["heldout"]

    def flops(n_rows: int, context: float) -> float:
        given = cost["flops"]
        attention: float = given["attention_per_token_per_context_token"] * context
        return attention + given["body_per_token"] + given["head_per_row"] * n_rows

    context = cost["context_tokens"]
    used = run.curve["n_used_heldout"][size - 1] / size if size else None
    words = {
        "size": text.count(size),
        "recommended": ", as recommended" if size == run.sweep["choice"]["n_added"] else "",
        "saved": text.percent(1 - ratio),
        "rows": text.count(rows),
        "ratio_embedding": text.fixed(rows / base_rows),
        "params": text.short_count(rows * per_row),
        "params_added": text.short_count((rows - base_rows) * per_row),
        "training": text.times(ratio * flops(rows, context) / flops(base_rows, context)),
        "serving": text.times(ratio * flops(rows, context * ratio) / flops(base_rows, context)),
        "context": text.times(1 / ratio),
        "tokens_per_word": text.fixed(n_tokens["heldout"] / sets["heldout"]["n_words"]),
        "bytes_per_token": text.fixed(sets["heldout"]["n_bytes"] / n_tokens["heldout"]),
        "used": text.percent(used),
    }
    for index, name in enumerate(order):
        words[f"tokens:{index}"] = text.count(n_tokens[name])
        words[f"ratio:{index}"] = text.fixed(ratios[name], 4)
        words[f"saved:{index}"] = text.percent(1 - ratios[name])
    return {name: {said} for name, said in words.items()}


# --- The size --------------------------------------------------------------------------------------------------------


def test_numbers_before_the_slider_is_touched_are_those_of_the_choice(korean: Run, opened: Opened) -> None:
    assert live(opened) == words_at(korean, korean.sweep["choice"]["n_added"])


def test_every_number_follows_the_slider(korean: Run, opened: Opened) -> None:
    end = len(korean.curve)
    for size in (0, 1, 2, 100, end // 2, end - 1, end):
        opened.page.fill("#size-slider", str(size))
        opened.page.wait_for_selector(f"#size-told ~ section [data-live=size]:text-is('{size:,}')")
        assert live(opened) == words_at(korean, size), size


def test_size_is_set_by_keyboard_by_number_and_back(korean: Run, opened: Opened) -> None:
    page, end, choice = opened.page, len(korean.curve), korean.sweep["choice"]["n_added"]
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


def plot_of(opened: Opened, chart: str) -> dict[str, Any]:
    found: dict[str, Any] = opened.page.evaluate(
        """(name) => {
          const svg = document.querySelector(`[data-chart=${name}] svg`);
          const numbers = (key) => svg.dataset[key].split(" ").map(Number);
          const dots = [...svg.querySelectorAll("circle.live")].map(
            (dot) => [dot.cx.baseVal.value, dot.cy.baseVal.value]);
          const frame = svg.getBoundingClientRect();
          return { plot: numbers("plot"), x: numbers("x"), y: numbers("y"), dots,
            line: svg.querySelector("line.line").x1.baseVal.value, scale: frame.width / svg.viewBox.baseVal.width,
            left: frame.left, top: frame.top, told: svg.parentElement.querySelector(".readout").innerText };
        }""",
        chart,
    )
    return found


def test_line_dots_and_read_outs_of_each_chart_follow(korean: Run, opened: Opened) -> None:
    size, end = len(korean.curve) // 3, len(korean.curve)
    opened.page.fill("#size-slider", str(size))
    opened.page.wait_for_selector(f"[data-chart=complexity] .where:text-is('at {size:,}')")
    for chart in ("complexity", "rules", "sets", "used"):
        found = plot_of(opened, chart)
        left, _, width, _ = found["plot"]
        assert found["line"] == pytest.approx(left + width * size / end, abs=0.01), chart
    found, words = plot_of(opened, "complexity"), words_at(korean, size)
    (ratio,) = words["ratio:0"]
    left, top, width, height = found["plot"]
    assert found["dots"][0] == pytest.approx([left + width * size / end, top + height * (1 - float(ratio))], abs=0.02)
    assert f"heldout {ratio}" in found["told"]
    assert f"in use {min(words['used'])}" in plot_of(opened, "used")["told"]


def test_the_pointer_reads_another_size_and_a_click_takes_it(korean: Run, opened: Opened) -> None:
    page, end, choice = opened.page, len(korean.curve), korean.sweep["choice"]["n_added"]
    page.evaluate("document.getElementById('recommendation').scrollIntoView()")
    found = plot_of(opened, "complexity")
    left, top, width, height = found["plot"]
    x = found["left"] + found["scale"] * (left + width * 0.75)
    y = found["top"] + found["scale"] * (top + height / 2)
    page.mouse.move(x, y)
    told = plot_of(opened, "complexity")["told"]
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


# --- Tokens ----------------------------------------------------------------------------------------------------------


def rows_of(opened: Opened) -> list[list[str]]:
    found: list[list[str]] = opened.page.evaluate(
        "[...document.querySelectorAll('#table-added tbody tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    )
    return found


def test_search_finds_every_token_that_holds_the_text(korean: Run, opened: Opened) -> None:
    page = opened.page
    ranks = korean.curve.filter(pl.col("piece").str.contains("다", literal=True))["rank"].to_list()
    assert len(ranks) > 100
    page.fill("#token-query", "다")
    assert page.inner_text("#token-found") == f"{len(ranks):,} tokens found"
    found = [row[0] for row in rows_of(opened)]
    while page.locator("[data-turn=on]").is_enabled():
        page.click("[data-turn=on]")
        found += [row[0] for row in rows_of(opened)]
    assert [int(rank.replace(",", "")) for rank in found] == ranks
    page.fill("#token-query", "no such text")
    assert page.inner_text("#token-found") == "0 tokens found"
    assert rows_of(opened) == []


def test_a_rank_is_found_and_the_size_limits_the_search(korean: Run, opened: Opened) -> None:
    page, last = opened.page, len(korean.curve)
    page.fill("#token-query", f"{last:,}")
    given = korean.curve.row(last - 1, named=True)
    assert rows_of(opened)[0][:2] == [f"{last:,}", given["piece"].replace("\u2581", "\u2423")]
    assert rows_of(opened)[0][-1] == str(korean.base.n_tokens + last - 1)
    page.check("#token-within")
    assert page.inner_text("#token-found") == "0 tokens found"
    page.fill("#size-field", str(last))
    page.wait_for_selector("#token-found:text-is('1 token found')")


def test_each_token_is_shown_with_what_it_replaced(korean: Run, opened: Opened) -> None:
    base = korean.base
    texts = [*base.pieces, *korean.curve["bytes"]]
    rows = rows_of(opened)
    assert len(rows) == 50
    kinds = set()
    for row, given in zip(rows, korean.curve.head(50).to_dicts(), strict=True):
        kinds.add(given["kind"])
        parts = [texts[i].decode() for i in (given["left"], given["right"])] if given["kind"] == "merge" else []
        parts = parts or [f"{byte:02X}" for byte in given["bytes"]]
        assert row[2] == " + ".join(part.replace(" ", "\u2423") for part in parts)
    assert kinds == {"merge", "char"}


# --- Sentences and playground ----------------------------------------------------------------------------------------


def cut_of(opened: Opened, place: str) -> list[dict[str, list[str]]]:
    """Per text under `place`: the tokens shown on each side."""
    found: list[dict[str, list[str]]] = opened.page.evaluate(
        """(place) => [...document.querySelectorAll(`${place} .beside`)].map((pair) => Object.fromEntries(
          [...pair.children].map((side) => [
            side.dataset.side, [...side.querySelectorAll(".t")].map((token) => token.textContent)]),
        ))""",
        place,
    )
    return found


def ids_of(opened: Opened) -> dict[str, list[int]]:
    found: dict[str, list[int]] = opened.page.evaluate(
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


def test_sample_sentences_of_every_set_are_cut_again_at_each_size(korean: Run, opened: Opened) -> None:
    page = opened.page
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
            assert [len(cut["added"]) for cut in cut_of(opened, "#sample-texts")] == expected


def test_a_long_paste_is_cut_to_its_beginning_and_says_so(opened: Opened) -> None:
    page = opened.page
    page.evaluate(
        """() => { const field = document.getElementById("playground-text");
          field.value = "가나다라마바사".repeat(200_000); field.dispatchEvent(new Event("input")); }"""
    )
    page.wait_for_selector("#playground-note:has-text('Kept are the first 20,000 characters')", timeout=5_000)
    assert "1,380,000 more were left out" in page.inner_text("#playground-note")
    assert "more tokens" in page.inner_text("#playground-result")


# --- The page itself -------------------------------------------------------------------------------------------------


def paper_of(opened: Opened) -> str:
    colour: str = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_dark_and_light_follow_the_system_until_the_reader_chooses(opened: Opened) -> None:
    page = opened.page
    page.emulate_media(color_scheme="light")
    light = paper_of(opened)
    page.emulate_media(color_scheme="dark")
    dark = paper_of(opened)
    assert (light, dark) == ("rgb(253, 253, 252)", "rgb(22, 25, 31)")
    ink = "getComputedStyle(document.querySelector('[data-chart=complexity] .k-s0')).stroke"
    assert page.evaluate(ink) == "rgb(109, 179, 248)"
    page.click("#theme")
    assert paper_of(opened) == light
    assert page.evaluate(ink) == "rgb(10, 95, 180)"
    page.reload()
    ready(opened)
    assert paper_of(opened) == light
    page.click("#theme")
    page.emulate_media(color_scheme="light")
    assert paper_of(opened) == dark
    page.emulate_media(media="print")
    assert page.evaluate(ink) == "rgb(10, 95, 180)"
    opened.requests.clear()  # the reload


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
def test_first_screen_holds_recommendation_numbers_and_curve(opened: Opened, viewport: Any) -> None:
    page = opened.page
    page.set_viewport_size(viewport)
    for place in ("h1", ".lead", ".numbers", "[data-chart=complexity] svg"):
        frame = page.locator(place).bounding_box()
        assert frame is not None
        assert frame["y"] + frame["height"] <= viewport["height"], place
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_everything_that_can_be_used_has_a_name(opened: Opened) -> None:
    nameless = opened.page.evaluate(
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


def test_on_paper_every_table_is_open_and_nothing_that_moves_is_left(opened: Opened) -> None:
    page = opened.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for place in ("#table-points", "#table-windows", "#table-first", "#table-used"):
        assert page.locator(place).is_visible(), place
    for place in ("#bar", "#token-search", "#samples", "#playground", "#theme"):
        assert not page.locator(place).is_visible(), place
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert not page.locator("#table-points").is_visible()


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_hostile_text_does_nothing_and_moves_nothing(open_page: Open, tmp_path: Path, viewport: Any) -> None:
    page_path = write_report(tmp_path, *hostile_run())
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
