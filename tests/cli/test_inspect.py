from __future__ import annotations

import json
import subprocess
import sys

import pytest
from safetensors import safe_open


def test_card_size_and_parameters(medurwkv, models_folder):
    path = models_folder / "nuclei.safetensors"
    document = json.loads(medurwkv("inspect", path, "--json").stdout)
    with safe_open(path, "numpy") as file:
        count = sum(file.get_tensor(key).size for key in file.keys())
    assert document["parameters"] == count
    assert document["card"]["name"] == "nuclei"
    text = medurwkv("inspect", path).stdout
    for words in (
        document["sha256"],
        f"{count:,}",
        "Everything.",
        "Dice 0.500 on noise",
    ):
        assert words in text


def test_a_name_will_do(medurwkv, embedded):
    assert "12 x 4 x 4 mm" in medurwkv("inspect", "brain-tissue").stdout


def test_torch_is_not_loaded(models_folder):
    code = """
import sys
from napari_medurwkv.cli import main
sys.argv = ["medurwkv", *sys.argv[1:]]
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""
    path = models_folder / "nuclei.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", path, "--json"],
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["tensors"] > 10
    assert done.stderr == "False\n"


@pytest.mark.parametrize("content", [b"", b"text " * 30, b"PK\x03\x04" + b"0" * 99])
def test_what_is_no_checkpoint_gets_a_sentence(medurwkv, tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    answer = medurwkv("inspect", path, code=1)
    assert answer.stderr.startswith("Error: weights.safetensors is")
    assert answer.stderr.count("\n") == 1
