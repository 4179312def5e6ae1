"""`vocabopt adapt` from its inputs to the finished folder: what it writes, what it keeps, what it refuses."""

import json
import math
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import assert_refused, command_of, replaced, started, vocabopt
from conftest import N_MERGED
from helpers import CORPUS
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from vocabopt.console import Console
from vocabopt.verification import VerifyOptions, verify

OPTIONS = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}",
    "--replay", f"en={CORPUS / 'en' / 'news.txt'}:0.2",
    "--context", 32, "--batch", "1024tok", "--micro-batch", 8, "--lora-rank", 2, "--learning-rate-factor", 20,
    "--precision", "fp32", "--sample-tokens", 4, "--report-to", "none",
)  # fmt: skip


def adapt(llama: Path, run_dir: Path, out: Path, *more: object) -> dict[str, Any]:
    result = vocabopt("adapt", llama, "--run", run_dir, *replaced(OPTIONS, "--out", out, "--quiet", *more))
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads((out / "adapt.json").read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def adapted(llama: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished adaptation, with its control."""
    out = tmp_path_factory.mktemp("adapt") / "out"
    adapt(llama, run_dir, out, "--control", "--keep-stages", "all")
    return out


@pytest.fixture(scope="module")
def record(adapted: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((adapted / "adapt.json").read_text(encoding="utf-8"))
    return value


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_model_loads_in_plain_transformers_without_adapters_or_code(adapted: Path) -> None:
    model, info = AutoModelForCausalLM.from_pretrained(adapted / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(model) is LlamaForCausalLM
    names = set(weights(adapted / "model"))
    assert not [name for name in names if "lora" in name or "parametriz" in name]
    assert [path for path in (adapted / "model").iterdir() if path.suffix == ".py"] == []
    # Others may read it, as any new file here.
    assert len({path.stat().st_mode & 0o777 for path in (adapted / "model").iterdir()}) == 1


def test_the_folder_holds_the_merged_tokenizer_byte_for_byte_and_passes_verify(
    llama: Path, run_dir: Path, adapted: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (adapted / "model" / name).read_bytes() == (run_dir / "tokenizer" / name).read_bytes()
    report = verify(str(llama), str(adapted / "model"), VerifyOptions(), Console(quiet=True))
    assert report.passed, [check.name for check in report.checks if check.status == "fail"]
    tokenizer = AutoTokenizer.from_pretrained(adapted / "model")
    model = AutoModelForCausalLM.from_pretrained(adapted / "model")
    text = (CORPUS / "ko" / "chat.txt").read_text(encoding="utf-8").splitlines()[0]
    assert torch.isfinite(model(**tokenizer(text[:20], return_tensors="pt")).logits).all()


def test_the_record_holds_what_was_trained_and_measured(record: dict[str, Any], adapted: Path) -> None:
    assert record["format_version"] == 1
    assert record["status"] == "finished"
    assert (record["n_added"], record["plan"], record["init"]) == (N_MERGED, "redwhale", "decompose")
    assert [stage["name"] for stage in record["stages"]] == ["embeddings-head", "odd-blocks", "even-blocks", "lora"]
    assert {name: text["role"] for name, text in record["texts"].items()} == {"ko": "target", "en": "base"}
    for scores in (record["before"], record["initialised"], record["after"], record["control"]["after"]):
        assert set(scores) == {"ko", "en"}
        assert all(0 < value < 16 for value in scores.values())
    assert record["after"] == record["stages"][-1]["bits_per_byte"]
    assert record["after"]["ko"] < record["initialised"]["ko"]
    assert len(record["samples"]) > 0
    # The control goes on from the same beginnings.
    for ours, theirs in zip(record["samples"], record["control"]["samples"], strict=True):
        assert (ours["prompt"], ours["before"]) == (theirs["prompt"], theirs["before"])
    assert all(stage["peak_bytes"] < record["full_training"]["peak_bytes"] for stage in record["stages"])
    assert (adapted / "model" / "README.md").read_text(encoding="utf-8").startswith("---\nbase_model: base\n")


def test_every_arm_reads_the_same_text(record: dict[str, Any]) -> None:
    ours, control = record["stages"], record["control"]["stages"]
    assert [stage["bytes"] for stage in ours] == [stage["bytes"] for stage in control]
    assert sum(stage["bytes"] for stage in ours) == record["training_text"]["n_bytes"]
    assert all(mine["tokens"] < theirs["tokens"] for mine, theirs in zip(ours, control, strict=True))


def test_numbers_of_the_record_are_those_of_eval_on_the_folders(
    llama: Path, run_dir: Path, adapted: Path, record: dict[str, Any]
) -> None:
    """The held-out text is found again by the sweep's own rule, and scored document by document with torch alone."""
    from trainer.data import HeldOut, held_out_documents
    from vocabopt.text.corpus import named_set
    from vocabopt.text.readers import ReadOptions

    text_set = named_set("ko", str(CORPUS / "ko" / "news.txt"), "eval")
    documents = list(held_out_documents(text_set, ReadOptions(), HeldOut(share=0.1, seed=0)))
    for folder, expected in ((llama, record["before"]["ko"]), (adapted / "model", record["after"]["ko"])):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        nats = 0.0
        for document in documents:
            ids = tokenizer(document, add_special_tokens=False)["input_ids"]
            for start in range(0, len(ids), 31):  # 32 positions, of which the start token takes one
                window = torch.tensor([[tokenizer.bos_token_id, *ids[start : start + 31]]])
                with torch.no_grad():
                    losses = torch.nn.functional.cross_entropy(
                        model(window).logits[0, :-1], window[0, 1:], reduction="sum"
                    )
                nats += float(losses)
        n_bytes = sum(len(document.encode()) for document in documents)
        assert nats / math.log(2) / n_bytes == pytest.approx(expected, abs=2e-5)


def test_each_stage_moves_its_own_parameters_and_no_other(adapted: Path) -> None:
    folders = [adapted / "stages" / "0-init" / "model", *sorted((adapted / "stages").glob("[1-4]-*/model"))]
    before, *after = [weights(folder) for folder in folders]
    blocks = [{name for name in before if f"layers.{block}." in name} for block in (0, 1)]
    linear = {name for name in before if "proj" in name}
    expected = [{"model.embed_tokens.weight", "lm_head.weight"}, blocks[0], blocks[1], linear]
    for now, names in zip(after, expected, strict=True):
        assert {name for name in before if not torch.equal(before[name], now[name])} == names
        before = now


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(llama: Path, run_dir: Path, adapted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = command_of("adapt", llama, "--run", run_dir, *OPTIONS, "--out", out, "--quiet", "--save-every", 1)
    # While it writes the second stage's checkpoints, and after its end.
    for left in ("stages/2-odd-blocks/checkpoints/*/complete.json", "stages/3-even-blocks/checkpoints"):
        with started(command, stderr=subprocess.DEVNULL) as running:
            while not list(out.glob(left)):
                assert running.poll() is None, "ended before it was killed"
                time.sleep(0.005)
            running.kill()
        command = [
            *command_of("adapt", llama, "--run", run_dir, *OPTIONS, "--out", out, "--quiet", "--save-every", 1),
            "--resume",
        ]
    adapt(llama, run_dir, out, "--save-every", 1, "--resume")
    expected, found = weights(adapted / "model"), weights(out / "model")
    assert set(expected) == set(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_finished_run_is_not_run_again(llama: Path, run_dir: Path, adapted: Path) -> None:
    before = (adapted / "model" / "model.safetensors").stat().st_mtime_ns
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--out", adapted, "--quiet")
    assert result.exit_code == 2
    assert "holds an adaptation already" in result.stderr
    adapt(llama, run_dir, adapted, "--control", "--resume")
    assert (adapted / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_a_finished_run_is_left_as_it_is_and_said_to_be_finished(llama: Path, run_dir: Path, adapted: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in adapted.rglob("*") if path.is_file()}
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--out", adapted, "--control", "--resume")
    assert result.exit_code == 0, result.output
    assert f"{adapted}: is finished, with these options. Nothing was done." in result.stderr
    assert "read text" not in result.stderr
    assert {path: path.stat().st_mtime_ns for path in adapted.rglob("*") if path.is_file()} == files


def test_resume_with_an_edited_plan_names_stage_field_and_both_values(
    llama: Path, run_dir: Path, tmp_path: Path
) -> None:
    plan, out = tmp_path / "mine.toml", tmp_path / "out"
    text = '[[stage]]\nname = "a"\nblocks = "all"\nlearning_rate = 1e-4\n[stage.lora]\nrank = 2\n'
    plan.write_text(text, encoding="utf-8")
    adapt(llama, run_dir, out, "--plan", plan)
    plan.write_text(text.replace("1e-4", "2e-4").replace("rank = 2", "rank = 4"), encoding="utf-8")
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--out", out, "--plan", plan, "--resume")
    assert_refused(
        result,
        r"mine.toml: stage 'a', learning_rate 0.0001 then, 0.0002 now; stage 'a', lora.rank 2 then, 4 now",
        out / "nothing",
    )
    assert "read text" not in result.stderr
    plan.write_text(text.replace('"a"', '"b"'), encoding="utf-8")
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--out", out, "--plan", plan, "--resume")
    assert_refused(result, r"mine.toml: stages a then, b now", out / "nothing")


@pytest.mark.slow
def test_an_interrupted_run_names_the_command_that_goes_on_with_it(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out dir"
    more = ("--out", out, "--save-every", 1, "--budget", "2MB")
    command = command_of("adapt", llama, "--run", run_dir, *OPTIONS, *more)
    with started(command, stderr=subprocess.PIPE, text=True) as running:
        while not list(out.glob("stages/1-*/checkpoints")):
            assert running.poll() is None, "ended before it was interrupted"
            time.sleep(0.005)
        # The record is there before the first stage is done.
        record = json.loads((out / "adapt.json").read_text(encoding="utf-8"))
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    assert (record["status"], record["stages"]) == ("running", [])
    assert running.returncode == 130
    goes_on = shlex.join(["vocabopt", "adapt", str(llama), "--run", str(run_dir)])
    last = told.splitlines()[-1]
    assert last.startswith(f"Interrupted. Go on with: {goes_on} --text ")
    assert last.endswith(f"--out '{out}' --save-every 1 --budget 2MB --resume")


@pytest.mark.slow
def test_text_that_is_repeated_often_is_told_with_its_passes(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("adapt", llama, "--run", run_dir, *OPTIONS, "--plan", "full", "--samples", 0)
    result = vocabopt(*command, "--budget", "120kB", "--out", out)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "adapt.json").read_text(encoding="utf-8"))
    passes = record["training_text"]["sources"]["ko"]["passes"]
    assert passes > 4
    assert f"are read {passes:,.0f} times over. Up to 4 passes" in record["warnings"][0]
    assert record["warnings"][0] in result.stderr
    assert "times over" not in vocabopt(*command, "--out", tmp_path / "once").stderr


def test_a_default_context_ends_at_the_model_s_positions(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    """The model has 64 positions, the default is 1,024 tokens."""
    options = [option for option in OPTIONS if option not in ("--context", 32)]
    command = ("adapt", llama, "--run", run_dir, *options, "--plan", "full", "--samples", 0, "--out", tmp_path / "out")
    result = vocabopt(*command)
    assert result.exit_code == 0, result.output
    assert "--context: 64 tokens, which are all positions of" in result.stderr
    record = json.loads((tmp_path / "out" / "adapt.json").read_text(encoding="utf-8"))
    assert record["options"]["context_tokens"] == 64


def test_resume_with_other_options_is_refused(llama: Path, run_dir: Path, adapted: Path) -> None:
    for option, told in ((("--init", "mean"), "--init"), (("--context", 16), "--context"), (("--seed", 3), "--seed")):
        asked = replaced(OPTIONS, "--out", adapted, "--control", "--resume", *option)
        result = vocabopt("adapt", llama, "--run", run_dir, *asked)
        assert_refused(result, rf"--resume with another {told}: .* then, .* now", adapted / "nothing")


def test_how_it_is_computed_may_change_when_a_run_is_gone_on_with(llama: Path, run_dir: Path, adapted: Path) -> None:
    before = weights(adapted / "model")
    adapt(llama, run_dir, adapted, "--resume", "--micro-batch", 4, "--gradient-checkpointing", "--max-forgetting", 9)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(adapted / "model").items())


def test_a_stage_that_forgets_too_much_ends_the_run_and_is_kept(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = [option for option in OPTIONS if not str(option).startswith(("--replay", "en="))]
    options = replaced(options, "--learning-rate-factor", 200)
    more = ("--eval", f"code={CORPUS / 'en' / 'recipe.txt'}", "--max-forgetting", "0")
    result = vocabopt("adapt", llama, "--run", run_dir, *options, *more, "--out", out, "--quiet", "--plan", "full")
    assert result.exit_code == 1, result.output
    assert "forgot more than --max-forgetting 0" in result.stderr
    record = json.loads((out / "adapt.json").read_text(encoding="utf-8"))
    assert record["status"].startswith("stopped: stage all")
    assert (out / "stages" / "1-all" / "model" / "model.safetensors").is_file()
    assert not (out / "model").exists()
    # With a wider gate it goes on.
    more = (*more[:-1], "50")
    result = vocabopt(
        "adapt", llama, "--run", run_dir, *options, *more, "--out", out, "--quiet", "--plan", "full", "--resume"
    )
    assert result.exit_code == 0, result.output
    assert (out / "model" / "config.json").is_file()


def refused(llama: Path, run_dir: Path, out: Path, match: str, *more: object) -> None:
    result = vocabopt("adapt", llama, "--run", run_dir, *replaced(OPTIONS, "--out", out, *more))
    assert_refused(result, match, out)


def test_what_cannot_be_used_is_told_before_anything_is_computed(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(llama, run_dir, out, r"--size 999: is not merged yet.*300 added tokens.*vocabopt merge", "--size", 999)
    refused(llama, run_dir, out, r"its text makes \d+ blocks of 32 tokens, and one step takes", "--batch", "10Mtok")
    refused(llama, run_dir, out, r"--plan nope: no such plan. Choose redwhale", "--plan", "nope")
    refused(llama, run_dir, out, r"--init nope: no such method", "--init", "nope")
    refused(llama, run_dir, out, r"--replay x: write NAME=PATH:SHARE, for example --replay en=", "--replay", "x")
    refused(llama, run_dir, out, r"--replay a=b:x: 'x' is no share; write NAME=PATH:SHARE", "--replay", "a=b:x")
    refused(llama, run_dir, out, r"the share 2 must lie between 0 and 1. For a fifth .*a=b:0.2", "--replay", "a=b:2")
    refused(llama, run_dir, out, r"the share nan must lie between", "--replay", "a=b:nan")
    refused(llama, run_dir, out, r"--replay: the shares leave nothing", "--replay", "a=b:0.8")
    refused(llama, run_dir, out, r"'ko' is given", "--replay", "ko=b:0.1")
    refused(llama, run_dir, out, r"--eval-bytes x: .* such as 1MB, 200kB", "--eval-bytes", "x")
    refused(llama, run_dir, out, r"--batch 9: write a number and its unit: 100kB, or in tokens 32768tok", "--batch", 9)
    refused(llama, run_dir, out, r"--lora-rank 0: must be at least 1, such as 16", "--lora-rank", 0)
    refused(llama, run_dir, out, r"--max-grad-norm 0.0: must be above 0", "--max-grad-norm", 0)
    refused(llama, run_dir, out, r"--shard: needs several processes", "--shard")
    refused(llama, run_dir, out, r"'en' is given", "--eval", f"en={CORPUS / 'en'}")
    refused(llama, run_dir, out, r"--budget 10: write a number and its unit", "--budget", "10")
    refused(llama, run_dir, out, r"--context 128: .*base has 64 positions .* Give at most 64", "--context", 128)
    refused(
        llama, run_dir, out, r"--report-to nowhere: transformers cannot report to it here", "--report-to", "nowhere"
    )
    plan = out.with_name("plan.toml")
    plan.write_text('[[stage]]\nname = "far"\nblocks = [9]\n', encoding="utf-8")
    refused(llama, run_dir, out, r"plan.toml, stage 'far': blocks \[9\]: the model has 2 blocks", "--plan", plan)
    plan.write_text('[[stage]]\nname = "a"\nblocks = "all"\n[stage.lora]\ntargets = ["q"]\n', encoding="utf-8")
    refused(llama, run_dir, out, r"plan.toml, stage 'a': lora targets 'q': its blocks have .*q_proj", "--plan", plan)
    assert not (out / "model").exists()


def test_a_folder_that_cannot_be_taken_is_told_before_the_text_is_read(
    llama: Path, run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--out", tmp_path / "file")
    assert_refused(result, r"file: is a file, not a folder", tmp_path / "out")
    assert "read text" not in result.stderr


def test_a_tokenizer_of_another_base_is_refused(llama: Path, folders: Path, run_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in llama.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (other / name).write_bytes((folders / "gpt2-like" / name).read_bytes())
    refused(other, run_dir, tmp_path / "out", "does not extend the tokenizer of", "--plan", "full")


def test_a_model_without_a_tokenizer_is_told_before_the_text_is_read(
    llama: Path, run_dir: Path, tmp_path: Path
) -> None:
    """extension.json says what the new tokens are made of; the base is measured with its own tokenizer all the same."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((llama / name).read_bytes())
    result = vocabopt("adapt", bare, "--run", run_dir, *OPTIONS, "--out", tmp_path / "out")
    assert_refused(result, r"bare: holds no tokenizer .* beside the weights, or give a MODEL that", tmp_path / "out")
    assert "read text" not in result.stderr
    assert "--tokenizer" not in result.stderr


def test_a_run_that_was_not_merged_is_refused(llama: Path, swept: Path, tmp_path: Path) -> None:
    result = vocabopt("adapt", llama, "--run", swept, *OPTIONS, "--out", tmp_path / "out")
    assert_refused(result, r"holds no merged tokenizer yet.*Run `vocabopt merge", tmp_path / "out")


@pytest.mark.parametrize(("batch", "micro_batch", "n_blocks", "at_once"), [
    ("1024tok", 8, 32, 8), ("1024tok", 5, 32, 4), ("1024tok", 64, 32, 32), ("96tok", 8, 3, 3), ("0.4kB", 8, 4, 4),
])  # fmt: skip
def test_a_batch_is_whole_blocks_whatever_the_micro_batch(
    batch: str, micro_batch: int, n_blocks: int, at_once: int
) -> None:
    """By hand: 400 bytes of a text of 0.3 tokens a byte are 120 tokens, 3.75 blocks of 32."""
    from trainer.adaptation import AdaptOptions
    from trainer.adaptation.inputs import settings_for
    from trainer.data import PackedText
    from trainer.data.packing import PackedSource

    sources = {"ko": PackedSource(n_documents=1, n_bytes=1_000, n_tokens=300, n_lost_chars=0)}
    packed = PackedText(folder=Path(), context_tokens=32, end_id=2, dtype="uint16", n_tokens=300, sources=sources,
                        fingerprint="")  # fmt: skip
    options = AdaptOptions(
        model="m", out=Path("o"), texts={"ko": "k"}, run=Path("r"), context_tokens=32,
        batch=batch, micro_batch=micro_batch,
    )  # fmt: skip
    settings = settings_for(options, "fp32", packed)
    assert (settings.batch_tokens, settings.micro_batch) == (32 * n_blocks, at_once)
