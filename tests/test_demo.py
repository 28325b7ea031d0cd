import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agentlab import demo
from agentlab.errors import AgentLabError

TEMPLATE = Path(demo.__file__).parent / "jupyter" / "voila" / "templates" / "agentlab" / "index.html.j2"


def test_the_page_is_three_cells_and_says_which_day_it_is():
    import nbformat

    page = demo.page()
    nbformat.validate(page)
    assert [c.cell_type for c in page.cells] == ["markdown", "code", "markdown"]
    assert page.cells[0].source.startswith("# Talk with the shop's agent\n")
    assert "It can misread you" in page.cells[0].source
    assert "Monday, 15 June 2026" in page.cells[0].source
    assert json.loads(json.dumps(page))["metadata"]["title"] == demo.TITLE


def test_the_customer_whom_one_may_be_is_in_the_shop_with_that_order():
    from agentlab.shop.store import Store

    store = Store.sample()
    with store.reading() as db:
        import sqlalchemy as sa

        rows = db.execute(
            sa.text(
                "SELECT c.email, o.status FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = 'W20411'"
            )
        ).all()
    assert rows == [("olu.adeyemi@example.com", "processing")]


def test_the_server_listens_on_this_machine_alone_and_shows_neither_code_nor_tracebacks():
    command = demo.voila_command(Path("agent.ipynb"), 8866, 2)
    for part in (
        "--Voila.ip=127.0.0.1",
        "--strip_sources=True",
        "--show_tracebacks=False",
        "--pool_size=2",
        "--port=8866",
    ):
        assert part in command


def test_the_template_names_no_other_machine():
    assert "http" not in TEMPLATE.read_text(encoding="utf-8")


def test_widgets_are_live_in_the_visitors_kernels(monkeypatch):
    monkeypatch.setenv("AGENTLAB_HEADLESS", "1")
    monkeypatch.setenv("JUPYTER_PATH", "/elsewhere")
    environment = demo.environment()
    assert "AGENTLAB_HEADLESS" not in environment
    assert environment["JUPYTER_PATH"].endswith("/elsewhere")
    assert environment["JUPYTER_PATH"].startswith(str(TEMPLATE.parents[3]))


def test_a_port_that_is_taken_is_a_sentence_with_another_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AgentLabError, match=rf"Port {port} cannot be used .* `agentlab demo --port {port + 1}`"):
            demo.serve(port, open_browser=False)


def test_waiting_for_a_server_ends_when_the_server_has_ended():
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert demo.answers(free, ended) is False
    demo.end(ended)  # nothing to do, and no error


def test_a_server_that_runs_is_ended():
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    demo.end(server)
    assert server.poll() is not None
