"""Time loading a Med-URWKV tiny against reading its bytes, and examining a large file.

Run ``python benchmarks/loading.py``; it writes a table to the standard output. Best of
many repetitions, in wall and in processor time, after the imports.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.checkpoints import load_model, read_card, save_checkpoint
from napari_medurwkv.checkpoints.digest import file_digest
from napari_medurwkv.checkpoints.examine import examine
from napari_medurwkv.checkpoints.lookup import find
from napari_medurwkv.models import create_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medurwkv.checkpoints import Model

REPEATS = 20


def best(
    work: Callable[[], object], after: Callable[[Any], object] = lambda made: None
) -> tuple[float, float]:
    """Return the least wall and processor time, in ms; `after` is not counted."""
    wall, processor = [], []
    for _ in range(REPEATS):
        start, used = time.perf_counter(), time.process_time()
        made = work()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
        after(made)
    return 1e3 * min(wall), 1e3 * min(processor)


def first_time(path: Path) -> Model:
    """Load a file whose digest is not known yet: its time is new."""
    os.utime(path)
    return load_model(path)


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    card = read_card(find("nuclei").path)
    network = create_model("med_urwkv_tiny", num_classes=len(card.output_values))
    card = card.model_copy(
        update={"architecture": "med_urwkv_tiny", "config": network.config.to_dict()}
    )
    path = save_checkpoint(folder / "t.safetensors", network, card, dtype="float32")
    half = save_checkpoint(folder / "h.safetensors", network, card)
    large = folder / "large.pth"
    torch.save({"state_dict": create_model("upernet_vrwkv_base").state_dict()}, large)
    load_model(path)  # what is imported on the way
    load_model(half)
    read, load = best(path.read_bytes), best(lambda: load_model(path))
    # A thread goes on hashing; the next load is to begin without one beside it.
    first = best(lambda: first_time(path), lambda model: model.sha256)
    whole = best(lambda: first_time(path).sha256)
    read_half, load_half = best(half.read_bytes), best(lambda: load_model(half))
    start = time.perf_counter()
    examine(large)
    looked = time.perf_counter() - start
    file_digest(large)
    hashed = time.perf_counter() - start
    print(f"{date.today()}, {platform.processor() or platform.machine()}, ", end="")
    print(f"Python {platform.python_version()}, torch {torch.__version__}\n")
    print("| what | wall, ms | processor, ms |\n|---|---|---|")
    size = path.stat().st_size / 1e6
    print(f"| read {size:.1f} MB | {read[0]:.1f} | {read[1]:.1f} |")
    print(f"| load the network, digest known | {load[0]:.1f} | {load[1]:.1f} |")
    print(f"| ratio | {load[0] / read[0]:.2f} | {load[1] / read[1]:.2f} |")
    print(f"| load it the first time | {first[0]:.1f} | {first[1]:.1f} |")
    print(f"| ratio | {first[0] / read[0]:.2f} | {first[1] / read[1]:.2f} |")
    print(f"| until its SHA-256 is there as well | {whole[0]:.1f} | {whole[1]:.1f} |")
    size = half.stat().st_size / 1e6
    print(f"| read {size:.1f} MB, half precision | {read_half[0]:.1f} |", end="")
    print(f" {read_half[1]:.1f} |")
    print(f"| load that, to float32 | {load_half[0]:.1f} | {load_half[1]:.1f} |")
    size = large.stat().st_size / 1e6
    print(f"\nExamine {size:.0f} MB: {looked:.2f} s; with its SHA-256 {hashed:.2f} s.")


if __name__ == "__main__":
    main()
