"""Published bases of every kind, grown by 5,000 Korean tokens: the page gives the ids of the exported tokenizers."""

import gzip
from pathlib import Path

import pytest
from conftest import Run, sweep
from test_bases import model_file

from browser.engine import Engine, assert_same_ids
from browser.test_playground import sizes_of, strings

pytestmark = [pytest.mark.browser, pytest.mark.data]
BASES = {
    "mistral-v3": "mistral_instruct_tokenizer_240323.model.v3",
    "mistral-v7": "mistral_instruct_tokenizer_241114.model.v7",
    "tekken": "tekken_240911.json",
    "llama2": "tok_llama2/tokenizer.model",
    "llama3": "tok_llama3/tokenizer.model",
    "gpt2": "tok_gpt2/tokenizer.json",
    "qwen": "tok_qwen/qwen.tiktoken",
}


@pytest.fixture(scope="module", params=BASES)
def grown(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    file = BASES[request.param]
    folder = tmp_path_factory.mktemp("grown")
    with gzip.open(data / "ko_nsmc_reviews" / "reviews.txt.gz", "rb") as reviews:
        (folder / "reviews.txt").write_bytes(reviews.read(1_000_000).rpartition(b"\n")[0])
    base = data / file if "/" in file else model_file(file)
    return sweep(folder / "run", str(base), folder / "reviews.txt", max_added=5_000)


def test_ids_are_those_of_the_exported_tokenizer_at_five_sizes(engine: Engine, grown: Run) -> None:
    engine.load(grown.base, grown.curve)
    texts = strings(grown.base)
    assert len(texts) > 1_000
    for size in sizes_of(grown.curve):
        assert_same_ids(engine, grown.base, grown.curve, texts, size)
