"""The slides: what of a lesson they show, and that a browser shows all of it, with the keyboard and without the web."""

import re

import nbformat
import pytest

from agentlab import notebooks, slides
from agentlab.errors import UnknownName
from agentlab.lessonplan import read_sections
from tests.ui.browser import chromium, launched

NAMES = notebooks.lesson_names()


def notebook_of(name):
    return notebooks.read_notebook(notebooks.notebook_folder() / f"{name}.ipynb")


def outputs(name):
    return [o.get("data", {}) for c in notebook_of(name).cells for o in c.get("outputs", [])]


def texts(name):
    return [cell.source for cell in slides.as_slides(name).cells]


# --- what they show ---


@pytest.mark.parametrize("name", NAMES)
def test_every_section_is_a_slide_to_the_right_and_its_items_are_below(name):
    made = slides.as_slides(name).cells
    right = [cell.source for cell in made if cell.metadata["slideshow"]["slide_type"] == "slide"]
    sections = re.findall(
        r"^## (.+)$", "\n".join(c.source for c in notebook_of(name).cells if c.cell_type == "markdown"), re.M
    )
    assert right[0].startswith(f"# {name[:2]} · ")
    assert "**By the end you will have shown**" in right[0]
    assert [text.splitlines()[0] for text in right[1:]] == [f"## {s}" for s in sections if s != "Further work"]
    nbformat.validate(slides.as_slides(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_and_every_exercise_is_shown_once(name):
    shown = "\n".join(texts(name))
    assert shown.count("<figure") == sum(d.get("text/html", "").count("<figure") for d in outputs(name))
    exercises = notebooks.exercise_ids(notebook_of(name))
    assert re.findall(r"\*\*Exercise ([\w.]+) ·", shown) == exercises
    assert exercises


@pytest.mark.parametrize("name", NAMES)
def test_every_question_to_predict_is_asked_before_what_answers_it(name):
    shown = " ".join("\n".join(texts(name)).replace("**", "").split())
    asked = [prompt for section in read_sections(name)[2] for prompt in section.prompts]
    assert asked
    plain = re.sub(r"<math.*?</math>", "M", shown)
    for prompt in asked:
        words = re.sub(r"\$[^$]+\$", "M", " ".join(prompt.replace("**", "").split()))
        assert words in plain


@pytest.mark.parametrize("name", NAMES)
def test_code_stays_in_the_notebook(name):
    assert all(cell.cell_type == "markdown" for cell in slides.as_slides(name).cells)
    assert not any("import " in text and "```" in text for text in texts(name))


def test_takeaways_are_shown_in_full():
    shown = next(text for text in texts(NAMES[0]) if text.startswith("## Takeaways"))
    assert len(re.findall(r"^\d\. ", shown, re.M)) == 5


def shown_cell(*data):
    cell = nbformat.v4.new_code_cell("1")
    cell.outputs = [nbformat.v4.new_output("display_data", data=one) for one in data]
    return cell


def test_a_cell_shows_all_that_is_to_be_seen_and_what_was_recorded_below_it():
    inside = {"application/vnd.agentlab.figure+json": {"name": "f1", "value": 0.51234, "low": 0.5, "high": 0.6}}
    outside = {"application/vnd.agentlab.figure+json": {"name": "seconds", "value": 9.0, "low": 1, "high": 2}}
    items = slides.shown_by(
        shown_cell(
            {"text/html": table(2, 2)},
            {"text/html": '<figure><img alt="x" src="data:,"></figure>'},
            inside,
            outside,
            {"text/markdown": "> a customer's message"},
            {"text/markdown": "**Exercise a.b · about 3 minutes**\n\nDo it.\n\nDefine `f` in the next cell."},
            {"text/markdown": "a sentence"},
        )
    )
    assert [item.split(">")[0] for item in items] == ["<table", "<figure", "", '<p class="kind"']
    assert "Do it.\n\n<p" in items[3]
    assert items[3].endswith('<p class="measured">Recorded: f1 = 0.5123 · seconds = 9 (outside its band)</p>')


@pytest.mark.parametrize("name", NAMES)
def test_every_small_table_is_shown(name):
    tables = [d["text/html"] for d in outputs(name) if d.get("text/html", "").startswith("<table")]
    shown = "\n".join(texts(name))
    assert shown.count("<caption") == sum(slides.is_small(one) for one in tables)


def table(rows, columns, words="x"):
    row = "<tr>" + f"<td>{words}</td>" * columns + "</tr>"
    return "<table><tr>" + '<th scope="col">h</th>' * columns + "</tr>" + row * (rows - 1) + "</table>"


@pytest.mark.parametrize(
    ("written", "small"),
    [(table(9, 5), True), (table(10, 5), False), (table(9, 6), False), (table(2, 2, "x" * 60), True), (table(2, 2, "x" * 61), False)],
)  # fmt: skip
def test_a_table_is_shown_if_the_last_row_of_a_room_can_read_it(written, small):
    assert slides.is_small(written) is small


def test_a_long_paragraph_is_cut_between_sentences():
    text = "A first sentence. " + "A second one that is rather long, and goes on. " * 10
    cut = slides.shortened(text)
    assert cut.endswith("goes on.")
    assert 250 < len(cut) <= slides.LEAD_CHARACTERS


@pytest.mark.parametrize("text", ["- a list", "1. a list", "| a | table |", "> a quotation", "```\ncode\n```"])
def test_only_running_text_leads_a_slide(text):
    assert slides.shortened(text) == ""


def test_a_lesson_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UnknownName, match="lesson '77'"):
        slides.write_slides(["77"], tmp_path)


# --- in a browser ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("slides")
    assert [page.stem for page in slides.write_slides(None, out)] == NAMES
    return out


@pytest.fixture(scope="module")
def browser():
    if chromium() is None:
        pytest.skip("no Chromium on this machine; set AGENTLAB_CHROMIUM to a browser's program")
    with launched() as found:
        yield found


@pytest.fixture
def show(browser, folder):
    """Open a lesson's slides; fails on any error in the page and on any request to elsewhere."""
    contexts, troubles = [], []

    def go(name, width=1280, height=800, scheme="light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:")) else troubles.append(f"from the web: {r.url}"),
        )
        page.goto((folder / f"{name}.html").as_uri())
        page.wait_for_function("Reveal.isReady()")
        return page

    yield go
    for context in contexts:
        context.close()
    assert troubles == []


EXTENT = """() => {
  const boxes = [...Reveal.getCurrentSlide().querySelectorAll("*")].map(e => e.getBoundingClientRect());
  return {right: Math.max(...boxes.map(b => b.right)), bottom: Math.max(...boxes.map(b => b.bottom)),
          size: Reveal.getCurrentSlide().style.fontSize, title: Reveal.getCurrentSlide().innerText.slice(0, 60),
          broken: [...Reveal.getCurrentSlide().querySelectorAll("img")].filter(i => !i.naturalWidth || !i.alt).length};
}"""


@pytest.mark.parametrize("name", NAMES)
def test_the_space_bar_leads_through_every_slide_and_all_of_it_is_on_the_screen(show, name):
    page = show(name)
    seen = 1
    while not page.evaluate("Reveal.isLastSlide()"):
        page.keyboard.press("Space")
        seen += 1
        extent = page.evaluate(EXTENT)
        assert extent["right"] <= 1280, extent
        assert extent["bottom"] <= 800, extent
        assert not extent["broken"], extent
        assert int(extent["size"].strip("%") or 100) >= 70, extent  # still legible
        assert seen < 500
    assert seen == page.evaluate("Reveal.getTotalSlides()") == len(slides.as_slides(name).cells)


def test_arrows_go_to_the_right_and_down(show):
    page = show(NAMES[0])
    page.keyboard.press("ArrowRight")
    assert page.evaluate("Reveal.getIndices().h") == 1
    page.keyboard.press("ArrowDown")
    assert page.evaluate("Reveal.getIndices().v") == 1
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("Reveal.getIndices().h") == 0


def test_the_slides_are_dark_where_the_reader_wants_dark(show):
    page = show(NAMES[0], scheme="dark")
    paper, ink = page.evaluate("[document.querySelector('.reveal-viewport'), document.querySelector('.reveal h1')]"
                               ".map((e, n) => getComputedStyle(e)[n ? 'color' : 'backgroundColor'])")  # fmt: skip
    assert max(map(int, re.findall(r"\d+", paper))) < 60
    assert min(map(int, re.findall(r"\d+", ink))) > 200


def test_the_licence_of_reveal_lies_beside_it(folder):
    assert "Hakim El Hattab" in (folder / "reveal" / "LICENSE").read_text()
    assert "MIT licensed" in (folder / "reveal" / "reveal.js").read_text()[:200]
