"""Progress, cancellation, partial results, the caller's own array, the record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_medurwkv.checkpoints import ClassInfo, InstanceRecipe
from napari_medurwkv.errors import CancelledError, MedurwkvError
from napari_medurwkv.inference import segment


@pytest.fixture(params=["picture", "volume", "resampled"])
def case(request, card, volume_card, model, networks, image, rng):
    """Image, model, number of windows."""
    if request.param == "picture":
        array = rng.random((100, 70)).astype(np.float32)
        return image(array), model(networks["convolution"](1, 2), card()), 24
    array = rng.random((6, 60, 40)).astype(np.float32)
    fake = model(networks["convolution"](3, 2), volume_card())
    if request.param == "volume":
        return image(array, (1, 1, 1)), fake, 36
    return image(array, (2, 1, 0.8)), fake, 36


def test_progress_counts_up_to_all_and_covers_the_mask_once(case):
    picture, fake, windows = case
    seen = []
    result = segment(picture, fake, progress=seen.append, device="cpu")
    counts = [p.done for p in seen]
    assert counts == sorted(counts)
    assert set(range(1, windows + 1)) == set(counts)
    assert {p.total for p in seen} == {windows}
    assert seen[-1].done == windows
    seconds = [p.seconds for p in seen]
    assert seconds == sorted(seconds)
    covered = np.zeros(result.labels.shape, int)
    for p in seen:
        if p.region is not None:
            covered[p.region] += 1
    assert (covered == 1).all()


def test_regions_are_final_when_they_are_told(case):
    picture, fake, _ = case
    whole = segment(picture, fake, device="cpu").labels
    out = np.full(whole.shape, 7, np.uint8)

    def look(p):
        if p.region is not None:
            np.testing.assert_array_equal(out[p.region], whole[p.region])

    result = segment(picture, fake, out=out, progress=look, device="cpu")
    assert result.labels is out
    np.testing.assert_array_equal(out, whole)


@pytest.mark.parametrize("after", [0, 1, 5, 23])
def test_cancel_stops_before_the_next_window(case, after):
    picture, fake, windows = case
    before = fake.network.calls
    with pytest.raises(CancelledError, match=f"after {after} of {windows}"):
        segment(
            picture,
            fake,
            device="cpu",
            cancel=lambda: fake.network.calls - before >= after,
        )
    assert fake.network.calls - before == after


@pytest.mark.parametrize("after", [0, 1, 12, 23])
def test_kept_part_is_final_and_the_rest_is_empty(case, after):
    picture, fake, windows = case
    whole = segment(picture, fake, device="cpu").labels
    before = fake.network.calls
    seen = []
    result = segment(
        picture,
        fake,
        device="cpu",
        progress=seen.append,
        cancel=lambda: fake.network.calls - before >= after,
        keep_partial=True,
        out=np.full(whole.shape, 9, np.uint8),
    )
    assert not result.complete
    assert not result.record.complete
    assert result.fraction == result.record.fraction == after / windows
    final = np.zeros(whole.shape, bool)
    for p in seen:
        if p.region is not None:
            final[p.region] = True
    np.testing.assert_array_equal(result.labels, np.where(final, whole, 0))
    if after >= 12:
        assert final.any()


def test_cancel_is_asked_while_intensities_are_looked_at(
    volume_card, model, networks, image, rng
):
    asked = []
    with pytest.raises(CancelledError, match="after 0 of"):
        segment(
            image(rng.random((6, 9, 9)), (1, 1, 1)),
            model(networks["threshold"](1), volume_card()),
            cancel=lambda: asked.append(0) or len(asked) > 3,
        )
    assert len(asked) == 4


def test_many_classes_take_two_bytes(card, model, image):
    class Brightest(nn.Module):
        def forward(self, x):
            return torch.cat([0.5 - x, x - 0.5], 1)

    classes = [ClassInfo(value=v, name=str(v), color="#000000") for v in (0, 300)]
    the_card = card(output_values=(300, 0), classes=classes)
    array = np.zeros((9, 9), np.float32)
    array[3:, 3:] = 1
    labels = segment(image(array), model(Brightest(), the_card)).labels
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, np.where(array > 0, 0, 300))


def test_broken_network_gives_a_sentence_not_a_mask(card, model, image):
    class Broken(nn.Module):
        def forward(self, x):
            return torch.cat([x, x * float("nan")], 1)

    with pytest.raises(MedurwkvError, match="infinite or undefined"):
        segment(image(np.ones((9, 9), np.float32)), model(Broken(), card()))


class Objects(nn.Module):
    """Colour channels are the probabilities of outside, inside and boundary."""

    def forward(self, x):
        return torch.log(x.clamp_min(1e-6))


@pytest.fixture
def discs(card, model):
    recipe = InstanceRecipe(inside_channel=1, boundary_channel=2, min_area=10)
    channels = [{"name": n} for n in ("outside", "inside", "boundary")]
    the_card = card(channels=channels, output_values=(0, 1, 1), instances=recipe)
    y, x = np.indices((90, 80))
    inside, foreground = np.zeros((90, 80), bool), np.zeros((90, 80), bool)
    for cy, cx in ((25, 25), (25, 46), (60, 60)):
        distance = np.hypot(y - cy, x - cx)
        foreground |= distance < 12
        inside |= distance < 9
    parts = np.stack([~foreground, inside, foreground & ~inside], axis=-1)
    array = np.clip(parts.astype(np.float32), 0.01, 0.98)
    return array, foreground, model(Objects(), the_card)


def test_touching_discs_become_objects(discs, image):
    array, foreground, fake = discs
    classes = segment(image(array, rgb=True), fake)
    np.testing.assert_array_equal(classes.labels, foreground)
    result = segment(image(array, rgb=True), fake, instances=True)
    assert result.instances
    assert result.labels.dtype == np.int32
    np.testing.assert_array_equal(result.labels > 0, foreground)
    assert sorted(np.unique(result.labels)) == [0, 1, 2, 3]
    assert result.labels[25, 25] == 1
    assert result.labels[25, 46] == 2
    assert result.labels[60, 60] == 3
    again = segment(image(array, rgb=True), fake, instances=True)
    assert result.labels.tobytes() == again.labels.tobytes()


def test_objects_of_a_stack_are_numbered_on(discs, image):
    array, foreground, fake = discs
    stack = np.stack([array, array[::-1]])
    labels = segment(image(stack, rgb=True), fake, instances=True).labels
    assert set(np.unique(labels[0])) == {0, 1, 2, 3}
    assert set(np.unique(labels[1])) == {0, 4, 5, 6}
    np.testing.assert_array_equal(labels[1] > 0, foreground[::-1])


def test_objects_of_a_kept_part(discs, image):
    array, foreground, fake = discs
    seen = []
    result = segment(
        image(array, rgb=True),
        fake,
        instances=True,
        keep_partial=True,
        progress=seen.append,
        cancel=lambda: bool(seen) and seen[-1].done >= 12,
    )
    rows = seen[-1].region[0].stop
    assert 0 < rows < 90
    np.testing.assert_array_equal(result.labels[:rows] > 0, foreground[:rows])
    assert not result.labels[rows:].any()
    assert result.labels.max() == 2


def test_record_tells_what_was_done(case):
    picture, fake, windows = case
    record = segment(picture, fake, device="cpu", overlap=0.5).record
    assert record.model.name == "fake"
    assert record.input.sha256_of == "array"
    assert record.parameters["overlap"] == 0.5
    assert record.parameters["windows"] == windows
    assert record.parameters["patch_size"] == [32, 32]
    assert record.parameters["precision"] == "float32"
    assert len(record.device_path) == 1
    assert record.device_path[0].startswith("cpu: ")
    assert record.complete
    assert 0 < record.seconds < 60


def test_progress_and_its_neighbours_import_no_torch():
    code = (
        "import sys; from napari_medurwkv.inference import Progress, Segmentation; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_found_whatever_was_imported_first():
    code = (
        "from napari_medurwkv.inference.segmentation import segment as a; "
        "from napari_medurwkv.inference import segment as b; "
        "import napari_medurwkv; "
        "assert a is b is napari_medurwkv.segment"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_image_gives_the_same_mask_bit_for_bit():
    """With a real network."""
    from napari_medurwkv import samples

    path = Path(samples.__file__).with_name("nuclei.png")
    first = segment(path, "nuclei", device="cpu", overlap=0.25)
    second = segment(path, "nuclei", device="cpu", overlap=0.25)
    assert 0 < np.count_nonzero(first.labels) < first.labels.size
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.record.input.sha256 == second.record.input.sha256
