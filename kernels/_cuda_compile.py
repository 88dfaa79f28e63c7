"""Compiles the CUDA sources beside this file at run time and keeps the machine code.

NVRTC, which every CUDA build of PyTorch brings along, is reached through NVIDIA's
``cuda.core``. Machine code is kept in the user's cache directory by architecture,
sources, options and compiler version; each file carries its own checksum, is written
beside its place and then moved there, so that neither two processes at once nor a
broken write can do harm.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import tempfile
from pathlib import Path

import platformdirs

__all__ = ["CompilerError", "compile_program", "compiler_missing", "machine_code"]

_FOLDER = Path(__file__).parent
_MAGIC = b"medurwkv cubin 1\n"
_logger = logging.getLogger(__name__)


class CompilerError(RuntimeError):
    """A kernel could not be compiled."""


def compiler_missing() -> str | None:
    """Say what is missing for compiling kernels, or None if nothing is."""
    try:
        if importlib.util.find_spec("cuda.core") is not None:
            return None
    except ModuleNotFoundError:
        pass
    return (
        "the package cuda-core, which compiles the kernels, is not installed"
        " (pip install napari-medurwkv[cuda])"
    )


def machine_code(
    sources: tuple[str, ...], constants: dict[str, int], architecture: str
) -> bytes:
    """Machine code of a kernel, from the cache or the compiler.

    Parameters
    ----------
    sources : tuple of str
        Names of the files beside this one that make up the program, in order.
    constants : dict of str to int
        Macros to define.
    architecture : str
        As NVRTC names it: ``"sm_90"``.

    Returns
    -------
    bytes

    Raises
    ------
    CompilerError
        If there is no compiler, or it refuses the program.
    """
    program = _program(sources)
    options = [f"{name}={value}" for name, value in sorted(constants.items())]
    key = "\n".join([architecture, compiler_version(), *options, program])
    digest = hashlib.sha256(key.encode()).hexdigest()
    place = cache_folder() / f"{architecture}-{digest[:32]}.cubin"
    kept = _read(place)
    if kept is None:
        kept = compile_program(program, options, architecture)
        _write(place, kept)
    return kept


def cache_folder() -> Path:
    """Where machine code is kept."""
    return Path(platformdirs.user_cache_dir("napari-medurwkv", False)) / "kernels"


@functools.cache
def compiler_version() -> str:
    """Version of the NVRTC wheel, or ``"system"`` if a toolkit provides NVRTC."""
    for name in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "system"


@functools.cache
def _program(sources: tuple[str, ...]) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in sources)


def compile_program(program: str, options: list[str], architecture: str) -> bytes:
    """Compile a program by NVRTC.

    Parameters
    ----------
    program : str
        CUDA C++.
    options : list of str
        Macros to define, ``NAME=VALUE``.
    architecture : str
        As NVRTC names it.

    Returns
    -------
    bytes
        Machine code.

    Raises
    ------
    CompilerError
        If there is no compiler, or it refuses the program.
    """
    missing = compiler_missing()
    if missing:
        raise CompilerError(missing)
    from cuda.core import Program, ProgramOptions

    try:
        compiled = Program(
            program,
            "c++",
            ProgramOptions(
                std="c++17", arch=architecture, define_macro=options or None
            ),
        ).compile("cubin")
        return bytes(compiled.code)
    except Exception as error:  # cuda.core has no common class for its errors
        raise CompilerError(f"NVRTC could not compile a kernel: {error}") from error


def _read(place: Path) -> bytes | None:
    """Return the machine code in a file; None if it is absent or damaged."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    code = content[start:]
    if content[:start] != _MAGIC + hashlib.sha256(code).digest():
        _logger.warning("The kernel kept in %s is damaged; compiling it again.", place)
        return None
    return code


def _write(place: Path, code: bytes) -> None:
    content = _MAGIC + hashlib.sha256(code).digest() + code
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(name, place)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        _logger.warning(
            "Compiled kernels cannot be kept in %s (%s); each start compiles anew.",
            place.parent,
            error,
        )
