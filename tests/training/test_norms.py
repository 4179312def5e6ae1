"""`--calibrate-norms`: new rows at the norm of base rows whose text is as long."""

from typing import Any

import pytest
import torch
from test_init import extension, small_model, tables

from trainer.init import INIT_METHODS, Extension, InitMethod, init_model
from trainer.init.norms import calibration_of
from trainer.init.record import log_table, rows_told

#: Bytes of text of 300 base tokens: none (special), then 100 of one byte, 100 of two, 90 of three, 9 of eight.
LENGTHS = [0] + [1] * 100 + [2] * 100 + [3] * 90 + [8] * 9
#: New tokens of 2, 3 and 9 bytes of text.
NEW = {300: [150, 160], 301: [5, 150], 302: [220, 230, 240]}
BYTES = {300: [1, 1], 301: [1, 2], 302: [3, 3, 3]}


def given(**more: Any) -> Extension:
    return extension(NEW, n_base=300, n_bytes=BYTES, base_text_bytes=LENGTHS, **more)


def scaled_rows(table: torch.Tensor) -> None:
    """Rows of norm 1, 2 and 3 by their bytes of text, 7 of eight bytes, 50 of the special token."""
    norms = torch.tensor([50.0 if n == 0 else 7.0 if n == 8 else float(n) for n in LENGTHS])
    table[:300] *= (norms / table[:300].norm(dim=1))[:, None]


def test_a_row_gets_the_median_norm_of_rows_whose_text_is_as_long() -> None:
    """By hand: 100 and 90 rows of 2 and 3 bytes; of 9 bytes none, and the 64 nearest are the 9 of eight and 90 of
    three."""
    model = small_model("llama")
    scaled_rows(tables(model)[0])
    log = init_model(
        model, given(), method="decompose", match_norm=False, calibrate_norms="input", seed=0
    )  # fmt: skip
    torch.testing.assert_close(tables(model)[0][300:303].norm(dim=1), torch.tensor([2.0, 3.0, 3.0]))
    found = log.tables[0].calibration
    assert found is not None
    assert (found.rows, found.n_rows) == ("all", 299)
    assert found.norms == pytest.approx({2: 2.0, 3: 3.0, 9: 3.0})
    assert [group.made_by for group in log.tables[0].groups if group.kind == "new"] == [
        "mean of their base ids' rows, norm calibrated"
    ]
    assert log.tables[1].calibration is None
    assert "norms calibrated in input" in log_table(log).caption
    (told,) = rows_told(log)
    assert told.endswith("input table: 2.0000 to 3.0000, by bytes of text, from 299 base rows of any script.")


def test_rows_of_the_target_script_are_taken_where_there_are_64() -> None:
    model = small_model("llama")
    scaled_rows(tables(model)[0])
    of_script = given(script_ids=tuple(range(201, 291)), scripts=("Hangul",))
    found = calibration_of(tables(model)[0], of_script)
    assert (found.rows, found.n_rows) == ("target script", 90)
    assert found.norms == pytest.approx({2: 3.0, 3: 3.0, 9: 3.0})
    few = calibration_of(tables(model)[0], given(script_ids=tuple(range(201, 264)), scripts=("Hangul",)))
    assert (few.rows, few.n_rows) == ("all", 299)


@pytest.mark.parametrize("method", INIT_METHODS)
@pytest.mark.parametrize("which", ["input", "output", "both"])
def test_every_method_s_rows_keep_their_direction_and_all_else_stays(method: InitMethod, which: Any) -> None:
    plain, calibrated = small_model("llama"), small_model("llama")
    for model in (plain, calibrated):
        for table in tables(model):
            scaled_rows(table)
    init_model(plain, given(), method=method, match_norm=False, seed=3)
    init_model(calibrated, given(), method=method, match_norm=False, calibrate_norms=which, seed=3)
    for name, before, after in zip(("input", "output"), tables(plain), tables(calibrated), strict=True):
        assert torch.equal(before[:300], after[:300])
        if which in (name, "both"):
            torch.testing.assert_close(after[300:303].norm(dim=1), torch.tensor([2.0, 3.0, 3.0]))
            cosine = torch.nn.functional.cosine_similarity(before[300:303], after[300:303])
            torch.testing.assert_close(cosine, torch.ones(3))
        else:
            assert torch.equal(before, after)


@pytest.mark.parametrize("which", ["input", "output", "both"])
def test_a_tied_model_has_one_table_to_calibrate_and_is_told_what_that_means(which: Any) -> None:
    model = small_model("gpt2")
    scaled_rows(tables(model)[0])
    log = init_model(model, given(), method="mean", match_norm=False, calibrate_norms=which, seed=0)
    torch.testing.assert_close(tables(model)[0][300:303].norm(dim=1), torch.tensor([2.0, 3.0, 3.0]))
    assert any("output rows too" in note for note in log.notes)
    assert "norms calibrated in both tables" in log_table(log).caption


def test_a_head_s_bias_is_not_calibrated() -> None:
    plain, calibrated = small_model("phi"), small_model("phi")
    init_model(plain, given(), method="weighted", match_norm=False, seed=0)
    log = init_model(calibrated, given(), method="weighted", match_norm=False, calibrate_norms="both", seed=0)
    biases = [model.get_output_embeddings().bias for model in (plain, calibrated)]  # type: ignore[no-untyped-call]
    assert torch.equal(*biases)
    assert [table.name for table in log.tables if table.calibration is not None] == ["input", "output"]
    # What is calibrated has no other norm.
    assert log.tables[0].norm is None


def test_lengths_that_are_not_known_give_one_norm() -> None:
    model = small_model("llama")
    found = calibration_of(tables(model)[0], extension(NEW, n_base=300, n_bytes=BYTES))
    median = float(tables(model)[0][:300].double().norm(dim=1).quantile(0.5))
    assert found.norms == pytest.approx({2: median, 3: median, 9: median}, rel=1e-6)
