from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from napari_medurwkv.errors import ImageError
from napari_medurwkv.training import TrainConfig
from napari_medurwkv.training.config import PairedData
from napari_medurwkv.training.data import CropStream, read_pairs, split_pairs

from .conftest import card_values, settings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.checkpoints import ModelCard


def paired(folder: Path, **changes: object) -> PairedData:
    values = {"images": folder / "images", "labels": folder / "labels"}
    return PairedData.model_validate({**values, "validation": 0.25, **changes})


def card_of(config: TrainConfig) -> ModelCard:
    return config.model_card(metrics=(), training="", date=datetime.date(2020, 1, 1))


def test_reading_keeps_grey_colour_and_wide_labels(discs: Path) -> None:
    pairs = read_pairs(paired(discs))
    assert [pair.name for pair in pairs] == [str(i) for i in range(8)]
    assert pairs[0].image.shape == (96, 80)
    assert pairs[7].image.shape == (96, 80, 3)
    assert pairs[0].labels.max() > 255
    assert pairs[0].kind == "grey-dark"
    assert pairs[7].kind == "colour-bright"


def test_alpha_is_dropped_and_grey_in_colour_is_grey(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    rgba = np.dstack([grey, grey, grey, 255 - grey])
    imageio.imwrite(tmp_path / "images" / "a.png", rgba)
    imageio.imwrite(tmp_path / "labels" / "a.png", grey)
    (pair,) = read_pairs(paired(tmp_path))
    np.testing.assert_array_equal(pair.image, grey)


def test_suffixes_find_the_partner(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    imageio.imwrite(tmp_path / "images" / "a_img.png", np.eye(8, dtype=np.uint8))
    imageio.imwrite(tmp_path / "labels" / "a_mask.tif", np.eye(8, dtype=np.uint8))
    data = paired(tmp_path, image_suffix="_img.png", label_suffix="_mask.tif")
    assert [pair.name for pair in read_pairs(data)] == ["a"]


def test_wrong_folders_are_refused(discs: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No image"):
        read_pairs(paired(tmp_path))
    with pytest.raises(ImageError, match=r"has no labels: 0_mask\.png"):
        read_pairs(paired(discs, label_suffix="_mask.png"))
    for name, shape in (("images", (8, 8)), ("labels", (8, 9))):
        (tmp_path / name).mkdir()
        imageio.imwrite(tmp_path / name / "a.png", np.zeros(shape, np.uint8))
    with pytest.raises(ImageError, match=r"\(8, 9\)"):
        read_pairs(paired(tmp_path))


def test_the_split_is_by_image_disjoint_and_the_same_again(discs: Path) -> None:
    pairs = read_pairs(paired(discs))
    train, held = split_pairs(pairs, paired(discs))
    names = {pair.name for pair in train}, {pair.name for pair in held}
    assert not names[0] & names[1]
    assert names[0] | names[1] == {pair.name for pair in pairs}
    assert {pair.kind for pair in held} == {"grey-dark", "colour-bright"}
    again = split_pairs(list(reversed(pairs)), paired(discs))
    assert names[1] == {pair.name for pair in again[1]}
    others = {
        frozenset(p.name for p in split_pairs(pairs, paired(discs, split_seed=s))[1])
        for s in range(8)
    }
    assert len(others) > 1


def test_the_stream_repeats_and_differs_after_resuming(discs: Path) -> None:
    config = TrainConfig.model_validate(settings(discs, crop=64))
    pairs = read_pairs(paired(discs))

    def first(**start: int) -> torch.Tensor:
        stream = CropStream(pairs, config, card_of(config), balance=0.5, **start)
        return next(iter(stream))["image"]

    sample = next(iter(CropStream(pairs, config, card_of(config), balance=0.5)))
    assert sample["image"].shape == (3, 64, 64)
    assert sample["image"].dtype == torch.float32
    assert sample["target"].shape == (64, 64)
    assert sample["target"].dtype == torch.int64
    torch.testing.assert_close(first(), sample["image"])
    assert not torch.equal(first(start=10), sample["image"])
    assert not torch.equal(first(rank=1), sample["image"])


def test_balance_brings_rare_kinds_forward(discs: Path) -> None:
    config = TrainConfig.model_validate(settings(discs, crop=32))
    pairs = read_pairs(paired(discs))

    def colour_share(balance: float) -> float:
        stream = CropStream(pairs, config, card_of(config), balance=balance)
        crops = iter(stream)
        tinted = [
            float(next(crops)["image"].std(dim=0).max()) > 1e-3 for _ in range(120)
        ]
        return sum(tinted) / len(tinted)

    assert colour_share(0.0) < 0.42 < colour_share(1.0)


def test_without_augmentation_input_is_what_inference_computes(discs: Path) -> None:
    """The card's recipe, not a likeness of it."""
    from napari_medurwkv.inference.intensity import fit_intensity

    names = "flip quarter_turns affine gain gamma invert shuffle colour tint noise blur"
    still = dict.fromkeys(names.split(), 0)
    config = TrainConfig.model_validate(settings(discs, augment=still, crop=64))
    card = card_of(config)
    pair = read_pairs(paired(discs))[0]
    image = fit_intensity(card.intensity, pair.image, planes=False).apply(pair.image)
    crop = next(iter(CropStream([pair], config, card, balance=0)))["image"][0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(image, (64, 64))
    # Crops are kept in half precision: a thousandth of the range, here of four units.
    assert np.abs(windows - crop).max(axis=(2, 3)).min() < 0.005


def test_a_colour_image_for_a_grey_card_is_refused(discs: Path) -> None:
    card = card_values(channels=[{"name": "grey"}], repeat_grey=False)
    network = {"name": "med_urwkv_nano", "config": {"num_classes": 3, "in_channels": 1}}
    config = TrainConfig.model_validate(settings(discs, card=card, model=network))
    with pytest.raises(ImageError, match="6 has 3 channel"):
        CropStream(read_pairs(paired(discs)), config, card_of(config), balance=0.5)


def test_held_back_images_are_never_trained_on(discs: Path) -> None:
    pairs = read_pairs(paired(discs))
    train, _ = split_pairs(pairs, paired(discs))
    name = train[0].name
    train, held = split_pairs(pairs, paired(discs, held_back=[name]))
    assert name not in {pair.name for pair in train}
    assert name in {pair.name for pair in held}
    with pytest.raises(ImageError, match="nobody"):
        split_pairs(pairs, paired(discs, held_back=["nobody"]))
