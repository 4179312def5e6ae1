"""`vocabopt prepare` on real Korean with planted faults: every step finds its own, and little else."""

from pathlib import Path

import pytest

from experiments.plants import Score, items_of, plant, run, texts_of
from vocabopt.console import Console
from vocabopt.preparation import DEFAULT_STEPS
from vocabopt.preparation.options import PrepareOptions, chain
from vocabopt.preparation.run import run_prepare

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def scores(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Score]:
    clean: dict[str, None] = {}
    for name in ("ko_wiki/kowiki.jsonl.gz", "ko_nsmc_reviews/reviews.txt.gz", "ko_news_comments/unlabeled_5.txt.gz"):
        clean |= dict.fromkeys(texts_of(str(data / name), 2000))
    benchmarks = {"kobest": str(data / "ko_kobest_dev")}
    english = texts_of(str(data / "en_wiki" / "enwiki.jsonl.gz"), 500)
    plants = plant(list(clean), english, items_of(benchmarks), seed=0)
    return {score.kind: score for score in run(plants, benchmarks, tmp_path_factory.mktemp("plants"))}


@pytest.mark.parametrize(
    ("kind", "n_least"),
    [
        ("cp949 file", 200), ("utf-8 as latin-1", 50), ("cp949 as latin-1", 80), ("english", 50), ("benchmark", 50),
        ("phone", 20), ("e-mail", 20), ("resident number", 20), ("card", 20), ("exact", 500), ("near", 200),
    ],
)  # fmt: skip
def test_what_was_planted_is_found(scores: dict[str, Score], kind: str, n_least: int) -> None:
    assert scores[kind].n_planted >= n_least
    assert scores[kind].n_hit >= 0.95 * scores[kind].n_planted


# Not of script: real text has foreign titles and code, which it takes too.
@pytest.mark.parametrize(
    "kind", ["utf-8 as latin-1", "phone", "e-mail", "resident number", "card", "exact", "near", "benchmark"]
)
def test_what_was_taken_was_planted_or_is_a_copy(scores: dict[str, Score], kind: str) -> None:
    # Encyclopedia articles that BoolQ was made of are there without having been planted.
    least = 0.75 if kind == "benchmark" else 0.95
    assert scores[kind].n_true >= least * scores[kind].n_taken


def test_the_default_chain_takes_little_of_clean_paragraphs(data: Path, tmp_path: Path) -> None:
    paragraphs = [text for text in texts_of(str(data / "ko_wiki" / "kowiki.jsonl.gz"), 20_000) if len(text) >= 50]
    (tmp_path / "in.txt").write_text("\n".join(paragraphs), encoding="utf-8")
    options = PrepareOptions(
        paths=(str(tmp_path / "in.txt"),), out=tmp_path / "out", steps=chain(DEFAULT_STEPS, place=""), base=None
    )
    record = run_prepare(options, Console(quiet=True))
    assert record.steps[-1].n_bytes_out >= 0.95 * record.steps[0].n_bytes_in
