"""Tools that a model can call safely: an ordinary typed function becomes a name, a JSON Schema and a checked call.

A tool never raises into the agent's loop. Each call gives a `ToolResult`: *ok*; *retry*, where the model can mend its
arguments and is told how; or *failed*, where it should stop. Validation is pydantic's, the schema that of JSON Schema 2020-12.

Not covered: tools that stream, asynchronous tools.
"""

from __future__ import annotations

import contextvars
import difflib
import importlib
import inspect
import json
import logging
import multiprocessing
import re
import reprlib
import sys
import threading
import time
import typing
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import pydantic
from docstring_parser import parse as parse_docstring

from agentlab.errors import AgentLabError, UnknownName

RESERVED = ("idempotency_key", "tool", "name", "arguments")
LONGEST_OUTPUT = 4000  # characters of JSON
JSON = pydantic.TypeAdapter(Any)
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 60
log = logging.getLogger("agentlab.toolkit")


class ToolDefinitionError(AgentLabError):
    """A function that a model could not use as a tool; says what is missing."""


class Retry(AgentLabError):
    """Raised inside a tool: the call was wrong in a way that the model can mend; the text says what would be right."""


class Effect(Enum):
    """What a call does to the world: READ may be repeated and cached, WRITE changes something."""

    READ = "read"
    WRITE = "write"


READ, WRITE = Effect.READ, Effect.WRITE


@dataclass(frozen=True)
class ToolResult:
    """What came of a call. ``status`` is ok, retry or failed; ``value`` is JSON data, ``message`` says what was wrong."""

    tool: str
    status: str
    value: Any = None
    message: str = ""
    seconds: float = 0.0
    cached: bool = False

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def text(self, longest: int = LONGEST_OUTPUT) -> str:
        """What a model is shown: the value as JSON, cut if it is too long, or what was wrong."""
        if not self.ok:
            return f"{self.status}: {self.message}"
        whole = json.dumps(self.value, ensure_ascii=False)
        return whole if len(whole) <= longest else f"{whole[:longest]} ... (cut: {longest} of {len(whole)} characters)"


# --- a tool --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tool:
    """A function with its name, description, JSON Schema and effect; made by `tool`."""

    name: str
    description: str
    function: Callable
    effect: Effect
    arguments: type[pydantic.BaseModel]
    timeout: float | None = None
    isolated: bool = False
    cached: bool = True

    def __call__(self, *args, **kwargs):
        """The plain function, for people: no validation, and errors are raised."""
        return self.function(*args, **kwargs)

    @property
    def schema(self) -> dict:
        """The JSON Schema of the arguments."""
        schema = self.arguments.model_json_schema()
        return {k: v for k, v in schema.items() if k != "title"}

    def check(self, arguments: dict) -> tuple[dict, dict]:
        """The arguments as the function takes them, and as JSON; raises `Retry`, which says what is wrong with them.

        The text "3" is read as 3, since models often write it so; true is no number.
        """
        for key, value in arguments.items():
            if isinstance(value, bool) and key in self.arguments.model_fields and self.arguments.model_fields[key].annotation in (int, float):  # fmt: skip
                raise Retry(f"{key} is {str(value).lower()}, but it must be a number.")
        try:
            checked = self.arguments.model_validate(arguments)
        except pydantic.ValidationError as error:
            raise Retry(" ".join(_explain(e, self.arguments) for e in error.errors())) from None
        return {key: getattr(checked, key) for key in self.arguments.model_fields}, checked.model_dump(mode="json")

    def openai(self) -> dict:
        """The tool in OpenAI's function format."""
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": self.schema}}  # fmt: skip


def tool(
    function: Callable | None = None,
    *,
    effect: Effect = READ,
    name: str | None = None,
    timeout: float | None = None,
    isolated: bool = False,
    cached: bool = True,
):
    """Make a tool of a typed, documented function.

    The description is the docstring's first part; each argument needs a type and an entry under ``Args:``. ``timeout`` is
    in seconds; an ``isolated`` tool runs in a process of its own, which is ended when the time is over. A READ tool whose
    answer may change without a WRITE of the same toolbox, say in a database that others write to, is not ``cached``.
    Raises `ToolDefinitionError` for a function that a model could not use.

    >>> @tool
    ... def add(a: int, b: int = 1) -> int:
    ...     '''Add two numbers.
    ...
    ...     Args:
    ...         a: the first number
    ...         b: the second number
    ...     '''
    ...     return a + b
    >>> Toolbox([add]).call("add", {"a": "2"}).value
    3
    """
    if function is None:
        return lambda f: tool(f, effect=effect, name=name, timeout=timeout, isolated=isolated, cached=cached)
    name = name or function.__name__
    arguments = _arguments_model(name, function)
    if isolated and not _importable(function):
        raise ToolDefinitionError(
            f"Tool {name} is isolated, but another process could not import it. Define it at the top level of a module."
        )
    about = parse_docstring(inspect.getdoc(function) or "")
    description = " ".join(filter(None, (about.short_description, about.long_description))).replace("\n", " ")
    return Tool(name, description, function, effect, arguments, timeout, isolated, cached)


def _arguments_model(name: str, function: Callable) -> type[pydantic.BaseModel]:
    """A pydantic model of a function's arguments; raises `ToolDefinitionError`."""

    def refuse(why: str):
        raise ToolDefinitionError(f"{name} cannot be a tool: {why}")

    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        refuse("a name has lower-case letters, digits and underscores, and begins with a letter.")
    about = parse_docstring(inspect.getdoc(function) or "")
    if not about.short_description:
        refuse("it has no docstring, so a model would not know what it is for.")
    said = {p.arg_name: p.description for p in about.params if p.description}
    try:
        types = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        refuse(f"a type hint cannot be read ({error}).")
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            refuse(f"argument {parameter.name} is variable or positional only; a model names its arguments one by one.")
        if parameter.name in RESERVED or parameter.name.startswith("_"):
            refuse(f"argument name {parameter.name} is reserved.")
        if parameter.name not in types:
            refuse(f"argument {parameter.name} has no type.")
        if parameter.name not in said:
            refuse(f"argument {parameter.name} is not described under Args: in the docstring.")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (types[parameter.name], pydantic.Field(default, description=said[parameter.name].replace("\n", " ")))  # fmt: skip
    if unknown := sorted(set(said) - set(fields)):
        refuse(f"the docstring describes {unknown[0]}, which is no argument.")
    try:
        model = pydantic.create_model(name, __config__=pydantic.ConfigDict(extra="forbid"), **fields)
        model.model_json_schema()
    except (pydantic.errors.PydanticUserError, NameError) as error:
        refuse(f"a type has no JSON Schema ({str(error).splitlines()[0]}).")
    return model


def _importable(function: Callable) -> bool:
    found = sys.modules.get(function.__module__)
    return function.__module__ != "__main__" and "<locals>" not in function.__qualname__ and found is not None


# --- a toolbox -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A line of the call log."""

    tool: str
    arguments: Any
    result: ToolResult


@dataclass(frozen=True)
class RunningCall:
    """The WRITE call that runs now; a tool keeps its key beside what it writes, so that it holds across processes."""

    signature: str
    idempotency_key: str | None


current_call: contextvars.ContextVar[RunningCall | None] = contextvars.ContextVar("current_call", default=None)


@dataclass
class Toolbox:
    """Tools by name, with a log of every call, a cache for READ tools and idempotency for WRITE tools.

    ``scope`` says for whom the calls are, such as the verified customer: what is remembered for one is not given to another.
    """

    tools: Sequence[Tool] = ()
    log: list[Call] = field(default_factory=list)
    cache_hits: int = 0
    scope: Callable[[], Hashable] = lambda: None

    def __post_init__(self):
        self._tools: dict[str, Tool] = {}
        self._cache: dict[tuple[Hashable, str], str] = {}
        self._done: dict[tuple[Hashable, str], tuple[str, ToolResult]] = {}
        self._lock, self._writing = threading.RLock(), threading.RLock()
        for one in self.tools:
            self.add(one)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __getitem__(self, name: str) -> Tool:
        if name not in self._tools:
            raise UnknownName("tool", name, self._tools)
        return self._tools[name]

    def add(self, one: Tool) -> None:
        """Add a tool; raises `ToolDefinitionError` where the name is taken."""
        if not isinstance(one, Tool):
            raise ToolDefinitionError(f"{one!r} is no tool; put @tool above the function.")
        if one.name in self._tools:
            raise ToolDefinitionError(f"There is already a tool called {one.name}.")
        self._tools[one.name] = one

    def subset(self, names: Iterable[str]) -> Toolbox:
        """A new toolbox with some of the tools, with a log and cache of its own."""
        return Toolbox([self[name] for name in names], scope=self.scope)

    def describe(self) -> str:
        """The tools as lines for a prompt: name, arguments with types, description."""
        return "\n".join(f"{t.name}({', '.join(_shown(t.schema))}): {t.description}" for t in self)

    def openai(self) -> list[dict]:
        """All tools in OpenAI's function format."""
        return [t.openai() for t in self]

    # --- calls ---

    def validate(self, name: str, arguments: dict | str) -> dict | ToolResult:
        """The arguments as the function takes them, or a retry that says what is wrong with them."""
        checked = self._check(name, arguments)
        return checked if isinstance(checked, ToolResult) else checked[0]

    def _check(self, name: str, arguments: dict | str) -> tuple[dict, dict] | ToolResult:
        def retry(message: str) -> ToolResult:
            return ToolResult(name, "retry", message=message)

        if name not in self._tools:
            return retry(
                f"There is no tool {name!r}.{did_you_mean(name, self._tools)} Tools: {', '.join(self._tools)}."
            )
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except (ValueError, RecursionError) as error:
                return retry(f"The arguments are not JSON ({error}).")
        if not isinstance(arguments, dict):
            return retry(f"The arguments must be an object such as {{...}}; got {type(arguments).__name__}.")
        try:
            return self._tools[name].check(arguments)
        except Retry as error:
            return retry(str(error))

    def call(self, name: str, arguments: dict | str, idempotency_key: str | None = None) -> ToolResult:
        """Call a tool; never raises, whatever the tool or the arguments do.

        A READ call with the same arguments as before comes from the cache until some WRITE succeeds. A WRITE call whose
        ``idempotency_key`` was used before is not done again: the first result comes back.
        """
        began = time.perf_counter()
        result = self._call(name, arguments, idempotency_key)
        result = ToolResult(
            result.tool, result.status, result.value, result.message, time.perf_counter() - began, result.cached
        )
        with self._lock:
            self.log.append(Call(name, arguments, result))
        return result

    def _call(self, name: str, arguments: dict | str, key: str | None) -> ToolResult:
        checked = self._check(name, arguments)
        if isinstance(checked, ToolResult):
            return checked
        one, (values, data) = self._tools[name], checked
        signature = f"{name} {json.dumps(data, sort_keys=True)}"
        scope = self.scope()
        if one.effect is READ:
            with self._lock:
                if (scope, signature) in self._cache:
                    self.cache_hits += 1
                    return ToolResult(name, "ok", json.loads(self._cache[scope, signature]), cached=True)
                cache = self._cache
            result = run(one, values, data)
            if result.ok and one.cached:  # lost if a write came between: what was read may be stale
                cache[scope, signature] = json.dumps(result.value)
            return result
        with self._writing:  # one write at a time, so that a key cannot slip through twice
            if key is not None and (scope, key) in self._done:
                before, result = self._done[scope, key]
                if before != signature:
                    return ToolResult(name, "failed", message=f"The key {key!r} was used for another call; each action needs its own.")  # fmt: skip
                return ToolResult(name, result.status, result.value, result.message, cached=True)
            running = current_call.set(RunningCall(signature, key))
            try:
                result = run(one, values, data)
            finally:
                current_call.reset(running)
            if result.status != "retry":
                with self._lock:
                    self._cache = {}
                if key is not None:
                    self._done[scope, key] = signature, result
            return result


# --- running one ---------------------------------------------------------------------------------------------


def run(one: Tool, arguments: dict, data: dict) -> ToolResult:
    """Run a tool on checked arguments (``data``: the same as JSON), within its time; errors become results."""
    try:
        if one.isolated:
            value = _in_child(one, data)
        elif one.timeout:
            value = _in_thread(one, arguments)
        else:
            value = one.function(**arguments)
        return ToolResult(one.name, "ok", JSON.dump_python(value, mode="json"))
    except Retry as error:
        return ToolResult(one.name, "retry", message=str(error))
    except AgentLabError as error:
        return ToolResult(one.name, "failed", message=str(error))
    except (TimeoutError, FutureTimeout):
        return ToolResult(one.name, "failed", message=f"{one.name} took longer than {one.timeout:g} seconds.")
    except (Exception, SystemExit):
        log.exception("tool %s", one.name)
        return ToolResult(one.name, "failed", message=f"{one.name} does not work at the moment.")


def _in_thread(one: Tool, arguments: dict) -> Any:
    """Wait at most ``timeout``. A thread cannot be stopped: what hangs goes on behind; mark such tools isolated."""
    return in_background(contextvars.copy_context().run, one.function, **arguments).result(one.timeout)


def in_background(function: Callable, *args, **kwargs) -> Future:
    """Start a function in a daemon thread: if it hangs, Python can still end, which waits for a pool's threads."""
    answer: Future = Future()
    answer.set_running_or_notify_cancel()

    def work() -> None:
        try:
            answer.set_result(function(*args, **kwargs))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return answer


def _in_child(one: Tool, data: dict) -> Any:
    """Run in a process of its own, and end it when the time is over. JSON goes in and comes out."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    where = (one.function.__module__, one.function.__qualname__)
    child = context.Process(target=_child, args=(*where, json.dumps(data), theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(one.timeout):
            raise TimeoutError
        kind, value = json.loads(ours.recv_bytes())
    except EOFError:
        child.join(1)
        raise AgentLabError(f"{one.name} ended without an answer (exit code {child.exitcode}).") from None
    finally:
        if child.is_alive():
            child.join(0.5)
        if child.is_alive():
            child.kill()
        child.join()
        ours.close()
    if kind == "retry":
        raise Retry(value)
    if kind == "failed":
        raise AgentLabError(value)
    return value


def _child(module: str, qualname: str, data: str, answer) -> None:
    """In the child: find the tool, check the arguments again, call it, send JSON."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    one = found if isinstance(found, Tool) else tool(found)
    checked = one.arguments.model_validate(json.loads(data))
    here = replace(one, isolated=False, timeout=None)  # the parent keeps the time
    result = run(here, {k: getattr(checked, k) for k in one.arguments.model_fields}, {})
    answer.send_bytes(json.dumps((result.status, result.value if result.ok else result.message)).encode())


# --- what was wrong, in words --------------------------------------------------------------------------------


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A sentence that names the nearest of what is known, with a space before it; empty where nothing is near."""
    spelt = {str(k).lower(): str(k) for k in known}
    near = difflib.get_close_matches(str(word).lower(), spelt, n=1, cutoff=0.6)
    return f" Did you mean {spelt[near[0]]!r}?" if near else ""


def _explain(error: dict, model: type[pydantic.BaseModel]) -> str:
    """One of pydantic's errors as a sentence that says what would be right."""
    where = ".".join(str(part)[:60] for part in error["loc"]) or "The arguments"
    given, kind, context = error.get("input"), error["type"], error.get("ctx", {})
    shown = SHORT.repr(given)  # a model may send megabytes, and gets this sentence back
    if kind == "missing":
        about = model.model_fields.get(str(error["loc"][0]))
        return f"{where} is missing{f': {about.description}' if about is not None and about.description else ''}."
    if kind == "extra_forbidden":
        return f"{where} is no argument.{did_you_mean(where, model.model_fields)} Arguments: {', '.join(model.model_fields) or 'none'}."
    if kind in ("enum", "literal_error"):
        near = did_you_mean(shown.strip("'"), re.findall(r"'([^']*)'", context.get("expected", "")))
        return f"{where} is {shown}; it must be {context.get('expected')}.{near}"
    if kind == "bool_parsing":
        return f"{where} is {shown}, but it must be true or false."
    said = error["msg"][0].lower() + error["msg"][1:]
    return f"{where} is {shown}, but {said.removeprefix('value error, ').rstrip('.')}."


def _shown(schema: dict) -> list[str]:
    """The arguments of a JSON Schema, each with its type, for a prompt."""
    required = schema.get("required", ())

    def kind(part: Any, depth: int = 0) -> str:
        if not isinstance(part, dict) or depth > 4:
            return "any"
        if "$ref" in part:
            part = _referred(schema, part["$ref"])
        if "enum" in part:
            return "|".join(json.dumps(x) for x in part["enum"])
        if "const" in part:
            return json.dumps(part["const"])
        if "anyOf" in part:
            return "|".join(kind(p, depth + 1) for p in part["anyOf"])
        if part.get("type") == "array":
            return f"list of {kind(part.get('items', {}), depth + 1)}"
        types = part.get("type", "any")
        return types if isinstance(types, str) else "|".join(types)

    def default(name: str, part: Any) -> str:
        if name in required:
            return ""
        return f" = {json.dumps(part['default'])}" if isinstance(part, dict) and "default" in part else " (optional)"

    return [f"{name}: {kind(part)}{default(name, part)}" for name, part in schema.get("properties", {}).items()]


def _referred(schema: Any, reference: str) -> Any:
    """What a ``$ref`` such as ``#/$defs/Address`` stands for; {} where it leads outside."""
    for step in reference.removeprefix("#").strip("/").split("/"):
        schema = schema.get(step, {}) if isinstance(schema, dict) else {}
    return schema
