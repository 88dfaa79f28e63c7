"""Native against portable Bi-WKV on the CPU, forward and with gradients.

Run ``python benchmarks/kernels.py``; the table goes to
``benchmarks/results/kernels-cpu.json`` and ``.md``.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from napari_medurwkv.kernels import backend_for, bi_wkv, bi_wkv_reference

RESULTS = Path(__file__).parent / "results"
SHAPES = ((1, 196, 192), (1, 4096, 192), (4, 1024, 384))


def inputs(shape: tuple[int, int, int]) -> list[torch.Tensor]:
    """Decay and first as networks start with them; keys and values of deviation 1."""
    _, tokens, channels = shape
    generator = torch.Generator().manual_seed(0)
    place = torch.arange(channels) / (channels - 1)
    w = (-5 + 8 * place**1.3) / tokens
    u = torch.randn(channels, generator=generator) / tokens
    k, v = (torch.randn(shape, generator=generator) for _ in range(2))
    return [w, u, k, v]


def milliseconds(path: str, shape: tuple[int, int, int], gradients: bool) -> float:
    """Median of repeated runs, about a second in all."""
    os.environ["MEDURWKV_KERNELS"] = path
    tensors = [t.requires_grad_(gradients) for t in inputs(shape)]
    times = []
    begin = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - begin < 1 and len(times) < 200):
        start = time.perf_counter()
        y = bi_wkv(*tensors)
        if gradients:
            torch.autograd.grad(y.sum(), tensors)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[1:])


def error(path: str, shape: tuple[int, int, int]) -> float:
    """Largest deviation from the float64 definition."""
    os.environ["MEDURWKV_KERNELS"] = path
    tensors = inputs(shape)
    wanted = bi_wkv_reference(*(t.double() for t in tensors))
    return float((bi_wkv(*tensors) - wanted).abs().max())


def main() -> None:
    rows = []
    for shape in SHAPES:
        row: dict[str, object] = {"shape": list(shape)}
        for path in ("native", "portable"):
            row[path] = {
                "forward_ms": round(milliseconds(path, shape, False), 3),
                "with_gradients_ms": round(milliseconds(path, shape, True), 3),
                "error": error(path, shape),
            }
        rows.append(row)
    os.environ["MEDURWKV_KERNELS"] = ""
    about = {
        "backend": backend_for("cpu").reason,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    lines = [
        "# Bi-WKV on the CPU, float32",
        "",
        ", ".join(f"{key}: {value}" for key, value in about.items()),
        "",
        "| (B, T, C) | native ms | portable ms | ratio | native with gradients ms "
        "| portable with gradients ms | native error | portable error |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        n, p = row["native"], row["portable"]
        lines.append(
            f"| {tuple(row['shape'])} | {n['forward_ms']} | {p['forward_ms']} "
            f"| {p['forward_ms'] / n['forward_ms']:.1f} | {n['with_gradients_ms']} "
            f"| {p['with_gradients_ms']} | {n['error']:.1e} | {p['error']:.1e} |"
        )
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**about, "rows": rows}, indent=2) + "\n"
    (RESULTS / "kernels-cpu.json").write_text(text)
    (RESULTS / "kernels-cpu.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
