"""Promise P1 over generated tokenizer.json settings, and the proof that tells where it does not hold.

The authority is the `tokenizers` library on whole documents. A setting is refused with a message, or counted exactly,
without added tokens and with all of them.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tokenizers
from command_line import vocabopt
from conftest import ROOT, sweep
from helpers import (
    CORPUS,
    HANGUL,
    Counted,
    base_of,
    examples,
    library_tokenizer,
    lines_of,
    merged,
    n_tokens,
    toy_sentencepiece,
    train_byte_level,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from settings_generated import (
    CONTENTS,
    FLAGS,
    UNICODE_NORMALIZERS,
    byte_level_settings,
    first_merges,
    nasty_documents,
    post_processors,
    sentencepiece_settings,
    small_byte_level,
    with_settings,
)

from vocabopt.console import Console
from vocabopt.errors import BaseTokenizerError, PromiseError, RunDirectoryError, VocaboptError
from vocabopt.growth.chunk_kernel import BARE
from vocabopt.growth.grow import GrowthOptions
from vocabopt.growth.proof import count_documents, prove_documents, recount
from vocabopt.growth.proof_sample import EXCERPT_BYTES, PROOF_PARQUET, SAMPLE_BYTES, WHOLE_BYTES, ProofSample, Sample
from vocabopt.merging.export import merged_base
from vocabopt.merging.extension import grown
from vocabopt.merging.run import merge_run
from vocabopt.options import SweepOptions
from vocabopt.pipeline import run_sweep
from vocabopt.run_directory import read_sweep
from vocabopt.text.documents import bytes_of_texts, content_hashes
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.added_tokens import AddedTokens
from vocabopt.verification import VerifyOptions, verify
from vocabopt.wording import sweep_notes

#: Settings tried of each family.
N_SETTINGS = 170
#: New tokens of each.
N_ADDED = 40


@cache
def byte_level_model() -> dict[str, Any]:
    return small_byte_level()


@cache
def mistral_model() -> dict[str, Any]:
    """Mistral's pieces: those of its first merges, all single characters, its bytes and special tokens."""
    model = load_base("mistral-7b-v1").tokenizer_json["model"]
    return first_merges(model, 1_200, ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))])


def unbatched(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Without what belongs to batches: the library itself would cut and pad texts."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def check(value: Mapping[str, Any], documents: list[str]) -> str:
    """ "exact", or the message of a refusal. A wrong count fails."""
    try:
        base = base_of(dict(value))
        counted = Counted.of(base, {"train": documents})
    except VocaboptError as error:
        return str(error)
    growth = counted.grow(GrowthOptions(scripts=HANGUL, max_added=N_ADDED, min_saving=2))
    n_rows = len(growth.curve)
    promised = {size: growth.curve["n_tokens_train"][size - 1] for size in {min(1, n_rows), n_rows} - {0}}
    promised[0] = counted.n_tokens_base()["train"]
    for size, n in promised.items():
        tokenizer = unbatched(
            merged(base, growth.curve, size) if size else tokenizers.Tokenizer.from_str(json.dumps(dict(value)))
        )
        assert n == n_tokens(tokenizer, documents), (size, with_settings(value))
    return "exact"


@pytest.mark.parametrize("family", ["byte-level", "sentencepiece"])
@pytest.mark.slow
def test_p1_counts_are_exact_or_refused_whatever_a_tokenizer_json_says(family: str) -> None:
    made = (
        byte_level_settings(byte_level_model(), N_SETTINGS, seed=1)
        if family == "byte-level"
        else sentencepiece_settings(mistral_model(), N_SETTINGS, seed=1)
    )
    answers: Counter[str] = Counter()
    for i, value in enumerate(made):
        contents = [token["content"] for token in value["added_tokens"]]
        answers[check(value, nasty_documents(i, 12, contents))] += 1
    assert answers.total() == N_SETTINGS
    assert answers["exact"] > 0.5 * N_SETTINGS
    # A refusal says what of the file it is about.
    parts = "added token|normaliser|pre-tokenizer|ByteLevel|adds a space|cannot encode the text"
    assert [answer for answer in answers if answer != "exact" and not re.search(parts, answer)] == []


flags = st.fixed_dictionaries(dict.fromkeys(FLAGS, st.booleans()))
tokens = st.lists(st.tuples(st.sampled_from(CONTENTS), flags), max_size=3, unique_by=lambda pair: pair[0])
texts = st.lists(st.one_of(st.sampled_from([*CONTENTS, "한국", " ", "\n"]), st.text(max_size=4)), max_size=12)


@settings(max_examples=examples(40))
@given(
    added=tokens,
    normalizer=st.sampled_from(UNICODE_NORMALIZERS),
    post=st.sampled_from(post_processors()),
    prefix=st.booleans(),
    text=texts.map("".join).filter(lambda text: text.strip() and "\0" not in text),
)
def test_p1_any_text_with_any_added_tokens_is_counted_exactly(
    added: list[tuple[str, dict[str, bool]]], normalizer: Any, post: Any, prefix: bool, text: str
) -> None:
    model = byte_level_model()
    value = {
        "version": "1.0",
        "added_tokens": [
            {"id": model["vocab"].get(content, 700 + i), "content": content, **each}
            for i, (content, each) in enumerate(added)
        ],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": True},
        "post_processor": post,
        "model": model,
    }
    check(value, [text, text + "한국한국 한국", "한국 " + text])


# --- Line by line: what was wrong, or is refused ----------------------------------------------------------------------


def trimming_base(folder: Path) -> Path:
    """GPT-NeoX's setting: offsets are trimmed, and an added token is white space."""
    value = train_byte_level(lines_of("en") + lines_of("ko")[:100], 1_000)
    trim = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    spaces = [{"id": 1_000 + i, "content": " " * n, **dict.fromkeys(FLAGS, False)} for i, n in enumerate((2, 3, 4, 8))]
    value |= {"post_processor": trim, "added_tokens": [*value["added_tokens"], *spaces]}
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def indented(folder: Path) -> Path:
    lines = [f"{' ' * (i % 7)}{line.replace(' ', '    ', 1)}" for i, line in enumerate(lines_of("ko")[:300])]
    path = folder / "ko.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def split_by_offsets(self: AddedTokens, text: str) -> tuple[list[tuple[str, int]], int]:
    """How added tokens were found until 0.1: by the offsets that the whole tokenizer gives them."""
    base = self._base
    parts: list[tuple[str, int]] = []
    position, n_added = 0, 0
    encoding = base.full.encode(text, add_special_tokens=False)
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token in base.added:
            n_added += 1
            if start > position:
                parts.append((text[position:start], BARE))
            position = end
    if position < len(text):
        parts.append((text[position:], BARE))
    return parts, n_added


def test_added_tokens_of_white_space_are_counted_though_offsets_are_trimmed(tmp_path: Path) -> None:
    text = indented(tmp_path)
    run = sweep(tmp_path / "run", str(trimming_base(tmp_path / "base")), text, heldout=0.0)
    documents = text.read_text(encoding="utf-8").split("\n")
    run.assert_exact({"train": documents, "heldout": []}, [0, 100, len(run.curve)])
    record = json.loads((run.exported(100) / "extension.json").read_text(encoding="utf-8"))["proof"]["documents"]
    assert record["n_tokens"] == n_tokens(run.tokenizer(100), documents)
    assert (record["n_documents"], record["is_all"]) == (len(set(documents)), True)


def test_the_proof_by_chunks_alone_passes_a_wrong_count_and_that_by_documents_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(str(trimming_base(tmp_path / "base")))
    documents = indented(tmp_path).read_text(encoding="utf-8").split("\n")
    monkeypatch.setattr(AddedTokens, "split", split_by_offsets)
    counted = Counted.of(base, {"train": documents})
    growth = counted.grow(GrowthOptions(scripts=HANGUL, max_added=50, min_saving=2))
    wrong, right = growth.curve["n_tokens_train"][-1], n_tokens(merged(base, growth.curve, 50), documents)
    assert wrong > right
    # The proof that there was counts the same chunks again.
    after = merged_base(base, grown(base, growth.curve, 50))
    assert recount(after, counted.counts, counted.counts.weights()).n_tokens(counted.counts)["train"] == wrong
    # Now the sweep itself stops, before it grows, and names a document; and so does merge.
    sample = Sample(texts=documents, is_excerpt=[False] * len(documents), is_all=True, n_features=0, n_features_held=0)
    chunks = count_documents(base, sample, cross_spaces=False)
    with pytest.raises(PromiseError, match=r"documents have other token counts .* The first: \d+ tokens, counted \d+"):
        prove_documents(merged(base, growth.curve, 50), after, chunks, sample, what="the base")
    with pytest.raises(PromiseError, match=r"without added tokens: .* documents have other token counts"):
        sweep(tmp_path / "run", base.source, tmp_path / "ko.txt", heldout=0.0)
    assert not (tmp_path / "run" / "curve.parquet").exists()


@pytest.mark.slow
def test_sensitivity_and_analyze_stop_at_a_wrong_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, text = trimming_base(tmp_path / "base"), indented(tmp_path)
    other = tmp_path / "other.txt"
    other.write_text("\n".join(lines_of("ko")[300:400]), encoding="utf-8")
    commands: dict[str, list[object]] = {
        "sensitivity": [text, other, "--base", base, "--heldout", 0.3, "--max-added", 20, "--out", tmp_path / "out"],
        "analyze": [base, "--text", f"ko={text}"],
    }
    for command, arguments in commands.items():
        result = vocabopt(command, *arguments)
        assert result.exit_code == 0, result.output
        assert command == "analyze" or "Counts are those of tokenizer.json on 4" in result.stdout
    monkeypatch.setattr(AddedTokens, "split", split_by_offsets)
    for command, arguments in commands.items():
        result = vocabopt(command, *arguments)
        assert result.exit_code == 1
        assert "without added tokens: " in result.stderr
        assert "documents have other token counts when they are encoded whole" in result.stderr


def test_two_added_tokens_that_are_one_text_to_the_normaliser_are_refused() -> None:
    """`tokenizers` finds the one or the other, from load to load."""
    value = train_byte_level(lines_of("en")[:200], 500, llama3=True)
    for i, content in enumerate(("caf\u00e9", "cafe\u0301")):
        token = {**dict.fromkeys(FLAGS, False), "normalized": True, "rstrip": bool(i)}
        value["added_tokens"].append({"id": 600 + i, "content": content, **token})
    ids = {tuple(tokenizers.Tokenizer.from_str(json.dumps(value)).encode("caf\u00e9").ids) for _ in range(40)}
    assert len(ids) == 2
    with pytest.raises(BaseTokenizerError, match=r"are one text to its normaliser, and .* by chance"):
        base_of(value)


def test_text_on_which_the_library_panics_is_refused_with_the_text(capfd: pytest.CaptureFixture[str]) -> None:
    value = train_byte_level(lines_of("en")[:200], 500)
    for i, (content, flag) in enumerate((("<x>", "rstrip"), ("   ", "lstrip"))):
        value["added_tokens"].append({"id": 500 + i, "content": content, **dict.fromkeys(FLAGS, False), flag: True})
    base = base_of(value)
    with pytest.raises(BaseTokenizerError, match=r"cannot encode the text 'a<x>     b'.*Remove lstrip and rstrip"):
        Counted.of(base, {"train": ["a<x>     b"]})
    assert "panicked" in capfd.readouterr().err  # the library's own words


@pytest.mark.slow
def test_padding_and_truncation_take_part_in_no_count(tmp_path: Path) -> None:
    """A folder saved with both: reachable, counted and verified as the same without them."""
    pad = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0}
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    value = train_byte_level(lines_of("en") + lines_of("ko")[:100], 1_000)
    for name, settings_of in (("plain", {}), ("batched", {"padding": {**pad, "pad_token": "!"}, "truncation": cut})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(value | settings_of), encoding="utf-8")
    runs = [sweep(tmp_path / f"run-{name}", str(tmp_path / name), CORPUS / "ko") for name in ("plain", "batched")]
    assert runs[0].curve.equals(runs[1].curve)
    folder = runs[1].exported(50)
    written = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert (written["truncation"]["max_length"], written["padding"]["pad_token"]) == (3, "!")
    report = verify(str(tmp_path / "batched"), str(folder), VerifyOptions(), Console(quiet=True))
    assert {check.name: check.status for check in report.checks if check.status == "fail"} == {}


# --- Text that a piece of the base keeps together ---------------------------------------------------------------------


def gemma_like() -> Tokenizer:
    """A base with Gemma's `>▁</`, the one piece that crosses a space, and its runs of newlines."""
    pieces = ["\n", "\n\n", "\n\n\n", "</", "▁</", ">▁</"]
    value = toy_sentencepiece("<>/abdivp\n", *pieces)
    value["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    value["model"]["merges"] = [["\n", "\n"], ["\n\n", "\n"], ["<", "/"], ["▁", "</"], [">", "▁</"]]
    return base_of(value)


CODE = [
    *(
        "<b> </b> 에 대한 것이다.\n\n\n에 대한 것 있다.",
        "<p> 수 있다. </p>\n 수 있다.\n",
        "에 대한> </ 수 있다.\n\n 에 대한> <",
    ),
    *("수> </p>가 수> <p>가 수> </p>가", "> </a> </", "\n> </\n", "에 대한\n에 대한\n\n수 있다.\n"),
]


def test_one_crossing_piece_of_the_base_makes_no_added_token_cross() -> None:
    base, documents = gemma_like(), CODE * 5
    counted = Counted.of(base, {"train": documents})
    growth = counted.grow(GrowthOptions(scripts=HANGUL, max_added=200, min_saving=2))
    assert len(growth.curve) > 20
    assert [piece for piece in growth.curve["piece"] if re.search("[^▁]▁|[^\n]\n|\n[^\n]", piece)] == []
    assert counted.n_tokens_base()["train"] == n_tokens(base.full, documents)
    for size in range(1, len(growth.curve) + 1):
        assert growth.curve["n_tokens_train"][size - 1] == n_tokens(merged(base, growth.curve, size), documents)
    # Only where the piece stands is the text kept together.
    chunks = counted.counts.texts().to_list()
    assert [chunk for chunk in chunks if re.search("[^ ] ", chunk) and "> </" not in chunk] == []
    assert any("> </" in chunk for chunk in chunks)


def test_with_cross_spaces_added_tokens_cross_and_counts_are_exact() -> None:
    base, documents = gemma_like(), CODE * 5
    counted = Counted.of(base, {"train": documents}, cross_spaces=True)
    growth = counted.grow(GrowthOptions(scripts=HANGUL, max_added=200, min_saving=2, cross_spaces=True))
    assert any(re.search("[^▁]▁", piece) for piece in growth.curve["piece"])
    for size in (1, len(growth.curve) // 2, len(growth.curve)):
        assert growth.curve["n_tokens_train"][size - 1] == n_tokens(merged(base, growth.curve, size), documents)


@settings(max_examples=examples(60))
@given(text=st.text(st.sampled_from([*"> </\nab수에", "있"]), min_size=1, max_size=40).filter(str.strip))
def test_p1_holds_around_a_crossing_piece_for_any_text(text: str) -> None:
    base, documents = gemma_like(), [text, text + "수에 수에> </ 수에\n수에"]
    counted = Counted.of(base, {"train": documents})
    assert counted.n_tokens_base()["train"] == n_tokens(base.full, documents)
    growth = counted.grow(GrowthOptions(scripts=HANGUL, max_added=20, min_saving=2))
    for size in range(1, len(growth.curve) + 1):
        assert growth.curve["n_tokens_train"][size - 1] == n_tokens(merged(base, growth.curve, size), documents)


@pytest.mark.slow
def test_p1_gemma_3_on_code_and_korean(data: Path) -> None:
    path = data / "tok_more" / "gemma3"
    if not path.is_dir():
        pytest.skip("no Gemma 3 among the development data")
    base = load_base(str(path))
    code = [file.read_text(encoding="utf-8") for file in sorted((ROOT / "vocabopt" / "report").glob("*.html"))]
    korean = lines_of("ko")[:400]
    documents = [*korean, *("\n".join(korean[i : i + 7]) for i in range(0, len(korean), 7)), *code, *CODE]
    counted = Counted.of(base, {"train": documents})
    growth = counted.grow(GrowthOptions(scripts=HANGUL, max_added=300, min_saving=2))
    assert [piece for piece in growth.curve["piece"] if re.search("[^▁]▁|[^\n]\n|\n[^\n]", piece)] == []
    assert counted.n_tokens_base()["train"] == n_tokens(base.full, documents)
    assert growth.curve["n_tokens_train"][-1] == n_tokens(merged(base, growth.curve, len(growth.curve)), documents)


# --- The sample -------------------------------------------------------------------------------------------------------


def blocks(texts: list[str]) -> tuple[bytes, Any, Any, Any]:
    packed, starts, ends = bytes_of_texts(pl.Series(texts, dtype=pl.String))
    return packed, starts, ends, content_hashes(packed, starts, ends)


def sampled(texts: list[str], n_blocks: int = 1) -> Sample:
    picker, size = ProofSample(seed=0), -(-len(texts) // n_blocks)
    for first in range(0, len(texts), size):
        picker.offer(*blocks(texts[first : first + size]))
    return picker.sample()


def test_a_text_that_fits_is_in_the_sample_whole() -> None:
    lines = lines_of("ko")
    sample = sampled(lines)
    assert sorted(sample.texts) == sorted(set(lines))
    assert sample.is_all
    assert sample.n_features == sample.n_features_held


def test_a_sample_of_much_text_holds_every_character_and_run_of_white_space() -> None:
    choose = random.Random(5)
    odd = [
        "\u0378",
        "\u00a0",
        "\ufeff",
        "\x01",
        "\x7f",
        "e\u0301",
        "\u1112\u1161\u11ab",
        "뷁",
        "𠀀",
        "👩‍👩",
        "\r",
        "\t",
    ]
    texts = [" ".join(choose.choices(["abc", "defg", "hi"], k=800)) for _ in range(2_000)]
    runs = [" " * n for n in range(2, 40)] + ["\n\n \n", " \u3000 ", "\r\n\r"]
    for i, part in enumerate(odd + runs):
        texts[7 * i + 3] = f"{texts[7 * i + 3][:1_500]}x{part}y{texts[7 * i + 3][1_500:]}"
    texts += ["가" * 5_000, "  start", "end  "]
    sample = sampled(texts)
    assert sum(len(text.encode()) for text in texts) > 2 * SAMPLE_BYTES > 1.5 * sample.n_bytes > SAMPLE_BYTES
    assert not sample.is_all
    joined = "\0".join(sample.texts)
    assert set("".join(texts)) <= set(joined)
    assert [run for run in runs if f"x{run}y" not in joined] == []
    assert sample.n_features == sample.n_features_held
    # Neither order nor blocks matter.
    choose.shuffle(texts)
    again = sampled(texts, n_blocks=7)
    assert (again.texts, again.n_features) == (sample.texts, sample.n_features)


def test_long_documents_come_in_excerpts_that_are_the_document_one_after_another() -> None:
    text = "가나다 라마\n" * 5_000
    sample = sampled([text, "짧은 글"])
    assert sorted(sample.is_excerpt)[0] is False
    excerpts = [each for each, is_excerpt in zip(sample.texts, sample.is_excerpt, strict=True) if is_excerpt]
    assert all(len(excerpt.encode()) <= EXCERPT_BYTES for excerpt in excerpts)
    assert len(excerpts) > 1
    assert all(excerpt in text for excerpt in excerpts)


def test_the_shortest_long_document_is_whole_as_well_in_any_order() -> None:
    long = [f"{word} 라마\n" * n for word, n in (("가나다", 5_000), ("나", 3_000), ("다", 9_000))]
    for texts in (long, long[::-1], [*long[1:], *long[:1]]):
        sample = sampled(texts)
        whole = [text for text, is_excerpt in zip(sample.texts, sample.is_excerpt, strict=True) if not is_excerpt]
        assert whole == [long[1]]
    # One that is too long comes in parts alone.
    sample = sampled(["가" * WHOLE_BYTES])
    assert all(sample.is_excerpt)


def test_counts_of_other_text_do_not_pass_though_all_documents_are_long(tmp_path: Path) -> None:
    """Whole files as documents: merge still sees that what was counted is not what is proved."""
    texts = tmp_path / "ko"
    texts.mkdir()
    for name in ("news", "law", "essay"):
        line = (CORPUS / "ko" / f"{name}.txt").read_text(encoding="utf-8")
        (texts / f"{name}.txt").write_text(line * 3, encoding="utf-8")
    run = sweep(tmp_path / "run", "mistral-7b-v1", texts, unit="file", heldout=0.0, max_added=50)
    proof = run.sweep["proof"]
    assert (proof["n_whole_documents"], proof["is_all"]) == (1, True)
    assert proof["n_documents"] == 1 + proof["n_excerpts"]
    told = f"on 1 distinct document and {proof['n_excerpts']} parts of longer ones, one by one ("
    assert told in sweep_notes(read_sweep(run.out))[-1]
    path = run.out / PROOF_PARQUET
    metadata, frame = pl.read_parquet_metadata(path), pl.read_parquet(path)
    other = frame.with_columns(pl.col("text").str.replace_all("다", "닭"))
    other.write_parquet(path, metadata={name: value for name, value in metadata.items() if "schema" not in name})
    with pytest.raises(PromiseError, match=r"the part '.*닭.*' of a document is not in the counted text"):
        merge_run(run.out, tmp_path / "merged", n_added=10)


def test_every_added_token_is_in_the_sample_with_what_may_stand_beside_it(tmp_path: Path) -> None:
    base = trimming_base(tmp_path / "base")
    filler = [f"{i} " + "단어 " * 200 for i in range(8_000)]
    glued = ["말<|endoftext|>말", "<|endoftext|>", "말 <|endoftext|> 말", "말        말"]
    (tmp_path / "ko.txt").write_text("\n".join(filler + glued), encoding="utf-8")
    run = sweep(tmp_path / "run", str(base), tmp_path / "ko.txt", max_added=20)
    proof = run.sweep["proof"]
    assert not proof["is_all"]
    assert proof["n_documents"] < 8_000
    assert proof["n_features"] == proof["n_features_held"]
    texts = pl.read_parquet(run.out / PROOF_PARQUET)["text"].to_list()
    assert set(glued) <= set(texts)
    assert proof["n_tokens"] == n_tokens(run.base.full, texts)


@pytest.mark.slow
def test_a_run_without_its_documents_is_not_merged(tmp_path: Path) -> None:
    run = sweep(tmp_path / "run", "mistral-7b-v1", CORPUS / "ko" / "news.txt", max_added=50)
    (run.out / PROOF_PARQUET).unlink()
    with pytest.raises(RunDirectoryError, match=r"proof_sample.parquet: is missing.* Sweep again into this folder"):
        merge_run(run.out, tmp_path / "merged", n_added=10)
    assert not (tmp_path / "merged").exists()
    # Counted again into the same folder, it is there again.
    run_sweep(SweepOptions(paths=(str(CORPUS / "ko" / "news.txt"),), out=run.out, max_added=50), Console(quiet=True))
    merge_run(run.out, tmp_path / "merged", n_added=10)


# --- Whole vocabularies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mistral-7b-v1", "gpt2"])
def test_p1_settings_on_the_whole_vocabulary(name: str, request: pytest.FixtureRequest) -> None:
    """GPT-2 is among the development data."""
    base = load_base(name) if name != "gpt2" else load_base(str(request.getfixturevalue("data") / "tok_gpt2"))
    made = byte_level_settings if base.family == "byte-level-bpe" else sentencepiece_settings
    values = list(made(base.tokenizer_json["model"], 2, seed=7))
    answers = Counter(
        check(value, nasty_documents(i, 12, [token["content"] for token in value["added_tokens"]]))
        for i, value in enumerate(values)
    )
    assert answers["exact"] >= 1


@pytest.mark.slow
def test_a_union_is_proved_on_whole_documents(tmp_path: Path) -> None:
    run = sweep(tmp_path / "run", "mistral-7b-v1", CORPUS / "ko", method="union", sizes="2000", max_added=200)
    merge_run(run.out, tmp_path / "union")
    proof = json.loads((tmp_path / "union" / "extension.json").read_text(encoding="utf-8"))["proof"]
    texts = pl.read_parquet(run.out / PROOF_PARQUET)["text"].to_list()
    tokenizer = library_tokenizer(tmp_path / "union")
    assert proof["n_tokens_promised"] is None
    assert proof["documents"]["n_tokens"] == n_tokens(tokenizer, texts)
    assert set(texts) == {line for line in lines_of("ko") if line.strip()}


def test_a_run_of_a_version_that_counted_otherwise_is_not_taken_for_this_one(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocabopt.run_directory.COUNTS_VERSION", 1)
        sweep(tmp_path / "run", "mistral-7b-v1", CORPUS / "ko" / "news.txt", max_added=20)
    with pytest.raises(RunDirectoryError, match=r"run: holds another run \(.* made by another version of vocabopt\)"):
        sweep(tmp_path / "run", "mistral-7b-v1", CORPUS / "ko" / "news.txt", max_added=20)
