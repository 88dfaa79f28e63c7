"""DICOM files made for tests: a small CT, one file a slice."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SHAPE = (4, 5, 6)  # slices, rows, columns
SPACING = (2.0, 0.5, 0.75)
PATIENT = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "MRN-0815",
    "PatientBirthDate": "19640812",
    "StudyDate": "20240131",
    "SeriesDate": "20240131",
    "InstitutionName": "Hospital of Nowhere",
    "ReferringPhysicianName": "Doktor^Wer",
    "AccessionNumber": "ACC-4711",
}
AXIAL = (1, 0, 0, 0, 1, 0)


def numbers(shape=SHAPE, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def make_slice(
    values, position, *, orientation=AXIAL, series="1.2.3", number=1, **elements
):
    """Make a data set of one slice; elements by keyword, None leaves one out."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    told_by = [series, str(number), str(position), str(sorted(elements.items()))]
    uid = generate_uid(entropy_srcs=told_by)
    data.file_meta.MediaStorageSOPInstanceUID = uid
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = uid
    data.SeriesInstanceUID = series
    data.StudyInstanceUID = "1.2"
    data.FrameOfReferenceUID = "1.2.9"
    data.Modality = "CT"
    data.SeriesDescription = f"series {series}"
    data.SeriesNumber = int(series.split(".")[-1])
    data.InstanceNumber = number
    data.ImagePositionPatient = [round(float(x), 6) for x in position]
    data.ImageOrientationPatient = list(orientation)
    data.PixelSpacing = list(SPACING[1:])
    data.SliceThickness = 99.0  # wrong on purpose: distances come from positions
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    bits = 8 * values.dtype.itemsize
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit = bits - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    for keyword, value in PATIENT.items():
        setattr(data, keyword, value)
    data.PixelData = np.ascontiguousarray(values).tobytes()
    if len(data.PixelData) % 2:
        data.PixelData += b"\0"
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    return data


def save(data, path):
    data.save_as(path, enforce_file_format=True)
    return path


def positions(count=SHAPE[0], step=(0, 0, SPACING[0]), origin=(-10.0, -20.0, 30.0)):
    return [np.add(origin, np.multiply(step, k)) for k in range(count)]


def write_series(folder, values=None, places=None, *, reverse=True, **elements):
    """Write a series; file names and instance numbers run against the positions."""
    folder.mkdir(parents=True, exist_ok=True)
    values = numbers() if values is None else values
    places = positions(len(values)) if places is None else places
    for k, (plane, place) in enumerate(zip(values, places, strict=True)):
        number = len(values) - k if reverse else k + 1
        chosen = {
            key: value[k] if isinstance(value, list) else value
            for key, value in elements.items()
        }
        data = make_slice(plane, place, number=number, **chosen)
        tag = str(elements.get("series", "s")).replace(".", "_")
        save(data, folder / f"IM{tag}_{number:03d}.dcm")
    return folder


def write_enhanced(path, values, order, **elements):
    """Write a 4D enhanced MR: (times, slices, rows, columns), frames in any order.

    `order` lists the (time, slice) of each frame of the file.
    """
    from pydicom.uid import EnhancedMRImageStorage

    frames = np.stack([values[index] for index in order])
    data = make_slice(frames[0], (0, 0, 0), **elements)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        delattr(data, keyword)
    for keyword in ("PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(data, keyword)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    data.Modality = "MR"
    data.NumberOfFrames = len(frames)
    data.PixelData = frames.tobytes()
    measures, turned, shared = (pydicom.Dataset() for _ in range(3))
    measures.PixelSpacing = list(SPACING[1:])
    measures.SliceThickness = SPACING[0]
    turned.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [turned]
    data.SharedFunctionalGroupsSequence = [shared]
    places = positions(values.shape[1])
    groups = []
    for time, k in order:
        group, place, content = (pydicom.Dataset() for _ in range(3))
        place.ImagePositionPatient = [float(x) for x in places[k]]
        content.TemporalPositionIndex = time + 1
        content.DimensionIndexValues = [time + 1, k + 1]
        group.PlanePositionSequence = [place]
        group.FrameContentSequence = [content]
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    return save(data, path)


def write_film(path, values, *, volume=False, **elements):
    """Write an ultrasound multi-frame whose frames state no place."""
    from pydicom.uid import UltrasoundMultiFrameImageStorage

    data = make_slice(values[0], (0, 0, 0), **elements)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        delattr(data, keyword)
    data.SOPClassUID = UltrasoundMultiFrameImageStorage
    data.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    data.Modality = "US"
    data.NumberOfFrames = len(values)
    data.PixelData = np.ascontiguousarray(values).tobytes()
    if volume:
        data.SpacingBetweenSlices = SPACING[0]
        data.FrameIncrementPointer = 0x00540080  # the slice vector
    return save(data, path)
