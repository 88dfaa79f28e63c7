"""One engine process for all panels of the program, ended with the last of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.inference import Progress, Segmentation
    from napari_medurwkv.inference.client import DeviceReport
    from napari_medurwkv.inference.forecast import Foresight
    from napari_medurwkv.inference.further import Further
    from napari_medurwkv.inference.result import SliceFeatures
    from napari_medurwkv.io import Image

__all__ = ["Engine", "acquire_engine", "release_engine"]


class Engine(Protocol):
    """What the panels need of `napari_medurwkv.inference.client.EngineClient`."""

    def device_report(self, device: str = ...) -> DeviceReport:
        """Say where the engine will compute; blocks."""

    def foresee(
        self,
        geometry: Geometry,
        dtype: DTypeLike,
        model: str | Path,
        *,
        rgb: bool = ...,
        colours: int = ...,
        device: str = ...,
        overlap: float | None = ...,
        instances: bool = ...,
        region: tuple[slice, ...] | None = ...,
        further: Further = ...,
    ) -> Foresight:
        """Say how long a run would take and how much memory; blocks."""

    def features(
        self,
        picture: NDArray[Any],
        model: str | Path,
        *,
        spacing: Sequence[float] | None = ...,
        rgb: bool = ...,
        device: str = ...,
    ) -> SliceFeatures:
        """Say what a network has to say of each pixel of a slice; blocks."""

    def segment(
        self,
        image: Image,
        model: str | Path,
        *,
        out: NDArray[Any],
        device: str = ...,
        overlap: float | None = ...,
        instances: bool = ...,
        region: tuple[slice, ...] | None = ...,
        further: Further | None = ...,
        on_progress: Callable[[Progress], None] | None = ...,
        on_region: Callable[[tuple[slice, ...]], None] | None = ...,
    ) -> Segmentation:
        """Fill `out` region by region; blocks."""

    def cancel(self, *, keep_partial: bool = ...) -> None:
        """Stop the run under way soon; returns at once."""

    def close(self) -> None:
        """End the process."""


_users = 0
_engine: Engine | None = None


def acquire_engine() -> Engine:
    """Take part in the shared engine; its process starts when it is first asked.

    Only for the GUI thread, as `release_engine` is.
    """
    global _engine, _users
    if _engine is None:
        from napari_medurwkv.inference.client import EngineClient

        _engine = EngineClient()
    _users += 1
    return _engine


def release_engine() -> None:
    """Give one's part back; the last one ends the process."""
    global _engine, _users
    _users -= 1
    if _users == 0 and _engine is not None:
        _engine.close()
        _engine = None
