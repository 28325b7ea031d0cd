"""Tools: what is refused when it is defined, what a model is told, what stops, what is remembered."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from enum import Enum
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from agentlab.errors import AgentLabError, UnknownName
from agentlab.toolkit import READ, WRITE, Retry, Tool, Toolbox, ToolDefinitionError, current_call, tool


class Carrier(Enum):
    POST = "post"
    COURIER = "courier"


class Address(BaseModel):
    street: str
    town: str


@tool
def find_orders(customer: str, status: Literal["open", "shipped", "cancelled"] = "open", limit: Annotated[int, Field(ge=1, le=50)] = 10) -> list:  # fmt: skip
    """Find a customer's orders.

    The newest comes first.

    Args:
        customer: the customer's id, such as C-1001
        status: which orders
        limit: how many at most
    """
    if not customer.startswith("C-"):
        raise Retry("A customer id begins with C-, as in C-1001.")
    return [{"order": f"{customer}-{n}", "status": status} for n in range(min(limit, 3))]


@tool(effect=WRITE)
def send_parcel(to: Address, by: Carrier, on: date) -> dict:
    """Send a parcel.

    Args:
        to: where it goes
        by: who carries it
        on: the day it leaves
    """
    sent_parcels.append((to.town, by, on))
    return {"to": to, "by": by, "on": on}


sent_parcels = []


@tool(timeout=1.5, isolated=True)
def hangs(seconds: float) -> int:
    """Sleep, and say in which process.

    Args:
        seconds: how long
    """
    time.sleep(seconds)
    return os.getpid()


@tool(timeout=30, isolated=True)
def falls_over(how: str) -> str:
    """Fail in a process of its own.

    Args:
        how: exit, retry, raise or known
    """
    if how == "exit":
        os._exit(3)
    if how == "retry":
        raise Retry("try known")
    if how == "known":
        raise AgentLabError("the shop is closed")
    raise ZeroDivisionError("secret detail")


@pytest.fixture
def box():
    sent_parcels.clear()
    return Toolbox([find_orders, send_parcel])


PARCEL = {"to": {"street": "Kerkstraat 1", "town": "Delft"}, "by": "post", "on": "2026-05-04"}


# --- defining ---


def test_the_schema_says_types_limits_defaults_and_descriptions():
    schema = find_orders.schema
    assert schema["required"] == ["customer"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["status"]["enum"] == ["open", "shipped", "cancelled"]
    assert schema["properties"]["limit"]["maximum"] == 50
    assert schema["properties"]["customer"]["description"] == "the customer's id, such as C-1001"
    assert find_orders.description == "Find a customer's orders. The newest comes first."
    assert send_parcel.effect is WRITE
    assert find_orders.effect is READ
    function = send_parcel.openai()["function"]
    assert function["name"] == "send_parcel"
    assert set(function["parameters"]["properties"]) == {"to", "by", "on"}
    assert find_orders("C-1", limit=1) == [{"order": "C-1-0", "status": "open"}]  # still a function for people


def bare(a: int):
    return a


def undescribed(a: int, b: int):
    """Add.

    Args:
        a: one
    """


def untyped(a):
    """Do.

    Args:
        a: one
    """


def variable(*a: int):
    """Do.

    Args:
        a: many
    """


def reserved(idempotency_key: str):
    """Do.

    Args:
        idempotency_key: a key
    """


def too_much(a: int):
    """Do.

    Args:
        a: one
        b: not there
    """


def no_schema(a: object()):
    """Do.

    Args:
        a: one
    """


def Shouting():
    """Do."""


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (bare, "no docstring"),
        (undescribed, "argument b is not described"),
        (untyped, "argument a has no type"),
        (variable, "argument a is variable"),
        (reserved, "argument name idempotency_key is reserved"),
        (too_much, "describes b, which is no argument"),
        (no_schema, "a type"),
        (Shouting, "lower-case letters"),
    ],
)
def test_what_a_model_could_not_use_is_refused_with_the_reason(function, why):
    with pytest.raises(ToolDefinitionError, match=why):
        tool(function)


def test_an_isolated_tool_must_be_importable():
    def local() -> int:
        """Do."""

    with pytest.raises(ToolDefinitionError, match="top level of a module"):
        tool(local, isolated=True)


# --- calling ---


def test_a_right_call_gives_json_data(box):
    result = box.call("find_orders", '{"customer": "C-7", "limit": "2"}')
    assert result.ok
    assert result.value == [{"order": "C-7-0", "status": "open"}, {"order": "C-7-1", "status": "open"}]
    sent = box.call("send_parcel", PARCEL)
    assert sent.value == {"to": PARCEL["to"], "by": "post", "on": "2026-05-04"}
    assert sent_parcels == [("Delft", Carrier.POST, date(2026, 5, 4))]  # the function gets real types


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("find_order", {}, "There is no tool 'find_order'. Did you mean 'find_orders'?"),
        ("find_orders", {}, "customer is missing: the customer's id, such as C-1001."),
        ("find_orders", {"customer": "C-1", "status": "shiped"}, "Did you mean 'shipped'?"),
        ("find_orders", {"customer": "C-1", "limt": 3}, "limt is no argument. Did you mean 'limit'?"),
        ("find_orders", {"customer": "C-1", "limit": 51}, "limit is 51, but input should be less than or equal to 50."),
        ("find_orders", {"customer": "C-1", "limit": "many"}, "limit is 'many'"),
        ("find_orders", {"customer": "1001"}, "begins with C-"),
        ("find_orders", "{customer: 1}", "not JSON"),
        ("find_orders", "[1]", "must be an object"),
        ("send_parcel", PARCEL | {"by": "curier"}, "Did you mean 'courier'?"),
        ("send_parcel", PARCEL | {"on": "tomorrow"}, "on is 'tomorrow'"),
        ("send_parcel", PARCEL | {"to": {"street": "x"}}, "to.town is missing"),
    ],
)
def test_a_wrong_call_can_be_mended(box, name, arguments, said):
    result = box.call(name, arguments)
    assert result.status == "retry"
    assert said in result.message, result.message
    assert not sent_parcels


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))  # fmt: skip
def test_no_arguments_raise(arguments):
    assert Toolbox([find_orders, send_parcel]).call("send_parcel", arguments).status == "retry"


def test_errors_inside_never_leave_a_trace(caplog):
    @tool
    def broken(a: int) -> int:
        """Divide.

        Args:
            a: a number
        """
        return 1 // a

    result = Toolbox([broken]).call("broken", {"a": 0})
    assert result.status == "failed"
    assert result.message == "broken does not work at the moment."
    assert "ZeroDivisionError" in caplog.text  # for us, not for the model


def test_long_outputs_are_cut_and_it_is_said():
    @tool
    def long() -> str:
        """Say much."""
        return "x" * 9000

    text = Toolbox([long]).call("long", {}).text()
    assert len(text) < 4100
    assert text.endswith("(cut: 4000 of 9002 characters)")


def test_values_that_are_no_json_fail():
    @tool
    def odd() -> object:
        """Give something odd."""
        return object()

    assert Toolbox([odd]).call("odd", {}).status == "failed"


# --- time ---


def test_a_hung_tool_is_really_stopped():
    began = time.perf_counter()
    result = Toolbox([hangs]).call("hangs", {"seconds": 600})
    assert result.status == "failed"
    assert "longer than 1.5 seconds" in result.message
    assert time.perf_counter() - began < 20
    import multiprocessing

    assert not multiprocessing.active_children()


def test_a_child_answers_fails_and_dies_in_words():
    box = Toolbox([falls_over])
    assert box.call("falls_over", {"how": "exit"}).message == "falls_over ended without an answer (exit code 3)."
    assert box.call("falls_over", {"how": "retry"}).status == "retry"
    assert box.call("falls_over", {"how": "known"}).message == "the shop is closed"
    result = box.call("falls_over", {"how": "raise"})
    assert (result.status, "secret" in result.message) == ("failed", False)


def test_a_slow_tool_in_a_thread_is_left_behind():
    @tool(timeout=0.2)
    def slow() -> int:
        """Wait."""
        time.sleep(1)
        return 1

    began = time.perf_counter()
    assert Toolbox([slow]).call("slow", {}).status == "failed"
    assert time.perf_counter() - began < 0.9


def test_python_ends_although_a_tool_in_a_thread_hangs():
    code = (
        "import time; from agentlab.toolkit import Toolbox, tool\n"
        "@tool(timeout=0.1)\ndef slow() -> int:\n    'Wait.'\n    time.sleep(60)\n"
        "print(Toolbox([slow]).call('slow', {}).status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "failed\n", "")


# --- memory ---


def test_reads_are_cached_until_a_write(box):
    first = box.call("find_orders", {"customer": "C-1"})
    again = box.call("find_orders", {"customer": "C-1", "limit": 10})  # the same arguments, the default written out
    assert (first.cached, again.cached, box.cache_hits) == (False, True, 1)
    again.value.append("changed by the caller")
    assert len(box.call("find_orders", {"customer": "C-1"}).value) == 3
    box.call("send_parcel", PARCEL)
    assert not box.call("find_orders", {"customer": "C-1"}).cached
    assert box.call("find_orders", {"customer": "1"}).status == "retry"
    assert [c.tool for c in box.log].count("find_orders") == 5
    assert all(c.result.seconds >= 0 for c in box.log)


def test_what_was_read_before_a_write_ended_is_not_remembered():
    read_begun, written = threading.Event(), threading.Event()

    @tool
    def slow_look() -> str:
        """Look."""
        seen = "new" if written.is_set() else "old"
        read_begun.set()
        written.wait(5)
        return seen

    @tool(effect=WRITE)
    def change() -> None:
        """Change."""
        read_begun.wait(5)

    box = Toolbox([slow_look, change])
    with ThreadPoolExecutor(2) as pool:
        looking = pool.submit(box.call, "slow_look", {})
        assert pool.submit(box.call, "change", {}).result().ok
        written.set()
        assert looking.result().value == "old"
    assert box.call("slow_look", {}).value == "new"


def test_a_slow_write_holds_up_no_read(box):
    may_end = threading.Event()

    @tool(effect=WRITE)
    def slow_write() -> None:
        """Write."""
        may_end.wait(10)

    box.add(slow_write)
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(box.call, "slow_write", {})
        assert pool.submit(box.call, "find_orders", {"customer": "C-1"}).result(5).ok
        assert not writing.done()
        may_end.set()


def test_a_key_makes_a_write_happen_once(box):
    first = box.call("send_parcel", PARCEL, idempotency_key="a")
    again = box.call("send_parcel", PARCEL, idempotency_key="a")
    assert (first.ok, again.ok, again.cached, len(sent_parcels)) == (True, True, True, 1)
    other = box.call("send_parcel", PARCEL | {"by": "courier"}, idempotency_key="a")
    assert other.status == "failed"
    assert "another call" in other.message
    box.call("send_parcel", PARCEL, idempotency_key="b")
    assert len(sent_parcels) == 2
    wrong = box.call("send_parcel", PARCEL | {"by": "x"}, idempotency_key="c")
    assert wrong.status == "retry"
    assert box.call("send_parcel", PARCEL, idempotency_key="c").ok  # a call that was never made uses up no key


def test_two_threads_with_one_key_write_once(box):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: box.call("send_parcel", PARCEL, idempotency_key="k"), range(16)))
    assert len(sent_parcels) == 1
    assert all(r.ok for r in results)


# --- for whom, and in which call ---


def test_what_is_remembered_for_one_is_not_given_to_another():
    who = ["Ada"]

    @tool
    def whoami() -> str:
        """Say who asks."""
        return who[0]

    @tool(effect=WRITE)
    def greet() -> str:
        """Greet."""
        return f"Hello {who[0]}"

    box = Toolbox([whoami, greet], scope=lambda: who[0])
    assert [box.call("whoami", {}).value, box.call("greet", {}, "k").value] == ["Ada", "Hello Ada"]
    who[0] = "Bob"
    assert [box.call("whoami", {}).value, box.call("greet", {}, "k").value] == ["Bob", "Hello Bob"]
    who[0] = "Ada"
    again = box.call("greet", {}, "k")
    assert (again.value, again.cached) == ("Hello Ada", True)
    assert box.subset(["whoami"]).scope() == "Ada"


def test_a_tool_that_others_may_change_is_read_anew():
    stock = [3]

    @tool(cached=False)
    def count_stock() -> int:
        """Count."""
        return stock[0]

    box = Toolbox([count_stock])
    assert box.call("count_stock", {}).value == 3
    stock[0] = 2
    assert (box.call("count_stock", {}).value, box.cache_hits) == (2, 0)


@pytest.mark.parametrize("timeout", [None, 5])
def test_a_write_can_read_the_key_of_its_call(timeout):
    seen = []

    @tool(effect=WRITE, timeout=timeout)
    def note(text: str) -> None:
        """Note.

        Args:
            text: what
        """
        seen.append(current_call.get())

    box = Toolbox([note])
    box.call("note", {"text": "a"}, "k1")
    box.call("note", {"text": "b"})
    assert [c.idempotency_key for c in seen] == ["k1", None]
    assert seen[0].signature == 'note {"text": "a"}'
    assert current_call.get() is None


def test_megabytes_are_answered_in_a_sentence(box):
    deep = []
    for _ in range(3000):
        deep = [deep]
    for value in ("x" * 10**6, ["y"] * 10**6, deep):
        result = box.call("find_orders", {"customer": "C-1", "limit": value, "status": value})
        assert result.status == "retry"
        assert len(result.message) < 500
    assert "not JSON" in box.call("find_orders", "[" * 10**6).message
    assert len(box.call("find_orders", {"customer": "C-1", "z" * 10**6: 1}).message) < 300


# --- toolboxes ---


def test_a_toolbox_lists_describes_and_refuses_doubles(box):
    assert len(box) == 2
    assert [t.name for t in box] == ["find_orders", "send_parcel"]
    assert 'status: "open"|"shipped"|"cancelled" = "open"' in box.describe()
    assert 'by: "post"|"courier"' in box.describe()
    assert [t["function"]["name"] for t in box.openai()] == ["find_orders", "send_parcel"]
    with pytest.raises(ToolDefinitionError, match="already a tool"):
        box.add(find_orders)
    with pytest.raises(ToolDefinitionError, match="put @tool above"):
        box.add(bare)
    assert [t.name for t in box.subset(["send_parcel"])] == ["send_parcel"]
    with pytest.raises(UnknownName, match="Did you mean 'find_orders'"):
        box.subset(["find_order"])
    assert isinstance(box["find_orders"], Tool)
