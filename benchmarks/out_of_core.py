"""A picture larger than memory should hold: zarr in, zarr mask out, peak memory.

    python benchmarks/out_of_core.py --side 30000

The network is trivial (one class is where the picture is brighter than a half), so the
mask can be checked block by block. The picture is written first, by another process.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"
CHUNK = 1024


def block(row: int, column: int, shape: tuple[int, ...]) -> np.ndarray:
    """Make one piece of the picture, the same one every time."""
    generator = np.random.default_rng((row, column))
    coarse = generator.integers(0, 256, (-(-shape[0] // 8), -(-shape[1] // 8)))
    values = np.kron(coarse, np.ones((8, 8), int))[: shape[0], : shape[1]]
    return values.astype(np.uint8)


def write_picture(path: Path, side: int) -> None:
    import zarr

    array = zarr.create_array(
        path, shape=(side, side), dtype=np.uint8, chunks=(CHUNK, CHUNK)
    )
    for row in range(0, side, CHUNK):
        for column in range(0, side, CHUNK):
            shape = (min(CHUNK, side - row), min(CHUNK, side - column))
            piece = block(row, column, shape)
            array[row : row + shape[0], column : column + shape[1]] = piece


def make_model():
    import torch
    from torch import nn

    from napari_medurwkv.checkpoints import (
        ClassInfo,
        InputChannel,
        IntensityRecipe,
        Model,
        ModelCard,
    )

    class Threshold(nn.Module):
        def forward(self, x):
            return torch.cat([torch.full_like(x, 0.5), x], 1) * 20

    card = ModelCard(
        name="bright",
        title="Bright",
        version="1",
        description="Where a picture is brighter than a half.",
        limitations="Everything else.",
        architecture="none",
        config={},
        dimensions=2,
        modality=("test",),
        channels=(InputChannel(name="grey"),),
        intensity=IntensityRecipe(scale="dtype"),
        patch_size=(512, 512),
        activation="softmax",
        output_values=(0, 1),
        classes=(
            ClassInfo(value=0, name="background", color="#000000"),
            ClassInfo(value=1, name="bright", color="#ff0000"),
        ),
        training_data=(),
        metrics=(),
        authors=("Nobody",),
        licence="BSD-3-Clause",
        date=datetime.date(2026, 1, 1),
    )
    return Model(Threshold().eval(), card, Path("bright.safetensors"), "0" * 64)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def segment_picture(folder: Path, side: int) -> dict:
    import torch
    import zarr

    from napari_medurwkv import segment

    torch.set_num_threads(2)
    image = zarr.open_array(folder / "image", mode="r")
    # Rows that become final together share a piece of the mask.
    out = zarr.create_array(
        folder / "mask", shape=(side, side), dtype=np.uint8, chunks=(256, CHUNK)
    )
    model = make_model()
    most = [resident()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = resident()
    begun = time.perf_counter()
    result = segment(image, model, device="cpu", out=out)
    seconds = time.perf_counter() - begun
    stop.set()
    watcher.join()
    return {
        "seconds": seconds,
        "windows": result.record.parameters["windows"],
        "before_mb": before / 1e6,
        "peak_mb": most[0] / 1e6,
    }


def wrong_pixels(folder: Path, side: int) -> int:
    import zarr

    mask = zarr.open_array(folder / "mask", mode="r")
    wrong = 0
    for row in range(0, side, CHUNK):
        for column in range(0, side, CHUNK):
            shape = (min(CHUNK, side - row), min(CHUNK, side - column))
            expected = block(row, column, shape) / np.float32(255) > 0.5
            part = mask[row : row + shape[0], column : column + shape[1]]
            wrong += int(np.count_nonzero(part != expected))
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=30_000)
    parser.add_argument("--step", choices=("write", "segment"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.step == "write":
        write_picture(arguments.folder / "image", arguments.side)
        return
    if arguments.step == "segment":
        print(json.dumps(segment_picture(arguments.folder, arguments.side)))
        return
    import torch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(step: str) -> str:
            command = [sys.executable, __file__, "--step", step, "--folder", name]
            command += ["--side", str(arguments.side)]
            return subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        run("write")
        result = json.loads(run("segment").splitlines()[-1])
        wrong = wrong_pixels(folder, arguments.side)
    text = "\n".join(
        [
            "# A picture that is not held in memory",
            "",
            "Made by `benchmarks/out_of_core.py`: uint8 zarr in, zarr mask out, a "
            "trivial network, windows of 512 x 512, overlap 0.5.",
            "",
            "| picture | windows | seconds | process before, MB | its peak, MB "
            "| wrong pixels |",
            "|---|---|---|---|---|---|",
            f"| {arguments.side} x {arguments.side} | {result['windows']} "
            f"| {result['seconds']:.0f} | {result['before_mb']:.0f} "
            f"| {result['peak_mb']:.0f} (bar: 1500) | {wrong} |",
            "",
            f"{os.cpu_count()} cores, torch {torch.__version__}, "
            f"{platform.platform()}, {time.strftime('%Y-%m-%d')}.",
        ]
    )
    (arguments.output / "out-of-core.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
