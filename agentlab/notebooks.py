"""Notebooks from their reviewed sources: build, check the form, put solutions in place of stubs.

A source is a jupytext ``py:percent`` file in ``notebooks/src/``. `python -m agentlab.notebooks` runs each as a
learner would and writes ``notebooks/*.ipynb`` with outputs; `--check` only says what is out of step, `--home` only
writes the badge and the set-up cell anew, which `agentlab.home` makes from the repository's address.
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

from agentlab.errors import LessonError, UnknownName
from agentlab.home import stamp

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 500_000
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])(?:/(?:home|Users|root|work|tmp|opt|usr|mnt)/\w|[A-Z]:\\\\?\w)")


def notebook_folder() -> Path:
    """The checkout's ``notebooks/``; raises `LessonError` where the package runs without the course."""
    folder = ROOT / "notebooks"
    if not folder.is_dir():
        raise LessonError(
            f"The lessons are not in {folder}. This command needs a checkout of the course, installed with `pip install -e .`."
        )
    return folder


def lesson_names() -> list[str]:
    """The lessons in order: ``00_start_here``, ``01_prepare_data`` and so on."""
    return sorted(p.stem for p in notebook_folder().glob("[0-9][0-9]_*.ipynb"))


def source_names() -> list[str]:
    """The notebooks that have a source, in order."""
    return sorted(p.stem for p in (notebook_folder() / "src").glob("[0-9][0-9]_*.py"))


def check_lesson(name: str) -> str:
    """The full name of a lesson given by name or number (``01``); raises `UnknownName`."""
    names = lesson_names()
    matches = [n for n in names if n == name or n.split("_")[0] == name.zfill(2)]
    if not matches:
        raise UnknownName("lesson", name, names)
    return matches[0]


# --- sources -------------------------------------------------------------------------------------------------


def read_source(path: str | Path):
    """A ``py:percent`` source as a notebook without outputs, with cell ids that depend on the place alone.

    The badge and the set-up cell, of which a source holds only the place, are written by `agentlab.home`.
    Raises `LessonError` with the line of the file for a source that is missing, empty or not Python.
    """
    import jupytext

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LessonError(f"{path}: the notebook source cannot be read: {error}.") from None
    if not re.search(r"^# %%", text, re.M):
        raise LessonError(f"{path}:1: no cell marker `# %%` was found; a source is a jupytext py:percent file.")
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise LessonError(f"{path}:{error.lineno}: {error.msg}.") from None
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        cell["metadata"] = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
    stamp(notebook, path.stem)
    return notebook


def read_notebook(path: str | Path):
    """An ``.ipynb`` file; raises `LessonError` naming it if it is missing or malformed."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise LessonError(f"{path}: this notebook is missing. Build it with `make notebooks`.") from None
    except Exception as error:
        raise LessonError(f"{path}: not a readable notebook ({type(error).__name__}: {str(error)[:200]}).") from None


# --- exercises in a notebook ---------------------------------------------------------------------------------


def exercise_ids(notebook) -> list[str]:
    """The ids in ``exercise("...")`` calls, in order."""
    code = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    return re.findall(r"""\bexercise\(\s*["']([\w.]+)["']""", code)


def with_solutions(notebook):
    """A copy of the notebook with every exercise's solution in place of its stub.

    The stub is the first top-level definition of the exercise's answer name after its card. Raises `LessonError`
    if there is none.
    """
    import copy

    from agentlab.exercises import all_exercises

    solved, waiting = copy.deepcopy(notebook), None
    for cell in solved.cells:
        if cell.cell_type != "code":
            continue
        ids = exercise_ids(type(notebook)(cells=[cell]))
        if ids and waiting:
            raise LessonError(f"No cell defines {waiting.answer_name!r}, the answer of exercise {waiting.id}.")
        if ids:
            if ids[0] not in all_exercises():
                raise UnknownName("exercise", ids[0], all_exercises())
            waiting = all_exercises()[ids[0]]
        if waiting:
            replaced = replace_definition(cell.source, waiting.answer_name, waiting.solution_source)
            if replaced is not None:
                cell.source, waiting = replaced, None
    if waiting:
        raise LessonError(f"No cell defines {waiting.answer_name!r}, the answer of exercise {waiting.id}.")
    return solved


def replace_definition(source: str, name: str, new: str) -> str | None:
    """The source with the top-level function or assignment ``name`` replaced, or None if it has none.

    >>> print(replace_definition("x = 1\\ny = 2", "x", "x = 3"))
    x = 3
    y = 2
    """
    lines = source.split("\n")
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None  # a cell with a magic
    for node in tree.body:
        targets = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
        if (isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name) or name in targets:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            return "\n".join([*lines[: first - 1], new, *lines[node.end_lineno :]])
    return None


# --- form ----------------------------------------------------------------------------------------------------


def form_problems(notebook) -> list[str]:
    """What a lesson's source lacks: headings, parameters, exercises that exist, cells short enough, prose."""
    problems = []
    markdown = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    levels = [len(m[1]) for text in markdown for m in re.finditer(r"^(#{1,6}) ", _no_fences(text), re.M)]
    if levels[:1] != [1] or levels.count(1) != 1:
        problems.append("there must be exactly one H1, and it comes first")
    problems += [f"a heading jumps from level {a} to {b}" for a, b in pairwise(levels) if b > a + 1]
    problems += parameter_problems(notebook)
    problems += [
        f"cell {n}: an image without alt text"
        for n, c in enumerate(notebook.cells)
        if c.cell_type == "markdown" and re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=)", c.source)
    ]
    code = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    if "plt.show(" in code:
        problems.append("figures go through show_figure(fig, alt=...), not plt.show()")
    if re.search(r"\b(sys\.)?exit\(", code):
        problems.append("exit() in a cell ends the run and looks green")
    try:
        with_solutions(notebook)
    except (LessonError, UnknownName) as error:
        problems.append(str(error))
    return problems


def _no_fences(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def parameter_problems(notebook) -> list[str]:
    """papermill ignores parameters where no cell is tagged, and only warns about unknown ones: so look first."""
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1:
        return [f"expected one cell tagged `parameters`, found {len(tagged)}"]
    problems, names = [], []
    for node in ast.parse(tagged[0].source).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            problems.append(f"the parameters cell may hold literals only: {ast.unparse(node)}")
        else:
            names += [t.id for t in node.targets]
    if "PROFILE" not in names:
        problems.append('the parameters cell must set PROFILE = "auto"')
    return problems


def output_problems(notebook, size: int | None = None) -> list[str]:
    """What is wrong with an executed notebook: errors, cells left out, paths, widget state, size."""
    code = [c for c in notebook.cells if c.cell_type == "code"]
    problems = [
        f"code cell {n}: {o.ename}: {o.evalue}"
        for n, c in enumerate(code, 1)
        for o in c.outputs
        if o.output_type == "error"
    ]
    counts = [c.execution_count for c in code]
    if counts != list(range(1, len(code) + 1)):
        problems.append(f"the code cells did not run clean from 1 to {len(code)}")
    if "widgets" in notebook.metadata:
        problems.append("widget state is stored in the metadata")
    problems += [
        f"code cell {n}: an absolute path in its output: {found[0]}"
        for n, c in enumerate(code, 1)
        for o in c.outputs
        if (found := ABSOLUTE_PATH.search(_text_of(o)))
    ]
    problems += [
        f"code cell {n}: a figure without alt text (use show_figure)"
        for n, c in enumerate(code, 1)
        for o in c.outputs
        if "image/png" in o.get("data", {}) or re.search(r"<img(?![^>]*\balt=)", o.get("data", {}).get("text/html", ""))
    ]
    if size is not None and size > MAX_BYTES:
        problems.append(f"{size} bytes; at most {MAX_BYTES} are allowed")
    return problems


def _text_of(output) -> str:
    data = output.get("data", {})
    text = [output.get("text", ""), data.get("text/plain", ""), data.get("text/markdown", "")]
    return " ".join([*text, re.sub(r'src="data:[^"]*"', "", data.get("text/html", ""))])


def sync_problems(source, built) -> list[str]:
    """Whether a built notebook holds exactly the cells of its source."""

    def cells(notebook):
        return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]

    if cells(source) == cells(built):
        return []
    pairs = zip(cells(source), cells(built), strict=False)
    first = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(source.cells), len(built.cells)))
    return [f"cell {first} differs from the source; run `make notebooks`"]


# --- build ---------------------------------------------------------------------------------------------------


def join_streams(notebook) -> None:
    """Join what a cell printed in many pieces, as JupyterLab does; nbclient keeps each piece by itself."""
    for cell in notebook.cells:
        joined = []
        for output in cell.get("outputs", []):
            last = joined[-1] if joined else None
            if last and output.output_type == last.output_type == "stream" and output.name == last.name:
                last["text"] += output.text
            else:
                joined.append(output)
        if "outputs" in cell:
            cell.outputs = joined


def clean_outputs(notebook) -> None:
    """Keep what a reader needs: drop widget views and state, timings, progress bars on stderr."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]


def build(name: str, profile: str = "cpu") -> Path:
    """Run a source as a learner would and write its notebook with outputs; raises `LessonError` if it fails."""
    import nbformat

    from agentlab.course import run_notebook

    source = read_source(notebook_folder() / "src" / f"{name}.py")
    if problems := form_problems(source):
        raise LessonError(f"notebooks/src/{name}.py: " + "; ".join(problems) + ".")
    result = run_notebook(source, name, profile)
    if not result.ok:
        raise LessonError(f"{name}: {result.error}")
    built = result.notebook
    built.cells = [c for c in built.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for number, cell in enumerate(built.cells):
        cell["id"] = f"cell-{number:03d}"
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
    clean_outputs(built)
    path = notebook_folder() / f"{name}.ipynb"
    nbformat.write(built, path)
    if problems := output_problems(built, path.stat().st_size):
        raise LessonError(f"{path}: " + "; ".join(problems) + ".")
    return path


def stamp_built(name: str) -> Path:
    """Write the badge and the set-up cell of a built notebook anew, without running it: both have no output."""
    import nbformat

    path = notebook_folder() / f"{name}.ipynb"
    built = read_notebook(path)
    stamp(built, name)
    nbformat.write(built, path)
    return path


def main(arguments: list[str]) -> int:
    """``python -m agentlab.notebooks [--check | --home] [LESSON ...]``"""
    check, home = "--check" in arguments, "--home" in arguments
    chosen = [a for a in arguments if not a.startswith("--")]
    names = [n for n in (lesson_names() if home else source_names()) if not chosen or n in chosen]
    failures = 0
    for name in names:
        if check:
            source = read_source(notebook_folder() / "src" / f"{name}.py")
            path = notebook_folder() / f"{name}.ipynb"
            built = read_notebook(path)
            problems = (
                form_problems(source) + sync_problems(source, built) + output_problems(built, path.stat().st_size)
            )
            failures += bool(problems)
            print(f"{name}: {'; '.join(problems) or 'ok'}")
        else:
            print(f"{(stamp_built if home else build)(name).relative_to(ROOT)} written")
    return 1 if failures else 0


if __name__ == "__main__":
    import sys

    try:
        sys.exit(main(sys.argv[1:]))
    except LessonError as error:
        sys.exit(str(error))
