"""The model picker: the card in sight, the right model offered, problems said."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QLabel

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
    monkeypatch.setattr("napari_medurwkv.checkpoints.find", lambda path: own)
    picker = make_picker(listed=ModelList(tuple(some)))
    picker.add_file(own.path)
    qtbot.waitUntil(lambda: picker.entry is own)
    # Opened again, it is read again and not listed twice.
    picker.add_file(own.path)
    picker.choose(some[0].name)
    qtbot.waitUntil(lambda: picker.entry is own)
    assert len(picker.entries) == len(models.entries)
