"""Have napari's labels code loaded and compiled before the first click needs it.

The first labels layer of a session makes napari import pandas and scikit-image and
compile its colour lookup, which takes seconds. In a thread, at the opening of the
panel, nobody waits for it.
"""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.utils.colormaps import DirectLabelColormap

__all__ = ["warm_up"]


def warm_up() -> None:
    """Make a small labels layer in a viewer that nobody sees."""
    colormap = DirectLabelColormap(color_dict={None: "transparent", 1: "red"})
    viewer = ViewerModel()
    for dtype in (np.uint8, np.int32):
        labels = viewer.add_labels(
            np.zeros((8, 8), dtype),
            colormap=colormap,
            features={"index": [0, 1], "name": ["background", "class"]},
        )
        labels.data[2:4] = 1
        labels.refresh()
