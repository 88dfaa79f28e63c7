"""Times of the operators on every path, beside what bounds them and their rivals.

python benchmarks/kernels.py [--seconds S] [--threads N]

On the CPU: the compiled kernel at each instruction set, the portable path, the sum of
two arrays of the same size (the bytes that the operator moves once), and a serial C++
loop of one channel after the other in log space, as published code computes. Where
PyTorch sees an NVIDIA GPU, kernels_gpu.py measures that too.

All take turns in short bursts, so that load hits them alike. Milliseconds are the best
run's and, after the slash, the median's; the load average tells how far to trust them:
other programs can only add time. `kernel` is the compiled function alone on memory that
exists, `operator` the torch operator as a network calls it, which allocates its result.
Tables go to benchmarks/results/kernels-cpu.json and .md.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from napari_medurwkv.kernels import (
    _native,
    backend_for,
    bi_wkv,
    bi_wkv_reference,
    shift_mix,
    wkv6,
)
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SHAPES = ((1, 196, 192), (1, 1024, 192), (1, 4096, 192), (4, 1024, 384))
BURST = 3  # runs in a row
SLOW = 0.1  # seconds, after which a burst ends
_ALIVE: list[Tensor] = []  # what compiled functions were given the address of
Times = dict[str, tuple[float, float]]
Table = tuple[str, dict[str, Times]]

SERIAL = """
#include <cmath>
#include <vector>
extern "C" void serial(long B, long T, long C, const float* w, const float* u,
                       const float* k, const float* v, float* y, int threads) {
#pragma omp parallel for num_threads(threads)
  for (long i = 0; i < B * C; ++i) {
    const long at = i / C * T * C + i % C;
    const float w_ = w[i % C], u_ = u[i % C];
    std::vector<float> a(T), b(T), m(T);
    float p = 0, q = 0, o = -1e38f;
    for (long t = T; t-- > 0;) {
      a[t] = p, b[t] = q, m[t] = o;
      const float key = k[at + t * C], n = std::fmax(o - w_, key);
      const float old = std::exp(o - w_ - n), fresh = std::exp(key - n);
      p = old * p + fresh * v[at + t * C], q = old * q + fresh, o = n;
    }
    p = q = 0, o = -1e38f;
    for (long t = 0; t < T; ++t) {
      const float key = k[at + t * C], value = v[at + t * C];
      float n = std::fmax(std::fmax(o, m[t]), u_ + key);
      const float x = std::exp(o - n), z = std::exp(m[t] - n);
      const float e = std::exp(u_ + key - n);
      y[at + t * C] = (x * p + z * a[t] + e * value) / (x * q + z * b[t] + e);
      n = std::fmax(o - w_, key);
      const float old = std::exp(o - w_ - n), fresh = std::exp(key - n);
      p = old * p + fresh * value, q = old * q + fresh, o = n;
    }
  }
}
"""


def take_turns(runs: dict[str, Callable[[], object]], seconds: float) -> Times:
    """Milliseconds of the best run and the median, by name."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end, rounds = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or rounds < 2:
        rounds += 1
        for name, run in runs.items():
            begin = time.perf_counter()
            for _ in range(BURST):
                start = time.perf_counter()
                run()
                stop = time.perf_counter()
                times[name].append(1000 * (stop - start))
                if stop - begin > SLOW:
                    break
    return {n: (min(found), statistics.median(found)) for n, found in times.items()}


def forced(path: str, run: Callable[[], object]) -> Callable[[], object]:
    """Run with one implementation forced."""

    def forced_run() -> object:
        os.environ["MEDURWKV_KERNELS"] = path
        try:
            return run()
        finally:
            os.environ["MEDURWKV_KERNELS"] = ""

    return forced_run


def addresses(*tensors: Tensor) -> list[int]:
    return [x.data_ptr() for x in tensors]


def build_serial() -> ctypes.CDLL | None:
    """Compile the serial loop, if there is a compiler."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "serial.cpp", Path(folder) / "serial.so"
        source.write_text(SERIAL, encoding="utf-8")
        command = ["c++", "-O3", "-fopenmp", "-shared", "-fPIC", str(source)]
        try:
            subprocess.run([*command, "-o", str(library)], check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return ctypes.CDLL(str(library))


def inputs(shape: tuple[int, int, int]) -> list[Tensor]:
    """Decay and first as networks start with them; keys and values of deviation 1."""
    _, tokens, channels = shape
    generator = torch.Generator().manual_seed(0)
    place = torch.arange(channels) / (channels - 1)
    w = (-5 + 8 * place**1.3) / tokens
    u = torch.randn(channels, generator=generator) / tokens
    k, v = (torch.randn(shape, generator=generator) for _ in range(2))
    return [w, u, k, v]


def bi_wkv_runs(
    shape: tuple[int, int, int], serial: ctypes.CDLL | None
) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """Forward and backward passes to time."""
    w, u, k, v = inputs(shape)
    grad, out, gk, gv, total = (torch.randn(shape) for _ in range(5))
    gw, gu = torch.empty((2, shape[0], shape[2]), dtype=torch.float64)
    _ALIVE.extend((w, u, k, v, grad, out, gk, gv, gw, gu))
    y = bi_wkv(w, u, k, v)
    threads = torch.get_num_threads()
    copy: dict[str, Callable[[], object]] = {
        "triad": lambda: torch.add(k, v, out=total)
    }
    forward, backward = dict(copy), dict(copy)
    best = _native.load()
    for level in () if isinstance(best, str) else range(best.level + 1):
        native = _native.NativeKernels(ctypes.CDLL(str(_native.LIBRARY)), level)
        ahead = native._forward[torch.float32]
        back = native._backward[torch.float32]
        there = addresses(w, u, k, v, out)
        here = addresses(grad, w, u, k, v, y, gw, gu, gk, gv)
        name = f"{native.instruction_set} kernel"
        forward[name] = partial(ahead, level, threads, *shape, 0, *there)
        backward[name] = partial(back, level, threads, *shape, *here)
    operator = torch.ops.medurwkv.bi_wkv_backward
    _ALIVE.append(y)
    paths = ("portable",) if isinstance(best, str) else ("native", "portable")
    for path in paths:
        forward[f"{path} operator"] = forced(path, lambda: bi_wkv(w, u, k, v))
        backward[f"{path} operator"] = forced(
            path, lambda: operator(grad, w, u, k, v, y)
        )
    forward[f"{paths[0]}, 32 segments"] = lambda: bi_wkv(w, u, k, v, 32)
    if serial is not None:
        sizes = [ctypes.c_long(n) for n in shape]
        arrays = [ctypes.c_void_p(a) for a in addresses(w, u, k, v, out)]
        forward["serial C++"] = lambda: serial.serial(*sizes, *arrays, threads)
    return forward, backward


def serial_wkv6(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """One token after the other, in torch."""
    shape = (*k.shape[:2], *u.shape)
    r, k, v, d = (x.view(shape) for x in (r, k, v, torch.exp(-torch.exp(w))))
    y = torch.zeros_like(v)
    for places in (range(shape[1] - 1, -1, -1), range(shape[1])):
        state = k.new_zeros((shape[0], shape[2], shape[3], shape[3]))
        for t in places:
            y[:, t] += torch.einsum("bhj,bhji->bhi", r[:, t], state)
            outer = k[:, t, :, :, None] * v[:, t, :, None]
            state = d[:, t, :, :, None] * state + outer
    return (y + (r * u * k).sum(-1, keepdim=True) * v).view(*shape[:2], -1)


def other_tables(seconds: float) -> list[Table]:
    """WKV6 and the shifted mix."""
    generator = torch.Generator().manual_seed(1)
    sixth: dict[str, Times] = {}
    for tokens in (196, 1024, 4096):
        drawn = torch.randn((5, 1, tokens, 192), generator=generator).unbind(0)
        arguments = (*drawn[:4], torch.randn(3, 64, generator=generator))
        grad = drawn[4]
        runs = {
            f"{path} {name}": forced(path, run)
            for path in ("native", "portable")
            for name, run in (
                ("forward", lambda a=arguments: wkv6(*a)),
                (
                    "backward",
                    partial(torch.ops.medurwkv.wkv6_backward, grad, *arguments),
                ),
            )
        }
        runs["token-serial torch"] = lambda a=arguments: serial_wkv6(*a)
        sixth[f"(1, {tokens}, 192)"] = take_turns(runs, seconds)
    mixed: dict[str, Times] = {}
    for batch, side, channels in ((1, 14, 192), (1, 32, 192), (4, 32, 192)):
        x = torch.randn((batch, side * side, channels), generator=generator)
        factors = tuple(torch.rand(3, channels, generator=generator).unbind(0))
        both = torch.empty((4, *x.shape))
        for name, heads in (("", 1), (", 3 heads", 3)):
            mix = [
                forced(
                    path,
                    lambda x=x, f=factors, s=side, h=heads: shift_mix(
                        x, (s, s), f, heads=h
                    ),
                )
                for path in ("native", "portable")
            ]
            copies = lambda b=both: b[:2].copy_(b[2:])  # noqa: E731
            mixed[f"({batch}, {side}x{side}, {channels}){name}"] = take_turns(
                {"native": mix[0], "portable": mix[1], "copy of the bytes": copies},
                seconds / 2,
            )
    return [
        ("WKV6, float32, heads of 64", sixth),
        ("Shift and three mixes", mixed),
    ]


def bars(tables: list[Table]) -> list[str]:
    """Compare with the bars, by best runs."""
    forward, backward, sixth = (dict(tables[i][1]) for i in (0, 1, 3))
    first, second = forward["(1, 4096, 192)"], forward["(4, 1024, 384)"]
    kernel = f"{_native.LEVELS[_native.load().level]} kernel"  # type: ignore[union-attr]
    ratios = [
        first["portable operator"][i] / first["native operator"][i] for i in (0, 1)
    ]
    bandwidth = 100 * second["triad"][0] / second[kernel][0]
    lines = [
        f"- native operator over portable at (1, 4096, 192): {ratios[0]:.1f} by best"
        f" runs, {ratios[1]:.1f} by medians; the bar is 15",
        f"- kernel at (4, 1024, 384): {bandwidth:.0f} %"
        " of the bandwidth of the sum of two arrays there; the bar is 35 %",
    ]
    for shape in map(str, SHAPES):
        times = [
            backward[shape][kernel][0] / forward[shape][kernel][0],
            forward[shape]["native, 32 segments"][0]
            / forward[shape]["native operator"][0],
        ]
        lines.append(
            f"- {shape}: backward {times[0]:.1f} times the forward (bar 4), 32 segments"
            f" {times[1]:.1f} times as long as none (bar 1.6)"
        )
    for shape, times6 in sixth.items():
        ratio = times6["token-serial torch"][0] / times6["native forward"][0]
        lines.append(f"- WKV6 {shape}: {ratio:.0f} times a token-serial loop (bar 10)")
    return lines


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def written(title: str, rows: dict[str, Times]) -> list[str]:
    names = list(next(iter(rows.values())))
    lines = ["", f"## {title}", "", "| shape | " + " | ".join(names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for shape, times in rows.items():
        cells = (f"{times[n][0]:.3f} / {times[n][1]:.3f}" for n in names)
        lines.append(f"| {shape} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["MEDURWKV_KERNELS"] = ""
    about: dict[str, object] = {
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "threads": options.threads,
        "native": backend_for("cpu").reason,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    serial = build_serial()
    forward: dict[str, Times] = {}
    backward: dict[str, Times] = {}
    errors = []
    with torch.inference_mode():
        for shape in SHAPES:
            ahead, back = bi_wkv_runs(shape, serial)
            forward[str(shape)] = take_turns(ahead, options.seconds)
            backward[str(shape)] = take_turns(back, options.seconds)
            arguments = inputs(shape)
            exact = bi_wkv_reference(*arguments)
            error = float((bi_wkv(*arguments) - exact).abs().max())
            errors.append(f"{shape}: {error:.1e}")
        others = other_tables(options.seconds)
    about["load average"] = round(os.getloadavg()[0], 1)
    tables = [
        ("Bi-WKV forward, float32", forward),
        ("Bi-WKV backward, float32", backward),
        others[1],
        others[0],
    ]
    lines = ["# Operators on the CPU", ""]
    lines.append("; ".join(f"{key}: {value}" for key, value in about.items()))
    lines += ["", "Milliseconds, best run / median; what the columns are is told in"]
    lines.append("benchmarks/kernels.py.")
    for title, rows in tables:
        lines += written(title, rows)
    lines += ["", "Largest error against float64: " + ", ".join(errors), ""]
    lines += bars(tables)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**about, "tables": dict(tables), "errors": errors}, indent=2)
    (RESULTS / "kernels-cpu.json").write_text(text + "\n", encoding="utf-8")
    (RESULTS / "kernels-cpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    if torch.cuda.is_available():
        subprocess.run([sys.executable, str(HERE / "kernels_gpu.py")], check=True)


if __name__ == "__main__":
    main()
