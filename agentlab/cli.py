"""The command line: `agentlab chat | course | lab | doctor | evaluate | mcp | progress | site | slides`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from agentlab import __version__
from agentlab.errors import AgentLabError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


def _version(show: bool) -> None:
    if show:
        print(f"agentlab {__version__}")
        raise typer.Exit


@app.callback()
def options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    """A course on building AI agents."""


@app.command()
def course(
    lessons: Annotated[list[str] | None, typer.Argument(help="Names or numbers, such as 01; all if none.")] = None,
    profile: Annotated[str, typer.Option(help="quick, cpu, gpu or auto.")] = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Lessons at a time.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the reports.")] = Path("out/course"),
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Run every lesson without a screen and report."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from agentlab import course as courses
    from agentlab.notebooks import check_lesson, lesson_names

    names = [check_lesson(name) for name in lessons or lesson_names()]
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        tasks = {name: bar.add_task(name, total=None) for name in names}
        report = courses.run_course(
            names, profile, jobs, out, lambda name, done, total: bar.update(tasks[name], completed=done, total=total)
        )
    table = Table(title=f"profile {report.profile}, {report.device}", title_justify="left")
    for column in ("Lesson", "Result", "Seconds", "Peak MB", "Exercises", "Figures [band]"):
        table.add_column(column, overflow="fold")
    for run in report.runs:
        entry = run.as_dict()
        counts = f"{entry['exercises']['passed']} of {entry['exercises']['total']}"
        result = "ok" if run.ok else "FAILED"
        table.add_row(
            run.name,
            result,
            f"{run.seconds:.0f}",
            f"{run.peak_mb:.0f}",
            counts,
            courses.headline(run).replace("[", r"\["),
        )
    console.print(table)
    for run in report.runs:
        if not run.ok:
            console.print(f"{run.name} failed: {run.error}", markup=False, highlight=False)
    green = sum(run.ok for run in report.runs)
    print(f"{green} of {len(report.runs)} lessons green in {report.seconds:.0f} seconds. Report: {out}/report.html")
    if open_report:
        webbrowser.open((out / "report.html").resolve().as_uri())
    raise typer.Exit(0 if report.ok else 1)


# JupyterLab asks its makers for updates and extensions, and the reader about news; the course asks nobody.
QUIET_LAB = ("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open JupyterLab on lesson 00; further options, such as --port 8890, go to JupyterLab."""
    from agentlab.notebooks import notebook_folder

    command = [sys.executable, "-m", "jupyterlab", "00_start_here.ipynb", *QUIET_LAB, *context.args]
    settings = [str(Path(__file__).parent / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    waiting = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY") or "passive"}  # see `course`
    environment = {**os.environ, **waiting, "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, settings))}
    raise typer.Exit(subprocess.call(command, cwd=notebook_folder(), env=environment))


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of 127.0.0.1.")] = 8866,
    ready: Annotated[int, typer.Option(min=1, help="Kernels that wait for visitors.")] = 1,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Serve the shop's agent as a page: a chat and what is behind each reply, only to this machine."""
    from agentlab.demo import serve

    raise typer.Exit(serve(port, ready, browser))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Check the corpus instead of the machine.")] = False,
) -> None:
    """Check this machine, or the data, and say what cures what is wrong."""
    if data:
        raise typer.Exit(_check_data(as_json))
    from rich.console import Console
    from rich.table import Table

    from agentlab import doctor as doctors

    checks, rows = doctors.examine()
    if as_json:
        print(json.dumps(doctors.as_json(checks, rows), indent=1))
    else:
        for check in checks:
            print(f"{'OK  ' if check.ok else 'BAD ' if check.needed else 'NOTE'} {check.name}: {check.text}")
        table = Table(title="Predicted on this machine", title_justify="left")
        for column in ("Lesson", "Profile", "Minutes", "Memory"):
            table.add_column(column)
        for row in rows:
            table.add_row(row["lesson"], row["profile"], f"{row['minutes']:.1f}", f"{row['mb']} MB")
        Console().print(table)
        print("Every lesson can run here." if doctors.able(checks) else "Some lessons cannot run yet: see BAD above.")
    raise typer.Exit(0 if doctors.able(checks) else 1)


def _check_data(as_json: bool) -> int:
    from agentlab import corpus

    mistakes = corpus.check_support()
    if as_json:
        print(json.dumps([{"file": m.file, "line": m.line, "what": m.what} for m in mistakes], indent=1))
        return 1 if mistakes else 0
    for mistake in mistakes:
        print(mistake)
    if not mistakes:
        support = corpus.support()
        floor = corpus.measure_floor(support.train, support.test)
        print(f"{len(support.everything)} messages and {len(support.challenge)} challenge messages, no mistakes.")
        print(
            f"Floor on test (TF-IDF, logistic regression): accuracy {floor.accuracy:.3f}, macro F1 {floor.macro_f1:.3f}."
        )
    return 1 if mistakes else 0


@app.command()
def progress(as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False) -> None:
    """What you have passed so far."""
    from rich.console import Console
    from rich.table import Table

    from agentlab import progress as notes
    from agentlab.exercises import all_exercises

    entries = notes.read_progress()
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    table = Table(title=str(notes.progress_file()), title_justify="left")
    for column in ("Exercise", "State", "Attempts", "Hints", "Solution seen"):
        table.add_column(column)
    for id in all_exercises():
        e = entries.get(id, {})
        seen = "yes" if e.get("solution_seen") else "no"
        table.add_row(id, e.get("state", "NOT STARTED"), str(e.get("attempts", 0)), str(e.get("hints", 0)), seen)
    Console().print(table)
    passed = sum(entries.get(id, {}).get("state") == "PASSED" for id in all_exercises())
    print(f"{passed} of {len(all_exercises())} exercises passed.")


@app.command()
def mcp(
    shop: Annotated[bool, typer.Option("--shop", help="The tools of the sample shop instead.")] = False,
) -> None:
    """Serve the language tools to any client of the Model Context Protocol, over stdin and stdout."""
    with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the protocol
        box = _shop_tools() if shop else _language_tools()
    from agentlab.mcp import serve

    serve(box)


def _language_tools():
    from agentlab.tools.nlp import toolbox

    return toolbox()


def _shop_tools():
    from agentlab.shop.store import Store
    from agentlab.shop.tools import shop_tools

    return shop_tools(Store.sample())


LABS = "With lab 07's help desk and lab 09's recommender behind its tools."


@app.command()
def evaluate(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files of scenarios, or train, development, test; development if none."),
    ] = None,
    planner: Annotated[str, typer.Option(help="How the agent decides: hybrid, rules or language.")] = "hybrid",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each scenario.")] = 4,
    model: Annotated[
        bool, typer.Option("--model", help="Use the course's language model too, as language does.")
    ] = False,
    labs: Annotated[bool, typer.Option("--labs", help=LABS)] = False,
    report_file: Annotated[Path | None, typer.Option("--json", help="Write figures and transcripts here.")] = None,
) -> None:
    """Let simulated customers talk with the agent, and print how often they were served."""
    from agentlab import scenarios, trials

    found = scenarios.load_scenarios(files=[scenarios.scenario_file(name) for name in files or ["development"]])
    report = trials.evaluate(_agents(planner, model, labs), found, seeds, _print_failure)
    print(report.table())
    if report_file is not None:
        report_file.parent.mkdir(parents=True, exist_ok=True)
        report_file.write_text(json.dumps(report.as_dict(), indent=1, ensure_ascii=False), encoding="utf-8")


def _print_failure(outcome) -> None:
    if not outcome.success:
        print(f"{outcome.scenario}, seed {outcome.seed}: {outcome.fault}. {outcome.why[0]}", flush=True)


def _agents(planner: str, model: bool, labs: bool):
    """A function that takes a store and gives the shop's agent in it; all share the same models."""
    from agentlab.shop.agent import shop_agent

    shared: dict = {"language": _assistant()} if model or planner == "language" else {}
    if labs:
        from agentlab import answers, towers

        shared |= {"help": answers.load(), "recommender": towers.load()}
    return lambda store: shop_agent(store, planner=planner, **shared)


@app.command()
def chat(
    script: Annotated[
        Path | None, typer.Option(help="A file with one message a line, instead of the keyboard.")
    ] = None,
    planner: Annotated[str, typer.Option(help="hybrid, rules or language.")] = "hybrid",
    model: Annotated[bool, typer.Option("--model", help="Load the course's language model too.")] = False,
    labs: Annotated[bool, typer.Option("--labs", help=LABS)] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Show what the agent saw and decided.")] = False,
) -> None:
    """Talk with the shop's agent; an empty line ends it."""
    talk = _agents(planner, model, labs)(None).conversation()
    for message in _messages(script):
        turn = talk.send(message)
        print(turn.trace.text() if trace else f"Agent: {turn.reply}")


def _messages(script: Path | None) -> Iterator[str]:
    """The lines of a script, shown as they are said; or what is typed, up to an empty line."""
    if script is not None:
        from agentlab.corpus import read_text

        for line in filter(None, map(str.strip, read_text(script).splitlines())):
            print(f"Customer: {line}")
            yield line
        return
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while line := input("You: ").strip():
            yield line


def _assistant():
    from agentlab.assistant import load_assistant

    return load_assistant()


# --- to read and to show -------------------------------------------------------------------------------------


@app.command()
def site(
    out: Annotated[Path, typer.Option(help="Folder of the site; what it holds from before is replaced.")] = Path(
        "out/site"
    ),
    open_page: Annotated[bool, typer.Option("--open", help="Open the first page in a browser.")] = False,
) -> None:
    """Write the course as a website from the notebooks as they are; it needs no network and no server."""
    from agentlab.site import build_site

    page = build_site(out)
    print(
        f"{len(list(page.parent.glob('*.html')))} pages. Open {page} in a browser, or put the folder on any web server."
    )
    if open_page:
        webbrowser.open(page.resolve().as_uri())


@app.command()
def slides(
    lessons: Annotated[list[str] | None, typer.Argument(help="Names or numbers, such as 01; all if none.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the slides.")] = Path("out/slides"),
    open_page: Annotated[bool, typer.Option("--open", help="Open the first lesson's slides in a browser.")] = False,
) -> None:
    """Write slides for teaching from the notebooks as they are: headings, questions, figures, exercises."""
    from agentlab.slides import write_slides

    pages = write_slides(lessons, out)
    print("\n".join(map(str, pages)))
    if open_page:
        webbrowser.open(pages[0].resolve().as_uri())


# --- for teachers --------------------------------------------------------------------------------------------

teaching = typer.Typer(no_args_is_help=True, help="Plan lessons, and see where a class stands.")
app.add_typer(teaching, name="class")


@teaching.command("merge")
def class_merge(
    folder: Annotated[Path, typer.Argument(help="The learners' progress files, under any names, in any sub-folders.")],
    out: Annotated[Path, typer.Option(help="Folder of class.csv and class.html.")] = Path("out/class"),
) -> None:
    """Merge many learners' progress files: who is stuck where."""
    from agentlab import classroom

    report = classroom.merge(folder)
    classroom.write_reports(report, out)
    begun = [row for row in report.exercise_rows() if row[5] != str(len(report.learners))]
    _print_table("Exercises that somebody has begun", classroom.EXERCISE_HEAD, begun)
    few = [row for row in report.learner_rows() if row[3] != "-"][:20]
    _print_table("Learners who are stuck, at most twenty", classroom.LEARNER_HEAD, few)
    _print_skipped(report.skipped)
    if report.unknown:
        print(f"Not exercises of this version, left out: {', '.join(sorted(report.unknown))}")
    worst, stuck = report.hardest()
    where = f"most are stuck at {worst}: {stuck}" if stuck else "nobody is stuck"
    print(f"{len(report.learners)} learners; {where}. Table: {out}/class.csv. Page with picture: {out}/class.html")


@teaching.command("plan")
def class_plan(
    lesson: Annotated[str | None, typer.Argument(help="Name or number, such as 01.")] = None,
    minutes: Annotated[int | None, typer.Option(help="Of the lesson, such as 45, 90 or 180; or of each day.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Plan the whole course instead.")] = None,
) -> None:
    """Print what to do in class: cells, stop points, pair tasks, what to say to who is stuck."""
    from agentlab import lessonplan

    if (lesson is None) == (days is None):
        raise AgentLabError(
            "Name a lesson, as in `agentlab class plan 01 --minutes 90`, or give --days for the course."
        )
    if lesson is not None:
        print(lessonplan.text_of(lessonplan.plan_lesson(lesson, minutes or 90)))
    else:
        print(lessonplan.course_text(lessonplan.plan_course(days, minutes or 300), minutes or 300))


@app.command()
def grade(
    folder: Annotated[Path, typer.Argument(help="The learners' notebooks, in any sub-folders.")],
    out: Annotated[Path, typer.Option(help="Folder of grades.csv and grades.html.")] = Path("out/grades"),
    seconds: Annotated[float, typer.Option(min=1, help="Time for one exercise.")] = 60,
    memory: Annotated[int, typer.Option(min=100, help="Megabytes for one exercise.")] = 2000,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at a time.")] = 1,
    unprotected: Annotated[bool, typer.Option("--unprotected", help="Run without a sandbox, as you.")] = False,
) -> None:
    """Run the exercises of many notebooks, each locked in, and write who passed what."""
    from agentlab import classroom, grading

    def tell(submission: grading.Submission) -> None:
        states = [state for state, _ in submission.results.values()]
        said = submission.fault or f"{states.count('PASSED')} of {len(states)}"
        print(f"{submission.learner}, {classroom.printable(submission.file.name)}: {said}", flush=True)

    grades = grading.grade(folder, grading.Limits(seconds, memory), jobs, unprotected, tell)
    grading.write_reports(grades, out)
    for lesson in dict.fromkeys(grades.exercises.values()):
        ids = [id for id, its in grades.exercises.items() if its == lesson]
        rows = [[who, *(_mark(grades.state(who, id)) for id in ids)] for who in grades.learners]
        rows = [row for row in rows if set(row[1:]) != {"-"}]
        _print_table(lesson, ["Learner", *(str(n) for n in range(1, len(ids) + 1))], rows)
        print("; ".join(f"{n} {id}" for n, id in enumerate(ids, 1)), end="\n\n")
    print("Marks: " + ", ".join(f"{mark} {state}" for state, mark in grading.LETTERS.items()))
    _print_skipped(grades.skipped)
    print(
        f"{len(grades.learners)} learners graded in {grades.seconds:.0f} seconds. Reports: {out}/grades.csv, {out}/grades.html"
    )


def _mark(state: str) -> str:
    from agentlab.grading import LETTERS

    return LETTERS.get(state, state)


@app.command()
def bundle(
    folder: Annotated[Path, typer.Argument(help="A folder that is empty or does not exist, on a stick perhaps.")],
    trained: Annotated[bool, typer.Option("--trained", help="With the models that lessons here have trained.")] = False,
) -> None:
    """Put everything that an installation needs into a folder, for machines without a network."""
    from agentlab.bundle import make_bundle

    size = make_bundle(folder, trained)
    print(f"{size / 1e9:.1f} GB in {folder}. On each machine: python install.py (see README.txt there).")


def _print_table(title: str, head, rows) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _print_skipped(skipped: list[tuple[str, str]]) -> None:
    for file, why in skipped:
        print(f"Left out: {file}: {why}")


# --- end of the block for teachers ---------------------------------------------------------------------------


def main() -> None:
    """Entry point: errors of the course are one sentence, not a traceback."""
    try:
        app()
    except AgentLabError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
