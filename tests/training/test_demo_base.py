"""The demo base: the same text and options make the same model, on text that is held out as a sweep does it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from click.testing import CliRunner
from helpers import lines_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo import story
from demo.__main__ import main as demo_command
from demo.__main__ import run as run_demo
from demo.base import DemoBase, identity, make_base, notes
from demo.model import build_model, drop_in_training, train_tokenizer
from demo.options import FAMILIES, DemoOptions
from demo.text import IGNORED, Encoded, batches, read_text
from demo.train import rate_factor
from trainer.evaluate.run import evaluate
from trainer.layout import layout_of
from trainer.measuring_options import EvalOptions
from trainer.processes import pick_device
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, RunDirectoryError, TrainingError
from vocabopt.tokenizer import load_base

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "paths": (str(ROOT / "corpus" / "en"),),
    "vocab_size": 500,
    "width": 32,
    "n_blocks": 2,
    "n_heads": 2,
    "context_tokens": 64,
    "batch": 4,
    "steps": 60,
    "eval_every": 30,
    "learning_rate": 1e-2,
}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DemoBase:
    options = DemoOptions(**SMALL)
    return make_base(read_text(options), options, tmp_path_factory.mktemp("demo") / "base")


@pytest.fixture(scope="module")
def korean_run(base: DemoBase, run_on: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The story's second step: Korean swept with the demo base."""
    out = tmp_path_factory.mktemp("demo") / "run"
    return run_on(out, str(base.folder), ROOT / "corpus" / "ko", model=str(base.folder))


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# --- The folder ------------------------------------------------------------------------------------------------------


def test_the_folder_loads_in_plain_transformers_and_gives_sentencepiece_s_ids(base: DemoBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(base.folder)
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(base.folder / "tokenizer.model"))
    assert model.get_input_embeddings().weight.shape == model.get_output_embeddings().weight.shape == (500, 32)
    assert len(tokenizer) == processor.vocab_size() == 500
    assert not layout_of(model).is_tied
    assert model.dtype == torch.float32
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (processor.bos_id(), processor.eos_id())
    assert (model.config.bos_token_id, model.config.eos_token_id) == (1, 2)
    for line in (*lines_of("en")[:200], *lines_of("ko")[:200], " two  spaces\tand a tab "):
        assert tokenizer(line, add_special_tokens=False)["input_ids"] == processor.encode(line)


def test_the_folder_is_a_base_that_can_be_grown(base: DemoBase) -> None:
    loaded = load_base(str(base.folder))
    assert (loaded.family, loaded.n_tokens, loaded.model_n_rows) == ("sentencepiece-bpe", 500, 500)
    assert [original.file_name for original in loaded.originals] == ["tokenizer.model"]


def test_bits_per_byte_are_those_of_the_weights_on_text_that_was_held_out(base: DemoBase) -> None:
    held_out = [json.loads(line)["text"] for line in (base.folder / "heldout.jsonl").read_text("utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    model = AutoModelForCausalLM.from_pretrained(base.folder).eval()
    nats = 0.0
    for document in held_out:
        ids = tokenizer(document, add_special_tokens=False)["input_ids"]
        windows = [ids[i : i + 63] for i in range(0, len(ids), 63)]
        for window in windows:
            with torch.no_grad():
                logits = model(torch.tensor([[1, *window]])).logits[0, :-1]
            nats += float(torch.nn.functional.cross_entropy(logits, torch.tensor(window), reduction="sum"))
    bits_per_byte = nats / np.log(2) / sum(len(document.encode()) for document in held_out)
    assert base.bits_per_byte == pytest.approx(bits_per_byte, rel=1e-5)
    assert base.record.text.n_heldout_documents == len(held_out)


def test_it_learns(base: DemoBase) -> None:
    """A model that knows nothing spends log2(500) bits a token; each measurement is better than the one before."""
    tokens_per_byte = base.record.text.n_tokens / base.record.text.n_bytes
    curve = [point.bits_per_byte for point in base.record.curve]
    assert [point.step for point in base.record.curve] == [30, 60]
    assert curve[1] < curve[0] < np.log2(500) * tokens_per_byte
    assert any("held-out documents" in note for note in notes(base))


# --- Two languages ---------------------------------------------------------------------------------------------------

KOREAN = ROOT / "corpus" / "ko"
#: A tenth of the bytes is Korean, whose rarer syllables are spelled in bytes.
BILINGUAL: dict[str, Any] = {**SMALL, "mixes": {"ko": (str(KOREAN), 0.1)}, "character_coverage": 0.98}


@pytest.fixture(scope="module")
def bilingual(tmp_path_factory: pytest.TempPathFactory) -> DemoBase:
    options = DemoOptions(**BILINGUAL)
    return make_base(read_text(options), options, tmp_path_factory.mktemp("demo") / "bilingual")


def test_a_text_that_is_mixed_in_has_its_share_of_the_bytes(bilingual: DemoBase) -> None:
    (mixed,), text = bilingual.record.mixed, bilingual.record.text
    longest = max(len(line.encode()) for line in lines_of("ko"))
    assert 0 <= mixed.n_bytes - 0.1 * (text.n_bytes / 0.9) <= longest
    assert (mixed.name, mixed.scripts) == ("ko", ("Hangul",))
    assert any("Mixed in: ko" in note for note in notes(bilingual))


def test_few_tokens_hold_the_characters_of_a_tenth_of_the_text(bilingual: DemoBase) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(bilingual.folder / "tokenizer.model"))
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    n_hangul = sum(any("\uac00" <= char <= "\ud7a3" for char in piece) for piece in pieces)
    assert 0 < bilingual.record.mixed[0].n_pieces == n_hangul < len(pieces) / 2


def test_what_is_held_out_of_a_mixed_text_is_known_better_than_without_and_never_learned(
    base: DemoBase, bilingual: DemoBase
) -> None:
    options = DemoOptions(**BILINGUAL)
    (part,) = read_text(options).mixed
    assert not {*part.training} & {*part.held_out}
    written = (bilingual.folder / "heldout-ko.jsonl").read_text("utf-8").splitlines()
    assert tuple(json.loads(line)["text"] for line in written) == part.held_out
    (without,) = evaluate(EvalOptions(model=str(base.folder), texts={"ko": str(bilingual.folder / "heldout-ko.jsonl")},
                                      context_tokens=64), Console(quiet=True)).texts.values()  # fmt: skip
    assert bilingual.record.mixed[0].bits_per_byte < 0.8 * without.bits_per_byte


def test_a_mix_makes_another_base_by_its_share_and_text_alone(base: DemoBase, tmp_path: Path) -> None:
    options = DemoOptions(**SMALL, mixes={"ko": (str(KOREAN), 0.1)})
    copied = shutil.copytree(KOREAN, tmp_path / "elsewhere")
    moved = DemoOptions(**SMALL, mixes={"ko": (str(copied), 0.1)})
    less = DemoOptions(**SMALL, mixes={"ko": (str(KOREAN), 0.05)})
    assert identity(read_text(options), options) == identity(read_text(moved), moved)
    assert identity(read_text(options), options) != identity(read_text(less), less)
    assert base.record.identity == identity(read_text(DemoOptions(**SMALL)), DemoOptions(**SMALL))


def test_a_mix_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CorpusError, match=r"--mix ko=.*:0.6: its [\d,]+ bytes are less than 60.0% of all text, which"):
        read_text(DemoOptions(**SMALL, mixes={"ko": (str(KOREAN), 0.6)}))
    with pytest.raises(OptionError, match=r"--mix ko=k.txt:2: the share must lie between 0 and 1"):
        DemoOptions(**SMALL, mixes={"ko": ("k.txt", 2.0)})
    with pytest.raises(OptionError, match=r"--mix: the shares leave nothing for --text"):
        DemoOptions(**SMALL, mixes={"ko": ("k.txt", 0.5), "ja": ("j.txt", 0.5)})
    monkeypatch.setattr(sys, "argv", ["demo", "--out", str(tmp_path / "o"), "--mix", "ko"])
    with pytest.raises(SystemExit, match="2"):
        run_demo()
    assert "Error: --mix ko: write NAME=PATH:SHARE" in capsys.readouterr().err


# --- The same again --------------------------------------------------------------------------------------------------


def test_the_same_text_and_options_make_the_same_bytes(base: DemoBase, tmp_path: Path) -> None:
    options = DemoOptions(**SMALL)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    again = make_base(read_text(options), options, tmp_path / "again")
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)
    first, second = digests(base.folder), digests(again.folder)
    assert not again.was_there
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} <= {"demo.json"}
    assert base.record.curve == again.record.curve


def test_a_base_that_is_there_is_taken_and_another_one_refused(base: DemoBase) -> None:
    options = DemoOptions(**SMALL)
    before = digests(base.folder)
    again = make_base(read_text(options), options, base.folder)
    assert again.was_there
    assert again.record == base.record
    # Where it is computed, and how much of it is measured, is no other base.
    assert make_base(read_text(options), DemoOptions(**SMALL, device="cpu"), base.folder).was_there
    with pytest.raises(RunDirectoryError, match="holds a base made from other text, options or code"):
        make_base(read_text(options), DemoOptions(**{**SMALL, "steps": 61}), base.folder)
    assert digests(base.folder) == before


def test_what_a_base_is_known_by_changes_with_the_text(tmp_path: Path) -> None:
    options = DemoOptions(**SMALL)
    text = read_text(options)
    lines = lines_of("en")
    (tmp_path / "en.txt").write_text("\n".join([*lines[:-1], lines[-1] + "!"]), encoding="utf-8")
    other = read_text(DemoOptions(**{**SMALL, "paths": (str(tmp_path / "en.txt"),)}))
    assert identity(text, options) != identity(other, options)
    assert identity(text, options) != identity(text, DemoOptions(**{**SMALL, "seed": 1}))


def test_what_a_killed_run_left_is_no_base_and_is_made_anew(tmp_path: Path) -> None:
    out = tmp_path / "base"
    command = [
        sys.executable,
        "-m",
        "demo",
        "--out",
        str(out),
        "--text",
        SMALL["paths"][0],
        "--steps",
        "100000",
    ]
    process = subprocess.Popen([*command, "--quiet"], env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        end = time.monotonic() + 120
        while not (out / "demo.json").is_file() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert json.loads((out / "demo.json").read_text("utf-8"))["status"] == "running"
    options = DemoOptions(**{**SMALL, "steps": 1})
    made = make_base(read_text(options), options, out)
    assert not made.was_there
    assert json.loads((out / "demo.json").read_text("utf-8"))["status"] == "finished"
    assert len(AutoTokenizer.from_pretrained(out)) == 500


# --- Text ------------------------------------------------------------------------------------------------------------


def test_the_folder_is_the_base_of_a_sweep_with_its_own_model_counted(base: DemoBase, korean_run: Any) -> None:
    model = korean_run.sweep["model"]
    assert (model["hidden_size"], model["n_rows"], model["tied_embeddings"]) == (32, 500, False)
    assert len(korean_run.curve) > story.MIN_ADDED


def test_held_out_documents_are_those_of_a_sweep(korean_run: Any) -> None:
    """So that English measured before, in the sweep and after adaptation is English that nothing has learned from."""
    text = read_text(DemoOptions(**{**SMALL, "paths": (str(ROOT / "corpus" / "ko"),)}))
    held_out = korean_run.sweep["sets"]["heldout"]
    assert (len(text.held_out), sum(len(document.encode()) for document in text.held_out)) == (
        held_out["n_documents"],
        held_out["n_bytes"],
    )
    assert sorted([*text.training, *text.held_out]) == sorted(lines_of("ko"))


def test_blocks_by_hand() -> None:
    """Two documents of three and two tokens, start and end included, in blocks of four."""
    text = Encoded(ids=np.array([1, 7, 2, 1, 2], np.int32), ends=np.array([3, 5]))
    stream = batches(text, n_blocks=1, context_tokens=4, seed=0)
    blocks = [next(stream) for _ in range(20)]
    ids = [int(index) for block in blocks for index in block.ids[0]]
    # Sixteen passes: each takes both documents, in an order of its own.
    passes = [tuple(ids[i : i + 5]) for i in range(0, 80, 5)]
    assert set(passes) == {(1, 7, 2, 1, 2), (1, 2, 1, 7, 2)}
    expected = {
        (1, 7, 2, 1): ([0, 1, 2, 0], [IGNORED, 7, 2, IGNORED]),
        (1, 2, 1, 7): ([0, 1, 0, 1], [IGNORED, 2, IGNORED, 7]),
        (2, 1, 7, 2): ([0, 0, 1, 2], [IGNORED, IGNORED, 7, 2]),
        (2, 1, 2, 1): ([0, 0, 1, 0], [IGNORED, IGNORED, 2, IGNORED]),
        (7, 2, 1, 7): ([0, 1, 0, 1], [IGNORED, 2, IGNORED, 7]),
        (7, 2, 1, 2): ([0, 1, 0, 1], [IGNORED, 2, IGNORED, 2]),
        (1, 2, 1, 2): ([0, 1, 0, 1], [IGNORED, 2, IGNORED, 2]),
    }
    for block in blocks:
        positions, labels = expected[tuple(block.ids[0].tolist())]
        assert (block.positions[0].tolist(), block.labels[0].tolist()) == (positions, labels)


def test_blocks_are_another_order_for_another_seed_and_the_same_for_the_same() -> None:
    text = Encoded(ids=np.arange(100, dtype=np.int32), ends=np.arange(1, 101))

    def first(seed: int) -> list[int]:
        return [int(i) for i in next(batches(text, n_blocks=2, context_tokens=50, seed=seed)).ids.flat]

    assert first(0) == first(0) != first(1)
    assert sorted(first(0)) == list(range(100))


# --- Models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_document_in_a_block_sees_no_other(family: Any, attention: str) -> None:
    """transformers builds the mask from positions that begin again: logits are those of each document alone."""
    model = build_model(DemoOptions(**{**SMALL, "family": family}), n_tokens=500, special_ids=SPECIAL).eval()
    model.set_attn_implementation(attention)
    lengths = np.array([20, 1, 30, 13])
    ids = np.random.default_rng(0).integers(3, 500, 64)
    positions = np.concatenate([np.arange(length) for length in lengths])
    with torch.no_grad():
        packed = model(
            input_ids=torch.from_numpy(ids)[None], position_ids=torch.from_numpy(positions)[None], use_cache=False
        ).logits[0]
        for start, end in pairwise([0, *np.cumsum(lengths)]):
            alone = model(input_ids=torch.from_numpy(ids[start:end])[None]).logits[0]
            torch.testing.assert_close(packed[start:end], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_family_s_shape_is_what_was_asked_for(family: Any, tied: bool) -> None:
    options = DemoOptions(**{**SMALL, "family": family, "tied": tied, "n_blocks": 3})
    model = build_model(options, n_tokens=500, special_ids=SPECIAL)
    layout = layout_of(model)
    assert (layout.is_tied, layout.n_blocks) == (tied, 3)
    assert model.get_input_embeddings().weight.shape == (500, 32)  # type: ignore[no-untyped-call]
    again = build_model(options, n_tokens=500, special_ids=SPECIAL)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_is_in_every_half_of_a_block_in_training_only_and_can_be_taken_off(family: Any) -> None:
    model = build_model(DemoOptions(**{**SMALL, "family": family}), n_tokens=500, special_ids=SPECIAL).eval()
    ids = torch.arange(3, 35)[None]
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        drops = drop_in_training(model, 0.5)
        assert len(drops) == 1 + 2 * 2
        assert torch.equal(model(input_ids=ids).logits, plain)
        model.train()
        assert not torch.allclose(model(input_ids=ids).logits, plain)
        for drop in drops:
            drop.remove()
        torch.testing.assert_close(model(input_ids=ids).logits, plain)
    assert drop_in_training(model, 0.0) == []


def test_learning_rates_by_hand() -> None:
    """100 steps: five of rise, then 0.1 + 0.9 * (1 + cos(pi * x)) / 2."""
    assert [rate_factor(step, 100) for step in (1, 5)] == [0.2, 1.0]
    assert rate_factor(100, 100) == pytest.approx(0.1)
    halfway = 5 + (100 - 5) // 2
    assert rate_factor(halfway, 100) == pytest.approx(0.55, abs=0.01)
    assert rate_factor(1, 1) == 1.0


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heldout": 0.0}, "--heldout 0.0: must lie between 0 and 1"),
        ({"vocab_size": 200}, "--vocab-size 200: must be at least 300"),
        ({"n_heads": 5}, "--heads 5: must divide --width 32"),
        ({"steps": 0}, "--steps 0: must be at least 1"),
        ({"dropout": 1.0}, "--dropout 1.0: must be at least 0 and below 1"),
        ({"family": "bert"}, "--family bert: choose llama, gpt2, qwen2, gpt-neox"),
        ({"character_coverage": 0.9}, "--character-coverage 0.9: must be between 0.98 and 1"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0: must be above 0"),
    ],
)
def test_options_are_checked_when_made(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        DemoOptions(**{**SMALL, **values})


def test_text_that_cannot_make_a_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("One line.\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"short.txt: of its documents 1 are left to learn from and 0 held out"):
        read_text(DemoOptions(**{**SMALL, "paths": (str(tmp_path / "short.txt"),)}))
    with pytest.raises(OptionError, match=r"--vocab-size 5000: sentencepiece cannot train it"):
        train_tokenizer(["a few words, and no more"], 5000)
    result = CliRunner().invoke(demo_command, ["--out", str(tmp_path / "o"), "--text", str(tmp_path / "none.txt")])
    assert result.exit_code == 2
    assert "none.txt: no such file or folder" in result.output


def test_a_loss_that_is_not_a_number_stops_the_training(tmp_path: Path) -> None:
    options = DemoOptions(**{**SMALL, "learning_rate": 1e30, "steps": 8, "eval_every": 4})
    with pytest.raises(
        TrainingError, match=r"the loss before step 4 is not a number. Try a --learning-rate below 1e\+30"
    ):
        make_base(read_text(options), options, tmp_path / "base")
    assert not (tmp_path / "base" / "config.json").exists()


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match="--device nonsense: is not to be had here"):
        pick_device("nonsense")


# --- The story -------------------------------------------------------------------------------------------------------


def told(run: Path, size: int | None) -> story.Story:
    return story.Story(model="m", corpus="c", out=run, size=size, adapt=())


def test_the_story_takes_256_tokens_where_fewer_are_recommended(
    tmp_path: Path, korean_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    recommended = korean_run.sweep["choice"]["n_added"]
    assert recommended >= story.MIN_ADDED
    assert story._size(told(korean_run.out, None)) == recommended
    assert story._size(told(korean_run.out, 7)) == 7
    assert capsys.readouterr().out == ""
    sweep = {**korean_run.sweep, "choice": {**korean_run.sweep["choice"], "n_added": 96}}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep), encoding="utf-8")
    assert story._size(told(tmp_path, None)) == 256
    assert "The sweep recommends 96 added tokens. 256 are taken" in capsys.readouterr().out


def test_the_story_names_its_text_and_refuses_several() -> None:
    assert story._name_of_text(str(ROOT / "corpus" / "ko")) == "ko"
    assert story._name_of_text(str(ROOT / "corpus" / "ko" / "news.txt")) == "news"
    with pytest.raises(OptionError, match=r"holds the text sets en, ko. Name the one to adapt to, for example .*/ko;"):
        story._name_of_text(str(ROOT / "corpus"))


def test_the_story_needs_text_for_a_model_of_the_user_s() -> None:
    result = CliRunner().invoke(story.main, ["--model", "some/model"])
    assert result.exit_code == 2
    assert (
        "--model some/model: no text to adapt it to. Name it: make adapt MODEL=some/model CORPUS=PATH." in result.output
    )


def test_the_story_stops_at_the_first_command_that_fails(tmp_path: Path) -> None:
    text = tmp_path / "ko.txt"
    text.write_text("\n".join(lines_of("ko")[:50]), encoding="utf-8")
    command = ["--model", str(tmp_path / "none"), "--corpus", str(text), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(story.main, command)
    assert result.exit_code == 2
    assert "$ vocabopt sweep" in result.output
    assert "no such base tokenizer" in result.output
    assert "$ vocabopt merge" not in result.output


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        ([], ""),
        (["MODEL=m", "CORPUS=k.txt", "SIZE=9", "OUT=o"], " --model m --corpus k.txt --size 9 --out o"),
        (["ARGS=--plan full"], " --plan full"),
    ],
)
def test_make_adapt_passes_on_what_was_given(variables: list[str], arguments: str) -> None:
    # `make test` runs this too: what it tells the makes below it is not for this one.
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
    made = subprocess.run(
        ["make", "--dry-run", "adapt", *variables], cwd=ROOT, capture_output=True, text=True, check=True, env=alone
    )
    assert made.stdout.splitlines()[-1] == f".venv/bin/python -m demo.story{arguments}"
