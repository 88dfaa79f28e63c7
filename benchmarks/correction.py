"""Time the correction tools on a mask of 512 x 512 x 300 voxels and five classes.

Run it with nothing else going on::

    python benchmarks/correction.py [--shape 300 512 512] [--out FOLDER]

It writes ``correction.json`` and ``correction.md``; rows that were not timed anew stay
as they are, with their date, so that the work can be done in parts (``--part``,
``--fast``, ``--only``). What follows the table in ``correction.md`` is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np

from napari_medurwkv import __version__
from napari_medurwkv.correction import components
from napari_medurwkv.correction.boxes import full_box
from napari_medurwkv.correction.cut import cut_polygon
from napari_medurwkv.correction.holes import fill_holes
from napari_medurwkv.correction.interpolate import fill_between_slices
from napari_medurwkv.correction.islands import (
    keep_largest,
    keep_picked,
    remove_small,
    split_islands,
)
from napari_medurwkv.correction.logical import combine
from napari_medurwkv.correction.margin import grow, hollow, shrink
from napari_medurwkv.correction.mask import EditableMask
from napari_medurwkv.correction.relabel import relabel
from napari_medurwkv.correction.scribble_grow import grow_from_scribbles
from napari_medurwkv.correction.smooth import smooth
from napari_medurwkv.correction.split import split_at_waists, split_by_line

SPACING = (1.0, 0.8, 0.8)
RESULTS = Path(__file__).with_name("results")


def make_mask(shape, seed=0):
    """Five organs of different sizes with rough surfaces, holes and islands."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    labels = np.zeros(shape, np.uint8)
    organs = (
        (1, (0.0, -0.2, -0.35), (0.75, 0.45, 0.4)),
        (2, (0.1, 0.3, 0.4), (0.4, 0.3, 0.25)),
        (3, (-0.2, -0.3, 0.45), (0.5, 0.25, 0.3)),
        (4, (0.0, 0.6, -0.2), (0.9, 0.12, 0.15)),
        (5, (0.3, 0.05, 0.05), (0.2, 0.1, 0.12)),
    )
    for value, centre, radii in organs:
        away = sum(
            ((g - c) / r) ** 2 for g, c, r in zip((z, y, x), centre, radii, strict=True)
        )
        wobble = 0.12 * np.sin(9 * x + 3 * z) * np.cos(8 * y - 5 * z)
        labels[(away + wobble < 1) & (labels == 0)] = value
    for _ in range(1500):
        corner = [int(rng.integers(0, n - 6)) for n in shape]
        box = tuple(slice(c, c + int(rng.integers(1, 6))) for c in corner)
        labels[box] = 0 if labels[box].any() else rng.integers(1, 6)
    return labels


def timed(work, repeats=1):
    """Return the least seconds, the least seconds of the processor, and the result."""
    best, computed, result = float("inf"), float("inf"), None
    for _ in range(repeats):
        begun, processor = time.perf_counter(), time.process_time()
        result = work()
        best = min(best, time.perf_counter() - begun)
        computed = min(computed, time.process_time() - processor)
    return best, computed, result


def volume_tools(labels, image):
    s = SPACING
    sparse = labels.copy()
    keep = np.zeros(len(labels), bool)
    middle = len(labels) // 2
    keep[middle - 50 : middle + 51 : 5] = True  # 20 gaps of four slices
    sparse[~keep] = 0
    return {
        "islands: keep largest": (6, lambda: keep_largest(labels, s)),
        "islands: remove small": (6, lambda: remove_small(labels, s, smallest=50)),
        "holes: fill in 3D": (6, lambda: fill_holes(labels, s)),
        "holes: fill slice by slice": (6, lambda: fill_holes(labels, s, per_slice=0)),
        **{
            f"smooth: {method}, 2 mm": (
                10,
                lambda method=method: smooth(labels, s, method=method, mm=2),
            )
            for method in ("median", "opening", "closing", "gaussian", "joint")
        },
        "grow by 3 mm": (10, lambda: grow(labels, s, mm=3)),
        "shrink by 3 mm": (10, lambda: shrink(labels, s, mm=3)),
        "hollow, 2 mm": (10, lambda: hollow(labels, s, mm=2)),
        "interpolate 20 gaps": (5, lambda: fill_between_slices(sparse, s, axis=0)),
        "relabel": (10, lambda: relabel(labels, s, mapping={1: 2})),
        "logical: add": (
            10,
            lambda: combine(labels, s, operation="add", target=1, modifier=2),
        ),
    }


def slice_tools(labels, image):
    k = len(labels) // 2
    plane, grey, s = labels[k], image[k], SPACING[1:]
    rows, columns = plane.shape
    point = tuple(np.argwhere(plane == 1)[0])
    scribbles = np.full(plane.shape, -1, np.int16)
    scribbles[rows // 3, columns // 4 : columns // 3] = 1
    scribbles[5:-5, 5] = 0
    line = [(0, columns * 0.33), (rows - 1, columns * 0.33)]
    around = [(rows * a, columns * b) for a, b in ((0.2, 0.2), (0.2, 0.7), (0.8, 0.5))]
    return {
        "islands: keep largest": lambda: keep_largest(plane, s),
        "islands: remove small": lambda: remove_small(plane, s, smallest=50),
        "islands: keep picked": lambda: keep_picked(plane, s, point=point),
        "islands: split": lambda: split_islands(plane, s, value=1),
        "holes: fill": lambda: fill_holes(plane, s),
        **{
            f"smooth: {method}, 2 mm": lambda method=method: smooth(
                plane, s, method=method, mm=2
            )
            for method in ("median", "opening", "closing", "gaussian", "joint")
        },
        "grow by 3 mm": lambda: grow(plane, s, mm=3),
        "shrink by 3 mm": lambda: shrink(plane, s, mm=3),
        "hollow, 2 mm": lambda: hollow(plane, s, mm=2),
        "grow from scribbles: watershed": lambda: grow_from_scribbles(
            plane, s, image=grey, scribbles=scribbles
        ),
        "relabel": lambda: relabel(plane, s, mapping={1: 2}),
        "logical: add": lambda: combine(
            plane, s, operation="add", target=1, modifier=2
        ),
        "split by a line": lambda: split_by_line(
            plane, s, points=line, axis=None, new_value=6
        ),
        "split at waists": lambda: split_at_waists(plane, s, value=1),
        "cut with a polygon": lambda: cut_polygon(plane, s, corners=around, axis=None),
    }


def run_volume(labels, image, rows, only=""):
    for name, (bar, work) in volume_tools(labels, image).items():
        if only not in f"volume: {name}":
            continue
        seconds, computed, after = timed(work)
        mask = EditableMask(labels.copy(), SPACING)
        packing, _, prepared = timed(
            lambda: mask.prepare(name, full_box(labels.shape), after)  # noqa: B023
        )
        mask.enter(prepared)
        undo, _, _ = timed(mask.undo)
        same = np.array_equal(mask.array, labels)
        rows.append(
            {
                "what": f"volume: {name}",
                "seconds": round(seconds, 3),
                "computed": round(computed, 3),
                "bar": bar,
                "packing": round(packing, 3),
                "undo": round(undo, 3),
                "undo is exact": bool(same),
                "voxels": prepared.edit.voxels,
                "MB in history": round(prepared.edit.nbytes / 1e6, 2),
            }
        )
        print(rows[-1], flush=True)


def run_slices(labels, image, rows, only=""):
    for name, work in slice_tools(labels, image).items():
        if only not in f"slice: {name}":
            continue
        work()
        seconds, computed, _ = timed(work, 5)
        rows.append(
            {
                "what": f"slice: {name}",
                "seconds": round(seconds, 4),
                "computed": round(computed, 4),
                "bar": 0.1,
            }
        )
        print(rows[-1], flush=True)


def run_history(labels, rows):
    """Make a hundred mixed edits: strokes, tools on slices, and five on the volume."""
    rng = np.random.default_rng(5)
    mask = EditableMask(labels.copy(), SPACING)
    copy = labels.copy()
    for k in range(100):
        if k % 20 == 19:
            box = full_box(labels.shape)
            after = fill_holes(mask.array, SPACING, per_slice=0)
        elif k % 4 == 3:
            at = int(rng.integers(0, len(labels)))
            box = (slice(at, at + 1), *full_box(labels.shape[1:]))
            after = smooth(mask.array[box], SPACING, method="median", mm=3)
        else:
            corner = [int(rng.integers(0, n - 40)) for n in labels.shape]
            box = tuple(
                slice(c, c + d) for c, d in zip(corner, (1, 40, 40), strict=True)
            )
            after = np.full((1, 40, 40), rng.integers(0, 6), dtype=labels.dtype)
        mask.apply(f"edit {k}", box, after)
    end = mask.array.copy()
    slowest = 0.0
    while mask.history.position:
        seconds, _, _ = timed(mask.undo)
        slowest = max(slowest, seconds)
    exact = np.array_equal(mask.array, copy)
    while mask.redo():
        pass
    rows.append(
        {
            "what": "history: 100 mixed edits",
            "seconds": round(slowest, 3),
            "bar": 0.3,
            "MB in history": round(mask.history.nbytes / 1e6, 2),
            "budget MB": mask.history.budget / 1e6,
            "forgotten": mask.history.forgotten,
            "undo is exact": bool(exact and np.array_equal(mask.array, end)),
        }
    )
    print(rows[-1], flush=True)


def machine():
    import scipy
    import skimage

    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-image": skimage.__version__,
        "napari-medurwkv": __version__,
    }


def merged(path, rows):
    """Put rows among those that the file holds, in place of those of the same work."""
    old = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    fresh = {(row["what"], row["fast"]): row for row in rows}
    kept = [fresh.pop((row["what"], row["fast"]), row) for row in old]
    return kept + list(fresh.values())


def write(folder, result):
    folder.mkdir(parents=True, exist_ok=True)
    result["rows"] = merged(folder / "correction.json", result["rows"])
    text = json.dumps(result, indent=1)
    (folder / "correction.json").write_text(text + "\n", encoding="utf-8")
    lines = ["# Correction tools: time", ""]
    lines += [f"- {k}: {v}" for k, v in result["machine"].items()]
    lines += [
        "",
        f"Mask {' x '.join(map(str, result['shape']))}, five classes with rough "
        "surfaces and 1500 islands and holes all over the volume, so that the box of "
        f"every class is the whole of it; spacing {SPACING} mm. Seconds of one run; "
        "slices: the best of five. The load is that of the machine just before; where "
        "it is above 1, the processor's seconds say more than those of the clock.",
        "",
        "| what | optional packages | seconds | of the processor | bar | undo | MB in "
        "history | when, load |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        when = f"{row['date']}, {row['load']}" if "date" in row else ""
        lines.append(
            f"| {row['what']} | {row['fast']} | {row['seconds']} | "
            f"{row.get('computed', '')} | {row['bar']} | "
            f"{row.get('undo', '')} | {row.get('MB in history', '')} | {when} |"
        )
    path = folder / "correction.md"
    tail = ""
    if path.exists():
        _, mark, rest = path.read_text(encoding="utf-8").partition("\n## ")
        tail = mark + rest
    path.write_text("\n".join(lines) + "\n" + tail, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs=3, type=int, default=(300, 512, 512))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--part", choices=["volume", "slice", "history", "all"])
    parser.add_argument("--fast", choices=["without", "with", "both"], default="both")
    parser.add_argument("--only", default="", help="part of the names of rows")
    chosen = parser.parse_args()
    part = chosen.part or "all"
    labels = make_mask(tuple(chosen.shape))
    noise = np.random.default_rng(1).normal(0, 20, labels.shape[1:])
    image = (labels.astype(np.float32) * 40 + noise).astype(np.float32)
    rows = []
    ways = ("without", "with") if chosen.fast == "both" else (chosen.fast,)
    load = round(os.getloadavg()[0], 1)
    for fast in ways:
        for name in ("cc3d", "edt", "fastremap"):
            components._FAST.pop(name, None)
            if fast == "without":
                components._FAST[name] = None
        own = []
        if part in ("volume", "all"):
            run_volume(labels, image, own, chosen.only)
        if part in ("slice", "all"):
            run_slices(labels, image, own, chosen.only)
        if part in ("history", "all") and not chosen.only and fast == ways[-1]:
            run_history(labels, own)
        when = datetime.now(UTC).strftime("%m-%d %H:%M")
        rows += [{**row, "fast": fast, "date": when, "load": load} for row in own]
    result = {"machine": machine(), "shape": list(chosen.shape), "rows": rows}
    write(chosen.out, result)


if __name__ == "__main__":
    sys.exit(main())
