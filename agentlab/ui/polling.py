"""Clicks while a cell runs: the messages of widgets are taken from the kernel's queue by the running code itself.

A kernel handles one message after another, so a click waits until the cell is done. JupyterLab 4.4 and later sends the
messages of widgets to a thread of their own, where the kernel has such (ipykernel 7); Colab, Voila and older ones do not. There `handle_clicks` has
to be called from time to time. Messages that are not about widgets, such as the next cell to run, are put back in
their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

COMMS = ("comm_open", "comm_msg", "comm_close")
_waiting: list[list] = []  # messages of ipykernel 7 that were taken and not handled


def handle_clicks() -> int:
    """Handle what widgets have sent since the last call; gives how many messages that were.

    Outside a kernel, in another thread than the one of cells, and with a kernel whose inside is not known, it does nothing.
    """
    kernel = _kernel()
    if kernel is None:
        return 0
    try:
        if hasattr(kernel, "shell_channel_thread") and getattr(kernel, "_supports_kernel_subshells", False):
            return _from_socket(kernel)
        return _from_queue(kernel) if hasattr(kernel, "msg_queue") else 0
    except (AttributeError, TypeError, ValueError):  # another version: then a click waits, as it always did
        return 0


def _kernel() -> Any:
    import threading

    try:
        from IPython import get_ipython
    except ImportError:
        return None
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel if threading.current_thread() is threading.main_thread() else None


def _from_socket(kernel: Any) -> int:
    """ipykernel 7: another thread reads the shell channel, and sends the messages of cells on through a socket."""
    import zmq

    socket, handled = kernel.shell_channel_thread.manager.get_shell_channel_to_subshell_pair(None).to_socket, 0
    while True:
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            break
        if _handle(kernel, frames):
            handled += 1
            continue
        if not _waiting:
            asyncio.get_running_loop().call_soon(_put_back, lambda message: kernel.shell_main(None, message))
        _waiting.append(frames)
    return handled


def _put_back(handler: Callable) -> None:
    """Handle the messages that were taken, in their order, as soon as the cell is done."""
    messages = [*_waiting]
    _waiting.clear()

    async def one_after_the_other() -> None:
        for message in messages:
            await handler(message)

    task = asyncio.ensure_future(one_after_the_other())
    _running.add(task)
    task.add_done_callback(_running.discard)


_running: set = set()  # tasks, so that they are not collected before they are done


def _from_queue(kernel: Any) -> int:
    """ipykernel 6: messages wait in a queue as (number, function, arguments)."""
    import zmq

    kernel.shell_stream.flush(zmq.POLLIN)
    entries, handled = [], 0
    while not kernel.msg_queue.empty():
        entries.append(kernel.msg_queue.get_nowait())
    for entry in entries:
        arguments = entry[-1]
        if arguments and isinstance(arguments[0], list) and _handle(kernel, arguments[0]):
            handled += 1
        else:
            kernel.msg_queue.put_nowait(entry)
    return handled


def _handle(kernel: Any, frames: list) -> bool:
    """Handle a message if it is one of a widget, as the kernel would between two cells."""
    idents, parts = kernel.session.feed_identities(frames, copy=False)
    header = kernel.session.deserialize(parts, content=False, copy=False)["header"]
    if header["msg_type"] not in COMMS:
        return False
    message = kernel.session.deserialize(parts, content=True, copy=False)
    kernel._publish_status("busy", "shell", parent=message)
    try:
        getattr(kernel.comm_manager, header["msg_type"])(None, idents, message)
    finally:
        kernel._publish_status("idle", "shell", parent=message)
    return True
