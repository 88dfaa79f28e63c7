"""Load a checkpoint: every tensor in its place, or a sentence that says why not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medurwkv.checkpoints.digest import begin_digest, file_state
from napari_medurwkv.checkpoints.examine import (
    Examination,
    look_into,
    own_header,
    require_card,
)
from napari_medurwkv.checkpoints.files import card_of
from napari_medurwkv.checkpoints.lookup import locate
from napari_medurwkv.checkpoints.wording import listed
from napari_medurwkv.errors import CheckpointError, CheckpointWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from napari_medurwkv.checkpoints.answers import Answers
    from napari_medurwkv.checkpoints.card import ModelCard
    from napari_medurwkv.checkpoints.container import Header
    from napari_medurwkv.checkpoints.digest import PendingDigest, State
    from napari_medurwkv.checkpoints.weights import Run, Weights
    from napari_medurwkv.models import NetworkConfig

__all__ = ["LoadedNetwork", "Model", "examine_closely", "load_model", "load_network"]


@dataclass(frozen=True, slots=True)
class Model:
    """A network with its weights, and what has to be known to use it.

    Attributes
    ----------
    network : torch.nn.Module
        float32, evaluation mode, on the CPU.
    card : ModelCard
        Its description.
    path : Path
        The file it came from.
    digest : str or PendingDigest
        SHA-256 of that file, or the thread that computes it.
    """

    network: nn.Module
    card: ModelCard
    path: Path
    digest: str | PendingDigest

    @property
    def sha256(self) -> str:
        """Of the file, hexadecimal; waits for it where it is not known yet.

        Raises
        ------
        CheckpointError
            The file changed since, or cannot be read any more.
        """
        return self.digest if isinstance(self.digest, str) else self.digest.result()


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network of any family with its weights, and what its file said.

    Attributes
    ----------
    network : torch.nn.Module
        float32, evaluation mode, on the CPU.
    examination : Examination
        What the file is.
    """

    network: nn.Module
    examination: Examination


def load_model(name_or_path: str | Path, *, accept_nonfinite: bool = False) -> Model:
    """Load a checkpoint by the name of a known model or from a file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `catalogue`, or a file: one of ours, or a published one of any
        family that gives masks or images.
    accept_nonfinite : bool
        Load weights that hold NaN or infinity too, with a warning.

    Returns
    -------
    Model
        Its network is in float32 and evaluation mode, on the CPU. Its weights are
        mapped from the file where that stores float32.

    Raises
    ------
    CheckpointError
        There is no such model, or the file is anything but a sound checkpoint whose
        card is valid and whose tensors are exactly its architecture's.

    Warns
    -----
    CheckpointWarning
        The weights hold NaN or infinity, and that was accepted.

    Examples
    --------
    >>> load_model("nuclei").card.title  # doctest: +SKIP
    'Nuclei in microscopy'
    """
    path = locate(name_or_path)
    before = _state_of(path)
    header = own_header(path)
    if header is None:
        loaded = load_network(path, accept_nonfinite=accept_nonfinite)
        network, card = loaded.network, require_card(loaded.examination)
    else:
        card = card_of(header, path.name)
        network = _own_network(path, header, card, accept_nonfinite)
    return Model(network, card, path, _digest(path, before))


def _digest(path: Path, before: State) -> PendingDigest:
    """Begin to hash the file that was just read; nobody waits before it is asked for.

    Loading reads 57 MB in the time in which a core hashes them.
    """
    try:
        pending = begin_digest(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if pending.state != before:
        raise CheckpointError(f"{path.name} changed while it was read: load it again.")
    return pending


def _state_of(path: Path) -> State:
    try:
        return file_state(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path.name} cannot be read: {error.strerror or error}.")


def _own_network(
    path: Path, header: Header, card: ModelCard, accept_nonfinite: bool
) -> nn.Module:
    # Imports torch: what is wrong so far is told without waiting for it.
    from napari_medurwkv.checkpoints.fit import (
        build_network,
        check_tensors,
        is_finite,
        network_config,
        tensor_infos,
    )
    from napari_medurwkv.checkpoints.weights import map_runs

    config = network_config(card, path.name)
    network = build_network(config, path.name, stored=len(header.tensors))
    # Shapes first: a file of the wrong shapes, however large, is never read.
    check_tensors(
        tensor_infos(network.state_dict()),
        header.tensors,
        path.name,
        card.architecture,
    )
    runs = [_as_float32(run) for run in map_runs(path, header)]
    tensors = {key: value for run in runs for key, value in run.tensors().items()}
    if not all(is_finite(run.values) for run in runs):
        _judge_nonfinite(tensors, path.name, accept_nonfinite)
    return _filled(network, config, tensors, path.name)


def load_network(
    path: str | Path,
    answers: Answers | None = None,
    *,
    card: ModelCard | None = None,
    tensors_only: bool = False,
    accept_nonfinite: bool = False,
) -> LoadedNetwork:
    """Load the network in a file of any known family, encoders and classifiers too.

    Parameters
    ----------
    path : str or Path
        Of the file.
    answers : Answers, optional
        To the questions that no file answers; the sidecar's, or else the defaults.
    card : ModelCard, optional
        In place of what the file, its sidecar or the answers say.
    tensors_only : bool
        Accept a torch file that names program parts, and leave them out.
    accept_nonfinite : bool
        Load weights that hold NaN or infinity too, with a warning.

    Raises
    ------
    CheckpointError
        The file is no sound checkpoint of a known family, or a tensor is missing,
        unexpected, or of another shape; up to ten are named.
    """
    import torch

    file = Path(path).expanduser()
    examination, weights = look_into(file, answers, tensors_only=tensors_only)
    if card is not None:
        examination = replace(examination, card=card, card_from="given")
    config, network, kept, derived = _placed(examination, weights)
    tensors = _usable(kept, file.name, accept_nonfinite)
    for key, place in derived.items():
        tensors[key] = torch.zeros(place.shape, dtype=place.dtype)
    return LoadedNetwork(_filled(network, config, tensors, file.name), examination)


def examine_closely(path: Path, *, tensors_only: bool = False) -> Examination:
    """Find out what a file is, and whether its tensors are those of its network.

    No value is read, so that it takes no longer for a large file.

    Parameters
    ----------
    path : Path
        Of the file.
    tensors_only : bool
        As for `load_network`.

    Raises
    ------
    CheckpointError
        As `load_network`, but for values that are not finite.
    """
    examination, weights = look_into(path, tensors_only=tensors_only)
    _placed(examination, weights)
    return examination


def _placed(
    examination: Examination, weights: Weights
) -> tuple[NetworkConfig, nn.Module, dict[str, Tensor], dict[str, Tensor]]:
    """Find each tensor's place in a blank network; also return what is derived."""
    from napari_medurwkv.checkpoints.container import FLOATING
    from napari_medurwkv.checkpoints.fit import (
        StateInfo,
        build_network,
        check_tensors,
        network_config,
        tensor_infos,
    )
    from napari_medurwkv.models import model_config

    identity, card = examination.identity, examination.card
    name = examination.path.name
    if card is not None:
        config = network_config(card, name)
    else:
        config = model_config(identity.architecture, **identity.config)
    network = build_network(config, name, stored=len(weights.tensors))
    state = network.state_dict()
    derived = {key: state[key] for key in state if key.endswith(_DERIVED)}
    kept = {
        own: weights.tensors[key]
        for key, own in identity.keys.items()
        if own not in derived
    }
    check_tensors(
        {
            key: StateInfo(info.shape, FLOATING)
            for key, info in tensor_infos(state).items()
            if key not in derived
        },
        tensor_infos(kept),
        name,
        identity.title,
    )
    return config, network, kept, derived


# Entries that count, or are computed from others: no file has to bring them.
_DERIVED = ("num_batches_tracked", "conv5x5_reparam.weight")


def _as_float32(run: Run) -> Run:
    """Give a run of floating-point values as float32; one that is stays on the disk."""
    values = run.values.float() if run.values.is_floating_point() else run.values
    return replace(run, values=values)


def _usable(
    stored: Mapping[str, Tensor], name: str, accept_nonfinite: bool
) -> dict[str, Tensor]:
    """Give floating-point tensors as float32; those that are stay on the disk."""
    import torch

    tensors = {
        key: tensor.to(torch.float32).contiguous()
        if tensor.is_floating_point()
        else tensor
        for key, tensor in stored.items()
    }
    _judge_nonfinite(tensors, name, accept_nonfinite)
    return tensors


def _judge_nonfinite(
    tensors: Mapping[str, Tensor], name: str, accept_nonfinite: bool
) -> None:
    """Refuse NaN and infinity, or warn of them where they are accepted."""
    from napari_medurwkv.checkpoints.fit import not_finite

    spoilt = not_finite(tensors)
    if spoilt and not accept_nonfinite:
        raise CheckpointError(
            f"{name} holds NaN or infinity in {listed(spoilt, ', ')}: its masks would "
            "mean nothing. Accept that explicitly to load it all the same."
        )
    if spoilt:
        warnings.warn(
            f"{name} holds NaN or infinity in {listed(spoilt, ', ')}.",
            CheckpointWarning,
            stacklevel=4,
        )


def _filled(
    network: nn.Module, config: NetworkConfig, tensors: dict[str, Tensor], name: str
) -> nn.Module:
    _assign(network, tensors)
    if any(buffer.is_meta for buffer in network.buffers()):
        # Buffers that no file holds get their values where a network is really built.
        from napari_medurwkv.models import build_model

        network = build_model(config).eval()
        network.load_state_dict(tensors)
    return network


def _assign(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors into their places, and turn to evaluation.

    All were compared with the places before.

    ``load_state_dict(assign=True)`` does the same and compares again, and setting
    attributes looks for the kind of each; both take several times longer.
    """
    from torch import nn

    refreshed = []
    for prefix, module in network.named_modules():
        start = f"{prefix}." if prefix else ""
        for name, place in module._parameters.items():
            if place is not None:
                value = nn.Parameter(tensors[start + name], place.requires_grad)
                module._parameters[name] = value
        for name in module._buffers:
            if start + name in tensors:
                module._buffers[name] = tensors[start + name]
        module.training = False
        refresh = getattr(module, "refresh", None)
        if refresh is not None:
            refreshed.append(refresh)
    for refresh in refreshed:
        refresh()
