"""The real engine behind the real panel: the same mask as headless, in its place."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from napari_medurwkv.samples import find_sample
from napari_medurwkv.widgets import segment_panel
from napari_medurwkv.widgets.export_panel import ExportPanel
from napari_medurwkv.widgets.reader import read_layers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slab(tmp_path_factory):
    """A few slices of the brain sample, stored in another order (IPR)."""
    brain = nib.load(find_sample("brain").path).slicer[:, :, 38:41]
    turned = brain.as_reoriented([[2, 1], [1, -1], [0, -1]])
    path = tmp_path_factory.mktemp("scan") / "slab.nii.gz"
    nib.save(turned, path)
    return path


@pytest.fixture(scope="module")
def engine():
    from napari_medurwkv.inference.client import EngineClient

    client = EngineClient()
    with pytest.MonkeyPatch.context() as patch:
        # Tests run beside other programs: threads that wait for each other are slow.
        patch.setenv("OMP_NUM_THREADS", "1")
        client.start()
    yield client
    client.close()


@pytest.fixture
def panel(viewer, engine, qtbot, monkeypatch):
    monkeypatch.setattr(segment_panel, "warm_up", lambda: None)
    panel = segment_panel.SegmentPanel(viewer, engine)
    yield panel
    panel.shut_down()
    panel.deleteLater()


def wait(qtbot, condition):
    qtbot.waitUntil(condition, timeout=240_000)


def test_file_to_mask_to_file(viewer, panel, slab, qtbot, masks, tmp_path):
    from napari_medurwkv.inference import segment
    from napari_medurwkv.io import read_labels

    ((data, options, _),) = read_layers(str(slab))
    viewer.add_image(data, **options)
    wait(qtbot, lambda: panel.ready)
    model = panel.models.entry.name
    wait(qtbot, lambda: not panel.device.checking)
    panel.button.click()
    wait(qtbot, lambda: not panel.running)
    assert "Done in" in panel.status
    (mask,) = masks()
    assert mask.data.any()

    export = ExportPanel(viewer)
    qtbot.addWidget(export)
    wait(qtbot, lambda: export.ready)
    target = tmp_path / "mask.nii.gz"
    export.target.setText(str(target))
    export.save()
    wait(qtbot, lambda: not export.saving)
    export.shut_down()
    assert "as the model gave it" in export.status

    original, saved = nib.load(slab), nib.load(target)
    assert saved.shape == original.shape
    np.testing.assert_array_equal(saved.affine, original.affine)
    for code in ("sform_code", "qform_code"):
        assert saved.header[code] == original.header[code]
    record = json.loads((tmp_path / "mask.json").read_text())
    assert record["parameters"]["edited_by_hand"] is False
    assert record["complete"] is True

    headless = segment(slab, model, device="cpu")
    back = read_labels(target).array
    # Another number of threads may round otherwise at single voxels.
    assert (back == headless.labels).mean() > 0.9999


def test_cancelled_run_ends_soon_and_leaves_its_part(viewer, panel, qtbot, masks):
    ((data, options, _),) = read_layers(str(find_sample("brain").path))
    viewer.add_image(data, **options)
    wait(qtbot, lambda: panel.ready)
    panel.button.click()
    wait(qtbot, lambda: panel.button.fraction >= 0.1)
    panel.button.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    (mask,) = masks()
    assert "(partial" in mask.name
    assert mask.data.any()
    assert not mask.metadata["medurwkv"]["complete"]


def test_separate_nuclei(viewer, panel, qtbot, masks, tmp_path):
    from napari_medurwkv.io import read_image

    picture = read_image(find_sample("nuclei").path).array[:200, :200]
    viewer.add_image(picture, name="dish")
    wait(qtbot, lambda: panel.ready)
    assert panel.models.entry.name == "nuclei"
    panel.options.set_instances(True)
    panel.start()
    wait(qtbot, lambda: not panel.running)
    (mask,) = masks()
    objects = len(np.unique(mask.data)) - 1
    assert objects > 1
    assert panel.result.table.rows()[0][2] == str(objects)
