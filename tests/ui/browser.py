"""Chromium as a visitor uses it: where it is, pictures of what it shows, and JupyterLab's notebook page."""

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

from tests.ui.servers import ROOT, TOKEN

PICTURES = ROOT / "out" / "screenshots"
PATIENCE_MS = 300_000  # it is only waited for what will come; a machine that others use may take its time
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def chromium():
    """The browser's program: ``AGENTLAB_CHROMIUM``, or Debian's; None where there is none."""
    named = os.environ.get("AGENTLAB_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def launched():
    """A headless browser that asks nobody but this machine."""
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*quiet, *offline])
        try:
            yield browser
        finally:
            browser.close()


def picture(page, name, **options):
    """Keep what a page shows as ``out/screenshots/NAME.png``."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", **options)


class NotebookPage:
    """A notebook in JupyterLab: its cells are found by their text, as a reader finds them."""

    def __init__(self, page, address, name):
        self.page, self.name = page, name
        workspace = name.removesuffix(".ipynb")  # of its own: JupyterLab opens again what was open before
        page.goto(f"{address}/lab/workspaces/{workspace}/tree/{name}?token={TOKEN}")
        self.wait_until_open()

    def wait_until_open(self):
        """Wait until the notebook is there and its kernel is idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # before that, what is run is not heard
        self.wait_until_idle()

    def wait_until_idle(self, seconds=PATIENCE_MS / 1000):
        """Wait until no cell waits or runs."""
        idle = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
        self.page.wait_for_selector(f".jp-NotebookPanel:not(.lm-mod-hidden) {idle}", timeout=1000 * seconds)
        waiting = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-InputPrompt", has_text="[*]")
        end = time.monotonic() + seconds
        while waiting.count() and time.monotonic() < end:
            time.sleep(0.2)
        assert not waiting.count(), f"{self.name} still runs after {seconds} s."

    def run_menu(self, command, seconds=PATIENCE_MS / 1000, wait=True):
        """Choose a command of the Run menu, such as Run All Cells, and wait for the end if so wished."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name=command, exact=True).click()
        self.page.locator(".jp-InputPrompt", has_text=re.compile(r"\[\*\]")).first.wait_for(state="attached")
        if wait:
            self.wait_until_idle(seconds)

    def cell(self, text):
        """The code cell whose source contains ``text``, scrolled into view."""
        found = self.page.locator(".jp-CodeCell").filter(has=self.page.locator(".jp-InputArea", has_text=text)).first
        found.scroll_into_view_if_needed()
        return found

    def write(self, cell, source):
        """Put ``source`` in place of what stands in a cell."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(source)

    def save(self):
        """Ctrl+S, and wait until the tab no longer says that something is unsaved."""
        self.page.keyboard.press("Control+s")
        self.page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty").wait_for(state="detached")


def errors_of(notebook):
    """The tracebacks in a saved notebook, with the number of their cell."""
    import nbformat

    cells = nbformat.read(Path(notebook), as_version=4).cells
    outputs = [(n, o) for n, c in enumerate(cells) if c.cell_type == "code" for o in c.outputs]
    return [(n, o.ename, o.evalue) for n, o in outputs if o.output_type == "error"]


def serious_findings(page, scope=None):
    """What axe finds serious or critical: the rule, its words, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=scope).response["violations"]
    bad = [v for v in found if v["impact"] in ("serious", "critical")]
    return [(v["id"], [(node["failureSummary"], node["html"][:200]) for node in v["nodes"]]) for v in bad]
