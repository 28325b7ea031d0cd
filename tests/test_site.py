"""The website: every page, link and picture is there, nothing comes from the web, and a browser shows it in both themes."""

import re

import pytest

from agentlab import home, notebooks, site
from agentlab.errors import AgentLabError
from tests.ui.browser import chromium, launched

NAMES = notebooks.lesson_names()
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # what MyST still asks Sphinx for


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return site.build_site(tmp_path_factory.mktemp("site") / "course").parent


@pytest.fixture(scope="module")
def browser():
    if chromium() is None:
        pytest.skip("no Chromium on this machine; set AGENTLAB_CHROMIUM to a browser's program")
    with launched() as found:
        yield found


@pytest.fixture
def visit(browser, folder):
    """Open a page from the folder in a window of some width and theme; fails on any error or request to elsewhere."""
    contexts, troubles = [], []

    def go(name, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:")) else troubles.append(f"from the web: {r.url}"),
        )
        page.goto((folder / name).as_uri() if "?" not in name else f"{folder.as_uri()}/{name}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert troubles == []


# --- what is built ---


@pytest.mark.parametrize("page", ["index", "teaching", "data", *NAMES])
def test_each_lesson_and_each_text_is_a_page(folder, page):
    text = (folder / f"{page}.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<h1", text)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_page_shows_what_the_notebook_shows(folder, name):
    text = (folder / f"{name}.html").read_text(encoding="utf-8")
    notebook = notebooks.read_notebook(notebooks.notebook_folder() / f"{name}.ipynb")
    outputs = [o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])]
    assert (
        text.count("data:image/png;base64,") == sum(d.get("text/html", "").count("data:image/png") for d in outputs) > 0
    )
    assert text.count("<caption") == sum(d.get("text/html", "").count("<caption") for d in outputs) > 0
    assert "math notranslate" not in text  # where MathJax would come in
    assert (folder / "notebooks" / f"{name}.ipynb").read_bytes() == (
        notebooks.notebook_folder() / f"{name}.ipynb"
    ).read_bytes()


def test_links_pictures_and_anchors_lead_somewhere_and_nothing_is_loaded_from_the_web(folder):
    assert site.link_problems(folder) == []


def test_every_page_leads_to_every_lesson(folder):
    for page in folder.glob("*.html"):
        links = set(re.findall(r'href="(\w+)\.html"', page.read_text(encoding="utf-8"))) | {page.stem}
        assert links >= set(NAMES), page.name


def test_no_path_of_this_machine_is_in_the_site(folder, tmp_path):
    for page in [*folder.glob("*.html"), folder / "searchindex.js"]:
        text = re.sub(r'src="data:[^"]*"', "", page.read_text(encoding="utf-8"))
        assert str(notebooks.ROOT) not in text
        assert str(tmp_path.parent) not in text


def test_a_site_built_again_replaces_the_old_one_and_a_folder_of_yours_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(AgentLabError, match="holds other files"):
        site.build_site(tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "dear"


# --- links ---


@pytest.fixture
def pages(tmp_path):
    def write(body):
        (tmp_path / "a.html").write_text(f'<h1 id="top">A</h1>{body}')
        (tmp_path / "b.html").write_text('<p id="there">B</p>')
        return site.link_problems(tmp_path)

    return write


@pytest.mark.parametrize("link", ["b.html", "b.html#there", "#top", "https://example.org/x", "mailto:a@example.org"])
def test_a_link_that_leads_somewhere_is_no_problem(pages, link):
    assert pages(f'<a href="{link}">x</a>') == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="c.html">x</a>', "a.html: c.html"),
        ('<a href="b.html#nowhere">x</a>', "a.html: no nowhere in b.html"),
        ('<a href="#nowhere">x</a>', "a.html: no nowhere in a.html"),
        ('<img src="no.png">', "a.html: no.png"),
        ('<img src="https://example.org/x.svg">', "a.html loads https://example.org/x.svg"),
        ('<script src="//cdn.example.org/x.js"></script>', "a.html loads //cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "a.html loads https://example.org/x.css"),
    ],
)
def test_a_link_or_a_load_that_fails_is_named(pages, body, problem):
    assert pages(body) == [problem]


def test_a_link_to_a_file_without_a_page_becomes_its_words():
    from pathlib import Path

    text = "See [the licence](../LICENSE), [the README](../README.md#commands) and `[not](this)`."
    assert (
        site.page_links(text, Path("notebooks"))
        == "See the licence, [the README](index.md#commands) and `[not](this)`."
    )


@pytest.mark.parametrize("address", ["", "https://github.com/anna/agents"])
def test_a_page_names_colab_where_it_can_be_opened_and_never_loads_its_picture(monkeypatch, address):
    monkeypatch.setattr(home, "REPOSITORY", address)
    notebook = notebooks.read_notebook(notebooks.notebook_folder() / f"{NAMES[0]}.ipynb")
    site.as_page(notebook, NAMES[0])
    head = notebook.cells[0].source
    assert ("[Open in Colab](https://colab.research.google.com/github/anna" in head) == bool(address)
    assert "colab-badge" not in head
    assert "Upload" not in head
    assert f'href="notebooks/{NAMES[0]}.ipynb"' in head


def test_what_sphinx_warns_of_stops_the_build(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "index.md").write_text("# One\n\n[x](nowhere.md)\n")
    for folder in ("_static", "_extra", "_templates"):
        (tmp_path / "source" / folder).mkdir()
    (tmp_path / "source" / "_templates" / "pages.html").write_text("")
    with pytest.raises(AgentLabError, match="nowhere"):
        site.run_sphinx(tmp_path / "source", tmp_path / "built")


# --- in a browser ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_both_themes(visit, scheme):
    page = visit(f"{NAMES[0]}.html", scheme=scheme)
    assert page.locator("html").get_attribute("data-theme") == scheme
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for words in ("article p", "article .cell_output td", "article .cell_output caption b", "article pre"):
        ink = page.locator(words).first.evaluate("e => getComputedStyle(e).color")
        own = page.locator(words).first.evaluate(
            "e => { while (e && /, 0\\)$|transparent/.test(getComputedStyle(e).backgroundColor)) e = e.parentElement;"
            " return getComputedStyle(e || document.body).backgroundColor; }"
        )
        assert contrast(ink, own or paper) >= 4.5, (words, ink, own)


def contrast(a, b):
    """The ratio of contrast of two CSS colours, after the Web Content Accessibility Guidelines."""

    def light(colour):
        parts = [int(float(x)) / 255 for x in re.findall(r"[\d.]+", colour)[:3]]
        r, g, b = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    bright, dark = sorted((light(a), light(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_what_cells_show_stands_on_the_page_s_own_paper_in_the_dark(visit):
    page = visit(f"{NAMES[0]}.html", scheme="dark")
    papers = page.locator(".output.text_html").evaluate_all("all => all.map(e => getComputedStyle(e).backgroundColor)")
    assert set(papers) == {"rgba(0, 0, 0, 0)"}


def test_the_theme_can_be_switched_by_hand(visit):
    page = visit("index.html")
    page.locator(".theme-switch-button").first.click()
    page.get_by_text("Dark", exact=True).first.click()
    assert page.locator("html").get_attribute("data-theme") == "dark"


@pytest.mark.parametrize(("name", "scheme"), [("index", "light"), (NAMES[0], "dark")])
def test_assistive_technology_finds_nothing_wrong(visit, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": ["wcag2a", "wcag2aa"], "preload": False}  # a preload is a request, which files do not answer
    found = Axe().run(visit(f"{name}.html", scheme=scheme), options=options)
    said = [(v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found.response["violations"]]
    assert said == []
    assert {"color-contrast", "html-has-lang", "image-alt"} <= {rule["id"] for rule in found.response["passes"]}


@pytest.mark.parametrize("name", ["index", *NAMES])
def test_a_phone_shows_a_page_without_scrolling_sideways(visit, name):
    page = visit(f"{name}.html", width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_search_finds_a_lesson_by_a_word_in_it(visit):
    page = visit("search.html?q=softmax")
    page.wait_for_selector("#search-results li a")
    assert any(
        "02_derive_the_loss" in link.get_attribute("href") for link in page.locator("#search-results li a").all()
    )


def test_formulas_are_drawn(visit):
    page = visit("02_derive_the_loss.html")
    boxes = page.locator("math[display=block]").evaluate_all("all => all.map(m => m.getBoundingClientRect().height)")
    assert len(boxes) > 10
    assert min(boxes) > 12
    fraction = page.locator("mfrac").first
    top, bottom = (fraction.locator(f":nth-child({n})").first.bounding_box()["y"] for n in (1, 2))
    assert top < bottom  # not two letters in a row


def test_the_next_lesson_is_one_click_away(visit):
    page = visit(f"{NAMES[0]}.html")
    page.locator(".prev-next-area .right-next").click()
    assert page.url.endswith(f"{NAMES[1]}.html")
