"""Synthetic brains: in place, of every contrast, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medurwkv.checkpoints.card import IntensityRecipe
from napari_medurwkv.errors import ImageError
from napari_medurwkv.training import synthesis
from napari_medurwkv.training.synthesis import SynthesisConfig, TemplateSlices
from napari_medurwkv.training.template import load_brain_template

RECIPE = IntensityRecipe(scale="percentile", low=0.5, high=99.5)
PLAIN = SynthesisConfig(
    rotation=0,
    scale=0,
    shear=0,
    coarse_deformation=0,
    fine_deformation=0,
    border_noise=0,
    skull_probability=0,
    thick_slices=2.0,
    noise=0,
    bias=0,
)


@pytest.fixture(scope="module")
def template():
    return load_brain_template()


def test_template_is_a_brain_in_display_order(template):
    maps = template.maps
    assert maps.shape == (4, 189, 233, 197)
    brain = maps[:3].sum(0) > 0.5
    assert 1.7e6 < int(brain.sum()) < 2.0e6
    # Superior, posterior, left: the cerebellum (low, far back) is brain, the place
    # mirrored to the front is not.
    assert brain[30, 180, 98 - 25]
    assert not brain[30, 233 - 180, 98 - 25]
    # The distance map is zero at the surface, in mm.
    inside = template.distance[32 + 90 // 2, 32 + 116 // 2, 32 + 98 // 2]
    assert float(inside) < -30


def test_same_seed_same_slices_and_other_seed_others(template):
    def first(seed):
        return next(iter(TemplateSlices(template, (64, 64), RECIPE, seed=seed)))

    a, b, c = first(1), first(1), first(2)
    assert torch.equal(a["image"], b["image"])
    assert torch.equal(a["target"], b["target"])
    assert not torch.equal(a["image"], c["image"])


def test_second_epoch_is_new(template):
    stream = TemplateSlices(template, (32, 32), RECIPE, seed=1)
    one, two = next(iter(stream)), next(iter(stream))
    assert not torch.equal(one["image"], two["image"])


def test_shapes_types_and_values(template):
    stream = TemplateSlices(
        template, (96, 64), RECIPE, SynthesisConfig(context=2, thick_slices=3)
    )
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(8):
        sample = stream.samples(rng)[0]
        assert sample["image"].shape == (5, 96, 64)
        assert sample["image"].dtype == torch.float32
        assert sample["target"].dtype == torch.int64
        assert torch.isfinite(sample["image"]).all()
        assert 0 <= float(sample["image"].min()) <= float(sample["image"].max()) <= 1
        seen |= set(sample["target"].unique().tolist())
    assert seen == {0, 1, 2, 3}


def test_image_and_target_lie_on_each_other(template):
    """The strongest edge of the picture is at the target's brain border."""
    stream = TemplateSlices(template, (128, 128), RECIPE, PLAIN)
    rng = np.random.default_rng(4)
    overlaps = []
    while len(overlaps) < 6:
        sample = stream.samples(rng)[0]
        brain = sample["target"] > 0
        if not 0.2 < float(brain.float().mean()) < 0.8:
            continue
        image = sample["image"][1]
        dark = image[~brain].median()
        bright = (image - dark).abs() > 0.04
        both = (bright & brain).sum() * 2 / (bright.sum() + brain.sum())
        overlaps.append(float(both))
    assert np.median(overlaps) > 0.93


def test_one_anatomy_is_scanned_with_several_contrasts(template):
    config = SynthesisConfig(contrasts=3)
    stream = TemplateSlices(template, (48, 48), RECIPE, config)
    scans = stream.samples(np.random.default_rng(5))
    assert len(scans) == 3
    assert all(torch.equal(scan["target"], scans[0]["target"]) for scan in scans)
    assert not torch.equal(scans[0]["image"], scans[1]["image"])


def test_missing_template_says_what_to_do(tmp_path):
    with pytest.raises(ImageError, match="reinstall nilearn"):
        load_brain_template(tmp_path)


def test_faithful_slices_keep_the_tissues_of_the_template(template, monkeypatch):
    def refuse(*args):
        raise AssertionError("tissues were roughened")

    monkeypatch.setattr(synthesis, "_tissues", refuse)
    faithful = PLAIN.model_copy(update={"faithful": 1.0})
    stream = TemplateSlices(template, (64, 64), RECIPE, faithful)
    rng = np.random.default_rng(0)
    targets = [stream.samples(rng)[0]["target"] for _ in range(4)]
    assert {0, 1, 2, 3} == set(torch.stack(targets).unique().tolist())
    maps = template.maps[:, 90:93]
    _, labels = synthesis._own_tissues(maps)
    brain = maps[:3, 1].sum(0) > 0.5
    assert torch.equal(labels > 0, brain)
    assert torch.equal(labels[brain], maps[:3, 1].argmax(0)[brain] + 1)


def test_finer_grid_shows_the_same_brain_larger(template):
    plain = PLAIN.model_copy(update={"faithful": 0.0, "context": 0})
    areas = []
    for spacing, size in ((1.0, 128), (0.5, 256)):
        stream = TemplateSlices(
            template, (size, size), RECIPE, plain, spacing=(1.0, spacing, spacing)
        )
        sample = stream.samples(np.random.default_rng(4))[0]
        areas.append(float((sample["target"] > 0).sum()) * spacing**2)
    assert areas[0] == pytest.approx(areas[1], rel=0.03)
