"""What to do in class in so many minutes, made from a lesson's own source: nothing is tagged by hand.

A lesson states its minutes, and each of its exercises does too; what is left is spread over the sections by their
prose and code. A plan that is too long first leaves exercises for home, the hardest first, then shortens what
the teacher shows.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from agentlab.course import shipped_costs
from agentlab.errors import AgentLabError, LessonError
from agentlab.exercises import all_exercises
from agentlab.exercises.engine import Exercise
from agentlab.notebooks import check_lesson, exercise_ids, lesson_names, notebook_folder, read_source

TOGETHER, SHOWN = "together", "you show it"
SHORTEST_MINUTES = 30
SHOWN_SHARE = 0.5  # of the minutes that a section takes when all read it
CODE_LINE_WORDS = 4  # a line of code counts as so many words of prose
STUCK_MINUTES, STOP_MINUTES, BLOCK_MINUTES, BREAK_MINUTES = 10, 15, 90, 10
CLOSING = ("Limits", "Takeaways", "Further work")
WIDTH = 100


@dataclass
class Section:
    """A part of a lesson under one heading: its code cells as JupyterLab numbers them, and what it asks."""

    title: str
    cells: list[int] = field(default_factory=list)
    weight: int = 0
    minutes: float = 0.0  # without its exercises
    exercises: list[Exercise] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    @property
    def cell_range(self) -> str:
        """``cells 4 to 9``, ``cell 4`` or ``no code``."""
        if not self.cells:
            return "no code"
        first, last = self.cells[0], self.cells[-1]
        return f"cell {first}" if first == last else f"cells {first} to {last}"


@dataclass
class Step:
    """A section in a plan: read by all or shown by the teacher, and which exercises are done in class."""

    section: Section
    mode: str
    exercises: list[Exercise] = field(default_factory=list)

    @property
    def minutes(self) -> float:
        """Reading, or being shown, and the exercises that are done."""
        reading = self.section.minutes * (1 if self.mode == TOGETHER else SHOWN_SHARE)
        return reading + sum(e.minutes for e in self.exercises)


@dataclass
class Plan:
    """A lesson fitted into so many minutes: its steps in order, and the exercises that are left for home."""

    lesson: str
    title: str
    minutes: int
    whole: int  # minutes of the whole lesson
    steps: list[Step]

    @property
    def home(self) -> list[Exercise]:
        """The exercises that did not fit."""
        done = {e.id for step in self.steps for e in step.exercises}
        return [e for step in self.steps for e in step.section.exercises if e.id not in done]

    @property
    def taught(self) -> float:
        """Minutes of all steps, without breaks."""
        return sum(step.minutes for step in self.steps)


# --- a lesson's parts ----------------------------------------------------------------------------------------


@lru_cache
def read_sections(lesson: str) -> tuple[str, int, list[Section]]:
    """A lesson's title, its minutes and its sections; raises `LessonError` where its first cell states no minutes."""
    source = read_source(notebook_folder() / "src" / f"{lesson}.py")
    head = source.cells[0].source
    stated = re.search(r"^\| Time \| (\d+) minutes", head, re.M)
    if not stated:
        raise LessonError(f"notebooks/src/{lesson}.py: the first cell should state `| Time | ... minutes`.")
    sections, number = [Section("Title and set-up")], 0
    for cell in source.cells:
        if cell.cell_type == "code":
            number += 1
            sections[-1].cells.append(number)
            sections[-1].weight += CODE_LINE_WORDS * len(cell.source.splitlines())
            sections[-1].exercises += [all_exercises()[id] for id in exercise_ids(type(source)(cells=[cell]))]
            continue
        before, *parts = re.split(r"^## (.+)$", cell.source, flags=re.M)
        _add_prose(sections[-1], before)
        for title, text in zip(parts[::2], parts[1::2], strict=True):
            if title not in CLOSING or sections[-1].title not in CLOSING:
                sections.append(Section(title))
            _add_prose(sections[-1], text)
    if sections[-1].title in CLOSING:
        sections[-1].title = "Limits, takeaways, quiz"
    minutes = int(stated[1])
    reading = max(1, minutes - sum(e.minutes for s in sections for e in s.exercises))
    for section in sections:
        section.minutes = reading * section.weight / sum(s.weight for s in sections)
    return head.splitlines()[0].removeprefix("# "), minutes, sections


def _add_prose(section: Section, text: str) -> None:
    section.weight += len(text.split())
    flat = re.sub(r"\s+", " ", text)
    asks = re.findall(r"(?:(?<=[.!?:] )|(?<=^)|(?<= ))\*\*[^*]*(?:[Pp]redict\b|\?)[^*]*\*\*[^.?!:]*[.?!]?", flat)
    section.prompts += [ask.replace("**", "").strip() for ask in asks if not ask.startswith("**prediction")]


# --- fitting -------------------------------------------------------------------------------------------------


def plan_lesson(lesson: str, minutes: int) -> Plan:
    """Fit a lesson, given by name or number, into so many minutes, breaks included.

    Raises `AgentLabError` below 30 minutes, `UnknownName` for a lesson that does not exist.
    """
    if minutes < SHORTEST_MINUTES:
        raise AgentLabError(f"{minutes} minutes are too few for a lesson; plan at least {SHORTEST_MINUTES}.")
    lesson = check_lesson(lesson)
    plan = fit(lesson, minutes, minutes - breaks(minutes) * BREAK_MINUTES)
    if plan.taught > minutes:
        raise AgentLabError(f"{lesson} cannot even be shown in {minutes} minutes; give it {plan.taught:.0f}.")
    return plan


def breaks(minutes: int) -> int:
    """How many breaks a lesson of so many minutes has."""
    return (minutes - 1) // (BLOCK_MINUTES + BREAK_MINUTES)


def fit(lesson: str, minutes: int, taught: float) -> Plan:
    """A plan of at most ``taught`` minutes: the story first, then exercises from the easiest on, then more reading."""
    title, whole, sections = read_sections(lesson)
    steps = [Step(section, SHOWN) for section in sections]
    plan = Plan(lesson, title, minutes, whole, steps)
    chances = [(e, step) for step in steps for e in step.section.exercises]
    for exercise, step in sorted(chances, key=lambda chance: (chance[0].difficulty, chance[0].minutes)):
        reading = 0 if step.mode == TOGETHER else step.section.minutes * (1 - SHOWN_SHARE)
        if plan.taught + exercise.minutes + reading <= taught:
            step.mode, step.exercises = TOGETHER, [*step.exercises, exercise]
    for step in steps:
        step.exercises.sort(key=step.section.exercises.index)
        if plan.taught + step.section.minutes * (1 - SHOWN_SHARE) <= taught:
            step.mode = TOGETHER
    return plan


# --- printing ------------------------------------------------------------------------------------------------


def clock(minutes: float) -> str:
    """Hours and minutes since the beginning.

    >>> clock(75.4)
    '1:15'
    """
    return f"{round(minutes) // 60}:{round(minutes) % 60:02d}"


def text_of(plan: Plan) -> str:
    """The plan as a teacher reads it: clock, cells, pair tasks, what to say, stop points, what is left for home."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"{plan.title}: a plan for {plan.minutes} minutes (the whole lesson takes {plan.whole})"
    yield from _wrapped(
        f"Before class: everyone opens notebooks/{plan.lesson}.ipynb and runs all cells once (Run, Run All Cells); on a machine of two "
        f"cores that takes about {_machine_minutes(plan.lesson)}. Nobody has to wait for a cell in class then. Cell numbers are those in "
        "brackets after that run.", "",
    )  # fmt: skip
    yield from _wrapped(
        "In pairs: one types, the other reads the check's message aloud and says what it means; swap after each try.",
        "",
    )
    now, stopped, paused = 0.0, 0.0, 0
    pauses = breaks(plan.minutes)
    for n, step in enumerate(plan.steps):
        yield ""
        yield f"{clock(now)}  {step.section.title} ({step.section.cell_range}; {max(1, round(step.minutes))} min; {step.mode})"
        yield from _details(step)
        now += step.minutes
        if n == len(plan.steps) - 1:
            break
        if paused < pauses and now >= plan.minutes * (paused + 1) / (pauses + 1) - BREAK_MINUTES:
            yield f"{clock(now)}  BREAK, {BREAK_MINUTES} min"
            now, paused, stopped = now + BREAK_MINUTES, paused + 1, now
        elif now - stopped >= STOP_MINUTES:
            following = plan.steps[n + 1].section
            yield from _wrapped(
                f"STOP POINT at {clock(now)}: nothing is open here. Next time begin at “{following.title}” ({following.cell_range}): "
                "select its first cell, then Run, Run All Above Selected Cell.", "      ",
            )  # fmt: skip
            stopped = now
    yield ""
    yield f"{clock(now)}  END"
    if plan.minutes - now >= 5:
        yield from _wrapped(f"{plan.minutes - now:.0f} minutes are left: the play cell, then “Further work”.", "      ")
    if plan.home:
        left = ", ".join(f"{e.id} ({e.minutes} min)" for e in plan.home)
        yield from _wrapped(f"For home, or for who is fast: {left}.", "")


def _details(step: Step) -> Iterator[str]:
    for prompt in step.section.prompts:
        yield from _wrapped(f"Pairs, one minute before the cell runs: {prompt}", "      ")
    for exercise in step.exercises:
        how = "in pairs" if exercise.difficulty > 1 else "alone, then compare with a neighbour"
        yield f"      Exercise {exercise.id}: {exercise.minutes} min, difficulty {exercise.difficulty} of 3, {how}"
        first, *others = (re.sub(r"\s+", " ", hint).strip() for hint in exercise.hints)
        yield from _wrapped(f"Stuck for {min(STUCK_MINUTES, exercise.minutes)} minutes? Say: {first}", "         ")
        for hint in others:
            yield from _wrapped(f"Then: {hint}", "         ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def _machine_minutes(lesson: str) -> str:
    """How long a lesson computes, as `agentlab doctor` knows it for the machine that measured it."""
    costs = shipped_costs()["lessons"]
    seconds = costs.get(lesson, {}).get("cpu", {}).get("seconds")
    if seconds is None:
        return "a few minutes"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else "a minute"


# --- the whole course ----------------------------------------------------------------------------------------


def plan_course(days: int, minutes: int) -> list[list[tuple[Plan, list[Step]]]]:
    """The whole course in so many days of so many teaching minutes: for each day, lessons with their steps.

    Every lesson is shortened alike. Raises `AgentLabError` where it does not fit even if everything is only shown.
    """
    lessons = lesson_names()
    whole = {lesson: read_sections(lesson)[1] for lesson in lessons}
    for percent in range(100, 0, -2):
        plans = [fit(lesson, whole[lesson], whole[lesson] * percent / 100) for lesson in lessons]
        if any(plan.taught > plan.whole * percent / 100 + 1 for plan in plans):
            break  # not even showing everything fits
        packed = list(_packed(plans, minutes))
        if len(packed) <= days:
            return packed
    raise AgentLabError(
        f"{days} days of {minutes} minutes are too few for {len(lessons)} lessons. Give more days or minutes, or plan single lessons."
    )


def _packed(plans: Iterable[Plan], minutes: float) -> Iterator[list[tuple[Plan, list[Step]]]]:
    """Steps in order into days; a step is never split."""
    day, used = [], 0.0
    for plan in plans:
        for step in plan.steps:
            if used + step.minutes > minutes and day:
                yield day
                day, used = [], 0.0
            if not day or day[-1][0] is not plan:
                day.append((plan, []))
            day[-1][1].append(step)
            used += step.minutes
    yield day


def course_text(days: list[list[tuple[Plan, list[Step]]]], minutes: int) -> str:
    """The days as text: when which lesson, which sections and exercises, with a break at least every 90 minutes."""
    lines = [f"The whole course in {len(days)} days of at most {minutes} minutes (breaks apart)"]
    for number, day in enumerate(days, 1):
        lines += ["", f"DAY {number}"]
        now = block = 0.0
        for plan, steps in day:
            if block and block + sum(s.minutes for s in steps) > BLOCK_MINUTES:
                lines.append(f"{clock(now)}  BREAK, {BREAK_MINUTES} min")
                now, block = now + BREAK_MINUTES, 0.0
            part = (
                ""
                if len(steps) == len(plan.steps)
                else f", from “{steps[0].section.title}” to “{steps[-1].section.title}”"
            )
            taught = sum(s.minutes for s in steps)
            lines += _wrapped(f"{clock(now)}  {plan.title}{part} ({taught:.0f} min of teaching)", "")
            if done := ", ".join(e.id for s in steps for e in s.exercises):
                lines += _wrapped(f"Exercises in class: {done}", "      ")
            for step in steps:
                if block and block + step.minutes > BLOCK_MINUTES:
                    lines += _wrapped(
                        f"{clock(now)}  BREAK, {BREAK_MINUTES} min, before “{step.section.title}”", "      "
                    )
                    now, block = now + BREAK_MINUTES, 0.0
                now, block = now + step.minutes, block + step.minutes
        lines.append(f"{clock(now)}  END of the day")
    plans = {plan.lesson: plan for day in days for plan, _ in day}.values()
    if home := ", ".join(e.id for plan in plans for e in plan.home):
        lines += ["", *_wrapped(f"For home: {home}", "")]
    return "\n".join(lines)
