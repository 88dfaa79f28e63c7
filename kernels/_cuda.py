"""The operators on NVIDIA GPUs: kernels compiled at run time."""

from __future__ import annotations

import functools

import torch

from ._cuda_bi_wkv import backward, forward, forward_job
from ._cuda_compile import CompilerError
from ._cuda_driver import DriverError
from ._cuda_launch import architecture, copies_ahead, limits
from ._cuda_plan import plan_forward
from ._cuda_shift import shift_mix_backward, shift_mix_forward
from ._cuda_wkv6 import wkv6_backward, wkv6_forward

__all__ = [
    "DIFFERENTIATES_SEGMENTS",
    "TAKES_HALVES",
    "availability",
    "backward",
    "forward",
    "shift_mix_backward",
    "shift_mix_forward",
    "wkv6_backward",
    "wkv6_forward",
]

TAKES_HALVES = True
"""Whether half precisions are computed in float32 within the kernels."""
DIFFERENTIATES_SEGMENTS = False
"""Whether :func:`backward` takes segments."""
_OLDEST = (7, 5)


@functools.cache
def availability(device: torch.device) -> tuple[bool, str]:
    """Say whether the kernels run on a device.

    Parameters
    ----------
    device : torch.device
        A CUDA device.

    Returns
    -------
    bool
        Whether they do.
    str
        In plain words which they are, or what keeps them from running.
    """
    if torch.version.hip is not None:
        return False, "the CUDA kernels do not run on AMD's GPUs"
    if not torch.cuda.is_available():
        return False, "PyTorch sees no NVIDIA GPU"
    index = torch.cuda.current_device() if device.index is None else device.index
    capability = torch.cuda.get_device_capability(index)
    if capability < _OLDEST:
        return False, (
            f"the GPU is too old: compute capability {capability[0]}.{capability[1]},"
            f" where {_OLDEST[0]}.{_OLDEST[1]} is needed"
        )
    plan = plan_forward(1, 1, 32, False, limits(index))
    try:
        with torch.cuda.device(index):
            forward_job(plan, index, (1, 1, 32), torch.float32, copies_ahead(index))
    except (CompilerError, DriverError) as error:
        return False, str(error)
    return True, f"compiled for this GPU ({architecture(index)})"
