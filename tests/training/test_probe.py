"""`vocabopt probe`: short runs of every init method and plan on the same text, ranked with their spread."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from command_line import assert_refused, replaced, vocabopt, written
from helpers import CORPUS

pytestmark = pytest.mark.slow

OPTIONS = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}",
    "--eval", f"en={CORPUS / 'en' / 'chat.txt'}",
    "--plan", "full", "--steps", 2, "--seeds", 2,
    "--context", 32, "--batch", "512tok", "--micro-batch", 8, "--learning-rate-factor", 20, "--precision", "fp32",
    "--eval-bytes", "2kB",
)  # fmt: skip


def probe(llama: Path, run_dir: Path, out: Path, init: str | None = None) -> dict[str, Any]:
    methods = ("--init", init) if init else ("--init", "decompose", "--init", "mean")
    result = vocabopt("probe", llama, "--run", run_dir, *OPTIONS, *methods, "--out", out)
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def probed(llama: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("probe") / "out"
    probe(llama, run_dir, out)
    return out


def record_of(out: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    return value


def test_every_method_runs_with_every_seed_on_the_same_text(probed: Path) -> None:
    cells = record_of(probed)["cells"]
    found = sorted((cell["init"], cell["seed"]) for cell in cells)
    assert found == [("decompose", 0), ("decompose", 1), ("mean", 0), ("mean", 1)]
    assert {cell["n_steps"] for cell in cells} <= {2, 3}
    for seed in (0, 1):
        of_seed = [cell for cell in cells if cell["seed"] == seed]
        assert len({(cell["bytes"], cell["tokens"]) for cell in of_seed}) == 1
    # Other seeds take other documents, and untrained rows that draw nothing are the same.
    decomposed = [cell for cell in cells if cell["init"] == "decompose"]
    assert decomposed[0]["initialised"] == decomposed[1]["initialised"]
    assert decomposed[0]["after"] != decomposed[1]["after"]


def test_rows_are_means_over_seeds_ranked_by_what_they_reach_on_target_text(probed: Path) -> None:
    record = record_of(probed)
    assert [row["reached"] for row in record["rows"]] == sorted(row["reached"] for row in record["rows"])
    for row in record["rows"]:
        reached = [cell["after"]["ko"] for cell in record["cells"] if cell["init"] == row["init"]]
        assert row["reached"] == pytest.approx(mean(reached), abs=1e-6)
        assert row["spread"] == pytest.approx(stdev(reached), abs=1e-6)


def test_a_probe_goes_on_with_what_is_there(llama: Path, run_dir: Path, probed: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (probed / "cells").glob("*.json")}
    record = probe(llama, run_dir, probed, init="eeve")
    after = {path.name: path.stat().st_mtime_ns for path in (probed / "cells").glob("*.json")}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"eeve-full-0.json", "eeve-full-1.json"}
    assert {row["init"] for row in record["rows"]} == {"decompose", "mean", "eeve"}
    assert [path for path in (probed / "cells").iterdir() if path.suffix != ".json"] == []


def test_cells_share_what_is_equal_in_them(probed: Path) -> None:
    """The base model once, new rows once a method whatever the seed, and what each cell has reached."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in (probed / "cells").glob("*.json")]
    inits = {cell["init"] for cell in cells}
    assert len(cells) > len(inits) > 1
    assert len(list((probed / "measured").glob("*.json"))) == 1 + len(inits) + len(cells)


def test_a_probe_with_other_options_is_refused(llama: Path, run_dir: Path, probed: Path) -> None:
    result = vocabopt("probe", llama, "--run", run_dir, *replaced(OPTIONS, "--out", probed, "--steps", 9))
    assert_refused(result, r"holds a probe with another --steps: 2 then, 9 now", probed / "nothing")


def test_a_refused_probe_reads_no_text_and_leaves_nothing(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for option, match in (
        (("--init", "nope"), r"--init nope: no such method. Choose random"),
        (("--plan", "nope"), r"--plan nope: no such plan"),
        (("--eval-bytes", "nope"), r"--eval-bytes nope: .* such as 1MB"),
        (("--optimizer", "adamw-8bit"), r"--optimizer adamw-8bit: needs bitsandbytes"),
    ):
        result = vocabopt("probe", llama, "--run", run_dir, *replaced(OPTIONS, "--out", out, *option))
        assert_refused(result, match, out)
        assert "read text" not in result.stderr
        assert not out.exists()
    # What only the text can tell is told with the first cell, which leaves nothing either.
    short = written(tmp_path / "short.txt", "\n".join(f"line {n}" for n in range(40)))
    same = ("--text", f"ko={short}", "--eval", f"x={short}")
    result = vocabopt("probe", llama, "--run", run_dir, *same, *OPTIONS[4:], "--out", out)
    assert_refused(result, "ko: no document of .* is left to train on", out)
    assert not out.exists() or list(out.iterdir()) == []


def test_a_plan_s_file_can_be_added_to_a_probe(llama: Path, run_dir: Path, probed: Path, tmp_path: Path) -> None:
    plan = written(tmp_path / "mine.toml", '[[stage]]\nname = "a"\nhead = "all"\n')
    command = ("probe", llama, "--run", run_dir, *OPTIONS, "--init", "mean", "--out", probed, "--plan", plan)
    assert vocabopt(*replaced(command, "--seeds", 1)).exit_code == 0
    plan.write_text(plan.read_text(encoding="utf-8").replace("head", "embeddings"), encoding="utf-8")
    assert_refused(vocabopt(*command), r"another .*mine.toml: its content changed", probed / "nothing")


def test_an_option_given_twice_is_refused(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    result = vocabopt(
        "probe", llama, "--run", run_dir, *OPTIONS, "--out", tmp_path / "out", "--init", "mean", "--init", "mean"
    )
    assert_refused(result, r"--init mean: is given twice", tmp_path / "out")
