"""Readers of RWKV-UNet and Restore-RWKV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.readings import Reading, finished, ratio
from napari_medurwkv.checkpoints.wording import listed, quoted
from napari_medurwkv.errors import CheckpointError

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
    whole = shapes.has("encoder.stage0.0.conv_local.")
    prefix = "encoder." if whole else ""
    stages = [f"{prefix}stage{number}" for number in range(1, 5)]
    _check_widths(shapes, [f"{prefix}stage0", *stages])
    dims = [shapes.get(f"{stage}.0.proj.conv.weight", 4)[0] for stage in stages]
    expansions = []
    for stage in stages:
        second = f"{stage}.1.conv.conv.weight"
        block, factor = (
            (second, 1) if second in shapes else (f"{stage}.0.conv.conv.weight", 2)
        )
        middle, width, *_ = shapes.get(block, 4)
        expansions.append(ratio(middle, width * factor))
    depths = [shapes.count(f"{stage}.") for stage in stages]
    surplus = {
        f"{prefix}stage{stage}.{index}.{part}"
        for stage, depth in enumerate([1, *depths])
        for index in range(depth)
        for part in _UNUSED
        if part.startswith("ln2.") or stage < _FIRST_ATTENDING or index == 0
    }
    full = _all_or_none(shapes, surplus)
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


def _check_widths(shapes: Shapes, stages: list[str]) -> None:
    """Name the convolution whose width differs from that of those around it."""
    following = [*stages[1:], ""]
    for stage, after in zip(stages, following, strict=True):
        for block in (f"{stage}.0", f"{stage}.1"):
            if f"{block}.conv.conv.weight" in shapes:
                shapes.most_agree(
                    (f"{block}.conv.conv.weight", 4, 0),
                    (f"{block}.conv_local.conv.weight", 4, 0),
                    (f"{block}.proj.conv.weight", 4, 1),
                )
        around = [
            (f"{stage}.0.proj.conv.weight", 4, 0),
            (f"{stage}.1.conv.conv.weight", 4, 1),
            (f"{stage}.1.proj.conv.weight", 4, 0),
            (f"{after}.0.conv.conv.weight", 4, 1),
            (f"{after}.0.norm.weight", 1, 0),
        ]
        shapes.most_agree(*(one for one in around if one[0] in shapes))


def _all_or_none(shapes: Shapes, surplus: set[str]) -> bool:
    """Whether a file stores all that is not used; refuse one that lost some of it.

    Files store the second norms of all blocks or of none, and likewise the mixers of
    blocks that do not attend. A file with a part of them was damaged, and what else it
    lost nobody knows.

    Raises
    ------
    CheckpointError
        Names what is missing.
    """
    norms = {key for key in surplus if ".ln2." in key}
    stored = []
    for group in (norms, surplus - norms):
        missing = sorted(key for key in group if key not in shapes)
        if missing and len(missing) < len(group):
            raise CheckpointError(
                f"{shapes.name} cannot be used: "
                f"{listed([quoted(key) for key in missing], ', ')} "
                f"{'is' if len(missing) == 1 else 'are'} missing, while others like "
                "that are there."
            )
        stored.append(not missing)
    return all(stored)


def read_restore(shapes: Shapes) -> Reading:
    """Read a Restore-RWKV."""
    shapes.most_agree(
        ("patch_embed.weight", 4, 0),
        ("patch_embed.bias", 1, 0),
        ("encoder_level1.0.ln1.weight", 1, 0),
    )
    dim, channels, *_ = shapes.get("patch_embed.weight", 4)
    turns = shapes.found.get("encoder_level1.0.att.spatial_decay", ())
    hidden, width = shapes.get("encoder_level1.0.ffn.key.weight", 2)
    parts = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    values = {
        "dim": dim,
        "in_channels": channels,
        "depths": [shapes.count(f"{part}.") for part in parts],
        "refinement": shapes.count("refinement."),
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
