"""What looking and loading cost: pages that are touched, time after the imports."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_medurwkv.checkpoints import ModelCard, load_model, save_checkpoint
from napari_medurwkv.checkpoints.examine import examine
from napari_medurwkv.models import create_model

LINUX = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is counted on Linux only"
)


def resident() -> int:
    """Memory that this process holds, pages of mapped files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@LINUX
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_examining_touches_no_tensor(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    network = create_model("vrwkv_classifier_small")
    state = {k.removeprefix("backbone."): v for k, v in network.state_dict().items()}
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state}, path)
    else:
        save_file(state, path)
    examine(path)  # what is imported on the way
    before, start = resident(), time.perf_counter()
    found = examine(path)
    assert time.perf_counter() - start < 1
    assert resident() - before < path.stat().st_size / 4
    assert found.identity.architecture == "vrwkv_classifier_small"
    assert found.parameters == sum(p.numel() for p in network.parameters())


LOAD = """
import resource, sys
from pathlib import Path
import napari_medurwkv.checkpoints.fit, napari_medurwkv.checkpoints.weights
import safetensors.torch
from napari_medurwkv.checkpoints import load_model
load_model("nuclei")
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = load_model(Path(sys.argv[1]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows counts memory otherwise")
def test_loading_takes_no_more_memory_than_the_file(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    network = create_model("med_urwkv_tiny", num_classes=3)
    config = network.config.to_dict()
    card = ModelCard.model_validate(
        fields | {"architecture": "med_urwkv_tiny", "config": config}
    )
    path = save_checkpoint(
        tmp_path / "tiny.safetensors", network, card, dtype="float32"
    )
    done = subprocess.run(
        [sys.executable, "-c", LOAD, path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 1.5 * path.stat().st_size
    assert torch.equal(load_model(path).network.head.bias, network.head.bias)
