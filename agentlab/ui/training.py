"""A training to look at while it goes, and to stop when enough has been seen."""

from __future__ import annotations

import html
import math
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

from agentlab.errors import AgentLabError
from agentlab.show import COLOURS, figure_html, new_figure, show_figure, show_table
from agentlab.ui.panel import Panel, button, guarded, live, row
from agentlab.ui.polling import handle_clicks

EVERY = 0.3  # seconds between two looks at the training
SMOOTHING = 0.9  # of the loss that is drawn, from one step to the next
MOST_POINTS = 200  # of the line that is drawn


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
        return draw_epochs(self.rows)

    def show(self) -> None:
        """Leave the chart as a figure with its caption."""
        if self.area is not None:
            from IPython.display import HTML

            self.area.update(HTML(""))
        figure, alt = self.draw()
        show_figure(figure, alt, self.title)


def draw_epochs(rows: Sequence[dict]) -> tuple:
    """Training loss and score by epoch: the figure and its description."""
    if not rows:
        raise AgentLabError("There is no epoch to draw yet: pass the curve as on_epoch to fit() first.")
    epochs = [r["epoch"] for r in rows]
    figure, (left, right) = new_figure(7.5, 2.8, columns=2)
    left.plot(epochs, [r["train_loss"] for r in rows], "o-", color=COLOURS["blue"])
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    scores = [r["score"] for r in rows if "score" in r]
    right.plot(epochs[: len(scores)], scores, "s-", color=COLOURS["vermilion"])
    right.set(xlabel="epoch", ylabel="score on validation")
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
    first, last = rows[0], rows[-1]
    alt = f"Two line charts over {len(epochs)} epochs: the training loss goes from {first['train_loss']:.2f} to {last['train_loss']:.2f}"
    return figure, f"{alt}{f', the score from {scores[0]:.3f} to {scores[-1]:.3f}' if scores else ''}."


class TrainingMonitor(Panel):
    """A training while its cell runs: loss, score, learning rate, speed, time left, and a button to stop and keep the best.

    It is told by `fit`, which stops as soon as the button was pressed, or the kernel was interrupted once::

        with TrainingMonitor("Our way") as monitor:
            history = fit(reader, train, validation, on_epoch=monitor, on_step=monitor.on_step, bar=False)
        monitor.show()

    `stop` does what the button does. `show` leaves the epochs as a figure, and the figures of the last step as a table.
    """

    css_class = "al-monitor"

    def __init__(self, title: str, score: str = "score"):
        super().__init__()
        self.title, self.score = title, score
        self.rows: list[dict] = []  # a row per epoch
        self.steps: list[tuple[int, float]] = []  # step and smoothed loss
        self.last: dict[str, Any] = {}  # what `on_step` was told last
        self.done = False
        self.said = "Waiting for the first step."
        self._stop = threading.Event()  # the button may be pressed in another thread
        self._looked, self._began, self._before, self._shown = -math.inf, None, None, False

    # --- what `fit` calls ---

    def __call__(self, row: dict) -> None:
        """Take in what `fit` tells after an epoch."""
        self.rows.append(row)
        score = f", {self.score} {row['score']:.3f}" if "score" in row else ""
        self.announce(f"Epoch {row['epoch']} is done: loss {row['train_loss']:.3f}{score}.")
        self._redraw()

    def on_step(self, row: dict) -> bool:
        """Take in what `fit` tells after a step; True asks it to stop."""
        if self._began is None:
            self._display()
            self._began = (time.perf_counter(), row["step"] - 1)
        before = self.steps[-1][1] if self.steps else row["loss"]
        self.steps.append((row["step"], SMOOTHING * before + (1 - SMOOTHING) * row["loss"]))
        self.last = row
        if time.perf_counter() - self._looked >= EVERY or row["step"] == row["steps"]:
            self._looked = time.perf_counter()
            handle_clicks()
            self._redraw()
        return self.stopped

    # --- what can be done ---

    @property
    def stopped(self) -> bool:
        """Whether an end was asked for."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the training to stop after this step and to keep the best weights; nothing once it is done."""
        if self.done:
            self.announce("The training is over; there is nothing to stop.")
            return
        self._stop.set()
        self.announce("Stopping after this step; the best weights are kept.")

    def __enter__(self) -> TrainingMonitor:
        self.done = False
        self._display()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if live():
                signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, kind, error, _) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
        self.done = True
        if kind is not None:
            self.announce(f"The training ended with an error: {error or kind.__name__}", "al-fault")
        elif self.stopped and self.last.get("step", 0) < self.last.get("steps", 0):
            self.announce(f"Stopped in step {self.last['step']} of {self.last['steps']}. {self._best()}")
        else:
            self.announce(f"The training is done. {self._best()}")
        self._redraw()

    def _display(self) -> None:
        if live() and not self._shown:
            from IPython.display import display

            self._shown = True
            display(self.widget)

    def _interrupted(self, *_) -> None:
        """The first interrupt stops the training in order; a second one breaks off."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.stop()

    def _best(self) -> str:
        scored = [r for r in self.rows if "score" in r]
        if not scored:
            return "The weights are those of the last step."
        best = max(scored, key=lambda r: r["score"])
        return f"The weights of epoch {best['epoch']} are kept: {self.score} {best['score']:.3f}."

    # --- what is seen ---

    def figures(self) -> dict[str, str]:
        """The figures of this moment, as words: step, epoch, loss, score, learning rate, speed, time left."""
        if not self.last:
            return {}
        row = self.last
        seconds = max(row["seconds"], 1e-9)
        found = {
            "step": f"{row['step']} of {row['steps']}",
            "epoch": str(row["epoch"]),
            "loss": f"{self.steps[-1][1]:.3f}",
            self.score: next((f"{r['score']:.3f}" for r in reversed(self.rows) if "score" in r), "after an epoch"),
            "learning rate": f"{row['learning_rate']:.2g}",
            "examples per second": f"{row['examples'] / seconds:.0f}",
        }
        began, first = self._began
        per_step = (time.perf_counter() - began) / max(1, row["step"] - first)
        left = per_step * (row["steps"] - row["step"])
        return found | {"time left": "none" if self.done or left <= 0 else _minutes(left)}

    def build(self) -> Sequence:
        import ipywidgets as widgets

        self._page = widgets.HTML(self._html())
        self._page.add_class("al-figures")
        self._button = button("Stop and keep the best", self._clicked, "al-stop", tooltip="Stop the training after this step and keep the best weights")  # fmt: skip
        self._button.disabled = self.done
        return [self._page, row(self._button)]

    @guarded
    def _clicked(self) -> None:
        self.stop()

    def _redraw(self) -> None:
        if self._widget is not None:
            self._page.value = self._html()
            self._button.disabled = self.done or self.stopped

    def _html(self) -> str:
        cells = "".join(
            f'<li><span class="al-quiet">{html.escape(name)}</span><br><strong>{html.escape(value)}</strong></li>'
            for name, value in self.figures().items()
        )
        figures = f'<ul class="al-row-of-figures">{cells}</ul>' if cells else ""
        return f"<strong>{html.escape(self.title)}</strong>{figures}{loss_svg(self.steps, self.last.get('steps', 0))}"

    def show(self) -> None:
        """Leave what `leave` shows; the widget itself is shown as soon as the training begins."""
        self.leave()

    def leave(self) -> None:
        """Show the epochs as a figure, with the last row of figures below; a training without a whole epoch has only those."""
        if not self.last and not self.rows:
            raise AgentLabError(
                "There is nothing to show yet: pass the monitor as on_epoch and on_step to fit() first."
            )
        if self.rows:
            figure, alt = draw_epochs(self.rows)
            show_figure(figure, alt, self.title)
        if figures := {k: v for k, v in self.figures().items() if k != "time left"}:
            show_table([figures], f"{self.title.rstrip('.')}: the last step")


def loss_svg(steps: Sequence[tuple[int, float]], total: int) -> str:
    """The loss over the steps as a small picture that takes no time to draw; empty before the second step."""
    points = steps[:: max(1, len(steps) // MOST_POINTS)]
    if len(points) < 2:
        return ""
    high = max(loss for _, loss in points) or 1.0
    wide = max(total, points[-1][0])
    line = " ".join(f"{600 * step / wide:.1f},{110 - 100 * loss / high:.1f}" for step, loss in points)
    said = f"Line chart of the training loss: {points[0][1]:.2f} in step {points[0][0]}, {points[-1][1]:.2f} in step {points[-1][0]} of {wide}."
    return (
        f'<svg viewBox="0 0 600 116" role="img" aria-label="{html.escape(said)}" style="width:100%;max-width:600px;height:auto">'
        '<line x1="0" y1="110" x2="600" y2="110" stroke="var(--al-line)"/><line x1="0" y1="0" x2="0" y2="110" stroke="var(--al-line)"/>'
        f'<polyline points="{line}" fill="none" stroke="var(--al-blue)" stroke-width="2.5"/></svg>'
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
