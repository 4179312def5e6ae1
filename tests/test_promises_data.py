"""P1, P3 and P8 on real text: 5 MB each of Korean reviews and encyclopedia, Finnish law, English encyclopedia."""

import gzip
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from conftest import Run, sweep
from helpers import all_ids, has_hangul, split_heldout

pytestmark = [pytest.mark.data, pytest.mark.slow]
PAPER_GRID = range(8_000, 40_001, 4_000)
N_BYTES = 5_000_000


def records(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def first(texts: Iterator[str], n_bytes: int) -> list[str]:
    """Texts that are not blank, until they make as many bytes."""
    taken, so_far = [], 0
    for text in texts:
        if so_far >= n_bytes:
            return taken
        if text.strip():
            taken.append(text)
            so_far += len(text.encode())
    assert so_far >= n_bytes
    return taken


def write_records(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts), encoding="utf-8")


@pytest.fixture(scope="module")
def english(data: Path) -> list[str]:
    """Every line of en_wiki."""
    texts = records(data / "en_wiki" / "enwiki.jsonl.gz")
    return [line for line in chain.from_iterable(text.split("\n") for text in texts) if line.strip()]


@pytest.fixture(scope="module")
def english_part(english: list[str]) -> list[str]:
    """1 MB of it, and every line with Hangul."""
    part = first(iter(english), 1_000_000)
    return part + [line for line in english[len(part) :] if has_hangul(line)]


@pytest.fixture(scope="module")
def korean(data: Path) -> dict[str, list[str]]:
    """Documents: a review is a line; an article is a record of several lines."""
    with gzip.open(data / "ko_nsmc_reviews" / "reviews.txt.gz", "rt", encoding="utf-8", newline="\n") as lines:
        reviews = first((line.rstrip("\n") for line in lines), N_BYTES)
    return {"reviews": reviews, "wiki": first(records(data / "ko_wiki" / "kowiki.jsonl.gz"), N_BYTES)}


@pytest.fixture(scope="module", params=["mistral-7b-v1", "gpt2"])
def korean_run(
    request: pytest.FixtureRequest,
    data: Path,
    korean: dict[str, list[str]],
    english_part: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    root = tmp_path_factory.mktemp(request.param)
    write_records(root / "corpus" / "ko" / "wiki.jsonl", korean["wiki"])
    (root / "corpus" / "ko" / "reviews.txt").write_text("\n".join(korean["reviews"]), encoding="utf-8", newline="\n")
    write_records(root / "corpus" / "en" / "wiki.jsonl", english_part)
    base = str(data / "tok_gpt2" / "tokenizer.json") if request.param == "gpt2" else request.param
    return sweep(root / "run", base, root / "corpus", sizes="8000:40000:4000")


def test_p1_counts_of_real_korean_are_exact_at_the_papers_grid(
    korean_run: Run, korean: dict[str, list[str]], english_part: list[str]
) -> None:
    assert (
        sum(len(text.encode()) for text in korean["reviews"])
        >= N_BYTES
        <= sum(len(text.encode()) for text in korean["wiki"])
    )
    assert [point["n_added"] for point in korean_run.sweep["points"]] == [0, *PAPER_GRID]
    assert korean_run.sweep["exhausted_at"] is None
    documents = {**split_heldout(korean["reviews"] + korean["wiki"]), "en": english_part}
    # Every second size: encoding ten megabytes anew takes its time.
    korean_run.assert_exact(documents, [0, *PAPER_GRID[::2]])


def test_p3_every_line_of_english_without_hangul_is_unchanged(korean_run: Run, english: list[str]) -> None:
    lines = [line for line in english if not has_hangul(line)]
    assert 0 < len(english) - len(lines) < 200
    tokenizer = korean_run.tokenizer(40_000)
    for i in range(0, len(lines), 4_096):
        batch = lines[i : i + 4_096]
        assert all_ids(tokenizer, batch) == all_ids(korean_run.base.full, batch)


def test_p3_hangul_that_protected_english_quotes_blocks_no_merge(korean_run: Run, english_part: list[str]) -> None:
    assert sum(map(has_hangul, english_part)) > 30
    assert korean_run.sweep["sets"]["en"]["role"] == "protected"
    assert korean_run.sweep["n_blocked"] == 0
    assert korean_run.count("en", 40_000) < korean_run.count("en", 0)


def assert_no_document_takes_more_tokens(run: Run, documents: list[str], *sizes: int) -> None:
    """P8, at ascending sizes: each takes no more than the one before it, and the first no more than the base."""
    before = list(map(len, all_ids(run.base.full, documents)))
    n_base = sum(before)
    for size in sizes:
        after = list(map(len, all_ids(run.at(size), documents)))
        assert all(new <= old for old, new in zip(before, after, strict=True)), size
        before = after
    assert sum(before) < n_base


def test_p8_no_real_document_takes_more_tokens_with_more_added_ones(
    korean_run: Run, korean: dict[str, list[str]], english: list[str]
) -> None:
    documents = [*korean["reviews"][:20_000], *korean["wiki"][:500], *english[:10_000]]
    assert_no_document_takes_more_tokens(korean_run, documents, 1_000, 8_000, 40_000)


def test_finnish_grows_without_a_guard_and_no_protected_english_changes(
    data: Path, english: list[str], tmp_path: Path
) -> None:
    finnish = [text for text in records(data / "fi_law" / "law.jsonl.gz") if text.strip()]
    protected = first(iter(english), 1_000_000)
    write_records(tmp_path / "law.jsonl", finnish)
    (tmp_path / "en.txt").write_text("\n".join(protected), encoding="utf-8", newline="\n")
    run = sweep(
        tmp_path / "run",
        "mistral-7b-v1",
        tmp_path / "law.jsonl",
        scripts="none",
        protects={"en": str(tmp_path / "en.txt")},
    )
    sizes = run.sizes()
    run.assert_exact(
        {**split_heldout(finnish), "en": protected}, [sizes[0], sizes[1], sizes[len(sizes) // 2], sizes[-1]]
    )
    assert list(run.sweep["scripts"]) == []
    assert run.sweep["n_blocked"] > 0
    assert len(run.curve) > 5_000
    assert run.count("train", len(run.curve)) < 0.7 * run.count("train", 0)
    assert run.curve["n_tokens_en"].n_unique() == 1
    assert all_ids(run.tokenizer(len(run.curve)), protected) == all_ids(run.base.full, protected)
    # P8 is promised of all text, also of English that was not protected and does change.
    assert_no_document_takes_more_tokens(run, [*finnish[:500], *english[-10_000:]], 1_000, len(run.curve))
