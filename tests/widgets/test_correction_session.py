from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.correction.boxes import full_box
from napari_medurwkv.correction.catalogue import find_tool
from napari_medurwkv.correction.classes import LabelClass
from napari_medurwkv.correction.journal import find_entries
from napari_medurwkv.correction.scope import Scope
from napari_medurwkv.correction.tools import Request, work_out
from napari_medurwkv.errors import CorrectionError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.widgets import autosave
from napari_medurwkv.widgets.correct_classes import class_rows, rows_as_text
from napari_medurwkv.widgets.correction_session import CorrectionSession, session_of
from napari_medurwkv.widgets.layer_image import (
    find_geometry,
    in_layer_order,
    take_snapshot,
)
from napari_medurwkv.widgets.recovery import recovered_layer

SHAPE = (6, 20, 24)


@pytest.fixture
def layer(viewer):
    data = np.zeros(SHAPE, np.uint8)
    data[1:4, 3:9, 3:9] = 1
    data[2:5, 12:16, 12:20] = 2
    return viewer.add_labels(data, scale=(3, 0.5, 0.5), units="mm")


@pytest.fixture
def session(layer, tmp_path, qtbot):
    made = CorrectionSession(layer, tmp_path)
    qtbot.waitUntil(lambda: made.counted)
    yield made
    made.close()


def layer_geometry(layer):
    found = find_geometry(take_snapshot(layer))
    return in_layer_order(found.geometry, found).to_json()


def run(session, name, **changes):
    scope = Scope.volume(SHAPE)
    request = Request(find_tool(name), scope, **changes)
    return session.enter(work_out(session.mask, request))


def test_classes_size_and_numbers_are_found(session, layer):
    assert [c.value for c in session.mask.classes] == [1, 2]
    assert session.mask.spacing == pytest.approx((3, 0.5, 0.5))
    assert session.known_size
    assert session.mask.counts.voxels(1) == 108
    assert session_of(layer) is session
    assert len(session.mask.history) == 0


def test_pixels_without_a_unit_have_no_size(viewer, tmp_path):
    session = CorrectionSession(viewer.add_labels(np.ones((9, 9), np.uint8)), tmp_path)
    assert not session.known_size
    session.close()


def test_new_labels_get_a_class_of_their_own(session, layer, qtbot):
    layer.paint((0, 5, 5), 7)
    qtbot.waitUntil(lambda: [c.value for c in session.mask.classes] == [1, 2, 7])
    color = next(c.color for c in session.mask.classes if c.value == 7)
    assert color not in [c.color for c in session.mask.classes if c.value != 7]


def test_what_is_hidden_or_isolated_is_clear(session, layer):
    first, second = session.mask.classes
    hidden = LabelClass(first.value, first.name, first.color, visible=False)
    session.mask.change_classes("Hide", (hidden, second))
    assert layer.colormap.map(1)[-1] == 0
    assert layer.colormap.map(2)[-1] == 1
    session.isolate(1)
    assert layer.colormap.map(1)[-1] == 1
    assert layer.colormap.map(2)[-1] == 0
    session.isolate(None)
    layer.undo()
    assert layer.colormap.map(1)[-1] == 1


def test_changes_are_kept_and_come_back(session, layer, tmp_path, qtbot):
    layer.paint((2, 5, 5), 2)
    assert session.autosave.pending
    with qtbot.waitSignal(session.autosave.saved):
        session.autosave.save()
    assert not session.autosave.pending
    kept = layer.data.copy()
    marks = session.mask.marks.copy()
    session.close()
    (entry,) = find_entries(tmp_path)
    loaded = entry.load()
    np.testing.assert_array_equal(loaded.labels, kept)
    np.testing.assert_array_equal(loaded.marks, marks)
    assert loaded.details["name"] == layer.name
    assert set(loaded.details["volumes"]) == {"label 1", "label 2"}
    assert autosave.picture_pixels(loaded.details["picture"]).shape[-1] == 3


def test_a_person_who_never_rests_is_saved_as_well(layer, tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr(autosave, "DELAY_MS", 300)
    session = CorrectionSession(layer, tmp_path)
    saved = []
    session.autosave.saved.connect(lambda: saved.append(True))
    for k in range(40):
        layer.paint((2, 5, k % 20), k % 3)
        qtbot.wait(20)
    assert saved
    session.close()


def test_results_of_the_network_are_kept_at_once(session, layer, tmp_path, qtbot):
    with qtbot.waitSignal(session.autosave.saved):
        run(session, "take_result", other=np.ones(SHAPE, np.uint8))


def test_a_failed_autosave_is_told(layer, tmp_path, qtbot):
    (tmp_path / "file").write_text("")
    session = CorrectionSession(layer, tmp_path / "file")
    layer.paint((2, 5, 5), 2)
    with qtbot.waitSignal(session.told) as told:
        session.autosave.save()
    assert "Autosave failed" in told.args[0]
    assert session.autosave.pending
    session.close()


def test_a_saved_mask_leaves_no_journal(session, layer, tmp_path, qtbot):
    layer.paint((2, 5, 5), 2)
    with qtbot.waitSignal(session.autosave.saved):
        session.autosave.save()
    session.saved()
    assert not session.autosave.pending
    session.close()
    assert find_entries(tmp_path) == ()


def test_review_marks_follow_strokes_and_flat_tools(session, layer):
    layer.paint((2, 5, 5), 2)
    assert session.review[2] == "corrected"
    run(session, "grow", values={"mm": 1.0})
    assert session.review.count("corrected") == 1


def test_the_summary_says_what_was_done(session, layer):
    before = layer.data.copy()
    layer.paint((2, 5, 5), 2)
    run(session, "grow", values={"mm": 1.0})
    summary = session.summary()
    assert summary["strokes"] == 1
    assert summary["tools"] == {"Grow": 1}
    assert 0 < summary["share_of_model_kept"] < 1
    assert summary["edited_voxels"] == np.count_nonzero(layer.data != before)


def test_the_summary_goes_on_in_a_later_session(session, layer, tmp_path, qtbot):
    before = layer.data.copy()
    layer.paint((2, 5, 5), 2)
    run(session, "grow", values={"mm": 1.0})
    session.close()
    assert layer.metadata["medurwkv-correction"]["tools"] == {"Grow": 1}
    later = CorrectionSession(layer, tmp_path)
    layer.paint((2, 15, 5), 2)
    run(later, "grow", values={"mm": 1.0})
    summary = later.summary()
    assert summary["tools"] == {"Grow": 2}
    assert summary["strokes"] == 2
    labelled = before != 0
    kept = np.count_nonzero(labelled & (layer.data == before))
    expected = kept / np.count_nonzero(labelled)
    assert summary["share_of_model_kept"] == pytest.approx(expected, abs=1e-6)
    later.close()


def test_a_recovered_mask_knows_its_run_and_its_work(session, layer, tmp_path, qtbot):
    block = {
        "geometry": layer_geometry(layer),
        "record": {"model": "x"},
        "uncertainty": {"slices": [[1.0] * n for n in SHAPE]},
        "original": object(),  # what JSON cannot hold stays behind
    }
    layer.metadata["medurwkv"] = block
    layer.paint((2, 5, 5), 2)
    run(session, "grow", values={"mm": 1.0})
    with qtbot.waitSignal(session.autosave.saved):
        session.autosave.save()
    session.close()
    (entry,) = find_entries(tmp_path)
    kept = entry.load()
    again = recovered_layer(kept)
    run_block = again.metadata["medurwkv"]
    assert set(run_block) == set(block) - {"original"}
    assert run_block["record"] == block["record"]
    geometry = Geometry.from_json(run_block["geometry"])
    assert geometry.to_json() == block["geometry"]
    recovered = CorrectionSession(again, tmp_path / "other")
    recovered.restore(kept)
    assert recovered.summary()["tools"] == {"Grow": 1}
    assert recovered.uncertainty(0) == [1.0] * 6
    recovered.close()


def test_a_tool_waits_for_the_stroke_to_end(session, layer):
    prepared = session.mask.prepare("x", full_box(SHAPE), np.zeros(SHAPE, np.uint8))
    layer._begin_stroke()
    layer.paint((1, 10, 10), 2)
    with pytest.raises(CorrectionError, match="stroke"):
        session.enter(prepared)
    layer._commit_stroke()


def test_a_closed_session_lets_go(layer, tmp_path):
    session = CorrectionSession(layer, tmp_path)
    session.close()
    session.close()
    assert session_of(layer) is None
    layer.paint((2, 5, 5), 2)
    assert len(session.mask.history) == 0


def test_layers_that_cannot_be_corrected_are_refused(viewer, tmp_path):
    series = viewer.add_labels(np.zeros((2, 3, 9, 9), np.uint8))
    with pytest.raises(CorrectionError, match="split the layer"):
        CorrectionSession(series, tmp_path)


def test_a_stroke_under_way_is_not_counted_twice(layer, tmp_path, qtbot):
    session = CorrectionSession(layer, tmp_path)
    layer._begin_stroke()
    layer.paint((2, 5, 5), 2)
    qtbot.wait(300)
    layer._commit_stroke()
    qtbot.waitUntil(lambda: session.counted)
    for value in (1, 2):
        assert session.mask.counts.voxels(value) == np.count_nonzero(
            layer.data == value
        )
    session.close()


def exact(session, qtbot):
    qtbot.waitUntil(lambda: session.components.exact, timeout=10000)


def test_islands_follow_strokes_tools_and_undo(session, layer, qtbot):
    components = session.components
    exact(session, qtbot)
    assert (components.number(1), components.number(2), components.number(9)) == (
        1,
        1,
        0,
    )
    layer.brush_size = 1
    layer.paint((0, 18, 2), 1)
    assert not components.exact
    exact(session, qtbot)
    assert components.number(1) == 2
    run(session, "keep_largest")
    exact(session, qtbot)
    assert components.number(1) == 1
    session.mask.undo()
    exact(session, qtbot)
    assert components.number(1) == 2
    layer.data = np.ones((3, 5, 5), np.uint8)
    exact(session, qtbot)
    assert (components.number(1), components.number(2)) == (1, 0)


def test_islands_are_told_and_shown(session, layer, qtbot):
    exact(session, qtbot)
    assert [row.islands for row in class_rows(session)] == [1, 1]
    with qtbot.waitSignal(session.changed):
        layer.paint((0, 18, 2), 1)
    exact(session, qtbot)
    assert class_rows(session)[0].islands == 2
    header, first, *_ = rows_as_text(class_rows(session), ",").splitlines()
    assert first.split(",")[header.split(",").index("islands")] == "2"


def test_slices_with_islands_are_known_from_the_count(session, layer, qtbot):
    exact(session, qtbot)
    assert session.components.slices_with_islands() == []
    layer.brush_size = 1
    layer.paint((2, 18, 2), 1)
    assert session.components.slices_with_islands() is None
    exact(session, qtbot)
    assert session.components.slices_with_islands() == [2]
