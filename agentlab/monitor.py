"""A quarter of news replayed: what is negative where, the alarms as they are raised, and the messages behind each.

`Monitor.show` is a widget where somebody can click, and under it a picture, a table and the messages of the first alarms.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from agentlab.errors import AgentLabError, UnknownName
from agentlab.news import News
from agentlab.show import COLOURS, figure_html, new_figure, say, show_figure, show_table
from agentlab.stream import STEP_HOURS, STEPS_A_DAY, Quarter, Told, count
from agentlab.ui import live
from agentlab.watch import SURGE, Alarm, alarms_of, behind, cusum, usual, week_shape

MOST_MESSAGES = 12
SPEEDS = {"3 hours a tick": 3, "12 hours a tick": 12, "a day a tick": 24, "a week a tick": 168}


class Monitor:
    """The watch over one quarter: counts, alarms at a threshold, and ways to look at them as of an hour.

    Raises `AgentLabError` for a stream without news.
    """

    def __init__(self, quarter: Quarter, told: Sequence[Told], threshold: float, extra: float = SURGE):
        if not len(quarter.hours):
            raise AgentLabError("The stream is empty: there is no news to watch.")
        self.quarter, self.told, self.threshold, self.extra = quarter, told, threshold, extra
        self.counts = count(quarter, told)
        self.expected = usual(self.counts)
        self.alarms = alarms_of(self.counts, threshold, expected=self.expected, extra=extra)
        self.last_hour = quarter.days * 24

    def raised(self, hour: float) -> list[Alarm]:
        """The alarms that had been raised by this hour, the newest first."""
        return [a for a in self.alarms if a.hour <= hour][::-1]

    def messages(self, alarm: Alarm, hour: float | None = None) -> list[tuple[float, News]]:
        """What led to an alarm and what came in the day after it, up to this hour."""
        return [(h, item) for h, item in behind(alarm, self.quarter, self.told) if hour is None or h <= hour]

    def alarm_rows(self, hour: float) -> list[dict]:
        """The alarms by this hour as rows of a table."""
        return [
            {
                "raised": f"{self.quarter.when(a.hour):%a %d %b %H:%M}",
                "on": a.subject,
                "negative news since": f"{self.quarter.when(a.since):%a %d %b %H:%M}",
                "messages": len(self.messages(a, hour)),
                "now": "on" if hour < a.until else f"ended {self.quarter.when(a.until):%d %b}",
            }
            for a in self.raised(hour)
        ]

    def message_rows(self, alarm: Alarm, hour: float | None = None) -> list[dict]:
        """The messages behind an alarm as rows; of very many the first dozen."""
        found = self.messages(alarm, hour)
        rows = [
            {"time": f"{self.quarter.when(h):%a %d %b %H:%M}", "source": i.source, "text": i.text} for h, i in found
        ]
        left = len(rows) - MOST_MESSAGES
        more = [{"time": "", "source": "", "text": f"and {left} more"}] if left > 0 else []
        return rows[:MOST_MESSAGES] + more

    # --- pictures ---

    def overview(self, hour: float):
        """All subjects by day as a heat map with the alarms on it: the figure and its alt text."""
        per_day = self.counts.negative.reshape(len(self.counts.subjects), -1, STEPS_A_DAY).sum(2)  # (S, days)
        seen = per_day.copy()
        seen[:, int(hour // 24) + 1 :] = np.nan
        figure, ax = new_figure(8.5, 0.17 * len(self.counts.subjects) + 1)
        ax.grid(False)
        picture = ax.imshow(
            seen, aspect="auto", cmap="cividis", vmin=0, vmax=max(4.0, float(np.quantile(per_day, 0.995)))
        )
        figure.colorbar(picture, ax=ax, label="negative items a day", pad=0.01)
        raised = self.raised(hour)
        rows = [self.counts.subjects.index(a.subject) for a in raised]
        ax.plot(
            [a.hour / 24 - 0.5 for a in raised], rows, "v", color=COLOURS["vermilion"], mec="white", ms=8, label="alarm"
        )
        ax.set_yticks(range(len(self.counts.subjects)), self.counts.subjects, fontsize=7)
        weeks = range(0, self.quarter.days, 14)
        ax.set_xticks(list(weeks), [f"{self.quarter.when(24 * d):%d %b}" for d in weeks])
        if raised:
            ax.legend(loc="upper left", fontsize=8)
        names = sorted({a.subject for a in raised})
        alt = (
            f"Heat map of negative news by subject and day up to {self.quarter.when(hour):%d %B}: {len(raised)} alarms, shown as "
            f"triangles, on {', '.join(names) if names else 'no subject'}; elsewhere few items a day."
        )
        return figure, alt

    def detail(self, subject: str, hour: float):
        """One subject: negative items a day with what is usual, and the evidence against the threshold."""
        if subject not in self.counts.subjects:
            raise UnknownName("subject", subject, self.counts.subjects)
        row = self.counts.subjects.index(subject)
        steps = max(STEPS_A_DAY, int(hour // STEP_HOURS))
        days = np.arange(steps) / STEPS_A_DAY
        counts, expected = self.counts.negative[row : row + 1], self.expected[row : row + 1]
        score = cusum(counts, expected, self.extra, 1.5 * self.threshold, week_shape(self.counts.everything))[0, :steps]
        figure, (left, right) = new_figure(8.5, 2.6, columns=2)
        whole = steps // STEPS_A_DAY * STEPS_A_DAY
        by_day, usually = (x[0, :whole].reshape(-1, STEPS_A_DAY).sum(1) for x in (counts, expected))
        left.bar(range(len(by_day)), by_day, color=COLOURS["blue"], label="came")
        left.plot(range(len(by_day)), usually, color=COLOURS["orange"], lw=2, ls="--", label="usual")
        left.set(xlabel="day of the quarter", ylabel="negative items")
        left.legend(fontsize=8)
        right.plot(days, score, color=COLOURS["blue"])
        right.axhline(self.threshold, color=COLOURS["vermilion"], ls="--", label="threshold")
        for alarm in self.raised(hour):
            if alarm.subject == subject:
                right.plot(alarm.hour / 24, alarm.score, "v", color=COLOURS["vermilion"], ms=8)
        right.set(xlabel="day of the quarter", ylabel="evidence (nats)", ylim=(0, 1.6 * self.threshold))
        right.legend(fontsize=8)
        raised = [a for a in self.raised(hour) if a.subject == subject]
        alt = (
            f"Two charts of {subject}: bars of negative items a day, at most {by_day.max():.0f}, with a dashed line of what is usual; "
            f"and the evidence over time, which reached the threshold {len(raised)} times."
        )
        return figure, alt

    # --- shown ---

    def show(self, hour: float | None = None, alarms: int = 2) -> None:
        """The widget where somebody can click; under it the picture, the alarms and the messages behind the first of them."""
        hour = self.last_hour if hour is None else hour
        if live():
            from IPython.display import display

            display(self.widget())
        figure, alt = self.overview(hour)
        show_figure(figure, alt, "Each row a company or a topic, each column a day. A triangle is an alarm.")
        rows = self.alarm_rows(hour)
        if not rows:
            say("No alarm was raised.")
            return
        show_table(rows, "The alarms, the newest first")
        for alarm in self.raised(hour)[-1 : -alarms - 1 : -1]:
            show_table(
                self.message_rows(alarm),
                f"Behind the alarm on {alarm.subject}, {self.quarter.when(alarm.hour):%d %B %H:%M}",
            )

    def widget(self):
        """Time with a play button, the picture, the alarms to choose from, and the messages behind the chosen one."""
        import ipywidgets as widgets

        wide = {"description_width": "9em"}
        play = widgets.Play(min=0, max=self.last_hour, step=24, interval=600, description="Replay")
        hour = widgets.IntSlider(
            value=self.last_hour, min=0, max=self.last_hour, step=3, description="hours since start",
            continuous_update=False, style=wide, layout=widgets.Layout(width="70%"),
        )  # fmt: skip
        speed = widgets.Dropdown(options=list(SPEEDS), value="a day a tick", description="speed", style=wide)
        chosen = widgets.Select(description="alarm", style=wide, layout=widgets.Layout(width="95%", height="9em"))
        picture, below, status = widgets.HTML(), widgets.HTML(), widgets.HTML()

        def redraw(_=None) -> None:
            now = hour.value
            figure, alt = self.overview(now)
            picture.value = figure_html(figure, alt)
            raised = self.raised(now)
            before = chosen.value
            options = [
                (f"{self.quarter.when(a.hour):%a %d %b %H:%M}  {a.subject}", n) for n, a in self._numbered(raised)
            ]
            chosen.options = options
            if before in [n for _, n in options]:
                chosen.value = before
            on = sum(now < a.until for a in raised)
            status.value = f'<div role="status">{self.quarter.when(now):%A %d %B, %H:%M}: {len(raised)} alarms so far, {on} of them on now.</div>'
            open_messages()

        def open_messages(_=None) -> None:
            if chosen.value is None:
                below.value = "<p>No alarm yet. Move the time, or press play.</p>"
                return
            alarm = self.alarms[chosen.value]
            figure, alt = self.detail(alarm.subject, hour.value)
            below.value = figure_html(figure, alt) + self._messages_html(alarm, hour.value)

        def change_speed(_) -> None:
            play.step = SPEEDS[speed.value]

        widgets.jslink((play, "value"), (hour, "value"))
        hour.observe(redraw, names="value")
        chosen.observe(open_messages, names="value")
        speed.observe(change_speed, names="value")
        redraw()
        return widgets.VBox([widgets.HBox([play, hour]), speed, status, picture, chosen, below])

    def _numbered(self, alarms: Sequence[Alarm]) -> list[tuple[int, Alarm]]:
        return [(self.alarms.index(a), a) for a in alarms]

    def _messages_html(self, alarm: Alarm, hour: float) -> str:
        rows = "".join(
            f"<tr><td>{r['time']}</td><td>{r['source']}</td><td style='text-align:left'>{html.escape(r['text'])}</td></tr>"
            for r in self.message_rows(alarm, hour)
        )
        head = '<tr><th scope="col">time</th><th scope="col">source</th><th scope="col" style="text-align:left">text</th></tr>'
        return f"<table><caption>Behind the alarm on {html.escape(alarm.subject)}</caption>{head}{rows}</table>"
