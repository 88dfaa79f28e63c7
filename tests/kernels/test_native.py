from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from napari_medurwkv.kernels import _native


@pytest.mark.parametrize("shape", [(1, 196, 192), (3, 500, 37), (2, 4096, 16)])
def test_result_does_not_depend_on_the_thread_count(native, make_inputs, shape):
    x = make_inputs(shape, (-20.0, 50.0), 8.0)
    results = []
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        y = native.forward(*x.arguments)
        results.append((y, *native.backward(x.grad, *x.arguments, y)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_float64_does_not_depend_on_the_thread_count(native, make_inputs):
    x = make_inputs((2, 60, 7)).double()
    torch.set_num_threads(1)
    once = native.forward(*x.arguments)
    torch.set_num_threads(3)
    assert torch.equal(native.forward(*x.arguments), once)


def test_batch_members_do_not_touch_each_other(native, make_inputs):
    x = make_inputs((3, 100, 21))
    together = native.forward(*x.arguments)
    for b in range(3):
        alone = native.forward(x.w, x.u, x.k[b : b + 1], x.v[b : b + 1])
        assert torch.equal(alone[0], together[b])


def test_inputs_are_left_alone(native, make_inputs):
    x = make_inputs((2, 100, 33))
    y = native.forward(*x.arguments)
    before = [part.clone() for part in (*x.arguments, x.grad, y)]
    native.backward(x.grad, *x.arguments, y)
    after = (*x.arguments, x.grad, y)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_arithmetic_mode_of_the_thread_is_left_alone(native, make_inputs):
    native.forward(*make_inputs((1, 50, 16)).arguments)
    assert torch.tensor(1e-40).mul(1.0).item() > 0  # not flushed to zero


def test_an_instruction_set_that_is_not_there_is_refused():
    class Old:
        @staticmethod
        def medurwkv_best_level():
            return 0

    with pytest.raises(ValueError, match="has no avx512, only baseline"):
        _native.NativeKernels(Old(), 2)


def test_missing_library_is_told_of(tmp_path):
    reason = _native.load(tmp_path / "medurwkv_kernels.so")
    assert reason == "the compiled library medurwkv_kernels.so is not installed"


def test_the_library_may_lie_in_any_folder_of_the_package(tmp_path):
    (tmp_path / "second").mkdir()
    library = tmp_path / "second" / _native.LIBRARY.name
    library.touch()
    folders = [str(tmp_path / "first"), str(tmp_path / "second")]
    beside = Path(_native.__file__).with_name(library.name)
    expected = beside if beside.is_file() else library
    assert _native.find_library(folders) == expected
    assert _native.find_library([str(tmp_path / "first")]) == beside


def test_unreadable_library_is_told_of(tmp_path):
    path = tmp_path / "medurwkv_kernels.so"
    path.write_bytes(b"not a library")
    assert "medurwkv_kernels.so cannot be loaded (" in _native.load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs another library's path")
def test_library_of_another_version_is_told_of():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        names = {line.split()[-1] for line in maps if "/libm.so" in line}
    assert "belongs to another version" in _native.load(Path(names.pop()))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_second_openmp_runtime(native):
    """Alone in a process, torch and the library share one runtime and its threads."""
    code = """
import os, torch
from napari_medurwkv.kernels import bi_wkv
torch.set_num_threads(2)
k = torch.randn(1, 4096, 64)
k + k
threads = len(os.listdir("/proc/self/task"))
bi_wkv(torch.zeros(64), torch.zeros(64), k, k)
assert len(os.listdir("/proc/self/task")) == threads, "a second pool of threads"
names = {line.split()[-1] for line in open("/proc/self/maps") if "omp" in line}
assert len({os.path.basename(n) for n in names if "libgomp" in n}) <= 1, names
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
