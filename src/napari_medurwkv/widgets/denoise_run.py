"""One restoration: from the click to an image layer beside the one it came from."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Image as ImageLayer
from qtpy.QtCore import QObject, Signal

from napari_medurwkv.errors import CancelledError, MedurwkvError
from napari_medurwkv.inference.engine_arrays import write_image
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.widgets.background import Outcome, in_napari_worker
from napari_medurwkv.widgets.layer_image import in_layer_order
from napari_medurwkv.widgets.result_layer import spatial_state

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medurwkv.widgets.segment_run import RunRequest

__all__ = ["DenoiseEnd", "DenoiseRun"]


@dataclass(frozen=True, slots=True)
class DenoiseEnd:
    """What came of a restoration.

    Attributes
    ----------
    state : {"complete", "cancelled", "failed"}
    layer : napari.layers.Image or None
        The restored image.
    error : Exception or None
        Why it failed.
    device : str
        Where it was computed.
    seconds : float
        From the click on.
    """

    state: Literal["complete", "cancelled", "failed"]
    layer: ImageLayer | None
    error: Exception | None
    device: str
    seconds: float


class DenoiseRun(QObject):
    """Restores a layer in a process of its own; nothing is shown before it is whole.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Gets the image layer.
    request : RunRequest
        What to do.
    """

    progressed = Signal(float, float)
    ended = Signal(object)

    def __init__(
        self, viewer: Any, request: RunRequest, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._request = request
        self._started = time.monotonic()
        self._cancelled = False
        self._child: subprocess.Popen[str] | None = None
        self._device = ""
        # Asked for before the work: it may have no place for one frame.
        self._spatial = spatial_state(request.layer, request.picture.places)

    @property
    def cancelled(self) -> bool:
        """Whether it has been asked to stop."""
        return self._cancelled

    def start(self) -> None:
        """Begin."""
        self._task = in_napari_worker(
            self._work,
            self._finish,
            description=f"Denoising {self._request.layer.name}",
            on_quit=self.cancel,
        )

    def cancel(self) -> None:
        """Stop at once; nothing is kept."""
        self._cancelled = True
        if self._child is not None:
            self._child.kill()

    def abandon(self, alive: bool = True) -> None:
        """Stop, and forget about the outcome."""
        self.cancel()
        self._task.abandon()

    def _work(self) -> NDArray[np.float32]:
        """Write the request, follow the child, read the result; in a thread."""
        request = self._request
        image = request.picture.read()
        with tempfile.TemporaryDirectory(prefix="medurwkv-") as name:
            folder = Path(name)
            # What is lazy goes there part by part.
            write_image(folder / "image.npy", image.array, lambda: self._cancelled)
            asked = {
                "geometry": image.geometry.to_json(),
                "rgb": image.rgb,
                "name": image.name,
                "model": str(request.entry.path),
                "device": request.device,
                "overlap": request.overlap,
            }
            (folder / "request.json").write_text(json.dumps(asked), "utf-8")
            self._follow(folder)
            restored: NDArray[np.float32] = np.load(folder / "restored.npy")
        return restored

    def _follow(self, folder: Path) -> None:
        module = "napari_medurwkv.inference.restore_child"
        with (
            (folder / "errors.txt").open("w+", encoding="utf-8") as errors,
            subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-P", "-m", module, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            ) as child,
        ):
            self._child = child
            if self._cancelled:
                child.kill()
            for line in child.stdout or ():
                message = json.loads(line)
                if "error" in message:
                    raise MedurwkvError(message["error"])
                if "fraction" in message:
                    seconds = time.monotonic() - self._started
                    # The panel may be gone, and this object with it.
                    with contextlib.suppress(RuntimeError):
                        self.progressed.emit(message["fraction"], seconds)
                self._device = message.get("done", self._device)
            child.wait()
            if self._cancelled:
                raise CancelledError("Cancelled; nothing was changed.")
            if not self._device:
                errors.seek(0)
                last = errors.read().strip().splitlines()[-1:] or [""]
                raise MedurwkvError(
                    "The process that denoises ended unexpectedly (exit code "
                    f"{child.returncode}): {last[0]}"
                )

    def _finish(self, outcome: Outcome[NDArray[np.float32]]) -> None:
        seconds = time.monotonic() - self._started
        if outcome.value is None:
            stopped = self._cancelled or isinstance(outcome.error, CancelledError)
            state: Literal["cancelled", "failed"] = "cancelled" if stopped else "failed"
            error = None if stopped else outcome.error
            self.ended.emit(DenoiseEnd(state, None, error, self._device, seconds))
            return
        layer = self._layer(outcome.value)
        self._viewer.add_layer(layer)
        self.ended.emit(DenoiseEnd("complete", layer, None, self._device, seconds))

    def _layer(self, restored: NDArray[np.float32]) -> ImageLayer:
        """Lay the result out as the source layer is, in its own window of values."""
        request, picture = self._request, self._request.picture
        data, out = picture.new_labels(np.float32)
        out[...] = restored
        geometry = in_layer_order(picture.geometry, picture.layer_geometry)
        source: Any = request.layer
        return ImageLayer(
            data,
            name=f"{source.name} – {request.entry.card.title}",
            colormap=source.colormap,
            contrast_limits=source.contrast_limits,
            metadata={
                METADATA_KEY: {"geometry": geometry.to_json(), "frame": picture.frame}
            },
            **self._spatial,
        )
