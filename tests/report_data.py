"""A hand-made run for the tests of the report, and its page as a browser would see it."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vocabopt.records import RunRecord, SweepRecord, record_of
from vocabopt.report.page import write_report
from vocabopt.report.view import View
from vocabopt.training_record import AdaptRecord
from vocabopt.verification.record import Report

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
        "dry": dry,
        "sets": {name: {"n_tokens": n_tokens} for name, n_tokens in counts.items()},
    }


def ratio_of(sweep: dict[str, Any], point: dict[str, Any], name: str) -> float:
    """ratio_input of a set at a size."""
    return float(point["sets"][name]["n_tokens"] / sweep["sets"][name]["n_tokens_base"])


def fake_sets(roles: dict[str, tuple[str, float]]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "role": role, "n_documents": 1000 * i, "n_bytes": 7_654_321 * i, "n_chars": 2_600_000 * i,
            "n_words": 812_345 * i, "n_special_tokens": 0, "n_blank": 0, "n_skipped": 0, "n_lost_chars": 0,
            "n_tokens_base": 4_000_003 * i, "entropy_bits_base": 10.0,
        }
        for i, (name, (role, _)) in enumerate(roles.items(), start=1)
    }  # fmt: skip


def fake_run(
    n_added: int = 900,
    sizes: tuple[int, ...] = (0, 200, 400, 800),
    choice: int = 400,
    roles: dict[str, tuple[str, float]] | None = None,
) -> tuple[dict[str, Any], pl.DataFrame, dict[str, Any]]:
    """What a sweep would hand over: sweep.json, the curve, run.json."""
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
    sweep = {
        "format_version": 1,
        "method": "grow",
        "base": {"name": "mistral-7b-v1", "family": "sentencepiece-bpe", "source": "mistral-7b-v1", "pattern": None,
                 "specials": None, "sha256": "9f" * 32, "n_tokens": BASE_ROWS, "n_rows": BASE_ROWS},
        "model": {"name": "solar-10.7b", "hidden_size": HIDDEN, "n_rows": BASE_ROWS, "tied_embeddings": False,
                  "source": "preset", "architecture": None},
        "scripts": ["Hangul"],
        "guard": {"scripts": ["Hangul"], "scripts_from": "text", "min_script_share": 0.1,
                  "n_letters": {"Hangul": 990, "Latin": 10}, "protected_sets": ["en"]},
        "sets": sets,
        "points": points,
        "max_added": max(n_added, 1),
        "exhausted_at": n_added if dry or not n_added else None,
        "n_blocked": 1234,
        "options": {"paths": ["corpus/"], "out": "run", "sizes": ",".join(map(str, sizes))},
        "curve_sha256": "00" * 32,
        "proof": {"n_documents": 7, "n_whole_documents": 7, "n_excerpts": 0, "n_bytes": 700, "n_tokens": 300,
                  "is_all": True, "n_features": 50, "n_features_held": 50},
        "learned": {"n_below": 65_536, "n_folds": 32, "train_alone": False, "all_protected": False, "n_documents": 7,
                    "n_bytes": 700, "n_tokens_base": {name: given["n_tokens_base"] for name, given in sets.items()}},
        "n_scaffold": {str(size): size // 100 for size in sizes if size},
        "choice": fake_choice(choice, (sizes[1], min(sizes[-1], n_added)) if n_added else (0, 0), sets, curve),
    }  # fmt: skip
    run = {
        "format_version": 1,
        "counts_version": 2,
        "versions": {"vocabopt": "0.1.0", "python": "3.11.7", "polars": "2.1.0", "tokenizers": "0.22.1"},
        "inputs": [
            {"url": f"corpus/{name}/part-{i}.jsonl.zst", "text_set": name, "n_bytes": 1_234_567 * i,
             "role": given["role"], "fingerprint": f"{i:02x}" * 16}
            for name, given in sets.items() for i in (1, 2)
        ],
        "inputs_sha256": "11" * 32,
        "seconds": {"prepare": 3.21, "growth": 12.9, "report": 0.004, "nothing": 0.0},
        "peak_memory_bytes": 1_287_654_321,
        "command": "vocabopt sweep corpus/ --base mistral-7b-v1 --out reports/corpus-mistral-7b-v1",
        "started_at": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return sweep, curve, run


def fake_choice(
    size: int, window: tuple[int, int], sets: dict[str, dict[str, Any]], curve: pl.DataFrame
) -> dict[str, Any]:
    """A choice with one answer of every kind."""
    rules: list[dict[str, Any]] = [
        {"name": "knee", "kind": "knee", "n_added": max(size - 3, 0), "bound": "at"},
        {"name": "kneedle", "kind": "knee", "n_added": 350, "bound": "at"},
        {"name": "flops-train", "kind": "flops", "n_added": curve.height, "bound": "at_least", "ratio_flops": 0.5},
        {"name": "exposure-1000", "kind": "exposure", "n_added": 120, "bound": "at", "n_times": 1000},
        {"name": "memory-serve", "kind": "memory", "n_added": None, "bound": "none"},
        {"name": "muv", "kind": "law", "n_added": 90, "bound": "at"},
        {"name": "law-1", "kind": "law", "n_added": curve.height + 5_000, "bound": "at",
         "n_rows": BASE_ROWS + curve.height + 5_000},
    ]  # fmt: skip
    return {
        "rule": "knee",
        "n_added": size,
        "knee": max(size - 3, 0),
        "window": list(window),
        "set": "heldout",
        "named": max(size - 3, 0),
        "limit": curve.height,
        "clipped_by": None,
        "interval": {"share": 0.9, "low": max(size - 40, 0), "high": size + 50, "n_resamples": 1000,
                     "n_without_knee": 3, "n_folds": 32},
        "windows": {"starts": [0, 200], "ends": [400, 800], "knees": [[110, 230], [None, 410]]},
        "knees": {name: None if given["role"] == "protected" else 380 + i
                  for i, (name, given) in enumerate(sets.items())},
        "rules": rules,
        "paper_axis": {"vocab_size": 500, "n_overlap": 66},
        "union_knees": [],
        "model_cost": {
            "n_body_params": 7_000_000_000, "n_active_body_params": 7_000_000_000, "n_layers": 32, "n_heads": 32,
            "n_kv_heads": 8, "head_dim": 128, "context_tokens": 4096,
            "flops": {"body_per_token": 14_000_000_000, "attention_per_token_per_context_token": 524_288,
                      "head_per_row": 2 * HIDDEN},
        },
        "options": {"train_tokens": 10**9},
        "fixed": {"min_interval_folds": 5},
        "point": fake_point(size, sets, curve),
    }  # fmt: skip


def without_heldout() -> tuple[dict[str, Any], pl.DataFrame, dict[str, Any]]:
    """What a sweep with --heldout 0 leaves: a held-out set without documents."""
    sweep, curve, run = fake_run()
    sweep["sets"]["heldout"] |= dict.fromkeys(("n_documents", "n_bytes", "n_chars", "n_words", "n_tokens_base"), 0)
    curve = curve.with_columns(n_tokens_heldout=pl.lit(0, pl.Int64), n_used_heldout=pl.lit(0, pl.Int64))
    sweep["points"] = [fake_point(point["n_added"], sweep["sets"], curve) for point in sweep["points"]]
    sweep["choice"] |= {"set": "train", "point": fake_point(sweep["choice"]["n_added"], sweep["sets"], curve)}
    return sweep, curve, run


def records_of(
    sweep: dict[str, Any], curve: pl.DataFrame, run: dict[str, Any]
) -> tuple[SweepRecord, pl.DataFrame, RunRecord]:
    """The same as the records that the report takes."""
    path = Path("sweep.json")
    return record_of(sweep, SweepRecord, path, str), curve, record_of(run, RunRecord, path, str)


def fake_verify(**changes: Any) -> dict[str, Any]:
    """verify.json, every field of it."""
    compared = {"name": "b", "source": "b", "sha256": "0" * 64, "written": "a tokenizer.json", "forms": {},
                "n_tokens": BASE_ROWS, "refusal": None}  # fmt: skip
    check = {"name": "Ids stay", "status": "pass", "summary": "32,000 of 32,000", "counts": {}, "examples": []}
    return {
        "format_version": 1, "passed": True, "verdict": "pass", "base": compared, "new": {**compared, "name": "n"},
        "n_new": 7, "scripts": ["Hangul"], "scripts_from": "script", "options": {}, "checks": [check], "versions": {},
        "seconds": {}, "proof": None, **changes,
    }  # fmt: skip


def inputs_of(options: dict[str, Any]) -> dict[str, Any]:
    """Records of what other commands left, given as their JSON; other options as they are."""
    kinds: dict[str, Any] = {"adapt": AdaptRecord, "verify": Report}
    return {
        name: record_of(value, kinds[name], Path(f"run/{name}.json"), str) if name in kinds else value
        for name, value in options.items()
    }


def view_of(sweep: dict[str, Any], curve: pl.DataFrame, run: dict[str, Any], **options: Any) -> View:
    return View(*records_of(sweep, curve, run), **inputs_of(options))


def rendered(
    out: Path, sweep: dict[str, Any], curve: pl.DataFrame, run: dict[str, Any], **options: Any
) -> tuple[str, "Page"]:
    html = write_report(out, view_of(sweep, curve, run, **options)).read_text(encoding="utf-8")
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
    sweep["options"]["paths"] = [HOSTILE]
    sweep["choice"]["rules"][-1]["name"] = sweep["choice"]["rule"] = HOSTILE
    sweep["choice"]["options"]["text_set"] = HOSTILE
    run["inputs"][0]["url"] = "corpus/" + HOSTILE + "\udc80"
    run["versions"][HOSTILE] = run["command"] = HOSTILE
    run["seconds"][HOSTILE] = 1.0
    return sweep, curve, run
