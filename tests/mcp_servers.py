"""Servers for test_mcp, each a process of its own: ``python tests/mcp_servers.py ours | official | silent | ...``."""

import os
import subprocess
import sys
import time
from typing import Annotated, Literal

from pydantic import Field

from agentlab.errors import AgentLabError
from agentlab.toolkit import WRITE, Retry, Toolbox, tool

# --- our tools ---


@tool
def find_orders(customer: str, status: Literal["open", "shipped"] | None = None, limit: Annotated[int, Field(ge=1, le=50)] = 10) -> list:  # fmt: skip
    """Find a customer's orders.

    Args:
        customer: the customer's id, such as C-1001
        status: which orders
        limit: how many at most
    """
    if customer == "C-0":
        raise AgentLabError("The shop is closed.")
    if not customer.startswith("C-"):
        raise Retry("A customer id begins with C-, as in C-1001.")
    return [{"order": f"{customer}-{n}", "status": status, "note": None} for n in range(min(limit, 2))]


@tool(effect=WRITE)
def cancel_order(order: str) -> dict:
    """Cancel an order.

    Args:
        order: the order, such as C-1001-0
    """
    return {"order": order, "refund": None, "customer": "Zoë ✓"}


@tool
def chatter(text: str) -> str:
    """Print by every way there is, and give the text back.

    Args:
        text: a text
    """
    print(text)
    sys.stdout.flush()
    os.write(1, b"from the system call\n")
    subprocess.run(["echo", "from a child"], check=True)
    subprocess.run(["cat"], check=True)  # reads stdin, which is the protocol's too
    return text


inside: list[int] = []


@tool(cached=False)
def crowd(number: int) -> int:
    """Stay for a moment, and say how many are here then.

    Args:
        number: your number
    """
    inside.append(number)
    time.sleep(0.3)
    here = len(inside)
    time.sleep(0.1)
    inside.remove(number)
    return here


@tool
def wait_forever() -> None:
    """Hang."""
    time.sleep(600)


@tool
def odd(kind: Literal["half an emoji", "nothing", "megabytes", "exit"]) -> str | None:
    """Give something odd.

    Args:
        kind: what
    """
    if kind == "exit":
        sys.exit(3)
    return {"half an emoji": "a\ud83db", "megabytes": "x" * 3_000_000}.get(kind)


BOX = Toolbox([find_orders, cancel_order, chatter, crowd, wait_forever, odd])


def ours():
    from agentlab.mcp import serve

    serve(BOX)


def in_turn():
    from agentlab.mcp import serve

    serve(BOX, at_once=1)


# --- a server made with the official package ---


def official():
    import asyncio

    from mcp.server.mcpserver import MCPServer
    from mcp.types import TextContent, ToolAnnotations
    from pydantic import BaseModel

    server = MCPServer("official")
    reads = ToolAnnotations(read_only_hint=True)

    class Address(BaseModel):
        street: str = Field(description="street and number")
        town: str

    @server.tool(annotations=reads)
    def add(a: int, b: Annotated[int, Field(ge=0, description="what is added")], mode: Literal["exact", "rounded"] = "exact") -> int:  # fmt: skip
        """Add two
        numbers."""
        return a + b

    @server.tool(name="Send-Parcel.v2")
    def send(to: Address, note: str | None = None) -> dict:
        """Send a parcel."""
        if to.town == "Atlantis":
            raise ValueError("Atlantis has sunk.")
        return {"town": to.town, "note": note}

    @server.tool(annotations=reads)
    def fail(how: str) -> str:
        """Fail."""
        raise ValueError(f"no {how}")

    @server.tool(annotations=reads)
    async def sleep(seconds: float) -> float:
        """Sleep."""
        await asyncio.sleep(seconds)
        return seconds

    @server.tool(annotations=reads, structured_output=False)
    def settings() -> list:
        """Say what is set, as text."""
        return [TextContent(type="text", text=f"{os.getpid()}"), TextContent(type="text", text=" ".join(os.environ))]

    server.run("stdio")


# --- servers that misbehave ---


def silent():
    print("I say nothing", file=sys.stderr, flush=True)
    time.sleep(600)


def clingy():
    """Stays when its client has gone."""
    official()
    time.sleep(600)


def broken():
    print("loading\nNo module named 'shop'", file=sys.stderr)
    sys.exit(3)


def garbage():
    """Says what is no JSON, what is no UTF-8 and what is no message, then serves."""
    os.write(1, b"Welcome!\n\xff\xfe\x00\n{}\n[1, 2]\n" + b"x" * 100_000 + b"\n\n")
    official()


def nonsense():
    """Never says anything else."""
    while True:
        os.write(1, b'{"jsonrpc": "2.0", "id": 99, "result": {}}\n\xff\xfe no\n')
        time.sleep(0.01)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
