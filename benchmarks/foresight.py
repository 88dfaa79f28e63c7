"""How far the forecast of time and memory is from what a run then takes.

    python benchmarks/foresight.py FILE [FILE ...]

Every file is forecast and segmented in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def measure(path: str, name: str, device: str) -> dict:
    from napari_medurwkv import load_model, segment
    from napari_medurwkv.inference.foresight import foresee
    from napari_medurwkv.inference.memory import forget_peak, peak
    from napari_medurwkv.io import read_image

    model = load_model(name)
    image = read_image(path)
    begun = time.perf_counter()
    forecast = foresee(image, model, device=device)
    calibration = time.perf_counter() - begun
    forget_peak()
    begun = time.perf_counter()
    segment(image, model, device=device)
    seconds = time.perf_counter() - begun
    return {
        "shape": list(image.geometry.display_shape),
        "windows": forecast.windows,
        "calibration": calibration,
        "forecast_s": forecast.seconds,
        "seconds": seconds,
        "forecast_mb": (forecast.host_bytes or 0) / 1e6,
        "mb": (peak() or 0) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", default="brain-tissue")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.one:
        print(
            json.dumps(measure(arguments.files[0], arguments.model, arguments.device))
        )
        return
    lines = [
        "# Forecast and truth",
        "",
        f"Made by `benchmarks/foresight.py` with {arguments.model} on "
        f"{arguments.device}.",
        "",
        "| image | windows | forecast took, s | forecast, s | took, s | off by "
        "| forecast peak, MB | peak, MB | off by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for file in arguments.files:
        command = [sys.executable, __file__, "--one", file]
        command += ["--model", arguments.model, "--device", arguments.device]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        r = json.loads(done.stdout.splitlines()[-1])
        name = Path(file).name.partition(".")[0]
        lines.append(
            f"| {name} {'x'.join(map(str, r['shape']))} | {r['windows']} "
            f"| {r['calibration']:.1f} | {r['forecast_s']:.1f} | {r['seconds']:.1f} "
            f"| {r['forecast_s'] / r['seconds'] - 1:+.0%} | {r['forecast_mb']:.0f} "
            f"| {r['mb']:.0f} | {r['forecast_mb'] / r['mb'] - 1:+.0%} |"
        )
    lines += [
        "",
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end, "
        f"{platform.platform()}, {time.strftime('%Y-%m-%d')}.",
    ]
    text = "\n".join(lines) + "\n"
    (arguments.output / "foresight.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
