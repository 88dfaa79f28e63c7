"""Where pydicom and highdicom are asked for: they come with the extra "dicom"."""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["library", "quiet"]

_local = threading.local()


def library(name: str) -> Any:
    """Import a module of pydicom or highdicom.

    Parameters
    ----------
    name : str
        Such as "pydicom" or "highdicom.seg".

    Raises
    ------
    ImageError
        If the extra is not installed, with the command that installs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImageError(
            "DICOM files need some more packages: run "
            'pip install "napari-medurwkv[dicom]".'
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the libraries say of odd values off the screen and out of logs.

    Their sentences quote the values, among them names and dates of patients. What
    matters for the image is found out here, by looking at what was read. May be nested;
    the outermost counts, because Python's filters of warnings belong to all threads and
    are better not changed for every value.
    """
    if getattr(_local, "quiet", False):
        yield
        return
    _local.quiet = True
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    were = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _local.quiet = False
        for logger, before in zip(loggers, were, strict=True):
            logger.disabled = before
