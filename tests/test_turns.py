"""Turns: the data, what the reader makes of them, and what is refused."""

import pytest
import torch

from agentlab import heads, turns
from agentlab.corpus import OUT_OF_SCOPE
from agentlab.errors import DataError
from agentlab.finetune import TrainingError
from agentlab.losses import IGNORE
from agentlab.turns import HEADS, QUESTIONS, Turn


@pytest.fixture(scope="module")
def reader():
    return turns.load()


def test_the_shipped_turns_are_many_and_each_stands_once():
    shipped = turns.load_turns()
    assert len({t.say.strip().lower() for t in shipped}) == len(shipped) >= 2000
    parts = [turns.load_turns(part) for part in turns.PARTS]
    assert sum(map(len, parts)) == len(shipped)
    assert min(map(len, parts)) > 150
    for head, values in HEADS.items():
        for value in values:
            assert sum(t.told.get(head) == value for t in shipped) >= 100, (head, value)


def test_the_shipped_wishes_are_read_with_their_spans_and_the_intents_of_a_conversation():
    wishes = turns.load_wishes()
    assert {"list_orders", "account_details", "goodwill", "complaint", OUT_OF_SCOPE} <= {m.intent for m in wishes}
    assert sum(len(m.spans) for m in wishes) > 700


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("- {after: confirm}", "needs `say`"),
        ('- {say: " ", after: confirm}', "needs `say`"),
        ("- {say: yes please, after: confrim}", "Did you mean"),
        ("- {say: yes please, answer: maybe}", "answer: maybe is no label"),
        ("- {say: hm, mood: bad}", "mood: bad is no label"),
        ("- just a text", "needs `say`"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_entry(tmp_path, entry, complaint):
    (tmp_path / "turns_x.yml").write_text(f"- {{say: fine}}\n{entry}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"turns_x\.yml, entry 2") as error:
        turns.load_turns(folder=tmp_path)
    assert complaint in str(error.value)


def test_a_folder_without_turns_says_so(tmp_path):
    with pytest.raises(DataError, match="no turns"):
        turns.load_turns(folder=tmp_path)


def test_an_alarm_that_nobody_looked_for_is_not_known(tmp_path):
    (tmp_path / "turns.yml").write_text("- {say: fine}\n- {say: it smokes, alarm: danger}\n", encoding="utf-8")
    fine, smokes = turns.load_turns(folder=tmp_path)
    assert "alarm" not in fine.told
    assert fine.told["answer"] == "none"
    assert smokes.told["alarm"] == "danger"


def test_unknown_heads_do_not_count_in_the_loss():
    logits = torch.zeros(1, sum(map(len, HEADS.values())))
    known = torch.zeros(1, len(HEADS), dtype=torch.long)
    nothing = torch.full((1, len(HEADS)), IGNORE)
    expected = sum(torch.log(torch.tensor(float(len(v)))) for v in HEADS.values())
    assert torch.isclose(heads.heads_loss(logits, known, HEADS), expected)
    assert heads.heads_loss(logits, nothing, HEADS) == 0


def test_there_must_be_something_to_learn():
    with pytest.raises(TrainingError, match="nothing to train on"):
        heads.HeadsTraining(HEADS, heads.new_reader(HEADS), [])


def test_the_reader_hears_plain_turns(reader):
    assert reader("Yes, please go ahead.", "confirm").told["answer"][0] == "yes"
    assert reader("No, please don't.", "confirm").told["answer"][0] == "no"
    assert reader("Where is my order W20417?").told["answer"][0] == "none"


def test_even_the_quick_reader_is_far_above_guessing(reader):
    held_out = turns.load_turns("validation")
    read = reader.read_all(held_out)
    for head in ("answer", "reason", "solution"):
        told = [(t.told[head], r.told[head][0]) for t, r in zip(held_out, read, strict=True)]
        some = [(a, b) for a, b in told if a != "none"]
        assert sum(a == b for a, b in some) / len(some) > 0.5, head


def test_whatever_is_said_gets_a_reading(reader):
    for text in ("", " ", "\u0000", "🙂" * 400, "x" * 20_000):
        for kind in QUESTIONS:
            reading = reader(text, kind)
            assert set(reading.told) == set(HEADS)
            assert all(0 <= p <= 1 for _, p in reading.told.values())
    assert reader.read_all([]) == []


def test_one_by_one_and_together_are_the_same(reader):
    some = [Turn("yes", "confirm"), Turn("it does not turn on any more, I want my money back", "opening")]
    alone = [reader(t.say, t.after).told for t in some]
    for one, many in zip(alone, reader.read_all(some), strict=True):
        assert all(one[h][0] == many.told[h][0] and abs(one[h][1] - many.told[h][1]) < 0.05 for h in HEADS)
