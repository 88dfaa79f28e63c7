"""Sliders over kept probabilities: time per visible slice, and for the rest.

    python benchmarks/adjust.py

A mask of 512 x 512 x 300 with 15 classes (1.2 GB of probabilities in a temporary file)
is decided again. Measured are the numbers alone, and a move of a slider in the panel's
own adjuster: the slice on screen decided, entered into the mask's history and drawn
(without a window, so without the graphics card); then the rest, in a thread.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from napari_medurwkv.inference.probabilities import (
    Probabilities,
    Rule,
    new_cache_path,
    write_probabilities,
)
from napari_medurwkv.inference.redecide import Settings, decide_part, redecide
from napari_medurwkv.widgets.adjuster import Adjuster
from napari_medurwkv.widgets.kept_mask import KeptMask
from napari_medurwkv.widgets.layer_image import (
    LayerImage,
    find_geometry,
    in_layer_order,
    take_snapshot,
)

RESULTS = Path(__file__).resolve().parent / "results"
BAR_MS = 100


def keep(folder: Path, shape: tuple[int, int, int], classes: int) -> Probabilities:
    """Write smooth random probabilities."""
    rng = np.random.default_rng(0)
    small = tuple(-(-n // 16) for n in shape)
    fields = [ndimage.zoom(rng.normal(size=small), 4, order=1) for _ in range(classes)]
    box = tuple((0, n) for n in shape)
    values = tuple(range(classes))
    rule = Rule("0" * 32, shape, box, values, "softmax", 0.5, 0, True)
    path = new_cache_path(folder)
    with write_probabilities(path, rule) as array:
        for z in range(0, shape[0], 4):
            planes = [
                ndimage.zoom(f[z // 4], 4, order=1)[: shape[1], : shape[2]]
                for f in fields
            ]
            logits = 2 * np.stack(planes)
            chances = np.exp(logits - logits.max(0))
            steps = np.rint(chances / chances.sum(0) * 255).astype(np.uint8)
            array[:, z : z + 4] = steps[:, None]
    return Probabilities(path, temporary=True)


def timed(work, repeats: int) -> dict[str, list[float]]:
    """Time on the clock, and time of a core, which other programs add nothing to."""
    clock, core = [], []
    for number in range(repeats):
        begun, used = time.perf_counter(), time.thread_time()
        work(number)
        clock.append(1e3 * (time.perf_counter() - begun))
        core.append(1e3 * (time.thread_time() - used))
    return {"clock": clock, "core": core}


def measure(shape: tuple[int, int, int], classes: int) -> dict[str, object]:
    app = QApplication.instance() or QApplication([])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        kept = keep(Path(folder), shape, classes)
        settings = [Settings(0.3 + 0.02 * i, {3: 1 + 0.1 * i}, 1.2) for i in range(20)]
        rows: dict[str, object] = {}
        for axis, name in enumerate(("axial", "coronal", "sagittal")):
            index = [slice(None)] * 4
            index[axis + 1] = shape[axis] // 2

            def numbers(i: int, index: tuple = tuple(index)) -> None:
                part = np.ascontiguousarray(kept.array[index])
                decide_part(part, kept.rule, settings[i])

            rows[f"numbers, {name} slice, ms"] = timed(numbers, 10)

        viewer = ViewerModel()
        image = Image(np.broadcast_to(np.float32(0), shape), name="image")
        labels = np.zeros(shape, np.uint8)
        redecide(kept, Settings(), labels)
        snapshot = take_snapshot(image)
        picture = LayerImage(snapshot, find_geometry(snapshot))
        geometry = in_layer_order(picture.geometry, picture.layer_geometry)
        block = {"geometry": geometry.to_json(), "classes": [], "record": None}
        mask = Labels(labels, metadata={"medurwkv": block})
        viewer.add_layer(mask)
        adjuster = Adjuster(viewer)
        adjuster.told.connect(print)
        adjuster.use(KeptMask(mask, kept, picture))

        def settle() -> dict[str, list[float]]:
            begun, used = time.perf_counter(), time.process_time()
            while adjuster.working:
                app.processEvents()
                time.sleep(0.002)
            return {
                "clock": [time.perf_counter() - begun],
                "core": [time.process_time() - used],
            }

        adjuster.open()
        rows["getting ready, s"] = settle()
        for axis, name in enumerate(("axial", "coronal", "sagittal")):
            order = [axis, *(k for k in range(3) if k != axis)]
            viewer.dims.order = tuple(order)
            viewer.dims.set_point(axis, shape[axis] // 2)
            rows[f"slider, {name} slice, ms"] = timed(
                lambda i: adjuster.change(settings[i]), 10
            )
            rows[f"the rest after it ({name} on screen), s"] = settle()
        changed = int(np.count_nonzero(mask.data))
        adjuster.use(None)
    return {"rows": rows, "foreground": changed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512))
    parser.add_argument("--classes", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    found = measure(tuple(given.shape), given.classes)
    about = {
        "shape": list(given.shape),
        "classes": given.classes,
        "numpy": np.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    lines = [
        "# Sliders over kept probabilities",
        "",
        ", ".join(f"{key} {value}" for key, value in about.items()) + ". "
        f"Bar: {BAR_MS} ms per visible slice.",
        "",
        f"Load of the machine meanwhile: {os.getloadavg()[0]:.1f}. The first "
        "slice of an axis is read from the file, so the worst of a row is its first.",
        "",
        "| what | median, clock | worst, clock | median, core | worst, core |",
        "|---|---|---|---|---|",
    ]
    for name, laps in found["rows"].items():
        cells = [
            f"{how(laps[kind]):.1f}"
            for kind in ("clock", "core")
            for how in (np.median, max)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "adjust.md").write_text("\n".join(lines) + "\n")
    (given.output / "adjust.json").write_text(
        json.dumps({**about, **found}, indent=2) + "\n"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
