"""Tables on terminals: whatever there is to show, no line is longer than the terminal."""

import json

import pytest

from rtpe.report.table import print_table, write_json

ROW = {
    "name": "human-pose-estimation-0001",
    "AP": 0.442,
    "AP50": 0.6931,
    "PCK@0.05 box": 0.5,
    "ms": 123.456,
    "images": 130,
}
LONG = {f"column {k}": k / 7 for k in range(12)}


def printed(capsys, *arguments):
    print_table(*arguments)
    return capsys.readouterr().out.splitlines()


def test_no_rows_no_columns(capsys):
    assert printed(capsys, []) == []
    assert printed(capsys, [{}], ("AP",)) == []
    assert printed(capsys, [{"name": "a"}]) == ["name", "a"]


def test_what_a_row_lacks_is_blank_and_what_all_lack_is_no_column(capsys):
    lines = printed(
        capsys, [{"name": "teacher", "AP": 0.5}, {"name": "cache", "AR": 1.0}], ("name", "AP", "AP50", "AR")
    )
    assert lines == ["name        AP     AR", "teacher  0.500", "cache           1.000"]


def test_numbers_have_at_most_three_decimals(capsys):
    lines = printed(capsys, [{"name": value} for value in (0.12349, -1.0, 12.3456, 123.456, 7, "text")], ("name",))
    assert lines[1:] == ["0.123", "-", "12.35", "123.5", "7", "text"]


def test_titles_break_where_they_are_too_wide(monkeypatch, capsys):
    columns = ("name", "AP", "AP50", "PCK@0.05 box", "ms", "images")
    monkeypatch.setenv("COLUMNS", "80")
    assert printed(capsys, [ROW], columns)[0].split() == ["name", "AP", "AP50", "PCK@0.05", "box", "ms", "images"]
    monkeypatch.setenv("COLUMNS", "64")
    lines = printed(capsys, [ROW], columns)
    assert [line.split() for line in lines[:3]] == [["name", "AP", "AP50", "PCK", "ms", "images"], ["@0.05"], ["box"]]
    assert lines[3].split() == ["human-pose-estimation-0001", "0.442", "0.693", "0.500", "123.5", "130"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_longer_than_the_terminal(monkeypatch, capsys, width):
    """All is there, in parts that begin with the name."""
    monkeypatch.setenv("COLUMNS", str(width))
    columns = ("name", *LONG)
    lines = printed(capsys, [{**ROW, **LONG}] * 2, columns)
    assert max(map(len, lines)) <= width
    parts = "\n".join(lines).split("\n\n")
    assert all(part.startswith("name") and part.count(ROW["name"]) == 2 for part in parts)
    assert (len(parts) == 1) == (width == 200)
    assert sum(part.count("column") for part in parts) == len(LONG)


def test_json_is_written_whole(tmp_path):
    write_json([ROW], tmp_path / "new" / "rows.json")
    assert json.loads((tmp_path / "new" / "rows.json").read_text()) == [ROW]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rows.json"]
