"""Vision-RWKV and VRWKV6 as the image classifiers that were published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timm.layers import trunc_normal_
from torch import Tensor, nn

from napari_medurwkv.models.blank import is_blank
from napari_medurwkv.models.config_published import VRWKV6ClassifierConfig
from napari_medurwkv.models.vrwkv import VRWKV, VRWKV6

if TYPE_CHECKING:
    from napari_medurwkv.models.config_published import ClassifierConfig

__all__ = ["Classifier"]


class LinearHead(nn.Module):
    """One linear layer, under the name that the published files give it."""

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, labels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C) to logits (B, labels)."""
        out: Tensor = self.fc(features)
        return out


class Classifier(nn.Module):
    """An encoder, the mean over its last map, and a head.

    Parameters
    ----------
    config : ClassifierConfig or VRWKV6ClassifierConfig
        Sizes and variants.

    Notes
    -----
    ``forward`` maps an image (B, channels, H, W) of any height and width to logits
    (B, labels). The images of the published weights are RGB, in multiples of the
    standard deviation (0.229, 0.224, 0.225) from the mean (0.485, 0.456, 0.406).
    """

    def __init__(self, config: ClassifierConfig | VRWKV6ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        sixth = isinstance(config, VRWKV6ClassifierConfig)
        self.backbone = (VRWKV6 if sixth else VRWKV)(config)
        dim, hidden = config.embed_dim, config.head_hidden
        self.head: nn.Module
        if hidden:
            self.head = nn.Sequential(
                nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, config.num_labels)
            )
        else:
            self.head = LinearHead(dim, config.num_labels)
        for layer in self.head.modules():
            if isinstance(layer, nn.Linear) and not is_blank():
                trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of an image; see the notes of the class."""
        out: Tensor = self.head(self.backbone(image)[-1].mean((2, 3)))
        return out
