"""The chat of lesson 06 and the training monitor of lesson 03 in JupyterLab, each in a small notebook of its own."""

import json
import re

import nbformat
import pytest

from tests.ui.browser import NotebookPage, errors_of, picture, serious_findings
from tests.ui.chat import ChatPanelPage

CHAT = """
from agentlab.shop.agent import shop_agent
from agentlab.ui import ChatPanel

panel = ChatPanel(shop_agent(), ["Please cancel my order W20411.", "What does delivery to Norway cost?"])
panel.show()
"""
MONITOR = '''
import random

import torch
import transformers

from agentlab.encoding import Encoded
from agentlab.finetune import Config, Reader, fit, intent_accuracy
from agentlab.losses import IGNORE
from agentlab.ui import TrainingMonitor

rng = random.Random(0)


def message():
    """Its intent is which of the words 10, 11, 12 stands in it."""
    intent = rng.randrange(3)
    ids = [1, *(rng.randrange(20, 60) for _ in range(6)), 10 + intent]
    return Encoded(ids, [IGNORE] * len(ids), intent)


train, validation = [message() for _ in range(400)], [message() for _ in range(60)]
torch.manual_seed(0)
shape = transformers.BertConfig(
    vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=24
)
reader = Reader(transformers.BertModel(shape, add_pooling_layer=False), intents="abc")
plan = Config(epochs=2000, batch_size=8, freeze=0, precision="float32")
'''
TRAINING = """
with TrainingMonitor("A small training") as monitor:
    history = fit(reader, train, validation, plan, score=intent_accuracy, on_epoch=monitor, on_step=monitor.on_step, bar=False)
monitor.show()
"""
AFTERWARDS = """
best = max(row["score"] for row in history.epochs)
print("stopped early:", history.steps < 2000 * 50, "best kept:", abs(intent_accuracy(reader, validation) - best) < 1e-9)
"""


@pytest.fixture
def notebook(lab, page):
    """A function that writes a notebook of the given cells, opens it and runs it; gives its page and file."""
    address, folder = lab

    def run(name, *cells, wait=True):
        written = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
        kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        file = folder / "notebooks" / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=written, metadata={"kernelspec": kernel}), file)
        opened = NotebookPage(page, address, file.name)
        opened.run_menu("Run All Cells", wait=wait)
        return opened, file

    return run


def test_the_chat_panel_answers_says_what_is_behind_it_and_takes_a_yes(notebook):
    opened, file = notebook("chat", CHAT)
    chat = ChatPanelPage(opened.page)
    chat.wait_until_open()
    picture(opened.page, "lab-06-chat-opened")
    opened.page.locator(".al-example").first.click()
    chat.wait_for_replies(1)
    chat.say("olu.adeyemi@example.com")
    opened.page.locator(".al-yes").click()
    chat.wait_for_replies(3)
    assert chat.said() == ["Please cancel my order W20411.", "olu.adeyemi@example.com", "Yes"]
    assert "cancelled" in chat.replies()[-1]
    opened.page.locator(".al-trace summary").last.click()
    assert "cancel_order" in opened.page.locator(".al-trace details[open]").inner_text()
    picture(opened.page, "lab-06-chat")
    assert serious_findings(opened.page, ".al-chat") == [], "JupyterLab's own page around it is not ours"
    opened.save()
    assert errors_of(file) == []


def test_a_training_is_stopped_by_its_button_and_keeps_the_best_weights(notebook):
    opened, file = notebook("monitor", MONITOR, TRAINING, AFTERWARDS, wait=False)
    page = opened.page
    monitor = page.locator(".al-monitor")
    monitor.get_by_role("status").filter(has_text=re.compile("Epoch [4-9] is done")).wait_for()
    picture(page, "lab-03-monitor")
    figures = page.wait_for_function(
        """() => {
            const all = [...document.querySelectorAll('.al-monitor .al-figures li')];  // drawn anew several times a second
            return all.length ? all.map(one => [one.textContent, one.getBoundingClientRect().height]) : null;
        }"""
    ).json_value()
    for name in ("step", "loss", "learning rate", "examples per second", "time left"):
        assert any(text.strip().startswith(name) for text, _ in figures), name
    assert max(height for _, height in figures) < 60, "a name on one line, its figure on the next"
    assert serious_findings(page, ".al-monitor") == []
    monitor.locator(".al-stop").click()
    monitor.get_by_role("status").filter(has_text="Stopped in step").wait_for()
    opened.wait_until_idle()
    page.get_by_text("stopped early:").last.scroll_into_view_if_needed()
    picture(page, "lab-03-monitor-stopped")
    opened.save()
    assert errors_of(file) == []
    printed = "".join(
        o.get("text", "") for c in nbformat.read(file, 4).cells for o in c.outputs if o.output_type == "stream"
    )
    assert "stopped early: True best kept: True" in printed, json.dumps(printed)
