"""Where the course lives: the one place that knows its repository, and what each notebook's first cells make of it.

Set `REPOSITORY` once the course has a public address, then run ``python -m agentlab.notebooks --home``: every notebook
gets its badge and its set-up cell anew, and nothing has to run again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from agentlab import __version__

REPOSITORY = ""  # such as "https://github.com/OWNER/NAME"; empty as long as there is none
TAG = f"v{__version__}"

GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
BADGE = re.compile(r"^\[!\[Open in Colab\].*(?:\n\(choose .*\))?", re.M)
COLAB = "https://colab.research.google.com"
IMAGE = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
SETUP = "# Set-up:"  # how the set-up cell begins, in a source and in a notebook

CELL = """\
# Set-up: does nothing on your own machine. On Colab and Kaggle it fetches the course and installs what is missing there.
import importlib.util
import os
import subprocess
import sys

if {"COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"} & set(os.environ) and not importlib.util.find_spec("agentlab"):
    source = SOURCE
    clone = ["git", "clone", "-q", "--depth=1", *source, "agentlab-course"]
    install = [sys.executable, "agentlab-course/agentlab/install_colab.py"]
    for command in [install] if os.path.isdir("agentlab-course") else [clone, install]:
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout + done.stderr, end="")
        done.check_returncode()
    importlib.invalidate_caches()"""


@dataclass(frozen=True)
class Home:
    """A repository's address, empty if there is none, and the tag whose files a notebook belongs to."""

    repository: str = field(default_factory=lambda: REPOSITORY)
    tag: str = field(default_factory=lambda: TAG)

    def colab_address(self, name: str) -> str:
        """The page of Colab that opens a notebook; empty where the repository is not on GitHub, since Colab opens no other.

        >>> Home("https://github.com/anna/course", "v1").colab_address("00_start_here")
        'https://colab.research.google.com/github/anna/course/blob/v1/notebooks/00_start_here.ipynb'
        """
        if not (found := GITHUB.fullmatch(self.repository)):
            return ""
        owner, repository = found.groups()
        return f"{COLAB}/github/{owner}/{repository}/blob/{quote(self.tag)}/notebooks/{name}.ipynb"

    def badge(self, name: str) -> str:
        """The badge that opens a notebook on Colab; without an address, Colab's page and what to do there."""
        if address := self.colab_address(name):
            return f"{IMAGE}({address})"
        return f"{IMAGE}({COLAB}/#create=true)\n(choose *Upload* there and give it this file)"

    def setup_cell(self) -> str:
        """The code of the set-up cell: it asks for the address where there is none, and takes the tag where there is one."""
        if self.repository:
            fixed = f"[{json.dumps(self.repository)}, {json.dumps('--branch=' + self.tag)}]"
            source = f'[os.environ["AGENTLAB_REPOSITORY"]] if "AGENTLAB_REPOSITORY" in os.environ else {fixed}'
        else:
            source = '[os.environ.get("AGENTLAB_REPOSITORY") or input("Address of the course\'s git repository: ")]'
        return CELL.replace("SOURCE", source)


def stamp(notebook, name: str, home: Home | None = None) -> None:
    """Write the badge and the set-up cell of a notebook, in place; a notebook without them stays as it is."""
    home = home or Home()
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and BADGE.search(cell.source):
            cell.source = BADGE.sub(lambda _: home.badge(name), cell.source, count=1)
            break
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith(SETUP):
            cell.source = home.setup_cell()
            break
