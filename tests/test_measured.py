"""The size that short runs at several sizes name: noise, the curve through them, `choose --rule measured`, the page."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command_line import assert_refused, vocabopt
from report_data import Page

from vocabopt.choice.measured import (
    Noise,
    SizeCell,
    SizeRow,
    SizesRecord,
    bits_at,
    cells_of,
    effects,
    fit_sizes,
    size_rows,
)
from vocabopt.choice.measured_table import best_sentence, standing_sentence
from vocabopt.model.spec import load_model_spec
from vocabopt.records import write_record
from vocabopt.run_directory import read_sweep
from vocabopt.training_record import TextRecord

SIZES = (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000)


def cell(n_added: int, seed: int, bits: float) -> SizeCell:
    text = TextRecord(role="target", n_documents=1, n_bytes=10, n_tokens_before=5, n_tokens_after=4)
    return SizeCell(
        n_added=n_added, equal="flops" if n_added else None, seed=seed, texts={"ko": text}, after={"ko": bits},
        n_rows=800 + n_added, n_steps=1, budget_bytes=1, bytes=1, tokens=1, passes=1.0, flops=1, flops_wanted=1,
        seconds=1.0, peak_bytes=0,
    )  # fmt: skip


def rows_of(bits: Mapping[int, float]) -> list[SizeRow]:
    return list(size_rows([cell(size, 0, value) for size, value in bits.items()], {}))


def bowl(best: float, depth: float = 1.5, width: float = 0.01) -> Callable[[int], float]:
    """Bits that rise from their least at `best` with the square of the logarithm of the size."""
    return lambda size: depth + width * float(np.log2(size) - np.log2(best)) ** 2


def record_of(cells: Sequence[SizeCell], curve: str) -> SizesRecord:
    rows, noise = size_rows(cells, {}), effects(cells_of(cells, "flops"))[1]
    inputs = {"model": "m", "curve": curve, "text_bytes": "1"}
    return SizesRecord(
        options={"n_steps": 1}, inputs=inputs, cells=tuple(cells), rows=rows, fits=(fit_sizes(rows, noise),)
    )


# --- Noise ------------------------------------------------------------------------------------------------------------


def test_effects_are_the_means_where_every_size_has_run_with_every_seed() -> None:
    table = {(0, 0): 3.0, (0, 1): 3.2, (500, 0): 2.0, (500, 1): 2.4, (1_000, 0): 1.0, (1_000, 1): 1.3}
    found, noise = effects([cell(*key, bits) for key, bits in table.items()])
    assert found == pytest.approx({0: 3.1, 500: 2.2, 1_000: 1.15})
    # By hand: seed 1 adds 0.3 on average, so each run is 0.05, -0.05 or 0 from what size and seed give; 2 are free.
    assert noise == pytest.approx(Noise(variance=(4 * 0.05**2) / 2, n_free=2))


def test_a_size_that_ran_with_an_easy_seed_alone_is_not_taken_for_better() -> None:
    """Seed 1 reads harder text, 0.5 bits more; size 1,000, the worst of all, has only run with seed 0."""
    runs = {(0, 0): 1.2, (0, 1): 1.7, (500, 0): 1.0, (500, 1): 1.5, (1_000, 0): 1.25}
    found, _ = effects([cell(*key, bits) for key, bits in runs.items()])
    assert found == pytest.approx({0: 1.45, 500: 1.25, 1_000: 1.5})


def test_one_seed_says_nothing_of_chance() -> None:
    cells = [cell(size, 0, 1.0) for size in (0, *SIZES)]
    assert effects(cells)[1] is None
    sentence = best_sentence(fit_sizes(size_rows(cells, {}), None))
    assert sentence.endswith("one seed says nothing of chance (--seeds 3).")


@pytest.mark.parametrize("n_free", [1, 2, 5, 10, 11, 30])
def test_differences_by_chance_are_those_of_student_s_t(n_free: int) -> None:
    """Against draws of it by numpy."""
    drawn = np.abs(np.random.default_rng(0).standard_t(n_free, 1_000_000))
    assert Noise(0.5, n_free).of_difference(1) == pytest.approx(np.quantile(drawn, 0.95), rel=0.02)
    assert Noise(0.5, n_free).of_difference(4) == Noise(0.5, n_free).of_difference(1) / 2


# --- The curve --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("best", [700, 3_000, 6_144, 20_000])
def test_points_of_a_known_curve_give_its_minimum(best: int) -> None:
    bits = bowl(best)
    rows = rows_of({0: 2.0} | {size: bits(size) for size in SIZES})
    fit = fit_sizes(rows, None)
    assert fit.best == pytest.approx(best, rel=0.01)
    assert fit.best_bits == pytest.approx(1.5, abs=1e-4)
    assert (fit.control_bits, fit.bound) == (2.0, "at")
    for size in (500, 5_000, 32_000):
        assert bits_at(fit, rows, size) == pytest.approx(bits(size))
    assert bits_at(fit, rows, 0) == 2.0
    assert bits_at(fit, rows, 40_000) is None


def test_the_minimum_lies_in_its_interval_about_as_often_as_is_said() -> None:
    """In 90 % of 200 experiments of three seeds, whose seeds move all sizes alike."""
    draw = np.random.default_rng(1)
    bits, held, within = bowl(6_000), 0, 0
    for _ in range(200):
        seeds = draw.normal(0, 0.1, 3)
        cells = [
            cell(size, seed, (2.0 if not size else bits(size)) + seeds[seed] + draw.normal(0, 0.004))
            for size in (0, *SIZES)
            for seed in range(3)
        ]
        fit = fit_sizes(size_rows(cells, {}), effects(cells)[1])
        assert fit.interval is not None
        assert fit.within is not None
        held += fit.interval[0] <= 6_000 <= fit.interval[1]
        within += fit.within[0] <= 6_000 <= fit.within[1]
    assert 165 <= held <= 195
    assert within >= 190


def test_a_curve_that_misses_its_points_is_less_sure_of_its_minimum() -> None:
    """The same noise over seeds, and points that lie on no parabola."""
    smooth, noise = rows_of({size: bowl(4_000)(size) for size in SIZES}), Noise(1e-8, 10)
    bent = [
        *rows_of({size: bowl(4_000)(size) + (0.02 if number % 2 else 0) for number, size in enumerate(SIZES)}),
    ]
    sure, unsure = (fit_sizes(rows, noise).interval for rows in (smooth, bent))
    assert sure is not None
    assert unsure is not None
    assert unsure[1] - unsure[0] > 10 * (sure[1] - sure[0])


def test_the_original_tokenizer_is_best_where_no_size_reaches_it() -> None:
    rows = rows_of({0: 1.4} | {size: bowl(4_000)(size) for size in SIZES})
    fit = fit_sizes(rows, Noise(1e-6, 10))
    assert (fit.best, fit.best_bits, fit.within) == (0, 1.4, None)
    assert "At equal training FLOPs the original tokenizer is best: 1.4000" in best_sentence(fit)
    assert "no size above 0" in best_sentence(fit)


def test_two_sizes_make_no_curve_and_the_largest_is_only_a_bound() -> None:
    fit = fit_sizes(rows_of({0: 2.0, 500: 1.6, 1_000: 1.5}), None)
    assert (fit.best, fit.best_bits, fit.coefficients, fit.interval) == (1_000, 1.5, (), None)
    assert fit.bound == "at_least"
    assert "the best size is 1,000, the largest that was tried" in best_sentence(fit)


# --- choose and the page ----------------------------------------------------------------------------------------------


@pytest.fixture
def run(swept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(swept, tmp_path / "run"))


def probe_at(run: Path, folder: Path, bits: Callable[[int], float], control: float = 2.0) -> tuple[Path, SizesRecord]:
    """A probe of three seeds at four sizes of the run's curve."""
    sweep, draw = read_sweep(run), np.random.default_rng(0)
    sizes = [round(sweep.end * share) for share in (0.1, 0.25, 0.5, 1.0)]
    cells = [
        cell(size, seed, (bits(size) if size else control) + float(draw.normal(0, 0.0005)))
        for seed in range(3)
        for size in (0, *sizes)
    ]
    folder.mkdir()
    record = record_of(cells, sweep.curve_sha256)
    write_record(folder / "sizes.json", record)
    return folder, record


def choice_of(*options: object) -> dict[str, Any]:
    result = vocabopt("choose", *options, "--json")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def test_a_choice_takes_the_measured_size_and_keeps_it_until_the_knee_is_asked_for(run: Path, tmp_path: Path) -> None:
    sweep = read_sweep(run)
    best = round(sweep.end * 0.3)
    folder, record = probe_at(run, tmp_path / "probe", bowl(best))
    fit = record.fit
    assert fit is not None
    by_knee = choice_of(run)
    assert by_knee["rule"] == "knee"
    for options in ((run, "--rule", "measured", "--probe", folder), (run,)):
        choice = choice_of(*options)
        assert (choice["rule"], choice["named"]) == ("measured", fit.best)
        assert fit.best == pytest.approx(best, rel=0.05)
        # Rounded and held back as any other size.
        assert (sweep.base.n_tokens + choice["n_added"]) % 128 == 0
        assert abs(choice["n_added"] - fit.best) <= 64
        assert choice["knee"] == by_knee["knee"]
    result = vocabopt("choose", run)
    told = " ".join(result.stdout.split())
    words = f"tokens: at equal training FLOPs the best size is {fit.best:,}: {fit.best_bits:.4f} bits per byte, and"
    assert words in told
    assert "Measured by short runs of 4 sizes above 0, 3 seeds each or more." in told
    limited = choice_of(run, "--train-tokens", 100_000)
    assert limited["rule"] == "measured"
    assert (limited["clipped_by"], limited["n_added"]) == (
        "exposure",
        choice_of(run, "--train-tokens", 100_000)["limit"],
    )
    again = choice_of(run, "--rule", "knee")
    assert (again["rule"], again["n_added"]) == ("knee", by_knee["n_added"])
    assert [rule["name"] for rule in again["rules"]][:2] == ["measured", "knee"]
    assert vocabopt_api_choice(run) == ("measured", fit.best)


def vocabopt_api_choice(run: Path) -> tuple[str, int]:
    import vocabopt as library

    choice = library.choose(run)
    return choice.record.rule, choice.record.named


def test_a_recommendation_of_the_original_tokenizer_is_said_in_words(run: Path, tmp_path: Path) -> None:
    folder, _ = probe_at(run, tmp_path / "probe", bowl(1_000), control=1.2)
    result = vocabopt("choose", run, "--probe", folder)
    assert "Add no tokens: at equal training FLOPs the original tokenizer is best: 1.2" in result.stdout


def test_the_other_rules_stand_with_their_bits_beside_the_best(run: Path, tmp_path: Path) -> None:
    sweep = read_sweep(run)
    bits = bowl(round(sweep.end * 0.3))
    _, record = probe_at(run, tmp_path / "probe", bits)
    (fit,), knee = record.fits, sweep.choice.knee
    assert knee is not None
    sentence = standing_sentence(record, fit, sweep.choice)
    found = next(part for part in sentence.split("; ") if " knee " in part)
    told = float(found.split("(")[1].split(")")[0].split(",")[0])
    assert told == pytest.approx(bits(knee) - 1.5, abs=0.002)


def test_the_page_draws_the_measured_sizes_and_holds_their_table(run: Path, tmp_path: Path) -> None:
    folder, record = probe_at(run, tmp_path / "probe", bowl(1_000))
    vocabopt("choose", run, "--probe", folder)
    assert vocabopt("report", run).exit_code == 0
    svg = (run / "figures" / "measured.svg").read_text("utf-8")
    html = (run / "report.html").read_text("utf-8")
    page = Page(html)
    for row in record.rows:
        assert f"{row.n_added:,} added {row.reached:.4f}" in svg
        assert f"{row.reached:.4f}" in page.row("table-measured-flops", f"{row.n_added:,}")
    assert "What short runs at several sizes reached" in page.text
    # The page's script finds the axes, as on every other figure over sizes.
    figure = html[html.index('id="figure-measured"') :]
    assert f'data-x="0 {read_sweep(run).end}"' in figure[: figure.index("</svg>")]


def test_what_no_probe_measured_is_refused(run: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nothing"
    result = vocabopt("choose", run, "--rule", "measured")
    assert_refused_choice(
        result, r"--rule measured: nothing was measured at sizes of .*run on this model. Run `vocabopt probe"
    )
    assert_refused_choice(vocabopt("choose", run, "--probe", nowhere), r"--probe .*nothing: holds no sizes.json")
    folder, record = probe_at(run, tmp_path / "probe", bowl(1_000))
    write_record(folder / "sizes.json", SizesRecord(options=record.options, inputs=record.inputs))
    result = vocabopt("choose", run, "--probe", folder)
    assert_refused_choice(result, r"--probe .*probe: has measured no size above 0 yet")
    write_record(folder / "sizes.json", record_of(record.cells, "another"))
    assert_refused_choice(vocabopt("choose", run, "--probe", folder), r"was measured on another curve than that of")
    # One that stayed from an earlier sweep of the folder is not taken, nor shown.
    shutil.copy(folder / "sizes.json", run / "sizes.json")
    assert choice_of(run)["rule"] == "knee"


def test_what_was_measured_on_a_model_decides_for_that_model_alone(run: Path, tmp_path: Path) -> None:
    folder, record = probe_at(run, tmp_path / "probe", bowl(1_000))
    probed, other = load_model_spec("mistral-7b"), load_model_spec("llama-2-7b")
    write_record(folder / "sizes.json", msgspec.structs.replace(record, model=replace(probed, source="elsewhere")))
    assert choice_of(run, "--model", probed.name, "--probe", folder)["rule"] == "measured"
    assert choice_of(run, "--model", other.name)["rule"] == "knee"
    refused = vocabopt("choose", run, "--model", other.name, "--rule", "measured")
    assert_refused_choice(refused, "nothing was measured at sizes of .* on this model")
    refused = vocabopt("choose", run, "--model", other.name, "--probe", folder)
    assert_refused_choice(refused, r"--probe .*: was measured on elsewhere, and the model counted is llama-2-7b")
    assert choice_of(run, "--model", probed.name)["rule"] == "measured", "the folder still holds it"


def test_a_choice_that_is_refused_leaves_the_folder_without_the_probe(run: Path, tmp_path: Path) -> None:
    folder, _ = probe_at(run, tmp_path / "probe", bowl(1_000))
    assert_refused_choice(vocabopt("choose", run, "--probe", folder, "--set", "fi"), "--set fi: this run has")
    assert not (run / "sizes.json").exists()


def assert_refused_choice(result: Any, match: str) -> None:
    assert_refused(result, match, Path("nowhere"))
