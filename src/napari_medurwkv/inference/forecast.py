"""What is told of a run before it begins; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_medurwkv.errors import ImageError

__all__ = ["Foresight", "duration", "refuse_on_host"]


@dataclass(frozen=True, slots=True)
class Foresight:
    """What a run will need.

    Attributes
    ----------
    windows : int
        Windows in all.
    seconds : float
        From the call of `segment` to its return, the model being loaded.
    host_bytes : int or None
        Largest resident memory of this process meanwhile; None where the system does
        not tell how much a process has taken.
    device_bytes : int
        Memory of the GPU that torch will have reserved at most; 0 on the CPU.
    device : str
        As `DeviceChoice.description`.
    host_more : int
        Bytes that the run takes beyond what the process has now.
    problem : str
        Why it cannot fit, with the way out, where somebody has looked; else empty.
    """

    windows: int
    seconds: float
    host_bytes: int | None
    device_bytes: int
    device: str
    host_more: int = 0
    problem: str = ""

    @property
    def text(self) -> str:
        """Time and memory in words."""
        text = f"About {duration(self.seconds)}"
        if self.host_bytes is not None:
            text += f", {self.host_bytes / 1e9:.1f} GB of memory"
        if self.device_bytes:
            text += f", {self.device_bytes / 1e9:.1f} GB of the GPU's"
        return text

    def times(self, count: int) -> Foresight:
        """Return the same for several such images, one after the other."""
        return replace(self, windows=count * self.windows, seconds=count * self.seconds)

    def check(self, host_free: int | None, device_free: int | None) -> None:
        """Refuse what cannot fit.

        Parameters
        ----------
        host_free : int or None
            Bytes that this process may take beyond what it has; None if unknown.
        device_free : int or None
            Bytes that are free on the GPU; None on the CPU.

        Raises
        ------
        ImageError
            With the way out.
        """
        refuse_on_host(self.host_more, host_free)
        if device_free is not None and self.device_bytes > device_free:
            raise ImageError(
                f"This run would need {self.device_bytes / 2**30:.1f} GiB of the GPU's "
                f"memory and {device_free / 2**30:.1f} GiB are free; close other "
                "programs that use it, or choose cpu as the device."
            )


def refuse_on_host(more: int, free: int | None) -> None:
    """Refuse a run that needs more memory than is free.

    Raises
    ------
    ImageError
        With the way out.
    """
    if free is not None and more > free:
        raise ImageError(
            f"This run would need {more / 2**30:.1f} GiB of memory and "
            f"{free / 2**30:.1f} GiB are free; close other programs, segment a part "
            "(a rectangle, or region), or write the mask into a zarr array."
        )


def duration(seconds: float) -> str:
    """Write a length of time as people say it: "12 s", "3 min", "1.5 h".

    Parameters
    ----------
    seconds : float
        Two digits of it are kept.
    """
    if seconds < 1:
        return "1 s"
    for limit, size, unit in ((90, 1, "s"), (90 * 60, 60, "min")):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 3600:.2g} h"
