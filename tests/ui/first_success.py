"""Seconds from `git clone` to the first exercise passed in a browser: `python -m tests.ui.first_success`.

Clones the committed state into a temporary folder (5 GB), runs `make setup`, opens lesson 00, runs all cells and solves the
exercise. Downloads come from pip's cache where it has them; ``--fresh`` gives a cache of models of its own.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from tests.ui import servers
from tests.ui.browser import PATIENCE_MS, NotebookPage, launched
from tests.ui.test_lab import ANSWER


def measure(folder, fresh):
    """Each step and the seconds that it took."""
    course, steps = folder / "course", {}
    clock = time.monotonic()

    def done(name):
        nonlocal clock
        steps[name], clock = time.monotonic() - clock, time.monotonic()

    subprocess.run(["git", "clone", "-q", str(servers.ROOT), str(course)], check=True)
    done("git clone")
    subprocess.run(["make", "setup"], cwd=course, check=True, stdout=subprocess.DEVNULL)
    done("make setup")
    own = {"AGENTLAB_CACHE": str(folder / "cache")} if fresh else {}
    with servers.jupyterlab(course, str(course / ".venv" / "bin" / "python"), **own) as address, launched() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        notebook = NotebookPage(page, address, "00_start_here.ipynb")
        done("open lesson 00")
        notebook.run_menu("Run All Cells", 600)
        done("run all its cells")
        cell = notebook.cell("def order_number(text)")
        cell.locator(".cm-content").get_by_text("____", exact=False).dblclick()
        page.keyboard.type(ANSWER)
        page.keyboard.press("Control+Enter")
        cell.locator(".jp-OutputArea", has_text="PASSED").wait_for()
        done("solve the exercise")
    return steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="with an empty cache of models, as on a new machine")
    with tempfile.TemporaryDirectory(prefix="agentlab-first-") as folder:
        steps = measure(Path(folder), parser.parse_args().fresh)
    for name, seconds in steps.items():
        print(f"{seconds:6.1f} s  {name}")
    print(f"{sum(steps.values()):6.1f} s  in all")
