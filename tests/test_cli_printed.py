"""What a sweep prints, in a terminal and without one, how long it takes on hostile text, and what Ctrl-C leaves."""

import codecs
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import command_of, half_written, process, read_terminal, started, vocabopt, written

from vocabopt import console
from vocabopt.folder import FORMAT_VERSION
from vocabopt.growth import chunk_kernel, proof_kernel, symbols
from vocabopt.growth import grow as growth
from vocabopt.growth import kernel as growth_kernel

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "corpus"
KOREAN = CORPUS / "ko" / "news.txt"
LINE = "나는 오늘도 학교에 갔다.\n"
SECONDS_FOR_100_MB = 60


# --- What is printed -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_table_shows_every_size_and_the_choice_with_its_reason(swept: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--out", swept)
    sweep = json.loads((swept / "sweep.json").read_text("utf-8"))
    rows = [line.split() for line in result.stdout.splitlines() if re.match(r" *[\d,]+ +[\d,]+ +[\d,]+ ", line)]
    shown = sorted({point["n_added"] for point in [*sweep["points"], sweep["choice"]["point"]]})
    assert [row[0] for row in rows] == [f"{size:,}" for size in shown]
    last = sweep["points"][-1]
    heldout = sweep["sets"]["heldout"]
    n_tokens = last["sets"]["heldout"]["n_tokens"]
    assert rows[-1] == [
        f"{last['n_added']:,}",
        f"{last['n_rows_total']:,}",
        f"{n_tokens:,}",
        f"{n_tokens / heldout['n_tokens_base']:.4f}",
        f"{last['sets']['train']['n_tokens'] / sweep['sets']['train']['n_tokens_base']:.4f}",
        f"{last['n_rows_total'] / 32_000:.3f}",
        f"{n_tokens / heldout['n_words']:.3f}",
        f"{heldout['n_bytes'] / n_tokens:.3f}",
        f"{last['n_rows_total'] * 4096 * 2 / 1e6:,.1f}",
    ]
    assert f"Add {sweep['choice']['n_added']:,} tokens: the knee" in result.stdout
    assert f"Report: {swept / 'report.html'}" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:5])) <= 100


def test_sizes_beyond_a_dry_text_are_marked(swept: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--sizes", "0,10,99999,100000", "--out", swept)
    sweep = json.loads((swept / "sweep.json").read_text("utf-8"))
    assert [point["dry"] for point in sweep["points"]] == [False, False, True, True]
    assert re.search(r"^ *99,999\*", result.stdout, re.MULTILINE)
    assert re.search(r"^ *100,000\*", result.stdout, re.MULTILINE)
    assert f"The text ran dry at {sweep['exhausted_at']:,} added tokens; larger sizes are marked *" in result.stdout


def test_no_mark_is_announced_where_none_is_shown(swept: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--out", swept)
    assert "The text ran dry at" in result.stdout
    assert "*" not in result.stdout


def test_without_held_out_text_the_table_shows_dashes_not_zeros(tmp_path: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--heldout", "0", "--out", tmp_path / "out")
    assert re.search(r"^ *0 +32,000 +- +- +1\.0000 ", result.stdout, re.MULTILINE)
    assert "the knee of the training input ratio" in result.stdout


@pytest.mark.slow
def test_json_prints_sweep_json_and_nothing_else_in_utf_8_whatever_the_terminal_s_encoding(tmp_path: Path) -> None:
    path = written(tmp_path / "한국어.txt", KOREAN.read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = command_of("sweep", path, "--json", "--out", tmp_path / "out")
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert done.stderr == b""
    assert done.stdout == (tmp_path / "out" / "sweep.json").read_bytes()
    printed = json.loads(done.stdout.decode())
    assert printed["options"]["paths"] == [str(path)]
    assert printed["format_version"] == FORMAT_VERSION


@pytest.mark.slow
def test_quiet_prints_nothing(swept: Path, tmp_path: Path) -> None:
    done = process("sweep", KOREAN, "--quiet", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    merged = vocabopt("merge", swept, "--quiet", "--out", tmp_path / "tokenizer")
    assert (merged.exit_code, merged.output) == (0, "")


def test_lines_are_plain_where_there_is_no_terminal(tmp_path: Path) -> None:
    done = process("sweep", KOREAN, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    steps = [line.partition(":")[0] for line in done.stderr.splitlines()]
    notes = "Target script, of the letters in the text"
    assert list(dict.fromkeys(steps)) == ["count", "prove", notes, "encode", "grow", "write", "report"]
    told = [line for line in done.stderr.splitlines() if not line.startswith(notes)]
    # A slow machine also sees how far a step is.
    assert all(re.match(r"\w+: (done in \d+\.\d s$|.*%)", line) for line in told)


def test_progress_tells_share_time_left_and_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_PLAIN_EVERY_SECONDS", 0.0)
    result = vocabopt("sweep", CORPUS, "--out", tmp_path / "out")
    amount = r"[\d.,]+ [kM]B"
    assert re.search(rf"^count: {amount} of [\d.]+ kB \(\d+%\), \d+ s left, {amount}/s$", result.stderr, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.slow
def test_a_terminal_gets_progress_bars(tmp_path: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = command_of("sweep", KOREAN, "--out", tmp_path / "out")
    output = b""
    with started(command, stdout=follower, stderr=follower, env=environment) as running:
        os.close(follower)
        while data := read_terminal(leader):
            output += data
        assert running.wait(timeout=60) == 0
    os.close(leader)
    text = output.decode()
    assert "\x1b[" in text
    assert "grow" in text
    assert "ratio_" in text
    assert "done in" not in text


@pytest.mark.slow
def test_text_from_standard_input_gives_the_curve_of_the_same_file(swept: Path, tmp_path: Path) -> None:
    done = process("sweep", "-", "--out", tmp_path / "out", input=KOREAN.read_text("utf-8"), encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "curve.parquet").read_bytes() == (swept / "curve.parquet").read_bytes()


def test_the_default_folder_is_named_by_corpus_and_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "corpus" / "ko" / "a.txt", KOREAN.read_bytes())
    assert vocabopt("sweep", "corpus/", "--quiet").exit_code == 0
    assert (tmp_path / "reports" / "corpus-mistral-7b-v1" / "report.html").is_file()


@pytest.mark.slow
def test_a_single_line_of_100_mb_takes_bounded_time(tmp_path: Path) -> None:
    line = KOREAN.read_text("utf-8").replace("\n", " ").encode()
    path = written(tmp_path / "long.txt", line * (100_000_000 // len(line) + 1))
    start = time.monotonic()
    result = vocabopt("sweep", path, "--json", "--heldout", "0", "--out", tmp_path / "out")
    assert time.monotonic() - start < SECONDS_FOR_100_MB
    train = json.loads(result.stdout)["sets"]["train"]
    assert (train["n_documents"], train["n_bytes"]) == (1, path.stat().st_size)


@pytest.mark.slow
def test_a_long_line_without_a_single_space_takes_bounded_time(tmp_path: Path) -> None:
    path = written(tmp_path / "solid.txt", "".join(KOREAN.read_text("utf-8").split()) * 200)
    start = time.monotonic()
    assert vocabopt("sweep", path, "--quiet", "--heldout", "0", "--out", tmp_path / "out").exit_code == 0
    assert time.monotonic() - start < SECONDS_FOR_100_MB


@pytest.mark.slow
def test_after_the_warm_up_a_sweep_compiles_nothing(tmp_path: Path) -> None:
    """Neither a first run, one that reuses the counts, nor one of text that outgrows tables: set-up has done it."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    warm_up = [sys.executable, "-m", "vocabopt.warmup"]
    done = subprocess.run(warm_up, capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
    assert done.stdout + done.stderr == ""
    compiled = {path.name for path in (tmp_path / "cache").rglob("*.nbc")}
    assert compiled
    for _ in range(2):
        assert process("sweep", CORPUS, "--out", tmp_path / "out", "--quiet", env=environment).returncode == 0
        assert {path.name for path in (tmp_path / "cache").rglob("*.nbc")} == compiled
    # Also those that only gigabytes of text call.
    modules = (chunk_kernel, growth, growth_kernel, proof_kernel, symbols)
    kernels = {
        f"{module.__name__.rpartition('.')[2]}.{name}-"
        for module in modules
        for name, value in vars(module).items()
        if hasattr(value, "py_func") and value.__module__ == module.__name__
    }
    assert len(kernels) > 30
    assert {kernel for kernel in kernels if not any(name.startswith(kernel) for name in compiled)} == set()


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def wide_text(tmp_path: Path) -> Path:
    """Text of so many different words that growing takes seconds."""
    syllables = np.random.default_rng(0).integers(0xAC00, 0xAC00 + 1_500, size=(400_000, 5), dtype="<u4")
    words = codecs.decode(np.insert(syllables, 5, ord(" "), axis=1).tobytes(), "utf-32-le")
    return written(
        tmp_path / "wide.txt", "\n".join(words[start : start + 6_000] for start in range(0, len(words), 6_000))
    )


def interrupted(arguments: Sequence[object], is_time: Callable[[str], bool]) -> tuple[int, str]:
    """Send SIGINT when a line of standard error says that it is time; exit code and standard error."""
    lines: list[str] = []
    with started(command_of(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr or ():
            lines.append(line)
            if is_time(line):
                time.sleep(0.3)
                running.send_signal(signal.SIGINT)
                break
        lines.append(running.communicate(timeout=120)[1])
    return running.returncode, "".join(lines)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.slow
def test_ctrl_c_while_growing_leaves_nothing_half_written_and_the_run_can_be_taken_up(
    wide_text: Path, tmp_path: Path
) -> None:
    arguments = ["sweep", wide_text, "--out", tmp_path / "out"]
    code, errors = interrupted(arguments, lambda line: line.startswith("encode: done"))
    assert "grow: done" not in errors, "the text is too small for this test"
    assert code == 130, errors
    assert errors.endswith("Interrupted. Finished files are kept; nothing half-written is left.\n")
    assert "Traceback" not in errors
    assert half_written(tmp_path) == []
    again = process(*arguments, "--max-added", "100")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "out" / "sweep.json").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_while_waiting_for_standard_input(tmp_path: Path) -> None:
    command = command_of("sweep", "-", "--out", tmp_path / "out")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with started(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as running:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("vocabopt-stdin-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 130
        assert running.stderr is not None
        errors = running.stderr.read()
    assert errors == "Interrupted. Finished files are kept; nothing half-written is left.\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
