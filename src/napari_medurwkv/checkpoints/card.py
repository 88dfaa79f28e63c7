"""The model card: documentation, validation and interface text in one schema."""

from __future__ import annotations

import datetime  # noqa: TC003 (pydantic needs it when the program runs)
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

__all__ = [
    "ClassInfo",
    "CodedConcept",
    "DataSource",
    "InputChannel",
    "InstanceRecipe",
    "IntensityRecipe",
    "Metric",
    "ModelCard",
]

# No network that runs has larger values; a damaged or malicious card might.
_LARGEST_CONFIG_VALUE = 4096


def _moderate(value: Any) -> Any:
    """Refuse numbers in a configuration that would build without end."""
    if isinstance(value, dict):
        for item in value.values():
            _moderate(item)
    elif isinstance(value, list):
        for item in value:
            _moderate(item)
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST_CONFIG_VALUE:
        raise ValueError(
            f"a configuration holds numbers up to {_LARGEST_CONFIG_VALUE}, not {value}"
        )
    return value


def _listed(value: Any) -> Any:
    """Turn tuples into the lists that JSON has."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value


Config = Annotated[
    dict[str, JsonValue], BeforeValidator(_listed), AfterValidator(_moderate)
]
Side = Annotated[int, Field(ge=1, le=_LARGEST_CONFIG_VALUE)]
Positive = Annotated[float, Field(gt=0)]
Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class _Schema(BaseModel):
    """Frozen, and strict about names and numbers: a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CodedConcept(_Schema):
    """A code of a controlled vocabulary, as DICOM writes it."""

    scheme: str = Field(
        "SCT", title="Scheme", description="Coding scheme designator; SCT is SNOMED CT."
    )
    value: str = Field(title="Code", description="Code value, for example 84640000.")
    meaning: str = Field(title="Meaning", description="Human-readable meaning.")


class ClassInfo(_Schema):
    """One class of the mask."""

    value: int = Field(
        ge=0,
        le=65535,
        title="Value",
        description="Number in the mask; 0 is background.",
    )
    name: str = Field(min_length=1, title="Name", description="Name shown to the user.")
    color: Color = Field(title="Colour", description="Hexadecimal sRGB, #rrggbb.")
    category: CodedConcept | None = Field(
        None, title="Category", description="Coded category, for example Tissue."
    )
    type: CodedConcept | None = Field(
        None, title="Type", description="Coded type, for example Cell nucleus."
    )


class InputChannel(_Schema):
    """One channel of the images that the model takes."""

    name: str = Field(min_length=1, title="Name", description="For example red, T1.")
    meaning: str = Field("", title="Meaning", description="What the channel measures.")


class IntensityRecipe(_Schema):
    """How intensities become network input.

    Steps, in this order: ``scale`` (to about [0, 1]), then ``(x - mean) / std``, then
    the same with ``channel_mean`` and ``channel_std`` where they are given.
    """

    scale: Literal["dtype", "percentile", "window", "none"] = Field(
        title="Scaling",
        description=(
            "dtype: integers by their type's range, as stored 8-bit pictures are; "
            "percentile: the image's own percentiles become 0 and 1; "
            "window: fixed limits become 0 and 1 (CT); none: as stored."
        ),
    )
    low: float | None = Field(
        None, title="Low", description="Lower percentile (0-100) or window limit."
    )
    high: float | None = Field(
        None, title="High", description="Upper percentile (0-100) or window limit."
    )
    clip: bool = Field(True, title="Clip", description="Clip to [0, 1] after scaling.")
    nonzero: bool = Field(
        False,
        title="Ignore the background value",
        description="Percentiles over voxels above the image's minimum only.",
    )
    mean: float = Field(0.0, title="Mean", description="Subtracted after scaling.")
    std: float = Field(
        1.0, gt=0, title="Standard deviation", description="Divided by after scaling."
    )
    channel_mean: tuple[float, ...] | None = Field(
        None,
        title="Mean per channel",
        description="Subtracted last, one per network channel; published RGB networks.",
    )
    channel_std: tuple[Positive, ...] | None = Field(
        None,
        title="Standard deviation per channel",
        description="Divided by last; belongs to the mean per channel.",
    )

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.scale in ("percentile", "window"):
            if self.low is None or self.high is None or not self.low < self.high:
                raise ValueError(f"scaling by {self.scale} needs low < high")
            if self.scale == "percentile" and not (0 <= self.low < self.high <= 100):
                raise ValueError("percentiles lie between 0 and 100")
        if (self.channel_mean is None) != (self.channel_std is None):
            raise ValueError("channel_mean and channel_std belong together")
        return self


class InstanceRecipe(_Schema):
    """How touching objects are told apart: a seeded watershed."""

    inside_channel: int = Field(
        ge=0, title="Inside", description="Network output that marks object interiors."
    )
    boundary_channel: int = Field(
        ge=0, title="Boundary", description="Network output that marks their rims."
    )
    seed_threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        title="Seed threshold",
        description="On the inside probability.",
    )
    split_levels: tuple[float, ...] = Field(
        (),
        title="Split levels",
        description=(
            "Rising inside probabilities, all above the seed threshold. A seed that "
            "falls apart above one of them becomes its parts."
        ),
    )
    min_area: int = Field(
        0, ge=0, title="Smallest object", description="In pixels; smaller ones go."
    )

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        levels = (self.seed_threshold, *self.split_levels, 1.0)
        if any(low >= high for low, high in pairwise(levels)):
            raise ValueError(
                "split_levels have to rise from above seed_threshold to below 1"
            )
        return self


class DataSource(_Schema):
    """One data set that the model was trained on."""

    name: str = Field(title="Name", description="Name of the data set.")
    licence: str = Field(title="Licence", description="SPDX identifier or its title.")
    url: str = Field("", title="Address", description="Where it comes from.")
    count: str = Field("", title="Amount", description="How many images were used.")
    changes: str = Field("", title="Changes", description="What was done to it.")


class Metric(_Schema):
    """One measured figure and what it was measured on."""

    name: str = Field(title="Measure", description="For example Dice, AJI.")
    value: float = Field(title="Value", description="The figure.")
    data: str = Field(title="Data", description="What it was measured on.")
    class_name: str = Field("", title="Class", description="Class, or empty for all.")


class ModelCard(_Schema):
    """Everything that a person or a program must know to use a checkpoint."""

    format: Literal[1] = Field(1, title="Format", description="Version of this schema.")
    task: Literal["segmentation", "restoration"] = Field(
        "segmentation",
        title="Task",
        description="segmentation: gives a mask; restoration: gives a cleaner image.",
    )
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$", title="Name", description="Short identifier."
    )
    title: str = Field(min_length=1, title="Title", description="Shown in lists.")
    version: str = Field(title="Version", description="Version of the weights.")
    description: str = Field(title="Description", description="What it segments.")
    limitations: str = Field(
        title="Limitations", description="What it is bad at, in plain words."
    )

    architecture: str = Field(
        title="Architecture", description="A name that models.create_model knows."
    )
    config: Config = Field(
        title="Configuration", description="Values that create_model is called with."
    )

    dimensions: Literal[2, 3] = Field(
        title="Dimensions", description="Of the images that it is meant for."
    )
    modality: tuple[str, ...] = Field(
        min_length=1, title="Modality", description="For example MR, fluorescence."
    )
    channels: tuple[InputChannel, ...] = Field(
        min_length=1, title="Input channels", description="Of the image, in order."
    )
    repeat_grey: bool = Field(
        False,
        title="Grey images welcome",
        description="A one-channel image is repeated to fill the input channels.",
    )
    intensity: IntensityRecipe = Field(
        title="Intensity recipe", description="From stored values to network input."
    )
    spacing: tuple[float, ...] | None = Field(
        None,
        title="Working spacing",
        description=(
            "mm per voxel in display order, (slice, row, column) or (row, column); "
            "empty: the image's own grid."
        ),
    )
    magnification: float = Field(
        1.0,
        ge=0.25,
        le=8,
        title="Magnification",
        description=(
            "How much pictures are enlarged for the network, rows and columns alike; "
            "the mask has the picture's own grid."
        ),
    )
    orientation: Literal["SPL"] | None = Field(
        None,
        title="Working orientation",
        description=(
            "Anatomical directions in which the array axes grow (superior, posterior, "
            "left); empty for images without anatomy."
        ),
    )
    patch_size: tuple[Side, Side] = Field(
        title="Patch size", description="Window in pixels, (rows, columns)."
    )
    overlap: float = Field(
        0.5, ge=0, lt=1, title="Overlap", description="Of neighbouring windows."
    )
    slice_axis: int | None = Field(
        None,
        ge=0,
        le=2,
        title="Slice axis",
        description="3D only: the display axis that is stepped through.",
    )
    slice_context: int = Field(
        0,
        ge=0,
        le=16,
        title="Slice context",
        description=(
            "Neighbouring slices on each side that are channels too, in the order of "
            "the axis."
        ),
    )

    views: tuple[Annotated[int, Field(ge=0, le=2)], ...] = Field(
        (),
        title="Views",
        description=(
            "3D only: display axes that slices are cut across one after the other, "
            "their probabilities averaged (0 axial, 1 coronal, 2 sagittal); empty: the "
            "slice axis alone."
        ),
    )

    activation: Literal["softmax", "sigmoid", "none"] = Field(
        title="Output activation",
        description="softmax: classes exclude each other; none: restoration.",
    )
    threshold: float = Field(
        0.5, gt=0, lt=1, title="Threshold", description="Used with sigmoid only."
    )
    classes: tuple[ClassInfo, ...] = Field(
        title="Classes", description="Classes of the mask; none for restoration."
    )
    output_values: tuple[int, ...] = Field(
        title="Output values",
        description=(
            "Mask value of each network output; several outputs may share one value, "
            "their probabilities are then added."
        ),
    )
    instances: InstanceRecipe | None = Field(
        None, title="Instances", description="Present where objects can be separated."
    )

    training_data: tuple[DataSource, ...] = Field(
        title="Training data", description="With the licence of each."
    )
    training: str = Field("", title="Training", description="How it was trained.")
    metrics: tuple[Metric, ...] = Field(title="Metrics", description="Measured, where.")
    authors: tuple[str, ...] = Field(min_length=1, title="Authors", description="Who.")
    licence: str = Field(title="Licence", description="Of the weights, SPDX.")
    citation: str = Field("", title="Citation", description="What to cite.")
    date: datetime.date = Field(title="Date", description="When it was made.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_task()
        self._check_classes()
        self._check_space()
        self._check_instances()
        return self

    def _check_task(self) -> None:
        restores = self.task == "restoration"
        if restores != (self.activation == "none"):
            raise ValueError("activation none belongs to restoration, and to it only")
        if restores and (self.classes or self.output_values or self.instances):
            raise ValueError("restoration has no classes, output values or instances")
        if not restores and not (self.classes and self.output_values):
            raise ValueError("segmentation needs classes and output values")
        for values in (self.intensity.channel_mean, self.intensity.channel_std):
            if values is not None and len(values) != self.network_channels:
                raise ValueError("mean and std per channel: one for each channel")

    def _check_classes(self) -> None:
        values = [c.value for c in self.classes]
        if len(set(values)) != len(values):
            raise ValueError("two classes share one value")
        if len({c.name for c in self.classes}) != len(values):
            raise ValueError("two classes share one name")
        unknown = set(self.output_values) - set(values)
        if unknown:
            raise ValueError(f"output values {sorted(unknown)} have no class")
        if self.activation == "softmax" and len(self.output_values) < 2:
            raise ValueError("softmax needs two or more outputs")

    def _check_space(self) -> None:
        if self.spacing is not None:
            if len(self.spacing) != self.dimensions:
                raise ValueError("spacing must have one number per dimension")
            if min(self.spacing) <= 0:
                raise ValueError("spacing must be positive")
        if (self.dimensions == 3) != (self.slice_axis is not None):
            raise ValueError("slice_axis belongs to 3D cards, and to those only")
        if self.magnification != 1 and (self.dimensions == 3 or self.spacing):
            raise ValueError("magnification belongs to 2D cards without spacing only")
        if self.dimensions == 2 and self.orientation is not None:
            raise ValueError("orientation belongs to 3D cards only")
        if self.dimensions == 2 and self.slice_context:
            raise ValueError("slice_context belongs to 3D cards only")
        if self.views and self.slice_axis not in self.views:
            raise ValueError("views belong to 3D cards, and hold the slice axis")
        if len(set(self.views)) < len(self.views):
            raise ValueError("a view is named twice")
        if self.slice_context and len(self.channels) != 1:
            raise ValueError("slice_context needs one-channel images")

    def _check_instances(self) -> None:
        outputs = len(self.output_values)
        recipe = self.instances
        if recipe is not None and not (
            recipe.inside_channel < outputs
            and recipe.boundary_channel < outputs
            and recipe.inside_channel != recipe.boundary_channel
        ):
            raise ValueError("the instance recipe names outputs that do not exist")

    @property
    def network_channels(self) -> int:
        """Channels of the network's input."""
        return len(self.channels) * (2 * self.slice_context + 1)

    @property
    def foreground(self) -> tuple[ClassInfo, ...]:
        """Classes other than background."""
        return tuple(c for c in self.classes if c.value != 0)
