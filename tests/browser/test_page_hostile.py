"""Text that would act if it could, in every page and every part of one: it is shown, cut exactly, and does nothing."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import vocabopt, written
from conftest import Run
from helpers import CORPUS, merged, toy_sentencepiece
from report_data import HOSTILE, records_of

from browser.conftest import Opened
from browser.pages import PHONE, Open, live, ready
from vocabopt.report import text
from vocabopt.report.page import rebuild_report, write_report
from vocabopt.report.view import View

pytestmark = pytest.mark.browser

TURNED = "뉴스\u2067 \u202e-->"
ACTING = [
    HOSTILE,
    "</script><script>window.harm = 1</script>",
    "<!--<script>",
    "한국어 \u200fעברית\u202e txet \u2066 <bdo dir=rtl>",
    "\" onclick='harm=1' \u0000\u0000 \u0007 ${harm=1} `",
]
LONG = ["가" * 10_000_000, "a\u0301" * 5_000_000]


def hostile_page(korean: Run, out: Path) -> Path:
    """A real run under hostile names, chosen on a text set of its own."""
    sweep: dict[str, Any] = json.loads(json.dumps(korean.sweep))
    sweep["sets"] |= {name: {**sweep["sets"]["train"], "role": "eval"} for name in (HOSTILE, TURNED)}
    kinds = ("n_tokens", "n_used", "entropy_bits")
    columns = [pl.col(f"{kind}_train").alias(f"{kind}_{name}") for kind in kinds for name in (HOSTILE, TURNED)]
    for point in (*sweep["points"], sweep["choice"]["point"]):
        point["sets"] |= dict.fromkeys((HOSTILE, TURNED), point["sets"]["train"])
    sweep["choice"] |= {"set": HOSTILE, "rule": HOSTILE, "knees": {HOSTILE: None}}
    sweep["choice"]["options"]["text_set"] = sweep["choice"]["rules"][0]["name"] = HOSTILE
    sweep["base"]["name"] = sweep["model"]["name"] = HOSTILE
    samples = {"heldout": ACTING, HOSTILE: list(reversed(ACTING)), TURNED: LONG}
    run = json.loads((korean.out / "run.json").read_bytes()) | {"command": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    shown = records_of(sweep, korean.curve.with_columns(columns), run)
    return write_report(out, View(*shown, samples=samples, base=korean.base))


@pytest.fixture
def hostile(korean: Run, open_page: Open, tmp_path: Path) -> Opened:
    opened = open_page(hostile_page(korean, tmp_path))
    opened.page.on("dialog", lambda dialog: opened.errors.append(dialog.message))
    return ready(opened)


def assert_nothing_acted(opened: Opened, n_scripts: int) -> None:
    page = opened.page
    assert page.evaluate("window.harm ?? null") is None
    assert page.locator("script").count() == n_scripts
    assert page.locator("img, bdo, b[onclick]").count() == 0
    assert (opened.errors, opened.requests) == ([], [])


def test_hostile_sentences_are_cut_exactly_and_do_nothing(korean: Run, hostile: Opened) -> None:
    page, size = hostile.page, len(korean.curve)
    page.fill("#size-field", str(size))
    page.wait_for_selector(f"#samples .note [data-live=size]:text-is('{size:,}')")
    tokenizer = merged(korean.base, korean.curve, size)
    buttons = page.locator("#sample-sets button")
    assert buttons.all_text_contents() == ["heldout", text.plain(HOSTILE), text.plain(TURNED)]
    for button, sentences in zip(buttons.all(), (ACTING, ACTING[::-1], LONG), strict=True):
        button.click()
        cuts = page.evaluate(
            """() => [...document.querySelectorAll("#sample-texts [data-side=added]")].map((side) => [
              side.querySelector("b").textContent,
              [...side.querySelectorAll(".t")].map((token) => token.textContent).join("")])"""
        )
        for (n_tokens, shown), sentence in zip(cuts, sentences, strict=True):
            ids = tokenizer.encode(sentence[:600], add_special_tokens=False).ids
            assert n_tokens == f"{len(ids):,} tokens"
            assert not re.search("[\u0000-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069 ]", shown)
            if sentence == ACTING[1]:
                assert shown.removeprefix("\u2423") == sentence.replace(" ", "\u2423")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert_nothing_acted(hostile, n_scripts=3)


def test_hostile_text_in_the_playground_does_nothing(korean: Run, hostile: Opened) -> None:
    page = hostile.page
    given = "\n".join([*ACTING, *(long[:500] for long in LONG)])
    page.check("#playground-ids")
    page.fill("#playground-text", given)
    page.wait_for_selector("#playground-result .beside")
    tokenizer = merged(korean.base, korean.curve, korean.sweep["choice"]["n_added"])
    ids = tokenizer.encode(given, add_special_tokens=False).ids
    found = page.locator("#playground-result [data-side=added] .t small").all_text_contents()
    assert found == [str(i) for i in ids][:1500]
    assert_nothing_acted(hostile, n_scripts=3)


def test_the_first_screen_is_of_the_set_chosen_on_and_holds_its_hostile_name(korean: Run, hostile: Opened) -> None:
    page, base = hostile.page, korean.sweep["sets"]["train"]["n_tokens_base"]
    phone: Any = PHONE
    page.set_viewport_size(phone)
    for size in (0, 7, len(korean.curve)):
        page.fill("#size-field", str(size))
        page.wait_for_selector(f"#explore h2 [data-live=size]:text-is('{size:,}')")
        assert live(hostile)["saved"] == {text.percent(1 - korean.count("train", size) / base)}
    told = page.locator("#size-told:has-text('tokens saved on text set')")
    told.wait_for(state="attached", timeout=5_000)
    assert text.plain(HOSTILE[:20]) in told.inner_text()
    assert text.plain(HOSTILE[:20]) in page.inner_text("[data-chart=complexity] .readout")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert_nothing_acted(hostile, n_scripts=3)


def test_a_page_without_its_curve_is_whole_and_quiet(
    korean: Run, open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocabopt.report import page as report_page

    monkeypatch.setattr(report_page, "MAX_PAGE_BYTES", 1_000)
    opened = ready(open_page(rebuild_report(shutil.copytree(korean.out, tmp_path / "run"))))
    for place in ("#no-slider", "#no-search", "#no-playground", "#table-first", "#theme"):
        assert opened.page.locator(place).is_visible(), place
    for place in ("#bar", "#token-search", "#script-problem"):
        assert not opened.page.locator(place).is_visible(), place
    assert (opened.errors, opened.requests) == ([], [])


@pytest.fixture(scope="module")
def other_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """sensitivity.html and analyze.html of texts and tokenizers whose names look like markup."""
    root = tmp_path_factory.mktemp("pages")
    names = ['a style="b:c"', "<img src=x onerror=alert(1)>"]
    corpora = [root / f"{name}.txt" for name in names]
    for path, part in zip(corpora, ("chat", "news"), strict=True):
        path.write_text((CORPUS / "ko" / f"{part}.txt").read_text("utf-8"), encoding="utf-8")
    result = vocabopt("sensitivity", *corpora, "--heldout", 0.2, "--size", 100, "--out", root / "s", "--quiet")
    assert result.exit_code == 0, result.output
    folders = [written(root / name / "tokenizer.json", json.dumps(toy_sentencepiece("학교에가다"))) for name in names]
    texts = ["--text", f"<script>alert(1)</script>\u202e={corpora[0]}", "--text", f"en={CORPUS / 'en'}"]
    analyzed = [folder.parent for folder in folders]
    result = vocabopt("analyze", *analyzed, *texts, "--morpheme-documents", 0, "--out", root / "a", "--quiet")
    assert result.exit_code == 0, result.output
    return {"sensitivity": root / "s" / "sensitivity.html", "analyze": root / "a" / "analyze.html"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["sensitivity", "analyze"])
def test_the_other_pages_are_quiet_in_both_themes_and_their_policy_holds(
    other_pages: dict[str, Path], open_page: Open, name: str, scheme: Any
) -> None:
    opened = open_page(other_pages[name])
    page = opened.page
    page.emulate_media(color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in paper[4:-1].split(",")) < 300) == (scheme == "dark")
    assert page.locator("svg").count() >= 1
    shown = page.locator("body").inner_text()
    assert 'a style="b:c"' in shown
    assert "<img src=x onerror=alert(1)>" in shown
    assert page.locator("img").count() == 0
    assert (opened.errors, opened.requests) == ([], [])
    blocked = page.evaluate(
        """async () => {
          const blocked = [];
          document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
          document.body.insertAdjacentHTML(
            "beforeend", "<p style='color: red' onclick='harm = 1'>x</p><img src='data:,'>");
          const script = document.createElement("script");
          script.textContent = "window.harm = 1";
          document.body.append(script);
          await fetch("https://example.org/").catch(() => null);
          await new Promise((resolve) => setTimeout(resolve, 100));
          return [window.harm ?? null, blocked];
        }"""
    )
    assert blocked[0] is None
    assert set(blocked[1]) >= {"script-src-elem", "style-src-attr", "img-src", "connect-src"}
