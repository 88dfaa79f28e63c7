"""Whether a batch loses anything when it is ended by force.

    python benchmarks/batch.py --files 40 --kills 50

A batch of small pictures is ended with SIGKILL again and again, at random moments, and
started anew. After each end every mask that is there must be whole, and everything
that the worklist calls done must be there. Then the same pictures go to two workers of
a dask cluster on this computer, one of which is killed on the way. All masks must be
those of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"
SMALL = {
    "embed_dim": 16,
    "depth": 4,
    "conv_inplane": 8,
    "bottleneck_dim": 16,
    "decoder_dims": [16, 16, 16],
    "final_dim": 8,
    "num_classes": 2,
    "in_channels": 1,
}


def make_model(path: Path) -> Path:
    """Save a small network with random weights, so that a picture takes a moment."""
    import torch

    from napari_medurwkv.checkpoints import ModelCard, save_checkpoint
    from napari_medurwkv.models import create_model

    torch.manual_seed(0)
    card = ModelCard.model_validate(
        {
            "name": "small",
            "title": "Small",
            "version": "1",
            "description": "Random weights.",
            "limitations": "Everything.",
            "architecture": "med_urwkv_nano",
            "config": SMALL,
            "dimensions": 2,
            "modality": ["test"],
            "channels": [{"name": "grey"}],
            "intensity": {"scale": "dtype"},
            "patch_size": [64, 64],
            "activation": "softmax",
            "classes": [
                {"value": 0, "name": "background", "color": "#000000"},
                {"value": 1, "name": "something", "color": "#ff0000"},
            ],
            "output_values": [0, 1],
            "training_data": [],
            "metrics": [],
            "authors": ["Nobody"],
            "licence": "CC0-1.0",
            "date": datetime.date(2026, 1, 1),
        }
    )
    network = create_model("med_urwkv_nano", **SMALL)
    return save_checkpoint(path, network, card)


def make_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        picture = rng.integers(0, 256, (128, 128), np.uint8)
        iio.imwrite(folder / f"picture{i:02}.png", picture)


def run(source: Path, out: Path, model: Path, scheduler: str | None = None) -> None:
    """Run or go on with a batch, as the command does."""
    from napari_medurwkv.inference.batch import Places, run_batch
    from napari_medurwkv.inference.batch_item import Options
    from napari_medurwkv.inference.worklist import Journal, list_items, remove_leftovers

    items = list_items(source, out)
    journal = Journal(out)
    remove_leftovers(out)
    options = Options(str(model), "cpu")
    run_batch(items, journal, options, Places(scheduler=scheduler))


def read_masks(out: Path) -> dict[str, np.ndarray]:
    return {path.name: iio.imread(path) for path in sorted(out.glob("*_mask.png"))}


def check(out: Path, expected: dict[str, np.ndarray]) -> int:
    """Raise if a mask is not whole or one that is done is missing; count those done."""
    from napari_medurwkv.inference.worklist import Journal

    masks = read_masks(out) if out.is_dir() else {}
    for name, mask in masks.items():
        if not np.array_equal(mask, expected[name]):
            raise RuntimeError(f"{name} is not whole")
    entries = Journal(out)._entries.values() if out.is_dir() else ()
    for entry in entries:
        if entry.state != "done":
            raise RuntimeError(f"{entry.image} failed: {entry.reason}")
        if Path(entry.mask).name not in masks:
            raise RuntimeError(f"{entry.mask} is called done and is missing")
    return len(entries)


def kill_again_and_again(
    source: Path, out: Path, model: Path, expected: dict[str, np.ndarray], kills: int
) -> tuple[int, int]:
    """Return how often a running batch was killed, and how many rounds were begun."""
    from napari_medurwkv.inference.segmentation import segment  # noqa: F401 - warm

    rng = random.Random(0)
    killed = rounds = 0
    while killed < kills:
        rounds += 1
        if check(out, expected) == len(expected):
            for path in out.iterdir():
                path.unlink()
        # A fork is quicker than a new interpreter; torch has no threads yet.
        child = os.fork()
        if child == 0:
            try:
                run(source, out, model)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        time.sleep(rng.uniform(0.0, 0.6))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise RuntimeError("the batch ended with an error")
        killed += os.WIFSIGNALED(status)
    done_before = check(out, expected)
    child = os.fork()
    if child == 0:
        run(source, out, model)
        os._exit(0)
    if os.waitpid(child, 0)[1] or check(out, expected) != len(expected):
        raise RuntimeError("the last run did not complete the batch")
    if list(out.glob(".tmp-*")):
        raise RuntimeError("unfinished files were left behind")
    print(f"{killed} kills in {rounds} rounds; the last began with {done_before} done")
    return killed, rounds


def on_cluster(
    source: Path, out: Path, model: Path, expected: dict[str, np.ndarray]
) -> int:
    """Run on two workers and kill one on the way; return how many were done by then."""
    import threading

    from distributed import LocalCluster

    from napari_medurwkv.inference.worklist import Journal

    killed = []
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        victim = next(iter(cluster.workers.values())).pid

        def kill() -> None:
            while True:
                done = len(Journal(out)._entries) if out.is_dir() else 0
                if done >= len(expected) // 4:
                    os.kill(victim, signal.SIGKILL)
                    killed.append(done)
                    return
                time.sleep(0.02)

        threading.Thread(target=kill, daemon=True).start()
        run(source, out, model, cluster.scheduler_address)
    if check(out, expected) != len(expected):
        raise RuntimeError("the cluster lost a picture")
    if not killed or killed[0] == len(expected):
        raise RuntimeError("no worker was killed on the way")
    return killed[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--no-cluster", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "small.safetensors")
        make_pictures(folder / "pictures", arguments.files)
        # In a process of its own, so that this one stays without threads.
        child = os.fork()
        if child == 0:
            run(folder / "pictures", folder / "whole", model)
            os._exit(0)
        os.waitpid(child, 0)
        expected = read_masks(folder / "whole")
        if len(expected) != arguments.files:
            raise RuntimeError("the undisturbed batch is not complete")
        killed, rounds = kill_again_and_again(
            folder / "pictures", folder / "killed", model, expected, arguments.kills
        )
        lines = [
            "# Batches that are ended by force",
            "",
            f"Made by `benchmarks/batch.py`: {arguments.files} pictures.",
            "",
            f"* {killed} times ended with SIGKILL at random moments in {rounds} "
            "rounds: every mask that was there was whole, everything called done was "
            "there, the last run completed it, and no unfinished file was left.",
        ]
        if not arguments.no_cluster:
            at = on_cluster(folder / "pictures", folder / "cluster", model, expected)
            lines.append(
                f"* On two dask workers, one killed when {at} of {arguments.files} "
                "were done: all masks as one by one."
            )
    lines += [
        "",
        f"{os.cpu_count()} cores, {platform.platform()}, {time.strftime('%Y-%m-%d')}.",
    ]
    text = "\n".join(lines) + "\n"
    (arguments.output / "batch.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
