"""A report is one self-contained file in which every value can be found, whatever the values are."""

import base64
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from rtpe.images import read_image
from rtpe.report.chart import _axis, _tick_names
from rtpe.report.page import Chart, Picture, Table, curves, read_history, write_report

VOID = {"meta", "link", "img", "br"}
HOSTILE = """<script>alert("1")</script> & 'x' {title} é"""


class Page(HTMLParser):
    """The elements of a page as (tag, attributes), the texts of its table cells, and whether all tags close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.cells, self.bold, self.words = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open += [tag] * (tag not in VOID)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data
        if "b" in self.open:
            self.bold.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page(tmp_path):
    def write(**parts):
        write_report(tmp_path / "report.html", **{"title": "t", **parts})
        assert [path.name for path in tmp_path.iterdir()] == ["report.html"]  # nothing temporary is left
        return Page((tmp_path / "report.html").read_text(encoding="utf-8"))

    return write


def full_report(text="plain"):
    return {
        "title": text,
        "tables": [Table(text, [{text: text, "AP": 0.5}], text), Table(text, [])],
        "charts": [Chart(text, text, text, {text: ([1, 2], [3, 4])}, text), Chart(text, text, text, {})],
        "pictures": [Picture(text, np.zeros((9, 900, 3), np.uint8), text)],
        "facts": {text: text},
    }


def test_an_empty_report_is_a_page(page):
    assert page(title="nothing yet").words.count("nothing yet") == 2  # title and heading


def test_all_text_is_escaped(page):
    plain, shown = page(**full_report("plain")), page(**full_report(HOSTILE))
    assert [tag for tag, _ in shown.elements] == [tag for tag, _ in plain.elements]
    assert shown.words.count(HOSTILE) == plain.words.count("plain") > 15  # wherever it was given, whole
    assert shown.all("img")[0]["alt"] == HOSTILE


def test_nothing_comes_from_elsewhere(page):
    shown = page(**full_report())
    for tag, attributes in shown.elements:
        assert tag not in ("script", "iframe", "object", "a", "base", "form")
        for name in ("src", "href", "xlink:href", "style", "srcset"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|https?:|file:", "".join(shown.words))
    (policy,) = [meta["content"] for meta in shown.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")


def test_a_file_name_that_is_not_unicode_can_be_reported(page):
    assert any("broken" in word for word in page(facts={"image": "broken\udcff.jpg"}).words)


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "–"), (math.nan, "–"), (-math.inf, "–"), (np.float32("nan"), "–"), ("", ""), (True, "yes"),
        (0.69841, "0.698"), (np.float32(0.5), "0.500"), (0.0, "0.000"), (-1.5, "-1.500"), (12345.6, "12,345.600"),
        (2e-4, "0.0002"), (-3.14159e-7, "-3.1e-07"), (7, "7"), (np.int64(28645331), "28,645,331"), ((1, 2), "(1, 2)"),
    ],
)  # fmt: skip
def test_a_value_is_written_as(page, value, text):
    assert page(tables=[Table("t", [{"a": value}])]).cells == ["a", text]


def test_every_cell_of_a_table_is_there(page):
    rows = [{"name": f"row {i}", **{f"c{j}": 100 * i + j for j in range(i + 1)}} for i in range(7)]
    shown = page(tables=[Table("ragged", rows)])
    names = ["name"] + [f"c{j}" for j in range(7)]
    assert shown.cells[:8] == names
    body = np.array(shown.cells[8:]).reshape(7, 8).tolist()
    assert body == [[str(row.get(name, "–")) for name in names] for row in rows]


def test_columns_of_numbers_are_right_aligned_with_their_heads(page):
    shown = page(tables=[Table("t", [{"name": "a", "AP": 0.5, "mixed": 1}, {"name": "b", "AP": None, "mixed": "x"}])])
    kinds = [cell.get("class") for tag, cell in shown.elements if tag in ("td", "th")]
    assert kinds == [None, "number", None] * 3


@pytest.mark.parametrize(
    "name, values, bold",
    [
        ("AP", [], []),
        ("AP", [0.5], []),
        ("AP", [0.5, None, math.nan], []),
        ("AP", [0.5, 0.7, None], ["0.700"]),
        ("AP50", [0.7, 0.6], ["0.700"]),
        ("APM", [0.70041, 0.70039, 0.2], ["0.700", "0.700"]),
        ("mAP", [0.1, 0.2], ["0.200"]),
        ("student AR", [0.1, 0.2], ["0.200"]),
        ("PCK@0.2", [0.1, 0.2], ["0.200"]),
        ("PCKh@0.5", [0.1, 0.2], ["0.200"]),
        ("AP", [-1.0, -1.0], ["-1.000", "-1.000"]),
        ("ms", [1.0, 2.0], []),
        ("Application", [1.0, 2.0], []),
        ("PARAMETERS", [1.0, 2.0], []),
        ("EPE", [1.0, 2.0], []),
    ],
)
def test_the_best_is_bold_where_larger_is_better(page, name, values, bold):
    assert page(tables=[Table("t", [{name: value} for value in values])]).bold == bold


SERIES = {
    "no series": {},
    "no points": {"a": ([], [])},
    "one point": {"a": ([3], [0.5])},
    "all gaps": {"a": ([1, 2], [math.nan, None])},
    "gaps": {"a": (range(7), [1, math.nan, 2, 3, None, math.inf, 4])},
    "constant": {"a": ([0, 1, 2], [5, 5, 5])},
    "constant zero": {"a": ([0, 0], [0, 0])},
    "nearly constant": {"a": ([0, 1], [1.0, 1.0 + 1e-15])},
    "tiny": {"a": ([0, 1e-300], [5e-324, 0])},
    "huge": {"a": ([0, 1, 2], [1e308, -1e308, 1])},
    "large": {"a": ([0, 1, 2], [1e12, -3e12, 1])},
    "arrays": {"a": (np.arange(5), np.arange(5, dtype=np.float32)), "b": (np.arange(3), np.ones(3, int))},
    "many": {f"series {i}": (range(50), np.sin(np.arange(50) + i)) for i in range(13)},
}


@pytest.mark.parametrize("series", SERIES.values(), ids=SERIES)
def test_charts_hold_finite_numbers_inside_their_frame(page, series):
    shown = page(charts=[Chart("t", "x", "y", series)])
    (box,) = [svg["viewbox"] for svg in shown.all("svg") if "role" in svg]
    width, height = (float(value) for value in box.split()[2:])
    for tag, attributes in shown.elements:
        places = [attributes[key] for key in ("x", "y", "d") if key in attributes] if tag in ("path", "text") else []
        for place in places:
            assert not re.search(r"nan|inf|None|e[+-]", place), place
    starts = [re.match(r"M([-\d.]+) ([-\d.]+)", path["d"]).groups() for path in shown.all("path")]
    assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in starts)
    drawable = any(y is not None and math.isfinite(y) and abs(y) < 1e30 for _, ys in series.values() for y in ys)
    assert ("no data" in shown.words) == (not drawable)
    assert all(name in shown.words for name in series)


def test_points_lie_on_the_scale_of_their_axes(page):
    """Place and tick of the same number agree, to the tenth of a pixel that is written."""
    shown = page(charts=[Chart("t", "x", "y", {"a": ([0, 10, 40], [0.2, 0.6, 1.0])})])
    line = next(path["d"] for path in shown.all("path") if path.get("class") == "line" and path["d"].count("L") == 2)
    points = np.array([pair.split() for pair in line[1:].split("L")], float)
    grids = [path["d"] for path in shown.all("path") if path.get("class") == "grid"]
    heights = [float(re.match(r"M\S+ ([\d.]+)H", d).group(1)) for d in grids]
    assert heights[0] == points[0, 1] and heights[-1] == points[2, 1]
    np.testing.assert_allclose(points[1], points[0] + (points[2] - points[0]) * [0.25, 0.5], atol=0.1)


def test_a_gap_breaks_the_line_and_a_lone_point_is_marked(page):
    shown = page(charts=[Chart("t", "x", "y", {"a": (range(8), [1, 2, math.nan, 4, math.nan, 6, 7, 8])})])
    _, line = (path["d"] for path in shown.all("path") if path.get("class") == "line")  # the first is the legend's
    assert [part.count("L") for part in line.split("M")[1:]] == [1, 2]
    assert len({path["d"] for path in shown.all("path") if path.get("class") == "mark"}) >= 6 + 2  # and the legend's


def test_series_differ_in_more_than_colour(page):
    shown = page(charts=[Chart("t", "x", "y", {str(i): ([0, 1], [i, i]) for i in range(12)})])
    groups = [group["class"] for group in shown.all("g")][:12]
    lines = [path.get("stroke-dasharray") for path in shown.all("path") if path.get("class") == "line"][:12]
    marks = [path["d"].split("m", 1)[1] for path in shown.all("path") if path.get("class") == "mark"][:24:2]
    looks = list(zip(lines, marks))
    assert len(set(looks)) == 12 and len(set(groups)) == 6


def test_series_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="chart 'Losses': expected as many ys as xs of 'a', got 1, 2"):
        Chart("Losses", "x", "y", {"a": ([1, 2], [1])})


def test_ticks_are_few_round_and_cover_the_values():
    rng = np.random.default_rng(0)
    for _ in range(300):
        values = np.sort(rng.normal(0, 1, 2)) * 10.0 ** rng.integers(-12, 12) + rng.choice([0, 0, 1, 1e6])
        (low, high), ticks = _axis(values, tight=False)
        step = ticks[1] - ticks[0]
        mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-3)  # ticks near 1e6 blur their own step
        assert min(abs(mantissa - round_one) for round_one in (1, 2, 5, 10)) < 0.01
        assert low <= values[0] + 1e-5 * step and high >= values[1] - 1e-5 * step and 3 <= len(ticks) <= 9
        (low, high), inner = _axis(values, tight=True)
        slack = 1e-5 * step
        assert 2 <= len(inner) <= 8 and low - slack <= inner[0] and inner[-1] <= high + slack
        names = _tick_names(ticks)
        assert len(set(names)) == len(ticks)  # no two ticks read alike


@pytest.mark.parametrize(
    "values, names",
    [
        ([], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0, 3], ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0"]),
        ([-10, 10], ["-10", "-5", "0", "5", "10"]),
        ([0, 50_000], ["0", "10k", "20k", "30k", "40k", "50k"]),
        ([0, 3_000_000], ["0", "0.5M", "1M", "1.5M", "2M", "2.5M", "3M"]),
        ([0, 2e-4], ["0", "5e-05", "0.0001", "0.00015", "0.0002"]),
        ([-0.1, 0.2], ["-0.10", "-0.05", "0.00", "0.05", "0.10", "0.15", "0.20"]),
    ],
)
def test_ticks_read_as(values, names):
    assert _tick_names(_axis(np.array(values, float), tight=False)[1]) == names


@pytest.mark.parametrize("values, names", [([1, 2, 3], "123"), ([1, 8], "2468"), ([4, 5], "45")], ids=str)
def test_whole_numbers_have_ticks_at_whole_numbers(values, names):
    assert _tick_names(_axis(np.array(values, float), tight=True)[1]) == list(names)


def test_pictures_are_inside_the_file(page, tmp_path):
    image = np.random.default_rng(0).integers(100, 110, (40, 60, 3), dtype=np.uint8)
    (img,) = page(pictures=[Picture("p", image)]).all("img")
    assert (img["width"], img["height"]) == ("60", "40")
    (tmp_path / "p.jpg").write_bytes(base64.b64decode(img["src"].removeprefix("data:image/jpeg;base64,")))
    # as JPEG keeps grey noise of 10 levels: no pixel leaves its neighbourhood
    np.testing.assert_allclose(read_image(tmp_path / "p.jpg").astype(int), image, atol=12)


def test_a_report_that_fails_leaves_the_old_one(page, tmp_path):
    page(title="old")
    with pytest.raises(AttributeError):
        write_report(tmp_path / "report.html", title="new", pictures=[Picture("p", None)])
    assert "old" in (tmp_path / "report.html").read_text()


def test_a_history_becomes_curves(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"step": 1, "epoch": 1, "loss": 2.0}\n{"step": 2, "loss": null}\n{"st')
    history = read_history(tmp_path / "history.jsonl")
    series = curves(history, ["loss", "AP"])
    assert list(series) == ["loss"]
    np.testing.assert_array_equal(series["loss"], ([1, 2], [2.0, math.nan]))
    assert curves(history, ["loss"], x="epoch") == {"loss": ([1], [2.0])}
    assert curves([], ["loss"]) == {}
