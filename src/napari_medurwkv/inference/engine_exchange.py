"""The arrays of one run, on their way to the engine process and back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_medurwkv.inference.engine_arrays import (
    map_array,
    write_image,
    write_zeros,
)
from napari_medurwkv.inference.engine_sources import describe_levels, hand_over
from napari_medurwkv.inference.uncertainty import Uncertainty
from napari_medurwkv.io import LazyArray
from napari_medurwkv.io.pyramid_mask import PyramidMask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medurwkv.inference.engine_protocol import Message
    from napari_medurwkv.inference.engine_run import Listener
    from napari_medurwkv.inference.further import Further
    from napari_medurwkv.io import Image

__all__ = ["Exchange"]


class Exchange:
    """Files of one run.

    Parameters
    ----------
    paths : tuple of Path
        For image, labels and uncertainty, as `exchanged_files` names them.
    image : Image
        What is segmented; a lazy one stays where it is.
    listener : Listener
        Where the labels go.
    further : Further
        What else is wanted.
    """

    def __init__(
        self,
        paths: tuple[Path, Path, Path],
        image: Image,
        listener: Listener,
        further: Further,
    ) -> None:
        self._image_path, self._labels_path, self._doubts_path = paths
        self._image = image
        self._listener = listener
        self._further = further

    def put(self, request: Message, stop: Callable[[], bool]) -> bool:
        """Hand over what the engine needs; False if it was stopped.

        Parameters
        ----------
        request : Message
            Gets the places.
        stop : callable
            Asked again and again; True ends it.
        """
        array, listener = self._image.array, self._listener
        if isinstance(array, LazyArray):
            request["image"]["levels"] = describe_levels(array)
            request["image"]["colours"] = array.colours
            folder = self._image_path.parent
            listener.parts = partial(hand_over, array, folder=folder)
        elif write_image(self._image_path, array, stop):
            request["image"]["path"] = str(self._image_path)
        else:
            return False
        shape = listener.out.shape
        if isinstance(listener.out, PyramidMask):
            request["pyramid"] = str(listener.out.folder)
        else:
            write_zeros(self._labels_path, shape, listener.out.dtype)
            request["labels"] = str(self._labels_path)
        if self._further.uncertainty:
            measures = 2 if self._further.tta else 1
            write_zeros(self._doubts_path, (measures, *shape), np.dtype(np.uint8))
            request["uncertainty"] = str(self._doubts_path)
        if "labels" in request:
            listener.labels = map_array(self._labels_path, "r")
        return True

    def image(self) -> Image:
        """Give the image as the engine sees it."""
        if isinstance(self._image.array, LazyArray):
            return self._image
        return replace(self._image, array=map_array(self._image_path, "r"))

    def take(self, answer: Message) -> None:
        """Add to an answer what has come in files."""
        if self._further.uncertainty:
            doubts = np.load(self._doubts_path, allow_pickle=False)
            answer["uncertainty"] = Uncertainty(
                doubts[0], doubts[1] if self._further.tta else None
            )
