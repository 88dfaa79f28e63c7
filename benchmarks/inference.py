"""Sliding windows against MONAI's and nnU-Net's: time, memory and agreement.

    python benchmarks/inference.py

The network is one 1x1 convolution, so that what is measured is everything around a
network. Every case runs in a process of its own; all peers see the same network, the
same number and size of windows and two threads. Overhead is wall time less the time
inside the network. Peak memory is above what the process held when image and network
were there. nnU-Net takes part where nnunetv2 can be imported.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
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
import torch

RESULTS = Path(__file__).resolve().parent / "results"
CASES = {
    "256^3, patch 96^3": ((256, 256, 256), (96, 96, 96), 1),
    "4096^2, patch 512^2": ((4096, 4096), (512, 512), 3),
}
CLASSES = {"256^3, patch 96^3": (2, 14), "4096^2, patch 512^2": (2, 8)}
BARS = {  # overhead and memory, as parts of MONAI's
    ("256^3, patch 96^3", 2): (1 / 6, 1 / 2),
    ("256^3, patch 96^3", 14): (1 / 2, 1 / 2),
    ("4096^2, patch 512^2", 2): (1 / 5, 1 / 3),
    ("4096^2, patch 512^2", 8): (1 / 5, 1 / 3),
}
PEERS = ("napari-medurwkv", "MONAI", "MONAI, buffered", "nnU-Net")
OVERLAP = 0.5


class Timed(torch.nn.Module):
    """A 1x1 convolution that keeps the time."""

    def __init__(self, dimensions: int, channels: int, classes: int) -> None:
        super().__init__()
        kind = torch.nn.Conv3d if dimensions == 3 else torch.nn.Conv2d
        self.conv = kind(channels, classes, 1)
        self.seconds, self.cpu, self.windows = 0.0, 0.0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute, and count the windows."""
        begun, cpu = time.perf_counter(), time.process_time()
        y = self.conv(x)
        self.seconds += time.perf_counter() - begun
        self.cpu += time.process_time() - cpu
        self.windows += len(x)
        return y


class Peak:
    """The largest resident memory of this process while it runs."""

    def __enter__(self) -> Peak:
        gc.collect()
        self.base = self.most = _resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.most = max(self.most, _resident())

    @property
    def megabytes(self) -> float:
        """Above what was there at the start."""
        return (self.most - self.base) / 1e6


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def ours(image, patch, network, classes):
    from napari_medurwkv.inference.device import DeviceChoice
    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.inference.sliding import sliding_labels
    from napari_medurwkv.inference.windows import window_grid

    grid = window_grid(image.shape[1:], patch, OVERLAP)
    predictor = Predictor(network, DeviceChoice("cpu", "CPU", "cpu"), classes)
    values = np.arange(classes, dtype=np.uint8)
    return lambda: sliding_labels(image, grid, network, predictor, values)


def monai(image, patch, network, classes, **options):
    from monai.inferers import sliding_window_inference

    def run():
        logits = sliding_window_inference(
            image[None], patch, 1, network, overlap=OVERLAP, mode="gaussian", **options
        )
        return logits[0].argmax(0).to(torch.uint8).numpy()

    return run


def monai_buffered(image, patch, network, classes):
    return monai(image, patch, network, classes, buffer_steps=1, buffer_dim=0)


def nnunet(image, patch, network, classes):
    from types import SimpleNamespace

    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=1 - OVERLAP,
        use_gaussian=True,
        use_mirroring=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.network = network
    predictor.configuration_manager = SimpleNamespace(patch_size=patch)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=classes)
    # It takes pictures as volumes of one slice.
    volume = image if image.ndim == 4 else image[:, None]

    def run():
        logits = predictor.predict_sliding_window_return_logits(volume)
        return logits.argmax(0).to(torch.uint8).numpy().reshape(image.shape[1:])

    return run


MAKERS = dict(zip(PEERS, (ours, monai, monai_buffered, nnunet), strict=True))


def run_one(peer: str, case: str, classes: int, mask: Path) -> None:
    """Run one peer on one case; in a process of its own."""
    from napari_medurwkv.inference.heap import keep_freed_memory

    keep_freed_memory()  # as the engine process does it; here for all peers alike
    torch.set_num_threads(2)
    torch.manual_seed(0)
    shape, patch, channels = CASES[case]
    image = torch.rand(channels, *shape)
    network = Timed(len(shape), channels, classes)
    run = MAKERS[peer](image, patch, network, classes)
    with torch.inference_mode():
        network(image[(slice(None), *(slice(0, p // 2) for p in patch))][None])
        network.seconds, network.cpu, network.windows = 0.0, 0.0, 0
        with Peak() as peak:
            begun, cpu = time.perf_counter(), time.process_time()
            labels = run()
            wall = time.perf_counter() - begun
            cpu = time.process_time() - cpu
    np.save(mask, labels)
    overhead = 1000 * (wall - network.seconds) / network.windows
    print(
        json.dumps(
            {
                "wall_s": wall,
                "network_s": network.seconds,
                "windows": network.windows,
                "overhead_ms": overhead,
                "cpu_ms": 1000 * (cpu - network.cpu) / network.windows,
                "peak_mb": peak.megabytes,
            }
        )
    )


def measure(
    peer: str, case: str, classes: int, mask: Path, launcher: tuple[str, ...]
) -> dict:
    command = [
        *launcher,
        sys.executable,
        __file__,
        "--one",
        peer,
        case,
        str(classes),
        str(mask),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def compare(
    case: str,
    classes: int,
    rounds: int,
    peers: tuple[str, ...],
    launcher: tuple[str, ...],
) -> list[dict]:
    """Measure all peers on a case, in turns, and keep each one's median."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        masks = {peer: Path(folder) / f"{i}.npy" for i, peer in enumerate(peers)}
        runs: dict[str, list[dict]] = {peer: [] for peer in peers}
        for _ in range(rounds):
            for peer in peers:
                runs[peer].append(measure(peer, case, classes, masks[peer], launcher))
        own = np.load(masks[PEERS[0]])
        for peer in peers:
            # What else the computer does only ever adds time: the least counts.
            row = dict(min(runs[peer], key=lambda run: run["overhead_ms"]))
            row["cpu_ms"] = min(run["cpu_ms"] for run in runs[peer])
            row["peak_mb"] = max(run["peak_mb"] for run in runs[peer])
            differ = float(np.mean(np.load(masks[peer]) != own))
            rows.append({"peer": peer, **row, "differ": differ})
    return rows


def nnunet_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"nnunetv2 {version('nnunetv2')}, "
    except PackageNotFoundError:
        return ""


def as_markdown(results: dict, machine: str) -> str:
    lines = [
        "# Sliding windows: time around the network, and memory",
        "",
        "Made by `benchmarks/inference.py`; overlap 0.5, the network is one 1x1 "
        "convolution. Of several runs in turns the one with the least overhead; the "
        "largest peak. CPU time is that of all threads, which a busy computer changes "
        "less than wall time.",
        "",
        "| case | classes | engine | overhead per window, ms | of MONAI's (bar) "
        "| its CPU time, ms | of MONAI's "
        "| peak above image, MB | of MONAI's (bar) | wall, s (network, s) "
        "| mask voxels that differ from ours |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (case, classes), rows in results.items():
        peer = next(r for r in rows if r["peer"] == "MONAI")
        for row in rows:
            time_part = f"{row['overhead_ms'] / peer['overhead_ms']:.2f}"
            memory_part = f"{row['peak_mb'] / peer['peak_mb']:.2f}"
            if row["peer"] == PEERS[0]:
                time_bar, memory_bar = BARS[case, classes]
                time_part += f" ({time_bar:.2f})"
                memory_part += f" ({memory_bar:.2f})"
            lines.append(
                f"| {case} | {classes} | {row['peer']} | {row['overhead_ms']:.2f} "
                f"| {time_part} | {row['cpu_ms']:.2f} "
                f"| {row['cpu_ms'] / peer['cpu_ms']:.2f} "
                f"| {row['peak_mb']:.0f} | {memory_part} "
                f"| {row['wall_s']:.2f} ({row['network_s']:.2f}) "
                f"| {row['differ']:.1e} |"
            )
    return "\n".join([*lines, "", machine]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument(
        "--launcher", default="", help="a command to start every measured process with"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.one:
        peer, case, classes, mask = arguments.one
        run_one(peer, case, int(classes), Path(mask))
        return
    import monai

    from napari_medurwkv.inference.threads import patient_threads

    load = os.getloadavg()[0]
    # As the engine process and the command line do it; here for all peers alike.
    os.environ.update(patient_threads(os.environ))
    peers = tuple(
        peer
        for peer in arguments.peers
        if peer != "nnU-Net" or importlib.util.find_spec("nnunetv2")
    )
    results = {
        (case, classes): compare(
            case, classes, arguments.rounds, peers, tuple(arguments.launcher.split())
        )
        for case in CASES
        for classes in CLASSES[case]
    }
    machine = (
        f"{os.cpu_count()} cores, load {load:.1f} before the start, "
        f"torch {torch.__version__}, MONAI {monai.__version__}, {nnunet_version()}"
        f"{platform.platform()}, "
        f"{time.strftime('%Y-%m-%d')}."
    )
    text = as_markdown(results, machine)
    (arguments.output / "inference-cpu.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
