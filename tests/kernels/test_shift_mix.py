"""The shift and the mix: both paths, registration, gradients, threads."""

from __future__ import annotations

import pytest
import torch
from napari_medurwkv.kernels import _native, q_shift, shift_mix
from napari_medurwkv.kernels import _shift_mix_portable as portable

CASES = [  # batch, height, width, channels, pixels, heads, gamma, mixes
    (2, 5, 7, 48, 1, 1, 0.25, 3),
    (1, 3, 4, 20, 2, 1, 0.25, 2),
    (1, 1, 6, 64, 1, 2, 0.25, 1),
    (2, 4, 4, 130, 1, 2, 0.2, 6),
    (1, 2, 3, 16, 5, 1, 0.25, 2),
    (1, 14, 14, 192, 1, 3, 0.25, 3),
]


def drawn(batch, height, width, channels, mixes, dtype=torch.float32):
    torch.manual_seed(channels)
    x = torch.randn(batch, height * width, channels, dtype=dtype)
    factors = [torch.rand(1, 1, channels, dtype=dtype) for _ in range(mixes)]
    return x, factors


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(forced, case):
    batch, height, width, channels, pixels, heads, gamma, mixes = case
    x, factors = drawn(batch, height, width, channels, mixes)
    place = (height, width, gamma, pixels, heads)
    grads = [torch.randn_like(x) for _ in factors]
    learned = [part.clone().requires_grad_() for part in (x, *factors)]
    mixed = shift_mix(
        learned[0], (height, width), tuple(learned[1:]), gamma, pixels, heads
    )
    for a, b in zip(mixed, portable.mix(x, factors, *place), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    gx, *by_factor = torch.autograd.grad(mixed, learned, grads)
    wide = [part.double() for part in (x, *factors)]
    exact, exact_factors = portable.mix_backward(
        [grad.double() for grad in grads], wide[0], wide[1:], *place
    )
    torch.testing.assert_close(gx, exact.float(), rtol=1e-5, atol=1e-5)
    for a, b in zip(by_factor, exact_factors, strict=True):
        torch.testing.assert_close(a, b.float(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_the_shift_alone_moves_and_moves_back(forced, case):
    batch, height, width, channels, pixels, heads, gamma, _ = case
    x, _ = drawn(batch, height, width, channels, 0)
    place = (height, width, gamma, pixels, heads)
    x.requires_grad_()
    shifted = q_shift(x, (height, width), gamma, pixels, heads)
    assert torch.equal(shifted, portable.shift(x.detach(), *place))
    grad = torch.randn_like(shifted)
    back = portable.shift(grad, height, width, gamma, -pixels, heads)
    assert torch.equal(torch.autograd.grad(shifted, x, grad)[0], back)


def test_each_head_is_shifted_by_itself(forced):
    x, _ = drawn(1, 4, 5, 128, 0)
    shifted = q_shift(x, (4, 5), heads=2)
    for part in (slice(0, 64), slice(64, 128)):
        assert torch.equal(shifted[..., part], q_shift(x[..., part], (4, 5)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(forced, dtype):
    x, factors = drawn(1, 3, 5, 16, 2, dtype)
    mixed = shift_mix(x, (3, 5), tuple(factor.double() for factor in factors))
    expected = portable.mix(x, factors, 3, 5, 0.25, 1, 1)
    assert all(map(torch.equal, mixed, expected))
    assert mixed[0].dtype == dtype


def test_any_strides(forced):
    x, factors = drawn(2, 3, 5, 16, 2)
    strided = x.mT.contiguous().mT
    spread = [torch.stack((factor, factor), -1)[..., 0] for factor in factors]
    expected = shift_mix(x, (3, 5), tuple(factors))
    found = shift_mix(strided, (3, 5), tuple(spread))
    assert all(map(torch.equal, found, expected))


def test_registration(forced):
    x, factors = drawn(2, 3, 5, 32, 3)
    x.requires_grad_()
    factors = [factor.requires_grad_() for factor in factors]
    arguments = (3, 5, 0.25, 1, 2)
    operators = torch.ops.medurwkv
    torch.library.opcheck(operators.shift_mix.default, (x, factors, *arguments))
    torch.library.opcheck(operators.q_shift.default, (x, *arguments))


def test_compiles_in_one_graph(forced):
    def layer(x, *factors):
        return sum(shift_mix(x, (3, 5), factors)) + q_shift(x, (3, 5))

    torch._dynamo.reset()
    x, factors = drawn(2, 3, 5, 32, 3)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, *factors), layer(x, *factors))


def test_second_derivative_is_refused(forced):
    x, factors = drawn(1, 3, 5, 16, 1)
    x.requires_grad_()
    (mixed,) = shift_mix(x, (3, 5), tuple(factors))
    (gx,) = torch.autograd.grad(mixed.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="shift_mix cannot be differentiated twice"):
        gx.sum().backward()


def test_threads_do_not_matter(forced):
    x, factors = drawn(2, 40, 40, 64, 3)
    grads = [x * 2, x - 1, x * x]
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        mixed = torch.ops.medurwkv.shift_mix(x, factors, 40, 40, 0.25, 1, 1)
        gx, by_factor = torch.ops.medurwkv.shift_mix_backward(
            grads, x, factors, 40, 40, 0.25, 1, 1
        )
        results.append((*mixed, gx, *by_factor))
    if forced == "native":
        for other in results[1:]:
            assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("level", range(len(_native.LEVELS)))
def test_instruction_sets_agree(native, level, monkeypatch):
    if level > native.level:
        pytest.skip(f"this processor has no {_native.LEVELS[level]}")
    x, factors = drawn(1, 6, 7, 50, 2)
    expected = portable.mix(x, factors, 6, 7, 0.25, 1, 1)
    monkeypatch.setattr(_native.load(), "level", level)
    found = shift_mix(x, (6, 7), tuple(factors))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_nothing_to_shift(forced):
    x = torch.zeros(0, 6, 4)
    assert q_shift(x, (2, 3)).shape == x.shape
    (mixed,) = shift_mix(x, (2, 3), (torch.ones(4),))
    assert mixed.shape == x.shape


def test_what_does_not_fit_is_refused():
    x, one = torch.zeros(1, 6, 8), torch.ones(8)
    with pytest.raises(ValueError, match=r"grid \(2, 2\)"):
        q_shift(x, (2, 2))
    with pytest.raises(ValueError, match="8 channels are not 3 equal heads"):
        shift_mix(x, (2, 3), (one,), heads=3)
    with pytest.raises(ValueError, match="must hold 8 values"):
        shift_mix(x, (2, 3), (one[:3],))
    with pytest.raises(ValueError, match="gamma must lie between"):
        q_shift(x, (2, 3), 0.5)
