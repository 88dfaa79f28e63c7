"""How long the preview of one slice takes, the model being loaded.

python benchmarks/preview.py FILE [FILE ...]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", default="brain-tissue")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    import torch

    from napari_medurwkv import load_model, segment
    from napari_medurwkv.io import read_image

    torch.set_num_threads(2)
    model = load_model(arguments.model)
    lines = [
        "# Preview of one slice",
        "",
        f"Made by `benchmarks/preview.py` with {arguments.model}, two threads: the "
        "middle slice, median (and longest) of seven.",
        "",
        "| image | windows | seconds (bar: 1) |",
        "|---|---|---|",
    ]
    for file in arguments.files:
        image = read_image(file)
        shape = image.geometry.display_shape
        middle = shape[0] // 2
        region = (slice(middle, middle + 1), slice(None), slice(None))
        times = []
        for _ in range(8):
            begun = time.perf_counter()
            result = segment(image, model, device="cpu", region=region)
            times.append(time.perf_counter() - begun)
        times = times[1:]
        windows = result.record.parameters["windows"]
        name = Path(file).name.partition(".")[0]
        lines.append(
            f"| {name} {'x'.join(map(str, shape))} | {windows} "
            f"| {statistics.median(times):.2f} ({max(times):.2f}) |"
        )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    lines += [
        "",
        f"{os.cpu_count()} cores, load {load:.1f} at the end, torch "
        f"{torch.__version__}, {platform.platform()}, {time.strftime('%Y-%m-%d')}.",
    ]
    text = "\n".join(lines) + "\n"
    (arguments.output / "preview.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
