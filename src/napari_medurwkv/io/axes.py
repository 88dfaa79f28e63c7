"""What the axes of an array mean, and the one image that a choice of them gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.lazy import chunk_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "AxesChoice",
    "AxesView",
    "AxisOrder",
    "likely_orders",
    "read_axes",
    "read_channels",
]

LETTERS = "TCZYX"
_ORDERS = {
    2: ("YX",),
    3: ("ZYX", "TYX", "CYX"),
    4: ("TZYX", "CZYX", "TCYX"),
    5: ("TCZYX", "CTZYX"),
}
FEW = 4
"""An axis of so many points in front of larger ones may be one of channels."""


@dataclass(frozen=True, slots=True)
class AxisOrder:
    """The meaning of each axis of an array.

    Attributes
    ----------
    letters : str
        One of T, C, Z, Y, X per axis; Y and X are always there.
    """

    letters: str

    def axis(self, letter: str) -> int | None:
        """Position of an axis; None where there is none of this meaning."""
        position = self.letters.find(letter)
        return None if position < 0 else position

    @property
    def space(self) -> tuple[int, ...]:
        """Positions of Z (if there is one), Y and X."""
        return tuple(self.letters.index(n) for n in "ZYX" if n in self.letters)


@dataclass(frozen=True, slots=True)
class AxesChoice:
    """What somebody says of the axes of a file.

    Attributes
    ----------
    axes : str or None
        As for `read_axes`; None where the file says it itself.
    channels : str or None
        As for `read_channels`; None where there are none to choose from.
    """

    axes: str | None = None
    channels: str | None = None

    @property
    def given(self) -> bool:
        """Whether anything is said."""
        return self.axes is not None or self.channels is not None

    def view(self, array: Any, letters: str, frame: int | None, where: str) -> AxesView:
        """Give the image that is meant.

        Parameters
        ----------
        array : array-like
            All of the file's values.
        letters : str
            Its axes, as the file has them.
        frame : int or None
            Which time point, where there are several.
        where : str
            Name of the file.

        Raises
        ------
        ImageError
            If axes or channels do not fit.
        """
        order = read_axes(self.axes or letters, array.shape)
        position = order.axis("C")
        count = 1 if position is None else int(array.shape[position])
        if self.channels is None and count > 1:
            raise ImageError(
                f"{where} has {count} channels: say which one is segmented, or several "
                "in the order of the model's, with the option channels (--channels)."
            )
        channels = (
            (0,) if self.channels is None else read_channels(self.channels, count)
        )
        return AxesView(array, order, channels, frame)


def read_axes(text: str, shape: Sequence[int]) -> AxisOrder:
    """Read an order of axes as people write it.

    Parameters
    ----------
    text : str
        Such as "TCZYX"; small letters, commas and blanks are taken as well.
    shape : sequence of int
        Of the array.

    Raises
    ------
    ImageError
        If it does not fit the shape.
    """
    letters = "".join(c for c in text.upper() if c not in ", ")
    numbers = " x ".join(map(str, shape))
    unknown = sorted(set(letters) - set(LETTERS))
    if unknown or len(set(letters)) != len(letters):
        raise ImageError(
            f"The axes {text} cannot be read: write each of T (time), C (channel), Z, "
            "Y and X at most once, such as TCZYX."
        )
    if not {"Y", "X"} <= set(letters):
        raise ImageError(f"The axes {text} lack Y or X: an image has both.")
    if len(letters) != len(shape):
        likely = " or ".join(likely_orders(shape)) or "TCZYX, as far as there are any"
        raise ImageError(
            f"The axes {text} name {len(letters)} axes and the image has "
            f"{len(shape)} ({numbers}): write {likely}."
        )
    return AxisOrder(letters)


def likely_orders(shape: Sequence[int]) -> tuple[str, ...]:
    """List what the axes of an array may be, the likeliest first.

    Space comes last, as in napari. An axis of a few points in front is likelier to be
    one of channels than one of times.

    Parameters
    ----------
    shape : sequence of int
        Without an axis of colours.
    """
    orders = _ORDERS.get(len(shape), ())
    if len(orders) > 1 and 1 < shape[0] <= FEW < min(shape[1:]) and len(shape) < 5:
        first = next(order for order in orders if order[0] == "C")
        orders = (first, *(order for order in orders if order != first))
    return orders


def read_channels(text: str, count: int) -> tuple[int, ...]:
    """Read a choice of channels, counted from 0.

    Parameters
    ----------
    text : str
        Such as "0" or "2,0,1": the order is that of the model's channels.
    count : int
        How many there are.

    Raises
    ------
    ImageError
        If it names none, or one that is not there.
    """
    try:
        chosen = tuple(int(part) for part in text.replace(" ", "").split(","))
    except ValueError:
        chosen = ()
    if not chosen or not all(0 <= number < count for number in chosen):
        raise ImageError(
            f"The channels {text} cannot be taken: there are {count}, write their "
            f"numbers from 0 to {count - 1} with commas between them."
        )
    return chosen


class AxesView:
    """An array seen as ([T,] [Z,] Y, X[, C]): nothing is read before it is asked for.

    Parameters
    ----------
    array : array-like
        Anything with shape, dtype and NumPy's slicing.
    order : AxisOrder
        Of the array.
    channels : sequence of int
        Which ones are taken, in this order. One of them alone leaves no axis.
    frame : int, optional
        Which time point; by default there is an axis of time if the array has one.
    """

    def __init__(
        self,
        array: Any,
        order: AxisOrder,
        channels: Sequence[int] = (0,),
        frame: int | None = None,
    ) -> None:
        self._array = array
        self._order = order
        self._frame = frame
        self._time = None if frame is not None else order.axis("T")
        kept = [] if self._time is None else [self._time]
        self._kept = (*kept, *order.space)
        self._channels = tuple(channels)
        self._colour = len(self._channels) > 1 and order.axis("C") is not None
        last = (len(self._channels),) if self._colour else ()
        self.shape = (*(int(array.shape[axis]) for axis in self._kept), *last)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim = len(self.shape)
        sizes = chunk_sizes(array)
        self.chunks = (
            None if sizes is None else (*(sizes[axis] for axis in self._kept), *last)
        )

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> NDArray[Any]:
        places = index if isinstance(index, tuple) else (index,)
        wanted = self._channels
        if self._colour and len(places) == self.ndim:
            *rest, last = places
            places = tuple(rest)
            picked = np.asarray(wanted)[last]
            if np.ndim(picked) == 0:
                return self._read(places, int(picked))
            wanted = tuple(int(c) for c in picked)
        if not self._colour:
            return self._read(places, wanted[0])
        return np.stack([self._read(places, channel) for channel in wanted], axis=-1)

    def _read(self, places: tuple[Any, ...], channel: int) -> NDArray[Any]:
        source: list[Any] = [0] * len(self._order.letters)
        if self._frame is not None and (time := self._order.axis("T")) is not None:
            source[time] = self._frame
        if (position := self._order.axis("C")) is not None:
            source[position] = channel
        sliced = []
        for number, axis in enumerate(self._kept):
            place = places[number] if number < len(places) else slice(None)
            source[axis] = place
            if isinstance(place, slice):
                sliced.append(axis)
        part = np.asarray(self._array[tuple(source)])
        there = sorted(sliced)
        found: NDArray[Any] = part.transpose([there.index(axis) for axis in sliced])
        return found
