"""The report page: it shows what it is given, reaches for nothing outside, and no text in it can do harm."""

import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vocabopt.report import text, write_report

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
    rows = BASE_ROWS + n_added
    return {
        "n_added": n_added,
        "n_rows_total": rows,
        "n_embedding_params": rows * HIDDEN * 2,
        "ratio_embedding": rows / BASE_ROWS,
        "dry": dry,
        "sets": {
            name: {"n_tokens": n_tokens, "ratio_input": n_tokens / sets[name]["n_tokens_base"]}
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


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text under each id."""

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


def rendered(out: Path, *given: Any) -> tuple[str, Page]:
    html = write_report(out, *given).read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page]:
    out = tmp_path_factory.mktemp("run")
    return out, *rendered(out, *fake_run())


def test_page_is_self_contained_and_says_so(report: tuple[Path, str, Page]) -> None:
    _, html, page = report
    policy = {
        "http-equiv": "Content-Security-Policy",
        "content": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    }
    assert ("meta", policy) in page.elements
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    assert not {name for name, _ in page.attributes()} & {"src", "href", "srcset", "xlink:href", "data", "action"}
    assert "url(" not in html
    assert "@import" not in html
    assert html.count("@media screen and (prefers-color-scheme: dark)") == 2
    assert 'lang="en"' in html


def test_every_id_is_unique_and_every_reference_is_met(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    ids = [value for name, value in page.attributes() if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value for name, value in page.attributes() if name == "aria-labelledby"} <= set(ids)


def test_recommendation_stands_first_with_its_three_numbers(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    sweep, curve, _ = fake_run()
    base = sweep["sets"]["heldout"]["n_tokens_base"]
    after = curve.item(399, "n_tokens_heldout")
    head = page.text[: page.text.index("Two ratios")]
    assert "Add 400 tokens to mistral-7b-v1" in head
    assert sweep["choice"]["reason"] in head
    assert f"{100 * (1 - after / base):.1f} %" in head
    assert f"{base:,} become {after:,}" in head
    assert "32,400 rows in all, from 32,000" in head
    assert "3.3 M" in head  # 400 rows x 4,096 x 2
    assert "ratio 1.0125: from 262,144,000 to 265,420,800 in solar-10.7b".replace("1.0125", f"{1.0125:.3f}") in head


def test_table_of_sizes_shows_the_numbers_given(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    sweep, _, _ = fake_run()
    assert len(page.rows["table-points"]) == 1 + len(sweep["points"])
    for point in sweep["points"]:
        heldout = point["sets"]["heldout"]
        assert page.row("table-points", f"{point['n_added']:,}") == [
            f"{point['n_added']:,}",
            f"{point['n_rows_total']:,}",
            f"{heldout['n_tokens']:,}",
            f"{heldout['ratio_input']:.4f}",
            f"{point['sets']['train']['ratio_input']:.4f}",
            f"{point['ratio_embedding']:.4f}",
            f"{heldout['n_tokens'] / 1_624_690:.3f}",
            f"{15_308_642 / heldout['n_tokens']:.3f}",
            f"{point['n_embedding_params']:,}",
            "the choice" if point["n_added"] == 400 else "",
        ]


def test_tables_of_sets_and_tokens_show_what_was_given(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    sweep, curve, _ = fake_run()
    rows = {row[1]: row for row in page.rows["table-sets"][1:]}
    assert list(rows) == ["heldout", "train", "en", "news"]
    ratio = curve.item(399, "n_tokens_news") / sweep["sets"]["news"]["n_tokens_base"]
    assert rows["news"][2:6] == ["eval", "4,000", "30,617,284", "3,249,380"]
    assert rows["news"][-1] == f"{ratio:.4f}"
    assert rows["en"][-1] == "1.0000"
    first, last = page.rows["table-first"][1:], page.rows["table-last"][1:]
    assert [row[0] for row in first] == [str(rank) for rank in range(1, 41)]
    assert [row[0] for row in last] == [str(rank) for rank in range(861, 901)]
    assert first[0][1:] == [
        curve.item(0, "piece"), curve.item(0, "kind"), f"{curve.item(0, 'saving'):,}",
        f"{curve.item(0, 'n_tokens_train'):,}",
    ]  # fmt: skip
    assert page.row("table-used", "800")[1] == str(curve.item(799, "n_used_heldout"))


def test_limits_and_provenance_are_told(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    _, _, run = fake_run()
    for words in (
        "1,234 merges were blocked", "2 at 200, 4 at 400 and 8 at 800 added tokens", "gives no formula", "9f" * 32,
        "0.004 s", "1.3 GB", run["command"], run["started_at"], run["notes"][0], "tokenizers0.22.1", "min_saving2",
    ):  # fmt: skip
        assert words in page.text.replace("\n", ""), words
    assert page.text.index("gives no formula") < page.text.index("Inputs, options, versions")


def test_a_count_column_is_shown_where_the_curve_has_one(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    _, page = rendered(tmp_path, sweep, curve.with_columns(count=pl.col("saving") * 7), run)
    assert page.rows["table-first"][1][3] == f"{7 * curve.item(0, 'saving'):,}"


def test_sizes_beyond_the_text_are_marked_with_the_reason(tmp_path: Path) -> None:
    _, page = rendered(tmp_path, *fake_run(n_added=500))
    assert page.row("table-points", "800")[-1] == "text ran dry at 500"
    assert page.row("table-points", "400")[-1] == "the choice"
    assert "no further token saves 2 tokens or more" in page.text
    assert [attrs["class"] for tag, attrs in page.elements if tag == "tr" and "dry" in (attrs.get("class") or "")]


def test_an_unknown_model_leaves_dashes_and_says_what_to_pass(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    sweep["model"] = None
    for point in sweep["points"]:
        point["n_embedding_params"] = None
    page = write_report(tmp_path, sweep, curve, run).read_text(encoding="utf-8")
    assert "no model known (--model)" in page
    assert "None" not in page


def test_missing_heldout_is_a_dash_and_never_a_number(tmp_path: Path) -> None:
    sweep, curve, run = fake_run(roles={"train": ("train", 0.2)})
    sweep["choice"]["set"] = "train"
    sweep["sets"]["train"]["n_words"] = 0
    _, page = rendered(tmp_path, sweep, curve, run)
    assert "no text was held out" in page.text
    row = page.row("table-points", "200")
    assert row[3] == text.DASH
    assert row[4] == f"{sweep['points'][1]['sets']['train']['ratio_input']:.4f}"
    assert row[6] == text.DASH
    assert "Not known: no held-out text was counted." in page.text
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "complexity.svg", "complexity.png", "sets.svg", "sets.png",
    }  # fmt: skip


def test_undefined_points_and_an_unlisted_choice_are_dashes(tmp_path: Path) -> None:
    sweep, curve, run = fake_run(n_added=500, choice=450)
    sweep["points"][-1]["sets"] = {name: {"n_tokens": None, "ratio_input": None} for name in sweep["sets"]}
    _, page = rendered(tmp_path, sweep, curve, run)
    assert page.row("table-points", "800")[2:5] == [text.DASH] * 3
    assert f"become {curve.item(449, 'n_tokens_heldout'):,}" in page.text
    assert f"{text.DASH} rows in all, from 32,000" in page.text


def test_a_recommendation_of_nothing_is_said_in_words(tmp_path: Path) -> None:
    _, page = rendered(tmp_path, *fake_run(n_added=0, sizes=(0,), choice=0))
    assert "Add no tokens to mistral-7b-v1" in page.text
    assert "None: no token saves enough on this text." in page.text


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
    sweep["choice"]["reason"] += HOSTILE
    run["inputs"][0]["url"] = "corpus/" + HOSTILE + "\udc80"
    run["notes"] = [HOSTILE]
    run["versions"][HOSTILE] = run["command"] = HOSTILE
    run["seconds"][HOSTILE] = 1.0
    return sweep, curve, run


def test_hostile_text_is_shown_and_does_nothing(tmp_path: Path) -> None:
    html, page = rendered(tmp_path, *hostile_run())
    assert len(html) < 400_000
    assert not page.tags & {"script", "img"}
    assert not [name for name, _ in page.attributes() if name.startswith("on")]
    assert not re.search("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\u3164]", html)
    shown = HOSTILE.replace("\u202e", "U+202E").replace("\u0000", "U+0000")
    first = page.rows["table-first"]
    assert first[1][1] == HOSTILE[:48].replace(" ", "\u2423") + f"\u2026 {len(HOSTILE) - 48} more characters"
    assert first[2][1] == "a\u2423U+200F\u2581bU+3164"
    assert first[3][1] == "x" * 48 + "\u2026 9,999,952 more characters"
    assert first[4][1] == "EC 8B"
    assert shown in [row[1] for row in page.rows["table-sets"]]
    assert page.rows["table-inputs"][1][0] == "corpus/" + shown + "U+DC80"
    assert page.text.count("<script>alert('x')</script>") >= 8
    for svg in (tmp_path / "figures").glob("*.svg"):
        assert not {element.tag.rpartition("}")[2] for element in ET.parse(svg).iter()} & {"script", "image", "a", "b"}
    labels = [element.text for element in ET.parse(tmp_path / "figures" / "sets.svg").iter()]
    assert {"3 (see table)", "4 (see table)", '5 <b>$x_2$ -->"'} <= set(labels)


def test_byte_alphabet_pieces_are_shown_as_text() -> None:
    assert str(text.piece("ĠíķľêµŃ", " 한국".encode())) == "<bdi>\u2423한국</bdi>"
    assert str(text.piece("\u2581한국", " 한국".encode())) == "<bdi>\u2581한국</bdi>"
    assert str(text.piece("\u2581한국", "\u2581한국".encode())) == "<bdi>\u2581한국</bdi>"
    assert str(text.piece(None, None)) == text.DASH


def test_figures_are_valid_svg_and_png_without_references(report: tuple[Path, str, Page]) -> None:
    figures = report[0] / "figures"
    assert {path.name for path in figures.iterdir()} == {
        f"{name}.{form}" for name in ("complexity", "sets", "used") for form in ("svg", "png")
    }
    for path in figures.glob("*.svg"):
        root = ET.parse(path).getroot()
        assert root.get("role") == "img"
        assert root.get("aria-label", "").startswith("Line chart")
        assert not {"url(", "xlink:href="} & set(re.findall(r"url\(|xlink:href=", path.read_text(encoding="utf-8")))
        assert "prefers-color-scheme" in path.read_text(encoding="utf-8")
    for path in figures.glob("*.png"):
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width == round(5.8 * 160)
        assert 250 < height < 900
    pictures = [attrs for tag, attrs in report[2].elements if tag == "svg"]
    assert len(pictures) == 3
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)


def test_figures_in_the_page_take_their_colours_from_it(report: tuple[Path, str, Page]) -> None:
    styles = [value for name, value in report[2].attributes() if name == "style"]
    assert any("var(--s0)" in style for style in styles)
    assert not [style for style in styles if re.search("#[0-9a-f]{6}", style)]


def test_importing_the_report_does_not_wait_for_matplotlib() -> None:
    code = "import sys, vocabopt.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_half_written_is_left(report: tuple[Path, str, Page]) -> None:
    assert {path.name for path in report[0].iterdir()} == {"report.html", "figures"}
    assert {path.suffix for path in (report[0] / "figures").iterdir()} == {".svg", ".png"}


def test_two_renderings_are_equal_byte_for_byte(report: tuple[Path, str, Page], tmp_path: Path) -> None:
    out = report[0]
    write_report(tmp_path, *fake_run())
    for path in sorted(tmp_path.rglob("*.*")):
        assert path.read_bytes() == (out / path.relative_to(tmp_path)).read_bytes(), path.name


def test_a_reader_s_own_matplotlib_settings_change_nothing(report: tuple[Path, str, Page], tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"figure.autolayout": True, "font.size": 30, "savefig.bbox": "tight"}):
        write_report(tmp_path, *fake_run())
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "report.html").read_bytes() == (report[0] / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.percent(0.0), "0 %"),
        (text.percent(1.0), "100 %"),
        (text.percent(0.9999), "99.99 %"),
        (text.percent(0.00001), "0.001 %"),
        (text.percent(1e-12), "< 0.1 %"),
        (text.percent(-0.031), "\u22123.1 %"),
        (text.percent(None), "\u2013"),
        (text.percent(float("nan")), "\u2013"),
        (text.fixed(1.0), "1.000"),
        (text.fixed(0.99998), "0.99998"),
        (text.fixed(1 - 1e-12), "< 1"),
        (text.fixed(0.0), "0.000"),
        (text.fixed(3e-12), "3.0e-12"),
        (text.fixed(None), "\u2013"),
        (text.count(1234567), "1,234,567"),
        (text.count(None), "\u2013"),
        (text.count(0), "0"),
        (text.short_count(164_626_432), "164.6 M"),
        (text.seconds(0.0), "0.00 s"),
        (text.seconds(0.0004), "0.0004 s"),
    ],
)
def test_zero_and_all_are_shown_only_when_truly_so(shown: str, expected: str) -> None:
    assert shown == expected
