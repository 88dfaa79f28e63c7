"""Compare where other people's readers put the same voxels in the world.

Each file is read by this program, nibabel, SimpleITK and, where their Pythons are
given, 3D Slicer (slicer-core) and Convert3D (picsl-c3d). All voxels are compared where
both readers say they are, so that neither order nor direction of axes matters.

    python benchmarks/world_positions.py FILE_OR_FOLDER ...
        [--slicer-python PY] [--c3d-python PY] [--output results.md]
"""

from __future__ import annotations

import argparse
import datetime
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io import frame_count, read_image

HERE = Path(__file__).parent


def ours(path):
    count = frame_count(path)
    image = read_image(path, frame=None if count == 1 else 0)
    geometry = image.geometry
    return geometry.to_source(image.array), geometry


def by_nibabel(path):
    image = nib.load(path)
    values = np.asarray(image.dataobj)
    return values, image.affine


def by_simpleitk(path):
    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(path))
    n = image.GetDimension()
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(n, n)[:3, :3]
    affine[:3, :3] = directions * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ affine


def compare(values, affine, other, other_affine):
    """Return the largest distance in mm, and how many voxels differ."""
    other = other.reshape(*other.shape[:3], -1)[..., 0] if other.ndim > 3 else other
    shape = np.array((*values.shape, 1)[:3])
    values = values.reshape(shape)
    other = other.reshape((*other.shape, 1)[:3])
    to_other = np.linalg.inv(other_affine) @ affine
    turn = np.round(to_other[:3, :3])
    start = np.round(to_other[:3, 3])
    exact = np.eye(4)
    exact[:3, :3], exact[:3, 3] = turn, start
    ends = np.array(np.meshgrid(*[[0, n - 1] for n in shape])).reshape(3, -1)
    ends = np.vstack([ends, np.ones(ends.shape[1])])
    apart = (affine @ ends - other_affine @ exact @ ends)[:3]
    distance = float(np.linalg.norm(apart, axis=0).max())
    if sorted(np.abs(turn).sum(axis=0)) != [1, 1, 1]:
        return distance, values.size
    axes = [int(np.argmax(np.abs(turn[:, axis]))) for axis in range(3)]
    turned = other.transpose(axes)
    turned = turned[
        tuple(slice(None, None, int(turn[a, i])) for i, a in enumerate(axes))
    ]
    if turned.shape != values.shape:
        return distance, values.size
    scale = max(1.0, float(np.abs(values).max()))
    same = np.abs(turned.astype(np.float64) - values) <= 1e-5 * scale
    return distance, int(values.size - np.count_nonzero(same))


def by_program(python, script, files, folder):
    """Let another environment read all files; numbered .npz, or nothing."""
    folder.mkdir()
    done = subprocess.run(
        [python, str(HERE / "readers" / script), str(folder), *map(str, files)],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    if done.returncode:
        sys.exit(f"{script} failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--slicer-python")
    parser.add_argument("--c3d-python")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    files = [path.absolute() for path in options.files]
    others = {"nibabel": by_nibabel, "SimpleITK": by_simpleitk}
    names = list(others)
    lines = []
    worst = 0.0
    with tempfile.TemporaryDirectory() as work:
        for name, python, script in (
            ("3D Slicer", options.slicer_python, "slicer_reader.py"),
            ("Convert3D", options.c3d_python, "c3d_reader.py"),
        ):
            if python:
                names.append(name)
                by_program(python, script, files, Path(work, name))
        for number, path in enumerate(files):
            try:
                values, geometry = ours(path)
            except ImageError as error:
                lines.append(f"| {path.name} | {error} |")
                continue
            cells = []
            for name in names:
                if name == "Convert3D" and frame_count(path) > 1:
                    cells.append("not compared: it joins frames in its own way")
                    continue
                try:
                    if name in others:
                        other, affine = others[name](path)
                    else:
                        with np.load(Path(work, name, f"{number}.npz")) as found:
                            other, affine = found["values"], found["affine"]
                except Exception:
                    cells.append("does not read it")
                    continue
                distance, differ = compare(values, geometry.affine, other, affine)
                worst = max(worst, distance if not differ else np.inf)
                cells.append(f"{distance:.1e} mm, {differ} differ")
            lines.append(
                f"| {path.name} | {geometry.orientation} | {' | '.join(cells)} |"
            )
    table = [
        f"| file | axes | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
        *lines,
    ]
    versions = ", ".join(f"{p} {version(p)}" for p in ("nibabel", "SimpleITK", "numpy"))
    text = "\n".join(
        [
            f"{datetime.date.today()}, {platform.machine()}, Python "
            f"{platform.python_version()}, {versions}",
            "",
            *table,
        ]
    )
    print(text)
    print(f"\nworst: {worst:.1e} mm")
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
