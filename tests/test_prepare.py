"""`vocabopt prepare`: what is kept, what is removed and by whom, and that stopping it changes nothing."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from command_line import assert_refused, command_of, started, vocabopt, workers_of, written
from helpers import lines_of

from vocabopt.errors import RunDirectoryError
from vocabopt.preparation import STEP_NAMES
from vocabopt.preparation.options import PrepareOptions, chain, read_config, registry
from vocabopt.preparation.reading import Reader, find_text
from vocabopt.preparation.steps.lines import Lines
from vocabopt.preparation.work import Work
from vocabopt.preparation.workers import Worker
from vocabopt.tokenizer import load_base

LONG = "산에 오르던 날 아침에는 안개가 짙어서 앞사람의 배낭만 보고 걸었고, 고개를 넘어서야 해가 났다. "


def records(folder: Path) -> list[dict[str, Any]]:
    """The documents in clean/ or removed/, in order."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).decode()
        found += [json.loads(line) for line in data.split("\n") if line]
    return found


def prepared(out: Path, *arguments: object) -> dict[str, Any]:
    result = vocabopt("prepare", *arguments, "--out", out, "--quiet")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads((out / "prepare.json").read_text(encoding="utf-8"))
    return value


def text_of(folder: Path) -> list[str]:
    return [record["text"] for record in records(folder)]


def jsonl(path: Path, *texts: str) -> Path:
    return written(path, "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))


def long_documents(n: int) -> list[str]:
    """Documents of eight lines each, no two alike."""
    lines = lines_of("ko")
    return ["\n".join(lines[(7 * i + 131 * k) % len(lines)] for k in range(8)) for i in range(n)]


def first_worker_of(pid: int) -> int:
    """A process that runs shards for another, once there is one."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := workers_of(pid):
            return found[0]
        time.sleep(0.01)
    raise AssertionError("no worker started")


def contents(folder: Path) -> dict[str, bytes]:
    """The output of a run, byte by byte; seconds and memory differ from run to run."""
    files = [path for name in ("clean", "removed") for path in sorted((folder / name).glob("*"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_clean_and_removed_together_are_the_input_with_file_and_line(tmp_path: Path) -> None:
    first = written(tmp_path / "in" / "a.txt", "하나\n\n둘\n하나\n")
    second = jsonl(tmp_path / "in" / "b.jsonl", "셋", "둘", "  하나 ")
    record = prepared(tmp_path / "out", tmp_path / "in", "--steps", "exact")
    clean, removed = records(tmp_path / "out" / "clean"), records(tmp_path / "out" / "removed")
    assert [(r["text"], r["source"], r["line"]) for r in clean] == [
        ("하나", str(first), 1), ("둘", str(first), 3), ("셋", str(second), 1),
    ]  # fmt: skip
    assert [(r["text"], r["line"], r["step"], r["why"]) for r in removed] == [
        ("하나", 4, "exact", f"copy of {first}:1"),
        ("둘", 2, "exact", f"copy of {first}:3"),
        ("  하나 ", 3, "exact", f"copy of {first}:1"),
    ]
    assert [r["id"] for r in clean] == [f"{r['source']}:{r['line']}" for r in clean]
    assert [file["n_blank"] for file in record["files"]] == [1, 0]


def test_the_funnel_counts_what_the_files_hold(tmp_path: Path) -> None:
    lines = lines_of("ko")[:300]
    source = written(tmp_path / "in.txt", "\n".join([*lines, *lines[:40], lines[0]]))
    record = prepared(tmp_path / "out", source, "--steps", "exact")
    decode, exact = record["steps"]
    assert (decode["step"], exact["step"]) == ("decode", "exact")
    kept = text_of(tmp_path / "out" / "clean")
    assert exact["n_documents_in"] == 341
    assert exact["n_documents_out"] == len(kept) == len(set(lines))
    assert exact["n_bytes_out"] == sum(len(text.encode()) for text in kept)
    base = load_base("mistral-7b-v1")
    encodings = base.full.encode_batch(kept, add_special_tokens=False)
    assert exact["n_tokens_out"] == sum(len(encoding.ids) for encoding in encodings)
    assert len(exact["taken"]) == 10
    assert {example["text"] for example in exact["taken"]} <= set(lines[:40])
    assert len(exact["kept"]) == 10


def test_without_a_base_tokens_are_unknown_not_zero(tmp_path: Path) -> None:
    source = written(tmp_path / "in.txt", "하나\n둘\n")
    record = prepared(tmp_path / "out", source, "--steps", "exact", "--base", "none")
    assert record["steps"][-1]["n_tokens_out"] is None


def test_near_copies_go_and_name_the_one_that_stays(tmp_path: Path) -> None:
    document = LONG * 5
    edited = document.replace("배낭만", "신발만", 1)
    source = jsonl(tmp_path / "in.jsonl", document, "전혀 다른 글. " * 30, edited, edited[:100])
    prepared(tmp_path / "out", source, "--steps", "near")
    assert [r["line"] for r in records(tmp_path / "out" / "clean")] == [1, 2, 4]
    (removed,) = records(tmp_path / "out" / "removed")
    assert (removed["line"], removed["why"]) == (3, f"copy of {source}:1")


def test_copied_paragraphs_leave_their_document(tmp_path: Path) -> None:
    notice = "이 글은 누구나 고쳐 쓸 수 있으며 고친 사람의 이름은 역사에 남습니다."
    source = jsonl(tmp_path / "in.jsonl", f"첫 글의 본문이다.\n{notice}", f"{notice}\n둘째 글의 본문이다.", notice)
    record = prepared(tmp_path / "out", source, "--steps", "exact_paragraphs")
    assert text_of(tmp_path / "out" / "clean") == [f"첫 글의 본문이다.\n{notice}", "둘째 글의 본문이다."]
    assert [(r["text"], r["line"]) for r in records(tmp_path / "out" / "removed")] == [(notice, 2), (notice, 3)]
    step = record["steps"][-1]
    assert (step["n_documents_out"], step["n_changed"], step["n_units_removed"]) == (2, 1, 2)


@pytest.mark.slow
def test_workers_and_shards_change_no_document(tmp_path: Path) -> None:
    texts = long_documents(400)
    source = jsonl(tmp_path / "in.jsonl", *texts, *texts[:50])
    one = prepared(tmp_path / "one", source, "--workers", 1)
    two = prepared(tmp_path / "two", source, "--workers", 2, "--shard", "64kB", "--memory", "700MB")
    assert len(list((tmp_path / "two" / "clean").glob("*"))) > 2
    assert records(tmp_path / "one" / "clean") == records(tmp_path / "two" / "clean")
    # removed/ is in the order of the steps within a shard.
    first, second = (records(tmp_path / name / "removed") for name in ("one", "two"))
    assert len(first) > 50
    assert sorted(first, key=lambda r: r["line"]) == sorted(second, key=lambda r: r["line"])
    for name in ("step", "n_documents_in", "n_documents_out", "n_bytes_out", "n_tokens_out", "n_changed"):
        assert [step[name] for step in one["steps"]] == [step[name] for step in two["steps"]]


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = [f"{i} {text}" for i in range(8) for text in long_documents(400)]
    source = jsonl(tmp_path / "in.jsonl", *texts, *texts[:200])
    arguments = ("prepare", source, "--steps", "repair,exact,near,exact_paragraphs", "--shard", "200kB", "--quiet")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    start = time.monotonic()
    assert vocabopt(*arguments, "--out", whole, "--workers", 2).exit_code == 0
    seconds = time.monotonic() - start
    n_kills = 0
    for share in (0.3, 0.5, 0.7, 0.9):
        command = command_of(*arguments, "--out", broken, "--workers", 2)
        with started(command, start_new_session=True) as running:
            time.sleep(share * seconds)
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                n_kills += 1
    assert n_kills
    assert vocabopt(*arguments, "--out", broken, "--workers", 2).exit_code == 0
    assert contents(broken) == contents(whole)
    assert not (broken / "work").exists()


def test_parquet_holds_the_same_columns(tmp_path: Path) -> None:
    source = written(tmp_path / "in.txt", "하나\n둘\n하나\n")
    prepared(tmp_path / "out", source, "--steps", "exact", "--output-format", "parquet")
    clean = pl.read_parquet(tmp_path / "out" / "clean" / "000000.parquet")
    assert clean.columns == ["id", "text", "source", "line"]
    assert clean["text"].to_list() == ["하나", "둘"]
    assert pl.read_parquet(tmp_path / "out" / "removed" / "000000.parquet")["step"].to_list() == ["exact"]


# --- Reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["cp949", "utf-16", "utf-8-sig", "utf-32"])
def test_old_encodings_are_read_without_being_told(tmp_path: Path, codec: str) -> None:
    lines = [line for line in lines_of("ko") if line.encode("cp949", "ignore").decode("cp949") == line][:50]
    source = written(tmp_path / "in.txt", "\n".join(lines).encode(codec))
    prepared(tmp_path / "out", source, "--steps", "")
    assert text_of(tmp_path / "out" / "clean") == lines


def test_one_file_may_hold_lines_of_two_encodings_and_some_of_none(tmp_path: Path) -> None:
    source = written(
        tmp_path / "in.txt", "가나다\n".encode() + "라마바\n".encode("cp949") + b"\xff\xfe\xfd\n" + "사\n".encode()
    )
    record = prepared(tmp_path / "out", source, "--steps", "")
    assert [(r["line"], r["text"]) for r in records(tmp_path / "out" / "clean")] == [
        (1, "가나다"),
        (2, "라마바"),
        (4, "사"),
    ]
    (removed,) = records(tmp_path / "out" / "removed")
    assert (removed["line"], removed["step"], removed["why"]) == (3, "decode", "not utf-8 or cp949")
    assert record["steps"][0]["n_changed"] == 1


def test_shards_are_cut_by_the_text_alone(tmp_path: Path) -> None:
    source = written(tmp_path / "in.txt", "\n".join(lines_of("ko")))
    options = PrepareOptions(paths=(str(source),), out=tmp_path / "out", steps=(), shard="64kB")
    shards = [list(Reader(find_text(options), options).shards()) for _ in range(2)]
    assert len(shards[0]) > 1
    assert [shard.documents.rows() for shard in shards[0]] == [shard.documents.rows() for shard in shards[1]]


def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    written(tmp_path / "in" / "a.txt.gz", gzip.compress("가\n나\n".encode())[:-12])
    written(tmp_path / "in" / "b.txt", "다\n")
    result = vocabopt("prepare", tmp_path / "in", "--steps", "exact", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "a.txt.gz: the compressed file ended early" in result.stdout
    assert text_of(tmp_path / "out" / "clean") == ["가", "다"]


def test_strict_ends_at_a_damaged_file(tmp_path: Path) -> None:
    written(tmp_path / "in" / "a.txt.gz", gzip.compress("가\n나\n".encode())[:-12])
    written(tmp_path / "in" / "b.txt", "다\n")
    result = vocabopt("prepare", tmp_path / "in", "--steps", "exact", "--out", tmp_path / "out", "--strict")
    assert_refused(result, r"a\.txt\.gz: the compressed file ended early", tmp_path / "out")
    assert not (tmp_path / "out" / "prepare.json").exists()


# --- The folder ------------------------------------------------------------------------------------------------------


def test_a_finished_folder_is_left_alone(tmp_path: Path) -> None:
    source = written(tmp_path / "in.txt", "하나\n둘\n")
    prepared(tmp_path / "out", source, "--steps", "exact")
    before = (tmp_path / "out" / "prepare.json").stat().st_mtime_ns
    result = vocabopt("prepare", source, "--steps", "exact", "--out", tmp_path / "out")
    assert "is prepared already" in result.stderr
    assert (tmp_path / "out" / "prepare.json").stat().st_mtime_ns == before
    other = vocabopt("prepare", source, "--steps", "exact,near", "--out", tmp_path / "out")
    assert_refused(other, "holds text prepared from other files or with other options.*--out", tmp_path / "out")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "out" / "mine.txt", "keep")
    source = written(tmp_path / "in.txt", "하나\n")
    result = vocabopt("prepare", source, "--out", tmp_path / "out")
    assert_refused(result, r"is not empty and holds no options\.json \(found mine\.txt\)", tmp_path / "out")


def test_a_step_that_takes_everything_is_named(tmp_path: Path) -> None:
    source = written(tmp_path / "in.txt", "only English here\nand here\n")
    config = written(tmp_path / "prepare.toml", 'steps = ["script"]\n')
    result = vocabopt("prepare", source, "--config", config, "--out", tmp_path / "out")
    assert_refused(result, r"script: took all 2 documents \(.*Hangul.*nothing is left", tmp_path / "out")
    # The mended command may take the folder.
    assert vocabopt("prepare", source, "--steps", "exact", "--out", tmp_path / "out").exit_code == 0


def test_a_result_among_the_text_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "in" / "a.txt", "하나\n")
    result = vocabopt("prepare", tmp_path / "in", "--out", tmp_path / "in" / "out")
    assert_refused(result, r"--out .*/in/out: lies inside .*/in, and would be read as text", tmp_path / "in")


@pytest.mark.slow
def test_a_worker_that_is_killed_says_so_and_the_run_goes_on(tmp_path: Path) -> None:
    texts = [f"{i} {text}" for i in range(6) for text in long_documents(400)]
    source = jsonl(tmp_path / "in.jsonl", *texts)
    arguments = ("prepare", source, "--out", tmp_path / "out", "--shard", "64kB", "--quiet")
    with started(command_of(*arguments), stderr=subprocess.PIPE, text=True) as running:
        worker = first_worker_of(running.pid)
        os.kill(worker, signal.SIGKILL)
        _, stderr = running.communicate(timeout=120)
    assert running.returncode == 2
    assert f"worker process {worker} was killed (SIGKILL), probably for lack of memory. What is done is kept" in stderr
    assert vocabopt(*arguments).exit_code == 0


@pytest.mark.slow
def test_what_an_unfinished_run_left_does_not_stay_among_another_s(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", *(f"{i} {text}" for i in range(3) for text in long_documents(400)))
    out = ("--out", tmp_path / "out")
    # Nothing is left after its last step: it ends after files of removed/ were written.
    config = written(tmp_path / "prepare.toml", 'steps = ["script"]\n[script]\nscript = "Thai"\n')
    assert vocabopt("prepare", source, "--config", config, "--shard", "64kB", *out).exit_code == 2
    assert len(list((tmp_path / "out" / "removed").glob("*"))) > 5
    record = prepared(tmp_path / "out", source, "--steps", "exact")
    n_files = sum(1 for folder in ("clean", "removed") for _ in (tmp_path / "out" / folder).glob("*"))
    assert n_files == 1
    assert len(records(tmp_path / "out" / "clean")) == record["steps"][-1]["n_documents_out"]


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    options = PrepareOptions(paths=("in.txt",), out=tmp_path / "elsewhere", steps=())
    with pytest.raises(RunDirectoryError, match=r"elsewhere: \S+ does not see it\. On a cluster name folders that all"):
        Worker(options, Work(options.out, options.output))


def test_processes_that_would_not_fit_into_the_memory_are_not_started(tmp_path: Path) -> None:
    source = written(tmp_path / "in.txt", "하나\n둘\n하나\n")
    result = vocabopt(
        "prepare", source, "--steps", "exact", "--out", tmp_path / "out", "--workers", 8, "--memory", "1GB"
    )
    assert result.exit_code == 0
    said = " ".join(result.stderr.split())
    assert "Works with 1 of 8 processes: more would not fit into the memory (1.0 GB) with --shard 16MB." in said


@pytest.mark.parametrize(("size", "match"), [("5MB", r"--memory 5MB: must be at least 200\.0 MB"), ("much", "16GB")])
def test_a_memory_that_holds_no_process_is_refused(tmp_path: Path, size: str, match: str) -> None:
    source = written(tmp_path / "in.txt", "하나\n")
    result = vocabopt("prepare", source, "--out", tmp_path / "out", "--memory", size)
    assert_refused(result, match, tmp_path)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", *(f"{i} {text}" for i in range(6) for text in long_documents(400)))
    arguments = ("prepare", source, "--out", tmp_path / "out", "--shard", "64kB", "--quiet")
    with started(command_of(*arguments), stderr=subprocess.PIPE, text=True) as running:
        first_worker_of(running.pid)
        os.kill(running.pid, signal.SIGINT)
        _, stderr = running.communicate(timeout=120)
    assert running.returncode == 130
    assert stderr.splitlines()[-1].startswith("Interrupted. Go on with: vocabopt prepare ")


def test_languages_are_prepared_one_at_a_time(tmp_path: Path) -> None:
    written(tmp_path / "in" / "ko" / "a.txt", "하나\n")
    written(tmp_path / "in" / "en" / "a.txt", "one\n")
    result = vocabopt("prepare", tmp_path / "in", "--out", tmp_path / "out")
    assert_refused(result, r"has a folder per language \(en, ko\).*vocabopt prepare .*/ko --out", tmp_path / "out")


# --- The chain -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "match"),
    [
        ('steps = ["exakt"]', "no step 'exakt'. Did you mean exact"),
        ('steps = ["exact", "exact"]', "exact is named twice"),
        ('steps = "exact"', "steps: write a list of names"),
        ("[near]\nmin_jacard = 0.8", r"\[near\] min_jacard: no such option. Did you mean min_jaccard"),
        ('[near]\nmin_jaccard = "high"', r"\[near\] min_jaccard 'high': must be a number"),
        ("[near]\nmin_jaccard = 2.0", r"\[near\] min_jaccard 2.0: must be above 0 and at most 1"),
        ('steps = ["exact"]\n[near]\nrows = 3', r"\[near\]: is not among the steps"),
        ("[neer]\nrows = 3", r"\[neer\]: no step of that name. Did you mean near"),
        ("rows = 3", "rows: It is no option of the chain"),
        ('step = ["exact"]', "step: Did you mean steps"),
        ("steps = []", "steps: is empty"),
        ("steps = [", "cannot be read as TOML"),
    ],
)
def test_a_bad_configuration_is_refused_with_its_place(tmp_path: Path, toml: str, match: str) -> None:
    source = written(tmp_path / "in.txt", "하나\n")
    config = written(tmp_path / "prepare.toml", toml)
    result = vocabopt("prepare", source, "--config", config, "--out", tmp_path / "out")
    assert_refused(result, match, tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_help_names_every_step() -> None:
    assert tuple(registry()) == STEP_NAMES
    shown = " ".join(vocabopt("prepare", "--help").stdout.split())
    assert ", ".join(STEP_NAMES) in shown


def test_what_the_documentation_shows_of_every_step_can_be_written(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "reference" / "prepare-steps.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n\[(\w+)\]\n(.*?)```", page.partition("<!-- steps:start -->")[2], re.DOTALL)
    given = {"perplexity": 'model = "m.arpa"\nmax_perplexity = 90', "select": 'budget = "1MB"'}
    given["decontaminate"] = 'benchmarks = { kobest = "kobest/*.jsonl" }'
    assert {name for name, _ in blocks} == set(STEP_NAMES) - {"nfc"}
    for name, options in blocks:
        text = f'steps = ["{name}"]\n[{name}]\n{options}{given.get(name, "")}\n'
        (step,) = read_config(written(tmp_path / f"{name}.toml", text))
        assert step.name == name
    assert chain(["lines"], {"lines": {"rules": ["markup"]}}, place="here")[0] == Lines(rules=("markup",))


def test_options_are_stored_with_the_result(tmp_path: Path) -> None:
    source = written(tmp_path / "in.txt", "하나\n")
    config = written(tmp_path / "prepare.toml", 'steps = ["near"]\n[near]\nmin_chars = 77\n')
    record = prepared(tmp_path / "out", source, "--config", config)
    (step,) = record["options"]["steps"]
    assert (step["step"], step["min_chars"], step["bands"]) == ("near", 77, 20)


# --- The sweep -------------------------------------------------------------------------------------------------------


def test_sweep_reads_the_clean_text_and_shows_the_funnel(tmp_path: Path) -> None:
    lines = lines_of("ko")
    source = written(tmp_path / "in.txt", "\n".join([*lines, *lines]))
    record = prepared(tmp_path / "out", source, "--steps", "exact")
    result = vocabopt("sweep", tmp_path / "out", "--out", tmp_path / "run", "--max-added", 300, "--quiet")
    assert result.exit_code == 0, result.output
    sweep = json.loads((tmp_path / "run" / "sweep.json").read_text(encoding="utf-8"))
    n_swept = sum(sweep["sets"][name]["n_documents"] for name in ("train", "heldout"))
    assert n_swept == record["steps"][-1]["n_documents_out"]
    assert 'id="figure-funnel"' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    # `vocabopt report` needs the run's folder alone.
    (tmp_path / "out").rename(tmp_path / "moved")
    assert vocabopt("report", tmp_path / "run").exit_code == 0
    assert 'id="figure-funnel"' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_sweep_never_learns_from_what_was_removed(tmp_path: Path) -> None:
    source = written(tmp_path / "in.txt", "하나\n둘\n하나\n")
    prepared(tmp_path / "out", source, "--steps", "exact")
    shutil.rmtree(tmp_path / "out" / "clean")
    result = vocabopt("sweep", tmp_path / "out", "--out", tmp_path / "run")
    assert_refused(result, r"holds a preparation whose clean/ is gone", tmp_path / "run")


def test_sweep_refuses_a_preparation_that_is_not_finished(tmp_path: Path) -> None:
    written(tmp_path / "out" / "options.json", "{}")
    (tmp_path / "out" / "work").mkdir()
    result = vocabopt("sweep", tmp_path / "out", "--out", tmp_path / "run")
    assert_refused(result, "holds a preparation that is not finished. Run `vocabopt prepare` again", tmp_path / "run")
