"""Input and embedding complexity: hand-worked ratios, padding rows, the grid of sizes and how it is asked for."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from report_data import fake_run, records_of

from vocabopt.choice.complexity import EmbeddingTable, embedding_table, grid, parse_sizes, points, ratio
from vocabopt.errors import OptionError
from vocabopt.model.spec import PRESETS, ModelSpec
from vocabopt.tokenizer import Tokenizer

PAPER_GRID = (0, 8_000, 12_000, 16_000, 20_000, 24_000, 28_000, 32_000, 36_000, 40_000)


def table(n_tokens: int, n_rows: int | None = None, model: str | None = None) -> EmbeddingTable:
    spec = PRESETS[model] if model else None
    return EmbeddingTable(base_n_tokens=n_tokens, base_n_rows=n_tokens if n_rows is None else n_rows, model=spec)


def base(n_tokens: int, model_n_rows: int | None = None) -> Tokenizer:
    """What `embedding_table` asks of a base."""
    return cast(Tokenizer, SimpleNamespace(name="some-base", n_tokens=n_tokens, model_n_rows=model_n_rows))


# --- Ratios ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "n_tokens", "n_rows", "n_added", "n_rows_total", "n_params", "ratio_embedding"),
    [
        # Untied: two tables. 32,000 x 4,096 x 2 = 262,144,000.
        ("mistral-7b", 32_000, 32_000, 0, 32_000, 262_144_000, 1.0),
        ("mistral-7b", 32_000, 32_000, 8_000, 40_000, 327_680_000, 1.25),
        ("mistral-7b", 32_000, 32_000, 32_000, 64_000, 524_288_000, 2.0),
        # The paper's choice: 17,072 new rows, 49,072 in all.
        ("solar-10.7b", 32_000, 32_000, 17_072, 49_072, 401_997_824, 1.5335),
        # Tied: one table. 50,257 x 768 = 38,597,376.
        ("gpt2", 50_257, 50_257, 0, 50_257, 38_597_376, 1.0),
        ("gpt2", 50_257, 50_257, 943, 51_200, 39_321_600, 51_200 / 50_257),
        # Padding: 151,665 tokens in 151,936 rows leave 271 rows for nothing.
        ("qwen2.5-0.5b", 151_665, 151_936, 0, 151_936, 136_134_656, 1.0),
        ("qwen2.5-0.5b", 151_665, 151_936, 271, 151_936, 136_134_656, 1.0),
        ("qwen2.5-0.5b", 151_665, 151_936, 272, 151_937, 136_135_552, 151_937 / 151_936),
    ],
)
def test_rows_and_parameters_of_the_embedding(
    model: str, n_tokens: int, n_rows: int, n_added: int, n_rows_total: int, n_params: int, ratio_embedding: float
) -> None:
    rows = table(n_tokens, n_rows, model)
    assert rows.n_rows(n_added) == n_rows_total
    assert rows.n_params(n_added) == n_params
    assert rows.ratio(n_added) == pytest.approx(ratio_embedding, abs=1e-12)


@pytest.mark.parametrize("model", ["mistral-7b", "llama-2-13b", None])
def test_the_ratio_does_not_depend_on_the_model(model: str | None) -> None:
    assert table(32_000, 32_000, model).ratio(16_000) == 1.5


def test_parameters_are_unknown_without_a_model() -> None:
    assert table(32_000).n_params(8_000) is None


def test_ratio_of_a_set_without_tokens_is_unknown() -> None:
    assert ratio(3, 4) == 0.75
    assert ratio(0, 0) is None


def test_points_by_a_hand_worked_curve() -> None:
    n_tokens = {"train": [100, 90, 75, 70], "heldout": [12, 9, 9, 6], "en": [40, 40, 40, 40]}
    found = points((0, 1, 3, 5), n_tokens, table(10))
    assert [point.n_added for point in found] == [0, 1, 3, 5]
    # A size beyond the curve repeats its end and says so.
    assert [point.dry for point in found] == [False, False, False, True]
    assert [point.n_rows_total for point in found] == [10, 11, 13, 13]
    assert [point.sets["train"].n_tokens for point in found] == [100, 90, 70, 70]
    assert [point.sets["heldout"].n_tokens for point in found] == [12, 9, 6, 6]
    assert {point.sets["en"].n_tokens for point in found} == {40}


def test_ratios_are_computed_from_the_integers_of_a_record() -> None:
    sweep, _, _ = records_of(*fake_run())
    stats = msgspec.structs.replace(sweep.sets["train"], n_tokens_base=12)
    assert [stats.ratio_input(n_tokens) for n_tokens in (12, 9, 6)] == [1.0, 0.75, 0.5]
    assert msgspec.structs.replace(stats, n_tokens_base=0).ratio_input(0) is None
    base = msgspec.structs.replace(sweep.base, n_tokens=10, n_rows=12)
    assert [base.ratio_embedding(base.n_rows_at(n_added)) for n_added in (0, 2, 5)] == [1.0, 1.0, 1.25]


# --- The table of a base in a model ----------------------------------------------------------------------------------


def test_rows_come_from_the_chosen_model_before_the_base_s_own_config() -> None:
    chosen = embedding_table(base(151_665, 152_064), PRESETS["qwen2.5-0.5b"], model_is_chosen=True)
    assert (chosen.base_n_tokens, chosen.base_n_rows) == (151_665, 151_936)


def test_rows_come_from_the_base_s_own_config_before_a_preset_found_by_name() -> None:
    found = embedding_table(base(32_000, 32_064), PRESETS["mistral-7b"], model_is_chosen=False)
    assert found.base_n_rows == 32_064


@pytest.mark.parametrize("model_n_rows", [None, 31_999])
def test_rows_are_the_tokens_where_nothing_else_is_known(model_n_rows: int | None) -> None:
    assert embedding_table(base(32_000, model_n_rows), None, model_is_chosen=False).base_n_rows == 32_000


def test_a_chosen_model_with_fewer_rows_than_the_base_has_tokens_is_refused() -> None:
    with pytest.raises(OptionError, match=r"--model gpt2: .* 50,257 rows, but the base some-base has 151,665 tokens"):
        embedding_table(base(151_665), PRESETS["gpt2"], model_is_chosen=True)


def test_a_preset_found_by_name_that_does_not_fit_is_left_out() -> None:
    spec = ModelSpec(name="small", hidden_size=8, n_rows=100, tied_embeddings=True, source="preset")
    found = embedding_table(base(32_000), spec, model_is_chosen=False)
    assert found.model is None
    assert found.base_n_rows == 32_000


# --- Sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sizes"),
    [
        (None, None),
        ("8000:40000:4000", PAPER_GRID[1:]),
        ("0:10:5", (0, 5, 10)),
        ("0:11:5", (0, 5, 10)),
        ("7", (7,)),
        ("5000,0,1000,1000", (0, 1000, 5000)),
        (" 1 , 2 ", (1, 2)),
    ],
)
def test_sizes_are_read(value: str | None, sizes: tuple[int, ...] | None) -> None:
    assert parse_sizes(value) == sizes


@pytest.mark.parametrize("value", ["abc", "5:1", "1:2:3:4", "1:5:0", "1.5", "", ",", "1,,2", "8k"])
def test_sizes_of_neither_form_are_refused(value: str) -> None:
    with pytest.raises(OptionError, match=rf"--sizes {value}: write start:stop:step .* or a list"):
        parse_sizes(value)


@pytest.mark.parametrize("value", ["-5", "0,-1", "10:5:1", "1:10:-1", "-4:4:2"])
def test_sizes_below_zero_or_none_at_all_are_refused(value: str) -> None:
    with pytest.raises(OptionError, match=rf"--sizes {value}: needs at least one size, start before stop, none"):
        parse_sizes(value)


def evenly(end: int) -> tuple[int, ...]:
    return tuple(sorted({round(end * step / 9) for step in range(10)}))


@pytest.mark.parametrize(
    ("sizes", "exhausted_at", "max_added", "shown"),
    [
        (None, None, 40_000, PAPER_GRID),
        (None, None, 60_000, PAPER_GRID),
        (None, 40_000, 60_000, PAPER_GRID),
        # Dry before the paper's last size: nine even steps to there.
        (None, 39_999, 40_000, evenly(39_999)),
        (None, 900, 40_000, (0, 100, 200, 300, 400, 500, 600, 700, 800, 900)),
        (None, 5, 40_000, (0, 1, 2, 3, 4, 5)),
        (None, 0, 40_000, (0,)),
        (None, None, 1_800, (0, 200, 400, 600, 800, 1_000, 1_200, 1_400, 1_600, 1_800)),
        # What is asked for is shown, beyond the dry text as well, and size 0 with it.
        ((1_000, 50_000), 900, 40_000, (0, 1_000, 50_000)),
        ((0, 5), None, 40_000, (0, 5)),
    ],
)
def test_the_grid(sizes: tuple[int, ...] | None, exhausted_at: int | None, max_added: int, shown: tuple[Any]) -> None:
    assert grid(sizes, exhausted_at, max_added) == shown
