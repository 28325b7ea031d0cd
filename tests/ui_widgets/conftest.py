"""A fault in a callback fails its test: ipywidgets itself would only log it."""

import pytest

from agentlab.ui import panel


@pytest.fixture(autouse=True)
def no_faults_in_callbacks():
    panel.faults.clear()
    yield
    assert panel.faults == []


@pytest.fixture
def a_fault_is_expected():
    """For tests in which a callback is to fail; gives the list, and empties it."""
    yield panel.faults
    assert panel.faults
    panel.faults.clear()
