"""Whether masks lie where their images lie, for a brain stored in many orientations.

    python benchmarks/orientations.py ../shared/data/orientations/*.nii.gz

Each file is segmented and saved. The saved mask must have the image's shape, affine
and codes, read with nibabel alone. Files whose image is the same in the world and whose
working grid is the same must have the same mask there, voxel for voxel: each is brought
onto the first file's voxels by the two saved affines, without the project's geometry.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Saved:
    """An image and its saved mask, as nibabel reads them."""

    name: str
    image: nib.Nifti1Image
    mask: nib.Nifti1Image
    seconds: float
    device: str


def segment_file(path: Path, folder: Path, model: str) -> Saved:
    """Segment one file and save its mask."""
    from napari_medurwkv import segment
    from napari_medurwkv.io import write_labels

    result = segment(path, model, device="cpu")
    target = folder / f"{path.name.partition('.')[0]}_mask.nii.gz"
    write_labels(target, result.labels, result.geometry, classes=result.classes)
    return Saved(
        path.name.partition(".")[0],
        nib.load(path),
        nib.load(target),
        result.record.seconds,
        result.record.device_path[0],
    )


def grid_differences(saved: Saved) -> list[str]:
    """Name what of the image's grid the saved mask does not have."""
    image, mask = saved.image, saved.mask
    found = []
    if image.shape != mask.shape:
        found.append(f"shape {mask.shape} for {image.shape}")
    if not np.array_equal(image.affine, mask.affine):
        found.append("affine")
    for code in ("sform_code", "qform_code"):
        if int(image.header[code]) != int(mask.header[code]):
            found.append(code)
    for get in ("get_sform", "get_qform"):
        if not np.array_equal(getattr(image, get)(), getattr(mask, get)()):
            found.append(get[4:])
    return found


def on_voxels_of(target: Saved, other: nib.Nifti1Image) -> np.ndarray | None:
    """Bring an image onto the target's voxels; None where the grids do not coincide."""
    way = np.linalg.inv(other.affine) @ target.image.affine
    steps = np.rint(way[:3, :3])
    if not np.allclose(way[:3, :3], steps, atol=1e-3):
        return None
    index = np.indices(target.image.shape).reshape(3, -1)
    there = way[:3, :3] @ index + way[:3, 3:]
    whole = np.rint(there).astype(int)
    inside = (whole >= 0).all() and (whole.T < other.shape[:3]).all()
    # Headers hold single precision: a hundredth of a voxel over the whole image.
    if not inside or np.abs(there - whole).max() > 0.01:
        return None
    values = np.asarray(other.dataobj)[tuple(whole)]
    return values.reshape(target.image.shape)


def compare(first: Saved, other: Saved) -> tuple[bool, int | None]:
    """Return whether the images agree in the world, and how many mask voxels do not."""
    image = on_voxels_of(first, other.image)
    mask = on_voxels_of(first, other.mask)
    if image is None or mask is None:
        return False, None
    same = np.array_equal(image, np.asarray(first.image.dataobj))
    return same, int(np.count_nonzero(mask != np.asarray(first.mask.dataobj)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", default="brain-tissue")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        leaders: list[Saved] = []
        for path in arguments.files:
            saved = segment_file(path, Path(folder), arguments.model)
            grid = "; ".join(grid_differences(saved)) or "equal"
            worlds, differ = "no other file on these voxels", ""
            for leader in leaders:
                same, count = compare(leader, saved)
                if count is not None:
                    worlds = f"{'the' if same else 'not the'} image of {leader.name}"
                    differ = str(count)
                    break
            else:
                leaders.append(saved)
            voxels = int(np.count_nonzero(np.asarray(saved.mask.dataobj)))
            rows.append((saved, grid, worlds, differ, voxels))
            print(saved.name, grid, worlds, differ, f"{saved.seconds:.1f} s")
        lines = [
            "# Masks of a brain in many orientations",
            "",
            f"Made by `benchmarks/orientations.py` with {arguments.model}.",
            "",
            "| file | saved mask's shape, affine, codes | in the world it is | "
            "mask voxels that differ there | mask voxels | s |",
            "|---|---|---|---|---|---|",
            *(
                f"| {s.name} {'x'.join(map(str, s.image.shape))} "
                f"{''.join(nib.aff2axcodes(s.image.affine))} | {grid} | {worlds} "
                f"| {differ} | {voxels} | {s.seconds:.1f} |"
                for s, grid, worlds, differ, voxels in rows
            ),
            "",
            f"{rows[0][0].device}, {os.cpu_count()} cores, "
            f"{platform.platform()}, {time.strftime('%Y-%m-%d')}.",
        ]
    (arguments.output / "orientations.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
