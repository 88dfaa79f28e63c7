"""Times of the kernels on an NVIDIA GPU, beside copies of the same bytes and rivals.

python benchmarks/kernels_gpu.py [--quick]

Microseconds: medians over replays of CUDA graphs of 20 launches. Writes
benchmarks/results/kernels-gpu.json and .md. `measure` and `lines` serve kernels.py.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from napari_medurwkv.kernels import _cuda, _cuda_compile, _portable
from rivals import package, serial, serial_wkv6

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).resolve().parent / "results"
SHAPES = (
    (8, 196, 192),
    (8, 1024, 192),
    (8, 4096, 192),
    (1, 16384, 192),
    (16, 1024, 768),
    (1, 65536, 192),
)
BARS = dict(zip(SHAPES, (6.0, 14.0, 45.0, 30.0, 65.0, 100.0), strict=True))
GRIDS = ((8, 14, 192), (8, 32, 192), (8, 64, 192), (16, 32, 768))
HEADS = ((1, 1024, 3), (8, 1024, 3), (1, 4096, 3), (1, 16384, 3), (8, 1024, 12))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
Row = dict[str, Any]

FIRST_CALL = """
import time, torch
k = torch.randn(1, 196, 192, device="cuda"); w = torch.zeros(192, device="cuda")
torch.cuda.synchronize()
start = time.perf_counter()
from napari_medurwkv.kernels import _cuda
_cuda.forward(w, w, k, k); torch.cuda.synchronize()
print(time.perf_counter() - start)
"""


def replay(run: Callable[[], object], repeats: int = 9) -> float:
    """Microseconds of one run, from replays of a graph of 20 (fewer if it is slow)."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    count = 20 if begin.elapsed_time(end) < 2 else 2
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            run()
    times = []
    for _ in range(repeats + 1):
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * begin.elapsed_time(end) / count)
    return statistics.median(times[1:])


def eager(run: Callable[[], object], repeats: int = 5) -> float:
    """Microseconds of one run as a program would call it."""
    run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * begin.elapsed_time(end))
    return statistics.median(times)


def copy(count: int, dtype: torch.dtype) -> float:
    """Time to move `count` values, half of them read and half written."""
    source = torch.randn(max(1, count // 2), device="cuda").to(dtype)
    target = torch.empty_like(source)
    return replay(lambda: target.copy_(source))


def inputs(shape: tuple[int, int, int], dtype: torch.dtype) -> list[torch.Tensor]:
    """Decay and bonus as networks start with them; keys and values of deviation 1."""
    _, tokens, channels = shape
    place = torch.arange(channels, device="cuda") / (channels - 1)
    turn = (torch.arange(channels, device="cuda") + 1) % 3 - 1
    w = (-5 + 8 * place**1.3) / tokens
    u = (math.log(0.3) + 0.5 * turn) / tokens
    generator = torch.Generator("cuda").manual_seed(0)
    k, v = (
        torch.randn(shape, generator=generator, device="cuda").to(dtype)
        for _ in range(2)
    )
    return [w, u, k, v]


def exact(w: torch.Tensor, u: torch.Tensor, k: torch.Tensor, v: torch.Tensor):
    """Bi-WKV in float64 by cumulative sums, good for moderate decays."""
    w, u, k, v = (x.double() for x in (w, u, k, v))
    e = torch.exp(k - k.amax(1, keepdim=True))
    tokens = k.shape[1]
    place = torch.arange(tokens, dtype=torch.float64, device=k.device) - tokens / 2
    grow, fade = torch.exp(place[:, None] * w), torch.exp(-place[:, None] * w)
    sums = []
    for x in (e * v, e):
        total = torch.exp(u) * x
        before = torch.cumsum(x * grow, 1) - x * grow
        behind = torch.cumsum((x * fade).flip(1), 1).flip(1) - x * fade
        total += (before * fade + behind * grow) * torch.exp(w)
        sums.append(total)
    return sums[0] / sums[1]


def bi_wkv_rows(quick: bool) -> list[Row]:
    rows = []
    for dtype in DTYPES:
        for shape in SHAPES[:2] if quick else SHAPES:
            x = inputs(shape, dtype)
            w, u, k, v = x
            grad, want = torch.randn_like(k), exact(*x)
            y = _cuda.forward(*x)
            row: Row = {
                "shape": shape,
                "dtype": str(dtype).removeprefix("torch."),
                "copy": copy(3 * k.numel(), dtype),
                "cuda": replay(lambda x=x: _cuda.forward(*x)),
                "backward": replay(lambda x=x, g=grad, y=y: _cuda.backward(g, *x, y)),
                "error": float((y - want).abs().max()),
            }
            if dtype == torch.float32:
                for segments in (16, 32):
                    row[f"segments {segments}"] = replay(
                        lambda x=x, s=segments: _cuda.forward(*x, s)
                    )
                row["portable"] = eager(lambda x=x: _portable.forward(*x))
                row["serial"] = eager(serial(*x), 2)
                other = package(*x)
                if other is not None:
                    row["biwkv4-cuda"] = eager(other)
            try:
                from rival_triton import chunked
            except ImportError:
                pass
            else:
                row["triton"] = replay(chunked(*x))
            rows.append(row)
            print(row, flush=True)
            del x, w, u, k, v, grad, want, y
            torch.cuda.empty_cache()
    return rows


def shift_rows() -> list[Row]:
    rows = []
    for dtype in DTYPES[::2]:
        for batch, side, channels in GRIDS:
            x = torch.randn(batch, side * side, channels, device="cuda").to(dtype)
            factors = [torch.rand(channels, device="cuda").to(dtype) for _ in range(3)]
            grads = [torch.randn_like(x) for _ in factors]
            where = (side, side, [channels * m // 4 for m in (1, 2, 3, 4)], 1, 1)
            rows.append(
                {
                    "shape": (batch, side * side, channels),
                    "dtype": str(dtype).removeprefix("torch."),
                    "forward": replay(
                        lambda a=(x, factors, *where): _cuda.shift_mix_forward(*a)
                    ),
                    "copy": copy(4 * x.numel(), dtype),
                    "backward": replay(
                        lambda a=(grads, x, factors, *where): _cuda.shift_mix_backward(
                            *a
                        )
                    ),
                    "backward copy": copy(5 * x.numel(), dtype),
                }
            )
            print(rows[-1], flush=True)
    return rows


def wkv6_rows() -> list[Row]:
    rows = []
    for batch, tokens, heads in HEADS:
        shape = (batch, tokens, 64 * heads)
        r, k, v, w, grad = (torch.randn(shape, device="cuda") for _ in range(5))
        u = torch.randn(heads, 64, device="cuda")
        x = (r, k, v, w, u)
        y = _cuda.wkv6_forward(*x)
        published = serial_wkv6(*x)
        rows.append(
            {
                "shape": (batch, tokens, heads),
                "forward": replay(lambda x=x: _cuda.wkv6_forward(*x)),
                "backward": replay(lambda x=x, g=grad: _cuda.wkv6_backward(g, *x)),
                "published layout": eager(published, 3),
                "difference": float((published() - y).abs().max() / y.abs().max()),
                "finite": bool(y.isfinite().all()),
            }
        )
        print(rows[-1], flush=True)
    return rows


def first_call(cache: str) -> float:
    """Seconds of the first call in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        env={**os.environ, "XDG_CACHE_HOME": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def latency() -> Row:
    x = inputs((1, 196, 192), torch.float32)
    _cuda.forward(*x)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(500):
        _cuda.forward(*x)
    launch = (time.perf_counter() - start) / 500
    torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as cache:
        cold = first_call(cache)
        warm = first_call(cache)
    return {
        "launch us": 1e6 * launch,
        "first call, empty cache s": cold,
        "first call, warm cache s": warm,
    }


def stack_share(side: int = 512, batch: int = 1) -> Row:
    """Share of the operator, shift and mixing in VRWKV-tiny's time on the GPU, bf16."""
    from torch.profiler import ProfilerActivity, profile

    from napari_medurwkv.models import create_model

    network = create_model("vrwkv_tiny").cuda().to(torch.bfloat16).eval()
    image = torch.randn(batch, 3, side, side, device="cuda", dtype=torch.bfloat16)
    with torch.inference_mode():
        for _ in range(3):
            network(image)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as recorded:
            for _ in range(5):
                network(image)
            torch.cuda.synchronize()
    times = {event.key: event.device_time_total for event in recorded.key_averages()}
    ours = {key: t for key, t in times.items() if key.startswith(("bi_wkv", "shift"))}
    slowest = sorted(times.items(), key=lambda item: -item[1])[:6]
    return {
        "side": side,
        "batch": batch,
        "GPU time us": sum(times.values()) / 5,
        "operator us": sum(t for key, t in ours.items() if "wkv" in key) / 5,
        "shift and mixing us": sum(t for k, t in ours.items() if "shift" in k) / 5,
        "share": sum(ours.values()) / sum(times.values()),
        "slowest": "; ".join(f"{key[:40]} {t / 5:.0f}" for key, t in slowest),
    }


def measure(quick: bool = False) -> dict[str, Any]:
    """Measure everything on the current GPU."""
    properties = torch.cuda.get_device_properties(0)
    large = 1 << 28
    return {
        "device": properties.name,
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "nvrtc": _cuda_compile.compiler_version(),
        "copy GB/s": large * 4 / copy(large, torch.float32) / 1e3,
        "latency": latency(),
        "bi_wkv": bi_wkv_rows(quick),
        "shift_mix": shift_rows(),
        "wkv6": wkv6_rows(),
        "stack": [stack_share(), stack_share(batch=8)],
    }


def lines(result: dict[str, Any]) -> list[str]:
    """Tables of what was measured, as Markdown."""
    out = [
        "# Kernels on a GPU",
        "",
        f"{result['device']}, torch {result['torch']} (CUDA {result['cuda']}, NVRTC"
        f" {result['nvrtc']}), {result['date']}. A large copy moves"
        f" {result['copy GB/s']:.0f} GB/s. Microseconds unless another unit is named;"
        " medians of graph replays (portable, serial and package: of eager calls).",
        *([result["note"]] if "note" in result else []),
        "",
    ]
    for title, rows in (
        ("Bi-WKV", result["bi_wkv"]),
        ("Shift and mixing, three mixtures", result["shift_mix"]),
        ("WKV6", result["wkv6"]),
        ("VRWKV-tiny in bfloat16", result.get("stack", [])),
        ("Latency", [result["latency"]]),
    ):
        if not rows:
            continue
        columns = list(dict.fromkeys(name for row in rows for name in row))
        out += [f"## {title}", "", "| " + " | ".join(columns) + " |"]
        out.append("|" + "---|" * len(columns))
        for row in rows:
            cells = [cell(row.get(name, "")) for name in columns]
            out.append("| " + " | ".join(cells) + " |")
        out.append("")
    return out


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = measure(options.quick)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "kernels-gpu.json").write_text(json.dumps(result, indent=1))
    text = "\n".join(lines(result))
    (options.output / "kernels-gpu.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
