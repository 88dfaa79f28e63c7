"""Errors that a user can cause; each message says what is wrong and what to do."""

from __future__ import annotations

__all__ = [
    "CancelledError",
    "CheckpointError",
    "DeviceError",
    "GeometryError",
    "ImageError",
    "MedurwkvError",
    "OutputError",
]


class MedurwkvError(Exception):
    """Base of every error whose text is meant to be read by a user."""


class ImageError(MedurwkvError):
    """The image cannot be read, or cannot be segmented as it is."""


class GeometryError(MedurwkvError):
    """Array and geometry do not belong together."""


class CheckpointError(MedurwkvError):
    """The checkpoint cannot be read, is not what it says, or does not fit."""


class DeviceError(MedurwkvError):
    """The device that was asked for is not there or failed."""


class OutputError(MedurwkvError):
    """A result could not be written; nothing that existed was damaged."""


class CancelledError(MedurwkvError):
    """The user stopped the run."""
