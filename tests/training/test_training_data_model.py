"""Packing in the model: a document in a block gets the logits, and gives the loss, that it has alone."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import written
from helpers import lines_of
from transformers import (
    AutoTokenizer,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from trainer.data import PackedText, cut_text, pack_stage, scan_text, target_and_replays
from trainer.data.collate import collator_of
from vocabopt.errors import ModelError
from vocabopt.text.readers import ReadOptions

CONTEXT = 48
N_ROWS = 2_048
SMALL: dict[str, Any] = {"vocab_size": N_ROWS, "initializer_range": 0.2}
ROTARY: dict[str, Any] = SMALL | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
GROUPED = ROTARY | {"num_key_value_heads": 1}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**GROUPED, tie_word_embeddings=True)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**SMALL, n_embd=32, n_layer=2, n_head=2, n_positions=64)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**ROTARY)),
    # Windows shorter than documents: one layer in two of Gemma 2, all of Mistral.
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**GROUPED, head_dim=16, sliding_window=6)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=6)),
    # These do not hand their positions to the mask.
    "opt": lambda: OPTForCausalLM(
        OPTConfig(vocab_size=N_ROWS, init_std=0.2, hidden_size=32, ffn_dim=48, num_hidden_layers=2,
                  num_attention_heads=2, max_position_embeddings=64, word_embed_proj_dim=32, dropout=0.0)
    ),
    "falcon": lambda: FalconForCausalLM(
        FalconConfig(**SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, alibi=False)
    ),
}  # fmt: skip
NEEDS_MASK = ("opt", "falcon")
#: transformers has no sdpa for Gemma 2: its scores are capped.
PAIRS = [
    (kind, attention) for kind in MODELS for attention in ("sdpa", "eager") if (kind, attention) != ("gemma2", "sdpa")
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only wait for more."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def model_of(kind: str, attention: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = MODELS[kind]()
    model.set_attn_implementation(attention)
    return model.eval()


@pytest.fixture(scope="module")
def packed(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedText:
    """Short documents and one of more than two blocks."""
    folder = tmp_path_factory.mktemp("packed")
    lines = [*lines_of("en")[:40], " ".join(lines_of("en")[40:50])]
    text = written(folder / "en.txt", "\n".join(lines))
    scanned = scan_text(target_and_replays(("en", str(text)), {}, ReadOptions()))
    plan = cut_text(scanned, budget_bytes=None, stage_shares=[1], seed=0)
    tokenizer = AutoTokenizer.from_pretrained(folders / "llama-like")
    return pack_stage(plan, 0, tokenizer, context_tokens=CONTEXT, folder=folder / "packed")


def stretches(item: dict[str, torch.Tensor]) -> list[tuple[int, int]]:
    """Where the documents of a block lie."""
    begins = [*np.flatnonzero(item["position_ids"].numpy() == 0).tolist(), CONTEXT]
    return list(pairwise(begins))


def alone(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids[None], use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize(("kind", "attention"), PAIRS)
def test_a_packed_document_has_the_logits_it_has_alone(kind: str, attention: str, packed: PackedText) -> None:
    model = model_of(kind, attention)
    collate = collator_of(model)
    items = [packed.dataset(0)[i] for i in range(4)]
    batch = collate(items)
    assert ("attention_mask" in batch) == (kind in NEEDS_MASK)
    with torch.no_grad():
        logits = model(**batch).logits
        assert sum(len(stretches(item)) for item in items) > 6
        for row, item in zip(logits, items, strict=True):
            for start, stop in stretches(item):
                expected = alone(model, item["input_ids"][start:stop])
                assert (row[start:stop] - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_with_the_cache_that_configs_ask_for_documents_would_see_each_other(kind: str, packed: PackedText) -> None:
    """Why a batch says that there is no cache: transformers then builds a plain causal mask, without a word."""
    model = model_of(kind, "sdpa")
    item = max((packed.dataset(0)[i] for i in range(6)), key=lambda item: len(stretches(item)))
    start, stop = stretches(item)[1]
    with torch.no_grad():
        logits = model(**{name: row[None] for name, row in item.items()}, use_cache=True).logits[0]
        assert (logits[start:stop] - alone(model, item["input_ids"][start:stop])).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_transformers_trainer_reaches_the_loss_of_the_documents_alone(
    kind: str, packed: PackedText, tmp_path: Path
) -> None:
    """The first step's loss is the mean over every token that follows another of its document in its block."""
    # Trainer imports datasets and pandas, 80 MB: not before the test that needs it.
    from transformers import Trainer, TrainingArguments

    model = model_of(kind, "sdpa")
    dataset = packed.dataset(3)
    losses = []
    with torch.no_grad():
        for item in (dataset[0], dataset[1]):
            for start, stop in stretches(item):
                if (item["labels"][start:stop] != -100).any():
                    ids = item["input_ids"][start:stop]
                    losses.append(torch.nn.functional.cross_entropy(alone(model, ids)[:-1], ids[1:], reduction="none"))
    arguments = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=2, max_steps=1, logging_steps=1, report_to=[],
        use_cpu=True, save_strategy="no", disable_tqdm=True, train_sampling_strategy="sequential",
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=collator_of(model))
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(float(torch.cat(losses).mean()), abs=2e-4)


def test_a_model_that_cannot_keep_documents_apart_is_refused() -> None:
    class Averaging(LlamaForCausalLM):
        """Sees what came before whatever the mask says, as attention by a library of its own may."""

        def forward(self, input_ids: torch.Tensor, **batch: Any) -> Any:  # type: ignore[override]
            output = super().forward(input_ids=input_ids, **batch)
            output.logits = output.logits.cumsum(1)
            return output

    torch.manual_seed(0)
    model = Averaging(LlamaConfig(**GROUPED)).train()
    with pytest.raises(ModelError, match=r'Averaging: .* see each other.*attn_implementation="sdpa"'):
        collator_of(model)
    assert model.training


def test_asking_leaves_the_model_and_the_random_numbers_as_they_are(packed: PackedText) -> None:
    model = model_of("llama", "sdpa").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    collator_of(model)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "attention"), [("llama", "sdpa"), ("gpt2", "eager"), ("opt", "sdpa"), ("opt", "eager")]
)
def test_documents_stay_apart_in_half_precision(kind: str, attention: str, packed: PackedText) -> None:
    model = model_of(kind, attention).to(torch.bfloat16)
    items: Sequence[dict[str, torch.Tensor]] = [packed.dataset(0)[i] for i in range(2)]
    batch = collator_of(model)(items)
    changed = [{**item, "input_ids": item["input_ids"].clone()} for item in items]
    start = stretches(items[0])[1][0]
    changed[0]["input_ids"][:start] = 7
    with torch.no_grad():
        before, after = model(**batch).logits, model(**collator_of(model)(changed)).logits
    assert torch.equal(before[0, start:], after[0, start:])
    assert not torch.equal(before[0, :start], after[0, :start])
