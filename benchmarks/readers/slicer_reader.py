"""Read volumes with 3D Slicer's own code, for world_positions.py.

Runs in an environment of its own (pip install slicer-core numpy): arguments are a
folder to write to and the files; for each an .npz with voxels (i, j, k) and index to
RAS.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import slicer
import vtkmodules.all as vtk
from vtkmodules.util.numpy_support import vtk_to_numpy


def read(path: Path):
    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLScalarVolumeNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(storage)
    first = min(path.glob("*.dcm")) if path.is_dir() else path
    storage.SetFileName(str(first))
    storage.SetCenterImage(0)
    storage.SetSingleFile(0 if path.is_dir() else 1)
    if not storage.ReadData(node) or node.GetImageData() is None:
        raise RuntimeError("Slicer does not read it")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    affine = [[matrix.GetElement(i, j) for j in range(4)] for i in range(4)]
    data = node.GetImageData()
    values = vtk_to_numpy(data.GetPointData().GetScalars())
    return values.reshape(data.GetDimensions(), order="F"), np.array(affine)


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
