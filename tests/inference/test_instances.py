"""Touching objects told apart."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_medurwkv.checkpoints import InstanceRecipe
from napari_medurwkv.inference import segment, separate_objects
from napari_medurwkv.inference.instances import ObjectNumbers


def _recipe(**values):
    return InstanceRecipe(inside_channel=1, boundary_channel=2, **values)


def _discs(centres, shape=(80, 100), radius=12):
    """Foreground, interior probability, and each disc's own pixels."""
    y, x = np.indices(shape)
    distances = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres])
    nearest = distances.min(0)
    foreground = nearest < radius
    second = np.sort(distances, 0)[1] if len(centres) > 1 else nearest + 99
    # Low at the rim and where two discs meet.
    depth = np.minimum(radius - nearest, (second - nearest) / 2)
    inside = np.clip(depth / 4, 0, 1) * foreground
    return foreground, (inside * 255).astype(np.uint8), distances.argmin(0)


def test_touching_discs_are_cut_where_they_meet():
    centres = [(30, 30), (30, 50), (50, 40)]
    foreground, inside, owner = _discs(centres)
    objects = separate_objects(foreground, inside, _recipe(min_area=5))
    assert objects.dtype == np.int32
    np.testing.assert_array_equal(objects > 0, foreground)
    assert objects.max() == 3
    for k, (y, x) in enumerate(centres):
        own = foreground & (owner == k)
        assert (objects[own] == objects[y, x]).mean() > 0.95


def test_numbers_follow_the_first_pixels():
    foreground, inside, _ = _discs([(60, 20), (20, 70), (30, 20), (30, 40)])
    objects = separate_objects(foreground, inside, _recipe())
    _, first = np.unique(objects[objects > 0], return_index=True)
    assert (np.diff(first) > 0).all()
    assert objects.max() == 4
    again = separate_objects(foreground, inside, _recipe())
    assert objects.tobytes() == again.tobytes()


def test_object_without_a_seed_stays_if_it_is_large_enough():
    foreground = np.zeros((40, 40), bool)
    foreground[5:10, 5:10] = foreground[20:22, 20:22] = True
    inside = np.zeros((40, 40), np.uint8)
    objects = separate_objects(foreground, inside, _recipe(min_area=10))
    assert objects.max() == 1
    assert objects[7, 7] == 1
    assert objects[21, 21] == 0
    assert separate_objects(foreground, inside, _recipe()).max() == 2


def test_specks_do_not_cut_an_object():
    foreground, inside, _ = _discs([(30, 30)])
    inside[28:33, 22:27] = 10
    inside[30, 24] = 255
    objects = separate_objects(foreground, inside, _recipe(min_area=40))
    assert objects.max() == 1
    assert separate_objects(foreground, inside, _recipe()).max() > 1


def test_dropped_specks_leave_the_background_alone():
    foreground, inside, _ = _discs([(30, 30), (30, 50), (60, 80)])
    for y, x in ((5, 5), (5, 95), (75, 5), (75, 50)):
        foreground[y, x], inside[y, x] = True, 255
    objects = separate_objects(foreground, inside, _recipe(min_area=40))
    assert objects.max() == 3
    assert not objects[~foreground].any()


def test_objects_below_the_smallest_go():
    foreground, inside, _ = _discs([(30, 30), (60, 70)])
    foreground[:, 70:] &= np.arange(80)[:, None] < 52
    objects = separate_objects(foreground, inside, _recipe(min_area=300))
    assert objects.max() == 1


def test_a_weak_bridge_is_cut_at_a_higher_level_and_a_faint_object_stays():
    foreground, inside, owner = _discs([(30, 30), (30, 52), (60, 80)])
    bridge = np.zeros_like(foreground)
    bridge[28:33, 35:48] = True
    foreground |= bridge
    inside[bridge] = np.maximum(inside[bridge], 150)
    faint = owner == 2
    inside[faint] = inside[faint] // 2 + 20 * (inside[faint] > 0)
    joined = separate_objects(foreground, inside, _recipe(min_area=20))
    assert joined.max() == 2
    levels = _recipe(min_area=20, split_levels=(0.7, 0.9))
    objects = separate_objects(foreground, inside, levels)
    assert objects.max() == 3
    assert len({objects[30, 30], objects[30, 52], objects[60, 80]}) == 3
    np.testing.assert_array_equal(objects > 0, joined > 0)


def test_a_seed_that_only_shrinks_is_kept_whole():
    foreground, inside, _ = _discs([(30, 30)])
    levels = _recipe(split_levels=(0.6, 0.8, 0.95))
    np.testing.assert_array_equal(
        separate_objects(foreground, inside, levels),
        separate_objects(foreground, inside, _recipe()),
    )


@pytest.mark.parametrize("levels", [(0.4,), (0.9, 0.7), (1.0,)])
def test_split_levels_rise(levels):
    with pytest.raises(ValueError, match="split_levels have to rise"):
        _recipe(split_levels=levels)


@pytest.mark.parametrize("shape", [(1, 1), (0, 5), (7, 3)])
def test_nothing_is_nothing(shape):
    objects = separate_objects(
        np.zeros(shape, bool), np.zeros(shape, np.uint8), _recipe()
    )
    assert objects.shape == shape
    assert not objects.any()


def test_single_seeds_are_not_flooded_but_give_the_same():
    """Parts with one seed skip the watershed: equal to flooding everything."""
    from skimage.segmentation import watershed

    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((150, 150)), 4)
    field /= field.std()
    foreground = field > 0.3
    inside = (np.clip(field / 2, 0, 1) * 255).astype(np.uint8)
    objects = separate_objects(foreground, inside, _recipe())
    seeds, _ = ndimage.label(foreground & (inside > 127.5))
    flooded = watershed(255 - inside, seeds, mask=foreground)
    rest, _ = ndimage.label(foreground & (flooded == 0))
    expected = np.where(rest > 0, rest + flooded.max(), flooded)
    pairs = np.unique(np.stack([objects.ravel(), expected.ravel()]), axis=1)
    assert len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1]))


def test_a_thousand_objects_are_quick():
    centres = [(y, x) for y in range(16, 1000, 31) for x in range(16, 1000, 31)]
    foreground = np.zeros((1000, 1000), bool)
    inside = np.zeros((1000, 1000), np.uint8)
    disc, depth, _ = _discs([(15, 15)], (31, 31))
    for y, x in centres:
        foreground[y - 15 : y + 16, x - 15 : x + 16] = disc
        inside[y - 15 : y + 16, x - 15 : x + 16] = depth
    start = time.perf_counter()
    objects = separate_objects(foreground, inside, _recipe(min_area=20))
    assert time.perf_counter() - start < 5
    assert objects.max() == len(centres)


def _number(planes, *, linked=True, **recipe):
    numbers = ObjectNumbers(_recipe(**recipe), linked=linked)
    inside = np.full(planes[0].shape, 255, np.uint8)
    return [numbers.number(plane > 0, inside) for plane in planes]


def _square(*places, shape=(30, 30)):
    plane = np.zeros(shape, np.uint8)
    for top, left, side in places:
        plane[top : top + side, left : left + side] = 1
    return plane


def test_an_object_keeps_its_number_through_the_slices():
    """Two objects that drift; a third begins later, another one ends."""
    first = _square((2, 2, 6), (15, 15, 6))
    second = _square((3, 3, 6), (15, 16, 6), (2, 20, 5))
    third = _square((4, 4, 6), (2, 20, 5))
    one, two, three = _number([first, second, third])
    assert (one[5, 5], one[17, 17]) == (1, 2)
    assert (two[5, 5], two[17, 17], two[4, 22]) == (1, 2, 3)
    assert (three[6, 6], three[4, 22], three[17, 17]) == (1, 3, 0)


def test_an_object_that_comes_again_is_a_new_one():
    there, gone = _square((5, 5, 6)), _square()
    one, _, three = _number([there, gone, there])
    assert one.max() == 1
    assert set(np.unique(three)) == {0, 2}


def test_cuts_that_hardly_overlap_are_two_objects():
    one, two = _number([_square((5, 5, 8)), _square((11, 11, 8))])
    assert one.max() == 1
    assert set(np.unique(two)) == {0, 2}


def test_of_a_fork_the_larger_overlap_goes_on():
    together = _square((5, 5, 9), (5, 14, 9))
    apart = _square((5, 4, 9), (5, 15, 8))
    one, two, again = _number([together, apart, together])
    assert one.max() == 1
    assert (two[8, 8], two[8, 18]) == (1, 2)
    assert set(np.unique(again)) == {0, 1}


def test_stacks_of_pictures_are_not_linked():
    plane = _square((5, 5, 6))
    one, two = _number([plane, plane], linked=False)
    assert (one.max(), two.max()) == (1, 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (1.0, 2.0, 1.0)])
def test_objects_of_a_volume_are_whole(axis, spacing, volume_card, model, image):
    """Balls of a volume get one number each, whatever axis is stepped."""
    recipe = InstanceRecipe(inside_channel=1, boundary_channel=2, seed_threshold=0.5)
    the_card = volume_card(
        slice_axis=axis, output_values=(0, 1, 1), instances=recipe, slice_context=0
    )

    class Balls(torch.nn.Module):
        def forward(self, x):
            return torch.cat([1 - 2 * x, 4 * x - 2, 0 * x - 5], 1) * 8

    grid = np.indices((30, 30, 40))
    field = np.zeros((30, 30, 40), np.float32)
    for centre in ((9, 9, 10), (18, 20, 12), (15, 12, 30)):
        distance = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        field[distance <= 36] = 1
    expected, count = ndimage.label(field)
    result = segment(image(field, spacing), model(Balls(), the_card), instances=True)
    assert count == 3
    inner = ndimage.binary_erosion(field, iterations=1)
    for number in range(1, count + 1):
        found = np.unique(result.labels[inner & (expected == number)])
        assert len(found) == 1
        assert found[0] > 0
    assert len(np.unique(result.labels[inner])) == 3
