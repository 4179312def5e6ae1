"""The report page about its choice: which text its numbers are of, and what the knee says of another size."""

from pathlib import Path
from typing import Any

import pytest
from report_data import fake_run, ratio_of, records_of, rendered, without_heldout

from vocabopt.report import text
from vocabopt.wording import interval_sentence


def test_missing_heldout_is_a_dash_and_never_a_number(tmp_path: Path) -> None:
    sweep, curve, run = without_heldout()
    sweep["sets"]["train"]["n_words"] = 0
    html, page = rendered(tmp_path, sweep, curve, run)
    base, after = sweep["sets"]["train"]["n_tokens_base"], curve.item(399, "n_tokens_train")
    assert "Tokens saved on training text" in page.text
    assert f"{base:,} become {after:,}; no text was held out" in page.text
    assert f'data-live="saved">{text.percent(1 - after / base)}<' in html
    assert f'data-live="context">{text.times(base / after)}<' in html
    assert f'data-live="used">{text.DASH}</span> <i>no text was held out' in html
    assert 'data-live="training">' + text.DASH not in html
    assert "marginal saving are those of training text" in page.text
    assert "here training text decides" in page.text
    row = page.row("table-points", "200")
    assert row[3] == text.DASH
    assert row[4] == f"{ratio_of(sweep, sweep['points'][1], 'train'):.4f}"
    assert row[6] == text.DASH
    assert "Not known: no held-out text was counted." in page.text
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"complexity", "rules", "windows", "sets"}
    assert page.row("table-sets", "1")[-3:] == ["0", "0", text.DASH]
    assert "set1:s0 embedding:embedding" in [value for name, value in page.attributes() if name == "data-lines"]


def test_numbers_are_those_of_the_set_that_was_chosen_on(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    sweep["choice"]["set"] = "news"
    html, page = rendered(tmp_path, sweep, curve, run)
    base, after = sweep["sets"]["news"]["n_tokens_base"], curve.item(399, "n_tokens_news")
    assert "Tokens saved on text set news" in page.text
    assert f"{base:,} become {after:,}" in page.text
    assert f'data-live="saved">{text.percent(1 - after / base)}<' in html
    assert "no text was held out" not in page.text
    assert page.row("table-points", "400")[2:6] == [
        f"{after:,}",
        *(f"{ratio_of(sweep, sweep['points'][2], name):.4f}" for name in ("heldout", "train", "news")),
    ]
    assert "marginal saving are those of text set news" in page.text
    assert next(value for name, value in page.attributes() if name == "data-lines").startswith("set0:s0 set1:s0 set3:")


def test_no_interval_is_told_with_the_reason(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    sweep["choice"]["interval"] = None
    _, page = rendered(tmp_path, sweep, curve, run)
    assert interval_sentence(records_of(sweep, curve, run)[0].choice) in page.text
    assert "no interval · How sure is that?" in page.text
    assert "% interval" not in page.text


@pytest.mark.parametrize(
    ("choice", "told", "not_told"),
    [
        ({"knee": 400}, "90 % interval 360 to 450", "clipped"),
        ({"clipped_by": "memory"}, "The knee, 397, was clipped by the rule memory.", "; it was looked for"),
        ({"clipped_by": "memory"}, "by the rule knee, held back by memory; a knee was looked for", "interval 360"),
        (
            {"rule": "used", "knee": None, "clipped_by": "memory", "interval": None},
            "The answer of the rule used was held back by the rule memory.",
            "knee was clipped",
        ),
        ({"rule": "used", "knee": None}, "by the rule used; a knee was looked for in the shaded window", "it was"),
        ({"rule": "none", "knee": None}, "The upright line is the choice; no rule names a size", "by the rule none"),
        ({"rule": "end", "knee": None}, "no rule bounds a size, so it is the end of the curve", "by the rule"),
    ],
)
def test_what_the_knee_says_is_told_apart_from_the_recommendation(
    tmp_path: Path, choice: dict[str, Any], told: str, not_told: str
) -> None:
    sweep, curve, run = fake_run()
    sweep["choice"] |= choice
    html, page = rendered(tmp_path, sweep, curve, run)
    assert told in page.text
    assert not_told not in page.text
    assert "choice: 400 added" in html
    assert "knee: 400 added" not in html


def test_options_of_the_choice_are_shown(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    sweep["choice"]["options"] |= {"text_set": "news", "window": [100, 800]}
    _, page = rendered(tmp_path, sweep, curve, run)
    told = page.text[page.text.index("Options of the choice") :].replace("\n", "")
    assert "text_setnews" in told
    assert "window100, 800" in told
