"""What an adaptation measures, how often, and which of its models it keeps."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from command_line import vocabopt
from helpers import CORPUS
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer

from trainer.adaptation import AdaptOptions, adapt
from trainer.adaptation.table import model_card, notes, stages_table
from trainer.memory.machine import highest_bytes, of_arm
from trainer.memory.plan_report import PlanOptions, plan_report
from trainer.stages.settings import StepBatch
from vocabopt.console import Advance, Console, Unit
from vocabopt.errors import ForgettingError, RunDirectoryError
from vocabopt.folder import write_json_atomic
from vocabopt.records import write_record
from vocabopt.training_record import AdaptRecord

pytestmark = pytest.mark.slow

PLAN = '[[stage]]\nname = "a"\nembeddings = "all"\nlearning_rate = 1e-2\n[[stage]]\nname = "b"\nblocks = "all"\n'
#: A look at a model, by which its head and its attention are found out, has no more tokens than that.
LOOK_TOKENS = 24


class Watching(Console):
    """Keeps the steps with what they were told, and the most bytes of weights below a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(quiet=True)
        self.folder, self.steps, self.highest_bytes = folder, list[tuple[str, int | None, list[int]]](), 0

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: Unit = "tokens", before: int = 0) -> Iterator[Advance]:
        told: list[int] = []
        self.steps.append((name, total, told))
        self._look()
        with super().step(name, total, unit, before):
            yield lambda done, note="": told.append(done)
        self._look()

    def _look(self) -> None:
        files = {path.stat().st_ino: path.stat().st_size for path in self.folder.rglob("*.safetensors")}
        self.highest_bytes = max(self.highest_bytes, sum(files.values()))

    @property
    def measured(self) -> list[str]:
        return [name for name, _, _ in self.steps if name.startswith("measure ")]


@contextmanager
def counted_tokens() -> Iterator[list[int]]:
    """Tokens of every forward pass without gradients, whichever model makes it."""
    counted: list[int] = []

    def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        if type(module).__name__ == "LlamaModel" and not torch.is_grad_enabled():
            ids = kwargs.get("input_ids", args[0] if args else None)
            if ids.numel() > LOOK_TOKENS:
                counted.append(ids.numel())

    handle = nn.modules.module.register_module_forward_hook(hook, with_kwargs=True)
    try:
        yield counted
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def options(llama: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AdaptOptions:
    folder = tmp_path_factory.mktemp("measured")
    plan = folder / "two.toml"
    plan.write_text(PLAN, encoding="utf-8")
    return AdaptOptions(
        model=str(llama), run=run_dir, out=folder / "stage", texts={"ko": str(CORPUS / "ko" / "news.txt")},
        evals={"en": str(CORPUS / "en" / "recipe.txt")}, plan=str(plan), context_tokens=32, batch="1024tok",
        micro_batch=8, precision="fp32", n_samples=0, report_to=(), keep_stages="all", device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def every_stage(options: AdaptOptions) -> tuple[AdaptRecord, Watching, list[int]]:
    console = Watching(options.out)
    with counted_tokens() as counted:
        return adapt(options, console), console, counted


def test_every_measuring_tells_how_much_of_its_text_is_done(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]]
) -> None:
    record, console, _ = every_stage
    assert console.measured == [
        "measure the base model", "measure after initialisation", "measure after a", "measure after b",
    ]  # fmt: skip
    n_bytes = sum(text.n_bytes for text in record.texts.values())
    for name, total, told in console.steps:
        if name.startswith("measure "):
            assert total == n_bytes
            assert len(told) > 1
            assert told == sorted(told)
            assert told[-1] == n_bytes


@pytest.fixture(scope="module")
def first_and_last(options: AdaptOptions) -> tuple[AdaptRecord, Watching, list[int]]:
    ended = replace(options, out=options.out.with_name("end"), eval_every="end")
    console = Watching(ended.out)
    with counted_tokens() as counted:
        return adapt(ended, console), console, counted


def test_first_and_last_alone_are_measured_by_half_the_passes(
    every_stage: tuple[AdaptRecord, Watching, list[int]],
    first_and_last: tuple[AdaptRecord, Watching, list[int]],
) -> None:
    whole, _, of_stages = every_stage
    record, console, of_ends = first_and_last
    assert console.measured == ["measure the base model", "measure after b"]
    # The same batches of the same texts: once under the base's tokenizer, then under the merged one.
    n_merged = (len(of_stages) - len(of_ends)) // 2
    base, merged = of_ends[:-n_merged], of_ends[-n_merged:]
    assert of_stages == base + 3 * merged
    assert min(len(base), len(merged)) > 1
    assert (record.before, record.after) == (whole.before, whole.after)
    assert record.stages[0].bits_per_byte == record.initialised == {}
    # What is not measured is counted all the same, and no page falls over it.
    assert record.texts == whole.texts
    stages_table(record, 100)
    assert notes(record)
    assert "| a |" in model_card(record)


def test_the_page_shows_a_run_that_was_measured_first_and_last(
    run_dir: Path, first_and_last: tuple[AdaptRecord, Watching, list[int]], tmp_path: Path
) -> None:
    """Finished, and while its last stage still runs, when nothing but the base was measured."""
    record, _, _ = first_and_last
    running = msgspec.structs.replace(record, status="running", stages=record.stages[:1], after={}, weights=None)
    run = shutil.copytree(run_dir, tmp_path / "run")
    for shown in (record, running):
        write_record(run / "adapt.json", shown)
        result = vocabopt("report", run)
        assert result.exit_code == 0, result.output
        assert "The model, adapted" in (run / "report.html").read_text(encoding="utf-8")


def test_tokens_of_texts_are_those_that_the_tokenizers_give(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]]
) -> None:
    record, _, _ = every_stage
    documents = (CORPUS / "en" / "recipe.txt").read_text(encoding="utf-8").splitlines()
    for folder, field in ((options.model, "n_tokens_before"), (options.tokenizer_dir, "n_tokens_after")):
        encoded = AutoTokenizer.from_pretrained(folder)([d for d in documents if d.strip()], add_special_tokens=False)
        assert getattr(record.texts["en"], field) == sum(map(len, encoded["input_ids"]))


def test_a_run_that_begins_again_measures_nothing_that_was_measured(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]]
) -> None:
    """Killed after its measurements and before anything else was written: not one pass over a text is made again."""
    whole, _, _ = every_stage
    out = options.out.with_name("again")
    shutil.copytree(options.out / "stages" / "measured", out / "stages" / "measured")
    console = Watching(out)
    with counted_tokens() as counted:
        record = adapt(replace(options, out=out), console)
    assert counted == []
    assert console.measured == []
    for field in ("before", "initialised", "after"):
        assert getattr(record, field) == getattr(whole, field)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("file", "damage", "match"),
    [
        ("stages/0-init/start.json", lambda start: start.pop("before"), "field before is missing. Remove it and the"),
        ("stages/0-init/start.json", lambda start: start.update(more=1), None),
        ("stages/1-a/stage.json", lambda run: run["curve"][0].pop("loss"), r"field curve.0.loss is missing. Train"),
        ("stages/1-a/stage.json", lambda run: run.update(more=1), None),
        ("stages/1-a/scores.json", lambda scores: scores.pop("bits_per_byte"), "field bits_per_byte is missing."),
        ("stages/options.json", lambda options: options.pop("inputs"), "field inputs is missing. Choose another"),
        ("adapt.json", lambda record: record.pop("status"), "field status is missing. Remove it: --resume"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_a_run_that_lacks_a_field_is_refused_by_name(
    file: str,
    damage: Change,
    match: str | None,
    options: AdaptOptions,
    every_stage: tuple[AdaptRecord, Watching, list[int]],
    tmp_path: Path,
) -> None:
    """And one that has a field more is read all the same."""
    whole, _, _ = every_stage
    out = shutil.copytree(options.out, tmp_path / "out")
    record = json.loads((out / file).read_text(encoding="utf-8"))
    damage(record)
    write_json_atomic(out / file, record)
    if file != "adapt.json":
        (out / "adapt.json").unlink()
    if match is None:
        assert adapt(replace(options, out=out), resume=True).after == whole.after
        return
    with pytest.raises(RunDirectoryError, match=f"{Path(file).name}: {match}"):
        adapt(replace(options, out=out), resume=True)


def test_a_measurement_that_lacks_a_text_is_refused_by_name(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]], tmp_path: Path
) -> None:
    measured = shutil.copytree(options.out / "stages" / "measured", tmp_path / "measured")
    for path in measured.iterdir():
        record = json.loads(path.read_text(encoding="utf-8"))
        del record["texts"]["en"]["n_bytes"]
        write_json_atomic(path, record)
    with pytest.raises(RunDirectoryError, match=r"field texts.en.n_bytes is missing. Remove it: it is measured again"):
        adapt(replace(options, out=tmp_path / "out"), measured=measured)


def test_processes_go_the_way_of_the_first_one_whatever_the_others_find(tmp_path: Path) -> None:
    """Two processes, of which only the first finds what was kept: both have it, and neither computes or waits.

    So it is on several devices, whose names are not the same.
    """
    program = Path(__file__).with_name("measured_processes.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, str(program), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    assert first == second
    assert first["kept"] == first["measured"]
    assert first["n_passes"] == 0
    # The second process wrote nothing.
    assert [len([*(tmp_path / rank).iterdir()]) for rank in "01"] == [1, 0]


def test_the_control_takes_the_base_s_measurement_and_other_texts_are_measured(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]]
) -> None:
    """The same run with a control measures the control's stages only; on another text it measures everything."""
    measured = options.out / "stages" / "measured"
    for change, expected in (
        ({"control": True}, ["measure after a", "measure after b"]),
        ({"eval_bytes": "3kB", "eval_every": "end"}, ["measure the base model", "measure after b"]),
    ):
        changed = replace(options, out=options.out.with_name("+".join(change)), **change)  # type: ignore[arg-type]
        console = Watching(changed.out)
        adapt(changed, console, measured=measured)
        assert console.measured == expected


def test_plan_counts_the_measurements_that_adapt_makes(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]]
) -> None:
    _, console, _ = every_stage
    asked = PlanOptions(model=options.model, run=options.run, budget="1Mtok", plan=options.plan, context_tokens=32,
                        precision="fp32", device="cpu")  # fmt: skip
    assert plan_report(asked).measuring.n_times == len(console.measured)
    assert plan_report(replace(asked, eval_every="end")).measuring.n_times == 2


# --- Which models stay ----------------------------------------------------------------------------------------------


def models_in(out: Path) -> list[str]:
    return sorted(str(path.parent.parent.relative_to(out)) for path in out.rglob("model/config.json"))


def test_the_models_of_all_stages_stay_where_it_is_asked_for(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]]
) -> None:
    assert models_in(options.out) == [".", "stages/0-init", "stages/1-a", "stages/2-b"]


def test_only_the_last_model_stays_and_the_base_s_is_never_touched(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]]
) -> None:
    whole, _, _ = every_stage
    base = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(options.model).iterdir()}
    out = options.out.with_name("last")
    console = Watching(out)
    record = adapt(replace(options, out=out, keep_stages="last", control=True), console)
    assert models_in(out) == [".", "control/stages/2-b", "stages/2-b"]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(options.model).iterdir()} == base
    assert [stage.bits_per_byte for stage in record.stages] == [stage.bits_per_byte for stage in whole.stages]
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (out, options.out))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    # At most two models of one arm at once, beside the last one of the other.
    of_one = (options.out / "model" / "model.safetensors").stat().st_size
    assert 2 * of_one < console.highest_bytes <= 3 * of_one
    # A run that is gone on with finds what it needs, and has nothing to do.
    assert adapt(replace(options, out=out, control=True, keep_stages="last"), resume=True).after == record.after


def test_a_run_that_was_stopped_goes_on_with_the_models_that_are_left(
    options: AdaptOptions, every_stage: tuple[AdaptRecord, Watching, list[int]]
) -> None:
    """Stopped by the gate after its first stage, whose model and the one before it stay; then to the same weights."""
    whole, _, _ = every_stage
    out = options.out.with_name("stopped")
    stopping = replace(options, out=out, keep_stages="last", max_forgetting=0.0, base_evals=("en",))
    rises = whole.stages[0].bits_per_byte["en"] > whole.before["en"]
    assert rises, "this test needs a stage that forgets"
    with pytest.raises(ForgettingError):
        adapt(stopping)
    assert models_in(out) == ["stages/0-init", "stages/1-a"]
    adapt(replace(stopping, max_forgetting=None), resume=True)
    assert models_in(out) == [".", "stages/2-b"]
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (out, options.out))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_the_most_that_models_take_at_once_by_hand() -> None:
    """Four stages of 10 bytes, the first with 7 of checkpoints beside its model."""
    stages = [7, 0, 0, 0]
    for keeps_all, frees_start, expected in ((True, True, 50), (False, True, 27), (False, False, 30)):
        written = of_arm(10, stages, starts=True, keeps_all=keeps_all, frees_start=frees_start)
        assert highest_bytes(written) == expected


# --- What a batch comes to ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "n_tokens", "micro_batch", "n_processes", "taken", "told"),
    [
        ("1024tok", 1024, 8, 1, (1024, 8), []),
        ("8tok", 8, 1, 1, (32, 1), ["--batch 8tok: 8 tokens are less than one sequence of 32 tokens"]),
        ("8tok", 8, 4, 1, (32, 1), ["--batch 8tok: 8 tokens", "--micro-batch 4: .* 1 sequence, fewer than one"]),
        ("64tok", 64, 4, 1, (64, 2), ["--micro-batch 4: .* has 2 sequences, fewer than one micro-batch"]),
        ("64tok", 64, 1, 4, (128, 1), ["64 tokens are less than one sequence of 32 tokens on each of 4 processes"]),
        ("100tok", 100, 3, 1, (96, 3), ["--batch 100tok: is no whole number of sequences of 32 tokens"]),
        ("1kB", 100, 3, 1, (96, 3), []),
        ("224tok", 224, 4, 1, (224, 1), ["--micro-batch 4: does not divide the 7 sequences of a step"]),
    ],
)
def test_a_step_that_is_not_what_was_asked_for_is_told(
    batch: str, n_tokens: int, micro_batch: int, n_processes: int, taken: tuple[int, int], told: list[str]
) -> None:
    step = StepBatch(asked_tokens=n_tokens, asked_micro_batch=micro_batch, context_tokens=32, n_processes=n_processes)
    assert (step.n_tokens, step.micro_batch) == taken
    found = step.notes(batch)
    assert len(found) == len(told)
    for pattern, sentence in zip(told, found, strict=True):
        assert re.search(pattern, sentence), sentence


def test_adapt_and_plan_tell_a_batch_below_one_micro_batch(
    options: AdaptOptions, run_dir: Path, llama: Path, tmp_path: Path
) -> None:
    more = ("--run", run_dir, "--plan", "full", "--context", 32, "--batch", "64tok", "--micro-batch", 4)
    told = (
        "--micro-batch 4: a step of --batch 64tok has 2 sequences, fewer than one micro-batch. 2 at once are computed."
    )
    result = vocabopt(
        "adapt", llama, *more, "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--budget", "2kB", "--samples", 0,
        "--report-to", "none", "--out", tmp_path / "out", "--eval-every", "end", "--max-forgetting", 9,
        "--eval", f"en={CORPUS / 'en' / 'recipe.txt'}", "--base-eval", "en",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert told in result.stderr
    assert "--max-forgetting: is judged after the last stage only" in result.stderr
    result = vocabopt("plan", llama, *more, "--budget", "1Mtok", "--device", "cpu")
    assert told in result.stdout
