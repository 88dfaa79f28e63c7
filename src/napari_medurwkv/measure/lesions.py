"""How many separate lesions of a reference a mask finds, and how many it invents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medurwkv.errors import GeometryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LesionAgreement", "lesion_agreement"]


@dataclass(frozen=True, slots=True)
class LesionAgreement:
    """Counts of lesions: sets of voxels that touch by face, edge or corner.

    Attributes
    ----------
    expected, predicted : int
        Lesions of the reference and of the prediction.
    found : int
        Lesions of the reference of which the prediction covers a voxel or more.
    missed : int
        The other ones of the reference.
    invented : int
        Lesions of the prediction that cover no voxel of the reference.
    """

    expected: int
    predicted: int
    found: int
    missed: int
    invented: int

    @property
    def sensitivity(self) -> float:
        """Found, of the expected ones; nan where none is expected."""
        return self.found / self.expected if self.expected else float("nan")

    @property
    def precision(self) -> float:
        """Predicted ones that are not invented, of all; nan where none is predicted."""
        if not self.predicted:
            return float("nan")
        return (self.predicted - self.invented) / self.predicted

    @property
    def f1(self) -> float:
        """2 found / (2 found + missed + invented); nan where both masks are empty."""
        total = 2 * self.found + self.missed + self.invented
        return 2 * self.found / total if total else float("nan")


def lesion_agreement(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_]
) -> LesionAgreement:
    """Count found, missed and invented lesions.

    Parameters
    ----------
    prediction, reference : ndarray of bool
        Of the same shape.

    Raises
    ------
    GeometryError
        If the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"The masks have different shapes, {prediction.shape} and "
            f"{reference.shape}; bring them to one grid first."
        )
    touching = np.ones((3,) * prediction.ndim, bool)
    predicted, count_predicted = ndimage.label(prediction, touching)
    expected, count_expected = ndimage.label(reference, touching)
    both = prediction & reference
    found = len(np.unique(expected[both]))
    met = len(np.unique(predicted[both]))
    return LesionAgreement(
        expected=int(count_expected),
        predicted=int(count_predicted),
        found=found,
        missed=int(count_expected) - found,
        invented=int(count_predicted) - met,
    )
