"""`vocabopt report`: the page of a run from its folder alone, and what is wrong with a folder."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import vocabopt
from helpers import CORPUS
from report_data import fake_verify
from training_data import full_adaptation

from vocabopt.errors import RunDirectoryError
from vocabopt.records import record_of
from vocabopt.report.page import rebuild_report
from vocabopt.training_record import AdaptRecord
from vocabopt.verification.record import Report


@pytest.fixture
def run_dir(swept: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return shutil.copytree(swept, tmp_path / "run")


def test_report_makes_page_and_figures_again_from_the_folder_alone(run_dir: Path, swept: Path) -> None:
    shutil.rmtree(run_dir / "figures")
    (run_dir / "report.html").unlink()
    for name in ("counts.parquet", "counts_folds.parquet", "folds.parquet"):
        (run_dir / name).unlink()
    result = vocabopt("report", run_dir)
    assert result.exit_code == 0
    assert result.output == f"Report: {run_dir / 'report.html'}\n"
    first = (run_dir / "report.html").read_bytes()
    assert {path.name for path in (run_dir / "figures").iterdir()} == {
        path.name for path in (swept / "figures").iterdir()
    }
    assert vocabopt("report", run_dir, "--quiet").output == ""
    assert (run_dir / "report.html").read_bytes() == first
    assert b'id="pack-playground"' in first


def test_what_merge_left_comes_into_the_page(run_dir: Path) -> None:
    (run_dir / "tokenizer").mkdir()
    (run_dir / "tokenizer" / "verify.json").write_text(json.dumps(fake_verify()))
    assert "Ids stay" in rebuild_report(run_dir).read_text(encoding="utf-8")


def test_a_run_of_before_samples_has_none(run_dir: Path) -> None:
    (run_dir / "samples.json").unlink(missing_ok=True)
    assert 'id="pack-samples"' not in rebuild_report(run_dir).read_text(encoding="utf-8")


def test_a_base_that_is_gone_or_changed_leaves_the_playground_out_with_the_reason(run_dir: Path) -> None:
    sweep = json.loads((run_dir / "sweep.json").read_text())
    for change, words in (
        ({"source": "/gone/base"}, "cannot be loaded any more"),
        ({"sha256": "0" * 64}, "changed since the sweep"),
    ):
        (run_dir / "sweep.json").write_text(json.dumps({**sweep, "base": {**sweep["base"], **change}}))
        page = rebuild_report(run_dir).read_text(encoding="utf-8")
        assert words in page
        assert 'id="pack-playground"' not in page


def _spoil(run_dir: Path, name: str, text: str) -> None:
    (run_dir / name).parent.mkdir(exist_ok=True)
    (run_dir / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sweep.json", None, r"run: its sweep did not finish \(no sweep.json\). Sweep again into this folder"),
        ("sweep.json", "{", r"run/sweep.json: cannot be read \(Expecting"),
        ("sweep.json", '{"format_version": 99}', r"run/sweep.json: format_version is not 1"),
        ("run.json", None, r"run/run.json: not found. Sweep the text into a new folder with --out."),
        ("run.json", "[]", r"run/run.json: is no JSON object"),
        ("curve.parquet", None, r"run/curve.parquet: cannot be read \(No such file"),
        ("curve.parquet", "PAR1", r"run/curve.parquet: cannot be read"),
        (
            "samples.json",
            '{"format_version": 1, "samples": {"a": "text"}}',
            r"samples.json: field samples.a is not a list. Remove it, or sweep into a new folder.",
        ),
        (
            "tokenizer/verify.json",
            "{",
            r"tokenizer/verify.json: cannot be read .*Run `vocabopt merge` again. Or remove",
        ),
        ("adapt.json", "{", r"adapt.json: cannot be read .*Run `vocabopt adapt` again. Or remove"),
        (
            "samples.json",
            "{",
            r"samples.json: cannot be read .*Remove it, or sweep into a new folder.",
        ),
        ("union.json", "{", r"union.json: cannot be read .*Sweep into this folder with --method union again"),
    ],
)
def test_a_missing_or_broken_file_is_named_with_what_to_do(
    run_dir: Path, name: str, content: str | None, message: str
) -> None:
    before = (run_dir / "report.html").read_bytes()
    if content is None:
        (run_dir / name).unlink()
    else:
        _spoil(run_dir, name, content)
    with pytest.raises(RunDirectoryError, match=message):
        rebuild_report(run_dir)
    assert (run_dir / "report.html").read_bytes() == before


VERIFY = fake_verify()
CHECK = VERIFY["checks"][0]
ADAPT = full_adaptation()
STAGE = ADAPT["stages"][0]


@pytest.mark.parametrize(
    ("name", "record", "change", "message"),
    [
        *(
            ("verify", VERIFY, {field: ...}, f"field {field} is missing")
            for field in ("passed", "base", "n_new", "checks")
        ),
        ("verify", VERIFY, {"new": "n"}, "field new is not a mapping"),
        ("verify", VERIFY, {"base": {**VERIFY["base"], "name": 7}}, "field base.name is not a text"),
        ("verify", VERIFY, {"passed": "yes"}, "field passed is not true or false"),
        ("verify", VERIFY, {"n_new": "7"}, "field n_new is not a whole number"),
        ("verify", VERIFY, {"checks": {}}, "field checks is not a list"),
        ("verify", VERIFY, {"checks": [CHECK, {"name": "n"}]}, "field checks.1.status is missing"),
        ("verify", VERIFY, {"checks": [{**CHECK, "examples": [{}]}]}, "field checks.0.examples.0.what is missing"),
        ("adapt", ADAPT, {"before": ...}, "field before is missing"),
        ("adapt", ADAPT, {"after": ...}, "field after is missing"),
        ("adapt", ADAPT, {"after": {"ko": "low"}}, "field after.ko is not a number"),
        ("adapt", ADAPT, {"stages": [{}]}, "field stages.0.name is missing"),
        ("adapt", ADAPT, {"stages": [{**STAGE, "seconds": "1 s"}]}, "field stages.0.seconds is not a number"),
        ("adapt", ADAPT, {"control": {}}, "field control.plan is missing"),
    ],
)
def test_what_merge_and_adapt_left_is_refused_without_a_field(
    name: str, record: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    kind: Any = {"verify": Report, "adapt": AdaptRecord}[name]
    path = Path(f"{name}.json")
    record_of(record, kind, path, str)
    spoiled = {key: value for key, value in {**record, **change}.items() if value is not ...}
    with pytest.raises(RunDirectoryError, match=re.escape(f"{name}.json: {message}")):
        record_of(spoiled, kind, path, str)


@pytest.mark.parametrize(
    ("name", "record", "message"),
    [
        ("tokenizer/verify.json", VERIFY, "field checks is missing. Run `vocabopt merge` again. Or remove the file."),
        ("adapt.json", ADAPT, "field before is missing. Run `vocabopt adapt` again. Or remove the file."),
    ],
)
def test_a_record_comes_into_the_page_or_is_refused(
    run_dir: Path, name: str, record: dict[str, Any], message: str
) -> None:
    _spoil(run_dir, name, json.dumps(record))
    rebuild_report(run_dir)
    _spoil(run_dir, name, json.dumps({key: record[key] for key in record if key not in ("checks", "before")}))
    with pytest.raises(RunDirectoryError, match=re.escape(f"{name}: {message}")):
        rebuild_report(run_dir)


def test_a_field_or_column_that_is_missing_is_named(run_dir: Path) -> None:
    sweep = json.loads((run_dir / "sweep.json").read_text())
    (run_dir / "sweep.json").write_text(json.dumps({name: value for name, value in sweep.items() if name != "sets"}))
    with pytest.raises(RunDirectoryError, match=r"sweep.json: field sets is missing. Sweep again into this folder."):
        rebuild_report(run_dir)
    pl.read_parquet(run_dir / "curve.parquet").drop("left").write_parquet(run_dir / "curve.parquet")
    digest = hashlib.sha256((run_dir / "curve.parquet").read_bytes()).hexdigest()
    (run_dir / "sweep.json").write_text(json.dumps({**sweep, "curve_sha256": digest}))
    with pytest.raises(RunDirectoryError, match=r"curve.parquet: column left is missing."):
        rebuild_report(run_dir)


def test_a_curve_of_another_sweep_is_refused(run_dir: Path) -> None:
    pl.read_parquet(run_dir / "curve.parquet").head(10).write_parquet(run_dir / "curve.parquet")
    with pytest.raises(RunDirectoryError, match=r"is not the curve that sweep\.json was made from"):
        rebuild_report(run_dir)


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    result = vocabopt("report", tmp_path / "gone")
    assert (result.exit_code, result.output) == (
        2,
        f"Error: {tmp_path / 'gone'}: no such folder. Name the run directory of a sweep.\n",
    )
    (tmp_path / "empty").mkdir()
    result = vocabopt("report", tmp_path / "empty")
    assert result.exit_code == 2
    assert f"{tmp_path / 'empty'}: is not the folder of a sweep (no sweep.json). Name the one that" in result.output
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_analysis_in_the_run_s_folder_comes_into_the_page(run_dir: Path) -> None:
    text = CORPUS / "ko" / "news.txt"
    out = run_dir / "analysis"
    done = vocabopt(
        "analyze", "mistral-7b-v1", "--text", f"ko={text}", "--morpheme-documents", 0, "--out", out, "--quiet"
    )
    assert done.exit_code == 0, done.output
    assert vocabopt("report", run_dir, "--quiet").exit_code == 0
    record = json.loads((out / "analyze.json").read_text("utf-8"))
    (measured,) = record["tokenizers"]
    page = (run_dir / "report.html").read_text("utf-8")
    section = page.partition('<section id="analysis">')[2].partition("</section>")[0]
    assert f"{measured['sets']['ko']['n_tokens']:,}" in section
    assert f"{measured['sets']['ko']['tokens_per_word']:.3f}" in section
    record = {key: value for key, value in record.items() if key != "tokenizers"}
    (out / "analyze.json").write_text(json.dumps(record), encoding="utf-8")
    result = vocabopt("report", run_dir, "--quiet")
    assert result.exit_code == 2
    assert (
        "analyze.json: field tokenizers is missing. Run `vocabopt analyze` again. Or remove the file." in result.stderr
    )
