"""Errors that a reader can act on: each says what happened, where, and what would work."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike


class AgentLabError(Exception):
    """Base of all errors that agentlab raises on purpose."""


class UnknownName(AgentLabError):
    """A name (intent, lesson, exercise, profile ...) that does not exist."""

    def __init__(self, kind: str, name: object, available: Iterable[str]):
        names = sorted(available)
        close = get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"Unknown {kind} {name!r}.{hint} Available: {', '.join(names) or 'none'}.")


class DataError(AgentLabError):
    """A data file that cannot be read, with its file and line."""

    def __init__(self, what: str, file: str | PathLike, line: int | None = None, cure: str = ""):
        where = f"{file}:{line}" if line else f"{file}"
        super().__init__(f"{where}: {what}{' ' + cure if cure else ''}")
        self.file, self.line, self.what = str(file), line, what


class AssetError(AgentLabError):
    """A pretrained model or resource that is missing, damaged or cannot be cached."""


class LessonError(AgentLabError):
    """A notebook or lesson that is malformed or cannot be run."""


class NetworkBlocked(AgentLabError, OSError):
    """A connection to another machine was tried while the course runs offline."""
