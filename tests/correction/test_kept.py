"""How much of the model's mask is left equals a count against a copy of it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.correction.boxes import full_box
from napari_medurwkv.correction.mask import EditableMask

SHAPE = (4, 12, 12)


def share(model, now):
    labelled = model != 0
    return np.count_nonzero(labelled & (now == model)) / np.count_nonzero(labelled)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_edits_undo_and_redo(seed):
    rng = np.random.default_rng(seed)
    model = rng.integers(0, 3, SHAPE).astype(np.uint8)
    mask = EditableMask(model.copy(), (1, 1, 1))
    for _ in range(40):
        action = rng.choice(["tool", "stroke", "undo", "redo"])
        if action == "undo":
            mask.undo()
        elif action == "redo":
            mask.redo()
        else:
            start = [int(rng.integers(0, n - 2)) for n in SHAPE]
            box = tuple(slice(s, s + int(rng.integers(1, 8))) for s in start)
            before = mask.array[box].copy()
            after = np.where(
                rng.random(before.shape) < 0.7, rng.integers(0, 3), before
            ).astype(np.uint8)
            if action == "tool":
                mask.apply("Tool", box, after)
            else:
                mask.array[box] = after
                mask.adopt("Paint", box, before, after)
        kept = mask.model_labels.share_kept(mask.array, mask.marks)
        assert kept == pytest.approx(share(model, mask.array))


def test_a_new_result_is_the_model_s_mask_where_it_was_taken_over():
    first = np.zeros(SHAPE, np.uint8)
    first[0] = 1
    mask = EditableMask(first.copy(), (1, 1, 1))
    mask.apply("Erase", (slice(0, 1), slice(0, 6), slice(0, 12)), first[1:2, :6] * 0)
    assert mask.model_labels.share_kept(mask.array, mask.marks) == 0.5
    again = np.zeros(SHAPE, np.uint8)
    again[:2] = 1
    mask.apply("Result", full_box(SHAPE), again, source="model")
    # Of 288 voxels, the 72 that the person had erased before are still missing.
    assert mask.model_labels.share_kept(mask.array, mask.marks) == 0.75
    mask.apply("Result", full_box(SHAPE), again, source="model", policy="overwrite")
    assert mask.model_labels.share_kept(mask.array, mask.marks) == 1


def test_of_nothing_there_is_no_share():
    mask = EditableMask(np.zeros(SHAPE, np.uint8), (1, 1, 1))
    assert mask.model_labels.share_kept(mask.array, mask.marks) is None
