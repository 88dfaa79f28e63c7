"""How far a tool is, and whether it should go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medurwkv.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SILENT", "Watch"]


@dataclass(frozen=True, slots=True)
class Watch:
    """Passes progress on and stops the work when asked to.

    Parameters
    ----------
    progress : callable, optional
        Called with the fraction that is done, 0 to 1.
    cancel : callable, optional
        Asked between parts; true ends the work with `CancelledError`.
    """

    progress: Callable[[float], None] | None = None
    cancel: Callable[[], bool] | None = None

    def at(self, fraction: float) -> None:
        """Report a fraction.

        Raises
        ------
        CancelledError
            If the work was cancelled.
        """
        if self.cancel is not None and self.cancel():
            raise CancelledError("The tool was cancelled; the mask is as it was.")
        if self.progress is not None:
            self.progress(min(max(fraction, 0.0), 1.0))

    def part(self, index: int, count: int) -> Watch:
        """Return the watch of one of several equal parts."""

        def progress(fraction: float) -> None:
            if self.progress is not None:
                self.progress((index + fraction) / count)

        return Watch(progress, self.cancel)


SILENT = Watch()
"""Reports to nobody and is never cancelled."""
