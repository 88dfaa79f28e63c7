"""What an engine's client asks for, and what it makes of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.inference.engine_protocol import Message, encode_region
from napari_medurwkv.inference.result import Segmentation, SliceFeatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.inference.further import Further
    from napari_medurwkv.io import Image

__all__ = [
    "DeviceReport",
    "features_request",
    "foresee_request",
    "segment_request",
    "take_features",
    "take_result",
]

Region = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """Where the engine will compute.

    Attributes
    ----------
    device : str
        torch's name of the device, for example "cuda:0".
    description : str
        The same for people, with the reason.
    requested : str
        What was asked for.
    torch : str
        Version of torch, with its build.
    kernels : str
        Which implementation of the RWKV operator runs there.
    kernels_reason : str
        Why that one, and why not a faster one.
    """

    device: str
    description: str
    requested: str
    torch: str
    kernels: str
    kernels_reason: str


def segment_request(
    image: Image,
    model: str | Path,
    *,
    device: str,
    overlap: float | None,
    instances: bool,
    region: Region | None,
    further: Further,
) -> Message:
    """Ask for a mask; where the arrays lie is still to be added.

    Parameters
    ----------
    image, model, device, overlap, instances, region, further
        As for `EngineClient.segment`.
    """
    shape = tuple(image.geometry.display_shape)
    return {
        "do": "segment",
        "image": {
            "geometry": image.geometry.to_json(),
            "rgb": image.rgb,
            "name": image.name,
            "notes": list(image.notes),
        },
        "model": _absolute(model),
        "device": device,
        "overlap": overlap,
        "instances": instances,
        "region": region and encode_region(region, shape),
        "tta": further.tta,
        "views": further.views,
        # Paths, where they are wanted.
        "probabilities": None,
        "uncertainty": None,
    }


def foresee_request(
    geometry: Geometry,
    dtype: np.dtype[Any],
    model: str | Path,
    *,
    rgb: bool,
    colours: int,
    device: str,
    overlap: float | None,
    instances: bool,
    region: Region | None,
    further: Further,
) -> Message:
    """Ask for a forecast; parameters as for `EngineClient.foresee`."""
    shape = tuple(geometry.display_shape)
    return {
        "do": "foresee",
        "image": {
            "geometry": geometry.to_json(),
            "rgb": rgb,
            "colours": colours,
            "dtype": dtype.str,
        },
        "model": _absolute(model),
        "device": device,
        "overlap": overlap,
        "instances": instances,
        "region": region and encode_region(region, shape),
        "tta": further.tta,
        "views": further.views,
    }


def features_request(
    paths: tuple[Path, Path, Path],
    model: str | Path,
    *,
    spacing: Sequence[float] | None,
    rgb: bool,
    device: str,
) -> Message:
    """Ask for the features of a slice.

    Parameters
    ----------
    paths : tuple of Path
        Where the picture lies, and where features and log odds shall lie.
    model, spacing, rgb, device
        As for `EngineClient.features`.
    """
    picture, maps, odds = (str(path) for path in paths)
    return {
        "do": "features",
        "picture": picture,
        "maps": maps,
        "odds": odds,
        "model": _absolute(model),
        "spacing": spacing and [float(s) for s in spacing],
        "rgb": rgb,
        "device": device,
    }


def take_features(answer: Message, paths: tuple[Path, Path, Path]) -> SliceFeatures:
    """Read what answers `features_request`; the files are free afterwards."""
    _, maps, odds = paths
    return SliceFeatures(np.load(maps), np.load(odds), tuple(answer["values"]))


def take_result(
    answer: Message,
    image: Image,
    out: NDArray[Any],
    probabilities: Path | None = None,
) -> Segmentation:
    """Make a result of the answer to `segment_request`.

    Parameters
    ----------
    answer : Message
        The engine's.
    image : Image
        What was segmented.
    out : ndarray
        The mask.
    probabilities : Path, optional
        Where the engine was to keep them; they are the result's from now on.
    """
    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.inference.probabilities import Probabilities
    from napari_medurwkv.provenance import RunRecord

    record = RunRecord.model_validate(answer["record"])
    kept = None
    if probabilities is not None and answer["complete"]:
        kept = Probabilities(probabilities, record.run_id, temporary=True)
    return Segmentation(
        labels=out,
        geometry=image.geometry,
        classes=tuple(ClassInfo.model_validate(c) for c in answer["classes"]),
        instances=answer["instances"],
        complete=answer["complete"],
        fraction=answer["fraction"],
        record=record,
        probabilities=kept,
        uncertainty=answer.get("uncertainty"),
    )


def _absolute(model: str | Path) -> str:
    """Make a path independent of the folder that the child was started in."""
    path = Path(model)
    return str(path.absolute()) if path.exists() else str(model)
