"""The kernels on a GPU against definitions in float64."""

from __future__ import annotations

import pytest
import torch
from napari_medurwkv.kernels import (
    _cuda,
    _portable,
    backend_for,
    bi_wkv,
    bi_wkv_reference,
)
from napari_medurwkv.kernels._cuda_bi_wkv import ELEMENTS, run_backward
from napari_medurwkv.kernels._cuda_plan import plan_stream
from napari_medurwkv.kernels._cuda_stream import stream_job
from napari_medurwkv.kernels._reference import bi_wkv_dense
from torch.nn.functional import pad

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
]
DECAYS = [(-5.0, 3.0), (50.0, 50.0), (-20.0, -20.0), (-300.0, 300.0)]
HALVES = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


@pytest.fixture
def on_gpu(make_inputs):
    """Inputs on the GPU, as arguments and gradient, beside those on the CPU."""

    def make(*arguments, **options):
        x = make_inputs(*arguments, **options)
        return x, [t.cuda() for t in x.arguments], x.grad.cuda()

    return make


def close(got, want, bar):
    return (got.double().cpu() - want.cpu()).abs().max() <= bar * want.abs().max()


@pytest.mark.parametrize(
    ("tokens", "channels"),
    [(1, 1), (2, 33), (49, 8), (49, 33), (196, 64), (1000, 34), (5000, 8), (20001, 4)],
)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_forward(on_gpu, tokens, channels, decay, spread):
    x, given, _ = on_gpu((2, tokens, channels), decay, spread)
    y = _cuda.forward(*given).cpu()
    moderate = spread == 1 and abs(decay[0]) <= 50
    bar = 2e-6 if moderate else 2e-5
    assert (y - bi_wkv_reference(*x.arguments)).abs().max() <= bar


@pytest.mark.parametrize("tokens", [1, 49, 700, 2100])
@pytest.mark.parametrize("channels", [8, 33])
@pytest.mark.parametrize("decay", DECAYS)
def test_backward(on_gpu, tokens, channels, decay):
    x, given, grad = on_gpu((1, tokens, channels), decay)
    leaves = [t.double().cuda().requires_grad_() for t in x.arguments]
    dense = bi_wkv_dense(*leaves)
    expected = torch.autograd.grad(dense, leaves, grad.double())
    gradients = _cuda.backward(grad, *given, dense.detach().float())
    for got, want in zip(gradients, expected, strict=True):
        assert (got - want).abs().max() <= 1e-4 * want.abs().max() + 1e-6


@pytest.fixture(params=[torch.float32, *HALVES])
def streams(request):
    """Launches for long sequences, cut as they are by default, for any shape."""
    dtype = request.param

    def make(shape, *, backward):
        cut = plan_stream(backward, dtype != torch.float32)
        return stream_job(cut, 0, shape, ELEMENTS[dtype], backward=backward)

    return dtype, make


@pytest.mark.parametrize(
    ("tokens", "channels"), [(1, 1), (50, 33), (700, 66), (2100, 8), (20001, 4)]
)
@pytest.mark.parametrize("decay", DECAYS)
def test_forward_of_long_sequences(on_gpu, streams, tokens, channels, decay):
    dtype, make = streams
    _, (w, u, k, v), _ = on_gpu((2, tokens, channels), decay)
    k, v = k.to(dtype), v.to(dtype)
    y = torch.full_like(k, torch.nan)
    make(k.shape, backward=False).forward(w, u, k, v, y)
    want = bi_wkv_reference(*(t.float().cpu() for t in (w, u, k, v)))
    room = 1.01 * HALVES.get(dtype, 0) * want.abs()
    moderate = abs(decay[0]) <= 50
    assert ((y.cpu() - want).abs() <= room + (2e-6 if moderate else 2e-5)).all()


@pytest.mark.parametrize("tokens", [1, 49, 700, 2100])
@pytest.mark.parametrize("channels", [8, 33])
@pytest.mark.parametrize("decay", DECAYS)
def test_backward_of_long_sequences(on_gpu, streams, tokens, channels, decay):
    dtype, make = streams
    _, (w, u, k, v), grad = on_gpu((2, tokens, channels), decay)
    k, v, grad = (t.to(dtype) for t in (k, v, grad))
    leaves = [t.double().requires_grad_() for t in (w, u, k, v)]
    expected = torch.autograd.grad(bi_wkv_dense(*leaves), leaves, grad.double())
    gk, gv = torch.full_like(k, torch.nan), torch.full_like(v, torch.nan)
    job = make(k.shape, backward=True)
    gw, gu = run_backward(job, grad, w, u, k, v, gk, gv)
    for got, want in zip((gw, gu, gk, gv), expected, strict=True):
        room = 1.01 * HALVES.get(got.dtype, 0) * want.abs()
        assert ((got - want).abs() <= room + 1e-4 * want.abs().max() + 1e-6).all()


@pytest.mark.parametrize("tokens", [2, 196, 4096])
@pytest.mark.parametrize("decay", [(-5.0, 3.0), (50.0, 50.0)])
def test_portable_on_the_gpu(on_gpu, tokens, decay):
    x, given, grad = on_gpu((2, tokens, 33), decay)
    y = _portable.forward(*given)
    assert (y.cpu() - bi_wkv_reference(*x.arguments)).abs().max() <= 2e-6
    gradients = _portable.backward(grad, *given, y)
    for got, want in zip(gradients, _cuda.backward(grad, *given, y), strict=True):
        assert (got - want).abs().max() <= 1e-4 * want.abs().max() + 1e-6


def test_portable_can_be_captured(on_gpu):
    _, given, _ = on_gpu((1, 100, 8))
    want = _portable.forward(*given)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = _portable.forward(*given)
    graph.replay()
    assert (got - want).abs().max() <= 2e-6


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("channels", [7, 30, 64])
def test_halves_are_the_rounded_float32_result(on_gpu, dtype, channels):
    _, (w, u, k, v), grad = on_gpu((2, 300, channels))
    k, v, grad = (t.to(dtype) for t in (k, v, grad))
    wide = [t.float() for t in (k, v)]
    y, exact = _cuda.forward(w, u, k, v), _cuda.forward(w, u, *wide)
    assert y.dtype == dtype
    assert ((y - exact).abs() <= 1.01 * HALVES[dtype] * exact.abs() + 1e-6).all()
    got = _cuda.backward(grad, w, u, k, v, y)
    want = _cuda.backward(grad.float(), w, u, *wide, exact)
    for a, b in zip(got, want, strict=True):
        room = 1.01 * HALVES[dtype] * b.abs() + 1e-5 * b.abs().max()
        assert ((a - b).abs() <= room).all()


@pytest.mark.parametrize("segments", [16, 32, 64])
@pytest.mark.parametrize("tokens", [1, 49, 333, 2100])
def test_segments(on_gpu, segments, tokens):
    x, given, _ = on_gpu((2, tokens, 8))
    y = _cuda.forward(*given, segments)
    assert (y.double().cpu() - segmented(*x.arguments, segments)).abs().max() <= 3e-6


def segmented(w, u, k, v, segments):
    """The published variant: its weights between all pairs of tokens, in float64."""
    w, u, k, v = (x.double() for x in (w, u, k, v))
    tokens = k.shape[1]
    length = -(-tokens // segments)
    t = torch.arange(tokens).view(-1, 1, 1)
    i = torch.arange(tokens).view(1, -1, 1)
    start = t // length * length
    excess = torch.expm1(w)
    near = torch.exp(-w * (t - i - 1)) - (i > start) * excess * torch.exp(w * (t - i))
    own = torch.exp(u) - (t > start) * excess
    weights = torch.where(i < start, torch.exp(-w * (t - i)), near)
    weights = torch.where(i == t, own, weights)
    weights = torch.where(i > t, torch.exp(-w * (i - t)), weights)
    e = torch.exp(k - k.amax(1, keepdim=True))
    numerator = torch.einsum("tic,bic->btc", weights, e * v)
    return numerator / torch.einsum("tic,bic->btc", weights, e)


def test_misaligned_tensors(on_gpu):
    x, (w, u, k, v), _ = on_gpu((1, 100, 36))
    shifted = torch.empty(k.numel() + 1, device="cuda")[1:].view_as(k).copy_(k)
    want = bi_wkv_reference(*x.arguments)
    assert (_cuda.forward(w, u, shifted, v).cpu() - want).abs().max() <= 2e-6


def test_same_result_every_time(on_gpu):
    _, given, grad = on_gpu((2, 3000, 192))
    y = _cuda.forward(*given)
    gradients = _cuda.backward(grad, *given, y)
    for _ in range(10):
        assert torch.equal(_cuda.forward(*given), y)
        again = _cuda.backward(grad, *given, y)
        assert all(map(torch.equal, again, gradients))


def test_graph_capture_and_streams(on_gpu):
    _, given, grad = on_gpu((1, 20000, 64))
    want = _cuda.forward(*given), *_cuda.backward(grad, *given, grad)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        got = _cuda.forward(*given)
    torch.cuda.current_stream().wait_stream(side)
    assert torch.equal(got, want[0])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = _cuda.forward(*given), *_cuda.backward(grad, *given, grad)
    given[2].neg_()
    graph.replay()
    expected = _cuda.forward(*given), *_cuda.backward(grad, *given, grad)
    assert all(map(torch.equal, captured, expected))
    assert not torch.equal(captured[0], want[0])


def test_the_operator_uses_the_kernels(on_gpu):
    assert backend_for("cuda").name == "cuda"
    _, given, grad = on_gpu((1, 100, 32))
    leaves = [t.requires_grad_() for t in given]
    y = bi_wkv(*leaves)
    gradients = torch.autograd.grad(y, leaves, grad)
    assert torch.equal(y, _cuda.forward(*(t.detach() for t in given)))
    given = [t.detach() for t in given]
    assert all(map(torch.equal, gradients, _cuda.backward(grad, *given, y.detach())))
    torch.library.opcheck(torch.ops.medurwkv.bi_wkv.default, given)


def test_compiles_without_a_break(on_gpu):
    pytest.importorskip("triton")
    _, given, _ = on_gpu((1, 100, 32))
    compiled = torch.compile(lambda *x: bi_wkv(*x) * 2, fullgraph=True)
    assert torch.equal(compiled(*given), bi_wkv(*given) * 2)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "heads", "pixels"),
    [
        (2, 14, 14, 192, 1, 1),
        (1, 7, 5, 30, 1, 2),
        (2, 9, 8, 192, 3, 1),
        (1, 1, 1, 8, 1, 1),
    ],
)
def test_shift_mix(dtype, batch, height, width, channels, heads, pixels):
    torch.manual_seed(0)
    shape = (batch, height * width, channels)
    head = channels // heads
    bounds = [head * m // 4 for m in (1, 2, 3, 4)]
    x = torch.randn(shape, device="cuda").to(dtype)
    factors = [torch.rand(channels, device="cuda").to(dtype) for _ in range(3)]
    grads = [torch.randn_like(x) for _ in factors]
    leaves = [t.double().requires_grad_() for t in (x, *factors)]
    shifted = shift(leaves[0], height, width, heads, bounds, pixels)
    wanted = [shifted + f * (leaves[0] - shifted) for f in leaves[1:]]
    where = (height, width, bounds, pixels, heads)
    bar = HALVES.get(dtype, 1e-6)
    for got, want in zip(
        _cuda.shift_mix_forward(x, factors, *where), wanted, strict=True
    ):
        assert close(got, want.detach(), bar)
    expected = torch.autograd.grad(wanted, leaves, [g.double() for g in grads])
    gx, sums = _cuda.shift_mix_backward(grads, x, factors, *where)
    for got, want in zip((gx, *sums), expected, strict=True):
        assert close(got, want, bar)


def shift(x, height, width, heads, bounds, pixels):
    grid = x.unflatten(1, (height, width)).unflatten(-1, (heads, -1))
    out = grid.clone()
    edges = (0, *bounds)
    for n, (down, across) in enumerate(((0, -1), (0, 1), (-1, 0), (1, 0))):
        part = slice(edges[n], edges[n + 1])
        wide = pad(grid[..., part], (0, 0, 0, 0, *[pixels] * 4))
        top, left = pixels * (1 + down), pixels * (1 + across)
        out[..., part] = wide[:, top : top + height, left : left + width]
    return out.flatten(-2).flatten(1, 2)


@pytest.mark.parametrize("tokens", [1, 5, 37, 300])
@pytest.mark.parametrize("steepness", [1.0, 4.0])
def test_wkv6(tokens, steepness):
    torch.manual_seed(0)
    r, k, v, w, grad = torch.randn(5, 2, tokens, 128, device="cuda")
    u, w = torch.randn(2, 64, device="cuda"), w * steepness
    leaves = [t.double().requires_grad_() for t in (r, k, v, w, u)]
    want = wkv6(*leaves)
    expected = torch.autograd.grad(want, leaves, grad.double())
    given = (r.contiguous(), k.contiguous(), v.contiguous(), w, u)
    assert close(_cuda.wkv6_forward(*given), want.detach(), 1e-5)
    for got, exact in zip(_cuda.wkv6_backward(grad, *given), expected, strict=True):
        assert (got - exact).abs().max() <= 1e-4 * exact.abs().max() + 1e-6


def wkv6(r, k, v, w, u):
    """WKV6 as sums over all pairs of tokens."""
    heads = u.shape[0]
    r, k, v, w = (x.unflatten(-1, (heads, 64)) for x in (r, k, v, w))
    fade = torch.cumsum(-torch.exp(w), 1)
    tokens = r.shape[1]
    before = torch.cat((torch.zeros_like(fade[:, :1]), fade[:, :-1]), 1)
    t = torch.arange(tokens, device=r.device)
    past = before[:, :, None] - fade[:, None, :]  # of token s (second) seen from t
    future = before[:, None, :] - fade[:, :, None]
    earlier = (t[:, None] > t[None, :])[None, :, :, None, None]
    later = (t[:, None] < t[None, :])[None, :, :, None, None]
    weights = torch.where(earlier, past.clamp(max=0).exp(), 0.0)
    weights = weights + torch.where(later, future.clamp(max=0).exp(), 0.0)
    weights = weights + torch.eye(tokens, device=r.device)[None, :, :, None, None] * u
    scores = torch.einsum("bthj,btshj,bshj->btsh", r, weights, k)
    return torch.einsum("btsh,bshi->bthi", scores, v).flatten(-2)


def test_wkv6_of_a_long_sequence_is_finite():
    torch.manual_seed(0)
    r, k, v, w, grad = torch.randn(5, 1, 16384, 64, device="cuda")
    u = torch.randn(1, 64, device="cuda")
    given = (r, k, v, 6 * w, u)
    results = _cuda.wkv6_forward(*given), *_cuda.wkv6_backward(grad, *given)
    assert all(x.isfinite().all() for x in results)


def test_a_short_sequence_takes_nothing_from_a_longer_one(on_gpu):
    # All are cut the same way, into tiles of different sizes.
    for tokens in (256, 64, 256):
        x, given, _ = on_gpu((2, tokens, 32))
        y = _cuda.forward(*given).cpu()
        assert (y - bi_wkv_reference(*x.arguments)).abs().max() <= 2e-6
