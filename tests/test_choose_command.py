"""`vocabopt choose`: re-decides on the files of a run alone, leaves a whole sweep.json, and names what is wrong."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import assert_refused, vocabopt

from vocabopt.choice.choose import rechoose
from vocabopt.choice.options import ChoiceOptions
from vocabopt.run_directory import read_sweep
from vocabopt.wording import reason, rule_sentence


@pytest.fixture
def run_dir(swept: Path, tmp_path: Path) -> Path:
    """The sweep of the sample corpus without anything that a choice does not need."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("sweep.json", "curve.parquet", "folds.parquet"):
        shutil.copy(swept / name, folder / name)
    return folder


def read(folder: Path) -> dict[str, Any]:
    sweep: dict[str, Any] = json.loads((folder / "sweep.json").read_text("utf-8"))
    return sweep


def test_without_options_it_is_the_choice_of_the_sweep(run_dir: Path) -> None:
    before = read(run_dir)
    assert vocabopt("choose", run_dir).exit_code == 0
    assert read(run_dir) == before


def test_it_needs_three_files_and_leaves_the_others_as_they_are(run_dir: Path) -> None:
    others = {name: (run_dir / name).read_bytes() for name in ("curve.parquet", "folds.parquet")}
    result = vocabopt("choose", run_dir, "--window", "100:300", "--train-tokens", "1B")
    assert result.exit_code == 0
    assert {path.name for path in run_dir.iterdir()} == {"sweep.json", *others}
    assert {name: (run_dir / name).read_bytes() for name in others} == others


def test_every_option_that_moves_the_answer_is_stored_and_printed(run_dir: Path) -> None:
    asked = {
        "window": "100:300", "set": "train", "train-tokens": "10M", "serve-tokens": "1B", "context-tokens": "2048",
        "min-exposure": "500", "careful-exposure": "5000", "used-share": "0.9", "marginal-step": "512",
        "marginal-share": "0.02", "train-memory": "640GB", "serve-memory": "24GiB", "batch-tokens": "4096",
        "serve-batch": "8", "bytes-per-param-train": "18", "bytes-per-param-serve": "1", "row-multiple": "64",
        "kneedle-sensitivity": "2.0", "kneedle-points": "17", "interval": "0.8", "resamples": "50", "seed": "7",
    }  # fmt: skip
    result = vocabopt("choose", run_dir, *(part for name, value in asked.items() for part in (f"--{name}", value)))
    assert result.exit_code == 0, result.output
    stored = read(run_dir)["choice"]["options"]
    assert stored == {
        "window": [100, 300], "text_set": "train", "decide_by": None, "train_tokens": 10**7, "serve_tokens": 10**9,
        "context_tokens": 2_048,
        "min_exposure": 500, "careful_exposure": 5_000, "used_share": 0.9, "marginal_step": 512, "marginal_share": 0.02,
        "train_memory_bytes": 640 * 10**9, "serve_memory_bytes": 24 * 2**30, "batch_tokens": 4_096, "serve_batch": 8,
        "bytes_per_param_train": 18, "bytes_per_param_serve": 1, "row_multiple": 64, "kneedle_sensitivity": 2.0,
        "kneedle_points": 17, "interval_share": 0.8, "n_resamples": 50, "seed": 7,
    }  # fmt: skip
    assert stored.keys() == ChoiceOptions().as_record().keys()
    line = next(line for line in result.output.splitlines() if line.startswith("Options: "))
    assert [name for name in asked if f"--{name} " not in line] == []
    assert "--window 100:300; --set train; --train-tokens 10,000,000; " in line
    assert line.endswith("--resamples 50; --seed 7; not stated: --decide-by.")


def test_the_table_has_every_rule_and_the_recommendation_comes_last(run_dir: Path) -> None:
    result = vocabopt("choose", run_dir, "--train-tokens", "1M")
    choice = read(run_dir)["choice"]
    assert choice["clipped_by"] == "exposure"
    for answer in choice["rules"]:
        assert answer["name"] in result.output
    assert result.output.splitlines()[-1] == reason(read_sweep(run_dir))
    assert json.loads(vocabopt("choose", run_dir, "--train-tokens", "1M", "--json").stdout) == choice


def test_exposure_is_the_last_token_seen_so_often_counted_from_the_curve_itself(run_dir: Path) -> None:
    sweep = rechoose(run_dir, ChoiceOptions(train_tokens=10**7))
    curve = pl.read_parquet(run_dir / "curve.parquet")
    scale = 10**7 / sweep.sets["train"].n_tokens_base
    last = 0
    for row in curve.iter_rows(named=True):
        saved_each_time = len(row["bytes"]) - 1 if row["kind"] == "char" else 1
        if row["saving"] / saved_each_time * scale >= 1_000:
            last = row["rank"]
    answer = next(answer for answer in sweep.choice.rules if answer.name == "exposure-1000")
    assert answer.n_added == last


def test_another_model_moves_rows_parameters_and_compute(run_dir: Path) -> None:
    before = read(run_dir)
    sweep = rechoose(run_dir, ChoiceOptions(), model="solar-10.7b")
    assert sweep.model is not None
    assert sweep.model.name == "solar-10.7b"
    assert sweep.choice.model_cost is not None
    assert sweep.choice.model_cost.n_layers == 48
    assert read(run_dir)["points"] == before["points"]  # SOLAR has Mistral's embedding
    sweep = rechoose(run_dir, ChoiceOptions(), model="qwen2.5-0.5b")
    assert sweep.base.n_rows == 151_936
    assert all(sweep.base.ratio_embedding(point.n_rows_total) == 1 for point in sweep.points)
    assert "padding rows that the table has already" in reason(sweep)


def test_a_plan_for_training_and_serving_gives_the_mix(run_dir: Path) -> None:
    """The mix lies between its parts: with little serving it is that of training, with much that of serving."""
    ratios = {}
    for serve_tokens in (1, 10**18 - 1):
        options = ChoiceOptions(train_tokens=10**9, serve_tokens=serve_tokens)
        sweep = rechoose(run_dir, options)
        rules = {answer.name: answer for answer in sweep.choice.rules}
        ratios[serve_tokens] = rules["flops-mix"].ratio_flops
        assert rules["flops-train"].ratio_flops == pytest.approx(ratios[1])
        assert f"{ratios[serve_tokens]:.1%} of the base's FLOPs" in rule_sentence(sweep, rules["flops-mix"])
    assert rules["flops-serve"].ratio_flops == pytest.approx(ratios[10**18 - 1])


def test_a_budget_without_its_unit_is_said_in_the_recommendation(run_dir: Path) -> None:
    result = vocabopt("choose", run_dir, "--serve-memory", "24")
    assert "Add no tokens: 0 is the most that the memory budget allows, as not even the base fits" in result.stdout
    result = vocabopt("choose", run_dir, "--serve-memory", "24GB")
    assert "not even the base fits" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            ["--window", "8000:40000"],
            r"--window 8000:40000: the curve ends at 559 added tokens, where the text ran dry",
        ),
        (["--window", "abc"], r"--window abc: write two sizes"),
        (["--set", "wiki"], r"--set wiki: this run has train, heldout"),
        (["--train-tokens", "many"], r"--train-tokens many: write a number"),
        (["--serve-memory", "24XB"], r"--serve-memory 24XB: write a number .* 80GB"),
        (["--model", "nowhere"], r"--model nowhere: no such preset"),
        (["--used-share", "95"], r"--used-share 95.0: must be above 0 and below 1"),
    ],
)
def test_bad_options_are_named_and_change_nothing(run_dir: Path, arguments: list[str], match: str) -> None:
    before = (run_dir / "sweep.json").read_bytes()
    result = vocabopt("choose", run_dir, *arguments)
    assert result.exit_code == 2
    assert re.search(match, result.stderr), result.stderr
    assert (run_dir / "sweep.json").read_bytes() == before


def test_a_folder_that_is_no_finished_sweep_is_named(run_dir: Path, tmp_path: Path) -> None:
    assert_refused(
        vocabopt("choose", tmp_path / "none"),
        r"none: no such folder\. Name the one that `vocabopt sweep",
        tmp_path / "none",
    )
    (run_dir / "curve.parquet").write_bytes(b"PAR1")
    assert "curve.parquet: cannot be read" in vocabopt("choose", run_dir).stderr
    (run_dir / "curve.parquet").unlink()
    assert "curve.parquet: cannot be read (No such file or directory)" in vocabopt("choose", run_dir).stderr


def test_a_curve_of_another_run_is_named(run_dir: Path) -> None:
    pl.read_parquet(run_dir / "curve.parquet").head(100).write_parquet(run_dir / "curve.parquet")
    result = vocabopt("choose", run_dir)
    assert result.exit_code == 2
    assert "is not the curve that sweep.json was made from" in result.stderr


def test_a_sweep_json_of_an_older_version_is_named_by_what_it_lacks(run_dir: Path) -> None:
    sweep = read(run_dir)
    del sweep["curve_sha256"]
    (run_dir / "sweep.json").write_text(json.dumps(sweep), encoding="utf-8")
    result = vocabopt("choose", run_dir)
    assert result.exit_code == 2
    assert "sweep.json: field curve_sha256 is missing. Sweep again into this folder." in result.stderr


def test_a_model_is_kept_and_a_page_of_the_choice_before_is_told(run_dir: Path) -> None:
    assert "The page still shows" not in vocabopt("choose", run_dir).stdout
    (run_dir / "report.html").write_text("", encoding="utf-8")
    result = vocabopt("choose", run_dir, "--model", "solar-10.7b")
    assert f"`vocabopt report {run_dir}` makes it anew" in result.stdout
    assert read(run_dir)["options"]["model"] == "solar-10.7b"
    assert vocabopt("choose", run_dir).exit_code == 0
    assert read(run_dir)["model"]["name"] == "solar-10.7b"


def test_what_moves_the_answer_and_is_no_option_is_stored_too(run_dir: Path) -> None:
    assert vocabopt("choose", run_dir).exit_code == 0
    fixed = read(run_dir)["choice"]["fixed"]
    assert (fixed["muv_step"], fixed["flops_rise"], fixed["short_window_start"]) == (1_000, 0.001, 0.2)
