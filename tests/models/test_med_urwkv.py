"""The segmentation network: layout, sizes, budget, precision, and that it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional as F

from napari_medurwkv.models import MedURWKV, create_model
from napari_medurwkv.models.med_urwkv import PatchExpand, _spread

if TYPE_CHECKING:
    from torch import Tensor


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_tiny_has_the_published_budget_and_the_keys_of_the_adapter() -> None:
    with torch.device("meta"):
        network = create_model("med_urwkv_tiny", num_classes=2)
        adapter = create_model("vrwkv_adapter_tiny")
    assert count(network) == pytest.approx(14.33e6, rel=0.01)
    prefix = "encoder."
    keys = [key for key in network.state_dict() if key.startswith(prefix)]
    assert [key.removeprefix(prefix) for key in keys] == list(adapter.state_dict())


def test_nano_fits_into_a_wheel() -> None:
    with torch.device("meta"):
        network = create_model("med_urwkv_nano", num_classes=4)
    assert isinstance(network, MedURWKV)
    assert count(network.encoder) == 1_698_448
    assert count(network) < 2.6e6
    assert sum(value.numel() for value in network.state_dict().values()) * 2 < 8e6


def test_key_prefixes(small_network: MedURWKV) -> None:
    prefixes = {key.split(".")[0] for key in small_network.state_dict()}
    assert prefixes == {"encoder", "bottleneck", "decoder", "head"}


@pytest.mark.parametrize(
    "size", [(64, 64), (32, 96), (1, 1), (1, 77), (33, 31), (65, 64)]
)
def test_any_size(small_network: MedURWKV, size: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size)
    before = image.clone()
    with torch.inference_mode():
        logits = small_network.eval()(image)
    assert logits.shape == (2, 2, *size)
    assert logits.is_contiguous()
    assert torch.isfinite(logits).all()
    assert torch.equal(image, before)


def test_padding_repeats_the_border_and_is_cropped(small_network: MedURWKV) -> None:
    image = torch.randn(1, 3, 50, 40)
    padded = F.pad(image, (0, 24, 0, 14), mode="replicate")
    with torch.inference_mode():
        whole = small_network.eval()(padded)
        torch.testing.assert_close(small_network(image), whole[..., :50, :40])


def test_images_of_a_batch_do_not_meet(small_network: MedURWKV) -> None:
    images = torch.randn(3, 3, 32, 64)
    with torch.inference_mode():
        together = small_network.eval()(images)
        alone = torch.cat([small_network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_cells_are_laid_out_in_row_major_order() -> None:
    cells = torch.arange(2 * 3 * 4).reshape(1, 6, 4, 1)
    pixels = _spread(cells, (2, 3), 2)[0, ..., 0]
    for row in range(4):
        for column in range(6):
            token = (row // 2) * 3 + column // 2
            inside = (row % 2) * 2 + column % 2
            assert pixels[row, column] == token * 4 + inside


def test_expansion_normalises_each_new_token() -> None:
    expand = PatchExpand(8, 4, 2)
    cells = expand(torch.randn(2, 5, 8))
    assert cells.shape == (2, 5, 4, 4)
    assert cells.mean(-1).abs().max() < 1e-5


def test_head_is_the_convolution_that_it_is_stored_as(small_network: MedURWKV) -> None:
    seen: list[tuple[Tensor, tuple[int, int]]] = []
    small_network.decoder.register_forward_hook(lambda *a: seen.append(a[-1]))
    image = torch.randn(1, 3, 32, 64)
    with torch.inference_mode():
        logits = small_network.eval()(image)
        features = _spread(*seen[0], 4).permute(0, 3, 1, 2)
        torch.testing.assert_close(small_network.head(features), logits)


def test_logits_follow_the_image(small_network: MedURWKV) -> None:
    image = torch.zeros(1, 3, 128, 128)
    changed = image.clone()
    changed[..., 16:24, 96:104] = 5
    with torch.inference_mode():
        difference = (small_network.eval()(image) - small_network(changed)).abs()
    row, column = divmod(difference.sum(1).argmax().item(), 128)
    assert 8 <= row < 32
    assert 88 <= column < 112


def blobs(side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows, columns = torch.meshgrid(
        torch.arange(side), torch.arange(side), indexing="ij"
    )
    labels = torch.zeros(4, side, side, dtype=torch.long)
    for label in labels:
        for _ in range(3):
            y, x = (torch.rand(2, generator=generator) * side).tolist()
            radius = side * (0.08 + 0.12 * torch.rand(1, generator=generator).item())
            label[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = 1
    noise = 0.3 * torch.randn(4, 3, side, side, generator=generator)
    return labels[:, None].float() + noise, labels


def test_learns_four_images_by_heart(small_network: MedURWKV) -> None:
    images, labels = blobs(32)
    optimiser = torch.optim.AdamW(small_network.parameters(), lr=5e-3)
    small_network.train()
    for _ in range(60):
        optimiser.zero_grad()
        loss = F.cross_entropy(small_network(images), labels)
        loss.backward()
        optimiser.step()
    found = small_network(images).argmax(1)
    both = ((found == 1) & (labels == 1)).sum()
    dice = 2 * both / ((found == 1).sum() + (labels == 1).sum())
    assert dice > 0.95


def test_every_parameter_gets_a_gradient(small_network: MedURWKV) -> None:
    small_network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    missing = [
        name
        for name, parameter in small_network.named_parameters()
        if parameter.grad is None or not torch.isfinite(parameter.grad).all()
    ]
    assert not missing


def test_bfloat16_autocast(small_network: MedURWKV) -> None:
    image = torch.randn(2, 3, 64, 40)
    with torch.no_grad():
        expected = small_network.eval()(image)
    with torch.autocast("cpu", torch.bfloat16):
        logits = small_network(image)
    assert logits.dtype == torch.bfloat16
    scale = expected.abs().max().item()
    assert (logits.float() - expected).abs().max().item() < 0.1 * scale
    logits.float().square().mean().backward()
    assert torch.isfinite(small_network.encoder.pos_embed.grad).all()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_cuda(small_network: MedURWKV, precision: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    image = torch.randn(2, 3, 64, 40)
    with torch.no_grad():
        expected = small_network.eval()(image)
    network = small_network.cuda()
    with torch.autocast("cuda", precision, enabled=precision != torch.float32):
        logits = network(image.cuda())
    tolerance = 1e-3 if precision == torch.float32 else 0.1
    difference = (logits.float().cpu() - expected).abs().max().item()
    assert difference < tolerance * expected.abs().max().item()
    logits.float().square().mean().backward()


# torch's own tracer makes an object of every autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_in_one_graph(small_config: dict[str, Any]) -> None:
    # Every kind of part once: tracing takes long.
    fewest = {"depth": 1, "interactions": 1, "extra_extractors": 1}
    config = small_config | fewest | {"decoder_depths": (0, 0, 1)}
    network = create_model("med_urwkv_nano", **config).eval()
    image = torch.randn(1, 3, 40, 64)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(image), network(image))
