"""Tables are Markdown, however wide they are."""

import pytest

pytest.importorskip("tabulate")
from benchmarks.output.tables import Table


def test_text_is_set_left_and_numbers_right():
    table = Table("A title", ("τ", "estimator", "MSE"), labels=2, caption="Lower is better.")
    table.add("0.50", "GR", "1.250")
    table.add("", "ST", "10.5")
    assert str(table).splitlines() == [
        "**A title**",
        "",
        "| τ    | estimator   |   MSE |",
        "|:-----|:------------|------:|",
        "| 0.50 | GR          | 1.250 |",
        "|      | ST          |  10.5 |",
        "",
        "Lower is better.",
    ]


def test_lines_are_as_long_as_they_need_be_and_missing_cells_are_empty():
    table = Table("Wide", ("a" * 300, "b"))
    table.add("c")
    heading, rule, row = str(table).splitlines()[2:]
    assert len(heading) == len(rule) == len(row) > 300
    assert row.replace(" ", "") == "|c||"
