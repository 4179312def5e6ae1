"""The report on an adapted model: what it gained and forgot, in words, tables and figures, whatever was measured."""

import json
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text
from msgspec import inspect
from report_data import HOSTILE, Page, fake_run, rendered, view_of
from training_data import (
    N_POINTS,
    STAGES,
    begun_adaptation,
    full_adaptation,
    hostile_adaptation,
    stopped_adaptation,
)

from vocabopt.errors import RunDirectoryError
from vocabopt.records import record_of
from vocabopt.report import text
from vocabopt.report.charts_training import draw_training_bits, draw_training_loss, draw_training_memory
from vocabopt.report.draw import Drawing, Picture, house_style
from vocabopt.report.page import render as render_page
from vocabopt.report.training import Arm, Training, loss_lines
from vocabopt.training_record import AdaptRecord

Record = dict[str, Any]
DRAWINGS = {
    "training_bits": draw_training_bits,
    "training_loss": draw_training_loss,
    "training_memory": draw_training_memory,
}


def spoken(page: Page) -> str:
    return re.sub(r"\s+", " ", page.text)


def training_of(record: Record) -> Training:
    return Training(record_of(record, AdaptRecord, Path("adapt.json"), str))


def drawings_of(record: Record) -> dict[str, Drawing]:
    view = view_of(*fake_run(), adapt=record)
    with house_style():
        return {name: drawn for name, draw in DRAWINGS.items() if (drawn := draw(view)) is not None}


def page_of(record: Record) -> Page:
    """The page, its figures empty frames: drawing takes most of a page's time."""
    blank = {"svg": b"", "inline": "", "png": b""}
    # The page always has its first two figures.
    pictures = [Picture(name=name, **blank) for name in ("complexity", "sets", *drawings_of(record))]
    view = view_of(*fake_run(), adapt=record)
    return Page(render_page(view, pictures, {}, {"playground": "", "curve": "", "tokens": ""}))


def texts_in(drawing: Drawing) -> list[str]:
    return [label.get_text() for label in drawing.figure.findobj(Text) if isinstance(label, Text) and label.get_text()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page]:
    out = tmp_path_factory.mktemp("run")
    sweep, curve, run = fake_run()
    return out, *rendered(out, sweep, curve, run, adapt=full_adaptation())


# --- The result ------------------------------------------------------------------------------------------------------


def test_the_result_stands_in_one_sentence_each_with_before_after_and_control(whole: tuple[Path, str, Page]) -> None:
    told = spoken(whole[2])
    for words in (
        # 1 - 1.5 / 2.6; 1.5 - 1.45; 75,000 / 300,000 and 180,000 / 300,000 tokens per byte
        "On ko bits per byte fell from 2.6000 to 1.5000, by 42.3 %.",
        "came to 1.4500: the control wins by 0.0500.",
        "The text takes 0.250 tokens per byte instead of 0.600, 58.3 % fewer.",
        "On base-language text (en) 10.0 % was forgotten: bits per byte rose from 1.0000 to 1.1000. The run finished.",
        "On ko_reviews they fell from 3.0000 to 1.9000, by 36.7 %; the adapted model wins by 0.0500.",
        "Adapted: 2.600 to 1.500 bits per byte on ko, the control 1.450",
        "at most 25.0 % above those before; the most was 20.0 %.",
        "Of 400 new tokens 3 are unseen in the training text: their rows are as they were made.",
        "The median one was seen 431 times, one in ten at most 57 times.",
        "8.0 MB in 4,321 documents, to be read 1.25 times in all; 10.0 MB were read.",
        "model models/small-english, rows made by decompose, plan redwhale, on cpu, 2 threads.",
    ):  # fmt: skip
        assert words in told, words
    assert told.index("The model, adapted") < told.index("How sure is that?", told.index("The model, adapted"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"after": {"ko": 1.4}}, "came to 1.4500: the adapted model wins by 0.0500."),
        ({"after": {"ko": 1.45}}, "The control, the same model with its own tokenizer and the same text, came to the"),
        ({"after": {"ko": 1.44999}}, "the adapted model wins by 0.00001."),
        ({"after": {"ko": 2.6}}, "On ko bits per byte stayed at 2.6000."),
        ({"after": {"ko": 3.9}}, "On ko bits per byte rose from 2.6000 to 3.9000, by 50.0 %."),
        ({"before": {"ko": math.nan, "en": 1.0}}, "On ko bits per byte came to 1.5000."),
        ({"after": {"ko": 1.5, "en": 0.9}}, "(en) nothing was forgotten: bits per byte fell from 1.0000 to 0.9000."),
        ({"after": {"en": 1.1}, "stages": []}, "Nothing was measured after training on ko; before it, bits per byte"),
        ({"before": {}, "after": {}, "texts": {}}, "Nothing was measured."),
        ({"gate": {"max_forgetting": None, "texts": []}}, "No gate was set"),
        (
            {"gate": {"max_forgetting": 0.1, "texts": ["en"], "worst": 0.2}},
            "bits per byte on en rose by 20.0 %, and 10",
        ),
        ({"gate": {"max_forgetting": 0.1, "texts": ["en"], "worst": -0.01}}, "they never rose."),
        ({"gate": {"max_forgetting": 0.1, "texts": ["en"], "worst": None}}, "whether it held is not known"),
        ({"exposure": {"n_new": 9, "n_unseen": 0, "median": 5, "p10": 2}}, "Of 9 new tokens none is unseen in the"),
        ({"exposure": {"n_new": 9, "n_unseen": 1, "median": 5, "p10": 2}}, "1 is unseen in the training text: its"),
        ({"status": "running"}, "This run had not finished when the page was made."),
        ({"status": "stopped"}, "This run stopped: no reason was kept"),
        ({"status": "odd"}, "Status: odd"),
    ],
)
def test_the_words_follow_the_numbers(change: Record, told: str) -> None:
    assert told in spoken(page_of(full_adaptation() | change))


def test_arms_that_have_not_read_the_same_text_have_no_winner() -> None:
    record = stopped_adaptation() | {"control": full_adaptation()["control"]}
    told = spoken(page_of(record))
    assert "came to 1.4500; the two have not read the same text, so neither wins." in told
    assert " wins" not in told.replace("neither wins", "")


def test_the_tables_hold_every_number(whole: tuple[Path, str, Page]) -> None:
    rows = whole[2].rows
    assert [row[1] for row in rows["table-texts"][1:]] == ["ko", "ko_reviews", "en"]
    assert rows["table-texts"][1][2:] == [
        "target", "300,000", "0.600", "0.250", "2.6000", "2.7500", "1.5000", "−42.3 %", "1.4500", "−44.2 %",
    ]  # fmt: skip
    assert rows["table-forgetting"][1][1:] == ["en", "1.0000", "1.2000", "+20.0 %", "1.1000", "+10.0 %", "+6.0 %"]
    assert [row[0].split(" what")[0] for row in rows["table-stages"][1:]] == [
        "before", "initialised", *(f"{i} {name}" for i, name in enumerate(STAGES, start=1)), "after",
        "control, base tokenizer",
    ]  # fmt: skip
    # 0.42 of 61,000,000 parameters; 625,000 tokens at 4,000 a second; 1.4 GB x (0.7 + 0.42)
    assert rows["table-stages"][3] == [
        "1 embeddings-head what stage embeddings-head trains", "2.1000", "2.5000", "1.2000", "25,620,000 42.0 %",
        "1e-4", "600", "625,000", "2,500,000", "2 min 36 s", "4,000", "1.6 GB",
    ]  # fmt: skip
    assert len(rows["table-control"]) == 1 + 1 + 4 + 1
    assert rows["table-read"][1] == ["ko", "4,000", "6,400,000", "80.0 %"]


def test_samples_stand_side_by_side_in_their_lines_and_language(whole: tuple[Path, str, Page]) -> None:
    html = whole[1]
    assert html.count('role="group" aria-label="Prompt ') == 5
    assert '<p class="cut" lang="ko"><bdi>밥을 먹고 학교에 갔습니다.</bdi><br><bdi>그리고</bdi></p>' in html
    assert '<p class="cut"><bdi>The weather today</bdi></p>' in html
    first, second = training_of(full_adaptation()).record.samples[:2]
    by_prompt = training_of(full_adaptation()).control_samples
    assert (by_prompt.get(first.prompt), by_prompt.get(second.prompt)) == ("밥을", None)


def test_two_renderings_are_equal_byte_for_byte(whole: tuple[Path, str, Page], tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    rendered(tmp_path, sweep, curve, run, adapt=json.loads(json.dumps(full_adaptation())))
    for path in sorted(tmp_path.rglob("*.*")):
        assert path.read_bytes() == (whole[0] / path.relative_to(tmp_path)).read_bytes(), path.name


# --- Figures ---------------------------------------------------------------------------------------------------------


def test_figures_are_files_and_in_the_page_without_style_reference_or_colour(whole: tuple[Path, str, Page]) -> None:
    out, html, page = whole
    for name in DRAWINGS:
        assert (out / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        svg = (out / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert "prefers-color-scheme" in svg
        assert "url(" not in svg
        (inline,) = re.findall(rf'data-chart="{name}">(<svg.*?</svg>)', html, re.DOTALL)
        assert not re.search("style|#[0-9a-f]{3}|data-plot", inline)
    labels = [attrs["aria-label"] or "" for tag, attrs in page.elements if tag == "svg"][1:4]
    assert "ko 2.6000 before, 1.5000 at the end, control 1.4500; ko_reviews" in labels[0]
    assert "stage 1 from 3.1" in labels[1]
    assert "embeddings-head 1.6 GB, 1.5 GB in the control; odd-blocks" in labels[2]
    assert "full training 2.3 GB" in labels[2]


def stage_of(points: list[Record], tokens: int, n_bytes: int) -> Record:
    """A stage of these logged points."""
    rest = {"learning_rate": 1e-4, "grad_norm": 1.0, "tokens_per_second": 1.0}
    curve = [{**point, **rest} for point in points]
    return full_adaptation()["stages"][0] | {"tokens": tokens, "bytes": n_bytes, "curve": curve}


def arm_of(stages: list[Record]) -> Arm:
    return training_of(full_adaptation() | {"stages": stages}).adapted


def test_the_loss_is_shown_in_bits_per_byte_worked_by_hand() -> None:
    points = [
        {"step": 1, "tokens": 30, "bytes": 100, "loss": 4.0},
        {"step": 2, "tokens": 50, "bytes": 200, "loss": 3.0},  # 20 tokens since the point before
        {"step": 3, "tokens": 80, "bytes": 300, "loss": math.nan},
        {"step": 4, "tokens": 120, "bytes": 400, "loss": 2.0},
    ]
    half = [{"step": 1, "tokens": 50, "bytes": 200, "loss": 2.0}]
    arm = arm_of([stage_of(points, 120, 400), stage_of(half, 100, 400)])
    assert arm.ends == [400, 800]
    first, second = loss_lines(arm)
    bits = [4.0 * 30 / 100, 3.0 * 20 / 100, 2.0 * 40 / 100]
    assert first == [(x, pytest.approx(nats / math.log(2))) for x, nats in zip([100, 200, 400], bits, strict=True)]
    assert second == [(600, pytest.approx(2.0 * 50 / 200 / math.log(2)))]


def test_a_long_curve_is_drawn_as_means_that_are_ratios_of_sums() -> None:
    points = [{"step": i, "tokens": 10 * i + i % 2, "bytes": 40 * i, "loss": 1.0 + i % 2} for i in range(1, 801)]
    (line,) = loss_lines(arm_of([stage_of(points, 8_000, 32_000)]))
    assert len(line) == 400
    # In turn 11 tokens of loss 2 and 9 tokens of loss 1, 80 bytes together.
    assert {round(value, 12) for _, value in line} == {round((11 * 2 + 9 * 1) / 80 / math.log(2), 12)}


def test_each_stage_is_named_or_numbered_where_there_is_no_room_for_names() -> None:
    record = full_adaptation() | {"control": None}
    shown = texts_in(drawings_of(record)["training_loss"])
    assert [name for name in shown if name in STAGES] == list(STAGES)
    record["stages"] = [{**record["stages"][0], "name": f"block-{i}", "bytes": 10 * i} for i in range(1, 41)]
    figure = drawings_of(record)["training_loss"].figure
    (ax,) = figure.axes
    labels = {label.get_text(): label.get_position()[0] for label in ax.texts}
    assert not [name for name in labels if name.startswith("block")]
    starts = [start for name, start in labels.items() if name.isdigit()]
    assert 10 < len(starts) < 40
    width = ax.get_position().width * 5.8 * 72 / ax.get_xlim()[1]
    assert min(after - before for before, after in pairwise(starts)) * width > 12


def test_the_end_of_a_line_is_the_finished_model() -> None:
    record = full_adaptation()
    assert record["after"]["ko_reviews"] == 1.9
    record["after"]["ko"] = 1.45
    shown = texts_in(drawings_of(record)["training_bits"])
    assert {"1.45", "1.90", "1.10"} <= set(shown)
    record["after"]["ko_reviews"] = 1.46
    assert "1.46" not in texts_in(drawings_of(record)["training_bits"])  # it would stand on the other


# --- What is missing -------------------------------------------------------------------------------------------------


def test_a_run_that_has_not_trained_yet_makes_a_page() -> None:
    pictures, page = drawings_of(begun_adaptation()), page_of(begun_adaptation())
    assert set(pictures) == {"training_bits"}
    assert {"before", "after", "1 ko", "2.75"} <= set(texts_in(pictures["training_bits"]))
    assert page.rows["table-texts"][1][1:3] == ["ko", "target"]
    assert page.rows["table-texts"][1][-4:] == ["2.6000", "2.7500", "2.7500", "+5.8 %"]
    assert not {"table-stages", "table-forgetting"} & page.rows.keys()
    assert drawings_of(begun_adaptation() | {"before": {}, "initialised": {}, "after": {}}) == {}


def test_a_stopped_run_says_why_and_shows_what_it_had_done() -> None:
    pictures, page = drawings_of(stopped_adaptation()), page_of(stopped_adaptation())
    told = spoken(page)
    assert "This run stopped: stage odd-blocks forgot 16.0 % on en, more than the gate of 10.0 %." in told
    assert "fell from 2.6000 to 1.7000, by 34.6 %, at the end of stage 2." in told
    assert "The gate did not hold: bits per byte on en rose by 16.0 %, and 10.0 % is allowed." in told
    assert "Adapted, and stopped: 2.600 to 1.700" in told
    assert "The run finished" not in told
    assert "finished model" not in told
    assert page.rows["table-stages"][-1][0].startswith("2 odd-blocks")
    assert text.DASH in texts_in(pictures["training_memory"])
    adapted = training_of(stopped_adaptation()).adapted
    assert [len(line) for line in loss_lines(adapted)] == [N_POINTS, N_POINTS - 1]
    assert math.isnan(adapted.stages[1].run.curve[-1].loss)


def optional(node: inspect.Type, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where a record of this type may have null, or an empty list."""
    if isinstance(node, inspect.UnionType):
        if any(isinstance(part, inspect.NoneType) for part in node.types):
            yield at
        for part in node.types:
            yield from optional(part, at)
    elif isinstance(node, inspect.VarTupleType):
        yield from optional(node.item_type, (*at, 0))
    elif isinstance(node, inspect.StructType | inspect.DataclassType):
        for given in node.fields:
            yield from optional(given.type, (*at, given.name))


OPTIONAL = list(optional(inspect.type_info(AdaptRecord)))


def changed(record: Record, path: tuple[str | int, ...], value: object) -> None:
    """Set the field at `path` where the record has it; in all items of a list."""
    *above, name = path
    holders: list[Any] = [record]
    for key in above:
        inside = [holder if key == 0 else holder.get(key) for holder in holders if holder is not None]
        holders = [item for found in inside for item in (found if isinstance(found, list) else [found])]
    for holder in holders:
        if holder is not None and name in holder:
            holder[name] = value


@pytest.mark.parametrize("at_once", [False, True])
def test_whatever_may_be_null_leaves_a_page(at_once: bool) -> None:
    assert {("control",), ("gate", "worst"), ("stages", 0, "peak_bytes"), ("exposure", "median")} <= set(OPTIONAL)
    record = full_adaptation()
    for path in OPTIONAL:
        record = record if at_once else full_adaptation()
        changed(record, path, None)
        if not at_once:
            assert_told(record)
    assert_told(record)


def assert_told(record: Record) -> None:
    page = page_of(record)
    assert "The model, adapted" in page.text
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b", page.text)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.0])
def test_measurements_that_are_no_numbers_leave_a_page(value: float) -> None:
    def spoiled(given: Any) -> Any:
        if isinstance(given, dict):
            return {name: item if name == "max_forgetting" else spoiled(item) for name, item in given.items()}
        if isinstance(given, list):
            return [spoiled(item) for item in given]
        return value if isinstance(given, float) else given

    page = page_of(spoiled(full_adaptation()))
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b", page.text[: page.text.index("Options and versions of")])


def test_counts_that_are_nothing_leave_a_page() -> None:
    def spoiled(given: Any) -> Any:
        if isinstance(given, dict):
            return {name: item if name == "format_version" else spoiled(item) for name, item in given.items()}
        if isinstance(given, list):
            return [spoiled(item) for item in given]
        return 0 if isinstance(given, int | float) and not isinstance(given, bool) else given

    assert_told(spoiled(full_adaptation()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": 1}, "field status is not a text"),
        ({"plan": ...}, "field plan is missing"),
        ({"n_params": 10**400}, "field n_params is not a whole number from 0"),
        ({"before": {"ko": 10**400}}, "field before.ko is not a number"),
        ({"texts": {"ko": None}}, "field texts.ko is not a mapping"),
        ({"texts": {"ko": {"role": "x"}}}, 'field texts.ko.role is not "base" or "target"'),
        ({"samples": [{"before": "x"}]}, "field samples.0.prompt is missing"),
        ({"samples": [{"prompt": "x", "before": 7}]}, "field samples.0.before is not a text"),
        ({"stages": [{"name": "x", "curve": [{"loss": "low"}]}]}, "field stages.0.curve.0.loss is not a number"),
        ({"stages": [{"name": "x", "curve": {}}]}, "field stages.0.curve is not a list"),
        ({"gate": {"texts": "en"}}, "field gate.texts is not a list"),
        ({"gate": {"max_forgetting": "10 %"}}, "field gate.max_forgetting is not a number or null"),
        ({"exposure": []}, "field exposure is not a mapping"),
        ({"training_text": {"sources": {"ko": 3}}}, "field training_text.sources.ko is not a mapping"),
        ({"options": []}, "field options is not a mapping"),
        ({"control": {"plan": "x", "before": {}, "stages": [{}]}}, "field control.stages.0.name is missing"),
        ({"initialised": {"ko": "x"}}, "field initialised.ko is not a number"),
    ],
)
def test_a_broken_field_is_named_with_its_file(change: Record, message: str) -> None:
    record = {name: value for name, value in (full_adaptation() | change).items() if value is not ...}
    with pytest.raises(RunDirectoryError, match=rf"run/adapt\.json: {re.escape(message)}"):
        record_of(record, AdaptRecord, Path("run/adapt.json"), str)


def test_hostile_names_prompts_and_texts_are_shown_as_text(tmp_path: Path) -> None:
    html, page = rendered(tmp_path, *fake_run(), adapt=hostile_adaptation())
    assert not page.tags & {"img", "b64", "iframe"}
    assert html.count("<script") == len([tag for tag in page.elements if tag[0] == "script"])
    outside = re.sub(r"<(script|style)>.*?</\1>", "", html, flags=re.DOTALL)
    assert not re.search("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ud800]", outside)
    shown = HOSTILE.replace("\u202e", "U+202E").replace("\u0000", "U+0000")
    assert shown in spoken(page)
    assert "99,400 more characters" in page.text
    assert "4,977 more lines" in page.text
    assert shown in [row[1] for row in page.rows["table-texts"]]
    labels = texts_in(drawings_of(hostile_adaptation())["training_bits"])
    assert {"3 (see table)", "stage 1"} <= set(labels)
