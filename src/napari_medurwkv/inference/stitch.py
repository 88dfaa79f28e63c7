"""Weighted averages of overlapping windows in a band of rows that moves down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_medurwkv.errors import MedurwkvError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_medurwkv.inference.windows import WindowGrid

__all__ = ["BandStitcher"]


class BandStitcher:
    """Adds up windows, which come row by row, and gives rows back when they are final.

    Only as many rows as a window is high are kept, as a ring. It serves plane after
    plane: the last window of a plane leaves it empty.

    Parameters
    ----------
    grid : WindowGrid
        Windows of each plane.
    outputs : int
        Channels of the network's output.
    """

    def __init__(self, grid: WindowGrid, outputs: int) -> None:
        self._grid = grid
        height = min(grid.rows.patch, grid.rows.length)
        self._band = torch.zeros((outputs, height, grid.columns.length))
        self._row_weights = [torch.from_numpy(w) for w in grid.rows.weights]
        self._column_weights = [torch.from_numpy(w) for w in grid.columns.weights]

    @property
    def band_shape(self) -> tuple[int, ...]:
        """Channels, rows and columns that are kept."""
        return tuple(self._band.shape)

    def add(
        self, row: int, column: int, logits: Tensor
    ) -> tuple[int, int, Tensor] | None:
        """Add one window; the windows of a plane come in reading order.

        Parameters
        ----------
        row, column : int
            Numbers of the window's row position and column position.
        logits : Tensor of float32, shape (outputs, patch rows, patch columns)
            The network's output.

        Returns
        -------
        tuple of int, int and Tensor, or None
            After the last window of a row position: first row, end row and averages,
            shape (outputs, rows, columns), of the rows that are now final.

        Raises
        ------
        MedurwkvError
            If the network produced infinite or undefined numbers.
        """
        if self._band.device != logits.device:
            self._to(logits.device)
        rows, columns = self._grid.rows, self._grid.columns
        first, end = rows.covered(row)
        left, right = columns.covered(column)
        above, before = rows.starts[row], columns.starts[column]
        share = self._column_weights[column]
        for part_first, part_end, ring in self._ring(first, end):
            weights = torch.outer(
                self._row_weights[row][part_first - first : part_end - first], share
            )
            self._band[:, ring, left:right].addcmul_(
                logits[
                    :,
                    part_first - above : part_end - above,
                    left - before : right - before,
                ],
                weights,
            )
        if column + 1 < len(columns.starts):
            return None
        final = rows.final_after(row)
        averages = self._take(first, final)
        # Extremes take one pass and no second array; NaN comes through as NaN.
        if not torch.isfinite(torch.stack(torch.aminmax(averages))).all():
            raise MedurwkvError(
                "The network produced infinite or undefined numbers on this image, so "
                "there is no mask; check the image's intensities and the checkpoint."
            )
        return first, final, averages

    def _to(self, device: torch.device) -> None:
        self._band = self._band.to(device)
        self._row_weights = [w.to(device) for w in self._row_weights]
        self._column_weights = [w.to(device) for w in self._column_weights]

    def _ring(self, first: int, end: int) -> Iterator[tuple[int, int, slice]]:
        """Cut rows into runs that are contiguous in the ring."""
        height = self._band.shape[1]
        while first < end:
            place = first % height
            run = min(end - first, height - place)
            yield first, first + run, slice(place, place + run)
            first += run

    def _take(self, first: int, end: int) -> Tensor:
        parts = [self._band[:, ring].clone() for _, _, ring in self._ring(first, end)]
        for _, _, ring in self._ring(first, end):
            self._band[:, ring] = 0
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
