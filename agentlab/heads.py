"""Several things told by one encoder: a small head for each, one loss that adds them up.

What is told is a table of heads, such as ``{"topic": ("deals", "people"), "sentiment": ("good", "bad")}``. The heads lie side
by side in the one linear layer of a `finetune.Reader`, so that training, checkpoints and prediction are those of `finetune`.
A target that is not known is `IGNORE` and teaches nothing, so data sets that know different things can be mixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from agentlab import assets, finetune
from agentlab.encoding import Encoded, collate
from agentlab.losses import IGNORE

Heads = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Item(Encoded):
    """A text as numbers, and for each head the number of its value, or `IGNORE`."""

    targets: tuple[int, ...] = ()


def encode(texts: Sequence, told: Sequence[Mapping[str, str]], heads: Heads, tokenizer, max_tokens: int) -> list[Item]:
    """Tokenize texts (or pairs of texts), cut at ``max_tokens``; ``told`` maps heads to values, what is left out is not known."""
    if not len(texts):
        return []
    batch = tokenizer(list(texts), truncation=True, max_length=max_tokens)
    return [
        Item(
            ids, [IGNORE] * len(ids), IGNORE,
            tuple(list(values).index(known[head]) if head in known else IGNORE for head, values in heads.items()),
        )
        for ids, known in zip(batch["input_ids"], told, strict=True)
    ]  # fmt: skip


def columns(heads: Heads) -> dict[str, slice]:
    """Where each head lies among the logits.

    >>> columns({"topic": ("deals", "people"), "tone": ("good", "bad", "neither")})
    {'topic': slice(0, 2, None), 'tone': slice(2, 5, None)}
    """
    places, start = {}, 0
    for head, values in heads.items():
        places[head] = slice(start, start + len(values))
        start += len(values)
    return places


def new_reader(heads: Heads, seed: int = 0) -> finetune.Reader:
    """A `finetune.Reader` on a fresh encoder whose intents are the values of all heads."""
    return finetune.new_reader([f"{head}: {value}" for head, values in heads.items() for value in values], seed=seed)


def heads_loss(logits: torch.Tensor, targets: torch.Tensor, heads: Heads, smoothing: float = 0.0) -> torch.Tensor:
    """The cross-entropies summed over heads and texts; logits (B, all values), targets (B, heads)."""
    parts = [
        F.cross_entropy(logits[:, place], targets[:, n], ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
        for n, place in enumerate(columns(heads).values())
    ]  # fmt: skip
    return torch.stack(parts).sum()


def probabilities(reader: finetune.Reader, items: Sequence[Encoded], heads: Heads) -> dict[str, torch.Tensor]:
    """For each head the probabilities of its values, (N, values)."""
    logits = finetune.predict(reader, items)["intents"]
    return {head: torch.softmax(logits[:, place], 1) for head, place in columns(heads).items()}


class HeadsTraining(finetune.Training):
    """A training of several heads at once; the options are those of `finetune.Training`."""

    def __init__(self, heads: Heads, *args, **options):
        self.heads = heads
        super().__init__(*args, **options)

    def check(self) -> None:
        if not self.train:
            raise finetune.TrainingError("There is nothing to train on: the list of texts is empty.")

    def divisors(self, items: list[Item]) -> int:
        return len(items)

    def part_loss(self, items: list[Item], divisors: int, counts: bool) -> torch.Tensor:
        batch = {k: v.to(self.device) for k, v in collate(items).items()}
        logits = self.model(batch["input_ids"], batch["attention_mask"])["intents"]
        targets = torch.tensor([i.targets for i in items], device=self.device)
        return heads_loss(logits, targets, self.heads, self.config.label_smoothing) / divisors * float(counts)

    def evaluate(self) -> float:
        if self.score:
            return self.score(self.reader, self.validation)
        logits = finetune.predict(self.reader, self.validation, exact=False)["intents"]
        return -float(heads_loss(logits, torch.tensor([i.targets for i in self.validation]), self.heads)) / len(
            self.validation
        )


def save(reader: finetune.Reader, heads: Heads, path: Path) -> None:
    """Write the weights (bfloat16, safetensors) with the names of the heads."""
    from safetensors.torch import save_file

    state = {k: v.to(torch.bfloat16).contiguous() for k, v in reader.state_dict().items() if v.is_floating_point()}
    save_file(state, path, {"heads": json.dumps({head: list(values) for head, values in heads.items()})})


def load(path: Path) -> tuple[finetune.Reader, dict[str, tuple[str, ...]], object]:
    """What `save` wrote: reader, heads, tokenizer; raises `TrainingError` where the file is damaged."""
    state, about = finetune.read_checkpoint(path)
    heads = {head: tuple(values) for head, values in json.loads(about["heads"]).items()}
    reader = new_reader(heads)
    reader.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return reader.eval(), heads, assets.load_encoder()[1]


def is_sound(path: Path) -> bool:
    """Whether the file at this path is a whole one that `save` wrote."""
    try:
        return "heads" in finetune.read_checkpoint(path)[1]
    except finetune.TrainingError:
        return False
