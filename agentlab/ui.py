"""Widgets of the lessons. Each works live, and leaves a table that a reader sees where nothing is running."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agentlab.errors import AgentLabError
from agentlab.show import COLOURS, figure_html, in_notebook, new_figure, show_figure, show_table

LONGEST_INPUT = 2000


def live() -> bool:
    """True where somebody can click: in a notebook that is not being run headlessly."""
    return in_notebook() and not os.environ.get("AGENTLAB_HEADLESS")


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
    button = widgets.Button(description="Try it", tooltip=f"Run this {label.lower()}")
    status = widgets.HTML('<div role="status">Type something, then press Try it.</div>')

    def run(_) -> None:
        text = field.value.strip()
        if not text:
            status.value = '<div role="status">The field is empty: type a message first.</div>'
            return
        if len(text) > LONGEST_INPUT:
            status.value = (
                f'<div role="status">That is {len(text)} characters; at most {LONGEST_INPUT} are read here.</div>'
            )
            return
        button.disabled, status.value = True, '<div role="status">Working ...</div>'
        try:
            status.value = f'<div role="status"><b>Result:</b> {html.escape(answer(text))}</div>'
        except AgentLabError as error:
            status.value = f'<div role="status"><b>That did not work:</b> {html.escape(str(error))}</div>'
        except BaseException:
            status.value = '<div role="status">That failed or was stopped; see the message below the cell.</div>'
            raise
        finally:
            button.disabled = False

    button.on_click(run)
    return widgets.VBox([field, button, status])


class LiveCurve:
    """Loss and score of a training as it goes: pass it as ``on_epoch`` to `fit`, then call ``show()``.

    In a live notebook the chart is redrawn in place after each epoch. ``show()`` leaves it as a figure.
    """

    def __init__(self, title: str):
        self.title, self.rows, self.area = title, [], None

    def __call__(self, row: dict) -> None:
        self.rows.append(row)
        if live():
            from IPython.display import HTML, display

            picture = HTML(figure_html(*self.draw()))
            if self.area is None:
                self.area = display(picture, display_id=True)
            else:
                self.area.update(picture)

    def draw(self) -> tuple:
        """The chart and its description."""
        if not self.rows:
            raise AgentLabError("There is no epoch to draw yet: pass the curve as on_epoch to fit() first.")
        epochs = [r["epoch"] for r in self.rows]
        figure, (left, right) = new_figure(7.5, 2.8, columns=2)
        left.plot(epochs, [r["train_loss"] for r in self.rows], "o-", color=COLOURS["blue"])
        left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
        scores = [r["score"] for r in self.rows if "score" in r]
        right.plot(epochs[: len(scores)], scores, "s-", color=COLOURS["vermilion"])
        right.set(xlabel="epoch", ylabel="score on validation")
        for ax in (left, right):
            ax.xaxis.get_major_locator().set_params(integer=True)
        first, last = self.rows[0], self.rows[-1]
        alt = f"Two line charts over {len(epochs)} epochs: the training loss goes from {first['train_loss']:.2f} to {last['train_loss']:.2f}"
        return figure, f"{alt}{f', the score from {scores[0]:.3f} to {scores[-1]:.3f}' if scores else ''}."

    def show(self) -> None:
        """Leave the chart as a figure with its caption."""
        if self.area is not None:
            from IPython.display import HTML

            self.area.update(HTML(""))
        figure, alt = self.draw()
        show_figure(figure, alt, self.title)


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
            status.value = f'<div role="status"><b>That did not work:</b> {html.escape(str(error))}</div>'
            return
        picture.value = figure_html(figure, alt)
        status.value = f'<div role="status">{html.escape(sentence)}</div>'

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    return widgets.VBox([*controls.values(), picture, status])
