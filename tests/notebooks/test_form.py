"""Notebooks and their sources: form, sync, accessibility; and that each check can fail."""

import jupytext
import nbformat
import pytest

from agentlab import notebooks
from agentlab.errors import LessonError, UnknownName

NAMES = notebooks.source_names()
FOLDER = notebooks.notebook_folder()


def test_there_is_a_notebook_for_every_source_and_no_other():
    assert notebooks.lesson_names() == NAMES
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_source_has_the_form_of_a_lesson(name):
    source = notebooks.read_source(FOLDER / "src" / f"{name}.py")
    assert notebooks.form_problems(source) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_equals_its_source_and_ran_clean(name):
    path = FOLDER / f"{name}.ipynb"
    built = notebooks.read_notebook(path)
    assert notebooks.sync_problems(notebooks.read_source(FOLDER / "src" / f"{name}.py"), built) == []
    assert notebooks.output_problems(built, path.stat().st_size) == []
    nbformat.validate(built)


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_of_a_lesson_are_there(name):
    text = (FOLDER / "src" / f"{name}.py").read_text(encoding="utf-8")
    for part in ("By the end you will have shown", "colab-badge", "**Contents:**", "## Limits", "## Takeaways", "quiz(", "**Easy:**",
                 "**Medium:**", "**Hard:**", "**Next:**", "record(", "control"):  # fmt: skip
        assert part in text, f"{name} lacks {part}"
    assert any(word in text for word in ("play(", "explore(", "Panel(", "Viewer(", ".show(hour")), (
        f"{name} has nothing to play with"
    )
    takeaways = text.split("## Takeaways")[1].split("# %%")[0]
    assert takeaways.count("\n# ") - 0 >= 5
    assert sum(f"# {n}. " in takeaways for n in range(1, 8)) == 5


# --- each check can fail ---


def source(text):
    return jupytext.reads(text, fmt="py:percent")


GOOD = '# %% [markdown]\n# # Title\n\n# %% tags=["parameters"]\nPROFILE = "auto"\n\n# %% [markdown]\n# ## Part\n'


def test_a_good_source_has_no_problems():
    assert notebooks.form_problems(source(GOOD)) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (GOOD.replace("# # Title", "# ## Title"), "exactly one H1"),
        (GOOD + "\n# # Another\n", "exactly one H1"),
        (GOOD.replace("# ## Part", "# #### Part"), "jumps from level 1 to 4"),
        (GOOD.replace(' tags=["parameters"]', ""), "tagged `parameters`"),
        (GOOD + "\n# ![](x.png)\n", "without alt text"),
        (GOOD + '\n# <img src="x.png">\n', "without alt text"),
        (GOOD + "\n# %%\nplt.show()\n", "plt.show"),
        (GOOD + "\n# %%\nimport sys\nsys.exit(0)\n", "exit() in a cell"),
        (GOOD + '\n# %%\nex = exercise("no.such")\n', "Unknown exercise"),
        (GOOD + '\n# %%\nex = exercise("start.order_number")\n', "No cell defines"),
    ],
)
def test_a_source_out_of_form_is_named(text, what):
    assert any(what in problem for problem in notebooks.form_problems(source(text))), notebooks.form_problems(
        source(text)
    )


def test_headings_in_code_fences_do_not_count():
    assert notebooks.form_problems(source(GOOD + "\n# ```\n# # not a heading\n# ```\n")) == []


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"x = 1\n", r":1: no cell marker"),
        (b"# %%\nx = = 1\n", r":2: invalid syntax"),
        (b"# %%\n\xff", "cannot be read"),
    ],
)
def test_a_malformed_source_is_named_with_its_line(tmp_path, content, what):
    path = tmp_path / "00_x.py"
    path.write_bytes(content)
    with pytest.raises(LessonError, match=what) as caught:
        notebooks.read_source(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "{", '{"cells": 3}'])
def test_a_malformed_notebook_is_named(tmp_path, content):
    path = tmp_path / "00_x.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LessonError, match=r"00_x\.ipynb"):
        notebooks.read_notebook(path)


def cell(source="1", count=1, **output):
    made = nbformat.v4.new_code_cell(source, execution_count=count)
    if output:
        made.outputs = [nbformat.v4.new_output("display_data", data=output.get("data", {}))]
    return made


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ([cell(), cell(count=3)], "did not run clean"),
        ([cell(count=None)], "did not run clean"),
        ([cell(data={"text/plain": "saved /home/anna/out.txt"})], "an absolute path"),
        ([cell(data={"text/html": r"C:\Users\anna"})], "an absolute path"),
        ([cell(data={"image/png": "xx"})], "without alt text"),
        ([cell(data={"text/html": "<img src='x'>"})], "without alt text"),
    ],
)
def test_bad_outputs_are_named(cells, what):
    problems = notebooks.output_problems(nbformat.v4.new_notebook(cells=cells))
    assert any(what in p for p in problems), problems


def test_errors_widget_state_and_size_are_named():
    nb = nbformat.v4.new_notebook(cells=[cell()], metadata={"widgets": {}})
    nb.cells[0].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]
    problems = " ".join(notebooks.output_problems(nb, notebooks.MAX_BYTES + 1))
    assert "ValueError: no" in problems
    assert "widget state" in problems
    assert "at most 500000" in problems


def test_a_changed_cell_is_out_of_sync():
    a, b = source(GOOD), source(GOOD.replace("Part", "Other"))
    assert notebooks.sync_problems(a, source(GOOD)) == []
    assert "cell 2 differs" in notebooks.sync_problems(a, b)[0]
    assert notebooks.sync_problems(a, source(GOOD + "\n# %%\n1\n"))


def test_lessons_by_name_or_number():
    assert notebooks.check_lesson("1") == notebooks.check_lesson("01") == "01_prepare_data"
    with pytest.raises(UnknownName, match="Did you mean '00_start_here'"):
        notebooks.check_lesson("00_start")
