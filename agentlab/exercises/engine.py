"""The exercise engine: a card with the question, a check with four results, hints, the solution.

An exercise's check compares behaviour on fresh random inputs with an independent oracle, never source text. It
raises `Wrong` with what the likely mistake is. The results are PASSED, WRONG, ERROR (the learner's own code
raised) and NOT STARTED (the placeholder ``____`` is still in use).
"""

from __future__ import annotations

import html
import importlib
import inspect
import linecache
import pkgutil
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentlab import progress
from agentlab.errors import AgentLabError, UnknownName
from agentlab.show import draw_comparison, emit, in_notebook

PASSED, WRONG, ERROR, NOT_STARTED = "PASSED", "WRONG", "ERROR", "NOT STARTED"
SYMBOLS = {PASSED: "✔", WRONG: "✘", ERROR: "⚠", NOT_STARTED: "○"}
RESULT_MIME = "application/vnd.agentlab.exercise+json"
HERE = Path(__file__).resolve().parent
STDLIB = Path(sysconfig.get_path("stdlib"))


# --- the placeholder -----------------------------------------------------------------------------------------


class NotStarted(BaseException):
    """The placeholder was used. Not an `Exception`, so that a learner's ``except Exception`` lets it through."""


class Placeholder:
    """``____``: stands where the learner is to write. It may be passed around and shown; any use raises."""

    def __repr__(self) -> str:
        return "____"

    def _used(self, *args, **kwargs):
        raise NotStarted("Replace ____ by your own code.")

    def __getattr__(self, name: str):
        if name.startswith("_"):  # inspection by IPython, copy and the like is no use of it
            raise AttributeError(name)
        self._used()


for _name in (
    "call add radd sub rsub mul rmul matmul rmatmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow neg pos abs "
    "invert and rand or ror xor rxor lshift rlshift rshift rrshift eq ne lt le gt ge bool len iter next getitem "
    "setitem delitem contains int float complex index round hash enter format str"
).split():
    setattr(Placeholder, f"__{_name}__", Placeholder._used)

____ = Placeholder()


def refuse_placeholder(value: object, depth: int = 4) -> None:
    """Raise `NotStarted` if the placeholder is the value or lies inside it."""
    if isinstance(value, Placeholder):
        raise NotStarted
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            refuse_placeholder(item, depth - 1)
    elif depth and isinstance(value, dict):
        for item in [*value.keys(), *value.values()]:
            refuse_placeholder(item, depth - 1)


# --- an exercise ---------------------------------------------------------------------------------------------


class Wrong(Exception):
    """Raised by a check: the answer runs, and is not right. The text says what the likely mistake is.

    ``compared`` may hold two arrays of one shape, the learner's and the true one, to be drawn against each other.
    """

    def __init__(self, message: str, compared: tuple[Any, Any] | None = None):
        super().__init__(message)
        self.compared = compared


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer, and a piece of the message that it must get."""

    answer: Any
    message: str


@dataclass(frozen=True)
class Result:
    """What a check found: a state and a message for the learner."""

    state: str
    message: str
    compared: tuple[Any, Any] | None = None

    @property
    def passed(self) -> bool:
        return self.state == PASSED


@dataclass(frozen=True)
class Exercise:
    """What an exercise asks, how it is checked, and how people usually get it wrong.

    ``solution`` is a function or class with the name the learner defines, or a value (then ``name`` says its name).
    ``check`` takes the answer and raises `Wrong`, or returns what to add to the praise; a function given as an answer
    arrives guarded, so that an exception inside it is reported as the learner's own. ``mistakes`` holds at least three
    wrong answers.
    """

    id: str
    question: str
    minutes: int
    difficulty: int  # 1 to 3
    hints: tuple[str, ...]
    solution: Any
    check: Callable[[Any], str | None]
    mistakes: tuple[Mistake, ...]
    name: str = ""
    praise: str = "Right."

    @property
    def answer_name(self) -> str:
        """The name that the learner defines."""
        return self.name or self.solution.__name__

    @property
    def solution_source(self) -> str:
        """The source of the solution that the tests run."""
        if inspect.isfunction(self.solution) or inspect.isclass(self.solution):
            return textwrap.dedent(inspect.getsource(self.solution)).rstrip()
        return f"{self.answer_name} = {self.solution!r}"

    def judge(self, answer: Any) -> Result:
        """Run the check on an answer; never raises, whatever the answer does."""
        try:
            refuse_placeholder(answer)
            if callable(self.solution) and not callable(answer):
                raise Wrong(
                    f"Give it itself, without calling it, as in ex.check({self.answer_name}); this is {kind_of(answer)}."
                )
            said = self.check(Guarded(answer) if callable(answer) else answer)
        except NotStarted:
            return Result(
                NOT_STARTED,
                "Replace ____ by your own code, then run this cell again. Stuck? ex.hint()",
            )
        except Wrong as wrong:
            return Result(WRONG, str(wrong), wrong.compared)
        except AnswerRaised as raised:
            return Result(ERROR, raised.message)
        except Exception as error:  # the answer has a form that the check did not expect
            return Result(
                WRONG,
                f"Your answer has an unexpected form ({type(error).__name__}: {error}). Compare it with the question.",
            )
        return Result(PASSED, f"{self.praise} {said}" if said else self.praise)


class AnswerRaised(BaseException):
    """The learner's function raised; passes through checks that catch `Exception`."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class Guarded:
    """The learner's function inside a check: placeholders and exceptions of its own come out marked as such."""

    def __init__(self, function: Callable):
        self.function = function
        self.raises: tuple[type[BaseException], ...] = ()

    def __call__(self, *args, **kwargs):
        try:
            value = self.function(*args, **kwargs)
        except (NotStarted, Wrong, KeyboardInterrupt):
            raise
        except self.raises:
            raise
        except BaseException as error:
            raise AnswerRaised(describe_error(error)) from error
        refuse_placeholder(value)
        return value

    @contextmanager
    def may_raise(self, *kinds: type[BaseException]) -> Iterator[None]:
        """Within this block these errors reach the check as they are."""
        self.raises = kinds
        try:
            yield
        finally:
            self.raises = ()


def describe_error(error: BaseException) -> str:
    """An exception in the learner's code as one sentence with their own line."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if (
            "site-packages" in path.parts
            or path.is_relative_to(STDLIB)
            or (path.is_relative_to(HERE.parent) and path.parent != HERE)
        ):
            continue
        if path == HERE / "engine.py":
            continue
        line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
        if line:
            return f"Your code raised {what}, in line {frame.lineno}: `{line}`"
    return f"Your code raised {what}."


def kind_of(value: object) -> str:
    """A value's type for a message: 'nothing (None): is a return missing?', 'a list of 3', 'an int' ..."""
    if value is None:
        return "nothing (None): is a `return` missing?"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if isinstance(value, (list, tuple, dict, set, str)):
        return f"{type(value).__name__} of length {len(value)}"
    return f"{type(value).__name__} {value!r}"[:80]


def expect(condition: bool, message: str) -> None:
    """Raise `Wrong` with the message unless the condition holds."""
    if not condition:
        raise Wrong(message)


def expect_type(value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Raise `Wrong` unless a returned value has the type; names what came instead."""
    if not isinstance(value, kind):
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise Wrong(f"{what} should be {names}; yours is {kind_of(value)}")


# --- the registry --------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _topics() -> tuple[dict[str, Exercise], dict[str, Quiz]]:
    """Collect `EXERCISES` and `QUIZZES` of every topic file in this folder."""
    exercises: dict[str, Exercise] = {}
    quizzes: dict[str, Quiz] = {}
    for module in pkgutil.iter_modules([str(HERE)]):
        if module.name == "engine":
            continue
        topic = importlib.import_module(f"agentlab.exercises.{module.name}")
        for found, kind in ((exercises, "EXERCISES"), (quizzes, "QUIZZES")):
            for item in getattr(topic, kind, ()):
                if item.id in found or not item.id.startswith(module.name + "."):
                    raise AgentLabError(f"{module.name}.py: id {item.id!r} is taken or lacks the prefix {module.name}.")
                found[item.id] = item
    return exercises, quizzes


def all_exercises() -> dict[str, Exercise]:
    """Every exercise by its id."""
    return _topics()[0]


def all_quizzes() -> dict[str, Quiz]:
    """Every quiz by its id."""
    return _topics()[1]


# --- what the learner holds ----------------------------------------------------------------------------------


def exercise(id: str) -> Card:
    """Show an exercise's card and return it: ``ex = exercise("prepare.bio_labels")``."""
    if id not in all_exercises():
        raise UnknownName("exercise", id, all_exercises())
    card = Card(all_exercises()[id])
    card.show()
    return card


class Card:
    """An exercise in the learner's hands: check, hint, solution, use."""

    def __init__(self, definition: Exercise):
        self.definition = definition
        self._hints_shown = 0

    def __repr__(self) -> str:
        return f"Exercise {self.definition.id}: check({self.definition.answer_name}), hint(), solution(), use()"

    def show(self) -> None:
        d = self.definition
        question = textwrap.dedent(d.question).strip()
        stars = "★" * d.difficulty + "☆" * (3 - d.difficulty)
        head = f"Exercise {d.id} · about {d.minutes} minutes · difficulty {d.difficulty} of 3 {stars}"
        foot = f"Define `{d.answer_name}` in the next cell. Stuck: `ex.hint()`. Give up for now: `ex.solution()`."
        emit({"text/markdown": f"**{head}**\n\n{question}\n\n{foot}", "text/plain": f"{head}\n{question}\n{foot}"})

    def check(self, answer: Any) -> Result | None:
        """Judge an answer, show the result and note it in the local progress file."""
        result = self.definition.judge(answer)
        self._emit(result)
        if result.compared and in_notebook():
            draw_comparison(*result.compared)
        with progress.never_in_the_way():
            progress.note_check(self.definition.id, result.state)
        return None if in_notebook() else result

    def hint(self, number: int | None = None) -> None:
        """Show the next hint, or hint ``number`` (from 1)."""
        hints = self.definition.hints
        if number is not None and not 1 <= number <= len(hints):
            raise AgentLabError(f"This exercise has the hints 1 to {len(hints)}; {number} is none of them.")
        self._hints_shown = number or min(self._hints_shown + 1, len(hints))
        last = " That was the last; `ex.solution()` shows the solution." if self._hints_shown == len(hints) else ""
        text = f"Hint {self._hints_shown} of {len(hints)}: {hints[self._hints_shown - 1]}{last}"
        emit({"text/markdown": text, "text/plain": text})
        with progress.never_in_the_way():
            progress.note_help(self.definition.id, "hints", self._hints_shown)

    def solution(self) -> None:
        """Show the source of the solution: the very function that the tests run."""
        source = self.definition.solution_source
        emit({"text/markdown": f"```python\n{source}\n```", "text/plain": source})
        with progress.never_in_the_way():
            progress.note_help(self.definition.id, "solution_seen", True)

    def use(self, answer: Any) -> Any:
        """The learner's answer if it passes, else the reference, so that the lesson goes on; says which."""
        if self.definition.judge(answer).passed:
            text, chosen = f"Going on with your `{self.definition.answer_name}`.", answer
        else:
            text = f"Going on with the reference `{self.definition.answer_name}`; yours takes its place once it passes."
            chosen = self.definition.solution
        emit({"text/markdown": text, "text/plain": text})
        return chosen

    def _emit(self, result: Result) -> None:
        plain = f"{SYMBOLS[result.state]} {result.state}  {result.message}"
        colour = {PASSED: "#009E73", NOT_STARTED: "#56B4E9"}.get(result.state, "#D55E00")
        shown = (
            f'<div role="status" style="border-left:4px solid {colour};padding:2px 8px">'
            f"<b>{SYMBOLS[result.state]} {result.state}</b> {html.escape(result.message)}</div>"
        )
        emit({RESULT_MIME: {"id": self.definition.id, "state": result.state}, "text/html": shown, "text/plain": plain})


# --- quizzes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Quiz:
    """A question with choices; exactly one is right, and each says why or why not."""

    id: str
    question: str
    choices: tuple[Choice, ...]

    def answer(self, number: int) -> Result:
        """Judge choice ``number`` (from 1)."""
        if not 1 <= number <= len(self.choices):
            raise AgentLabError(f"Quiz {self.id} has the choices 1 to {len(self.choices)}; {number} is none of them.")
        choice = self.choices[number - 1]
        return Result(PASSED if choice.right else WRONG, choice.why)


def quiz(id: str) -> None:
    """Show a quiz: radio buttons in a live notebook; a table with the explanations folded where nobody clicks."""
    if id not in all_quizzes():
        raise UnknownName("quiz", id, all_quizzes())
    show_quiz(all_quizzes()[id])


def show_quiz(item: Quiz) -> None:
    """Show a quiz object, as `quiz` does by its id."""
    import os

    if in_notebook() and not os.environ.get("AGENTLAB_HEADLESS"):
        from IPython.display import display

        display(quiz_widget(item))
        return
    rows = [f"<li><details><summary>{html.escape(c.text)}</summary>{SYMBOLS[PASSED if c.right else WRONG]} "
            f"{'Right' if c.right else 'No'}: {html.escape(c.why)}</details></li>" for c in item.choices]  # fmt: skip
    plain = "\n".join(
        f"  {n}. {c.text}\n     {'right' if c.right else 'no'}: {c.why}" for n, c in enumerate(item.choices, 1)
    )
    shown = f"<p><b>Quiz.</b> {html.escape(item.question)} <i>(open a choice to see what it gets)</i></p><ol>{''.join(rows)}</ol>"
    emit({"text/html": shown, "text/plain": f"Quiz: {item.question}\n{plain}"})


def quiz_widget(item: Quiz):
    """The quiz as a widget: choosing an answer shows its explanation at once."""
    import ipywidgets as widgets

    buttons = widgets.RadioButtons(
        options=[(c.text, n) for n, c in enumerate(item.choices, start=1)],
        value=None,
        layout=widgets.Layout(width="auto"),
    )
    feedback = widgets.HTML('<div role="status">Choose an answer.</div>')

    def judge(change) -> None:
        result = item.answer(change["new"])
        feedback.value = (
            f'<div role="status"><b>{SYMBOLS[result.state]} {result.state}</b> {html.escape(result.message)}</div>'
        )
        with progress.never_in_the_way():
            progress.note_check(item.id, result.state)

    buttons.observe(judge, names="value")
    return widgets.VBox([widgets.HTML(f"<b>Quiz.</b> {html.escape(item.question)}"), buttons, feedback])
