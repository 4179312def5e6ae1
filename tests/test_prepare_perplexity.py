"""The perplexity step: kenlm's own perplexity is the authority; its model is trained once and read by every worker."""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vocabopt.errors import CorpusError, OptionError
from vocabopt.preparation.step import DocumentStep
from vocabopt.preparation.steps.perplexity import Perplexity, load_perplexities

kenlm = pytest.importorskip("kenlm", reason="needs kenlm")

REFERENCE = "아침에 창문을 열면 바람이 들어온다\n저녁에는 책을 읽고 편지를 쓴다\n바람이 불면 창문을 닫는다\n" * 5


@pytest.fixture
def reference(tmp_path: Path) -> str:
    path = tmp_path / "reference.txt"
    path.write_text(REFERENCE, encoding="utf-8")
    return str(path)


def prepared(reference: str, tmp_path: Path, **options: Any) -> Perplexity:
    return Perplexity(reference=reference, **{"max_perplexity": 12, **options}).prepare(tmp_path / "work")


def test_it_is_a_document_step(reference: str) -> None:
    assert isinstance(Perplexity(reference=reference, max_perplexity=5), DocumentStep)


def test_perplexity_of_a_line_is_that_of_kenlm(reference: str, tmp_path: Path) -> None:
    step = prepared(reference, tmp_path)
    assert step.model is not None
    texts = ["바람이 들어온다", "책을 읽는 저녁", "qwerty", "편지"]
    model = kenlm.Model(step.model)
    expected = [model.perplexity(" ".join(text.replace(" ", "▁"))) for text in texts]
    assert load_perplexities("perplexity", step.model)(pl.Series(texts)) == pytest.approx(expected)


def test_a_document_of_lines_weighs_them_by_their_characters(reference: str, tmp_path: Path) -> None:
    step = prepared(reference, tmp_path)
    perplexities = load_perplexities("perplexity", str(step.model))
    first, second = "바람이 불면", "xyz"
    bits_first, bits_second = np.log2(perplexities(pl.Series([first, second])))
    both = (bits_first * (len(first) + 1) + bits_second * (len(second) + 1)) / (len(first) + len(second) + 2)
    found = perplexities(pl.Series([f"{first}\n\n {second}\n", " \n", first]))
    assert np.log2(found[[0, 2]]) == pytest.approx([both, bits_first])
    assert np.isnan(found[1])


def test_documents_above_and_below_are_removed_with_what_was_measured(reference: str, tmp_path: Path) -> None:
    texts = pl.Series(["아침에 창문을 열면 바람이 들어온다", "저녁에는 창문을 닫는다", "the quick brown fox", " "])
    step = prepared(reference, tmp_path, min_perplexity=1.5, max_perplexity=12)
    outcome = step.load()(texts)
    assert outcome.texts.to_list() == [None, "저녁에는 창문을 닫는다", None, " "]
    scores = load_perplexities("perplexity", str(step.model))(texts)
    assert outcome.why.to_list() == [
        f"perplexity {scores[0]:.4g} below 1.5",
        None,
        f"perplexity {scores[2]:.4g} above 12",
        None,
    ]


def test_one_bound_alone_removes_only_on_its_side(reference: str, tmp_path: Path) -> None:
    texts = pl.Series(["아침에 창문을 열면 저녁에는 창문을 닫는다", "the quick brown fox"])
    above = prepared(reference, tmp_path).load()(texts)
    below = prepared(reference, tmp_path, max_perplexity=None, min_perplexity=12).load()(texts)
    assert above.texts.is_null().to_list() == [False, True]
    assert below.texts.is_null().to_list() == [True, False]


def test_the_model_is_made_once_for_the_same_text_and_options(reference: str, tmp_path: Path) -> None:
    first = Path(str(prepared(reference, tmp_path).model))
    made = first.stat().st_mtime_ns
    assert Path(str(prepared(reference, tmp_path, max_perplexity=9).model)) == first
    assert first.stat().st_mtime_ns == made
    assert prepared(reference, tmp_path, order=3).model != str(first)
    Path(reference).write_text(REFERENCE + "새 줄\n", encoding="utf-8")
    assert prepared(reference, tmp_path).model != str(first)


def test_a_step_with_a_model_is_prepared_already(reference: str, tmp_path: Path) -> None:
    step = prepared(reference, tmp_path)
    assert step.prepare(tmp_path / "elsewhere") is step
    assert not (tmp_path / "elsewhere").exists()


def test_the_reference_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("가나다라\n" * 500_000 + "마바사아\n" * 10, encoding="utf-8")
    whole, part = (kenlm.Model(prepared(str(path), tmp_path, reference_bytes=n).model) for n in ("50MB", "1MB"))
    assert "마" in whole
    assert "마" not in part


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_perplexity": 5}, r"\[perplexity\] model, reference: neither given"),
        ({"model": "a", "reference": "b", "max_perplexity": 5}, "model, reference: both given"),
        ({"model": "a"}, "max_perplexity, min_perplexity: neither given"),
        ({"model": "a", "max_perplexity": 0.5}, r"\[perplexity\] max_perplexity 0.5: must be at least 1"),
        ({"model": "a", "max_perplexity": 5, "min_perplexity": 6}, "min_perplexity 6: must not be above .* which is 5"),
        ({"model": "a", "max_perplexity": 5, "order": 7}, "order 7: must be from 2 to 6"),
        ({"model": "a", "max_perplexity": 5, "min_count": 0}, "min_count 0: must be at least 1"),
        ({"model": "a", "max_perplexity": 5, "reference_bytes": "-3MB"}, r"\[perplexity\] reference_bytes -3MB: write"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Perplexity(**options)


def test_models_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    step = Perplexity(model=str(tmp_path / "no.arpa"), max_perplexity=5)
    with pytest.raises(OptionError, match=r'model ".*no\.arpa": no such file'):
        step.load()
    broken, words = tmp_path / "broken.arpa", tmp_path / "words.arpa"
    broken.write_text("no model", encoding="utf-8")
    with pytest.raises(OptionError, match=r'broken\.arpa": kenlm cannot load it'):
        dataclasses.replace(step, model=str(broken)).load()
    words.write_text(
        "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-1\t<unk>\n-99\t<s>\t0\n-1\t</s>\n-1\t바람\t0\n\n"
        "\\2-grams:\n-1\t<s> 바람\n\n\\end\\\n",
        encoding="utf-8",
    )
    with pytest.raises(OptionError, match=r'words\.arpa": has no symbol ▁'):
        dataclasses.replace(step, model=str(words)).load()


def test_a_reference_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no\.txt: no such file"):
        prepared(str(tmp_path / "no.txt"), tmp_path)
    (tmp_path / "blank.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"blank\.txt: a language model needs text"):
        prepared(str(tmp_path / "blank.txt"), tmp_path)


@pytest.mark.data
def test_a_model_of_an_encyclopedia_tells_its_text_from_reviews_and_noise(data: Path, tmp_path: Path) -> None:
    with gzip.open(data / "ko_wiki" / "kowiki.jsonl.gz", "rt", encoding="utf-8") as file:
        articles = [json.loads(line)["text"] for _, line in zip(range(600), file, strict=False)]
    reference = tmp_path / "wiki.jsonl"
    reference.write_text("".join(json.dumps({"text": text}) + "\n" for text in articles[:400]), encoding="utf-8")
    perplexities = load_perplexities("perplexity", str(prepared(str(reference), tmp_path).model))
    with gzip.open(data / "ko_nsmc_reviews" / "reviews.txt.gz", "rt", encoding="utf-8") as file:
        reviews = [line for _, line in zip(range(500), file, strict=False)]
    held_out = pl.Series(articles[400:])
    shuffled = pl.Series(["".join(np.random.default_rng(0).permutation(list(text))) for text in held_out])
    medians = [np.median(perplexities(texts)) for texts in (held_out, pl.Series(reviews), shuffled)]
    assert medians[0] < medians[1] / 1.5 < medians[2] / 3, medians
