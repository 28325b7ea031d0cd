import subprocess
import sys

import pytest

from agentlab.errors import NetworkBlocked
from agentlab.offline import refuse

PROBE = """
import socket, urllib.request
from agentlab.offline import block_network
block_network(); block_network()
from agentlab.errors import NetworkBlocked
for attempt in (
    lambda: socket.create_connection(("93.184.216.34", 80), 1),
    lambda: socket.socket().connect(("93.184.216.34", 80)),
    lambda: socket.socket().connect_ex(("93.184.216.34", 80)),
    lambda: socket.getaddrinfo("example.org", 80),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("93.184.216.34", 53)),
    lambda: urllib.request.urlopen("http://example.org", timeout=1),
):
    try:
        attempt()
    except NetworkBlocked as error:
        print("blocked")
    except OSError as error:
        print("blocked" if isinstance(getattr(error, "reason", None), NetworkBlocked) else repr(error))
server = socket.create_server(("127.0.0.1", 0))
try:
    socket.create_connection(server.getsockname(), 1)
except NetworkBlocked:
    raise
except OSError as error:
    assert error.errno == 101, error  # the machine's own loopback is down, as under `unshare -n`: not our doing
left, right = socket.socketpair()
left.send(b"x"); assert right.recv(1) == b"x"
print("local works")
"""


def test_everything_but_this_machine_is_blocked():
    result = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60)
    assert result.stdout.split("\n")[:7] == ["blocked"] * 6 + ["local works"], result.stdout + result.stderr


def test_the_message_names_the_host():
    with pytest.raises(NetworkBlocked, match=r"'example\.org'.*offline"):
        refuse(("example.org", 443))
    refuse(("localhost", 80))
    refuse("/run/some.sock")
