"""Tools over the Model Context Protocol (MCP): ours served to any client, any server's tools in our `Toolbox`.

A server is a program that answers on its stdin and stdout; the client starts it as a child process. Both ends are the
official ``mcp`` package. The names, descriptions and results of a server come from outside and end up in a model's prompt:
add only servers that you trust.

Not covered: HTTP, prompts and resources, a server that asks its client for something (sampling, elicitation).

Source: https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import re
import signal
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from agentlab.errors import AgentLabError
from agentlab.toolkit import (
    LONGEST_OUTPUT,
    READ,
    SHORT,
    WRITE,
    Effect,
    Retry,
    Tool,
    Toolbox,
    ToolDefinitionError,
    ToolResult,
    did_you_mean,
    in_background,
)

if TYPE_CHECKING:
    from mcp import types

STATUS = "agentlab/status"  # in a result's _meta: ok, retry or failed, where the protocol knows isError alone
log = logging.getLogger("agentlab.mcp")
logging.getLogger("mcp").addHandler(logging.NullHandler())  # else each line that is no JSON is a traceback on stderr


class McpError(AgentLabError):
    """An MCP server that cannot be started or does not answer."""


# --- our tools, served ---------------------------------------------------------------------------------------


def serve(toolbox: Toolbox, name: str = "agentlab", at_once: int = 16) -> None:
    """Serve a toolbox over stdin and stdout until stdin ends.

    Clients see our own JSON Schemas. What a tool or a library prints goes to stderr. Calls run side by side in threads,
    ``at_once`` at most; the others wait.
    """
    import anyio

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # else Ctrl-C waits for the thread that reads stdin, for ever
    anyio.run(_serve, toolbox, name, at_once)


async def _serve(toolbox: Toolbox, name: str, at_once: int) -> None:
    import anyio
    from mcp import stdio_server, types
    from mcp.server.lowlevel import Server

    from agentlab import __version__

    threads = anyio.CapacityLimiter(at_once)

    async def list_tools(_, __) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_offered(one) for one in toolbox])

    async def call_tool(context, asked: types.CallToolRequestParams) -> types.CallToolResult:
        async with threads:  # a daemon thread: a tool that hangs must not keep the server alive when its client is gone
            result = await asyncio.wrap_future(in_background(toolbox.call, asked.name, asked.arguments or {}))
        return _answer(result, context.protocol_version)

    server = Server(name, version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (incoming, outgoing):  # from here on file descriptor 1 is stderr for all others
        await server.run(incoming, outgoing, server.create_initialization_options())


def _offered(one: Tool) -> types.Tool:
    """A tool as clients see it."""
    from mcp import types

    hints = types.ToolAnnotations(read_only_hint=one.effect is READ)
    return types.Tool(name=one.name, description=one.description, input_schema=one.schema, annotations=hints)


def _answer(result: ToolResult, version: str) -> types.CallToolResult:
    """A result for the client: the value as JSON text and, where the version allows it, as structured content."""
    from mcp import types
    from mcp.types import version as versions

    text = json.dumps(result.value, ensure_ascii=False) if result.ok else result.message
    text = text.encode(errors="replace").decode()  # half an emoji is no UTF-8; sent on, it would end the server
    content, meta = [types.TextContent(type="text", text=text)], {STATUS: result.status}
    allowed = isinstance(result.value, dict) or versions.is_version_at_least(version, "2026-07-28")  # before: objects
    structured = json.loads(text) if result.ok and allowed else None
    return types.CallToolResult(content=content, structured_content=structured, is_error=not result.ok, _meta=meta)


# --- a server's tools, as ours -------------------------------------------------------------------------------


@dataclass(frozen=True)
class McpTool(Tool):
    """A tool of an MCP server. Its schema is the server's; arguments are checked against it before they are sent."""

    input_schema: dict = field(default_factory=dict, compare=False)

    @property
    def schema(self) -> dict:
        """The JSON Schema of the arguments, without its title."""
        return {k: v for k, v in self.input_schema.items() if k != "title"}

    @cached_property
    def _validator(self):
        from jsonschema import Draft202012Validator
        from jsonschema.validators import validator_for
        from referencing import Registry

        kind = validator_for(self.input_schema, default=Draft202012Validator)
        kind.check_schema(self.input_schema)
        return kind(self.input_schema, registry=Registry())  # an empty registry: no $ref is fetched from the network

    def check(self, arguments: dict) -> tuple[dict, dict]:
        """The arguments, twice; raises `Retry`, which says what is wrong with them."""
        try:
            arguments = json.loads(json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise Retry(f"The arguments are not JSON ({error}).") from None
        try:
            errors = sorted(self._validator.iter_errors(arguments), key=lambda e: list(map(str, e.absolute_path)))
        except (
            Exception
        ):  # no schema, or one that cannot be applied: a $ref to elsewhere, a pattern that is not Python's
            log.warning("The schema of %s cannot be applied; its server checks the arguments.", self.name)
            errors = []
        if errors:
            raise Retry(" ".join(_explain(e) for e in errors[:5]))
        return arguments, arguments


def add_mcp_tools(
    toolbox: Toolbox,
    command: str,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    prefix: str = "",
    *,
    timeout: float = 60.0,
    start_timeout: float = 30.0,
) -> McpClient:
    """Start an MCP server, add its tools to a toolbox, and return the client, which ends the server on `close`.

    Raises `McpError` where the server does not start and `ToolDefinitionError` where a tool's name is taken; no tool is
    added and no process left behind then.
    """
    client = McpClient(command, args, env, prefix, timeout=timeout, start_timeout=start_timeout)
    taken = {one.name for one in toolbox} & {one.name for one in client.tools}
    if taken:
        client.close()
        raise ToolDefinitionError(
            f"There is already a tool called {min(taken)}. Give the tools of {client.name} a prefix, such as prefix={client.name[:8]!r}."
        )
    for one in client.tools:
        toolbox.add(one)
    return client


class McpClient:
    """A running MCP server and its tools. Use it in a ``with`` statement, or call `close`; Python's end closes it too.

    ``args`` are the program's arguments. ``env`` are environment variables beyond the few that every server gets (HOME,
    PATH and the like): your keys and settings stay here unless you name them. ``prefix`` goes before each tool's name.
    A call takes at most ``timeout`` seconds, starting the server ``start_timeout``. A tool is a WRITE tool unless the
    server says it only reads. Raises `McpError` where the server does not start.

    with McpClient("uvx", ["mcp-server-time"]) as client:
        toolbox = Toolbox(client.tools)
    """

    def __init__(
        self,
        command: str,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        prefix: str = "",
        *,
        timeout: float = 60.0,
        start_timeout: float = 30.0,
    ):
        from anyio.from_thread import start_blocking_portal

        self.command, self.timeout, self.name = [command, *args], timeout, Path(command).name
        self._closing, self._closed = threading.Lock(), False
        self._held = ExitStack()
        self._errors = self._held.enter_context(tempfile.TemporaryFile())  # the server's stderr # noqa: SIM115
        self._loop = self._held.enter_context(start_blocking_portal(name=f"mcp {self.name}"))
        atexit.register(self.close)
        started: Future[list[types.Tool]] = Future()
        self._life = self._loop.start_task_soon(self._live, dict(env or {}), started)
        try:
            self.tools = self._own_tools(self._wait(started, start_timeout), prefix)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> McpClient:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the server and the thread that speaks with it; calling it twice does no harm.

        The server has 2 seconds to end by itself once its stdin is closed and 2 more after SIGTERM.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._life.cancel()
            self._held.close()  # returns when the server has ended
            atexit.unregister(self.close)

    # --- starting ---

    async def _live(self, env: dict[str, str], started: Future) -> None:
        """The server's life, in the background thread."""
        import anyio
        from mcp import Client, StdioServerParameters, stdio_client, types

        from agentlab import __version__

        command, *args = self.command
        program = StdioServerParameters(command=command, args=args, env=env, encoding_error_handler="replace")
        us = types.Implementation(name="agentlab", version=__version__)
        async with Client(stdio_client(program, errlog=self._errors), client_info=us, cache=None) as client:
            self._client = client
            page = await client.list_tools()
            tools = page.tools
            while page.next_cursor:
                page = await client.list_tools(cursor=page.next_cursor)
                tools += page.tools
            started.set_result(tools)
            await anyio.sleep_forever()

    def _wait(self, started: Future, seconds: float) -> list[types.Tool]:
        done, _ = wait([started, self._life], seconds, FIRST_COMPLETED)
        if started in done:
            return started.result()
        shown = " ".join(self.command)
        if not done:
            raise McpError(f"The MCP server {shown!r} did not answer within {seconds:g} seconds.{self._last_words()}")
        error = _innermost(self._life.exception())
        if isinstance(error, FileNotFoundError):
            raise McpError(f"There is no program {self.command[0]!r} to start as an MCP server.")
        raise McpError(f"The MCP server {shown!r} does not start ({error}).{self._last_words()}")

    def _last_words(self) -> str:
        """The last line of the server's stderr, as a sentence."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" Its last words: {last[:300]}" if last else ""

    def _own_tools(self, offered: Iterable[types.Tool], prefix: str) -> list[McpTool]:
        tools: dict[str, McpTool] = {}
        for one in offered:
            name = _tool_name(prefix + one.name)
            if name in tools:
                raise ToolDefinitionError(f"{self.name} offers two tools that would both be called {name}.")
            effect = READ if one.annotations is not None and one.annotations.read_only_hint else WRITE
            tools[name] = McpTool(
                name,
                " ".join((one.description or one.title or one.name).split()),
                partial(self._call, one.name, effect),
                effect,
                pydantic.BaseModel,
                cached=False,  # a server's data change without us
                input_schema=one.input_schema,
            )
        return list(tools.values())

    # --- calling ---

    def _call(self, tool: str, effect: Effect, /, **arguments) -> Any:
        """The value that the server gives; raises `Retry` or `McpError`."""
        result = self._ask(tool, arguments)
        if not result.is_error:
            return _value(result)
        said = _text(result)[:LONGEST_OUTPUT] or f"{tool} failed and did not say why."
        # The protocol bids us let the model see the error and mend its call; a write may have been done by half.
        status = (result.meta or {}).get(STATUS, "retry" if effect is READ else "failed")
        raise (Retry if status == "retry" else McpError)(said)

    def _ask(self, tool: str, arguments: dict) -> types.CallToolResult:
        from mcp import MCPError, types

        try:
            answer = self._loop.start_task_soon(self._client.call_tool, tool, arguments)
        except RuntimeError:  # the thread has ended
            raise McpError(f"The MCP server {self.name} was closed.") from None
        try:
            return answer.result(self.timeout)
        except TimeoutError:
            answer.cancel()
            raise McpError(f"{tool} took longer than {self.timeout:g} seconds.") from None
        except CancelledError:
            raise McpError(f"The MCP server {self.name} was closed.") from None
        except MCPError as error:
            if error.code == types.CONNECTION_CLOSED:
                raise McpError(
                    f"The MCP server {self.name} has {'been closed' if self._closed else 'ended'}."
                ) from None
            if error.code == types.INVALID_PARAMS:  # refused before anything was done
                raise Retry(error.message[:LONGEST_OUTPUT]) from None
            raise McpError(f"{self.name} refused the call: {error.message[:LONGEST_OUTPUT]}") from None


# --- small pieces --------------------------------------------------------------------------------------------


def _tool_name(name: str) -> str:
    """A server's name as one of ours.

    >>> _tool_name("Search-Docs.v2"), _tool_name("2fa")
    ('search_docs_v2', 'tool_2fa')
    """
    name = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return (name if name[:1].isalpha() else f"tool_{name}")[:64]


def _value(result: types.CallToolResult) -> Any:
    """The structured content, else the text; from a toolbox like ours, the very value."""
    if (result.meta or {}).get(STATUS) == "ok":
        return json.loads(_text(result))
    return _text(result) if result.structured_content is None else result.structured_content


def _text(result: types.CallToolResult) -> str:
    """The content as text; what is no text is named."""
    return "\n".join(_shown(block) for block in result.content)


def _shown(block: types.ContentBlock) -> str:
    if block.type == "text":
        return block.text
    if block.type == "resource_link":
        return str(block.uri)
    if block.type == "resource":
        return getattr(block.resource, "text", f"({block.resource.mime_type or 'binary'} resource, left out)")
    return f"({block.mime_type} {block.type}, left out)"


def _innermost(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _explain(error) -> str:
    """One of jsonschema's errors as a sentence that says what would be right."""
    path = [str(part) for part in error.absolute_path]
    where, given, rule = ".".join(path) or "The arguments", SHORT.repr(error.instance), error.validator_value
    if error.validator == "required":
        name = error.message.removesuffix(" is a required property").strip("'")
        about = error.schema.get("properties", {}).get(name, {})
        text = about.get("description") if isinstance(about, dict) else None
        return f"{'.'.join([*path, name])} is missing{f': {text}' if text else ''}."
    if error.validator == "additionalProperties" and rule is False:
        known = list(error.schema.get("properties", {}))
        wrong = next((key for key in error.instance if key not in known), "")[:60]
        return f"{'.'.join([*path, wrong])} is no argument.{did_you_mean(wrong, known)} Arguments: {', '.join(known) or 'none'}."
    if error.validator == "enum":
        near = did_you_mean(error.instance[:60], rule) if isinstance(error.instance, str) else ""
        return f"{where} is {given}; it must be {' or '.join(map(repr, rule))}.{near}"
    if error.validator == "type":
        return f"{where} is {given}, but it must be {rule if isinstance(rule, str) else ' or '.join(rule)}."
    return f"{where}: {error.message[:300]}."
