"""Loads the compiled library beside this file and calls it through its C interface."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import _portable_segments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    _Function = ctypes._NamedFuncPointer

__all__ = ["LEVELS", "NativeKernels", "find_library", "load"]

LEVELS = ("baseline", "avx2", "avx512")
"""Instruction sets by the library's numbers."""
INTERFACE = 3
"""Version of the C interface; bi_wkv.cpp counts it up when it changes."""

_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_NAME = "medurwkv_kernels" + _SUFFIX


def find_library(folders: Iterable[str] | None = None) -> Path:
    """Return the library's path in the first of the package's folders that has it.

    An editable installation keeps what was compiled apart from the sources; the
    package then has more than one folder.

    Parameters
    ----------
    folders : iterable of str, optional
        Where to look; the package's folders by default.

    Returns
    -------
    Path
        Beside this file where no folder has the library.
    """
    if folders is None:
        folders = sys.modules[__package__].__path__
    paths = [Path(folder) / _NAME for folder in folders]
    beside = Path(__file__).with_name(_NAME)
    return next((path for path in (beside, *paths) if path.is_file()), beside)


LIBRARY = find_library()

_RUNTIMES = ("libgomp", "libomp", "libiomp5")
_SHAPE = [ctypes.c_int, ctypes.c_int] + [ctypes.c_int64] * 3


class NativeKernels:
    """The compiled kernels at one instruction set.

    Parameters
    ----------
    library : ctypes.CDLL
        The loaded library.
    level : int, optional
        Index into :data:`LEVELS`; the processor's best by default.

    Attributes
    ----------
    library : ctypes.CDLL
        The same library, which holds other kernels too.
    """

    TAKES_HALVES = False
    DIFFERENTIATES_SEGMENTS = True

    def __init__(self, library: ctypes.CDLL, level: int | None = None) -> None:
        self.library = library
        best = library.medurwkv_best_level()
        self.level = best if level is None else level
        if not 0 <= self.level <= best:
            raise ValueError(
                f"this processor has no {LEVELS[self.level]}, only {LEVELS[best]}"
            )
        self.has_threads = bool(library.medurwkv_has_threads())
        self._forward: dict[torch.dtype, _Function] = {}
        self._backward: dict[torch.dtype, _Function] = {}
        for dtype, suffix in ((torch.float32, "f32"), (torch.float64, "f64")):
            forward = library[f"medurwkv_bi_wkv_forward_{suffix}"]
            backward = library[f"medurwkv_bi_wkv_backward_{suffix}"]
            forward.argtypes = [*_SHAPE, ctypes.c_int64] + [ctypes.c_void_p] * 5
            backward.argtypes = _SHAPE + [ctypes.c_void_p] * 10
            self._forward[dtype] = forward
            self._backward[dtype] = backward

    @property
    def instruction_set(self) -> str:
        """Name of the instruction set in use."""
        if self.level == 0 and platform.machine().lower() in ("aarch64", "arm64"):
            return "neon"
        return LEVELS[self.level]

    def forward(
        self, w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0
    ) -> Tensor:
        """Bi-WKV of contiguous CPU tensors of one dtype, float32 or float64.

        Parameters
        ----------
        w, u : Tensor, shape (C,)
            Decay per token and bonus of the token itself.
        k, v : Tensor, shape (B, T, C)
            Keys and values.
        segments : int, optional
            Segments of the published kernels' variant; 0 for the definition.

        Returns
        -------
        Tensor, shape (B, T, C)

        Raises
        ------
        MemoryError
            If there is no room for the working memory.
        """
        y = torch.empty_like(k)
        _check(
            self._forward[k.dtype](
                self.level,
                torch.get_num_threads(),
                *k.shape,
                -(-k.shape[1] // segments) if segments else 0,
                *(x.data_ptr() for x in (w, u, k, v, y)),
            )
        )
        return y

    def backward(
        self,
        grad: Tensor,
        w: Tensor,
        u: Tensor,
        k: Tensor,
        v: Tensor,
        y: Tensor,
        segments: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of :meth:`forward` by w, u, k and v.

        Parameters
        ----------
        grad, k, v, y : Tensor, shape (B, T, C)
            Gradient by the output, keys, values and the output.
        w, u : Tensor, shape (C,)
            Decay per token and bonus of the token itself.
        segments : int, optional
            As in :meth:`forward`.

        Returns
        -------
        tuple of Tensor

        Raises
        ------
        MemoryError
            If there is no room for the working memory.
        """
        if segments:
            return _portable_segments.backward(grad, w, u, k, v, y, segments)
        gk, gv = torch.empty_like(k), torch.empty_like(v)
        gw, gu = torch.empty((2, k.shape[0], k.shape[2]), dtype=torch.float64)
        _check(
            self._backward[k.dtype](
                self.level,
                torch.get_num_threads(),
                *k.shape,
                *(x.data_ptr() for x in (grad, w, u, k, v, y, gw, gu, gk, gv)),
            )
        )
        return gw.sum(0).to(k.dtype), gu.sum(0).to(k.dtype), gk, gv


def _check(status: int) -> None:
    if status:
        raise MemoryError("bi_wkv: no room for the kernel's working memory.")


@functools.cache
def load(path: Path = LIBRARY) -> NativeKernels | str:
    """Load the library, or say in plain words why it cannot be used.

    Parameters
    ----------
    path : Path, optional
        The library's file.

    Returns
    -------
    NativeKernels or str
        The kernels, or what keeps them from being used.
    """
    if not path.is_file():
        return f"the compiled library {path.name} is not installed"
    _share_openmp()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return f"the compiled library {path.name} cannot be loaded ({error})"
    version = getattr(library, "medurwkv_interface", None)
    if version is None or version() != INTERFACE:
        return f"the compiled library {path.name} belongs to another version"
    return NativeKernels(library)


def _share_openmp() -> None:
    """Make torch's OpenMP runtime visible to the library, which is linked to none.

    The library must use the very runtime that torch has loaded: a second one would
    keep threads of its own, and the two would fight for the processor's cores.
    """
    if sys.platform != "linux":
        return
    with open("/proc/self/maps", encoding="utf-8") as maps:
        mapped = {Path(line.split(maxsplit=5)[-1].strip()) for line in maps}
    runtimes = [path for path in mapped if path.name.startswith(_RUNTIMES)]
    runtimes.sort(key=lambda path: ("torch" not in path.parts, path))
    for runtime in runtimes[:1]:
        ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
