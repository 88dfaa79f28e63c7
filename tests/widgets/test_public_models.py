"""Public checkpoints in the panel: licence, progress, cancel, resume, no network."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

from napari_medurwkv.checkpoints import lookup
from napari_medurwkv.checkpoints.public import public_checkpoint, public_checkpoints
from napari_medurwkv.widgets.model_picker import ModelPicker
from napari_medurwkv.widgets.public_models import PublicModels

NAME = "upernet-vrwkv-tiny-ade20k"
CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"


def load(name):
    spec = importlib.util.spec_from_file_location(
        f"m_{name}", CHECKPOINTS / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's folder, for this process and those that it starts."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if lookup.user_folder() != tmp_path / "data/napari-medurwkv/models":
        pytest.skip("user folders are found by environment variables on Linux only")
    return lookup.user_folder() / "public"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    networks = load("networks")
    source = tmp_path / "source.pth"
    torch.save({"state_dict": networks.published(networks.small("upernet"))}, source)
    server = load("hub").Hub(source.read_bytes())
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def public(qtbot):
    widget = PublicModels()
    qtbot.addWidget(widget)
    yield widget
    widget.abandon()


def finish(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.fetching, timeout=60000)


def test_all_are_listed_with_their_licence(public):
    assert public.choice.count() == len(public_checkpoints())
    assert public.entry.task == "segmentation"
    for entry in public_checkpoints():
        public.choose(entry.name)
        assert f"licence: {entry.licence}" in public.facts
        assert entry.address in public.facts
        assert not public.fetch_button.isEnabled()
        assert public.fetch_button.isHidden() == (not entry.fetchable)
        assert ("no mask" in public.facts) == (entry.task != "segmentation")
        assert ("by hand" in public.facts) == (not entry.fetchable)


def test_nothing_is_fetched_before_the_licence_is_accepted(public, hub):
    public.choose(NAME)
    public.fetch()
    assert not public.fetching
    public.accept_licence.setChecked(True)
    assert public.fetch_button.isEnabled()
    # Another file is under another licence.
    public.choose("upernet-vrwkv-small-ade20k")
    assert not public.accept_licence.isChecked()
    assert not public.fetch_button.isEnabled()
    assert hub.ranges == []


def test_it_is_fetched_listed_and_chosen(hub, folder, qtbot):
    picker = ModelPicker()
    qtbot.addWidget(picker)
    qtbot.waitUntil(lambda: not picker.listing, timeout=20000)
    public = picker.public
    public.choose(NAME)
    public.accept_licence.setChecked(True)
    public.fetch()
    assert not public.choice.isEnabled()
    finish(public, qtbot)
    path = folder / public_checkpoint(NAME).file
    assert path.read_bytes() == hub.content
    assert str(path) in public.status
    assert "no published SHA-256" in public.status
    assert "on this computer already" in public.facts
    qtbot.waitUntil(lambda: picker.entry is not None and picker.entry.path == path)
    assert picker.entry.card.licence == "Apache-2.0"
    # It can go again.
    assert picker.manager.remove.isEnabled()
    picker.manager.remove.click()
    picker.manager.remove.click()
    qtbot.waitUntil(lambda: not path.exists(), timeout=10000)
    picker.abandon()


def test_cancel_keeps_what_is_here_and_the_next_one_goes_on(public, hub, folder, qtbot):
    hub.first = len(hub.content) // 2
    public.choose(NAME)
    public.accept_licence.setChecked(True)
    public.fetch()
    qtbot.waitUntil(lambda: hub.ranges != [], timeout=30000)
    qtbot.waitUntil(
        lambda: any(part.stat().st_size for part in folder.glob(".*.part")),
        timeout=30000,
    )
    public.cancel()
    assert not public.cancel_button.isEnabled()
    # The connection hangs; the process is ended all the same.
    finish(public, qtbot)
    assert "goes on from there" in public.status
    assert not (folder / public_checkpoint(NAME).file).exists()
    hub.first = None
    assert public.fetch_button.isEnabled()
    public.fetch()
    finish(public, qtbot)
    assert hub.ranges[-1].startswith("bytes=")
    found = (folder / public_checkpoint(NAME).file).read_bytes()
    assert hashlib.sha256(found).digest() == hashlib.sha256(hub.content).digest()


def test_without_network_a_sentence_says_so(public, monkeypatch, qtbot):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    public.choose(NAME)
    public.accept_licence.setChecked(True)
    public.fetch()
    finish(public, qtbot)
    assert "the network does not answer" in public.status
    public.offline.setChecked(True)
    public.fetch()
    finish(public, qtbot)
    assert "is not on this computer" in public.status


def test_a_process_that_breaks_is_told(public, monkeypatch, qtbot, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho something odd >&2\nexit 3\n")
    os.chmod(broken, 0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    public.choose(NAME)
    public.accept_licence.setChecked(True)
    public.fetch()
    finish(public, qtbot)
    assert "ended unexpectedly (something odd)" in public.status
