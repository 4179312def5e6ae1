"""What the page's scripts read: packs that unpack to the curve, by a reader written for these tests."""

import base64
import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_data import Page, fake_run, hostile_run, view_of, without_heldout

from vocabopt.report import page as report_page
from vocabopt.report.packs import MAX_PAGE_BYTES, N_PIECE_BYTES, curve_pack, leb128, samples_pack, tokens_pack
from vocabopt.report.page import rebuild_report, write_report
from vocabopt.report.view import View
from vocabopt.run_directory import read_curve, read_run, read_sweep
from vocabopt.tokenizer import Tokenizer


class Reader:
    """One pack, column by column."""

    def __init__(self, packed: bytes) -> None:
        data = gzip.decompress(packed)
        end = 4 + int.from_bytes(data[:4], "little")
        self.header: dict[str, Any] = json.loads(data[4:end])
        self.rest = data[end:]

    def integers(self, n: int) -> list[int]:
        values = []
        for _ in range(n):
            length = next(i for i, byte in enumerate(self.rest) if byte < 128) + 1
            values.append(sum((byte & 127) << 7 * i for i, byte in enumerate(self.rest[:length])))
            self.rest = self.rest[length:]
        return values

    def column(self, first: int, n: int) -> list[int]:
        values = [first]
        for code in self.integers(n):
            values.append(values[-1] + (-(code + 1) // 2 if code % 2 else code // 2))
        return values


@given(st.lists(st.integers(0, 2**53)))
def test_integers_come_back_as_they_went(values: list[int]) -> None:
    reader = Reader(gzip.compress(b"\2\0\0\0{}" + leb128(values)))
    assert reader.integers(len(values)) == values
    assert reader.rest == b""


def test_curve_pack_holds_every_count_of_every_set() -> None:
    sweep, curve, run = fake_run()
    reader = Reader(curve_pack(view_of(sweep, curve, run)))
    assert [given["name"] for given in reader.header["sets"]] == ["heldout", "train", "en", "news"]
    for told in reader.header["sets"]:
        name, base = told["name"], sweep["sets"][told["name"]]["n_tokens_base"]
        assert reader.column(told["n_tokens_base"], curve.height) == [base, *curve[f"n_tokens_{name}"]]
    assert reader.column(0, curve.height) == [0, *curve["n_used_heldout"]]
    assert reader.rest == b""
    assert reader.header["n_params_per_row"] == 4096 * 2
    assert reader.header["flops"] == sweep["choice"]["model_cost"]["flops"]


def test_curve_pack_names_the_set_whose_numbers_stand_first() -> None:
    sweep, curve, run = fake_run()
    sweep["choice"]["set"] = "news"
    header = Reader(curve_pack(view_of(sweep, curve, run))).header
    assert (header["main"], header["main_words"], header["has_used"]) == (3, "text set news", True)
    header = Reader(curve_pack(view_of(*without_heldout()))).header
    assert (header["main"], header["main_words"], header["has_used"]) == (1, "training text", False)


def read_tokens(packed: bytes) -> list[dict[str, Any]]:
    reader = Reader(packed)
    n = reader.header["n"]
    lengths, left_out, kinds, counts, lefts = (reader.integers(n) for _ in range(5))
    tokens, at = [], 0
    for i in range(n):
        data = reader.rest[at : at + lengths[i]]
        at += lengths[i]
        kind = reader.header["kinds"][kinds[i]]
        tokens.append({"bytes": data, "left_out": left_out[i], "kind": kind, "count": counts[i], "left": lefts[i] - 1})
    assert at == len(reader.rest)
    return tokens


def test_tokens_pack_says_what_each_token_replaced(run: Any) -> None:
    """On real curves of every kind of base: the parts are those that the ids name."""
    view = View(read_sweep(run.out), run.curve, read_run(run.out))
    base: Tokenizer = run.base
    texts = [*base.pieces, *run.curve["bytes"]]
    for token, row in zip(read_tokens(tokens_pack(view, base)), run.curve.to_dicts(), strict=True):
        assert token["bytes"] == row["bytes"]
        assert token["kind"] == row["kind"]
        if row["kind"] == "char":
            assert token["count"] * (len(row["bytes"]) - 1) == row["saving"]
            continue
        assert token["count"] == row["saving"]
        parts = [
            bytes([base.byte_values[i]]) if i < base.n_tokens and base.byte_values[i] >= 0 else texts[i]
            for i in (row["left"], row["right"])
        ]
        assert [token["bytes"][: token["left"]], token["bytes"][token["left"] :]] == parts


def test_without_the_base_what_a_token_replaced_is_not_guessed() -> None:
    sweep, curve, run = fake_run()
    assert {token["left"] for token in read_tokens(tokens_pack(view_of(sweep, curve, run), None))} == {-1}


def test_a_word_of_10_megabytes_travels_as_its_beginning() -> None:
    view = view_of(*hostile_run())
    packed = tokens_pack(view, None)
    assert len(packed) < 20_000
    assert read_tokens(packed)[2]["left_out"] == 10_000_000 - N_PIECE_BYTES


def test_samples_follow_the_sets_of_the_page_and_are_cut() -> None:
    view = view_of(*fake_run())
    packed = samples_pack(view, {"train": ["a\ud800", "b" * 10_000], "gone": ["c"], "en": []})
    assert packed is not None
    assert Reader(packed).header == {"samples": [{"set": 1, "texts": ["a\ud800", "b" * 600]}]}
    assert samples_pack(view, {"gone": ["c"]}) is None
    assert samples_pack(view, None) is None


def test_packs_in_the_page_are_the_packs(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    html = write_report(tmp_path, view_of(sweep, curve, run)).read_text(encoding="utf-8")
    found = dict(
        re.findall(r'<script type="application/octet-stream" id="pack-(\w+)">([A-Za-z0-9+/=]*)</script>', html)
    )
    view = view_of(sweep, curve, run)
    assert {name: base64.b64decode(text) for name, text in found.items()} == {
        "curve": curve_pack(view),
        "tokens": tokens_pack(view, None),
    }


def test_a_page_that_would_be_too_large_leaves_the_search_out(tmp_path: Path) -> None:
    """Tokens of random bytes do not compress: 7 MB of them leave no room for the table of all tokens."""
    sweep, curve, told = fake_run(n_added=60_000, sizes=(0, 8_000, 40_000), choice=8_000)
    rng = np.random.default_rng(0)
    curve = curve.with_columns(pl.Series("bytes", [rng.bytes(120) for _ in range(curve.height)]))
    page = write_report(tmp_path, view_of(sweep, curve, told)).read_text(encoding="utf-8")
    assert len(page.encode()) <= MAX_PAGE_BYTES
    assert 'id="pack-curve"' in page
    assert 'id="pack-tokens"' not in page
    assert 'id="table-first"' in page
    shown = Page(page).text
    assert "The table of all added tokens, with its search, is left out: its " in shown
    assert "MB would make this page larger than 4.0 MB." in shown
    assert "The slider is left out" not in shown


@pytest.fixture
def run_dir(swept: Path, tmp_path: Path) -> Path:
    return shutil.copytree(swept, tmp_path / "run")


def test_a_tokenizer_that_would_make_the_page_too_large_is_left_out_and_the_page_says_so(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base large enough is not at hand: the limit is lowered instead."""
    whole = rebuild_report(run_dir).read_text(encoding="utf-8")
    assert 'id="pack-playground"' in whole
    monkeypatch.setattr(report_page, "MAX_PAGE_BYTES", len(whole.encode()) - 1)
    page = rebuild_report(run_dir).read_text(encoding="utf-8")
    told = Page(page).text
    assert "It is left out, and so are the sample sentences: its " in told
    assert "would make this page larger than" in told
    assert "all added tokens, with its search, is left out" not in told
    assert {"playground", "samples", "tokens", "curve"} - set(re.findall(r'id="pack-(\w+)"', page)) == {
        "playground", "samples",
    }  # fmt: skip


def test_a_page_too_large_without_its_tokens_comes_without_the_curve_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_page, "MAX_PAGE_BYTES", 1_000)
    page = write_report(tmp_path, view_of(*fake_run())).read_text(encoding="utf-8")
    assert "pack-" not in re.sub("<script>.*?</script>", "", page, flags=re.DOTALL)
    told = Page(page).text
    for words in (
        "It is left out: the base tokenizer was not at hand.",
        "The table of all added tokens, with its search, is left out: its ",
        "The slider is left out: its ",
    ):
        assert words in told
    assert 'id="table-points"' in page


def test_a_base_that_the_playground_cannot_repeat_is_told(run_dir: Path, mistral: Tokenizer) -> None:
    strange = replace(mistral, tokenizer_json={**mistral.tokenizer_json, "normalizer": {"type": "Nmt"}})
    sweep = read_sweep(run_dir)
    curve = read_curve(run_dir, sweep)
    page = write_report(run_dir, View(sweep, curve, read_run(run_dir), base=strange)).read_text(encoding="utf-8")
    assert "Nmt" in page
    assert 'id="pack-playground"' not in page
