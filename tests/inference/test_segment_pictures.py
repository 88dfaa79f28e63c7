"""2D models: pictures of any size, grey and colour, and stacks of pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medurwkv.checkpoints import InputChannel, IntensityRecipe
from napari_medurwkv.inference import segment
from napari_medurwkv.inference.decide import Decision
from napari_medurwkv.inference.windows import axis_windows

RGB = tuple(InputChannel(name=n) for n in ("red", "green", "blue"))
SHAPES = [(1, 1), (1, 40), (5, 700), (32, 32), (33, 31), (100, 77), (130, 260)]


@pytest.mark.parametrize("shape", SHAPES)
def test_mask_lies_exactly_on_the_image(shape, card, model, networks, image, rng):
    array = rng.random(shape).astype(np.float32)
    result = segment(image(array), model(networks["threshold"](), card()))
    np.testing.assert_array_equal(result.labels, array > 0.5)
    assert result.labels.dtype == np.uint8
    assert result.complete
    assert result.fraction == 1
    assert result.geometry.display_shape == shape


def test_deciding_in_the_ring_gives_the_same_mask(
    card, model, networks, image, rng, monkeypatch
):
    picture = image(rng.random((75, 60)).astype(np.float32))
    fake = model(networks["convolution"](1, 3), card(output_values=(0, 1, 2)))
    fast = segment(picture, fake, device="cpu").labels
    monkeypatch.setattr(Decision, "direct", None)
    slow = segment(picture, fake, device="cpu").labels
    assert len(np.unique(fast)) == 3
    np.testing.assert_array_equal(fast, slow)


def test_tta_averages_over_mirror_images(card, model, networks, image, rng):
    """The mask of the mirrored picture is the mirrored mask, which it is not else."""
    array = rng.random((75, 60)).astype(np.float32)
    fake = model(networks["convolution"](1, 3), card(output_values=(0, 1, 2)))
    plain = segment(image(array), fake, device="cpu")
    result = segment(image(array), fake, device="cpu", tta=True)
    assert result.record.parameters["tta"] is True
    assert plain.record.parameters["tta"] is False
    assert np.mean(result.labels != plain.labels) > 0.01
    flipped = segment(image(array[:, ::-1].copy()), fake, device="cpu", tta=True)
    # Only rounding tells the two apart.
    assert np.mean(result.labels != flipped.labels[:, ::-1]) < 1e-3


@pytest.mark.parametrize("shape", [(20, 90), (75, 60)])
@pytest.mark.parametrize("overlap", [0, 0.5, 0.75])
def test_logits_equal_a_plain_float64_reference(
    shape, overlap, card, model, networks, image, rng, monkeypatch
):
    """Windows, network, Gaussian average: all in double precision, nothing clever."""
    array = rng.random(shape).astype(np.float32)
    network = networks["convolution"](1, 3)
    seen = []
    monkeypatch.setattr(Decision, "direct", None)
    scores = Decision.scores
    monkeypatch.setattr(
        Decision, "scores", lambda self, x: seen.append(x) or scores(self, x)
    )
    the_card = card(output_values=(0, 1, 2), patch_size=(32, 24))
    segment(image(array), model(network, the_card), overlap=overlap, device="cpu")
    result = torch.cat(seen, dim=1).numpy()

    double = networks["convolution"](1, 3).double()
    above, beside = max(0, 32 - shape[0]), max(0, 24 - shape[1])
    margins = ((above // 2, above - above // 2), (beside // 2, beside - beside // 2))
    padded = np.pad(array.astype(float), margins, "reflect")
    total, norm = np.zeros((3, *padded.shape)), np.zeros(padded.shape)
    bells = [
        np.exp(-0.5 * ((np.arange(p) - (p - 1) / 2) / (p / 8)) ** 2) for p in (32, 24)
    ]
    weight = np.outer(*bells)
    for y in axis_windows(padded.shape[0], 32, overlap).starts:
        for x in axis_windows(padded.shape[1], 24, overlap).starts:
            part = (slice(y, y + 32), slice(x, x + 24))
            with torch.no_grad():
                window = torch.from_numpy(padded[part])[None, None]
                total[:, *part] += double(window)[0].numpy() * weight
            norm[part] += weight
    expected = (total / norm)[
        :,
        margins[0][0] : margins[0][0] + shape[0],
        margins[1][0] : margins[1][0] + shape[1],
    ]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_batches_and_repetition_change_nothing(
    card, model, networks, image, rng, monkeypatch
):
    array = rng.random((100, 90)).astype(np.float32)
    fake = model(networks["convolution"](1, 2), card())
    once = segment(image(array), fake, device="cpu").labels
    again = segment(image(array), fake, device="cpu").labels
    assert once.tobytes() == again.tobytes()
    monkeypatch.setattr("napari_medurwkv.inference.predictor.BATCH", {"cpu": 7})
    calls = fake.network.calls
    batched = segment(image(array), fake, device="cpu").labels
    assert fake.network.calls - calls == 5  # 30 windows by 7
    assert (batched != once).mean() < 1e-3
    assert 0 < once.mean() < 1


def test_colour_channels_reach_the_network_in_order(card, model, networks, image, rng):
    array = (rng.random((40, 50, 3)) * 255).astype(np.uint8)
    recipe = IntensityRecipe(scale="dtype")
    for channel in range(3):
        fake = model(
            networks["threshold"](channel), card(channels=RGB, intensity=recipe)
        )
        labels = segment(image(array, rgb=True), fake).labels
        np.testing.assert_array_equal(labels, array[..., channel] > 127)


def test_grey_picture_fills_a_colour_model_that_welcomes_it(
    card, model, networks, image, rng
):
    array = rng.random((40, 50)).astype(np.float32)
    fake = model(networks["threshold"](2), card(channels=RGB, repeat_grey=True))
    np.testing.assert_array_equal(segment(image(array), fake).labels, array > 0.5)


@pytest.mark.parametrize("rgb", [False, True])
def test_stack_is_segmented_slice_by_slice(rgb, card, model, networks, image, rng):
    array = rng.random((4, 40, 50, 3) if rgb else (4, 40, 50)).astype(np.float32)
    channels = RGB if rgb else RGB[:1]
    fake = model(networks["convolution"](len(channels), 2), card(channels=channels))
    stack = segment(image(array, rgb=rgb), fake, device="cpu").labels
    for k in range(4):
        single = segment(image(array[k], rgb=rgb), fake, device="cpu").labels
        np.testing.assert_array_equal(stack[k], single)


def test_constant_image_is_welcome(card, model, networks, image):
    for recipe in (
        IntensityRecipe(scale="percentile", low=1, high=99),
        IntensityRecipe(scale="percentile", low=1, high=99, nonzero=True),
        IntensityRecipe(scale="dtype"),
        IntensityRecipe(scale="window", low=0, high=1),
    ):
        fake = model(networks["threshold"](), card(intensity=recipe))
        labels = segment(image(np.zeros((20, 20), np.float32)), fake).labels
        assert not labels.any()


def test_bare_arrays_and_views_are_welcome(card, model, networks, rng):
    array = rng.random((60, 40)).astype(np.float32)
    fake = model(networks["threshold"](), card())
    turned = array.T[::-1]
    np.testing.assert_array_equal(segment(turned, fake).labels, turned > 0.5)


def test_file_gives_what_its_array_gives(
    card, model, networks, rng, tmp_path, monkeypatch
):
    from skimage.io import imsave

    array = (rng.random((40, 50)) * 255).astype(np.uint8)
    path = tmp_path / "picture.png"
    imsave(path, array, check_contrast=False)
    recipe = IntensityRecipe(scale="dtype")
    fake = model(networks["threshold"](), card(intensity=recipe))
    result = segment(path, fake)
    np.testing.assert_array_equal(result.labels, array > 127)
    assert result.record.input.file_name == "picture.png"
    assert result.record.input.sha256_of == "file"


@pytest.mark.parametrize("pixel", [0.5, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("shape", [(61, 83), (7, 90), (130, 40)])
def test_working_spacing_moves_nothing(pixel, shape, card, model, networks, image):
    """A disc comes back in place, however the working grid lies to the image's."""
    y, x = np.indices(shape)
    array = (np.hypot(y - shape[0] * 0.4, x - shape[1] * 0.6) < 20).astype(np.float32)
    fake = model(networks["threshold"](), card(spacing=(1, 1)))
    result = segment(image(array, (pixel, pixel)), fake)
    wrong = result.labels != array
    ring = np.abs(np.hypot(y - shape[0] * 0.4, x - shape[1] * 0.6) - 20)
    assert ring[wrong].max(initial=0) < max(1, 1 / pixel)
    for flip in ((0,), (1,), (0, 1)):
        turned = segment(image(np.flip(array, flip), (pixel, pixel)), fake).labels
        # A score of exactly a half may fall to either side of the threshold.
        assert (np.flip(turned, flip) != result.labels).mean() < 2e-3


def test_rows_at_working_spacing_come_in_slabs(card, model, networks, image, rng):
    """The streamed way back gives what resampling the whole picture gives."""
    from napari_medurwkv.inference.resample import resample, triangle_taps

    array = rng.random((150, 90)).astype(np.float32)
    fake = model(networks["threshold"](), card(spacing=(1, 1)))
    regions = []
    labels = segment(
        image(array, (0.7, 1.3)), fake, progress=lambda p: regions.append(p.region)
    ).labels
    rows = [r[0] for r in regions if r is not None]
    assert len(rows) > 3
    assert [r.start for r in rows] == [0, *[r.stop for r in rows[:-1]]]
    assert rows[-1].stop == 150

    working = torch.from_numpy(array)
    working = resample(working, triangle_taps(150, 105), 0)
    working = resample(working, triangle_taps(90, 117), 1)
    score = torch.stack([torch.full_like(working, 0.5), working]).mul(20).softmax(0)[1]
    score = resample(
        resample(score, triangle_taps(105, 150), 0), triangle_taps(117, 90), 1
    )
    agree = labels == (score > 0.5).numpy()
    assert agree[(score - 0.5).abs().numpy() > 1e-5].all()


def test_micrometres_are_no_millimetres(card, model, networks, image, rng):
    array = rng.random((64, 64)).astype(np.float32)
    fake = model(networks["threshold"](), card(spacing=(0.0005, 0.0005)))
    record = segment(image(array, (0.25, 0.25), "um"), fake).record
    assert record.parameters["working_grid"] == [1, 32, 32]


def test_unknown_pixel_size_keeps_the_grid(card, model, networks, image, rng):
    array = rng.random((64, 64)).astype(np.float32)
    fake = model(networks["threshold"](), card(spacing=(0.0005, 0.0005)))
    record = segment(image(array), fake).record
    assert record.parameters["working_grid"] == [1, 64, 64]


@pytest.mark.parametrize("shape", [(33, 31), (100, 77)])
def test_a_magnified_picture_gives_a_mask_in_its_own_pixels(
    shape, card, model, networks, image, rng
):
    """Squares of 8 pixels stay in place when the network sees them twice as large."""
    seen = []

    class Watching(networks["threshold"]):
        def forward(self, x):
            seen.append(tuple(x.shape[-2:]))
            return super().forward(x)

    array = np.kron(rng.random((13, 13)) > 0.5, np.ones((8, 8)))
    array = array[: shape[0], : shape[1]].astype(np.float32)
    twice = card(magnification=2, patch_size=(64, 64))
    result = segment(image(array), model(Watching(), twice), device="cpu")
    assert result.labels.shape == shape
    assert set(seen) == {(64, 64)}
    # Borders between squares may fall either way by interpolation, never farther.
    np.testing.assert_array_equal(result.labels, array > 0.5)


def test_only_pictures_without_spacing_are_magnified(card, volume_card):
    with pytest.raises(ValueError, match="magnification"):
        volume_card(magnification=2)
    with pytest.raises(ValueError, match="magnification"):
        card(magnification=2, spacing=(1, 1))
