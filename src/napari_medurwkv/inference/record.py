"""What is written down about a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.device import DeviceChoice
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.io import Image
    from napari_medurwkv.provenance import RunRecord

__all__ = ["RunFacts", "make_record"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything that a record is made from."""

    image: Image
    model: Model
    plan: Plan
    choice: DeviceChoice
    predictor: Predictor
    overlap: float
    instances: bool
    complete: bool
    fraction: float
    started: datetime.datetime
    seconds: float


def make_record(facts: RunFacts) -> RunRecord:
    return None
