"""Which device computes, and why."""

from __future__ import annotations

import ctypes.util
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from napari_medurwkv.errors import DeviceError

__all__ = ["DeviceChoice", "choose_device"]


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """A device that is there and answers.

    Attributes
    ----------
    device : str
        torch's name of it: "cpu", "cuda:0", "mps".
    description : str
        For people: what it is, and on the CPU why no GPU is used.
    requested : str
        What was asked for.
    """

    device: str
    description: str
    requested: str


def choose_device(requested: str = "auto") -> DeviceChoice:
    """Choose where to compute.

    Parameters
    ----------
    requested : str
        "auto" (CUDA, else Apple's MPS, else the CPU), "cpu", "cuda", "cuda:N", "mps".

    Returns
    -------
    DeviceChoice

    Raises
    ------
    DeviceError
        If the name is unknown, or the device that was asked for is not there or does
        not compute.
    """
    name = requested.strip().lower()
    cuda = re.fullmatch(r"cuda(?::(\d+))?", name)
    if name == "cpu":
        return DeviceChoice("cpu", f"{_cpu()}, as asked for", requested)
    if name == "mps":
        problem = _mps_problem()
        if problem:
            raise DeviceError(f"MPS was asked for, but {problem}; choose cpu or auto.")
        return DeviceChoice("mps", "Apple GPU (MPS)", requested)
    if cuda:
        index = int(cuda.group(1) or 0)
        problem = _cuda_problem(index)
        if problem:
            raise DeviceError(f"CUDA was asked for, but {problem}; choose cpu or auto.")
        return DeviceChoice(f"cuda:{index}", _cuda_description(index), requested)
    if name != "auto":
        raise DeviceError(
            f'There is no device "{requested}"; choose auto, cpu, cuda, cuda:N or mps.'
        )
    problem = _cuda_problem(0)
    if not problem:
        return DeviceChoice("cuda:0", _cuda_description(0), requested)
    if not _mps_problem():
        return DeviceChoice("mps", "Apple GPU (MPS)", requested)
    if sys.platform == "darwin":
        problem = _mps_problem()
    return DeviceChoice("cpu", f"{_cpu()}; no GPU is used: {problem}", requested)


def _cuda_problem(index: int) -> str:
    """Say in plain words why a CUDA device cannot be used; empty if it can."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        if _nvidia_driver():
            return (
                "this PyTorch was built without CUDA, although an NVIDIA driver is "
                "installed"
            )
        return "this PyTorch was built without CUDA"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
        count = torch.cuda.device_count() if there else 0
    if not there:
        if said:
            return _first_sentence(str(said[0].message))
        if not _nvidia_driver():
            return "no NVIDIA driver was found"
        return "the NVIDIA driver offers no device"
    if index >= count:
        return f"there are only {count} CUDA devices, numbered from 0"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.ones(2, device=f"cuda:{index}").add_(1).sum().item()
    except (RuntimeError, AssertionError) as error:
        return f"the GPU does not answer ({_first_sentence(str(error))})"
    return ""


def _cuda_description(index: int) -> str:
    import torch

    properties = torch.cuda.get_device_properties(index)
    platform_name = "ROCm" if torch.version.hip else "CUDA"
    version = torch.version.hip or torch.version.cuda
    gibibytes = properties.total_memory / 2**30
    return f"{properties.name}, {gibibytes:.0f} GiB, {platform_name} {version}"


def _mps_problem() -> str:
    import torch

    if sys.platform != "darwin":
        return "MPS exists on Apple computers only"
    if not torch.backends.mps.is_built():
        return "this PyTorch was built without MPS"
    if not torch.backends.mps.is_available():
        return "this computer offers no MPS device"
    return ""


def _cpu() -> str:
    import torch

    threads = torch.get_num_threads()
    return f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"


def _cpu_name() -> str:
    """Return the processor's name, as far as the system tells it."""
    if sys.platform.startswith("linux"):
        info = Path("/proc/cpuinfo")
        if info.is_file():
            for line in info.read_text(errors="replace").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    sysctl = shutil.which("sysctl") if sys.platform == "darwin" else None
    if sysctl:
        answer = subprocess.run(  # noqa: S603
            [sysctl, "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
        if answer.stdout.strip():
            return answer.stdout.strip()
    return platform.processor() or platform.machine() or "CPU"


def _nvidia_driver() -> bool:
    return bool(
        shutil.which("nvidia-smi")
        or Path("/proc/driver/nvidia/version").exists()
        or (os.name == "nt" and ctypes.util.find_library("nvcuda"))
    )


def _first_sentence(text: str) -> str:
    return text.strip().split("\n")[0].split(". ")[0].rstrip(".")
