"""What a message means as a turn: yes or no to what was asked, a wish withdrawn, another one meant, and what it tells.

The same word means different things after different questions ("no" after "has it been opened?"), so the reader sees the
question's kind and the message together: one encoder, a small head for each thing to tell. ``load()`` trains it on
``data/dialogue/turns*.yml`` once (about a minute on two cores) and keeps it in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentlab import assets, corpus, finetune, heads
from agentlab.corpus import data_folder, read_yaml
from agentlab.device import training_dtype
from agentlab.errors import DataError, UnknownName

MAX_TOKENS = 96
FORMAT = 1
FILE = "turns.safetensors"
NONE = "none"
PARTS = ("train", "validation", "test")
HEADS: dict[str, tuple[str, ...]] = {  # what is told, and its values; the first is: nothing of it
    "answer": (NONE, "yes", "no", "unknown"),
    "but": (NONE, "but"),
    "drop": (NONE, "drop"),
    "other": (NONE, "other"),
    "reason": (NONE, "faulty", "damaged", "wrong_item", "changed_mind"),
    "opened": (NONE, "opened", "sealed"),
    "solution": (NONE, "return", "exchange", "repair"),
    "alarm": (NONE, "danger", "legal"),
}
ALARMING = frozenset({"report_fault", "wrong_or_damaged_item", "wrong_charge", "talk_to_person", "delete_account"})
UNSAID = tuple(head for head in HEADS if head != "alarm")  # heads for which a turn without a label says none
QUESTIONS = {  # what was asked before, in words that the encoder knows
    "opening": "How can I help you?", "more": "Is there anything else?", "confirm": "Shall I do that? Please say yes.",
    "offer": "Would you like that?", "which_order": "Which order do you mean?", "which_item": "Which item do you mean?",
    "proof": "What is your e-mail address and an order number or postcode?", "reason": "Why does it come back?",
    "opened": "Has it been opened?", "solution": "Money back, an exchange or a repair?", "address": "Where shall it go?",
    "variant": "Which colour or size?",
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """A message after a kind of question, and what it tells: head to value; a head that is left out is not known."""

    say: str
    after: str = "opening"
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What a message tells: for each head the likeliest value and how probable it is (0 to 1)."""

    told: dict[str, tuple[str, float]]

    def says(self, head: str, value: str, sure: float = 0.5) -> bool:
        """Whether the head has this value, at least that surely."""
        found, p = self.told[head]
        return found == value and p >= sure


# --- data ----------------------------------------------------------------------------------------------------


def load_turns(part: str | None = None, folder: str | Path | None = None) -> list[Turn]:
    """The turns of ``data/dialogue``; raises `DataError` with file and entry for one that does not fit.

    Which part a turn belongs to follows from its text: eight of ten are train, one validation, one test.
    """
    folder = Path(folder) if folder else data_folder() / "dialogue"
    turns = [_turn(entry, file, n) for file in sorted(folder.glob("turns*.yml")) for n, entry in enumerate(read_yaml(file), 1)]  # fmt: skip
    if not turns:
        raise DataError("no turns (turns*.yml) were found here.", folder)
    return [t for t in turns if part in (None, part_of(t.say))]


def load_wishes(folder: str | Path | None = None) -> list[corpus.Message]:
    """Wishes as customers word them amid a conversation, and those that only a conversation has, with their spans."""
    folder = Path(folder) if folder else data_folder() / "dialogue"
    return list(_wishes(folder, corpus.fingerprint(folder)))


@lru_cache(maxsize=4)
def _wishes(folder: Path, state: str) -> tuple[corpus.Message, ...]:
    """The wishes of a folder in a state of its files: every agent needs them, and reading them takes a while."""
    labels = corpus.support().labels
    known = replace(labels, intents={**labels.intents, **read_yaml(folder / "intents.yml")})
    return tuple(m for file in sorted(folder.glob("wishes*.yml")) for m in corpus.read_file(file, known))


def part_of(text: str) -> str:
    """The part in which a text lies, by its hash."""
    tenth = int(hashlib.sha256(text.strip().lower().encode()).hexdigest(), 16) % 10
    return PARTS[max(0, tenth - 7)]


def _turn(entry: Any, file: Path, number: int) -> Turn:
    where = f"{file.name}, entry {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("say"), str) or not entry["say"].strip():
        raise DataError("a turn needs `say`, a text.", where)
    after = entry.get("after", "opening")
    if after not in QUESTIONS:
        raise DataError(str(UnknownName("kind of question", after, QUESTIONS)), where)
    told = {}
    for name, value in entry.items():
        if name in ("say", "after"):
            continue
        value = name if value is True else str(value)
        if name not in HEADS or value not in HEADS[name]:
            raise DataError(f"{name}: {value} is no label of a turn.", where)
        told[name] = value
    return Turn(entry["say"], after, dict.fromkeys(UNSAID, NONE) | told)


def openings(count: int = 1500) -> list[Turn]:
    """Messages of the support corpus as turns: whatever they want, they are no yes, no no, and withdraw nothing.

    Those of intents that can hold a danger or a threat say nothing of an alarm.
    """
    messages = corpus.support().split("train")
    told = dict.fromkeys(("answer", "but", "other", "alarm"), NONE)
    kept = [m for m in messages[:: max(1, len(messages) // count)] if m.intent not in ALARMING]
    return [Turn(m.text, "opening", told) for m in kept]


# --- the reader ----------------------------------------------------------------------------------------------


def encode(turns: Sequence[Turn], tokenizer) -> list[heads.Item]:
    """Question and message as one sequence each, cut at `MAX_TOKENS`, with the values of the heads."""
    return heads.encode(
        [(QUESTIONS[t.after], t.say) for t in turns], [t.told for t in turns], HEADS, tokenizer, MAX_TOKENS
    )


class TurnReader:
    """The fine-tuned reader with its tokenizer: messages and the kinds of questions before them in, `Reading` out."""

    def __init__(self, reader: finetune.Reader, tokenizer):
        self.reader, self.tokenizer = reader.eval().to(training_dtype()), tokenizer

    def __call__(self, say: str, after: str = "opening") -> Reading:
        """Read one message."""
        return self.read_all([Turn(say or " ", after)])[0]

    def read_all(self, turns: Sequence[Turn]) -> list[Reading]:
        """Read several, in one go."""
        if not turns:
            return []
        read = [{} for _ in turns]
        for head, rows in heads.probabilities(self.reader, encode(turns, self.tokenizer), HEADS).items():
            for p, one in zip(rows, read, strict=True):
                best = int(p.argmax())
                one[head] = (HEADS[head][best], round(float(p[best]), 4))
        return [Reading(told) for told in read]

    def save(self, folder: Path) -> None:
        """Write the weights into a folder."""
        heads.save(self.reader, HEADS, folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> TurnReader:
        """Load what `save` wrote; raises `TrainingError` where it is damaged."""
        reader, _, tokenizer = heads.load(folder / FILE)
        return cls(reader, tokenizer)


FULL = finetune.Config(epochs=6, learning_rate=2e-4, dropout=0.2, label_smoothing=0.02)
QUICK = finetune.Config(epochs=3, learning_rate=4e-4, freeze=3)  # for tests and a first look


def train(recipe: finetune.Config = FULL, turns: Sequence[Turn] | None = None, **options) -> TurnReader:
    """Fine-tune on the train part and on openings of the support corpus; ``options`` go to `finetune.Training`."""
    from agentlab.device import release_memory

    _, tokenizer = assets.load_encoder()
    learned = [*(load_turns("train") if turns is None else turns), *openings()]
    reader = heads.new_reader(HEADS, recipe.seed)
    parts = encode(learned, tokenizer), encode(load_turns("validation"), tokenizer)
    training = heads.HeadsTraining(HEADS, reader, *parts, recipe, **options)
    training.run()
    del training
    release_memory()
    return TurnReader(reader, tokenizer)


def load(recipe: finetune.Config | None = None) -> TurnReader:
    """The course's reader of turns, trained at most once for this data, recipe and encoder.

    Without a recipe it is `FULL`, or `QUICK` where ``AGENTLAB_UNDERSTANDING`` says quick, as the quick profile does.
    """
    quick = os.environ.get("AGENTLAB_UNDERSTANDING") == "quick"
    return _load(recipe or (QUICK if quick else FULL))


@assets.loaded_once
def _load(recipe: finetune.Config) -> TurnReader:
    data = [[t.say, t.after, dict(t.told)] for t in load_turns()]
    key = json.dumps([data, corpus.fingerprint(), asdict(recipe), assets.encoder_name(), HEADS, QUESTIONS, FORMAT])

    def build(folder: Path) -> None:
        print("Fine-tuning the model that reads the turns of a conversation, once (about a minute) ...")
        train(recipe).save(folder)

    name = f"turns-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return TurnReader.read(assets.build_once(name, build, lambda folder: heads.is_sound(folder / FILE)))
