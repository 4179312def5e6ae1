"""The experiments behind docs/explanation/evidence.md, at the smallest scale."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import CORPUS

from experiments import evidence
from experiments.evidence_tables import sizes, write
from vocabopt.choice.measured import SizesRecord
from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.records import read_record

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "evidence.md"
TINY = replace(
    evidence.SMALL,
    base="--vocab-size 500 --width 32 --blocks 1 --heads 2 --context 64 --batch 4 --steps 10 --eval-bytes 20000",
    step="--batch 1kB --context 64 --micro-batch 4 --learning-rate-factor 10 --eval-bytes 2kB --threads 1",
    n_steps=2,
)


def grid_in(folder: Path) -> evidence.Grid:
    languages = {"ko": evidence.Language(code="ko", name="Korean", n_seeds=1, sweep="--max-added 400")}
    return evidence.Grid(
        texts={"en": str(CORPUS / "en"), "ko": str(CORPUS / "ko")}, out=folder, scale=TINY, languages=languages
    )


def test_every_experiment_has_its_place_in_the_page() -> None:
    marked = re.findall(r"<!-- ([\w-]+): begin -->\n.*?<!-- \1: end -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert marked == list(evidence.EXPERIMENTS)


def test_a_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- plans: begin -->\nold\n<!-- plans: end -->\nbelow\n", encoding="utf-8")
    write(page, "plans", "| new |")
    write(page, "plans", r"| newer \1 |")
    assert page.read_text(encoding="utf-8") == (
        "above\n<!-- plans: begin -->\n\n| newer \\1 |\n\n<!-- plans: end -->\nbelow\n"
    )
    with pytest.raises(RunDirectoryError, match="holds no line <!-- inits: begin -->"):
        write(page, "inits", "")


def test_the_base_s_text_and_the_rest_share_no_document(tmp_path: Path) -> None:
    grid = grid_in(tmp_path)
    evidence.split_texts(grid, "ko")
    seen, rest = ((tmp_path / "ko" / name).read_text("utf-8").splitlines() for name in ("seen.jsonl", "rest.jsonl"))
    assert not set(seen) & set(rest)
    assert 0.1 < len(seen) / (len(seen) + len(rest)) < 0.3


def test_a_language_without_text_is_named(tmp_path: Path) -> None:
    grid = replace(grid_in(tmp_path), texts={"en": str(CORPUS / "en")})
    with pytest.raises(OptionError, match=r"names no text in Korean\. Write --text ko=PATH"):
        evidence.run(grid, ("sizes-ko",), minutes=1, page=None)


@pytest.mark.slow
def test_sizes_are_measured_and_stand_in_the_page(tmp_path: Path) -> None:
    grid = grid_in(tmp_path / "out")
    page = tmp_path / "page.md"
    page.write_text("<!-- sizes-ko: begin -->\n<!-- sizes-ko: end -->\n", encoding="utf-8")
    # No time at all: the first command is stopped, and nothing is written into the page.
    assert not evidence.run(grid, ("sizes-ko",), minutes=0, page=page)
    assert page.read_text(encoding="utf-8").count("\n") == 2
    assert evidence.run(grid, ("sizes-ko",), minutes=10, page=page)
    record = read_record(tmp_path / "out" / "ko" / "sizes" / "sizes.json", SizesRecord)
    written = page.read_text(encoding="utf-8")
    assert sizes(tmp_path / "out" / "ko" / "sizes", grid.recommended("ko")) in written
    assert {row.n_added for row in record.rows} == {0, *grid.sizes("ko")}
    assert all(f"{row.reached:.4f}" in written for row in record.rows)
    assert "(recommended)" in written
