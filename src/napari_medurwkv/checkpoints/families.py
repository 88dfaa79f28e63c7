"""One reader per family: from shapes to the configuration of a network."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.families_convolutional import read_restore, read_unet
from napari_medurwkv.checkpoints.readings import Reading, Shapes, finished, ratio
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FAMILIES", "FOREIGN", "Family"]

_POINTS = 4
_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large"}
_LARGE = 1024
_POST_ABOVE = 192
_DETECTION = ("neck.", "rpn_head.", "roi_head.")
_NORM_PLACE = "place of the norms in a block"
_AUTOENCODER = ("decoder_", "mask_token", "ln2.")


@dataclass(frozen=True, slots=True)
class Family:
    """How a family is known, and how its files are read."""

    matches: Callable[[Mapping[str, tuple[int, ...]]], bool]
    read: Callable[[Shapes], Reading]


def _trunk(shapes: Shapes) -> dict[str, Any]:
    """Read what every Vision-RWKV shares."""
    shapes.most_agree(
        ("patch_embed.projection.weight", 4, 0),
        ("patch_embed.projection.bias", 1, 0),
        ("pos_embed", 3, 2),
        ("layers.0.ln1.weight", 1, 0),
        ("layers.0.ffn.key.weight", 2, 1),
    )
    dim, channels, patch, _ = shapes.get("patch_embed.projection.weight", 4)
    _, cells, _ = shapes.get("pos_embed", 3)
    side = isqrt(cells)
    if side * side != cells:
        raise CheckpointError(
            f"{shapes.name} cannot be used: its 'pos_embed' has {cells} places, which "
            "make no square."
        )
    hidden, _ = shapes.get("layers.0.ffn.key.weight", 2)
    depth = shapes.count("layers.")
    # Two of each in every block, or none: what most blocks say counts.
    scaled = shapes.number_with("layers.", ".gamma1", ".gamma2") >= depth
    normed = shapes.number_with("layers.", ".att.key_norm.") >= depth
    return {
        "img_size": side * patch,
        "patch_size": patch,
        "in_channels": channels,
        "embed_dim": dim,
        "depth": depth,
        # True of every published file, and not to be seen in any.
        "post_norm": dim > _POST_ABOVE,
        "layer_scale": 1.0 if scaled else None,
        "key_norm": normed,
        "hidden_rate": max(1, hidden // dim),
        # How far tokens are shifted is not to be seen; whether they are, is.
        "shift_pixels": int(shapes.number_with("layers.", ".spatial_mix_") >= depth),
    }


def _norm_guess(values: Mapping[str, Any]) -> dict[str, str]:
    place = "after the mixers" if values["post_norm"] else "before the mixers"
    return {_NORM_PLACE: place}


def _labels(shapes: Shapes) -> tuple[int, int]:
    """Return labels and hidden width of a classification head; no head: (0, 0)."""
    if shapes.has("head.fc."):
        return shapes.get("head.fc.weight", 2)[0], 0
    if shapes.has("head."):
        return shapes.get("head.2.weight", 2)[0], shapes.get("head.0.weight", 2)[0]
    return 0, 0


def _plain(shapes: Shapes) -> Reading:
    values = _trunk(shapes)
    sixth = shapes.has("layers.0.att.time_")
    title, base = ("VRWKV6", "vrwkv6") if sixth else ("Vision-RWKV", "vrwkv")
    values["final_norm"] = shapes.has("ln1.")
    if sixth:
        _, rank = shapes.get("layers.0.att.time_maa_w1", 2)
        values["mix_rank"] = max(1, rank // 5)
        values["decay_rank"] = shapes.get("layers.0.att.time_decay_w1", 2)[1]
    else:
        values["segments"] = 16 if values["embed_dim"] == _LARGE else 32
    labels, hidden = _labels(shapes)
    sizes = {str(dim): size for dim, size in _SIZES.items()}
    if sixth:
        del sizes[str(_LARGE)]
    hint = str(values["embed_dim"])

    def drops(key: str) -> bool:
        return key.startswith(("neck.", *_AUTOENCODER))

    if not labels:
        architecture, config, size = finished(base, sizes, values, hint, shapes.name)
        return Reading(
            family=f"{title} encoder",
            architecture=architecture,
            config=config,
            task="features",
            outputs=values["embed_dim"],
            size=size,
            guessed=_norm_guess(values),
            drops=drops,
        )
    values |= {"num_labels": labels, "head_hidden": hidden}
    architecture, config, size = finished(
        f"{base}_classifier", sizes, values, hint, shapes.name
    )
    return Reading(
        family=f"{title} classifier",
        architecture=architecture,
        config=config,
        task="classification",
        outputs=labels,
        size=size,
        guessed=_norm_guess(values),
        place=lambda key: key if key.startswith("head.") else f"backbone.{key}",
        drops=drops,
    )


def _adapter_values(shapes: Shapes) -> dict[str, Any]:
    values = _trunk(shapes)
    dim = values["embed_dim"]
    extractor = "interactions.0.extractor"
    weights, _ = shapes.get(f"{extractor}.attn.attention_weights.weight", 2)
    sampled, _ = shapes.get(f"{extractor}.attn.value_proj.weight", 2)
    hidden, _ = shapes.get(f"{extractor}.ffn.fc1.weight", 2)
    count = shapes.count("interactions.")
    extra = f"interactions.{count - 1}.extra_extractors."
    return values | {
        "conv_inplane": shapes.get("spm.stem.0.weight", 4)[0],
        "deform_num_heads": max(1, weights // _POINTS),
        "n_points": _POINTS,
        "deform_ratio": ratio(sampled, dim),
        "cffn_ratio": ratio(hidden, dim),
        "interactions": count,
        "extra_extractors": shapes.count(extra),
        "segments": 16,
    }


def _adapter_guess(values: Mapping[str, Any]) -> dict[str, str]:
    points = "points per head of the deformable attention"
    return _norm_guess(values) | {points: str(_POINTS)}


def _adapter(shapes: Shapes) -> Reading:
    values = _adapter_values(shapes)
    sizes = {str(dim): size for dim, size in _SIZES.items()}
    hint = str(values["embed_dim"])
    guessed = _adapter_guess(values)
    if not shapes.has("decode_head."):
        architecture, config, size = finished(
            "vrwkv_adapter", sizes, values, hint, shapes.name
        )
        return Reading(
            family="Vision-RWKV adapter",
            architecture=architecture,
            config=config,
            task="features",
            outputs=values["embed_dim"],
            size=size,
            guessed=guessed,
            drops=lambda key: key.startswith(_DETECTION),
        )
    classes, width, *_ = shapes.get("decode_head.conv_seg.weight", 4)
    auxiliary = "auxiliary_head.conv_seg.weight"
    values |= {
        "num_classes": classes,
        "head_dim": width,
        "auxiliary_dim": shapes.get(auxiliary, 4)[1]
        if shapes.has("auxiliary_head.")
        else 0,
    }
    architecture, config, size = finished(
        "upernet_vrwkv", sizes, values, hint, shapes.name
    )
    heads = ("decode_head.", "auxiliary_head.")
    return Reading(
        family="Vision-RWKV adapter with UPerNet",
        architecture=architecture,
        config=config,
        task="segmentation",
        outputs=classes,
        size=size,
        guessed=guessed,
        place=lambda key: key if key.startswith(heads) else f"backbone.{key}",
    )


def _med_urwkv(shapes: Shapes) -> Reading:
    inner = {
        key.removeprefix("encoder."): shape
        for key, shape in shapes.found.items()
        if key.startswith("encoder.")
    }
    values = _adapter_values(Shapes(inner, shapes.name, "encoder."))
    stages = ("stage3", "stage2", "stage1")
    classes, final, *_ = shapes.get("head.weight", 4)
    values |= {
        "segments": 0,
        "num_classes": classes,
        "final_dim": final,
        "bottleneck_dim": shapes.get("bottleneck.norm.weight", 1)[0],
        "bottleneck_depth": shapes.count("bottleneck.blocks."),
        "decoder_dims": [
            shapes.get(f"decoder.{stage}.fuse.weight", 2)[0] for stage in stages
        ],
        "decoder_depths": [
            shapes.count(f"decoder.{stage}.blocks.") for stage in stages
        ],
    }
    architecture, config, size = finished(
        "med_urwkv",
        {"192": "tiny", "96": "nano", "384": "small"},
        values,
        str(values["embed_dim"]),
        shapes.name,
    )
    return Reading(
        family="Med-URWKV",
        architecture=architecture,
        config=config,
        task="segmentation",
        outputs=classes,
        size=size,
        guessed=_adapter_guess(values),
    )


def _begins(*starts: str) -> Callable[[Mapping[str, tuple[int, ...]]], bool]:
    return lambda shapes: all(any(k.startswith(s) for k in shapes) for s in starts)


def _is_med_urwkv(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return _begins("encoder.interactions.0.", "bottleneck.", "decoder.", "head.")(
        shapes
    )


def _is_unet(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    whole = _begins("encoder.stage0.0.conv_local.", "ccm.", "decoder1.")(shapes)
    saliency = _begins("saliency_predictor.")(shapes)
    alone = _begins("stage0.0.conv_local.")(shapes)
    return (whole and not saliency) or alone


# The first that matches; the special before the general.
FAMILIES = (
    Family(_is_med_urwkv, _med_urwkv),
    Family(_begins("interactions.0."), _adapter),
    Family(_begins("layers.0.att.time_"), _plain),
    Family(_begins("layers.0.att.spatial_"), _plain),
    Family(_is_unet, read_unet),
    Family(_begins("encoder_level1.0.att.omni_shift."), read_restore),
)

# Beginnings of keys, all of which are there, and what they are of.
FOREIGN = (
    (("encoder.stage0.0.conv_local.", "saliency_predictor."), "SRWKV"),
    (("RiR_backbone.patch_embed.common_conv.",), "Zig-RiR"),
    (("down11.CB2d.", "RWKV1.rwkv.blocks."), "SegRWKV"),
    (("vit.stages.", "encoder1."), "MMSegRWKV"),
    (("image_encoder.trunk.", "sam_mask_decoder."), "RWKV-MedSAM2"),
)
