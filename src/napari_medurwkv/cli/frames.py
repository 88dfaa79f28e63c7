"""``medurwkv segment --frame all``: one mask for every time, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medurwkv.cli.streams import cancel_on_interrupt, progress_bar, say
from napari_medurwkv.errors import CancelledError, ImageError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medurwkv.inference import Segmentation
    from napari_medurwkv.io import Image

__all__ = ["FramesDone", "read_frame", "segment_frames"]


@dataclass(frozen=True, slots=True)
class FramesDone:
    """What came of all frames.

    Attributes
    ----------
    finished, total : int
        Frames.
    seconds : float
        Computing time of those that are finished.
    last : Segmentation
        Of the last of them.
    """

    finished: int
    total: int
    seconds: float
    last: Segmentation


def read_frame(text: str | None) -> int | None:
    """Read the option ``--frame``, where it is not "all".

    Raises
    ------
    ImageError
        If it is no number.
    """
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise ImageError(
            f"--frame {text} is no frame: give a number from 0, or all."
        ) from None


def segment_frames(
    count: int,
    read: Callable[[int], Image],
    model: Path,
    mask: Path,
    *,
    overwrite: bool,
    **options: Any,
) -> FramesDone:
    """Segment frame after frame, show progress, write masks and record.

    Ctrl+C keeps the frames that are finished; the others are empty in the file, and
    the record says so.

    Parameters
    ----------
    count : int
        How many frames there are.
    read : callable
        Gives the frame of a number.
    model : Path
        Checkpoint.
    mask : Path
        File for the masks; the record goes beside it.
    overwrite : bool
        Whether an older file and record may be replaced.
    options
        As for `napari_medurwkv.segment`.

    Raises
    ------
    CancelledError
        If it was cancelled before a frame was finished.
    """
    import numpy as np

    from napari_medurwkv.checkpoints import load_model
    from napari_medurwkv.inference import segment
    from napari_medurwkv.io import text_output, write_all_safely
    from napari_medurwkv.io.write_series import SERIES_ENDINGS, series_output
    from napari_medurwkv.provenance import record_path, record_text

    if not mask.name.lower().endswith(SERIES_ENDINGS):
        raise OutputError(
            f"Masks of all frames cannot be written as {mask.name}; give it one of the "
            f"endings {', '.join(SERIES_ENDINGS)}."
        )
    done: list[Segmentation] = []
    loaded = load_model(model)
    with cancel_on_interrupt() as cancelled:
        for number in range(count):
            image = read(number)
            try:
                with progress_bar(f"{image.name} {number + 1}/{count}") as tell:
                    done.append(
                        segment(
                            image, loaded, progress=tell, cancel=cancelled, **options
                        )
                    )
            except CancelledError:
                if not done:
                    raise
                say(f"Cancelled: {len(done)} of {count} frames are kept.")
                break
    first, last = done[0], done[-1]
    seconds = sum(one.record.seconds for one in done)
    frames = [one.labels for one in done]
    frames += [np.zeros_like(first.labels)] * (count - len(done))
    record = last.record.model_copy(
        update={
            "started": first.record.started,
            "seconds": seconds,
            "complete": len(done) == count,
            "fraction": len(done) / count,
            "parameters": {
                **last.record.parameters,
                "frames": count,
                "finished_frames": len(done),
            },
        }
    )
    outputs = [
        series_output(
            mask,
            frames,
            first.geometry,
            classes=() if first.instances else first.classes,
        ),
        text_output(record_path(mask), record_text(record)),
    ]
    write_all_safely(outputs, overwrite=overwrite)
    return FramesDone(len(done), count, seconds, last)
