"""The stop button works while its cell runs: with a real kernel, and every way in which a page sends a click."""

import contextlib
import os
import queue
import time

import pytest

from tests.conftest import loopback_is_up

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not loopback_is_up(), reason="kernels need the loopback interface, which is down here"),
]
TRAINING = """
import time
from agentlab.ui import TrainingMonitor
def fit(monitor, steps=4000):
    for step in range(1, steps + 1):
        time.sleep(0.01)
        row = {"step": step, "steps": steps, "epoch": 1, "loss": 1.0, "learning_rate": 1.0, "examples": step, "seconds": 0.01 * step}
        if monitor.on_step(row):
            return f"stopped in step {step}"
    return "went through"
with TrainingMonitor("A training") as monitor:
    print("BUTTON", monitor._button.comm.comm_id, flush=True)
    print("RESULT", fit(monitor, STEPS), flush=True)
"""


class Kernel:
    """A kernel, and what a page does with it."""

    def __init__(self):
        from jupyter_client.manager import start_new_kernel

        env = {k: v for k, v in os.environ.items() if k not in ("AGENTLAB_HEADLESS", "MPLBACKEND")}
        self.manager, self.client = start_new_kernel(kernel_name="python3", env=env, startup_timeout=120)

    def run(self, code):
        return self.client.execute(code)

    def wait_for(self, word, seconds=120):
        """The rest of the first printed line that begins with a word."""
        end, printed = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            with contextlib.suppress(queue.Empty):
                content = self.client.get_iopub_msg(timeout=1)["content"]
                printed += content.get("text", "") + "\n".join(content.get("traceback", []))
                for line in printed.splitlines():
                    if line.startswith(word):
                        return line.removeprefix(word).strip()
        raise AssertionError(f"{word} was not printed; printed was: {printed}")

    def click(self, comm, subshell=None):
        data = {"method": "custom", "content": {"event": "click"}}
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        if subshell:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def new_subshell(self):
        message = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        return self.client.control_channel.get_msg(timeout=60)["content"]["subshell_id"]

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel():
    one = Kernel()
    yield one
    one.close()


def start(kernel, steps=4000):
    kernel.run(TRAINING.replace("STEPS", str(steps)))
    return kernel.wait_for("BUTTON")


def test_a_click_in_the_channel_of_the_cells_stops_the_training(kernel):
    kernel.click(start(kernel))
    assert kernel.wait_for("RESULT").startswith("stopped in step")


def test_a_click_in_a_thread_of_its_own_as_jupyterlab_sends_it_stops_the_training(kernel):
    from ipykernel import version_info

    if version_info[0] < 7:
        pytest.skip("this kernel has no threads for the messages of widgets")
    subshell = kernel.new_subshell()
    kernel.click(start(kernel), subshell)
    assert kernel.wait_for("RESULT").startswith("stopped in step")


def test_one_interrupt_of_the_kernel_stops_the_training_in_order(kernel):
    start(kernel)
    kernel.manager.interrupt_kernel()
    assert kernel.wait_for("RESULT").startswith("stopped in step")


def test_cells_that_wait_meanwhile_run_afterwards_in_their_order(kernel):
    start(kernel, steps=150)
    for n in range(3):
        kernel.run(f"print('CELL {n}', flush=True)")
    kernel.run("print('ALL', 'done', flush=True)")
    end, printed = time.monotonic() + 60, ""
    while "ALL done" not in printed and time.monotonic() < end:
        with contextlib.suppress(queue.Empty):
            printed += kernel.client.get_iopub_msg(timeout=1)["content"].get("text", "")
    order = [printed.index(word) for word in ("RESULT went through", "CELL 0", "CELL 1", "CELL 2", "ALL done")]
    assert order == sorted(order)
