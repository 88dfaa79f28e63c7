"""What can be asked of an engine between two runs: places, forecasts, features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.inference.engine_arrays import write_image
from napari_medurwkv.inference.engine_requests import (
    DeviceReport,
    features_request,
    foresee_request,
    take_features,
)
from napari_medurwkv.inference.forecast import Foresight
from napari_medurwkv.inference.further import Further

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.inference.engine_protocol import Message
    from napari_medurwkv.inference.result import SliceFeatures

__all__ = ["EngineQuestions"]


class EngineQuestions(ABC):
    """Questions in words of this program, for whoever can put them to an engine."""

    @abstractmethod
    def _ask(self, request: Message) -> Message:
        """Put a question and wait for the answer."""

    @abstractmethod
    def _files(self) -> AbstractContextManager[tuple[Path, Path, Path]]:
        """Name files that both sides can reach, and remove them afterwards."""

    def device_report(self, device: str = "auto") -> DeviceReport:
        """Ask the engine where it will compute; blocks.

        Parameters
        ----------
        device : str
            As for `napari_medurwkv.segment`.

        Raises
        ------
        DeviceError
            If that device is not there or does not compute.
        EngineError
            If a run is under way, or the engine cannot start.
        """
        answer = self._ask({"do": "devices", "device": device})
        return DeviceReport(**answer["devices"])

    def foresee(
        self,
        geometry: Geometry,
        dtype: DTypeLike,
        model: str | Path,
        *,
        rgb: bool = False,
        colours: int = 3,
        device: str = "auto",
        overlap: float | None = None,
        instances: bool = False,
        region: tuple[slice, ...] | None = None,
        further: Further = Further(),  # noqa: B008 - it is frozen
    ) -> Foresight:
        """Ask how long a run would take and how much memory; blocks.

        Parameters
        ----------
        geometry, dtype, rgb, colours
            Of the image and its values.
        model, device, overlap, instances, region, further
            As for `segment`.

        Returns
        -------
        Foresight
            With `problem`, where it cannot fit.

        Raises
        ------
        CancelledError
            If a run was asked for meanwhile.
        EngineError
            If a run is under way, or the engine cannot start.
        MedurwkvError
            Whatever `segment` would raise.
        """
        request = foresee_request(
            geometry,
            np.dtype(dtype),
            model,
            rgb=rgb,
            colours=colours,
            device=device,
            overlap=overlap,
            instances=instances,
            region=region,
            further=further,
        )
        return Foresight(**self._ask(request)["foresight"])

    def features(
        self,
        picture: NDArray[Any],
        model: str | Path,
        *,
        spacing: Sequence[float] | None = None,
        rgb: bool = False,
        device: str = "auto",
    ) -> SliceFeatures:
        """Ask what a network has to say of each pixel of a slice; blocks.

        Parameters
        ----------
        picture, spacing, rgb
            As for `napari_medurwkv.inference.features.slice_features`.
        model, device
            As for `segment`.

        Raises
        ------
        CancelledError
            If a run was asked for meanwhile.
        EngineError
            If a run is under way, or the engine cannot start.
        MedurwkvError
            Whatever `slice_features` raises.
        """
        with self._files() as paths:
            write_image(paths[0], picture, bool)  # never stopped
            request = features_request(
                paths, model, spacing=spacing, rgb=rgb, device=device
            )
            return take_features(self._ask(request), paths)
