"""The README's pictures, taken of the running course: `python -m tests.ui.pictures [lesson] [demo]`.

Each is written to ``notebooks/images/``. Look at them before you keep them.
"""

import argparse
import os
import tempfile
import textwrap
from pathlib import Path

from tests.ui import servers
from tests.ui.browser import PATIENCE_MS, NotebookPage, launched
from tests.ui.chat import ChatPage

IMAGES = servers.ROOT / "notebooks" / "images"
SOLVED = """
import re


def read_markup(line):
    text, spans, end = "", [], 0
    for m in re.finditer(r"\\[([^\\]]+)\\]\\((\\w+)\\)", line):
        text += line[end : m.start()]
        spans.append((len(text), len(text) + len(m[1]), m[2]))
        text, end = text + m[1], m.end()
    return text + line[end:], spans


ex.check(read_markup)
"""


def lesson(browser, folder):
    """Lesson 01 in JupyterLab, with its table of contents and the first exercise passed."""
    with servers.jupyterlab_on_a_copy(folder) as address:
        page = browser.new_page(viewport={"width": 1180, "height": 1190})
        page.set_default_timeout(PATIENCE_MS)
        notebook = NotebookPage(page, address, "01_prepare_data.ipynb")
        page.get_by_role("tab", name="Table of Contents").click()
        notebook.write(notebook.cell("def read_markup(line)"), textwrap.dedent(SOLVED).strip())
        notebook.run_menu("Run All Above Selected Cell")
        page.keyboard.press("Control+Enter")
        notebook.cell("def read_markup(line)").locator(".jp-OutputArea", has_text="PASSED").wait_for()
        notebook.cell("read_markup = ex.use(read_markup)").locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        notebook.wait_until_idle()
        page.locator(".jp-TableOfContents-tree").get_by_text("Mark-up and spans").click()
        page.wait_for_timeout(1500)  # scrolling is animated
        page.screenshot(path=IMAGES / "lesson.png")


def demo(browser, folder):
    """The page of `agentlab demo` with an order cancelled, and what is behind the last reply unfolded."""
    with servers.demo_page(folder) as (address, _):
        page = browser.new_page(viewport={"width": 1000, "height": 1180})
        page.set_default_timeout(PATIENCE_MS)
        chat = ChatPage(page, address)
        for text in ("Please cancel my order W20411.", "olu.adeyemi@example.com", "Yes"):
            chat.say(text)
        page.locator(".al-trace summary").last.click()
        page.wait_for_timeout(500)
        page.screenshot(path=IMAGES / "demo.png")


def main(names):
    """Take the named pictures, all without a name."""
    os.environ.setdefault("AGENTLAB_UNDERSTANDING", "full")
    with launched() as browser:
        for name in names or ["lesson", "demo"]:
            with tempfile.TemporaryDirectory(prefix="agentlab-picture-") as folder:
                {"lesson": lesson, "demo": demo}[name](browser, Path(folder))
            print(f"{IMAGES / name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=["lesson", "demo"])
    main(parser.parse_args().names)
