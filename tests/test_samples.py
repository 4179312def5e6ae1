"""The documents kept for the report: the same whatever their order, short, whole characters."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from command_line import vocabopt
from helpers import CORPUS, split_heldout

from vocabopt.text.documents import Samples


def samples_of(path: Path, out: Path) -> dict[str, list[str]]:
    assert vocabopt("sweep", path, "--out", out, "--max-added", 20, "--quiet").exit_code == 0
    samples: dict[str, list[str]] = json.loads((out / "samples.json").read_text("utf-8"))["samples"]
    return samples


@pytest.mark.slow
def test_samples_are_documents_of_their_set_and_do_not_depend_on_their_order(tmp_path: Path) -> None:
    texts = [path.read_text("utf-8") for path in sorted((CORPUS / "ko").glob("*.txt"))]
    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    random.Random(1).shuffle(lines)
    (tmp_path / "b.txt").write_text("\n".join(lines), encoding="utf-8")
    samples = samples_of(tmp_path / "a.txt", tmp_path / "a")
    assert samples == samples_of(tmp_path / "b.txt", tmp_path / "b")
    split = split_heldout(lines)
    for name, documents in split.items():
        assert len(samples[name]) == 5
        assert set(samples[name]) <= set(documents)
        assert all(20 <= len(text) <= 160 for text in samples[name])


def test_where_all_are_long_a_sample_is_cut_at_a_space(tmp_path: Path) -> None:
    lines = [" ".join([f"문장{number}의", *["아주", "긴", "이야기"] * 60]) for number in range(40)]
    (tmp_path / "long.txt").write_text("\n".join(lines), encoding="utf-8")
    for texts in samples_of(tmp_path / "long.txt", tmp_path / "out").values():
        for text in texts:
            assert len(text) <= 162
            assert text.endswith(" …")
            assert any(line.startswith(text.removesuffix("…")) for line in lines)


def test_short_and_repeated_documents_are_taken_once_where_there_is_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("가나\n다라\n가나\n가나\n" * 50, encoding="utf-8")
    samples = samples_of(tmp_path / "short.txt", tmp_path / "out")
    assert sorted(samples["train"] + samples["heldout"]) == ["가나", "다라"]


def test_what_is_kept_does_not_depend_on_how_documents_come_in_blocks() -> None:
    """Lengths of every rank, hashes in no order: block by block, in any order, the same five are kept."""
    rng = np.random.default_rng(0)
    lengths, hashes = rng.integers(1, 260, 400), rng.integers(0, 2**63, 400).astype(np.uint64)
    data, ends = b"x" * int(lengths.sum()), np.cumsum(lengths)

    def kept(order: np.ndarray, n_blocks: int) -> list[str]:
        samples = Samples(["ko"])
        for block in np.array_split(order, n_blocks):
            starts = ends[block] - lengths[block]
            samples.offer("ko", data, starts, ends[block], hashes[block], lengths[block])
        return samples.texts()["ko"]

    fits = np.flatnonzero((lengths >= 20) & (lengths <= 160))
    first = fits[np.argsort(hashes[fits])[:5]]
    expected = ["x" * int(length) for length in lengths[first]]
    for n_blocks in (1, 7, 400):
        assert kept(rng.permutation(400), n_blocks) == expected
