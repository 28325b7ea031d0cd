import pandas as pd
import pytest

from agentlab import show
from agentlab.corpus import Span
from agentlab.errors import AgentLabError


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would get."""
    outputs = []
    monkeypatch.setattr(show, "emit", outputs.append)
    return outputs


def test_outside_a_notebook_the_text_is_printed(capsys):
    show.say("The floor is **0.5**.")
    assert capsys.readouterr().out == "The floor is **0.5**.\n"


def test_a_figure_has_alt_text_and_is_closed(shown):
    import matplotlib.pyplot as plt

    figure, ax = show.new_figure()
    ax.plot([1, 2])
    show.show_figure(figure, alt='Line chart of "y" over x: it rises from one to two.', caption="<Rising>")
    assert 'alt="Line chart of &quot;y&quot; over x' in shown[0]["text/html"]
    assert "&lt;Rising&gt;" in shown[0]["text/html"]
    assert plt.get_fignums() == []


def test_a_figure_without_alt_text_is_refused_and_closed(shown):
    import matplotlib.pyplot as plt

    figure, _ = show.new_figure()
    with pytest.raises(AgentLabError, match="chart type, the axes and the finding"):
        show.show_figure(figure, alt="a chart")
    assert plt.get_fignums() == []


def test_a_table_has_a_caption_and_is_escaped(shown):
    show.show_table([{"a<b": "<script>", "n": 0.12345}], "Some & such")
    page = shown[0]["text/html"]
    assert "<caption" in page
    assert "Some &amp; such" in page
    assert "<script>" not in page
    assert "0.123" in page
    show.show_table(pd.DataFrame({"x": [1]}, index=["row"]), "By frame")
    assert "row" in shown[1]["text/html"]


@pytest.mark.parametrize(("rows", "caption"), [([], "x"), ([{"a": 1}], " ")])
def test_a_table_needs_rows_and_a_caption(rows, caption):
    with pytest.raises(AgentLabError, match="at least one row and a caption"):
        show.show_table(rows, caption)


def test_shows_error_shows_the_expected_one_only(shown):
    with show.shows_error(ValueError):
        raise ValueError("<no>")
    assert "ValueError: &lt;no&gt;" in shown[0]["text/html"]
    with pytest.raises(KeyError), show.shows_error(ValueError):
        raise KeyError("x")
    with pytest.raises(AgentLabError, match="expected to raise ValueError"), show.shows_error(ValueError):
        pass


def test_spans_are_underlined_named_and_escaped(shown):
    show.highlight_spans("a <b> lamp", [Span(6, 10, "product")])
    assert "a &lt;b&gt; " in shown[0]["text/html"]
    assert "lamp</mark><sub> product" in shown[0]["text/html"]
    assert "product: 'lamp'" in shown[0]["text/plain"]


def test_the_map_is_a_figure_with_alt_text(shown):
    alt = "Diagram with two boxes: data on the left leads to the agent."
    show.draw_map({"data": (0, 0), "agent": (1, 0)}, [(0, 1)], alt=alt)
    assert alt in shown[0]["text/html"]
