"""The one place where axes, orientation and millimetres are reasoned about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.affine import closest_axes, is_singular, spanned_volume
from napari_medurwkv.errors import GeometryError
from napari_medurwkv.regrid import resample_labels
from napari_medurwkv.source_info import DicomSource, SourceInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["DicomSource", "Geometry", "Kind", "SourceInfo", "resample_labels"]

Kind = Literal["patient", "pixel-size-only", "none"]
Ornt = tuple[tuple[int, int], ...]

# Millimetres in one unit; "pixel" has no length.
_MILLIMETRES = {"mm": 1.0, "um": 1e-3, "nm": 1e-6}
_UNIT_TEXT = {"mm": "mm", "um": "µm", "nm": "nm", "pixel": "px"}

# What JSON holds as it is.
_PLAIN_FIELDS = ("kind", "unit", "sform_code", "qform_code", "assumed", "approximate")

# World axes are R, A, S. In 3D the display axes grow to S, P, L; a single 2D plane is
# shown as radiologists hang it, head or face up: rows to P or I, columns to L or P.
_LETTERS = ("LR", "PA", "IS")
_DISPLAY_3D = ((2, 1), (1, -1), (0, -1))


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """How an array lies in the world, and how display order relates to its source.

    Display order is 2D ``(Y, X)`` or 3D ``(Z, Y, X)``. Where the image has anatomy the
    3D axes grow to superior, posterior and left; the axes of a single 2D plane grow
    to posterior or inferior (rows) and to left or posterior (columns). The relation
    is a permutation with flips, chosen once and stored, so that the way back is exact.

    Parameters
    ----------
    affine : (4, 4) float64 ndarray
        Source index (i, j, k) to RAS; mm where `kind` is "patient", else `unit`.
        The third column of a 2D image is its plane's normal.
    shape : tuple of int
        Source spatial shape, 2 or 3 numbers.
    ornt : tuple of (int, int)
        Per display axis: the source axis and +1 or -1.
    kind : {"patient", "pixel-size-only", "none"}
        What is known about the axes.
    unit : {"mm", "um", "nm", "pixel"}
        Unit of the affine and of the spacing.
    source : SourceInfo
        The file behind the array.
    sform_code, qform_code : int
        NIfTI codes as read.
    assumed : bool
        True where orientation or spacing was not stated.
    approximate : str
        Why positions are not exact, where the user took that; "" where they are.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, ...]
    ornt: Ornt
    kind: Kind = "patient"
    unit: str = "mm"
    source: SourceInfo = field(default_factory=SourceInfo)
    sform_code: int = 0
    qform_code: int = 0
    assumed: bool = False
    approximate: str = ""

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        set_field = object.__setattr__
        set_field(self, "affine", affine)
        set_field(self, "shape", tuple(int(n) for n in self.shape))
        set_field(self, "ornt", tuple((int(a), int(s)) for a, s in self.ornt))
        if self.ndim not in (2, 3):
            raise GeometryError(
                f"An image needs 2 or 3 spatial axes, this one has {self.ndim}."
            )
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("An affine must be 4 x 4 finite numbers.")
        if is_singular(affine[:3, : self.ndim]):
            raise GeometryError(
                "The affine is singular: some voxel axis has no length or two axes "
                "coincide, so positions are undefined; repair the image's header."
            )
        if sorted(a for a, _ in self.ornt) != list(range(self.ndim)) or any(
            s not in (1, -1) for _, s in self.ornt
        ):
            raise GeometryError(f"{self.ornt} is no permutation with flips.")
        if self.unit not in _UNIT_TEXT:
            raise GeometryError(
                f"Unknown unit {self.unit!r}: use one of {', '.join(_UNIT_TEXT)}."
            )

    @classmethod
    def from_affine(
        cls,
        affine: ArrayLike,
        shape: Sequence[int],
        *,
        source: SourceInfo | None = None,
        sform_code: int = 0,
        qform_code: int = 0,
        assumed: bool = False,
        approximate: str = "",
    ) -> Geometry:
        """Build the geometry of an image with anatomy; snaps its orientation once.

        Parameters
        ----------
        affine : (4, 4) array_like
            Source index (i, j, k) to RAS mm.
        shape : sequence of int
            Source spatial shape, 2 or 3 numbers.
        source : SourceInfo, optional
            The file behind the array.
        sform_code, qform_code : int
            NIfTI codes as read.
        assumed : bool
            True where the file did not state the orientation.
        approximate : str
            Why positions are not exact; "" where they are.

        Returns
        -------
        Geometry
            Of kind "patient".

        Raises
        ------
        GeometryError
            If the affine is not finite or is singular.
        """
        matrix = np.array(affine, dtype=np.float64)
        identity = tuple((axis, 1) for axis in range(len(shape)))
        # Validates the matrix before it is decomposed.
        plain = cls(matrix, tuple(shape), identity)
        axes = plain._world_axes()
        if plain.ndim == 3:
            wanted: Sequence[tuple[int, int]] = _DISPLAY_3D
        else:
            planes = sorted((world for world, _ in axes), reverse=True)
            wanted = [(world, -1) for world in planes]
        sources = {world: (axis, sign) for axis, (world, sign) in enumerate(axes)}
        ornt = tuple(
            (sources[world][0], sources[world][1] * sign) for world, sign in wanted
        )
        return cls(
            matrix,
            plain.shape,
            ornt,
            source=source or SourceInfo(shape=plain.shape),
            sform_code=sform_code,
            qform_code=qform_code,
            assumed=assumed,
            approximate=approximate,
        )

    @classmethod
    def plain(
        cls,
        shape: Sequence[int],
        spacing: Sequence[float] | None = None,
        unit: str = "pixel",
        *,
        ornt: Ornt | None = None,
        source: SourceInfo | None = None,
    ) -> Geometry:
        """Build the geometry of an image without anatomy: a raster file, an array.

        Parameters
        ----------
        shape : sequence of int
            Spatial shape, 2 or 3 numbers.
        spacing : sequence of float, optional
            Pixel size per source axis, in `unit`; 1 where it is not known.
        unit : str
            "mm", "um", "nm" or "pixel".
        ornt : tuple of (int, int), optional
            Per display axis: source axis and sign; the order as it is by default.
        source : SourceInfo, optional
            The file behind the array.

        Returns
        -------
        Geometry
            Of kind "pixel-size-only" where a spacing was given, else "none".
        """
        ndim = len(shape)
        sizes = (1.0,) * ndim if spacing is None else tuple(map(float, spacing))
        if len(sizes) != ndim or not all(0 < size < np.inf for size in sizes):
            raise GeometryError(
                f"The spacing must be {ndim} positive numbers, not {sizes}."
            )
        return cls(
            np.diag((*sizes, *(1.0,) * (4 - ndim))),
            tuple(shape),
            ornt or tuple((axis, 1) for axis in range(ndim)),
            kind="none" if spacing is None else "pixel-size-only",
            unit="pixel" if spacing is None else unit,
            source=source or SourceInfo(shape=tuple(int(n) for n in shape)),
            assumed=True,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        rest = (getattr(self, name) for name in _PLAIN_FIELDS)
        return (self.affine.tobytes(), self.shape, self.ornt, self.source, *rest)

    # ------------------------------------------------------------------ derived

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size per source axis, in `unit`."""
        norms = np.linalg.norm(self.affine[:3, : self.ndim], axis=0)
        return tuple(float(n) for n in norms)

    @property
    def display_shape(self) -> tuple[int, ...]:
        """Shape of the array in display order, colour axis apart."""
        return tuple(self.shape[axis] for axis, _ in self.ornt)

    @property
    def display_spacing(self) -> tuple[float, ...]:
        """Voxel size per display axis, in `unit`; all positive."""
        spacing = self.spacing
        return tuple(spacing[axis] for axis, _ in self.ornt)

    @property
    def display_affine(self) -> NDArray[np.float64]:
        """(4, 4) ndarray, display index to RAS, in `unit`."""
        return self.affine @ self._display_to_source_index()

    @property
    def display_translate(self) -> tuple[float, ...]:
        """Where display index 0 lies along the display axes, in `unit`.

        An oblique grid is turned upright about its centre, which keeps its place.
        """
        if self.kind != "patient":
            return (0.0,) * self.ndim
        middle = (np.array(self.display_shape) - 1) / 2
        index = np.append(middle, [0.0] * (3 - self.ndim) + [1.0])
        centre = (self.display_affine @ index)[:3]
        axes = self._world_axes()
        along = []
        for size, half, (axis, sign) in zip(
            self.display_spacing, middle, self.ornt, strict=True
        ):
            world, source_sign = axes[axis]
            along.append(float(centre[world] * source_sign * sign - half * size))
        return tuple(along)

    @property
    def mm_per_unit(self) -> float | None:
        """Millimetres in one `unit`; None for pixels."""
        return _MILLIMETRES.get(self.unit)

    @property
    def voxel_volume(self) -> float:
        """Size of one voxel: mm³ in 3D, mm² in 2D; in pixels where no length is known.

        The volume (area) spanned by the affine's columns.
        """
        volume = spanned_volume(self.affine[:3, : self.ndim])
        return volume * float((self.mm_per_unit or 1.0) ** self.ndim)

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, ndim) ndarray, unit vectors of the source axes in RAS."""
        columns = self.affine[:3, : self.ndim]
        return np.asarray(columns / np.linalg.norm(columns, axis=0))

    @property
    def lps_affine(self) -> NDArray[np.float64]:
        """(4, 4) ndarray, source index to LPS (DICOM and ITK's world)."""
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine

    @property
    def obliquity(self) -> float:
        """Largest angle between a voxel axis and its closest body axis, degrees."""
        direction = self.direction
        cosines = [
            abs(direction[world, axis])
            for axis, (world, _) in enumerate(self._world_axes())
        ]
        return float(np.degrees(np.arccos(np.clip(min(cosines), 0.0, 1.0))))

    def is_oblique(self, deg: float = 1.0) -> bool:
        """Whether some voxel axis is tilted by more than `deg` degrees."""
        return self.kind == "patient" and self.obliquity > deg

    @property
    def orientation(self) -> str:
        """Directions the source axes grow to, such as "LAS"; "" without anatomy."""
        if self.kind != "patient":
            return ""
        return "".join(_LETTERS[world][sign > 0] for world, sign in self._world_axes())

    @property
    def display_orientation(self) -> str:
        """Directions the display axes grow to, "SPL" in 3D; "" without anatomy."""
        if self.kind != "patient":
            return ""
        axes = self._world_axes()
        return "".join(
            _LETTERS[axes[axis][0]][axes[axis][1] * sign > 0]
            for axis, sign in self.ornt
        )

    def describe(self) -> str:
        """Say in a few words what is known, for a badge or a log line."""
        sizes = " x ".join(f"{size:.4g}" for size in self.spacing)
        sizes = f"{sizes} {_UNIT_TEXT[self.unit]}"
        tilt = [f"oblique {self.obliquity:.0f}°"] if self.is_oblique() else []
        if self.kind != "patient":
            return f"orientation assumed, {sizes}"
        if self.assumed:
            return ", ".join([f"orientation assumed ({self.orientation})", sizes])
        verdict = "geometry approximate" if self.approximate else "known"
        return ", ".join([self.orientation, sizes, *tilt, verdict])

    # ------------------------------------------------------------- array and back

    def to_display(self, array: NDArray[Any]) -> NDArray[Any]:
        """View a source array in display order.

        Parameters
        ----------
        array : ndarray
            Of `shape`, or of `shape` and one trailing (colour) axis.

        Returns
        -------
        ndarray
            A view; a trailing axis stays last.

        Raises
        ------
        GeometryError
            If the array is not of this geometry's shape.
        """
        extra = self._check(array, self.shape, "The array")
        axes = [axis for axis, _ in self.ornt]
        turned = array.transpose(*axes, *extra)
        return turned[tuple(slice(None, None, sign) for _, sign in self.ornt)]

    def to_source(self, array: NDArray[Any]) -> NDArray[Any]:
        """View an array in display order as the source array: inverts `to_display`.

        Parameters
        ----------
        array : ndarray
            Of `display_shape`, or of that and one trailing (colour) axis.

        Returns
        -------
        ndarray
            A view; a trailing axis stays last.

        Raises
        ------
        GeometryError
            If the array is not of this geometry's display shape.
        """
        extra = self._check(array, self.display_shape, "The displayed array")
        flipped = array[tuple(slice(None, None, sign) for _, sign in self.ornt)]
        back = np.argsort([axis for axis, _ in self.ornt])
        return flipped.transpose(*(int(axis) for axis in back), *extra)

    def _check(
        self, array: NDArray[Any], shape: tuple[int, ...], what: str
    ) -> tuple[int, ...]:
        """Check an array against a spatial shape; return its trailing axes."""
        fits = array.shape[: self.ndim] == shape
        if not fits or array.ndim > self.ndim + 1:
            raise GeometryError(
                f"{what} has shape {array.shape}, but its geometry is of {shape}: "
                "they do not belong together."
            )
        return tuple(range(self.ndim, array.ndim))

    def _display_to_source_index(self) -> NDArray[np.float64]:
        matrix = np.zeros((4, 4))
        for display, (axis, sign) in enumerate(self.ornt):
            matrix[axis, display] = sign
            matrix[axis, 3] = 0 if sign > 0 else self.shape[axis] - 1
        for axis in range(self.ndim, 4):
            matrix[axis, axis] = 1
        return matrix

    def _world_axes(self) -> tuple[tuple[int, int], ...]:
        """Closest RAS axis and sign of each source axis."""
        return closest_axes(self.affine, self.ndim)

    # ------------------------------------------------------------------- as JSON

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that `from_json` turns into an equal geometry."""
        return {
            "affine": self.affine.tolist(),
            "shape": list(self.shape),
            "ornt": [list(pair) for pair in self.ornt],
            "source": self.source.to_json(),
            **{name: getattr(self, name) for name in _PLAIN_FIELDS},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Geometry:
        """Build the geometry that `to_json` described.

        Raises
        ------
        GeometryError
            If the dict is not such a description.
        """
        try:
            fields = dict(data)
            source = SourceInfo.from_json(fields.pop("source"))
            return cls(source=source, **fields)
        except (KeyError, TypeError, ValueError) as error:
            raise GeometryError(
                f"The stored geometry is damaged ({error}); open the image again."
            ) from error
