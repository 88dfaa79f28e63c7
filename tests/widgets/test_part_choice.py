"""A slice first, or only what a rectangle encloses: the right voxels and no others."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Shapes


@pytest.fixture
def ready(viewer, panel, volume, qtbot):
    def make(**placing):
        layer = viewer.add_image(volume, name="head", **placing)
        qtbot.waitUntil(lambda: panel.ready)
        return layer

    return make


def _rectangle(first, last):
    (y0, x0), (y1, x1) = first, last
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], float)


def _finish(panel, qtbot):
    qtbot.waitUntil(lambda: not panel.running)


def test_preview_asks_for_the_slice_on_screen(
    viewer, panel, ready, engine, masks, qtbot, volume
):
    ready()
    viewer.dims.set_point(0, 2)
    panel.part.preview.click()
    _finish(panel, qtbot)
    region = engine.calls[-1][2]["region"]
    assert region == (slice(2, 3), slice(0, volume.shape[1]), slice(0, volume.shape[2]))
    (mask,) = masks()
    assert mask.name == "head – Brain model (preview)"


def test_preview_follows_the_axes_on_screen(viewer, panel, ready, engine, qtbot):
    ready()
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 3)
    panel.part.preview.click()
    _finish(panel, qtbot)
    assert engine.calls[-1][2]["region"][1] == slice(3, 4)


def test_preview_of_a_scaled_and_moved_image(viewer, panel, ready, engine, qtbot):
    ready(scale=(3, 1, 1), translate=(30, 5, 5))
    viewer.dims.set_point(0, 30 + 3 * 2)
    panel.part.preview.click()
    _finish(panel, qtbot)
    assert engine.calls[-1][2]["region"][0] == slice(2, 3)


def test_an_axis_that_is_drawn_backwards(viewer, panel, ready, engine, qtbot, volume):
    """The engine gets such an image turned, and so the slice."""
    layer = ready(scale=(1, -1, 1))
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, -3)
    panel.part.preview.click()
    _finish(panel, qtbot)
    image, _, options = engine.calls[-1]
    part = image.array[options["region"]]
    assert part.shape == (8, 1, 24)
    np.testing.assert_array_equal(part[:, 0], layer.data[:, 3])


def test_the_3d_view_gets_a_sentence(viewer, panel, ready, engine):
    ready()
    viewer.dims.ndisplay = 3
    panel.part.preview.click()
    assert "Show single slices" in panel.status
    assert not panel.running
    assert not engine.calls


def test_no_preview_without_slices(viewer, panel, qtbot):
    viewer.add_image(np.random.default_rng(0).random((30, 40)))
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.part.preview.isHidden()


def test_only_inside_a_rectangle(viewer, panel, ready, engine, masks, qtbot, volume):
    ready(scale=(1, 2, 2), translate=(0, 10, 0))
    shapes = Shapes([_rectangle((14, 4), (19.8, 9.8))], name="box")
    viewer.add_layer(shapes)
    assert not panel.part.isHidden()
    panel.part.choose(shapes)
    panel.button.click()
    _finish(panel, qtbot)
    assert engine.calls[-1][2]["region"] == (
        slice(0, volume.shape[0]),
        slice(2, 6),
        slice(2, 6),
    )
    assert masks()[-1].name == "head – Brain model (part)"


def test_a_rectangle_drawn_on_one_slice_reaches_through_all(
    viewer, panel, ready, engine, qtbot, volume
):
    ready()
    flat = _rectangle((1, 2), (3.4, 4.4))
    shapes = viewer.add_shapes([np.insert(flat, 0, 3, axis=1)], name="box")
    panel.part.choose(shapes)
    panel.button.click()
    _finish(panel, qtbot)
    region = engine.calls[-1][2]["region"]
    assert region == (slice(0, volume.shape[0]), slice(1, 4), slice(2, 5))


@pytest.mark.parametrize(
    ("data", "kind", "sentence"),
    [
        ([], "rectangle", "Draw a rectangle in box"),
        ([_rectangle((1, 1), (3, 3))], "ellipse", "no rectangle"),
        ([_rectangle((500, 1), (503, 3))], "rectangle", "beside the image"),
    ],
)
def test_what_is_no_part_gets_a_sentence(
    data, kind, sentence, viewer, panel, ready, engine
):
    ready()
    shapes = viewer.add_shapes(data, shape_type=kind, name="box", ndim=2)
    panel.part.choose(shapes)
    panel.button.click()
    assert sentence in panel.status
    assert not engine.calls


def test_the_whole_image_is_the_choice_without_shapes(
    viewer, panel, ready, engine, qtbot
):
    ready()
    shapes = viewer.add_shapes([_rectangle((1, 1), (3, 3))], name="box")
    panel.part.choose(shapes)
    viewer.layers.remove(shapes)
    assert panel.part.shapes is None
    panel.button.click()
    _finish(panel, qtbot)
    assert engine.calls[-1][2]["region"] is None
