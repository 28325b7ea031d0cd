"""One look: contrast in light and dark, rules that touch nothing else, and errors that are shown."""

import re
import subprocess
import sys

import pytest

from agentlab.errors import AgentLabError
from agentlab.ui import Panel, panel, theme

SETS = [pytest.param(theme.LIGHT, id="light"), pytest.param(theme.DARK, id="dark")]


@pytest.mark.parametrize("colours", SETS)
def test_text_has_a_contrast_of_4_5_on_every_ground_it_stands_on(colours):
    for ink in theme.INKS:
        for ground in ("page", "mine", "theirs"):
            assert theme.contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert theme.contrast(colours["on"], colours["blue"]) >= 4.5  # the main button


@pytest.mark.parametrize("colours", SETS)
def test_lines_and_focus_have_a_contrast_of_3(colours):
    for line in ("line", "blue"):
        assert theme.contrast(colours[line], colours["page"]) >= 3


def test_contrast_is_that_of_wcag():
    assert theme.contrast("#777777", "#ffffff") == 4.48  # the standard example of just too little
    assert theme.contrast("#ffffff", "#777777") == 4.48


def test_the_style_sheet_changes_nothing_but_our_own():
    selectors = [s.strip() for rule in re.findall(r"([^{}]+)\{", theme.css()) for s in rule.split(",")]
    assert selectors
    for selector in selectors:
        last = selector.split()[-1] if selector.endswith(".al") else selector
        assert last.startswith(".al"), selector


def test_every_colour_that_is_used_is_defined_in_both():
    used = set(re.findall(r"var\(--al-(\w+)\)", theme.css()))
    assert used <= theme.LIGHT.keys()
    assert theme.LIGHT.keys() == theme.DARK.keys()


# --- errors in callbacks ---


class Broken(Panel):
    def build(self):
        return []

    @panel.guarded
    def press(self, error):
        if error:
            raise error
        return "done"


@pytest.fixture
def broken():
    made = Broken()
    assert made.widget
    return made


def test_a_message_to_the_learner_is_shown_and_no_fault(broken):
    broken.press(AgentLabError("give <two> numbers"))
    assert broken._status.value == (
        '<div role="status" aria-live="polite" aria-atomic="true" class="al-fault">That did not work: give &lt;two&gt; numbers</div>'
    )
    assert broken.press(None) == "done"


def test_a_fault_of_ours_is_shown_kept_and_raised(broken, a_fault_is_expected):
    error = KeyError("x")
    with pytest.raises(KeyError):
        broken.press(error)
    assert "it is not your fault (KeyError" in broken.said
    assert a_fault_is_expected == [error]


def test_an_interrupt_is_shown_as_one(broken):
    broken.press(KeyboardInterrupt())
    assert broken.said == "That was stopped."


def test_a_fault_in_a_callback_fails_its_test(tmp_path):
    test = tmp_path / "test_it.py"
    test.write_text(
        "import ipywidgets\nfrom agentlab.ui import ChatPanel\n"
        "from tests.ui_widgets.conftest import no_faults_in_callbacks\n"
        "from tests.ui_widgets.test_chat import Odd, the\n"
        "def test_click():\n    panel = ChatPanel(Odd(KeyError('x')))\n    panel.widget\n"
        "    the(panel, 'al-input').unobserve_all()\n    the(panel, 'al-input').value = 'hello'\n    the(panel, 'al-send').click()\n"
    )
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert "1 passed, 1 error" in done.stdout, done.stdout
    assert "faults == []" in done.stdout


def test_the_widgets_need_no_torch():
    code = "import sys, agentlab.ui; print('torch' in sys.modules, 'ipywidgets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
