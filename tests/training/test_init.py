"""Rows for new tokens: worked by hand on a table of eight rows, and on small models of every kind that is adapted."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from trainer.init import INIT_METHODS, Extension, InitMethod, init_model, load_model, save_model
from trainer.layout import layout_of
from vocabopt.errors import ModelError

N_ROWS = 300
_SMALL = {
    "vocab_size": N_ROWS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**_SMALL),
    "mistral": MistralConfig(**_SMALL),
    "qwen2": Qwen2Config(**_SMALL, tie_word_embeddings=True),
    "gemma": GemmaConfig(**_SMALL, head_dim=8),
    "gemma3": Gemma3TextConfig(**_SMALL, head_dim=8),
    "gpt2": GPT2Config(vocab_size=N_ROWS, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
    "gpt-neox": GPTNeoXConfig(**_SMALL),
    "phi": PhiConfig(**_SMALL),
}
TIED = ("qwen2", "gemma", "gemma3", "gpt2")


def small_model(name: str) -> PreTrainedModel:
    """A model with rows and biases that differ."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def extension(
    new: dict[int, Sequence[int]],
    *,
    n_base: int,
    n_bytes: dict[int, Sequence[int]] | None = None,
    n_tokens: int | None = None,
    **more: Any,
) -> Extension:
    """New id -> its base ids."""
    lengths = {index: [1] * len(replaced) for index, replaced in new.items()} | (n_bytes or {})
    return Extension(
        new_ids=tuple(new),
        base_ids=tuple(tuple(replaced) for replaced in new.values()),
        base_n_bytes=tuple(tuple(lengths[index]) for index in new),
        texts=tuple(b"x" * sum(lengths[index]) for index in new),
        n_tokens=max(new) + 1 if n_tokens is None else n_tokens,
        base_tokens=range(n_base),
        place="tok",
        source="extension.json",
        **more,
    )


def tables(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """The input and the output table."""
    layout = layout_of(model)
    return model.get_parameter(layout.embeddings).data, model.get_parameter(layout.head or layout.embeddings).data


# --- Worked by hand --------------------------------------------------------------------------------------------------

#: Eight rows: five tokens of the base, two rows for new tokens, one of padding. Norms of the first five: 5 5 10 1 1.
INPUT = [[3, 4], [-3, 4], [6, 8], [0, 1], [-1, 0], [90, 90], [90, 90], [70, 70]]
#: Norms of the first five: 2 2 5 1 13.
OUTPUT = [[2, 0], [0, 2], [3, -4], [0, -1], [5, 12], [90, 90], [90, 90], [70, 70]]
#: Token 5 is base id 0 (one byte) and 1 (three bytes); token 6 is 2 (two bytes), 3 and 3 (a byte each).
NEW = {5: [0, 1], 6: [2, 3, 3]}
N_BYTES = {5: [1, 3], 6: [2, 1, 1]}
#: Base rows of the target script: too few to tell a norm. Those of the base ids have 5 5 10 1, so that the median is 5.
SCRIPT_IDS = (2, 3)

MEAN_IN, MEAN_OUT = [1.0, 3.4], [2.0, 1.8]
SUB_IN = [[0.0, 4.0], [2.0, 10 / 3]]
SUB_OUT = [[1.0, 1.0], [1.0, -2.0]]
#: (1 x (2, 0) + 3 x (0, 2)) / 4 and (2 x (3, -4) + (0, -1) + (0, -1)) / 4.
BYTES_OUT = [[0.5, 1.5], [1.5, -2.5]]
#: sqrt(152 / 10 - 2.2 ** 2) and sqrt(203 / 10 - 1.9 ** 2): of all ten entries about their mean.
STD_IN, STD_OUT = 3.218695, 4.085339
HAND: dict[InitMethod, tuple[Any, Any]] = {
    "mean": ([MEAN_IN, MEAN_IN], [MEAN_OUT, MEAN_OUT]),
    "decompose-embedding": (SUB_IN, "normal"),
    "decompose-head": ("normal", SUB_OUT),
    "decompose": (SUB_IN, SUB_OUT),
    "eeve": (SUB_IN, [[2.0, 0.0], [3.0, -4.0]]),
    # (0, 4) at norm 5; (2, 10/3) has norm sqrt(136) / 3, so that 5 makes it 15 / sqrt(136) x (2, 10/3).
    "weighted": ([[0.0, 5.0], [30 / math.sqrt(136), 50 / math.sqrt(136)]], BYTES_OUT),
    "random": ("normal", "normal"),
}
#: What it begins with, before rows are learned.
HAND["distill"] = HAND["weighted"]


def eight_rows() -> PreTrainedModel:
    named = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = LlamaConfig(**{**_SMALL, **named, "vocab_size": 8, "hidden_size": 2, "num_attention_heads": 1}, head_dim=2)
    config.num_key_value_heads = 1
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    for table, values in zip(tables(model), (INPUT, OUTPUT), strict=True):
        table.copy_(torch.tensor(values, dtype=torch.float32))
    return model


def drawn(seed: int, std: float) -> Tensor:
    return torch.randn(2, 2, generator=torch.Generator().manual_seed(seed)) * std


@pytest.mark.parametrize("method", INIT_METHODS)
def test_rows_of_every_method_are_those_worked_by_hand(method: InitMethod) -> None:
    model = eight_rows()
    init_model(
        model,
        extension(NEW, n_base=5, n_bytes=N_BYTES, script_ids=SCRIPT_IDS, scripts=("Hangul",)),
        method=method,
        match_norm=False,
        seed=7,
    )
    # Each table draws numbers of its own: seeds 3 x 7 and 3 x 7 + 1.
    for table, before, hand, random in zip(
        tables(model), (INPUT, OUTPUT), HAND[method], (drawn(21, STD_IN), drawn(22, STD_OUT)), strict=True
    ):
        expected = random if isinstance(hand, str) else torch.tensor(hand)
        torch.testing.assert_close(table[5:7], expected, rtol=1e-6, atol=1e-6)
        untouched = torch.tensor(before, dtype=torch.float32)
        assert torch.equal(table[:5], untouched[:5])
        assert torch.equal(table[7], untouched[7])


#: Norms that --match-norm gives the two tokens: means of 5 5, of 10 1 1; of 2 2, of 5 1 1; by bytes, of the first.
MATCHED: dict[InitMethod, tuple[list[float], list[float]]] = {
    "random": ([5, 4], [2, 7 / 3]),
    "mean": ([5, 4], [2, 7 / 3]),
    "decompose-embedding": ([5, 4], [2, 7 / 3]),
    "decompose-head": ([5, 4], [2, 7 / 3]),
    "decompose": ([5, 4], [2, 7 / 3]),
    "eeve": ([5, 4], [2, 5]),
    "weighted": ([5, 5], [2, 3]),
    "distill": ([5, 5], [2, 3]),
}


@pytest.mark.parametrize("method", INIT_METHODS)
def test_match_norm_gives_a_row_the_mean_norm_of_what_it_is_made_of_and_keeps_its_direction(method: InitMethod) -> None:
    plain, matched = eight_rows(), eight_rows()
    given = extension(NEW, n_base=5, n_bytes=N_BYTES, script_ids=SCRIPT_IDS, scripts=("Hangul",))
    init_model(plain, given, method=method, match_norm=False, seed=0)
    init_model(matched, given, method=method, match_norm=True, seed=0)
    for before, after, norms in zip(tables(plain), tables(matched), MATCHED[method], strict=True):
        torch.testing.assert_close(after[5:7].norm(dim=1), torch.tensor(norms, dtype=torch.float32))
        cosine = torch.nn.functional.cosine_similarity(before[5:7], after[5:7])
        torch.testing.assert_close(cosine, torch.ones(2))


@pytest.mark.parametrize("n_of_script", [0, 1, 63, 64, 100])
def test_weighted_takes_the_script_s_norm_from_64_rows_on_and_else_that_of_the_base_ids(n_of_script: int) -> None:
    """One row of the script says nothing of how long its rows are; what target text was spelled with does."""
    model = small_model("llama")
    table = tables(model)[0]
    table[200:] *= 10
    script_ids = tuple(range(200, 200 + n_of_script))
    given = extension({300: [3, 4, 4], 301: [5, 3]}, n_base=300, script_ids=script_ids, scripts=("Hangul",))
    chosen = list(script_ids) if n_of_script >= 64 else [3, 4, 5]
    norm = float(np.median(table[chosen].double().norm(dim=1)))
    log = init_model(model, given, method="weighted", match_norm=False, seed=0)
    torch.testing.assert_close(tables(model)[0][300:302].norm(dim=1), torch.tensor([norm, norm], dtype=torch.float32))
    found = log.tables[0].norm
    assert found is not None
    assert (found.rows, found.n_rows) == ("target script" if n_of_script >= 64 else "base ids", len(chosen))
    assert found.norm == pytest.approx(norm, rel=1e-6)
    assert log.tables[1].norm is None
    assert log.notes == (
        f"Norm of the new rows: the median of {n_of_script:,} base rows of Hangul."
        if n_of_script >= 64
        else "Norm of the new rows: the median of the 3 base rows that they are made of; of Hangul there are "
        f"{n_of_script} rows, and 64 are needed.",
    )


def test_a_target_without_a_script_takes_the_norm_of_the_base_ids() -> None:
    log = init_model(eight_rows(), extension(NEW, n_base=5), method="weighted", match_norm=False, seed=0)
    (note,) = log.notes
    assert "the 4 base rows that they are made of; there is no target script" in note


@pytest.mark.parametrize(
    ("method", "match_norm", "warns"),
    [
        ("decompose", False, False),
        ("decompose", True, True),
        ("weighted", False, True),
        ("decompose-head", False, False),
    ],
)
def test_a_tied_model_is_told_what_rescaled_and_random_rows_mean_for_it(
    method: InitMethod, match_norm: bool, warns: bool
) -> None:
    given = extension({300: [7, 9], 301: [4, 4, 5]}, n_base=300)
    tied, untied = (
        init_model(small_model(name), given, method=method, match_norm=match_norm, seed=0) for name in ("gpt2", "llama")
    )
    assert any("output rows too" in note and "vocabopt probe" in note for note in tied.notes) == warns
    assert any("all new rows are drawn at random" in note for note in tied.notes) == (method == "decompose-head")
    assert not any("tied" in note for note in untied.notes)


def test_the_log_counts_rows_by_how_they_came_about_and_gives_their_norms() -> None:
    grown = extension(NEW, n_base=5, n_rows=12)
    log = init_model(eight_rows(), grown, method="decompose", match_norm=False, seed=0)
    assert [(table.name, table.n_rows_before, table.n_rows, table.width) for table in log.tables] == [
        ("input", 8, 12, 2),
        ("output", 8, 12, 2),
    ]
    table = log.tables[0]
    assert [(group.kind, group.made_by, group.n_rows) for group in table.groups] == [
        ("base", "kept", 5),
        ("new", "mean of their base ids' rows", 2),
        ("padding", "kept", 1),
        ("padding", "mean of all base rows", 4),
    ]
    assert table.groups[0].norm_mean == pytest.approx(22 / 5)
    assert table.groups[0].norm_median == 5
    # (0, 4) and (2, 10/3): of an even number the middle is the mean of two.
    assert table.groups[1].norm_median == pytest.approx((4 + math.sqrt(136) / 3) / 2)
    assert table.standard_deviation == pytest.approx(STD_IN, abs=1e-6)


def test_rows_drawn_at_random_have_the_table_s_spread_and_the_two_tables_share_none() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**{**_SMALL, "hidden_size": 256}))
    base = tables(model)[0][:200] * 3 + 5
    tables(model)[0][:200] = base
    new = {index: [0] for index in range(300, 2_500)}
    init_model(model, extension(new, n_base=200), method="random", match_norm=False, seed=1)
    input_rows, output_rows = (table[300:] for table in tables(model))
    assert input_rows.mean().abs() < 0.001
    assert float(input_rows.std()) == pytest.approx(float(base.std(unbiased=False)), rel=0.01)
    correlation = torch.corrcoef(torch.stack([input_rows.flatten(), output_rows.flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.01


# --- Rows of base tokens that a swap took out ------------------------------------------------------------------------

#: Ids 1 and 3 of the base's five go to new tokens, each made of the other's old row among others; id 1 of a byte of
#: the base's 0 and three of its 3; id 3 of two bytes each of its 1 and 2.
SWAPPED = {1: [0, 3], 3: [1, 2]}
SWAPPED_BYTES = {1: [1, 3], 3: [2, 2]}
SWAPPED_IN, SWAPPED_OUT = [[1.5, 2.5], [1.5, 6.0]], [[1.0, -0.5], [1.5, -1.0]]
BY_HAND: dict[InitMethod, tuple[Any, Any]] = {
    "mean": ([MEAN_IN, MEAN_IN], [MEAN_OUT, MEAN_OUT]),
    "decompose": (SWAPPED_IN, SWAPPED_OUT),
    "eeve": (SWAPPED_IN, [[2.0, 0.0], [0.0, 2.0]]),
    # At norm 5, the median of 5 5 10 1; (1 x (2, 0) + 3 x (0, -1)) / 4 and the mean of (0, 2) and (3, -4).
    "weighted": (
        [[7.5 / math.sqrt(8.5), 12.5 / math.sqrt(8.5)], [7.5 / math.sqrt(38.25), 30 / math.sqrt(38.25)]],
        [[0.5, -0.75], [1.5, -1.0]],
    ),
}


@pytest.mark.parametrize("method", BY_HAND)
def test_rows_that_are_reused_are_made_of_what_the_rows_were(method: InitMethod) -> None:
    model = eight_rows()
    given = extension(SWAPPED, n_base=5, n_bytes=SWAPPED_BYTES, n_tokens=5)
    log = init_model(model, given, method=method, match_norm=False, seed=7)
    for table, before, hand in zip(tables(model), (INPUT, OUTPUT), BY_HAND[method], strict=True):
        torch.testing.assert_close(table[[1, 3]], torch.tensor(hand), rtol=1e-6, atol=1e-6)
        kept = [0, 2, 4, 5, 6, 7]
        assert torch.equal(table[kept], torch.tensor(before, dtype=torch.float32)[kept])
    assert (log.n_new, log.n_reused) == (2, 2)
    # Three tokens of the base are kept, and three rows of padding.
    assert [group.n_rows for group in log.tables[0].groups] == [3, 2, 3, 0]
    assert log.tables[0].standard_deviation == pytest.approx(STD_IN, abs=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_thousands_of_reused_rows_that_are_made_of_one_another_come_of_the_rows_as_they_were(tied: bool) -> None:
    """More than are made at a time: each of its own old row, that of another reused one and of a kept one."""
    config = LlamaConfig(**{**_SMALL, "vocab_size": 5_000, "hidden_size": 8}, tie_word_embeddings=tied)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    before = [table.double().numpy().copy() for table in tables(model)]
    new = {index: [index, 4_600 - index, index - 1] for index in range(101, 4_501, 2)}
    init_model(model, extension(new, n_base=4_900, n_tokens=4_900), method="decompose", match_norm=False, seed=0)
    expected = [table.copy() for table in before]
    for index, parts in new.items():
        for table, old in zip(expected, before, strict=True):
            table[index] = old[parts].mean(0)
    for found, wanted, old in zip(tables(model), expected, before, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-7)
        kept = [index for index in range(5_000) if index not in new]
        assert np.array_equal(found.numpy()[kept], old[kept])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_swap_changes_the_reused_rows_and_nothing_else_of_a_model(name: str, tmp_path: Path) -> None:
    """Neither another weight, the tying, the size nor a setting; also after save and load."""
    model = small_model(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    config, generation = model.config.to_dict(), model.generation_config.to_dict()
    new = {7: [17], 290: [3, 7], 120: [290, 120]}
    log = init_model(model, extension(new, n_base=295, n_tokens=295), method="decompose", match_norm=False, seed=0)
    assert [(table.n_rows_before, table.n_rows) for table in log.tables] == [(N_ROWS, N_ROWS)] * len(log.tables)
    assert model.config.to_dict() == config
    save_model(model, tmp_path / "model")
    layout = layout_of(model)
    by_token = {layout.embeddings, layout.head or layout.embeddings, layout.head_bias}
    kept = [index for index in range(N_ROWS) if index not in new]
    for found in (model, load_model(tmp_path / "model")):
        assert layout_of(found).is_tied == (name in TIED)
        assert found.generation_config.to_dict() == generation
        after = found.state_dict()
        assert after.keys() == before.keys()
        for key, tensor in after.items():
            is_table = key in by_token or tensor.data_ptr() == after[layout.embeddings].data_ptr()
            rows = kept if is_table else slice(None)
            assert torch.equal(tensor[rows], before[key][rows]), key
            if is_table:
                assert torch.equal(tensor[7], before[key][17])
                assert not (tensor[[290, 120]] == before[key][[290, 120]]).all(dim=-1).any()


# --- On models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_decompose_gives_the_base_s_own_logits_for_a_token_that_replaces_one_base_token(
    name: str, tmp_path: Path
) -> None:
    """Also after save and load, in shards; base rows stay bit for bit, and tied tables stay one."""
    model = small_model(name)
    ids = torch.tensor([[5, 17, 123, 8, 17, 44]])
    with torch.no_grad():
        before = model(ids).logits
    kept = [table[:290].clone() for table in tables(model)]
    special = (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id)
    # Twenty tokens from 290 on: ten in padding rows, ten in rows to come.
    new = {290 + i: [17] if i % 2 else [3, 4] for i in range(20)}
    init_model(model, extension(new, n_base=290, n_rows=320), method="decompose", match_norm=False, seed=0)
    save_model(model, tmp_path / "model", max_shard_size=20_000)
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    loaded = load_model(tmp_path / "model").eval()
    for found in (model, loaded):
        with torch.no_grad():
            after = found(torch.where(ids == 17, 301, ids)).logits
        assert after.shape[-1] == found.config.vocab_size == 320
        torch.testing.assert_close(after[..., :290], before[..., :290], rtol=0, atol=1e-5)
        torch.testing.assert_close(after[..., 301], before[..., 17], rtol=0, atol=1e-5)
        assert all(torch.equal(a[:290], b) for a, b in zip(tables(found), kept, strict=True))
        layout = layout_of(found)
        assert layout.is_tied == (name in TIED)
        assert (layout.head_bias is not None) == (name == "phi")
    assert special == tuple(getattr(loaded.config, f"{kind}_token_id") for kind in ("bos", "eos", "pad"))
    assert loaded.generation_config is not None
    assert loaded.generation_config.eos_token_id == special[1]


@pytest.mark.parametrize("method", INIT_METHODS)
def test_a_tied_model_takes_the_input_rule_of_every_method_and_stays_tied(method: InitMethod) -> None:
    tied, untied = small_model("gpt2"), small_model("llama")
    tables(untied)[0].copy_(tables(tied)[0])
    given = extension({300: [7, 9], 301: [4, 4, 5]}, n_base=300, script_ids=(5, 6, 7), scripts=("Hangul",))
    log = init_model(tied, given, method=method, match_norm=True, seed=0)
    init_model(untied, given, method=method, match_norm=True, seed=0)
    assert tied.get_input_embeddings().weight is tied.get_output_embeddings().weight
    assert torch.equal(tables(tied)[0], tables(untied)[0])
    assert [table.name for table in log.tables] == ["both"]
    is_told = any(f"input rule of {method}" in note for note in log.notes)
    assert is_told == (method in ("decompose-embedding", "decompose-head", "eeve", "weighted", "distill"))


def test_new_ids_fall_into_padding_rows_where_they_are_and_nothing_else_moves() -> None:
    """As in Qwen2.5: 151,665 tokens in 151,936 rows. The table's tail is not what is new."""
    model = small_model("qwen2")
    before = tables(model)[0].clone()
    new = {250: [1, 2], 251: [3], 252: [4, 5, 6]}
    log = init_model(model, extension(new, n_base=250), method="decompose", match_norm=False, seed=0)
    after = tables(model)[0]
    assert model.config.vocab_size == len(after) == N_ROWS
    changed = [index for index in range(N_ROWS) if not torch.equal(before[index], after[index])]
    assert changed == [250, 251, 252]
    assert torch.equal(after[251], before[3])
    assert [group.n_rows for group in log.tables[0].groups] == [250, 3, 47, 0]


def test_means_and_spread_are_of_base_tokens_and_not_of_padding_rows_or_holes() -> None:
    model = small_model("llama")
    for table in tables(model):
        table[290:] = 1_000.0
        table[100] = -1_000.0
    tokens = [index for index in range(290) if index != 100]
    given = replace(extension({290: [1]}, n_base=290), base_tokens=tuple(tokens))
    expected = tables(model)[0][tokens].double().mean(0).float()
    log = init_model(model, given, method="mean", match_norm=False, seed=0)
    assert torch.equal(tables(model)[0][290], expected)
    assert log.tables[0].standard_deviation < 1
    assert [group.n_rows for group in log.tables[0].groups] == [289, 1, 10, 0]


@pytest.mark.parametrize("name", ["llama", "phi", "gemma"])
def test_padding_rows_are_the_mean_of_base_rows_and_so_never_likelier_than_the_mean_base_token(name: str) -> None:
    model = small_model(name)
    if name == "phi":
        # All logits are negative: a row of zeros would win.
        model.get_parameter("lm_head.bias").data -= 10
    means = [table.double().mean(0).float() for table in tables(model)]
    init_model(model, extension({300: [1]}, n_base=300, n_rows=350), method="decompose", match_norm=True, seed=0)
    for table, mean in zip(tables(model), means, strict=True):
        assert torch.equal(table[301:], mean.expand(49, -1))
    with torch.no_grad():
        probability = model(torch.arange(40)[None]).logits[0].softmax(-1)
    mean_of_base = probability[:, :300].mean(1)
    assert (probability[:, 301:].max(1).values <= mean_of_base).all()


def test_a_head_s_bias_follows_the_output_rule() -> None:
    expected = {"mean": "all", "decompose": [4, 6], "eeve": [4], "weighted": [4, 4, 4, 6]}
    for method, what in expected.items():
        model = small_model("phi")
        bias = model.get_parameter("lm_head.bias").data.clone()
        given = extension({300: [4, 6]}, n_base=300, n_bytes={300: [3, 1]})
        log = init_model(model, given, method=method, match_norm=True, seed=0)  # type: ignore[arg-type]
        after = model.get_parameter("lm_head.bias").data
        assert torch.equal(after[:300], bias)
        torch.testing.assert_close(after[300], (bias if what == "all" else bias[what]).mean())
        assert [table.name for table in log.tables] == ["input", "output", "bias"]


def test_the_bias_of_a_tied_head_follows_the_input_rule_and_is_not_rescaled() -> None:
    for method in ("decompose", "eeve", "decompose-embedding", "weighted"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(PhiConfig(**_SMALL, tie_word_embeddings=True))
        bias = torch.randn(300, generator=torch.Generator().manual_seed(1))
        model.get_parameter("lm_head.bias").data.copy_(bias)
        given = extension({300: [4, 6]}, n_base=300, n_bytes={300: [3, 1]}, script_ids=(7,), scripts=("Hangul",))
        log = init_model(model, given, method=method, match_norm=True, seed=0)  # type: ignore[arg-type]
        assert [table.name for table in log.tables] == ["both", "bias"]
        torch.testing.assert_close(model.get_parameter("lm_head.bias").data[300], bias[[4, 6]].mean())


def test_the_row_of_a_single_base_id_is_that_row_bit_for_bit_however_many_bytes_it_has() -> None:
    model = small_model("llama")
    new = {300 + i: [i] for i in range(100)}
    given = extension(new, n_base=300, n_bytes={index: [7] for index in new})
    init_model(model, given, method="weighted", match_norm=False, seed=0)
    assert torch.equal(tables(model)[1][300:], tables(model)[1][:100])


def test_rows_do_not_depend_on_the_order_of_tokens_nor_on_what_was_drawn_before() -> None:
    new = {300 + i: [i, i + 1, i + 2][: 1 + i % 3] for i in range(40)}
    backwards = dict(reversed(new.items()))
    for method in INIT_METHODS:
        one, other = small_model("llama"), small_model("llama")
        init_model(one, extension(new, n_base=300), method=method, match_norm=True, seed=3)
        torch.manual_seed(99)
        state = torch.random.get_rng_state()
        init_model(other, extension(backwards, n_base=300, n_tokens=340), method=method, match_norm=True, seed=3)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert all(torch.equal(a, b) for a, b in zip(tables(one), tables(other), strict=True))


def test_a_row_does_not_depend_on_the_tokens_it_is_made_beside() -> None:
    alone, beside = small_model("llama"), small_model("llama")
    token = {300: [11, 7, 5]}
    init_model(alone, extension(token, n_base=300), method="decompose", match_norm=True, seed=0)
    init_model(
        beside, extension(token | {301: list(range(40))}, n_base=300), method="decompose", match_norm=True, seed=0
    )
    assert torch.equal(tables(alone)[0][300], tables(beside)[0][300])


def test_sums_are_float32_inside_and_cast_once() -> None:
    model = small_model("llama").to(torch.bfloat16)
    input_rows, output_rows = (table[[3, 4, 5]].double() for table in tables(model))
    given = extension({300: [3, 4, 5]}, n_base=300, n_bytes={300: [3, 7, 11]}, script_ids=(9,))
    init_model(model, given, method="weighted", match_norm=False, seed=0)
    mean = input_rows.mean(0)
    norm = input_rows.norm(dim=1).median()  # of the three base ids: one row of the script tells nothing
    by_bytes = (output_rows * torch.tensor([[3.0], [7.0], [11.0]])).sum(0) / 21
    for table, expected in zip(tables(model), (mean * norm / mean.norm(), by_bytes), strict=True):
        assert table.dtype == torch.bfloat16
        assert torch.equal(table[300], expected.to(torch.bfloat16))


def test_a_base_row_of_zeros_makes_no_row_that_is_not_a_number() -> None:
    model = small_model("llama")
    tables(model)[0][0] = 0
    init_model(model, extension({300: [0]}, n_base=300), method="decompose", match_norm=True, seed=0)
    assert torch.equal(tables(model)[0][300], torch.zeros(32))


# --- Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (extension({400: [1]}, n_base=400), "tok: extends a base of 400 tokens; LlamaForCausalLM has 300 rows"),
        (extension({290: [1, 295]}, n_base=290), r"token 290 replaces the base ids \[1, 295\]; .* 290 tokens"),
        (extension({290: [-1]}, n_base=290), r"token 290 replaces the base ids \[-1\]"),
        (extension({290: []}, n_base=290), r"token 290 replaces the base ids \[\]"),
    ],
)
def test_a_tokenizer_that_does_not_fit_the_tables_is_refused_before_anything_changes(
    given: Extension, match: str
) -> None:
    model = small_model("llama")
    before = [table.clone() for table in tables(model)]
    with pytest.raises(ModelError, match=match):
        init_model(model, given, method="decompose", match_norm=False, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(tables(model), before, strict=True))


def test_a_model_with_a_second_table_by_token_is_refused() -> None:
    model = small_model("llama")
    model.config.vocab_size_per_layer_input = 300
    with pytest.raises(ModelError, match=r"per-layer embeddings \(vocab_size_per_layer_input = 300"):
        init_model(model, extension({300: [1]}, n_base=300), method="decompose", match_norm=False, seed=0)


@pytest.mark.parametrize(
    ("new", "n_base", "file", "match"),
    [
        (
            {250: [1], 2: [3]},
            295,
            "config",
            "the id 2 to the new token b'x', and the model's config.json names it as eos",
        ),
        ({300: [1]}, 300, "generation", "the id 300 to .* generation_config.json names it as pad_token_id. Where the"),
        ({300: [1]}, 300, "list", r"the id 300 to .* generation_config.json names it as eos_token_id"),
    ],
)
def test_a_new_token_at_an_id_that_the_model_s_settings_name_is_refused(
    new: dict[int, Sequence[int]], n_base: int, file: str, match: str
) -> None:
    """Published models have pad ids that their tokenizer lacks: a new token there would be taken for padding."""
    model = small_model("llama")
    assert model.generation_config is not None
    if file == "generation":
        model.generation_config.pad_token_id = 300
    elif file == "list":
        model.generation_config.eos_token_id = [2, 300]
    before = [table.clone() for table in tables(model)]
    with pytest.raises(ModelError, match=match):
        init_model(model, extension(new, n_base=n_base), method="decompose", match_norm=False, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(tables(model), before, strict=True))
