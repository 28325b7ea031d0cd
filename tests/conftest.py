"""Every test runs offline and with a progress file of its own."""

import os
import socket

import pytest
from hypothesis import settings

settings.register_profile("course", deadline=None)  # the first call imports torch; shared machines stall
settings.load_profile("course")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "agg"
os.environ["AGENTLAB_UNDERSTANDING"] = "quick"  # models that take seconds to train


def loopback_is_up():
    """Whether this machine can talk to itself; not so where the network was cut altogether."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), 1).close()
        return True
    except OSError:
        return False


@pytest.fixture(autouse=True)
def private_progress(tmp_path, monkeypatch):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("AGENTLAB_PROGRESS", str(path))
    return path


@pytest.fixture
def private_cache(tmp_path, monkeypatch):
    """A fresh cache folder, for tests that break it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("AGENTLAB_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def all_of_them(tmp_path_factory):
    """The scenarios of the tests by their ids."""
    from agentlab.scenarios import load_scenarios, mistakes
    from tests.visits import SCENARIOS

    file = tmp_path_factory.mktemp("scenarios") / "fixtures.yml"
    file.write_text(SCENARIOS, encoding="utf-8")
    assert mistakes([file]) == []
    return {s.id: s for s in load_scenarios(files=[file])}
