"""What the user has set in napari's preferences."""

from __future__ import annotations

from dataclasses import dataclass

from napari.settings import get_plugin_settings

__all__ = ["PLUGIN", "Preferences", "read_preferences"]

PLUGIN = "napari-medurwkv"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The values of the manifest's configuration, in the program's own terms.

    Attributes
    ----------
    device : str
        "auto", "cpu", "cuda" or "mps".
    overlap : float or None
        Of neighbouring windows; None takes the card's.
    keep_partial : bool
        Whether a cancelled run leaves its finished part.
    default_model : str
        Name of the model chosen at the start; "" chooses by dimensions.
    """

    device: str = "auto"
    overlap: float | None = None
    keep_partial: bool = True
    default_model: str = ""


def read_preferences() -> Preferences:
    """Read the current values; the defaults where the plugin is not registered.

    A panel may be built by a script without the manifest; then there is nothing to
    read.
    """
    stored = get_plugin_settings().get(PLUGIN)
    if stored is None:
        return Preferences()
    chosen = stored.segmentation
    return Preferences(
        device=chosen.device,
        overlap=None if chosen.overlap == "card" else float(chosen.overlap),
        keep_partial=chosen.keep_partial,
        default_model=chosen.default_model.strip(),
    )
