"""The model picker: the card in sight, the right model offered, problems said."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QLabel

from napari_medurwkv.checkpoints import lookup
from napari_medurwkv.widgets import model_picker
from napari_medurwkv.widgets.card_view import facts
from napari_medurwkv.widgets.model_picker import ModelList, ModelPicker


@pytest.fixture
def make_picker(qtbot, models):
    pickers = []

    def make(preferred="", listed=models):
        picker = ModelPicker(preferred, lambda: listed)
        qtbot.addWidget(picker)
        pickers.append(picker)
        qtbot.waitUntil(lambda: not picker.listing)
        return picker

    yield make
    for picker in pickers:
        picker.abandon()


def texts(widget):
    return "\n".join(label.text() for label in widget.findChildren(QLabel))


def test_card_says_what_how_and_under_which_licence(make_picker):
    picker = make_picker()
    picker.choose("brain")
    shown = texts(picker)
    for words in (
        "Finds the parts of a brain.",
        "3D · MR · CC0-1.0 · 4.2 MB",
        "Limits: Anything else.",
        "grey&nbsp;matter",
        "Dice 0.912, toys",
        "toys (CC0-1.0)",
    ):
        assert words in shown
    assert facts(picker.entry) == "3D · MR · CC0-1.0 · 4.2 MB"


def test_names_in_a_card_are_no_markup(make_picker, tmp_path, models):
    from napari_medurwkv.checkpoints import CatalogueEntry, ClassInfo

    card = models.entries[0].card.model_copy(
        update={
            "classes": (
                ClassInfo(value=0, name="background", color="#000000"),
                ClassInfo(value=1, name="<img src=x>", color="#ffffff"),
            )
        }
    )
    entry = models.entries[0]
    changed = CatalogueEntry(entry.name, entry.path, card, 1, False)
    picker = make_picker(listed=ModelList((changed,)))
    assert "&lt;img" in texts(picker)
    assert "<img" not in texts(picker)


def test_default_for_the_dimensions_is_offered(make_picker):
    picker = make_picker()
    picker.suit(2)
    assert picker.entry.name == "cells"
    picker.suit(3)
    assert picker.entry.name == "brain"


def test_fitting_choice_of_the_user_stays(make_picker):
    picker = make_picker()
    picker.choose("stain")
    picker.suit(2)
    assert picker.entry.name == "stain"


def test_preferred_model_is_chosen_first(make_picker):
    assert make_picker("stain").entry.name == "stain"


def test_preferred_model_that_is_missing_is_said(make_picker):
    picker = make_picker("gone")
    assert "gone" in texts(picker)
    assert picker.entry is not None


def test_files_that_cannot_be_used_are_said(make_picker, models):
    listed = ModelList(models.entries, {}, ("bad.safetensors is truncated.",))
    assert "bad.safetensors is truncated." in texts(make_picker(listed=listed))


def test_no_model_at_all(make_picker):
    picker = make_picker(listed=ModelList(()))
    assert picker.entry is None


def test_checkpoint_that_is_none_is_said_in_a_sentence(make_picker, qtbot, tmp_path):
    picker = make_picker()
    before = picker.entry
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x80\x04pickle")
    picker.add_file(path)
    qtbot.waitUntil(lambda: "weights.safetensors" in picker.problem)
    assert picker.entry is before


def test_own_checkpoint_is_listed_and_chosen(make_picker, qtbot, models, monkeypatch):
    *some, own = models.entries
    monkeypatch.setattr(model_picker, "look_at", lambda path: own)
    picker = make_picker(listed=ModelList(tuple(some)))
    picker.add_file(own.path)
    qtbot.waitUntil(lambda: picker.entry is own)
    # Opened again, it is read again and not listed twice.
    picker.add_file(own.path)
    picker.choose(some[0].name)
    qtbot.waitUntil(lambda: picker.entry is own)
    assert len(picker.entries) == len(models.entries)


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A published file without a card, and a folder that the child process sees."""
    import torch

    from napari_medurwkv.models import create_model

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    network = create_model(
        "rwkv_unet_tiny", dims=(8, 8, 12, 16), depths=(2, 2, 2, 2), num_classes=3
    )
    path = tmp_path / "net.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    return path


@pytest.mark.skipif("sys.platform != 'linux'", reason="the folder is set for Linux")
def test_an_unknown_file_is_asked_about_once(make_picker, qtbot, foreign):
    picker = make_picker()
    picker.add_file(foreign)
    assert "Looking at net.pth" in picker.problem
    qtbot.waitUntil(lambda: not picker.form.isHidden(), timeout=60_000)
    shown = texts(picker.form)
    assert "net.pth is a RWKV-UNet, custom" in shown
    assert "What are the outputs called, in order?" in shown
    assert picker.form.options == []
    picker.form.answer("classes", "background, liver, spleen")
    picker.form.answer("patch_size", "64")
    assert picker.form.options == [
        "--classes=background, liver, spleen",
        "--patch-size=64",
    ]
    picker.form.accept()
    qtbot.waitUntil(lambda: picker.entry.name == "net", timeout=60_000)
    entry = picker.entry
    assert [c.name for c in entry.card.foreground] == ["liver", "spleen"]
    assert entry.path.parent == lookup.user_folder()
    # It is the user's own, so it can be removed; once more is asked.
    picker.manager.remove.click()
    assert picker.manager.remove.text() == "Really delete?"
    assert entry.path.exists()
    picker.manager.remove.click()
    qtbot.waitUntil(lambda: not entry.path.exists())
    qtbot.waitUntil(lambda: entry not in picker.entries)
    assert picker.entry is not entry


def test_what_came_with_the_package_cannot_be_removed(make_picker):
    picker = make_picker()
    assert not picker.manager.remove.isEnabled()
    assert "your own folder" in picker.manager.remove.toolTip()


def test_an_encoder_gives_no_mask(make_picker, qtbot, monkeypatch):
    facts_of = {"path": "a/net.pth", "family": "Vision-RWKV encoder, tiny"}
    monkeypatch.setattr(
        model_picker, "look_at", lambda path: facts_of | {"card": None, "uncertain": []}
    )
    picker = make_picker()
    picker.add_file("a/net.pth")
    qtbot.waitUntil(lambda: "gives no mask" in picker.problem)
    assert picker.form.isHidden()


def test_a_dropped_checkpoint_is_added(make_picker, qtbot, monkeypatch, tmp_path):
    from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    picker = make_picker()
    added = []
    monkeypatch.setattr(picker, "add_file", added.append)

    def drop(name):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(tmp_path / name))])
        where = QPoint(5, 5)
        common = (
            Qt.DropAction.CopyAction,
            data,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        enter = QDragEnterEvent(where, *common)
        enter.ignore()
        picker.dragEnterEvent(enter)
        if enter.isAccepted():
            picker.dropEvent(QDropEvent(where.toPointF(), *common))

    drop("scan.nii.gz")
    assert added == []
    drop("net.pth")
    assert added == [tmp_path / "net.pth"]
