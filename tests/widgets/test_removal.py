"""The end of a panel is noticed."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medurwkv.widgets.removal import call_on_removal


def test_removal_is_noticed_once_and_hiding_is_not(qtbot):
    house, content = QWidget(), QWidget()
    qtbot.addWidget(house)
    layout = QVBoxLayout(house)
    calls = []
    call_on_removal(content, calls.append)
    layout.addWidget(content)
    house.show()
    house.hide()
    assert calls == []
    content.setParent(None)
    content.close()
    assert calls == [True]


def test_deletion_with_the_window_is_noticed(qtbot):
    house, content = QWidget(), QWidget()
    QVBoxLayout(house).addWidget(content)
    calls = []
    call_on_removal(content, calls.append)
    house.deleteLater()
    qtbot.waitUntil(lambda: calls == [False])
