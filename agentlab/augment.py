"""More training data from what there is: messages with typing mistakes, their spans kept.

A model that has only read clean text breaks on hurried typing, since one wrong letter changes every subword of a word.
Making such mistakes on purpose, in training data only, is the cheapest cure.
Source of the idea: Belinkov and Bisk, arXiv:1711.02173.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from agentlab.corpus import Message

WORD = re.compile(r"(?<![\w@#.'-])[^\W\d_]{2,}(?![\w@-]|\.\w)")  # no codes, no addresses of mail or pages
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    letter: {
        other
        for r, other_row in enumerate(ROWS)
        for c, other in enumerate(other_row)
        if other != letter and abs(r - row) <= 1 and abs(c - column) <= 1
    }
    for row, letters in enumerate(ROWS)
    for column, letter in enumerate(letters)
}
SOUNDS = (
    ("ei", "ie"), ("ie", "ei"), ("ea", "ee"), ("ee", "ea"), ("ph", "f"), ("ck", "k"), ("tion", "shun"), ("ght", "t"),
    ("wh", "w"), ("y", "ie"), ("ou", "u"), ("a", "e"), ("e", "i"), ("i", "e"), ("o", "u"), ("s", "z"), ("c", "k"),
)  # fmt: skip


def mistype(word: str, rng: random.Random) -> str:
    """The word with one slip in its letters: swapped, left out, doubled, the key beside it, or written by its sound.

    Words of fewer than two letters, and words with a digit, stay as they are.
    """
    if len(word) < 2 or not word.isalpha():
        return word
    place = rng.randrange(len(word) - 1) if len(word) == 2 or rng.random() < 0.2 else rng.randrange(1, len(word) - 1)
    a, b = word[place], word[place + 1]
    slip = rng.choice(("swap", "swap", "drop", "drop", "double", "neighbour", "sound", "sound"))
    if slip == "swap":
        return word[:place] + b + a + word[place + 2 :]
    if slip == "drop" and len(word) > 2:
        return word[:place] + word[place + 1 :]
    if slip == "neighbour" and a.lower() in NEIGHBOURS:
        return word[:place] + rng.choice(sorted(NEIGHBOURS[a.lower()])) + word[place + 1 :]
    if slip == "sound":
        heard = [(old, new) for old, new in SOUNDS if old in word.lower()]
        if heard:
            old, new = rng.choice(heard)
            at = word.lower().index(old)
            return word[:at] + new + word[at + len(old) :]
    return word[: place + 1] + word[place:]


def with_typos(message: Message, share: float, rng: random.Random) -> Message:
    """The message with about ``share`` of its words mistyped, its spans moved along.

    Codes, numbers and addresses of mail are never touched: a wrong letter in them is another code.

    >>> with_typos(Message("where is my headset", ("track_order",)), 1.0, random.Random(1)).intents
    ('track_order',)
    """
    text, where, pieces = message.text, list(range(len(message.text) + 1)), []  # where: old place -> new place
    place = grown = 0
    for word in WORD.finditer(text):
        start, end = word.span()
        new = mistype(word[0], rng) if rng.random() < share else word[0]
        pieces += [text[place:start], new]
        for old in range(place, end):
            where[old] = min(old, start + len(new)) + grown
        grown, place = grown + len(new) - (end - start), end
    pieces.append(text[place:])
    for old in range(place, len(where)):
        where[old] = old + grown
    spans = tuple(replace(s, start=where[s.start], end=where[s.end]) for s in message.spans)
    return replace(message, text="".join(pieces), spans=spans)


def add_typos(messages: Sequence[Message], copies: int, share: float, seed: int = 0) -> list[Message]:
    """The messages, and after them ``copies`` mistyped versions of each; at least one word in each copy is wrong."""
    rng = random.Random(seed)
    made = []
    for _ in range(copies):
        for message in messages:
            tries = (with_typos(message, share, rng) for _ in range(5))
            made.append(next((m for m in tries if m.text != message.text), message))
    return [*messages, *made]
