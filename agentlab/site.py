"""The course as a website: the notebooks with the outputs they were committed with, for reading without an installation.

Sphinx builds it from `notebooks/*.ipynb`, the README and the texts for teachers and data. A page loads nothing from the
web: styles, icons and search come with the theme's wheel, formulas are MathML. It works from a folder on a stick.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agentlab import __version__
from agentlab.errors import AgentLabError
from agentlab.home import BADGE, SETUP, Home
from agentlab.notebooks import ROOT, lesson_names, notebook_folder, read_notebook

LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")
PAGES = {"README.md": "index", "notebooks/teaching.md": "teaching", "data/README.md": "data"}  # file: page
STYLE = """\
.bd-article .cell_output figure img { background: white !important; padding: 0 !important; filter: none !important; }
.bd-article .cell_output table { border-spacing: 0; font-size: 0.9em; }
.bd-article .cell_output td, .bd-article .cell_output th { padding: 0.25em 0.6em; vertical-align: top; }
.bd-article .cell_output pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.bd-article .formula { overflow-x: auto; overflow-y: hidden; padding: 0.3em 0; }
.bd-article math { font-size: 1.08em; }
html[data-theme="dark"] .bd-article .cell_output .output.text_html {
  background: transparent !important; color: var(--pst-color-text-base) !important;
}
.bd-article .cell_output caption { color: inherit; }
.bd-article .cell_output figcaption { color: inherit; font-size: 0.9em; font-weight: 400; }
.bd-sidebar-primary .bd-links ul { padding-left: 0; }
.bd-header .navbar-header-items { justify-content: flex-end; }
"""
# The theme's own list begins below the first level; the lessons are the first level.
SIDEBAR = """\
<nav class="bd-docs-nav bd-links" aria-label="Pages">
<div class="bd-toc-item navbar-nav">{{ toctree(maxdepth=1, collapse=False, includehidden=True, titles_only=True) }}</div>
</nav>
"""


def build_site(out: Path) -> Path:
    """Build the website into a folder and return its first page; an earlier build there is replaced.

    Raises `AgentLabError` where Sphinx is missing, where a folder holds something else, and for whatever Sphinx warns
    of: a link that leads nowhere, a heading that jumps, a formula that cannot be drawn.
    """
    out = out.absolute()
    if out.exists() and any(out.iterdir()) and not (out / "searchindex.js").is_file():
        raise AgentLabError(f"{out} holds other files. Name a folder that is empty or does not exist.")
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "source", Path(folder) / "built"
        write_source(source)
        run_sphinx(source, built)
        shutil.rmtree(built / ".doctrees", ignore_errors=True)
        for leftover in (".buildinfo", ".buildinfo.bak"):
            (built / leftover).unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(built, out)
    if problems := link_problems(out):
        raise AgentLabError("The site has links that lead nowhere: " + "; ".join(problems) + ".")
    return out / "index.html"


# --- what Sphinx reads ---------------------------------------------------------------------------------------


def write_source(folder: Path) -> None:
    """Lessons and texts as Sphinx wants them: links from file to file become links from page to page."""
    import nbformat

    for file, text in (("_static/course.css", STYLE), ("_templates/pages.html", SIDEBAR)):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_text(text, encoding="utf-8")
    shutil.copytree(notebook_folder() / "images", folder / "images")
    shutil.copytree(notebook_folder(), folder / "_extra" / "notebooks", ignore=_all_but_notebooks)
    for file, page in PAGES.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        text = page_links(text, Path(file).parent)
        if page == "index":
            text += _contents()
        (folder / f"{page}.md").write_text(text, encoding="utf-8")
    for name in lesson_names():
        notebook = read_notebook(notebook_folder() / f"{name}.ipynb")
        as_page(notebook, name)
        nbformat.write(notebook, folder / f"{name}.ipynb")


def _all_but_notebooks(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".ipynb")]


def _contents() -> str:
    """The order of the pages, which the theme turns into its navigation."""
    lessons = "\n".join(lesson_names())
    return (
        f"\n\n```{{toctree}}\n:hidden:\n:caption: Lessons\n\n{lessons}\n```\n"
        "\n```{toctree}\n:hidden:\n:caption: More\n\nteaching\ndata\n```\n"
    )


def page_links(text: str, folder: Path) -> str:
    """Markdown whose links to files of the course lead to their pages; a file without a page becomes plain text.

    >>> page_links("[02](02_derive_the_loss.ipynb), [licence](../LICENSE), [web](https://example.org)", Path("notebooks"))
    '[02](02_derive_the_loss.ipynb), licence, [web](https://example.org)'
    """
    lessons = {f"notebooks/{name}.ipynb": f"{name}.ipynb" for name in lesson_names()}
    known = {**{file: f"{page}.md" for file, page in PAGES.items()}, **lessons}

    def moved(match: re.Match) -> str:
        label, target = match.groups()
        if urlsplit(target).scheme or target.startswith("#"):
            return match[0]
        path, _, anchor = target.partition("#")
        parts: list[str] = []
        for part in (*folder.parts, *Path(path).parts):
            if part == "..":
                parts and parts.pop()
            else:
                parts.append(part)
        file = "/".join(parts)
        if file.startswith("notebooks/images/"):
            return f"{label}({file.removeprefix('notebooks/')})"
        if file not in known:
            return label.strip("![]")
        return f"{label}({known[file]}{'#' + anchor if anchor else ''})"

    outside = re.split(r"(^```.*?^```|`[^`\n]+`)", text, flags=re.M | re.S)
    return "".join(part if n % 2 else LINK.sub(moved, part) for n, part in enumerate(outside))


def as_page(notebook, name: str) -> None:
    """A notebook as a page of the site, in place: the badge's picture becomes words, the set-up cell folds away."""
    links = [f'<a href="notebooks/{name}.ipynb" download>Download this notebook</a>']
    if address := Home().colab_address(name):
        links.insert(0, f"[Open in Colab]({address})")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = page_links(BADGE.sub(lambda _: " · ".join(links), cell.source), Path("notebooks"))
        elif cell.source.startswith(SETUP):
            cell.metadata["tags"] = ["hide-input"]
        for output in cell.get("outputs", []):
            for kind in [kind for kind in output.get("data", {}) if kind.endswith("+json")]:
                del output["data"][kind]


# --- Sphinx --------------------------------------------------------------------------------------------------


def settings() -> dict:
    """The configuration of Sphinx, MyST and the theme."""
    return {
        "project": "agentlab",
        "html_title": "agentlab: build a customer-service agent",
        "version": __version__,
        "release": __version__,
        "language": "en",
        "extensions": ["myst_nb", "agentlab.site"],
        "exclude_patterns": ["_extra"],
        "templates_path": ["_templates"],
        "nb_execution_mode": "off",
        "nb_render_markdown_format": "myst",
        "nb_ipywidgets_js": {},
        "nb_code_prompt_show": "Set-up for Colab and Kaggle",  # the only cell that is folded
        "nb_code_prompt_hide": "Set-up for Colab and Kaggle",
        "myst_enable_extensions": ["dollarmath"],
        "myst_heading_anchors": 4,
        "myst_update_mathjax": False,
        "html_math_renderer": "mathml",
        "html_theme": "pydata_sphinx_theme",
        "html_static_path": ["_static"],
        "html_extra_path": ["_extra"],
        "html_css_files": ["course.css"],
        "html_copy_source": False,
        "html_use_index": False,
        "html_context": {"default_mode": "auto"},
        "html_show_search_summary": False,  # it is fetched, which no browser allows for files
        "html_show_sphinx": False,
        "html_show_copyright": False,
        "html_sidebars": {"**": ["pages.html"]},
        "html_theme_options": {
            "logo": {"text": "agentlab"},
            "navbar_center": [],
            "navbar_end": ["theme-switcher"],
            "navbar_persistent": ["search-button"],
            "primary_sidebar_end": [],
            "secondary_sidebar_items": ["page-toc"],
            "footer_start": [],
            "footer_end": [],
            "navigation_depth": 2,
            "show_nav_level": 2,
            "show_toc_level": 2,
            "use_edit_page_button": False,
        },
    }


def run_sphinx(source: Path, built: Path) -> None:
    """Build HTML from the folder; raises `AgentLabError` for a missing package and for every warning."""
    try:
        import myst_nb
        import pydata_sphinx_theme  # noqa: F401
        from sphinx.application import Sphinx
        from sphinx.util.docutils import docutils_namespace, patch_docutils
    except ImportError as error:
        raise AgentLabError(
            f"The site needs {error.name}, which is not installed. Run `make setup`, or `pip install -r requirements.lock`."
        ) from None
    del myst_nb
    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            source, None, built, built / ".doctrees", "html", settings(), status=None, warning=warnings, freshenv=True
        )
        app.build(force_all=True)
    if said := [line for line in plain(warnings.getvalue()).splitlines() if line.strip()]:
        raise AgentLabError("Sphinx warns of the lessons: " + "\n".join(said).replace(f"{source}/", ""))


def plain(text: str) -> str:
    """Text without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def setup(app) -> dict:
    """Sphinx calls this: formulas are written as MathML."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    return {"version": __version__, "parallel_read_safe": True, "parallel_write_safe": True}


def _inline_math(self, node) -> None:
    from docutils.nodes import SkipNode

    from agentlab.mathml import to_mathml

    self.body.append(to_mathml(node.astext()))
    raise SkipNode


def _block_math(self, node) -> None:
    from docutils.nodes import SkipNode

    from agentlab.mathml import to_mathml

    self.body.append(f'<div class="formula">{to_mathml(node.astext(), block=True)}</div>')
    raise SkipNode


# --- links ---------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """The ids of a page and what it points at: ``links`` are followed by a reader, ``loads`` by the browser."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and given.get("href"):
            self.loads.append(given["href"])
        if tag in ("img", "script", "iframe", "source", "video", "audio") and given.get("src"):
            self.loads.append(given["src"])


def link_problems(site: Path) -> list[str]:
    """Links within the site to pages, files or anchors that are not there, and anything a page would load from the web."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.glob("*.html"))}
    problems = []
    for path, page in pages.items():
        where = path.relative_to(site).as_posix()
        for address in dict.fromkeys(page.links + page.loads):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loads and parts.scheme != "data":
                    problems.append(f"{where} loads {address}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                problems.append(f"{where}: {address}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                problems.append(f"{where}: no {parts.fragment} in {target.name}")
    return problems
