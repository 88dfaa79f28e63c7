"""Save a labels layer through napari's own Save dialog, in its image's geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari
from napari.layers import Image, Labels
from napari.utils.notifications import show_warning

from napari_medurwkv.widgets.helper_layers import is_helper
from napari_medurwkv.widgets.layer_image import take_snapshot
from napari_medurwkv.widgets.mask_export import find_mask, write_mask

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["write_labels_layer"]


def write_labels_layer(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one labels layer for napari, which has asked about overwriting.

    Parameters
    ----------
    path : str
        Target; its ending chooses the format.
    data : ndarray
        The labels.
    meta : mapping
        The layer's state.

    Returns
    -------
    list of str
        The file written; the record beside it is not a layer.

    Raises
    ------
    MedurwkvError
        If it cannot be written.
    """
    # A layer again, outside any viewer: its state is checked and completed by napari.
    keys = ("name", "metadata", "scale", "translate", "rotate", "shear", "affine")
    looks = ("units", "axis_labels", "features", "colormap")
    state = {key: meta[key] for key in (*keys, *looks) if key in meta}
    snapshot = take_snapshot(Labels(data, **state))
    viewer = napari.current_viewer()
    images = [
        take_snapshot(layer)
        for layer in (viewer.layers if viewer is not None else ())
        if isinstance(layer, Image)
        and layer.ndim == snapshot.ndim
        and not is_helper(layer)
    ]
    mask = find_mask(snapshot, images)
    if mask.geometry.assumed:
        show_warning(
            f"The orientation or spacing of {snapshot.name} is not known; the mask is "
            "saved on the layer's own grid."
        )
    return [str(write_mask(mask, path, overwrite=True).path)]
