"""Benchmark items in documents: none planted may be missed, whatever its spacing; overlap against sets in Python."""

import gzip
import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.errors import CorpusError, OptionError
from vocabopt.preparation.step import DocumentStep, Outcome
from vocabopt.preparation.steps.decontaminate import Decontaminate, build_index, letter_table

_PARAGRAPHS_AND_QUESTIONS = (
    ("고래는 바다에 사는 젖먹이 동물이며 새끼를 낳아 젖을 먹여 기른다.", "고래는 알을 낳는가?"),
    ("첫눈이 내리면 아이들은 골목으로 뛰어나와 눈사람을 만들기 시작했다.", "짧다"),
    ("Ça commence à l’aube, quand la MARÉE descend lentement.", "?"),
)
ITEMS = [{"paragraph": paragraph, "question": asked, "label": 1} for paragraph, asked in _PARAGRAPHS_AND_QUESTIONS]
FILLER = "오늘은 시장에 가서 감자와 양파를 사고 저녁에는 국을 끓였다. 내일은 비가 온다고 한다. "


@pytest.fixture
def benchmark(tmp_path: Path) -> str:
    path = tmp_path / "boolq.jsonl"
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ITEMS), encoding="utf-8")
    return str(path)


def outcome(step: DocumentStep, *texts: str) -> Outcome:
    return step.load()(pl.Series(texts, dtype=pl.String))


def letters_of(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFC", text).lower() if unicodedata.category(c)[0] in "LMN")


def respaced(text: str, random_: random.Random) -> str:
    """Other spacing, punctuation, case and normal form; the same letters."""
    words = "".join(c for c in text if letters_of(c))
    changed = "".join(c + random_.choice(["", "", " ", "\n", ", ", "「", "…"]) for c in words)
    changed = unicodedata.normalize(random_.choice(["NFC", "NFD"]), changed)
    return random_.choice([str.upper, str.lower, str])(changed)


def test_it_is_a_document_step(benchmark: str) -> None:
    assert isinstance(Decontaminate(benchmarks={"boolq": benchmark}), DocumentStep)


def test_an_item_is_found_with_any_spacing_inside_a_long_document(benchmark: str) -> None:
    step, random_ = Decontaminate(benchmarks={"kobest/boolq": benchmark}), random.Random(0)
    for number, item in enumerate(ITEMS, 1):
        for _ in range(20):
            text = FILLER * 40 + respaced(str(item["paragraph"]), random_) + " " + FILLER * 40
            found = outcome(step, FILLER, text)
            assert found.texts.to_list() == [FILLER, None]
            assert found.why.to_list() == [None, f"holds 100 % of kobest/boolq item {number} (paragraph)"], text[3000:]


def test_a_part_is_measured_as_a_share_of_the_items_ngrams(benchmark: str) -> None:
    step = Decontaminate(benchmarks={"boolq": benchmark}, min_overlap=0.5)
    letters = letters_of(str(ITEMS[0]["paragraph"]))
    n_grams = len(letters) - 10 + 1
    for n_letters in range(10, len(letters)):
        share = (n_letters - 9) / n_grams
        why = outcome(step, f"{FILLER}!{letters[:n_letters]}").why.item()
        assert why == (f"holds {int(100 * share)} % of boolq item 1 (paragraph)" if share >= 0.5 else None)


def test_parts_of_two_items_do_not_add_up(benchmark: str) -> None:
    halves = " ".join(str(item["paragraph"])[:20] for item in ITEMS)
    assert outcome(Decontaminate(benchmarks={"boolq": benchmark}), halves).why.to_list() == [None]


def test_an_ngram_that_is_repeated_counts_once(benchmark: str) -> None:
    part = str(ITEMS[0]["paragraph"])[:16]
    assert outcome(Decontaminate(benchmarks={"boolq": benchmark}), f"{part}. " * 50).why.to_list() == [None]


def facts(step: Decontaminate) -> dict[str, int]:
    index = step.build()
    return {"n_items": len(index.labels), "n_short": index.n_short, "n_repeated": index.n_repeated}


short_alphabet = st.text("가나다라 .A", max_size=60)


@given(
    st.lists(short_alphabet, min_size=1, max_size=5), st.lists(short_alphabet, max_size=6), st.sampled_from([2, 3, 5])
)
def test_overlap_is_that_of_sets_of_ngrams(
    tmp_path_factory: pytest.TempPathFactory, items: list[str], documents: list[str], n: int
) -> None:
    path = tmp_path_factory.mktemp("items") / "items.jsonl"
    path.write_text("".join(json.dumps([item]) + "\n" for item in ["라라라라라라라라", *items]), encoding="utf-8")

    def ngrams(text: str) -> frozenset[str]:
        letters = letters_of(text)
        return frozenset(letters[i : i + n] for i in range(len(letters) - n + 1))

    index = build_index({"b": (str(path),)}, fields=(), n_chars=n, min_item_chars=8)
    long = [ngrams(item) for item in ["라라라라라라라라", *items] if len(letters_of(item)) >= 8]
    assert len(index.labels) == len(set(long))
    assert index.n_short == 1 + len(items) - len(long)
    found, shares = index.find(pl.Series(documents, dtype=pl.String), 0.3)
    for document, item, share in zip(documents, found, shares, strict=True):
        best = max(len(own & ngrams(document)) / len(own) for own in long)
        assert (item >= 0) == (best >= 0.3)
        if item >= 0:
            assert share == best


def test_letters_digits_and_marks_are_kept_in_lower_case() -> None:
    table = letter_table()
    for char in "aZ5가漢éÉЖ½²ー़":
        assert chr(table[ord(char)]) == char.lower()
    assert not any(table[ord(char)] for char in " .,!?\n「」…·'_-+=\u200b\ufeff")


def test_ideographs_beyond_the_table_are_letters(tmp_path: Path) -> None:
    path = tmp_path / "rare.txt"
    path.write_text("".join(chr(0x20000 + 7 * n) for n in range(30)) + "\n", encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    step = Decontaminate(benchmarks={"rare": str(path)})
    assert outcome(step, text.replace("𠀀", "𠀀😀, "), text[:12]).why.to_list() == ["holds 100 % of rare item 1", None]


def test_every_kind_of_file_gives_the_same_items(tmp_path: Path) -> None:
    paragraphs = [str(item["paragraph"]) for item in ITEMS]
    (tmp_path / "a.txt").write_text("\n".join(paragraphs), encoding="utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"inner": {"choices": [1, text]}}) + "\n\n" for text in paragraphs)
    pl.DataFrame({"choices": [[text, None] for text in paragraphs], "n": [1, 2, 3]}).write_parquet(
        tmp_path / "c.parquet"
    )
    for name, label in (("a.txt", "x item 2"), ("b.jsonl.gz", "x item 3 (inner)"), ("c.parquet", "x item 2 (choices)")):
        step = Decontaminate(benchmarks={"x": str(tmp_path / name)})
        assert facts(step) == {"n_items": 3, "n_short": 0, "n_repeated": 0}
        assert outcome(step, f"{FILLER}{paragraphs[1]}").why.to_list() == [f"holds 100 % of {label}"]
    both = Decontaminate(benchmarks={"x": (str(tmp_path / "c.parquet"), str(tmp_path / "a.txt"))})
    assert facts(both) == {"n_items": 3, "n_short": 0, "n_repeated": 3}
    assert outcome(both, paragraphs[0]).why.to_list() == ["holds 100 % of x c item 1 (choices)"]


def test_fields_limit_what_is_an_item_and_short_ones_are_counted(benchmark: str) -> None:
    assert facts(Decontaminate(benchmarks={"b": benchmark})) == {"n_items": 3, "n_short": 3, "n_repeated": 0}
    questions = Decontaminate(benchmarks={"b": benchmark}, fields=("question",), n_chars=5, min_item_chars=6)
    assert facts(questions) == {"n_items": 1, "n_short": 2, "n_repeated": 0}
    assert outcome(questions, str(ITEMS[0]["paragraph"])).why.to_list() == [None]


def test_the_index_is_made_once_and_finds_the_same(benchmark: str, tmp_path: Path) -> None:
    step = Decontaminate(benchmarks={"boolq": benchmark})
    prepared = step.prepare(tmp_path / "work")
    assert isinstance(prepared, DocumentStep)
    assert step.inputs == (benchmark,)
    made = Path(prepared.index).stat().st_mtime_ns
    assert step.prepare(tmp_path / "work") == prepared
    assert Path(prepared.index).stat().st_mtime_ns == made
    texts = [FILLER, str(ITEMS[1]["paragraph"])]
    assert outcome(prepared, *texts).why.to_list() == outcome(step, *texts).why.to_list()
    other = Decontaminate(benchmarks={"boolq": benchmark}, n_chars=8).prepare(tmp_path / "work")
    assert other.index != prepared.index


def test_no_documents_and_empty_ones_are_no_trouble(benchmark: str) -> None:
    step = Decontaminate(benchmarks={"boolq": benchmark})
    assert outcome(step).texts.to_list() == []
    assert outcome(step, "", " ").texts.to_list() == ["", " "]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmarks": {}}, r"\[decontaminate\] benchmarks: none given"),
        ({"benchmarks": {"b": 3}}, "benchmarks b = 3: must be a path or a list of paths"),
        ({"benchmarks": {"b": ()}}, r"benchmarks b = \(\): must be a path"),
        ({"benchmarks": {"b": "x"}, "fields": (3,)}, r"fields \(3,\): must be a list of texts"),
        ({"benchmarks": {"b": "x"}, "n_chars": 0}, "n_chars 0: must be at least 1"),
        ({"benchmarks": {"b": "x"}, "n_chars": 30}, "min_item_chars 20: must be at least n_chars, which is 30"),
        ({"benchmarks": {"b": "x"}, "min_overlap": 0}, "min_overlap 0: must be above 0"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Decontaminate(**options)


def test_benchmarks_that_cannot_be_used_are_refused(benchmark: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no\.jsonl: no such file"):
        Decontaminate(benchmarks={"b": str(tmp_path / "no.jsonl")}).load()
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"a": "b"}\n{"a": \n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"broken\.jsonl, line 2: .* mend it"):
        Decontaminate(benchmarks={"b": str(broken)}).load()
    with pytest.raises(CorpusError, match=r"boolq\.jsonl: no text in the fields passage"):
        Decontaminate(benchmarks={"b": benchmark}, fields=("passage",)).load()
    with pytest.raises(OptionError, match=r"benchmarks b .*none of its 6 texts has min_item_chars = 99"):
        Decontaminate(benchmarks={"b": benchmark}, min_item_chars=99).load()


@pytest.mark.data
def test_no_film_review_or_comment_holds_an_item_of_kobest_and_every_planted_one_is_found(data: Path) -> None:
    step = Decontaminate(benchmarks={"kobest": str(data / "ko_kobest_dev")})
    clean = []
    for name in ("ko_nsmc_reviews/reviews.txt.gz", "ko_news_comments/unlabeled_5.txt.gz"):
        with gzip.open(data / name, "rt", encoding="utf-8") as file:
            clean += [line for _, line in zip(range(30_000), file, strict=False)]
    assert outcome(step, *clean).why.drop_nulls().to_list() == []
    with gzip.open(data / "ko_kobest_dev" / "boolq_validation.jsonl.gz", "rt", encoding="utf-8") as file:
        paragraphs = [json.loads(line)["paragraph"] for line in file]
    random_ = random.Random(0)
    planted = [f"{clean[n]} {respaced(text, random_)} {clean[-n]}" for n, text in enumerate(paragraphs)]
    assert outcome(step, *planted).texts.null_count() == len(paragraphs)
