"""A hand-made run for the tests of the report, and its page as a browser would see it."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vocabopt.choice.complexity import ratio
from vocabopt.report import write_report

HIDDEN = 4096
BASE_ROWS = 32_000
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\u202egnp.\u0000{{ 7*7 }}$x^2$&amp;"


def fake_curve(n_added: int, sets: dict[str, dict[str, Any]], floors: dict[str, float], seed: int = 0) -> pl.DataFrame:
    """A curve that falls by a power law towards each set's floor; a floor of 1 stays flat."""
    rng = np.random.default_rng(seed)
    ranks = np.arange(1, n_added + 1)
    falling = (1 + ranks / 40) ** -0.25
    columns: dict[str, Any] = {"rank": ranks}
    syllables = rng.integers(0xAC00, 0xD7A4, size=(n_added, 3))
    lengths = rng.integers(1, 4, size=n_added)
    pieces = [
        ("\u2581" if row[0] % 2 else "") + "".join(map(chr, row[:length]))
        for row, length in zip(syllables.tolist(), lengths.tolist(), strict=True)
    ]
    columns["piece"] = pieces
    columns["bytes"] = [piece.replace("\u2581", " ").encode() for piece in pieces]
    columns["kind"] = np.where(ranks % 40 == 0, "step", np.where(lengths == 1, "char", "merge"))
    for name, given in sets.items():
        base = given["n_tokens_base"]
        tokens = np.round(base * (floors[name] + (1 - floors[name]) * falling)).astype(np.int64)
        columns[f"n_tokens_{name}"] = tokens
        columns[f"n_used_{name}"] = np.round(ranks * np.exp(-ranks / 90_000)).astype(np.int64)
        columns[f"entropy_bits_{name}"] = 10 + np.log2(1 + ranks / 500)
    train = np.concatenate(
        (
            [next(iter(sets.values()))["n_tokens_base"]],
            next(columns[f"n_tokens_{name}"] for name in sets if sets[name]["role"] == "train"),
        )
    )
    columns["saving"] = -np.diff(train)
    columns["left"] = rng.integers(0, BASE_ROWS, size=n_added)
    columns["right"] = rng.integers(0, BASE_ROWS, size=n_added)
    return pl.DataFrame(columns)


def fake_point(n_added: int, sets: dict[str, dict[str, Any]], curve: pl.DataFrame) -> dict[str, Any]:
    dry = n_added > curve.height
    at = min(n_added, curve.height)
    counts = {
        name: given["n_tokens_base"] if at == 0 else curve.item(at - 1, f"n_tokens_{name}")
        for name, given in sets.items()
    }
    rows = BASE_ROWS + at
    return {
        "n_added": n_added,
        "n_rows_total": rows,
        "n_embedding_params": rows * HIDDEN * 2,
        "ratio_embedding": rows / BASE_ROWS,
        "dry": dry,
        "sets": {
            name: {"n_tokens": n_tokens, "ratio_input": ratio(n_tokens, sets[name]["n_tokens_base"])}
            for name, n_tokens in counts.items()
        },
    }


def fake_sets(roles: dict[str, tuple[str, float]]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "role": role, "n_documents": 1000 * i, "n_bytes": 7_654_321 * i, "n_chars": 2_600_000 * i,
            "n_words": 812_345 * i, "n_tokens_base": 4_000_003 * i, "n_special_tokens": 0, "n_blank": 0, "n_skipped": 0,
        }
        for i, (name, (role, _)) in enumerate(roles.items(), start=1)
    }  # fmt: skip


def fake_run(
    n_added: int = 900,
    sizes: tuple[int, ...] = (0, 200, 400, 800),
    choice: int = 400,
    roles: dict[str, tuple[str, float]] | None = None,
) -> tuple[dict[str, Any], pl.DataFrame, dict[str, Any]]:
    """What a sweep would hand over: sweep, curve, run."""
    roles = roles or {
        "train": ("train", 0.2),
        "heldout": ("heldout", 0.24),
        "en": ("protected", 1.0),
        "news": ("eval", 0.31),
    }
    sets = fake_sets(roles)
    curve = fake_curve(n_added, sets, {name: floor for name, (_, floor) in roles.items()})
    points = [fake_point(size, sets, curve) for size in sizes]
    dry = any(point["dry"] for point in points)
    window = [sizes[1], min(sizes[-1], n_added)] if n_added else None
    sweep = {
        "format_version": 1,
        "method": "grow",
        "base": {"name": "mistral-7b-v1", "family": "sentencepiece-bpe", "n_tokens": BASE_ROWS, "n_rows": BASE_ROWS,
                 "sha256": "9f" * 32},
        "model": {"name": "solar-10.7b", "hidden_size": HIDDEN, "n_rows": BASE_ROWS, "tied_embeddings": False,
                  "source": "preset"},
        "scripts": ["Hangul"],
        "options": {"sizes": list(sizes), "min_saving": 2, "heldout": 0.05, "protect": {}, "model": None},
        "sets": sets,
        "points": points,
        "max_added": n_added,
        "exhausted_at": n_added if dry else None,
        "n_blocked": 1234,
        "n_scaffold": {str(size): size // 100 for size in sizes if size},
        "choice": {"rule": "knee", "n_added": choice, "window": window, "set": "heldout",
                   "reason": f"The knee of the held-out curve lies at {choice:,}, rounded so that all rows are a "
                             "multiple of 128."},
    }  # fmt: skip
    run = {
        "versions": {"vocabopt": "0.1.0", "python": "3.11.7", "polars": "2.1.0", "tokenizers": "0.22.1"},
        "inputs": [
            {"url": f"corpus/{name}/part-{i}.jsonl.zst", "text_set": name, "n_bytes": 1_234_567 * i,
             "fingerprint": f"{i:02x}" * 16}
            for name in sets for i in (1, 2)
        ],
        "seconds": {"prepare": 3.21, "growth": 12.9, "report": 0.004, "nothing": 0.0},
        "peak_memory_bytes": 1_287_654_321,
        "command": "vocabopt sweep corpus/ --base mistral-7b-v1 --out reports/corpus-mistral-7b-v1",
        "started_at": "2026-01-02T03:04:05+00:00",
        "notes": ["Two documents were cut at 1 MB."],
    }  # fmt: skip
    return sweep, curve, run


def without_heldout() -> tuple[dict[str, Any], pl.DataFrame, dict[str, Any]]:
    """What a sweep with --heldout 0 leaves: a held-out set without documents."""
    sweep, curve, run = fake_run()
    sweep["sets"]["heldout"] |= dict.fromkeys(("n_documents", "n_bytes", "n_chars", "n_words", "n_tokens_base"), 0)
    curve = curve.with_columns(n_tokens_heldout=pl.lit(0, pl.Int64), n_used_heldout=pl.lit(0, pl.Int64))
    sweep["points"] = [fake_point(point["n_added"], sweep["sets"], curve) for point in sweep["points"]]
    sweep["choice"] |= {"set": "train", "reason": "The knee of the training curve."}
    return sweep, curve, run


def full_choice(sweep: dict[str, Any]) -> dict[str, Any]:
    """The sweep with all that a choice of this version holds."""
    choice = sweep["choice"]
    n_max = sweep["max_added"]
    size = choice["n_added"]
    rules: list[tuple[str, str, int | None, str, bool]] = [
        ("knee", "knee", size - 3, "at", False),
        ("kneedle", "knee", 350, "at", False),
        ("flops-train", "flops", n_max, "at_least", False),
        ("exposure-1000", "exposure", 120, "at", False),
        ("memory-serve", "memory", None, "none", False),
        ("muv", "law", 90, "at", True),
        ("law-1", "law", n_max + 5_000, "at", True),
    ]
    choice |= {
        "knee": size - 3,
        "clipped_by": None,
        "interval": {"share": 0.9, "low": size - 40, "high": size + 50, "n_resamples": 1000, "n_without_knee": 3,
                     "n_folds": 32},
        "windows": {"starts": [0, 200], "ends": [400, 800], "knees": [[110, 230], [None, 410]]},
        "window_sentence": "The knee follows its window: 110 over 0..400, 410 over 200..800.",
        "agreement_sentence": "Rules without a window agree with nothing.",
        "sets": [{"set": name, "role": given["role"], "knee": None if given["role"] == "protected" else 380 + i,
                  "window": choice["window"]} for i, (name, given) in enumerate(sweep["sets"].items())],
        "rules": [{"name": name, "kind": kind, "n_added": n_added, "bound": bound, "second_opinion": second,
                   "sentence": f"What {name} says.", "source": f"The paper of {name}"}
                  for name, kind, n_added, bound, second in rules],
        "paper_axis": {"vocab_size": 500, "n_overlap": 66, "n_added": 434, "sentence": "On the paper's axis 500."},
        "options": {"window": None, "row_multiple": 128},
        "model_cost": {
            "n_body_params": 7_000_000_000, "n_active_body_params": 7_000_000_000, "n_layers": 32, "n_heads": 32,
            "n_kv_heads": 8, "head_dim": 128, "context_tokens": 4096,
            "flops": {"body_per_token": 14_000_000_000, "attention_per_token_per_context_token": 524_288,
                      "head_per_row": 2 * HIDDEN},
            "gain": None, "left_out": "Norms are left out.",
        },
    }  # fmt: skip
    return sweep


def rendered(out: Path, *given: Any, **options: Any) -> tuple[str, "Page"]:
    html = write_report(out, *given, **options).read_text(encoding="utf-8")
    return html, Page(html)


class Page(HTMLParser):
    """What a browser would see without scripts: elements with their attributes, text, and the cells of each table."""

    VOID = frozenset({"meta", "br", "img", "input", "link", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: dict[str, list[list[str]]] = {}
        self._open: list[tuple[str, str | None]] = []
        self._table: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append((tag, None))
        if tag == "table":
            self._table = dict(attrs).get("id")
            self.rows[self._table or ""] = []
        elif tag == "tr" and self._table:
            self.rows[self._table].append([])
        elif tag in ("td", "th") and self._table:
            self.rows[self._table][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop()[0] == tag, f"</{tag}> closes another element"
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        if any(tag in ("script", "style") for tag, _ in self._open):
            return
        self.text += data
        if self._table and any(tag in ("td", "th") for tag, _ in self._open):
            self.rows[self._table][-1][-1] += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def attributes(self) -> Iterator[tuple[str, str]]:
        return ((name, value or "") for _, attrs in self.elements for name, value in attrs.items())

    def row(self, table: str, first_cell: str) -> list[str]:
        return next(row for row in self.rows[table] if row and row[0].strip() == first_cell)


def hostile_run() -> tuple[dict[str, Any], pl.DataFrame, dict[str, Any]]:
    sweep, curve, run = fake_run(
        roles={
            "train": ("train", 0.2),
            "heldout": ("heldout", 0.24),
            HOSTILE: ("eval", 0.3),
            "뉴스\u2067": ("eval", 0.4),
            '<b>$x_2$ -->"': ("eval", 0.5),
        }
    )
    pieces = curve.get_column("piece").to_list()
    pieces[0], pieces[1], pieces[2] = HOSTILE, "a \u200f\u2581b\u3164", "x" * 10_000_000
    raw: list[bytes] = [piece.replace("\u2581", " ").encode() for piece in pieces]
    raw[3] = b"\xec\x8b"
    curve = curve.with_columns(pl.Series("piece", pieces), pl.Series("bytes", raw))
    sweep["base"]["name"] = sweep["model"]["name"] = HOSTILE
    sweep["options"][HOSTILE] = [HOSTILE]
    full_choice(sweep)["choice"]["reason"] += HOSTILE
    for rule in sweep["choice"]["rules"]:
        rule["sentence"] = rule["source"] = HOSTILE
    sweep["choice"]["rules"][-1]["name"] = sweep["choice"]["window_sentence"] = HOSTILE
    run["inputs"][0]["url"] = "corpus/" + HOSTILE + "\udc80"
    run["notes"] = [HOSTILE]
    run["versions"][HOSTILE] = run["command"] = HOSTILE
    run["seconds"][HOSTILE] = 1.0
    return sweep, curve, run
