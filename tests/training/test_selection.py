"""`vocabopt prepare --compare`: parts of a text, what tokens cost with each, and what a small model learns from it."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import zstandard
from command_line import assert_refused, vocabopt, written
from helpers import lines_of

from trainer.selection import CompareOptions
from trainer.selection.parts import split_text
from vocabopt.console import Console

pytestmark = pytest.mark.slow

ARMS = ["random", "length", "perplexity", "diversity", "none", "cleaned", "all", "all, whole"]
OPTIONS = (
    "--budget", "12kB", "--size", 64, "--probe-text", "2kB", "--batch", "1kB", "--eval-bytes", "2kB", "--seeds", 2,
    "--threads", 1, "--workers", 1,
)  # fmt: skip


def texts(folder: Path) -> list[Path]:
    lines = lines_of("ko")
    return [
        written(folder / f"{name}.txt", "\n".join(part)) for name, part in (("a", lines[:300]), ("b", lines[300:600]))
    ]


@pytest.fixture(scope="module")
def compared(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    out = folder / "out"
    result = vocabopt("prepare", *texts(folder), "--compare", "--model", llama, *OPTIONS, "--out", out)
    assert result.exit_code == 0, result.output
    assert "At equal training text the part" in result.stdout
    return out


def record_of(out: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    return value


def text_in(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).decode()
        found += [json.loads(line)["text"] for line in data.split("\n") if line]
    return found


def test_every_part_has_the_budget_and_none_of_the_held_out_text(compared: Path) -> None:
    record = record_of(compared)
    assert [arm["name"] for arm in record["arms"]] == ARMS
    held = {text for name in ("a", "b") for text in text_in(compared / "text" / "heldout" / name)}
    train = text_in(compared / "text" / "train")
    assert held
    assert not held & set(train)
    for arm in record["arms"][:6]:
        chosen = text_in(compared / "arms" / arm["name"] / "clean")
        n_bytes = sum(len(text.encode()) for text in chosen)
        assert arm["n_bytes"] == n_bytes
        assert 11_000 < n_bytes <= 12_000
        assert set(chosen) <= set(train)
    assert record["arms"][6]["n_bytes"] == sum(len(text.encode()) for text in train)
    longest = text_in(compared / "arms" / "length" / "clean")
    assert mean(map(len, longest)) > 1.5 * mean(map(len, train))


def test_curves_are_those_of_the_parts_own_sweeps_on_the_same_text(compared: Path) -> None:
    record = record_of(compared)
    base = [arm["curve"]["n_tokens"]["a"][0] for arm in record["arms"]]
    assert len(set(base)) == 1
    for arm in record["arms"][:7]:
        sweep = json.loads((compared / "runs" / arm["name"] / "sweep.json").read_text(encoding="utf-8"))
        assert arm["curve"]["n_tokens"]["b"][0] == sweep["sets"]["b"]["n_tokens_base"]
        at = arm["curve"]["sizes"].index(64)
        assert 0 < arm["curve"]["n_tokens"]["b"][at] < base[0] * 2


def test_all_the_text_is_read_longer_by_as_much_as_there_is_more_of_it(compared: Path) -> None:
    arms = {arm["name"]: arm for arm in record_of(compared)["arms"]}
    more = arms["all"]["n_bytes"] / 12_000
    assert arms["all, whole"]["n_steps"] == round(2 * more)
    assert {len(arm["after"]) for arm in arms.values()} == {2}
    assert all(set(after) == {"a", "b"} for arm in arms.values() for after in arm["after"])


def test_the_same_command_again_computes_nothing_anew(compared: Path, llama: Path) -> None:
    before = record_of(compared)
    cells = {path: path.stat().st_mtime_ns for path in compared.rglob("cells/*.json")}
    assert len(cells) == 2 * len(ARMS)
    folder = compared.parent
    result = vocabopt("prepare", *texts(folder), "--compare", "--model", llama, *OPTIONS, "--out", compared, "--quiet")
    assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in compared.rglob("cells/*.json")} == cells
    assert record_of(compared)["arms"] == before["arms"]


def test_what_comparing_needs_is_asked_for(tmp_path: Path, llama: Path) -> None:
    (text, _) = texts(tmp_path)
    out = ("--out", tmp_path / "out")
    assert_refused(vocabopt("prepare", text, "--compare", "--budget", "5kB", *out), "--compare needs --model", tmp_path)
    assert_refused(vocabopt("prepare", text, "--compare", "--model", llama, *out), "--compare needs --budget", tmp_path)
    assert_refused(vocabopt("prepare", text, "--budget", "5kB", *out), "--budget: is about comparing", tmp_path)
    much = vocabopt("prepare", text, "--compare", "--model", llama, "--budget", "5MB", *out)
    assert_refused(much, "nothing is left to select", tmp_path)


def test_text_to_measure_on_is_read_as_the_other_text_is(tmp_path: Path) -> None:
    news = tmp_path / "news.csv"
    news.write_bytes('id,body\r\n1,"첫 줄\n둘째 줄"\r\n2,셋째\r\n'.encode("cp949"))
    options = CompareOptions(
        paths=tuple(str(path) for path in texts(tmp_path)),
        out=tmp_path / "out",
        model="",
        steps=(),
        budget="5kB",
        evals={"news": str(news)},
        column="body",
    )
    split_text(options, Console(quiet=True))
    assert text_in(tmp_path / "out" / "text" / "evals" / "news") == ["첫 줄\n둘째 줄", "셋째"]
