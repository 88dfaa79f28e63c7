"""Weighted averages of overlapping windows in a ring of planes that moves on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.kernels import window_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.inference.windows import WindowGrid
    from napari_medurwkv.kernels import WindowKernels

__all__ = ["Ring", "add_window", "refuse_unless"]


class Ring:
    """Adds up windows, which come in reading order, until planes of them are final.

    Only as many planes as a window is deep are kept. A plane of a picture is one row.
    The last window leaves the ring empty, so it serves image after image.

    Parameters
    ----------
    grid : WindowGrid
        Windows along two or three axes.
    outputs : int
        Channels of the network's output.
    device : str
        Where the sums lie; they follow the logits.
    """

    def __init__(self, grid: WindowGrid, outputs: int, device: str = "cpu") -> None:
        self._grid = grid
        self._picture = len(grid.axes) == 2
        depth = min(grid.axes[0].patch, grid.axes[0].length)
        rest = grid.axes[1:]
        rows = 1 if self._picture else rest[0].length
        self._sums = torch.zeros((depth, outputs, rows, rest[-1].length), device=device)
        one = (torch.ones(1),)
        self._shares = [[torch.from_numpy(w) for w in a.weights] for a in grid.axes]
        if self._picture:
            self._shares.insert(1, list(one))
        self._sound = torch.ones((), dtype=torch.bool, device=device)
        self._to(self._sums.device)

    @property
    def sound(self) -> Tensor:
        """Whether all averages taken so far were finite; lies where the sums lie."""
        return self._sound

    @property
    def shape(self) -> tuple[int, ...]:
        """Planes, channels, rows and columns that are kept."""
        return tuple(self._sums.shape)

    @property
    def device(self) -> torch.device:
        """Where the sums lie."""
        return self._sums.device

    def add(self, place: tuple[int, ...], logits: Tensor) -> tuple[int, int] | None:
        """Add one window.

        Parameters
        ----------
        place : tuple of int
            Numbers of the window's positions along the axes.
        logits : Tensor of float32, shape (outputs, *patch)
            The network's output.

        Returns
        -------
        tuple of int, or None
            After the last window at a position of the first axis: first and end plane
            of those that are now final. They must be taken, by `take` or `labels`,
            before the next window comes.
        """
        if self._sums.device != logits.device:
            self._to(logits.device)
        window = logits.unsqueeze(2) if self._picture else logits
        shares, firsts = [], []
        axes = list(zip(self._grid.axes, place, strict=True))
        for axis, (windows, number) in enumerate(axes):
            first, end = windows.covered(number)
            inner = first - windows.starts[number]
            dim = axis + 1 + (self._picture and axis > 0)
            window = window.narrow(dim, inner, end - first)
            shares.append(self._shares[dim - 1][number])
            firsts.append(first)
        if self._picture:
            shares.insert(1, self._shares[1][0])
            firsts.insert(1, 0)
        kernels = self._kernels()
        if kernels is None:
            self._add(window, shares, firsts)
        else:
            if window.stride(-1) != 1:
                window = window.contiguous()
            kernels.add(self._sums, window, shares, firsts)
        if any(n + 1 < len(windows.starts) for windows, n in axes[1:]):
            return None
        return firsts[0], self._grid.axes[0].final_after(place[0])

    def take(self, first: int, end: int) -> Tensor:
        """Give the averages of final planes and forget them.

        Parameters
        ----------
        first, end : int
            As `add` returned them.

        Returns
        -------
        Tensor of float32, shape (outputs, planes, rows, columns)
            For pictures (outputs, rows, columns).

        Raises
        ------
        MedurwkvError
            If the network produced infinite or undefined numbers. On a device nobody
            waits to know: see `sound`.
        """
        kernels = self._kernels()
        if kernels is None:
            averages = self._take(first, end)
            # Extremes take one pass and no second array; NaN comes through as NaN.
            finite = torch.isfinite(torch.stack(averages.aminmax())).all()
            self._sound = self._sound & finite
            if self._sums.device.type == "cpu":
                refuse_unless(bool(finite))
        else:
            averages, good = kernels.take(self._sums, first, end)
            refuse_unless(good)
        return averages.squeeze(2) if self._picture else averages

    def labels(self, first: int, end: int, values: NDArray[Any]) -> NDArray[Any]:
        """Choose the output with the largest average in final planes; forget them.

        Parameters
        ----------
        first, end : int
            As `add` returned them.
        values : ndarray of uint8 or uint16, shape (outputs,)
            Mask value of each output.

        Returns
        -------
        ndarray, shape (planes, rows, columns)
            For pictures (rows, columns). The first of equal outputs wins.

        Raises
        ------
        MedurwkvError
            If the network produced infinite or undefined numbers.
        """
        kernels = self._kernels()
        labels: NDArray[Any]
        if kernels is None:
            averages = self._take(first, end)
            finite = torch.isfinite(torch.stack(averages.aminmax())).all()
            # On the CPU, max is many times faster than argmax; both take the first.
            best = averages.max(0).indices
            best = best.to(torch.uint8) if len(values) <= 256 else best
            refuse_unless(bool(finite))
            labels = values[best.cpu().numpy()]
        else:
            labels, sound = kernels.labels(self._sums, first, end, values)
            refuse_unless(sound)
        return labels[:, 0] if self._picture else labels

    # ------------------------------------------------------- without the kernels

    def _kernels(self) -> WindowKernels | None:
        return window_kernels() if self._sums.device.type == "cpu" else None

    def _to(self, device: torch.device) -> None:
        self._sums = self._sums.to(device)
        self._sound = self._sound.to(device)
        self._shares = [[s.to(device) for s in axis] for axis in self._shares]

    def _add(self, window: Tensor, shares: list[Tensor], firsts: list[int]) -> None:
        _, y, x = firsts
        z_share, *rest = shares
        plane_share = torch.outer(*rest)
        planes = window.transpose(0, 1)
        covered = self._sums[:, :, y : y + window.shape[2], x : x + window.shape[3]]
        first, count = firsts[0], window.shape[1]
        # Before anything is added: what fails for want of memory can be repeated.
        weights = z_share[:, None, None, None] * plane_share
        for begin, stop, place in self._runs(first, first + count):
            part = slice(begin - first, stop - first)
            covered[place].addcmul_(planes[part], weights[part])

    def _take(self, first: int, end: int) -> Tensor:
        runs = [place for _, _, place in self._runs(first, end)]
        parts = [self._sums[place].transpose(0, 1) for place in runs]
        averages = torch.cat(parts, dim=1)
        for place in runs:
            self._sums[place] = 0
        return averages

    def _runs(self, first: int, end: int) -> Iterator[tuple[int, int, slice]]:
        """Cut planes into runs that are contiguous in the ring."""
        depth = self._sums.shape[0]
        while first < end:
            place = first % depth
            run = min(end - first, depth - place)
            yield first, first + run, slice(place, place + run)
            first += run


def add_window(
    ring: Ring, predictor: Predictor, place: tuple[int, ...], logits: Tensor
) -> tuple[int, int] | None:
    """Add one window, on the host where the device has no room for the sums.

    Parameters
    ----------
    ring : Ring
        The sums.
    predictor : Predictor
        Is told to bring results to the host, and notes it.
    place, logits
        As for `Ring.add`.

    Returns
    -------
    tuple of int, or None
        As `Ring.add`.
    """
    try:
        return ring.add(place, logits)
    except torch.OutOfMemoryError:
        if logits.device.type == "cpu":
            raise
    predictor.to_host("out of memory beside the network")
    return ring.add(place, logits.cpu())


def refuse_unless(finite: bool) -> None:
    """Raise where the network's numbers are no basis for a mask.

    Raises
    ------
    MedurwkvError
        With the sentence for it.
    """
    if not finite:
        raise MedurwkvError(
            "The network produced infinite or undefined numbers on this image, so "
            "there is no mask; check the image's intensities and the checkpoint."
        )
