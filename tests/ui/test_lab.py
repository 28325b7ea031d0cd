"""JupyterLab as a learner meets it: `agentlab lab`, a copy of the notebooks, and a browser."""

import json

import pytest

from tests.ui.browser import PATIENCE_MS, WIDE, NotebookPage, errors_of, picture

MESSAGE = "my kettle leaks and I want my money back"
ANSWER = '"W" + "".join(c for c in text if c.isdigit())'


@pytest.fixture(scope="module")
def started(lab, browser):
    """Lesson 00 after Run All: (notebook page, folder)."""
    address, folder = lab
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(PATIENCE_MS)
    notebook = NotebookPage(context.new_page(), address, "00_start_here.ipynb")
    picture(notebook.page, "lab-00-opened")
    notebook.run_menu("Run All Cells")
    yield notebook, folder
    context.close()


def test_lesson_00_runs_from_first_to_last_cell_without_an_error(started):
    notebook, folder = started
    notebook.save()
    file = folder / "notebooks" / "00_start_here.ipynb"
    assert errors_of(file) == []
    cells = [c for c in json.loads(file.read_text())["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert notebook.page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


def test_a_message_typed_into_the_play_widget_is_answered(started):
    notebook, _ = started
    cell = notebook.cell("def read_message(text)")
    field = cell.get_by_label("Message")
    field.fill(MESSAGE)
    cell.get_by_role("button", name="Try it").click()
    status = cell.get_by_role("status").filter(has_text="Result:")
    status.wait_for()
    assert "topic: report_fault" in status.inner_text() or "topic: return_item" in status.inner_text()
    picture(notebook.page, "lab-00-play")


def test_an_exercise_solved_in_its_cell_passes_and_stays_passed_after_a_reload(started):
    notebook, folder = started
    page = notebook.page
    cell = notebook.cell("def order_number(text)")
    cell.locator(".jp-OutputArea", has_text="NOT STARTED").wait_for()
    cell.locator(".cm-content").get_by_text("____", exact=False).dblclick()
    page.keyboard.type(ANSWER)
    cell.locator(".cm-content", has_text=ANSWER).wait_for()
    page.keyboard.press("Control+Enter")
    cell.locator(".jp-OutputArea", has_text="PASSED").wait_for()
    picture(page, "lab-00-passed")
    notebook.save()
    page.reload()
    notebook.wait_until_open()
    cell = notebook.cell("def order_number(text)")
    cell.locator(".cm-content", has_text=ANSWER).wait_for()
    cell.locator(".jp-OutputArea", has_text="PASSED").wait_for()
    noted = json.loads((folder / "progress.json").read_text())["exercises"]
    assert noted["start.order_number"]["state"] == "PASSED"
