"""Fix by strokes against painting the same pixels by hand, with a simulated annotator.

    python benchmarks/scribble_fix.py [--model nuclei] [--every 1] [--out FOLDER]

*Nuclei*: the validation images of `benchmarks/train/nuclei.yaml`, from which no network
learnt; the first mask is the network's. *Hippocampus*: no network knows it, so
the first mask is an atlas: the mean mask of forty other volumes, laid on the box of
each volume without any registration, where it exceeds a half; three slices of each of
forty volumes; features come from brain-tissue, which has seen no hippocampus label.

The annotator strokes through the largest island of wrong pixels: a line along its
longer direction, 21 pixels long and 3 wide at most, inside the island, with the class
that is right there. After each stroke the mask has either changed by the tool, from the
first mask and all strokes so far, or where the same strokes lie and nowhere else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import imageio.v3 as iio
import numpy as np
import torch
from scipy import ndimage

from napari_medurwkv.checkpoints import load_model
from napari_medurwkv.correction.scribble_fix import fix_by_scribbles
from napari_medurwkv.inference import segment
from napari_medurwkv.inference.features import slice_features
from napari_medurwkv.io import read_image, read_labels
from napari_medurwkv.training import read_config
from napari_medurwkv.training.data import read_pairs, split_pairs

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
STROKES = 5


@dataclass(frozen=True)
class Case:
    """A slice with its truth, its first mask and its features."""

    kind: str
    image: np.ndarray
    truth: np.ndarray
    first: np.ndarray
    maps: np.ndarray
    odds: dict[int, np.ndarray]


def dice(a, b):
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / both if both else 1.0


def stroke(wrong, half=10):
    """Draw a line through the largest island of wrong pixels."""
    numbers, count = ndimage.label(wrong)
    if not count:
        return None
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    island = numbers == sizes.argmax()
    (box,) = ndimage.find_objects(island.astype(np.uint8))
    inside = np.pad(island[box], 1)
    depth = ndimage.distance_transform_edt(inside)
    middle = np.array(np.unravel_index(depth.argmax(), depth.shape))
    pixels = np.argwhere(inside) - middle
    along = np.array([0.0, 1.0])
    if len(pixels) >= 3:
        along = np.linalg.eigh(pixels.T @ pixels)[1][:, -1]
    line = np.zeros(inside.shape, bool)
    for step in np.arange(-half, half + 0.5, 0.5):
        at = tuple(np.round(middle + step * along).astype(int))
        if all(0 <= i < n for i, n in zip(at, line.shape, strict=True)):
            line[at] = inside[at]
    line = ndimage.binary_dilation(line) & inside
    drawn = np.zeros(wrong.shape, bool)
    drawn[box] = line[1:-1, 1:-1]
    return drawn


def annotate(case):
    """Return Dice after 0 to 5 strokes, by the tool and by hand, and seconds."""
    scribbles = np.full(case.truth.shape, -1, np.int16)
    mask = case.first
    tool = [dice(mask, case.truth)]
    hand = list(tool)
    seconds = []
    for _ in range(STROKES):
        drawn = stroke(mask != case.truth)
        if drawn is not None:
            scribbles[drawn] = case.truth[drawn]
            began = time.perf_counter()
            after = fix_by_scribbles(
                case.first.astype(np.uint8),
                (1, 1),
                image=case.image,
                scribbles=scribbles,
                features=case.maps,
                odds=case.odds,
            )
            seconds.append(time.perf_counter() - began)
            mask = after > 0
        painted = np.where(scribbles >= 0, scribbles > 0, case.first)
        tool.append(dice(mask, case.truth))
        hand.append(dice(painted, case.truth))
    return tool, hand, seconds


def nuclei(name, every):
    model = load_model(name)
    config = read_config(HERE / "train" / "nuclei.yaml")
    _, held = split_pairs(read_pairs(config.data), config.data)
    for pair in held[::every]:
        image = read_image(DATA / "nuclei" / "images" / f"{pair.name}.png")
        truth = iio.imread(DATA / "nuclei" / "labels" / f"{pair.name}.png") > 0
        found = slice_features(image.array, model, rgb=image.rgb, device="cpu")
        first = segment(image, model, device="cpu").labels > 0
        grey = np.asarray(image.array, np.float32)
        grey = grey.mean(-1) if image.rgb else grey
        odds = dict(zip(found.values, found.odds, strict=True))
        yield Case(pair.kind, grey, truth, first, found.maps, odds)


def hippocampus(name, every):
    model = load_model(name)
    paths = sorted((DATA / "hippocampus" / "images").glob("*.nii.gz"))
    chosen = paths[::5][:40]
    labels = DATA / "hippocampus" / "labels"
    others = [p for p in paths if p not in chosen][::4][:40]
    stack = [read_labels(labels / p.name).array > 0 for p in others]
    for path in chosen[::every]:
        volume = read_image(path)
        truth = read_labels(labels / path.name).array > 0
        atlas = np.mean([laid_on(one, truth.shape) for one in stack], axis=0) > 0.5
        there = np.flatnonzero(truth.any(axis=(1, 2)))
        for share in (0.3, 0.5, 0.7):
            k = int(there[int(len(there) * share)])
            picture = volume.array[k]
            spacing = volume.geometry.display_spacing[1:]
            found = slice_features(picture, model, spacing=spacing, device="cpu")
            odds = dict(zip(found.values, found.odds, strict=True))
            grey = np.asarray(picture, np.float32)
            yield Case("hippocampus", grey, truth[k], atlas[k], found.maps, odds)


def laid_on(mask, shape):
    zoom = [a / b for a, b in zip(shape, mask.shape, strict=True)]
    return ndimage.zoom(
        mask.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True
    )


def measure(cases):
    tool, hand, seconds, kinds = [], [], [], []
    for case in cases:
        by_tool, by_hand, took = annotate(case)
        tool.append(by_tool)
        hand.append(by_hand)
        seconds += took
        kinds.append(case.kind)
    tool, hand, kinds = np.array(tool), np.array(hand), np.array(kinds)
    return {
        "cases": len(tool),
        "tool": tool.mean(0).round(4).tolist(),
        "hand": hand.mean(0).round(4).tolist(),
        "gain": round(float((tool - hand)[:, -1].mean()), 4),
        "worse_after_1": round(float((tool[:, 1] < tool[:, 0] - 1e-9).mean()), 4),
        "below_hand": round(float((tool < hand - 1e-9)[:, -1].mean()), 4),
        "median_seconds": round(float(np.median(seconds)), 3),
        "largest_seconds": round(float(np.max(seconds)), 3),
        "gain_by_kind": {
            kind: round(float((tool - hand)[kinds == kind, -1].mean()), 4)
            for kind in sorted(set(kinds))
        },
    }


def as_text(results, machine):
    lines = [
        "# Fix by strokes against painting the same pixels",
        "",
        machine,
        "",
        "How: the docstring of `benchmarks/scribble_fix.py`. Dice, means over slices.",
        "Bars: gain at least 0.03; worse after one stroke in at most 5 % of cases.",
        "",
        "| data | slices | before | by hand, 5 | tool, 1 to 5 strokes | gain | "
        "worse after 1 | below by hand | s, median (largest) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        after = ", ".join(f"{v:.3f}" for v in r["tool"][1:])
        lines.append(
            f"| {name} | {r['cases']} | {r['tool'][0]:.4f} | {r['hand'][-1]:.4f} | "
            f"{after} | **{r['gain']:+.4f}** | {r['worse_after_1']:.1%} | "
            f"{r['below_hand']:.1%} | {r['median_seconds']:.2f} "
            f"({r['largest_seconds']:.2f}) |"
        )
    lines += ["", "Gain by kind of image:", ""]
    for r in results.values():
        lines += [f"- {kind}: {gain:+.4f}" for kind, gain in r["gain_by_kind"].items()]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nuclei", help="of the nuclei")
    parser.add_argument("--tissue", default="brain-tissue", help="for features")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    torch.set_num_threads(2)
    results = {
        "nuclei": measure(nuclei(given.model, given.every)),
        "hippocampus": measure(hippocampus(given.tissue, given.every)),
    }
    hashes = {n: load_model(n).sha256[:12] for n in (given.model, given.tissue)}
    machine = (
        f"{datetime.now(UTC):%Y-%m-%d}; {platform.system()} {platform.machine()}, CPU, "
        f"2 threads, load {os.getloadavg()[0]:.1f} at the end; torch "
        f"{torch.__version__}, numpy {version('numpy')}; checkpoints "
        + ", ".join(f"{n} {h}" for n, h in hashes.items())
        + f"; every {given.every}. image."
    )
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine, **results}, indent=1) + "\n"
    (given.out / "scribble-fix.json").write_text(text)
    (given.out / "scribble-fix.md").write_text(as_text(results, machine))
    print(as_text(results, machine))


if __name__ == "__main__":
    main()
