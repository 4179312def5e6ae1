"""Each stage trains exactly its parameters. The sets are written out here, as the prepared model names them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stages import NEW_IDS, TinyText, tensors_of, tiny_gpt2, tiny_llama, tiny_qwen2
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from trainer.layout import layout_of
from trainer.plan import Lora, Stage, named_plan
from trainer.stages.freeze import NewRows, finish_stage, prepare_stage
from vocabopt.errors import PlanError

N_BLOCKS = 5
LORA = Lora(rank=4, alpha=8)


def of_llama_blocks(*blocks: int) -> set[str]:
    parts = (
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
        "self_attn.o_proj.weight",
        "mlp.gate_proj.weight",
        "mlp.up_proj.weight",
        "mlp.down_proj.weight",
        "input_layernorm.weight",
        "post_attention_layernorm.weight",
    )
    return {f"model.layers.{block - 1}.{part}" for block in blocks for part in parts}


def of_qwen2_blocks(*blocks: int) -> set[str]:
    biases = ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias")
    return of_llama_blocks(*blocks) | {f"model.layers.{block - 1}.{part}" for block in blocks for part in biases}


def of_gpt2_blocks(*blocks: int) -> set[str]:
    layers = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    return {f"transformer.h.{b - 1}.{layer}.{part}" for b in blocks for layer in layers for part in ("weight", "bias")}


def llama_adapters() -> set[str]:
    layers = (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
    return {
        f"model.layers.{block}.{layer}.lora_{factor}.default.weight"
        for block in range(N_BLOCKS)
        for layer in layers
        for factor in "AB"
    }


def gpt2_adapters() -> set[str]:
    layers = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    return {
        f"transformer.h.{block}.{layer}.lora_{factor}.default.weight"
        for block in range(N_BLOCKS)
        for layer in layers
        for factor in "AB"
    }


# A table whose new rows are apart is two parameters: the table, and those rows.
E, E_OLD = {"model.embed_tokens.weight"}, {"model.embed_tokens.parametrizations.weight.original"}
E_NEW = {"model.embed_tokens.parametrizations.weight.0.rows"}
H, H_OLD = {"lm_head.weight"}, {"lm_head.parametrizations.weight.original"}
H_NEW = {"lm_head.parametrizations.weight.0.rows"}
NORM = {"model.norm.weight"}
T, T_OLD = {"transformer.wte.weight"}, {"transformer.wte.parametrizations.weight.original"}
T_NEW = {"transformer.wte.parametrizations.weight.0.rows"}
REST = {"transformer.wpe.weight", "transformer.ln_f.weight", "transformer.ln_f.bias"}

Sets = dict[str, list[set[str]]]


def llama_sets() -> Sets:
    split = E_OLD | E_NEW | H_OLD | H_NEW
    everything = of_llama_blocks(1, 2, 3, 4, 5) | NORM
    return {
        "redwhale": [split, of_llama_blocks(1, 3, 5), of_llama_blocks(2, 4), llama_adapters()],
        "full": [split | everything],
        "lora": [split | llama_adapters()],
        "sequential": [split, of_llama_blocks(1, 2), of_llama_blocks(3, 4, 5), llama_adapters()],
        "top2-bottom2": [split | of_llama_blocks(1, 2, 4, 5)],
        "eeve": [E_NEW, H_NEW, E_NEW | H_NEW, H, E_NEW | H, E | H | everything, everything],
        "inplace": [E_NEW | H_NEW, E | H | everything],
    }


def tied_sets(
    table: set[str], old: set[str], new: set[str], rest: set[str], blocks: Callable[..., set[str]], adapters: set[str]
) -> Sets:
    """One table, which trains the wider of what embeddings and head say."""
    everything = blocks(1, 2, 3, 4, 5) | rest
    return {
        "redwhale": [old | new, blocks(1, 3, 5), blocks(2, 4), adapters],
        "full": [old | new | everything],
        "lora": [old | new | adapters],
        "sequential": [old | new, blocks(1, 2), blocks(3, 4, 5), adapters],
        "top2-bottom2": [old | new | blocks(1, 2, 4, 5)],
        "eeve": [new, new, new, table, table, table | everything, everything],
        "inplace": [new, table | everything],
    }


CASES: dict[str, tuple[Callable[[int], PreTrainedModel], Sets]] = {
    "llama": (tiny_llama, llama_sets()),
    "gpt2": (tiny_gpt2, tied_sets(T, T_OLD, T_NEW, REST, of_gpt2_blocks, gpt2_adapters())),
    "qwen2": (tiny_qwen2, tied_sets(E, E_OLD, E_NEW, NORM, of_qwen2_blocks, llama_adapters())),
}


@pytest.mark.parametrize("plan", ["redwhale", "full", "lora", "sequential", "top2-bottom2", "eeve", "inplace"])
@pytest.mark.parametrize("kind", CASES)
def test_each_stage_trains_exactly_its_parameters(kind: str, plan: str) -> None:
    make, sets = CASES[kind]
    model = make(N_BLOCKS)
    before, names = tensors_of(model), [name for name, _ in model.named_parameters()]
    stages = named_plan(plan, LORA).stages
    assert len(stages) == len(sets[plan])
    for stage, expected in zip(stages, sets[plan], strict=True):
        prepared = prepare_stage(model, stage, layout_of(model), NEW_IDS)
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert trained == expected, stage.name
        assert prepared.new_rows == {name for name in expected if name.endswith(".0.rows")}
        finish_stage(prepared)
    # Nothing was trained, and nothing is left: adapters start at a product of 0, new rows at the table's.
    assert [name for name, _ in model.named_parameters()] == names
    assert type(model) is type(make(1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_trainable_numbers_count_a_new_row_once() -> None:
    model = tiny_llama(2)
    stage = Stage(name="tables", embeddings="all", head="new", new_rows_factor=5.0)
    assert prepare_stage(model, stage, layout_of(model), NEW_IDS).n_trainable == 96 * 32 + 10 * 32


def test_without_new_rows_tables_stay_whole() -> None:
    model = tiny_llama(2)
    stage = named_plan("redwhale").stages[0]
    prepared = prepare_stage(model, stage, layout_of(model), ())
    assert set(prepared.trained) == E | H


def test_new_rows_where_there_are_none_are_refused() -> None:
    model = tiny_llama(2)
    stage = named_plan("inplace").stages[0]
    with pytest.raises(PlanError, match="stage 'new-rows': trains new rows, and the tokenizer adds none"):
        prepare_stage(model, stage, layout_of(model), ())


def test_lora_goes_on_the_named_layers_of_the_stages_blocks() -> None:
    model = tiny_llama(3)
    lora = Lora(rank=2, alpha=4, targets=("q_proj", "down_proj"))
    prepared = prepare_stage(model, Stage(name="l", blocks="even", lora=lora), layout_of(model), ())
    assert set(prepared.trained) == {
        "model.layers.1.self_attn.q_proj.lora_A.default.weight",
        "model.layers.1.self_attn.q_proj.lora_B.default.weight",
        "model.layers.1.mlp.down_proj.lora_A.default.weight",
        "model.layers.1.mlp.down_proj.lora_B.default.weight",
    }


def test_unknown_lora_targets_are_told_with_those_there_are() -> None:
    model = tiny_gpt2(2)
    stage = Stage(name="l", blocks="all", lora=Lora(targets=("q_proj",)))
    with pytest.raises(PlanError, match="stage 'l': lora targets 'q_proj': its blocks have c_attn, c_fc, c_proj"):
        prepare_stage(model, stage, layout_of(model), ())


# --- New rows -------------------------------------------------------------------------------------------------------


def loss_of(model: PreTrainedModel) -> torch.Tensor:
    batch = TinyText(n_blocks=3).dataset(0)
    block = {name: torch.stack([batch[n][name] for n in range(3)]) for name in batch[0]}
    loss: torch.Tensor = model.eval()(**block).loss
    return loss


@pytest.mark.parametrize("make", [tiny_llama, tiny_qwen2, tiny_gpt2])
def test_gradients_of_new_rows_are_those_of_the_table(make: Callable[[], PreTrainedModel]) -> None:
    """In a tied model they add up from both ends, as the table's own do."""
    plain, split = make(), make()
    loss_of(plain).backward()
    stage = Stage(name="tables", embeddings="all", head="all", new_rows_factor=2.0)
    prepared = prepare_stage(split, stage, layout_of(split), NEW_IDS)
    assert torch.equal(loss_of(split), loss_of(plain))
    loss_of(split).backward()
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    old = [row for row in range(96) if row not in NEW_IDS]
    assert len(prepared.tables) == (2 if make is tiny_llama else 1)
    for name, parameter in prepared.trained.items():
        table = expected[name.replace(".parametrizations", "").partition(".weight")[0] + ".weight"]
        assert table is not None
        assert parameter.grad is not None
        if name.endswith(".rows"):
            assert torch.allclose(parameter.grad, table[list(NEW_IDS)], atol=1e-8)
        else:
            assert torch.allclose(parameter.grad[old], table[old], atol=1e-8)
            assert not parameter.grad[list(NEW_IDS)].any()


def test_new_rows_gradient_worked_by_hand() -> None:
    # Rows 1 and 3 are new. The sum of row r times w[r] has the gradient w[r] in each of its numbers.
    table = nn.Parameter(torch.arange(8.0).reshape(4, 2))
    new = NewRows(table, [3, 1])
    assert new.rows.tolist() == [[6, 7], [2, 3]]
    weights = torch.tensor([[1.0], [10.0], [100.0], [1000.0]])
    (new(table) * weights).sum().backward()
    assert new.rows.grad is not None
    assert table.grad is not None
    assert new.rows.grad.tolist() == [[1000, 1000], [10, 10]]
    assert table.grad.tolist() == [[1, 1], [0, 0], [100, 100], [0, 0]]


@pytest.mark.parametrize("make", [tiny_qwen2, tiny_gpt2])
def test_a_tied_model_stays_tied_through_save_and_load(make: Callable[[], PreTrainedModel], tmp_path: Path) -> None:
    model = make()
    prepared = prepare_stage(model, Stage(name="new", embeddings="new", head="new"), layout_of(model), NEW_IDS)
    with torch.no_grad():
        prepared.tables[0].rows.rows.fill_(0.5)
    finish_stage(prepared)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight[list(NEW_IDS)], torch.full((10, 32), 0.5))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.tie_word_embeddings
    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_merged_adapters_leave_the_model_that_computes_the_same() -> None:
    model = tiny_gpt2()
    stage = Stage(name="lora", embeddings="all", blocks="all", lora=LORA, new_rows_factor=2.0)
    prepared = prepare_stage(model, stage, layout_of(model), NEW_IDS)
    with torch.no_grad():
        for name, parameter in prepared.trained.items():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    with_adapters = loss_of(model).item()
    finish_stage(prepared)
    assert loss_of(model).item() == pytest.approx(with_adapters, rel=1e-5)
    assert with_adapters != pytest.approx(loss_of(tiny_gpt2()).item(), rel=1e-3)
    assert not any("lora" in name for name, _ in model.named_modules())
    assert not hasattr(model, "peft_config")
    assert all(parameter.requires_grad for parameter in model.parameters())
