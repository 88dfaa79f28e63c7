"""Write docs/model-card.md from the schema, so that the page is never out of date.

python docs/make_model_card.py
"""

from __future__ import annotations

import datetime
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined

from napari_medurwkv.checkpoints import (
    ClassInfo,
    CodedConcept,
    DataSource,
    InputChannel,
    InstanceRecipe,
    IntensityRecipe,
    Metric,
    ModelCard,
)

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

PAGE = Path(__file__).with_name("model-card.md")
PARTS = (
    InputChannel,
    IntensityRecipe,
    ClassInfo,
    CodedConcept,
    InstanceRecipe,
    DataSource,
    Metric,
)
WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dict: "object",
    datetime.date: "date",
}
INTRODUCTION = """\
# Model card

<!-- Written by docs/make_model_card.py; change the schema, not this page. -->

Every checkpoint carries this card as JSON in its header (see
[Checkpoints](checkpoints.md)). It is what loading checks, what the panel shows and what
this page lists. Unknown fields are refused, and so are NaN and infinity.
"""


def kind_of(annotation: Any) -> str:
    """Say in words what a field holds."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind_of(inner[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, UnionType):
        kinds = [kind_of(part) for part in inner if part is not NoneType]
        return ", ".join(kinds) + (" or nothing" if NoneType in inner else "")
    if origin is tuple:
        if inner[1:] == (Ellipsis,):
            return f"list of {kind_of(inner[0])}"
        return f"{len(inner)} × {kind_of(inner[0])}"
    if annotation in PARTS:
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return WORDS[origin or annotation]


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, "") or field.default is PydanticUndefined:
        return "empty"
    if isinstance(field.default, bool):
        return "true" if field.default else "false"
    return f"`{field.default}`"


def table(schema: type[BaseModel]) -> str:
    """Write one schema as a section with a table of its fields."""
    rows = [
        f"## {schema.__name__}",
        "",
        (schema.__doc__ or "").split("\n\n")[0],
        "",
        "| field | title | holds | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, field in schema.model_fields.items():
        cells = (
            f"`{name}`",
            field.title,
            kind_of(field.annotation),
            default_of(field),
            field.description,
        )
        rows.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(table(schema) for schema in (ModelCard, *PARTS))])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
