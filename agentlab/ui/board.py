"""Where you stand: what is passed, what is next. Read from the progress file of this machine, which goes nowhere."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentlab.progress import read_progress
from agentlab.show import show_table
from agentlab.ui.panel import Panel, button, guarded, row

LESSONS = {  # first part of an exercise's id -> lesson
    "start": "00 Start here", "prepare": "01 Prepare the data", "loss": "02 Derive the loss",
    "finetune": "03 Fine-tune", "language": "04 Language output", "tools": "05 Use tools", "agent": "06 The agent",
    "retrieval": "07 New questions", "news": "08 News watch", "recommend": "09 Recommend",
}  # fmt: skip
SYMBOLS = {"PASSED": "✔", "WRONG": "✘", "ERROR": "⚠", "NOT STARTED": "○"}


class ProgressBoard(Panel):
    """The exercises by lesson with what became of each, and which is next.

    ``exercises`` are their ids with minutes, by default all of the course; ``path`` is a progress file, by default this machine's.

    >>> board = ProgressBoard({"start.one": 5, "start.two": 10}, path="no such file")
    >>> board.next()
    'start.one'
    >>> board.rows()
    [{'lesson': '00 Start here', 'passed': '0 of 2', 'minutes left': 15, 'next': 'one'}]
    """

    css_class = "al-board"

    def __init__(
        self,
        exercises: Mapping[str, int] | None = None,
        path: str | Path | None = None,
        caption: str = "What you have passed, and what is next",
    ):
        super().__init__()
        if exercises is None:
            from agentlab.exercises import all_exercises

            exercises = {id: e.minutes for id, e in all_exercises().items()}
        order = {lesson: n for n, lesson in enumerate(dict.fromkeys(LESSONS.values()))}
        self.minutes = dict(sorted(exercises.items(), key=lambda e: order.get(lesson_of(e[0]), len(order))))
        self.path, self.caption = path, caption
        self.entries: dict[str, dict] = {}
        self.refresh()

    # --- what can be asked ---

    def refresh(self) -> None:
        """Read the progress file again; raises `DataError` for a broken one."""
        self.entries = read_progress(self.path)
        if self._widget is not None:
            self._page.value = self.html()
        self.announce(self.sentence())

    def state(self, id: str) -> str:
        """PASSED, WRONG, ERROR or NOT STARTED."""
        return self.entries.get(id, {}).get("state", "NOT STARTED")

    def next(self) -> str | None:
        """The first exercise, in the order of the course, that is not passed; None when all are."""
        return next((id for id in self.minutes if self.state(id) != "PASSED"), None)

    def sentence(self) -> str:
        """How many are passed, and which is next."""
        passed = sum(self.state(id) == "PASSED" for id in self.minutes)
        start = f"{passed} of {len(self.minutes)} exercises passed."
        if (id := self.next()) is None:
            return f"{start} That is all of them."
        tried = self.entries.get(id, {}).get("attempts", 0)
        again = f", tried {tried} {'time' if tried == 1 else 'times'} so far" if tried else ""
        return f"{start} Next: {id.split('.')[-1].replace('_', ' ')}, in {lesson_of(id)}{again}."

    def rows(self) -> list[dict]:
        """One row for each lesson."""
        found = []
        for lesson, ids in self._lessons().items():
            open_ones = [id for id in ids if self.state(id) != "PASSED"]
            found.append({
                "lesson": lesson, "passed": f"{len(ids) - len(open_ones)} of {len(ids)}",
                "minutes left": sum(self.minutes[id] for id in open_ones),
                "next": open_ones[0].split(".")[-1].replace("_", " ") if open_ones else "done",
            })  # fmt: skip
        return found

    def _lessons(self) -> dict[str, list[str]]:
        lessons: dict[str, list[str]] = {}
        for id in self.minutes:
            lessons.setdefault(lesson_of(id), []).append(id)
        return lessons

    # --- what is seen ---

    def html(self) -> str:
        """Lessons to unfold, each with its exercises; the one with the next exercise is unfolded."""
        return "".join(self._lesson_html(lesson, ids) for lesson, ids in self._lessons().items())

    def _lesson_html(self, lesson: str, ids: Sequence[str]) -> str:
        passed = sum(self.state(id) == "PASSED" for id in ids)
        lines = "".join(self._line(id) for id in ids)
        unfolded = " open" if self.next() in ids else ""
        return (
            f"<details{unfolded}><summary>{html.escape(lesson)}: {passed} of {len(ids)} passed"
            f' <progress value="{passed}" max="{len(ids)}" aria-hidden="true"></progress></summary><ul>{lines}</ul></details>'
        )

    def _line(self, id: str) -> str:
        state, entry = self.state(id), self.entries.get(id, {})
        style = {"PASSED": "al-good", "WRONG": "al-bad", "ERROR": "al-bad"}.get(state, "al-quiet")
        more = [f"{entry['attempts']} tries"] if entry.get("attempts", 0) > 1 else []
        more += [f"{entry['hints']} hints"] if entry.get("hints") else []
        more += ["solution seen"] if entry.get("solution_seen") else []
        about = f" ({', '.join(more)})" if more else f" ({self.minutes[id]} minutes)" if state != "PASSED" else ""
        name = html.escape(id.split(".")[-1].replace("_", " "))
        return f'<li>{name}: <span class="{style}">{SYMBOLS[state]} {state}</span>{about}</li>'

    def build(self) -> Sequence:
        import ipywidgets as widgets

        self._page = widgets.HTML(self.html())
        return [self._page, row(button("Look again", self._clicked, tooltip="Read the progress file again"))]

    @guarded
    def _clicked(self) -> None:
        self.refresh()

    def leave(self) -> None:
        """Show the lessons as a table."""
        show_table(self.rows(), f"{self.caption}. {self.sentence()}")


def lesson_of(id: str) -> str:
    """The lesson to which an exercise belongs."""
    topic = id.split(".")[0]
    return LESSONS.get(topic, topic)
