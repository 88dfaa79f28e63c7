"""The manifest: everything that it names is there, and nothing pulls torch in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from napari._app_model.constants import MenuId
from npe2 import PluginManifest

import napari_medurwkv

MANIFEST = Path(napari_medurwkv.__file__).with_name("napari.yaml")
ROOT = Path(__file__).resolve().parents[1]
KNOWN_POINTS = {
    "commands",
    "configurations",
    "menus",
    "readers",
    "sample_data",
    "widgets",
    "writers",
}


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_file(MANIFEST)


@pytest.fixture(scope="module")
def raw():
    import yaml

    return yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))


def test_contribution_points_are_spelt_as_npe2_reads_them(raw):
    # npe2 ignores a point that it does not know, without a word.
    assert set(raw["contributions"]) == KNOWN_POINTS


def test_file_at_the_root_is_the_one_in_the_package():
    link = ROOT / "napari.yaml"
    assert link.read_bytes() == MANIFEST.read_bytes()


def test_every_command_that_is_referred_to_is_declared(manifest):
    declared = {command.id for command in manifest.contributions.commands}
    points = manifest.contributions
    used = {
        item.command
        for point in (
            points.widgets,
            points.readers,
            points.writers,
            points.sample_data,
        )
        for item in point
    }
    used |= {item.command for items in points.menus.values() for item in items}
    assert used <= declared


def test_every_menu_is_open_to_plugins(manifest):
    submenus = {menu.id for menu in manifest.contributions.submenus or ()}
    assert (
        set(manifest.contributions.menus)
        <= {str(menu) for menu in MenuId.contributables()} | submenus
    )


def test_everything_imports_without_torch(manifest):
    names = [command.python_name for command in manifest.contributions.commands]
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        f"for name in {[str(name) for name in names]!r}:\n"
        "    module, attribute = name.split(':')\n"
        "    getattr(import_module(module), attribute)\n"
        "heavy = {'torch', 'monai', 'lightning', 'timm'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=None,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_readers_claim_only_what_napari_does_not_read(manifest):
    patterns = {p for r in manifest.contributions.readers for p in r.filename_patterns}
    from napari_medurwkv.io import supported_suffixes

    pictures = {".zarr", ".png", ".jpg", ".jpeg", ".tif", ".tiff"}
    assert patterns == {f"*{s}" for s in supported_suffixes() if s not in pictures}
    assert all(r.accepts_directories for r in manifest.contributions.readers)


def test_writer_offers_what_can_be_written(manifest):
    from napari_medurwkv.export import format_of_name

    (writer,) = manifest.contributions.writers
    for ending in writer.filename_extensions:
        assert format_of_name(f"mask{ending}")[1] == ending


def test_samples_are_the_bundled_ones(manifest):
    from napari_medurwkv.samples import list_samples

    entries = {
        item.key: item.display_name for item in manifest.contributions.sample_data
    }
    assert entries == {sample.name: sample.title for sample in list_samples()}


def test_settings_show_up_and_keep_their_values(npe2pm, plugin_settings, manifest):
    from napari.settings import get_plugin_settings

    from napari_medurwkv.widgets.settings import Preferences, read_preferences

    npe2pm.register(manifest)
    assert read_preferences() == Preferences()
    stored = get_plugin_settings("napari-medurwkv").segmentation
    stored.device = "cpu"
    stored.overlap = "0.75"
    stored.keep_partial = False
    stored.default_model = "nuclei"
    assert read_preferences() == Preferences("cpu", 0.75, False, "nuclei")
    with pytest.raises(ValueError, match="device"):
        stored.device = "abacus"
    for item in manifest.contributions.configurations.values():
        for prop in item.properties.values():
            assert prop.title
            assert prop.description
