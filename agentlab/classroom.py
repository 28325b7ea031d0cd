"""A class at a glance: many learners' ``progress.json`` in one table, and who is stuck where.

Learners hand in the file that `agentlab progress` names. ``anna.json``, ``anna/progress.json`` and ``7b/anna.json``
are all Anna's, the last in class 7b. A file that is broken, foreign or there twice is named and left out.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import SimpleNamespace

from agentlab import progress
from agentlab.errors import DataError
from agentlab.notebooks import exercise_ids, lesson_names, notebook_folder

PASSED, STUCK, TRYING, NOT_STARTED = "PASSED", "STUCK", "TRYING", "NOT STARTED"
STANDINGS = (PASSED, STUCK, TRYING, NOT_STARTED)
STUCK_AFTER = 3  # attempts
MAX_ROWS = 45  # learners in the picture; above that its rows are classes
MAX_BYTES = 5_000_000


@dataclass(frozen=True)
class Learner:
    """One learner of one class, with the entries of their progress file."""

    name: str
    group: str
    entries: dict[str, dict]
    file: str

    @property
    def updated(self) -> str:
        """When the file last changed, in UTC; empty for one that holds nothing."""
        return max((str(e.get("updated", "")) for e in self.entries.values()), default="")

    @cached_property
    def standings(self) -> dict[str, str]:
        """PASSED, STUCK, TRYING or NOT STARTED for each exercise in the file."""
        return {id: standing_of(entry) for id, entry in self.entries.items()}

    def standing(self, exercise: str) -> str:
        """How one exercise stands: one that is not in the file is NOT STARTED."""
        return self.standings.get(exercise, NOT_STARTED)

    def count(self, standing: str) -> int:
        """How many of the exercises in the file stand so."""
        return sum(s == standing for s in self.standings.values())


def standing_of(entry: dict) -> str:
    """What an entry of a progress file says.

    Stuck is who has not passed after three attempts, or has looked at the solution and still not passed.
    """
    if entry.get("state") == PASSED:
        return PASSED
    if entry.get("attempts", 0) >= STUCK_AFTER or entry.get("solution_seen"):
        return STUCK
    return TRYING if entry.get("attempts") or entry.get("hints") else NOT_STARTED


@dataclass
class ClassReport:
    """What many progress files say together, and which files say nothing."""

    exercises: dict[str, str]  # exercise -> lesson, in the order of the course
    learners: list[Learner] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # file, why
    unknown: set[str] = field(default_factory=set)  # ids of another version of the course

    @property
    def groups(self) -> list[str]:
        """The classes, in order."""
        return sorted({learner.group for learner in self.learners})

    def learner_rows(self) -> list[list[str]]:
        """Learner, class, passed, stuck at, last change; those who need help most come first."""

        def need(learner: Learner) -> tuple:
            return -learner.count(STUCK), learner.count(PASSED), learner.group, learner.name

        return [
            [
                learner.name,
                learner.group or "-",
                str(learner.count(PASSED)),
                ", ".join(id for id in self.exercises if learner.standing(id) == STUCK) or "-",
                learner.updated[:10] or "-",
            ]
            for learner in sorted(self.learners, key=need)
        ]

    def exercise_rows(self) -> list[list[str]]:
        """Exercise, lesson, learners passed, stuck, trying, not started, mean attempts, hints and solutions seen."""
        rows = []
        for id, lesson in self.exercises.items():
            counts = Counter(learner.standing(id) for learner in self.learners)
            entries = [learner.entries[id] for learner in self.learners if id in learner.entries]
            tried = [e["attempts"] for e in entries if e.get("attempts")]
            rows.append([
                id, lesson, *(str(counts[s]) for s in STANDINGS), f"{sum(tried) / len(tried):.1f}" if tried else "-",
                str(sum(e.get("hints", 0) for e in entries)), str(sum(bool(e.get("solution_seen")) for e in entries)),
            ])  # fmt: skip
        return rows

    def hardest(self) -> tuple[str, int]:
        """The exercise at which most learners are stuck, and how many; ("", 0) where nobody is."""
        counts = {id: sum(learner.standing(id) == STUCK for learner in self.learners) for id in self.exercises}
        worst = max(counts, key=counts.__getitem__, default="")
        return (worst, counts[worst]) if worst and counts[worst] else ("", 0)


EXERCISE_HEAD = ("Exercise", "Lesson", "Passed", "Stuck", "Trying", "Not started", "Mean attempts", "Hints", "Solutions seen")  # fmt: skip
LEARNER_HEAD = ("Learner", "Class", "Passed", "Stuck at", "Last change (UTC)")


@lru_cache(maxsize=1)
def course_exercises() -> dict[str, str]:
    """``{exercise id: lesson}`` in the order of the course, from the notebooks' sources."""
    found = {}
    for lesson in lesson_names():
        source = (notebook_folder() / "src" / f"{lesson}.py").read_text(encoding="utf-8")
        whole = SimpleNamespace(cells=[SimpleNamespace(cell_type="code", source=source)])
        found |= dict.fromkeys(exercise_ids(whole), lesson)
    return found


# --- merging -------------------------------------------------------------------------------------------------


def merge(folder: str | Path) -> ClassReport:
    """Read every ``*.json`` below a folder; raises `DataError` for a folder that does not exist or holds none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError("there is no such folder.", folder, cure="Name the folder with the learners' progress files.")
    report = ClassReport(course_exercises())
    kept: dict[tuple[str, str], Learner] = {}
    contents: dict[str, str] = {}
    for path in files_below(folder, ".json"):
        shown = printable(path.relative_to(folder).as_posix())
        try:
            entries = _entries(path, report)
        except DataError as error:
            report.skipped.append((shown, error.what))
            continue
        text = json.dumps(entries, sort_keys=True) if entries else shown  # two who have done nothing are two
        if text in contents:
            report.skipped.append((shown, f"the same as {contents[text]}"))
            continue
        contents[text] = shown
        learner = Learner(*name_of(Path(shown)), entries, shown)
        other = kept.setdefault((learner.group, learner.name), learner)
        if other is not learner:
            older, newer = (other, learner) if other.updated < learner.updated else (learner, other)
            report.skipped.append((older.file, f"older than {newer.file}, of the same learner"))
            kept[learner.group, learner.name] = newer
    report.learners = [kept[key] for key in sorted(kept)]
    if not report.learners and not report.skipped:
        raise DataError(
            "no *.json file lies here.", folder,
            cure="Learners find theirs by `agentlab progress`; collect the files, under any names, in this folder.",
        )  # fmt: skip
    return report


def files_below(folder: Path, suffix: str) -> Iterator[Path]:
    """Regular files of a kind below a folder, in order; hidden folders and links are not followed."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(suffix) and not name.startswith("."):
                yield Path(here) / name


def printable(text: str) -> str:
    """A text without control characters, which could redraw a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def name_of(shown: Path) -> tuple[str, str]:
    """The learner and the class that a path inside the folder stands for.

    >>> name_of(Path("7b/anna.json")), name_of(Path("anna/progress (1).json"))
    (('anna', '7b'), ('anna', ''))
    """
    parts = [*shown.parts[:-1], shown.stem]
    if len(parts) > 1 and re.fullmatch(r"progress(\W*\d+\W*)?", parts[-1]):
        parts.pop()
    return parts[-1], "/".join(parts[:-1])


def _entries(path: Path, report: ClassReport) -> dict[str, dict]:
    """The exercises of one file that this course knows; raises `DataError` for a file that is none of ours."""
    if path.is_symlink() or path.stat().st_size > MAX_BYTES:
        raise DataError("a link, or larger than any progress file.", path)
    try:
        read = progress.read_progress(path)
    except RecursionError:
        raise DataError("nested too deeply for a progress file.", path) from None
    exercises = {id: entry for id, entry in read.items() if ".quiz_" not in id}
    known = {id: entry for id, entry in exercises.items() if id in report.exercises}
    if exercises and not known:
        raise DataError("holds no exercise of this course.", path)
    for id, entry in known.items():
        for key in ("attempts", "hints"):
            if type(entry.get(key, 0)) is not int or entry.get(key, 0) < 0:
                raise DataError(f"the {key} of {id!r} are no number.", path)
    report.unknown |= exercises.keys() - known.keys()
    return known


# --- reports -------------------------------------------------------------------------------------------------


def write_reports(report: ClassReport, out: Path) -> None:
    """Write ``class.csv`` (a row a learner, a column an exercise) and ``class.html`` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        [learner.group, learner.name, learner.count(PASSED), learner.count(STUCK)]
        + [learner.standing(id) for id in report.exercises]
        for learner in report.learners
    ]
    write_csv(out / "class.csv", ["class", "learner", "passed", "stuck", *report.exercises], rows)
    tables = [
        Table("Where people are stuck, by exercise", EXERCISE_HEAD, report.exercise_rows()),
        Table("Learners, those who need help first", LEARNER_HEAD, report.learner_rows()),
    ]
    if report.skipped:
        tables.append(Table("Files left out", ("File", "Why"), report.skipped))
    intro = (
        f"{len(report.learners)} learners, {len(report.exercises)} exercises. Stuck: not passed after {STUCK_AFTER} attempts, "
        "or not passed although the solution was looked at."
    )
    picture = class_map(report) if report.learners else None
    (out / "class.html").write_text(page("Progress of the class", intro, tables, picture), encoding="utf-8")


@dataclass(frozen=True)
class Table:
    """A table of a page: what it shows, the names of its columns, its rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]


def page(title: str, intro: str, tables: Sequence[Table], picture: ClassMap | None = None) -> str:
    """An HTML page for a teacher; everything in it is escaped."""
    from jinja2 import Environment

    template = Path(__file__).with_name("tables.html.j2").read_text(encoding="utf-8")
    made = Environment(autoescape=True).from_string(template)
    return made.render(title=title, intro=intro, tables=tables, map=picture)


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows for a spreadsheet; a text that it would take for a formula gets an apostrophe in front."""
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for row in rows:
            writer.writerow([f"'{c}" if isinstance(c, str) and c.startswith(("=", "+", "-", "@", "\t")) else c for c in row])  # fmt: skip


SHADES = {  # Okabe and Ito's colours, mixed with the page's own
    PASSED: "rgb(0 158 115 / .35)", STUCK: "rgb(213 94 0 / .55)", TRYING: "rgb(230 159 0 / .35)", NOT_STARTED: "none",
}  # fmt: skip
MARKS = {PASSED: "✔", STUCK: "✘", TRYING: "△", NOT_STARTED: "·"}  # each standing differs in more than its colour


@dataclass(frozen=True)
class ClassMap:
    """The picture of a class: a cell for each row and exercise, as ``(text, style, what it says in words)``."""

    caption: str
    columns: Sequence[tuple[str, bool]]  # exercise, whether a lesson begins with it
    rows: Sequence[tuple[str, Sequence[tuple[str, str, str]]]]


def class_map(report: ClassReport) -> ClassMap:
    """Learners by exercises, or from 46 learners on the share of each class that is stuck, in per cent."""
    lessons = list(report.exercises.values())
    columns = [(id, n == 0 or lessons[n] != lessons[n - 1]) for n, id in enumerate(report.exercises)]
    worst, stuck = report.hardest()
    finding = f"most learners, {stuck} of {len(report.learners)}, are stuck at {worst}" if stuck else "nobody is stuck"
    if len(report.learners) <= MAX_ROWS:
        marks = ", ".join(f"{mark} {standing.lower()}" for standing, mark in MARKS.items())
        rows = [(learner.name, [_learner_cell(learner, id) for id in report.exercises]) for learner in report.learners]
        return ClassMap(f"Learners by exercises ({marks}): {finding}", columns, rows)
    rows = []
    for group in report.groups:
        members = [learner for learner in report.learners if learner.group == group]
        rows.append((group or "(no class)", [_share_cell(group, members, id) for id in report.exercises]))
    return ClassMap(f"Per cent of each class that is stuck: {finding}", columns, rows)


def _learner_cell(learner: Learner, id: str) -> tuple[str, str, str]:
    standing = learner.standing(id)
    return MARKS[standing], f"background: {SHADES[standing]}", f"{learner.name}, {id}: {standing.lower()}"


def _share_cell(group: str, members: Sequence[Learner], id: str) -> tuple[str, str, str]:
    stuck = sum(learner.standing(id) == STUCK for learner in members)
    share = stuck / len(members)
    said = f"{group or 'no class'}, {id}: {stuck} of {len(members)} are stuck"
    return f"{share:.0%}".rstrip("%") if stuck else "", f"background: rgb(213 94 0 / {share:.2f})", said
