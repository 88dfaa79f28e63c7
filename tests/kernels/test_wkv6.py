"""WKV6 against its definition, token by token."""

from __future__ import annotations

import pytest
import torch
from napari_medurwkv.kernels import _native, _wkv6_portable, wkv6
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


pytestmark = pytest.mark.usefixtures("forced")


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


SIZES = [(3, 64), (2, 32), (2, 5)]  # the native kernel takes the first two


@pytest.mark.parametrize("tokens", [1, 2, 16, 33, 70])
@pytest.mark.parametrize(("heads", "size"), SIZES)
@pytest.mark.parametrize("level", [-6.0, 0.0, 4.0])
def test_gradients_in_single_precision(tokens, heads, size, level) -> None:
    inputs = drawn(tokens, heads, size)
    inputs[3] += level
    exact_inputs = [x.requires_grad_() for x in inputs]
    grad = torch.randn_like(inputs[2])
    exact = slow_wkv6(*exact_inputs)
    wanted = torch.autograd.grad((exact * grad).sum(), exact_inputs, allow_unused=True)
    single = [x.detach().float().requires_grad_() for x in inputs]
    y = wkv6(*single)
    assert (y - exact).abs().max() <= 2e-6 * exact.abs().max()
    found = torch.autograd.grad(y, single, grad.float())
    for name, a, b in zip("rkvwu", found, wanted, strict=True):
        b = torch.zeros_like(a) if b is None else b
        assert (a - b).abs().max() <= 1e-4 * b.abs().max().clamp(min=1.0), name


def test_decays_so_steep_that_nothing_is_left() -> None:
    r, k, v, w, u = (x.float().requires_grad_() for x in drawn(40, 1, 64))
    steep = torch.full_like(w, 100.0).requires_grad_()
    y = wkv6(r, k, v, steep, u)
    own = (r * k * u.flatten()).sum(-1, keepdim=True) * v
    # Only the neighbours are seen: their decay has not been applied yet.
    before = (r[:, 1:] * k[:, :-1]).sum(-1, keepdim=True) * v[:, :-1]
    after = (r[:, :-1] * k[:, 1:]).sum(-1, keepdim=True) * v[:, 1:]
    expected = own.clone()
    expected[:, 1:] += before
    expected[:, :-1] += after
    assert torch.allclose(y, expected, rtol=1e-5, atol=1e-4)
    for part in torch.autograd.grad(y.sum(), (r, k, v, steep, u)):
        assert part.isfinite().all()


@pytest.mark.parametrize(("heads", "size"), SIZES)
def test_registration(heads, size) -> None:
    inputs = [x.float() for x in drawn(18, heads, size)]
    operator = torch.ops.medurwkv.wkv6.default
    torch.library.opcheck(operator, [x.requires_grad_() for x in inputs])


def test_second_derivative_is_refused() -> None:
    inputs = [x.requires_grad_() for x in drawn(5)]
    y = wkv6(*inputs)
    (gk,) = torch.autograd.grad(y.square().sum(), inputs[1], create_graph=True)
    with pytest.raises(RuntimeError, match="wkv6 cannot be differentiated twice"):
        gk.sum().backward()


def test_compiles_in_one_graph() -> None:
    torch._dynamo.reset()
    inputs = [x.float() for x in drawn(18, 2, 32)]
    compiled = torch.compile(wkv6, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(*inputs), wkv6(*inputs))


def test_the_native_kernel_is_used_and_its_threads_do_not_matter(forced) -> None:
    inputs = [x.float() for x in drawn(70, 3, 64)]
    grad = torch.randn_like(inputs[0])
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found = torch.ops.medurwkv.wkv6_backward(grad, *inputs)
        results.append((wkv6(*inputs), *found))
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))
    portable = _wkv6_portable.forward(*inputs)
    assert torch.equal(results[0][0], portable) == (forced == "portable")


@pytest.mark.parametrize("level", range(len(_native.LEVELS)))
def test_instruction_sets_agree(forced, native, level, monkeypatch) -> None:
    if level > native.level:
        pytest.skip(f"this processor has no {_native.LEVELS[level]}")
    inputs = [x.float() for x in drawn(50, 2, 64)]
    expected = wkv6(*inputs)
    monkeypatch.setattr(_native.load(), "level", level)
    torch.testing.assert_close(wkv6(*inputs), expected, rtol=1e-4, atol=1e-4)
