"""Try it yourself: a field whose text is answered, and sliders that redraw a figure."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agentlab.errors import AgentLabError
from agentlab.show import figure_html, show_figure, show_table
from agentlab.ui import theme
from agentlab.ui.panel import button, column, live, status_html

LONGEST_INPUT = 2000
FAULT = ' class="al-fault"'


def play(label: str, answer: Callable[[str], str], examples: Sequence[str], caption: str) -> None:
    """Let the learner type texts and see ``answer(text)``; under it a table with the answers to ``examples``."""
    if live():
        from IPython.display import display

        display(play_widget(label, answer, examples[0]))
    show_table([{label: text, "what comes out": answer(text)} for text in examples], caption)


def play_widget(label: str, answer: Callable[[str], str], start: str):
    """A labelled text field, a button, and a line of status that also a screen reader hears."""
    import ipywidgets as widgets

    field = widgets.Textarea(value=start, description=label, layout=widgets.Layout(width="95%", height="4em"))
    field.style.description_width = "initial"
    status = widgets.HTML()

    def tell(page: str, kind: str = "") -> None:
        status.value = f'<div role="status" aria-live="polite" aria-atomic="true"{kind}>{page}</div>'

    def run() -> None:
        text = field.value.strip()
        if not text:
            tell("The field is empty: type a message first.", FAULT)
            return
        if len(text) > LONGEST_INPUT:
            tell(f"That is {len(text)} characters; at most {LONGEST_INPUT} are read here.", FAULT)
            return
        go.disabled = True
        tell("Working ...")
        try:
            tell(f"<b>Result:</b> {html.escape(answer(text))}")
        except AgentLabError as error:
            tell(f"<b>That did not work:</b> {html.escape(str(error))}", FAULT)
        except BaseException:
            tell("That failed or was stopped; see the message below the cell.", FAULT)
            raise
        finally:
            go.disabled = False

    go = button("Try it", run, "al-main", tooltip=f"Run this {label.lower()}")
    tell("Type something, then press Try it.")
    return _dressed(field, go, status)


def _dressed(*children):
    """A box in the look of the other widgets."""
    box = column(*children, theme.style_sheet())
    box.add_class("al")
    return box


class Slider(NamedTuple):
    """A number that the learner may move: from ``low`` to ``high`` in steps of ``step``, at first ``start``."""

    low: float
    high: float
    step: float
    start: float


def explore(draw: Callable[..., tuple], sliders: dict[str, Slider], caption: str) -> None:
    """Sliders that redraw a figure; under them the figure as it stands at the start, for where nothing is running.

    ``draw(**values)`` takes a value per slider and returns ``(figure, alt, sentence)``.
    """
    if live():
        from IPython.display import display

        display(explore_widget(draw, sliders))
    figure, alt, sentence = draw(**{name: s.start for name, s in sliders.items()})
    show_figure(figure, alt, f"{caption} {sentence}")


def explore_widget(draw: Callable[..., tuple], sliders: dict[str, Slider]):
    """The sliders, the figure, and a sentence of status that also a screen reader hears."""
    import ipywidgets as widgets

    controls = {
        name: widgets.FloatSlider(
            value=s.start, min=s.low, max=s.high, step=s.step, description=name, continuous_update=False,
            style={"description_width": "10em"}, layout=widgets.Layout(width="95%"),
        )
        for name, s in sliders.items()
    }  # fmt: skip
    picture, status = widgets.HTML(), widgets.HTML()

    def redraw(_=None) -> None:
        try:
            figure, alt, sentence = draw(**{name: control.value for name, control in controls.items()})
        except AgentLabError as error:
            status.value = status_html(f"That did not work: {error}", "al-fault")
            return
        picture.value = figure_html(figure, alt)
        status.value = status_html(sentence)

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    return _dressed(*controls.values(), picture, status)
