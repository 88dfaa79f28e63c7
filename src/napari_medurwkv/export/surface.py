"""Surfaces of each class in world coordinates, for printing and 3D viewers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import OutputError
from napari_medurwkv.export.mask import volume_grid
from napari_medurwkv.io import Output
from napari_medurwkv.measure.surfaces import bounding_box

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints.card import ClassInfo
    from napari_medurwkv.export.mask import ExportMask, ExportOptions

__all__ = ["mesh_files", "mesh_outputs", "surface_of"]

MOST_FILES = 200
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def surface_of(
    inside: NDArray[np.bool_], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Lay a closed surface around a mask, half-way between inside and outside.

    Parameters
    ----------
    inside : (I, J, K) ndarray of bool
        Beyond the array everything is outside.
    affine : (4, 4) ndarray
        Index to world.

    Returns
    -------
    vertices : (n, 3) float64 ndarray
        In the world.
    faces : (m, 3) int64 ndarray
        Counter-clockwise seen from outside, whatever the affine's handedness.
    """
    from skimage.measure import marching_cubes

    box = bounding_box(inside)
    if box is None:
        return np.empty((0, 3)), np.empty((0, 3), np.int64)
    cropped = np.pad(inside[box], 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(cropped, 0.5)
    index = vertices.astype(np.float64) - 1 + [part.start for part in box]
    world = index @ affine[:3, :3].T + affine[:3, 3]
    faces = faces.astype(np.int64)
    corners = world[faces] - world.mean(axis=0)
    volume = np.einsum(
        "ni,ni->n", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])
    )
    return world, faces if volume.sum() > 0 else faces[:, ::-1]


def mesh_files(mask: ExportMask, stem: Path, ending: str) -> list[Path]:
    """Name the files: one a class for STL and PLY, one for all in OBJ and GLB."""
    if ending in (".obj", ".glb"):
        return [stem.with_name(stem.name + ending)]
    return [_file_of(stem, info, ending) for info in _present(mask)]


def mesh_outputs(
    mask: ExportMask, stem: Path, ending: str, options: ExportOptions
) -> list[Output]:
    """Describe the files of a mask's surfaces, in mm.

    Parameters
    ----------
    mask : ExportMask
        3D.
    stem : Path
        Target without its ending.
    ending : str
        ".stl", ".ply", ".obj" or ".glb".
    options : ExportOptions
        LPS or RAS.

    Raises
    ------
    OutputError
        If the mask is empty, or has more objects than anybody wants files.
    """
    present = _present(mask)
    if not present:
        raise OutputError("The mask is empty, so it has no surface.")
    if ending in (".stl", ".ply") and len(present) > MOST_FILES:
        raise OutputError(
            f"{len(present)} files would be written: choose .obj or .glb, which hold "
            "all surfaces in one."
        )
    array, affine = volume_grid(mask.labels, mask.geometry)
    if options.space == "RAS":
        affine = _LPS_TO_RAS @ affine
    if ending in (".stl", ".ply"):
        single = _stl if ending == ".stl" else _ply
        return [
            _output(
                _file_of(stem, info, ending),
                [(info, *surface_of(array == info.value, affine))],
                single,
                options.space,
            )
            for info in present
        ]
    parts = [(info, *surface_of(array == info.value, affine)) for info in present]
    together = _obj if ending == ".obj" else _glb
    path = stem.with_name(stem.name + ending)
    return [_output(path, parts, together, options.space)]


Part = tuple["ClassInfo", "NDArray[np.float64]", "NDArray[np.int64]"]


def _output(
    path: Path,
    parts: list[Part],
    encode: Callable[[list[Part], str], bytes],
    space: str,
) -> Output:
    content = encode(parts, space)

    def write(part: Path) -> None:
        part.write_bytes(content)

    def check(part: Path) -> None:
        if part.read_bytes() != content or not _as_meant(part, parts):
            raise OutputError(
                f"{path} did not come back from the disk as written: check the disk, "
                "or choose another folder."
            )

    return Output(path, write, check)


def _as_meant(path: Path, parts: list[Part]) -> bool:
    """Read the surfaces back and compare how many faces they have, and where."""
    import trimesh

    scene = trimesh.load_scene(path, process=False)
    count = sum(len(mesh.faces) for mesh in scene.geometry.values())
    corners = np.concatenate([vertices for _, vertices, _ in parts])
    meant = np.array([corners.min(axis=0), corners.max(axis=0)])
    size = float(np.abs(meant).max())
    return count == sum(len(faces) for _, _, faces in parts) and bool(
        np.allclose(scene.bounds, meant, rtol=0, atol=1e-5 * max(size, 1.0))
    )


def _mesh(part: Part) -> Any:
    import trimesh

    info, vertices, faces = part
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.visual.face_colors = [*_rgb(info), 255]
    return mesh


def _stl(parts: list[Part], space: str) -> bytes:
    """Binary STL; its 80 free bytes say which world, as 3D Slicer looks for it."""
    content = bytes(_mesh(parts[0]).export(file_type="stl"))
    return f"napari-medurwkv SPACE={space} mm".encode().ljust(80) + content[80:]


def _ply(parts: list[Part], space: str) -> bytes:
    _, vertices, faces = parts[0]
    red, green, blue = _rgb(parts[0][0])
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment napari-medurwkv SPACE={space} mm",
        f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {color}" for color in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    points = np.zeros(len(vertices), [("place", "<f4", 3), ("color", "u1", 3)])
    points["place"], points["color"] = vertices, (red, green, blue)
    corners = np.zeros(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    corners["count"], corners["corners"] = 3, faces
    return "\n".join([*header, ""]).encode() + points.tobytes() + corners.tobytes()


def _obj(parts: list[Part], space: str) -> bytes:
    lines = [f"# napari-medurwkv SPACE={space} mm"]
    first = 1
    for info, vertices, faces in parts:
        lines.append(f"o {_plain(info.name)}")
        lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in vertices]
        lines += [f"f {a} {b} {c}" for a, b, c in faces + first]
        first += len(vertices)
    return ("\n".join(lines) + "\n").encode()


def _glb(parts: list[Part], space: str) -> bytes:
    """One named and coloured node a class; coordinates are mm, not glTF's metres."""
    import trimesh

    scene = trimesh.Scene(metadata={"SPACE": space, "unit": "mm"})
    for part in parts:
        name = f"{part[0].value} {part[0].name}"
        mesh = _mesh(part)
        mesh.visual = trimesh.visual.TextureVisuals(
            material=trimesh.visual.material.PBRMaterial(
                name=name,
                baseColorFactor=[*_rgb(part[0]), 255],
                metallicFactor=0.0,
                roughnessFactor=0.8,
            )
        )
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    return bytes(scene.export(file_type="glb"))


def _present(mask: ExportMask) -> list[ClassInfo]:
    present = set(np.unique(mask.labels).tolist())
    return [info for info in mask.segments if info.value in present]


def _file_of(stem: Path, info: ClassInfo, ending: str) -> Path:
    return stem.with_name(f"{stem.name}_{info.value}_{_plain(info.name)}{ending}")


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_") or "segment"


def _rgb(info: ClassInfo) -> tuple[int, int, int]:
    red, green, blue = (int(info.color[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue
