"""What is written down about a run."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medurwkv.inference.view_names import view_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.device import DeviceChoice
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.provenance import InputRecord, RunRecord

__all__ = ["RunFacts", "make_record"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything that a record is made from.

    Attributes
    ----------
    run_id : str
        Drawn by lot.
    model, plan, choice, predictor
        What the run worked with; of several views, the last plan.
    axes : tuple of int
        Display axes whose views were averaged.
    windows : int
        Of all views.
    input : InputRecord
        What was segmented.
    overlap : float
        Of neighbouring windows.
    instances : bool
        Whether objects were numbered.
    tta : bool
        Whether windows were averaged over their mirror images.
    complete : bool
        Whether no window is missing.
    fraction : float
        Windows done, of all.
    started : datetime
        When, in UTC.
    seconds : float
        How long it took.
    doubts : tuple of ndarray, optional
        See `Run.doubts`.
    """

    run_id: str
    input: InputRecord
    model: Model
    plan: Plan
    axes: tuple[int, ...]
    windows: int
    choice: DeviceChoice
    predictor: Predictor
    overlap: float
    instances: bool
    tta: bool
    complete: bool
    fraction: float
    started: datetime.datetime
    seconds: float
    doubts: tuple[NDArray[np.int64], ...] | None = None


def make_record(facts: RunFacts) -> RunRecord:
    """Write down a run that has ended.

    Parameters
    ----------
    facts : RunFacts
        What there is to tell.

    Returns
    -------
    RunRecord
    """
    from napari_medurwkv.provenance import (
        ModelRecord,
        RunRecord,
        SoftwareRecord,
    )

    card, plan = facts.model.card, facts.plan
    several = len(facts.axes) > 1
    return RunRecord.model_validate(
        {
            "run_id": facts.run_id,
            "software": SoftwareRecord.here(),
            "model": ModelRecord.of(facts.model),
            "input": facts.input,
            "parameters": {
                "patch_size": list(card.patch_size),
                "overlap": facts.overlap,
                "instances": facts.instances,
                "tta": facts.tta,
                "precision": facts.predictor.precision,
                "compiled": facts.predictor.compiled,
                "requested_device": facts.choice.requested,
                # Grids are (planes, rows, columns), along and across this axis.
                "stepped_axis": plan.axis,
                "image_grid": list(plan.native),
                "working_grid": list(plan.working),
                "windows": facts.windows,
                # Averaged; where there is one, the stepped axis says which.
                **({"views": view_names(facts.axes)} if several else {}),
                # Planes, rows and columns of the image's grid that were wanted.
                "region": None if plan.whole else [list(r) for r in plan.part],
            },
            "device_path": (
                f"{facts.choice.device}: {facts.choice.description}",
                *facts.predictor.steps,
            ),
            "started": facts.started,
            # The clock may have been set meanwhile; the duration was measured apart.
            "finished": facts.started + datetime.timedelta(seconds=facts.seconds),
            "seconds": facts.seconds,
            "complete": facts.complete,
            "fraction": facts.fraction,
            "uncertainty": _summary(facts),
        }
    )


def _summary(facts: RunFacts) -> dict[str, Any] | None:
    """Sum uncertainty up, per slice of each display axis."""
    if facts.doubts is None:
        return None
    planes, *others = (sums / 255 for sums in facts.doubts)
    plan = facts.plan
    points = math.prod(end - first for first, end in plan.part)
    slices: list[Any] = []
    if plan.axis is not None:
        slices = [*others]
        slices.insert(plan.axis, planes)
    return {
        "mean": round(float(planes.sum()) / points, 6),
        "slices": [[round(float(x), 2) for x in axis] for axis in slices],
    }
