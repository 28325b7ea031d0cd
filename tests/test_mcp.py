"""MCP: our tools for the official client, an official server's tools in our toolbox, and servers that misbehave."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import psutil
import pytest
from mcp import Client, ClientSession, StdioServerParameters, stdio_client

from agentlab.mcp import McpClient, McpError, McpTool, add_mcp_tools
from agentlab.toolkit import READ, WRITE, Retry, Toolbox, ToolDefinitionError
from tests.mcp_servers import BOX as ours

SERVERS = str(Path(__file__).parent / "mcp_servers.py")


def program(kind):
    return StdioServerParameters(command=sys.executable, args=[SERVERS, kind])


def children():
    """Servers of ours that still run."""
    return [p for p in psutil.Process().children(recursive=True) if SERVERS in " ".join(p.cmdline())]


def wait_until(true, seconds=5.0):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def no_process_left_behind(request):
    before = {p.pid for p in children()}
    yield
    wait_until(lambda: {p.pid for p in children()} <= before)


# --- our server, the official client ---


def with_client(use, kind="ours"):
    async def run():
        with open(os.devnull, "w") as quiet:
            async with Client(stdio_client(program(kind), errlog=quiet), cache=None) as client:
                return await use(client)

    return anyio.run(run)


def test_clients_see_our_schemas_descriptions_and_effects():
    tools = with_client(lambda client: client.list_tools()).tools
    assert [t.name for t in tools] == [t.name for t in ours]
    for seen, one in zip(tools, ours, strict=True):
        assert seen.input_schema == one.schema
        assert seen.description == one.description
        assert seen.annotations.read_only_hint is (one.effect is READ)


def test_values_come_as_text_and_structured_and_errors_as_sentences():
    async def use(client):
        return [
            await client.call_tool("find_orders", {"customer": "C-1", "limit": "1"}),
            await client.call_tool("cancel_order", {"order": "C-1-0"}),
            await client.call_tool("find_orders", {"customer": "1001"}),
            await client.call_tool("find_orders", {"customer": "C-0"}),
            await client.call_tool("find_orders", {"customer": "C-1", "limt": 3}),
            await client.call_tool("find_order"),
        ]

    found, cancelled, *wrong = with_client(use)
    value = [{"order": "C-1-0", "status": None, "note": None}]
    assert (json.loads(found.content[0].text), found.structured_content, found.is_error) == (value, value, False)
    assert cancelled.structured_content == {"order": "C-1-0", "refund": None, "customer": "Zoë ✓"}
    assert all(w.is_error and w.structured_content is None for w in wrong)
    assert [w.content[0].text for w in wrong[:2]] == [
        "A customer id begins with C-, as in C-1001.",
        "The shop is closed.",
    ]
    assert "limt is no argument. Did you mean 'limit'?" in wrong[2].content[0].text
    assert "There is no tool 'find_order'. Did you mean 'find_orders'?" in wrong[3].content[0].text


def test_an_older_client_gets_objects_alone_as_structured_content():
    async def run():
        with open(os.devnull, "w") as quiet:
            async with stdio_client(program("ours"), errlog=quiet) as streams, ClientSession(*streams) as session:
                about = await session.initialize()
                found = await session.call_tool("find_orders", {"customer": "C-1"})
                return about, found, await session.call_tool("cancel_order", {"order": "C-1-0"})

    about, found, cancelled = anyio.run(run)
    assert (about.server_info.name, about.protocol_version) == ("agentlab", "2025-11-25")
    assert found.structured_content is None
    assert len(json.loads(found.content[0].text)) == 2
    assert cancelled.structured_content["order"] == "C-1-0"


@pytest.mark.parametrize(("kind", "most"), [("ours", 3), ("in_turn", 1)])
def test_calls_run_side_by_side_or_in_turn_and_a_cancelled_one_stops_nobody(kind, most):
    async def use(client):
        seen = []

        async def call(number):
            seen.append((await client.call_tool("crowd", {"number": number})).structured_content)

        with anyio.move_on_after(0.2):
            await client.call_tool("wait_forever")
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(call, number)
        return max(seen)

    assert with_client(use, kind) == most


def ask(process, id, method, **params):
    line = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    process.stdin.write(line.encode() + b"\n")
    process.stdin.flush()


def raw_server():
    """Our server after the handshake, to read what it really writes."""
    process = subprocess.Popen([sys.executable, SERVERS, "ours"], stdin=-1, stdout=-1, stderr=-1)
    us = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}
    ask(process, 1, "initialize", **us)
    assert json.loads(process.stdout.readline())["id"] == 1
    process.stdin.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
    process.stdin.flush()
    return process


def test_whatever_prints_prints_to_stderr_and_the_server_ends_with_its_client():
    process = raw_server()
    process.stdin.write(b"this is no JSON\n")
    ask(process, 2, "tools/call", name="chatter", arguments={"text": "hello"})
    answer = json.loads(process.stdout.readline())
    assert json.loads(answer["result"]["content"][0]["text"]) == "hello"
    ask(process, 3, "tools/call", name="wait_forever", arguments={})
    time.sleep(0.3)
    out, errors = process.communicate(timeout=10)  # closes stdin while a tool hangs
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines())
    assert errors.split(b"\n")[:3] == [b"hello", b"from the system call", b"from a child"]
    assert process.returncode == 0


def test_ctrl_c_ends_the_server_though_stdin_stays_open():
    process = raw_server()
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(timeout=5) == -signal.SIGINT
    finally:
        process.kill()
        process.communicate()


def served_by_the_command(option, use):
    async def run():
        server = StdioServerParameters(command=sys.executable, args=["-m", "agentlab.cli", "mcp", *option])
        with open(os.devnull, "w") as quiet:
            async with Client(stdio_client(server, errlog=quiet)) as client:
                return (await client.list_tools()).tools, await use(client)

    return anyio.run(run)


def test_the_command_serves_the_language_tools():
    from agentlab.tools.nlp import toolbox

    tools, sentiment = served_by_the_command([], lambda c: c.call_tool("score_sentiment", {"text": "I love it"}))
    assert [(t.name, t.input_schema) for t in tools] == [(t.name, t.schema) for t in toolbox()]
    assert sentiment.structured_content["score"] > 0.5


def test_the_command_serves_a_shop_that_knows_its_customer():
    from agentlab.shop.models import Customer
    from agentlab.shop.store import Store

    with Store.sample().reading() as db:
        customer = db.get_one(Customer, "C1007")

    async def use(client):
        before = await client.call_tool("list_orders", {})
        await client.call_tool("verify_customer", {"email": customer.email, "postcode": customer.postcode})
        return before, await client.call_tool("list_orders", {})

    tools, (before, orders) = served_by_the_command(["--shop"], use)
    assert not next(t for t in tools if t.name == "cancel_order").annotations.read_only_hint
    assert before.is_error
    assert orders.structured_content


# --- the official server, our client ---


@pytest.fixture(scope="module")
def client():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "secret")
        client = McpClient(sys.executable, [SERVERS, "official"], env={"SHOP": "open"})
    with client:
        yield client


@pytest.fixture
def box(client):
    return Toolbox(client.tools)


def test_a_servers_tools_are_tools_with_its_schemas(box):
    async def run():
        async with Client(stdio_client(program("official"))) as client:
            return (await client.list_tools()).tools

    theirs = anyio.run(run)
    assert [t.name for t in box] == ["add", "send_parcel_v2", "fail", "sleep", "settings"]
    for one, seen in zip(box, theirs, strict=True):
        assert isinstance(one, McpTool)
        assert one.schema == {k: v for k, v in seen.input_schema.items() if k != "title"}
    assert [t.effect for t in box] == [READ, WRITE, READ, READ, READ]
    assert box["add"].description == "Add two numbers."
    assert 'add(a: integer, b: integer, mode: "exact"|"rounded" = "exact"): Add two numbers.' in box.describe()
    assert box.openai()[0]["function"]["parameters"]["required"] == ["a", "b"]


def test_right_calls_give_the_servers_values(box):
    assert box.call("add", '{"a": 2, "b": 3}').value == {"result": 5}
    assert not box.call("add", {"a": 2, "b": 3}).cached  # a server's data change without us
    assert json.loads(box.call("send_parcel_v2", {"to": {"street": "x", "town": "Delft"}}).value)["town"] == "Delft"
    assert box["add"](a=1, b=1) == {"result": 2}  # for people


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("add", {"a": 1}, "b is missing: what is added."),
        ("add", {"a": "x", "b": 1}, "a is 'x', but it must be integer."),
        ("add", {"a": 1, "b": -1}, "b: -1 is less than the minimum of 0."),
        ("add", {"a": 1, "b": 1, "mode": "exat"}, "mode is 'exat'; it must be 'exact' or 'rounded'. Did you mean 'exact'?"),
        ("send_parcel_v2", {"to": {"street": "x"}}, "to.town is missing."),
        ("send_parcel_v2", {"to": {"street": float("nan")}}, "not JSON"),
        ("send_parcel_v2", {"to": {1, 2}}, "not JSON"),
        ("fail", {"how": "\ud83d"}, "not JSON"),  # half an emoji, as a model may write it
        ("sned", {}, "There is no tool 'sned'"),
        ("fail", {"how": "way"}, "Error executing tool fail"),  # a read that fails can be tried otherwise
    ],
)  # fmt: skip
def test_a_wrong_call_can_be_mended(box, name, arguments, said):
    result = box.call(name, arguments)
    assert result.status == "retry"
    assert said in result.message


def test_a_write_that_fails_is_not_tried_again(box):
    result = box.call("send_parcel_v2", {"to": {"street": "x", "town": "Atlantis"}}, idempotency_key="a")
    assert (result.status, result.message) == ("failed", "Error executing tool Send-Parcel.v2")


def test_a_server_gets_the_variables_that_are_named_and_no_secret(box):
    variables = box.call("settings", {}).value.split("\n")[1].split()
    assert "SHOP" in variables
    assert "OPENAI_API_KEY" not in variables


def test_calls_run_side_by_side(box):
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: box.call("sleep", {"seconds": 0.3 + n / 1e4}), range(8)))
    assert all(r.ok for r in results)
    assert time.perf_counter() - began < 1.2, "eight times 0.3 seconds"


def test_a_call_that_hangs_fails_in_words_and_the_next_one_works(client, monkeypatch):
    monkeypatch.setattr(client, "timeout", 0.3)
    box = Toolbox(client.tools)
    assert box.call("sleep", {"seconds": 60}).message == "sleep took longer than 0.3 seconds."
    assert box.call("add", {"a": 1, "b": 1}).ok


def test_our_own_values_survive_the_round_trip():
    box = Toolbox()
    with add_mcp_tools(box, sys.executable, [SERVERS, "ours"], prefix="shop_"):
        assert [t.schema for t in box] == [t.schema for t in ours]
        assert [t.effect for t in box] == [t.effect for t in ours]
        for name, arguments in (("find_orders", {"customer": "C-7"}), ("cancel_order", {"order": "C-7-0"})):
            assert box.call(f"shop_{name}", arguments).value == ours.call(name, arguments).value
        assert box.call("shop_find_orders", {"customer": "7"}).status == "retry"
        assert box.call("shop_find_orders", {"customer": "C-0"}).status == "failed"
        assert box.call("shop_chatter", {"text": "hello"}).value == "hello"
        assert [box.call("shop_odd", {"kind": k}).value for k in ("half an emoji", "nothing")] == ["a?b", None]
        assert len(box.call("shop_odd", {"kind": "megabytes"}).value) == 3_000_000
        assert box.call("shop_odd", {"kind": "exit"}).message == "odd does not work at the moment."


def test_a_name_that_is_taken_leaves_the_toolbox_as_it_was():
    box = Toolbox([ours["find_orders"]])
    with pytest.raises(ToolDefinitionError, match=r"already a tool called find_orders. Give the tools of .* a prefix"):
        add_mcp_tools(box, sys.executable, [SERVERS, "ours"])
    assert len(box) == 1


# --- servers that misbehave ---


@pytest.fixture
def impatient(monkeypatch):
    """The official client waits half a second where it waits two for a server to end, then for SIGTERM to work."""
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 0.5)
    monkeypatch.setattr("mcp.client.stdio.FORCE_KILL_TIMEOUT", 0.5)


def test_a_server_killed_in_the_middle_of_a_call_is_a_sentence():
    with McpClient(sys.executable, [SERVERS, "official"]) as client:
        box = Toolbox(client.tools)
        pid = int(box.call("settings", {}).value.split("\n")[0])
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        began = time.perf_counter()
        result = box.call("sleep", {"seconds": 30})
        assert time.perf_counter() - began < 5
        assert result.status == "failed"
        assert result.message.endswith("has ended.")
        assert box.call("add", {"a": 1, "b": 1}).status == "failed"


def test_a_server_that_stops_altogether_times_out_and_is_killed(impatient):
    """It heeds neither the end of stdin nor SIGTERM. Our thread ends too."""
    before = threading.active_count()
    with McpClient(sys.executable, [SERVERS, "official"], timeout=0.3) as client:
        box = Toolbox(client.tools)
        os.kill(int(box.call("settings", {}).value.split("\n")[0]), signal.SIGSTOP)
        assert "longer than 0.3 seconds" in box.call("add", {"a": 1, "b": 1}).message
        big = {"to": {"street": "x" * 1_000_000, "town": "y"}}  # more than a pipe holds: sending it hangs too
        assert "longer than 0.3 seconds" in box.call("send_parcel_v2", big).message
    assert threading.active_count() <= before


def test_a_server_that_does_not_start_is_one_sentence(impatient):
    def said(kind):
        with pytest.raises(McpError) as caught:
            McpClient(sys.executable, [SERVERS, kind], start_timeout=1.5)
        return str(caught.value).partition(kind)[2]

    with ThreadPoolExecutor(3) as pool:  # the first two take their time to end
        silent, nonsense, broken = pool.map(said, ["silent", "nonsense", "broken"])
    assert silent == "' did not answer within 1.5 seconds. Its last words: I say nothing"
    assert nonsense == "' did not answer within 1.5 seconds."
    assert broken == "' does not start (Connection closed). Its last words: No module named 'shop'"


def test_a_program_that_is_not_there_is_one_sentence():
    with pytest.raises(McpError, match="There is no program 'no-such-server' to start as an MCP server"):
        add_mcp_tools(Toolbox(), "no-such-server")


def test_a_server_that_prints_beside_the_protocol_still_serves(caplog):
    with McpClient(sys.executable, [SERVERS, "garbage"]) as client:
        assert Toolbox(client.tools).call("add", {"a": 1, "b": 1}).ok
    assert "Failed to parse" in caplog.text  # for those who look


def test_a_closed_client_answers_in_words_and_closes_once():
    client = McpClient(sys.executable, [SERVERS, "official"])
    box = Toolbox(client.tools)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.call, "sleep", {"seconds": 30})
        time.sleep(0.3)
        client.close()
        assert waiting.result(5).message.endswith("has been closed.")
    client.close()
    assert box.call("add", {"a": 1, "b": 1}).message.endswith("was closed.")


def test_the_end_of_python_ends_even_a_server_that_would_stay():
    code = (
        "import sys, mcp.client.stdio as official; from agentlab.mcp import McpClient\n"
        "official.PROCESS_TERMINATION_TIMEOUT = 0.2\n"
        f"client = McpClient(sys.executable, [{SERVERS!r}, 'clingy'])\n"
        "import psutil; print(psutil.Process().children()[0].pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert not psutil.pid_exists(int(done.stdout))
    assert done.stderr == ""


# --- schemas ---


def checked(schema, arguments):
    one = McpTool("t", "T.", print, READ, None, input_schema=schema)
    return one.check(arguments)[0]


def test_a_schema_that_cannot_be_applied_leaves_the_check_to_the_server(caplog, monkeypatch):
    caplog.set_level(logging.WARNING)
    fetched = []
    monkeypatch.setattr("urllib.request.urlopen", fetched.append)
    for schema in (
        {"type": "no such type"},
        {"type": "object", "properties": {"a": {"$ref": "https://example.org/a.json"}}},
        {"type": "object", "properties": {"a": {"pattern": "(?<bad"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}},
    ):
        caplog.clear()
        assert checked(schema, {"a": "x"}) == {"a": "x"}
        assert "its server checks the arguments" in caplog.text
    assert not fetched


def test_an_argument_that_is_not_known_is_named():
    schema = {"type": "object", "properties": {"limit": {}}, "additionalProperties": False}
    with pytest.raises(Retry, match=r"limt is no argument. Did you mean 'limit'\? Arguments: limit."):
        checked(schema, {"limt": 1})


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ({"$ref": "#/definitions/Day"}, "day: string (optional)"),
        ({"$ref": "elsewhere.json"}, "day: any (optional)"),
        ({"type": ["string", "null"]}, "day: string|null (optional)"),
        (True, "day: any (optional)"),
        ({"anyOf": [{"$ref": "#/properties/day"}]}, "day: any (optional)"),
    ],
)
def test_any_schema_can_be_described(part, shown):
    schema = {"type": "object", "properties": {"day": part}, "definitions": {"Day": {"type": "string"}}}
    one = McpTool("t", "T.", print, READ, None, input_schema=schema)
    assert Toolbox([one]).describe() == f"t({shown}): T."
