"""The network on its device, and its steps down."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_medurwkv.errors import CheckpointError, MedurwkvError
from napari_medurwkv.inference.device import DeviceChoice
from napari_medurwkv.inference.predictor import Predictor, evaluating


class Hungry(nn.Module):
    """Has memory for so many windows."""

    def __init__(self, room, error=torch.OutOfMemoryError):
        super().__init__()
        self.room, self.error, self.batches = room, error, []

    def forward(self, x):
        if len(x) > self.room:
            raise self.error("out of memory, not enough memory")
        self.batches.append(len(x))
        return x * 2


@pytest.fixture
def windows():
    return [torch.full((1, 4, 4), float(i)) for i in range(11)]


def _predictor(network, batch, device="cpu"):
    predictor = Predictor(network, DeviceChoice("cpu", "CPU", "cpu"), 1)
    predictor.batch = batch
    predictor.device = device
    return predictor


def test_memory_that_runs_out_halves_the_batch_and_repeats_only_it(windows):
    network = Hungry(3)
    predictor = _predictor(network, 8)
    result = predictor(windows)
    assert torch.equal(result[:, 0, 0, 0], torch.arange(11) * 2.0)
    assert network.batches == [2, 2, 2, 2, 2, 1]
    assert predictor.batch == 2
    assert predictor.steps == [
        "out of memory: 4 windows at once",
        "out of memory: 2 windows at once",
    ]


class Pretending(Predictor):
    """Computes on the CPU whatever its device is called."""

    def _forward(self, windows):
        device, self.device = self.device, "cpu"
        try:
            if device != "cpu":
                raise self.problem
            return super()._forward(windows)
        finally:
            self.device = device


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        (torch.OutOfMemoryError("x"), "out of memory with one window: went on with"),
        (RuntimeError("MPS backend out of memory"), "out of memory with one window"),
        (NotImplementedError("aten::x"), r"lacks an operation \(aten::x\): went on"),
    ],
)
def test_last_step_is_the_cpu(windows, problem, step):
    predictor = Pretending(Hungry(99), DeviceChoice("cpu", "CPU", "cpu"), 1)
    predictor.device, predictor.batch, predictor.problem = "cuda:0", 4, problem
    result = predictor(windows)
    assert torch.equal(result[:, 0, 0, 0], torch.arange(11) * 2.0)
    assert predictor.device == "cpu"
    assert predictor.batch == 1
    import re

    assert re.search(step, predictor.steps[-1])


def test_before_the_cpu_the_sums_move_to_the_host(windows):
    class Narrow(Pretending):
        def _forward(self, windows):
            # Room for one window, once the sums are gone.
            if self.device != "cpu" and (len(windows) > 1 or not self.host):
                raise self.problem
            device, self.device = self.device, "cpu"
            try:
                return Predictor._forward(self, windows)
            finally:
                self.device = device

    predictor = Narrow(Hungry(99), DeviceChoice("cpu", "CPU", "cpu"), 1)
    predictor.device, predictor.batch = "cuda:0", 2
    predictor.problem = torch.OutOfMemoryError("x")
    result = predictor(windows)
    assert torch.equal(result[:, 0, 0, 0], torch.arange(11) * 2.0)
    assert predictor.device == "cuda:0"
    assert predictor.steps == [
        "out of memory: one window at once",
        "out of memory with one window: windows are put together on the host",
    ]


def test_other_errors_of_a_device_are_not_hidden(windows):
    predictor = Pretending(Hungry(99), DeviceChoice("cpu", "CPU", "cpu"), 1)
    predictor.device, predictor.problem = "cuda:0", RuntimeError("device-side assert")
    with pytest.raises(RuntimeError, match="device-side assert"):
        predictor(windows)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_full_computer_gives_a_sentence(windows, error):
    with pytest.raises(MedurwkvError, match="computer ran out of memory"):
        _predictor(Hungry(0, error), 1)(windows)


def test_errors_of_the_network_are_not_hidden(windows):
    class Wrong(nn.Module):
        def forward(self, x):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        _predictor(Wrong(), 1)(windows)


@pytest.mark.parametrize("change", [lambda x: x[:, :, 1:], lambda x: [x], lambda x: 0])
def test_output_of_the_wrong_shape_is_refused(windows, change):
    class Other(nn.Module):
        def forward(self, x):
            return change(x)

    with pytest.raises(CheckpointError, match="do not belong together"):
        _predictor(Other(), 1)(windows)


def test_cpu_computes_single_windows_in_full_precision():
    predictor = Predictor(Hungry(9), DeviceChoice("cpu", "CPU", "cpu"), 1)
    assert predictor.batch == 1
    assert predictor.precision == "float32"


def test_modes_of_parts_are_kept():
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    network.train()
    network[1].eval()
    with pytest.raises(ZeroDivisionError), evaluating(network):
        assert not any(m.training for m in network.modules())
        raise ZeroDivisionError
    assert [m.training for m in network.modules()] == [True, True, False, False]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_gives_what_the_cpu_gives(volume_card, model, networks, image, rng):
    from napari_medurwkv.inference import segment

    array = rng.random((20, 150, 90)).astype("float32")
    fake = model(networks["convolution"](3, 3), volume_card(output_values=(0, 1, 2)))
    cpu = segment(image(array, (1.5, 0.8, 0.8)), fake, device="cpu")
    cuda = segment(image(array, (1.5, 0.8, 0.8)), fake, device="cuda")
    assert cuda.record.parameters["precision"] == "bfloat16"
    assert (cpu.labels == cuda.labels).mean() > 0.97


@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
def test_a_compiled_network_gives_the_same_mask(
    volume_card, model, networks, image, rng
):
    from napari_medurwkv.inference import segment

    array = rng.random((4, 70, 50)).astype("float32")
    fake = model(networks["convolution"](3, 3), volume_card(output_values=(0, 1, 2)))
    picture = image(array, (1.5, 0.8, 0.8))
    plain = segment(picture, fake, device="cpu")
    compiled = segment(picture, fake, device="cpu", compiled="aot_eager")
    assert (plain.labels == compiled.labels).mean() > 0.999
    assert compiled.record.parameters["compiled"]
    assert not plain.record.parameters["compiled"]
    assert len(compiled.record.device_path) == 1


def test_what_cannot_be_compiled_runs_as_it_is_and_says_so(
    card, model, networks, image, rng
):
    from napari_medurwkv.inference import segment

    fake = model(networks["convolution"](1, 2), card())
    picture = image(rng.random((40, 50)).astype("float32"))
    plain = segment(picture, fake, device="cpu")
    result = segment(picture, fake, device="cpu", compiled="no such backend")
    assert (plain.labels == result.labels).all()
    assert "could not be compiled" in result.record.device_path[1]
    assert "went on without" in result.record.device_path[1]
    assert not result.record.parameters["compiled"]
