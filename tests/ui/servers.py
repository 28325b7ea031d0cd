"""JupyterLab and the demo page as processes of their own, each on a free port of this machine, ended with their children."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "browser-tests"


def free_port():
    """A port of 127.0.0.1 on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def private_environment(folder, **more):
    """The environment of a user who has never opened Jupyter here: settings, workspaces and progress lie in ``folder``.

    The cache of trained models stays the machine's own. Widgets are live, since somebody looks at them.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("AGENTLAB_HEADLESS", "MPLBACKEND", "PYTEST_CURRENT_TEST")}
    named = {
        "JUPYTER_CONFIG_DIR": "jupyter-config",
        "JUPYTER_DATA_DIR": "jupyter-data",
        "JUPYTER_RUNTIME_DIR": "jupyter-runtime",
        "IPYTHONDIR": "ipython",
        "AGENTLAB_PROGRESS": "progress.json",
    }
    private = {name: str(Path(folder) / place) for name, place in named.items()}
    return {**kept, **private, "JUPYTER_PLATFORM_DIRS": "1", "OMP_WAIT_POLICY": "passive", **more}


def copy_of_the_course(folder):
    """A copy of package and notebooks in ``folder``, so that what a browser saves does not change the checkout."""
    shutil.copytree(ROOT / "agentlab", folder / "agentlab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (folder / "data").symlink_to(ROOT / "data")
    return folder


@contextlib.contextmanager
def running(command, url, log, patience=300, **process):
    """Start a command, wait until ``url`` answers, and in the end stop it with all its children."""
    with open(log, "wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **process)
        try:
            wait_for(url, server, log, patience)
            yield server
        finally:
            stop(server)


def wait_for(url, server, log, patience):
    """Return when ``url`` answers; fails with the end of the log when the server ends or takes too long."""
    begun = time.monotonic()
    while time.monotonic() < begun + patience:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"No answer from {url}; the server said:\n{Path(log).read_text(errors='replace')[-3000:]}")


def stop(server):
    """End a process and its children: politely, then after ten seconds by force."""
    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=10)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait(10)


@contextlib.contextmanager
def jupyterlab(folder, python=sys.executable, **environment):
    """`agentlab lab` in the course's folder, with what is private to its user beside it; gives its address."""
    port = free_port()
    command = [python, "-m", "agentlab.cli", "lab", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={TOKEN}", "--ServerApp.allow_root=True"]
    address = f"http://127.0.0.1:{port}"
    environment = private_environment(folder, **environment)
    with running(command, f"{address}/api", folder / "lab.log", cwd=folder, env=environment):
        yield address


@contextlib.contextmanager
def jupyterlab_on_a_copy(folder):
    """JupyterLab on a copy of the course in ``folder``, so that what is saved does not change the checkout."""
    copy_of_the_course(folder)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    with jupyterlab(folder, PYTHONPATH=path) as address:
        yield address


@contextlib.contextmanager
def demo_page(folder, ready=1):
    """`agentlab demo` with kernels that wait; gives (address, the process)."""
    port = free_port()
    command = [sys.executable, "-m", "agentlab.cli", "demo", "--no-browser", f"--port={port}", f"--ready={ready}"]
    address = f"http://127.0.0.1:{port}"
    asset = f"{address}/voila/static/voila.js"  # the page itself would cost a kernel
    with running(command, asset, folder / "demo.log", 600, cwd=folder, env=private_environment(folder)) as server:
        yield address, server
