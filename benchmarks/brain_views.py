"""Dice of a brain-tissue checkpoint on the template by one view and by three.

Run ``python benchmarks/brain_views.py [CHECKPOINT]``; the figures go to
``benchmarks/results/brain-views.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from pathlib import Path

import numpy as np
import torch

import napari_medurwkv as mu
from napari_medurwkv.training.template_cases import template_cases

RESULTS = Path(__file__).parent / "results"
VIEWS = (
    ("axial",),
    ("coronal",),
    ("sagittal",),
    ("axial", "coronal", "sagittal"),
)


def measure(model, device: str) -> list[dict[str, object]]:
    rows = []
    for case in template_cases():
        for views in VIEWS:
            found = mu.segment(case.image, model, device=device, views=views)
            dice = {}
            for info in model.card.foreground:
                a, b = found.labels == info.value, case.labels == info.value
                both = float(2 * np.sum(a & b) / (a.sum() + b.sum()))
                dice[info.name] = round(both, 4)
            rows.append(
                {
                    "case": case.name,
                    "views": list(views),
                    "dice": dice,
                    "windows": found.record.parameters["windows"],
                    "seconds": round(found.record.seconds, 1),
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default="brain-tissue")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    model = mu.load_model(given.checkpoint)
    rows = measure(model, given.device)
    about = {
        "checkpoint": model.path.name,
        "sha256": model.sha256,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, device {given.device}, "
        f"{torch.get_num_threads()} threads",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "brain-views.json").write_text(
        json.dumps({**about, "rows": rows}, indent=2) + "\n"
    )
    names = [info.name for info in model.card.foreground]
    lines = [
        "# brain-tissue by one view and by three",
        "",
        ", ".join(f"{key} {value}" for key, value in about.items()),
        "",
        "| case | views | " + " | ".join(f"Dice {n}" for n in names) + " | windows |",
        "|---" * (len(names) + 3) + "|",
    ]
    for row in rows:
        dice = " | ".join(f"{row['dice'][n]:.3f}" for n in names)
        views = "all three" if len(row["views"]) == 3 else row["views"][0]
        lines.append(f"| {row['case']} | {views} | {dice} | {row['windows']} |")
    lines += [
        "",
        "Windows are those that were computed; with slices of 3 mm, only the working",
        "planes that a slice lies between are. The network was trained on axial slices",
        "of synthetic brains; the other views alone are worse, most of all for small",
        "structures.",
    ]
    (given.output / "brain-views.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
