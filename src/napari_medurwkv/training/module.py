"""What Lightning trains: network, averaged weights, loss, schedule and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from napari_medurwkv.training.config import ConfigError
from napari_medurwkv.training.losses import SegmentationLoss
from napari_medurwkv.training.schedule import Budget, learning_rate, parameter_groups

if TYPE_CHECKING:
    from torch import Tensor

    from napari_medurwkv.training.config import TrainConfig
    from napari_medurwkv.training.validation import Validator

__all__ = ["SegmentationModule"]


class _Average:
    """Exponential moving average of weights that trusts the first steps less."""

    def __init__(self, network: nn.Module, averaged: nn.Module, decay: float) -> None:
        current = [*network.parameters(), *network.buffers()]
        old = [*averaged.parameters(), *averaged.buffers()]
        floats = [tensor.is_floating_point() for tensor in current]
        self._current = [t.detach() for t, f in zip(current, floats, strict=True) if f]
        self._old = [t.detach() for t, f in zip(old, floats, strict=True) if f]
        self._decay = decay

    @torch.no_grad()
    def __call__(self, updates: int) -> None:
        """Take in the network's weights after `updates` steps."""
        # Counters of batch norm are left: whoever reads them measures anew anyway.
        weight = 1 - min(self._decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(self._old, self._current, weight)


class SegmentationModule(lightning.LightningModule):
    """Network, loss, optimiser and validation of one run.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (B, C, H, W) to logits (B, outputs, H, W).
    config : TrainConfig
        The run's settings.
    outputs : int
        Channels of the logits.
    validator : Validator
        Measures the network on images that it does not train on.
    frozen : frozenset of str
        Parameters of the network that stay fixed for the first part of the budget.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrainConfig,
        outputs: int,
        validator: Validator,
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = SegmentationLoss(outputs, config.class_weights)
        self.averaged: AveragedModel | None = None
        if config.optimiser.ema is not None:
            self.averaged = AveragedModel(network, use_buffers=True)
        self._average: _Average | None = None
        self._config = config
        self._validator = validator
        self._frozen = frozen
        self._spent = 0.0
        self._budget = Budget(config.budget)
        self._fraction = 0.0
        self._captured = False

    @property
    def best_network(self) -> nn.Module:
        """The averaged network where there is one, else the trained one."""
        if self.averaged is None:
            return self.network
        module: nn.Module = self.averaged.module
        return module

    @property
    def hours(self) -> float:
        """Wall time of the run, with that before a resumption."""
        return self._budget.seconds / 3600

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make AdamW; the learning rate is set before every step."""
        settings = self._config.optimiser
        return torch.optim.AdamW(
            parameter_groups(self.network, settings.weight_decay),
            lr=settings.lr,
            betas=settings.betas,
            # A fused step would unscale by itself, before gradients are clipped.
            fused=self._config.precision != "16-mixed",
        )

    def on_fit_start(self) -> None:
        """Start the clock."""
        self._budget = Budget(self._config.budget, self._spent)

    def on_train_start(self) -> None:
        """Pair weights with their averages; both are on their device by now."""
        decay = self._config.optimiser.ema
        if self.averaged is not None and decay is not None:
            # torch's own update asks the device how often it ran, and waits for it.
            self._average = _Average(self.network, self.averaged.module, decay)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate that the spent part of the budget means."""
        fraction = self._budget.fraction(self.global_step)
        # Clocks differ; processes whose rates differ would drift apart.
        fraction = self.trainer.strategy.broadcast(fraction)
        self._fraction = fraction
        rate = learning_rate(fraction, self._config.optimiser)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        self._hold_statistics()

    def _freezing(self) -> bool:
        return bool(self._frozen) and self._fraction < self._config.encoder.freeze

    def _hold_statistics(self) -> None:
        """Keep the running statistics of frozen batch norms as they are."""
        for name, part in self.network.named_modules():
            if f"{name}.weight" in self._frozen and hasattr(part, "running_mean"):
                part.train(not self._freezing())

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of crops."""
        if self._config.cuda_graphs and not self._captured:
            self._capture(batch["image"])
        loss: Tensor = self.loss(self.network(batch["image"]), batch["target"])
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log("loss", loss.detach(), prog_bar=True)
        self.log("rate", rate)
        self.log("spent", self._fraction, prog_bar=True)
        return loss

    def _capture(self, image: Tensor) -> None:
        """Have the network's training passes replayed, for batches like this one."""
        if not image.is_cuda or self.trainer.world_size > 1:
            raise ConfigError(
                "cuda_graphs needs one NVIDIA GPU: leave it out of the configuration."
            )
        # A weight cast once, outside the graph, would stay as it is now.
        with torch.autocast(
            "cuda",
            dtype=torch.get_autocast_dtype("cuda"),
            enabled=torch.is_autocast_enabled("cuda"),
            cache_enabled=False,
        ):
            torch.cuda.make_graphed_callables(self.network, (image.clone(),))
        self._captured = True

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take frozen tensors out of the step.

        Without a gradient AdamW neither moves nor decays them; gradients stay on all
        along, so that processes which train together agree on what they exchange.
        """
        if self._freezing():
            for name, parameter in self.network.named_parameters():
                if name in self._frozen:
                    parameter.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient."""
        nn.utils.clip_grad_norm_(self.network.parameters(), self._config.optimiser.clip)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Average the weights; end the run when its budget is spent."""
        if self._average is not None:
            self._average(self.global_step)
        spent = self._budget.fraction(self.global_step) >= 1
        if self.trainer.strategy.reduce_boolean_decision(spent, all=False):
            self.trainer.should_stop = True

    def validation_step(self, batch: int, batch_idx: int) -> None:
        """Measure the best network on one validation image."""
        # Users' runs on the CPU are in full precision, and so are the figures.
        with torch.autocast(self.device.type, enabled=False):
            figures = self._validator.measure(self.best_network, batch)
        for name, value in figures.items():
            short = "/" not in name
            self.log(f"val/{name}", value, batch_size=1, sync_dist=True, prog_bar=short)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time that the run took so far."""
        checkpoint["seconds"] = self._budget.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the clock where the run stopped."""
        self._spent = checkpoint["seconds"]
