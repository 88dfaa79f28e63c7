"""What ``medurwkv segment`` writes besides the mask, and how views are named there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medurwkv.cli.targets import check_target
from napari_medurwkv.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.inference import Segmentation

__all__ = ["check_further", "check_no_further", "read_views", "write_uncertainty"]


def read_views(text: str | None) -> tuple[str, ...] | None:
    """Read names of views, separated by commas; None where there are none."""
    if text is None:
        return None
    from napari_medurwkv.inference.view_names import VIEWS

    if text.strip() == "all":
        return VIEWS
    return tuple(part.strip() for part in text.split(","))


def check_no_further(uncertainty: Path | None, probabilities: Path | None) -> None:
    """Refuse files that are not made of all frames.

    Raises
    ------
    OutputError
        If one is asked for.
    """
    if uncertainty is not None or probabilities is not None:
        raise OutputError(
            "Of all frames only masks are written: leave uncertainty and "
            "probabilities out, or choose one frame."
        )


def check_further(
    uncertainty: Path | None, probabilities: Path | None, *, tta: bool, overwrite: bool
) -> None:
    """Refuse places for further files before the work.

    Raises
    ------
    OutputError
        As `check_target`, or if uncertainty cannot be written under that ending.
    """
    from napari_medurwkv.io.write_image import IMAGE_SUFFIXES

    if uncertainty is not None:
        if not uncertainty.name.lower().endswith(IMAGE_SUFFIXES):
            raise OutputError(
                f"Uncertainty cannot be written as {uncertainty.name}; end its name in "
                ".nii.gz or .nii."
            )
        check_target(uncertainty, overwrite=overwrite)
        if tta:
            check_target(_disagreement_path(uncertainty), overwrite=overwrite)
    if probabilities is not None:
        # They are made room for at once, so an older file cannot be kept until later.
        check_target(probabilities, overwrite=False)


def _disagreement_path(path: Path) -> Path:
    stem, dot, rest = path.name.partition(".nii")
    return path.with_name(f"{stem}-disagreement{dot}{rest}")


def write_uncertainty(path: Path, result: Segmentation, *, overwrite: bool) -> None:
    """Write the uncertainty of a result as NIfTI, 0 to 1, on the image's grid.

    Parameters
    ----------
    path : Path
        For the entropy; the disagreement, where there is one, lies beside it.
    result : Segmentation
        Of a run that was asked for it.
    overwrite : bool
        Whether older files may be replaced.
    """
    from napari_medurwkv.io.write_image import write_image

    doubts = result.uncertainty
    if doubts is None:
        return
    files = [(path, doubts.entropy)]
    if doubts.disagreement is not None:
        files.append((_disagreement_path(path), doubts.disagreement))
    for target, steps in files:
        part = steps.astype("float32") / 255
        write_image(target, part, result.geometry, overwrite=overwrite)
