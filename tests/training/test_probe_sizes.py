"""`vocabopt probe --sizes`: short runs at several sizes of a curve, and what they say of the size to take."""

import json
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from command_line import assert_refused, replaced, vocabopt, written
from conftest import N_MERGED
from helpers import CORPUS
from transformers import AutoConfig, AutoModelForCausalLM

from trainer import probe_sizes
from trainer.memory.predict import StepSettings, predict_plan
from trainer.plan import named_plan
from trainer.probe_sizes import Key, key_of, next_key
from vocabopt.choice.measured import SizeCell, SizesRecord
from vocabopt.records import read_record
from vocabopt.training_record import TextRecord

pytestmark = pytest.mark.slow

SIZES = (60, N_MERGED)
#: What an adaptation takes too.
SHARED = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--eval", f"en={CORPUS / 'en' / 'chat.txt'}", "--plan", "full",
    "--context", 32, "--micro-batch", 4, "--learning-rate-factor", 20, "--precision", "fp32", "--threads", 1,
)  # fmt: skip
OPTIONS = (*SHARED, "--steps", 3, "--seeds", 2, "--batch", "2kB", "--eval-bytes", "2kB", "--equal", "both")
COMMAND = ("--sizes", ",".join(map(str, SIZES)), *OPTIONS)


@pytest.fixture(scope="module")
def probed(llama: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    out = tmp_path_factory.mktemp("probe") / "out"
    result = vocabopt("probe", llama, "--run", run_dir, *COMMAND, "--out", out)
    assert result.exit_code == 0, result.output
    assert "At equal training FLOPs the best size is" in result.stdout
    assert "The other rules, with their bits per byte more than the best: knee" in result.stdout
    return out


def record_of(out: Path) -> SizesRecord:
    return read_record(out / "sizes.json", SizesRecord)


def cells_of(out: Path) -> dict[Key, SizeCell]:
    return {key_of(cell): cell for cell in record_of(out).cells}


def without_seconds(path: Path) -> dict[str, Any]:
    """A cell without what the clock says, and what memory the machine gave."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return {name: value for name, value in values.items() if name not in ("seconds", "peak_bytes")}


# --- What a cell is ---------------------------------------------------------------------------------------------------


def test_every_size_runs_with_every_seed_and_the_original_tokenizer_once_a_seed(probed: Path) -> None:
    every = {Key(size, equal, seed) for size in SIZES for equal in ("flops", "text") for seed in (0, 1)}
    assert cells_of(probed).keys() == every | {Key(0, None, seed) for seed in (0, 1)}
    assert [path.name for path in (probed / "cells").iterdir() if path.suffix != ".json"] == []


def test_cells_are_what_an_adaptation_and_its_control_reach_on_the_same_text(
    llama: Path, run_dir: Path, probed: Path, tmp_path: Path, one_thread: None
) -> None:
    """`adapt --control` trains the run's merged tokenizer, of 300 tokens, and the original one on the same bytes."""
    cells = cells_of(probed)
    control, merged = cells[Key(0, None, 0)], cells[Key(N_MERGED, "text", 0)]
    budget = ("--budget", f"{control.budget_bytes / 1000:.3f}kB", "--batch", "2kB", "--eval-bytes", "2kB")
    command = (*SHARED, *budget, "--control", "--samples", 0, "--report-to", "none", "--out", tmp_path / "adapted")
    result = vocabopt("adapt", llama, "--run", run_dir, *command)
    assert result.exit_code == 0, result.output
    adapted = json.loads((tmp_path / "adapted" / "adapt.json").read_text("utf-8"))
    for cell, arm in ((control, adapted["control"]), (merged, adapted)):
        assert cell.after == arm["after"]
        assert cell.tokens == sum(stage["tokens"] for stage in arm["stages"])
        assert cell.bytes == sum(stage["bytes"] for stage in arm["stages"])
    for name, text in adapted["texts"].items():
        assert merged.texts[name].n_tokens_after == text["n_tokens_after"]
        assert control.texts[name].n_tokens_after == merged.texts[name].n_tokens_before


def test_at_equal_text_all_sizes_read_the_same_bytes_in_as_many_steps(probed: Path) -> None:
    for seed in (0, 1):
        of_seed = [cell for cell in cells_of(probed).values() if cell.seed == seed and cell.equal != "flops"]
        assert len(of_seed) == 3
        assert len({cell.bytes for cell in of_seed}) == 1
        # Blocks are whole, so a step may hold some bytes more or fewer.
        assert {cell.n_steps for cell in of_seed} <= {3, 4}


def test_at_equal_flops_what_was_trained_takes_the_flops_of_the_control_within_a_step(
    llama: Path, probed: Path
) -> None:
    """Counted by the predictor on the tokens that each run says it has read."""
    cells = cells_of(probed)
    config = AutoConfig.from_pretrained(llama)
    settings = StepSettings(context_tokens=32, micro_batch=1, accumulates=False, precision="fp32", device="cpu")

    def counted(cell: SizeCell) -> int:
        plan = named_plan("full") if cell.n_added else named_plan("full").with_own_tokenizer()
        (cost,) = predict_plan(config, plan, settings, n_rows=max(2_048, 2_000 + cell.n_added), n_new=cell.n_added)
        return cost.training_flops(cell.tokens)

    for key, cell in cells.items():
        assert cell.flops == counted(cell)
        if key.equal == "flops":
            wanted = counted(cells[Key(0, None, key.seed)])
            assert cell.flops_wanted == wanted
            assert abs(counted(cell) - wanted) <= counted(cell) / cell.n_steps
            assert cell.bytes > cells[key._replace(equal="text")].bytes


def test_tokens_per_byte_are_of_target_text_and_fall_with_the_size(probed: Path) -> None:
    record = record_of(probed)
    for row in record.rows:
        texts = next(cell.texts for cell in record.cells if cell.n_added == row.n_added)
        assert row.tokens_per_byte == pytest.approx(texts["ko"].n_tokens_after / texts["ko"].n_bytes, abs=1e-6)
    assert all(later < earlier for earlier, later in pairwise(row.tokens_per_byte for row in record.rows_of("text")))


def test_rows_are_means_over_seeds_and_size_0_stands_in_both_tables(probed: Path) -> None:
    record = record_of(probed)
    for equal in ("flops", "text"):
        rows = record.rows_of(equal)
        assert [row.n_added for row in rows] == [0, *SIZES]
        for row in rows:
            of_row = [c for c in record.cells if c.n_added == row.n_added and c.equal in (equal, None)]
            assert row.reached == pytest.approx(mean(cell.after["ko"] for cell in of_row), abs=1e-6)
            assert row.base == pytest.approx(mean(cell.after["en"] for cell in of_row), abs=1e-6)


def test_serving_costs_what_torch_counts_for_the_tokens_of_a_byte(probed: Path, llama: Path) -> None:
    """The body's and the head's products, and attention over the context that the run's choice counts with."""
    model = AutoModelForCausalLM.from_pretrained(llama)
    body = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name)
    for row in record_of(probed).rows_of("flops"):
        (base,) = (r for r in record_of(probed).rows_of("flops") if r.n_added == 0)
        context = 4_096 * row.tokens_per_byte / base.tokens_per_byte
        attention = 4 * 2 * 2 * 16 * context  # blocks, heads, width of a head
        forward = 2 * body + attention + 2 * 32 * row.n_rows
        assert row.serve_flops_per_byte == pytest.approx(row.tokens_per_byte * forward, rel=1e-3)


# --- Going on ---------------------------------------------------------------------------------------------------------


def test_a_stopped_probe_goes_on_to_the_same_cells(
    llama: Path, run_dir: Path, probed: Path, tmp_path: Path, one_thread: None
) -> None:
    """As if it had been killed in its third cell: what is there stays byte for byte, the rest comes out the same."""
    out = tmp_path / "out"
    shutil.copytree(probed, out)
    left = [out / "cells" / f"{name}.json" for name in ("300-flops-0", "0-1", "60-text-1")]
    for path in left:
        path.unlink()
    written(out / "cells" / ".0-1.work" / "text" / "1" / "tokens.bin", b"half")
    stayed = {path: path.read_bytes() for path in (out / "cells").glob("*.json")}
    result = vocabopt("probe", llama, "--run", run_dir, *COMMAND, "--out", out)
    assert result.exit_code == 0, result.output
    assert {path: path.read_bytes() for path in stayed} == stayed
    for path in left:
        assert without_seconds(path) == without_seconds(probed / "cells" / path.name)
    assert record_of(out).fits == record_of(probed).fits


def test_a_probe_that_was_killed_while_it_merged_goes_on(
    llama: Path, run_dir: Path, probed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """The first size is merged, the second one is not; then with other options, as nothing was trained yet."""
    merge, merged = probe_sizes.merge_run, []

    def merge_one(*given: Any, **options: Any) -> Any:
        if merged:
            raise KeyboardInterrupt
        merged.append(options["n_added"])
        return merge(*given, **options)

    monkeypatch.setattr(probe_sizes, "merge_run", merge_one)
    out = tmp_path / "out"
    command = ("probe", llama, "--run", run_dir, *COMMAND, "--out", out)
    vocabopt(*command)
    assert [path.name for path in (out / "tokenizers").iterdir()] == [str(SIZES[0])]
    monkeypatch.undo()
    result = vocabopt(*replaced(command, "--steps", 2, "--seeds", 1, "--equal", "text"))
    assert result.exit_code == 0, result.output
    assert cells_of(out).keys() == {Key(0, None, 0), *(Key(size, "text", 0) for size in SIZES)}


def test_a_probe_with_other_options_or_another_curve_is_refused(
    llama: Path, run_dir: Path, probed: Path, tmp_path: Path
) -> None:
    command = ("probe", llama, "--run", run_dir, *COMMAND, "--out", probed)
    assert_refused(vocabopt(*replaced(command, "--steps", 4)), "holds a probe with another --steps: 3 then", tmp_path)
    value = json.loads((probed / "sizes.json").read_text("utf-8"))
    out = tmp_path / "out"
    shutil.copytree(probed, out)
    value["inputs"]["curve"] = "0" * 64
    (out / "sizes.json").write_text(json.dumps(value), "utf-8")
    result = vocabopt(*replaced(command, "--out", out))
    assert_refused(result, "holds a probe of another curve", tmp_path / "nothing")


# --- Seconds ----------------------------------------------------------------------------------------------------------


def cell(n_added: int, seed: int, bits: float) -> SizeCell:
    text = TextRecord(role="target", n_documents=1, n_bytes=10, n_tokens_before=5, n_tokens_after=4)
    return SizeCell(
        n_added=n_added, equal="flops" if n_added else None, seed=seed, texts={"ko": text}, after={"ko": bits},
        n_rows=1, n_steps=1, budget_bytes=1, bytes=1, tokens=1, passes=1.0, flops=1, flops_wanted=1, seconds=1.0,
        peak_bytes=0,
    )  # fmt: skip


def in_order(bits: Mapping[int, float], n_seeds: int) -> list[tuple[int, int]]:
    """(size, seed) of every run in the order of --budget-seconds; a seed moves all sizes alike, and each a little."""
    wanted = [Key(size, "flops" if size else None, seed) for seed in range(n_seeds) for size in bits]
    done: list[SizeCell] = []
    while (key := next_key(wanted, done, adaptive=True)) is not None:
        noise = np.random.default_rng((key.n_added, key.seed)).normal(0, 0.001)
        done.append(cell(key.n_added, key.seed, bits[key.n_added] + 0.1 * key.seed + float(noise)))
    return [(one.n_added, one.seed) for one in done]


def test_seconds_go_to_every_size_first_and_then_to_those_near_the_best() -> None:
    order = in_order({0: 3.0, 1_000: 2.0, 2_000: 1.5, 4_000: 1.501, 8_000: 1.502, 16_000: 2.5}, n_seeds=3)
    assert order[:6] == [(0, 0), (1_000, 0), (2_000, 0), (4_000, 0), (8_000, 0), (16_000, 0)]
    near = {2_000, 4_000, 8_000}
    # One run tells nothing of chance, so the best sizes come next; the far ones wait to the end.
    assert {size for size, _ in order[6:12]} == near
    assert {size for size, _ in order[12:]} == {0, 1_000, 16_000}
    assert len(order) == len(set(order)) == 18


def test_spent_seconds_leave_runs_for_the_same_command(
    llama: Path, run_dir: Path, probed: Path, tmp_path: Path, one_thread: None
) -> None:
    """The cells that are there took longer, each, than what is given."""
    out = tmp_path / "out"
    shutil.copytree(probed, out)
    (out / "cells" / "300-flops-1.json").unlink()
    result = vocabopt("probe", llama, "--run", run_dir, *COMMAND, "--out", out, "--budget-seconds", 0.001)
    assert result.exit_code == 0, result.output
    assert "--budget-seconds 0.001: are spent; 1 of 10 runs are left. The same command goes on." in result.stderr
    assert Key(300, "flops", 1) not in cells_of(out)


def test_no_time_for_a_single_run_is_refused_and_leaves_nothing(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = vocabopt("probe", llama, "--run", run_dir, *COMMAND, "--out", out, "--budget-seconds", 0.001)
    assert_refused(result, r"--budget-seconds 0.001: no time for one run: merging and reading took \d+ s", out)
    assert not out.exists() or list(out.iterdir()) == []


# --- Bad input --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_probed_is_refused_and_leaves_nothing(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("probe", llama, "--run", run_dir, *COMMAND, "--out", out)
    for more, match in (
        (("--sizes", "60,90000"), r"--sizes 90000: beyond the curve of .*: the text ran dry at [\d,]+ added tokens"),
        (("--sizes", "0"), r"--sizes 0: is the original tokenizer alone"),
        (("--sizes", "many"), r"--sizes many: write start:stop:step"),
        (("--init", "mean", "--init", "eeve"), r"--init mean, eeve: --sizes compares sizes by one of them"),
        (("--plan", "redwhale"), r"--plan full, redwhale: --sizes compares sizes by one of them"),
    ):
        assert_refused(vocabopt(*replaced(command, *more)), match, out)
        assert not out.exists() or list(out.iterdir()) == []
    without_run = [value for value in command if value not in ("--run", run_dir)]
    result = vocabopt(*without_run, "--tokenizer", run_dir / "tokenizer")
    assert_refused(result, r"--sizes: are those of a sweep's curve. Name its folder with --run DIR", out)
    result = vocabopt("probe", llama, "--run", run_dir, *OPTIONS, "--out", out, "--budget-seconds", 5)
    assert_refused(result, r"--budget-seconds 5: is for a probe of sizes. Name --sizes", out)
    result = vocabopt("probe", llama, "--run", run_dir, *replaced(OPTIONS, "--equal", "flops"), "--out", out)
    assert_refused(result, r"--equal flops: is for a probe of sizes. Name --sizes", out)


def test_a_model_with_another_tokenizer_than_the_run_s_base_is_refused(
    llama: Path, folders: Path, run_dir: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(llama, other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders / "gpt2-like" / name, other / name)
    result = vocabopt("probe", other, "--run", run_dir, *COMMAND, "--out", tmp_path / "out")
    assert_refused(result, r"does not extend the tokenizer of .*other: .* have another id or none", tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
