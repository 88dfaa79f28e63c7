"""The uncertainty of a run: image layers below its mask, and sums per slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.colormaps import Colormap

from napari_medurwkv.widgets.helper_layers import add_helper
from napari_medurwkv.widgets.result_layer import SPATIAL_KEYS

if TYPE_CHECKING:
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medurwkv.inference import Segmentation
    from napari_medurwkv.widgets.layer_image import LayerImage

__all__ = ["add_uncertainty", "uncertainty_arrays", "uncertainty_summary"]

# Clear where the network is sure, so that the image is seen.
_COLORS = (
    (1.0, 0.2, 0.0, 0.0),
    (1.0, 0.3, 0.0, 0.45),
    (1.0, 0.95, 0.3, 0.95),
)
_OF = "medurwkv-uncertainty-of"


def uncertainty_arrays(
    segmentation: Segmentation, picture: LayerImage
) -> tuple[tuple[str, NDArray[Any]], ...]:
    """Bring uncertainty into the order of the layer's axes; belongs into a thread.

    Parameters
    ----------
    segmentation : Segmentation
        Perhaps with uncertainty.
    picture : LayerImage
        What was segmented.

    Returns
    -------
    tuple of (str, ndarray of uint8)
        What each is called, and its values.
    """
    found = segmentation.uncertainty
    if found is None:
        return ()
    named = [("uncertainty", found.entropy)]
    if found.disagreement is not None:
        named.append(("disagreement", found.disagreement))
    arrays = []
    for name, values in named:
        data, out = picture.new_labels(np.uint8)
        out[...] = values
        arrays.append((name, data))
    return tuple(arrays)


def uncertainty_summary(
    segmentation: Segmentation, picture: LayerImage
) -> dict[str, Any] | None:
    """Return what the mask's layer says of its slices.

    Returns
    -------
    dict or None
        "measure", "mean", and "slices": per axis of the layer's data, a frame axis
        apart, the sum of the uncertainty over each slice. None where nobody asked.
    """
    record = segmentation.record.uncertainty
    if record is None:
        return None
    slices: list[list[float]] = [[] for _ in record.slices]
    ornt = picture.layer_geometry.geometry.ornt
    if slices:
        for sums, (axis, sign) in zip(record.slices, ornt, strict=True):
            slices[axis] = list(sums[::sign])
    return {"measure": record.measure, "mean": record.mean, "slices": slices}


def add_uncertainty(
    viewer: Any, mask: Labels, arrays: tuple[tuple[str, NDArray[Any]], ...]
) -> None:
    """Add the layers, where the mask lies and below it; the mask stays active.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Gets them.
    mask : Labels
        Of the run.
    arrays : tuple
        From `uncertainty_arrays`.
    """
    state = mask.as_layer_data_tuple()[1]
    place = {key: state[key] for key in SPATIAL_KEYS}
    for number, (name, data) in enumerate(arrays):
        layer = Image(
            data,
            name=f"{mask.name} – {name}",
            colormap=Colormap(_COLORS, name="medurwkv uncertainty"),
            blending="translucent",
            contrast_limits=(0, 255),
            visible=number == 0,
            metadata={_OF: str(mask.unique_id)},
            **place,
        )
        add_helper(viewer, layer, mask)
        above = [present.unique_id for present in viewer.layers].index(mask.unique_id)
        viewer.layers.move(len(viewer.layers) - 1, above)
