"""What the ways to cut a volume into slices are called, and which are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medurwkv.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medurwkv.checkpoints import ModelCard

__all__ = ["VIEWS", "view_axes", "view_names"]

VIEWS = ("axial", "coronal", "sagittal")
"""Names of the display axes that slices are cut across."""


def view_axes(views: Sequence[str | int] | None, card: ModelCard) -> tuple[int, ...]:
    """Say which display axes are stepped through, the card's own last.

    Parameters
    ----------
    views : sequence of str or int, optional
        Names or display axes; the card's by default.
    card : ModelCard
        Of the network.

    Returns
    -------
    tuple of int
        Empty for a card of pictures.

    Raises
    ------
    ImageError
        If a view is not known, or the card is for pictures.
    """
    if card.slice_axis is None:
        if views:
            raise ImageError(
                f"{card.name} is for pictures and has one view only; leave views out."
            )
        return ()
    chosen = card.views if views is None else tuple(map(_axis, views))
    axes = sorted(set(chosen or (card.slice_axis,)))
    # Its own view is the last one: then the mask grows as it does without the others.
    return tuple(sorted(axes, key=lambda axis: axis == card.slice_axis))


def view_names(axes: Sequence[int]) -> list[str]:
    """Return the names of display axes."""
    return [VIEWS[axis] for axis in axes]


def _axis(view: str | int) -> int:
    if view in VIEWS:
        return VIEWS.index(str(view))
    if view in range(len(VIEWS)):
        return int(view)
    raise ImageError(f"There is no view {view}: choose among {', '.join(VIEWS)}.")
