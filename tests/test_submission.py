"""Which statements of a notebook an answer needs, and what a single exercise gets."""

import json

import pytest

from agentlab import submission
from agentlab.errors import LessonError


def sliced(*cells, answer="f"):
    statements = submission.read_statements(list(cells))
    at = submission.find_answer(statements, "start.order_number", answer)
    return [submission.ast.unparse(s.node) for s in submission.needed(statements, at)]


CARD = 'ex = exercise("start.order_number")'


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["import re", "import torch", "def f(x):\n    return re.sub('a', '', x)"], ["import re", "def f(x):"]),
        (["text = slow()", "def f(text):\n    return text"], ["def f(text):"]),
        (["total = slow()", "def f(rows):\n    total = 0\n    for n in rows:\n        total += n\n    return total"],
         ["def f(rows):"]),
        (["rows = []", "def far(x):\n    rows = slow()\n    rows.append(x)", "def f():\n    return rows"], ["rows = []", "def f():"]),
        (["a = 1", "a = 2", "def f():\n    return a", "a = 3"], ["a = 2", "def f():"]),
        (["a = 1\nb = a + 1\nc = 5", "f = lambda: b"], ["a = 1", "b = a + 1", "f = lambda: b"]),
        (["def f():\n    return g()", "def g():\n    return 1"], ["def f():", "def g():"]),
        (["def f(n):\n    return n and f(n - 1)"], ["def f(n):"]),
        (["d = {}", "d['k'] = 1", "rows = []", "rows.append(2)", "def f():\n    return d, rows"],
         ["d = {}", "d['k'] = 1", "rows = []", "rows.append(2)", "def f():"]),
        (["import random", "random.seed(1)", "def f():\n    return random.random()"], ["import random", "def f():"]),
        (["k = 2", "class f:\n    size = k\n    def g(self):\n        return h(self)", "def h(x):\n    return x"],
         ["k = 2", "class f:", "def h(x):"]),
        (["%matplotlib inline\nimport re\n!pip list\nhelp?", "def f():\n    return re"], ["import re", "def f():"]),
        (["this is no Python", "def f():\n    return 1"], ["def f():"]),
        (["total = 0\nfor n in range(3):\n    total += n", "def f():\n    return total"],
         ["total = 0", "for n in range(3):", "def f():"]),
        (["size = 1", "n = 7", "for n in data():\n    if n:\n        size = n", "def f():\n    return size"],
         ["size = 1", "for n in data():", "def f():"]),
    ],
)  # fmt: skip
def test_only_what_an_answer_names_is_run(cells, wanted):
    assert [text.split("\n")[0] for text in sliced(*cells)] == wanted


@pytest.mark.parametrize(
    "cells",
    [
        [CARD, "def f():\n    return ____", "def f():\n    return 'right'"],
        ["def f():\n    return 'an older one'", CARD, "def f():\n    return 'right'", "ex.check(f)"],
        [CARD, "def f():\n    return 'right'", "f = ex.use(f)", "def f():\n    return 'later in the lesson'"],
        [CARD, "def f():\n    return 'right'", 'ex = exercise("prepare.pad_batch")', "f = 3"],
        ["def f():\n    return 'right'", CARD],
        ["if True:\n    def f():\n        return 'right'"],
    ],
)
def test_the_answer_is_the_last_one_between_its_card_and_the_next(cells):
    assert "right" in sliced(*cells)[-1]


def judged(*cells):
    return submission.judge(["from agentlab.exercises import ____, exercise", CARD, *cells], "start.order_number")


SOLVED = "def order_number(text):\n    return 'W' + ''.join(c for c in text if c.isdigit())"


@pytest.mark.parametrize(
    ("cells", "state", "message"),
    [
        ([SOLVED], "PASSED", "Right"),
        (["def order_number(text):\n    return ____"], "NOT STARTED", ""),
        (["order_number = ____"], "NOT STARTED", ""),
        (["order_number = ____ + 1"], "NOT STARTED", ""),
        ([], "NOT STARTED", "No cell defines order_number."),
        (["def order_number(text):\n    return text"], "WRONG", ""),
        (["def order_number(text):\n    return text.digits()"], "ERROR", "in line 2: `return text.digits()`"),
        (["def order_number(text)\n    return 1"], "ERROR", "The cell is not Python: expected ':', in line 1"),
        (["limit = 1 / 0", "def order_number(text):\n    return limit"], "ERROR", "in line 1: `limit = 1 / 0`"),
        (["import sys", "order_number = sys.exit()"], "ERROR", "SystemExit"),
        (["def order_number(text):\n    raise MemoryError"], "MEMORY", "MemoryError"),
    ],
)
def test_what_an_answer_gets(cells, state, message):
    result = judged(*cells)
    assert result["state"] == state, result
    assert message in result["message"]


def test_other_cells_are_not_run():
    assert judged("raise SystemExit", "open('/dev/null/no')", SOLVED)["state"] == "PASSED"


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"{}", b'{"cells": 3}', b'{"cells": [{"cell_type": "code"}]}', b"[" * 200_000])  # fmt: skip
def test_bytes_that_are_no_notebook_are_named(data):
    with pytest.raises(LessonError, match="not a readable notebook"):
        submission.code_cells(data)


def test_sources_come_as_text_or_as_lines():
    cells = [{"cell_type": "code", "source": ["a = 1\n", "b = 2"]}, {"cell_type": "markdown", "source": "x"}, {"cell_type": "code", "source": "c"}]  # fmt: skip
    assert submission.code_cells(json.dumps({"cells": cells}).encode()) == ["a = 1\nb = 2", "c"]
