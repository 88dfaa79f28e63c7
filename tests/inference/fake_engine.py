"""An engine whose work is simple and can go wrong on demand; imports no torch.

Run as a program in place of the real one. The name of the model, or of its file, says
what happens; every plane is a window.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from napari_medurwkv.checkpoints import ClassInfo
from napari_medurwkv.errors import CancelledError, ImageError
from napari_medurwkv.inference import Progress, Segmentation, serve
from napari_medurwkv.inference.forecast import Foresight
from napari_medurwkv.inference.probabilities import Rule, write_probabilities
from napari_medurwkv.inference.result import SliceFeatures
from napari_medurwkv.provenance import InputRecord, RunRecord, SoftwareRecord

RUN_ID = "a" * 32
CLASSES = (
    ClassInfo(value=0, name="background", color="#000000"),
    ClassInfo(value=1, name="bright", color="#ff0000"),
)


def segment(
    image,
    model,
    *,
    device,
    overlap,
    instances,
    progress,
    cancel,
    keep_partial,
    out,
    region=None,
    tta=False,
    views=None,
    keep_probabilities=False,
    uncertainty=None,
):
    """Mark what is above 0; of a region, its planes."""
    assert keep_partial
    misbehave(model)
    count, done = len(out), 0
    wanted = slice(None) if region is None else region[0]
    for index in range(*wanted.indices(count)):
        if cancel() and model != "stubborn":
            break
        if model == "chatty":
            print("a stray print")
            os.write(1, b"a print of a library in C\n")
            subprocess.run(["echo", "a print of another process"], check=True)
        if model in ("slow", "stubborn"):
            time.sleep(0.1)
        out[index] = image.array[index] > 0
        done = index + 1
        final = (slice(index, index + 1), *(slice(None),) * (out.ndim - 1))
        progress(Progress(done, count, final, 0.5))
        if done == count // 2 and model in DEATHS:
            os.kill(os.getpid(), DEATHS[model])
    if uncertainty is not None:
        uncertainty[...] = 3 + tta
    if keep_probabilities and done == count:
        box = tuple((0, n) for n in out.shape)
        rule = Rule(RUN_ID, out.shape, box, (0, 1), "softmax", 0.5, 0, False)
        with write_probabilities(Path(keep_probabilities), rule) as array:
            array[1] = out * 255
            array[0] = 255 - array[1]
    return Segmentation(
        out,
        image.geometry,
        CLASSES,
        instances,
        done == count,
        done / count,
        record(image, device, done / count),
    )


DEATHS = {"memory": signal.SIGKILL, "crash": signal.SIGSEGV}


def misbehave(model):
    if model == "refuses":
        raise ImageError("The image is empty.")
    if model == "surprise":
        raise ZeroDivisionError("seventeen\nand more")
    if model == "hungry":
        raise MemoryError


def record(image, device, fraction):
    return RunRecord.model_validate(
        {
            "run_id": RUN_ID,
            "software": SoftwareRecord.here(),
            "model": {
                "name": "fake",
                "version": "1",
                "file_name": "fake.safetensors",
                "sha256": "0" * 64,
                "architecture": "fake",
            },
            "input": InputRecord.of(image, values=fraction == 1),
            "parameters": {"pid": os.getpid()},
            "device_path": [device],
            "started": "2026-01-01T00:00:00Z",
            "finished": "2026-01-01T00:00:01Z",
            "seconds": 1,
            "complete": fraction == 1,
            "fraction": fraction,
        }
    )


def devices(requested):
    return {
        "device": "cpu",
        "description": "a processor",
        "requested": requested,
        "torch": "none",
        "kernels": "portable",
        "kernels_reason": "there are no others",
    }


def foresee(image, model, *, device, overlap, instances, region, tta, views, cancel):
    misbehave(model)
    while model == "slow" and not cancel():
        time.sleep(0.01)
    if cancel():
        raise CancelledError("The forecast was cancelled.")
    size = image.array.size
    assert image.array.strides == (0,) * image.array.ndim
    problem = "It cannot fit." if model == "large" else ""
    return Foresight(size, 2.0, 10, 0, device, 5, problem)


def features(picture, model, *, spacing, rgb, device, cancel):
    misbehave(model)
    while model == "slow" and not cancel():
        time.sleep(0.01)
    if cancel():
        raise CancelledError("The features were cancelled.")
    grey = picture.mean(-1) if rgb else picture
    maps = np.stack([grey, grey * (1 if spacing is None else spacing[0])])
    return SliceFeatures(maps.astype(np.float16), maps.astype(np.float16), (0, 1))


def load():
    """Take a while, as importing torch does."""
    if os.environ.get("FAKE_ENGINE_BROKEN"):
        import nothing_of_this_name  # noqa: F401
    time.sleep(float(os.environ.get("FAKE_ENGINE_START", "0")))
    return serve.Work(segment, lambda name: Path(name).stem, devices, foresee, features)


if __name__ == "__main__":
    serve.main(load)
