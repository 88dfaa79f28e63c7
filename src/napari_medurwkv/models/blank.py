"""Networks without weights: shapes only, no memory, built in a few milliseconds."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Blank", "is_blank"]

_BLANK: ContextVar[bool] = ContextVar("blank", default=False)

_MAKES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.tensor, torch.arange}
_FILLS = {
    torch.nn.init.kaiming_uniform_,
    torch.nn.init.uniform_,
    torch.nn.init.normal_,
    torch.nn.init.constant_,
    Tensor.fill_,
    Tensor.zero_,
    Tensor.uniform_,
    Tensor.normal_,
    Tensor.copy_,
}


def is_blank() -> bool:
    """Whether the network under construction gets no starting values.

    What computes such values asks this first: on the meta device each of its steps
    takes longer than on the CPU.
    """
    return _BLANK.get()


class Blank(TorchFunctionMode):
    """Build networks on the meta device, and skip every filling of a tensor."""

    def __enter__(self) -> Any:
        self._token = _BLANK.set(True)
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *exit_args: Any) -> None:
        super().__exit__(*exit_args)  # type: ignore[no-untyped-call]
        _BLANK.reset(self._token)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Send what makes tensors to the meta device, leave out what fills them."""
        given = kwargs or {}
        if func in _FILLS:
            return args[0] if args else given["tensor"]
        if func in _MAKES and given.get("device") is None:
            given = given | {"device": "meta"}
        return func(*args, **given)
