"""Charts as files of their own, and bands; how lines and axes are drawn is in test_report.py."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from rtpe.report.chart import Chart, write_chart

BOTH = {"one": ([1, 2, 3], [10, 20, 30]), "two & more": ([1, 2, 3], [15, 15, 15])}


@pytest.fixture
def drawn(tmp_path):
    """The elements of the file of a chart, each a tag without its namespace and its attributes."""

    def draw(chart):
        write_chart(tmp_path / "new" / "chart.svg", chart)
        root = ElementTree.parse(tmp_path / "new" / "chart.svg").getroot()
        return [(each.tag.rpartition("}")[2], each.attrib, each.text) for each in root.iter()]

    return draw


def corners(drawn, kind):
    paths = [each["d"] for _, each, _ in drawn if each.get("class") == kind]
    return [np.array(re.findall(r"([-\d.]+) ([-\d.]+)", path), float) for path in paths]


@pytest.mark.parametrize(
    "series",
    [{}, {"a": ([], [])}, {"a": ([1], [math.nan])}, BOTH, {str(n): ([0, 1], [n, n]) for n in range(9)}],
    ids=len,
)
def test_a_file_has_title_labels_and_a_legend_inside_its_frame(drawn, series):
    shown = drawn(Chart("Scores <all>", "epoch", "PCK (%)", series, note="A note."))
    words = [text for tag, _, text in shown if tag == "text"]
    assert {"Scores <all>", "epoch", "PCK (%)", "A note.", *series} <= set(words)
    _, svg, _ = shown[0]
    height = float(svg["viewBox"].split()[3])
    assert 330 <= height <= 480 and float(svg["height"]) / float(svg["width"]) == pytest.approx(height / 480)
    rows = [re.search(r"\d+ (\d+)", each["transform"]).group(1) for _, each, _ in shown if "transform" in each]
    assert float(rows[-1]) + 300 <= height  # the drawing, below every entry of the legend
    assert all(float(row) <= float(rows[-1]) for row in rows)


def test_a_file_needs_nothing_else_and_runs_nothing(drawn, tmp_path):
    drawn(Chart("t", "x", "y", BOTH))
    text = (tmp_path / "new" / "chart.svg").read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"url\(|@import|https?:|<script|href|var\(", text)


def test_a_band_lies_around_its_line(drawn):
    """Its corners: along the lower ends, and back along the upper ones, on the axes of the lines."""
    shown = drawn(Chart("t", "x", "y", BOTH, bands={"one": ([8, 16, 24], [12, 24, 40])}))
    (band,), lines = corners(shown, "band"), [line for line in corners(shown, "line") if len(line) == 3]
    one, two = lines
    assert band.shape == (6, 2) and np.array_equal(band[:, 0], [*one[:, 0], *one[::-1, 0]])
    unit = (two[0, 1] - one[2, 1]) / 15  # of y: from 15 to 30; up is less
    lower, upper = (band[:3, 1] - one[:, 1]) / unit, (one[:, 1] - band[5:2:-1, 1]) / unit
    np.testing.assert_allclose(lower, [2, 4, 6], atol=0.05)  # places are written to a tenth of a pixel
    np.testing.assert_allclose(upper, [2, 4, 10], atol=0.05)
    classes = [each["class"] for tag, each, _ in shown if tag == "g" and "class" in each]
    assert classes[2] == "s0"  # after the legend's two: the colour of its line, and below it


@pytest.mark.parametrize("ends", [[math.nan] * 3, [math.nan, math.nan, 4]], ids=["nothing", "one end"])
def test_a_band_with_gaps(drawn, ends):
    shown = drawn(Chart("t", "x", "y", BOTH, bands={"one": (ends, ends)}))
    assert all(np.isfinite(band).all() for band in corners(shown, "band"))
    assert len(corners(shown, "band")) == int(any(map(math.isfinite, ends)))


@pytest.mark.parametrize(
    "bands, said",
    [
        ({"one": ([1, 2], [1, 2, 3])}, "expected as many ys as xs of 'one', got 2, 3"),
        ({"three": ([1], [2])}, "a band of 'three', which is no series of it"),
    ],
)
def test_a_band_that_fits_no_line_is_refused(bands, said):
    with pytest.raises(ValueError, match=f"chart 't': {said}"):
        Chart("t", "x", "y", BOTH, bands=bands)
