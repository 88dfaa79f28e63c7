"""Errors that a user can cause; each message says what is wrong and what to do."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ApproximateGeometryError",
    "CancelledError",
    "CheckpointError",
    "CheckpointWarning",
    "CorrectionError",
    "DeviceError",
    "GeometryError",
    "ImageError",
    "MedurwkvError",
    "OutputError",
    "SeriesChoice",
    "SeriesChoiceError",
]


class MedurwkvError(Exception):
    """Base of every error whose text is meant to be read by a user."""


class ImageError(MedurwkvError):
    """The image cannot be read, or cannot be segmented as it is."""


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """One of several images that a folder holds.

    Attributes
    ----------
    number : int
        From 1, in the order of the list; what the option takes.
    uid : str
        Series instance UID, which the option takes too, where it is one image's.
    text : str
        What a person needs to choose: modality, description, size.
    """

    number: int
    uid: str
    text: str


class SeriesChoiceError(ImageError):
    """A folder holds several images, and nobody said which one.

    Attributes
    ----------
    series : tuple of SeriesChoice
        Those that can be read.
    """

    def __init__(self, message: str, series: tuple[SeriesChoice, ...]) -> None:
        super().__init__(message)
        self.series = series


class ApproximateGeometryError(ImageError):
    """Positions are not regular; reading works only if approximate ones are wanted."""


class GeometryError(MedurwkvError):
    """Array and geometry do not belong together."""


class CheckpointError(MedurwkvError):
    """The checkpoint cannot be read, is not what it says, or does not fit."""


class CorrectionError(MedurwkvError):
    """A correction tool cannot do what was asked; the mask is as it was."""


class CheckpointWarning(UserWarning):
    """A checkpoint was loaded although something about it is doubtful."""


class DeviceError(MedurwkvError):
    """The device that was asked for is not there or failed."""


class OutputError(MedurwkvError):
    """A result could not be written; nothing that existed was damaged."""


class CancelledError(MedurwkvError):
    """The user stopped the run."""
