"""The card refuses what contradicts itself, and says so in words."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from napari_medurwkv.checkpoints import ModelCard
from napari_medurwkv.checkpoints.problems import describe_problems

VOLUME = {
    "dimensions": 3,
    "channels": [{"name": "MR"}],
    "slice_axis": 0,
    "slice_context": 1,
    "orientation": "SPL",
    "spacing": [1.0, 1.0, 1.0],
}
INSIDE = {"inside_channel": 1, "boundary_channel": 2}


def problems(fields: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        ModelCard.model_validate(fields)
    return describe_problems(caught.value)


def test_valid_cards(fields: dict[str, Any]) -> None:
    flat = ModelCard.model_validate(fields)
    assert flat.network_channels == 3
    assert [c.name for c in flat.foreground] == ["nucleus"]
    volume = ModelCard.model_validate(fields | VOLUME)
    assert volume.network_channels == 3
    assert ModelCard.model_validate(fields | {"instances": INSIDE}).instances


def test_survives_json(card: ModelCard) -> None:
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert again == card
    # Tuples became lists at once, not only on the way through JSON.
    assert card.config["decoder_dims"] == [16, 16, 8]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output_values": [0, 1, 2]}, r"output values \[2\] have no class"),
        ({"output_values": [1]}, "softmax needs two or more outputs"),
        ({"slice_axis": 0}, "slice_axis belongs to 3D cards"),
        ({"dimensions": 3}, "slice_axis belongs to 3D cards"),
        ({"slice_context": 1}, "slice_context belongs to 3D cards only"),
        ({"orientation": "SPL"}, "orientation belongs to 3D cards only"),
        ({"spacing": [1.0]}, "one number per dimension"),
        ({"spacing": [1.0, 0.0]}, "spacing must be positive"),
        (VOLUME | {"channels": [{"name": "a"}, {"name": "b"}]}, "one-channel images"),
        ({"instances": INSIDE | {"boundary_channel": 3}}, "outputs that do not exist"),
        ({"instances": INSIDE | {"boundary_channel": 1}}, "outputs that do not exist"),
        ({"intensity": {"scale": "window", "low": 1.0}}, "window needs low < high"),
        (
            {"intensity": {"scale": "percentile", "low": 1, "high": 101}},
            "percentiles lie between 0 and 100",
        ),
        ({"intensity": {"scale": "dtype", "mean": float("nan")}}, "intensity.mean: "),
        ({"config": {"depth": 10**9}}, "config: .* up to 4096, not 1000000000"),
        ({"config": {"dims": [{"a": [5000]}]}}, "config: .* up to 4096, not 5000"),
        ({"config": {"dims": [[float("inf")]]}}, "config.*finite number"),
        ({"config": {"net": object()}}, "config"),
        ({"patch_size": [0, 64]}, "patch_size.0: "),
        ({"name": "../x"}, "name: "),
        ({"colour": 1}, "colour is no field of a card"),
    ],
)
def test_contradictions(fields: dict[str, Any], change: Any, said: str) -> None:
    text = problems(fields | change)
    assert re.search(said, text), text


@pytest.mark.parametrize(("field", "word"), [("value", "value"), ("name", "name")])
def test_classes_are_distinct(fields: dict[str, Any], field: str, word: str) -> None:
    fields["classes"][1][field] = fields["classes"][0][field]
    assert f"two classes share one {word}" in problems(fields)


def test_problems_name_the_fields_and_stay_short(fields: dict[str, Any]) -> None:
    del fields["title"]
    fields["classes"][0]["color"] = "red"
    text = problems(fields)
    assert "title is missing" in text
    assert "classes.0.color: " in text
    many = {f"{i}" + "x" * 1000: 1 for i in range(100)}
    assert problems(fields | many).endswith("and 97 more")
    assert len(problems(many)) < 1000


def test_frozen(card: ModelCard) -> None:
    with pytest.raises(ValidationError):
        card.name = "other"  # type: ignore[misc]


def test_every_field_is_documented() -> None:
    for name, field in ModelCard.model_fields.items():
        assert field.title, name
        assert field.description, name


def test_page_in_the_docs_is_what_the_schema_says() -> None:
    script = Path(__file__).parents[2] / "docs" / "make_model_card.py"
    module = runpy.run_path(str(script))
    assert module["PAGE"].read_text("utf-8") == module["page"]()
