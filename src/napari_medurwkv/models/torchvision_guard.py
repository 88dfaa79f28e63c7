"""Keep a torchvision of another build from stopping everything that imports it.

timm and Lightning import torchvision. Where torch is the CPU build and torchvision came
from the package index as the CUDA build, its compiled part cannot be loaded, and its
Python part then fails while it is imported, because it describes operators (``nms``,
``qnms``) that nobody defined. Nothing here needs them: naming them is enough.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

__all__ = ["guard_torchvision"]

_kept: list[Any] = []


def guard_torchvision() -> bool:
    """Make torchvision importable; tell whether it had to be helped.

    Raises
    ------
    RuntimeError
        If torchvision fails for any other reason.
    """
    if find_spec("torchvision") is None:
        return False
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        library: Any = torch.library.Library  # its methods carry no types
        library = library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        _kept.append(library)  # the definition lives as long as this object
        import torchvision  # noqa: F401
    return bool(_kept)
