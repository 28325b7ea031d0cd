"""Formulas as MathML: well-formed, complete for the lessons, and safe inside Markdown."""

import re
import xml.etree.ElementTree as ET

import pytest

from agentlab import notebooks
from agentlab.errors import LessonError
from agentlab.mathml import FENCES, in_markdown, to_mathml

SPACE = "{http://www.w3.org/1998/Math/MathML}"


def tree(tex, block=False):
    return ET.fromstring(to_mathml(tex, block).replace("&ApplyFunction;", "\u2061"))


def texts(tex):
    return [node.text for node in tree(tex).iter() if node.text]


def test_a_fraction_has_its_two_parts():
    fraction = tree(r"\frac{a}{b}").find(f"{SPACE}mfrac")
    assert [part.text for part in fraction] == ["a", "b"]


def test_a_formula_of_its_own_line_says_so():
    assert tree("x", block=True).get("display") == "block"
    assert tree("x").get("display") is None


@pytest.mark.parametrize("tex", [r"\big(x\big)", r"\Big[x\Big]", r"\bigg\{x\bigg\}", r"\bigl(x\bigr)"])
def test_sized_brackets_open_and_close(tex):
    brackets = [node for node in tree(tex).iter(f"{SPACE}mo") if node.get("minsize")]
    assert len(brackets) == 2


def test_a_function_name_stands_apart_from_a_letter_and_not_from_a_bracket():
    assert len(list(tree(r"y\log p").iter(f"{SPACE}mspace"))) == 2
    assert len(list(tree(r"\log(p)").iter(f"{SPACE}mspace"))) == 0


def test_dots_are_dots():
    assert texts(r"x_1,\dots,x_t").count("…") == 1


def test_an_unknown_command_is_an_error_that_names_formula_and_command():
    with pytest.raises(LessonError, match=r"formula 'x \\\\nosuch y' cannot be drawn.*nosuch"):
        to_mathml(r"x \nosuch y")


def test_markdown_with_a_formula_keeps_the_words_around_it():
    written = in_markdown("the loss $x_1$ and\nthe sum $$a+b$$ end")
    assert re.sub(r"<math.*?</math>", "M", written) == "the loss M and\nthe sum M end"


@pytest.mark.parametrize("text", ["`$x$`", "```\n$x$\n```", "it costs $5 and $6", r"a \$ sign$", "$ x $"])
def test_code_and_prices_are_no_formulas(text):
    assert in_markdown(text) == text


def test_a_formula_may_go_over_a_line_and_not_over_a_paragraph():
    assert "<math" in in_markdown("$a\n+b$")
    assert in_markdown("$a\n\n+b$") == "$a\n\n+b$"


def test_signs_of_a_formula_are_no_mark_up():
    import mistune

    written = mistune.create_markdown(escape=False)(in_markdown("$a^*b^*_{c}[x]$"))
    assert "<em>" not in written
    assert written.count("<math") == 1


@pytest.mark.parametrize("name", notebooks.lesson_names())
def test_every_formula_of_a_lesson_can_be_drawn(name):
    notebook = notebooks.read_notebook(notebooks.notebook_folder() / f"{name}.ipynb")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            written = in_markdown(cell.source)
            assert "$" not in "".join(FENCES.split(written)[::2])
            for formula in re.findall(r"<math.*?</math>", written):
                ET.fromstring(formula)
