"""How a question is read in the first search, fine-tuned: questions move towards the articles that answer them.

A bi-encoder reads question and article apart. The articles' vectors stay as they are, so that a new article needs no training;
only the question's side learns, from short texts, in seconds. Beside the articles stands *nothing*, with a fixed score, so that
questions without an answer learn to keep away from all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from agentlab import assets, finetune, heads
from agentlab.encoding import Encoded, collate
from agentlab.finetune import batches_by_length
from agentlab.knowledge import HybridIndex, Question
from agentlab.losses import IGNORE

HEADS = {"unused": ("unused",)}  # a Reader has a head; here the mean over the tokens is read instead


@dataclass(frozen=True)
class Recipe:
    """How the question's side is trained; ``scale * (score - middle)`` are the logits beside nothing's 0."""

    training: finetune.Config = field(
        default_factory=lambda: finetune.Config(epochs=4, learning_rate=1e-4, batch_size=32, precision="float32")
    )
    scale: float = 20.0
    middle: float = 0.55
    max_tokens: int = 64


RECIPE = Recipe()
QUICK = Recipe(finetune.Config(epochs=1, learning_rate=2e-4, batch_size=32, precision="float32", freeze=5))


class QuestionReader:
    """A fine-tuned encoder of questions: texts to vectors of length one, (N, 384)."""

    def __init__(self, reader: finetune.Reader, tokenizer, max_tokens: int = RECIPE.max_tokens):
        self.reader, self.tokenizer, self.max_tokens = reader.eval(), tokenizer, max_tokens

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of texts, in order."""
        items = encode(texts, [IGNORE] * len(texts), self.tokenizer, self.max_tokens)
        found = np.zeros((len(items), self.reader.encoder.config.hidden_size), dtype=np.float32)
        device = next(self.reader.parameters()).device
        for rows, batch in batches_by_length(items, 64) if items else ():
            found[rows] = mean_vectors(self.reader.encoder, batch, device).float().cpu().numpy()
        return found


def encode(texts: Sequence[str], right: Sequence[int], tokenizer, max_tokens: int) -> list[Encoded]:
    """Texts as numbers, each with the place of the article that answers it."""
    if not len(texts):
        return []
    ids = tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"]
    return [Encoded(own, [IGNORE] * len(own), place) for own, place in zip(ids, right, strict=True)]


def mean_vectors(encoder, batch: dict, device: torch.device) -> torch.Tensor:
    """The mean over the real tokens, of length one: ids (B, T) to (B, D)."""
    ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
    hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, T, D)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return F.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


class QuestionTraining(finetune.Training):
    """A training of the question's side: cross-entropy over all articles and nothing."""

    def __init__(self, index: HybridIndex, recipe: Recipe, words: dict[tuple[int, ...], np.ndarray], *args, **options):
        self.index, self.recipe, self.words = index, recipe, words
        super().__init__(*args, **options)

    def check(self) -> None:
        if not self.train:
            raise finetune.TrainingError("There is nothing to train on: the list of questions is empty.")

    def divisors(self, items: list[Encoded]) -> int:
        return len(items)

    def part_loss(self, items: list[Encoded], divisors: int, counts: bool) -> torch.Tensor:
        vectors = mean_vectors(self.model.encoder, collate(items), self.device)
        words = torch.tensor(np.stack([self.words[tuple(i.ids)] for i in items]), dtype=vectors.dtype, device=self.device)  # fmt: skip
        scores = self.index.torch_scores(vectors) + words  # (B, A)
        logits = torch.cat([self.recipe.scale * (scores - self.recipe.middle), scores.new_zeros(len(items), 1)], 1)
        right = torch.tensor([i.intent for i in items], device=self.device)
        return F.cross_entropy(logits, right, reduction="sum") / divisors * float(counts)

    def identity(self) -> dict[str, str]:
        data = hashlib.sha256(repr([(i.ids, i.intent) for i in self.train]).encode())
        return {"data": data.hexdigest()[:16], "recipe": repr(self.recipe)}


def train(index: HybridIndex, questions: Sequence[Question], recipe: Recipe = RECIPE, **options) -> tuple[QuestionReader, finetune.History]:  # fmt: skip
    """Fine-tune on questions; one whose article the index does not have stands for nothing."""
    from agentlab.device import release_memory

    _, tokenizer = assets.load_encoder()
    place = {a.id: n for n, a in enumerate(index.articles)}
    right = [place.get(q.article, len(place)) for q in questions]
    items = encode([q.text for q in questions], right, tokenizer, recipe.max_tokens)
    words = index.word_scores([q.text for q in questions]) if items else []
    reader = heads.new_reader(HEADS, recipe.training.seed)
    known = {tuple(i.ids): w for i, w in zip(items, words, strict=True)}
    training = QuestionTraining(index, recipe, known, reader, items, (), recipe.training, **options)
    history = training.run()
    del training
    release_memory()
    return QuestionReader(reader, tokenizer, recipe.max_tokens), history


def save(reader: QuestionReader, path: Path) -> None:
    """Write the weights (bfloat16, safetensors)."""
    heads.save(reader.reader, HEADS, path)


def load(path: Path, max_tokens: int = RECIPE.max_tokens) -> QuestionReader:
    """What `save` wrote; raises `TrainingError` where the file is damaged."""
    reader, _, tokenizer = heads.load(path)
    return QuestionReader(reader, tokenizer, max_tokens)
