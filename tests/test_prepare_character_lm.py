"""The character model: its ARPA file, as kenlm reads it, against the formulas worked in plain Python."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.errors import CorpusError
from vocabopt.preparation.character_lm import discounts_of, estimate, sentences

kenlm = pytest.importorskip("kenlm", reason="needs kenlm")

LINES = [
    "아침에 창문을 열면 바람이 들어온다",
    "아침에 일어나 창문을 열었다",
    "저녁에는 책을 읽었다",
    "창문을 열자 아침 바람이 들어왔다",
    "바람이 분다 바람이 분다",
    "책을 읽는 아침",
]
Ngram = tuple[str, ...]


class KneserNey:
    """Interpolated modified Kneser-Ney, by its formula: dictionaries and recursion, one probability at a time."""

    def __init__(self, lines: list[str], order: int, min_count: int = 1) -> None:
        self.order = order
        tokens = [("<s>", *line.replace(" ", "▁"), "</s>") for line in lines]
        raw = [Counter(t[i : i + n] for t in tokens for i in range(len(t) - n + 1)) for n in range(order + 1)]
        self.counts: list[dict[Ngram, int]] = [{} for _ in range(order + 1)]
        for n in range(1, order + 1):
            before = Counter(ngram[1:] for ngram in raw[n + 1]) if n < order else raw[n]
            self.counts[n] = {g: raw[n][g] if g[0] == "<s>" else before[g] for g in raw[n]}
        del self.counts[1]["<s>",]
        self.n_symbols = len(self.counts[1]) + 1
        self.kept = {g for n in range(1, order + 1) for g in self.counts[n] if n <= 2 or raw[n][g] >= min_count}
        self.discounts = []
        for n in range(order + 1):
            times = Counter(self.counts[n].values())
            self.discounts.append(discounts_of(np.array([0, *(times[i] for i in range(1, 5))])))
        self.following: dict[Ngram, list[tuple[Ngram, int]]] = defaultdict(list)
        for n in range(1, order + 1):
            for ngram, count in self.counts[n].items():
                self.following[ngram[:-1]].append((ngram, count))

    def probability(self, context: Ngram, symbol: str) -> float:
        context = context[max(0, len(context) - self.order + 1) :]
        n = len(context) + 1
        shorter = self.probability(context[1:], symbol) if context else 1 / self.n_symbols
        following = self.following[context]
        total = sum(count for _, count in following)
        if not total:
            return shorter
        left = sum(self.discounts[n][min(c, 3)] if g in self.kept else c for g, c in following)
        ngram = (*context, symbol)
        count = self.counts[n].get(ngram, 0) if ngram in self.kept else 0
        return (max(count - self.discounts[n][min(count, 3)], 0) + left * shorter) / total

    def log10(self, text: str) -> list[float]:
        tokens = ("<s>", *text.replace(" ", "▁"), "</s>")
        return [math.log10(self.probability(tokens[:i], tokens[i])) for i in range(1, len(tokens))]


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Any]:
    def load(lines: list[str], **options: int) -> Any:
        path = tmp_path / "model.arpa"
        estimate([pl.Series(lines)], **options).write_arpa(path)
        config = kenlm.Config()
        config.show_progress = False
        return kenlm.Model(str(path), config)

    return load


def scores(model: Any, text: str) -> list[float]:
    return [score for score, *_ in model.full_scores(" ".join(text.replace(" ", "▁")))]


@pytest.mark.parametrize(("order", "min_count"), [(2, 1), (3, 1), (5, 1), (5, 2), (6, 3)])
def test_kenlm_scores_every_character_as_the_formula_does(
    loaded: Callable[..., Any], order: int, min_count: int
) -> None:
    model, formula = loaded(LINES, order=order, min_count=min_count), KneserNey(LINES, order, min_count)
    for text in (*LINES, "바람이 창문을 읽었다", "새 책", "한글", "▁"):
        # The formula has no symbol that was never seen: to it any such is one more with no counts, as <unk> is.
        assert scores(model, text) == pytest.approx(formula.log10(text), abs=2e-6), text


@pytest.mark.parametrize("min_count", [1, 2, 4])
def test_probabilities_of_every_context_sum_to_1(loaded: Callable[..., Any], min_count: int) -> None:
    model = loaded(LINES, order=4, min_count=min_count)
    symbols = sorted(set("".join(LINES).replace(" ", "▁")))
    contexts = {line.replace(" ", "▁")[i : i + n] for line in LINES for i in range(len(line)) for n in range(4)}
    for begins in (True, False):
        for context in sorted(contexts):
            state, after = kenlm.State(), kenlm.State()
            model.BeginSentenceWrite(state) if begins else model.NullContextWrite(state)
            for symbol in context:
                model.BaseScore(state, symbol, after)
                state, after = after, kenlm.State()
            total = sum(10 ** model.BaseScore(state, symbol, after) for symbol in [*symbols, "</s>", "<unk>"])
            assert total == pytest.approx(1, abs=1e-5), (begins, context)


def test_a_unigram_worked_by_hand(loaded: Callable[..., Any]) -> None:
    # "가나" and "다나": before 나 stand two symbols, before 가, 다 one (<s>), before </s> one (나): t1 = 3, t2 = 1,
    # no t3, so one discount D = 3 / (3 + 2) = 0.6. The total is 5, 4 kinds of it give 4 * 0.6 / 5 = 0.48 to the 5
    # symbols with <unk>: 0.096 each. Bigrams: <s>가 1, <s>다 1, 가나 1, 다나 1, 나</s> 2: D = 4 / (4 + 2) = 2/3.
    model = loaded(["가나", "다나"], order=2)
    na, ga, unknown = (2 - 0.6) / 5 + 0.096, (1 - 0.6) / 5 + 0.096, 0.096
    after_ga = 1 / 3 + 2 / 3 * na
    end = (2 - 2 / 3) / 2 + (2 / 3) / 2 * ga  # </s> has the unigram of 가
    begin = (1 - 2 / 3) / 2 + 2 / 3 * ga
    assert scores(model, "가나") == pytest.approx([math.log10(p) for p in (begin, after_ga, end)], abs=1e-6)
    assert scores(model, "x")[0] == pytest.approx(math.log10(2 / 3 * unknown), abs=1e-6)


def test_discounts_of_the_formula_and_of_too_little_text() -> None:
    # Y = 100 / (100 + 2 * 40) = 5/9; D1 = 1 - 2 Y 40/100, D2 = 2 - 3 Y 20/40, D3+ = 3 - 4 Y 12/20
    expected = [0, 1 - 2 * 5 / 9 * 0.4, 2 - 3 * 5 / 9 * 0.5, 3 - 4 * 5 / 9 * 0.6]
    assert discounts_of(np.array([0, 100, 40, 20, 12])) == pytest.approx(expected)
    assert discounts_of(np.array([0, 100, 40, 20, 0])) == pytest.approx([0, 5 / 9, 5 / 9, 5 / 9])
    assert discounts_of(np.array([0, 10, 1, 90, 9])) == pytest.approx([0, 5 / 6, 5 / 6, 5 / 6])  # D2 would be below 0
    assert discounts_of(np.array([0, 0, 7, 7, 7])) == pytest.approx([0, 0.5, 0.5, 0.5])


def test_the_same_text_gives_the_same_bytes_however_it_comes_in_blocks(tmp_path: Path) -> None:
    texts = pl.Series([line + str(n) for n in range(400) for line in LINES])
    estimate([texts], min_count=2).write_arpa(tmp_path / "one")
    estimate([texts[i : i + 7] for i in range(0, len(texts), 7)], min_count=2).write_arpa(tmp_path / "many")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()


def test_tables_that_grow_lose_nothing(loaded: Callable[..., Any]) -> None:
    generator = np.random.default_rng(0)
    lines = ["".join(map(chr, row)) for row in generator.integers(0xAC00, 0xAC00 + 500, (1_000, 60))]
    model = estimate([pl.Series(lines)], order=4)
    distinct = {line[i : i + 4] for line in (f"<{line}>" for line in lines) for i in range(len(line) - 3)}
    assert len(model.tables[3]) == len(distinct)
    assert model.n_ngrams > 1 << 16  # more than the tables begin with


def test_lines_are_sentences_and_white_space_is_a_symbol() -> None:
    assert sentences(pl.Series([" 가 나\u3000다 \n\n \n라\t마\r\n", "바"])).to_list() == ["가▁나▁다", "라▁마", "바"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), min_size=1))
def test_kenlm_reads_the_model_of_any_text(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    if not any(sentences(pl.Series(lines))):
        return
    path = tmp_path_factory.mktemp("lm") / "model.arpa"
    estimate([pl.Series(lines)], order=3).write_arpa(path)
    config = kenlm.Config()
    config.show_progress = False
    model = kenlm.Model(str(path), config)
    for sentence in sentences(pl.Series(lines)):
        found = list(model.full_scores(" ".join(sentence)))
        assert len(found) == len(sentence) + 1
        assert not any(is_unknown for *_, is_unknown in found)


def test_a_reference_without_text_is_refused() -> None:
    with pytest.raises(CorpusError, match="the reference has none"):
        estimate([pl.Series(["", " \n "])])
