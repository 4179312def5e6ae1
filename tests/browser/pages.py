"""What the browser tests of report.html share: the page opened and ready, its numbers, and what they are to be."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conftest import Run

from browser.conftest import Opened
from vocabopt.report import text

Open = Callable[[Path], Opened]
PHONE, LAPTOP = {"width": 400, "height": 800}, {"width": 1280, "height": 800}


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


def rows_of(opened: Opened) -> list[list[str]]:
    found: list[list[str]] = opened.page.evaluate(
        "[...document.querySelectorAll('#table-added tbody tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    )
    return found
