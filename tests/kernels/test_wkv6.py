"""WKV6 against its definition, token by token."""

from __future__ import annotations

import pytest
import torch
from napari_medurwkv.kernels import wkv6
from torch import Tensor


def slow_wkv6(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    batch, tokens, channels = k.shape
    heads, size = u.shape
    r, k, v, w = (x.reshape(batch, tokens, heads, size) for x in (r, k, v, w))
    decay = torch.exp(-torch.exp(w))
    y = torch.zeros_like(v)
    state = torch.zeros(batch, heads, size, size, dtype=k.dtype)
    for t in reversed(range(tokens)):
        y[:, t] = torch.einsum("bhj,bhji->bhi", r[:, t], state)
        state = decay[:, t, ..., None] * state + k[:, t, ..., None] * v[:, t, :, None]
    state = torch.zeros_like(state)
    for t in range(tokens):
        outer = k[:, t, ..., None] * v[:, t, :, None]
        seen = state + u[..., None] * outer
        y[:, t] += torch.einsum("bhj,bhji->bhi", r[:, t], seen)
        state = decay[:, t, ..., None] * state + outer
    return y.reshape(batch, tokens, channels)


def drawn(tokens: int, heads: int = 2, size: int = 4) -> list[Tensor]:
    torch.manual_seed(tokens)
    r, k, v, w = torch.randn(4, 2, tokens, heads * size, dtype=torch.float64)
    return [r, k, v, w, torch.randn(heads, size, dtype=torch.float64)]


@pytest.mark.parametrize("tokens", [1, 2, 15, 16, 17, 50])
def test_definition(tokens: int) -> None:
    inputs = drawn(tokens)
    torch.testing.assert_close(wkv6(*inputs), slow_wkv6(*inputs))


def test_float32_within_its_precision_and_dtype_of_the_key() -> None:
    inputs = drawn(40)
    exact = slow_wkv6(*inputs)
    single = wkv6(*(x.float() for x in inputs))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, exact.float(), rtol=1e-4, atol=1e-4)
    assert wkv6(*(x.bfloat16() for x in inputs)).dtype == torch.bfloat16


def test_extreme_decays_stay_finite_and_right() -> None:
    r, k, v, _, u = drawn(64)
    w = torch.empty_like(k).uniform_(
        -20, 20, generator=torch.Generator().manual_seed(3)
    )
    exact = slow_wkv6(r, k, v, w, u)
    torch.testing.assert_close(wkv6(r, k, v, w, u), exact)
    single = wkv6(*(x.float() for x in (r, k, v, w, u)))
    torch.testing.assert_close(single, exact.float(), rtol=1e-3, atol=1e-3)


def test_long_sequence_is_finite() -> None:
    torch.manual_seed(0)
    r, k, v = torch.randn(3, 1, 16384, 8)
    w = torch.linspace(-20, 20, 16384)[None, :, None].expand_as(k)
    assert wkv6(r, k, v, w, torch.randn(2, 4)).isfinite().all()


def test_gradient() -> None:
    inputs = [x.requires_grad_() for x in drawn(5, heads=1, size=3)]
    assert torch.autograd.gradcheck(wkv6, inputs)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    r, k, v, w, u = drawn(4)
    with pytest.raises(ValueError, match="one shape"):
        wkv6(r, k[:, :3], v, w, u)
    with pytest.raises(ValueError, match="one shape"):
        wkv6(r, k, v, w, u[:1])
