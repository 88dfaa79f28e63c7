"""What is wrong with a card, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medurwkv.checkpoints.wording import listed, shortened

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["describe_problems"]

_MOST_PROBLEMS = 5


def describe_problems(error: ValidationError) -> str:
    """Say in words what is wrong with a card.

    Parameters
    ----------
    error : pydantic.ValidationError
        What the validation raised.

    Returns
    -------
    str
        At most five problems, each with its field, and how many more there are.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    problems = []
    for item in found:
        field = shortened(".".join(map(str, item["loc"]))) or "the card"
        if item["type"] == "missing":
            problems.append(f"{field} is missing")
        elif item["type"] == "extra_forbidden":
            problems.append(f"{field} is no field of a card")
        else:
            problems.append(f"{field}: {item['msg'].removeprefix('Value error, ')}")
    return listed(problems, "; ", _MOST_PROBLEMS)
