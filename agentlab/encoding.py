"""From text to tensors: labels onto subwords, padding, length buckets.

Lesson 01 writes each of these by hand; here they stand ready for the later lessons.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agentlab.corpus import Message, Span
from agentlab.errors import AgentLabError
from agentlab.losses import IGNORE


def word_piece(word: str, vocabulary: Iterable[str], unknown: str = "[UNK]") -> list[str]:
    """Split one word by WordPiece: again and again the longest piece in the vocabulary.

    Pieces after the first begin with ``##``; a word that cannot be covered is one unknown token.
    Source: Wu et al. 2016, "Google's Neural Machine Translation System", as used by BERT.

    >>> word_piece("headset", {"head", "##set", "##s"})
    ['head', '##set']
    """
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary:
                break
        else:
            return [unknown]
        pieces.append(piece)
        start = end
    return pieces


def align_labels(spans: Sequence[Span], offsets: Sequence[tuple[int, int]], tags: Sequence[str]) -> list[int]:
    """Lay character spans onto subword tokens as BIO tags.

    ``offsets`` are the tokenizer's (start, end) characters per token, (0, 0) for special tokens, which get
    ``IGNORE``. A token belongs to a span if they share a character; the first such token is ``B-``.

    >>> tags = ("O", "B-product", "I-product")
    >>> align_labels([Span(3, 10, "product")], [(0, 0), (0, 2), (3, 7), (7, 10), (0, 0)], tags)
    [-100, 0, 1, 2, -100]
    """
    number = {tag: i for i, tag in enumerate(tags)}
    labels = [IGNORE if start == end else number["O"] for start, end in offsets]
    for span in spans:
        prefix = "B"
        for i, (start, end) in enumerate(offsets):
            if start < span.end and end > span.start and start != end:
                labels[i] = number[f"{prefix}-{span.type}"]
                prefix = "I"
    return labels


def words_and_groups(message: Message, groups: dict[str, str]) -> tuple[list[str], list[str]]:
    """The words of a message, cut at white space, and for each the coarse group of the first span that it touches, or O.

    ``groups`` maps a span type to its group, as `Labels.span_types` does.

    >>> words_and_groups(Message("two kettles please", spans=(Span(4, 11, "product"),)), {"product": "Sales"})
    (['two', 'kettles', 'please'], ['O', 'Sales', 'O'])
    """
    words = list(re.finditer(r"\S+", message.text))
    kinds = (next((s.type for s in message.spans if s.start < w.end() and s.end > w.start()), None) for w in words)
    return [w[0] for w in words], [groups[kind] if kind else "O" for kind in kinds]


@dataclass(frozen=True)
class Encoded:
    """One message as numbers: token ids, BIO label ids (or ``IGNORE``), intent number."""

    ids: list[int]
    labels: list[int]
    intent: int

    def __len__(self) -> int:
        return len(self.ids)


def encode(
    messages: Sequence[Message], tokenizer, tags: Sequence[str], intents: Sequence[str], max_tokens: int = 128
) -> list[Encoded]:
    """Tokenize messages and align their labels; longer ones are cut at ``max_tokens``.

    An out-of-scope message gets the intent number ``IGNORE``.
    """
    if not messages:
        raise AgentLabError("encode needs at least one message; the list is empty.")
    batch = tokenizer([m.text for m in messages], truncation=True, max_length=max_tokens, return_offsets_mapping=True)
    number = {name: i for i, name in enumerate(intents)}
    return [
        Encoded(ids, align_labels(m.spans, offsets, tags), number.get(m.intent, IGNORE))
        for m, ids, offsets in zip(messages, batch["input_ids"], batch["offset_mapping"], strict=True)
    ]


def collate(items: Sequence[Encoded], pad_id: int = 0, pad_to: int | None = None) -> dict:
    """Stack messages into tensors, padded to the longest of them (or to ``pad_to``).

    Returns ``input_ids``, ``attention_mask`` and ``labels`` of shape (B, T) and ``intents`` of shape (B,).
    The mask is 0 and the label ``IGNORE`` where there is only padding.
    """
    import torch

    longest = max(len(item) for item in items)
    width = pad_to or longest
    if width < longest:
        raise AgentLabError(f"A message has {longest} tokens, which do not fit into pad_to={pad_to}.")
    ids = torch.full((len(items), width), pad_id)
    labels = torch.full((len(items), width), IGNORE)
    mask = torch.zeros((len(items), width), dtype=torch.long)
    for row, item in enumerate(items):
        ids[row, : len(item)] = torch.tensor(item.ids)
        labels[row, : len(item)] = torch.tensor(item.labels)
        mask[row, : len(item)] = 1
    intents = torch.tensor([item.intent for item in items])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "intents": intents}


def length_buckets(
    lengths: Sequence[int], batch_size: int, seed: int = 0, batches_per_pool: int = 50
) -> Iterator[list[int]]:
    """Batches of indices with similar lengths, each index once, in random order.

    Indices are shuffled, cut into pools of ``batches_per_pool`` batches, sorted by length within a pool and cut
    into batches, which are shuffled again: little padding, and still random from epoch to epoch.
    """
    if batch_size < 1:
        raise AgentLabError(f"batch_size must be at least 1, not {batch_size}.")
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    pool_size = batch_size * batches_per_pool
    batches = []
    for start in range(0, len(order), pool_size):
        pool = sorted(order[start : start + pool_size], key=lambda i: lengths[i])
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    rng.shuffle(batches)
    yield from batches


def wasted_share(lengths: Sequence[int], batches: Iterable[Sequence[int]], pad_to: int | None = None) -> float:
    """The share of all tokens in these batches that is padding.

    >>> wasted_share([2, 4], [[0, 1]])
    0.25
    """
    real = total = 0
    for batch in batches:
        width = pad_to or max(lengths[i] for i in batch)
        real += sum(min(lengths[i], width) for i in batch)
        total += width * len(batch)
    return 1 - real / total
