"""Pixel sizes as files spell them."""

from __future__ import annotations

import math

import pytest

from napari_medurwkv.io.pixel_size import imagej_size, ome_size, resolution_size


def pixels(**attributes):
    text = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f'<OME><Image ID="Image:0"><Pixels {text}><Channel/></Pixels></Image></OME>'


@pytest.mark.parametrize("unit", ["µm", "μm", "um", "micron"])
def test_micrometres_have_many_names(unit):
    xml = pixels(PhysicalSizeX="0.5", PhysicalSizeXUnit=unit, PhysicalSizeY=".25")
    assert ome_size(xml) == ({"Y": 0.25, "X": 0.5}, "um")


def test_units_are_brought_to_that_of_x():
    xml = pixels(
        PhysicalSizeX="1",
        PhysicalSizeXUnit="mm",
        PhysicalSizeY="0.1",
        PhysicalSizeYUnit="cm",
        PhysicalSizeZ="500",
        PhysicalSizeZUnit="µm",
    )
    sizes, unit = ome_size(xml)
    assert unit == "mm"
    assert sizes == pytest.approx({"X": 1, "Y": 1, "Z": 0.5})


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no xml at all",
        pixels(SizeX="4"),
        pixels(PhysicalSizeX="1"),
        pixels(PhysicalSizeX="wide", PhysicalSizeY="1"),
        pixels(PhysicalSizeX="0", PhysicalSizeY="1"),
        pixels(PhysicalSizeX="-1", PhysicalSizeY="1"),
        pixels(PhysicalSizeX="inf", PhysicalSizeY="1"),
        pixels(
            PhysicalSizeX="1", PhysicalSizeXUnit="reference frame", PhysicalSizeY="1"
        ),
    ],
)
def test_what_is_no_size_is_none(xml):
    assert ome_size(xml) is None


def test_only_the_first_image_counts():
    first = pixels(PhysicalSizeX="1", PhysicalSizeY="2")
    assert ome_size(first + pixels(PhysicalSizeX="9", PhysicalSizeY="9")) == (
        {"Y": 2.0, "X": 1.0},
        "um",
    )
    prefixed = first.replace("<Pixels", "<ome:Pixels")
    assert ome_size(prefixed) is not None


def test_imagej():
    assert imagej_size({"unit": "um", "spacing": -3}, (4.0, 2.0)) == (
        {"X": 0.25, "Y": 0.5, "Z": 3.0},
        "um",
    )
    assert imagej_size({"unit": "\\u00B5m"}, (1.0, 1.0)) == ({"X": 1.0, "Y": 1.0}, "um")
    assert imagej_size({"unit": "pixel"}, (4.0, 2.0)) is None
    assert imagej_size({}, (4.0, 2.0)) is None
    assert imagej_size({"unit": "mm"}, (0.0, 0.0)) is None


def test_resolution():
    sizes, unit = resolution_size((4000.0, 2000.0))
    assert (sizes, unit) == (pytest.approx({"X": 0.25, "Y": 0.5}), "um")
    sizes, unit = resolution_size((5.0, 5.0))
    assert (sizes, unit) == (pytest.approx({"X": 0.2, "Y": 0.2}), "mm")
    for dpi in (72, 96, 300, 600, 1, 0, math.nan, math.inf):
        assert resolution_size((dpi / 25.4, dpi / 25.4)) is None
