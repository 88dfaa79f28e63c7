"""Read volumes with Convert3D, of ITK-SNAP's authors, for world_positions.py.

Runs in an environment of its own (pip install picsl-c3d numpy): arguments are a folder
to write to and the files; for each an .npz with voxels (i, j, k) and index to RAS.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from picsl_c3d import Convert3D


def read(path: Path):
    program = Convert3D()
    said = io.StringIO()
    program.execute(
        f'"{path}" -info-full' if " " in str(path) else f"{path} -info-full", out=said
    )
    text = said.getvalue()
    block = text.split("Voxel->RAS x-form")[1].split(":", 1)[1]
    numbers = re.findall(r"-?\d+\.\d+", block)[:16]
    # Printed with five decimals only; the image object has all of them.
    printed = np.array([float(n) for n in numbers]).reshape(4, 4)
    image = program.peek(-1)
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = directions * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1, 1, 1]) @ affine
    if np.abs(affine - printed).max() > 1e-3:
        raise RuntimeError(f"its matrix {printed} is not that of its image {affine}")
    return sitk.GetArrayFromImage(image).T, affine


def main():
    out = Path(sys.argv[1])
    for number, name in enumerate(sys.argv[2:]):
        try:
            values, affine = read(Path(name))
        except Exception as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        np.savez(out / f"{number}.npz", values=values, affine=affine)


if __name__ == "__main__":
    main()
