"""Networks without weights: shapes only, no memory, built in a few milliseconds."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Blank", "is_blank", "repeated"]

Part = TypeVar("Part", bound=torch.nn.Module)

# What was built so far of the blank network under construction, by class and arguments.
_BLANK: ContextVar[dict[Hashable, torch.nn.Module] | None] = ContextVar(
    "blank", default=None
)

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
    return _BLANK.get() is not None


def repeated(key: Hashable, make: Callable[[], Part]) -> Part:
    """Build a part of a network; of a blank one, copy the part that is like it.

    Deep networks repeat few kinds of parts, and copying one takes a fifth of the time
    of building it.

    Parameters
    ----------
    key : hashable
        What the part's shapes and attributes depend on, its class included. Starting
        values do not count.
    make : callable
        Builds it.
    """
    made = _BLANK.get()
    if made is None:
        return make()
    first = made.get(key)
    if first is None:
        made[key] = part = make()
        return part
    # The key tells the class.
    return _twin(first)  # type: ignore[return-value]


def _twin(module: torch.nn.Module) -> torch.nn.Module:
    """Copy a blank module and those below it: own tables, attributes in common."""
    copy = module.__class__.__new__(module.__class__)
    own = copy.__dict__
    for name, value in module.__dict__.items():
        own[name] = value.copy() if isinstance(value, dict | set) else value
    own["_parameters"] = {
        name: None
        if value is None
        else torch.nn.Parameter(value.data, value.requires_grad)
        for name, value in module._parameters.items()
    }
    own["_modules"] = {
        name: None if child is None else _twin(child)
        for name, child in module._modules.items()
    }
    return copy


class Blank(TorchFunctionMode):
    """Build networks on the meta device, and skip every filling of a tensor."""

    def __enter__(self) -> Any:
        self._token = _BLANK.set({})
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
