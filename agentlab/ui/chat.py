"""A conversation with an agent, as a customer and as the one who looks behind it.

`ChatPanel` shows each message as it comes, and under each reply what the agent saw, decided and did. It can be used by the
keyboard alone, in JupyterLab, Colab and Voila, and by its methods without any of them.
"""

from __future__ import annotations

import asyncio
import base64
import html
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.errors import AgentLabError
from agentlab.show import show_table
from agentlab.ui.panel import Panel, button, column, guarded, live, row
from agentlab.ui.traces import decision_text, turn_html

if TYPE_CHECKING:
    from agentlab.agent import Turn
    from agentlab.corpus import Span
    from agentlab.feedback import Correction, Journal

LONGEST_INPUT = 2000  # characters of a message that is typed
CONFIRM = "confirm"  # what a turn asks for when it waits for a yes or no
CHUNKS = 25  # pieces in which a reply appears
PACE = 0.02  # seconds between two of them


class ChatPanel(Panel):
    """A chat with an agent: anything whose ``conversation()`` gives an object with ``send(text)`` and ``trace``.

    ``examples`` are messages to click; where nothing is running they are said in order, and the transcript is shown.
    ``rules`` gives the words of each rule by its number. Corrections are kept in ``corrections`` and, if there is one, in the
    ``journal``; ``corrections=False`` leaves out their form, as for customers. ``pace`` is the time in seconds
    between two pieces of a reply that appears bit by bit, 0 for all at once.

    >>> from agentlab.trace import Trace, TurnTrace
    >>> class Parrot:
    ...     def conversation(self):
    ...         self.trace = Trace("c1")
    ...         return self
    ...     def send(self, text):
    ...         self.trace.turns.append(TurnTrace(len(self.trace.turns) + 1, text, reply=f"{text}?"))
    ...         return self.trace.turns[-1]
    >>> panel = ChatPanel(Parrot())
    >>> panel.send("Hello").reply
    'Hello?'
    >>> print(panel.export("text"))
    Customer: Hello
    Agent: Hello?
    """

    css_class = "al-chat"

    def __init__(
        self,
        agent: Any,
        examples: Sequence[str] = (),
        *,
        rules: Mapping[str, str] | None = None,
        journal: Journal | None = None,
        corrections: bool = True,
        caption: str = "A conversation with the agent, and what it decided",
        pace: float | None = None,
    ):
        super().__init__()
        self.agent, self.examples, self.rules = agent, list(examples), dict(rules or {})
        self.journal, self.caption, self.pace = journal, caption, pace
        self.may_correct, self.corrections = corrections, []
        self.talk = agent.conversation()
        self.turns: list[Turn] = []
        self._asks = None  # the row of yes and no, once there is a widget
        self.said = "Type a message and press Enter."

    # --- what can be done ---

    def send(self, text: str) -> Turn:
        """Say something to the agent, and show and give back its turn.

        Raises `AgentLabError` for a message that is empty or longer than `LONGEST_INPUT` characters.
        """
        text = text.strip()
        if not text:
            raise AgentLabError("The message is empty: type something first.")
        if len(text) > LONGEST_INPUT:
            raise AgentLabError(f"The message has {len(text)} characters; at most {LONGEST_INPUT} are sent from here.")
        block = _TurnBlock(text) if self._widget is not None else None
        if block:
            self._turn_boxes.children = [*self._turn_boxes.children, block.box]
            self._lock(True)
            self.announce("The agent is answering ...")
        try:
            turn = self.talk.send(text)
            self.turns.append(turn)
            if block:
                block.reply_comes(turn.reply, self._pace())
                self._fill(block, turn)
        except BaseException:
            if block:
                block.reply_is("(no answer: something failed)")
            raise
        finally:
            self._lock(False)
        self.announce(f"The agent answered: {turn.reply}")
        return turn

    @property
    def waits(self) -> bool:
        """Whether the agent read something back, and waits for a yes or no to it."""
        return bool(self.turns) and getattr(self.turns[-1], "asks", None) == CONFIRM

    def yes(self) -> Turn:
        """Say yes to what was read back; raises `AgentLabError` where nothing was."""
        return self._answer("Yes")

    def no(self) -> Turn:
        """Say no to what was read back; raises `AgentLabError` where nothing was."""
        return self._answer("No")

    def _answer(self, word: str) -> Turn:
        if not self.waits:
            raise AgentLabError(f"There is nothing to say {word.lower()} to: the agent has read nothing back.")
        return self.send(word)

    def new(self) -> None:
        """Begin a new conversation; corrections stay."""
        self.talk, self.turns = self.agent.conversation(), []
        if self._widget is not None:
            self._turn_boxes.children = []
            self._corrector.turns_are([])
            self._lock(False)
            self._export.value = ""
        self.announce("A new conversation. Type a message and press Enter.")

    def correct(self, turn: int, *, by: str, **what: Any) -> Correction:
        """Say what would have been right in turn number ``turn``; takes what `agentlab.feedback.correct` takes.

        The correction is kept in ``corrections``, and in the journal if there is one.
        """
        from agentlab import feedback

        tools = getattr(self.talk, "box", None)
        correction = feedback.correct(self.talk.trace, turn, by=by, **{"tools": tools} | what)
        if self.journal is not None:
            self.journal.add(correction)
        self.corrections.append(correction)
        return correction

    # --- what was said ---

    def transcript(self) -> list[dict]:
        """The conversation as rows of a table: the customer's message, the reply, what was decided, milliseconds."""
        return [
            {
                "customer": t.message,
                "agent": t.reply,
                "decided": "; ".join(decision_text(d) for d in t.decisions),
                "ms": round(t.ms),
            }
            for t in self._traces()
        ]

    def export(self, kind: str = "text") -> str:
        """The conversation as ``text``, or as ``json`` with the whole trace and the corrections."""
        if kind == "json":
            from dataclasses import asdict

            data = {"trace": self.talk.trace.to_json(), "corrections": [asdict(c) for c in self.corrections]}
            return json.dumps(data, ensure_ascii=False, indent=1)
        if kind != "text":
            raise AgentLabError(f"A conversation is exported as text or json, not as {kind!r}.")
        return "\n".join(f"Customer: {t.message}\nAgent: {t.reply}" for t in self._traces())

    def _traces(self) -> list:
        return list(self.talk.trace.turns)

    def leave(self) -> None:
        """Say the examples in order and show the transcript."""
        for text in self.examples:
            self.send(text)
        if not self.turns:
            raise AgentLabError("There is no conversation to show: give examples, or send a message first.")
        show_table(self.transcript(), self.caption)

    # --- the widget ---

    def build(self) -> Sequence:
        import ipywidgets as widgets

        from agentlab.ui.corrector import Corrector

        self._turn_boxes = column()
        log = widgets.VBox([self._turn_boxes])
        log.add_class("al-log")
        self._field = widgets.Text(
            description="Your message", placeholder="Write as a customer would", continuous_update=False,
            style={"description_width": "initial"}, layout=widgets.Layout(flex="1 1 16em", width="auto"),
        )  # fmt: skip
        self._field.add_class("al-input")
        self._entered = _Entered(self._field, self._typed)
        self._send = button("Send", self._typed, "al-send", "al-main")
        self._yes = button("Yes, do it", self._clicked_yes, "al-yes", tooltip="Say yes to what was read back")
        self._no = button("No", self._clicked_no, "al-no", tooltip="Say no to what was read back")
        self._new = button("New conversation", self._clicked_new, "al-new")
        self._export = widgets.HTML()
        self._export.add_class("al-export")
        self._asks = row(self._yes, self._no)
        self._corrector = Corrector(self)
        tried = [
            button(text, lambda text=text: self._example(text), "al-example", tooltip=f"Say: {text}")
            for text in self.examples
        ]
        examples = [widgets.HTML("Or choose one of these messages:"), row(*tried)] if tried else []
        for turn in self.turns:
            block = _TurnBlock(self._trace(turn).message)
            block.reply_is(turn.reply)
            self._turn_boxes.children = [*self._turn_boxes.children, block.box]
            self._fill(block, turn)
        self._lock(False)
        boxes = [log, self._asks, row(self._field, self._send), *examples, row(self._new, self._export)]
        return [*boxes, self._corrector.box] if self.may_correct else boxes

    def _fill(self, block: _TurnBlock, turn: Turn) -> None:
        """What comes with a turn that is done: its trace, the button to correct it, the links."""
        trace = self._trace(turn)
        block.trace_is(turn_html(trace, self.rules))
        if self.may_correct:
            about = f"Say what would have been right in turn {trace.number}"
            block.add(row(button("Correct this turn", lambda: self._open(trace.number), "al-correct", tooltip=about)))
        self._corrector.turns_are(self._traces())
        self._links()

    @staticmethod
    def _trace(turn: Any) -> Any:
        return getattr(turn, "trace", turn)

    def _lock(self, busy: bool) -> None:
        """Buttons that make no sense now are off; a yes or no can only be said where the agent waits for it."""
        if self._asks is None:
            return
        self._send.disabled = busy
        for one in (self._yes, self._no):
            one.disabled = busy or not self.waits
        self._asks.layout.display = None if self.waits else "none"

    def _pace(self) -> float:
        return self.pace if self.pace is not None else PACE if live() else 0.0

    def _links(self) -> None:
        kinds = {"text": ("text/plain", "conversation.txt"), "json": ("application/json", "conversation.json")}
        self._export.value = "Keep this conversation: " + ", ".join(
            f'<a download="{name}" href="data:{mime};charset=utf-8;base64,{base64.b64encode(self.export(kind).encode()).decode()}">as {kind}</a>'
            for kind, (mime, name) in kinds.items()
        )

    @guarded
    def _typed(self) -> None:
        text, self._field.value = self._field.value, ""
        try:
            self.send(text)
        except AgentLabError:
            self._field.value = text  # so that it can be mended
            raise

    @guarded
    def _example(self, text: str) -> None:
        self.send(text)

    @guarded
    def _clicked_yes(self) -> None:
        self.yes()
        self.to_field()  # the button that was pressed is gone

    @guarded
    def _clicked_no(self) -> None:
        self.no()
        self.to_field()

    @guarded
    def _clicked_new(self) -> None:
        self.new()

    @guarded
    def _open(self, number: int) -> None:
        self._corrector.open(number)
        self._corrector.intent.focus()

    def to_field(self) -> None:
        """Put the keyboard's focus into the field, where a control that had it is gone."""
        self._field.focus()

    def marked(self, text: str) -> list[Span]:
        """The spans that the agent's understanding marks in a text; none where it has no such thing."""
        understand = getattr(getattr(self.agent, "perceive", None), "understand", None)
        return list(understand([text])[0].spans) if understand is not None and text.strip() else []


class _TurnBlock:
    """One turn on the screen: the message, the reply as it comes, what is behind it."""

    def __init__(self, message: str):
        import ipywidgets as widgets

        self.reply, self.trace = widgets.HTML(_say("Agent", "...", "al-theirs")), widgets.HTML()
        self.trace.add_class("al-trace")
        self.box = column(widgets.HTML(_say("You", message, "al-mine")), self.reply)
        self.box.add_class("al-turn")

    def reply_is(self, text: str) -> None:
        self.reply.value = _say("Agent", text, "al-theirs")

    def reply_comes(self, text: str, pace: float) -> None:
        """The reply word by word; a long one in larger pieces, so that it takes no longer."""
        words = text.split(" ")
        step = max(1, -(-len(words) // CHUNKS))
        for end in range(step, len(words), step) if pace else ():
            self.reply_is(" ".join(words[:end]) + " ...")
            time.sleep(pace)
        self.reply_is(text)

    def trace_is(self, page: str) -> None:
        self.trace.value = page
        self.add(self.trace)

    def add(self, widget: Any) -> None:
        self.box.children = [*self.box.children, widget]


def _say(who: str, text: str, css_class: str) -> str:
    return f'<div class="al-say {css_class}"><b>{who}</b>{html.escape(text)}</div>'


class _Entered:
    """Calls back when Enter is pressed in a text field, and not when the field is only left.

    The page sends two messages on Enter: that it was pressed, and then the new value, if it has changed since the field was
    last left. What was typed fast would be lost if the first alone were listened to.
    """

    WAIT = 0.15  # seconds for the value to come after the key

    def __init__(self, field: Any, callback: Callable[[], None]):
        self.field, self.callback, self.pressed = field, callback, False
        field.on_msg(self._message)
        field.observe(self._changed, names="value")

    def _message(self, _widget: Any, content: Mapping[str, Any], _buffers: Any) -> None:
        if content.get("event") != "submit":
            return
        self.pressed = True
        try:
            asyncio.get_running_loop().call_later(self.WAIT, self._fire)
        except RuntimeError:
            if self.field.value:
                self._fire()

    def _changed(self, change: Mapping[str, Any]) -> None:
        if change["new"]:
            self._fire()

    def _fire(self) -> None:
        if self.pressed:
            self.pressed = False
            self.callback()
