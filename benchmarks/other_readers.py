"""Do other people's programs see our masks where the images are? Written, then read.

Two steps, because 3D Slicer's readers want an environment of their own:

    python benchmarks/other_readers.py write FOLDER IMAGE...
    other/bin/python benchmarks/other_readers.py check FOLDER

The first runs where this package is installed and writes a mask of each image as
NIfTI, ``.seg.nrrd`` and, of DICOM images, DICOM SEG. The second needs numpy, nibabel,
SimpleITK, picsl-c3d, slicer-core and dcmqi (pip), and nifti_tool and dciodvfy (Debian's
nifti-bin and dicom3tools); it compares voxels and the world positions of the grid's
corners.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NEAR = 0.01
"""Positions in mm that differ by less are the same."""


def write(folder: Path, images: list[Path]) -> None:
    from napari_medurwkv.errors import MedurwkvError
    from napari_medurwkv.export import ExportMask, export_mask
    from napari_medurwkv.io import frame_count, read_image

    cases = []
    for path in images:
        # Without digits: 3D Slicer takes numbered files for slices of one volume.
        name = "".join(c if c.isalpha() else "-" for c in path.name)
        while any(case["name"] == name for case in cases):
            name += "x"
        try:
            frame = 0 if frame_count(path) > 1 else None
            image = read_image(path, frame=frame)
            if image.rgb or image.geometry.kind != "patient":
                print(f"{path.name}: no anatomy, left out")
                continue
            low, high = np.quantile(image.array.astype(float), (0.5, 0.8))
            bright = (image.array > low).astype(np.uint8)
            labels = bright + 3 * (image.array > high).astype(np.uint8)
            keys = ["nifti", "seg-nrrd"]
            if image.geometry.source.dicom is not None:
                keys.append("dicom-seg")
            stem = folder / name
            mask = ExportMask(labels, image.geometry)
            export_mask(mask, keys, stem, overwrite=True)
        except MedurwkvError as error:
            print(f"{path.name}: {error}")
            continue
        grid = {"source": image.geometry.to_source(labels)}
        np.savez(folder / f"{name}.npz", affine=image.geometry.affine, **grid)
        cases.append({"name": name, "formats": keys})
    (folder / "cases.json").write_text(json.dumps(cases, indent=1))
    print(f"{len(cases)} masks in {folder}")


def check(folder: Path) -> int:
    problems, worst = [], {}
    cases = json.loads((folder / "cases.json").read_text())
    for case in cases:
        stem = folder / case["name"]
        with np.load(f"{stem}.npz") as stored:
            source, affine = stored["source"], stored["affine"].copy()
        if source.ndim == 2:
            source = source[..., None]
            normal = np.cross(affine[:3, 0], affine[:3, 1])
            affine[:3, 2] = normal / np.linalg.norm(normal)
        for name, look in READERS.items():
            try:
                apart = look(stem, source, affine, case["formats"])
            except Exception as error:  # other people's readers raise anything
                problems.append(f"{case['name']}: {name}: {str(error)[-120:]}")
                continue
            worst[name] = max(worst.get(name, 0.0), apart)
            if apart > NEAR:
                problems.append(f"{case['name']}: {name}: {apart:.3g} mm apart")
    print(json.dumps({"masks": len(cases), "largest distance, mm": worst}, indent=1))
    print("\n".join(problems) or "no difference")
    return len(problems)


def corners(affine, shape) -> np.ndarray:
    ends = np.array([np.multiply(c, np.array(shape) - 1) for c in np.ndindex(2, 2, 2)])
    return ends @ affine[:3, :3].T + affine[:3, 3]


def compare(found, place, source, affine) -> float:
    if not np.array_equal(np.reshape(found, source.shape), source):
        raise ValueError("other voxels")
    return float(
        np.abs(corners(place, source.shape) - corners(affine, source.shape)).max()
    )


def itk_place(image) -> np.ndarray:
    place = np.eye(4)
    place[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    place[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ place


def with_simpleitk(ending):
    def look(stem, source, affine, formats) -> float:
        import SimpleITK as sitk

        image = sitk.ReadImage(f"{stem}{ending}")
        return compare(
            sitk.GetArrayFromImage(image).T, itk_place(image), source, affine
        )

    return look


def with_nibabel(stem, source, affine, formats) -> float:
    import nibabel

    image = nibabel.load(f"{stem}.nii.gz")
    same_axes = image.shape == source.shape
    place = image.affine if same_axes else affine
    return compare(np.asarray(image.dataobj), place, source, affine)


def with_c3d(stem, source, affine, formats) -> float:
    import SimpleITK as sitk
    from picsl_c3d import Convert3D

    program = Convert3D()
    program.execute(f"{stem}.nii.gz -as X")
    image = program.peek(-1)
    values = np.rint(sitk.GetArrayFromImage(image).T).astype(int)
    return compare(values, itk_place(image), source, affine)


def with_slicer(stem, source, affine, formats) -> float:
    """Read as 3D Slicer does; it may flip slices, so only the world is compared."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLLabelMapVolumeNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(f"{stem}.nii.gz")
    storage.SetCenterImage(0)
    if storage.ReadData(node) != 1:
        raise ValueError("cannot read it")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    place = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    size = node.GetImageData().GetDimensions()
    scalars = node.GetImageData().GetPointData().GetScalars()
    values = vtk_to_numpy(scalars).reshape(size[::-1]).T
    index = np.argwhere(source == source.max())[:1000]
    world = np.c_[index @ affine[:3, :3].T + affine[:3, 3], np.ones(len(index))]
    back = world @ np.linalg.inv(place).T
    nearest = np.rint(back[:, :3]).astype(int)
    if not (values[tuple(nearest.T)] == source.max()).all():
        raise ValueError("other voxels")
    return float(np.abs((back[:, :3] - nearest) @ place[:3, :3].T).max(initial=0))


def with_slicers_segmentations(stem, source, affine, formats) -> float:
    import slicer

    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(f"{stem}.seg.nrrd")
    if storage.ReadData(node) != 1:
        raise ValueError("cannot read it")
    segments = node.GetSegmentation()
    names = [
        segments.GetNthSegment(i).GetName()
        for i in range(segments.GetNumberOfSegments())
    ]
    if names != [f"value {value}" for value in np.unique(source) if value]:
        raise ValueError(f"other names: {names}")
    return 0.0


def with_nifti_tool(stem, source, affine, formats) -> float:
    command = ["nifti_tool", "-check_hdr", "-infiles", f"{stem}.nii.gz"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "IS GOOD" not in done.stdout + done.stderr:
        raise ValueError("header is not good")
    return 0.0


def with_dciodvfy(stem, source, affine, formats) -> float:
    if "dicom-seg" not in formats:
        return 0.0
    done = subprocess.run(
        ["dciodvfy", "-new", f"{stem}.dcm"], capture_output=True, text=True
    )
    errors = [
        s for s in (done.stdout + done.stderr).splitlines() if s.startswith("Error")
    ]
    if errors:
        raise ValueError(errors[0])
    return 0.0


def with_dcmqi(stem, source, affine, formats) -> float:
    if "dicom-seg" not in formats:
        return 0.0
    import SimpleITK as sitk

    program = Path(sys.executable).with_name("segimage2itkimage")
    farthest = 0.0
    with tempfile.TemporaryDirectory() as out:
        command = [
            program,
            "--inputDICOM",
            f"{stem}.dcm",
            "--outputDirectory",
            out,
            "-t",
            "nii",
        ]
        subprocess.run(command, check=True, capture_output=True)
        values = [value for value in np.unique(source) if value]
        for number, value in enumerate(values, start=1):
            image = sitk.ReadImage(str(Path(out) / f"{number}.nii.gz"))
            inside = sitk.GetArrayFromImage(image).T > 0
            apart = compare(inside, itk_place(image), source == value, affine)
            farthest = max(farthest, apart)
    return farthest


READERS = {
    "nibabel": with_nibabel,
    "SimpleITK, NIfTI": with_simpleitk(".nii.gz"),
    "SimpleITK, seg.nrrd": with_simpleitk(".seg.nrrd"),
    "Convert3D": with_c3d,
    "3D Slicer, NIfTI": with_slicer,
    "3D Slicer, seg.nrrd": with_slicers_segmentations,
    "nifti_tool": with_nifti_tool,
    "dciodvfy": with_dciodvfy,
    "dcmqi": with_dcmqi,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("step", choices=("write", "check"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=Path, nargs="*")
    words = parser.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    if words.step == "write":
        write(words.folder, words.images)
    else:
        sys.exit(check(words.folder) > 0)


if __name__ == "__main__":
    main()
