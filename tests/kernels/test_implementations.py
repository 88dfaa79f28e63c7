"""What every implementation must do: be accurate, everywhere, forward and backward."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest
import torch
from napari_medurwkv.kernels import _portable, _portable_whole, bi_wkv_reference
from napari_medurwkv.kernels._reference import bi_wkv_dense

DECAYS = (-20.0, -5.0, -1.0, 0.0, 3.0, 15.0, 50.0)  # w·T
SPREADS = (1.0, 8.0, 30.0)  # standard deviation of k
EXTREME_DECAYS = (-3000.0, -400.0, -100.0, 200.0, 1000.0, 20000.0)
LANES = 16  # channels per case, so that a tile holds one case


def grid(values, others):
    """All pairs, LANES channels each, as two tensors with one value per channel."""
    pairs = [
        pair for pair in torch.cartesian_prod(values, others) for _ in range(LANES)
    ]
    return torch.stack(pairs).unbind(1)


@pytest.fixture(scope="session")
def measured(make_inputs):
    """Inputs of many decays and spreads, one set per channel, with the definition."""

    @functools.cache
    def measure(tokens, decays):
        decay, spread = grid(torch.tensor(decays), torch.tensor(SPREADS))
        shape = (1, tokens, len(decay))
        x = make_inputs(shape, decay, spread, bonus=1 / tokens, seed=tokens)
        return x, bi_wkv_reference(*x.arguments)

    return measure


def forward_by_decay(implementation, x, decays):
    """Compute each decay by itself: how far tokens share a scale depends on it."""
    width = LANES * len(SPREADS)
    parts = [slice(i * width, (i + 1) * width) for i in range(len(decays))]
    return torch.cat(
        [implementation.forward(*x.channels(part).arguments) for part in parts], -1
    )


@pytest.mark.parametrize("tokens", [1, 7, 196, 1023, 4096, 16384, 65536])
def test_accuracy(implementation, measured, tokens):
    decays = DECAYS if tokens < 65536 else DECAYS[::3]
    x, expected = measured(tokens, decays)
    y = forward_by_decay(implementation, x, decays)
    assert y.dtype == torch.float32
    assert y.isfinite().all()
    error = (y - expected).abs().amax((0, 1)).view(len(decays), len(SPREADS), LANES)
    by_spread = error.amax((0, 2)).tolist()
    assert by_spread[0] <= 2e-6
    assert by_spread[1] <= 1e-5
    assert by_spread[2] <= 2e-5


@pytest.mark.parametrize("tokens", [1, 2, 7, 130, 1023])
def test_accuracy_far_beyond(implementation, measured, tokens):
    x, expected = measured(tokens, EXTREME_DECAYS)
    y = forward_by_decay(implementation, x, EXTREME_DECAYS)
    assert y.isfinite().all()
    assert (y - expected).abs().max() <= 1e-5


def test_growth_and_fading_over_a_long_sequence(implementation, make_inputs):
    decay = torch.tensor([-300.0, -200.0, -100.0, 100.0, 200.0, 300.0])
    x = make_inputs((1, 16384, 96), decay.repeat_interleave(LANES), 8.0)
    y = implementation.forward(*x.arguments)
    assert (y - bi_wkv_reference(*x.arguments)).abs().max() <= 1e-5


def test_decays_of_all_kinds_in_one_call(implementation, measured):
    x, expected = measured(130, EXTREME_DECAYS)
    assert (implementation.forward(*x.arguments) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("tokens", [1, 2, 8, 9, 300])
@pytest.mark.parametrize("bonus", [20.0, 300.0])
def test_any_bonus(implementation, make_inputs, tokens, bonus):
    x = make_inputs((2, tokens, 16), (-50.0, 50.0), 8.0, bonus)
    y = implementation.forward(*x.arguments)
    assert (y - bi_wkv_reference(*x.arguments)).abs().max() <= 1e-5


@pytest.mark.parametrize("channels", [1, 4, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_channel_count(implementation, make_inputs, channels, batch):
    x = make_inputs((batch, 21, channels))
    y = implementation.forward(*x.arguments)
    assert (y - bi_wkv_dense(*x.double().arguments)).abs().max() <= 2e-6


@pytest.mark.parametrize("tokens", [*range(2, 19), 31, 32, 33, 64, 65, 511, 512, 513])
def test_any_length(implementation, make_inputs, tokens):
    x = make_inputs((2, tokens, 5))
    y = implementation.forward(*x.arguments)
    assert (y - bi_wkv_dense(*x.double().arguments)).abs().max() <= 2e-6


def test_keys_of_minus_infinity_carry_no_weight(implementation, make_inputs):
    x = make_inputs((1, 40, 16))
    masked = torch.arange(40) % 3 == 1
    masked[16:34] = True
    x.k[:, masked] = -torch.inf
    y = implementation.forward(*x.arguments)
    seen = ~masked
    assert y[:, seen].isfinite().all()
    expected = bi_wkv_dense(*x.double().arguments)
    assert (y - expected)[:, seen].abs().max() <= 2e-6


@pytest.mark.parametrize("level", [-1e7, -1e4, 1e4, 1e7])
@pytest.mark.parametrize("channels", [16, 19])
def test_keys_far_from_zero(implementation, make_inputs, level, channels):
    x = make_inputs((1, 100, channels))
    x.k[:, 30:] += level  # rounds
    y = implementation.forward(*x.arguments)
    assert (y - bi_wkv_reference(*x.arguments)).abs().max() <= 1e-5
    found = implementation.backward(x.grad, *x.arguments, y)
    assert_close(found, exact_gradients(x), 100)


def test_not_a_number_is_not_hidden(implementation, make_inputs):
    x = make_inputs((1, 40, 16))
    x.k[0, 20, 3] = torch.nan
    y = implementation.forward(*x.arguments)
    assert y[0, :, 3].isnan().all()
    others = torch.arange(16) != 3
    assert y[0, :, others].isfinite().all()


def gradients(implementation, x):
    y = implementation.forward(*x.arguments)
    return implementation.backward(x.grad, *x.arguments, y)


def exact_gradients(x):
    arguments = [part.requires_grad_() for part in x.double().arguments]
    loss = (bi_wkv_dense(*arguments) * x.grad).sum()
    return torch.autograd.grad(loss, arguments)


def assert_close(found, exact, tokens, tolerance=5e-5):
    """Errors relative to each channel's largest gradient, or to 1 if that is less."""
    for name, a, b in zip("wukv", found, exact, strict=True):
        assert a.dtype == torch.float32
        assert a.shape == b.shape
        assert a.isfinite().all(), name
        over = tuple(range(b.ndim - 1))
        size = b.abs().amax(over).clamp(min=tokens if name == "w" else 1)
        assert ((a - b).abs() / size).max() <= tolerance, name


@pytest.mark.parametrize("decay", [*DECAYS, *EXTREME_DECAYS])
@pytest.mark.parametrize("spread", SPREADS)
def test_gradients(implementation, make_inputs, decay, spread):
    for tokens in (1, 2, 16, 75):
        x = make_inputs((1, tokens, 16), decay, spread)
        assert_close(gradients(implementation, x), exact_gradients(x), tokens)


@pytest.mark.parametrize("bonus", [20.0, 300.0])
def test_gradients_with_any_bonus(implementation, make_inputs, bonus):
    for tokens in (1, 2, 75):
        x = make_inputs((2, tokens, 16), (-50.0, 50.0), 8.0, bonus)
        assert_close(gradients(implementation, x), exact_gradients(x), tokens)


@pytest.mark.parametrize("channels", [1, 33, 100])
def test_gradients_of_any_channel_count(implementation, make_inputs, channels):
    x = make_inputs((3, 21, channels))
    assert_close(gradients(implementation, x), exact_gradients(x), 21)


@pytest.mark.parametrize("decay", [(-5.0, 3.0), (-20.0, 50.0)])
def test_gradients_of_long_sequences(implementation, make_inputs, decay):
    x = make_inputs((1, 4096, 16), decay, 8.0)
    exact = gradients(_portable, x.double())
    # A key's gradient is a small difference of sums over thousands of tokens.
    assert_close(gradients(implementation, x), exact, 4096, 1e-4)


def test_where_no_gradient_comes_in_none_goes_out(implementation, make_inputs):
    x = make_inputs((1, 50, 16), 200.0, 30.0)
    x.grad[:, 3:] = 0
    assert_close(gradients(implementation, x), exact_gradients(x), 50)
    x.grad.zero_()
    assert not any(part.any() for part in gradients(implementation, x))


def test_float64(implementation, make_inputs):
    x = make_inputs((2, 75, 5), (-50.0, 50.0), 8.0).double()
    y = implementation.forward(*x.arguments)
    assert y.dtype == torch.float64
    assert (y - bi_wkv_dense(*x.arguments)).abs().max() <= 1e-12
    found = implementation.backward(x.grad, *x.arguments, y)
    for a, b in zip(found, exact_gradients(x), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("segments", [16, 32, 64])
@pytest.mark.parametrize("tokens", [1, 7, 16, 33, 49, 64, 196, 300, 1024])
def test_segments(implementation, make_inputs, tokens, segments):
    for spread in (1.0, 8.0):
        x = make_inputs((2, tokens, 21), (-5.0, 3.0), spread, bonus=1 / tokens)
        y = implementation.forward(*x.arguments, segments)
        expected = bi_wkv_reference(*x.arguments, segments)
        assert (y - expected).abs().max() <= 3e-6
        if tokens > 300:
            continue
        found = implementation.backward(x.grad, *x.arguments, y, segments)
        arguments = [part.requires_grad_() for part in x.double().arguments]
        loss = (bi_wkv_dense(*arguments, segments) * x.grad).sum()
        assert_close(found, torch.autograd.grad(loss, arguments), tokens, 1e-4)


@pytest.mark.parametrize("segments", [16, 32])
def test_segments_of_steep_decays_and_wide_keys(implementation, make_inputs, segments):
    for decay, spread in ((-20.0, 8.0), (-300.0, 8.0), (2.0, 30.0), (0.0, 30.0)):
        x = make_inputs((1, 200, 16), decay, spread, bonus=0.1)
        y = implementation.forward(*x.arguments, segments)
        expected = bi_wkv_reference(*x.arguments, segments)
        assert (y - expected).abs().max() <= 2e-5


def test_nothing_is_read_back_from_other_devices(make_inputs, monkeypatch):
    """There each token keeps a scale of its own: as exact, whatever the values are."""
    monkeypatch.setattr(_portable, "_chunk_length", lambda *_: 1)
    for tokens in (1, 2, 33, 130, 300):
        for decay in (-3000.0, -20.0, 3.0, 50.0, 20000.0):
            x = make_inputs((2, tokens, 5), decay, 8.0)
            y = _portable.forward(*x.arguments)
            assert (y - bi_wkv_reference(*x.arguments)).abs().max() <= 1e-5
            found = _portable.backward(x.grad, *x.arguments, y)
            assert_close(found, exact_gradients(x), tokens, 1e-4)


def test_a_captured_graph_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    w = SimpleNamespace(device=torch.device("cuda"))
    assert _portable._chunk_length(w, w, 100) == 1


@pytest.mark.parametrize("tokens", [2, 49, 1023, 4096])
@pytest.mark.parametrize(
    "decay", [-_portable.LINEAR_RANGE, 3.0, _portable.LINEAR_RANGE]
)
def test_a_whole_sequence_on_one_scale(make_inputs, tokens, decay):
    x = make_inputs((2, tokens, 6), decay, torch.tensor([1.0, 1, 8, 8, 30, 30]))
    y = _portable_whole.forward(*x.arguments)
    assert (y - bi_wkv_reference(*x.arguments)).abs().max() <= 2e-6
    if tokens < 1000:
        found = _portable_whole.backward(x.grad, *x.arguments, y)
        assert_close(found, exact_gradients(x), tokens, 1e-4)
