"""The network on its device, stepping down when memory runs out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.errors import CheckpointError, MedurwkvError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from napari_medurwkv.inference.device import DeviceChoice

__all__ = ["Predictor", "evaluating"]

BATCH = {"cpu": 1, "mps": 4, "cuda": 16}
"""Windows at once: on the CPU more bring nothing, and one can be cancelled sooner."""


class Predictor:
    """Computes batches of windows.

    When a GPU runs out of memory, the batch is halved; at one window the network moves
    to the CPU. Each step is noted in `steps`, and nothing is computed twice but the
    batch that failed.

    Parameters
    ----------
    network : nn.Module
        Float32; it is moved to the device and stays there.
    choice : DeviceChoice
        Where to compute.
    outputs : int
        Channels that the output must have.
    """

    def __init__(self, network: nn.Module, choice: DeviceChoice, outputs: int) -> None:
        self._network = network
        self._outputs = outputs
        self.device = choice.device
        self.steps: list[str] = []
        kind = choice.device.partition(":")[0]
        self.batch = BATCH[kind]
        self._half = kind == "cuda" and torch.cuda.is_bf16_supported()
        try:
            network.to(choice.device)
        except torch.OutOfMemoryError:
            self._to_cpu("the GPU had no memory for the network")

    @property
    def precision(self) -> str:
        """Numbers that most of the network computes with now."""
        return "bfloat16" if self._half else "float32"

    def __call__(self, windows: list[Tensor]) -> Tensor:
        """Compute one batch.

        Parameters
        ----------
        windows : list of Tensor
            Each of shape (channels, rows, columns), float32.

        Returns
        -------
        Tensor of float32, shape (windows, outputs, rows, columns)

        Raises
        ------
        CheckpointError
            If the output has not the shape that the card promises.
        MedurwkvError
            If the computer itself is out of memory.
        """
        results: list[Tensor] = []
        left = list(windows)
        while left:
            part = left[: self.batch]
            problem = ""
            try:
                results.append(self._forward(part))
            except torch.OutOfMemoryError:
                problem = "memory"
            except (RuntimeError, NotImplementedError) as error:
                problem = self._explain(error)
            if not problem:
                left = left[len(part) :]
            elif problem == "memory" and len(part) > 1:
                self.batch = max(1, len(part) // 2)
                self.steps.append(f"out of memory: {self.batch} windows at once")
                _empty_cache()
            elif problem == "memory":
                self._to_cpu("out of memory with one window")
            else:
                self._to_cpu(problem)
        if len(results) == 1:
            return results[0]
        return torch.cat([r.to(results[-1].device) for r in results])

    def _forward(self, windows: list[Tensor]) -> Tensor:
        batch = torch.stack([w.to(self.device) for w in windows])
        context: Any = contextlib.nullcontext()
        if self._half:
            context = torch.autocast("cuda", dtype=torch.bfloat16)
        with torch.inference_mode(), context:
            logits = self._network(batch)
        expected = (len(windows), self._outputs, *batch.shape[2:])
        shape = tuple(getattr(logits, "shape", ()))
        if shape != expected:
            raise CheckpointError(
                f"The network's output has the shape {shape}, the card promises "
                f"{expected}; network and card do not belong together."
            )
        result: Tensor = logits.float()
        return result

    def _explain(self, error: Exception) -> str:
        """Turn an error of the device into a step; pass any other on."""
        text = str(error)
        if self.device == "cpu":
            if "can't allocate memory" in text or "not enough memory" in text:
                raise _no_memory() from error
            raise error
        if "out of memory" in text.lower():
            return "memory"
        if isinstance(error, NotImplementedError):
            return f"the device lacks an operation ({text.strip().splitlines()[0]})"
        raise error

    def _to_cpu(self, reason: str) -> None:
        if self.device == "cpu":
            raise _no_memory()
        self.steps.append(f"{reason}: went on with the CPU")
        self.device, self.batch, self._half = "cpu", BATCH["cpu"], False
        self._network.to("cpu")
        _empty_cache()


def _no_memory() -> MedurwkvError:
    return MedurwkvError(
        "The computer ran out of memory; close other programs, or use a smaller image "
        "or model."
    )


def _empty_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and back into what each part was in."""
    modes = [(m, m.training) for m in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
