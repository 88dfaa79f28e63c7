from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from napari_medurwkv.training import ConfigError, TrainConfig, read_config
from napari_medurwkv.training.config import PairedData

from .conftest import card_values, settings

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks" / "train"


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "path", sorted(BENCHMARKS.glob("*.yaml")), ids=lambda p: p.stem
)
def test_committed_configurations_are_valid(path: Path) -> None:
    assert read_config(path).card["name"] == path.stem.removesuffix(
        "-first"
    ).removesuffix("-unet")


def test_relative_folders_start_at_the_configuration(tmp_path: Path) -> None:
    values = settings(Path("some"))
    data = read_config(written(tmp_path, values)).data
    assert isinstance(data, PairedData)
    assert data.images == tmp_path / "some" / "images"


def test_a_misspelt_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batchsize"):
        read_config(written(tmp_path, settings(tmp_path, batchsize=3)))


def test_a_misspelt_card_field_is_named(tmp_path: Path) -> None:
    values = settings(tmp_path, card=card_values(lisence="MIT"))
    with pytest.raises(ConfigError, match="lisence"):
        read_config(written(tmp_path, values))


def test_a_missing_file_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1, 2", encoding="utf-8")
    with pytest.raises(ConfigError, match="no valid YAML"):
        read_config(broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {}}, "steps, minutes or both"),
        (
            {"model": {"name": "med_urwkv_nano", "config": {"num_classes": 4}}},
            "num_classes is 4",
        ),
        ({"class_weights": [1.0, 2.0]}, "class_weights needs 3"),
        ({"card": card_values(instances=None)}, "three outputs and instances"),
        (
            {
                "card": card_values(
                    instances={"inside_channel": 2, "boundary_channel": 1}
                )
            },
            "inside to output 1",
        ),
        ({"target": "semantic"}, "output values all differ"),
        (
            {"card": card_values(dimensions=3, slice_axis=0)},
            "2D images, but the card is 3D",
        ),
        ({"augment": {"zoom": [1.5, 0.7]}}, "zoom has to be"),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(written(tmp_path, settings(tmp_path, **changes)))


def test_a_configuration_survives_being_written(tmp_path: Path) -> None:
    config = TrainConfig.model_validate(settings(tmp_path))
    again = read_config(written(tmp_path, config.model_dump(mode="json")))
    assert again == config
