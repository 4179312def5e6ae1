"""What is said of a run on little text: its documents counted once, a size that no rule bounds, few held-out ones."""

import json
import re
from pathlib import Path

import pytest
from command_line import assert_refused, vocabopt
from helpers import lines_of

from vocabopt.growth.proof_sample import EXCERPT_BYTES
from vocabopt.run_directory import read_sweep
from vocabopt.wording import MIN_HELDOUT_DOCUMENTS, reason


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[str]]:
    """A sweep of whole files, each of them twice and two of them long, what it printed, and the texts."""
    root = tmp_path_factory.mktemp("small")
    lines = lines_of("ko")
    texts = ["\n".join(lines[5 * i : 5 * i + 5]) for i in range(18)]
    texts += ["\n".join(lines[:1000]), "\n".join(lines[:900])]
    for copy in ("a", "b"):
        (root / "ko" / copy).mkdir(parents=True)
        for number, text in enumerate(texts):
            (root / "ko" / copy / f"{number:02}.txt").write_text(text, "utf-8")
    result = vocabopt(
        *("sweep", root / "ko", "--unit", "file", "--heldout", 0.2, "--max-added", 400, "--sizes", "0,400"),
        *("--out", root / "run"),
    )
    assert result.exit_code == 0, result.stderr
    return root / "run", result.stdout, texts


@pytest.mark.slow
def test_documents_of_the_proof_are_counted_once_and_apart_from_parts(small_run: tuple[Path, str, list[str]]) -> None:
    run, printed, texts = small_run
    long = [text for text in texts if len(text.encode()) > EXCERPT_BYTES]
    assert len(long) == 2
    # All short ones, and the shorter of the long ones, which is kept whole beside its parts.
    n_whole = len(set(texts)) - len(long) + 1
    proof = json.loads((run / "sweep.json").read_bytes())["proof"]
    assert proof["n_whole_documents"] == n_whole
    assert proof["n_documents"] == n_whole + proof["n_excerpts"]
    told = f"{n_whole} distinct documents and {proof['n_excerpts']} parts of longer ones"
    assert f"on {told}, one by one (" in printed
    assert told in re.sub(r"<[^>]*>|[\u2068\u2069]", "", (run / "report.html").read_text("utf-8"))
    result = vocabopt("merge", run, "--size", 0, "--out", run.parent / "none")
    assert f"on {told}, one by one (" in result.stdout


def test_few_held_out_documents_are_warned_of(small_run: tuple[Path, str, list[str]]) -> None:
    run, printed, _ = small_run
    sweep = json.loads((run / "sweep.json").read_bytes())
    n = sweep["sets"]["heldout"]["n_documents"]
    assert 0 < n < MIN_HELDOUT_DOCUMENTS
    told = f"Warning: the choice rests on {n} held-out documents, fewer than {MIN_HELDOUT_DOCUMENTS}"
    assert told in printed
    assert told in vocabopt("choose", run).stdout
    assert told in (run / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_a_merge_of_no_tokens_says_that_nothing_was_added(small_run: tuple[Path, str, list[str]]) -> None:
    result = vocabopt("merge", small_run[0], "--size", 0, "--out", small_run[0].parent / "nothing")
    assert result.exit_code == 0, result.stderr
    assert "nothing is mistral-7b-v1 with no token added." in result.stdout
    assert "mistral-7b-v1 itself, since no token was to be added" in result.stdout
    assert "0 new tokens." not in result.stdout


def test_where_no_rule_bounds_a_size_the_end_of_the_curve_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("안녕하세요 세계 안녕하세요 여러분 안녕하세요\n", "utf-8")
    result = vocabopt("sweep", tmp_path / "one.txt", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    choice = json.loads((tmp_path / "run" / "sweep.json").read_bytes())["choice"]
    assert choice["rule"] == "end"
    assert all(rule["bound"] != "at" for rule in choice["rules"] if rule["kind"] in ("flops", "used", "marginal"))
    assert "so its end decides" in reason(read_sweep(tmp_path / "run"))
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "The upright line is the choice; no rule bounds a size, so it is the end of the curve" in page
    assert "by the rule" not in page
    assert "on 1 distinct document, one by one (64 bytes" in result.stdout


@pytest.mark.parametrize("command", ["choose", "merge", "report"])
def test_a_folder_that_is_no_sweep_is_not_to_be_swept_into(command: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("한국어", "utf-8")
    told = f"{tmp_path}: is not the folder of a sweep (no sweep.json). Name the one that `vocabopt sweep"
    assert_refused(vocabopt(command, tmp_path), re.escape(told), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
