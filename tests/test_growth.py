"""The growth curve: hand-worked examples, a slow reference in plain Python, and recounts of encoded text."""

import copy
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from math import isclose, log2
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import Run
from growth_reference import ReferenceGrowth
from helpers import (
    HANGUL,
    all_ids,
    base_of,
    examples,
    grow_documents,
    lines_of,
    merged,
    n_tokens,
    toy_sentencepiece,
    train_byte_level,
    train_sentencepiece,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from vocabopt.growth import grow as growth
from vocabopt.growth.balance import ONE_TARGET, Balance
from vocabopt.growth.grow import Growth
from vocabopt.tokenizer import Tokenizer


def rows_of(grown: Growth) -> list[tuple[str, int]]:
    return list(zip(grown.curve["piece"].to_list(), grown.curve["saving"].to_list(), strict=True))


# --- By hand ---------------------------------------------------------------------------------------------------------


def test_a_run_of_n_equal_symbols_saves_half_of_n_rounded_down() -> None:
    base = base_of(toy_sentencepiece("ㅋ"))
    grown = grow_documents(base, {"train": ["ㅋㅋㅋㅋㅋ"]})
    # ▁ ㅋ ㅋ ㅋ ㅋ ㅋ -> ▁ ㅋㅋ ㅋㅋ ㅋ; then every pair stands once, and 1 is below the least saving, 2.
    assert rows_of(grown) == [("ㅋㅋ", 2)]
    assert grown.curve["n_tokens_train"].to_list() == [4]
    assert grown.exhausted_at == 1


def test_a_run_is_merged_leftmost_first() -> None:
    base = base_of(toy_sentencepiece("ㅋ"))
    grown = grow_documents(base, {"train": ["ㅋㅋㅋㅋㅋ"]}, min_saving=1)
    # ▁ ㅋㅋ ㅋㅋ ㅋ: " ㅋㅋ" comes before "ㅋㅋㅋ" and "ㅋㅋㅋㅋ" by its bytes, and so on to the whole chunk.
    assert rows_of(grown) == [("ㅋㅋ", 2), ("▁ㅋㅋ", 1), ("▁ㅋㅋㅋㅋ", 1), ("▁ㅋㅋㅋㅋㅋ", 1)]


def test_a_character_spelled_in_bytes_competes_by_its_bytes_less_one_and_holds_its_pairs_until_it_is_in() -> None:
    base = base_of(toy_sentencepiece("가나"))
    grown = grow_documents(base, {"train": ["뷁"] * 3 + ["가나"] * 5})
    # ▁뷁 x 3 is four tokens each: opening 뷁 saves 3 x 2 = 6; only then " 뷁" (3) may compete.
    # "가나" and " 가" save 5 each: the space comes first by its bytes.
    assert rows_of(grown) == [("뷁", 6), ("▁가", 5), ("▁가나", 5), ("▁뷁", 3)]
    assert grown.curve["kind"].to_list() == ["char", "merge", "merge", "merge"]
    assert grown.curve["n_tokens_train"].to_list() == [3 * 4 + 5 * 3 - saved for saved in (6, 11, 16, 19)]
    assert grown.curve["left"].to_list()[0] == grown.curve["right"].to_list()[0] == -1


def test_a_character_of_four_bytes_saves_three_tokens() -> None:
    base = base_of(toy_sentencepiece("a"))
    grown = grow_documents(base, {"train": ["a😀", "a😀"]}, scripts=(), max_added=1)
    assert rows_of(grown) == [("😀", 6)]


def test_pieces_that_save_the_same_come_in_order_of_their_bytes() -> None:
    base = base_of(toy_sentencepiece("가나다라"))
    grown = grow_documents(base, {"train": ["라나 라나 다가 다가 나다 나다"]}, max_added=3)
    # " 나", " 다", " 라" save 2 each, as do "나다", "다가", "라나", all of which begin with larger bytes.
    assert rows_of(grown) == [("▁나", 2), ("▁나다", 2), ("▁다", 2)]


@pytest.mark.parametrize(("min_saving", "savings"), [(1, [4, 4, 2, 2, 1]), (2, [4, 4, 2, 2]), (3, [4, 4]), (5, [])])
def test_growth_stops_below_the_least_saving_and_says_where(min_saving: int, savings: list[int]) -> None:
    base = base_of(toy_sentencepiece("가나다라마"))
    documents = ["가나"] * 4 + ["다라"] * 2 + ["마"]
    grown = grow_documents(base, {"train": documents}, min_saving=min_saving)
    assert grown.curve["saving"].to_list() == savings
    assert grown.exhausted_at == len(savings)


def test_growth_that_reaches_its_last_row_did_not_run_dry() -> None:
    grown = grow_documents(base_of(toy_sentencepiece("ㅋ")), {"train": ["ㅋㅋ"] * 2}, max_added=2)
    assert (len(grown.curve), grown.exhausted_at) == (2, None)


def test_protected_text_blocks_what_would_change_it_and_the_blocked_piece_is_counted() -> None:
    base = base_of(toy_sentencepiece("abx"))
    grown = grow_documents(base, {"train": ["xab"] * 4 + ["aab"] * 3, "en": ["ab"]}, protected=["en"], scripts=())
    # "ab" saves 7 and is blocked; " x" and "xa" save 4, the space comes first; " a" (3) is blocked as well, "aa" not.
    assert rows_of(grown) == [("▁x", 4), ("▁xa", 4), ("▁xab", 4), ("aa", 3), ("▁aa", 3), ("▁aab", 3)]
    assert grown.n_blocked == 2
    assert grown.curve["n_tokens_en"].to_list() == [3] * 6
    assert n_tokens(merged(base, grown.curve, 6), ["ab", "aab"]) == 3 + 1


def test_a_piece_that_never_was_the_best_is_not_counted_as_blocked() -> None:
    base = base_of(toy_sentencepiece("abx"))
    grown = grow_documents(base, {"train": ["xab"] * 4, "en": ["ab"]}, protected=["en"], scripts=())
    # " x", "xa" and "ab" save 4 each and the space comes first; then " xa" and "ab", and "ab" is gone from the text.
    assert rows_of(grown) == [("▁x", 4), ("▁xa", 4), ("▁xab", 4)]
    assert grown.n_blocked == 0


def test_with_a_script_guard_protected_text_that_quotes_the_target_forbids_nothing() -> None:
    base = base_of(toy_sentencepiece("신라abc"))
    documents = {"train": ["신라"] * 4, "en": ["abc 신라 abc"]}
    grown = grow_documents(base, documents, protected=["en"])
    assert rows_of(grown) == [("▁신", 4), ("▁신라", 4)]
    assert grown.n_blocked == 0
    assert grown.curve["n_tokens_en"].to_list() == [10, 9]


def test_without_a_guard_a_latin_language_grows_and_no_protected_document_changes(gpt2_like: Tokenizer) -> None:
    finnish = ["hyvää huomenta kaikille", "hyvää yötä", "kaikki ihmiset syntyvät vapaina", "yöllä kaikki nukkuvat"] * 3
    english = lines_of("en")[:200]
    grown = grow_documents(gpt2_like, {"train": finnish, "en": english}, protected=["en"], scripts=())
    assert len(grown.curve) > 20
    assert grown.n_blocked > 0
    tokenizer = merged(gpt2_like, grown.curve, len(grown.curve))
    assert all_ids(tokenizer, english) == all_ids(gpt2_like.full, english)
    assert n_tokens(tokenizer, finnish) == grown.curve["n_tokens_train"][-1] < n_tokens(gpt2_like.full, finnish)


def test_a_piece_of_the_base_is_no_candidate_and_a_grown_piece_opens_it_without_a_row() -> None:
    base = base_of(toy_sentencepiece("가나다", "▁가나", "나다"))
    grown = grow_documents(base, {"train": ["가나"] * 3 + ["다나다"] * 2})
    # "나다" is taken and never a candidate. " 가" + 나 spells the base's "▁가나": opened, 3 more tokens saved.
    assert rows_of(grown) == [("▁가", 3), ("▁다", 2), ("▁다나", 2), ("▁다나다", 2)]
    vocab = base.tokenizer_json["model"]["vocab"]
    assert grown.curve["opened"].to_list()[0] == [[base.n_tokens, vocab["나"], vocab["▁가나"]]]
    assert grown.curve["n_tokens_train"].to_list() == [9 + 8 - saved for saved in (6, 8, 10, 12)]


# --- Against the reference -------------------------------------------------------------------------------------------


#: Llama 2's kind and GPT-2's, each with other ways to begin, normalise or split documents.
VARIANTS = (
    *("llama", "toy", "gemma", "metaspace-always", "metaspace-first", "metaspace-never"),
    *("gpt2", "gpt2-prefix", "gpt2-nfkd", "llama3", "llama3-whole"),
)


@cache
def variants() -> dict[str, dict[str, Any]]:
    """tokenizer.json of bases of both families, each with another way to begin, normalise or split documents."""
    lines = lines_of("en")[:300] + lines_of("ko")[:60] + ["a  b   c    d"] * 5
    llama = dict(base_of(train_sentencepiece(lines, 500)).tokenizer_json)
    gpt2, llama3 = train_byte_level(lines, 500), train_byte_level(lines, 500, llama3=True)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    idle = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    made = {
        "llama": llama,
        "toy": toy_sentencepiece("가나ㅋa"),
        "gemma": {**llama, "normalizer": replace, "pre_tokenizer": idle},
        "gpt2": gpt2,
        "gpt2-prefix": {**gpt2, "pre_tokenizer": {**gpt2["pre_tokenizer"], "add_prefix_space": True}},
        "gpt2-nfkd": {**gpt2, "normalizer": {"type": "NFKD"}},
        "llama3": llama3,
        "llama3-whole": {**llama3, "model": {**llama3["model"], "ignore_merges": True}},
    }
    for scheme in ("always", "first", "never"):
        metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
        made[f"metaspace-{scheme}"] = {**llama, "normalizer": None, "pre_tokenizer": metaspace}
    assert {*made} == {*VARIANTS}
    return made


@lru_cache(maxsize=4)
def variant(name: str, extra: tuple[str, ...] = ()) -> Tokenizer:
    """A base, with pieces appended to which none of its merges leads, as in bases extended by union."""
    value = copy.deepcopy(variants()[name])
    vocab = value["model"]["vocab"]
    for piece in extra:
        spelled = byte_level_spelling(piece) if "Ġ" in vocab else piece.replace(" ", "▁")
        vocab.setdefault(spelled, max(vocab.values()) + 1)
    return base_of(value)


def byte_level_spelling(text: str) -> str:
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in pre_tokenizer.pre_tokenize_str(text))


SYLLABLES = ["가", "나", "다", "ㅋ", "ㅠ", "하", "안녕", "한국", "뷁", "쀍", "가", "ㅋㅋㅋ", "〮"]
OTHERS = [
    " ",
    " ",
    "  ",
    "a",
    "the",
    "b",
    "1",
    "!",
    ".",
    "é",
    "é",
    "、",
    "😀",
    "ꀀ",
    "▁",
    "\t",
    "\n",
    "\u00a0",
    "\u3000",
]
SPECIAL = ["</s>", "<|endoftext|>", "<s>"]
hangul_text = st.lists(st.sampled_from([*SYLLABLES[:6], " "]), min_size=1, max_size=10).map("".join)
laughter = st.lists(st.sampled_from(["ㅋ", "ㅋㅋ", "ㅋㅋㅋㅋㅋㅋㅋ", "ㅠ", " "]), min_size=1, max_size=8).map("".join)
mixed_text = st.lists(st.sampled_from(SYLLABLES + OTHERS + SPECIAL), min_size=1, max_size=12).map("".join)
document = st.one_of(hangul_text, laughter, mixed_text).filter(str.strip)
documents = st.fixed_dictionaries(
    {
        "train": st.lists(document, min_size=1, max_size=12),
        "ev": st.lists(document, max_size=4),
        "prot": st.lists(document, max_size=4),
    }
)
extra_pieces = st.lists(
    st.tuples(st.sampled_from(["", " "]), st.lists(st.sampled_from(SYLLABLES[:6]), min_size=2, max_size=3)).map(
        lambda parts: parts[0] + "".join(parts[1])
    ),
    max_size=5,
    unique=True,
)


def assert_same_growth(
    base: Tokenizer,
    texts: Mapping[str, Sequence[str]],
    min_saving: int,
    *,
    balance: Balance = ONE_TARGET,
    reference: Mapping[str, Any] | None = None,
    **options: Any,
) -> Growth:
    """The engine's rows, savings, openings, counts, use and entropy are those of the reference, after every row.

    reference: what the reference takes for this balance.
    """
    grown = grow_documents(base, texts, min_saving=min_saving, balance=balance, **options)
    slow = ReferenceGrowth(base, texts, **{"scripts": HANGUL, **options, **(reference or {})})
    for row in grown.curve.iter_rows(named=True):
        assert slow.step(min_saving), row
        assert (row["bytes"], row["saving"]) == slow.rows[-1]
        assert [base.pieces[piece] for _, _, piece in row["opened"]] == slow.opened[-1]
        for name in texts:
            assert row[f"n_tokens_{name}"] == slow.n_tokens(name)
            assert row[f"n_used_{name}"] == slow.n_used(name)
            found, entropy_bits = row[f"entropy_bits_{name}"], slow.entropy_bits(name)
            assert found == entropy_bits or isclose(found, entropy_bits or 0.0, abs_tol=1e-9)
    assert not slow.step(min_saving)
    assert grown.n_blocked == len(slow.blocked)
    return grown


@settings(max_examples=examples(200), deadline=None)
@given(
    name=st.sampled_from(sorted(VARIANTS)),
    extra=extra_pieces,
    texts=documents,
    min_saving=st.sampled_from([1, 2, 2, 3]),
    scripts=st.sampled_from([HANGUL, HANGUL, (), ("Latin",)]),
    protected=st.sampled_from([[], ["prot"]]),
)
@pytest.mark.slow
def test_growth_is_that_of_the_reference_and_its_tokenizers_give_the_counts(
    name: str,
    extra: list[str],
    texts: dict[str, list[str]],
    min_saving: int,
    scripts: tuple[str, ...],
    protected: list[str],
) -> None:
    base = variant(name, tuple(extra))
    grown = assert_same_growth(base, texts, min_saving, scripts=scripts, protected=protected)
    for size in {1, len(grown.curve) // 2, len(grown.curve)} & set(range(1, len(grown.curve) + 1)):
        tokenizer = merged(base, grown.curve, size)
        for text_set in texts:
            assert n_tokens(tokenizer, texts[text_set]) == grown.curve[f"n_tokens_{text_set}"][size - 1]


@settings(max_examples=examples(100), deadline=None)
@given(
    name=st.sampled_from(["llama", "gpt2", "llama3", "llama3-whole"]),
    extra=extra_pieces.filter(len),
    texts=st.lists(st.one_of(hangul_text, laughter).filter(str.strip), min_size=3, max_size=15),
)
def test_a_base_extended_by_union_spells_no_piece_twice(name: str, extra: list[str], texts: list[str]) -> None:
    base = variant(name, tuple(extra))
    grown = assert_same_growth(base, {"train": texts}, 1)
    pieces = grown.curve["piece"].to_list()
    assert len(set(pieces)) == len(pieces)
    assert not set(pieces) & set(base.tokenizer_json["model"]["vocab"])


# --- How the engine looks candidates up changes nothing ---------------------------------------------------------------


@settings(max_examples=examples(40), deadline=None)
@given(
    name=st.sampled_from(["llama", "gpt2"]),
    extra=extra_pieces,
    texts=documents,
    scripts=st.sampled_from([HANGUL, ()]),
    protected=st.sampled_from([[], ["prot"]]),
)
def test_the_threshold_and_its_divisor_move_nothing(
    name: str, extra: list[str], texts: dict[str, list[str]], scripts: tuple[str, ...], protected: list[str]
) -> None:
    base = variant(name, tuple(extra))
    grown = []
    for divisor in (2, growth.THRESHOLD_DIVISOR, 10**15):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(growth, "THRESHOLD_DIVISOR", divisor)
            grown.append(grow_documents(base, texts, scripts=scripts, protected=protected))
    for other in grown[1:]:
        assert other.curve.equals(grown[0].curve)
        assert other.folds.equals(grown[0].folds)
        assert (other.exhausted_at, other.n_blocked) == (grown[0].exhausted_at, grown[0].n_blocked)


def test_a_blocked_piece_is_counted_once_however_often_the_text_is_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"train": lines_of("en")[:600], "prot": lines_of("en")[600:1_000]}
    n_blocked = []
    for divisor in (2, 64, 10**15):
        monkeypatch.setattr(growth, "THRESHOLD_DIVISOR", divisor)
        n_blocked.append(grow_documents(variant("gpt2"), texts, protected=["prot"], scripts=()).n_blocked)
    assert n_blocked[0] == n_blocked[1] == n_blocked[2] > 100


# --- On the sample corpus --------------------------------------------------------------------------------------------


def test_use_and_entropy_are_those_of_the_encoded_text(run: Run) -> None:
    n = run.base.n_tokens
    for size in (1, 10, 300, 1_000, len(run.curve)):
        row = run.curve.row(size - 1, named=True)
        found = run.token_counts(size)
        counts = found["en"][found["en"] > 0]
        assert row["n_used_en"] == np.count_nonzero(found["en"][n:])
        assert row["n_tokens_en"] == counts.sum()
        assert isclose(row["entropy_bits_en"], log2(counts.sum()) - (counts @ np.log2(counts)) / counts.sum())
        for name in ("train", "heldout"):
            assert row[f"n_used_{name}"] == np.count_nonzero(found[name][n:])


def test_the_folds_add_up_to_the_curve_at_their_sizes(run: Run) -> None:
    folds = pl.read_parquet(run.out / "folds.parquet")
    sizes = folds["n_added"].unique(maintain_order=True).to_list()
    assert sizes[0] == 0
    assert sizes[-1] == len(run.curve)
    assert folds.group_by("n_added").len()["len"].unique().to_list() == [32]
    for name, stats in run.sweep["sets"].items():
        counts = [stats["n_tokens_base"], *run.curve[f"n_tokens_{name}"]]
        sums = folds.group_by("n_added", maintain_order=True).agg(pl.col(f"n_tokens_{name}").sum())
        assert sums[f"n_tokens_{name}"].to_list() == [counts[size] for size in sizes]


def test_mistral_extended_by_union_opens_its_unreachable_pieces_and_stays_exact(mistral: Tokenizer) -> None:
    value = copy.deepcopy(dict(mistral.tokenizer_json))
    vocab, lines = value["model"]["vocab"], lines_of("ko")
    words = Counter(word for line in lines for word in line.split())
    for word, _ in words.most_common(300):
        vocab.setdefault(f"▁{word}", len(vocab))
    base = base_of(json.loads(json.dumps(value)))
    assert base.n_tokens > mistral.n_tokens + 250
    grown = grow_documents(base, {"train": lines[:1_000], "ev": lines[1_000:]})
    opened = [piece for row in grown.curve["opened"].to_list() for _, _, piece in row]
    assert len(opened) > 100
    assert len(set(opened)) == len(opened)
    assert not set(grown.curve["piece"]) & set(vocab)
    assert grown.curve["piece"].n_unique() == len(grown.curve)
    for size in (0, 1, 500, 2_000, len(grown.curve)):
        tokenizer = merged(base, grown.curve, size)
        for name, texts in {"train": lines[:1_000], "ev": lines[1_000:]}.items():
            assert n_tokens(tokenizer, texts) == ([n_tokens(base.full, texts), *grown.curve[f"n_tokens_{name}"]])[size]
