"""The networks against inputs, outputs and key lists of the published modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_medurwkv.models import create_model

TRUNK = {"img_size": 64, "embed_dim": 32, "depth": 3, "out_indices": (0, 1, 2)}
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
        ("vrwkv_adapter_small", "vrwkv_adapter_tiny", ADAPTER, 1e-3),
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
    for produced, wanted in zip(maps, expected, strict=True):
        np.testing.assert_allclose(produced.numpy(), wanted, atol=tolerance, rtol=0)


GOLDEN = [
    (f"{case}|paper|{size}", "vrwkv_tiny", variant)
    for case, variant in (
        ("vrwkv_prenorm", {}),
        ("vrwkv_postnorm_ls", {"post_norm": True, "layer_scale": 1.0}),
        (
            "vrwkv_postnorm_ls_keynorm",
            {"post_norm": True, "layer_scale": 1.0, "key_norm": True},
        ),
    )
    for size in ("64x64", "96x128")
] + [("adapter|paper|64x96", "vrwkv_adapter_tiny", {})]


@pytest.mark.parametrize(("entry", "name", "variant"), GOLDEN)
def test_golden_sums(
    references: Any, entry: str, name: str, variant: dict[str, Any]
) -> None:
    height, width = map(int, entry.rsplit("|", 1)[1].split("x"))
    if name == "vrwkv_tiny":
        config = TRUNK | {"embed_dim": 24, "out_indices": (0, 2)} | variant
    else:
        config = ADAPTER
    network = create_model(name, **config).double().eval()
    references.fill_waved(network)
    image = torch.cos(0.013 * torch.arange(3 * height * width, dtype=torch.float64))
    with torch.inference_mode():
        maps = network(image.reshape(1, 3, height, width))
    for produced, record in zip(maps, references.golden(entry), strict=True):
        assert list(produced.shape) == record["shape"]
        flat = produced.numpy().reshape(-1)
        assert flat.sum() == pytest.approx(record["sum"], rel=1e-10)
        assert (flat**2).sum() == pytest.approx(record["sumsq"], rel=1e-10)
        np.testing.assert_allclose(flat[:5], record["first5"], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(flat[-3:], record["last3"], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "keys", "count"),
    [
        ("vrwkv_tiny", "vrwkv_t_backbone", 5_962_176),
        ("vrwkv_small", "vrwkv_s_backbone", 23_435_136),
        ("vrwkv_base", "vrwkv_b_backbone", 92_876_544),
        ("vrwkv_large", "vrwkv_l_backbone", 328_659_968),
        ("vrwkv_adapter_tiny", "vrwkv_adapter_t", 8_404_592),
        ("vrwkv_adapter_small", "vrwkv_adapter_s", 29_264_528),
        ("vrwkv_adapter_base", "vrwkv_adapter_b", 106_555_616),
        ("vrwkv_adapter_large", "vrwkv_adapter_l", 351_894_720),
    ],
)
def test_keys_shapes_order_and_count(
    references: Any, name: str, keys: str, count: int
) -> None:
    with torch.device("meta"):
        network = create_model(name)
    produced = [
        (key, "x".join(map(str, value.shape)) or "scalar")
        for key, value in network.state_dict().items()
    ]
    assert produced == references.keys(keys)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
