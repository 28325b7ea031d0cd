"""Run lessons without a screen, and report: one line per lesson, ``report.json``, ``report.html``.

Each notebook runs in its own kernel through papermill, with the network blocked, threads capped and a private
progress file, so that a headless run changes nothing of the learner's.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from agentlab import __version__
from agentlab.errors import LessonError
from agentlab.exercises.engine import PASSED, RESULT_MIME
from agentlab.lesson import FIGURE_MIME, PROFILES
from agentlab.notebooks import join_streams, output_problems, parameter_problems, read_notebook, with_solutions

CELL_TIMEOUT_SECONDS = 900
KILLED = "the kernel died (out of memory, or killed from outside)"
OFFLINE_STARTUP = "from agentlab.offline import block_network\nblock_network()\n"


@dataclass
class Run:
    """One executed lesson."""

    name: str
    ok: bool
    seconds: float
    peak_mb: float = 0.0
    exercises: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    error: str = ""
    notebook: object = None

    def as_dict(self) -> dict:
        """The lesson's entry of ``report.json``."""
        passed = sum(state == PASSED for state in self.exercises.values())
        return {
            "name": self.name,
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "peak_mb": round(self.peak_mb),
            "exercises": {"passed": passed, "total": len(self.exercises)},
            "metrics": self.figures,
            "error": self.error or None,
        }


# --- one notebook --------------------------------------------------------------------------------------------


def run_notebook(
    notebook,
    name: str,
    profile: str,
    solutions: bool = False,
    on_cell: Callable[[int, int], None] = lambda done, total: None,
    timeout: int = CELL_TIMEOUT_SECONDS,
) -> Run:
    """Execute a notebook object in a fresh kernel and look at everything it left behind; never raises.

    ``on_cell(done, total)`` is called after every cell. With ``solutions`` the stubs are solved first, and an
    exercise that does not pass is a failure.
    """
    start = time.perf_counter()
    if problems := parameter_problems(notebook):
        return Run(name, False, 0.0, error="; ".join(problems))
    try:
        notebook = with_solutions(notebook) if solutions else copy.deepcopy(notebook)
    except LessonError as error:
        return Run(name, False, 0.0, error=str(error))
    executed, peak_mb, error = _execute(notebook, profile, on_cell, timeout)
    run = Run(name, True, time.perf_counter() - start, peak_mb, notebook=executed)
    run.exercises, run.figures = read_outputs(executed)
    outside = [
        f"figure {figure} = {m['value']:.4g} is outside its band {m['low']:g} to {m['high']:g}"
        for figure, m in run.figures.items()
        if not m["low"] <= m["value"] <= m["high"]
    ]
    unsolved = [f"{id} is {state}" for id, state in run.exercises.items() if solutions and state != PASSED]
    left_out = [] if error else [p for p in output_problems(executed) if "absolute path" not in p]
    problems = ([error] if error else []) + left_out + outside + unsolved
    run.ok, run.error = not problems, "; ".join(problems)
    return run


def _execute(notebook, profile: str, on_cell, timeout: int) -> tuple[object, float, str]:
    """papermill on a temporary copy: (executed notebook, peak MB of the kernel, error text)."""
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    folder = Path(tempfile.mkdtemp(prefix="al"))
    config = Config()
    if os.name == "posix":  # Unix sockets instead of TCP ports: they work where even loopback is down
        config.KernelManager.transport = "ipc"
        config.KernelManager.ip = str(folder / "k")
    given, written = folder / "in.ipynb", folder / "out.ipynb"
    nbformat.write(notebook, given)
    engine, error = _register_engine(), ""
    Watch.by_output[str(written)] = watch = Watch(on_cell)
    try:
        with _kernel_environment(folder):
            papermill.execute_notebook(
                given, written, parameters={"PROFILE": profile}, engine_name=engine, kernel_name="python3", language="python",
                progress_bar=False, execution_timeout=timeout, start_timeout=120, config=config, watch=str(written),
                cwd=str(_work_folder()),
            )  # fmt: skip
    except PapermillExecutionError as failure:
        line = next((text for text in reversed(failure.traceback) if "--->" in text or "-->" in text), "")
        line = next((x for x in _plain(line).split("\n") if x.lstrip().startswith(("--", "->"))), "").strip()
        error = f"cell {failure.cell_index}: {failure.ename}: {_plain(failure.evalue)} [{line or failure.source[:80]}]"
    except Exception as failure:
        kind = type(failure).__name__
        error = {"DeadKernelError": KILLED, "CellTimeoutError": f"a cell ran longer than {timeout} seconds"}.get(
            kind, f"{kind}: {failure}"
        )
    executed = read_notebook(written) if written.exists() else notebook
    join_streams(executed)
    del Watch.by_output[str(written)]
    _remove(folder)
    return _without_injected(executed), watch.peak_mb, error


def _work_folder() -> Path:
    """Lessons run here and leave their files in ``out/``, which git ignores."""
    from agentlab.notebooks import ROOT

    folder = ROOT / "out" / "work"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _plain(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _without_injected(notebook):
    """Drop papermill's own cells; execution counts close up over the gap."""
    kept, gap = [], 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags or "papermill-error-cell-tag" in tags:
            gap += cell.cell_type == "code" and bool(cell.get("execution_count"))
            continue
        if cell.cell_type == "code" and cell.execution_count:
            cell.execution_count -= gap
            for output in cell.outputs:
                if output.get("execution_count"):
                    output["execution_count"] = cell.execution_count
        kept.append(cell)
    notebook.cells = kept
    return notebook


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


class _kernel_environment:
    """Environment variables of headless kernels; counted, so that parallel runs share one setting."""

    lock, users, before = threading.Lock(), 0, {}

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self):
        with self.lock:
            type(self).users += 1
            if type(self).users > 1:
                return
            home = Path(tempfile.mkdtemp(prefix="al"))
            startup = home / "ipython" / "profile_default" / "startup"
            startup.mkdir(parents=True)
            (startup / "00-offline.py").write_text(OFFLINE_STARTUP)
            from agentlab.device import usable_cores

            settings = {
                "IPYTHONDIR": str(home / "ipython"),
                "JUPYTER_RUNTIME_DIR": str(home / "r"),
                "AGENTLAB_PROGRESS": str(home / "progress.json"),
                "AGENTLAB_HEADLESS": "1",
                "HF_HUB_OFFLINE": "1",
                # Threads that spin while they wait cost several times the time as soon as anything else runs.
                "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY") or "passive",
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(min(2, usable_cores())),
                "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            }
            type(self).before = {key: os.environ.get(key) for key in settings}
            type(self).home = home
            os.environ.update(settings)

    def __exit__(self, *exc_info):
        with self.lock:
            type(self).users -= 1
            if type(self).users:
                return
            for key, value in type(self).before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
            _remove(type(self).home)


class Watch:
    """Follows one run: calls back after every cell and measures the kernel's peak memory."""

    by_output: dict[str, Watch] = {}

    def __init__(self, on_cell: Callable[[int, int], None]):
        self.on_cell, self.peak_mb, self.stop = on_cell, 0.0, threading.Event()

    def sample(self, client) -> None:
        import psutil

        while not self.stop.wait(0.3):
            try:
                kernel = psutil.Process(client.km.provisioner.pid)
                self.peak_mb = max(self.peak_mb, memory_of([kernel, *kernel.children(recursive=True)]) / 2**20)
            except (AttributeError, psutil.Error):
                continue


def _register_engine() -> str:
    """A papermill engine like its own, that also reports cells and watches the kernel's memory."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    class WatchedEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(
            cls, nb_man, kernel_name, watch="", execution_timeout=None, start_timeout=60, **kw
        ):
            watcher = Watch.by_output[watch]
            total = len(nb_man.nb.cells)
            complete = nb_man.cell_complete

            def cell_complete(cell, cell_index=None, **more):
                complete(cell, cell_index, **more)
                watcher.on_cell((cell_index or 0) + 1, total)

            nb_man.cell_complete = cell_complete
            client = PapermillNotebookClient(
                nb_man,
                timeout=execution_timeout,
                startup_timeout=start_timeout,
                kernel_name=kernel_name,
                config=kw["config"],
            )
            sampler = threading.Thread(target=watcher.sample, args=(client,), daemon=True)
            sampler.start()
            try:
                return client.execute()
            finally:
                watcher.stop.set()

    papermill_engines.register("agentlab", WatchedEngine)
    return "agentlab"


def read_outputs(notebook) -> tuple[dict[str, str], dict[str, dict]]:
    """The exercises' states and the recorded figures in a notebook's outputs."""
    exercises, figures = {}, {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if RESULT_MIME in data:
                exercises[data[RESULT_MIME]["id"]] = data[RESULT_MIME]["state"]
            if FIGURE_MIME in data:
                figure = dict(data[FIGURE_MIME])
                figures[figure.pop("name")] = figure
    return exercises, figures


# --- the course ----------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What a run of the course found."""

    profile: str
    device: str
    seconds: float
    runs: list[Run]

    @property
    def ok(self) -> bool:
        return all(run.ok for run in self.runs)

    def as_dict(self) -> dict:
        return {
            "profile": self.profile,
            "device": self.device,
            "agentlab": __version__,
            "seconds": round(self.seconds, 1),
            "lessons": [run.as_dict() for run in self.runs],
        }


def run_course(
    names: Sequence[str], profile: str, jobs: int, folder: Path, on_cell: Callable[[str, int, int], None]
) -> Report:
    """Run lessons, ``jobs`` at a time; executed notebooks and reports go to ``folder``."""
    import nbformat

    from agentlab.device import inspect_machine
    from agentlab.notebooks import notebook_folder

    profile = resolve_profile(profile)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    def one(name: str) -> Run:
        try:
            notebook = read_notebook(notebook_folder() / f"{name}.ipynb")
        except LessonError as error:
            return Run(name, False, 0.0, error=str(error))
        run = run_notebook(notebook, name, profile, on_cell=lambda done, total: on_cell(name, done, total))
        if run.notebook is not None:
            nbformat.write(run.notebook, folder / f"{name}.ipynb")
        return run

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        runs = list(pool.map(one, names))
    report = Report(profile, inspect_machine(folder).device, time.perf_counter() - start, runs)
    (folder / "report.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(report_page(report), encoding="utf-8")
    update_costs(report)
    return report


def resolve_profile(profile: str) -> str:
    """``auto`` becomes gpu or cpu; another unknown name raises `UnknownName`."""
    from agentlab.device import best_device
    from agentlab.errors import UnknownName

    if profile == "auto":
        return "gpu" if best_device().type == "cuda" else "cpu"
    if profile not in PROFILES:
        raise UnknownName("profile", profile, (*PROFILES, "auto"))
    return profile


def headline(run: Run) -> str:
    """The figures of a lesson against their bands, in a few words."""
    return ", ".join(f"{k} {m['value']:.3g} [{m['low']:g} to {m['high']:g}]" for k, m in run.figures.items()) or "-"


def report_page(report: Report) -> str:
    """``report.html``: a page that a teacher can read."""
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string((Path(__file__).with_name("report.html.j2")).read_text("utf-8"))
    return template.render(report=report, lessons=report.runs, headline=headline, version=__version__, passed=PASSED)


def memory_of(processes: Sequence) -> int:
    """Bytes that processes (of psutil) hold together; what several share counts once where the system tells (Linux)."""
    import psutil

    if len(processes) > 1:
        with contextlib.suppress(psutil.AccessDenied, AttributeError):
            return sum(p.memory_full_info().pss for p in processes)
    return sum(p.memory_info().rss for p in processes)


# --- what lessons cost ---------------------------------------------------------------------------------------


def costs_file() -> Path:
    """This machine's own table of what lessons cost."""
    from agentlab.assets import cache_folder

    return cache_folder() / "costs.json"


def shipped_costs() -> dict:
    """What lessons cost on the machine that measured them: ``{gflops, lessons: {name: {profile: {seconds, peak_mb}}}}``."""
    return json.loads(Path(__file__).with_name("costs.json").read_text(encoding="utf-8"))


def measured_costs() -> dict:
    """What lessons cost when they last ran on this machine: ``{name: {profile: {seconds, peak_mb}}}``."""
    try:
        return dict(json.loads(costs_file().read_text(encoding="utf-8"))["measured"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def expected_costs(gflops: float) -> dict:
    """What each lesson will cost here: as it was measured on this machine, else the shipped table at this machine's speed."""
    costs = scaled(shipped_costs(), gflops)
    for lesson, profiles in measured_costs().items():
        costs[lesson] = costs.get(lesson, {}) | profiles
    return costs


def scaled(costs: dict, gflops: float) -> dict:
    """The lessons of a cost table with the seconds that a machine of another speed would take.

    Products of matrices are a part of the work only, so four times as many a second halve the time.
    """
    factor = (costs["gflops"] / gflops) ** 0.5
    return {
        lesson: {p: {"seconds": c["seconds"] * factor, "peak_mb": c["peak_mb"]} for p, c in profiles.items()}
        for lesson, profiles in costs["lessons"].items()
    }


def update_costs(report: Report) -> None:
    """Note what the green lessons cost here, for the predictions of `agentlab doctor`."""
    from agentlab.errors import AssetError

    try:
        costs, path = measured_costs(), costs_file()
        for run in report.runs:
            if run.ok:
                cost = {"seconds": round(run.seconds, 1), "peak_mb": round(run.peak_mb)}
                costs[run.name] = costs.get(run.name, {}) | {report.profile: cost}
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"measured": costs}, indent=1), encoding="utf-8")
        temporary.replace(path)
    except (AssetError, OSError) as error:
        print(f"The table of lesson times was not updated: {error}", file=sys.stderr)
