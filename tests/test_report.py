"""The report page: it shows what it is given, reaches for nothing outside, and no text in it can do harm."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from report_data import HOSTILE, Page, fake_run, fake_verify, hostile_run, ratio_of, records_of, rendered, view_of
from training_data import full_adaptation

from vocabopt.records import SweepRecord
from vocabopt.report import text
from vocabopt.report.page import write_report
from vocabopt.wording import (
    agreement_sentence,
    paper_axis_sentence,
    reason,
    rule_sentence,
    rule_source,
    window_sentence,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page]:
    out = tmp_path_factory.mktemp("run")
    sweep, curve, run = fake_run()
    return out, *rendered(out, sweep, curve, run)


def test_page_is_self_contained(report: tuple[Path, str, Page]) -> None:
    _, html, page = report
    assert not page.tags & {"link", "iframe", "object", "embed", "img", "base", "form"}
    assert not {name for name, _ in page.attributes()} & {"src", "srcset", "xlink:href", "data", "action"}
    assert all(value.startswith("#") for name, value in page.attributes() if name == "href")
    assert "url(" not in html
    assert "@import" not in html
    assert 'lang="en"' in html


def test_policy_allows_the_page_s_own_style_and_scripts_by_their_hashes_and_nothing_else(
    report: tuple[Path, str, Page],
) -> None:
    _, html, page = report
    (policy,) = [attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv")]

    def hashes(pattern: str) -> str:
        found = [hashlib.sha256(body.encode()).digest() for body in re.findall(pattern, html, re.DOTALL)]
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in found)

    scripts, styles = hashes("<script>(.*?)</script>"), hashes("<style>(.*?)</style>")
    assert policy == f"default-src 'none'; script-src {scripts}; style-src {styles}"
    assert not [name for name, _ in page.attributes() if name == "style" or name.startswith("on")]
    assert {attrs.get("type") for tag, attrs in page.elements if tag == "script"} == {None, "application/octet-stream"}
    assert not re.search(r"\beval\(|\bFunction\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write", html)


def test_every_id_is_unique_and_every_reference_is_met(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    ids = [value for name, value in page.attributes() if name == "id"]
    assert len(ids) == len(set(ids))
    met = {value for name, value in page.attributes() if name in ("aria-labelledby", "for")}
    met |= {value[1:] for name, value in page.attributes() if name == "href"}
    assert met <= set(ids)


def test_recommendation_stands_first_with_its_three_numbers(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    sweep, curve, _ = fake_run()
    base = sweep["sets"]["heldout"]["n_tokens_base"]
    after = curve.item(399, "n_tokens_heldout")
    head = page.text[: page.text.index("Every text set at this size")]
    assert "Add 400 tokens to mistral-7b-v1" in head
    assert reason(records_of(*fake_run())[0]) in head
    assert f"{100 * (1 - after / base):.1f} %" in head
    assert f"{base:,} become {after:,}" in head
    assert "3.3 M" in head  # 400 rows x 4,096 x 2
    assert "32,400 rows, 1.0125 of the base’s".replace("1.0125", f"{1.0125:.3f}") in head
    ratio = after / base
    flops = [14e9 + 4096 * 524_288 + 2 * 4096 * rows for rows in (32_000, 32_400)]
    assert f"{ratio * flops[1] / flops[0]:.2f} ×" in head
    assert f"context {base / after:.2f} ×" in head
    assert "90 % interval of the knee, 397: 360 to 450" in head


def test_an_unknown_model_leaves_dashes_and_says_what_to_pass(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    sweep["choice"]["model_cost"] = sweep["model"] = None
    for point in sweep["points"]:
        point["n_embedding_params"] = None
    html, page = rendered(tmp_path, sweep, curve, run)
    assert page.text.count("no model known (--model)") == 2
    big = re.findall(r'class="big" data-live="(\w+)">(.*?)</dd>', html)
    assert big[1:] == [("params_added", text.DASH), ("training", text.DASH)]
    assert "None" not in page.text


def test_a_model_of_unknown_layers_is_not_called_an_unknown_model(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    sweep["choice"]["model_cost"] = None
    _, page = rendered(tmp_path, sweep, curve, run)
    assert "the layers of this model are not known" in page.text
    assert "--model" not in page.text


def test_table_of_sizes_shows_the_numbers_given(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    sweep, _, _ = fake_run()
    assert len(page.rows["table-points"]) == 1 + len(sweep["points"])
    for point in sweep["points"]:
        heldout = point["sets"]["heldout"]
        assert page.row("table-points", f"{point['n_added']:,}") == [
            f"{point['n_added']:,}",
            f"{point['n_rows_total']:,}",
            f"{heldout['n_tokens']:,}",
            f"{ratio_of(sweep, point, 'heldout'):.4f}",
            f"{ratio_of(sweep, point, 'train'):.4f}",
            f"{point['n_rows_total'] / 32_000:.4f}",
            f"{heldout['n_tokens'] / 1_624_690:.3f}",
            f"{15_308_642 / heldout['n_tokens']:.3f}",
            f"{point['n_embedding_params']:,}",
            "the choice" if point["n_added"] == 400 else "",
        ]


def test_tables_of_sets_and_tokens_show_what_was_given(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    sweep, curve, _ = fake_run()
    rows = {row[1]: row for row in page.rows["table-sets"][1:]}
    assert list(rows) == ["heldout", "train", "en", "news"]
    ratio = curve.item(399, "n_tokens_news") / sweep["sets"]["news"]["n_tokens_base"]
    assert rows["news"][2:6] == ["eval", "4,000", "30,617,284", "3,249,380"]
    assert rows["news"][-1] == f"{ratio:.4f}"
    assert rows["en"][-1] == "1.0000"
    now = {row[1]: row for row in page.rows["table-now"][1:]}
    assert now["news"][-2:] == [f"{ratio:.4f}", f"{100 * (1 - ratio):.1f} %"]
    assert now["en"][-1] == "0 %"
    first, last = page.rows["table-first"][1:], page.rows["table-last"][1:]
    assert [row[0] for row in first] == [str(rank) for rank in range(1, 41)]
    assert [row[0] for row in last] == [str(rank) for rank in range(861, 901)]
    assert page.row("table-used", "800")[1] == str(curve.item(799, "n_used_heldout"))


def test_count_is_how_often_a_token_occurred_not_what_it_saved(report: tuple[Path, str, Page]) -> None:
    page, (_, curve, _) = report[2], fake_run()
    for row, given in zip(page.rows["table-first"][1:], curve.head(40).to_dicts(), strict=True):
        n_bytes_spelled = len(given["bytes"]) if given["kind"] == "char" else 2
        assert row[2:] == [
            given["kind"], f"{given['saving'] // (n_bytes_spelled - 1):,}", f"{given['saving']:,}",
            f"{given['n_tokens_train']:,}",
        ]  # fmt: skip


def test_rules_windows_interval_and_sets_stand_behind_the_choice(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    rules = {row[0].split(" second")[0]: row[1] for row in page.rows["table-rules"][1:]}
    assert rules == {
        "knee": "397", "knee (Kneedle)": "350", "compute, training": "≥ 900", "seen 1,000×": "120",
        "memory, serving": text.DASH, "VOLT's utility": "90", "scaling law 1": "5,900",
    }  # fmt: skip
    assert [row[0] for row in page.rows["table-rules"][1:] if "second opinion" in row[0]] == [
        "VOLT's utility second opinion", "scaling law 1 second opinion",
    ]  # fmt: skip
    record: SweepRecord = records_of(*fake_run())[0]
    rows = [row[2] for row in page.rows["table-rules"][1:]]
    assert rows == [f"{rule_sentence(record, answer)} {rule_source(answer)}" for answer in record.choice.rules]
    assert page.rows["table-windows"] == [["from", "to 400", "to 800"], ["0", "110", "230"], ["200", text.DASH, "410"]]
    assert [row[-1] for row in page.rows["table-knees"][1:]] == ["380", "381", text.DASH, "383"]
    told = re.sub(r"\s+", " ", page.text)
    for words in (
        "held-out text lies between 360 and 450 in 90 % of the 997 resamples that have a knee; 3 have none.",
        "marginal saving are those of held-out text", window_sentence(record.choice), agreement_sentence(record.choice),
        str(paper_axis_sentence(record.choice)), "left out are norms", "row_multiple128",
    ):  # fmt: skip
        assert words in told, words


def test_every_chart_has_its_table(report: tuple[Path, str, Page]) -> None:
    html = report[1]
    tables = {"complexity": "points", "rules": "rules", "windows": "windows", "sets": "sets", "used": "used"}
    charts = re.findall(r'data-chart="(\w+)"', html)
    assert charts == list(tables)
    for chart in charts:
        assert f'id="table-{tables[chart]}"' in html[html.index(f'data-chart="{chart}"') :]


def test_the_merged_tokenizer_s_checks_are_shown_where_they_were_made(tmp_path: Path) -> None:
    verify = fake_verify()
    failed = {"name": "Other text stays", "status": "fail", "summary": "1 line", "examples": [
        {"what": HOSTILE, "base": "1 2", "new": "3"}]}  # fmt: skip
    verify |= {"passed": False, "verdict": "fail", "new": {**verify["new"], "name": HOSTILE}, "n_new": 128}
    verify |= {"scripts": [], "checks": [*verify["checks"], failed]}
    _, page = rendered(tmp_path, *fake_run(), verify=verify)
    assert page.rows["table-verify"][1] == ["passed", "Ids stay", "32,000 of 32,000"]
    assert page.rows["table-verify"][2][:2] == ["failed", "Other text stays"]
    assert "another size than the choice" in page.text
    assert 'id="verify"' not in rendered(tmp_path / "none", *fake_run())[0]


def test_training_is_shown_where_a_model_was_adapted(tmp_path: Path) -> None:
    adapt = full_adaptation() | {"before": {"ko": 2.0, "en": 1}, "after": {"ko": 1.0}, "control": None}
    adapt["stages"] = [{**adapt["stages"][0], "tokens": 5, "bytes": 10, "seconds": 1.5, "bits_per_byte": {"ko": 1.25}}]
    _, page = rendered(tmp_path, *fake_run(), adapt=adapt)
    row = page.rows["table-stages"][3]
    assert row[1:4] == ["1.2500", text.DASH, text.DASH]
    assert row[-5:] == ["5", "10", "1.50 s", "3", "1.6 GB"]
    assert page.row("table-stages", "after")[1:4] == ["1.0000", text.DASH, text.DASH]


def test_limits_and_provenance_are_told(report: tuple[Path, str, Page]) -> None:
    page = report[2]
    _, _, run = fake_run()
    for words in (
        "1,234 merges were blocked", "2 at 200, 4 at 400 and 8 at 800 added tokens", "gives no formula", "9f" * 32,
        "0.004 s", "1.3 GB", run["command"], run["started_at"], "tokenizers0.22.1", "min_saving2",
    ):  # fmt: skip
        assert words in page.text.replace("\n", ""), words
    assert page.text.index("gives no formula") < page.text.index("Inputs, options, versions")


def test_sizes_beyond_the_text_are_marked_with_the_reason(tmp_path: Path) -> None:
    _, page = rendered(tmp_path, *fake_run(n_added=500))
    assert page.row("table-points", "800")[-1] == "text ran dry at 500"
    assert page.row("table-points", "400")[-1] == "the choice"
    assert "no further token saves 2 tokens or more" in page.text
    assert [attrs["class"] for tag, attrs in page.elements if tag == "tr" and "dry" in (attrs.get("class") or "")]


def test_a_choice_between_the_sizes_has_its_own_row(tmp_path: Path) -> None:
    sweep, curve, run = fake_run(n_added=500, choice=450)
    _, page = rendered(tmp_path, sweep, curve, run)
    assert page.row("table-points", "450")[-1] == "the choice"
    assert f"become {curve.item(449, 'n_tokens_heldout'):,}" in page.text


def test_a_recommendation_of_nothing_is_said_in_words(tmp_path: Path) -> None:
    _, page = rendered(tmp_path, *fake_run(n_added=0, sizes=(0,), choice=0))
    assert "Add no tokens to mistral-7b-v1" in page.text
    assert "None: no token saves enough on this text." in page.text


def test_hostile_text_is_shown_and_does_nothing(tmp_path: Path) -> None:
    html, page = rendered(tmp_path, *hostile_run())
    assert len(html) < 400_000
    assert "img" not in page.tags
    assert html.count("<script") == sum(tag == "script" for tag, _ in page.elements)
    assert {frozenset(attrs) for tag, attrs in page.elements if tag == "script"} == {
        frozenset(), frozenset({"type", "id"}),
    }  # fmt: skip
    assert not [name for name, _ in page.attributes() if name.startswith("on")]
    outside = re.sub(r"<(script|style)>.*?</\1>", "", html, flags=re.DOTALL)
    assert not re.search(
        "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\u3164]", outside
    )
    shown = HOSTILE.replace("\u202e", "U+202E").replace("\u0000", "U+0000")
    first = page.rows["table-first"]
    assert first[1][1] == HOSTILE[:48].replace(" ", "\u2423") + f"\u2026 {len(HOSTILE) - 48} more characters"
    assert first[2][1] == "a\u2423U+200F\u2581bU+3164"
    assert first[3][1] == "x" * 48 + "\u2026 9,999,952 more characters"
    assert first[4][1] == "EC 8B"
    assert shown in [row[1] for row in page.rows["table-sets"]]
    assert page.rows["table-inputs"][1][0] == "corpus/" + shown + "U+DC80"
    assert page.text.count("<script>alert('x')</script>") >= 10


def test_what_was_left_out_is_told_with_its_reason(tmp_path: Path) -> None:
    sweep, curve, run = fake_run()
    options: dict[str, Any] = {"samples": {"heldout": ["a text"]}, "base_problem": f"{HOSTILE} is gone"}
    _, page = rendered(tmp_path, sweep, curve, run, **options)
    assert "It is left out, and so are the sample sentences: " in page.text
    assert "is gone" in page.text
    assert not {"pack-playground", "pack-samples"} & {value for name, value in page.attributes() if name == "id"}


def test_two_renderings_are_equal_byte_for_byte(report: tuple[Path, str, Page], tmp_path: Path) -> None:
    out = report[0]
    sweep, curve, run = fake_run()
    write_report(tmp_path, view_of(sweep, curve, run))
    for path in sorted(tmp_path.rglob("*.*")):
        assert path.read_bytes() == (out / path.relative_to(tmp_path)).read_bytes(), path.name


def test_nothing_half_written_is_left(report: tuple[Path, str, Page]) -> None:
    assert {path.name for path in report[0].iterdir()} == {"report.html", "figures"}
    assert {path.suffix for path in (report[0] / "figures").iterdir()} == {".svg", ".png"}
