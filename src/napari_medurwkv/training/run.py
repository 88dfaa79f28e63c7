"""From a configuration to a checkpoint with its card."""

from __future__ import annotations

import datetime
import logging
import warnings
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from napari_medurwkv.checkpoints.card import Metric
from napari_medurwkv.training.config import (
    ConfigError,
    PairedData,
    TrainConfig,
    read_config,
)
from napari_medurwkv.training.data import CropStream, read_pairs, split_pairs
from napari_medurwkv.training.module import SegmentationModule
from napari_medurwkv.training.pace import Pace
from napari_medurwkv.training.statistics import refresh_batch_norm
from napari_medurwkv.training.validation import (
    Numbers,
    PairedValidator,
    SampleValidator,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn
    from torch.utils.data import IterableDataset

    from napari_medurwkv.checkpoints.card import ModelCard
    from napari_medurwkv.training.validation import Validator

__all__ = ["train"]

_STATISTICS_BATCHES = 30
_TITLES = {"dice": "Dice", "aji": "AJI"}


class RunData(lightning.LightningDataModule):
    """The stream of crops and the images to validate on.

    Parameters
    ----------
    config : TrainConfig
        The run's settings.
    card : ModelCard
        Recipe and classes.
    """

    def __init__(self, config: TrainConfig, card: ModelCard) -> None:
        super().__init__()
        self._config = config
        self._card = card
        self.everything = False
        self.validator: Validator
        self._crops: CropStream | None = None
        if isinstance(config.data, PairedData):
            pairs = read_pairs(config.data)
            self._train, held = split_pairs(pairs, config.data)
            self.used = f"{len(self._train)} images"
            self.validator = PairedValidator(
                held, card, instances=config.target == "instance-boundary"
            )
        else:
            from napari_medurwkv.training.template import load_brain_template

            self._template = load_brain_template(config.data.folder)
            self.used = "synthetic slices without end"
            wanted = config.validation.final_images or config.validation.images
            stream = iter(self._slices(seed=config.seed + 1_000_003))
            self.validator = SampleValidator(
                [next(stream) for _ in range(wanted)], card
            )

    def _slices(self, seed: int) -> IterableDataset[dict[str, Tensor]]:
        from napari_medurwkv.training.synthesis import SynthesisConfig, TemplateSlices

        crop = self._config.crop
        return TemplateSlices(
            self._template,
            (crop, crop),
            self._card.intensity,
            SynthesisConfig(**self._config.data.settings),  # type: ignore[union-attr]
            seed=seed,
            spacing=self._card.spacing or (1.0, 1.0, 1.0),
        )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Endless batches; another stream for every process and resumption."""
        config = self._config
        start, rank = 0, 0
        if self.trainer is not None:
            start, rank = self.trainer.global_step, self.trainer.global_rank
        stream: IterableDataset[dict[str, Tensor]]
        if isinstance(config.data, PairedData):
            if self._crops is None:
                self._crops = CropStream(
                    self._train, config, self._card, config.data.balance, rank=rank
                )
            stream = self._crops.begun_at(start)
        else:
            stream = self._slices(seed=config.seed + 7919 * start + 101 * rank)
        return DataLoader(
            stream,
            batch_size=config.batch,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            prefetch_factor=4 if config.workers else None,
            pin_memory=torch.cuda.is_available() and config.accelerator != "cpu",
            worker_init_fn=_one_thread,
        )

    def val_dataloader(self) -> DataLoader[int]:
        """Numbers of validation images: some while training, more at the end."""
        settings = self._config.validation
        wanted = settings.final_images if self.everything else settings.images
        return DataLoader(
            Numbers(spread(len(self.validator), wanted)), collate_fn=_first
        )


def _one_thread(worker: int) -> None:
    # Processes share the cores already; threads of their own would only get in the way.
    torch.set_num_threads(1)


def _first(batch: list[int]) -> int:
    return batch[0]


def train(
    config: TrainConfig | str | Path,
    output: str | Path,
    *,
    resume: bool = False,
    network: nn.Module | None = None,
    progress: bool = True,
) -> Path:
    """Train a network and write its checkpoint.

    Parameters
    ----------
    config : TrainConfig or path
        Settings, or the YAML file that holds them.
    output : path
        Folder of the run: ``last.ckpt`` to resume from, ``curves`` with the figures
        as CSV, ``config.yaml`` as it was used, and ``<card name>.safetensors``.
    resume : bool
        Go on from ``last.ckpt``; a run whose budget is spent is only measured and
        written again.
    network : torch.nn.Module, optional
        Train this one instead of the configuration's, for comparisons. No checkpoint
        can describe it: it is measured, and holds the weights that would be written.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The checkpoint; ``last.ckpt`` where `network` was given.

    Raises
    ------
    ConfigError
        The configuration is wrong, the folder holds another run, or there is nothing
        to resume.
    ImageError
        Images and labels do not fit together.
    """
    if not isinstance(config, TrainConfig):
        config = read_config(config)
    output = Path(output)
    last = output / "last.ckpt"
    if resume and not last.is_file():
        raise ConfigError(
            f"There is nothing to resume in {output}: it has no last.ckpt."
        )
    if not resume and last.is_file():
        raise ConfigError(
            f"The folder {output} holds a run already: resume it, or name another."
        )
    output.mkdir(parents=True, exist_ok=True)
    _keep_config(config, output / "config.yaml")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    lightning.seed_everything(config.seed, workers=True, verbose=False)

    card = config.model_card(metrics=(), training="", date=_today())
    data = RunData(config, card)
    frozen: frozenset[str] = frozenset()
    trained = network
    if trained is None:
        trained, frozen = _network(config, card)
    module = SegmentationModule(
        trained, config, len(card.output_values), data.validator, frozen
    )
    trainer = _trainer(config, output, progress=progress)
    with _quiet():
        trainer.fit(
            module, data, ckpt_path=last if resume else None, weights_only=False
        )
        trainer.save_checkpoint(last)
        path = output / f"{card.name}.safetensors"
        writes = network is None and trainer.is_global_zero
        if writes:
            # Whoever is stopped while measuring has the weights all the same.
            _write(path, module, data, config, {}, trainer.global_step)
        _refresh(module, data)
        data.everything = True
        (figures,) = trainer.validate(module, data, verbose=False)
    if network is not None:
        network.load_state_dict(module.best_network.state_dict())
        return last
    if writes:
        _write(path, module, data, config, figures, trainer.global_step)
    return path


def _today() -> datetime.date:
    return datetime.datetime.now(tz=datetime.UTC).date()


def _keep_config(config: TrainConfig, path: Path) -> None:
    import yaml

    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    path.write_text(text, encoding="utf-8")


def _network(config: TrainConfig, card: ModelCard) -> tuple[nn.Module, frozenset[str]]:
    """Create the network; name the parameters that its encoder's file filled."""
    from napari_medurwkv.models import create_model

    given = {
        "num_classes": len(card.output_values),
        "in_channels": card.network_channels,
    }
    network = create_model(config.model.name, **{**given, **config.model.config})
    if config.model.start is not None:
        _begin_with(network, config.model.start)
    if config.encoder.checkpoint is None:
        return network, frozenset()
    from napari_medurwkv.training.encoder import fill_encoder

    return network, fill_encoder(network, config.encoder.checkpoint)


def _begin_with(network: nn.Module, path: Path) -> None:
    """Give a network the weights of a checkpoint of the very same one."""
    from napari_medurwkv.checkpoints import load_model

    wanted = {key: value.shape for key, value in network.state_dict().items()}
    state = load_model(path).network.state_dict()
    if wanted != {key: value.shape for key, value in state.items()}:
        raise ConfigError(
            f"The run cannot start from {path.name}: it holds another network than "
            "model.name and model.config describe."
        )
    network.load_state_dict(state)


def _trainer(config: TrainConfig, output: Path, *, progress: bool) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision,
        max_steps=config.budget.steps or -1,
        max_epochs=-1,
        val_check_interval=config.validation.every_steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=True,
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=20,
        logger=CSVLogger(output, name="curves", flush_logs_every_n_steps=20),
        benchmark=True,  # crops are all of one size
        callbacks=[
            *([TQDMProgressBar(refresh_rate=50)] if progress else []),
            Pace(config.batch),
            ModelCheckpoint(
                dirpath=output,
                filename="last",
                every_n_train_steps=max(config.validation.every_steps // 4, 1),
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            ),
        ],
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence advice of Lightning's that does not fit: the crops have no end."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for advice in (
            ".*does not have many workers.*",
            ".*ended before the epoch ended.*",
            ".*exists and is not empty.*",
            ".*mid-epoch.*",
            ".*LeafSpec.*",
            ".*AccumulateGrad node's stream.*",
        ):
            warnings.filterwarnings("ignore", message=advice)
        yield
    logger.setLevel(level)


def _refresh(module: SegmentationModule, data: RunData) -> None:
    """Give the weights that are kept batch-norm statistics of their own."""
    network = module.best_network
    device = next(network.parameters()).device
    loader = islice(data.train_dataloader(), _STATISTICS_BATCHES)
    refresh_batch_norm(network, (batch["image"].to(device) for batch in loader))


def _write(
    path: Path,
    module: SegmentationModule,
    data: RunData,
    config: TrainConfig,
    figures: Any,
    steps: int,
) -> None:
    from napari_medurwkv.checkpoints import save_checkpoint

    metrics = []
    for key, value in figures.items():
        name, _, of = key.removeprefix("val/").partition("/")
        metrics.append(
            Metric(
                name=_TITLES.get(name, name),
                value=round(float(value), 4),
                data=data.validator.data,
                class_name=of,
            )
        )
    card = config.model_card(
        metrics=tuple(metrics),
        training=_story(config, data, steps, module.hours),
        date=_today(),
    )
    save_checkpoint(path, module.best_network, card, dtype="float16")


def _story(config: TrainConfig, data: RunData, steps: int, hours: float) -> str:
    s = config.optimiser
    start = "random weights"
    if config.encoder.checkpoint is not None:
        start = f"the encoder of {config.encoder.checkpoint.name}"
    elif config.model.start is not None:
        start = f"the weights of {config.model.start.name}"
    average = f", weights averaged with decay {s.ema}" if s.ema else ""
    return (
        f"From {start} on {data.used}: {steps} steps of {config.batch} crops of "
        f"{config.crop} x {config.crop} pixels, {config.precision}, {hours:.1f} h on "
        f"{torch.get_num_threads()} thread(s) or one accelerator; cross-entropy and "
        f"soft Dice in equal parts, AdamW with lr {s.lr:g} and weight decay "
        f"{s.weight_decay:g}, polynomial schedule of power {s.power:g}{average}; "
        f"target {config.target}; seed {config.seed}."
    )
