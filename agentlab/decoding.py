"""From logits to the next token: temperature, top-k, top-p, min-p and the repetition penalty.

Each function takes what the model says about one position, logits or probabilities of shape (V,), and returns the same
shape. `pick` puts them together as a `Decoding` says. Beam search lives in `agentlab.language`, since it needs the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from agentlab.errors import AgentLabError


class LanguageError(AgentLabError):
    """A request to a language model that cannot be met, or a model that cannot be reached."""


@dataclass(frozen=True)
class Decoding:
    """How a text is written: how each token is chosen, and when to stop.

    ``temperature`` 0 takes the most probable token each time (greedy). ``top_k``, ``top_p`` and ``min_p`` leave out
    improbable tokens; 0, 1 and 0 switch them off. ``repetition_penalty`` above 1 makes tokens that stand in the prompt or
    the reply less probable. ``beams`` above 1 follows that many texts at once. ``stop`` holds strings that end the text
    and are left out of it. ``seconds`` is a deadline for the whole reply, None for none.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    beams: int = 1
    stop: tuple[str, ...] = ()
    seconds: float | None = None
    seed: int = 0

    def __post_init__(self):
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        for name, sound, rule in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p < 1, "at least 0 and below 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0"),
            ("beams", self.beams >= 1, "at least 1"),
            ("stop", all(self.stop), "made of strings that are not empty"),
            ("seconds", self.seconds is None or self.seconds > 0, "None or above 0"),
        ):
            if not sound:
                raise LanguageError(f"{name} is {getattr(self, name)!r}; it must be {rule}.")
        if self.beams > 1 and self.temperature:
            raise LanguageError(
                "Beam search follows the most probable texts and draws nothing: leave temperature at 0."
            )


def penalise(logits: torch.Tensor, seen: Sequence[int], penalty: float) -> torch.Tensor:
    """Make the tokens in ``seen`` less probable: positive logits divided, negative ones multiplied by ``penalty``.

    Source: Keskar et al., CTRL, arXiv:1909.05858, section 4.1.
    """
    if penalty == 1.0 or not len(seen):
        return logits
    ids = torch.tensor(sorted(set(seen)), device=logits.device)
    chosen = logits[ids]
    return logits.index_copy(0, ids, torch.where(chosen > 0, chosen / penalty, chosen * penalty))


def soften(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities at a temperature; at 0 the largest logit has all of it."""
    if temperature == 0:
        return torch.zeros_like(logits).index_fill_(0, logits.argmax(), 1.0)
    return torch.softmax(logits / temperature, 0)


def keep_top_k(probabilities: torch.Tensor, k: int) -> torch.Tensor:
    """Only the ``k`` most probable tokens, with their probabilities scaled to sum to 1; 0 keeps all."""
    if not 0 < k < len(probabilities):
        return probabilities
    top, ids = probabilities.topk(k)
    return torch.zeros_like(probabilities).index_copy_(0, ids, top / top.sum())


def keep_top_p(probabilities: torch.Tensor, p: float) -> torch.Tensor:
    """The fewest tokens whose probabilities reach ``p`` together (nucleus sampling), scaled to sum to 1.

    Source: Holtzman et al., arXiv:1904.09751.
    """
    if p >= 1:
        return probabilities
    top, ids = probabilities.sort(descending=True, stable=True)
    kept = top * (top.cumsum(0) - top < p)
    return torch.zeros_like(probabilities).index_copy_(0, ids, kept / kept.sum())


def keep_min_p(probabilities: torch.Tensor, share: float) -> torch.Tensor:
    """Only tokens at least ``share`` times as probable as the most probable one, scaled to sum to 1.

    Source: Nguyen et al., arXiv:2407.01082.
    """
    if share <= 0:
        return probabilities
    kept = probabilities * (probabilities >= share * probabilities.max())
    return kept / kept.sum()


def next_probabilities(logits: torch.Tensor, decoding: Decoding, seen: Sequence[int] = ()) -> torch.Tensor:
    """The distribution (V,) that the next token is drawn from, float32."""
    logits = penalise(logits.float(), seen, decoding.repetition_penalty)
    probabilities = soften(logits, decoding.temperature)
    if decoding.temperature == 0:
        return probabilities
    return keep_min_p(keep_top_p(keep_top_k(probabilities, decoding.top_k), decoding.top_p), decoding.min_p)


def pick(logits: torch.Tensor, decoding: Decoding, seen: Sequence[int] = (), generator=None) -> int:
    """The id of the next token, drawn with ``generator`` unless the temperature is 0."""
    if decoding.temperature == 0:
        return int(penalise(logits, seen, decoding.repetition_penalty).argmax())
    probabilities = next_probabilities(logits, decoding, seen)
    return int(torch.multinomial(probabilities, 1, generator=generator))
