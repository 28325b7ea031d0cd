"""Slides for teaching, from the same notebooks: what a class looks at together, and no more.

A lesson's headings become slides. Below each stand, in the lesson's order: formulas, questions to predict, figures, small
tables, exercises, and what was recorded. Code and running text stay in the notebook. nbconvert writes the slides for
reveal.js, which lies beside them; nothing comes from the web.
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agentlab.errors import AgentLabError
from agentlab.lesson import FIGURE_MIME
from agentlab.lessonplan import read_sections
from agentlab.mathml import in_markdown
from agentlab.notebooks import check_lesson, lesson_names, notebook_folder, read_notebook

REVEAL = Path(__file__).parent / "reveal"
ASSETS = ("reveal.js", "reveal.css", "slides.css", "LICENSE")
LEFT_OUT = ("Further work",)
WHOLE = ("Limits", "Takeaways")  # short lists, shown in full
LEAD_CHARACTERS = 330
TABLE_ROWS, TABLE_COLUMNS, CELL_CHARACTERS = 9, 5, 60


@dataclass
class Part:
    """A heading of a lesson, a line or two on it, and what is shown below it; each item is Markdown or HTML."""

    title: str
    lead: str = ""
    items: list[str] = field(default_factory=list)


# --- what becomes a slide ------------------------------------------------------------------------------------


def read_parts(lesson: str) -> tuple[Part, list[Part]]:
    """A lesson's title slide and its parts, from the notebook as it was built."""
    notebook = read_notebook(notebook_folder() / f"{lesson}.ipynb")
    head, *_ = notebook.cells
    title = Part(
        head.source.splitlines()[0].removeprefix("# "),
        next(p for p in paragraphs(head.source) if "you will have shown" in p),
    )
    asked = {prompt for section in read_sections(lesson)[2] for prompt in section.prompts}
    parts = [Part("")]
    for cell in notebook.cells[1:]:
        if cell.cell_type == "code":
            parts[-1].items += shown_by(cell)
            continue
        before, *rest = re.split(r"^## (.+)$", cell.source, flags=re.M)
        parts[-1].items += told_by(before, asked)
        for name, text in zip(rest[::2], rest[1::2], strict=True):
            parts.append(Part(name))
            if name in WHOLE:
                parts[-1].lead = text.strip()
                continue
            first, *others = paragraphs(text) or [""]
            if any(_flat(prompt) in _flat(first) for prompt in asked) or "$$" in first:
                others = [first, *others]
            else:
                parts[-1].lead = shortened(first)
            parts[-1].items += told_by("\n\n".join(others), asked, first)
    return title, [part for part in parts if part.title and part.title not in LEFT_OUT]


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a Markdown text, without headings of lower levels."""
    found = [p.strip() for p in re.split(r"\n\s*\n", text)]
    return [p for p in found if p and not p.startswith("#")]


def shortened(text: str, most: int = LEAD_CHARACTERS) -> str:
    """The sentences of a paragraph that fit into so many characters, at least the first; lists and tables are left out.

    >>> shortened("One thing. Another thing. A third.", 26)
    'One thing. Another thing.'
    """
    if re.match(r"[-|>]|\d+\. |```", text):
        return ""
    kept, *others = _sentences(text)
    for sentence in others:
        if len(kept) + 1 + len(sentence) > most:
            break
        kept += " " + sentence
    return kept


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("**", "").strip()


def told_by(text: str, asked: set[str], before: str = "") -> Iterator[str]:
    """The formulas of a text, each with the sentence before it, and the questions to predict with what leads to them.

    ``before`` is the paragraph before the text.
    """
    for paragraph in paragraphs(text):
        if "$$" in paragraph:
            lead, formula = paragraph.split("$$")[:2]
            yield f"{_last_sentence(lead.strip() or before)}\n\n$${formula}$$"
        flat = _flat(paragraph)
        for prompt in sorted((p for p in asked if _flat(p) in flat), key=lambda p: flat.index(_flat(p))):
            end = flat.index(_flat(prompt)) + len(_flat(prompt))
            said = flat[:end] + (re.match(r"[^.?!]*[.?!]?", flat[end:])[0] if flat[end - 1] not in ".?!" else "")
            yield f'<p class="kind">What do you think?</p>\n\n{_ending(said)}'
        before = paragraph


def _ending(text: str) -> str:
    """The last sentences of a text, as many as a slide holds."""
    kept = ""
    for sentence in reversed(_sentences(text)):
        if kept and len(kept) + len(sentence) >= LEAD_CHARACTERS:
            break
        kept = f"{sentence} {kept}".strip()
    return kept


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.?!:]) (?=[A-Z*`$])", re.sub(r"\s+", " ", text))


def _last_sentence(text: str) -> str:
    return "" if re.match(r"[-|>]|\d+\. |```|\$\$", text) else _sentences(text)[-1]


def shown_by(cell) -> list[str]:
    """The figures, small tables, exercises and quoted messages among a cell's outputs; what is recorded stands below."""
    shown: list[str] = []
    recorded: list[str] = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        written, said = data.get("text/html", ""), data.get("text/markdown", "")
        if "<figure" in written:
            shown += re.findall(r"<figure.*?</figure>", written, re.S)
        elif written.startswith("<table") and is_small(written):
            shown.append(written)
        elif FIGURE_MIME in data:
            recorded.append(_recorded(data[FIGURE_MIME]))
        elif said.startswith("**Exercise "):
            shown.append('<p class="kind">Exercise</p>\n\n' + re.sub(r"\n\nDefine `.*", "", said, flags=re.S))
        elif said.startswith(">") and len(said) < 2 * LEAD_CHARACTERS:
            shown.append(said)
    if recorded:
        line = f'<p class="measured">Recorded: {html.escape(" · ".join(recorded))}</p>'
        shown.append(f"{shown.pop() if shown else ''}\n\n{line}")
    return shown


def _recorded(figure: dict) -> str:
    inside = figure["low"] <= figure["value"] <= figure["high"]
    return f"{figure['name']} = {figure['value']:.4g}{'' if inside else ' (outside its band)'}"


def is_small(table: str) -> bool:
    """Whether a table can be read from the last row of a room."""
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    cells = [
        html.unescape(re.sub(r"<[^>]+>", "", text)) for text in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", table, re.S)
    ]
    columns = len(re.findall(r"<th", rows[0])) if rows else 0
    return len(rows) <= TABLE_ROWS and columns <= TABLE_COLUMNS and max(map(len, cells), default=0) <= CELL_CHARACTERS


# --- writing -------------------------------------------------------------------------------------------------


def as_slides(lesson: str):
    """A lesson's slides as a notebook of Markdown cells that nbconvert turns into reveal.js: parts to the right, items below."""
    import nbformat

    title, parts = read_parts(lesson)
    made = [(f"# {title.title}\n\n{title.lead}", "slide", "title")]
    for part in parts:
        made.append((f"## {part.title}\n\n{part.lead}", "slide", "whole" if part.title in WHOLE else "part"))
        made += [
            (f'<p class="where">{html.escape(part.title)}</p>\n\n{item}', "subslide", "item") for item in part.items
        ]
    notebook = nbformat.v4.new_notebook(metadata={"title": title.title})
    for number, (text, kind, look) in enumerate(made):
        cell = nbformat.v4.new_markdown_cell(in_markdown(text), id=f"slide-{number:03d}")
        cell.metadata["slideshow"] = {"slide_type": kind, "data": {"look": look}}
        notebook.cells.append(cell)
    return notebook


def write_slides(lessons: list[str] | None, out: Path) -> list[Path]:
    """Write the slides of these lessons, of all if none, with all that they need; returns the pages.

    Raises `UnknownName` for a lesson that does not exist, `AgentLabError` where nbconvert is missing.
    """
    try:
        from nbconvert import SlidesExporter
    except ImportError:
        raise AgentLabError("Slides need nbconvert, which comes with JupyterLab: `pip install jupyterlab`.") from None
    names = [check_lesson(name) for name in lessons or lesson_names()]
    out.mkdir(parents=True, exist_ok=True)
    (out / "reveal").mkdir(exist_ok=True)
    for name in ASSETS:
        shutil.copyfile(REVEAL / name, out / "reveal" / name)
    exporter = SlidesExporter(template_file=str(REVEAL / "slides.html.j2"), exclude_anchor_links=True)
    pages = []
    for name in names:
        page = out / f"{name}.html"
        page.write_text(exporter.from_notebook_node(as_slides(name))[0], encoding="utf-8")
        pages.append(page)
    return pages
