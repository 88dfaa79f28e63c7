"""What a busy computer costs: one window with and without patient threads.

    python benchmarks/busy.py

Each case runs in a process of its own, because OpenMP reads its settings once. The
computer is made busy by two Python programs that compute all the time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def window() -> None:
    """Time windows of the brain model's network; runs in a child process."""
    import torch

    from napari_medurwkv.checkpoints import load_model

    torch.set_num_threads(2)
    model = load_model("brain-tissue")
    network = model.network.eval()
    rows, columns = model.card.patch_size
    x = torch.rand(1, model.card.network_channels, rows, columns)
    with torch.inference_mode():
        network(x)
        times: list[float] = []
        begun = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begun < 3:
            start = time.perf_counter()
            network(x)
            times.append(time.perf_counter() - start)
    print(json.dumps({"torch": torch.__version__, "seconds": times}))


def measure(spin: str | None, busy: int) -> dict:
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    if spin is not None:
        environment["GOMP_SPINCOUNT"] = spin
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(busy)
    ]
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--window"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for other in others:
            other.kill()
            other.wait()
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--window", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.window:
        window()
        return
    from napari_medurwkv.inference.threads import SPIN_COUNT

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    lines = [
        "# One window on a busy computer",
        "",
        "Made by `benchmarks/busy.py`: the network of brain-tissue, one window, two "
        "threads; median (and longest) milliseconds.",
        "",
        "| programs beside it | GOMP_SPINCOUNT unset | as the engine sets it |",
        "|---|---|---|",
    ]
    version = ""
    for busy in (0, 2):
        cells = []
        for spin in (None, SPIN_COUNT):
            result = measure(spin, busy)
            version = result["torch"]
            ms = [1000 * t for t in result["seconds"]]
            cells.append(f"{statistics.median(ms):.0f} ({max(ms):.0f})")
        lines.append(f"| {busy} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        f"{os.cpu_count()} cores, load {load:.1f} before the start, torch {version}, "
        f"Python {platform.python_version()}, {platform.platform()}, "
        f"{time.strftime('%Y-%m-%d')}.",
    ]
    text = "\n".join(lines) + "\n"
    (arguments.output / "busy.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
