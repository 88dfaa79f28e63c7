"""Configurations of the published networks besides Vision-RWKV and its adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from napari_medurwkv.models.config import (
    AdapterConfig,
    ModelError,
    NetworkConfig,
    VRWKVConfig,
)

__all__ = [
    "ClassifierConfig",
    "RWKVUNetConfig",
    "RWKVUNetEncoderConfig",
    "RestoreRWKVConfig",
    "UPerNetConfig",
    "VRWKV6ClassifierConfig",
    "VRWKV6Config",
]

HEAD_DIM = 64


def _check_v6(embed_dim: int) -> None:
    if embed_dim % HEAD_DIM:
        raise ModelError(
            f"embed_dim {embed_dim} cannot be split into heads of {HEAD_DIM} channels: "
            f"choose a multiple of {HEAD_DIM}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VRWKV6Config(VRWKVConfig):
    """A plain VRWKV6.

    Attributes
    ----------
    mix_rank, decay_rank : int
        Inner widths of the products that make mixing factors and decays.
    """

    mix_rank: int = 32
    decay_rank: int = 64

    def __post_init__(self) -> None:
        super(VRWKV6Config, self).__post_init__()
        _check_v6(self.embed_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierConfig(VRWKVConfig):
    """A Vision-RWKV with a classification head.

    Attributes
    ----------
    num_labels : int
        Labels that an image can have. They are no classes of a mask.
    head_hidden : int
        Width of the hidden layer of the large model's head; 0: one linear layer.
    """

    task: ClassVar[str] = "classification"
    num_labels: int = 1000
    head_hidden: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VRWKV6ClassifierConfig(VRWKV6Config):
    """A VRWKV6 with a classification head; values as in `ClassifierConfig`."""

    task: ClassVar[str] = "classification"
    num_labels: int = 1000
    head_hidden: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UPerNetConfig(AdapterConfig):
    """A Vision-RWKV adapter with the UPerNet decode head.

    Attributes
    ----------
    num_classes : int
        Channels of the logits.
    head_dim : int
        Width of the decode head.
    pool_scales : tuple of int
        Sides of the grids that the coarsest map is averaged to.
    auxiliary_dim : int
        Width of the auxiliary head, which only training uses; 0: there is none.
    """

    task: ClassVar[str] = "segmentation"
    num_classes: int = 150
    head_dim: int = 512
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    auxiliary_dim: int = 256

    def __post_init__(self) -> None:
        super(UPerNetConfig, self).__post_init__()
        if not self.pool_scales or min(self.pool_scales) < 1:
            raise ModelError("pool_scales has to be whole numbers of at least 1.")


def _check_lengths(name: str, values: tuple[int, ...], count: int) -> None:
    if len(values) != count or min(values) < 1:
        raise ModelError(
            f"{name} has to be {count} whole numbers of at least 1, not {values!r}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RWKVUNetConfig(NetworkConfig):
    """An RWKV-UNet.

    Attributes
    ----------
    num_classes : int
        Channels of the logits. One: a sigmoid model; more: a softmax model.
    dims, depths : tuple of four int
        Width and number of blocks at 1/2, 1/4, 1/8 and 1/16 of the resolution.
    expansions : tuple of four float
        Width inside the blocks, in multiples of the width of their input; doubled in
        the first block of each stage.
    stem_dim : int
        Width at full resolution.
    full_layout : bool
        Store the attention of blocks that do not use it, as files since October 2025
        do.
    """

    task: ClassVar[str] = "segmentation"
    num_classes: int = 9
    dims: tuple[int, ...] = (48, 72, 144, 240)
    depths: tuple[int, ...] = (3, 3, 6, 3)
    expansions: tuple[float, ...] = (2.0, 2.5, 4.0, 4.0)
    stem_dim: int = 24
    full_layout: bool = True

    def __post_init__(self) -> None:
        super(RWKVUNetConfig, self).__post_init__()
        _check_lengths("dims", self.dims, 4)
        _check_lengths("depths", self.depths, 4)
        if len(self.expansions) != 4 or not min(self.expansions) > 0:
            raise ModelError(
                f"expansions has to be 4 positive numbers, not {self.expansions!r}."
            )
        if self.in_channels not in (1, 3):
            raise ModelError(
                "in_channels has to be 3, or 1 for grey images, which are repeated; "
                f"not {self.in_channels}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RWKVUNetEncoderConfig(RWKVUNetConfig):
    """The encoder of an RWKV-UNet by itself; its values are the network's."""

    task: ClassVar[str] = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRWKVConfig(NetworkConfig):
    """A Restore-RWKV; its output is an image, the input plus what the network adds.

    Attributes
    ----------
    dim : int
        Width at full resolution; it doubles three times.
    depths : tuple of four int
        Blocks at 1, 1/2, 1/4 and 1/8 of the resolution, of encoder and decoder each.
    refinement : int
        Blocks after the decoder.
    recurrence : int
        How often the operator runs in a block, by rows and by columns in turn.
    hidden_rate : int
        Width of the channel mix's hidden layer, in multiples of the tokens'.
    """

    task: ClassVar[str] = "restoration"
    in_channels: int = 1
    dim: int = 48
    depths: tuple[int, ...] = (4, 6, 6, 8)
    refinement: int = 4
    recurrence: int = 2
    hidden_rate: int = 4

    def __post_init__(self) -> None:
        super(RestoreRWKVConfig, self).__post_init__()
        _check_lengths("depths", self.depths, 4)
        if self.dim % 2:
            raise ModelError(f"dim has to be even, not {self.dim}.")
