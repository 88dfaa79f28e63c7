"""TIFF: pages, channels, frames, and the pixel size where one is stated."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_medurwkv.errors import ImageError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import frame_count, read_image, read_labels, write_labels

RNG = np.random.default_rng(0)
PLANE = RNG.integers(0, 60000, (13, 17)).astype(np.uint16)
STACK = RNG.integers(0, 255, (5, 13, 17)).astype(np.uint8)
COLOUR = RNG.integers(0, 255, (13, 17, 3)).astype(np.uint8)


def opened(path):
    with Pillow.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(
    "array",
    [PLANE, STACK, PLANE.astype(np.float32) / 7, PLANE.astype(np.int32) - 9000],
    ids=["plane", "stack", "float", "signed"],
)
def test_pages_are_a_plane_or_a_stack(array, tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, array)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, array)
    assert image.array.dtype == array.dtype
    assert image.geometry.ndim == array.ndim
    assert image.geometry.kind == "none"
    assert image.geometry.source.format == "tiff"
    assert frame_count(path) == 1


def test_loose_pages_are_a_stack(tmp_path):
    path = tmp_path / "pages.tiff"
    first, *others = (Pillow.fromarray(page) for page in STACK)
    first.save(path, save_all=True, append_images=others)
    np.testing.assert_array_equal(read_image(path).array, STACK)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour(planar, tmp_path):
    path = tmp_path / "colour.tif"
    array = COLOUR if planar == "contig" else np.moveaxis(COLOUR, -1, 0)
    tifffile.imwrite(path, array, photometric="rgb", planarconfig=planar)
    image = read_image(path)
    assert image.rgb
    np.testing.assert_array_equal(image.array, COLOUR)
    with pytest.raises(ImageError, match="not a mask"):
        read_labels(path)


def test_a_stack_of_colour(tmp_path):
    path = tmp_path / "colour.tif"
    array = RNG.integers(0, 255, (4, 13, 17, 3)).astype(np.uint8)
    tifffile.imwrite(path, array, photometric="rgb")
    image = read_image(path)
    assert image.rgb
    np.testing.assert_array_equal(image.array, array)


def test_transparency_is_dropped(tmp_path):
    path = tmp_path / "alpha.tif"
    tifffile.imwrite(
        path,
        np.dstack([COLOUR, COLOUR[..., 0]]),
        photometric="rgb",
        extrasamples=["unassalpha"],
    )
    image = read_image(path)
    np.testing.assert_array_equal(image.array, COLOUR)
    assert any("transparency" in note for note in image.notes)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("array", [PLANE, COLOUR, STACK[0]], ids=["16", "rgb", "8"])
def test_usual_compressions(compression, array, tmp_path):
    path = tmp_path / "packed.tif"
    Pillow.fromarray(array).save(path, compression=compression)
    np.testing.assert_array_equal(read_image(path).array, array)


def test_compressed_stacks(tmp_path):
    path = tmp_path / "packed.tif"
    first, *others = (Pillow.fromarray(page) for page in STACK)
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(path).array, STACK)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("array", [PLANE, COLOUR, STACK], ids=["16", "rgb", "stack"])
def test_turned_pages(orientation, array, tmp_path):
    path, packed = tmp_path / "plain.tif", tmp_path / "packed.tif"
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, array, extratags=tag)
    image = read_image(path)
    np.testing.assert_array_equal(image.geometry.to_source(image.array), array)
    # The other decoder turns pages on its own.
    pages = [Pillow.fromarray(page) for page in (STACK if array is STACK else [array])]
    pages[0].save(
        packed,
        compression="tiff_lzw",
        tiffinfo={274: orientation},
        save_all=True,
        append_images=pages[1:],
    )
    np.testing.assert_array_equal(
        image.array[0] if array is STACK else image.array, opened(packed)
    )
    again = read_image(packed)
    np.testing.assert_array_equal(again.array, image.array)
    np.testing.assert_array_equal(again.geometry.to_source(again.array), array)


def test_fax_and_jpeg_pages(tmp_path):
    path = tmp_path / "fax.tif"
    Pillow.fromarray(PLANE > 30000).save(path, compression="group4")
    np.testing.assert_array_equal(read_labels(path).array, PLANE > 30000)
    Pillow.fromarray(COLOUR).save(path, compression="jpeg")
    np.testing.assert_array_equal(read_image(path).array, opened(path))


def test_palettes(tmp_path):
    picture = Pillow.fromarray(STACK[0] % 3)
    picture.putpalette(bytes([10, 20, 30, 200, 0, 0, 0, 0, 250]))
    path = tmp_path / "palette.tif"
    picture.save(path)
    np.testing.assert_array_equal(
        read_image(path).array,
        np.array([[10, 20, 30], [200, 0, 0], [0, 0, 250]])[STACK[0] % 3],
    )
    np.testing.assert_array_equal(read_labels(path).array, STACK[0] % 3)


def test_white_is_zero(tmp_path):
    path = tmp_path / "film.tif"
    tifffile.imwrite(path, STACK[0], photometric="miniswhite")
    image = read_image(path)
    np.testing.assert_array_equal(image.array, 255 - STACK[0])
    assert any("inverted" in note for note in image.notes)
    np.testing.assert_array_equal(read_labels(path).array, STACK[0])


def test_frames(tmp_path):
    movie = RNG.integers(0, 255, (3, 5, 13, 17)).astype(np.uint8)
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, movie, imagej=True, metadata={"axes": "TZYX"})
    assert frame_count(path) == 3
    with pytest.raises(ImageError, match=r"3 frames.*--frame"):
        read_image(path)
    with pytest.raises(ImageError, match="no frame 3"):
        read_image(path, frame=3)
    for frame in range(3):
        np.testing.assert_array_equal(read_image(path, frame=frame).array, movie[frame])
    tifffile.imwrite(path, movie[:, 0], imagej=True, metadata={"axes": "TYX"})
    image = read_image(path, frame=1)
    np.testing.assert_array_equal(image.array, movie[1, 0])
    mask = (image.array > 9).astype(np.uint8)
    out = write_labels(tmp_path / "mask.tif", mask, image.geometry)
    np.testing.assert_array_equal(read_labels(out).array, mask)


def test_channels_and_print_colours_are_refused(tmp_path):
    path = tmp_path / "channels.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(ImageError, match=r"5 channels.*as its own image"):
        read_image(path)
    with pytest.raises(ImageError, match="5 channels"):
        frame_count(path)
    tifffile.imwrite(path, STACK[None], metadata={"axes": "QZYX"})
    assert read_image(path).array.shape == STACK.shape
    tifffile.imwrite(path, np.stack([STACK] * 2), metadata={"axes": "QZYX"})
    with pytest.raises(ImageError, match="channels"):
        read_image(path)
    Pillow.fromarray(COLOUR).convert("CMYK").save(path)
    with pytest.raises(ImageError, match="print colours"):
        read_image(path)


class TestPixelSize:
    def size(self, path):
        geometry = read_image(path).geometry
        return geometry.spacing, geometry.unit, geometry.kind

    def test_ome(self, tmp_path):
        path = tmp_path / "a.ome.tif"
        metadata = {
            "axes": "ZYX",
            "PhysicalSizeX": 0.25,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeZ": 2,
        }
        tifffile.imwrite(path, STACK, metadata=metadata)
        assert self.size(path) == ((2.0, 0.5, 0.25), "um", "pixel-size-only")
        assert read_image(path).name == "a"
        # The unit is often on X alone; it holds for all.
        metadata["PhysicalSizeXUnit"] = "mm"
        tifffile.imwrite(path, STACK, metadata=metadata)
        assert self.size(path) == ((2.0, 0.5, 0.25), "mm", "pixel-size-only")
        metadata["PhysicalSizeZUnit"] = "µm"
        tifffile.imwrite(path, STACK, metadata=metadata)
        assert self.size(path) == ((0.002, 0.5, 0.25), "mm", "pixel-size-only")
        metadata["PhysicalSizeXUnit"] = "pixel"
        tifffile.imwrite(path, STACK, metadata=metadata)
        assert self.size(path) == ((1.0, 1.0, 1.0), "pixel", "none")

    def test_ome_without_slice_distance(self, tmp_path):
        path = tmp_path / "a.ome.tif"
        sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
        tifffile.imwrite(path, STACK, metadata={"axes": "ZYX", **sizes})
        image = read_image(path)
        assert image.geometry.kind == "none"
        assert image.notes == ("The file does not state the distance of its slices.",)

    def test_imagej(self, tmp_path):
        path = tmp_path / "a.tif"
        for unit, expected in (("um", "um"), ("micron", "um"), ("mm", "mm")):
            tifffile.imwrite(
                path,
                STACK,
                imagej=True,
                resolution=(4, 2),
                metadata={"axes": "ZYX", "unit": unit, "spacing": 3},
            )
            assert self.size(path) == ((3.0, 0.5, 0.25), expected, "pixel-size-only")
        tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"})
        assert self.size(path)[2] == "none"

    def test_plain_resolution(self, tmp_path):
        path = tmp_path / "a.tif"
        for resolution, unit, expected in (
            ((40000, 20000), "CENTIMETER", ((0.5, 0.25), "um")),
            ((100, 50), "CENTIMETER", ((0.2, 0.1), "mm")),
            ((50800, 50800), "INCH", ((0.5, 0.5), "um")),
            ((423.3, 423.3), "INCH", ((0.06, 0.06), "mm")),
        ):
            tifffile.imwrite(path, PLANE, resolution=resolution, resolutionunit=unit)
            spacing, got, kind = self.size(path)
            assert (got, kind) == (expected[1], "pixel-size-only")
            assert spacing == pytest.approx(expected[0], rel=1e-3)

    @pytest.mark.parametrize(
        ("resolution", "unit"),
        [
            ((72, 72), "INCH"),
            ((300, 300), "INCH"),
            ((28.35, 28.35), "CENTIMETER"),
            ((118.11, 118.11), "CENTIMETER"),
            ((1, 1), "NONE"),
            ((1, 1), "INCH"),
            ((0, 0), "CENTIMETER"),
        ],
    )
    def test_a_printers_resolution_is_no_pixel_size(self, resolution, unit, tmp_path):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, PLANE, resolution=resolution, resolutionunit=unit)
        assert self.size(path) == ((1.0, 1.0), "pixel", "none")

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
    @pytest.mark.parametrize("unit", ["um", "mm", "nm"])
    def test_a_mask_carries_it(self, dtype, unit, tmp_path):
        geometry = Geometry.plain((5, 13, 17), (2.0, 0.5, 0.25), unit)
        mask = STACK.astype(dtype)
        mask[0, 0, 0] = np.iinfo(dtype).max
        path = write_labels(tmp_path / "mask.tif", mask, geometry)
        assert self.size(path) == ((2.0, 0.5, 0.25), unit, "pixel-size-only")
        assert read_image(path).array.dtype == dtype
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
            # Programs that know no OME find the pixel size in the plain tags.
            assert page.resolutionunit == tifffile.RESUNIT.CENTIMETER
            per_cm = {"um": 1e4, "mm": 1e1, "nm": 1e7}[unit]
            assert page.resolution == pytest.approx((4 * per_cm, 2 * per_cm))

    def test_no_machine_is_named(self, tmp_path):
        path = write_labels(tmp_path / "m.tif", STACK, Geometry.plain(STACK.shape))
        with tifffile.TiffFile(path) as file:
            text = file.ome_metadata
        # Version 1 of an UUID holds the network card's address.
        assert re.search(r'UUID="urn:uuid:\w{8}-\w{4}-5', text)


def test_one_decoder_knows_what_the_other_wrote(tmp_path):
    mask = STACK[0] % 5
    path = write_labels(tmp_path / "m.tif", mask, Geometry.plain(mask.shape))
    np.testing.assert_array_equal(opened(path), mask)
    np.testing.assert_array_equal(tifffile.imread(path), mask)


def test_damaged_files(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANE)
    whole = path.read_bytes()
    for kept in (0.05, 0.4, 0.95):
        path.write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(ImageError, match="truncated or damaged"):
            read_image(path)
    path.write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(ImageError):
        read_image(path)


def test_an_image_larger_than_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 100, 100), np.uint8), compression="zlib")
    monkeypatch.setattr("napari_medurwkv.io.limits.available_memory", lambda: 10_000)
    with pytest.raises(ImageError, match="50 kB of memory"):
        read_image(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_that_lead_in_a_circle_are_refused(tmp_path, bigtiff):
    """tifffile would read around in it for ever."""
    path = tmp_path / "circle.tif"
    plane = np.zeros((4, 5), np.uint8)
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as writer:
        for _ in range(3):
            writer.write(plane, contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as file:
        last, first = file.pages[2], file.pages[0].offset
        tail = last.offset + file.tiff.tagnosize + len(last.tags) * file.tiff.tagsize
        link = struct.pack(file.tiff.offsetformat, first)
    content = bytearray(path.read_bytes())
    content[tail : tail + len(link)] = link
    path.write_bytes(content)
    for read in (read_image, read_labels):
        with pytest.raises(ImageError, match="circle"):
            read(path)


def test_what_a_decoder_says_is_kept_short(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANE)

    def fail(*_):
        raise ValueError("numbers " * 1000 + "\n")

    monkeypatch.setattr("napari_medurwkv.io.tiff._axes", fail)
    for look in (read_image, frame_count):
        with pytest.raises(ImageError) as caught:
            look(path)
        assert len(str(caught.value)) < len(str(path)) + 140
