"""Fill an encoder with the weights of a published network."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

import torch
from timm.layers import resample_patch_embed
from torch import Tensor

from napari_medurwkv.errors import CheckpointError
from napari_medurwkv.models.adapter import VRWKVAdapter
from napari_medurwkv.models.med_urwkv import MedURWKV
from napari_medurwkv.models.vrwkv import VRWKV, resize_pos_embed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

__all__ = ["EncoderReport", "load_encoder_weights"]

_PREFIX = "backbone."
_CLASSIFICATION, _ADAPTER, _UPERNET = "classification", "adapter", "upernet"
_HEADS = (
    "head.",
    "decode_head.",
    "auxiliary_head.",
    "neck.",
    "rpn_head.",
    "roi_head.",
)
_WHOLE, _OWN = "whole network", "encoder."
_OWN_REST = ("bottleneck.", "decoder.", "head.")
_FIRST = ("patch_embed.projection.weight", "spm.stem.0.weight")
_SCALES = (".gamma1", ".gamma2")


@dataclass(frozen=True, slots=True)
class EncoderReport:
    """What became of every tensor when an encoder was filled.

    Attributes
    ----------
    layout : {"classification", "adapter", "upernet", "whole network"}
        The layout that the file has; the last is that of a Med-URWKV.
    taken : tuple of str
        Keys of the encoder that were filled as they are.
    resized : tuple of str
        Keys of the encoder that were filled after resizing: the position embedding to
        another grid, the first convolutions to other channels or another patch.
    fresh : tuple of str
        Keys of the encoder that the file does not have.
    ignored : tuple of str
        Keys of the file that belong to its head or decoder.
    """

    layout: str
    taken: tuple[str, ...]
    resized: tuple[str, ...]
    fresh: tuple[str, ...]
    ignored: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Say what became of the tensors, in words."""
        told = [f"{len(self.taken)} tensors of the encoder were taken as they are"]
        if self.resized:
            told.append(f"resized: {', '.join(self.resized)}")
        if self.fresh:
            parts = sorted({key.partition(".")[0] for key in self.fresh})
            told.append(f"{len(self.fresh)} start fresh: {', '.join(parts)}")
        if self.ignored:
            told.append(f"{len(self.ignored)} of the file were not needed")
        return told


def _encoder_of(model: nn.Module) -> VRWKV | VRWKVAdapter:
    if isinstance(model, MedURWKV):
        return model.encoder
    if isinstance(model, VRWKV | VRWKVAdapter):
        return model
    raise CheckpointError(
        f"A {type(model).__name__} has no Vision-RWKV encoder to load weights into."
    )


def _layout(keys: Mapping[str, Tensor]) -> str:
    if "layers.0.att.spatial_decay" not in keys:
        raise CheckpointError(
            "The weights are of no Vision-RWKV encoder: they have no "
            "'layers.0.att.spatial_decay'."
        )
    if "interactions.0.injector.gamma" not in keys:
        return _CLASSIFICATION
    return _UPERNET if any(key.startswith("decode_head.") for key in keys) else _ADAPTER


def _fitted(key: str, source: Tensor, target: Tensor) -> Tensor | None:
    """Return the tensor that fits, or None where only its shape is wrong."""
    if source.shape == target.shape:
        return source
    if key in _FIRST and source.ndim == 4 and source.shape[0] == target.shape[0]:
        return _first_convolution(key, source.float(), target)
    if key != "pos_embed" or source.ndim != 3 or source.shape[2] != target.shape[2]:
        return None
    old, new = isqrt(source.shape[1]), isqrt(target.shape[1])
    if source.shape[0] != 1 or old * old != source.shape[1]:
        return None
    return resize_pos_embed(source.float(), (old, old), (new, new))


def _first_convolution(key: str, source: Tensor, target: Tensor) -> Tensor | None:
    """Fit a first convolution to other channels, and to another patch.

    Grey images, which are one channel or several equal ones, give what they gave
    before: the weights of the channels keep their sum.
    """
    channels, wanted = source.shape[1], target.shape[1]
    if channels != wanted:
        turns = -(-wanted // channels)
        spread = source.repeat(1, turns, 1, 1)[:, :wanted] * (channels / wanted)
        missing = source.sum(1, keepdim=True) - spread.sum(1, keepdim=True)
        source = spread + missing / wanted
    if source.shape[2:] != target.shape[2:]:
        if not key.startswith("patch_embed."):
            return None
        source = resample_patch_embed(source, list(target.shape[2:]))
    return source


def _refuse(misfits: list[str]) -> None:
    if misfits:
        shown = "; ".join(misfits[:6])
        more = f"; and {len(misfits) - 6} more" if len(misfits) > 6 else ""
        raise CheckpointError(
            "The weights do not fit this encoder (file against network): "
            f"{shown}{more}."
        )


@torch.no_grad()
def load_encoder_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor]
) -> EncoderReport:
    """Fill the encoder of a model from a published state dict.

    Parameters
    ----------
    model : torch.nn.Module
        A `MedURWKV`, whose encoder is filled, a `VRWKVAdapter` or a `VRWKV`.
    state_dict : mapping of str to Tensor
        Of a Vision-RWKV classification network, of its adapter, of a UPerNet or a
        detector around the adapter, with or without the prefix ``backbone.``; or of a
        Med-URWKV.

    Returns
    -------
    EncoderReport
        What was taken, resized, left fresh and ignored.

    Raises
    ------
    CheckpointError
        The tensors are of another family, or their shapes or number disagree with
        the encoder; the message names them, and the model is as it was.

    Notes
    -----
    A classification file without layer scale fills an encoder that has it by setting
    the factors to one, which is the same function. Where blocks are normalised
    (before or after the mixers) cannot be seen in a file.
    """
    encoder = _encoder_of(model)
    own = encoder.state_dict()
    given = {key.removeprefix(_PREFIX): value for key, value in state_dict.items()}
    rest: list[str] = []
    whole = f"{_OWN}interactions.0.injector.gamma" in given
    if whole:
        rest = [key for key in given if key.startswith(_OWN_REST)]
        given = {
            key.removeprefix(_OWN): value
            for key, value in given.items()
            if not key.startswith(_OWN_REST)
        }
    layout = _layout(given)
    if layout != _CLASSIFICATION and isinstance(encoder, VRWKV):
        raise CheckpointError(
            "The weights are of an adapter, but the network is a plain Vision-RWKV: "
            "create a vrwkv_adapter of the same size."
        )
    ignored, filled, resized, misfits = rest, {}, [], []
    for key, value in given.items():
        final_norm = key.startswith("ln1.") and isinstance(encoder, VRWKVAdapter)
        if key.startswith(_HEADS) or final_norm:
            ignored.append(key)
        elif key not in own:
            misfits.append(f"{key} {tuple(value.shape)} against nothing")
        else:
            fitted = _fitted(key, value, own[key])
            if fitted is None:
                shapes = f"{tuple(value.shape)} against {tuple(own[key].shape)}"
                misfits.append(f"{key} {shapes}")
            else:
                filled[key] = fitted
                if fitted is not value:
                    resized.append(key)
    fresh = [key for key in own if key not in filled]
    misfits += [
        f"{key} nothing against {tuple(own[key].shape)}"
        for key in fresh
        if _required(key, layout)
    ]
    _refuse(misfits)
    for key, value in filled.items():
        own[key].copy_(value)
    for key in fresh:
        if key.endswith(_SCALES):
            own[key].fill_(1.0)
    return EncoderReport(
        layout=_WHOLE if whole else layout,
        taken=tuple(key for key in filled if key not in resized),
        resized=tuple(resized),
        fresh=tuple(fresh),
        ignored=tuple(ignored),
    )


def _required(key: str, layout: str) -> bool:
    """Tell whether a file of this layout has to bring the encoder's `key`."""
    if key.endswith("num_batches_tracked"):
        return False
    if layout != _CLASSIFICATION:
        return True
    trunk = key.startswith(("layers.", "patch_embed.", "ln1.")) or key == "pos_embed"
    return trunk and not key.endswith(_SCALES)
