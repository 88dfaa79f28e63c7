from __future__ import annotations

import pytest
import torch
from napari_medurwkv.kernels import bi_wkv, bi_wkv_reference
from napari_medurwkv.kernels._reference import bi_wkv_dense

OPERATOR = torch.ops.medurwkv.bi_wkv.default
BACKWARD = torch.ops.medurwkv.bi_wkv_backward.default


SEGMENTS = (0, 16)


def leaves(x, dtype=torch.float32):
    return [part.to(dtype).clone().requires_grad_() for part in x.arguments]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("segments", SEGMENTS)
def test_half_precision_is_computed_in_float32(forced, make_inputs, dtype, segments):
    x = make_inputs((2, 1023, 16))
    k, v = x.k.to(dtype), x.v.to(dtype)
    y = bi_wkv(x.w, x.u, k, v, segments)
    assert y.dtype == dtype
    wide = bi_wkv(x.w, x.u, k.float(), v.float(), segments)
    assert torch.equal(y, wide.to(dtype))
    exact = bi_wkv_reference(x.w, x.u, k, v, segments)
    # One rounding, of the result.
    assert (y - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_gradients_are_those_of_float32_rounded(forced, make_inputs, dtype):
    x = make_inputs((1, 64, 16))
    halves = [x.w, x.u, x.k.to(dtype), x.v.to(dtype)]
    halves = [part.requires_grad_() for part in halves]
    grad = x.grad.to(dtype)
    found = torch.autograd.grad(bi_wkv(*halves), halves, grad)
    wide = [part.detach().float().requires_grad_() for part in halves]
    exact = torch.autograd.grad(bi_wkv(*wide), wide, grad.float())
    for a, b, part in zip(found, exact, halves, strict=True):
        assert torch.equal(a, b.to(part.dtype))


def test_half_precision_gradients(forced, make_inputs):
    x = make_inputs((1, 64, 16))
    halves = leaves(x, torch.bfloat16)
    found = torch.autograd.grad(bi_wkv(*halves), halves, x.grad.bfloat16())
    doubles = [part.detach().double().requires_grad_() for part in halves]
    exact = torch.autograd.grad(
        bi_wkv_dense(*doubles), doubles, x.grad.bfloat16().double()
    )
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a - b).abs().max() <= 0.01 * b.abs().max()


def test_parameters_may_have_another_precision_than_keys(forced, make_inputs):
    x = make_inputs((1, 30, 16))
    y = bi_wkv(x.w.double(), x.u.half(), x.k, x.v.half())
    assert y.dtype == torch.float32
    expected = bi_wkv(x.w, x.u.half().float(), x.k, x.v.half().float())
    assert torch.equal(y, expected)


def test_float64_stays_float64(forced, make_inputs):
    x = make_inputs((1, 30, 3)).double()
    y = bi_wkv(*x.arguments)
    assert y.dtype == torch.float64
    assert (y - bi_wkv_reference(*x.arguments)).abs().max() < 1e-12


def test_autocast_leaves_the_types_alone(forced, make_inputs):
    x = make_inputs((1, 300, 16))
    with torch.autocast("cpu", torch.bfloat16):
        y = bi_wkv(x.w, x.u, x.k.half(), x.v.half())
    assert y.dtype == torch.float16
    assert torch.equal(y, bi_wkv(x.w, x.u, x.k.half(), x.v.half()))


def test_autocast_does_not_lower_the_precision(forced, make_inputs):
    x = make_inputs((1, 300, 16))
    with torch.autocast("cpu", torch.bfloat16):
        y = bi_wkv(*x.arguments)
    assert torch.equal(y, bi_wkv(*x.arguments))


def test_any_strides(forced, make_inputs):
    x = make_inputs((2, 60, 24))
    expected = bi_wkv(*x.arguments)
    transposed = x.k.transpose(1, 2).contiguous().transpose(1, 2)
    sliced = torch.stack((x.v, -x.v), -1)[..., 0]
    every_other = torch.stack((x.w, x.u), 1)[:, 0]
    expanded = x.u[:1].expand(24)
    assert torch.equal(bi_wkv(every_other, x.u, transposed, sliced), expected)
    assert torch.equal(
        bi_wkv(x.w, expanded, x.k, x.v), bi_wkv(x.w, expanded.contiguous(), x.k, x.v)
    )
    assert bi_wkv(x.w, x.u, transposed, sliced).is_contiguous()


def test_gradient_of_any_strides(forced, make_inputs):
    x = make_inputs((1, 40, 8))
    arguments = leaves(x)
    expected = torch.autograd.grad(bi_wkv(*arguments), arguments, x.grad)
    w, u, k, v = arguments
    y = bi_wkv(w, u, k.mT.contiguous().mT, v)
    strided = x.grad.mT.contiguous().mT
    found = torch.autograd.grad(y, arguments, strided)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    (constant,) = torch.autograd.grad(bi_wkv(w, u, k, v).sum(), v)  # expanded gradient
    ones = torch.ones_like(x.grad)
    assert torch.equal(constant, torch.autograd.grad(bi_wkv(w, u, k, v), v, ones)[0])


@pytest.mark.parametrize("shape", [(0, 5, 4), (2, 5, 0)])
def test_nothing_to_compute(forced, make_inputs, shape):
    arguments = leaves(make_inputs(shape))
    y = bi_wkv(*arguments)
    assert y.shape == shape
    for a, b in zip(torch.autograd.grad(y.sum(), arguments), arguments, strict=True):
        assert a.shape == b.shape
        assert not a.any()


@pytest.mark.parametrize("tokens", [1, 9, 20])
def test_gradcheck(forced, make_inputs, tokens):
    arguments = leaves(make_inputs((2, tokens, 3), (-30.0, 50.0), 2.0), torch.float64)
    assert torch.autograd.gradcheck(bi_wkv, arguments)


@pytest.mark.parametrize("tokens", [1, 9, 20])
def test_gradcheck_with_segments(forced, make_inputs, tokens):
    arguments = leaves(make_inputs((2, tokens, 3), (-3.0, 3.0), 2.0), torch.float64)
    for segments in (4, 16):
        assert torch.autograd.gradcheck(
            lambda *x, s=segments: bi_wkv(*x, s), arguments, atol=1e-4
        )


def test_only_wanted_gradients_arrive(forced, make_inputs):
    x = make_inputs((1, 12, 4))
    v = x.v.clone().requires_grad_()
    bi_wkv(x.w, x.u, x.k, v).backward(x.grad)
    everything = leaves(x)
    expected = torch.autograd.grad(bi_wkv(*everything), everything, x.grad)[3]
    assert torch.equal(v.grad, expected)


def test_second_derivative_is_refused(forced, make_inputs):
    arguments = leaves(make_inputs((1, 12, 4)))
    y = bi_wkv(*arguments)
    (gk,) = torch.autograd.grad(y.square().sum(), arguments[2], create_graph=True)
    with pytest.raises(RuntimeError, match="bi_wkv cannot be differentiated twice"):
        gk.sum().backward()


@pytest.mark.parametrize("shape", [(2, 9, 4), (1, 1, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("segments", SEGMENTS)
def test_registration(forced, make_inputs, shape, dtype, segments):
    x = make_inputs(shape)
    k, v, grad = (part.to(dtype) for part in (x.k, x.v, x.grad))
    arguments = (x.w, x.u, k, v)
    learned = [part.clone().requires_grad_() for part in arguments]
    torch.library.opcheck(OPERATOR, (*learned, segments))
    torch.library.opcheck(OPERATOR, (*arguments, segments))
    y = bi_wkv(*arguments, segments)
    torch.library.opcheck(
        BACKWARD,
        (grad, *arguments, y, segments),
        test_utils=("test_schema", "test_faketensor"),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiles_in_one_graph(forced, make_inputs, dtype):
    def layer(w, u, k, v):
        return bi_wkv(
            w / k.shape[1], u / k.shape[1], k.to(dtype), v.to(dtype)
        ).sigmoid()

    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=True)
    for tokens in (12, 31):
        x = make_inputs((2, tokens, 4))
        eager, traced = leaves(x), leaves(x)
        y, z = layer(*eager), compiled(*traced)
        assert torch.equal(y, z)
        for a, b in zip(
            torch.autograd.grad(y.sum(), eager),
            torch.autograd.grad(z.sum(), traced),
            strict=True,
        ):
            assert torch.allclose(a, b, atol=1e-6)


def test_shapes_without_computing():
    k = torch.empty((2, 7, 5), device="meta", requires_grad=True)
    w = torch.empty(5, device="meta")
    y = bi_wkv(w, w, k, k)
    assert y.shape == k.shape
    assert torch.autograd.grad(y.sum(), k)[0].shape == k.shape


def test_wrong_arguments_are_named():
    w, k = torch.zeros(4), torch.zeros(1, 3, 4)
    with pytest.raises(TypeError, match="w must be a tensor, not float"):
        bi_wkv(0.0, w, k, k)
    with pytest.raises(TypeError, match=r"v must hold floating point.*torch\.int64"):
        bi_wkv(w, w, k, k.long())
    with pytest.raises(ValueError, match=r"k must have shape .*not \(3, 4\)"):
        bi_wkv(w, w, k[0], k[0])
    with pytest.raises(ValueError, match=r"one shape, not \(1, 3, 4\) and \(1, 2, 4\)"):
        bi_wkv(w, w, k, k[:, 1:])
    with pytest.raises(ValueError, match=r"u must have shape \(4,\).*not \(3,\)"):
        bi_wkv(w, w[1:], k, k)
    with pytest.raises(ValueError, match="the sequence holds no tokens"):
        bi_wkv(w, w, k[:, :0], k[:, :0])
    with pytest.raises(ValueError, match="segments must be 0 or more, not -1"):
        bi_wkv(w, w, k, k, -1)
    with pytest.raises(ValueError, match="w is on meta but k is on cpu"):
        bi_wkv(w.to("meta"), w, k, k)
