"""Small images that come with the package, to try it on.

Where they come from and under which terms is written in ``NOTICE.md`` beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

__all__ = ["Sample", "find_sample", "list_samples"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One bundled image.

    Attributes
    ----------
    name : str
        Short identifier.
    title : str
        Shown in menus.
    path : Path
        The image: PNG, or NIfTI for volumes.
    reference_path : Path or None
        Labels of the same grid, where somebody has drawn or computed them: numbered
        objects for nuclei, classes for tissues.
    dimensions : {2, 3}
        Of the image.
    model : str
        Name of the embedded checkpoint that is made for such images.
    licence : str
        SPDX identifier, or the licence in a few words.
    note : str
        What is to be known before its mask is looked at; may be empty.
    """

    name: str
    title: str
    path: Path
    reference_path: Path | None
    dimensions: Literal[2, 3]
    model: str
    licence: str
    note: str = ""


def list_samples() -> tuple[Sample, ...]:
    """Return the bundled images, the two-dimensional ones first."""
    folder = Path(str(resources.files(__name__)))
    return (
        Sample(
            name="nuclei",
            title="Nuclei, fluorescence (2D)",
            path=folder / "nuclei.png",
            reference_path=folder / "nuclei_labels.png",
            dimensions=2,
            model="nuclei",
            licence="BSD-3-Clause",
        ),
        Sample(
            name="tissue",
            title="Stained tissue, colour (2D)",
            path=folder / "tissue.png",
            reference_path=None,
            dimensions=2,
            model="nuclei",
            licence="no known copyright restrictions",
            note=(
                "A brown immunostain, which nuclei was never trained on: it marks the "
                "stain. Shown for what goes wrong outside of what a card promises."
            ),
        ),
        Sample(
            name="brain",
            title="Brain, T1 MRI template (3D)",
            path=folder / "brain.nii.gz",
            reference_path=folder / "brain_tissues.nii.gz",
            dimensions=3,
            model="brain-tissue",
            licence="free use with copyright notice (MNI)",
        ),
    )


def find_sample(name: str) -> Sample:
    """Return the bundled image of that name.

    Raises
    ------
    KeyError
        There is none.
    """
    for sample in list_samples():
        if sample.name == name:
            return sample
    names = ", ".join(sample.name for sample in list_samples())
    raise KeyError(f"There is no sample {name!r}: the samples are {names}.")
