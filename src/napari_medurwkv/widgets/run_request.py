"""What the user asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.further import Further
from napari_medurwkv.widgets.result_layer import labels_dtype

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_medurwkv.checkpoints import CatalogueEntry
    from napari_medurwkv.inference import Segmentation
    from napari_medurwkv.measure import ClassMeasure
    from napari_medurwkv.widgets.layer_image import LayerImage

__all__ = ["RunEnd", "RunRequest"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the user asked for.

    Attributes
    ----------
    layer : napari.layers.Layer
        The image's layer.
    picture : LayerImage
        What the engine gets of it.
    entry : CatalogueEntry
        The checkpoint.
    device : str
        As `napari_medurwkv.segment` takes it.
    overlap : float or None
        Of neighbouring windows.
    instances : bool
        Whether to number objects.
    keep_partial : bool
        Whether a cancelled run leaves its finished part.
    region : tuple of slice or None
        Part of the image, in display order; all by default.
    part : str
        What that part is, for the mask's name; empty for all.
    further : Further
        Views, mirror images, and what is to be kept.
    all_frames : bool
        Whether every frame of a series is segmented, one after the other.
    """

    layer: Layer
    picture: LayerImage
    entry: CatalogueEntry
    device: str = "auto"
    overlap: float | None = None
    instances: bool = False
    keep_partial: bool = True
    region: tuple[slice, ...] | None = None
    part: str = ""
    further: Further = field(default_factory=Further)
    all_frames: bool = False

    @property
    def pictures(self) -> list[LayerImage]:
        """What is segmented, one after the other."""
        return self.picture.frames() if self.all_frames else [self.picture]

    @property
    def on_disk(self) -> bool:
        """Whether the mask is too large for memory and lies on the disk."""
        dtype = labels_dtype(self.entry.card.classes, instances=self.instances)
        plain = not self.all_frames and not self.instances
        return plain and self.picture.on_disk(dtype)

    def check(self) -> None:
        """Refuse to keep what could not be shown.

        Raises
        ------
        ImageError
            With what to untick.
        """
        keep, doubt = self.further.keep_probabilities, self.further.uncertainty
        if self.on_disk and (keep or doubt):
            raise ImageError(
                "This image is segmented piece by piece onto the disk, and its "
                "probabilities and uncertainty cannot be shown here: untick *Keep "
                "probabilities* and *Show uncertainty*."
            )
        if self.all_frames and doubt:
            raise ImageError(
                "Uncertainty is shown of one frame at a time: untick *Show "
                "uncertainty*, or choose one frame."
            )
        if keep and (self.all_frames or self.picture.places):
            raise ImageError(
                "Masks in a series or of one channel have no sliders: untick *Keep "
                "probabilities*, or split the layer."
            )


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What came of a run.

    Attributes
    ----------
    state : {"complete", "partial", "cancelled", "failed"}
        "partial" and "failed" may leave a layer with the part that is done.
    layer : Labels or None
        The mask; None where nothing is left.
    measures : tuple of ClassMeasure
        Of the mask.
    segmentation : Segmentation or None
        What the engine returned.
    error : Exception or None
        Why it failed.
    seconds : float
        From the click on.
    """

    state: Literal["complete", "partial", "cancelled", "failed"]
    layer: Labels | None
    measures: tuple[ClassMeasure, ...]
    segmentation: Segmentation | None
    error: Exception | None
    seconds: float
