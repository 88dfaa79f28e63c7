"""The networks against inputs, outputs and key lists of the published modules."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from napari_medurwkv.models import create_model

TRUNK = {"img_size": 64, "embed_dim": 32, "depth": 3, "out_indices": (0, 1, 2)}
SIXTH = {"img_size": 64, "embed_dim": 128, "depth": 2}
UNET = {"num_classes": 2}
OLD = {"full_layout": False}
ADAPTER = {
    "img_size": 64,
    "embed_dim": 24,
    "depth": 4,
    "conv_inplane": 8,
    "deform_num_heads": 2,
}


@pytest.mark.parametrize(
    ("vector", "name", "config", "tolerance"),
    [
        ("vrwkv_plain", "vrwkv_tiny", TRUNK, 1e-4),
        ("vrwkv_resized_48x80", "vrwkv_tiny", TRUNK, 1e-4),
        ("vrwkv6_plain", "vrwkv6_tiny", SIXTH | {"out_indices": (0, 1)}, 1e-4),
        ("vrwkv_adapter_small", "vrwkv_adapter_tiny", ADAPTER, 1e-3),
        ("rwkv_unet_t_64", "rwkv_unet_tiny", UNET, 1e-3),
    ],
)
def test_published_outputs(
    references: Any,
    vector: str,
    name: str,
    config: dict[str, Any],
    tolerance: float,
) -> None:
    image, expected, state = references.vector(vector)
    network = create_model(name, **config).eval()
    assert [[k, tuple(v.shape)] for k, v in network.state_dict().items()] == state
    references.fill_drawn(network)
    with torch.inference_mode():
        maps = network(torch.from_numpy(image))
    maps = (maps,) if isinstance(maps, torch.Tensor) else maps
    for produced, wanted in zip(maps, expected, strict=True):
        np.testing.assert_allclose(produced.numpy(), wanted, atol=tolerance, rtol=0)


def _golden() -> list[tuple[str, str, dict[str, Any]]]:
    """List every network entry of the file with the network that it is of."""
    scaled: dict[str, Any] = {"post_norm": True, "layer_scale": 1.0}
    plain = TRUNK | {"embed_dim": 24, "out_indices": (0, 2)}
    restore = {"dim": 8, "depths": (1, 1, 1, 1), "refinement": 1}
    cases: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
        ("vrwkv_prenorm", "vrwkv_tiny", plain, ("64x64", "96x128")),
        ("vrwkv_postnorm_ls", "vrwkv_tiny", plain | scaled, ("64x64", "96x128")),
        (
            "vrwkv_postnorm_ls_keynorm",
            "vrwkv_tiny",
            plain | scaled | {"key_norm": True},
            ("64x64", "96x128"),
        ),
        ("adapter", "vrwkv_adapter_tiny", ADAPTER, ("64x96",)),
        ("rwkv_unet_T(3ch)", "rwkv_unet_tiny", {"num_classes": 3}, ("64x64",)),
        ("rwkv_unet_B(1ch repeated)", "rwkv_unet_base", {"num_classes": 3}, ("64x64",)),
        ("restore_rwkv(dim8,1,1,1,1,ref1)", "restore_rwkv", restore, ("16x24",)),
    ]
    found = [("vrwkv6_prenorm|64x96", "vrwkv6_tiny", SIXTH | {"out_indices": (1,)})]
    for case, name, config, sizes in cases:
        splits: tuple[int, ...] = (64,) if name == "restore_rwkv" else (16, 32)
        for size in sizes:
            found.append((f"{case}|paper|{size}", name, config))
            found += [
                (f"{case}|cuda_split{split}|{size}", name, config | {"segments": split})
                for split in splits
            ]
    return found


def test_every_golden_network_is_tested(references: Any) -> None:
    entries = json.loads((references.folder / "golden.json").read_text())
    assert {entry for entry, _, _ in _golden()} == set(entries) - {"op_T6"}


@pytest.mark.parametrize(("entry", "name", "config"), _golden())
def test_golden_sums(
    references: Any, entry: str, name: str, config: dict[str, Any]
) -> None:
    height, width = map(int, entry.rsplit("|", 1)[1].split("x"))
    channels = 1 if name in ("rwkv_unet_base", "restore_rwkv") else 3
    network = create_model(name, **config).double().eval()
    references.fill_waved(network)
    count = channels * height * width
    image = torch.cos(0.013 * torch.arange(count, dtype=torch.float64))
    with torch.inference_mode():
        maps = network(image.reshape(1, channels, height, width))
    maps = (maps,) if isinstance(maps, torch.Tensor) else maps
    for produced, record in zip(maps, references.golden(entry), strict=True):
        assert list(produced.shape) == record["shape"]
        flat = produced.numpy().reshape(-1)
        assert flat.sum() == pytest.approx(record["sum"], rel=1e-10)
        assert (flat**2).sum() == pytest.approx(record["sumsq"], rel=1e-10)
        np.testing.assert_allclose(flat[:5], record["first5"], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(flat[-3:], record["last3"], rtol=1e-9, atol=1e-11)


KEYS = [
    ("vrwkv_tiny", {}, "vrwkv_t_backbone", 5_962_176),
    ("vrwkv_small", {}, "vrwkv_s_backbone", 23_435_136),
    ("vrwkv_base", {}, "vrwkv_b_backbone", 92_876_544),
    ("vrwkv_large", {}, "vrwkv_l_backbone", 328_659_968),
    ("vrwkv6_tiny", {}, "vrwkv6_t_backbone", 7_448_000),
    ("vrwkv6_small", {}, "vrwkv6_s_backbone", 27_292_000),
    ("vrwkv6_base", {}, "vrwkv6_b_backbone", 104_129_000),
    ("vrwkv_adapter_tiny", {}, "vrwkv_adapter_t", 8_404_592),
    ("vrwkv_adapter_small", {}, "vrwkv_adapter_s", 29_264_528),
    ("vrwkv_adapter_base", {}, "vrwkv_adapter_b", 106_555_616),
    ("vrwkv_adapter_large", {}, "vrwkv_adapter_l", 351_894_720),
    ("rwkv_unet_tiny", {}, "rwkv_unet_t_layout2025-10", 5_678_000),
    ("rwkv_unet_small", {}, "rwkv_unet_s_layout2025-10", 15_088_000),
    ("rwkv_unet_base", {}, "rwkv_unet_b_layout2025-10", 24_643_000),
    ("rwkv_unet_tiny", OLD, "rwkv_unet_t_layout2025-01", 3_311_000),
    ("rwkv_unet_small", OLD, "rwkv_unet_s_layout2025-01", 9_901_000),
    ("rwkv_unet_base", OLD, "rwkv_unet_b_layout2025-01", 17_374_000),
    ("restore_rwkv", {}, "restore_rwkv", 28_370_000),
]


@pytest.mark.parametrize(("name", "config", "keys", "count"), KEYS)
def test_keys_shapes_order_and_count(
    references: Any, name: str, config: dict[str, Any], keys: str, count: int
) -> None:
    with torch.device("meta"):
        network = create_model(name, **config)
    produced = [
        (key, "x".join(map(str, value.shape)) or "scalar")
        for key, value in network.state_dict().items()
    ]
    assert produced == references.keys(keys)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    # Some published counts are rounded to thousands, one to ten thousands.
    rounded = 5000 if name == "restore_rwkv" else 500
    assert parameters == pytest.approx(count, abs=0 if count % 1000 else rounded)


def test_every_key_list_is_tested(references: Any) -> None:
    lists = {path.stem for path in (references.folder / "keys").glob("*.tsv")}
    # Zig-RiR is recognised and refused: it has no published weights.
    zig = {"zig_rir_2d_c2_512", "zig_rir_3d_c9"}
    assert {keys for _, _, keys, _ in KEYS} == lists - zig
