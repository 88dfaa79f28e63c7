"""How torch's threads wait for each other, decided before torch is loaded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SPIN_COUNT", "patient_threads"]

SPIN_COUNT = "1000"
"""Turns that a waiting thread of GNU's OpenMP makes before it sleeps.

By default a thread spins for milliseconds, which a run on a busy computer cannot
afford; sleeping at once (OMP_WAIT_POLICY=passive) doubles the time of a whole model.
"""


def patient_threads(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to a process's environment before it loads torch.

    Parameters
    ----------
    environment : mapping of str to str
        What is set already. Whoever has chosen how threads wait keeps that choice.

    Returns
    -------
    dict
        Empty where there is nothing to add: only Linux builds of torch wait by GNU's
        OpenMP.
    """
    chosen = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys()
    if chosen or sys.platform != "linux":
        return {}
    return {"GOMP_SPINCOUNT": SPIN_COUNT}
