"""What an agent saw, decided and did, turn by turn: to read, to save as JSON, to decide again.

>>> trace = Trace("c1", turns=[TurnTrace(1, "hello", reply="Hello.", source="template")])
>>> Trace.from_json(trace.to_json()) == trace
True
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agentlab.decisions import Decision
from agentlab.decisions import from_json as decision_from_json
from agentlab.errors import DataError
from agentlab.perceive import Percept
from agentlab.toolkit import ToolResult

FORMAT = 1


@dataclass
class ToolCall:
    """A call and what came of it. ``rehearsal`` marks one whose changes were undone at once."""

    name: str
    arguments: dict[str, Any]
    status: str
    value: Any = None
    message: str = ""
    ms: float = 0.0
    idempotency_key: str | None = None
    rehearsal: bool = False

    @property
    def tool(self) -> str:
        return self.name

    @property
    def result(self) -> ToolResult:
        return ToolResult(self.name, self.status, self.value, self.message, self.ms / 1000)


@dataclass
class ModelCall:
    """What a language model wrote for a decision or a reply, and its cost in tokens."""

    purpose: str
    value: Any
    tokens: int = 0
    ms: float = 0.0


@dataclass
class TurnTrace:
    """One turn. ``source`` says who worded the reply: template, model, fixed; ``asks`` what it asks for."""

    number: int
    message: str
    percept: Percept | None = None
    decisions: list[Decision] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    rehearsals: list[ToolCall] = field(default_factory=list)
    models: list[ModelCall] = field(default_factory=list)
    reply: str = ""
    source: str = ""
    asks: str | None = None
    handed_over: bool = False
    stopped: str = ""
    ms: float = 0.0
    tokens: int = 0

    def to_json(self) -> dict:
        data = {
            k: v for k, v in vars(self).items() if k not in ("percept", "decisions", "calls", "rehearsals", "models")
        }
        data["percept"] = self.percept.to_json() if self.percept else None
        data["decisions"] = [d.to_json() for d in self.decisions]
        lists = {"calls": self.calls, "rehearsals": self.rehearsals, "models": self.models}
        return data | {name: [asdict(x) for x in row] for name, row in lists.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TurnTrace:
        fields = dict(data)
        fields["percept"] = Percept.from_json(fields["percept"]) if fields.get("percept") else None
        fields["decisions"] = [decision_from_json(d) for d in fields.get("decisions", [])]
        for name, kind in (("calls", ToolCall), ("rehearsals", ToolCall), ("models", ModelCall)):
            fields[name] = [kind(**x) for x in fields.get(name, [])]
        return cls(**fields)

    def text(self) -> str:
        """The turn as lines to read."""
        lines = [f"[{self.number}] Customer: {_short(self.message, 200)}"]
        if p := self.percept:
            seen = ", ".join(f"{s.intent} {s.confidence:.2f}" for s in p.sightings)
            rest = [f"slots {p.slots}" if p.slots else "", f"answer {p.answer}{' (hedged)' * p.hedged}" if p.answer else ""]  # fmt: skip
            lines.append(f"    sees: {'; '.join(filter(None, [seen, *rest, f'scope {p.scope:.2f}']))}")
        lines += [f"    {line}" for d in self.decisions for line in _decision_lines(d)]
        lines += [f"    {'tries' if c.rehearsal else 'calls'} {c.name}({_arguments(c.arguments)}): {c.status} {_short(c.message or json.dumps(c.value, ensure_ascii=False), 160)} ({c.ms:.1f} ms)" for c in [*self.rehearsals, *self.calls]]  # fmt: skip
        return "\n".join([*lines, f"    Agent ({self.source}, {self.ms:.0f} ms, {self.tokens} tokens): {self.reply}"])


@dataclass
class Trace:
    """A conversation: its id, settings, session and turns."""

    conversation: str
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    began: dict[str, Any] = field(default_factory=dict)  # the session before the first turn
    session: dict[str, Any] = field(default_factory=dict)  # the session after the last turn
    turns: list[TurnTrace] = field(default_factory=list)

    @property
    def decisions(self) -> list[Decision]:
        return [d for t in self.turns for d in t.decisions]

    def text(self) -> str:
        """All turns as lines to read."""
        return "\n".join(t.text() for t in self.turns)

    def table(self) -> list[dict]:
        """One row for each decision, for a table."""
        return [
            {"turn": t.number, "decision": d.kind, "what": _what(d), "reason": d.reason, "confidence": d.confidence, "rules": ", ".join(d.rules)}
            for t in self.turns
            for d in t.decisions
        ]  # fmt: skip

    def to_json(self) -> dict:
        data = {k: v for k, v in vars(self).items() if k != "turns"}
        return {"format": FORMAT, **data, "turns": [t.to_json() for t in self.turns]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trace:
        """The trace that `to_json` wrote; raises `DataError` for anything else."""
        try:
            fields = dict(data)
            if fields.pop("format") != FORMAT:
                raise DataError(f"the trace has another format than {FORMAT}.", "trace")
            return cls(**fields | {"turns": [TurnTrace.from_json(t) for t in fields["turns"]]})
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"this is no trace ({type(error).__name__}: {error}).", "trace") from None

    def save(self, path: str | Path) -> None:
        """Write the trace as JSON: beside the file first, so that a killed process leaves the old one whole."""
        path = Path(path)
        beside = path.with_name(f".{path.name}.part")
        beside.write_text(json.dumps(self.to_json(), ensure_ascii=False), encoding="utf-8")
        beside.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read what `save` wrote; raises `DataError` that names the file."""
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise DataError(f"the trace cannot be read ({error}).", path) from None


@dataclass(frozen=True)
class Difference:
    """Where two runs of a conversation part: the turn, and what each decided."""

    turn: int
    before: list[str]
    after: list[str]


def compare(one: Trace, other: Trace) -> list[Difference]:
    """The turns in which two traces decided differently; empty where they are the same."""
    found = []
    for n in range(max(len(one.turns), len(other.turns))):
        rows = [[d.to_json() for d in t.turns[n].decisions] if n < len(t.turns) else [] for t in (one, other)]
        if _plain(rows[0]) != _plain(rows[1]):
            found.append(Difference(n + 1, *([_what(d) for d in t.turns[n].decisions] if n < len(t.turns) else [] for t in (one, other))))  # fmt: skip
    return found


def _plain(data: Any) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)


def _what(d: Decision) -> str:
    about = vars(d)
    name = about.get("tool") or about.get("slot") or about.get("situation") or about.get("why") or ""
    arguments = _arguments(about["arguments"]) if "arguments" in about else ""
    return f"{d.kind} {name}{f'({arguments})' if arguments else ''}".strip()


def _decision_lines(d: Decision) -> list[str]:
    rules = f" [rules {', '.join(d.rules)}]" if d.rules else ""
    return [f"{_what(d)} ({d.confidence:.2f}){rules}{f': {d.reason}' if d.reason else ''}"]


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={_short(repr(v), 60)}" for k, v in arguments.items())


def _short(text: str, longest: int) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
