"""From network outputs to probabilities of mask values, and from those to the mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.checkpoints import ModelCard

__all__ = ["Decision", "label_dtype"]


def label_dtype(card: ModelCard) -> np.dtype[Any]:
    """Return the smallest type that holds every class value of the card."""
    largest = max(c.value for c in card.classes)
    return np.dtype(np.uint8 if largest <= 255 else np.uint16)


class Decision:
    """How a card's outputs become a mask.

    Parameters
    ----------
    card : ModelCard
        Names the activation, the threshold and the mask value of each output.
    interpolated : bool
        Whether the scores are interpolated before the decision: then they have to be
        probabilities, because logits do not average.
    inside : bool
        Whether the probability of object interiors is wanted as well.
    disagreement : bool
        Whether a further channel after the network's outputs says how far the answers
        to mirror images are apart; it is passed through.

    Attributes
    ----------
    softmax : bool
        Whether the mask values exclude each other.
    threshold : float
        Used where they do not.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        interpolated: bool,
        inside: bool,
        disagreement: bool = False,
    ) -> None:
        self.softmax = self._softmax = card.activation == "softmax"
        self.threshold = self._threshold = card.threshold
        self._disagreement = disagreement
        self._outputs = card.output_values
        self._values = sorted(set(card.output_values))
        self._dtype = label_dtype(card)
        # torch computes little with uint16.
        self._type = torch.uint8 if self._dtype == np.uint8 else torch.int32
        self._inside = None
        if inside and card.instances is not None:
            self._inside = card.instances.inside_channel
        distinct = len(self._values) == len(self._outputs)
        # The largest logit is the largest probability: nothing else is asked here.
        self._plain = (
            self._softmax
            and distinct
            and not interpolated
            and self._inside is None
            and list(self._outputs) == self._values
        )
        self._table = np.array(self._values, self._dtype)

    @property
    def values(self) -> tuple[int, ...]:
        """The mask values that have a score, ascending."""
        return tuple(self._values)

    @property
    def channels(self) -> int:
        """How many scores there are of each pixel."""
        return len(self._values) + (self._inside is not None) + self._disagreement

    @property
    def direct(self) -> NDArray[Any] | None:
        """Mask value of each output, where the largest logit decides; else None."""
        return self._table if self._plain else None

    def scores(self, logits: Tensor) -> Tensor:
        """Turn logits into scores per mask value.

        Parameters
        ----------
        logits : Tensor of float32, shape (outputs, rows, columns)
            Averages over windows.

        Returns
        -------
        Tensor of float32, shape (scores, rows, columns)
            One per mask value, ascending; then, if it was asked for, the probability
            of object interiors; then, if it came, the disagreement.
        """
        if self._plain:
            return logits
        further = logits[len(self._outputs) :]
        logits = logits[: len(self._outputs)]
        each = logits.softmax(0) if self._softmax else logits.sigmoid()
        merged = []
        for value in self._values:
            same = [i for i, v in enumerate(self._outputs) if v == value]
            merged.append(each[same].sum(0) if len(same) > 1 else each[same[0]])
        if self._inside is not None:
            merged.append(each[self._inside])
        scores = torch.stack(merged)
        return torch.cat([scores, further]) if self._disagreement else scores

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probability of each mask value, ascending.

        Parameters
        ----------
        scores : Tensor, shape (scores, rows, columns)
            From `scores`, perhaps interpolated.
        """
        own = scores[: len(self._values)]
        return own.softmax(0) if self._plain else own

    def disagreement(self, scores: Tensor) -> Tensor | None:
        """Return the disagreement of each pixel; None where it was not asked for."""
        return scores[-1] if self._disagreement else None

    def choose(self, scores: Tensor) -> Tensor:
        """Choose the mask value of each pixel, where the scores lie.

        softmax: the value with the largest score. sigmoid: among the values other than
        0, the one with the largest score, where that exceeds the threshold.

        Parameters
        ----------
        scores : Tensor, shape (scores, rows, columns)
            From `scores`, perhaps interpolated.

        Returns
        -------
        Tensor of uint8 or int32, shape (rows, columns)
        """
        count = len(self._values)
        if self._softmax:
            if count == 2:
                return self._lookup((scores[1] > scores[0]).to(torch.uint8), 0)
            # On the CPU, max is many times faster than argmax; both take the first.
            return self._lookup(scores[:count].max(0).indices, 0)
        first = 1 if self._values[0] == 0 else 0
        if first == count:
            return torch.zeros(scores.shape[1:], dtype=self._type, device=scores.device)
        largest, best = scores[first:count].max(0)
        chosen = self._lookup(best, first)
        chosen[largest <= self._threshold] = 0
        return chosen

    def labels(self, scores: Tensor) -> NDArray[Any]:
        """Choose as `choose`; an array of uint8 or uint16 on the host."""
        labels: NDArray[Any] = self.choose(scores).cpu().numpy()
        return labels.astype(self._dtype, copy=False)

    def _lookup(self, best: Tensor, first: int) -> Tensor:
        values = self._values[first:]
        if values == list(range(len(values))):
            return best.to(self._type)
        table = torch.tensor(values, dtype=self._type, device=best.device)
        return table[best.long()]

    def inside_steps(self, scores: Tensor) -> Tensor | None:
        """Return the interior probability in 255 steps, where the scores lie."""
        if self._inside is None:
            return None
        return (scores[len(self._values)] * 255).round_().to(torch.uint8)

    def inside(self, scores: Tensor) -> NDArray[np.uint8]:
        """Return the interior probability of each pixel in 255 steps, on the host."""
        steps = self.inside_steps(scores)
        if steps is None:
            raise ValueError("nobody asked for interiors")
        return np.asarray(steps.cpu().numpy())
