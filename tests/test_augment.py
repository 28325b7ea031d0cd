"""Typing mistakes made on purpose: they change words, and nothing that must stay."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import corpus
from agentlab.augment import add_typos, mistype, with_typos
from agentlab.corpus import Message, Span

CODES = ("order_id", "tracking_number", "email", "error_code")


@given(st.text(max_size=20), st.integers(0, 1000))
def test_a_mistyped_word_is_near_the_word(word, seed):
    new = mistype(word, random.Random(seed))
    assert abs(len(new) - len(word)) <= 2
    if len(word) < 2 or not word.isalpha():
        assert new == word
    else:
        assert new


def test_spans_move_with_the_text():
    for message in corpus.support().train[::7]:
        wrong = with_typos(message, 0.6, random.Random(message.id))
        assert wrong.intents == message.intents
        assert [s.type for s in wrong.spans] == [s.type for s in message.spans]
        for old, new in zip(message.spans, wrong.spans, strict=True):
            was, now = message.span_text(old), wrong.span_text(new)
            assert now.strip() == now, (was, now)
            assert len(was.split()) == len(now.split())
            if old.type in CODES and any(c.isdigit() or c == "@" for c in was) and " " not in was:
                assert was == now


def test_the_share_of_wrong_words_is_about_what_was_asked_for():
    messages = [m for m in corpus.support().train if len(m.text.split()) > 10][:200]
    rng = random.Random(0)
    wrong = [with_typos(m, 0.3, rng) for m in messages]
    pairs = [
        (a, b)
        for m, w in zip(messages, wrong, strict=True)
        for a, b in zip(m.text.split(), w.text.split(), strict=True)
    ]
    assert 0.15 < sum(a != b for a, b in pairs) / len(pairs) < 0.3  # short words and codes stay


def test_copies_come_after_the_messages_and_differ():
    messages = [Message("where is my headset", ("track_order",), (Span(12, 19, "product"),))] * 3
    made = add_typos(messages, 2, 0.2, seed=1)
    assert made[:3] == messages
    assert len(made) == 9
    assert all(m.text != messages[0].text for m in made[3:])
    assert made == add_typos(messages, 2, 0.2, seed=1)
    assert add_typos(messages, 0, 0.2) == messages


@pytest.mark.parametrize("text", ["", "#W20417", "12:30", "a@b.example", "www.shop.example", "é"])
def test_what_has_no_words_to_mistype_stays(text):
    assert add_typos([Message(text)], 1, 1.0)[1].text == text
