from __future__ import annotations

import hashlib
import json
import shutil

from napari_medurwkv.checkpoints import lookup


def test_the_table_names_each_model(medurwkv, embedded):
    text = medurwkv("models").stdout
    assert "Small nuclei [random]" in text
    assert "2D, fluorescence" in text
    assert "grey matter, white matter" in text
    assert "BSD-3-Clause" in text


def test_json_has_cards_and_digests(medurwkv, embedded):
    document = json.loads(medurwkv("models", "--json").stdout)
    assert [entry["name"] for entry in document["models"]] == ["brain-tissue", "nuclei"]
    nuclei = document["models"][1]
    content = (embedded / "nuclei.safetensors").read_bytes()
    assert nuclei["sha256"] == hashlib.sha256(content).hexdigest()
    assert nuclei["size_bytes"] == len(content)
    assert nuclei["card"]["classes"][1]["name"] == "nucleus"


def test_what_cannot_be_used_is_told(medurwkv, embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "user_folder", lambda: tmp_path)
    shutil.copy(embedded / "nuclei.safetensors", tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(
        (embedded / "nuclei.safetensors").read_bytes()[:1000]
    )
    answer = medurwkv("models")
    assert "Not usable: cut.safetensors" in answer.stderr
    assert len(json.loads(medurwkv("models", "--json").stdout)["unusable"]) == 2
