"""How fast a run is, and whether it waits for data: a line now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    import lightning

__all__ = ["Pace"]


class Pace(Callback):
    """Print steps and crops per second, the part of the time that data took, the loss.

    Parameters
    ----------
    batch : int
        Crops per step and process.
    every : float
        Seconds between two lines.
    """

    def __init__(self, batch: int, every: float = 30.0) -> None:
        self._batch = batch
        self._every = every
        self._started = self._left = time.monotonic()
        self._waited = 0.0
        self._steps = 0

    def on_train_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Start the clock."""
        self._restart()

    def on_train_batch_start(self, *args: Any) -> None:
        """Count the time since the last step as waiting."""
        self._waited += time.monotonic() - self._left

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Print when it is time."""
        self._steps += 1
        self._left = time.monotonic()
        spent = self._left - self._started
        if spent < self._every or not trainer.is_global_zero:
            return
        loss = trainer.callback_metrics.get("loss")
        print(
            f"step {trainer.global_step}: {self._steps / spent:.2f} steps/s, "
            f"{self._steps * self._batch / spent:.0f} crops/s per process, "
            f"{self._waited / spent:.0%} waiting for data"
            + ("" if loss is None else f", loss {float(loss):.3f}"),
            flush=True,
        )
        self._restart()

    def on_validation_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Print the figures; leave the time they took out."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            figures = trainer.callback_metrics.items()
            values = [f"{k} {float(v):.4f}" for k, v in figures if k.startswith("val/")]
            print(f"step {trainer.global_step}: {', '.join(values)}", flush=True)
        self._restart()

    def _restart(self) -> None:
        self._started = self._left = time.monotonic()
        self._waited, self._steps = 0.0, 0
