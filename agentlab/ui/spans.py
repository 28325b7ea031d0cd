"""Mark and label the spans of a message, with the mouse or with the keyboard alone."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Mapping, Sequence

from agentlab import corpus
from agentlab.corpus import Message, Span
from agentlab.errors import AgentLabError, UnknownName
from agentlab.show import show_table
from agentlab.ui.panel import Panel, button, column, guarded, row
from agentlab.ui.traces import marked_html

TOKEN = re.compile(r"['’]s\b|([^\w\s])\1*|\w(?:(?!['’]s\b)\S)*(?<=\w)")  # possessive 's, marks, words
LONGEST_MESSAGE = 600  # characters; each word is a button


def words_of(text: str, spans: Sequence[Span] = ()) -> list[tuple[int, int]]:
    """The words of a text as (start, end), marks around a word apart; edges of spans are edges of words.

    >>> [text[a:b] for text in ["my (Sony) headset, #W20417!"] for a, b in words_of(text)]
    ['my', '(', 'Sony', ')', 'headset', ',', '#', 'W20417', '!']
    """
    cuts = {place for s in spans for place in (s.start, s.end)}
    words = []
    for match in TOKEN.finditer(text):
        edges = sorted({*match.span(), *(c for c in cuts if match.start() < c < match.end())})
        words += [(a, b) for a, b in itertools.pairwise(edges) if text[a:b].strip()]
    return words


class SpanEditor(Panel):
    """A message whose spans are marked: choose the first and the last word, choose what they are, mark.

    ``types`` are what a span may be, with a line on each; without it the span types of the course's corpus. ``truth`` are the
    spans that a person marked before, for `compare`. ``on_change`` is called with the spans after each change.

    >>> editor = SpanEditor("where is my Sony headset?", types={"product": "a thing"})
    >>> editor.mark("Sony headset", "product")
    Span(start=12, end=24, type='product')
    >>> editor.markup()
    'where is my [Sony headset](product)?'
    """

    css_class = "al-spans"

    def __init__(
        self,
        text: str,
        spans: Sequence[Span] = (),
        types: Mapping[str, str] | None = None,
        truth: Sequence[Span] | None = None,
        caption: str = "The spans of the message",
        on_change: Callable[[tuple[Span, ...]], None] | None = None,
    ):
        super().__init__()
        if not text.strip() or len(text) > LONGEST_MESSAGE:
            raise AgentLabError(f"Spans are marked in a message of 1 to {LONGEST_MESSAGE} characters; this has {len(text)}.")  # fmt: skip
        self.text, self.truth, self.caption, self.on_change = text, truth, caption, on_change
        self.types = dict(corpus.support().labels.span_types if types is None else types)
        self._spans: list[Span] = []
        self.words = words_of(text, [*spans, *(truth or ())])
        self.first = self.last = None  # numbers of the words that are selected
        for span in spans:
            self._add(span)
        self.said = "Choose the first word of a span, then its last word."

    # --- what can be done ---

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans as they stand in the corpus, in order."""
        return tuple(sorted(self._spans))

    def mark(self, words: str, kind: str) -> Span:
        """Mark these words of the message as a span of a type; the first place that is free is taken.

        Raises `AgentLabError` for words that do not stand there or that overlap another span, `UnknownName` for a type.
        """
        places = [m.start() for m in re.finditer(re.escape(words.strip()), self.text)] if words.strip() else []
        if not places:
            raise AgentLabError(f"The words {words!r} do not stand in the message {self.text!r}.")
        found = [Span(at, at + len(words.strip()), kind) for at in places]
        return self._add(next((s for s in found if not self._overlapping(s)), found[0]))

    def select(self, first: int, last: int | None = None) -> str:
        """Select the words number ``first`` to ``last``, counted from 0; gives the text between."""
        last = first if last is None else last
        first, last = min(first, last), max(first, last)
        if not 0 <= first <= last < len(self.words):
            raise AgentLabError(f"The message has words 0 to {len(self.words) - 1}; there is no word {last}.")
        self.first, self.last = first, last
        self._redraw()
        return self.text[self.words[first][0] : self.words[last][1]]

    def mark_selected(self, kind: str) -> Span:
        """Mark what is selected as a span of a type."""
        if self.first is None:
            raise AgentLabError("Nothing is selected: choose the first word of a span, then its last word.")
        span = self._add(Span(self.words[self.first][0], self.words[self.last][1], kind))
        self.first = self.last = None
        self._changed()
        return span

    def remove(self, span: Span) -> None:
        """Take a span away."""
        if span not in self._spans:
            raise AgentLabError(f"There is no span {span.start} to {span.end} of type {span.type}.")
        self._spans.remove(span)
        self._changed()

    def clear(self) -> None:
        """Take all spans away."""
        self._spans.clear()
        self._changed()

    def markup(self) -> str:
        """The message in the mark-up of the corpus."""
        return Message(self.text, (), self.spans).markup()

    def compare(self) -> list[dict]:
        """Each span here or in ``truth``: same, other type, other edges, missing, or not there, as rows of a table."""
        if self.truth is None:
            raise AgentLabError("There are no true spans to compare with: give `truth`.")
        rows = [{"words": self._words(s), "you": s.type, "the guide": s.type, "difference": "same"} for s in self.spans if s in self.truth]  # fmt: skip
        mine, theirs = [s for s in self.spans if s not in self.truth], [s for s in self.truth if s not in self._spans]
        for span in mine:
            near = next((t for t in theirs if t.start < span.end and span.start < t.end), None)
            if near is None:
                rows.append({"words": self._words(span), "you": span.type, "the guide": "", "difference": "not there"})
                continue
            theirs.remove(near)
            what = (
                "other type"
                if (near.start, near.end) == (span.start, span.end)
                else f"other edges: {self._words(near)!r}"
            )
            rows.append({"words": self._words(span), "you": span.type, "the guide": near.type, "difference": what})
        rows += [{"words": self._words(t), "you": "", "the guide": t.type, "difference": "missing"} for t in theirs]
        return rows

    def _words(self, span: Span) -> str:
        return self.text[span.start : span.end]

    def _overlapping(self, span: Span) -> Span | None:
        return next((s for s in self._spans if s.start < span.end and span.start < s.end), None)

    def _add(self, span: Span) -> Span:
        if span.type not in self.types:
            raise UnknownName("span type", span.type, self.types)
        words = self.text[span.start : span.end]
        if not 0 <= span.start < span.end <= len(self.text) or words != words.strip():
            raise AgentLabError(f"The span {span.start} to {span.end} is no words of {self.text!r}.")
        if other := self._overlapping(span):
            raise AgentLabError(f"The spans {self._words(other)!r} and {words!r} overlap; spans stand side by side.")
        self._spans.append(span)
        self._changed()
        return span

    # --- the widget ---

    def build(self) -> Sequence:
        import ipywidgets as widgets

        self._page, self._list = widgets.HTML(), column()
        self._page.add_class("al-marked")
        self._buttons = [self._word_button(n) for n in range(len(self.words))]
        options = [(f"{name} ({about})" if about else name, name) for name, about in self.types.items()]
        self._type = widgets.Dropdown(
            options=options, description="is a", style={"description_width": "initial"},
            layout=widgets.Layout(width="auto", flex="0 1 20em"),
        )  # fmt: skip
        self._mark = button("Mark", self._clicked_mark, "al-mark", "al-main", tooltip="Mark the selected words")
        self._draw()
        return [self._page, row(*self._buttons), row(self._type, self._mark), self._list]

    def _word_button(self, number: int):
        a, b = self.words[number]
        return button(self.text[a:b], lambda: self._clicked_word(number), "al-word", tooltip=f"Word {number + 1}")

    @guarded
    def _clicked_word(self, number: int) -> None:
        if self.first is None or self.last != self.first:
            chosen, more = self.select(number), " Choose the last word, or what it is."
        else:
            chosen, more = self.select(self.first, number), ""
        self.announce(f"Selected: {chosen!r}.{more} Then press Mark.")

    @guarded
    def _clicked_mark(self) -> None:
        span = self.mark_selected(self._type.value)
        self.announce(f"Marked {self._words(span)!r} as {span.type}. {len(self._spans)} spans in all.")

    @guarded
    def _clicked_remove(self, span: Span) -> None:
        self.remove(span)
        self.announce(f"{self._words(span)!r} is no span any more.")

    def _changed(self) -> None:
        self._redraw()
        if self.on_change is not None:
            self.on_change(self.spans)

    def _redraw(self) -> None:
        if self._widget is not None:
            self._draw()

    def _draw(self) -> None:
        self._page.value = f"<p>{marked_html(self.text, self.spans)}</p>"
        for n, one in enumerate(self._buttons):
            chosen = self.first is not None and self.first <= n <= self.last
            one.add_class("mod-active") if chosen else one.remove_class("mod-active")
            one.tooltip = f"Word {n + 1}{', selected' if chosen else ''}"
        self._mark.disabled = self.first is None
        self._list.children = [
            button(f"Remove {self._words(s)} ({s.type})", lambda s=s: self._clicked_remove(s), "al-remove")
            for s in self.spans
        ]

    def leave(self) -> None:
        """Show the spans, or the comparison with the true ones, as a table."""
        if self.truth is not None:
            show_table(
                self.compare() or [{"words": "none", "you": "", "the guide": "", "difference": "same"}], self.caption
            )
            return
        rows = [{"words": self._words(s), "type": s.type, "characters": f"{s.start} to {s.end}"} for s in self.spans]
        show_table(rows or [{"words": html.escape("none"), "type": "", "characters": ""}], self.caption)
