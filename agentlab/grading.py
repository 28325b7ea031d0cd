"""Grade a folder of handed-in notebooks: learner by exercise, whatever the notebooks do.

Each notebook runs in a sandbox of its own (`agentlab.sandbox`), watched from outside: an exercise that takes too long
or too much memory costs its sandbox, is marked TIMEOUT or MEMORY, and the next one begins in a fresh sandbox. This
process never parses a learner's bytes. A result is as honest as its learner: code that forges its own PASSED can
do so, in its own row only.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from agentlab import sandbox
from agentlab.classroom import Table, course_exercises, files_below, page, printable, write_csv
from agentlab.errors import AgentLabError, DataError
from agentlab.exercises.engine import ERROR, NOT_STARTED, PASSED, WRONG
from agentlab.submission import MAX_MESSAGE, MEMORY

TIMEOUT = "TIMEOUT"
STATES = (PASSED, WRONG, ERROR, NOT_STARTED, TIMEOUT, MEMORY)
LETTERS = {PASSED: "✔", WRONG: "✘", ERROR: "⚠", NOT_STARTED: "○", TIMEOUT: "T", MEMORY: "M"}
MAX_BYTES = 20_000_000
START_SECONDS = 120  # to begin: a busy laptop imports torch in this time
START_MB = 1500  # what Python and torch take by themselves, in the two processes of a room
MAX_SAID_BYTES = 2_000_000


class NoSandbox(AgentLabError):
    """Submissions cannot be locked in on this machine, and nobody said that they may run free."""


@dataclass(frozen=True)
class Limits:
    """What one exercise may take."""

    seconds: float = 60.0
    memory_mb: int = 2000
    processes: int = 64


@dataclass
class Submission:
    """A handed-in notebook and what its exercises got: ``{id: (state, message)}``."""

    learner: str
    file: Path
    results: dict[str, tuple[str, str]] = field(default_factory=dict)
    fault: str = ""  # why nothing could be graded


@dataclass
class Grades:
    """The results of a folder: which exercises, who got what, and what was left out."""

    exercises: dict[str, str]  # exercise -> lesson
    learners: dict[str, dict[str, tuple[str, str]]]
    skipped: list[tuple[str, str]]
    seconds: float

    def state(self, learner: str, exercise: str) -> str:
        """A state, or "-" for a lesson that the learner did not hand in."""
        return self.learners[learner].get(exercise, ("-", ""))[0]

    def counts(self, learner: str) -> str:
        """``5 of 7``: passed, of the exercises handed in."""
        states = [state for state, _ in self.learners[learner].values()]
        return f"{states.count(PASSED)} of {len(states)}"

    def remarks(self) -> list[tuple[str, str, str, str]]:
        """Learner, exercise, state and message of everything that was begun and did not pass."""
        return [
            (learner, id, *self.learners[learner][id])
            for learner in self.learners
            for id in self.exercises
            if self.state(learner, id) not in (PASSED, NOT_STARTED, "-")
        ]


# --- the folder ----------------------------------------------------------------------------------------------


def find_submissions(folder: Path) -> list[Submission]:
    """Every ``*.ipynb`` below a folder with the learner it belongs to; raises `DataError` if there is none."""
    if not folder.is_dir():
        raise DataError("there is no such folder.", folder, cure="Name the folder with the learners' notebooks.")
    found = [Submission(learner_of(path.relative_to(folder)), path) for path in files_below(folder, ".ipynb")]
    if not found:
        raise DataError("no *.ipynb file lies here.", folder, cure="Collect the learners' notebooks in this folder.")
    return found


def learner_of(shown: Path) -> str:
    """Whose notebook a path inside the folder is: the file's name without the lesson's, else its folder's.

    >>> learner_of(Path("anna_01_prepare_data.ipynb")), learner_of(Path("7b/anna/01_prepare_data.ipynb"))
    ('anna', '7b/anna')
    """
    lessons = "|".join(map(re.escape, dict.fromkeys(course_exercises().values())))
    rest = re.sub(rf"[\W_]*({lessons})[\W_]*\d*[\W_]*", "", shown.stem)
    parts = [*shown.parts[:-1], *([rest] if rest else [])]
    return printable("/".join(parts)) or shown.stem


def read_bytes(path: Path) -> bytes:
    """A submission's bytes; raises `DataError` for a link, something that is no file, or one that is too large."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))  # fmt: skip
        with os.fdopen(handle, "rb") as file:
            if path.is_symlink() or not path.is_file():
                raise DataError("no ordinary file.", path)
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}.", path) from None
    if len(data) > MAX_BYTES:
        raise DataError(f"larger than {MAX_BYTES // 1_000_000} MB.", path)
    return data


# --- one submission ------------------------------------------------------------------------------------------


def grade_submission(submission: Submission, limits: Limits, protected: bool = True) -> Submission:
    """Fill in a submission's results; never raises for what the notebook does."""
    try:
        data = read_bytes(submission.file)
    except DataError as error:
        submission.fault = error.what
        return submission
    results, found = submission.results, None
    while found is None or any(id not in results for id in found):
        done = list(results)
        with Room(data, done, limits, protected) as room:
            for line in room.lines():
                found = _note(line, submission, found, room)
        if found is None:
            submission.fault = submission.fault or room.fault or "Its process ended before it was read."
            break
        if room.running:
            results[room.running] = room.verdict or (ERROR, "The answer ended the process that graded it.")
        if list(results) == done:  # a room that gets nowhere is not opened again
            results |= {
                id: room.verdict or (ERROR, "Its process ended before it began.") for id in found if id not in done
            }
    if found == []:
        submission.fault = "holds no exercise of this course"
    return submission


def _note(line: dict, submission: Submission, found: list[str] | None, room: Room) -> list[str] | None:
    """Take in one line of a room, which a learner may have written: everything in it is checked."""
    known = course_exercises()
    if found is None and isinstance(line.get("found"), list):
        room.begin("")
        return [id for id in dict.fromkeys(map(str, line["found"])) if id in known]
    if found is None and "unreadable" in line:
        submission.fault = printable(str(line["unreadable"]))[:MAX_MESSAGE]
    elif line.get("start") in (found or ()):
        room.begin(line["start"])
    elif room.running and line.get("id") == room.running and line.get("state") in STATES:
        message = printable(str(line.get("message", "")))[:MAX_MESSAGE]
        submission.results.setdefault(room.running, (line["state"], message))
        room.begin("")
    return found


class Room:
    """A sandbox with one notebook in it, watched from outside; leaving the block ends all that runs in it."""

    def __init__(self, data: bytes, skip: list[str], limits: Limits, protected: bool):
        self.limits, self.protected = limits, protected
        self.running, self.verdict = "", None
        self.deadline = time.monotonic() + START_SECONDS
        self.held = contextlib.ExitStack()
        given = self.held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        given.write(data)
        given.seek(0)
        options = json.dumps({"memory_mb": limits.memory_mb, "skip": skip, "protected": protected})
        command = [sys.executable, "-P", "-m", "agentlab.submission", options]
        if protected:
            command, free = sandbox.wrap(command), {}
        else:
            home = self.held.enter_context(tempfile.TemporaryDirectory(prefix="agentlab", ignore_cleanup_errors=True))
            free = {"cwd": home, "env": sandbox.environment(unprotected_in=home)}
        self.process = subprocess.Popen(
            command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, **free
        )

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *exc_info) -> None:
        left = [] if self.protected else self._processes()  # a sandbox takes all of its processes with it
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()
        self.held.close()

    def begin(self, id: str) -> None:
        """Note which exercise runs now; the clock starts anew."""
        self.running = id
        self.deadline = time.monotonic() + (self.limits.seconds if id else START_SECONDS)

    @property
    def fault(self) -> str:
        """Which limit was broken, in words."""
        return self.verdict[1] if self.verdict else ""

    def lines(self) -> Iterator[dict]:
        """What the room says, until it ends or breaks a limit; `verdict` then says which."""
        pieces: queue.Queue[bytes] = queue.Queue(maxsize=8)
        threading.Thread(target=_read, args=(self.process.stdout, pieces), daemon=True).start()
        text, total = b"", 0
        while (verdict := self._broken_limit()) is None:
            try:
                piece = pieces.get(timeout=0.2)
            except queue.Empty:
                continue
            total += len(piece)
            if not piece or total > MAX_SAID_BYTES:
                return
            *whole, text = (text + piece).split(b"\n")
            yield from filter(None, map(_as_line, whole))
        self.verdict = verdict

    def _broken_limit(self) -> tuple[str, str] | None:
        if time.monotonic() > self.deadline:
            seconds = self.limits.seconds if self.running else START_SECONDS
            return TIMEOUT, f"Not done within {seconds:g} seconds: a loop without an end?"
        processes = self._processes()
        if len(processes) > self.limits.processes:
            return ERROR, f"More than {self.limits.processes} processes were started."
        most = self.limits.memory_mb + START_MB
        if sum(map(_megabytes, processes)) > most and sum(map(_own_megabytes, processes)) > most:
            return MEMORY, f"More than {self.limits.memory_mb} MB of memory were taken."
        return None

    def _processes(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []


def _megabytes(process: psutil.Process) -> int:
    """What a process holds in memory."""
    try:
        return process.memory_info().rss >> 20
    except psutil.Error:  # it has just ended
        return 0


def _own_megabytes(process: psutil.Process) -> int:
    """The same without what forked processes share, which takes longer to find out."""
    try:
        memory = process.memory_full_info()
    except psutil.AccessDenied:
        return _megabytes(process)
    except psutil.Error:
        return 0
    return getattr(memory, "pss", memory.uss) >> 20


def _read(stream: IO[bytes], pieces: queue.Queue[bytes]) -> None:
    """Hand on what a process writes, and an empty piece at its end. A full queue makes the process wait."""
    with stream:
        while piece := os.read(stream.fileno(), 65_536):
            pieces.put(piece)
    pieces.put(b"")


def _as_line(text: bytes) -> dict | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


# --- all of them ---------------------------------------------------------------------------------------------


def grade(
    folder: str | Path,
    limits: Limits = Limits(),
    jobs: int = 1,
    unprotected: bool = False,
    on_done: Callable[[Submission], None] = lambda submission: None,
) -> Grades:
    """Grade every notebook of a folder, ``jobs`` at a time.

    Raises `NoSandbox` where submissions cannot be locked in, unless ``unprotected``; `DataError` for a folder
    without notebooks.
    """
    submissions = find_submissions(Path(folder))
    if not unprotected and (why := sandbox.missing()):
        raise NoSandbox(f"{why} {sandbox.unprotected_risks()} If you trust everyone who handed in, add --unprotected.")
    start = time.perf_counter()

    def one(submission: Submission) -> None:
        on_done(grade_submission(submission, limits, not unprotected))

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        list(pool.map(one, submissions))
    return collect(submissions, Path(folder), time.perf_counter() - start)


def collect(submissions: Iterable[Submission], folder: Path, seconds: float) -> Grades:
    """The table of many submissions; of two notebooks for one lesson, the better result counts."""
    course, learners, skipped = course_exercises(), {}, []
    for submission in submissions:
        if submission.fault:
            skipped.append((printable(submission.file.relative_to(folder).as_posix()), submission.fault))
        if not submission.results:
            continue
        row = learners.setdefault(submission.learner, {})
        handed_in = {course[id] for id in submission.results}
        for id in (id for id in course if course[id] in handed_in):
            new = submission.results.get(id, (NOT_STARTED, "Its card is not in the notebook."))
            if id not in row or STATES.index(new[0]) < STATES.index(row[id][0]):
                row[id] = new
    seen = {id: lesson for id, lesson in course.items() if any(id in row for row in learners.values())}
    return Grades(seen, dict(sorted(learners.items())), skipped, seconds)


def write_reports(grades: Grades, out: Path) -> None:
    """Write ``grades.csv`` and ``grades.html``: a row for each learner, a column for each exercise."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        [learner, grades.counts(learner), *(grades.state(learner, id) for id in grades.exercises)]
        for learner in grades.learners
    ]
    write_csv(out / "grades.csv", ["learner", "passed", *grades.exercises], rows)
    shown = [[*row[:2], *(f"{LETTERS.get(s, '')} {s}".strip() for s in row[2:])] for row in rows]
    tables = [
        Table("Learners by exercises", ("Learner", "Passed", *grades.exercises), shown),
        Table("What did not pass, and why", ("Learner", "Exercise", "State", "Message"), grades.remarks()),
        Table("Files that could not be graded", ("File", "Why"), grades.skipped),
    ]
    intro = (
        f"{len(grades.learners)} learners, {len(grades.exercises)} exercises, graded in {grades.seconds:.0f} seconds."
    )
    html = page("Grades", intro, [table for table in tables if table.rows])
    (out / "grades.html").write_text(html, encoding="utf-8")
