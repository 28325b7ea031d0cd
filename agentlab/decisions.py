"""What an agent can decide: call a tool, ask, confirm, answer, hand over. Each says why, how sure it is and by which rules.

>>> Call("find_order", {"order_id": "W20417"}, reason="the wish needs it").to_json()["kind"]
'call'
>>> from_json(Ask("email").to_json()) == Ask("email")
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from agentlab.errors import UnknownName


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is done next. ``confidence`` is 0 to 1, ``rules`` are the numbers of the rules that were consulted."""

    kind: ClassVar[str] = "decision"
    reason: str = ""
    confidence: float = 1.0
    rules: tuple[str, ...] = ()

    def to_json(self) -> dict:
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class Call(Decision):
    """Call a tool."""

    kind: ClassVar[str] = "call"
    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask(Decision):
    """Ask the customer for a slot; ``choices`` are what may be answered, label to value."""

    kind: ClassVar[str] = "ask"
    slot: str
    facts: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Confirm(Decision):
    """Read a WRITE back and ask for a yes to exactly this tool with exactly these arguments."""

    kind: ClassVar[str] = "confirm"
    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer(Decision):
    """Tell the customer something. ``offer`` is an intent that a yes would begin; ``finishes`` says that the wish is served."""

    kind: ClassVar[str] = "answer"
    situation: str
    facts: dict[str, Any] = field(default_factory=dict)
    offer: str = ""
    finishes: bool = True


@dataclass(frozen=True)
class HandOver(Decision):
    """Let a person go on; ``why`` is a reason that the hand-over tool knows, ``situation`` and ``facts`` are what is said."""

    kind: ClassVar[str] = "hand_over"
    why: str
    situation: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


KINDS: dict[str, type[Decision]] = {c.kind: c for c in (Call, Ask, Confirm, Answer, HandOver)}


def from_json(data: Mapping[str, Any]) -> Decision:
    """The decision that `Decision.to_json` wrote; raises `UnknownName` for another kind."""
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise UnknownName("kind of decision", kind, KINDS)
    return KINDS[kind](**fields | {"rules": tuple(fields.get("rules", ()))})
