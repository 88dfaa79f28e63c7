"""Axes are read as people write them, and give the image that was meant."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io import frame_count, read_image
from napari_medurwkv.io.axes import (
    AxesView,
    AxisOrder,
    likely_orders,
    read_axes,
    read_channels,
)


@pytest.fixture
def values():
    """Shape (T, C, Z, Y, X)."""
    return np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)


def test_orders_are_read_in_any_writing(values):
    for text in ("TCZYX", "tczyx", "t, c, z, y, x"):
        order = read_axes(text, values.shape)
        assert order.letters == "TCZYX"
        assert (order.axis("C"), order.space) == (1, (2, 3, 4))
    assert read_axes("XY", (3, 4)).space == (1, 0)
    assert read_axes("YX", (3, 4)).axis("T") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("TQYX", "write each of T"),
        ("TTYX", "at most once"),
        ("TCZ", "lack Y or X"),
        ("YX", "name 2 axes and the image has 4 .*: write CZYX or TZYX or TCYX"),
    ],
)
def test_orders_that_do_not_fit_are_refused_with_a_sentence(text, said):
    with pytest.raises(ImageError, match=said):
        read_axes(text, (3, 40, 50, 60))


def test_few_points_in_front_are_rather_channels():
    assert likely_orders((3, 50, 60))[0] == "CYX"
    assert likely_orders((30, 50, 60))[0] == "ZYX"
    assert likely_orders((2, 40, 50, 60))[0] == "CZYX"
    assert likely_orders((20, 40, 50, 60))[0] == "TZYX"
    assert likely_orders((2, 3, 40, 50, 60))[0] == "TCZYX"
    assert likely_orders((1,) * 6) == ()


@pytest.mark.parametrize("text", ["", "3", "0,x", "-1"])
def test_channels_that_are_not_there(text):
    with pytest.raises(ImageError, match="there are 3, write their"):
        read_channels(text, 3)


def test_channels_keep_their_order():
    assert read_channels("2, 0", 3) == (2, 0)


def test_one_image_of_many(values):
    order = AxisOrder("TCZYX")
    view = AxesView(values, order, (1,), frame=1)
    np.testing.assert_array_equal(view[:], values[1, 1])
    np.testing.assert_array_equal(view[2, 1:3], values[1, 1, 2, 1:3])
    series = AxesView(values, order, (2,))
    np.testing.assert_array_equal(series[:], values[:, 2])
    np.testing.assert_array_equal(series[1], values[1, 2])


def test_channels_come_last(values):
    view = AxesView(values, AxisOrder("TCZYX"), (2, 0), frame=0)
    expected = np.moveaxis(values[0, [2, 0]], 0, -1)
    assert view.shape == expected.shape
    np.testing.assert_array_equal(view[:], expected)
    np.testing.assert_array_equal(view[1, 2:4], expected[1, 2:4])
    np.testing.assert_array_equal(view[1, 2:4, :, 1], expected[1, 2:4, :, 1])
    np.testing.assert_array_equal(view[1, 2:4, :, :1], expected[1, 2:4, :, :1])


def test_any_order_gives_the_same_image(values):
    names = "TCZYX"
    for order in itertools.permutations(range(5)):
        letters = "".join(names[axis] for axis in order)
        view = AxesView(values.transpose(order), AxisOrder(letters), (1,))
        np.testing.assert_array_equal(view[:], values[:, 1])
        np.testing.assert_array_equal(view[1, 2, 1:3], values[1, 1, 2, 1:3])


def test_pieces_of_the_view():
    class Stored:
        shape, dtype, chunks = (2, 3, 4, 5, 6), np.dtype("u1"), (1, 1, 2, 5, 6)

    assert AxesView(Stored(), AxisOrder("TCZYX"), (0,)).chunks == (1, 2, 5, 6)
    view = AxesView(Stored(), AxisOrder("TCZYX"), (0, 1), 0)
    assert view.chunks == (2, 5, 6, 2)


@pytest.fixture
def tiff(tmp_path, values):
    """Five axes in a file that does not say what they are."""
    import tifffile

    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, values.astype(np.uint16), photometric="minisblack")
    return path


def test_a_tiff_file_is_read_as_somebody_says(tiff, values):
    assert frame_count(tiff, axes="TCZYX", channels="1") == 2
    image = read_image(tiff, axes="TCZYX", channels="1", frame=1)
    np.testing.assert_array_equal(image.array, values[1, 1])
    assert "Axes TCZYX, channels 1 were taken." in image.notes
    colours = read_image(tiff, axes="TCZYX", channels="2,1,0", frame=0)
    assert colours.rgb
    expected = np.moveaxis(values[0, ::-1], 0, -1)
    np.testing.assert_array_equal(colours.array, expected)
    with pytest.raises(ImageError, match="has 3 channels: say which one"):
        read_image(tiff, axes="TCZYX", frame=0)
    with pytest.raises(ImageError, match="has 2 frames"):
        read_image(tiff, axes="TCZYX", channels="1")
    with pytest.raises(ImageError, match="name 3 axes and the image has 5"):
        read_image(tiff, axes="ZYX")


def test_channels_of_ome_zarr_are_chosen(tmp_path, values):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=values.shape, dtype="u2", chunks=(1, 1, 4, 5, 6))
    group["0"][...] = values
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": list("tczyx"), "datasets": [{"path": "0"}]}
    ]
    image = read_image(tmp_path / "a.zarr", channels="2", frame=1)
    np.testing.assert_array_equal(image.array, values[1, 2])
    with pytest.raises(ImageError, match="--channels"):
        read_image(tmp_path / "a.zarr", frame=1)
    with pytest.raises(ImageError, match="leave the option axes out"):
        read_image(tmp_path / "a.zarr", axes="TCZYX", frame=1)
