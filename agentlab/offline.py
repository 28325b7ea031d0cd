"""Block the network inside Python: only this machine's own addresses and Unix sockets stay reachable."""

from __future__ import annotations

import socket

from agentlab.errors import NetworkBlocked

LOOPBACK = ("127.", "localhost", "::1", "0.0.0.0")


def is_local(address: object) -> bool:
    """True for loopback and Unix socket addresses.

    >>> is_local(("127.0.0.1", 80)), is_local(("example.org", 80)), is_local("/run/x.sock")
    (True, False, True)
    """
    if not isinstance(address, tuple):
        return True
    host = address[0]
    host = host.decode() if isinstance(host, bytes) else host
    return host in ("", None) or str(host).startswith(LOOPBACK)


def block_network() -> None:
    """Make every connection to another machine raise `NetworkBlocked`; calling it twice does no harm."""
    if getattr(socket.socket, "_agentlab_blocked", False):
        return

    class LocalSocket(socket.socket):
        _agentlab_blocked = True

        def connect(self, address):
            refuse(address)
            return super().connect(address)

        def connect_ex(self, address):
            refuse(address)
            return super().connect_ex(address)

        def sendto(self, data, *rest):
            refuse(rest[-1])
            return super().sendto(data, *rest)

    look_up = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        refuse((host, 0))
        return look_up(host, *args, **kwargs)

    socket.socket, socket.getaddrinfo = LocalSocket, getaddrinfo


def refuse(address: object) -> None:
    """Raise `NetworkBlocked` for an address that is not on this machine."""
    if not is_local(address):
        raise NetworkBlocked(
            f"A connection to {address[0]!r} was tried while the course runs offline. "
            "Everything a lesson needs is installed; if you want the network, run the notebook in JupyterLab."
        )
