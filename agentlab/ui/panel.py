"""What all widgets share: when they are shown, a line that says what happens, and errors that the learner sees."""

from __future__ import annotations

import functools
import html
import os
from collections.abc import Callable, Sequence
from typing import Any

from agentlab.errors import AgentLabError
from agentlab.show import in_notebook
from agentlab.ui import theme

faults: list[BaseException] = []  # what callbacks raised that was no message to the learner; tests look here


def live() -> bool:
    """True where somebody can click: in a notebook that is not being run headlessly."""
    return in_notebook() and not os.environ.get("AGENTLAB_HEADLESS")


def status_html(text: str, kind: str = "") -> str:
    """A sentence in a region that a screen reader reads out when it changes; ``kind`` is a CSS class."""
    named = f' class="{kind}"' if kind else ""
    return f'<div role="status" aria-live="polite" aria-atomic="true"{named}>{html.escape(text)}</div>'


def guarded(callback: Callable) -> Callable:
    """A panel's method that is called by a click: what it raises is shown in the panel.

    A message to the learner (`AgentLabError`) is shown as it is. Anything else is a fault of ours: it is shown, kept in
    `faults`, and raised again, so that its traceback stands below the cell.
    """

    @functools.wraps(callback)
    def run(self: Panel, *arguments: Any) -> Any:
        try:
            return callback(self, *arguments)
        except AgentLabError as error:
            self.announce(f"That did not work: {error}", "al-fault")
        except KeyboardInterrupt:
            self.announce("That was stopped.", "al-fault")
        except Exception as error:
            faults.append(error)
            self.announce(
                f"That failed, and it is not your fault ({type(error).__name__}: {error}). Run the cell again.",
                "al-fault",
            )
            raise
        return None

    return run


class Panel:
    """A widget with plain methods. ``widget`` is the root box, made when it is first asked for; `show` shows it.

    A child writes `build`, which gives the boxes inside, and `leave`, which shows a table or transcript for readers
    where nothing is running.
    """

    css_class = "al-panel"

    def __init__(self):
        self._widget = self._status = None
        self.said = ""  # what the status line says

    @property
    def widget(self):
        """The root box (an ipywidgets VBox)."""
        if self._widget is None:
            import ipywidgets as widgets

            self._status = widgets.HTML(status_html(self.said))
            self._status.add_class("al-status")
            self._widget = widgets.VBox([theme.style_sheet(), *self.build(), self._status])
            for name in ("al", "al-col", self.css_class):
                self._widget.add_class(name)
        return self._widget

    def build(self) -> Sequence:
        """The boxes of the panel, from top to bottom."""
        raise NotImplementedError

    def leave(self) -> None:
        """Show what a reader sees where nothing is running."""
        raise NotImplementedError

    def show(self) -> None:
        """Show the widget where somebody can click, else the table or transcript."""
        if live():
            from IPython.display import display

            display(self.widget)
        else:
            self.leave()

    def announce(self, text: str, kind: str = "") -> None:
        """Say something in the status line, which a screen reader reads out."""
        self.said = text
        if self._status is not None:
            self._status.value = status_html(text, kind)


def row(*children: Any):
    """Widgets side by side; on a narrow screen they wrap."""
    import ipywidgets as widgets

    box = widgets.Box(list(children))
    box.add_class("al-row")
    return box


def column(*children: Any):
    """Widgets one below the other."""
    import ipywidgets as widgets

    box = widgets.VBox(list(children))
    box.add_class("al-col")
    return box


def button(label: str, on_click: Callable, *classes: str, tooltip: str = ""):
    """A button with classes; ``tooltip`` is what a screen reader adds to its label."""
    import ipywidgets as widgets

    made = widgets.Button(description=label, tooltip=tooltip or label)
    for name in classes:
        made.add_class(name)
    made.on_click(lambda _: on_click())
    return made
