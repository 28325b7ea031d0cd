"""Judge the exercises of one handed-in notebook; `agentlab grade` runs this inside a sandbox.

``python -m agentlab.submission '{"memory_mb": 2000, "skip": [], "protected": true}'`` reads the notebook from stdin and writes a line of
JSON for each thing that it knows: ``{"found": [ids]}`` or ``{"unreadable": why}`` first, then ``{"start": id}`` and
``{"id", "state", "message"}`` for each exercise. Every step that touches the learner's bytes runs in a forked
child, so that whatever one exercise does to its process, the next begins afresh. Only what the answer needs is
executed: its own statement, and the imports, functions and values that it names.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import re
import select
import signal
import symtable
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agentlab.errors import LessonError

MEMORY = "MEMORY"
MAX_REPLY_BYTES = 64_000
MAX_MESSAGE = 300
FORKS = sys.platform == "linux"  # elsewhere a process ends after one exercise, and `agentlab grade` starts the next
FILE_MB = 64  # the largest file that an answer may write
OUT_OF_MEMORY = re.compile(r"MemoryError|can't allocate memory|not enough memory|bad_alloc|Cannot allocate memory")


# --- which statements an answer needs ------------------------------------------------------------------------


@dataclass(frozen=True)
class Statement:
    """A top-level statement of a notebook: the names it binds, those it reads, those whose values it changes."""

    node: ast.stmt
    cell: int
    binds: frozenset[str]
    reads: frozenset[str]
    changes: frozenset[str]

    @property
    def card(self) -> str:
        """The id in ``ex = exercise("...")``, or nothing."""
        call = getattr(self.node, "value", None)
        named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "exercise"
        first = call.args[0] if named and call.args else None
        return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""

    @property
    def takes_reference(self) -> bool:
        """True for ``answer = ex.use(answer)``."""
        call = getattr(self.node, "value", None)
        return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "use"

    @property
    def imports(self) -> bool:
        """True for an import."""
        return isinstance(self.node, (ast.Import, ast.ImportFrom))


def code_cells(data: bytes) -> list[str]:
    """The sources of a notebook's code cells; raises `LessonError` for bytes that are no notebook."""
    try:
        cells = json.loads(data.decode("utf-8"))["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return ["".join(source) for source in sources]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LessonError(f"not a readable notebook ({type(error).__name__}: {str(error)[:100]})") from None


def without_magics(source: str) -> str:
    """A cell without the lines that are IPython's and not Python's; line numbers stay."""
    return re.sub(r"^[%!?].*$|^[\w.]+\?{1,2}$", "", source, flags=re.M)


def read_statements(cells: list[str]) -> list[Statement]:
    """Every top-level statement, in order. A cell that is not Python counts for nothing."""
    statements = []
    for number, source in enumerate(cells, 1):
        try:
            statements += [_statement(node, number) for node in ast.parse(without_magics(source)).body]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return statements


def _statement(node: ast.stmt, cell: int) -> Statement:
    table = symtable.symtable(ast.unparse(node), "cell", "exec")
    symbols = table.get_symbols()
    binds = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported() or s.is_namespace()}
    reads = {s.get_name() for s in symbols if s.is_referenced()} | set(_globals_of(table))
    if isinstance(node, (ast.If, ast.While, ast.For, ast.Try)):
        reads |= binds  # a branch or loop may leave a name as it was
    reads |= {part.target.id for part in _own_parts(node) if isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name)}  # fmt: skip
    reads -= set(_set_first(node))
    return Statement(node, cell, frozenset(binds), frozenset(reads), frozenset(_changed(node)))


def _own_parts(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that share its names: without the bodies of functions and classes in it."""
    yield node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
        for child in ast.iter_child_nodes(node):
            yield from _own_parts(child)


def _set_first(node: ast.stmt) -> Iterator[str]:
    """The names that a ``for`` or ``with`` sets before its body reads them."""
    targets, given = [], []
    if isinstance(node, ast.For):
        targets, given = [node.target], [node.iter]
    elif isinstance(node, ast.With):
        targets = [item.optional_vars for item in node.items if item.optional_vars]
        given = [item.context_expr for item in node.items]
    before = {part.id for tree in given for part in ast.walk(tree) if isinstance(part, ast.Name)}
    names = (part.id for tree in targets for part in ast.walk(tree) if isinstance(part, ast.Name))
    yield from (name for name in names if name not in before)


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    for child in table.get_children():
        yield from (s.get_name() for s in child.get_symbols() if s.is_global())
        yield from _globals_of(child)


def _changed(node: ast.stmt) -> Iterator[str]:
    """Names whose value a statement alters in place: ``d[k] = v``, ``x.y = v``, ``rows.append(v)`` by itself."""
    for part in _own_parts(node):
        target = None
        if isinstance(part, (ast.Subscript, ast.Attribute)) and isinstance(part.ctx, ast.Store):
            target = part.value
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            target = getattr(part.value.func, "value", None)
        if isinstance(target, ast.Name):
            yield target.id


def find_answer(statements: list[Statement], id: str, name: str) -> int | None:
    """Where an exercise's answer stands: the last definition between its card and the next, or else anywhere."""
    cards = [n for n, s in enumerate(statements) if s.card]
    start = next((n for n in cards if statements[n].card == id), None)
    if start is not None:
        end = next((n for n in cards if n > start and statements[n].card != id), len(statements))
        if (found := _last_definition(statements, name, start, end)) is not None:
            return found
    return _last_definition(statements, name, 0, len(statements))


def _last_definition(statements: list[Statement], name: str, start: int, end: int) -> int | None:
    used = next((n for n in range(start, end) if statements[n].takes_reference and name in statements[n].binds), end)
    return next((n for n in reversed(range(start, used)) if name in statements[n].binds), None)


def needed(statements: list[Statement], answer: int) -> list[Statement]:
    """The statements to execute for an answer, in order, itself included."""
    chosen, waiting = {answer}, [answer]
    while waiting:
        at = waiting.pop()
        for name in statements[at].reads:
            for n in _sources_of(statements, name, at, answer):
                if n not in chosen:
                    chosen.add(n)
                    waiting.append(n)
    return [statements[n] for n in sorted(chosen)]


def _sources_of(statements: list[Statement], name: str, at: int, answer: int) -> list[int]:
    """The last binding of a name before a statement and what then changes its value; else the first one after it."""
    binding = next((n for n in reversed(range(at)) if name in statements[n].binds), None)
    if binding is None:
        later = (n for n in range(at + 1, len(statements)) if name in statements[n].binds)
        return [n for n in [next(later, None)] if n is not None and name not in statements[at].binds]
    fixed = statements[binding].imports or statements[binding].card
    changes = [] if fixed else [n for n in range(binding + 1, answer) if name in statements[n].changes]
    return [binding, *changes]


# --- judging one answer --------------------------------------------------------------------------------------


def judge(cells: list[str], id: str) -> dict[str, str]:
    """``{"state", "message"}`` of one exercise; executes the learner's code in this process."""
    from agentlab.exercises import all_exercises
    from agentlab.exercises.engine import ERROR, NOT_STARTED, NotStarted, describe_error

    exercise = all_exercises()[id]
    statements = read_statements(cells)
    at = find_answer(statements, id, exercise.answer_name)
    if at is None:
        broken = _syntax_error(cells, exercise.answer_name)
        missing = (NOT_STARTED, f"No cell defines {exercise.answer_name}.")
        return dict(zip(("state", "message"), (ERROR, broken) if broken else missing, strict=True))
    try:
        answer = _execute(needed(statements, at), cells)[exercise.answer_name]
    except NotStarted:
        return {"state": NOT_STARTED, "message": ""}
    except BaseException as error:
        message = describe_error(error)
        return {"state": MEMORY if OUT_OF_MEMORY.search(message) else ERROR, "message": message[:MAX_MESSAGE]}
    result = exercise.judge(answer)
    if result.state == NOT_STARTED:
        return {"state": NOT_STARTED, "message": ""}
    bomb = result.state == ERROR and OUT_OF_MEMORY.search(result.message)
    return {"state": MEMORY if bomb else result.state, "message": result.message[:MAX_MESSAGE]}


def _execute(statements: list[Statement], cells: list[str]) -> dict[str, object]:
    """Run statements as the main module, so that classes and type hints find their names there."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    for statement in statements:
        file = f"cell {statement.cell}"
        source = cells[statement.cell - 1]
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(ast.Module([statement.node], []), file, "exec"), vars(main))
    return vars(main)


def _syntax_error(cells: list[str], name: str) -> str:
    """What keeps the cell that seems to define a name from being Python; nothing if there is no such cell."""
    for number, source in enumerate(cells, 1):
        if re.search(rf"^(def|class)\s+{name}\b|^{name}\s*=", source, re.M):
            try:
                ast.parse(without_magics(source))
            except SyntaxError as error:
                return f"The cell is not Python: {error.msg}, in line {error.lineno}: `{(error.text or '').strip()}`"
            except (ValueError, RecursionError, MemoryError) as error:
                return f"Cell {number} is not Python: {type(error).__name__}."
    return ""


# --- one process for each step -------------------------------------------------------------------------------


def in_child(work: Callable[[], dict], memory_mb: int) -> tuple[dict | None, str]:
    """Run a step in a forked child under limits: its reply, or None and how it ended."""
    if not FORKS:
        return work(), ""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            limit(memory_mb)
            with os.fdopen(writing, "w", encoding="utf-8") as file:
                json.dump(work(), file)
        except BaseException:
            os._exit(70)
        os._exit(0)
    os.close(writing)
    text = _read_until_exit(reading, child)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None, f"The process was ended by {signal.Signals(os.WTERMSIG(status)).name}."
    try:
        return json.loads(text), ""
    except ValueError:
        return None, "The process ended before the check had an answer."


def _read_until_exit(reading: int, child: int) -> bytes:
    """What a child wrote. A grandchild may hold the pipe open, so the child's own end counts too."""
    text = b""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while len(text) < MAX_REPLY_BYTES:
            gone = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            if select.select([pipe], [], [], 0 if gone else 0.05)[0]:
                if not (piece := pipe.read(MAX_REPLY_BYTES)):
                    break
                text += piece
            elif gone:
                break
    return text


def limit(memory_mb: int) -> None:
    """Cap what this process and its children may take: memory beyond the present, size of files, open files."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, size in (
        (resource.RLIMIT_FSIZE, FILE_MB << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(what, (size, size))
    if sys.platform == "linux":  # elsewhere RLIMIT_AS is not enforced
        with open("/proc/self/statm") as file:
            present = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (present + (memory_mb << 20),) * 2)


def alone() -> bool:
    """Whether nothing but the sandbox's first process and this one is left in the sandbox."""
    return sum(name.isdigit() for name in os.listdir("/proc")) <= 2


def main(options: dict) -> None:
    """See the top of this module. Ends early where an answer left processes behind: the next sandbox is clean."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_RDWR)
    data = sys.stdin.buffer.read()
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)

    def say(**what) -> None:
        print(json.dumps(what), file=replies, flush=True)

    from agentlab.exercises import all_exercises
    from agentlab.offline import block_network

    block_network()
    known = all_exercises()  # here, so that no child has to import what they need

    def look() -> dict:
        try:
            ids = [s.card for s in read_statements(code_cells(data)) if s.card in known]
        except LessonError as error:
            return {"unreadable": str(error)}
        return {"found": list(dict.fromkeys(ids))}

    found, fault = in_child(look, options["memory_mb"])
    say(**(found or {"unreadable": f"not a readable notebook. {fault}"}))
    for id in (found or {}).get("found", []):
        if id in options["skip"]:
            continue
        say(start=id)
        result, fault = in_child(lambda id=id: judge(code_cells(data), id), options["memory_mb"])
        say(id=id, **(result or {"state": "ERROR", "message": fault}))
        if not FORKS or (options["protected"] and not alone()):
            break


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
