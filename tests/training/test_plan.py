"""Plans are data: which parameters each stage trains is a set, worked out here by hand for three kinds of model."""

from pathlib import Path

import pytest
import torch
from command_line import vocabopt
from stages import tiny_gpt2, tiny_llama, tiny_qwen2
from transformers import GPTJConfig, GPTJForCausalLM, LlamaModel

from trainer.layout import ModelLayout, layout_of
from trainer.plan import (
    PLAN_NAMES,
    Lora,
    Plan,
    Stage,
    named_plan,
    read_plan,
    rows_of_table,
    stage_blocks,
    trainable_names,
)
from vocabopt.errors import ModelError, PlanError

LAYOUT = ModelLayout(
    embeddings="model.embed_tokens.weight",
    head="lm_head.weight",
    head_bias=None,
    block_prefix="model.layers.",
    n_blocks=5,
)


# --- Layouts ----------------------------------------------------------------------------------------------------------


def test_layouts_name_tables_head_and_blocks() -> None:
    assert layout_of(tiny_llama(5)) == LAYOUT
    tied = layout_of(tiny_qwen2(2))
    assert (tied.embeddings, tied.head, tied.is_tied) == ("model.embed_tokens.weight", None, True)
    gpt2 = layout_of(tiny_gpt2(3))
    assert (gpt2.embeddings, gpt2.block_prefix, gpt2.n_blocks) == ("transformer.wte.weight", "transformer.h.", 3)
    assert [gpt2.block_of(f"transformer.h.{n}.ln_1.bias") for n in (0, 2)] == [1, 3]
    assert gpt2.block_of("transformer.ln_f.bias") is None


def test_a_tied_model_can_have_a_bias_at_its_head() -> None:
    config = GPTJConfig(vocab_size=20, n_embd=8, n_layer=1, n_head=1, rotary_dim=4, tie_word_embeddings=True)
    with torch.device("meta"):
        model = GPTJForCausalLM(config)
    model.tie_weights()
    layout = layout_of(model)
    assert (layout.is_tied, layout.head_bias) == (True, "lm_head.bias")
    stage = Stage(name="tables", embeddings="new", head="new")
    assert rows_of_table(stage, layout) == {"transformer.wte.weight": "new", "lm_head.bias": "new"}
    assert rows_of_table(Stage(name="input", embeddings="new"), layout) == {"transformer.wte.weight": "new"}


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(ModelError, match="LlamaModel: has no output head; adapt a causal"):
        layout_of(LlamaModel(tiny_llama(1).config))


# --- Blocks and shares ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ("none", set()),
        ("all", {1, 2, 3, 4, 5}),
        ("odd", {1, 3, 5}),
        ("even", {2, 4}),
        ("first-half", {1, 2}),
        ("second-half", {3, 4, 5}),
        ((1, 2, -2, -1), {1, 2, 4, 5}),
    ],
)
def test_blocks_count_from_one(blocks: object, expected: set[int]) -> None:
    assert stage_blocks(blocks, 5) == expected  # type: ignore[arg-type]


def test_a_block_that_the_model_lacks_is_named() -> None:
    with pytest.raises(PlanError, match=r"blocks \[1, 6\]: the model has 5 blocks, there is no block 6"):
        stage_blocks((1, 6), 5)


def test_a_stage_that_names_no_parameter_is_refused() -> None:
    names = ["model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.weight"]
    with pytest.raises(PlanError, match="stage 'rest': names no parameter of this model"):
        trainable_names(Stage(name="rest", other=True), names, LAYOUT)


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_shares_of_every_plan_add_up_to_one(name: str) -> None:
    assert sum(named_plan(name).shares()) == pytest.approx(1.0)


def test_the_control_trains_all_rows_where_the_plan_trains_new_ones() -> None:
    control = named_plan("eeve").with_own_tokenizer()
    assert [(stage.embeddings, stage.head) for stage in control.stages[:5]] == [
        ("all", None),
        (None, "all"),
        ("all", "all"),
        (None, "all"),
        ("all", "all"),
    ]
    assert {stage.new_rows_factor for stage in named_plan("full").with_own_tokenizer().stages} == {1.0}
    assert control.shares() == named_plan("eeve").shares()


def test_an_unknown_plan_lists_those_there_are() -> None:
    with pytest.raises(PlanError, match=r"--plan redwale: no such plan. Choose redwhale, full"):
        named_plan("redwale")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "stage 's': trains nothing"),
        ({"embeddings": "old"}, "stage 's': embeddings 'old' must be"),
        ({"blocks": "third"}, "stage 's': blocks 'third' must be one of"),
        ({"blocks": (0,)}, r"stage 's': blocks \[0\] must be one of none, all.* or numbers from 1, or from -1"),
        ({"other": True, "share": 0}, "stage 's': share 0 must be above 0"),
        ({"other": True, "warmup": 1.0}, "stage 's': warmup 1.0 must be at least 0 and below 1"),
        ({"embeddings": "all", "lora": Lora()}, "stage 's': lora needs blocks"),
    ],
)
def test_a_stage_checks_its_fields(fields: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Stage(name="s", **fields)  # type: ignore[arg-type]


def test_lora_checks_its_fields() -> None:
    with pytest.raises(PlanError, match="lora rank 0: must be at least 1, such as rank = 16"):
        Lora(rank=0)
    with pytest.raises(PlanError, match="lora dropout 1: must be"):
        Lora(dropout=1)


# --- Plans in files ---------------------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_plan_is_read_from_toml(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [[stage]]
        name = "tables"
        embeddings = "new"
        head = "all"
        learning_rate = 1e-3

        [[stage]]
        name = "ends"
        blocks = [1, -1]
        share = 3
        [stage.lora]
        rank = 64
        targets = ["q_proj"]
        """,
    )
    assert read_plan(path) == Plan(
        name="mine",
        stages=(
            Stage(name="tables", embeddings="new", head="all", learning_rate=1e-3),
            Stage(name="ends", blocks=(1, -1), share=3, lora=Lora(rank=64, targets=("q_proj",))),
        ),
        source=str(path),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[stage]\n", r"mine.toml: is no TOML \("),
        ("", r"mine.toml: plan mine: has no stages. Write one as \[\[stage\]\]"),
        ("[[stage]]\nname = '../a'\nother = true", "mine.toml: stage '../a': the name is its folder's. Use letters"),
        ("[[stage]]\nname = ''\nother = true", "mine.toml: stage '': the name is its folder's. Use letters"),
        ("stage = 3", r"mine.toml: stage must be written \[\[stage\]\]"),
        ("name = 3", "mine.toml: name 3 must be a string"),
        ("stages = []", "mine.toml: unknown field 'stages'. A plan has name and one"),
        ("[[stage]]\nblocks = 'all'", "mine.toml: stage 1: has no name"),
        (
            "[[stage]]\nname = 'a'\nblock = 'all'",
            r"mine.toml: stage 1 \('a'\): unknown field 'block'. Did you mean blo",
        ),
        ("[[stage]]\nname = 'a'\nzzz = 1", r"stage 1 \('a'\): unknown field 'zzz'. Known: name, embeddings"),
        ("[[stage]]\nname = 'a'\nshare = 'half'", r"stage 1 \('a'\): share 'half' must be a number"),
        ("[[stage]]\nname = 'a'\nshare = true", r"stage 1 \('a'\): share True must be a number"),
        ("[[stage]]\nname = 'a'\nother = 1", r"stage 1 \('a'\): other 1 must be true or false"),
        ("[[stage]]\nname = 'a'\nshare = -1\nother = true", "mine.toml: stage 'a': share -1 must be above 0"),
        ("[[stage]]\nname = 'a'\nblocks = 'all'\nlora = {rank = 0}", r"\('a'\): lora: lora rank 0: must be"),
        ("[[stage]]\nname = 'a'\nblocks = 'all'\nlora = {r = 8}", r"\('a'\): lora: unknown field 'r'"),
        ("[[stage]]\nname = 'a'\nblocks = 'all'\nlora = {targets = [1]}", r"lora: targets \[1\] must be a list of mod"),
        ("[[stage]]\nname = 'a'\nother = true\n" * 2, "mine.toml: plan mine: two stages are called 'a'"),
    ],
)
def test_a_bad_plan_file_names_file_stage_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_plan(write(tmp_path, text))


def test_a_missing_or_unreadable_plan_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none.toml: not found. Give --plan the name of a plan or a .toml file"):
        read_plan(tmp_path / "none.toml")
    (tmp_path / "mine.toml").write_bytes(b"\xff")
    with pytest.raises(PlanError, match=r"mine.toml: cannot be read"):
        read_plan(tmp_path / "mine.toml")


def test_the_help_of_the_commands_names_every_plan_and_init_method() -> None:
    from trainer.init import INIT_METHODS

    for command in ("adapt", "probe"):
        page = " ".join(vocabopt(command, "--help").stdout.split())
        assert ", ".join(PLAN_NAMES) in page
        assert ", ".join(INIT_METHODS) in page
    assert f"[{'|'.join(INIT_METHODS)}]" in "".join(vocabopt("init", "--help").stdout.split())
