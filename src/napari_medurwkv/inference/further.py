"""What a run may do beyond a plain mask, as the panels and the engine say it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Further"]


@dataclass(frozen=True, slots=True)
class Further:
    """Further wishes of a run; as for `napari_medurwkv.segment`.

    Attributes
    ----------
    tta : bool
        Average over mirror images.
    views : tuple of str or None
        Ways to cut a volume into slices; None takes the card's.
    keep_probabilities : bool
        Keep them as long as the result lives.
    uncertainty : bool
        Tell how unsure the network is.
    """

    tta: bool = False
    views: tuple[str, ...] | None = None
    keep_probabilities: bool = False
    uncertainty: bool = False
