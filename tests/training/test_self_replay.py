"""`--replay self:SHARE`: text that the base model writes itself before training."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import assert_refused, replaced, vocabopt, written
from helpers import CORPUS
from transformers import AutoTokenizer, PreTrainedModel

from trainer.data import PackedText
from trainer.data.own_text import OWN_TEXT_JSON, Writing, write_own_text
from trainer.document_ends import document_ends
from trainer.init import load_model
from vocabopt.errors import ModelError
from vocabopt.training_record import OwnText

WRITING = Writing(n_bytes=3_000, length=24, temperature=1.0, prompt_tokens=None, seed=0)
OPTIONS = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--replay", "self:0.25", "--context", 32, "--batch", "1024tok",
    "--micro-batch", 8, "--precision", "fp32", "--samples", 0, "--report-to", "none", "--device", "cpu",
    "--plan", "full", "--eval-bytes", "2kB",
)  # fmt: skip


def write(llama: Path, folder: Path, writing: Writing = WRITING, model: PreTrainedModel | None = None) -> OwnText:
    tokenizer = AutoTokenizer.from_pretrained(llama)
    return write_own_text(lambda: model or load_model(llama), tokenizer, document_ends(tokenizer), writing, folder)


def texts_in(folder: Path) -> list[str]:
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").split("\n") if line]
    return [json.loads(line)["text"] for line in lines]


def test_the_text_is_as_long_as_wanted_and_counted(llama: Path, tmp_path: Path) -> None:
    done = write(llama, tmp_path)
    texts = [text for text in texts_in(tmp_path) if text.strip()]
    assert done.n_documents == len(texts) > 3
    assert done.n_bytes == sum(len(text.encode()) for text in texts) >= 3_000
    assert (done.bytes_wanted, done.temperature, done.prompt_tokens, done.seed) == (3_000, 1.0, 0, 0)
    assert done.seconds > 0
    assert len(set(texts)) > 0.9 * len(texts)
    assert not any(mark in text for text in texts for mark in ("\ufffd", "<s>", "</s>"))


def test_a_killed_writing_goes_on_to_the_same_text_and_another_seed_writes_another(llama: Path, tmp_path: Path) -> None:
    longer = replace(WRITING, n_bytes=9_000)
    write(llama, tmp_path / "one", longer)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    last = max((tmp_path / "two").glob("*.jsonl"))
    last.unlink()
    (tmp_path / "two" / OWN_TEXT_JSON).unlink()
    assert list((tmp_path / "two").glob("*.jsonl"))
    write(llama, tmp_path / "two", longer)
    assert texts_in(tmp_path / "two") == texts_in(tmp_path / "one")
    write(llama, tmp_path / "three", replace(longer, seed=1))
    assert not {*texts_in(tmp_path / "one")} & {*texts_in(tmp_path / "three")} - {""}


def test_what_is_there_is_taken_without_the_model(llama: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama)
    done = write(llama, tmp_path)

    def never() -> PreTrainedModel:
        raise AssertionError("loaded")

    assert write_own_text(never, tokenizer, document_ends(tokenizer), WRITING, tmp_path) == done


def test_at_a_temperature_near_0_it_writes_what_generate_of_transformers_does(llama: Path, tmp_path: Path) -> None:
    """With the cache, many at once; each is begun with a token of its own."""
    model, tokenizer = load_model(llama), AutoTokenizer.from_pretrained(llama)
    write(llama, tmp_path, replace(WRITING, temperature=1e-6, prompt_tokens=1, n_bytes=200))
    first = torch.arange(len(tokenizer))
    given = torch.stack([torch.full_like(first, tokenizer.bos_token_id), first], dim=1)
    # Rows of no token are never written.
    padding = list(range(len(tokenizer), model.config.vocab_size))
    answer: Any = model.generate(
        given, attention_mask=torch.ones_like(given), max_new_tokens=22, do_sample=False, suppress_tokens=padding
    )
    expected = {tokenizer.decode(row[2:], skip_special_tokens=True).replace("\ufffd", "") for row in answer}
    found = texts_in(tmp_path)
    assert len(found) > 3
    assert {*found} <= expected


def test_the_first_tokens_come_as_often_as_the_model_gives_them(llama: Path, tmp_path: Path) -> None:
    """At a temperature of 0.5, within four standard errors."""
    model, tokenizer = load_model(llama), AutoTokenizer.from_pretrained(llama)
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.bos_token_id]])).logits[0, -1, : len(tokenizer)]
    # A likelier few, so that there is something to see.
    model.get_output_embeddings().weight.data *= 30  # type: ignore[union-attr, operator]
    expected = (logits * 30 / 0.5).softmax(0)
    write(llama, tmp_path, replace(WRITING, length=2, temperature=0.5, n_bytes=4_000), model)
    texts = texts_in(tmp_path)
    counts = Counter(texts)
    words = {tokenizer.decode([i], skip_special_tokens=True): i for i in expected.topk(3).indices.tolist()}
    for word, index in words.items():
        same = [i for i in range(len(tokenizer)) if tokenizer.decode([i], skip_special_tokens=True) == word]
        share = float(expected[same].sum())
        assert index in same
        assert abs(counts[word] / len(texts) - share) < 4 * np.sqrt(share * (1 - share) / len(texts)) + 1e-9


def test_a_model_that_writes_nothing_is_told(llama: Path, tmp_path: Path) -> None:
    model = load_model(llama)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        state = model.base_model(torch.tensor([[tokenizer.bos_token_id]])).last_hidden_state[0, -1]
        head.weight.zero_()
        head.weight[tokenizer.eos_token_id] = 100 * state
    with pytest.raises(ModelError, match=r"--replay self: the model ended .* documents before their first character"):
        write(llama, tmp_path, model=model)


# --- In a training ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapted(llama: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("self") / "out"
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--out", out, "--keep-stages", "all")
    assert result.exit_code == 0, result.output
    return out


def record_of(out: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((out / "adapt.json").read_text("utf-8"))
    return value


def test_the_record_says_how_much_was_written_and_how(adapted: Path) -> None:
    record = record_of(adapted)
    found, sources = record["self_replay"], record["training_text"]["sources"]
    assert (found["share"], found["temperature"], found["seed"]) == (0.25, 1.0, 0)
    assert found["n_bytes"] >= found["bytes_wanted"] > 0
    assert found["seconds"] > 0
    (folder,) = (adapted / "stages" / "self-replay").iterdir()
    assert sum(len(text.encode()) for text in texts_in(folder) if text.strip()) == found["n_bytes"]
    # A third as much as of the target, to a document.
    longest = max(len(text.encode()) for text in texts_in(folder))
    assert abs(sources["self"]["n_bytes"] - sources["ko"]["n_bytes"] / 3) <= longest
    # It is no text to measure on.
    assert set(record["texts"]) == {"ko"}
    card = (adapted / "model" / "README.md").read_text("utf-8")
    assert "25 % of the training text was written by the base model itself" in card


def test_every_step_reads_its_share(llama: Path, run_dir: Path, adapted: Path) -> None:
    """The documents of each step's blocks, by the source that holds their text."""
    (folder,) = (adapted / "stages" / "self-replay").iterdir()
    own = {text for text in texts_in(folder) if text.strip()}
    packed = PackedText.read(adapted / "text" / "1")
    tokenizer = AutoTokenizer.from_pretrained(run_dir / "tokenizer")
    ends = [*packed.starts[1:].tolist(), packed.n_tokens]
    is_own = np.zeros(packed.n_tokens, bool)
    for start, end in zip(packed.starts.tolist(), ends, strict=True):
        is_own[start:end] = tokenizer.decode(packed.tokens[start + 1 : end - 1].astype(int)) in own
    share = is_own.mean()
    order = packed.order(0)
    steps = [order[at : at + 32] for at in range(0, len(order) - 31, 32)]
    assert len(steps) >= 3
    for blocks in steps:
        here = np.concatenate([is_own[block * 32 : (block + 1) * 32] for block in blocks])
        assert abs(here.mean() - share) < 0.12
    assert share == packed.sources["self"].n_tokens / packed.n_tokens > 0.1


def test_two_runs_write_the_same_text_and_reach_the_same_weights(
    llama: Path, run_dir: Path, adapted: Path, tmp_path: Path
) -> None:
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    files = [out / "model" / "model.safetensors" for out in (adapted, tmp_path / "out")]
    assert files[0].read_bytes() == files[1].read_bytes()
    mine, theirs = (next((out / "stages" / "self-replay").iterdir()) for out in (adapted, tmp_path / "out"))
    assert (mine.name, texts_in(mine)) == (theirs.name, texts_in(theirs))


def test_a_resumed_run_takes_the_text_that_is_there(llama: Path, run_dir: Path, adapted: Path, tmp_path: Path) -> None:
    """Before its stage was finished; with another share it is another run."""
    out = tmp_path / "out"
    shutil.copytree(adapted, out)
    shutil.rmtree(out / "stages" / "1-all")
    (out / "adapt.json").unlink()
    (folder,) = (out / "stages" / "self-replay").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    command = ("adapt", llama, "--run", run_dir, *OPTIONS, "--out", out, "--resume")
    result = vocabopt(*command)
    assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert (out / "model" / "model.safetensors").read_bytes() == (adapted / "model" / "model.safetensors").read_bytes()
    assert record_of(out)["self_replay"] == record_of(adapted)["self_replay"]
    again = ["self:0.3" if value == "self:0.25" else value for value in command]
    assert_refused(vocabopt(*again), r"--resume with another --replay: .*0.25.* then, .*0.3.* now", out / "nothing")
    other = vocabopt(*replaced(command, "--self-temperature", 0.7))
    assert_refused(other, r"--resume with another --self-temperature: 1.0 then, 0.7 now", out / "nothing")


def test_a_share_beyond_what_is_written_reads_it_again(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--self-text", "0.3kB", "--out", out)
    assert result.exit_code == 0, result.output
    record = record_of(out)
    assert record["self_replay"]["bytes_wanted"] == 300
    assert record["training_text"]["sources"]["self"]["passes"] > 1.5


def test_a_budget_in_tokens_has_its_share_too(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = vocabopt("adapt", llama, "--run", run_dir, *OPTIONS, "--budget", "3000tok", "--out", out)
    assert result.exit_code == 0, result.output
    text = record_of(out)["training_text"]
    assert text["sources"]["self"]["n_bytes"] / text["n_bytes"] == pytest.approx(0.25, abs=0.03)


def test_bad_input_is_refused_in_one_line(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [value for value in OPTIONS if value not in ("--replay", "self:0.25")]
    english = ("--replay", f"en={CORPUS / 'en' / 'news.txt'}:0.5")
    for given, match in (
        (("--replay", "self"), r"--replay self: '' is no share; .* write self:SHARE, for example --replay self:0.2"),
        (("--replay", "self:half"), r"--replay self:half: 'half' is no share"),
        (
            ("--replay", "self:1.5"),
            r"--replay self:1.5: the share 1.5 must lie between 0 and 1.*write --replay self:0.2",
        ),
        (("--replay", "self:0"), r"--replay self:0: the share 0 must lie between 0 and 1"),
        (("--replay", "self:0.5", *english), r"--replay: the shares leave nothing for the target text"),
        (("--replay", "self:0.1", "--replay", "self:0.2"), r"--replay self:0.2: the name 'self' is given twice"),
        (("--replay", "self:0.1", "--eval", f"self={CORPUS / 'en' / 'news.txt'}"), r"The name 'self' is given to two"),
        (("--replay", "self:0.1", "--self-temperature", 0), r"--self-temperature 0.0: must be above 0"),
        (("--replay", "self:0.1", "--self-text", "much"), r"--self-text much: .*20MB or 500kB"),
        (("--replay", "self:0.1", "--self-prompt", -1), r"--self-prompt -1: must be at least 0"),
        (
            ("--replay", "self:0.1", "--document-start", "none", "--self-prompt", 0),
            r"--self-prompt 0: the model's tokenizer has no token that begins a document",
        ),
        (
            ("--replay", "self:0.00001"),
            r"--replay self:1e-05: is less than a byte of|self: its share 1e-05 .* no whole",
        ),
        (("--replay", "self:0.1", "--base-eval", "self"), r"--base-eval self: no evaluation text of that name"),
        (("--replay", "self:0.1", "--max-forgetting", 0.1), r"no text of the base's language is measured"),
    ):
        result = vocabopt("adapt", llama, "--run", run_dir, *replaced(command, "--out", out, "--quiet", *given))
        assert_refused(result, match, out)
    # A text of that name with a path is a text like any other.
    named = written(tmp_path / "mine.txt", "\n".join(f"A line of English, the {n}th." for n in range(300)))
    result = vocabopt("adapt", llama, "--run", run_dir, *command, "--replay", f"self={named}:0.2", "--out", out)
    assert result.exit_code == 0, result.output
    assert record_of(out)["self_replay"] is None


def test_the_api_takes_the_share_alone(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    import trainer

    adapted = trainer.adapt(
        llama, run_dir / "tokenizer", text={"ko": CORPUS / "ko" / "news.txt"}, out=tmp_path / "out",
        replay={"self": 0.2}, context=32, batch="1024tok", precision="fp32", samples=0, report_to=(),
        plan="full", device="cpu", budget="6kB",
    )  # fmt: skip
    found = adapted.record.self_replay
    assert found is not None
    assert found.share == 0.2
    with pytest.raises(Exception, match=r"--replay en: names no text. Write en=PATH:0.2, or self:0.2"):
        trainer.adapt(
            llama, run_dir / "tokenizer", text={"ko": "x"}, out=tmp_path / "no", replay={"en": 0.2}, budget="6kB"
        )


@pytest.mark.slow
def test_staged_plans_and_their_control_read_it_too(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    """Rows learned from text, four stages with adapters in the last, and the original tokenizer on the same text."""
    out = tmp_path / "out"
    plan = replaced(OPTIONS, "--lora-rank", 2, "--init", "distill", "--distill-steps", 5, "--control", "--out", out)
    plan[plan.index("full")] = "redwhale"
    result = vocabopt("adapt", llama, "--run", run_dir, *plan)
    assert result.exit_code == 0, result.output
    record = record_of(out)
    assert len(record["stages"]) == 4
    assert record["training_text"]["sources"]["self"]["n_bytes"] > 0
    assert [stage["bytes"] for stage in record["stages"]] == [stage["bytes"] for stage in record["control"]["stages"]]
    of_stages = [PackedText.read(out / "text" / str(number + 1)).sources["self"].n_bytes for number in range(4)]
    assert min(of_stages) > 0


PROBE = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--replay", "self:0.25", "--plan", "full", "--steps", 2, "--seeds", 1,
    "--context", 32, "--batch", "512tok", "--micro-batch", 8, "--precision", "fp32", "--eval-bytes", "2kB",
    "--distill-steps", 5,
)  # fmt: skip


@pytest.mark.slow
def test_runs_of_a_probe_share_what_was_written_and_show_what_learning_rows_took(
    llama: Path, run_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = vocabopt("probe", llama, "--run", run_dir, *PROBE, "--init", "distill", "--init", "mean", "--out", out)
    assert result.exit_code == 0, result.output
    assert len(list((out / "self-replay").iterdir())) == 1
    rows = {row["init"]: row for row in json.loads((out / "probe.json").read_text("utf-8"))["rows"]}
    assert rows["distill"]["init_seconds"] > 0 == rows["mean"]["init_seconds"]
    assert "learning" in result.stdout
    sizes = ("--init", "distill", "--sizes", "60,300", "--out", tmp_path / "sizes")
    result = vocabopt("probe", llama, "--run", run_dir, *PROBE, *sizes)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "sizes" / "self-replay").iterdir())) == 1
