"""Where a tool gets a network's features: a choice, the engine, and a cache."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_medurwkv.errors import CancelledError, CorrectionError
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.widgets.shared_engine import acquire_engine, release_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import CatalogueEntry
    from napari_medurwkv.inference.result import SliceFeatures
    from napari_medurwkv.widgets.shared_engine import Engine

__all__ = ["FeatureSource"]

_KEPT_BYTES = 256 << 20
_NONE = "of the image alone"


class FeatureSource(QComboBox):
    """Choose whose features a tool learns from; they are computed in the engine.

    Features of a slice are computed once for an image, a checkpoint and a place; what
    the slice holds is part of the key, so features of another image are never taken.

    Parameters
    ----------
    engine : Engine, optional
        The shared one by default; its process starts when it is first asked.
    """

    changed = Signal()

    def __init__(
        self, parent: QWidget | None = None, engine: Engine | None = None
    ) -> None:
        super().__init__(parent)
        self.engine = engine
        self._shares = False
        self._mask: Any = None
        self._kept: OrderedDict[Any, SliceFeatures] = OrderedDict()
        self._lock = threading.Lock()
        self.setToolTip(
            "Whose features the tool learns from: a network's, computed once per slice"
        )
        self.currentIndexChanged.connect(self.changed)

    @property
    def entry(self) -> CatalogueEntry | None:
        """The model that is chosen; None for the image alone."""
        chosen: CatalogueEntry | None = self.currentData()
        return chosen

    def offer(self, mask: Layer, ndim: int) -> None:
        """List the models; that which made the mask is chosen.

        Parameters
        ----------
        mask : Layer
            The labels layer.
        ndim : int
            Axes of the mask.
        """
        from napari_medurwkv.checkpoints import catalogue

        entries = [e for e in catalogue() if e.card.task == "segmentation"]
        block = mask.metadata.get(METADATA_KEY)
        made_by = (block or {}).get("model") or {}
        same = mask.unique_id == self._mask
        kept = self.currentText() if same else made_by.get("name", "")
        self._mask = mask.unique_id
        if kept not in {e.name for e in entries} | ({_NONE} if same else set()):
            fitting = [e.name for e in entries if e.card.dimensions == ndim]
            kept = fitting[0] if fitting else _NONE
        self.blockSignals(True)
        self.clear()
        for entry in entries:
            self.addItem(entry.name, entry)
        self.addItem(_NONE, None)
        self.setCurrentIndex(self.findText(kept))
        self.blockSignals(False)

    def of(
        self, data: Any, spacing: Sequence[float] | None, *, rgb: bool
    ) -> Callable[..., tuple[NDArray[Any], Mapping[int, NDArray[Any]]]] | None:
        """Give what computes the features of a part of an image; None for none.

        Parameters
        ----------
        data : array-like
            The image, spatial axes first.
        spacing : sequence of float or None, mm
            Voxel size; None where it is not known.
        rgb : bool
            Whether the last axis is colour.

        Returns
        -------
        callable or None
            As `Request.features`; it blocks, so it belongs into a thread.
        """
        entry = self.entry
        if entry is None:
            return None
        if self.engine is None:
            self.engine, self._shares = acquire_engine(), True
        engine = self.engine

        def features(
            box: tuple[slice, ...], axis: int | None
        ) -> tuple[NDArray[Any], Mapping[int, NDArray[Any]]]:
            part = np.ascontiguousarray(np.asarray(data[box]))
            sides = spacing
            if axis is not None:
                part = part.squeeze(axis)
                if spacing is not None:
                    sides = [s for i, s in enumerate(spacing) if i != axis]
            found = self._find(engine, entry, part, sides, rgb)
            return found.maps, dict(zip(found.values, found.odds, strict=True))

        return features

    def shut_down(self) -> None:
        """Give the engine back."""
        if self._shares:
            self._shares, self.engine = False, None
            release_engine()

    def _find(
        self,
        engine: Engine,
        entry: CatalogueEntry,
        part: NDArray[Any],
        spacing: Sequence[float] | None,
        rgb: bool,
    ) -> SliceFeatures:
        stat = entry.path.stat()
        key = (
            (str(entry.path), stat.st_mtime_ns, stat.st_size),
            (part.shape, part.dtype.str, zlib.crc32(part.tobytes())),
            None if spacing is None else tuple(spacing),
        )
        # One at a time: strokes that follow one another ask for the same slice.
        with self._lock:
            found = self._kept.pop(key, None)
            if found is None:
                try:
                    found = engine.features(part, entry.path, spacing=spacing, rgb=rgb)
                except CancelledError as error:
                    raise CorrectionError(
                        "The engine was needed for a run: draw on when that is done."
                    ) from error
            self._kept[key] = found
            sizes = [f.maps.nbytes + f.odds.nbytes for f in self._kept.values()]
            while len(self._kept) > 1 and sum(sizes) > _KEPT_BYTES:
                self._kept.popitem(last=False)
                sizes.pop(0)
        return found
