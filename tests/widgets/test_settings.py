"""Preferences reach the panel."""

from __future__ import annotations

from types import SimpleNamespace

from napari_medurwkv.widgets import settings


def test_without_the_plugin_the_defaults_hold(monkeypatch):
    monkeypatch.setattr(settings, "get_plugin_settings", lambda: {})
    assert settings.read_preferences() == settings.Preferences()


def test_values_are_translated(monkeypatch):
    chosen = SimpleNamespace(
        device="cpu", overlap="0.25", keep_partial=False, default_model=" nuclei "
    )
    stored = {settings.PLUGIN: SimpleNamespace(segmentation=chosen)}
    monkeypatch.setattr(settings, "get_plugin_settings", lambda: stored)
    assert settings.read_preferences() == settings.Preferences(
        "cpu", 0.25, False, "nuclei"
    )
    chosen.overlap = "card"
    assert settings.read_preferences().overlap is None
