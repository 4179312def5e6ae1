"""The figures of the report: as files for papers, and in the page."""

import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from report_data import Page, fake_run, hostile_run, rendered, view_of

from vocabopt.choice.complexity import EmbeddingTable
from vocabopt.report.draw import COLOURS, Drawing, Key, frame, house_style, render
from vocabopt.report.page import write_report

NAMES = ("complexity", "rules", "windows", "sets", "used")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page]:
    out = tmp_path_factory.mktemp("run")
    sweep, curve, run = fake_run()
    return out, *rendered(out, sweep, curve, run)


def test_figures_are_valid_svg_and_png_without_references(report: tuple[Path, str, Page]) -> None:
    figures = report[0] / "figures"
    assert {path.name for path in figures.iterdir()} == {f"{name}.{form}" for name in NAMES for form in ("svg", "png")}
    for path in figures.glob("*.svg"):
        root = ET.parse(path).getroot()
        assert root.get("role") == "img"
        assert len(root.get("aria-label", "")) > 40
        assert not {"url(", "xlink:href="} & set(re.findall(r"url\(|xlink:href=", path.read_text(encoding="utf-8")))
        assert "prefers-color-scheme" in path.read_text(encoding="utf-8")
    for path in figures.glob("*.png"):
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width == round(5.8 * 160)
        assert 150 < height < 900
    pictures = [attrs for tag, attrs in report[2].elements if tag == "svg"]
    assert len(pictures) == len(NAMES)
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)


def test_figures_in_the_page_take_their_colours_from_it_and_hold_no_style(report: tuple[Path, str, Page]) -> None:
    for svg in re.findall(r"<svg.*?</svg>", report[1], re.DOTALL):
        assert "style" not in svg
        assert not re.search("#[0-9a-f]{3}", svg)
        root = ET.fromstring(svg)
        classes = {element.get("class", "") for element in root.iter()} - {""}
        assert classes
        assert all(re.fullmatch("[fk]-[a-z0-9]+( [fk]-[a-z0-9]+)?", given) for given in classes)
        assert {element.get("fill") for element in root.iter()} <= {None, "none"}


def test_a_figure_tells_the_script_where_its_axes_lie(report: tuple[Path, str, Page]) -> None:
    sweep, curve, _ = fake_run()
    svg = next(attrs for tag, attrs in report[2].elements if tag == "svg")
    left, top, width, height = map(float, str(svg["data-plot"]).split())
    assert svg["data-x"] == f"0 {curve.height}"
    assert svg["data-lines"] == "set0:s0 set1:s0 embedding:embedding"
    _, _, right, bottom = map(float, str(svg["viewbox"]).split())
    assert left > 0 < top
    assert left + width < right
    assert top + height < bottom
    # The dot that is drawn at the choice stands where the script would put its own.
    drawn = re.search(r'<path d="M ([0-9.]+) ([0-9.]+) [^"]*" class="f-ink k-ink"', report[1].replace("\n", " "))
    assert drawn is not None
    ratio = curve.item(399, "n_tokens_heldout") / sweep["sets"]["heldout"]["n_tokens_base"]
    assert float(drawn[1]) == pytest.approx(left + width * 400 / curve.height, abs=3)
    assert float(drawn[2]) == pytest.approx(top + height * (1 - ratio), abs=3)


@pytest.mark.parametrize(
    ("n_rows", "corners"),
    [
        (32_000, [(0, 1.0), (500, 32_500 / 32_000)]),
        (32_200, [(0, 1.0), (200, 1.0), (500, 32_500 / 32_200)]),
        (40_000, [(0, 1.0), (500, 1.0)]),
    ],
)
def test_the_embedding_line_is_that_of_every_size_not_of_the_table(
    n_rows: int, corners: list[tuple[int, float]]
) -> None:
    """Points of a dry text carry the curve's end at their nominal size; padding rows are filled first."""
    sweep, curve, run = fake_run(n_added=500, sizes=(0, 400, 8_000))
    sweep["base"]["n_rows"] = n_rows
    assert sweep["points"][-1]["n_rows_total"] == 32_500
    sizes, ratios = view_of(sweep, curve, run).embedding_line()
    assert np.stack([sizes, ratios], axis=1) == pytest.approx(np.array(corners))
    table = EmbeddingTable(base_n_tokens=32_000, base_n_rows=n_rows, model=None)
    every = range(curve.height + 1)
    assert np.interp(every, sizes, ratios) == pytest.approx([table.ratio(size) for size in every])


def test_figures_name_sets_and_rules_in_letters_that_the_font_has(tmp_path: Path) -> None:
    write_report(tmp_path, view_of(*hostile_run()))
    for svg in (tmp_path / "figures").glob("*.svg"):
        assert not {element.tag.rpartition("}")[2] for element in ET.parse(svg).iter()} & {"script", "image", "a", "b"}
    labels = [element.text for element in ET.parse(tmp_path / "figures" / "sets.svg").iter()]
    assert {"3 (see table)", "4 (see table)", '5 <b>$x_2$ -->"'} <= set(labels)
    assert "rule 7" in [element.text for element in ET.parse(tmp_path / "figures" / "rules.svg").iter()]


@pytest.mark.parametrize(
    "name",
    ['a style="b:c"', ' style="fill:#0a5fb4"', 'x transform="rotate(-0 1)"', '--> style="q:r" <g id="x">', "a>b&lt;"],
)
def test_a_name_that_looks_like_an_attribute_is_shown_as_it_is(name: str) -> None:
    with house_style():
        figure, _ = frame(2, [Key(label=name, style={"color": COLOURS["s0"]})], columns=1)
        picture = render("x", Drawing(figure=figure, label=name))
    for svg in (picture.inline, picture.svg.decode()):
        texts = [element.text for element in ET.fromstring(svg).iter() if element.tag.rpartition("}")[2] == "text"]
        assert name.strip() in [(text or "").strip() for text in texts]
    assert not [element for element in ET.fromstring(picture.inline).iter() if "style" in element.attrib]


def test_importing_the_report_does_not_wait_for_matplotlib() -> None:
    code = "import sys, vocabopt.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_reader_s_own_matplotlib_settings_change_nothing(report: tuple[Path, str, Page], tmp_path: Path) -> None:
    import matplotlib

    sweep, curve, run = fake_run()
    with matplotlib.rc_context({"figure.autolayout": True, "font.size": 30, "savefig.bbox": "tight"}):
        write_report(tmp_path, view_of(sweep, curve, run))
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "report.html").read_bytes() == (report[0] / "report.html").read_bytes()
