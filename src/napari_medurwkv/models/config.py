"""What a network is built from: one frozen configuration per family."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Self

from napari_medurwkv.errors import MedurwkvError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AdapterConfig",
    "MedURWKVConfig",
    "ModelConfig",
    "ModelError",
    "NetworkConfig",
    "VRWKVConfig",
]

INIT_MODES = ("fancy", "local", "global")
MAY_BE_ZERO = (
    "shift_pixels",
    "extra_extractors",
    "segments",
    "auxiliary_dim",
    "head_hidden",
)
SEGMENTS = (0, 16, 32, 64)


class ModelError(MedurwkvError, ValueError):
    """No network can be built from what was asked for."""


def _frozen(value: Any) -> Any:
    """Turn the lists of JSON back into tuples, at any depth."""
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Values that every network has.

    Attributes
    ----------
    in_channels : int
        Channels of the image.
    segments : int
        Variant of the Bi-WKV operator: 0 is its definition; 16, 32 and 64 are what the
        published kernels compute that cut a sequence into so many pieces.
    task : {"features", "classification", "segmentation", "restoration"}
        What comes out of the networks of the family.
    """

    task: ClassVar[str] = "features"
    in_channels: int = 3
    segments: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check_kind(field.name, str(field.type))
        if self.segments not in SEGMENTS:
            raise ModelError(
                f"segments {self.segments} is unknown: it is one of "
                f"{', '.join(map(str, SEGMENTS))}."
            )

    def _check_kind(self, name: str, kind: str) -> None:
        """Compare one value with its annotation; cards come from anywhere."""
        value = getattr(self, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        number = whole or (isinstance(value, float) and isfinite(value))
        if kind == "int":
            smallest = 0 if name in MAY_BE_ZERO else 1
            valid = whole and value >= smallest
            wanted = f"a whole number of at least {smallest}"
        elif kind == "bool":
            valid, wanted = isinstance(value, bool), "true or false"
        elif kind == "float":
            valid, wanted = number, "a finite number"
        elif kind == "float | None":
            valid, wanted = value is None or number, "a finite number or nothing"
        elif kind == "tuple[float, ...]":
            valid = isinstance(value, tuple) and all(
                isinstance(item, int | float) and isfinite(item) for item in value
            )
            wanted = "a tuple of finite numbers"
        elif kind == "tuple[int, ...]":
            valid = isinstance(value, tuple) and all(
                isinstance(item, int) and not isinstance(item, bool) for item in value
            )
            wanted = "a tuple of whole numbers"
        else:
            valid, wanted = isinstance(value, str), "a text"
        if not valid:
            raise ModelError(f"{name} has to be {wanted}, not {value!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return every value under its name, in types that JSON has."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild the configuration that `to_dict` wrote.

        Raises
        ------
        ModelError
            A name is unknown or a value is not of its kind. Names that are absent
            take their defaults.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ModelError(
                f"{cls.__name__} has no {', '.join(map(repr, unknown))}: its values "
                f"are {', '.join(known)}."
            )
        return cls(**{name: _frozen(value) for name, value in values.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(NetworkConfig):
    """Values that every Vision-RWKV trunk shares.

    Attributes
    ----------
    img_size : int
        Side in pixels of the images that the position embedding is made for; other
        sizes resize it.
    patch_size : int
        Side in pixels of the square that becomes one token.
    embed_dim : int
        Width of the tokens.
    depth : int
        Number of blocks.
    post_norm : bool
        Normalise after each mixer instead of before it.
    layer_scale : float or None
        Initial value of the per-channel factors on both residuals; None: no factors.
    key_norm : bool
        Normalise the output of the operator and the hidden layer.
    hidden_rate : int
        Width of the channel mix's hidden layer, in multiples of `embed_dim`.
    shift_gamma : float
        Fraction of the channels that is shifted in each of the four directions.
    shift_pixels : int
        How far they are shifted, in tokens; 0: no shift and no mixing.
    drop_path : float
        Stochastic depth of the encoder's last block; rises linearly from 0 at the
        first.
    init_mode : {"fancy", "local", "global"}
        How decay, first and the mixing factors start.
    """

    img_size: int = 224
    patch_size: int = 16
    embed_dim: int = 192
    depth: int = 12
    post_norm: bool = False
    layer_scale: float | None = None
    key_norm: bool = False
    hidden_rate: int = 4
    shift_gamma: float = 0.25
    shift_pixels: int = 1
    drop_path: float = 0.0
    init_mode: str = "fancy"

    def __post_init__(self) -> None:
        # slots=True makes a new class, which the bare super() does not know.
        super(ModelConfig, self).__post_init__()
        if not 0 <= self.shift_gamma <= 0.25:
            raise ModelError("shift_gamma has to lie between 0 and 0.25.")
        if not 0 <= self.drop_path < 1:
            raise ModelError("drop_path has to be at least 0 and below 1.")
        if self.init_mode not in INIT_MODES:
            raise ModelError(
                f"init_mode {self.init_mode!r} is unknown: it is one of "
                f"{', '.join(INIT_MODES)}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VRWKVConfig(ModelConfig):
    """A plain Vision-RWKV.

    Attributes
    ----------
    final_norm : bool
        Normalise the tokens after the last block.
    out_indices : tuple of int
        Blocks whose output is returned; negative ones count from the end.
    """

    final_norm: bool = True
    out_indices: tuple[int, ...] = (-1,)

    def __post_init__(self) -> None:
        super(VRWKVConfig, self).__post_init__()
        if not self.out_indices:
            raise ModelError("out_indices names no block: give at least one.")
        beyond = [i for i in self.out_indices if not -self.depth <= i < self.depth]
        if beyond:
            raise ModelError(
                f"out_indices {beyond} lie outside the {self.depth} blocks that the "
                "network has."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig(ModelConfig):
    """A Vision-RWKV inside an adapter that gives maps at four scales.

    Attributes
    ----------
    conv_inplane : int
        Width of the convolutional stem.
    deform_num_heads : int
        Heads of the deformable attention.
    n_points : int
        Points that every head samples in each level.
    deform_ratio : float
        Width of the sampled values, in multiples of `embed_dim`.
    cffn_ratio : float
        Width of the extractors' hidden layer, in multiples of `embed_dim`.
    interactions : int
        How often trunk and pyramid exchange; the blocks are spread evenly.
    extra_extractors : int
        Additional extractors after the last exchange.
    """

    layer_scale: float | None = 1.0
    conv_inplane: int = 64
    deform_num_heads: int = 6
    n_points: int = 4
    deform_ratio: float = 1.0
    cffn_ratio: float = 0.25
    interactions: int = 4
    extra_extractors: int = 2

    def __post_init__(self) -> None:
        super(AdapterConfig, self).__post_init__()
        if self.depth < self.interactions:
            raise ModelError(
                f"{self.depth} blocks cannot serve {self.interactions} interactions: "
                "raise depth or lower interactions."
            )
        if int(self.embed_dim * self.deform_ratio) % self.deform_num_heads:
            raise ModelError(
                f"embed_dim {self.embed_dim} times deform_ratio {self.deform_ratio} "
                f"cannot be split over {self.deform_num_heads} heads."
            )
        if int(self.embed_dim * self.deform_ratio) < 1:
            raise ModelError("deform_ratio leaves no channel to sample.")
        if int(self.embed_dim * self.cffn_ratio) < 1:
            raise ModelError("cffn_ratio leaves the extractors no hidden channel.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MedURWKVConfig(AdapterConfig):
    """The segmentation network: adapter, bottleneck, decoder and head.

    Attributes
    ----------
    num_classes : int
        Channels of the logits. One: a sigmoid model; more: a softmax model.
    bottleneck_dim, bottleneck_depth : int
        Width and number of the blocks at 1/32 of the resolution.
    decoder_dims, decoder_depths : tuple of three int
        Width and number of blocks at 1/16, 1/8 and 1/4 of the resolution.
    final_dim : int
        Width of the features at full resolution, which the head reads.
    """

    task: ClassVar[str] = "segmentation"
    num_classes: int = 2
    bottleneck_dim: int = 192
    bottleneck_depth: int = 2
    decoder_dims: tuple[int, ...] = (192, 192, 96)
    decoder_depths: tuple[int, ...] = (4, 4, 4)
    final_dim: int = 64

    def __post_init__(self) -> None:
        super(MedURWKVConfig, self).__post_init__()
        for name, smallest in (("decoder_dims", 1), ("decoder_depths", 0)):
            values = getattr(self, name)
            if len(values) != 3 or min(values) < smallest:
                raise ModelError(
                    f"{name} has to be three whole numbers of at least {smallest}, for "
                    f"1/16, 1/8 and 1/4 of the resolution, not {values!r}."
                )
