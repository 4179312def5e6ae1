"""Promises P1 to P8 of design section 4, on the sample corpus and on any Unicode text, for both families.

The exported tokenizer is always what `vocabopt merge` writes, loaded by the `tokenizers` library. With the development
data: test_promises_data.py.
"""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import regex
from conftest import CONFIGS, TEMPLATE, Run, sweep
from helpers import CORPUS, all_ids, examples, has_hangul, library_tokenizer, lines_of, split_heldout
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from vocabopt.tokenizer import load_base

BASES = ["mistral-7b-v1", *CONFIGS]
ODD_PARTS = [
    *("<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "</s", "<0xEA>"),
    *(
        "▁",
        "▁▁",
        "▁가",
        " ",
        "  ",
        "   ",
        "\t",
        "\t\t",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\x0b",
        "\x85",
        "\u200b",
        "\ufeff",
    ),
    *("한국", "가나다", "ㅋㅋㅋㅋㅋ", "뷁", "\u1112\u1161\u11ab", "\u1100", "\u11a8", "\u302e", "㈀", "ﾡ", "ꥠ", "ힰ"),
    *("👨‍👩‍👧‍👦", "🇰🇷", "👍🏽", "❤️", "e\u0301", "\u0301", "\u0345", "\x00", "\x01", "\x7f", "é", "\ua015", "、"),
    *("the", " The", "don't", "1234", "...", "def f(x):", "한국은", "에서", " 그리고", "\n", "\n\n", "\r\n", "\r"),
]
any_text = st.one_of(
    st.text(),
    st.lists(st.one_of(st.sampled_from(ODD_PARTS), st.text(max_size=3)), max_size=16).map("".join),
)
#: Where the guard of Hangul has its edges: neighbours of its blocks, and all that shares a lead byte with it.
EDGES = [(0x1000, 0x13FF), (0x3000, 0x32FF), (0xA000, 0xABFF), (0xD700, 0xD7FF), (0xE000, 0xFFDC)]
edge_text = st.lists(
    st.one_of(*(st.characters(min_codepoint=first, max_codepoint=last) for first, last in EDGES), st.just(" ")),
    max_size=12,
).map("".join)


def without_hangul(text: str) -> str:
    """Without the unassigned code points either that share two bytes with Hangul alone."""
    return regex.sub(r"[\p{Script=Hangul}\uD7A4-\uD7FF]", "", text)


def odd_documents(seed: int, n: int, *, forbidden: str) -> list[str]:
    """Documents of odd parts and words of the sample corpus, without the characters `forbidden`; none is blank."""
    choose = random.Random(seed)
    parts = [part for part in ODD_PARTS if not set(part) & set(forbidden)]
    words = [word for line in lines_of("ko")[:40] for word in line.split()]
    documents = []
    for _ in range(n):
        drawn = [choose.choice(choose.choice([parts, words, [" "]])) for _ in range(choose.randrange(1, 14))]
        drawn.insert(choose.randrange(len(drawn) + 1), choose.choice(words))
        documents.append("".join(drawn))
    return documents


# --- P1: the curve's counts are those of the exported tokenizer -------------------------------------------------------


@pytest.mark.slow
def test_p1_counts_are_exact_at_every_size_of_the_grid_on_every_set(run: Run) -> None:
    sizes = run.sizes()
    assert (sizes[0], sizes[-1], len(sizes)) == (0, len(run.curve), 10)
    documents = {**split_heldout(lines_of("ko")), "en": lines_of("en")}
    assert {name: len(texts) for name, texts in documents.items()} == {
        name: stats["n_documents"] for name, stats in run.sweep["sets"].items()
    }
    for size in sizes:
        found = {name: int(counts.sum()) for name, counts in run.token_counts(size).items()}
        assert found == {name: run.count(name, size) for name in documents}, size


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("form", ["lines", "records", "files"])
@pytest.mark.slow
def test_p1_counts_of_odd_documents_are_exact(form: str, base: str, folders: Path, tmp_path: Path) -> None:
    # A line holds no LF, nor a CR at its end; a record and a file hold anything but NUL.
    documents = odd_documents(1, 400, forbidden="\0\n\r" if form == "lines" else "\0")
    others = odd_documents(2, 60, forbidden="\0\n\r" if form == "lines" else "\0")
    if form == "lines":
        (tmp_path / "ko.txt").write_bytes("\n".join(documents[:200]).encode())
        (tmp_path / "ko2.txt").write_bytes("\r\n".join([*documents[200:], "", "  "]).encode())
        paths, other = [tmp_path / "ko.txt", tmp_path / "ko2.txt"], tmp_path / "other.txt"
        other.write_bytes("\n".join(others).encode())
    elif form == "records":
        paths, other = [tmp_path / "ko.jsonl"], tmp_path / "other.jsonl"
        for path, texts, ascii_only in ((paths[0], documents, False), (other, others, True)):
            lines = (json.dumps({"text": text}, ensure_ascii=ascii_only) for text in texts)
            path.write_text("\n".join(lines), encoding="utf-8")
    else:
        paths, other = [tmp_path / "ko"], tmp_path / "other"
        for folder, texts in ((paths[0], documents), (other, others)):
            folder.mkdir()
            for i, text in enumerate(texts):
                (folder / f"{i}.txt").write_bytes(text.encode())
    run = sweep(
        tmp_path / "run",
        str(folders / base) if base in CONFIGS else base,
        *paths,
        evals={"other": str(other)},
        scripts="Hangul",
        unit="file" if form == "files" else "line",
    )
    # U+FEFF at the start of a file is its signature, which is no text.
    seen = [text.removeprefix("\ufeff") for text in documents] if form == "files" else documents
    others = [text.removeprefix("\ufeff") for text in others] if form == "files" else others
    assert len(run.curve) > 40
    run.assert_exact({**split_heldout(seen), "other": others}, {0, 7, len(run.curve) // 2, len(run.curve)})


# --- P2: what the base is, stays --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_p2_everything_of_the_base_is_unchanged(run: Run) -> None:
    n, base = run.base.n_tokens, json.loads(run.base.full.to_str())
    for size in (0, 1, len(run.curve)):
        tokenizer = run.tokenizer(size)
        value = json.loads((run.exported(size) / "tokenizer.json").read_text(encoding="utf-8"))
        changed = {key for key in base["model"] if value["model"][key] != base["model"][key]}
        assert changed <= {"vocab", "merges"}
        assert value["model"]["merges"][: len(base["model"]["merges"])] == base["model"]["merges"]
        for part in (
            "normalizer",
            "pre_tokenizer",
            "post_processor",
            "decoder",
            "added_tokens",
            "truncation",
            "padding",
        ):
            assert value[part] == base[part], part
        assert [tokenizer.id_to_token(i) for i in range(n)] == [run.base.full.id_to_token(i) for i in range(n)]
        assert [tokenizer.id_to_token(n + i) for i in range(size)] == run.curve["piece"][:size].to_list()
        assert tokenizer.get_vocab_size() == run.base.full.get_vocab_size() + size
        assert max(tokenizer.get_vocab().values()) == n + size - 1
        decoders = [
            {i: (str(token), token.special) for i, token in each.get_added_tokens_decoder().items()}
            for each in (tokenizer, run.base.full)
        ]
        assert decoders[0] == decoders[1] != {}


def test_p2_the_files_beside_the_tokenizer_travel_unchanged(run: Run) -> None:
    folder = run.exported(len(run.curve))
    for name, data in run.base.companions.items():
        if name != "tokenizer_config.json":
            assert (folder / name).read_bytes() == data
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    if run.base.name in CONFIGS:
        assert (folder / "chat_template.jinja").read_text(encoding="utf-8") == TEMPLATE
        kept = {key: value for key, value in CONFIGS[run.base.name].items() if key != "tokenizer_class"}
        assert kept == {key: config[key] for key in kept}
    else:
        assert (config["bos_token"], config["eos_token"], config["unk_token"]) == ("<s>", "</s>", "<unk>")


def test_p2_special_tokens_outside_the_vocabulary_keep_their_ids(folders: Path) -> None:
    """The base that the tests above take for this really is of that kind."""
    base = load_base(str(folders / "qwen2-like"))
    assert base.added.keys() == {1_997, 1_998, 1_999}
    assert not set(base.added_contents) & set(base.tokenizer_json["model"]["vocab"])


# --- P3: other text stays ---------------------------------------------------------------------------------------------


@settings(max_examples=examples(150))
@given(text=st.one_of(any_text, edge_text).map(without_hangul))
def test_p3_text_without_target_characters_gives_identical_ids(run: Run, text: str) -> None:
    assert all_ids(merged_at_end(run), [text]) == all_ids(run.base.full, [text])


@cache
def lines_around_the_edges() -> list[str]:
    choose = random.Random(3)
    alphabet = [chr(i) for first, last in EDGES for i in range(first, last + 1) if without_hangul(chr(i))]
    alphabet += [" ", "a", "1", "."] * 100
    return ["".join(choose.choices(alphabet, k=choose.randrange(1, 30))) for _ in range(20_000)]


def test_p3_random_lines_around_the_edges_of_the_guard_give_identical_ids(run: Run) -> None:
    lines = lines_around_the_edges()
    assert all_ids(merged_at_end(run), lines) == all_ids(run.base.full, lines)


def test_p3_every_protected_line_of_the_sample_corpus_gives_identical_ids(run: Run) -> None:
    assert all_ids(merged_at_end(run), lines_of("en")) == all_ids(run.base.full, lines_of("en"))


#: Bytes that only Hangul can have there: design section 4, and the parenthesised and circled letters in full.
HANGUL_BYTES = re.compile(
    rb"[\xeb\xec\xed]|\xea[\xb0-\xbf]|\xea\xa5[\xa0-\xbf]|\xe1[\x84-\x87]|\xe3\x84[\xb0-\xbf]|\xe3\x85|\xe3\x86[\x80-\x8f]"
    rb"|\xef\xbe[\xa0-\xbf]|\xef\xbf[\x80-\x9c]|\xe3\x80[\xae\xaf]|\xe3\x88[\x80-\x9e]|\xe3\x89[\xa0-\xbe]"
)


def test_p3_every_added_piece_holds_what_only_the_target_has(run: Run) -> None:
    for piece, data in run.curve.select("piece", "bytes").iter_rows():
        assert run.base.piece_string(data) == piece
        if run.base.family == "byte-level-bpe":
            assert HANGUL_BYTES.search(data), piece
            assert not 0x80 <= data[0] < 0xC0, piece
        else:
            assert has_hangul(piece), piece


# --- P4: every row is of use ------------------------------------------------------------------------------------------


def without_prefix(run: Run, size: int) -> Tokenizer:
    tokenizer = run.tokenizer(size)
    if run.base.family == "sentencepiece-bpe":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
    return tokenizer


def test_p4_every_added_token_is_reachable_or_a_step_to_one_that_is(run: Run) -> None:
    """A byte-level piece that ends inside a character has no text of its own: the target text must use it."""
    n, tokenizer, size = run.base.n_tokens, without_prefix(run, len(run.curve)), len(run.curve)
    used = {token for ids in all_ids(merged_at_end(run), lines_of("ko")) for token in ids}
    needed, is_whole = [False] * size, [True] * size
    for row, data in enumerate(run.curve["bytes"]):
        try:
            needed[row] = tokenizer.encode(data.decode(), add_special_tokens=False).ids == [n + row]
        except UnicodeDecodeError:
            needed[row], is_whole[row] = n + row in used, False
    assert all(is_whole) or run.base.family == "byte-level-bpe"
    assert sum(needed) > 0.7 * size
    parts = run.curve.select("left", "right").rows()
    for row in reversed(range(size)):
        for part in parts[row] if needed[row] else ():
            if part >= n:
                needed[part - n] = True
    assert [piece for piece, is_needed in zip(run.curve["piece"], needed, strict=True) if not is_needed] == []


def test_p4_scaffold_is_the_rows_that_the_training_text_never_uses(run: Run) -> None:
    sizes = {int(size): n_rows for size, n_rows in run.sweep["n_scaffold"].items()}
    assert set(run.sizes()) - {0} <= set(sizes)
    for size, n_scaffold in sizes.items():
        new = run.token_counts(size)["train"][run.base.n_tokens :]
        assert (len(new), n_scaffold) == (size, np.count_nonzero(new == 0)), size


# --- P5: text comes back as from the base ----------------------------------------------------------------------------


@settings(max_examples=examples(150))
@given(text=st.one_of(any_text, edge_text))
@example(text="".join(ODD_PARTS))
@example(text=" ".join(ODD_PARTS))
@pytest.mark.slow
def test_p5_text_comes_back_as_from_the_base(run: Run, text: str) -> None:
    for tokenizer in (merged_at_end(run), merged_at_half(run)):
        for keep in (True, False):
            ids = tokenizer.encode(text).ids
            expected = run.base.full.decode(run.base.full.encode(text).ids, skip_special_tokens=not keep)
            assert tokenizer.decode(ids, skip_special_tokens=not keep) == expected


def test_p5_the_sample_corpus_comes_back_whole(run: Run) -> None:
    tokenizer, lines = merged_at_end(run), lines_of("ko") + lines_of("en")
    assert tokenizer.decode_batch(all_ids(tokenizer, lines)) == lines


@lru_cache(maxsize=2)
def loaded(path: Path) -> Tokenizer:
    return library_tokenizer(path)


def merged_at_end(run: Run) -> Tokenizer:
    return loaded(run.exported(len(run.curve)) / "tokenizer.json")


def merged_at_half(run: Run) -> Tokenizer:
    return loaded(run.exported(len(run.curve) // 2) / "tokenizer.json")


# --- P6: transformers reads what was written --------------------------------------------------------------------------


def auto_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def test_p6_transformers_gives_the_ids_of_tokenizer_json(run: Run) -> None:
    size = len(run.curve) // 2
    tokenizer, auto = run.tokenizer(size), auto_tokenizer(run.exported(size))
    texts = lines_of("ko")[:300] + lines_of("en")[:300] + odd_documents(6, 300, forbidden="\0") + ODD_PARTS
    for special in (False, True):
        expected = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=special)]
        assert auto(texts, add_special_tokens=special)["input_ids"] == expected
    assert auto.batch_decode(all_ids(tokenizer, texts)) == tokenizer.decode_batch(
        all_ids(tokenizer, texts), skip_special_tokens=False
    )
    assert len(auto) == run.base.n_tokens + size


def test_p6_special_tokens_and_template_are_those_of_the_base(run: Run) -> None:
    if run.base.name not in CONFIGS:
        pytest.skip("the base is one file without a folder")
    merged, base = auto_tokenizer(run.exported(len(run.curve))), auto_tokenizer(Path(run.base.source))
    messages = [{"role": "user", "content": "안녕하세요?"}, {"role": "assistant", "content": "Hello"}]
    rendered = "[user] 안녕하세요?\n[assistant] Hello\n"
    assert merged.apply_chat_template(messages, tokenize=False) == rendered
    assert base.apply_chat_template(messages, tokenize=False) == rendered
    for name in ("bos_token", "eos_token", "pad_token", "unk_token", "model_max_length"):
        assert getattr(merged, name) == getattr(base, name), name
    assert set(merged.all_special_ids) == set(base.all_special_ids)


# --- P7: the same text, the same curve --------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["mistral-7b-v1", "qwen2-like"])
@pytest.mark.slow
def test_p7_another_process_with_other_threads_and_hashes_writes_the_same_bytes(
    base: str, run_of: Callable[[str], Run], folders: Path, tmp_path: Path
) -> None:
    name = str(folders / base) if base in CONFIGS else base
    command = [sys.executable, "-c", "from vocabopt.cli import main; main()", "sweep", str(CORPUS), "--base", name]
    fewer = {f"{library}_{key}": "1" for library in ("RAYON", "NUMBA") for key in ("NUM_THREADS",)}
    environment = {**os.environ, **fewer, "POLARS_MAX_THREADS": "1", "PYTHONHASHSEED": "7"}
    subprocess.run([*command, "--out", str(tmp_path / "second"), "--quiet"], env=environment, check=True, timeout=120)
    for file in ("curve.parquet", "folds.parquet"):
        assert (run_of(base).out / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


@pytest.mark.slow
def test_p7_neither_the_order_of_lines_nor_their_files_matter(run: Run, tmp_path: Path) -> None:
    choose = random.Random(7)
    for language in ("ko", "en"):
        lines = lines_of(language)
        choose.shuffle(lines)
        (tmp_path / "corpus" / language).mkdir(parents=True)
        for i, part in enumerate((lines[:100], lines[100:101], lines[101:700], lines[700:])):
            (tmp_path / "corpus" / language / f"{i}.txt").write_text("\n".join(part), encoding="utf-8")
    shuffled = sweep(tmp_path / "run", run.base.source, tmp_path / "corpus")
    assert shuffled.curve.equals(run.curve)
    assert shuffled.sweep["sets"] == run.sweep["sets"]
    assert pl.read_parquet(shuffled.out / "folds.parquet").equals(pl.read_parquet(run.out / "folds.parquet"))


# --- P8: no text takes more tokens ------------------------------------------------------------------------------------

#: Hangul in any order, with what stands between: where new pieces of many lengths meet.
hangul_text = st.lists(
    st.one_of(
        st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3),
        st.sampled_from(sorted({word for line in lines_of("ko")[:100] for word in line.split()})),
        st.sampled_from([" ", "\n", "the", "1", "ㅋ"]),
    ),
    max_size=20,
).map("".join)


@settings(max_examples=examples(300))
@given(text=st.one_of(any_text, edge_text, hangul_text))
@example(text="".join(ODD_PARTS))
@example(text=" ".join(ODD_PARTS))
def test_p8_no_text_takes_more_tokens_with_more_added_ones(run: Run, text: str) -> None:
    tokenizers = (merged_at_end(run), merged_at_half(run), run.base.full)
    end, half, base = (len(tokenizer.encode(text, add_special_tokens=False).ids) for tokenizer in tokenizers)
    assert end <= half <= base


def test_p8_no_document_takes_more_tokens_and_most_of_the_target_fewer(run: Run) -> None:
    for documents, is_target in (
        (lines_of("ko"), True),
        (lines_of("en"), False),
        (odd_documents(8, 2_000, forbidden=""), True),
    ):
        before, after = (list(map(len, all_ids(each, documents))) for each in (run.base.full, merged_at_end(run)))
        assert all(new <= old for old, new in zip(before, after, strict=True))
        n_shorter = sum(new < old for old, new in zip(before, after, strict=True))
        assert n_shorter > 0.9 * len(documents) if is_target else n_shorter <= sum(map(has_hangul, documents))


def test_p8_holds_in_a_domain_whose_script_is_the_base_s_own(folders: Path, tmp_path: Path) -> None:
    code = sorted((CORPUS.parent / "vocabopt").glob("*.py"))
    run = sweep(
        tmp_path / "run", str(folders / "gpt2-like"), *code,
        scripts="none", protects={"en": str(CORPUS / "en")}, max_added=500, sizes="0,500",
    )  # fmt: skip
    lines = [line for path in code for line in path.read_text(encoding="utf-8").split("\n") if line]
    english, merged = lines_of("en"), run.tokenizer(500)
    assert all_ids(merged, english) == all_ids(run.base.full, english)
    before, after = (list(map(len, all_ids(tokenizer, lines))) for tokenizer in (run.base.full, merged))
    assert sum(after) < 0.9 * sum(before)
    assert all(longer >= shorter for longer, shorter in zip(before, after, strict=True))
