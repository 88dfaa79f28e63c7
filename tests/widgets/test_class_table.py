"""The table of classes."""

from __future__ import annotations

import pytest

from napari_medurwkv.measure import ClassMeasure
from napari_medurwkv.widgets.class_table import ClassTable, format_size


@pytest.mark.parametrize(
    ("size", "unit", "text"),
    [
        (0.1234, "mL", "0.123 mL"),
        (3.456, "mL", "3.46 mL"),
        (34.56, "mL", "34.6 mL"),
        (1234.5, "mL", "1\u202f234 mL"),
        (12345, "px", "12\u202f345 px"),
    ],
)
def test_sizes_are_short(size, unit, text):
    assert format_size(size, unit) == text


def test_table_is_as_high_as_its_rows(qtbot):
    table = ClassTable()
    qtbot.addWidget(table)
    one = ClassMeasure(1, "a", "#ff0000", 10, 10.0, "px")
    table.show_measures((one,))
    low = table.height()
    table.show_measures((one, one, one))
    assert table.height() > low
    assert table.rows()[0] == ("a", "10 px", "10")
    assert table.horizontalHeaderItem(2).text() == "Pixels"
