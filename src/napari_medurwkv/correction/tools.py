"""What a tool is, what it can be asked for, and how its answer becomes an edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_medurwkv.correction.scope import Block, Scope, run_in_scope
from napari_medurwkv.correction.watch import SILENT, Watch
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.correction.mask import EditableMask, Prepared

__all__ = ["Need", "Parameter", "Request", "Tool", "work_out"]

Need = Literal["image", "point", "line", "polygon", "scribbles", "layer"]
"""What a tool wants beside numbers: the image; a picked voxel; a drawn line or polygon;
strokes; another mask of the same shape."""


FeaturesOf: TypeAlias = (
    "Callable[[Box, int | None], tuple[NDArray[Any], Mapping[int, NDArray[Any]]]]"
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing to choose.

    Attributes
    ----------
    name : str
        As the tool calls it.
    title : str
        As people read it.
    default : float, str or bool
        Whose type says what it is.
    low, high : float
        Ends of the range of a number.
    choices : tuple of str
        Of a text.
    suffix : str
        Unit of a number.
    label : str or None
        Of a number that is a label: what 0 stands for, or "" where it is not allowed.
    """

    name: str
    title: str
    default: float | str | bool
    low: float = 0.0
    high: float = 1e6
    choices: tuple[str, ...] = ()
    suffix: str = ""
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the catalogue.

    Attributes
    ----------
    name : str
        Identifier.
    title : str
        On its button and in the history.
    hint : str
        What it does, in a sentence.
    run : callable
        Gets labels, block and request; gives new labels.
    key : str
        That starts it, as napari writes keys; none of napari's own.
    parameters : tuple of Parameter
        What can be chosen.
    needs : tuple of Need
        What else it wants.
    needs_if : mapping
        From a need to the parameter and the value that it depends on.
    reach : str or None
        Parameter whose length in mm says how far it looks.
    reach_times : float
        What that length is multiplied by.
    flat : bool
        Whether it works on pictures and single slices.
    target : bool
        Whether it works on the chosen class only, not on a selection.
    """

    name: str
    title: str
    hint: str
    run: Callable[[NDArray[Any], Block, Request, Watch], NDArray[Any]]
    key: str
    parameters: tuple[Parameter, ...] = ()
    needs: tuple[Need, ...] = ()
    needs_if: Mapping[Need, tuple[str, Any]] = field(default_factory=dict)
    reach: str | None = None
    reach_times: float = 1.0
    flat: bool = True
    target: bool = False

    def needed(self, values: Mapping[str, Any]) -> tuple[Need, ...]:
        """Return what it wants, given its parameters; missing ones have defaults."""
        full = {p.name: p.default for p in self.parameters} | dict(values)
        return tuple(
            need
            for need in self.needs
            if need not in self.needs_if
            or full[self.needs_if[need][0]] == self.needs_if[need][1]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What a tool is asked to do.

    Attributes
    ----------
    tool : Tool
        Which.
    scope : Scope
        Where.
    values : mapping
        From the names of the tool's parameters; what is missing has its default.
    classes : tuple of int or None
        Classes to treat; None for all.
    target : int
        The chosen class, for tools that change one.
    fresh : int
        First label that is not used yet.
    axis : int
        Axis across which slices are shown.
    point : tuple of int or None
        A picked voxel.
    path : tuple of points or None
        Corners of a line or polygon, as indices into the whole mask.
    image, scribbles, other : array-like or None
        Of the mask's shape.
    features : callable or None
        Gets the box of one slice and its axis (None for a picture); gives a network's
        features (features, Y, X) and log odds (Y, X) by mask value. None for none.
    """

    tool: Tool
    scope: Scope
    values: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[int, ...] | None = None
    target: int = 1
    fresh: int = 2
    axis: int = 0
    point: tuple[int, ...] | None = None
    path: tuple[tuple[float, ...], ...] | None = None
    image: Any = None
    scribbles: Any = None
    other: Any = None
    features: FeaturesOf | None = None

    def value(self, name: str) -> Any:
        """Return a parameter's value."""
        defaults = {p.name: p.default for p in self.tool.parameters}
        return self.values.get(name, defaults[name])


_MISSING = {
    "image": "This tool needs the image: choose its layer first.",
    "point": "Click a voxel of an island first.",
    "line": "Draw a line over the object first.",
    "polygon": "Draw a polygon first.",
    "scribbles": "Draw some strokes first.",
    "layer": "Choose the other labels layer first.",
}


def work_out(mask: EditableMask, request: Request, watch: Watch = SILENT) -> Prepared:
    """Run a tool and work out the edit that it makes; changes nothing.

    Parameters
    ----------
    mask : EditableMask
        What it works on.
    request : Request
        What to do.
    watch : Watch
        Told how far it is.

    Returns
    -------
    Prepared

    Raises
    ------
    CorrectionError
        If something is missing, or the tool cannot do it.
    CancelledError
        If it was cancelled.
    """
    tool, scope = request.tool, request.scope
    given = {
        "image": request.image,
        "point": request.point,
        "line": request.path,
        "polygon": request.path,
        "scribbles": request.scribbles,
        "layer": request.other,
    }
    for need in tool.needed(request.values):
        if given[need] is None:
            raise CorrectionError(_MISSING[need])
    for name in ("image", "scribbles", "other"):
        array = getattr(request, name)
        if array is not None and tuple(array.shape) != tuple(mask.array.shape):
            raise CorrectionError(
                f"The other layer has the shape {tuple(array.shape)}, the mask "
                f"{tuple(mask.array.shape)}; choose one on the same grid."
            )
    reach = 0.0
    if tool.reach is not None:
        reach = float(request.value(tool.reach)) * tool.reach_times
    version = mask.version
    after = run_in_scope(
        mask.array,
        scope,
        mask.spacing,
        lambda labels, block: tool.run(labels, block, request, watch),
        reach=reach,
    )
    model = tool.name == "take_result"
    prepared = mask.prepare(
        tool.title,
        scope.box,
        np.asarray(after, mask.array.dtype),
        source="model" if model else "tool",
        policy=request.value("policy") if model else "keep mine",
    )
    # Painted on meanwhile: then `enter` refuses it.
    prepared.version = version
    return prepared
