"""The list of layers: it follows the viewer and never goes by names."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image

from napari_medurwkv.widgets.layer_picker import LayerPicker

PIXELS = np.zeros((4, 4))


@pytest.fixture
def picker(viewer, qtbot):
    picker = LayerPicker(viewer, Image, "no image")
    qtbot.addWidget(picker)
    yield picker
    picker.disconnect_viewer()


def names(picker):
    return [picker.itemText(i) for i in range(picker.count())]


def test_follows_additions_and_removals(viewer, picker):
    assert picker.layer is None
    assert not picker.isEnabled()
    first = viewer.add_image(PIXELS, name="a")
    viewer.add_labels(PIXELS.astype(int))
    assert names(picker) == ["a"]
    assert picker.layer is first
    viewer.layers.clear()
    assert names(picker) == []
    assert picker.layer is None


def test_two_layers_of_one_name_stay_apart(viewer, picker):
    # napari itself prevents equal names only when a layer is added.
    first = viewer.add_image(PIXELS, name="same")
    second = viewer.add_image(PIXELS, name="other")
    second.name = "same"
    picker.choose(first)
    assert picker.layer is first
    picker.choose(second)
    assert picker.layer is second


def test_renaming_changes_the_text_and_not_the_choice(viewer, picker, qtbot):
    layer = viewer.add_image(PIXELS, name="old")
    viewer.add_image(PIXELS, name="other")
    picker.choose(layer)
    with qtbot.assertNotEmitted(picker.layer_changed):
        layer.name = "new"
    assert "new" in names(picker)
    assert picker.layer is layer


def test_reordering_keeps_the_choice(viewer, picker, qtbot):
    layer = viewer.add_image(PIXELS, name="a")
    viewer.add_image(PIXELS, name="b")
    picker.choose(layer)
    with qtbot.assertNotEmitted(picker.layer_changed):
        viewer.layers.move(0, 2)
    assert names(picker) == ["a", "b"]
    assert picker.layer is layer


def test_active_layer_is_chosen(viewer, picker):
    first = viewer.add_image(PIXELS)
    second = viewer.add_image(PIXELS)
    assert picker.layer is second
    viewer.layers.selection.active = first
    assert picker.layer is first
    # A layer of another kind changes nothing.
    viewer.add_labels(PIXELS.astype(int))
    assert picker.layer is first


def test_removal_of_the_chosen_layer_is_announced(viewer, picker, qtbot):
    first = viewer.add_image(PIXELS)
    second = viewer.add_image(PIXELS)
    picker.choose(second)
    with qtbot.waitSignal(picker.layer_changed):
        viewer.layers.remove(second)
    assert picker.layer is first


def test_a_choice_that_does_not_follow_stays(viewer, qtbot):
    first = viewer.add_image(np.zeros((4, 4)), name="first")
    second = viewer.add_image(np.zeros((4, 4)), name="second")
    picker = LayerPicker(viewer, Image, "none", follow=False)
    qtbot.addWidget(picker)
    picker.choose(first)
    viewer.layers.selection.active = second
    assert picker.layer is first
    picker.disconnect_viewer()


def test_a_layer_that_is_left_out_is_not_listed(viewer, qtbot):
    first = viewer.add_image(np.zeros((4, 4)), name="first")
    second = viewer.add_image(np.zeros((4, 4)), name="second")
    picker = LayerPicker(viewer, Image, "none")
    qtbot.addWidget(picker)
    picker.leave_out(second)
    assert picker.count() == 1
    assert picker.layer is first
    viewer.layers.selection.active = second
    assert picker.layer is first
    picker.leave_out(None)
    assert picker.count() == 2
    picker.disconnect_viewer()
