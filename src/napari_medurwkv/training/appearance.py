"""How tissues look on an imagined scan: contrast, texture, head, bias field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from napari_medurwkv.training.draw import Draw

__all__ = ["Contrast", "Ranges", "draw_contrast", "paint"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Mean intensities of the tissues, and of what the scan shows brightest.

    Attributes
    ----------
    means : (float, float, float)
        Grey matter, white matter, CSF; 0 is the background.
    high : float
        About what the upper percentile of the whole scan would be.
    gain : (float, float)
        How far, as factors, that guess may be off.
    """

    means: tuple[float, float, float]
    high: float
    gain: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Ranges:
    """What varies from anatomy to anatomy.

    Attributes
    ----------
    skull : float
        Probability of a head around the brain.
    bias : float
        Largest log amplitude of the bias field.
    faithful : bool
        Whether the tissues are the template's own, unroughened: then its contrast and
        the whole of its texture are likely too.
    """

    skull: float
    bias: float
    faithful: bool


# The template's tissue means as parts of its 99.5th percentile, background included;
# and the same after its intensities are turned over inside the brain.
_TEMPLATE = (0.735, 0.914, 0.533)
_OVERTURNED = (0.523, 0.279, 0.799)


def draw_contrast(draw: Draw, *, template: bool = False) -> Contrast:
    """Draw the tissues' mean intensities.

    Parameters
    ----------
    draw : Draw
        Chance.
    template : bool
        Whether the template's own contrast and its negative are among the choices.
    """
    kind = draw.rng.random() if template else 1.0
    if kind < 0.6:
        means = _TEMPLATE if kind < 0.3 else _OVERTURNED
        gm, wm, csf = (m * draw.uniform(0.95, 1.05) for m in means)
        return Contrast((gm, wm, csf), 1.0, (0.95, 1.08))
    gm, wm, csf = _means(draw)
    # Fat, vessels and contrast agent may outshine the brain by far.
    gain = (1.0, 1.9) if draw.chance(0.2) else (0.75, 1.25)
    return Contrast((gm, wm, csf), max(gm, wm, csf), gain)


def _means(draw: Draw) -> tuple[float, float, float]:
    kind = draw.rng.random()
    if kind < 0.4:  # T1: CSF dark, white matter bright
        gm = draw.uniform(0.35, 0.75)
        return gm, gm + draw.uniform(0.08, 0.35), draw.uniform(0.05, gm - 0.1)
    if kind < 0.65:  # T2: CSF bright, white matter dark
        wm = draw.uniform(0.12, 0.45)
        gm = wm + draw.uniform(0.07, 0.3)
        return gm, wm, draw.uniform(gm + 0.1, max(1.0, gm + 0.2))
    if kind < 0.75:  # FLAIR and proton density: little contrast, CSF anywhere
        wm = draw.uniform(0.35, 0.6)
        return wm + draw.uniform(0.06, 0.2), wm, draw.uniform(0.02, 0.9)
    while True:
        gm, wm, csf = (draw.uniform(0.05, 1.0) for _ in range(3))
        if abs(gm - wm) > 0.1 and abs(gm - csf) > 0.06:
            return gm, wm, csf


def paint(
    memberships: torch.Tensor,
    texture: torch.Tensor,
    distance: torch.Tensor,
    points: torch.Tensor,
    ranges: Ranges,
    draw: Draw,
) -> tuple[torch.Tensor, Contrast]:
    """Paint the anatomy, before the scanner sees it.

    Parameters
    ----------
    memberships : Tensor, (3, Z, Y, X)
        Soft parts of grey matter, white matter and CSF.
    texture : Tensor, (Z, Y, X)
        The template's own, in units of the contrast of white and grey matter.
    distance : Tensor, (Z, Y, X)
        Signed distance to the brain's surface in mm.
    points : Tensor, (Z, Y, X, 3)
        Template coordinates in mm.
    ranges : Ranges
        How likely a head is, and how strong the bias field.
    draw : Draw
        Chance.

    Returns
    -------
    image : Tensor, (Z, Y, X)
        Intensities.
    contrast : Contrast
        What was drawn, with the head's brightest part in ``high``.
    """
    shape = tuple(distance.shape)
    contrast = draw_contrast(draw, template=ranges.faithful)
    gm, wm, _ = contrast.means
    image = torch.tensordot(torch.tensor(contrast.means), memberships, 1)
    whole = ranges.faithful and draw.chance(0.6)
    image = image + texture * (wm - gm) * (1.0 if whole else draw.uniform(0, 1))
    brain = memberships.sum(0)
    if draw.chance(ranges.skull):
        head, brightest = _head(distance, points, draw)
        image = image + head * (1 - brain)
        contrast = replace(contrast, high=max(contrast.high, brightest))
    elif not whole:  # brain extraction leaves a rim, or cuts into the brain
        edge = draw.uniform(-1.5, 3.0)
        rim = torch.sigmoid((edge - distance) * 2)
        image = (image + draw.uniform(0, 1) * (1 - brain)) * rim
    if whole and draw.chance(0.5):
        return image, contrast
    grain = draw.smooth(1, shape, draw.uniform(1.5, 3.0))[0]
    image = image * (1 + grain * draw.uniform(0, 0.06))
    wave = draw.smooth(1, shape, draw.uniform(60, 140))[0]
    image = image * torch.exp(wave * draw.uniform(0, ranges.bias))
    return image, contrast


def _head(
    distance: torch.Tensor, points: torch.Tensor, draw: Draw
) -> tuple[torch.Tensor, float]:
    """Grow fluid, bone, marrow and scalp around the brain, face and neck below."""
    shape = tuple(distance.shape)
    wobble = 1 + 0.25 * draw.smooth(1, shape, 40.0)[0]
    depth = distance / wobble.clamp(0.4, 1.8)
    fluid, bone, scalp = draw.uniform(0, 4), draw.uniform(2, 8), draw.uniform(2, 14)
    levels = [draw.uniform(0, 1), draw.uniform(0, 0.3), draw.uniform(0.2, 1.3)]
    edges = [fluid, fluid + bone, fluid + bone + scalp]
    if draw.chance(0.4):  # marrow between two tables of bone
        third = bone / 3
        edges = [fluid, fluid + third, fluid + 2 * third, *edges[1:]]
        levels = [levels[0], levels[1], draw.uniform(0, 1), *levels[1:]]
    image = torch.zeros(shape)
    start = torch.ones(shape)
    for edge, level in zip(edges, levels, strict=True):
        inside = torch.sigmoid((depth - edge) * -2.5)
        image = image * inside.lt(0.5) + level * inside * start
        start = 1 - inside
    if draw.chance(0.7):
        # Below and in front of the brain: a patchwork of muscle, fat, bone and air.
        cells = draw.smooth(1, shape, draw.uniform(6, 20))[0]
        patch = draw.uniform(0, 1) * (cells > 0.3) + draw.uniform(0, 0.6) * (
            cells < -0.4
        )
        patch = patch + draw.uniform(0, 0.7) * (cells.abs() <= 0.3)
        bottom = draw.uniform(40, 75) - points[..., 0]
        front = draw.uniform(20, 60) - points[..., 1]
        below = torch.sigmoid((torch.maximum(bottom, front.clamp(max=5)) - 5) / 2)
        reach = draw.uniform(15, 60)
        where = below * (depth > edges[-2] * 0.7) * (depth < reach)
        image = image * (1 - where) + patch * where
    return image, max(levels)
