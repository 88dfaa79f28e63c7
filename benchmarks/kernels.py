"""Time of the compiled Bi-WKV on the CPU beside the portable one, and its error.

python benchmarks/kernels.py [--seconds S] [--threads N]

The two take turns in short bursts, so that both meet the same machine. Figures are
milliseconds; the best run counts, because other programs only ever add time, and the
median and the load average tell how quiet the machine was. The table goes to
benchmarks/results/kernels-cpu.json and .md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from napari_medurwkv.kernels import backend_for, bi_wkv, bi_wkv_reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

RESULTS = Path(__file__).resolve().parent / "results"
SHAPES = ((1, 196, 192), (1, 4096, 192), (4, 1024, 384))
PATHS = ("native", "portable")
BURST = 5  # runs in a row
BAR = 8.0  # native over portable, forward
BARRED = SHAPES[1:]


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one implementation at one shape (batch, tokens, channels)."""

    shape: tuple[int, int, int]
    path: str
    forward_ms: float
    forward_median_ms: float
    backward_ms: float
    backward_median_ms: float
    error: float


def inputs(shape: tuple[int, int, int]) -> list[Tensor]:
    """Decay and first as networks start with them; keys and values of deviation 1."""
    _, tokens, channels = shape
    generator = torch.Generator().manual_seed(0)
    place = torch.arange(channels) / (channels - 1)
    w = (-5 + 8 * place**1.3) / tokens
    u = torch.randn(channels, generator=generator) / tokens
    k, v = (torch.randn(shape, generator=generator) for _ in range(2))
    return [w, u, k, v]


def force(path: str) -> None:
    os.environ["MEDURWKV_KERNELS"] = path


def take_turns(run: Callable[[], object], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each run, by implementation."""
    times: dict[str, list[float]] = {path: [] for path in PATHS}
    for path in PATHS:
        force(path)
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["native"]) < 2 * BURST:
        for path in PATHS:
            force(path)
            for _ in range(BURST):
                start = time.perf_counter()
                run()
                times[path].append(1000 * (time.perf_counter() - start))
    return times


def measure(shape: tuple[int, int, int], seconds: float) -> list[Row]:
    w, u, k, v = inputs(shape)
    exact = bi_wkv_reference(w, u, k, v)
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    y = bi_wkv(w, u, k, v)
    with torch.inference_mode():
        forward = take_turns(lambda: bi_wkv(w, u, k, v), seconds)
        backward = take_turns(
            lambda: torch.ops.medurwkv.bi_wkv_backward(grad, w, u, k, v, y), seconds
        )
    rows = []
    for path in PATHS:
        force(path)
        rows.append(
            Row(
                shape,
                path,
                min(forward[path]),
                statistics.median(forward[path]),
                min(backward[path]),
                statistics.median(backward[path]),
                float((bi_wkv(w, u, k, v) - exact).abs().max()),
            )
        )
    return rows


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: list[Row]) -> list[str]:
    lines = [
        "| (B, T, C) | native forward | portable forward | ratio | native backward "
        "| portable backward | ratio | medians | native error | portable error |",
        "|---" * 10 + "|",
    ]
    for n, p in zip(rows[::2], rows[1::2], strict=True):
        medians = (
            n.forward_median_ms,
            p.forward_median_ms,
            n.backward_median_ms,
            p.backward_median_ms,
        )
        lines.append(
            f"| {n.shape} | {n.forward_ms:.3f} | {p.forward_ms:.3f} "
            f"| {p.forward_ms / n.forward_ms:.1f} | {n.backward_ms:.3f} "
            f"| {p.backward_ms:.3f} | {p.backward_ms / n.backward_ms:.1f} "
            f"| {', '.join(f'{m:.2f}' for m in medians)} | {n.error:.1e} "
            f"| {p.error:.1e} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    force("")
    about = {
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "threads": options.threads,
        "native": backend_for("cpu").reason,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    rows = [row for shape in SHAPES for row in measure(shape, options.seconds)]
    about["load_average"] = round(os.getloadavg()[0], 1)
    best = {(row.shape, row.path): row.forward_ms for row in rows}
    ratios = [best[shape, "portable"] / best[shape, "native"] for shape in BARRED]
    verdict = (
        f"Bar: native at least {BAR:.0f} times as fast forward at "
        f"{' and '.join(map(str, BARRED))}: "
        f"{', '.join(f'{ratio:.1f}' for ratio in ratios)}, "
        f"{'met' if min(ratios) >= BAR else 'NOT met'}."
    )
    lines = [
        "# Bi-WKV on the CPU, float32",
        "",
        "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in about.items()),
        "",
        "Milliseconds of the best run; medians in the order of the columns. Errors are",
        "the largest against the float64 definition, v of standard deviation 1.",
        "",
        *table(rows),
        "",
        verdict,
    ]
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=2)
    (RESULTS / "kernels-cpu.json").write_text(text + "\n", encoding="utf-8")
    (RESULTS / "kernels-cpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
