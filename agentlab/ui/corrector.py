"""The form in which a person says what would have been right in a turn of a chat."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentlab.ui.panel import button, column, guarded, row
from agentlab.ui.spans import SpanEditor
from agentlab.ui.traces import shown

if TYPE_CHECKING:
    from agentlab.trace import TurnTrace
    from agentlab.ui.chat import ChatPanel

NOT_SAID = "(as it was)"


class Corrector:
    """A folded form under a chat; `open` unfolds it for a turn, and Keep makes a correction of what was filled in."""

    def __init__(self, chat: ChatPanel):
        import ipywidgets as widgets

        self.chat, self.number, self.turns = chat, None, []
        wide = {"style": {"description_width": "initial"}, "layout": widgets.Layout(width="auto", flex="1 1 18em")}
        self.title = widgets.HTML()
        self.intent = widgets.Dropdown(options=[NOT_SAID], description="Right wish", **wide)
        self.action = widgets.Dropdown(options=[NOT_SAID, "ask", "hand over"], description="Right next step", **wide)
        self.reply = widgets.Textarea(description="Better reply", rows=2, **wide)
        self.note = widgets.Text(description="Note", **wide)
        self.by = widgets.Text(description="Your name", **wide)
        self.keep = button("Keep this correction", self._keep, "al-keep", "al-main")
        self.close = button("Close", self._close, "al-close")
        self.spans_too = widgets.Checkbox(description="The spans were wrong, too", indent=False)
        self.spans_too.observe(self._spans_wanted, names="value")
        self.spans, self.editor = column(), None
        self.box = column(
            self.title, row(self.intent, self.action), self.spans_too, self.spans, row(self.reply), row(self.note, self.by),
            row(self.keep, self.close),
        )  # fmt: skip
        self.box.add_class("al-corrector")
        self.hide()

    # guarded() wants a panel: this form speaks through the chat's status line
    def announce(self, text: str, kind: str = "") -> None:
        self.chat.announce(text, kind)

    def turns_are(self, turns: Sequence[TurnTrace]) -> None:
        """The turns that may be corrected; a form that is open for one that is gone is closed."""
        self.turns = list(turns)
        if self.number is not None and self.number > len(self.turns):
            self.hide()

    def open(self, number: int) -> None:
        """Unfold the form for a turn."""
        from agentlab.feedback import known_intents

        self.number = number
        turn = self._turn()
        self.title.value = f"<strong>Turn {number}:</strong> {html.escape(shown(turn.message, 200))}<br>Fill in what would have been right; leave the rest as it is."
        self.intent.options = [NOT_SAID, *sorted(known_intents())]
        self.intent.value = self.action.value = NOT_SAID
        self.reply.value = self.note.value = ""
        self.spans_too.value = False
        self.box.layout.display = None
        self.announce(f"The form for turn {number} is open below the chat.")

    def hide(self) -> None:
        """Fold the form."""
        self.number = None
        self.spans_too.value = False
        self.box.layout.display = "none"

    @guarded
    def _spans_wanted(self, change: dict) -> None:
        """Lay out the message of the turn to be marked, with the spans that the agent's model sees."""
        self.editor, self.spans.children = None, []
        if change["new"] and self.number is not None:
            text = re.sub(r"\s", " ", self._turn().message)  # as a correction keeps it
            self.editor = SpanEditor(text, self.chat.marked(text))
            self.spans.children = [self.editor.widget]

    def _turn(self) -> TurnTrace:
        return next(t for t in self.turns if t.number == self.number)

    @guarded
    def _close(self) -> None:
        self.hide()
        self.chat.to_field()

    def filled(self) -> dict[str, Any]:
        """What was filled in, as `ChatPanel.correct` takes it."""
        chosen = {"intent": self.intent.value, "action": self.action.value}
        said: dict[str, Any] = {name: value for name, value in chosen.items() if value != NOT_SAID}
        if self.reply.value.strip():
            said["reply"] = self.reply.value
        if self.editor is not None:
            said["spans"] = list(self.editor.spans)
        if self.note.value.strip():
            said["note"] = self.note.value
        return said

    @guarded
    def _keep(self) -> None:
        number = self.number
        correction = self.chat.correct(number, by=self.by.value, **self.filled())
        self._close()
        self.announce(
            f"Kept correction {correction.id} of turn {number}. Names, addresses and numbers in it were replaced."
        )
