"""PNG and JPEG: what is stored is what is read, and a mask lies on its picture."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageOps

from napari_medurwkv.errors import ImageError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import frame_count, read_image, read_labels, write_labels
from napari_medurwkv.io.raster import ORIENTATION_TAG, write_png

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (11, 17)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (11, 17, 3)).astype(np.uint8)


@dataclass(frozen=True)
class Named:
    value: int
    color: str
    name: str = "class"


def opened(path, turned=False):
    """Pixels as Pillow reads them."""
    with Pillow.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture) if turned else picture)


def save(path, array, mode=None, **options):
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def test_grey_and_colour(tmp_path):
    image = read_image(save(tmp_path / "a.b.png", GREY))
    np.testing.assert_array_equal(image.array, GREY)
    assert image.array.dtype == np.uint8
    assert not image.rgb
    assert image.name == "a.b"
    assert image.notes == ()
    assert image.geometry.kind == "none"
    assert image.geometry.assumed
    assert image.geometry.describe() == "orientation assumed, 1 x 1 px"
    image = read_image(save(tmp_path / "c.png", COLOUR))
    np.testing.assert_array_equal(image.array, COLOUR)
    assert image.rgb
    assert image.geometry.display_shape == (11, 17)
    assert image.geometry.source.shape == (11, 17, 3)
    assert frame_count(tmp_path / "c.png") == 1


def test_jpeg(tmp_path):
    smooth = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8)
    path = save(tmp_path / "a.jpg", smooth, quality=95)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, opened(path))
    assert image.geometry.source.format == "jpeg"
    path = save(tmp_path / "c.jpeg", np.stack([smooth] * 3, -1))
    assert read_image(path).rgb


def test_16_bits(tmp_path):
    deep = RNG.integers(0, 65536, (9, 8)).astype(np.uint16)
    image = read_image(save(tmp_path / "deep.png", deep))
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array, deep)


def test_16_bit_colour_is_told_to_lose_depth(tmp_path):
    deep = RNG.integers(0, 65536, (4, 5, 3)).astype(np.uint16)

    def chunk(name, content):
        body = name + content
        return (
            struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    image = read_image(path)
    np.testing.assert_array_equal(image.array, deep >> 8)
    assert image.notes == ("The file's 16-bit colours are read with 8 bits.",)


def test_transparency_is_dropped_and_told_where_there_is_any(tmp_path):
    opaque = np.dstack([COLOUR, np.full((11, 17), 255, np.uint8)])
    image = read_image(save(tmp_path / "opaque.png", opaque))
    np.testing.assert_array_equal(image.array, COLOUR)
    assert image.notes == ()
    opaque[3:5, :, 3] = 0
    image = read_image(save(tmp_path / "holes.png", opaque))
    np.testing.assert_array_equal(image.array, COLOUR)  # colours as stored
    assert image.notes == ("The transparency of the image is ignored.",)
    grey = read_image(save(tmp_path / "grey.png", GREY, "LA"))
    np.testing.assert_array_equal(grey.array, GREY)
    assert not grey.rgb


def test_palettes_are_colours_in_an_image_and_indices_in_a_mask(tmp_path):
    picture = Pillow.fromarray(GREY % 3, mode=None)
    picture.putpalette(bytes([10, 20, 30, 200, 0, 0, 0, 0, 250]))
    path = tmp_path / "palette.png"
    picture.save(path)
    image = read_image(path)
    assert image.rgb
    np.testing.assert_array_equal(
        image.array, np.array([[10, 20, 30], [200, 0, 0], [0, 0, 250]])[GREY % 3]
    )
    np.testing.assert_array_equal(read_labels(path).array, GREY % 3)
    picture.putpalette(bytes([10] * 3 + [90] * 3 + [200] * 3))
    picture.save(path)
    image = read_image(path)
    assert not image.rgb
    np.testing.assert_array_equal(image.array, np.array([10, 90, 200])[GREY % 3])


def test_single_bits(tmp_path):
    path = save(tmp_path / "bits.png", GREY > 99)
    assert set(np.unique(read_image(path).array)) == {0, 255}
    mask = read_labels(path)
    np.testing.assert_array_equal(mask.array, GREY > 99)
    assert mask.array.dtype == np.uint8


def test_colours_are_no_mask(tmp_path):
    with pytest.raises(ImageError, match="not a mask"):
        read_labels(save(tmp_path / "c.png", COLOUR))


def test_print_colours_are_refused(tmp_path):
    path = save(tmp_path / "print.jpg", COLOUR, "CMYK")
    with pytest.raises(ImageError, match=r"CMYK colours.*save it as RGB"):
        read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_turned_photograph_is_shown_upright_and_masked_as_stored(
    orientation, suffix, tmp_path
):
    exif = Pillow.Exif()
    exif[ORIENTATION_TAG] = orientation
    path = save(tmp_path / f"photo{suffix}", COLOUR, exif=exif)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, opened(path, turned=True))
    stored = opened(path)
    np.testing.assert_array_equal(image.geometry.to_source(image.array), stored)
    mask = (image.array[..., 0] > 99).astype(np.uint8)
    png = write_labels(tmp_path / "mask.png", mask, image.geometry)
    tiff = write_labels(tmp_path / "mask.tif", mask, image.geometry)
    # On the stored pixels, for programs that do not turn ...
    np.testing.assert_array_equal(opened(png), stored[..., 0] > 99)
    np.testing.assert_array_equal(tifffile.imread(tiff), stored[..., 0] > 99)
    # ... and turned alike by those that do (Pillow always turns TIFF).
    np.testing.assert_array_equal(opened(png, turned=True), mask)
    np.testing.assert_array_equal(opened(tiff), mask)
    np.testing.assert_array_equal(read_labels(png).array, mask)
    np.testing.assert_array_equal(read_labels(tiff).array, mask)


def test_a_senseless_orientation_is_no_orientation(tmp_path):
    exif = Pillow.Exif()
    exif[ORIENTATION_TAG] = 77
    image = read_image(save(tmp_path / "photo.png", COLOUR, exif=exif))
    np.testing.assert_array_equal(image.array, COLOUR)


def test_a_pixel_size_is_kept_unless_it_is_a_printers(tmp_path):
    geometry = Geometry.plain((11, 17), (0.5, 0.25), "um")
    out = write_labels(tmp_path / "mask.png", GREY, geometry)
    again = read_image(out).geometry
    assert again.kind == "pixel-size-only"
    assert again.unit == "um"
    assert again.spacing == pytest.approx((0.5, 0.25), rel=1e-6)
    printed = read_image(save(tmp_path / "p.png", GREY, dpi=(300, 300))).geometry
    assert printed.kind == "none"


def test_masks_are_grey_unless_a_palette_is_asked_for(tmp_path):
    geometry = Geometry.plain((11, 17))
    mask = GREY % 4
    classes = [Named(0, "#000000"), Named(1, "#ff8000"), Named(3, "#0000ff")]
    out = write_labels(tmp_path / "grey.png", mask, geometry, classes=classes)
    with Pillow.open(out) as picture:
        assert picture.mode == "L"
    out = write_labels(
        tmp_path / "colour.png", mask, geometry, classes=classes, palette=True
    )
    with Pillow.open(out) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), mask)
        shown = np.asarray(picture.convert("RGB"))
    assert set(map(tuple, shown[mask == 1])) == {(255, 128, 0)}
    assert set(map(tuple, shown[mask == 3])) == {(0, 0, 255)}
    assert set(map(tuple, shown[mask == 0])) == {(0, 0, 0)}
    # A value that no class names must not look like background.
    assert set(map(tuple, shown[mask == 2])) == {(255, 255, 255)}
    np.testing.assert_array_equal(read_labels(out).array, mask)


def test_many_labels_take_16_bits(tmp_path):
    mask = np.arange(11 * 17).reshape(11, 17).astype(np.uint16) * 300
    out = tmp_path / "m.png"
    write_png(out, mask, Geometry.plain((11, 17)), palette=True)
    np.testing.assert_array_equal(opened(out), mask)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_damaged_files(suffix, tmp_path):
    path = save(
        tmp_path / f"a{suffix}", RNG.integers(0, 256, (64, 64)).astype(np.uint8)
    )
    whole = path.read_bytes()
    for kept in (0.1, 0.5, 0.95):
        path.write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(ImageError, match="truncated or damaged"):
            read_image(path)


def test_noise_in_a_file_gives_an_image_or_a_sentence(tmp_path):
    paths = [
        save(tmp_path / "a.png", COLOUR),
        save(tmp_path / "a.jpg", COLOUR),
        save(tmp_path / "a.tif", COLOUR),
        save(tmp_path / "z.tif", GREY, compression="tiff_lzw"),
    ]
    for path in paths:
        whole = path.read_bytes()
        for seed in range(60):
            generator = np.random.default_rng(seed)
            data = bytearray(whole)
            for place in generator.integers(4, len(data), 4):
                data[place] = generator.integers(0, 256)
            path.write_bytes(data)
            try:
                read_image(path)
            except ImageError as error:
                assert str(path) in str(error)


def test_a_picture_larger_than_memory(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.zeros((2000, 2000), np.uint8))
    monkeypatch.setattr("napari_medurwkv.io.limits.available_memory", lambda: 10_000)
    with pytest.raises(ImageError, match=r"4 MB of memory.*10 kB are free"):
        read_image(path)


def test_a_picture_that_promises_more_than_it_can_hold(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    data = bytearray(path.read_bytes())
    data[16:24] = (1_000_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(ImageError, match="promises"):
        read_image(path)


def test_large_pictures_need_no_permission(tmp_path):
    # Pillow's own limit would warn here, and refuse at twice the size.
    path = save(tmp_path / "large.png", np.zeros((9500, 9500), bool), compress_level=1)
    assert read_image(path).array.shape == (9500, 9500)
