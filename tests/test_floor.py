"""The floor: chunks that no added token joins, counted by the pattern itself, and that no curve goes below."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import regex
from conftest import Run, sweep
from helpers import (
    HANGUL,
    LLAMA3_PATTERN,
    Counted,
    base_of,
    grow_documents,
    lines_of,
    split_heldout,
    toy_sentencepiece,
    train_byte_level,
)

from vocabopt.run_directory import read_sweep
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.wording import floor_sentence

DOCUMENTS = ["나는 학교에 간다.", "Don't  go!\n\nna\t1234", " 끝  ", "3.5 점,점"]


@pytest.mark.parametrize(("is_llama3", "pattern"), [(False, GPT2_PATTERN), (True, LLAMA3_PATTERN)])
def test_chunks_of_a_byte_level_base_are_the_matches_of_its_pattern(is_llama3: bool, pattern: str) -> None:
    base = base_of(train_byte_level(lines_of("en")[:200], 400, llama3=is_llama3))
    documents = [*DOCUMENTS, *lines_of("ko")[:50]]
    curve = Counted.of(base, {"train": documents}).segmentation
    assert curve.n_parts_of[0] == sum(len(regex.findall(pattern, text)) for text in documents)


def test_chunks_of_a_sentencepiece_base_lie_between_spaces_and_newlines_as_counted_by_hand() -> None:
    base = base_of(toy_sentencepiece("abc\n"))
    # ▁ab | ▁c | ▁▁ab | \n | \n | c | \n | ▁a ; a tab is spelled in bytes, and ends before a space alone.
    found = Counted.of(base, {"train": ["ab c  ab\n\nc\n a", "a\tb \tc"]}).segmentation
    assert found.n_parts_of[0] == 8 + 2


def test_a_piece_of_the_base_that_crosses_a_space_is_one_chunk_where_its_text_stands() -> None:
    value = toy_sentencepiece("ab", "a▁b")
    value["model"]["vocab"]["a▁"] = len(value["model"]["vocab"])
    value["model"]["merges"] = [["a", "▁"], ["a▁", "b"]]
    found = Counted.of(base_of(value), {"train": ["ba b", "b b"]}).segmentation
    # ▁b + a▁b are two parts, as nothing may be joined to the piece that crosses; ▁b ▁b are two words.
    assert found.n_parts_of[0] == 2 + 2


@pytest.mark.parametrize("base", ["sentencepiece", "byte-level"])
def test_a_text_that_tokens_were_grown_on_until_it_ran_dry_ends_at_its_floor(base: str) -> None:
    value = toy_sentencepiece("나는학교에간다") if base == "sentencepiece" else train_byte_level(["a b"], 300)
    words = ["나는", "학교에", "간다", "학교는", "나에"]
    chooser = random.Random(0)
    documents = [" ".join(chooser.choices(words, k=6)) for _ in range(40)]
    growth = grow_documents(base_of(value), {"train": documents}, scripts=HANGUL)
    assert growth.curve["n_tokens_train"][-1] == growth.n_chunks["train"] == 40 * 6
    assert growth.curve["n_chunks_train"].unique().to_list() == [240]


def test_a_sweep_in_shards_counts_the_same_chunks_and_stores_them(tmp_path: Path, gpt2_like: Tokenizer) -> None:
    text = tmp_path / "ko.txt"
    text.write_text("\n".join(lines_of("ko")), encoding="utf-8")
    options: dict[str, Any] = {"max_added": 300, "sizes": "0,300"}
    whole = sweep(tmp_path / "whole", gpt2_like.source, text, **options)
    shards = sweep(tmp_path / "shards", gpt2_like.source, text, learn_from=0.5, shard=100_000, workers=1, **options)
    by_pattern = {
        name: sum(len(regex.findall(GPT2_PATTERN, line)) for line in lines)
        for name, lines in split_heldout(lines_of("ko")).items()
    }
    for run in (whole, shards):
        assert {name: stats["n_chunks"] for name, stats in run.sweep["sets"].items()} == by_pattern
        assert {name: run.curve[f"n_chunks_{name}"][0] for name in by_pattern} == by_pattern


def test_no_curve_goes_below_its_floor(run: Run) -> None:
    for name, stats in run.sweep["sets"].items():
        assert run.count(name, len(run.curve)) >= stats["n_chunks"] > 0, name


def test_the_sentence_comes_where_the_floor_is_near_and_only_there(run_of: Callable[[str], Run]) -> None:
    run = run_of("gpt2-like")
    record = read_sweep(run.out)
    stats, n_tokens = record.sets[record.choice.set], record.choice.point.sets[record.choice.set].n_tokens

    def told(n_chunks: int | None) -> str | None:
        changed = msgspec.structs.replace(stats, n_chunks=n_chunks)
        return floor_sentence(msgspec.structs.replace(record, sets=record.sets | {record.choice.set: changed}))

    assert stats.n_chunks is not None
    near = told(round(n_tokens / 1.1))
    assert near is not None
    assert f"{n_tokens:,} tokens" in near
    assert "which no added token joins" in near
    assert told(round(n_tokens / 1.2)) is None
    assert told(None) is None


def test_a_file_of_an_earlier_version_has_no_floor(run_of: Callable[[str], Run], tmp_path: Path) -> None:
    old = json.loads((run_of("gpt2-like").out / "sweep.json").read_text(encoding="utf-8"))
    for stats in old["sets"].values():
        del stats["n_chunks"]
    (tmp_path / "sweep.json").write_text(json.dumps(old), encoding="utf-8")
    assert read_sweep(tmp_path).sets["train"].n_chunks is None
