"""Text counted in shards with known merges: every number is that of the growth pass and of the written tokenizers."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from math import isclose, log2
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from command_line import vocabopt
from conftest import Run, sweep
from helpers import (
    CORPUS,
    HANGUL,
    all_ids,
    base_of,
    block_of,
    examples,
    grow_documents,
    library_tokenizer,
    lines_of,
    merged,
    n_tokens,
    split_heldout,
    toy_sentencepiece,
    train_sentencepiece,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_growth import VARIANTS, document, documents, extra_pieces, variant

from vocabopt import learning
from vocabopt.growth.counter import Counter as TextCounter
from vocabopt.growth.counter import Counting
from vocabopt.growth.curve import Curve, Merges, Uses
from vocabopt.growth.whole_text import USES_NPZ
from vocabopt.merging.run import merge_run
from vocabopt.options import ReadOptions
from vocabopt.tokenizer import Tokenizer, load_base

LEARN = ("--learn-from", "0.4", "--shard", "100kB", "--workers", 1)


def counted(
    base: Tokenizer,
    merges: Merges,
    texts: Mapping[str, Sequence[str]],
    *,
    memory_bytes: int = 1 << 30,
    n_parts: int = 2,
) -> Curve:
    """The curve of documents by set, each set counted in so many parts and added up."""
    roles = {"train": "train", "heldout": "heldout", **dict.fromkeys(texts.keys() - {"train"}, "eval")}
    counting = Counting(
        base="", pattern=None, specials=None, widened=None, base_sha256=base.sha256, merges=merges,
        encoder="tokenizers", sets=roles, heldout_of={"train": "heldout"}, heldout=0.0, seed=0,
        cross_spaces=False, read=ReadOptions(), memory_bytes=memory_bytes, inputs_sha256="",
    )  # fmt: skip
    counter, total = TextCounter(base, counting), Uses.none(merges, len(roles))
    stats: dict[str, Any] = {}
    for name, all_of_set in texts.items():
        for part in range(n_parts):
            if own := all_of_set[part::n_parts]:
                found = counter.count(0, [block_of(name, own)])
                total.add(found.uses)
                if name in stats:
                    stats[name].n_special_tokens += found.sets[name].n_special_tokens
                else:
                    stats = {**found.sets, **stats, name: found.sets[name]}
    sets = {name: stats[name] for name in roles if name in stats}
    return Curve.of(base, merges, total, sets)


# --- Against the pass, and against what is written --------------------------------------------------------------------


@settings(max_examples=examples(150), deadline=None)
@given(
    name=st.sampled_from(sorted(VARIANTS)),
    extra=extra_pieces,
    texts=documents,
    others=st.lists(document, min_size=1, max_size=8),
    scripts=st.sampled_from([HANGUL, HANGUL, (), ("Latin",)]),
)
def test_counts_of_other_text_are_those_of_the_written_tokenizers(
    name: str, extra: list[str], texts: dict[str, list[str]], others: list[str], scripts: tuple[str, ...]
) -> None:
    """Text that the merges were not learned from too: there pieces of the base open that learning never met."""
    base = variant(name, tuple(extra))
    grown = grow_documents(base, {"train": texts["train"]}, min_saving=1, scripts=scripts)
    curve = counted(base, grown.merges, {"train": texts["train"], "other": others})
    same = [column for column in grown.curve.columns if not column.endswith("_heldout")]
    assert curve.curve.select(same).equals(grown.curve.select(same))
    assert curve.folds["n_tokens_train"].equals(grown.folds["n_tokens_train"])
    n_base = base.n_tokens
    for size in range(len(curve.curve) + 1):
        ids = all_ids(merged(base, curve.curve, size), others)
        row = curve.curve.row(size - 1, named=True) if size else {}
        assert sum(map(len, ids)) == (row["n_tokens_other"] if size else curve.n_tokens_base["other"])
        if size and not any(map(base.added_contents.__contains__, others)):
            counts = np.bincount([token for row_ids in ids for token in row_ids], minlength=n_base + size)
            assert row["n_used_other"] == np.count_nonzero(counts[n_base:])


def test_merges_of_the_base_behind_an_opened_piece_are_counted_where_learning_never_met_them() -> None:
    """The base itself goes on from ▁가나, which its own merges never reach, to ▁가나다."""
    value = toy_sentencepiece("가나다마바", "▁가나", "▁가나다")
    value["model"]["merges"] = [["▁가나", "다"]]
    base, others = base_of(value), ["가나다", "가나다 가나 다", "나다"]
    learned = ["가나"] * 5 + ["마바"] * 3  # the second makes rows behind the one that opens
    grown = grow_documents(base, {"train": learned})
    assert [len(opened) for opened in grown.curve["opened"].to_list()].count(1) == 1
    curve = counted(base, grown.merges, {"train": learned, "other": others})
    for size in range(len(curve.curve) + 1):
        n_counted = curve.curve["n_tokens_other"][size - 1] if size else curve.n_tokens_base["other"]
        assert n_counted == n_tokens(merged(base, curve.curve, size), others)


@pytest.mark.parametrize("memory_bytes", [1 << 30, 1])
def test_a_sweep_counted_in_shards_is_that_of_one_pass(run: Run, memory_bytes: int) -> None:
    """With memory for one byte all chunks are forgotten after every block."""
    texts = {**split_heldout(lines_of("ko")), "en": lines_of("en")}
    grown = grow_documents(run.base, texts, max_added=2_000)
    curve = counted(run.base, grown.merges, texts, memory_bytes=memory_bytes, n_parts=3)
    assert curve.curve.equals(grown.curve)
    assert curve.folds.equals(grown.folds)
    assert (curve.n_tokens_base, curve.entropy_bits) == (grown.n_tokens_base, grown.entropy_bits)


# --- A sweep that learns from a share ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["mistral-7b-v1", "gpt2-like", "qwen2-like"])
def of_share(request: pytest.FixtureRequest, folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    name = request.param
    out = tmp_path_factory.mktemp("share") / "run"
    base = str(folders / name) if (folders / name).is_dir() else name
    return sweep(out, base, CORPUS, learn_from=0.4, shard=50_000, workers=1)


def test_all_text_is_counted_exactly_with_what_a_share_of_it_taught(of_share: Run) -> None:
    """P1 on the whole text."""
    documents = {**split_heldout(lines_of("ko")), "en": lines_of("en")}
    learned = of_share.sweep["learned"]
    assert 0.3 * len(documents["train"]) < learned["n_documents"] < 0.5 * len(documents["train"])
    end = len(of_share.curve)
    of_share.assert_exact(documents, (0, 1, end // 4, end // 2, end))
    for size in (1, end // 2, end):
        found, row = of_share.token_counts(size), of_share.curve.row(size - 1, named=True)
        for name, counts in found.items():
            assert row[f"n_used_{name}"] == np.count_nonzero(counts[of_share.base.n_tokens :])
            seen = counts[counts > 0]
            bits = log2(seen.sum()) - (seen @ np.log2(seen)) / seen.sum()
            assert isclose(row[f"entropy_bits_{name}"], bits, abs_tol=1e-9)


def test_words_and_documents_are_those_of_all_text(of_share: Run, run_of: Any) -> None:
    whole = run_of("gpt2-like").sweep["sets"]
    for name, stats in of_share.sweep["sets"].items():
        for field in ("n_documents", "n_bytes", "n_chars", "n_words", "n_blank", "n_skipped"):
            assert stats[field] == whole[name][field], (name, field)


def test_what_is_merged_is_proved_and_knows_how_often_all_text_has_each_token(of_share: Run, tmp_path: Path) -> None:
    n_added = len(of_share.curve) // 2
    record = merge_run(of_share.out, tmp_path / "tokenizer", n_added=n_added).record
    assert record.proof is not None
    assert record.proof.n_tokens == record.proof.n_tokens_promised
    for name, counts in of_share.token_counts(n_added).items():
        assert [token.counts[name] for token in record.tokens] == counts[of_share.base.n_tokens :].tolist()


@pytest.mark.slow
def test_shards_and_workers_change_no_byte(tmp_path: Path) -> None:
    for name, options in {
        "one": ("--workers", "1", "--shard", "64MB"),
        "small": ("--workers", "1", "--shard", "7000"),
        "two": ("--workers", "2", "--shard", "40kB"),
    }.items():
        done = vocabopt("sweep", CORPUS, "--out", tmp_path / name, "--learn-from", "0.4", "--quiet", *options)
        assert done.exit_code == 0, done.output
    for file in ("curve.parquet", "folds.parquet", "learned.parquet"):
        first, *others = ((tmp_path / name / file).read_bytes() for name in ("one", "small", "two"))
        assert all(other == first for other in others), file


# --- What fits into memory --------------------------------------------------------------------------------------------


def run_at(out: Path) -> Run:
    record = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    return Run(out, load_base(record["base"]["source"]), record, pl.read_parquet(out / "curve.parquet"))


def documents_in(counts: Path) -> pl.DataFrame:
    """What a run counted: chunks and their counts per set, in order of the chunks."""
    return pl.read_parquet(counts / "counts.parquet").sort("chunk")


@pytest.fixture(scope="module")
def half_fits(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Memory for about half of the sample corpus, and a run that had it."""
    out = tmp_path_factory.mktemp("half") / "run"
    # Without any text a sweep is counted as 629 MB; the corpus as 4 MB.
    memory = 631_500_000
    done = vocabopt("sweep", CORPUS, "--out", out, "--memory", memory, "--workers", "1", "--quiet")
    assert done.exit_code == 0, done.output
    return memory, out


def test_what_does_not_fit_is_left_out_of_learning_and_counted(half_fits: tuple[int, Path]) -> None:
    _, out = half_fits
    record = run_at(out)
    assert record.sweep["learned"]["train_alone"]
    assert 0.2 < record.sweep["learned"]["n_folds"] / 32 < 1
    documents = {**split_heldout(lines_of("ko")), "en": lines_of("en")}
    record.assert_exact(documents, (0, 1, len(record.curve)))


@pytest.mark.parametrize("n_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_share_that_fits_is_the_same_in_any_order_of_the_text(
    n_workers: int, half_fits: tuple[int, Path], tmp_path: Path
) -> None:
    memory, out = half_fits
    for language in ("ko", "en"):
        lines = lines_of(language)
        random.Random(7).shuffle(lines)
        (tmp_path / "corpus" / language).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "corpus" / language / f"{i}.txt").write_text("\n".join(lines[i::3]) + "\n", encoding="utf-8")
    options = ("--memory", memory, "--workers", n_workers, "--quiet")
    done = vocabopt("sweep", tmp_path / "corpus", "--out", tmp_path / "run", *options)
    assert done.exit_code == 0, done.output
    assert documents_in(tmp_path / "run").equals(documents_in(out))
    assert (tmp_path / "run" / "curve.parquet").read_bytes() == (out / "curve.parquet").read_bytes()


def test_memory_that_holds_nothing_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    done = vocabopt("sweep", CORPUS, "--out", tmp_path / "run", "--memory", "400MB", "--quiet")
    assert done.exit_code == 2
    assert "--memory: 400.0 MB is too little to learn anything from this text (629.1 MB are needed" in done.output


def test_a_share_that_was_asked_for_is_not_made_smaller(tmp_path: Path) -> None:
    done = vocabopt("sweep", CORPUS, "--out", tmp_path / "run", "--memory", "630MB", "--learn-from", "0.9", "--quiet")
    assert done.exit_code == 2
    assert "--learn-from 0.9: this share of the text needs more than 630.0 MB of memory" in done.output


@pytest.mark.parametrize("share", ["0", "1.5", "half", "nan"])
def test_a_share_is_above_0_and_1_at_most(share: str, tmp_path: Path) -> None:
    done = vocabopt("sweep", CORPUS, "--out", tmp_path / "run", "--learn-from", share)
    assert done.exit_code == 2
    assert f"--learn-from {share}: write auto, or a share of the documents above 0" in done.output


def test_a_share_that_holds_no_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("가나다라\n", encoding="utf-8")
    done = vocabopt("sweep", tmp_path / "short.txt", "--out", tmp_path / "run", "--learn-from", "0.00002")
    assert done.exit_code == 2
    assert "none of 1 documents is in this share" in done.output


@pytest.mark.slow
def test_a_union_trained_on_a_share_is_measured_on_all_text(tmp_path: Path) -> None:
    """Against whole documents with the merged tokenizer, at a size for each round: memory holds one tokenizer."""
    out = tmp_path / "run"
    options = ("--learn-from", "0.5", "--workers", 1, "--memory", "1GB", "--shard", "100kB", "--sizes", "1300,1600")
    assert vocabopt("sweep", CORPUS, "--out", out, "--method", "union", *options, "--quiet").exit_code == 0
    union = json.loads((out / "union.json").read_text("utf-8"))
    documents = {**split_heldout(lines_of("ko")), "en": lines_of("en")}
    for point in union["points"]:
        folder = tmp_path / str(point["vocab_size"])
        merge_run(out, folder, method="union", n_added=point["n_added"])
        tokenizer, first = library_tokenizer(folder), 32_000
        counts = {name: Counter(chain.from_iterable(all_ids(tokenizer, texts))) for name, texts in documents.items()}
        assert {name: of_set["n_tokens"] for name, of_set in point["sets"].items()} == {
            name: counts[name].total() for name in documents
        }
        assert point["n_unused"] == sum(first + i not in counts["heldout"] for i in range(point["n_added"]))
        tokens = json.loads((folder / "extension.json").read_text("utf-8"))["tokens"]
        assert [token["counts"] for token in tokens] == [
            {name: counts[name][token["id"]] for name in documents} for token in tokens
        ]


@pytest.mark.slow
@pytest.mark.parametrize("scores", ["unique", "zero"])
def test_a_union_beyond_memory_has_the_bytes_of_one_in_memory(scores: str, tmp_path: Path) -> None:
    """Of one vocabulary: counts, rows of no use, changed documents. Run again, nothing is counted a second time."""
    model = tmp_path / "elsewhere.model"
    model.write_bytes(train_sentencepiece(lines_of("ko"), 3_000, byte_fallback=False, character_coverage=0.9995))
    options = ("--method", "union", "--vocab", model, "--scores", scores, "--sizes", "1600,3000")
    whole, shards = tmp_path / "whole", tmp_path / "shards"
    assert vocabopt("sweep", CORPUS, *options, "--out", whole, "--quiet").exit_code == 0
    for _ in range(2):
        done = vocabopt("sweep", CORPUS, *options, "--out", shards, "--memory", "631.5MB", "--shard", "50kB")
        assert done.exit_code == 0, done.output
        assert run_at(shards).sweep["learned"]["n_documents"] != len(split_heldout(lines_of("ko"))["train"])
        assert (shards / "union.json").read_bytes() == (whole / "union.json").read_bytes()
    assert "100% of the text was counted before" in done.output


def test_without_a_script_guard_all_protected_text_is_learned_with(tmp_path: Path) -> None:
    """Only the protected text itself keeps merges away from it."""
    out = tmp_path / "run"
    options = ("--script", "none", "--protect", f"en={CORPUS / 'en'}", "--learn-from", "0.3", "--workers", 1, "--quiet")
    assert vocabopt("sweep", CORPUS / "ko", "--out", out, *options).exit_code == 0
    run = run_at(out)
    assert run.sweep["learned"]["all_protected"]
    assert run.curve["n_tokens_en"].unique().to_list() == [run.sweep["sets"]["en"]["n_tokens_base"]]
    run.assert_exact({**split_heldout(lines_of("ko")), "en": lines_of("en")}, (0, len(run.curve) // 2))


# --- A run that is stopped --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_shards_that_are_done_are_not_done_again(tmp_path: Path) -> None:
    """kill -9 in the middle of counting: the next run counts the others, and writes the same bytes."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines_of("ko") * 80) + "\n", encoding="utf-8")
    options = ("--learn-from", "0.05", "--shard", "64000", "--workers", "1")
    command = [sys.executable, "-m", "vocabopt", "sweep", str(text), "--out", str(tmp_path / "killed"), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    uses, deadline = tmp_path / "killed" / USES_NPZ, time.monotonic() + 300
    while not (uses.exists() and _n_done(uses) >= 5):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    n_done = _n_done(uses)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"Going on: {n_done:,} of " in done.stderr
    assert vocabopt("sweep", text, "--out", tmp_path / "whole", *options, "--quiet").exit_code == 0
    for file in ("curve.parquet", "folds.parquet"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def _n_done(path: Path) -> int:
    with np.load(path) as arrays:
        return int(arrays["done"].sum())


def test_text_that_changes_between_learning_and_counting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    lines = lines_of("ko")
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    grow = learning.grow

    def grow_while_someone_writes(*arguments: Any) -> Any:
        with text.open("a", encoding="utf-8") as file:
            file.write("그 사이에 덧붙인 줄\n")
        return grow(*arguments)

    monkeypatch.setattr(learning, "grow", grow_while_someone_writes)
    done = vocabopt("sweep", text, "--out", tmp_path / "run", *LEARN)
    assert done.exit_code == 2
    assert "changed since the run began" in done.output
    assert not (tmp_path / "run" / "curve.parquet").exists()
