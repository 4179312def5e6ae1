"""The documents kept for the report: the same whatever their order, short, whole characters."""

import json
import random
from pathlib import Path

from command_line import vocabopt
from helpers import CORPUS, split_heldout


def samples_of(path: Path, out: Path) -> dict[str, list[str]]:
    assert vocabopt("sweep", path, "--out", out, "--quiet").exit_code == 0
    samples: dict[str, list[str]] = json.loads((out / "samples.json").read_text("utf-8"))["samples"]
    return samples


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
