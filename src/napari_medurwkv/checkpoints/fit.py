"""Whether network, card and tensors belong together, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from napari_medurwkv.checkpoints.container import FLOATING
from napari_medurwkv.checkpoints.wording import listed, quoted
from napari_medurwkv.errors import CheckpointError
from napari_medurwkv.models import ModelError, blank_network, model_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from napari_medurwkv.checkpoints.card import ModelCard
    from napari_medurwkv.models import NetworkConfig

__all__ = [
    "build_network",
    "check_tensors",
    "is_finite",
    "network_config",
    "not_finite",
    "tensor_infos",
]


class ShapeAndKind(Protocol):
    """What has to agree between a stored tensor and its place in the network."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def kind(self) -> str:
        """What the values are: "floating point", or the integer type's name."""


@dataclass(frozen=True, slots=True)
class StateInfo:
    """Shape and kind of one entry of a state dict."""

    shape: tuple[int, ...]
    kind: str


def network_config(card: ModelCard, name: str) -> NetworkConfig:
    """Give the configuration of the card's network, and compare its ends with the card.

    Parameters
    ----------
    card : ModelCard
        Names the architecture and its configuration.
    name : str
        Of the checkpoint, for messages.

    Raises
    ------
    CheckpointError
        The architecture is unknown, its configuration is not valid, or it takes or
        gives another number of channels than the card says.
    """
    try:
        config = model_config(card.architecture, **card.config)
    except (ModelError, TypeError) as error:  # TypeError: "name" among the values
        raise CheckpointError(f"The card of {name} cannot be used: {error}") from error
    outputs = getattr(config, "num_classes", None)
    restores = config.task == "restoration"
    if (card.task == "restoration") != restores:
        raise CheckpointError(
            f"The card of {name} cannot be used: it promises {card.task}, and a "
            f"{card.architecture} is for {config.task}."
        )
    if restores:
        outputs = 0
    if outputs is None:
        raise CheckpointError(
            f"The card of {name} cannot be used: a {card.architecture} gives features "
            "and no mask."
        )
    if outputs != len(card.output_values):
        raise CheckpointError(
            f"The card of {name} gives {len(card.output_values)} output values and its "
            f"network has {outputs} outputs."
        )
    if config.in_channels != card.network_channels:
        raise CheckpointError(
            f"The card of {name} feeds {card.network_channels} channels and its "
            f"network takes {config.in_channels}."
        )
    return config


# Values of configurations that count parts of a network, each with tensors of its own.
_COUNTS = (
    *("depth", "depths", "bottleneck_depth", "decoder_depths"),
    *("refinement", "interactions", "extra_extractors"),
)

# So many are built in no time, and then what is missing can be named.
_FEW = 100


def build_network(
    config: NetworkConfig, name: str, *, stored: int | None = None
) -> nn.Module:
    """Build a network that has shapes, takes no memory and has no values.

    Parameters
    ----------
    config : NetworkConfig
        Of the network.
    name : str
        Of the checkpoint, for messages.
    stored : int, optional
        How many tensors the file has. A network of more parts than that is not built:
        thousands of them would take minutes.

    Raises
    ------
    CheckpointError
        The sizes in the configuration contradict each other, or the file.
    """
    parts = sum(
        sum(value) if isinstance(value, list | tuple) else value
        for key, value in config.to_dict().items()
        if key in _COUNTS
    )
    if stored is not None and parts > max(stored, _FEW):
        raise CheckpointError(
            f"The card of {name} cannot be used: it describes a network of {parts} "
            f"parts, and the file has {stored} tensors."
        )
    try:
        return blank_network(config)
    except (ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"The card of {name} cannot be used: no network can be built from its "
            f"configuration ({error})."
        ) from error


def tensor_infos(state: Mapping[str, Tensor]) -> dict[str, StateInfo]:
    """Give shape and kind of every entry of a state dict."""
    return {
        key: StateInfo(
            tuple(tensor.shape),
            FLOATING
            if tensor.is_floating_point()
            else str(tensor.dtype).removeprefix("torch."),
        )
        for key, tensor in state.items()
    }


def check_tensors(
    needed: Mapping[str, ShapeAndKind],
    given: Mapping[str, ShapeAndKind],
    name: str,
    architecture: str,
) -> None:
    """Require that the tensors given are those that the network needs, no more or less.

    Raises
    ------
    CheckpointError
        Names up to ten tensors that are missing, unexpected or of another shape or
        kind, and says how many more there are.
    """
    problems = [f"{key} is missing" for key in needed if key not in given]
    for key, tensor in given.items():
        place = needed.get(key)
        if place is None:
            problems.append(f"{quoted(key)} is unexpected")
        elif place.shape != tensor.shape:
            # Sizes are read off weights: where the two disagree, either is wrong.
            weight = key.removesuffix("bias") + "weight"
            other = given.get(weight) if key.endswith("bias") else None
            problems.append(
                f"{key} has shape {tensor.shape} where {place.shape} belongs"
                + (f" beside {weight} of shape {other.shape}" if other else "")
            )
        elif place.kind != tensor.kind:
            problems.append(f"{key} holds {tensor.kind} where {place.kind} belongs")
    if problems:
        raise CheckpointError(
            f"The weights of {name} do not fit its architecture {architecture}: "
            f"{listed(problems, '; ')}."
        )


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    # A sum is many times faster than looking at each value; it is finite unless a
    # value is not, or it overflows, and then each value is looked at.
    return (
        not tensor.is_floating_point()
        or bool(tensor.sum(dtype=torch.float32).isfinite())
        or bool(tensor.isfinite().all())
    )


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Name the tensors that hold NaN or infinity."""
    return [key for key, tensor in tensors.items() if not is_finite(tensor)]
