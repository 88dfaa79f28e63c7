"""Two hundred damaged files, and a process with little memory that reads them all.

Run as a script with a folder: it reads every file in it, and prints what came of it and
how much memory that took.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import resource
import sys
import zlib
from pathlib import Path

import numpy as np

SEED = 20261125
CAP = 1 << 30  # bytes above the start; the files have some kilobytes each


def _dicoms():
    spec = importlib.util.spec_from_file_location(
        "dicoms", Path(__file__).with_name("dicoms.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sound_files(folder):
    """Write one sound file of every kind; return their paths."""
    import nibabel as nib
    import nrrd
    import pydicom
    import tifffile
    from PIL import Image

    folder.mkdir()
    random_numbers = np.random.default_rng(SEED)
    volume = random_numbers.integers(0, 900, (12, 11, 10)).astype(np.int16)
    picture = random_numbers.integers(0, 255, (40, 30)).astype(np.uint8)
    colour = random_numbers.integers(0, 255, (40, 30, 3)).astype(np.uint8)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(nib.Nifti1Image(volume, np.diag([-1, 1, 2, 1.0])), folder / name)
    nib.save(nib.Nifti2Image(volume, np.eye(4)), folder / "b.nii")
    nib.save(nib.MGHImage(volume, np.eye(4)), folder / "a.mgz")
    nib.save(nib.MGHImage(volume, np.eye(4)), folder / "a.mgh")
    header = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3),
        "space origin": np.zeros(3),
    }
    nrrd.write(str(folder / "a.nrrd"), volume, header)
    nrrd.write(str(folder / "b.nrrd"), volume, header | {"encoding": "raw"})
    segments = {"Segment0_ID": "s", "Segment0_Name": "n", "Segment0_LabelValue": "1"}
    nrrd.write(
        str(folder / "a.seg.nrrd"), (volume > 400).astype(np.uint8), header | segments
    )
    meta = (
        "ObjectType = Image\nNDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
        "DimSize = 12 11 10\nElementType = MET_SHORT\n"
    )
    end = "ElementDataFile = LOCAL\n"
    raw = volume.tobytes(order="F")
    (folder / "a.mha").write_bytes((meta + end).encode() + raw)
    packed = zlib.compress(raw)
    (folder / "b.mha").write_bytes(
        f"{meta}CompressedData = True\n{end}".encode() + packed
    )
    Image.fromarray(picture).save(folder / "a.png")
    Image.fromarray(colour).convert("P").save(folder / "palette.png")
    Image.fromarray(picture.astype(np.uint16) * 200).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colour).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(colour).convert("CMYK").save(folder / "print.jpg")
    tifffile.imwrite(folder / "a.tif", picture, compression="zlib")
    tifffile.imwrite(folder / "stack.ome.tif", volume.astype(np.uint16), ome=True)
    rgba = random_numbers.integers(0, 65535, (40, 30, 4)).astype(np.uint16)
    tifffile.imwrite(folder / "rgba.tif", rgba, extrasamples=["unassalpha"])
    dicoms = _dicoms()
    data = dicoms.make_slice(picture.astype(np.int16), (0, 0, 0))
    dicoms.save(data, folder / "a.dcm")
    base = Path(pydicom.__file__).parent / "data/test_files"
    for name in (
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "rtdose.dcm",
        "liver_1frame.dcm",
        "image_dfl.dcm",
    ):
        (folder / name).write_bytes((base / name).read_bytes())
    return sorted(folder.iterdir())


def damage(folder, files):
    """Write truncated and bit-flipped copies, and files made to deceive."""
    folder.mkdir()
    chance = random.Random(SEED)
    for path in files:
        content = path.read_bytes()
        for part in (0.0, 0.1, 0.6, 0.97):
            kept = content[: int(part * len(content))]
            (folder / f"cut{part:g}_{path.name}").write_bytes(kept)
        for attempt in range(4):
            flipped = bytearray(content)
            # Half of them where headers are.
            reach = min(len(content), 400) if attempt % 2 else len(content)
            for _ in range(8):
                flipped[chance.randrange(reach)] ^= 1 << chance.randrange(8)
            (folder / f"flip{attempt}_{path.name}").write_bytes(flipped)
    _deceive(folder)


def _deceive(folder):
    import nibabel as nib
    import tifffile
    from PIL import Image

    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header["dim"][:4] = 3, 32767, 32767, 32767
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    huge = header.binaryblock + bytes(4)
    (folder / "huge.nii").write_bytes(huge + bytes(1000))
    (folder / "huge.nii.gz").write_bytes(gzip.compress(huge + bytes(1000)))
    header["dim"][:4] = 3, 700, 700, 700
    bomb = gzip.compress(header.binaryblock + bytes(4 + 4_000_000))
    (folder / "bomb.nii.gz").write_bytes(bomb)
    # Small claim, endless content: only what was claimed may be unpacked.
    header["dim"][:4] = 3, 10, 10, 10
    endless = gzip.compress(header.binaryblock + bytes(4) + bytes(50_000_000))
    (folder / "endless.nii.gz").write_bytes(endless)
    header["dim"][:4] = 3, 10, 0, 10
    (folder / "zero.nii").write_bytes(header.binaryblock + bytes(1000))
    nrrd = (
        "NRRD0005\ntype: double\ndimension: 3\nsizes: {}\nencoding: gzip\n"
        "endian: little\n\n"
    )
    for name, sizes in (
        ("huge", "32767 32767 32767"),
        ("zero", "3 0 3"),
        ("neg", "3 -3 3"),
    ):
        (folder / f"{name}.nrrd").write_bytes(
            nrrd.format(sizes).encode() + gzip.compress(bytes(99))
        )
    big = nrrd.format("600 600 600").encode() + gzip.compress(bytes(20_000_000))
    (folder / "bomb.nrrd").write_bytes(big)
    mha = (
        "NDims = 3\nDimSize = {}\nElementType = MET_DOUBLE\nCompressedData = True\n"
        "ElementDataFile = LOCAL\n"
    )
    for name, sizes in (("huge", "32767 32767 32767"), ("zero", "3 0 3")):
        (folder / f"{name}.mha").write_bytes(
            mha.format(sizes).encode() + zlib.compress(bytes(99))
        )
    (folder / "outside.mhd").write_text(
        "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
        "ElementDataFile = ../../x\n"
    )
    dicoms = _dicoms()
    plane = np.ones((20, 20), np.uint16)
    for name, elements in {
        "no_rows": {"Rows": None},
        "no_bits": {"BitsAllocated": None},
        "no_samples": {"SamplesPerPixel": None},
        "no_photometric": {"PhotometricInterpretation": None},
        "no_pixels": {"PixelData": None},
        "no_spacing": {"PixelSpacing": None},
        "no_position": {"ImagePositionPatient": None},
        "no_orientation": {"ImageOrientationPatient": None},
        "zero_rows": {"Rows": 0},
        "huge_rows": {"Rows": 65535, "Columns": 65535},
        "many_frames": {"NumberOfFrames": 2_000_000},
        "zero_spacing": {"PixelSpacing": [0, 0]},
        "bad_orientation": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        "odd_bits": {"BitsAllocated": 12},
    }.items():
        dicoms.save(
            dicoms.make_slice(plane, (0, 0, 0), **elements), folder / f"{name}.dcm"
        )
    Image.new("1", (60000, 60000)).save(folder / "bomb.png")
    Image.new("L", (0xFFFF, 4)).save(folder / "wide.png")
    tifffile.imwrite(folder / "float_nan.tif", np.full((9, 9), np.nan, np.float32))
    (folder / "text.dcm").write_text("Dear colleague")
    (folder / "executable.dcm").write_bytes(b"MZ" + bytes(126) + b"DICM" + bytes(200))
    (folder / "folder_of_junk").mkdir()
    (folder / "folder_of_junk/a.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 99)


def read_all(folder):
    """Read every file; say what came of it."""
    import nibabel  # noqa: F401
    import nrrd  # noqa: F401
    import pydicom.pixels  # noqa: F401
    import tifffile  # noqa: F401

    from napari_medurwkv.errors import ImageError
    from napari_medurwkv.io import frame_count, is_label_file, read_image, read_labels

    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2 * CAP, size + 2 * CAP))
    came = {}
    for path in sorted(folder.iterdir()):
        said = []
        for read in (read_image, read_labels, frame_count, is_label_file):
            try:
                read(path)
                said.append("read")
            except ImageError as error:
                said.append(str(error))
            except Exception as error:
                said.append(f"!!! {error!r}")
        came[path.name] = said
    end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"came": came, "memory": end - start}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read_all(Path(sys.argv[1]))))
