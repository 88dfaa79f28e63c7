"""The budget of a run in steps and minutes, and the learning rate that follows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from napari_medurwkv.training.config import BudgetSettings, OptimiserSettings

__all__ = ["Budget", "learning_rate", "parameter_groups"]

_NEVER_DECAYED = ("spatial_decay", "spatial_first", "_mix_", "pos_embed", "level_embed")


class Budget:
    """What part of a run is over: of its steps or of its minutes, whichever is more.

    Parameters
    ----------
    settings : BudgetSettings
        The limits.
    spent : float
        Seconds that earlier parts of a resumed run took.
    """

    def __init__(self, settings: BudgetSettings, spent: float = 0.0) -> None:
        self._settings = settings
        self._before = spent
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time spent so far, with that of earlier parts."""
        return self._before + time.monotonic() - self._started

    def fraction(self, step: int) -> float:
        """Part of the budget that is spent after `step` steps, 0 to 1."""
        parts = [0.0]
        if self._settings.steps is not None:
            parts.append(step / self._settings.steps)
        if self._settings.minutes is not None:
            parts.append(self.seconds / (60 * self._settings.minutes))
        return min(max(parts), 1.0)


def learning_rate(fraction: float, settings: OptimiserSettings) -> float:
    """Learning rate at a fraction of the budget: linear warm-up, then polynomial.

    The rate is ``lr * (1 - t) ** power`` with t the part of the time after the
    warm-up, so it ends at 0 however the budget is given.
    """
    if fraction < settings.warmup:
        return settings.lr * max(fraction / settings.warmup, 0.01)
    left = (1 - fraction) / (1 - settings.warmup)
    return float(settings.lr * left**settings.power)


def parameter_groups(
    network: nn.Module, weight_decay: float
) -> list[dict[str, object]]:
    """Split parameters into those with weight decay and those without.

    Vectors (biases, norms, layer scales), the operator's decay and first, token-shift
    mixes and embeddings are not pulled to zero.
    """
    decayed, free = [], []
    for name, parameter in network.named_parameters():
        if parameter.ndim <= 1 or any(part in name for part in _NEVER_DECAYED):
            free.append(parameter)
        else:
            decayed.append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
