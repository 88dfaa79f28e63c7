"""Sliders that decide a mask again, with an engine that keeps toy probabilities."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from napari.layers import Image
from napari.layers._source import layer_source

from napari_medurwkv.geometry import Geometry
from napari_medurwkv.inference.redecide import Settings, redecide
from napari_medurwkv.provenance import RunRecord
from napari_medurwkv.widgets.correction_session import session_of
from napari_medurwkv.widgets.kept_mask import in_layer_axes


@pytest.fixture
def adjusted(viewer, panel, segment, volume, qtbot):
    """A finished mask whose probabilities are kept, with the sliders unfolded."""
    viewer.add_image(volume, name="head", scale=(2, 1, 1))
    panel.options.keep.setChecked(True)
    segment(panel)
    assert not panel.adjust.isHidden()
    panel.adjust.foldout.unfold()
    settle(qtbot, panel)
    return panel


def settle(qtbot, panel):
    qtbot.waitUntil(lambda: not panel.adjust.adjuster.working, timeout=10000)


def decided(panel, settings):
    kept = panel.adjust.adjuster.kept
    out = np.zeros(kept.rule.shape, kept.layer.data.dtype)
    assert redecide(kept.probabilities, settings, out)
    return out


def move(slider, part):
    slider.slider.setValue(round(part * 200))
    return slider.value


def test_sliders_are_there_only_where_probabilities_were_kept(
    viewer, panel, segment, volume, engine
):
    viewer.add_image(volume)
    segment(panel)
    assert panel.adjust.isHidden()
    assert not engine.calls[-1][2]["further"].keep_probabilities
    panel.options.keep.setChecked(True)
    segment(panel)
    assert not panel.adjust.isHidden()
    assert set(panel.adjust.weights) == {1, 2}
    assert panel.adjust.threshold.text == "most likely"


def test_the_slice_on_screen_changes_at_once_and_the_rest_soon(
    adjusted, masks, viewer, qtbot, volume, engine
):
    (mask,) = masks()
    before = mask.data.copy()
    viewer.dims.set_point(0, 3 * 2)
    weight = move(adjusted.adjust.weights[2], 0.9)
    expected = decided(adjusted, Settings(None, {2: weight}))
    np.testing.assert_array_equal(mask.data[3], expected[3])
    assert (mask.data[3] != before[3]).any()
    np.testing.assert_array_equal(mask.data[4:], before[4:])
    settle(qtbot, adjusted)
    np.testing.assert_array_equal(mask.data, expected)
    assert len(engine.calls) == 1
    assert adjusted.adjust.message == ""


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1)])
def test_slices_across_other_axes(order, adjusted, masks, viewer, qtbot):
    (mask,) = masks()
    before = mask.data.copy()
    viewer.dims.order = order
    viewer.dims.set_point(order[0], 7)
    threshold = move(adjusted.adjust.threshold, 0.1)
    expected = decided(adjusted, Settings(threshold))
    now = np.take(mask.data, 7, order[0])
    np.testing.assert_array_equal(now, np.take(expected, 7, order[0]))
    rest = np.delete(mask.data, 7, order[0])
    np.testing.assert_array_equal(rest, np.delete(before, 7, order[0]))
    settle(qtbot, adjusted)
    np.testing.assert_array_equal(mask.data, expected)


def test_all_moves_are_one_step_of_the_history(adjusted, masks, qtbot):
    (mask,) = masks()
    before = mask.data.copy()
    for part in (0.6, 0.7, 0.8):
        move(adjusted.adjust.weights[1], part)
    settle(qtbot, adjusted)
    first = mask.data.copy()
    threshold = move(adjusted.adjust.threshold, 0.2)
    settle(qtbot, adjusted)
    second = mask.data.copy()
    assert (first != before).any()
    assert (second != first).any()
    history = session_of(mask).mask.history
    (step,) = history.steps
    assert f"threshold {threshold:.2f}" in step.name
    mask.undo()
    np.testing.assert_array_equal(mask.data, before)
    assert adjusted.adjust.weights[1].value == 1
    assert adjusted.adjust.threshold.text == "most likely"
    mask.redo()
    np.testing.assert_array_equal(mask.data, second)
    assert adjusted.adjust.weights[1].value > 2
    assert adjusted.adjust.threshold.value == threshold


def test_put_back_gives_the_runs_own_mask(adjusted, masks, qtbot, engine, volume):
    (mask,) = masks()
    move(adjusted.adjust.threshold, 0.05)
    move(adjusted.adjust.temperature, 0.9)
    settle(qtbot, adjusted)
    assert (mask.data != engine.answer(volume)).any()
    adjusted.adjust.reset.click()
    settle(qtbot, adjusted)
    np.testing.assert_array_equal(mask.data, engine.answer(volume))
    assert adjusted.adjust.temperature.value == 1


def test_what_was_edited_before_stays(viewer, panel, segment, volume, qtbot, masks):
    """With napari's brush, before anything of ours looked at the layer."""
    viewer.add_image(volume)
    panel.options.keep.setChecked(True)
    segment(panel)
    (mask,) = masks()
    mask.data[2, 3:9, 4:12] = 2
    mask.data[5, 10:15, 10:15] = 0
    edited = mask.data.copy()
    changed = edited != panel.adjust.adjuster.kept.decide(Settings())
    panel.adjust.foldout.unfold()
    settle(qtbot, panel)
    np.testing.assert_array_equal(mask.data, edited)
    move(panel.adjust.threshold, 0.1)
    settle(qtbot, panel)
    expected = decided(panel, Settings(panel.adjust.threshold.value))
    np.testing.assert_array_equal(mask.data, np.where(changed, edited, expected))
    count = np.count_nonzero(changed & (edited != expected))
    assert f"{count} voxels that you had edited stayed" in panel.adjust.message


def test_what_is_edited_meanwhile_stays(adjusted, masks, qtbot, viewer):
    (mask,) = masks()
    move(adjusted.adjust.threshold, 0.1)
    settle(qtbot, adjusted)
    mask.paint((4, 10, 12), 2)
    qtbot.wait(10)
    painted = mask.data == 2
    move(adjusted.adjust.weights[1], 0.95)
    # While the rest is being decided, too.
    mask.paint((1, 10, 12), 2)
    settle(qtbot, adjusted)
    marks = session_of(mask).mask.marks
    assert mask.data[4, 10, 12] == 2
    assert mask.data[1, 10, 12] == 2
    assert marks[4, 10, 12]
    assert marks[1, 10, 12]
    settings = Settings(
        adjusted.adjust.threshold.value, {1: adjusted.adjust.weights[1].value}
    )
    expected = decided(adjusted, settings)
    np.testing.assert_array_equal(mask.data[~marks], expected[~marks])
    assert painted.any()


def test_undo_while_the_rest_is_being_decided_ends_it(adjusted, masks, qtbot):
    (mask,) = masks()
    before = mask.data.copy()
    move(adjusted.adjust.threshold, 0.02)
    assert (mask.data != before).any()
    mask.undo()
    qtbot.wait(400)
    settle(qtbot, adjusted)
    np.testing.assert_array_equal(mask.data, before)
    assert adjusted.adjust.threshold.text == "most likely"


def test_locked_classes_are_not_touched(adjusted, masks, qtbot):
    (mask,) = masks()
    before = mask.data.copy()
    session = session_of(mask)
    classes = [
        type(c)(c.value, c.name, c.color, c.value == 2) for c in session.mask.classes
    ]
    session.mask.change_classes("Lock", classes)
    move(adjusted.adjust.weights[2], 0.99)
    settle(qtbot, adjusted)
    np.testing.assert_array_equal(mask.data == 2, before == 2)


def test_the_record_says_by_what_it_was_decided(adjusted, masks, qtbot):
    (mask,) = masks()
    block = mask.metadata["medurwkv"]
    threshold = move(adjusted.adjust.threshold, 0.1)
    settle(qtbot, adjusted)
    record = RunRecord.model_validate(block["record"])
    assert record.parameters["decided_by"] == {
        "threshold": threshold,
        "weights": {},
        "temperature": 1.0,
    }
    # What the sliders did is the network's; nobody has edited anything.
    assert block["original"].count_changes(mask.data) == 0
    mask.undo()
    assert "decided_by" not in block["record"]["parameters"]
    assert block["original"].count_changes(mask.data) == 0
    mask.redo()
    assert block["record"]["parameters"]["decided_by"]["threshold"] == threshold
    mask.paint((4, 10, 12), 2)
    qtbot.wait(10)
    assert 0 < block["original"].count_changes(mask.data) < 1000


@pytest.mark.parametrize("how", ["layer", "run", "panel"])
def test_the_file_goes(how, adjusted, masks, segment, viewer):
    path = adjusted.adjust.adjuster.kept.probabilities.path
    assert path.exists()
    if how == "layer":
        viewer.layers.remove(masks()[0])
        assert adjusted.adjust.isHidden()
    elif how == "run":
        segment(adjusted)
        assert adjusted.adjust.adjuster.kept.probabilities.path != path
    else:
        adjusted.shut_down()
    gc.collect()
    assert not path.exists()


def test_a_session_of_ones_own_ends_with_the_sliders(adjusted, masks):
    (mask,) = masks()
    assert session_of(mask) is not None
    adjusted.shut_down()
    assert session_of(mask) is None


def test_objects_are_numbered_again(viewer, panel, segment, volume, qtbot, masks):
    viewer.add_image(volume[4])
    panel.options.keep.setChecked(True)
    panel.options.set_instances(True)
    segment(panel)
    panel.adjust.foldout.unfold()
    settle(qtbot, panel)
    (mask,) = masks()
    move(panel.adjust.threshold, 0.9)
    settle(qtbot, panel)
    expected = decided(panel, Settings(panel.adjust.threshold.value))
    edited = session_of(mask).mask.marks.any()
    # The toy's objects are no watershed's, so all of them count as edited.
    assert edited
    assert "run the model again" in panel.adjust.message
    assert panel.adjust.threshold.text == "most likely"
    assert expected.any()


def test_objects_nobody_edited_change(viewer, panel, segment, volume, qtbot, masks):
    viewer.add_image(volume[4])
    panel.options.keep.setChecked(True)
    panel.options.set_instances(True)
    segment(panel)
    (mask,) = masks()
    mask.data[...] = decided(panel, Settings())
    panel.adjust.foldout.unfold()
    settle(qtbot, panel)
    move(panel.adjust.threshold, 0.9)
    settle(qtbot, panel)
    expected = decided(panel, Settings(panel.adjust.threshold.value))
    np.testing.assert_array_equal(mask.data, expected)
    assert len(mask.features) == expected.max() + 1
    assert panel.adjust.message == ""


def test_a_picture_is_decided_at_once(viewer, panel, segment, volume, qtbot, masks):
    viewer.add_image(volume[4])
    panel.options.keep.setChecked(True)
    segment(panel)
    panel.adjust.foldout.unfold()
    settle(qtbot, panel)
    (mask,) = masks()
    move(panel.adjust.threshold, 0.1)
    expected = decided(panel, Settings(panel.adjust.threshold.value))
    np.testing.assert_array_equal(mask.data, expected)


def test_what_could_not_be_shown_is_refused(
    viewer, panel, segment, volume, masks, qtbot
):
    viewer.add_image(np.stack([volume, volume]))
    panel.options.keep.setChecked(True)
    segment(panel)
    assert "untick" in panel.status
    assert "sliders" in panel.status
    assert masks() == []
    panel.options.keep.setChecked(False)
    panel.options.doubt.setChecked(True)
    segment(panel)
    (mask,) = masks()
    doubt = viewer.layers[1]
    assert doubt.data.shape == mask.data.shape == (1, *volume.shape)
    np.testing.assert_allclose(
        doubt.data_to_world((0, 1, 2, 3)), mask.data_to_world((0, 1, 2, 3))
    )
    assert [len(s) for s in mask.metadata["medurwkv"]["uncertainty"]["slices"]] == [
        *volume.shape
    ]


def test_masks_on_the_disk_keep_nothing(viewer, panel, segment, masks, monkeypatch):
    import dask.array

    from napari_medurwkv.widgets import layer_image

    monkeypatch.setattr(layer_image, "LARGE_MASK", 1000)
    viewer.add_image(dask.array.zeros((64, 64), dtype=np.float32, chunks=32))
    for box in (panel.options.keep, panel.options.doubt):
        box.setChecked(True)
        segment(panel)
        assert "onto the disk" in panel.status
        box.setChecked(False)
    assert masks() == []


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_probabilities_are_turned_as_masks_are(order, signs):
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for world, (source, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, source] = sign
    geometry = Geometry.from_affine(affine, (4, 5, 6))
    stored = np.random.default_rng(0).random((4, 5, 6))
    display = geometry.to_display(stored)
    both = np.stack([display, 2 * display])
    turned = in_layer_axes(both, geometry.ornt)
    np.testing.assert_array_equal(turned, np.stack([stored, 2 * stored]))


def test_a_layer_turned_by_its_reader(viewer, panel, segment, qtbot, masks, tmp_path):
    """Layer axes that are not the display order: slices land where they belong."""
    import nibabel as nib

    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 9, 11)).astype(np.float32)
    affine = np.array([[0, 0, -1, 5], [2, 0, 0, 3], [0, -1.5, 0, 1], [0, 0, 0, 1.0]])
    path = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    nib.save(image, path)
    # As another reader shows it.
    with layer_source(path=str(path)):
        layer = Image(values.T, name="scan")
    viewer.add_layer(layer)
    panel.options.keep.setChecked(True)
    segment(panel)
    panel.adjust.foldout.unfold()
    settle(qtbot, panel)
    (mask,) = masks()
    kept = panel.adjust.adjuster.kept
    assert kept.picture.layer_geometry.known
    assert kept.rule.shape != layer.data.shape
    settings = Settings(0.2)
    whole = kept.decide(settings)
    assert whole.shape == layer.data.shape
    for axis, index in ((0, 2), (1, 7), (2, 1)):
        box, labels = kept.decide_slice(settings, axis, index)
        np.testing.assert_array_equal(labels, whole[box])
    np.testing.assert_array_equal(kept.decide(Settings()), mask.data)


def test_uncertainty_lies_below_the_mask(viewer, panel, segment, volume, masks):
    image = viewer.add_image(volume, name="head", scale=(2, 1, 1), translate=(1, 2, 3))
    panel.options.doubt.setChecked(True)
    panel.options.mirror.setChecked(True)
    segment(panel)
    (mask,) = masks()
    names = [layer.name for layer in viewer.layers]
    assert names == [
        "head",
        "head – Brain model – uncertainty",
        "head – Brain model – disagreement",
        "head – Brain model",
    ]
    doubt = viewer.layers[1]
    np.testing.assert_array_equal(
        doubt.data, np.rint(255 * np.exp(-np.abs(volume))).astype(np.uint8)
    )
    for point in ((0, 0, 0), (3, 4, 5)):
        np.testing.assert_allclose(
            doubt.data_to_world(point), image.data_to_world(point)
        )
    assert doubt.visible
    assert not viewer.layers[2].visible
    assert viewer.layers.selection.active is mask
    # It is not offered as an image to be segmented.
    assert panel.images.layer is image
    summary = mask.metadata["medurwkv"]["uncertainty"]
    assert summary["measure"] == "entropy"
    for axis, sums in enumerate(summary["slices"]):
        others = tuple(k for k in range(3) if k != axis)
        np.testing.assert_allclose(sums, (doubt.data / 255).sum(others))


def test_options_name_the_views_of_a_volume(panel, viewer, volume, segment, engine):
    viewer.add_image(volume)
    segment(panel)
    views = panel.options.views
    assert [views.itemText(i) for i in range(views.count())] == [
        "axial, by the card",
        "all three, averaged",
    ]
    assert engine.calls[-1][2]["further"].views is None
    views.setCurrentIndex(1)
    segment(panel)
    further = engine.calls[-1][2]["further"]
    assert further.views == ("axial", "coronal", "sagittal")


def test_a_preview_has_one_view(panel, viewer, volume, segment, engine, qtbot):
    viewer.add_image(volume)
    segment(panel)
    panel.options.views.setCurrentIndex(1)
    panel.preview()
    qtbot.waitUntil(lambda: not panel.running, timeout=10000)
    assert engine.calls[-1][2]["further"].views == ("axial",)


def test_the_correct_panel_shows_the_same_history(
    viewer, qtbot, volume, engine, models, monkeypatch
):
    from napari_medurwkv.widgets import segment_panel
    from napari_medurwkv.widgets.main_widget import MedurwkvWidget

    monkeypatch.setattr(segment_panel, "warm_up", lambda: None)
    monkeypatch.setattr(segment_panel, "list_installed", lambda: models)
    widget = MedurwkvWidget(viewer, engine)
    qtbot.addWidget(widget)
    panel = widget.segment
    viewer.add_image(volume)
    panel.options.keep.setChecked(True)
    qtbot.waitUntil(lambda: panel.ready, timeout=5000)
    panel.start()
    qtbot.waitUntil(lambda: not panel.running, timeout=10000)
    panel.adjust.foldout.unfold()
    settle(qtbot, panel)
    move(panel.adjust.threshold, 0.1)
    settle(qtbot, panel)
    widget.correct.start()
    session = widget.correct.session
    assert session is not None
    assert session.layer is panel.adjust.adjuster.kept.layer
    (step,) = session.mask.history.steps
    assert step.name.startswith("Adjust: threshold")
    widget.shut_down()
