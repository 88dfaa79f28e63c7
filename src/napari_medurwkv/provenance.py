"""What is written beside every mask: which program made it, from what, and how.

No patient data and no folders: images are named by their file name and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from napari_medurwkv.errors import OutputError
from napari_medurwkv.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io import Image

__all__ = [
    "RESEARCH_USE",
    "InputRecord",
    "LabelRecord",
    "MaskRecord",
    "ModelRecord",
    "RunRecord",
    "SoftwareRecord",
    "UncertaintyRecord",
    "array_sha256",
    "is_record",
    "read_record",
    "record_path",
    "record_text",
    "write_record",
]

RESEARCH_USE = "Research use only; not a medical device."
_KIND: Final = "napari-medurwkv run"
_MASK_KIND: Final = "napari-medurwkv mask"
_DOUBLE_SUFFIXES = (".nii.gz", ".seg.nrrd", ".ome.tif", ".ome.tiff", ".ome.zarr")
_ABSOLUTE = re.compile(r"[/\\]|~[^/\\ ]*[/\\]|[A-Za-z]:[/\\]|file:", re.ASCII)


def _without_folders(name: str) -> str:
    if "/" in name or "\\" in name:
        raise ValueError("a record holds file names without their folders")
    return name


def _without_paths(value: Any) -> Any:
    """Refuse absolute paths at any depth: they tell user names and more."""
    if isinstance(value, str):
        if _ABSOLUTE.match(value):
            raise ValueError("a record holds no absolute paths")
    elif isinstance(value, dict):
        for key, item in value.items():
            _without_paths(key)
            _without_paths(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _without_paths(item)
    return value


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


FileName = Annotated[str, Field(min_length=1), AfterValidator(_without_folders)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, AfterValidator(_without_paths)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SoftwareRecord(_Schema):
    """Versions of what computed."""

    plugin: str = Field(description="napari-medurwkv.")
    torch: str = Field(description="PyTorch, with its build.")
    numpy: str = Field(description="NumPy.")
    python: str = Field(description="Python.")
    platform: str = Field(description="Operating system and processor family.")

    @classmethod
    def here(cls) -> Self:
        """Return the versions of this process; imports none of the packages."""
        return cls(
            plugin=__version__,
            torch=version("torch"),
            numpy=version("numpy"),
            python=platform.python_version(),
            platform=platform.platform(),
        )


class ModelRecord(_Schema):
    """The checkpoint that was used."""

    name: str = Field(description="The card's name.")
    version: str = Field(description="The card's version.")
    file_name: FileName = Field(description="Of the checkpoint, without its folder.")
    sha256: Sha256 = Field(description="Of the checkpoint file.")
    architecture: str = Field(description="The card's architecture.")

    @classmethod
    def of(cls, model: Model) -> Self:
        """Describe a loaded checkpoint."""
        return cls(
            name=model.card.name,
            version=model.card.version,
            file_name=model.path.name,
            sha256=model.sha256,
            architecture=model.card.architecture,
        )


class InputRecord(_Schema):
    """The image that was segmented."""

    file_name: FileName | None = Field(
        None, description="Without its folder; empty for layers and arrays."
    )
    format: str = Field(description="Such as nifti, png, layer, array.")
    sha256: Sha256 = Field(description="Fingerprint; of what, says sha256_of.")
    sha256_of: Literal["file", "array", "header"] = Field(
        description="The stored file's bytes, the values (see array_sha256), or type "
        "and shape alone, where a run was ended before all values were read."
    )
    shape: tuple[int, ...] = Field(description="Spatial, in the file's axis order.")
    frame: int | None = Field(None, description="Which frame of a 4D file.")
    rgb: bool = Field(description="Whether it is in colour.")
    spacing: tuple[float, ...] = Field(
        description="Voxel size along the file's axes, in `unit`."
    )
    unit: str = Field(description="Of the spacing: mm, um, nm or pixel.")
    orientation: str = Field(description="Axis code such as LAS; empty if unknown.")
    assumed: bool = Field(
        description="Whether the file did not state its orientation or spacing."
    )
    notes: tuple[Text, ...] = Field((), description="What reading it had to change.")

    @classmethod
    def of(cls, image: Image, *, values: bool = True) -> Self:
        """Describe an image; hashes its values if its file has no known digest.

        Parameters
        ----------
        image : Image
            What was segmented.
        values : bool
            Whether there is time to read all values; if not, type and shape have to do.
        """
        geometry = image.geometry
        source = geometry.source
        kind: Literal["file", "array", "header"] = "file"
        digest = source.sha256
        if digest is None:
            kind = "array" if values else "header"
            digest = array_sha256(image.array) if values else _header_digest(image)
        return cls(
            # Folders and files of DICOM are often named after the patient.
            file_name=Path(source.path).name
            if source.path and source.format != "dicom"
            else None,
            format=source.format,
            sha256=digest,
            sha256_of=kind,
            shape=geometry.shape,
            frame=source.frame,
            rgb=image.rgb,
            spacing=geometry.spacing,
            unit=geometry.unit,
            orientation=geometry.orientation if geometry.kind == "patient" else "",
            assumed=geometry.assumed,
            notes=image.notes,
        )


class LabelRecord(_Schema):
    """What one value of a mask means; readers of masks look for these."""

    value: int = Field(ge=1, description="Number in the mask.")
    name: str = Field(description="Shown to the user.")
    color: str = Field(description="Hexadecimal sRGB, #rrggbb.")
    code: str = Field("", description="Coded type, scheme^value^meaning.")
    category: str = Field("", description="Coded category, likewise.")


class MaskRecord(_Schema):
    """What is written beside a mask that no model made."""

    kind: Literal["napari-medurwkv mask"] = Field(
        _MASK_KIND, description="Tells these files from other JSON files."
    )
    format: Literal[1] = Field(1, description="Version of this schema.")
    plugin: str = Field(description="Version of napari-medurwkv.")
    labels: tuple[LabelRecord, ...] = Field(description="The mask's values.")
    instances: bool = Field(description="Whether the values number objects.")
    spacing: tuple[float, ...] = Field(description="Per file axis, in `unit`.")
    unit: str = Field(description="Of the spacing: mm, um, nm or pixel.")
    orientation: str = Field(description="Axis code such as LAS; empty if unknown.")
    assumed: bool = Field(description="Orientation or spacing was not stated.")
    geometry_approximate: str = Field("", description="Why positions are not exact.")
    labels_sha256: str = Field("", description="See RunRecord.")
    correction: dict[str, Any] | None = Field(
        None, description="What was done by hand in the Correct panel."
    )
    notice: str = RESEARCH_USE

    @classmethod
    def of(
        cls,
        geometry: Geometry,
        *,
        labels: tuple[LabelRecord, ...],
        instances: bool,
        labels_sha256: str,
        correction: Mapping[str, Any] | None = None,
    ) -> Self:
        """Describe a mask on its grid."""
        return cls.model_validate(
            {
                "plugin": __version__,
                "labels": labels,
                "instances": instances,
                "spacing": geometry.spacing,
                "unit": geometry.unit,
                "orientation": geometry.orientation,
                "assumed": geometry.assumed,
                "geometry_approximate": geometry.approximate,
                "labels_sha256": labels_sha256,
                "correction": correction,
            }
        )


class UncertaintyRecord(_Schema):
    """How unsure the network was, slice by slice."""

    measure: Literal["entropy"] = Field(
        "entropy", description="Normalised entropy of the probabilities, 0 to 1."
    )
    mean: float = Field(ge=0, le=1, description="Over the part that was computed.")
    slices: tuple[tuple[float, ...], ...] = Field(
        description="Per axis in display order, the sum over each slice; none for "
        "pictures."
    )


class RunRecord(_Schema):
    """How one mask was made."""

    kind: Literal["napari-medurwkv run"] = Field(
        _KIND, description="Tells these files from other JSON files."
    )
    format: Literal[1] = Field(1, description="Version of this schema.")
    run_id: str = Field(
        "",
        pattern=r"^([0-9a-f]{32})?$",
        description="Drawn by lot; files that belong to the run hold the same.",
    )
    software: SoftwareRecord
    model: ModelRecord
    input: InputRecord
    parameters: Annotated[dict[str, JsonValue], AfterValidator(_without_paths)] = Field(
        description="Everything that shaped the mask, such as patch size and overlap."
    )
    device_path: tuple[Text, ...] = Field(
        min_length=1, description="The device, then every step down from it, in order."
    )
    started: Moment = Field(description="UTC.")
    finished: Moment = Field(description="UTC.")
    seconds: float = Field(ge=0, description="Computing time.")
    complete: bool = Field(description="False: cancelled, and the part was kept.")
    fraction: float = Field(ge=0, le=1, description="Windows computed, of all.")
    uncertainty: UncertaintyRecord | None = Field(
        None, description="Where it was asked for."
    )
    labels: tuple[LabelRecord, ...] = Field((), description="The mask's values.")
    geometry_approximate: str = Field("", description="Why positions are not exact.")
    labels_sha256: str = Field(
        "",
        description="Of the mask in display order as uint32 (see array_sha256): tells "
        "whether it was changed since.",
    )
    notice: str = RESEARCH_USE

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.finished < self.started:
            raise ValueError("a run finishes after it started")
        if self.complete and self.fraction < 1:
            raise ValueError("a complete run has computed every window")
        return self


_HASHED_AT_ONCE = 64 * 2**20


def _header_hash(array: Any) -> Any:
    little = array.dtype.newbyteorder("<")
    return hashlib.sha256(f"{little.str} {array.shape}\n".encode())


def _header_digest(image: Image) -> str:
    digest: str = _header_hash(image.array).hexdigest()
    return digest


def array_sha256(array: Any) -> str:
    """Hash an array's type, shape and values.

    The digest is that of one line of text, type and shape, such as ``<f4 (2, 3)`` and
    its line feed, followed by the little-endian values in C order.

    Parameters
    ----------
    array : ndarray or LazyArray
        Numbers of any shape; what is lazy is read in parts.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    import numpy as np

    little = array.dtype.newbyteorder("<")
    digest = _header_hash(array)
    if isinstance(array, np.ndarray):
        # Plane by plane: a display-order view is copied in parts, never as a whole.
        parts = iter(np.atleast_1d(array))
    else:
        parts = (array[rows] for rows in array.slabs(_HASHED_AT_ONCE))
    for part in parts:
        digest.update(np.ascontiguousarray(part, little).tobytes())
    found: str = digest.hexdigest()
    return found


def read_record(path: Path) -> RunRecord | None:
    """Read the record of a run; None where there is none, or one that is not ours.

    Parameters
    ----------
    path : Path
        `record_path` of a mask.
    """
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None  # many programs put JSON beside an image


def record_path(mask_path: str | Path) -> Path:
    """Return where the record of a mask lies: ``a.nii.gz`` has ``a.json``.

    Raises
    ------
    OutputError
        The mask itself is a .json file.
    """
    path = Path(mask_path)
    if path.suffix.lower() == ".json":
        raise OutputError(
            f"{path.name} cannot be a mask: its record would have the same name."
        )
    for suffix in _DOUBLE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.with_name(path.name[: -len(suffix)] + ".json")
    return path.with_suffix(".json")


def write_record(
    path: str | Path, record: RunRecord, *, overwrite: bool = False
) -> Path:
    """Write a record as JSON, safely.

    Parameters
    ----------
    path : str or Path
        Usually `record_path` of the mask.
    record : RunRecord
        What to write.
    overwrite : bool
        Whether an older record may be replaced. Other JSON files, such as the sidecar
        that scanners' converters put beside an image, never are.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OutputError
        There is a file already, or it cannot be written.
    """
    from napari_medurwkv.io.safe_write import write_text_safely

    path = Path(path)
    if overwrite and path.exists() and not is_record(path):
        raise OutputError(
            f"{path} is not replaced, because it is no record of this plugin: choose "
            "another name for the mask."
        )
    return write_text_safely(path, record_text(record), overwrite=overwrite)


def record_text(record: RunRecord) -> str:
    """Return what the file of a record holds."""
    return record.model_dump_json(indent=2) + "\n"


def is_record(path: Path) -> bool:
    """Tell whether a JSON file is a record of this plugin, and so may be replaced."""
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.get("kind") in (_KIND, _MASK_KIND)
