"""Each way in which a broken notebook could look green, proven closed with a small notebook broken on purpose."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from agentlab import course, notebooks
from agentlab.errors import LessonError, UnknownName

PARAMETERS = '# %% tags=["parameters"]\nPROFILE = "auto"\n'


def run(code, solutions=False, head=PARAMETERS, **options):
    import jupytext

    notebook = jupytext.reads("# %% [markdown]\n# # Broken\n\n" + head + "\n# %%\n" + code, fmt="py:percent")
    return course.run_notebook(notebook, "00_start_here", "quick", solutions=solutions, **options)


def test_a_sound_notebook_is_green():
    cells = []
    result = run("assert PROFILE == 'quick'\nprint(1)", on_cell=lambda done, total: cells.append((done, total)))
    assert result.ok, result.error
    assert result.peak_mb > 20
    assert cells[-1][0] == cells[-1][1]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("1 / 0", "cell 3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("raise SystemExit", "SystemExit"),
        ("import os\nos._exit(0)", "the kernel died"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "the kernel died"),
        ("import urllib.request\nurllib.request.urlopen('http://example.org')", "example.org"),
        ("import socket\nsocket.create_connection(('93.184.216.34', 80))", "NetworkBlocked"),
        (
            "import matplotlib.pyplot as plt\nplt.plot([1])\nfrom IPython.display import display\ndisplay(plt.gcf())",
            "without alt text",
        ),
    ],
)
def test_what_breaks_is_red(code, what):
    result = run(code)
    assert not result.ok, "the broken notebook looks green"
    assert what in result.error, result.error


def test_a_tag_does_not_excuse_an_error():
    result = run("1 / 0", head=PARAMETERS + '\n# %% tags=["raises-exception"]\n1 / 0\n')
    assert not result.ok


def test_a_cell_that_takes_too_long_is_red():
    result = run("import time\ntime.sleep(30)", timeout=2)
    assert not result.ok
    assert "longer than 2 seconds" in result.error


@pytest.mark.parametrize(
    ("head", "what"),
    [
        ('# %%\nPROFILE = "auto"\n', "found 0"),
        (PARAMETERS + "\n" + PARAMETERS, "found 2"),
        ('# %% tags=["parameters"]\nprofile = "auto"\n', "must set PROFILE"),
        ('# %% tags=["parameters"]\nPROFILE = str("auto")\n', "literals only"),
    ],
)
def test_parameters_that_would_be_ignored_are_red(head, what):
    result = run("print(1)", head=head)
    assert not result.ok
    assert what in result.error


RECORD = "from agentlab.lesson import begin, record\nbegin('00_start_here', PROFILE)\nrecord('topic_accuracy', {})"


def test_figures_and_their_bands():
    result = run(RECORD.format(0.7))
    assert result.ok, result.error
    assert result.figures["topic_accuracy"]["value"] == 0.7
    result = run(RECORD.format(0.01))
    assert not result.ok
    assert "topic_accuracy = 0.01 is outside its band" in result.error


EXERCISE = """\
from agentlab.exercises import ____, exercise

ex = exercise("start.order_number")

# %%
def order_number(text):
    return ____

ex.check(order_number)
"""


def test_the_learners_run_and_the_solved_run():
    learner = run(EXERCISE)
    assert learner.ok, learner.error
    assert learner.exercises == {"start.order_number": "NOT STARTED"}
    solved = run(EXERCISE, solutions=True)
    assert solved.ok, solved.error
    assert solved.exercises == {"start.order_number": "PASSED"}


def test_a_solved_run_whose_exercise_does_not_pass_is_red():
    code = EXERCISE.replace("ex.check(order_number)", "ex.check(lambda text: text)")
    result = run(code, solutions=True)
    assert not result.ok
    assert "start.order_number is WRONG" in result.error


def test_a_headless_run_leaves_the_learners_progress_alone(private_progress):
    run(EXERCISE, solutions=True)
    assert not private_progress.exists()


def test_an_answer_cell_that_is_missing_is_named():
    result = run('from agentlab.exercises import exercise\nex = exercise("start.order_number")', solutions=True)
    assert "No cell defines 'order_number'" in result.error


def test_what_was_printed_in_pieces_is_one_output():
    result = run("import sys\nfor n in range(5):\n    print(n, end=' ', flush=True)\n    sys.stdout.flush()")
    outputs = result.notebook.cells[-1].outputs
    assert [o.text for o in outputs] == ["0 1 2 3 4 "]


def test_one_lesson_fails_and_the_others_still_run(tmp_path, monkeypatch, private_cache):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, code in (("00_a", "1 / 0"), ("01_b", "print('fine')")):
        nb = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell('PROFILE = "auto"', metadata={"tags": ["parameters"]})]
        )
        nb.cells.append(nbformat.v4.new_code_cell(code))
        nbformat.write(nb, folder / f"{name}.ipynb")
    (folder / "02_c.ipynb").write_text("{")
    monkeypatch.setattr(notebooks, "notebook_folder", lambda: folder)
    report = course.run_course(["00_a", "01_b", "02_c"], "quick", 2, tmp_path / "out", lambda *cell: None)
    assert [r.ok for r in report.runs] == [False, True, False]
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert sorted(written) == ["agentlab", "device", "lessons", "profile", "seconds"]
    assert sorted(written["lessons"][0]) == ["error", "exercises", "metrics", "name", "ok", "peak_mb", "seconds"]
    assert "ZeroDivisionError" in written["lessons"][0]["error"]
    assert "1 / 0" in written["lessons"][0]["error"], "the failing line should be named"
    assert "02_c.ipynb" in written["lessons"][2]["error"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Some lessons failed" in page
    assert "ZeroDivisionError" in page
    assert (tmp_path / "out" / "01_b.ipynb").exists()


def test_the_report_page_escapes_what_it_shows():
    page = course.report_page(course.Report("quick", "<cpu>", 1.0, [course.Run("00_x", False, 1.0, error="<script>")]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_an_unknown_profile_is_named():
    with pytest.raises(UnknownName, match="Did you mean 'quick'"):
        course.resolve_profile("quik")


def test_the_folder_of_lessons_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks, "ROOT", Path(tmp_path))
    with pytest.raises(LessonError, match="needs a checkout"):
        notebooks.notebook_folder()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what processes share")
def test_memory_that_processes_share_counts_once():
    """A forked child holds what its parent holds, until one of them writes."""
    kept = bytearray(os.urandom(64 << 20))
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(len(kept) and 0)
    try:
        both = [psutil.Process(), psutil.Process(child)]
        alone = sum(p.memory_info().rss for p in both)
        assert course.memory_of(both) < alone - (32 << 20)
        assert course.memory_of(both[:1]) == pytest.approx(both[0].memory_info().rss, rel=0.1)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
