"""Readers of RWKV-UNet and Restore-RWKV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.readings import Reading, finished, ratio

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints.readings import Shapes

__all__ = ["read_restore", "read_unet"]

# Earlier stages store an attention that they do not use.
_FIRST_ATTENDING = 3
_UNUSED = (
    "ln2.weight",
    "ln2.bias",
    "att.spatial_decay",
    "att.spatial_first",
    "att.spatial_mix_k",
    "att.spatial_mix_v",
    "att.spatial_mix_r",
    "att.key.weight",
    "att.value.weight",
    "att.receptance.weight",
    "att.key_norm.weight",
    "att.key_norm.bias",
    "att.output.weight",
)


def read_unet(shapes: Shapes) -> Reading:
    """Read an RWKV-UNet, or its encoder alone."""
    whole = "encoder.stage0.0.conv_local.conv.weight" in shapes
    prefix = "encoder." if whole else ""
    stages = [f"{prefix}stage{number}" for number in range(1, 5)]
    dims = [shapes.get(f"{stage}.0.proj.conv.weight", 4)[0] for stage in stages]
    expansions = []
    for stage in stages:
        second = f"{stage}.1.conv.conv.weight"
        block, factor = (
            (second, 1) if second in shapes else (f"{stage}.0.conv.conv.weight", 2)
        )
        middle, width, *_ = shapes.get(block, 4)
        expansions.append(ratio(middle, width * factor))
    depths = [shapes.count(f"{stage}.{{}}.proj.conv.weight") for stage in stages]
    surplus = {
        f"{prefix}stage{stage}.{index}.{part}"
        for stage, depth in enumerate([1, *depths])
        for index in range(depth)
        for part in _UNUSED
        if part.startswith("ln2.") or stage < _FIRST_ATTENDING or index == 0
    }
    full = all(key in shapes for key in surplus)
    values: dict[str, Any] = {
        "dims": dims,
        "depths": depths,
        "expansions": expansions,
        "stem_dim": shapes.get(f"{prefix}stage0.0.proj.conv.weight", 4)[0],
        "full_layout": full,
        "segments": 32,
    }
    classes = 0
    if whole:
        classes = shapes.get("final_conv.weight", 4)[0]
        values["num_classes"] = classes
    architecture, config, size = finished(
        "rwkv_unet" if whole else "rwkv_unet_encoder",
        {"48": "base", "32, 48": "tiny", "32, 64": "small"},
        values,
        "48" if dims[0] == 48 else f"{dims[0]}, {dims[1]}",
        shapes.name,
    )
    return Reading(
        family="RWKV-UNet" if whole else "RWKV-UNet encoder",
        architecture=architecture,
        config=config,
        task="segmentation" if whole else "features",
        outputs=classes or dims[3],
        size=size,
        drops=lambda key: not full and key in surplus,
    )


def read_restore(shapes: Shapes) -> Reading:
    """Read a Restore-RWKV."""
    dim, channels, *_ = shapes.get("patch_embed.weight", 4)
    turns = shapes.found.get("encoder_level1.0.att.spatial_decay", ())
    hidden, width = shapes.get("encoder_level1.0.ffn.key.weight", 2)
    parts = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    values = {
        "dim": dim,
        "in_channels": channels,
        "depths": [shapes.count(f"{part}.{{}}.ln1.weight") for part in parts],
        "refinement": shapes.count("refinement.{}.ln1.weight"),
        "recurrence": turns[0] if len(turns) == 2 else 1,
        "hidden_rate": max(1, hidden // width),
        "segments": 64,
    }
    architecture, config, size = finished(
        "restore_rwkv", {"48": "published"}, values, str(dim), shapes.name
    )
    return Reading(
        family="Restore-RWKV",
        architecture=architecture,
        config=config,
        task="restoration",
        outputs=channels,
        size=size,
        # Stored for the published program, and computed anew from the others.
        drops=lambda key: key.endswith("conv5x5_reparam.weight"),
    )
