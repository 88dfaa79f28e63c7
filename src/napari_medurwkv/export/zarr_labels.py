"""OME-Zarr label images: chunked, with a pyramid, names and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import OutputError
from napari_medurwkv.io import Output
from napari_medurwkv.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.export.mask import ExportMask

__all__ = ["pyramid_attributes", "zarr_output"]

SMALLEST = 128
"""Levels get smaller until no side is longer than this."""

_UNITS = {"mm": "millimeter", "um": "micrometer", "nm": "nanometer"}
_CHUNKS = {2: (512, 512), 3: (32, 256, 256)}


def zarr_output(mask: ExportMask, path: Path) -> Output:
    """Describe an OME-Zarr folder (NGFF 0.4) of a mask.

    The folder itself is a label image: multiscales, colours and names. The array is in
    display order with the voxel size; NGFF knows no anatomy, so orientation and place
    in the patient are lost.

    Parameters
    ----------
    mask : ExportMask
        What to write.
    path : Path
        Target; ends in ``.ome.zarr`` or ``.zarr``.
    """
    levels = _pyramid(np.asarray(mask.labels))

    def write(part: Path) -> None:
        import zarr

        group = zarr.open_group(part, mode="w", zarr_format=2)
        for index, level in enumerate(levels):
            array = group.create_array(
                str(index),
                shape=level.shape,
                dtype=level.dtype,
                chunks=tuple(
                    min(chunk, n)
                    for chunk, n in zip(_CHUNKS[level.ndim], level.shape, strict=True)
                ),
                chunk_key_encoding={"name": "v2", "separator": "/"},
                fill_value=0,
            )
            array[...] = level
        group.attrs.update(_attributes(mask, levels))

    def check(part: Path) -> None:
        import zarr

        group = zarr.open_group(part, mode="r")
        back = all(
            np.array_equal(group[str(index)][...], level)
            for index, level in enumerate(levels)
        )
        if not back or dict(group.attrs) != _attributes(mask, levels):
            raise OutputError(
                f"{path} did not come back from the disk as written: check the disk, "
                "or choose another folder."
            )

    return Output(path, write, check, folder=True)


def _pyramid(labels: NDArray[Any]) -> list[NDArray[Any]]:
    """Halve rows and columns, and slices where there are many: every second voxel."""
    levels = [labels]
    while max(levels[-1].shape[-2:]) > SMALLEST:
        last = levels[-1]
        levels.append(last[tuple(slice(None, None, step) for step in _step(last))])
    return levels


def _step(level: NDArray[Any]) -> tuple[int, ...]:
    return tuple(2 if n > SMALLEST else 1 for n in level.shape)


def _attributes(mask: ExportMask, levels: list[NDArray[Any]]) -> dict[str, Any]:
    return pyramid_attributes(mask, [_step(level) for level in levels])


def pyramid_attributes(
    mask: ExportMask, steps: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    """Describe a label image (NGFF 0.4).

    Parameters
    ----------
    mask : ExportMask
        Its geometry and classes; its labels are not looked at.
    steps : sequence of tuple of int
        For each level, how many of its voxels per axis make one of the next level.
    """
    geometry = mask.geometry
    unit = _UNITS.get(geometry.unit)
    axes: list[dict[str, str]] = [
        {"name": name, "type": "space"} for name in "zyx"[-geometry.ndim :]
    ]
    if unit is not None:
        axes = [axis | {"unit": unit} for axis in axes]
    datasets = []
    factors = [1] * geometry.ndim
    for index, step in enumerate(steps):
        scale = [
            float(size * factor)
            for size, factor in zip(geometry.display_spacing, factors, strict=True)
        ]
        datasets.append(
            {
                "path": str(index),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
        factors = [f * s for f, s in zip(factors, step, strict=True)]
    labels = [
        {"label-value": info.value, "rgba": [*_rgb(info.color), 255]}
        for info in mask.segments
    ]
    names = [{"label-value": info.value, "name": info.name} for info in mask.segments]
    facts: dict[str, Any] = {"version": __version__}
    if geometry.approximate:
        facts["geometry_approximate"] = geometry.approximate
    return {
        "multiscales": [
            {"version": "0.4", "name": "mask", "axes": axes, "datasets": datasets}
        ],
        "image-label": {"version": "0.4", "colors": labels, "properties": names},
        "medurwkv": facts,
    }


def _rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]
