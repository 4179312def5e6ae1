"""Damaged, foreign and edited files of a run: every command that reads one names it, what is wrong, and what to do."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import vocabopt
from helpers import CORPUS, lines_of

from vocabopt.growth.proof_sample import PROOF_PARQUET, read_proof_sample
from vocabopt.preparation.work import Work
from vocabopt.run_directory import read_counts, read_run, read_sweep

#: Which files each command reads. {run}: the run directory, {model}: its base model, {text}: Korean text, {out}: new.
READS = {
    ("choose", "{run}"): ("sweep.json", "curve.parquet", "folds.parquet", "union.json"),
    ("report", "{run}"): ("sweep.json", "curve.parquet", "run.json", "samples.json", "union.json", "prepare.json"),
    ("merge", "{run}", "--size", "20", "--method", "grow", "--out", "{out}"): (
        *("sweep.json", "curve.parquet", "run.json", "counts.parquet", "counts_folds.parquet", PROOF_PARQUET),
    ),
    ("merge", "{run}", "--size", "860", "--method", "union", "--out", "{out}"): (
        *("sweep.json", "run.json", "union.json", "union.model", "counts.parquet", PROOF_PARQUET),
    ),
    ("verify", "{model}", "{run}/tokenizer"): ("tokenizer/extension.json",),
    ("plan", "{model}", "--run", "{run}", "--budget", "1Mtok"): ("tokenizer/extension.json",),
    ("init", "{model}", "--tokenizer", "{run}/tokenizer", "--out", "{out}"): ("tokenizer/extension.json",),
    ("adapt", "{model}", "--run", "{run}", "--text", "ko={text}", "--budget", "10ktok", "--out", "{out}"): (
        *("tokenizer/extension.json", "sweep.json"),
    ),
    ("probe", "{model}", "--run", "{run}", "--text", "ko={text}", "--steps", "8", "--out", "{out}"): (
        "tokenizer/extension.json",
    ),
}
CHOOSE, REPORT, MERGE, UNION, VERIFY, PLAN, INIT, ADAPT, PROBE = READS
#: Without them there is nothing to read: the command does without.
OPTIONAL = {"samples.json", "union.json", "prepare.json", "tokenizer/extension.json"}
PREPARED = """{"format_version": 1, "command": "vocabopt prepare", "versions": {}, "options": {}, "inputs": [],
"files": [], "steps": [], "seconds": {}, "peak_memory_bytes": 0}"""
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "noise": lambda data: bytes(range(256)) * 4,
    "text": lambda data: b"not what it was\n",
    "list": lambda data: b"[]\n",
    "version": lambda data: data.replace(b'"format_version": 1', b'"format_version": 2'),
}


@pytest.fixture(scope="module")
def whole(llama_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every file that there is: swept with the union, merged; a second one, of other text, is beside it."""
    root = tmp_path_factory.mktemp("whole")
    (root / "ko.txt").write_text("\n".join(lines_of("ko")[:300]), encoding="utf-8")
    (root / "other.txt").write_text("\n".join(lines_of("ko")[300:500]), encoding="utf-8")
    for text, run in (("ko", "run"), ("other", "foreign")):
        options = ["--base", llama_model, "--model", llama_model, "--max-added", "60", "--method", "union"]
        result = vocabopt(
            "sweep", root / f"{text}.txt", *options, "--sizes", "900,1200", "--out", root / run, "--quiet"
        )
        assert result.exit_code == 0, result.output
        assert vocabopt("merge", root / run, "--size", "20", "--method", "grow", "--quiet").exit_code == 0
        (root / run / "prepare.json").write_text(PREPARED, encoding="utf-8")
    return root


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole / "run", tmp_path / "run")


def written_at(run: Path) -> dict[Path, int]:
    """When each file was written; not folders, in which a lock may have been for a moment."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


def refused(command: tuple[str, ...], run: Path, whole: Path, model: Path, out: Path) -> str:
    """The one message with which the command refuses; nothing is written."""
    places = {"run": run, "model": model, "text": whole / "ko.txt", "out": out}
    before = written_at(run)
    result = vocabopt(*(argument.format(**places) for argument in command))
    assert result.exit_code == 2, (command, result.output)
    told = result.stderr.splitlines()[-1]
    assert told.startswith("Error: "), result.stderr
    assert "Traceback" not in result.stderr
    assert written_at(run) == before
    assert not (out / "tokenizer.json").exists()
    return told


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", sorted({file for files in READS.values() for file in files}))
def test_a_damaged_file_is_named_by_every_command_that_reads_it(
    file: str, damage: str, run: Path, whole: Path, llama_model: Path, tmp_path: Path
) -> None:
    data = (run / file).read_bytes()
    spoiled = DAMAGES[damage](data)
    if (spoiled is None and file in OPTIONAL) or spoiled == data:
        pytest.skip("a file that need not be there, or has no version")
    (run / file).unlink()
    if spoiled is not None:
        (run / file).write_bytes(spoiled)
    for command, files in READS.items():
        if file in files:
            told = refused(command, run, whole, llama_model, tmp_path / "out")
            # Counts are two files, of which the first is named; a folder without sweep.json is no finished run.
            named = run if (file, damage) == ("sweep.json", "missing") else run / file.replace("counts_folds", "counts")
            assert str(named) in told, (command, told)
            assert re.search(r"[.)] (Run|Sweep|Merge|Remove|Or remove|Decide|Pack|Pass|Name)[^.]*", told), told


@pytest.mark.parametrize(
    ("file", "match"),
    [
        ("sweep.json", r"curve\.parquet: is not the curve that sweep\.json was made from"),
        ("curve.parquet", r"curve\.parquet: is not the curve that sweep\.json was made from"),
        ("folds.parquet", r"folds\.parquet: its folds do not add up to curve\.parquet: it is of another run"),
        ("counts.parquet", r"counts\.parquet: is missing, broken or of another run"),
        ("counts_folds.parquet", r"counts\.parquet: is missing, broken or of another run"),
        ("run.json", r"counts\.parquet: is missing, broken or of another run"),
        ("union.model", r"union\.model: is not the vocabulary that union\.json was made from"),
    ],
)
def test_a_file_of_another_run_is_refused(
    file: str, match: str, run: Path, whole: Path, llama_model: Path, tmp_path: Path
) -> None:
    shutil.copyfile(whole / "foreign" / file, run / file)
    for command, files in READS.items():
        # The page shows what run.json says, and training takes from sweep.json what was held out.
        if file in files and (command[0], file) not in {("report", "run.json"), ("adapt", "sweep.json")}:
            if (command, file) == (UNION, "sweep.json"):
                continue  # the union has no part in the curve: its counts are not promised
            assert re.search(match, refused(command, run, whole, llama_model, tmp_path / "out")), command


def edited(run: Path, file: str, at: str, value: Any) -> None:
    """Set a field of a JSON file, named as the messages name it; `...` removes it."""
    record = json.loads((run / file).read_text(encoding="utf-8"))
    *path, last = (int(key) if key.isdecimal() else key for key in at.split("/"))
    inside: Any = record
    for key in path:
        inside = inside[key]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    (run / file).write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "at", "value", "command", "match"),
    [
        ("sweep.json", "sets/heldout", ..., CHOOSE, "field sets.heldout is missing. Sweep again"),
        ("sweep.json", "sets/train/n_bytes", -1, CHOOSE, "field sets.train.n_bytes is not a whole number from 0"),
        ("sweep.json", "sets/train/n_tokens_base", 7, CHOOSE, "folds.parquet: its folds do not add up"),
        ("sweep.json", "points/0/dry", 0, REPORT, "field points.0.dry is not true or false"),
        ("sweep.json", "points/0/sets/train", ..., REPORT, "field points.0: its text sets are not those of the sweep"),
        ("sweep.json", "scripts/0", "Hangull", MERGE, "field scripts: .*'Hangull' is not a Unicode script"),
        ("sweep.json", "base/sha256", None, MERGE, "field base.sha256 is not a text"),
        ("sweep.json", "max_added", 10**9, MERGE, "fields max_added and exhausted_at say that the curve ends at"),
        ("sweep.json", "options/heldout", 1.5, ADAPT, "field options: --heldout 1.5: must be at least 0 and below 1"),
        ("sweep.json", "choice/n_added", "many", MERGE, "field choice.n_added is not a whole .* vocabopt choose"),
        ("sweep.json", "choice/n_added", True, REPORT, "field choice.n_added is not a whole .* vocabopt choose"),
        (
            "sweep.json",
            "choice/n_added",
            10**6,
            REPORT,
            "field choice.n_added is 1,000,000, and the curve ends",
        ),
        ("sweep.json", "proof/n_features", ..., CHOOSE, "field proof.n_features is missing. Sweep again"),
        ("sweep.json", "choice/rules/0/bound", 7, REPORT, 'choice.rules.0.bound is not "at" or "at_least" or "none"'),
        ("sweep.json", "choice/set", "wiki", REPORT, "field choice.set is no text set of the sweep. Decide again"),
        ("sweep.json", "choice", ..., MERGE, "field choice is missing. Decide again: vocabopt choose"),
        ("run.json", "inputs_sha256", ..., MERGE, "field inputs_sha256 is missing"),
        ("run.json", "seconds/count", "long", REPORT, "field seconds.count is not a number"),
        ("union.json", "points", [], UNION, "field points is empty. Sweep into this folder with --method union again"),
        ("sweep.json", "choice/windows/ends", [1], REPORT, "choice.windows.knees is no row a start of a knee an end"),
        ("sweep.json", "exhausted_at", ..., MERGE, "field exhausted_at is missing"),
        (
            "sweep.json",
            "points/0/n_embedding_params",
            "x",
            CHOOSE,
            "n_embedding_params is not a whole number .*or null",
        ),
        ("union.json", "points/0/sets/train", ..., REPORT, "field points.0.sets.train is missing. Sweep into"),
        ("union.json", "scores", "best", UNION, 'field scores is not "unique" or "zero"'),
        ("union.json", "points/0/n_overlap", None, CHOOSE, "field points.0.n_overlap is not a whole number from 0"),
        ("tokenizer/extension.json", "n_added", 7, PLAN, "field n_tokens is 2,020, not first_id and n_added together"),
        ("tokenizer/extension.json", "tokens/3/id", 5, INIT, "field tokens: their ids are not 2,000 to 2,019"),
        ("tokenizer/extension.json", "tokens/0/bytes", "zz", INIT, "tokens.0.bytes is not bytes in hexadecimal"),
        ("tokenizer/extension.json", "scripts", ["X"], VERIFY, "field scripts: .*'X' is not a Unicode script"),
        ("tokenizer/extension.json", "base", [], PROBE, "field base is not a mapping. Merge again"),
    ],
)
def test_an_edited_field_is_named(
    file: str,
    at: str,
    value: Any,
    command: tuple[str, ...],
    match: str,
    run: Path,
    whole: Path,
    llama_model: Path,
    tmp_path: Path,
) -> None:
    edited(run, file, at, value)
    told = refused(command, run, whole, llama_model, tmp_path / "out")
    assert str(run / Path(file).parent) in told
    assert re.search(match, told), told


def test_a_choice_that_is_broken_is_made_again_by_choose(run: Path) -> None:
    kept = read_sweep(run).choice
    edited(run, "sweep.json", "choice", {"n_added": "?"})
    assert vocabopt("choose", run, "--quiet").exit_code == 0
    assert read_sweep(run).choice == kept


@pytest.mark.parametrize("column", ["chunk", "group", "n"])
def test_counts_whose_numbers_lead_nowhere_are_not_followed(column: str, run: Path) -> None:
    """Compiled code would follow a chunk or a group that is not there out of its array."""
    sha256 = read_run(run).inputs_sha256
    counts, path = read_counts(run, sha256), run / "counts_folds.parquet"
    assert counts is not None
    folds = pl.read_parquet(path)
    for value in (-1, 10**9, None):
        folds.with_columns(
            pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
        ).write_parquet(path)
        assert read_counts(run, sha256) is None, value
    folds.drop(column).write_parquet(path)
    assert read_counts(run, sha256) is None
    folds.write_parquet(path)
    again = read_counts(run, sha256)
    assert again is not None
    assert (again[0].weights() == counts[0].weights()).all()


# --- The files of a preparation that was stopped ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preparation stopped in its last pass: what it needs to go on lies in its folder work/."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "clear", lambda self: None)
        assert vocabopt("prepare", CORPUS / "ko" / "news.txt", "--out", out, "--quiet").exit_code == 0
    (out / "prepare.json").unlink()
    for done in (out / "work" / "2").iterdir():
        done.unlink()
    return out


@pytest.mark.parametrize(
    ("file", "edit", "match"),
    [
        ("0/done.json", lambda data: b"{}", r"field n_shards is missing"),
        ("0/done.json", lambda data: data[:-5], r"cannot be read"),
        ("1/done.json", lambda data: data.replace(b'shards": 1', b'shards": 7'), r"00000\d\S+: (not found|cannot be)"),
        ("files.json", lambda data: data.replace(b"n_documents", b"n_document"), r"files\.0\.n_documents is missing"),
        ("files.json", lambda data: b"[]", r"is no JSON object"),
        ("0/000000.json", lambda data: data.replace(b'"rank"', b'"rang"', 1), r"field counts\.0\.\S+\.rank is missing"),
        ("0/000000.json", lambda data: b"", r"cannot be read"),
        ("1/000000.parquet", lambda data: data[:-20], r"cannot be read"),
        ("0/000000.removed.parquet", lambda data: b"", r"cannot be read"),
        ("1/000000.decision.npz", lambda data: data[:-20], r"cannot be read"),
    ],
)
def test_a_damaged_file_of_a_stopped_preparation_is_named(
    file: str, edit: Callable[[bytes], bytes], match: str, stopped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    path = out / "work" / file
    changed = edit(path.read_bytes())
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    command = ("prepare", CORPUS / "ko" / "news.txt", "--out", out, "--quiet")
    result = vocabopt(*command)
    assert result.exit_code == 2, result.output
    work = out / "work"
    assert re.fullmatch(rf"Error: {work}/.*{match}.*Remove {work} and .*\n", result.stderr), result.stderr
    if file == "files.json":  # the step that every message names helps
        shutil.rmtree(out / "work")
        assert vocabopt(*command).exit_code == 0


def test_what_a_file_of_a_stopped_preparation_holds_beyond_its_fields_is_left_alone(
    stopped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    for name in ("files.json", "0/000000.json"):
        path = out / "work" / name
        more = path.read_bytes().replace(b'"n_documents', b'"n_more": 1, "n_documents')
        path.write_bytes(more.replace(b'"rank"', b'"more": 1, "rank"'))
    assert vocabopt("prepare", CORPUS / "ko" / "news.txt", "--out", out, "--quiet").exit_code == 0


def test_a_prepare_json_without_its_fields_is_named(stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("prepare", CORPUS / "ko" / "news.txt", "--out", out)
    assert vocabopt(*command, "--quiet").exit_code == 0
    edited(out, "prepare.json", "steps/0/n_bytes_in", ...)
    result = vocabopt(*command)
    assert result.exit_code == 2
    assert re.search(r"prepare\.json: field steps\.0\.n_bytes_in is missing\. Remove it", result.stderr)


# --- Whole documents kept for the proof -------------------------------------------------------------------------------


def test_a_damaged_sample_of_documents_is_made_anew_by_the_same_sweep(
    run: Path, whole: Path, llama_model: Path, tmp_path: Path
) -> None:
    path = run / PROOF_PARQUET
    kept, inputs_sha256 = path.read_bytes(), read_run(run).inputs_sha256
    for damaged in (b"", kept[:-20], kept[: len(kept) // 2]):
        path.write_bytes(damaged)
        assert read_proof_sample(run, inputs_sha256) is None
        told = refused(MERGE, run, whole, llama_model, tmp_path / "out")
        assert re.search(r"proof_sample\.parquet: is missing, broken or of another run.*again into this folder", told)
    base = ["--base", llama_model, "--model", llama_model, "--max-added", "60"]
    assert vocabopt("sweep", whole / "ko.txt", *base, "--out", run, "--quiet").exit_code == 0
    assert path.read_bytes() == kept
