"""A browser and the servers it visits; each test file starts its own and ends them."""

import importlib.util

import pytest

from tests.conftest import loopback_is_up
from tests.ui import browser as browsers
from tests.ui import servers

HERE = str(servers.ROOT / "tests" / "ui")


def missing():
    """Why no browser test can run here, or an empty string."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install playwright (its own browsers are not needed)"
    if browsers.chromium() is None:
        return "no Chromium on this machine: apt-get install chromium, or name one in AGENTLAB_CHROMIUM"
    if not loopback_is_up():
        return "this machine cannot talk to itself (127.0.0.1), so no page can be served"
    return ""


def pytest_collection_modifyitems(items):
    ours = [item for item in items if str(item.path).startswith(HERE)]
    why = missing() if ours else ""
    for item in ours:
        item.add_marker(pytest.mark.slow)
        if why:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="module")
def browser():
    """One browser per test file: Playwright keeps an event loop running, which tests elsewhere must not meet."""
    with browsers.launched() as browser:
        yield browser


@pytest.fixture
def page(browser):
    """A fresh visitor at 1280 x 900."""
    context = browser.new_context(viewport=browsers.WIDE)
    context.set_default_timeout(browsers.PATIENCE_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the course: (address, folder)."""
    folder = tmp_path_factory.mktemp("lab")
    with servers.jupyterlab_on_a_copy(folder) as address:
        yield address, folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What the page showed when a test failed is kept as a picture."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.when == "call" and report.failed and page is not None and str(item.path).startswith(HERE):
        browsers.picture(page, f"failed-{item.name}")
    return report
