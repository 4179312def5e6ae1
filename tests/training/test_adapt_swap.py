"""`vocabopt adapt` and `plan` of a swapped tokenizer: as many rows as before, some of them new, wherever they lie."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import vocabopt
from helpers import CORPUS, all_ids, library_tokenizer
from model_folders import WIDTHS, with_tokenizer, write_model
from safetensors.torch import load_file
from swapped import swapped
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig, PreTrainedConfig

N_SWAPPED = 60
#: New rows alone, then every parameter.
PLAN = '[[stage]]\nname = "new"\nembeddings = "new"\nhead = "new"\nlearning_rate = 1e-2\n[[stage]]\nname = "all"\n'
PLAN += 'embeddings = "all"\nhead = "all"\nblocks = "all"\nnew_rows_factor = 5\n'
OPTIONS = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--replay", f"en={CORPUS / 'en' / 'news.txt'}:0.2",
    "--context", 32, "--batch", "1024tok", "--micro-batch", 8, "--precision", "fp32",
    "--sample-tokens", 4, "--report-to", "none", "--device", "cpu", "--keep-stages", "all",
)  # fmt: skip
_LLAMA: dict[str, Any] = {"vocab_size": 2_048, "max_position_embeddings": 64, **WIDTHS}
#: Base tokenizer and model: untied, tied, and tied with learned positions.
KINDS: dict[str, tuple[str, PreTrainedConfig]] = {
    "untied": ("llama-like", LlamaConfig(**_LLAMA)),
    "tied": ("llama-like", LlamaConfig(**_LLAMA, tie_word_embeddings=True)),
    "gpt2": ("gpt2-like", GPT2Config(vocab_size=2_000, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)),
}


@dataclass(frozen=True, kw_only=True)
class Swap:
    """A model adapted to a swapped tokenizer, and the command that did it."""

    model: Path
    tokenizer: Path
    out: Path
    config: PreTrainedConfig
    new: list[int]
    command: tuple[object, ...]

    @property
    def n_tables(self) -> int:
        return 1 if self.config.tie_word_embeddings else 2

    def record(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.out / "adapt.json").read_text("utf-8"))
        return value


#: All kinds in the slow tests; without them the one whose table is its head, and the one with two.
EACH_KIND = [pytest.param(kind, marks=[pytest.mark.slow] if kind == "tied" else []) for kind in KINDS]


@pytest.fixture(scope="module", params=EACH_KIND)
def swap(request: pytest.FixtureRequest, folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Swap:
    base_name, config = KINDS[request.param]
    folder = tmp_path_factory.mktemp("swap")
    model = with_tokenizer(write_model(folder / "model", config), folders / base_name)
    tokenizer = swapped(folders / base_name, N_SWAPPED, folder)
    (folder / "plan.toml").write_text(PLAN, encoding="utf-8")
    command = ("adapt", model, "--tokenizer", tokenizer, *OPTIONS, "--plan", folder / "plan.toml", "--out")
    result = vocabopt(*command, folder / "out")
    assert result.exit_code == 0, result.output
    assert "60 new tokens, plan" in result.stdout
    return Swap(
        model=model,
        tokenizer=tokenizer,
        out=folder / "out",
        config=config,
        new=[row["id"] for row in json.loads((tokenizer / "extension.json").read_text("utf-8"))["reused"]],
        command=(*command, folder / "out"),
    )


def test_reused_rows_alone_are_made_and_trained_until_a_stage_trains_all(swap: Swap) -> None:
    """Kept rows, padding rows and all other weights are equal bit for bit after init and after the first stage."""
    n_rows, stages = swap.config.vocab_size, swap.out / "stages"
    kept = [row for row in range(n_rows) if row not in swap.new]
    folders = (swap.model, stages / "0-init" / "model", stages / "1-new" / "model", swap.out / "model")
    before, initialised, first, last = (load_file(folder / "model.safetensors") for folder in folders)
    tables = [name for name, tensor in before.items() if len(tensor) == n_rows]
    assert len(tables) == swap.n_tables
    for earlier, later in ((before, initialised), (initialised, first)):
        assert earlier.keys() == later.keys()
        for name, tensor in later.items():
            rows = kept if name in tables else slice(None)
            assert torch.equal(tensor[rows], earlier[name][rows]), name
        assert not any(torch.equal(later[name][swap.new], earlier[name][swap.new]) for name in tables)
    assert not any(torch.equal(last[name][kept], first[name][kept]) for name in tables)
    configs = [json.loads((folder / "config.json").read_text("utf-8")) for folder in (folders[0], folders[-1])]
    assert configs[0] == configs[1]


def test_the_record_and_the_card_say_that_tokens_were_exchanged(swap: Swap) -> None:
    record = swap.record()
    assert (record["n_added"], record["init_log"]["n_reused"]) == (N_SWAPPED, N_SWAPPED)
    assert record["n_params"] == AutoModelForCausalLM.from_pretrained(swap.model).num_parameters()
    assert record["stages"][0]["n_trainable"] == swap.n_tables * N_SWAPPED * 32
    # What the new pieces occur, not what the ids were before.
    assert record["exposure"]["n_new"] == N_SWAPPED
    assert record["exposure"]["n_unseen"] < N_SWAPPED // 2
    assert all(stage["peak_bytes"] < record["full_training"]["peak_bytes"] for stage in record["stages"][:1])
    card = (swap.out / "model" / "README.md").read_text("utf-8")
    assert "60 tokens of the tokenizer gave their ids to new ones, so the model keeps its size" in card
    assert "behind the base's own" not in card


def test_what_is_written_reads_and_writes_the_new_pieces_in_plain_transformers(swap: Swap) -> None:
    lines = (CORPUS / "ko" / "chat.txt").read_text("utf-8").splitlines()[:20]
    tokenizer = AutoTokenizer.from_pretrained(swap.out / "model")
    ids = tokenizer(lines, add_special_tokens=False)["input_ids"]
    assert ids == all_ids(library_tokenizer(swap.tokenizer), lines)
    assert not {index for row in ids for index in row}.isdisjoint(swap.new)
    assert tokenizer.batch_decode(ids) == lines
    model = AutoModelForCausalLM.from_pretrained(swap.out / "model")
    assert torch.isfinite(model(torch.tensor([ids[0][:30]])).logits).all()


def test_a_control_is_added_later_with_the_tokenizer_as_it_was(swap: Swap) -> None:
    result = vocabopt(*swap.command, "--control", "--resume", "--quiet")
    assert result.exit_code == 0, result.output
    record = swap.record()
    control = record["control"]
    assert [stage["bytes"] for stage in control["stages"]] == [stage["bytes"] for stage in record["stages"]]
    assert control["stages"][0]["n_trainable"] == swap.n_tables * swap.config.vocab_size * 32


def test_a_plan_of_a_swap_has_the_rows_that_there_are_and_trains_what_training_trains(swap: Swap) -> None:
    """Before merge what the sweep chose, after it the tokenizer."""
    folder = swap.out.parent
    chosen = json.loads((folder / "run" / "swap.json").read_text("utf-8"))["choice"]["n_swapped"]
    assert chosen > 0
    for what, n_new in ((("--run", folder / "run"), chosen), (("--tokenizer", swap.tokenizer), N_SWAPPED)):
        result = vocabopt(
            "plan", swap.model, *what, "--plan", folder / "plan.toml", "--json", "--budget", "1Mtok", "--context", 32,
            "--micro-batch", 8, "--batch", "1024tok", "--precision", "fp32",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        plan = json.loads(result.stdout)
        assert (plan["n_rows"], plan["n_added"]) == (swap.config.vocab_size, n_new)
        assert plan["stages"][0]["n_trainable"] == swap.n_tables * n_new * 32
    assert [stage["n_trainable"] for stage in plan["stages"]] == [
        stage["n_trainable"] for stage in swap.record()["stages"]
    ]


@pytest.mark.slow
def test_a_probe_ranks_init_methods_for_reused_rows(swap: Swap, tmp_path: Path) -> None:
    """Before it trains, a cell has the bits per byte of the adaptation, whose rows are made the same way."""
    probed = [
        option
        for option in OPTIONS
        if option not in ("--sample-tokens", 4, "--keep-stages", "all", "--report-to", "none")
    ]
    more = ("--init", "decompose", "--init", "mean", "--plan", "full", "--steps", 2, "--out", tmp_path / "probe")
    result = vocabopt("probe", swap.model, "--tokenizer", swap.tokenizer, *probed, *more)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "probe" / "probe.json").read_text("utf-8"))
    rows = {row["init"]: row for row in record["rows"]}
    assert rows["decompose"]["initialised"] == pytest.approx(swap.record()["initialised"]["ko"], abs=1e-5)
    assert rows["mean"]["initialised"] != rows["decompose"]["initialised"]
