"""Fill between slices, against experts' masks and against other ways to do it.

Of each mask every third slice is kept and the others are filled in. The comparisons:
ITK's MorphologicalContourInterpolator (package itk-morphologicalcontourinterpolation;
SimpleITK does not have it) where it is installed, shape averaging (the majority of the
two drawn shapes, mixed by their distance), and copying the nearest drawn slice::

    python benchmarks/interpolation.py FOLDER_WITH_LABELS [--count 20] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import random
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from napari_medurwkv import __version__
from napari_medurwkv.correction.interpolate import fill_between_slices

RESULTS = Path(__file__).with_name("results")


def dice(found, expected):
    """Mean over the classes of the expert's mask."""
    scores = []
    for value in np.unique(expected[expected > 0]):
        both = np.count_nonzero((found == value) & (expected == value))
        total = np.count_nonzero(found == value) + np.count_nonzero(expected == value)
        scores.append(2 * both / total)
    return float(np.mean(scores))


def ours(kept, spacing, axis, keys):
    return fill_between_slices(kept, spacing, axis=axis)


def ours_with_keys(kept, spacing, axis, keys):
    return fill_between_slices(kept, spacing, axis=axis, keys=keys)


def itk_morphological(kept, spacing, axis, keys):
    itk = importlib.import_module("itk")
    image = itk.image_from_array(np.ascontiguousarray(kept))
    image.SetSpacing([float(s) for s in reversed(spacing)])
    filled = itk.morphological_contour_interpolator(
        image, axis=2 - axis, heuristic_alignment=True
    )
    return itk.array_from_image(filled)


def shape_average(kept, spacing, axis, keys):
    """Average smoothed shapes: no distances, the weight is that of the slices."""
    stack = np.moveaxis(kept, axis, 0)
    filled = stack.copy()
    values = np.unique(kept[kept > 0])
    for low, high in pairwise(keys):
        for k in range(low + 1, high):
            t = (k - low) / (high - low)
            best = np.full(stack.shape[1:], 0.5)
            for value in values:
                pair = [
                    ndimage.gaussian_filter((stack[i] == value).astype(float), 1)
                    for i in (low, high)
                ]
                mix = (1 - t) * pair[0] + t * pair[1]
                filled[k][mix > best] = value
                best = np.maximum(best, mix)
    return np.moveaxis(filled, 0, axis)


def nearest_copy(kept, spacing, axis, keys):
    stack = np.moveaxis(kept, axis, 0).copy()
    for k in range(keys[-1] + 1):
        stack[k] = stack[min(keys, key=lambda key: (abs(key - k), key))]
    return np.moveaxis(stack, 0, axis)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    paths = sorted(chosen.folder.glob("*.nii.gz"))
    random.Random(0).shuffle(paths)
    methods = {
        "fill between slices": ours,
        "the same, told the drawn slices": ours_with_keys,
        "shape averaging": shape_average,
        "nearest slice copied": nearest_copy,
    }
    itk_there = importlib.util.find_spec("itk") and importlib.util.find_spec(
        "itk.itkMorphologicalContourInterpolatorPython"
    )
    if itk_there:
        methods["ITK MorphologicalContourInterpolator"] = itk_morphological
    else:
        print("itk-morphologicalcontourinterpolation is not installed: left out")
    scores = {name: {axis: [] for axis in range(3)} for name in methods}
    for path in paths[: chosen.count]:
        image = nibabel.load(path)
        labels = np.asarray(image.dataobj).astype(np.uint8)
        spacing = tuple(float(s) for s in image.header.get_zooms()[:3])
        for axis in range(3):
            keys = list(range(0, labels.shape[axis], 3))
            kept = np.zeros_like(labels)
            index = (slice(None),) * axis + (slice(None, None, 3),)
            kept[index] = labels[index]
            for name, method in methods.items():
                found = method(kept, spacing, axis, keys)
                scores[name][axis].append(dice(found, labels))
    rows = [
        {
            "method": name,
            "axis": axis,
            "mean Dice": round(float(np.mean(own)), 4),
            "worst": round(float(np.min(own)), 4),
        }
        for name, axes in scores.items()
        for axis, own in axes.items()
    ]
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "napari-medurwkv": __version__,
        "volumes": min(chosen.count, len(paths)),
        "data": f"{chosen.folder.resolve().parent.name}/{chosen.folder.name}",
        "rows": rows,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "interpolation.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        "# Fill between slices: agreement with experts",
        "",
        f"{result['date']}, {result['volumes']} volumes of {result['data']}; every "
        "third slice kept; mean Dice of the classes over the whole mask.",
        "",
        "| method | axis | mean Dice | worst volume |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['method']} | {r['axis']} | {r['mean Dice']} | {r['worst']} |"
        for r in rows
    ]
    (chosen.out / "interpolation.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
