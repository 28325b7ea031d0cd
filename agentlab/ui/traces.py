"""A trace to look at: what the agent saw, decided, did and said in a turn, as HTML that unfolds, and a viewer for a whole one.

Everything that a customer, a tool or a model wrote is escaped.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.corpus import Span
from agentlab.errors import AgentLabError
from agentlab.show import show_table
from agentlab.ui.panel import Panel, guarded, row

if TYPE_CHECKING:
    from agentlab.decisions import Decision
    from agentlab.trace import ToolCall, Trace, TurnTrace

WORDED = {"template": "by a template", "model": "by the language model", "fixed": "by a fixed phrase", "": "by nobody"}
LONGEST_VALUE = 400  # characters of a result or a fact


def shown(value: Any, longest: int = LONGEST_VALUE) -> str:
    """A value as one short line of text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."


def slot_spans(message: str, slots: Mapping[str, Any]) -> list[Span]:
    """Where the values of slots stand in a message, as spans typed by the slot; values that do not stand there are left out.

    >>> slot_spans("cancel w20411 and that's it", {"order_id": "W20411", "quantity": 2})
    [Span(start=7, end=13, type='order_id')]
    """
    found: list[Span] = []
    for name, value in slots.items():
        if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
            continue
        for text in dict.fromkeys((str(value), re.sub(r"^[A-Z](?=\d)", "", str(value)))):
            loose = r"\s+".join(map(re.escape, text.split()))
            match = re.search(rf"(?<!\w){loose}(?!\w)", message, re.IGNORECASE)
            if match and not any(s.start < match.end() and match.start() < s.end for s in found):
                found.append(Span(*match.span(), name))
                break
    return sorted(found)


def marked_html(text: str, spans: Sequence[Span]) -> str:
    """A text with its spans underlined and named.

    >>> marked_html("a <b>", [Span(0, 1, "letter")])
    '<mark>a</mark><sub> letter </sub> &lt;b&gt;'
    """
    parts, at = [], 0
    for span in sorted(spans):
        parts.append(html.escape(text[at : span.start]))
        parts.append(f"<mark>{html.escape(text[span.start : span.end])}</mark><sub> {html.escape(span.type)} </sub>")
        at = span.end
    return "".join(parts) + html.escape(text[at:])


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """The arguments of a call as they would be written in Python."""
    return ", ".join(f"{name}={shown(repr(value), 80)}" for name, value in arguments.items())


def decision_text(decision: Decision) -> str:
    """A decision in a few words: its kind, and the tool, slot or situation that it is about."""
    about = vars(decision)
    name = about.get("tool") or about.get("slot") or about.get("situation") or about.get("why") or ""
    arguments = f"({arguments_text(about['arguments'])})" if "arguments" in about else ""
    return f"{decision.kind.replace('_', ' ')} {name}{arguments}".strip()


# --- a turn as HTML ------------------------------------------------------------------------------------------


def turn_html(
    turn: TurnTrace, rules: Mapping[str, str] | None = None, spans: Sequence[Span] = (), unfolded: bool = False
) -> str:
    """What stands behind the reply of a turn, to unfold.

    ``rules`` gives the words of each rule by its number; ``spans`` are what a model marked in the message, without it the
    values of slots are underlined.
    """
    kinds = ", ".join(dict.fromkeys(d.kind.replace("_", " ") for d in turn.decisions)) or "nothing decided"
    parts = [_saw(turn, spans), _decided(turn, rules or {}), _did(turn), _said(turn)]
    return (
        f"<details{' open' if unfolded else ''}><summary>Behind reply {turn.number}: {html.escape(kinds)}; {turn.ms:.0f} ms</summary>"
        + "".join(f'<div class="al-part">{part}</div>' for part in parts if part)
        + "</details>"
    )


def _saw(turn: TurnTrace, spans: Sequence[Span]) -> str:
    p = turn.percept
    if p is None:
        return "<strong>Saw</strong> nothing that it could read."
    marks = [s for s in spans if s.end <= len(turn.message)] or slot_spans(turn.message, p.slots)
    lines = [marked_html(turn.message, marks)]
    if not p.in_scope:
        lines.append("no business of the shop's, it thinks")
    seen = [f"{s.intent.replace('_', ' ')} (confidence {s.confidence:.2f})" for s in p.sightings]
    lines.append(html.escape(f"wish: {', '.join(seen) or 'none'}"))
    if p.slots:
        lines.append("values: " + html.escape(", ".join(f"{k} = {shown(v, 80)}" for k, v in p.slots.items())))
    if p.denied:
        lines.append("called wrong: " + html.escape(shown(p.denied)))
    if p.answer:
        lines.append(html.escape(f"answer: {p.answer}{', with a but' if p.hedged else ''}"))
    if p.alarm:
        lines.append(html.escape(f"alarm: {p.alarm}"))
    return f"<strong>Saw</strong> ({p.ms:.0f} ms)<ul>{_items(lines)}</ul>"


def _decided(turn: TurnTrace, rules: Mapping[str, str]) -> str:
    lines = []
    for d in turn.decisions:
        line = f"<code>{html.escape(decision_text(d))}</code>"
        line += f" (confidence {d.confidence:.2f})"
        line += f"<br>{html.escape(d.reason)}" if d.reason else ""
        for number in d.rules:
            words = f": {shown(rules[number], 200)}" if number in rules else ""
            line += f"<br>rule {html.escape(number + words)}"
        lines.append(line)
    stopped = f"<br>stopped: {html.escape(turn.stopped)}" if turn.stopped else ""
    return f"<strong>Decided</strong><ol>{_items(lines)}</ol>{stopped}" if lines else ""


def _did(turn: TurnTrace) -> str:
    lines = [_call(c) for c in [*turn.rehearsals, *turn.calls]]
    return f"<strong>Did</strong><ol>{_items(lines)}</ol>" if lines else ""


def _call(call: ToolCall) -> str:
    what = "tried and undone: " if call.rehearsal else ""
    came = call.message if call.message else shown(call.value)
    return (
        f"{what}<code>{html.escape(f'{call.name}({arguments_text(call.arguments)})')}</code> "
        f"{html.escape(call.status)} ({call.ms:.1f} ms)<br>{html.escape(shown(came))}"
    )


def _said(turn: TurnTrace) -> str:
    models = [html.escape(f"{m.purpose}: {shown(m.value)} ({m.tokens} tokens, {m.ms:.0f} ms)") for m in turn.models]
    wrote = f"<br>a language model wrote:<ul>{_items(models)}</ul>" if models else ""
    return f"<strong>Said</strong> {html.escape(WORDED.get(turn.source, turn.source))}, {turn.tokens} tokens{wrote}"


def _items(lines: Sequence[str]) -> str:
    return "".join(f"<li>{line}</li>" for line in lines)


# --- a whole trace -------------------------------------------------------------------------------------------


class TraceViewer(Panel):
    """A trace turn by turn: choose a turn, and see what was seen, decided, done and said in it.

    ``rules`` gives the words of each rule by its number. Raises `AgentLabError` for a trace without a turn.
    """

    css_class = "al-traces"

    def __init__(self, trace: Trace, rules: Mapping[str, str] | None = None, caption: str = "The trace"):
        if not trace.turns:
            raise AgentLabError("This trace has no turn yet: send a message first.")
        super().__init__()
        self.trace, self.rules, self.caption, self.number = trace, dict(rules or {}), caption, trace.turns[0].number

    @property
    def turn(self) -> TurnTrace:
        """The turn that is looked at."""
        return next(t for t in self.trace.turns if t.number == self.number)

    def go(self, number: int) -> str:
        """Look at a turn; gives what the viewer then shows, as HTML."""
        if number not in [t.number for t in self.trace.turns]:
            raise AgentLabError(f"There is no turn {number}: this trace has turns 1 to {len(self.trace.turns)}.")
        self.number = number
        if self._widget is not None:
            self._choice.value, self._page.value = number, self.html()
        self.announce(f"Turn {number} of {len(self.trace.turns)}.")
        return self.html()

    def html(self) -> str:
        """The turn with what stands behind it."""
        turn = self.turn
        return (
            f'<div class="al-say al-mine"><b>Customer</b>{html.escape(turn.message)}</div>'
            f'<div class="al-say al-theirs"><b>Agent</b>{html.escape(turn.reply)}</div>'
            + turn_html(turn, self.rules, unfolded=True)
        )

    def rows(self) -> list[dict]:
        """One row for each decision."""
        return self.trace.table()

    def build(self) -> Sequence:
        import ipywidgets as widgets

        options = [(f"{t.number}: {shown(t.message, 50)}", t.number) for t in self.trace.turns]
        self._choice = widgets.Dropdown(
            options=options, value=self.number, description="Turn", style={"description_width": "initial"}
        )
        self._page = widgets.HTML(self.html())
        self._page.add_class("al-trace")
        self._choice.observe(self._chosen, names="value")
        return [row(self._choice), self._page]

    @guarded
    def _chosen(self, change) -> None:
        if change["new"] != self.number:
            self.go(change["new"])

    def leave(self) -> None:
        show_table(self.rows(), self.caption)
