"""Where voxels lie, and the exact way to display order and back."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medurwkv.errors import GeometryError
from napari_medurwkv.geometry import DicomSource, Geometry, SourceInfo, resample_labels

RAS_SHAPE = (5, 6, 7)
RAS_AFFINE = np.array(
    [[1.5, 0, 0, -10], [0, 2, 0, -20], [0, 0, 2.5, -30], [0, 0, 0, 1.0]]
)
LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1)}
LETTERS["I"] = (2, -1)
ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*axes)
]


def body():
    """One body in RAS order: every voxel has its own value."""
    return np.arange(np.prod(RAS_SHAPE)).reshape(RAS_SHAPE)


def stored(code, volume=None, affine=RAS_AFFINE):
    """The same body as a scanner would store it in another orientation."""
    volume = body() if volume is None else volume
    axes = [LETTERS[letter] for letter in code]
    array = volume.transpose([axis for axis, _ in axes])
    array = array[tuple(slice(None, None, sign) for _, sign in axes)]
    index = np.zeros((4, 4))
    index[3, 3] = 1
    for position, (axis, sign) in enumerate(axes):
        index[axis, position] = sign
        index[axis, 3] = 0 if sign > 0 else volume.shape[axis] - 1
    return array, affine @ index


def rotation(angles):
    a, b, c = np.radians(angles)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


def affine_of(linear, origin=(0, 0, 0)):
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_all_48_orientations_of_one_body_are_displayed_alike(code):
    array, affine = stored(code)
    geometry = Geometry.from_affine(affine, array.shape)
    shown = geometry.to_display(array)
    # S, P, L: slices upward, rows to the back, columns to the left.
    np.testing.assert_array_equal(shown, body().transpose(2, 1, 0)[:, ::-1, ::-1])
    np.testing.assert_array_equal(geometry.to_source(shown), array)
    assert geometry.orientation == code
    assert geometry.display_orientation == "SPL"
    assert geometry.display_spacing == (2.5, 2.0, 1.5)
    assert geometry.display_shape == shown.shape
    assert geometry.voxel_volume == pytest.approx(7.5)
    expected = affine_of(
        [[0, 0, -1.5], [0, -2, 0], [2.5, 0, 0]], (-10 + 4 * 1.5, -20 + 5 * 2, -30)
    )
    np.testing.assert_allclose(geometry.display_affine, expected, atol=1e-12)
    np.testing.assert_allclose(geometry.display_translate, (-30, 10, 4), atol=1e-12)


@pytest.mark.parametrize("code", ["LAS", "PIR"])
def test_both_ways_are_views_and_colour_stays_last(code):
    array, affine = stored(code)
    geometry = Geometry.from_affine(affine, array.shape)
    colour = np.stack([array, array + 1000, array + 2000], axis=-1)
    shown = geometry.to_display(colour)
    assert shown.shape == (*geometry.display_shape, 3)
    assert np.shares_memory(shown, colour)
    assert np.shares_memory(geometry.to_source(shown), colour)
    np.testing.assert_array_equal(shown[..., 1], geometry.to_display(array) + 1000)
    np.testing.assert_array_equal(geometry.to_source(shown), colour)


def test_an_array_of_another_shape_is_refused():
    geometry = Geometry.from_affine(RAS_AFFINE, RAS_SHAPE)
    with pytest.raises(GeometryError, match="do not belong together"):
        geometry.to_display(np.zeros((5, 6, 8)))
    with pytest.raises(GeometryError, match="do not belong together"):
        geometry.to_source(np.zeros(RAS_SHAPE))
    with pytest.raises(GeometryError, match="do not belong together"):
        geometry.to_display(np.zeros((*RAS_SHAPE, 3, 1)))


# The first two columns of these grids lie at 45 degrees, give or take a hair: choosing
# axis by axis answers differently once the axes have been swapped.
@pytest.mark.parametrize("tilt", [44.9999, 45.0, 45.0001])
@pytest.mark.parametrize("hair", [-1e-5, 0.0, 1e-5])
def test_grids_near_45_degrees_go_back_exactly(tilt, hair):
    linear = rotation((hair * 100, tilt + hair, tilt)) * (2.4, 0.62, 1.05)
    affine = affine_of(linear, (100, -108, 3))
    array = body()
    geometry = Geometry.from_affine(affine, array.shape)
    shown = geometry.to_display(array)
    np.testing.assert_array_equal(geometry.to_source(shown), array)
    # Stored, not found again: the way back is the same in another process.
    again = Geometry.from_json(json.loads(json.dumps(geometry.to_json())))
    np.testing.assert_array_equal(again.to_source(shown), array)
    np.testing.assert_array_equal(again.affine, affine)


def test_the_choice_of_axes_is_stable():
    for seed in range(200):
        generator = np.random.default_rng(seed)
        linear = rotation(generator.uniform(-180, 180, 3)) * generator.uniform(
            0.5, 5, 3
        )
        geometry = Geometry.from_affine(affine_of(linear), RAS_SHAPE)
        shown = Geometry.from_affine(geometry.display_affine, geometry.display_shape)
        assert shown.ornt == ((0, 1), (1, 1), (2, 1))
        assert shown.display_orientation == "SPL"


def test_the_choice_of_axes_is_the_usual_one_below_40_degrees():
    from nibabel.orientations import aff2axcodes

    for seed in range(200):
        generator = np.random.default_rng(seed)
        tilted = rotation(generator.uniform(-22, 22, 3))
        code = ORIENTATIONS[seed % 48]
        _, affine = stored(code)
        affine = affine_of(tilted) @ affine
        geometry = Geometry.from_affine(affine, RAS_SHAPE)
        assert geometry.obliquity < 45
        assert geometry.orientation == code == "".join(aff2axcodes(affine))


@settings(max_examples=80, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    zooms=st.tuples(*[st.floats(0.05, 20)] * 3),
    mirrored=st.booleans(),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    shear=st.floats(-0.5, 0.5),
)
def test_any_affine_goes_there_and_back(angles, zooms, mirrored, shape, shear):
    linear = rotation(angles) @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]]) * zooms
    if mirrored:
        linear[:, 0] *= -1
    geometry = Geometry.from_affine(affine_of(linear, (1, 2, 3)), shape)
    array = np.arange(np.prod(shape)).reshape(shape)
    shown = geometry.to_display(array)
    assert shown.shape == geometry.display_shape
    np.testing.assert_array_equal(geometry.to_source(shown), array)
    # The display affine says of every displayed voxel what the affine said of it.
    index = np.indices(shape).reshape(3, -1)
    places = geometry.affine @ np.vstack([index, np.ones(index.shape[1])])
    shown_index = np.empty_like(index)
    shown_index[:, array.ravel()] = index
    where = np.argsort(shown.ravel())
    display_index = np.array(np.unravel_index(where, shown.shape))
    display = geometry.display_affine @ np.vstack(
        [display_index, np.ones(index.shape[1])]
    )
    np.testing.assert_allclose(display, places, atol=1e-9)
    assert Geometry.from_json(geometry.to_json()) == geometry


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("LA", "PL"),
        ("RP", "PL"),
        ("AL", "PL"),
        ("RS", "IL"),
        ("IL", "IL"),
        ("PS", "IP"),
        ("SA", "IP"),
    ],
)
def test_a_plane_is_hung_head_or_face_up(code, expected):
    missing = next(
        a for a in "RAS" if LETTERS[a][0] not in {LETTERS[c][0] for c in code}
    )
    volume, affine = stored(code + missing)
    plane = volume[:, :, 2]
    geometry = Geometry.from_affine(affine, plane.shape)
    assert geometry.ndim == 2
    assert geometry.orientation == code
    assert geometry.display_orientation == expected
    np.testing.assert_array_equal(geometry.to_source(geometry.to_display(plane)), plane)
    sizes = {"R": 1.5, "A": 2.0, "S": 2.5, "L": 1.5, "P": 2.0, "I": 2.5}
    assert geometry.voxel_volume == pytest.approx(sizes[code[0]] * sizes[code[1]])


def test_a_plane_needs_no_third_column():
    affine = np.diag([-2.0, -3.0, 0.0, 1.0])
    geometry = Geometry.from_affine(affine, (4, 5))
    assert geometry.orientation == "LP"
    assert geometry.voxel_volume == 6
    labels = np.arange(20).reshape(5, 4)
    np.testing.assert_array_equal(resample_labels(labels, geometry, geometry), labels)


@pytest.mark.parametrize(
    "linear",
    [
        np.diag([1.0, 0.0, 1.0]),
        np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]),
        np.full((3, 3), np.nan),
        np.diag([np.inf, 1, 1]),
    ],
)
def test_an_affine_that_says_nothing_is_refused(linear):
    with pytest.raises(GeometryError):
        Geometry.from_affine(affine_of(linear), RAS_SHAPE)


def test_other_nonsense_is_refused():
    with pytest.raises(GeometryError, match="2 or 3 spatial axes"):
        Geometry.plain((3, 4, 5, 6))
    with pytest.raises(GeometryError, match="positive numbers"):
        Geometry.plain((3, 4), (1.0, 0.0))
    with pytest.raises(GeometryError, match="positive numbers"):
        Geometry.plain((3, 4), (1.0, 2.0, 3.0))
    with pytest.raises(GeometryError, match="permutation"):
        Geometry.plain((3, 4), ornt=((0, 1), (0, 1)))
    with pytest.raises(GeometryError, match="unit"):
        Geometry.plain((3, 4), (1, 1), "parsec")
    with pytest.raises(GeometryError, match="4 x 4"):
        Geometry(np.eye(3), (3, 4), ((0, 1), (1, 1)))


def test_the_badge_says_what_is_known():
    oblique = affine_of(rotation((12, 0, 0)) * (-0.75, 0.75, 5.5))
    assert (
        Geometry.from_affine(oblique, (4, 4, 4)).describe()
        == "LAS, 0.75 x 0.75 x 5.5 mm, oblique 12°, known"
    )
    straight = Geometry.from_affine(RAS_AFFINE, RAS_SHAPE)
    assert straight.describe() == "RAS, 1.5 x 2 x 2.5 mm, known"
    guessed = Geometry.from_affine(RAS_AFFINE, RAS_SHAPE, assumed=True)
    assert guessed.describe() == "orientation assumed (RAS), 1.5 x 2 x 2.5 mm"
    assert Geometry.plain((3, 4)).describe() == "orientation assumed, 1 x 1 px"
    sized = Geometry.plain((3, 4), (0.25, 0.5), "um")
    assert sized.describe() == "orientation assumed, 0.25 x 0.5 µm"


def test_tilt_is_measured_from_the_closest_axis():
    for angle in (0.0, 0.4, 12.0, 44.0):
        geometry = Geometry.from_affine(
            affine_of(rotation((0, angle, 0)) * (1, -2, 3)), RAS_SHAPE
        )
        assert geometry.obliquity == pytest.approx(angle, abs=1e-6)
        assert geometry.is_oblique() == (angle > 1)
        assert geometry.is_oblique(deg=13) == (angle > 13)
    assert not Geometry.plain((3, 4)).is_oblique()


def test_an_oblique_grid_keeps_its_centre_when_turned_upright():
    affine = affine_of(rotation((10, 20, 5)) * (1, 2, 3), (7, -8, 9))
    geometry = Geometry.from_affine(affine, RAS_SHAPE)
    middle = (np.array(RAS_SHAPE) - 1) / 2
    right, anterior, superior = (affine @ [*middle, 1])[:3]
    shown_middle = (np.array(geometry.display_shape) - 1) / 2
    upright = np.array(geometry.display_translate) + shown_middle * np.array(
        geometry.display_spacing
    )
    np.testing.assert_allclose(upright, (superior, -anterior, -right))


def test_world_conventions():
    geometry = Geometry.from_affine(RAS_AFFINE, RAS_SHAPE)
    np.testing.assert_array_equal(
        geometry.lps_affine, np.diag([-1, -1, 1, 1]) @ RAS_AFFINE
    )
    np.testing.assert_array_equal(geometry.direction, np.eye(3))
    assert geometry.spacing == (1.5, 2.0, 2.5)
    assert geometry.mm_per_unit == 1


def test_sizes_are_in_millimetres_where_a_length_is_known():
    assert Geometry.plain((3, 4), (500, 200), "um").voxel_volume == pytest.approx(0.1)
    assert Geometry.plain((2, 3, 4), (2, 1, 1), "mm").voxel_volume == pytest.approx(2)
    assert Geometry.plain((3, 4)).voxel_volume == 1
    assert Geometry.plain((3, 4)).mm_per_unit is None


def test_plain_images_keep_their_order_unless_told():
    array = np.arange(12).reshape(3, 4)
    assert Geometry.plain((3, 4)).to_display(array) is not None
    np.testing.assert_array_equal(Geometry.plain((3, 4)).to_display(array), array)
    turned = Geometry.plain((3, 4), (1.0, 2.0), "mm", ornt=((1, 1), (0, -1)))
    np.testing.assert_array_equal(turned.to_display(array), np.rot90(array, -1))
    assert turned.display_spacing == (2.0, 1.0)
    assert turned.orientation == turned.display_orientation == ""
    assert turned.display_translate == (0.0, 0.0)


def test_geometries_compare_travel_and_stay_frozen():
    source = SourceInfo("nifti", "a.nii", "ff", bytes(range(256)), (5, 6, 7, 2), 1)
    geometry = Geometry.from_affine(
        RAS_AFFINE / 3 + 0.1 * np.eye(4), RAS_SHAPE, source=source, sform_code=4
    )
    text = json.dumps(geometry.to_json())
    again = Geometry.from_json(json.loads(text))
    assert again == geometry
    assert hash(again) == hash(geometry)
    assert again.source == source
    assert again.source.ndim == 4
    assert pickle.loads(pickle.dumps(geometry)) == geometry
    assert geometry != Geometry.from_affine(RAS_AFFINE, RAS_SHAPE)
    assert geometry != "geometry"
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("affine"),
        lambda d: d.pop("source"),
        lambda d: d.update(affine="text"),
        lambda d: d.update(shape=None),
        lambda d: d.update(surplus=1),
        lambda d: d["source"].update(header="not base64!"),
        lambda d: d["source"].update(surplus=1),
    ],
)
def test_a_damaged_description_is_refused(damage):
    data = Geometry.from_affine(RAS_AFFINE, RAS_SHAPE).to_json()
    damage(data)
    with pytest.raises(GeometryError):
        Geometry.from_json(data)


class TestResampleLabels:
    def displayed(self, code, volume):
        array, affine = stored(code, volume)
        geometry = Geometry.from_affine(affine, array.shape)
        return geometry.to_display(array), geometry

    @pytest.mark.parametrize("code", ["LAS", "PIR", "SRA", "ILP"])
    def test_one_body_in_two_orientations_is_the_same_labels(self, code):
        labels = (body() % 5).astype(np.uint8)
        shown, geometry = self.displayed(code, labels)
        reference, target = self.displayed("RAS", labels)
        brought = resample_labels(shown, geometry, target)
        assert brought.dtype == np.uint8
        np.testing.assert_array_equal(brought, reference)

    def test_a_shift_of_whole_voxels_moves_labels_and_leaves_zeros(self):
        labels = body().astype(np.uint16) + 1
        geometry = Geometry.from_affine(RAS_AFFINE, RAS_SHAPE)
        shown = geometry.to_display(labels)
        moved = RAS_AFFINE.copy()
        moved[0, 3] += 2 * 1.5
        target = Geometry.from_affine(moved, RAS_SHAPE)
        result = target.to_source(resample_labels(shown, geometry, target))
        np.testing.assert_array_equal(result[:-2], labels[2:])
        assert (result[-2:] == 0).all()

    def test_a_finer_grid_repeats_the_nearest_voxel(self):
        labels = np.arange(1, 9, dtype=np.uint8).reshape(2, 2, 2)
        coarse = Geometry.from_affine(np.diag([2.0, 2, 2, 1]), (2, 2, 2))
        fine_affine = np.diag([1.0, 1, 1, 1])
        fine_affine[:3, 3] = -0.5
        fine = Geometry.from_affine(fine_affine, (4, 4, 4))
        result = resample_labels(coarse.to_display(labels), coarse, fine)
        repeated = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        np.testing.assert_array_equal(fine.to_source(result), repeated)

    def test_an_oblique_target_takes_the_nearest_voxel(self):
        labels = (np.random.default_rng(0).integers(0, 4, (9, 8, 7))).astype(np.uint8)
        source = Geometry.from_affine(np.diag([1.0, 1, 1, 1]), labels.shape)
        target = Geometry.from_affine(
            affine_of(rotation((15, 10, -20)) * 0.8, (1.1, 2.2, 0.3)), (8, 7, 6)
        )
        result = target.to_source(
            resample_labels(source.to_display(labels), source, target)
        )
        for index in np.ndindex(8, 7, 6):
            place = target.affine @ [*index, 1]
            nearest = np.floor(place[:3] + 0.5).astype(int)
            inside = ((nearest >= 0) & (nearest < labels.shape)).all()
            assert result[index] == (labels[tuple(nearest)] if inside else 0)

    def test_planes(self):
        labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
        first = Geometry.from_affine(np.diag([-1.0, -1, 5, 1]), (4, 3))
        flipped = np.diag([1.0, -1, 5, 1])
        flipped[0, 3] = -3
        second = Geometry.from_affine(flipped, (4, 3))
        np.testing.assert_array_equal(resample_labels(labels, first, second), labels)
        flipped[2, 3] = 5  # the next slice is another place
        other = Geometry.from_affine(flipped, (4, 3))
        assert not resample_labels(labels, first, other).any()

    def test_units_are_converted(self):
        labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
        micro = Geometry.plain((3, 4), (500, 500), "um")
        milli = Geometry.plain((3, 4), (0.5, 0.5), "mm")
        np.testing.assert_array_equal(resample_labels(labels, micro, milli), labels)

    def test_grids_without_a_common_world_are_refused(self):
        labels = np.zeros((3, 4), np.uint8)
        plain = Geometry.plain((3, 4))
        sized = Geometry.plain((3, 4), (1, 1), "mm")
        pixels = Geometry.plain((3, 4), (1, 1), "pixel")
        with pytest.raises(GeometryError, match="no world"):
            resample_labels(labels, plain, sized)
        with pytest.raises(GeometryError, match="measured"):
            resample_labels(labels, pixels, sized)
        with pytest.raises(GeometryError, match="do not belong"):
            resample_labels(np.zeros((4, 4), np.uint8), plain, plain)


def test_approximate_geometry_says_so_everywhere():
    exact = Geometry.from_affine(np.diag([-1.0, -1, 2, 1]), (4, 5, 6))
    approximate = Geometry.from_affine(
        np.diag([-1.0, -1, 2, 1]), (4, 5, 6), approximate="2 slices are missing"
    )
    assert exact != approximate
    assert exact.describe().endswith("known")
    assert approximate.describe().endswith("geometry approximate")
    back = Geometry.from_json(json.loads(json.dumps(approximate.to_json())))
    assert back == approximate
    old = exact.to_json()
    del old["approximate"]
    assert Geometry.from_json(old) == exact


def test_dicom_source_survives_json():
    dicom = DicomSource(
        files=("/a/1.dcm", "/a/2.dcm"),
        frames=(0, 1),
        sop_instance_uids=("1.2", "1.3"),
        series_instance_uid="1.4",
        modality="CT",
        inverted=True,
    )
    source = SourceInfo("dicom", "/a", dicom=dicom)
    assert SourceInfo.from_json(json.loads(json.dumps(source.to_json()))) == source
