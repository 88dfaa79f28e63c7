"""What came of a run, in a sentence or two."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari.utils.notifications import notification_manager, show_error

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.widgets.look import AMBER, RED, WrappedLabel, set_tone

if TYPE_CHECKING:
    from napari_medurwkv.widgets.segment_run import RunEnd

__all__ = ["RunStatus"]

logger = logging.getLogger(__name__)


class RunStatus(WrappedLabel):
    """The line under the button; hidden while there is nothing to say."""

    def say(self, text: str, color: str | None) -> None:
        """Show a sentence in a colour; None takes the theme's."""
        self.setText(text)
        self.setToolTip("")
        self.setVisible(bool(text))
        set_tone(self, color)

    def tell(self, end: RunEnd, *, earlier: bool) -> None:
        """Say how a run ended.

        Parameters
        ----------
        end : RunEnd
            Of the run.
        earlier : bool
            Whether earlier masks of the image were hidden.
        """
        others = " Earlier masks of this image are kept, hidden." * earlier
        if end.layer is not None and end.layer.multiscale:
            others += (
                " The mask is too large for memory: it lies on the disk as long as "
                "napari runs and cannot be edited; export it to keep it."
            )
        if end.state == "complete" and end.segmentation is not None:
            steps = end.segmentation.record.device_path
            # Without why there is no GPU: the device line says that already.
            text = f"Done in {end.seconds:.1f} s on {steps[0].partition(';')[0]}."
            if len(steps) > 1:
                self.say(f"{text} Then: {'; '.join(steps[1:])}.{others}", AMBER)
            else:
                self.say(text + others, None)
        elif end.state == "partial" and end.segmentation is not None:
            done = f"{end.segmentation.fraction:.0%}"
            text = f"Cancelled at {done}. The finished part is kept; the rest is empty."
            self.say(text + others, AMBER)
        elif end.state == "cancelled":
            self.say("Cancelled; no mask was kept.", None)
        else:
            self.report(end.error, kept=end.layer is not None)

    def report(self, error: Exception | None, *, kept: bool) -> None:
        """Say why a run failed; what nobody foresaw goes to napari, too.

        Parameters
        ----------
        error : Exception or None
            Why.
        kept : bool
            Whether the part that was done is kept.
        """
        sentence = str(error)
        left = " What had been finished is kept, marked as failed." if kept else ""
        self.say(sentence + left, RED)
        details = getattr(error, "details", "")
        if details:
            self.setToolTip(details)
            logger.error("%s\n%s", sentence, details)
        if isinstance(error, MedurwkvError):
            show_error(sentence)
        elif error is not None:
            notification_manager.receive_error(type(error), error, error.__traceback__)
