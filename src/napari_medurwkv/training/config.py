"""The training configuration: one YAML file, validated before anything is loaded."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_medurwkv.checkpoints.card import Metric, ModelCard
from napari_medurwkv.errors import MedurwkvError

__all__ = [
    "AugmentSettings",
    "BudgetSettings",
    "ConfigError",
    "EncoderSettings",
    "ModelSettings",
    "OptimiserSettings",
    "PairedData",
    "TemplateData",
    "TrainConfig",
    "ValidationSettings",
    "read_config",
]

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class ConfigError(MedurwkvError):
    """The training configuration cannot be read or does not hold together."""


class _Settings(BaseModel):
    """Frozen, and strict about names: a misspelt setting is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(_Settings):
    """The network: a name and what it is created with."""

    name: str = Field(description="A name that models.create_model knows.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="Values that replace the size's own."
    )
    start: Path | None = Field(
        default=None,
        description=(
            "A checkpoint of the same network whose weights the run begins with; "
            "relative to the configuration's folder. Empty: random weights."
        ),
    )


class PairedData(_Settings):
    """A folder of images and a folder of label images with the same stems."""

    kind: Literal["paired"] = "paired"
    images: Path = Field(description="Folder; relative to the configuration's own.")
    labels: Path = Field(description="Folder; relative to the configuration's own.")
    image_pattern: str = Field(
        default="*.png", description="File name pattern of the images."
    )
    image_suffix: str = Field(
        default=".png",
        description="What an image's name ends with after the common stem.",
    )
    label_suffix: str = Field(
        default=".png",
        description="What a label image's name ends with after the stem.",
    )
    validation: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="Fraction of the images held back, per kind.",
    )
    split_seed: int = Field(
        default=0, description="Seed of the split, apart from the run's."
    )
    held_back: tuple[str, ...] = Field(
        default=(),
        description="Stems of images that are never trained on, whatever the split.",
    )
    balance: Probability = Field(
        default=0.5,
        description=(
            "How image kinds (grey or colour, dark or bright) are weighted: a kind of "
            "n images is drawn in proportion to n to the power of one minus this."
        ),
    )


class TemplateData(_Settings):
    """Images made from the MNI152 template and its tissue maps."""

    kind: Literal["template"] = "template"
    folder: Path | None = Field(
        default=None,
        description=(
            "Where the template's three files lie, relative to the configuration's "
            "folder; empty: inside the installed nilearn."
        ),
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Passed to the synthesis as they are."
    )


class AugmentSettings(_Settings):
    """Random changes of the training crops; intensities are about [0, 1] here."""

    foreground: Probability = Field(
        default=0.75, description="Chance that a crop is centred on an object's pixel."
    )
    flip: Probability = Field(default=0.5, description="Per axis.")
    quarter_turns: Probability = Field(
        default=0.75, description="Of 90, 180 or 270 degrees."
    )
    affine: Probability = Field(
        default=0.7, description="Of rotation, scaling and shear."
    )
    rotation: float = Field(
        default=45.0, ge=0, le=180, description="Degrees, either way."
    )
    zoom: Range = Field(
        default=(0.7, 1.5), description="Magnification; above one enlarges."
    )
    shear: float = Field(default=0.1, ge=0, lt=1, description="Largest shear factor.")
    gain: Probability = 0.5
    gain_range: Range = (0.6, 1.4)
    offset: float = Field(default=0.15, ge=0, description="Largest shift of intensity.")
    gamma: Probability = 0.4
    gamma_range: Range = (0.5, 2.0)
    invert: Probability = Field(default=0.1, description="One minus the intensity.")
    shuffle: Probability = Field(
        default=0.1, description="Colour only: permute channels."
    )
    colour: Probability = Field(
        default=0.5, description="Colour only: gain per channel."
    )
    tint: Probability = Field(
        default=0.05, description="Grey only: a gain per channel."
    )
    noise: Probability = 0.3
    noise_std: float = Field(
        default=0.08, ge=0, description="Largest standard deviation."
    )
    blur: Probability = 0.2
    blur_sigma: Range = Field(default=(0.3, 1.5), description="Pixels.")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("zoom", "gain_range", "gamma_range", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} has to be two positive rising numbers")
        return self


class OptimiserSettings(_Settings):
    """AdamW under a polynomial schedule."""

    lr: float = Field(default=5e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = Field(
        default=0.03, ge=0, lt=1, description="Fraction of the budget."
    )
    power: float = Field(default=0.9, gt=0, description="Of the polynomial schedule.")
    clip: float = Field(default=1.0, gt=0, description="Largest gradient norm.")
    ema: float | None = Field(
        default=0.999,
        gt=0,
        lt=1,
        description="Decay of the averaged weights; empty: none.",
    )


class EncoderSettings(_Settings):
    """Where the encoder's weights come from; without a file they start fresh."""

    checkpoint: Path | None = Field(
        default=None, description="Published or own weights."
    )
    freeze: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Filled tensors stay fixed for this fraction of the budget.",
    )


class BudgetSettings(_Settings):
    """How long the run takes: whichever limit comes first; the schedule follows."""

    steps: int | None = Field(default=None, gt=0, description="Optimiser steps.")
    minutes: float | None = Field(
        default=None, gt=0, description="Wall time, all included."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.steps is None and self.minutes is None:
            raise ValueError("give steps, minutes or both")
        return self


class ValidationSettings(_Settings):
    """When and on how much the run is validated with the real sliding window."""

    every_steps: int = Field(default=1000, gt=0)
    images: int = Field(
        default=20, ge=1, description="Images per validation while training."
    )
    final_images: int | None = Field(
        default=None, ge=1, description="Images at the end; empty: all of them."
    )


class TrainConfig(_Settings):
    """Everything that a training run depends on."""

    model: ModelSettings
    card: dict[str, Any] = Field(
        description="The model card's fields that training does not fill itself."
    )
    data: Annotated[PairedData | TemplateData, Field(discriminator="kind")]
    target: Literal["semantic", "instance-boundary"] = Field(
        default="semantic",
        description=(
            "semantic: labels are mask values; instance-boundary: labels are object "
            "numbers and the outputs are outside, inside and boundary."
        ),
    )
    rim: int = Field(
        default=2, ge=1, description="Width of the boundary class in pixels."
    )
    contact_rim: int = Field(
        default=0,
        ge=0,
        description="Its width where objects touch, if that is to be wider.",
    )
    class_weights: tuple[float, ...] | None = Field(
        default=None, description="Of the cross-entropy, one per output."
    )
    augment: AugmentSettings = Field(default_factory=lambda: AugmentSettings())
    crop: int = Field(
        default=192, ge=32, description="Side of the training crops in pixels."
    )
    batch: int = Field(default=8, ge=1, description="Crops per step and process.")
    optimiser: OptimiserSettings = Field(default_factory=lambda: OptimiserSettings())
    encoder: EncoderSettings = Field(default_factory=lambda: EncoderSettings())
    budget: BudgetSettings
    validation: ValidationSettings = Field(default_factory=lambda: ValidationSettings())
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int | Literal["auto"] = 1
    cuda_graphs: bool = Field(
        default=False,
        description=(
            "Replay the network's passes as CUDA graphs: several times as fast where "
            "launching its many small kernels is what takes the time. One GPU."
        ),
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of torch.")
    workers: int = Field(default=0, ge=0, description="Processes that prepare crops.")
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        card = self.model_card(metrics=(), training="", date=datetime.date(2000, 1, 1))
        outputs = len(card.output_values)
        for name, expected in (
            ("num_classes", outputs),
            ("in_channels", card.network_channels),
        ):
            given = self.model.config.get(name, expected)
            if given != expected:
                raise ValueError(
                    f"model.config.{name} is {given}, but the card means {expected}"
                )
        if self.class_weights is not None and len(self.class_weights) != outputs:
            raise ValueError(f"class_weights needs {outputs} numbers")
        if self.data.kind == "paired" and card.dimensions != 2:
            raise ValueError("paired folders hold 2D images, but the card is 3D")
        if self.target == "semantic" and len(set(card.output_values)) != outputs:
            raise ValueError("semantic needs a card whose output values all differ")
        if self.target == "instance-boundary":
            recipe = card.instances
            if outputs != 3 or recipe is None:
                raise ValueError(
                    "instance-boundary needs a card with three outputs and instances"
                )
            if (recipe.inside_channel, recipe.boundary_channel) != (1, 2):
                raise ValueError(
                    "instance-boundary writes inside to output 1, boundary to output 2"
                )
        return self

    def model_card(
        self, *, metrics: tuple[Metric, ...], training: str, date: datetime.date
    ) -> ModelCard:
        """Fill in the card of a checkpoint that this configuration makes.

        Parameters
        ----------
        metrics : tuple of Metric
            Figures that were measured.
        training : str
            How the checkpoint was trained.
        date : datetime.date
            When it was made.

        Raises
        ------
        pydantic.ValidationError
            The card template lacks something or contradicts itself.
        """
        return ModelCard(
            **self.card,
            architecture=self.model.name,
            config=self.model.config,
            metrics=metrics,
            training=training,
            date=date,
        )


def read_config(path: str | Path) -> TrainConfig:
    """Read a YAML training configuration.

    Relative data and checkpoint paths are taken from the configuration's folder.

    Raises
    ------
    ConfigError
        The file is absent, is no YAML, or a setting is wrong; the message names it.
    """
    import yaml

    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The configuration {path} cannot be read: {error.strerror}."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"The configuration {path} is no valid YAML: {error}") from (
            error
        )
    if not isinstance(values, dict):
        raise ConfigError(f"The configuration {path} holds no settings.")
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'the whole'}: {e['msg']}"
            for e in error.errors()
        )
        raise ConfigError(f"The configuration {path} is wrong: {wrong}.") from error
    return _anchored(config, path.resolve().parent)


def _anchored(config: TrainConfig, folder: Path) -> TrainConfig:
    changes: dict[str, Any] = {}
    if isinstance(config.data, PairedData):
        changes["data"] = config.data.model_copy(
            update={
                "images": folder / config.data.images,
                "labels": folder / config.data.labels,
            }
        )
    elif config.data.folder is not None:
        changes["data"] = config.data.model_copy(
            update={"folder": folder / config.data.folder}
        )
    if config.model.start is not None:
        changes["model"] = config.model.model_copy(
            update={"start": folder / config.model.start}
        )
    if config.encoder.checkpoint is not None:
        changes["encoder"] = config.encoder.model_copy(
            update={"checkpoint": folder / config.encoder.checkpoint}
        )
    return config.model_copy(update=changes)
