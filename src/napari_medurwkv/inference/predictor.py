"""The network on its device, stepping down when memory runs out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.errors import CheckpointError, MedurwkvError
from napari_medurwkv.inference.replay import Recordings, Replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from napari_medurwkv.inference.device import DeviceChoice

__all__ = ["MIRRORED", "Predictor", "evaluating"]

BATCH = {"cpu": 1, "mps": 4, "cuda": 16}
"""Windows at once: on the CPU more bring nothing, and one can be cancelled sooner."""
MIRRORED = ((), (-1,), (-2,), (-2, -1))
"""Test-time augmentation: as it is, and mirrored along either axis or both."""
MANY_BATCHES = 10
"""A recording costs as much time as a few batches."""
RECORDINGS = Recordings()
"""A warm engine meets the same network again and again."""


class Predictor:
    """Computes batches of windows.

    When a GPU runs out of memory, the batch is halved; at one window what comes out is
    kept on the host, which frees the sums' memory; then the network moves to the CPU.
    Each step is noted in `steps`, and nothing is computed twice but the batch that
    failed.

    Parameters
    ----------
    network : nn.Module
        Float32; it is moved to the device and stays there.
    choice : DeviceChoice
        Where to compute.
    outputs : int
        Channels that the output must have.
    flips : tuple of tuple of int
        Test-time augmentation: each window is computed once per entry, mirrored along
        those axes of it (negative numbers), and the results are averaged. By default
        it is computed once, as it is.
    expected : int
        Windows that are to come. Where they are many, a CUDA device replays a recording
        of the network instead of launching its kernels one by one.
    spread : callable, optional
        Makes one more channel of the answers to mirror images, such as
        `keep.disagreement`; it follows the outputs.

    compiled : bool or str
        Whether `torch.compile` makes the network quicker, or the name of a backend for
        it. Where it cannot, that is noted and the network computes as it is.

    Attributes
    ----------
    outputs, flips
        As given.
    device : str
        Where the network is now.
    batch : int
        Windows, mirrored ones counted, that are computed at once.
    steps : list of str
        What has been stepped down, for people.
    host : bool
        Whether results are brought to the host at once.
    """

    def __init__(
        self,
        network: nn.Module,
        choice: DeviceChoice,
        outputs: int,
        flips: tuple[tuple[int, ...], ...] = ((),),
        expected: int = 0,
        spread: Callable[[list[Tensor]], Tensor] | None = None,
        compiled: bool | str = False,
    ) -> None:
        self._network = network
        self._compiled: Callable[[Tensor], Any] | None = None
        self.steps: list[str] = []
        if compiled:
            backend = "inductor" if compiled is True else compiled
            try:
                self._compiled = torch.compile(network, backend=backend, dynamic=False)
            except Exception as error:  # a backend may be missing for any reason
                self._not_compiled(error)
        self.outputs = outputs
        self.flips = flips
        self._spread = spread if len(flips) > 1 else None
        self.device = choice.device
        self.host = False
        kind = choice.device.partition(":")[0]
        self.batch = BATCH[kind]
        self._half = kind == "cuda" and torch.cuda.is_bf16_supported()
        many = expected * len(flips) >= MANY_BATCHES * self.batch
        self._record = kind == "cuda" and many
        self._replay: Replay | None = None
        try:
            network.to(choice.device)
        except torch.OutOfMemoryError:
            self._to_cpu("the GPU had no memory for the network")

    @property
    def precision(self) -> str:
        """Numbers that most of the network computes with now."""
        return "bfloat16" if self._half else "float32"

    @property
    def compiled(self) -> bool:
        """Whether the network computes in compiled form."""
        return self._compiled is not None

    @property
    def windows_at_once(self) -> int:
        """How many windows a call should bring to fill a batch."""
        return max(1, self.batch // len(self.flips))

    def __call__(self, windows: list[Tensor]) -> Tensor:
        """Compute windows.

        Parameters
        ----------
        windows : list of Tensor
            Each of shape (channels, *patch), float32.

        Returns
        -------
        Tensor of float32, shape (windows, outputs, *patch)
            With `spread`, of one channel more.

        Raises
        ------
        CheckpointError
            If the output has not the shape that the card promises.
        MedurwkvError
            If the computer itself is out of memory.
        """
        if self.flips == ((),):
            return self._compute(windows)
        count = len(self.flips)
        mirrored = self._compute([w.flip(f) for w in windows for f in self.flips])
        each = mirrored.view(len(windows), count, *mirrored.shape[1:]).unbind(1)
        total = torch.zeros_like(each[0])
        back = []
        for one, flip in zip(each, self.flips, strict=True):
            total += one.flip(flip)
            if self._spread is not None:
                back.append(one.flip(flip))
        total.div_(count)
        return (
            total if self._spread is None else torch.cat([total, self._spread(back)], 1)
        )

    def to_host(self, reason: str) -> None:
        """Bring results to the host from now on, or, if they are, move to the CPU."""
        if self.host or self.device == "cpu":
            self._to_cpu(reason)
            return
        self.host = True
        self.steps.append(f"{reason}: windows are put together on the host")
        _empty_cache()

    def _compute(self, windows: list[Tensor]) -> Tensor:
        results: list[Tensor] = []
        left = list(windows)
        while left:
            part = left[: self.batch]
            problem = ""
            try:
                logits = self._forward(part)
                if self.host:
                    logits = logits.cpu()
                elif self._replay is not None and len(part) < len(windows):
                    logits = logits.clone()  # the next part overwrites it
                results.append(logits)
            except torch.OutOfMemoryError:
                problem = "memory"
            except (RuntimeError, NotImplementedError) as error:
                problem = self._explain(error)
            if not problem:
                left = left[len(part) :]
            elif problem == "memory" and len(part) > 1:
                self.batch = max(1, len(part) // 2)
                self._forget_replay()
                one = self.batch == 1
                count = "one window" if one else f"{self.batch} windows"
                self.steps.append(f"out of memory: {count} at once")
                _empty_cache()
            elif problem == "memory":
                results = [r.cpu() for r in results]
                self.to_host("out of memory with one window")
            else:
                self._to_cpu(problem)
        if len(results) == 1:
            return results[0]
        return torch.cat([r.to(results[-1].device) for r in results])

    def _forward(self, windows: list[Tensor]) -> Tensor:
        if self._record and len(windows) == self.batch and self._replay is None:
            self._start_replay(windows)
        if self._replay is not None:
            with torch.inference_mode():
                return self._replay(windows)
        if len(windows) == 1:
            batch = windows[0].to(self.device, non_blocking=True)[None]
        else:
            batch = torch.stack([w.to(self.device, non_blocking=True) for w in windows])
        logits = self._logits(batch)
        self._check(logits, batch)
        result: Tensor = logits.float()
        return result

    def _check(self, logits: Any, batch: Tensor) -> None:
        expected = (len(batch), self.outputs, *batch.shape[2:])
        shape = tuple(getattr(logits, "shape", ()))
        if shape != expected:
            raise CheckpointError(
                f"The network's output has the shape {shape}, the card promises "
                f"{expected}; network and card do not belong together."
            )

    def _logits(self, batch: Tensor) -> Any:
        context: Any = contextlib.nullcontext()
        if self._half:
            # Weights cast for one recording must not be kept for another.
            context = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)
        with torch.inference_mode(), context:
            if self._compiled is not None:
                try:
                    return self._compiled(batch)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:
                    # What is wrong with the network itself goes wrong again below.
                    self._not_compiled(error)
            return self._network(batch)

    def _not_compiled(self, error: Exception) -> None:
        self._compiled = None
        lines = str(error).strip().splitlines() or [type(error).__name__]
        self.steps.append(
            f"the network could not be compiled ({lines[0][:120]}): went on without"
        )

    def _start_replay(self, windows: list[Tensor]) -> None:
        """Record the network; a network that cannot be recorded is launched."""
        self._record = False
        batch = torch.stack([w.to(self.device) for w in windows])
        mode = f"{self.precision}, {self.compiled}"
        self._replay = RECORDINGS.find(self._network, batch, mode)
        if self._replay is not None:
            return
        RECORDINGS.forget(self._network)  # never two in memory
        self._check(self._logits(batch), batch)
        try:
            with torch.inference_mode():
                self._replay = Replay(self._logits, batch)
            RECORDINGS.keep(self._network, batch, mode, self._replay)
        except torch.OutOfMemoryError:
            self._record = True  # at a smaller batch
            raise
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            self.steps.append(f"the network could not be recorded ({reason})")

    def _forget_replay(self) -> None:
        self._replay = None
        RECORDINGS.forget(self._network)

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
        self.host = self._record = False
        self._forget_replay()
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
