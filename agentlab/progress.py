"""The learner's own progress, in a local file that nothing sends anywhere.

``progress.json`` lies in the user's data folder, or where ``AGENTLAB_PROGRESS`` says. A broken file is set aside
under another name, never overwritten.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agentlab.errors import DataError

FORMAT = 1
STATES = ("PASSED", "WRONG", "ERROR", "NOT STARTED")


def progress_file() -> Path:
    """Where the progress lies."""
    import platformdirs

    named = os.environ.get("AGENTLAB_PROGRESS")
    return Path(named) if named else Path(platformdirs.user_data_dir("agentlab")) / "progress.json"


def read_progress(path: str | Path | None = None) -> dict[str, dict]:
    """``{exercise id: {state, attempts, hints, solution_seen, first_passed, updated}}``.

    Empty where there is no file yet. Raises `DataError` with the line for a file that is malformed.
    """
    path = Path(path) if path else progress_file()
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_bytes().decode("utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"malformed JSON: {error.msg}.", path, error.lineno) from None
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"cannot be read: {error}.", path) from None
    exercises = data.get("exercises") if isinstance(data, dict) else None
    if not isinstance(exercises, dict) or data.get("format") != FORMAT:
        raise DataError(f"expected format {FORMAT} and a table `exercises`.", path)
    for name, entry in exercises.items():
        if not isinstance(entry, dict) or entry.get("state") not in STATES:
            raise DataError(f"the entry of {name!r} has no known state.", path)
    return exercises


def note_check(id: str, state: str) -> None:
    """Note the result of a check. An exercise once passed stays passed."""
    with _changing(id) as entry:
        entry["attempts"] += state != "NOT STARTED"
        if entry["state"] != "PASSED":
            entry["state"] = state
        if state == "PASSED" and not entry["first_passed"]:
            entry["first_passed"] = _now()


def note_help(id: str, what: str, value: int | bool) -> None:
    """Note that a hint (``hints``) or the solution (``solution_seen``) was looked at."""
    with _changing(id) as entry:
        entry[what] = max(entry[what], value)


@contextmanager
def never_in_the_way() -> Iterator[None]:
    """A progress file that cannot be written is said once on stderr; the lesson goes on."""
    try:
        yield
    except OSError as error:
        print(
            f"Your progress could not be saved: {error}. Set AGENTLAB_PROGRESS to a file you may write.",
            file=sys.stderr,
        )


@contextmanager
def _changing(id: str) -> Iterator[dict]:
    """Read, change and write one entry under a lock; two notebooks may do this at once."""
    from filelock import FileLock

    path = progress_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=10):
        try:
            exercises = read_progress(path)
        except DataError as error:
            aside = set_aside(path)
            print(f"{error} It was set aside as {aside.name}; a new progress file begins.", file=sys.stderr)
            exercises = {}
        fresh = {"state": "NOT STARTED", "attempts": 0, "hints": 0, "solution_seen": False, "first_passed": ""}
        entry = exercises.setdefault(id, {})
        for key, value in fresh.items():
            entry.setdefault(key, value)
        yield entry
        entry["updated"] = _now()
        _write(path, {"format": FORMAT, "exercises": exercises})


def set_aside(path: Path) -> Path:
    """Rename a broken file to the first free ``progress.broken-N.json``."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.broken-{number}{path.suffix}")).exists():
        number += 1
    path.rename(aside)
    return aside


def _write(path: Path, data: dict) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, ensure_ascii=False)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
