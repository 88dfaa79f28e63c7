from __future__ import annotations

import sys


def test_the_configuration_and_the_folder_are_passed_on(
    medurwkv, tmp_path, monkeypatch
):
    import napari_medurwkv.training.run as run

    calls = []

    def train(config, output, *, resume):
        calls.append((config.name, output.name, resume))
        return output / "x.safetensors"

    monkeypatch.setattr(run, "train", train)
    words = ("train", tmp_path / "nuclei.yaml", "--output", tmp_path / "run")
    answer = medurwkv(*words)
    medurwkv(*words, "--resume")
    assert calls == [("nuclei.yaml", "run", False), ("nuclei.yaml", "run", True)]
    assert "x.safetensors" in answer.stderr


def test_a_wrong_configuration_gets_a_sentence(medurwkv, tmp_path):
    answer = medurwkv("train", tmp_path / "no.yaml", code=1)
    assert answer.stderr.startswith("Error: ")
    assert "no.yaml" in answer.stderr


def test_the_missing_part_is_named(medurwkv, tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("napari_medurwkv.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.setitem(sys.modules, "yaml", None)
    answer = medurwkv("train", tmp_path / "a.yaml", code=1)
    assert 'pip install "napari-medurwkv[train]"' in answer.stderr
