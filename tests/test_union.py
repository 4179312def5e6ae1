"""The union method: its vocabulary is sentencepiece's own at every size, each figure of it is counted another way."""

import gzip
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sentencepiece
from command_line import assert_refused, vocabopt
from conftest import Run
from helpers import (
    CORPUS,
    all_ids,
    has_hangul,
    library_tokenizer,
    lines_of,
    n_tokens,
    split_heldout,
    train_sentencepiece,
)

from vocabopt.folder import read_json
from vocabopt.merging.run import merge_run, merge_vocabulary
from vocabopt.run_directory import read_counts
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.sentencepiece_model import read_model
from vocabopt.union.train import SETTINGS, train
from vocabopt.union.vocabulary import read_vocabulary

SIZES = (1_600, 2_500, 4_000)
SET_NAMES = ("train", "heldout", "en")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a sweep of the sample corpus with the union beside it."""
    folder = tmp_path_factory.mktemp("union") / "run"
    sizes = ",".join(map(str, SIZES))
    result = vocabopt("sweep", CORPUS, "--method", "union", "--sizes", sizes, "--out", folder)
    assert result.exit_code == 0, result.output
    (folder.parent / "stdout.txt").write_text(result.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def union(out: Path) -> dict[str, Any]:
    return read_json(out / "union.json", next_step="")


@pytest.fixture(scope="module")
def folders_of_sizes(out: Path, union: dict[str, Any]) -> dict[int, Path]:
    """The merged folder of each size."""
    for point in union["points"]:
        merge_run(out, out / f"union-{point['vocab_size']}", n_added=point["n_added"], method="union")
    return {point["vocab_size"]: out / f"union-{point['vocab_size']}" for point in union["points"]}


def trained_on_lines(lines: Sequence[str], size: int) -> list[str]:
    """What sentencepiece itself trains on whole lines, with the same settings."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=size,
        minloglevel=2,
        max_sentence_length=1 << 20,
        **{**SETTINGS, "add_dummy_prefix": True},
    )
    return [piece.piece for piece in read_model(model.getvalue()).pieces]


def without_prefix(path: Path) -> sentencepiece.SentencePieceProcessor:
    model = read_model(path.read_bytes())
    model.normalizer_spec.add_dummy_prefix = False
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


# --- The vocabulary --------------------------------------------------------------------------------------------------


def test_chunks_and_counts_train_the_vocabulary_that_whole_lines_train(out: Path) -> None:
    stored = read_counts(out, read_json(out / "run.json", next_step="")["inputs_sha256"])
    assert stored is not None
    counts, _ = stored
    found = [piece.piece for piece in read_model(train(counts, counts.weights()[:, 0], 3_000)).pieces]
    assert found == trained_on_lines(split_heldout(lines_of("ko"))["train"], 3_000)


@pytest.mark.parametrize("size", SIZES)
def test_a_prefix_of_one_training_is_the_training_at_that_size(size: int, out: Path) -> None:
    vocabulary = read_vocabulary(out / "union.model")
    trained = trained_on_lines(split_heldout(lines_of("ko"))["train"], size)
    assert trained[vocabulary.n_other :] == vocabulary.at(size)


@pytest.mark.data
@pytest.mark.slow
def test_prefixes_of_real_korean_are_trainings_too(data: Path, tmp_path: Path) -> None:
    with gzip.open(data / "ko_nsmc_reviews" / "reviews.txt.gz", "rt", encoding="utf-8", newline="\n") as stored:
        lines = [line.rstrip("\n") for line, _ in zip(stored, range(60_000), strict=False) if line.strip()]
    (tmp_path / "ko.txt").write_text("\n".join(lines), encoding="utf-8", newline="\n")
    options = ("--method", "union", "--sizes", "8000,12000", "--heldout", 0, "--max-added", 500, "--quiet")
    assert vocabopt("sweep", tmp_path / "ko.txt", *options, "--out", tmp_path / "run").exit_code == 0
    vocabulary = read_vocabulary(tmp_path / "run" / "union.model")
    for size in (8_000, 12_000):
        assert trained_on_lines(lines, size)[vocabulary.n_other :] == vocabulary.at(size)


def test_every_number_of_new_rows_has_a_vocabulary(out: Path, mistral: Tokenizer) -> None:
    vocabulary = read_vocabulary(out / "union.model")
    held = mistral.tokenizer_json["model"]["vocab"]
    first = sum(len(piece) == 1 and piece not in held for piece in vocabulary.pieces)
    last = sum(piece not in held for piece in vocabulary.pieces)
    for n_rows in (first, first + 1, (first + last) // 2, last):
        pieces = vocabulary.with_rows(mistral, n_rows, place="here")
        assert sum(piece not in held for piece in pieces) == n_rows


# --- The table -------------------------------------------------------------------------------------------------------


def test_the_table_adds_up(union: dict[str, Any], mistral: Tokenizer, out: Path) -> None:
    assert [point["vocab_size"] for point in union["points"]] == [*SIZES]
    vocabulary, held = read_vocabulary(out / "union.model"), mistral.tokenizer_json["model"]["vocab"]
    for point in union["points"]:
        pieces = vocabulary.at(point["vocab_size"])
        assert point["n_added"] == sum(piece not in held for piece in pieces)
        assert point["n_overlap"] + point["n_added"] == len(pieces) == point["vocab_size"] - vocabulary.n_other


def test_tokens_are_those_of_whole_documents_with_the_merged_tokenizer(
    union: dict[str, Any], folders_of_sizes: dict[int, Path]
) -> None:
    documents = {**split_heldout(lines_of("ko")), "en": lines_of("en")}
    for point in union["points"]:
        folder = folders_of_sizes[point["vocab_size"]]
        tokenizer = library_tokenizer(folder)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        for name in SET_NAMES:
            assert point["sets"][name]["n_tokens"] == n_tokens(tokenizer, documents[name])
            assert point["sets"][name]["n_tokens"] == sum(map(len, processor.encode(documents[name])))


def test_rows_of_no_use_are_counted_by_sentencepiece(
    union: dict[str, Any], folders_of_sizes: dict[int, Path], mistral: Tokenizer
) -> None:
    heldout = split_heldout(lines_of("ko"))["heldout"]
    before = without_prefix_of_base(mistral)
    for point in union["points"]:
        processor = without_prefix(folders_of_sizes[point["vocab_size"]] / "tokenizer.model")
        new = range(32_000, 32_000 + point["n_added"])
        texts = [processor.id_to_piece(i).replace("▁", " ") for i in new]
        assert point["n_unreachable"] == sum(ids != [i] for i, ids in zip(new, processor.encode(texts), strict=True))
        whole = sentencepiece.SentencePieceProcessor(
            model_file=str(folders_of_sizes[point["vocab_size"]] / "tokenizer.model")
        )
        used = {index for ids in whole.encode(heldout) for index in ids}
        assert point["n_unused"] == sum(i not in used for i in new)
        pieces = {i: text.decode() for i, text in enumerate(mistral.pieces) if text}
        both = zip(pieces, before.encode([*pieces.values()]), processor.encode([*pieces.values()]), strict=True)
        assert point["n_base_broken"] == sum(old == [i] != new_ids for i, old, new_ids in both) == 0


def without_prefix_of_base(base: Tokenizer) -> sentencepiece.SentencePieceProcessor:
    model = read_model(base.originals[0].data)
    model.normalizer_spec.add_dummy_prefix = False
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def test_changed_lines_are_counted_line_by_line(
    union: dict[str, Any], folders_of_sizes: dict[int, Path], mistral: Tokenizer
) -> None:
    english = [line for line in lines_of("en") if not has_hangul(line)]
    before = all_ids(mistral.full, english)
    for point in union["points"]:
        tokenizer = library_tokenizer(folders_of_sizes[point["vocab_size"]])
        n_changed = sum(a != b for a, b in zip(before, all_ids(tokenizer, english), strict=True))
        assert point["protected"] == {"en": {"n_documents": len(english), "n_changed": n_changed}}
        assert n_changed > 0


def test_the_terminal_and_the_report_show_the_union_beside_the_curve(out: Path, union: dict[str, Any]) -> None:
    printed = (out.parent / "stdout.txt").read_text("utf-8")
    page = (out / "report.html").read_text("utf-8")
    curve = pl.read_parquet(out / "curve.parquet")
    base = read_json(out / "sweep.json", next_step="")["sets"]["heldout"]["n_tokens_base"]
    for point in union["points"]:
        assert f"{point['vocab_size']:,}" in printed
        grown = (
            "-" if point["n_added"] > len(curve) else f"{curve['n_tokens_heldout'][point['n_added'] - 1] / base:.4f}"
        )
        table = printed.partition("The union with a vocabulary")[2]
        row = next(line for line in table.splitlines() if line.split()[:1] == [f"{point['vocab_size']:,}"])
        assert row.split()[1:5] == [
            f"{point['n_overlap']:,}",
            f"{point['n_added']:,}",
            f"{point['sets']['heldout']['n_tokens'] / base:.4f}",
            grown,
        ]
    choice = union["choice"]
    size = f"Union: a vocabulary of {choice['vocab_size']:,} pieces, the knee over 1,600..4,000 pieces"
    assert size in " ".join(printed.split())
    assert f"so {choice['n_added']:,} rows are new" in " ".join(printed.split())
    assert 'id="table-union"' in page


def test_a_later_sweep_without_the_union_keeps_it(out: Path) -> None:
    before = (out / "union.json").read_bytes()
    result = vocabopt("sweep", CORPUS, "--out", out)
    assert result.exit_code == 0
    assert "The union with" not in result.stdout
    assert (out / "union.json").read_bytes() == before
    assert 'id="table-union"' in (out / "report.html").read_text("utf-8")


# --- Vocabularies trained elsewhere ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chinese_habit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary trained elsewhere: 1,500 pieces."""
    path = tmp_path_factory.mktemp("vocab") / "elsewhere.model"
    path.write_bytes(train_sentencepiece(lines_of("ko"), 1_500, byte_fallback=False, character_coverage=0.9995))
    return path


@pytest.mark.parametrize("scores", ["unique", "zero"])
@pytest.mark.slow
def test_a_given_vocabulary_is_measured_as_it_is_merged(scores: str, chinese_habit: Path, tmp_path: Path) -> None:
    options = ("--method", "union", "--vocab", chinese_habit, "--scores", scores, "--sizes", "1500", "--quiet")
    assert vocabopt("sweep", CORPUS, *options, "--out", tmp_path / "run").exit_code == 0
    point = json.loads((tmp_path / "run" / "union.json").read_text("utf-8"))["points"][0]
    base = load_base("mistral-7b-v1")
    merged = merge_vocabulary(base, chinese_habit, tmp_path / "merged", scores=scores)  # type: ignore[arg-type]
    assert merged.addition.n_added == point["n_added"]
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "merged" / "tokenizer.model"))
    assert point["encoder"] == ("sentencepiece" if scores == "zero" else point["encoder"])
    for name, lines in {**split_heldout(lines_of("ko")), "en": lines_of("en")}.items():
        assert point["sets"][name]["n_tokens"] == sum(map(len, processor.encode(lines)))
    before = sentencepiece.SentencePieceProcessor(model_proto=base.originals[0].data)
    english = [line for line in lines_of("en") if not has_hangul(line)]
    changed = sum(a != b for a, b in zip(before.encode(english), processor.encode(english), strict=True))
    assert point["protected"]["en"]["n_changed"] == changed


def test_unique_scores_leave_no_base_piece_broken_and_zero_ones_merge_first(
    chinese_habit: Path, tmp_path: Path
) -> None:
    base = load_base("mistral-7b-v1")
    for scores in ("unique", "zero"):
        merge_vocabulary(base, chinese_habit, tmp_path / scores, scores=scores)  # type: ignore[arg-type]
    lowest = min(piece.score for piece in read_model(base.originals[0].data).pieces)
    unique = read_model((tmp_path / "unique" / "tokenizer.model").read_bytes())
    zero = read_model((tmp_path / "zero" / "tokenizer.model").read_bytes())
    new = [piece.score for piece in unique.pieces][base.n_tokens :]
    assert len({*new}) == len(new)
    assert max(new) < lowest
    assert {piece.score for piece in zero.pieces[base.n_tokens :]} == {0.0}


def test_union_works_on_a_byte_level_base(folders: Path, chinese_habit: Path, tmp_path: Path) -> None:
    """Pieces become ranks behind the base's; those whose bytes no two tokens spell are counted as unreachable."""
    options = (
        "--method",
        "union",
        "--vocab",
        chinese_habit,
        "--base",
        folders / "gpt2-like",
        "--sizes",
        "1500",
        "--quiet",
    )
    assert vocabopt("sweep", CORPUS, *options, "--out", tmp_path / "run").exit_code == 0
    point = json.loads((tmp_path / "run" / "union.json").read_text("utf-8"))["points"][0]
    merge_run(tmp_path / "run", tmp_path / "merged", method="union")
    tokenizer = library_tokenizer(tmp_path / "merged")
    for name, lines in {**split_heldout(lines_of("ko")), "en": lines_of("en")}.items():
        assert point["sets"][name]["n_tokens"] == n_tokens(tokenizer, lines)
    record = json.loads((tmp_path / "merged" / "extension.json").read_text("utf-8"))
    texts = [bytes.fromhex(token["bytes"]).decode() for token in record["tokens"]]
    alone = all_ids(tokenizer, texts)
    assert point["n_unreachable"] == sum(ids != [2_000 + i] for i, ids in enumerate(alone)) > 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--vocab", "x.model"], r"--vocab x\.model: is about the union method\. Add --method union"),
        (["--scores", "zero"], r"--scores zero: is about the union method"),
        (["--method", "union", "--vocab", "x.model"], r"--vocab x\.model: no SentencePiece \.model could be read"),
        (["--method", "union", "--sizes", "5"], r"sentencepiece could not train a vocabulary of 5 pieces"),
        (["--method", "union", "--sizes", "0,90000"], r"the trained vocabulary can have [\d,]+ to [\d,]+ pieces"),
    ],
)
def test_bad_options_are_refused(options: list[str], match: str, tmp_path: Path) -> None:
    result = vocabopt("sweep", CORPUS / "ko" / "news.txt", *options, "--quiet", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.search(match, result.stderr), result.stderr
    assert not (tmp_path / "out" / "union.json").exists()


def test_a_vocabulary_that_crosses_spaces_is_refused(tmp_path: Path) -> None:
    model = train_sentencepiece(lines_of("ko"), 1_500, byte_fallback=False, split_by_whitespace=False)
    (tmp_path / "v.model").write_bytes(model)
    options = ("--method", "union", "--vocab", tmp_path / "v.model", "--quiet")
    result = vocabopt("sweep", CORPUS, *options, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "goes on behind a space or a line end" in result.stderr
    assert not (tmp_path / "out" / "union.json").exists()


def test_a_union_size_without_a_vocabulary_is_refused(out: Path, tmp_path: Path) -> None:
    result = vocabopt("merge", out, "--method", "union", "--size", 3, "--out", tmp_path / "t")
    assert_refused(result, r"--size 3: the union of .* has [\d,]+ to [\d,]+ new rows", tmp_path)


def test_the_union_of_a_sweep_names_its_run(run_of: Callable[[str], Run], tmp_path: Path) -> None:
    result = vocabopt("merge", run_of("llama-like").out, "--method", "union", "--out", tmp_path / "t")
    assert_refused(result, r"union\.json: not found\. Sweep into this folder with --method union", tmp_path)


def test_a_union_that_changes_no_other_text_is_measured(tmp_path: Path) -> None:
    """Pieces of Hangul alone: nothing in English can change."""
    model = read_model(train_sentencepiece(lines_of("ko"), 1_500, byte_fallback=False, character_coverage=0.9995))
    for piece in model.pieces:
        if piece.type == piece.NORMAL and not has_hangul(piece.piece):
            piece.type = piece.CONTROL
    (tmp_path / "hangul.model").write_bytes(model.SerializeToString())
    options = ("--method", "union", "--vocab", tmp_path / "hangul.model", "--quiet", "--out", tmp_path / "run")
    assert vocabopt("sweep", CORPUS, *options).exit_code == 0
    for point in json.loads((tmp_path / "run" / "union.json").read_text("utf-8"))["points"]:
        assert point["protected"]["en"]["n_changed"] == 0


def test_a_bad_vocabulary_is_refused_before_the_long_work(tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(b"no model")
    options = ("--method", "union", "--vocab", tmp_path / "bad.model", "--out", tmp_path / "run")
    result = vocabopt("sweep", CORPUS, *options)
    assert result.exit_code == 2
    assert "count" not in result.stderr.partition("Error:")[0]
    assert not (tmp_path / "run").exists()
