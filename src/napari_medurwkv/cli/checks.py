"""What an installation is made of: what works, what does not, how to repair it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import napari_medurwkv
from napari_medurwkv.cli.screen import has_screen
from napari_medurwkv.errors import MedurwkvError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Check", "examine"]

OLDEST_TORCH = (2, 10)
WINDOW_SECONDS = 60
ALL = 'pip install "napari-medurwkv[all]"'
TORCH = 'pip install --upgrade "torch>=2.10"'
TORCH_CUDA = (
    "pip install --force-reinstall torch --index-url "
    "https://download.pytorch.org/whl/{build}"
)
REINSTALL = "pip install --force-reinstall --no-deps napari-medurwkv"
FASTER = {"cpu": REINSTALL, "cuda": 'pip install "napari-medurwkv[cuda]"'}
"""What brings the fast path, by the kind of device."""

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What it is.
    status : {"ok", "note", "problem"}
        A note is something that segmentation works without.
    text : str
        What was found.
    fix : str or None
        The one command that repairs it.
    essential : bool
        Whether nothing can be segmented while it is a problem.
    """

    name: str
    status: Status
    text: str
    fix: str | None = None
    essential: bool = False


def examine() -> Iterator[Check]:
    """Look at everything, one thing after the other; takes some seconds."""
    yield Check("napari-medurwkv", "ok", napari_medurwkv.__version__)
    yield Check(
        "Python", "ok", f"{platform.python_version()} ({sys.executable}), {_system()}"
    )
    torch = _check_torch()
    yield torch
    if torch.status != "problem":
        yield _check_device()
        yield from _check_kernels()
        yield from _check_checkpoints()
    yield from _check_window()
    yield from _check_extras()


def _system() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"


def _check_torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        # OSError: its libraries are there and cannot be loaded.
        return Check("torch", "problem", f"cannot be imported: {error}", TORCH, True)
    version = torch.__version__
    numbers = tuple(int(n) for n in version.partition("+")[0].split(".")[:2])
    built = (
        f"built for CUDA {torch.version.cuda}"
        if torch.version.cuda
        else f"built for ROCm {torch.version.hip}"
        if torch.version.hip
        else "built without CUDA"
    )
    if numbers < OLDEST_TORCH:
        text = f"{version} is older than 2.10, which loading and kernels need"
        return Check("torch", "problem", text, TORCH, True)
    return Check("torch", "ok", f"{version}, {built}")


def _check_device() -> Check:
    from napari_medurwkv.inference import choose_device

    choice = choose_device("auto")
    text = f"{choice.device}: {choice.description}"
    driver = _nvidia_driver()
    if driver:
        text += f"; NVIDIA driver {driver}"
    if choice.device == "cpu" and driver:
        # A driver tells of a GPU that is there and lies idle.
        build = "cu130" if int(driver.partition(".")[0]) >= 580 else "cu126"
        return Check("Device", "note", text, TORCH_CUDA.format(build=build))
    return Check("Device", "ok", text)


def _nvidia_driver() -> str:
    """Return the version of the NVIDIA driver; empty if there is none."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = answer.stdout.strip().partition("\n")[0].strip()
    return first if answer.returncode == 0 and first[:1].isdigit() else ""


def _check_kernels() -> Iterator[Check]:
    """Say for the device in use, and for the CPU, which path computes and why."""
    from napari_medurwkv.inference import choose_device

    device = choose_device("auto").device
    yield _check_kernels_on(device, "Kernels")
    if device != "cpu":
        yield _check_kernels_on("cpu", "Kernels on cpu")


def _check_kernels_on(device: str, name: str) -> Check:
    from napari_medurwkv.kernels import backend_for

    try:
        backend = backend_for(device)
    except MedurwkvError as error:
        return Check(name, "problem", str(error), essential=True)
    text = f"{device}: {backend.name}, {backend.reason}"
    kind = device.partition(":")[0]
    if backend.name == "portable" and kind in FASTER:
        return Check(name, "note", f"{text} (correct, but slower)", FASTER[kind])
    return Check(name, "ok", text)


def _check_checkpoints() -> Iterator[Check]:
    from napari_medurwkv.checkpoints import catalogue, load_model, unusable

    entries = [entry for entry in catalogue() if entry.embedded]
    for problem in unusable():
        yield Check("Models", "note", str(problem))
    if not entries:
        text = "no model came with the package"
        yield Check("Models", "problem", text, REINSTALL, True)
    for entry in entries:
        try:
            _try_out(load_model(entry.path))
        except (MedurwkvError, RuntimeError) as error:
            yield Check(f"Model {entry.name}", "problem", str(error), REINSTALL, True)
        else:
            size = f"{entry.size_bytes / 1e6:.1f} MB"
            yield Check(f"Model {entry.name}", "ok", f"loads and segments, {size}")


def _try_out(model: object) -> None:
    """Segment a small image of noise."""
    import numpy as np

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference import segment

    if not isinstance(model, Model):
        raise TypeError("a model is expected")
    card = model.card
    shape = (2, 32, 32) if card.dimensions == 3 else (32, 32)
    colour = len(card.channels) == 3 and not card.repeat_grey
    noise = np.random.default_rng(0).integers(
        0, 255, (*shape, 3) if colour else shape, np.uint8
    )
    segment(noise, model)


WINDOW = """
import qtpy
from qtpy.QtWidgets import QApplication
application = QApplication([])
print(qtpy.API_NAME, qtpy.QT_VERSION, application.platformName())
"""


def _check_window() -> Iterator[Check]:
    """Look at what the panels need; segmenting works without."""
    screen = has_screen()
    if screen:
        yield Check("Screen", "ok", os.environ.get("DISPLAY", "the desktop's"))
    else:
        yield Check("Screen", "note", "none: use the command line, or log in with one")
    yield _check_napari()
    environment = dict(os.environ)
    if not screen:
        environment["QT_QPA_PLATFORM"] = "offscreen"
    # In a process of its own: Qt ends the program when it finds no screen.
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", WINDOW],
            capture_output=True,
            text=True,
            env=environment,
            timeout=WINDOW_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Check("Qt", "note", "opening a window takes more than a minute")
        return
    if done.returncode == 0:
        yield Check("Qt", "ok", done.stdout.strip().replace("\n", " "))
        return
    said = done.stderr.strip()
    if "No Qt bindings could be found" in said:
        yield Check("Qt", "note", "no binding is installed, so no panels", ALL)
    elif "xcb-cursor" in said or "libxcb" in said:
        library = "Qt cannot open a window: a library of the system is missing"
        yield Check("Qt", "note", library, "sudo apt install libxcb-cursor0")
    elif "libEGL" in said or "libGL" in said:
        library = "Qt cannot be loaded: a library of the system is missing"
        yield Check("Qt", "note", library, "sudo apt install libgl1 libegl1")
    else:
        last = said.splitlines()[-1] if said else f"exit code {done.returncode}"
        yield Check("Qt", "note", f"cannot open a window: {last}", ALL)


def _check_napari() -> Check:
    try:
        version = importlib.metadata.version("napari")
    except importlib.metadata.PackageNotFoundError:
        return Check("napari", "note", "not installed, so no panels", ALL)
    return Check("napari", "ok", version)


def _check_extra(title: str, extra: str, packages: tuple[str, ...]) -> Check:
    """Look for the packages of an extra; nothing is imported."""
    missing = []
    for name in packages:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        fix = f'pip install "napari-medurwkv[{extra}]"'
        return Check(title, "note", f"{', '.join(missing)} not installed", fix)
    verb = "is" if len(packages) == 1 else "are"
    *most, last = packages
    listed = f"{', '.join(most)} and {last}" if most else last
    return Check(title, "ok", f"{listed} {verb} installed")


def _check_extras() -> Iterator[Check]:
    codecs = ("pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm")
    yield _check_extra("DICOM", "dicom", ("pydicom", "highdicom", *codecs))
    yield _check_extra("OME-Zarr", "zarr", ("zarr",))
    yield _check_extra("Surfaces", "mesh", ("trimesh",))
    yield _check_extra("Training", "train", ("lightning", "monai", "PyYAML"))
