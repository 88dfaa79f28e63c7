"""DICOM segmentation objects, which PACS and viewers lay over their series."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import OutputError
from napari_medurwkv.export.deidentify import remove_identity
from napari_medurwkv.export.dicom_source import prepared_sources
from napari_medurwkv.export.mask import volume_grid
from napari_medurwkv.export.terms import segment_terms
from napari_medurwkv.io import Output
from napari_medurwkv.io.dicom.library import quiet
from napari_medurwkv.provenance import RESEARCH_USE
from napari_medurwkv.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints.card import ClassInfo, CodedConcept
    from napari_medurwkv.export.mask import ExportMask, ExportOptions

__all__ = ["dicom_seg_output"]

MAKER = "napari-medurwkv"
SERIES_NUMBER = 900
"""High, so that viewers list the mask behind the images."""

FULL_BYTES = 1 << 26
"""Size up to which empty frames are written too."""


def dicom_seg_output(mask: ExportMask, path: Path, options: ExportOptions) -> Output:
    """Describe a DICOM SEG file of a mask on the series that it was made from.

    Frames are put on the planes of the images one by one, so a mask of a series with
    missing slices or a tilted gantry lies right as well. Segments are numbered from 1
    without gaps, as DICOM wants it; the values are in the segments' descriptions.

    Parameters
    ----------
    mask : ExportMask
        Its geometry comes from DICOM files that are still there.
    path : Path
        Target.
    options : ExportOptions
        Whether to leave out the patient, and the type.

    Raises
    ------
    OutputError
        If there is no segment, the image is not from DICOM, or its files cannot be
        referred to.
    """
    present = set(np.unique(mask.labels).tolist())
    segments = [info for info in mask.segments if info.value in present]
    if not segments:
        raise OutputError(
            "The mask is empty, and a DICOM segmentation needs a segment: save it in "
            "another format."
        )
    sources = prepared_sources(mask.geometry)
    frames = _frames(mask, segments)

    def write(part: Path) -> None:
        # Their warnings quote names of patients.
        with quiet(), _by_the_rules():
            dataset = _segmentation(mask, segments, sources, frames, options)
            dataset.save_as(part, enforce_file_format=True)

    def check(part: Path) -> None:
        with quiet(), _by_the_rules():
            same = np.array_equal(_read_back(part, mask), frames)
        if not same:
            raise OutputError(
                f"{path} did not come back from the disk as written: check the disk, "
                "or choose another folder."
            )

    return Output(path, write, check)


@contextmanager
def _by_the_rules() -> Iterator[None]:
    """Say it in a sentence where highdicom, which checks as it goes along, stops."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise OutputError(
            "The DICOM files of the image break rules that a DICOM mask relies on, so "
            "it cannot refer to them: save the mask as NIfTI or NRRD."
        ) from error


def _frames(mask: ExportMask, segments: list[ClassInfo]) -> NDArray[Any]:
    """Return (frames, rows, columns) of segment numbers in the order of the sources."""
    source, _ = volume_grid(mask.labels, mask.geometry)
    values = np.array([0, *(info.value for info in segments)], source.dtype)
    type_ = np.uint8 if len(segments) < 256 else np.uint16
    numbers = np.searchsorted(values, source).astype(type_)
    frames = numbers.transpose(2, 1, 0)
    dicom = mask.geometry.source.dicom
    if dicom is None or dicom.frames is None:
        return np.ascontiguousarray(frames)
    # A multi-frame file has its frames in an order of its own.
    return np.ascontiguousarray(frames[np.argsort(dicom.frames)])


def _segmentation(
    mask: ExportMask,
    segments: list[ClassInfo],
    sources: list[Any],
    frames: NDArray[Any],
    options: ExportOptions,
) -> Any:
    import highdicom
    from pydicom.uid import RLELossless

    descriptions = [
        _describe(number, info, mask) for number, info in enumerate(segments, start=1)
    ]
    approximate = mask.geometry.approximate
    dataset = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type="LABELMAP" if options.labelmap else "BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=mask.record.model.name if mask.record else MAKER,
        software_versions=__version__,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Geometry approximate; research use only"
        if approximate
        else RESEARCH_USE,
        series_description=_series_description(mask),
        # With all frames every reader gets the image's whole grid; without the empty
        # ones large masks stay small.
        omit_empty_frames=frames.size // 8 * len(segments) > FULL_BYTES,
        **({"transfer_syntax_uid": RLELossless} if options.labelmap else {}),
    )
    for item, info in zip(dataset.SegmentSequence, segments, strict=False):
        item.SegmentDescription = f"value {info.value} of the mask"
    if "ContentCreatorName" not in dataset:
        dataset.ContentCreatorName = None  # must be there, may be empty
    _number_frames(dataset, mask)
    if mask.geometry.kind != "patient":  # has to be there, may be empty
        dataset.PatientOrientation = sources[0].get("PatientOrientation")
    if options.deidentify:
        remove_identity(dataset)
    return dataset


def _number_frames(dataset: Any, mask: ExportMask) -> None:
    """Refer to frames by their numbers in the file, of which not all may be used."""
    dicom = mask.geometry.source.dicom
    if dicom is None or dicom.frames is None:
        return
    kept = sorted(dicom.frames)
    if kept == list(range(len(kept))):
        return
    # Frames of several segments may share one object.
    sources = {
        id(source): source
        for group in dataset.PerFrameFunctionalGroupsSequence
        for derivation in group.get("DerivationImageSequence", ())
        for source in derivation.get("SourceImageSequence", ())
    }
    for source in sources.values():
        number = int(source.get("ReferencedFrameNumber") or 1)
        source.ReferencedFrameNumber = kept[number - 1] + 1


def _series_description(mask: ExportMask) -> str:
    """64 characters at most, as DICOM allows."""
    made = {"AUTOMATIC": "AI draft", "SEMIAUTOMATIC": "AI edited", "MANUAL": "manual"}
    words = [f"{made[mask.made_by]} segmentation"]
    if mask.geometry.approximate:
        words.append("geometry approximate")
    return ", ".join([*words, "research use only"])


def _describe(number: int, info: ClassInfo, mask: ExportMask) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    category, type_ = (_code(term) for term in segment_terms(info))
    record = mask.record
    algorithm = None
    if record is not None:
        algorithm = highdicom.AlgorithmIdentificationSequence(
            name=record.model.name[:64],
            family=codes.DCM.ArtificialIntelligence,
            version=f"{record.model.version} ({MAKER} {record.software.plugin})"[:64],
            # 64 characters: the digest fills the element, its name goes beside it.
            source=record.model.sha256,
            parameters={"AlgorithmSource": "SHA-256 of the checkpoint file"},
        )
    red, green, blue = (int(info.color[i : i + 2], 16) for i in (1, 3, 5))
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=info.name[:64],
        segmented_property_category=category,
        segmented_property_type=type_,
        algorithm_type=mask.made_by,
        algorithm_identification=algorithm,
        tracking_uid=highdicom.UID(),
        tracking_id=f"{info.name} {info.value}"[:64],
        display_color=highdicom.color.CIELabColor.from_rgb(red, green, blue),
    )


def _code(concept: CodedConcept) -> Any:
    from pydicom.sr.coding import Code

    return Code(concept.value, concept.scheme, concept.meaning)


def _read_back(part: Path, mask: ExportMask) -> NDArray[Any]:
    """Read segment numbers frame by frame, in the order of the sources."""
    import highdicom

    back = highdicom.seg.segread(part)
    uids = list(back.get_source_image_uids())
    dicom = mask.geometry.source.dicom
    if dicom is not None and dicom.frames not in (None, (0,)):
        read = back.get_pixels_by_source_frame(
            uids[0][2],
            [number + 1 for number in sorted(dicom.frames or ())],
            combine_segments=True,
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
        return np.asarray(read)
    order = [uid for _, _, uid in uids]
    read = back.get_pixels_by_source_instance(
        order,
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    return np.asarray(read)
