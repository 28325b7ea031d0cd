"""From logits to tokens, against transformers' own logits processors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentlab.decoding import (
    Decoding,
    LanguageError,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    next_probabilities,
    penalise,
    pick,
    soften,
)

LOGITS = st.lists(st.integers(-300, 300), min_size=2, max_size=30, unique=True).map(lambda x: torch.tensor(x) / 16)


def filtered_by_transformers(processor, logits):
    return torch.softmax(processor(torch.empty(1, 0, dtype=torch.long), logits[None].clone())[0], 0)


@given(LOGITS, st.floats(0.05, 0.99))
def test_top_p_keeps_what_transformers_keeps(logits, p):
    from transformers import TopPLogitsWarper

    ours = keep_top_p(torch.softmax(logits, 0), p)
    theirs = filtered_by_transformers(TopPLogitsWarper(p), logits)
    total = torch.softmax(logits, 0).sort(descending=True).values.cumsum(0)
    if (total - p).abs().min() > 1e-5:  # where the sum just reaches p, rounding decides
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@given(LOGITS, st.integers(1, 40))
def test_top_k_keeps_what_transformers_keeps(logits, k):
    from transformers import TopKLogitsWarper

    ours = keep_top_k(torch.softmax(logits, 0), k)
    torch.testing.assert_close(ours, filtered_by_transformers(TopKLogitsWarper(k), logits), atol=1e-6, rtol=1e-4)


@given(LOGITS, st.floats(0.01, 0.99))
def test_min_p_keeps_what_transformers_keeps(logits, share):
    from transformers import MinPLogitsWarper

    p = torch.softmax(logits, 0)
    if ((p / p.max()) - share).abs().min() > 1e-5:
        ours = keep_min_p(p, share)
        torch.testing.assert_close(
            ours, filtered_by_transformers(MinPLogitsWarper(share), logits), atol=1e-6, rtol=1e-4
        )


@given(LOGITS, st.floats(0.5, 2), st.lists(st.integers(0, 1), max_size=4))
def test_the_penalty_is_that_of_transformers(logits, penalty, seen):
    from transformers import RepetitionPenaltyLogitsProcessor

    theirs = logits
    if seen:
        theirs = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([seen]), logits[None].clone())[0]
    torch.testing.assert_close(penalise(logits, seen, penalty), theirs)


@given(LOGITS, st.floats(0.1, 5))
def test_every_setting_gives_probabilities(logits, temperature):
    p = next_probabilities(logits, Decoding(temperature=temperature, top_k=5, top_p=0.9, min_p=0.05))
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    assert p.argmax() == logits.argmax()


def test_temperature_zero_takes_the_first_of_the_largest():
    logits = torch.tensor([1.0, 3.0, 3.0])
    assert soften(logits, 0).tolist() == [0, 1, 0]
    assert pick(logits, Decoding()) == 1


def test_the_same_seed_draws_the_same_and_each_token_about_as_often_as_it_is_probable():
    logits, decoding = torch.log(torch.tensor([0.7, 0.2, 0.1])), Decoding(temperature=1.0)

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return [pick(logits, decoding, generator=generator) for _ in range(2000)]

    first = draw(1)
    assert first == draw(1) != draw(2)
    assert [first.count(n) / 2000 for n in range(3)] == pytest.approx([0.7, 0.2, 0.1], abs=0.04)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("max_tokens", 0, "at least 1"),
        ("temperature", -1, "0 or more"),
        ("top_p", 0, "above 0 and at most 1"),
        ("min_p", 1, "at least 0 and below 1"),
        ("repetition_penalty", 0, "above 0"),
        ("seconds", 0, "None or above 0"),
        ("stop", ("",), "made of strings that are not empty"),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(field, value, rule):
    with pytest.raises(LanguageError) as error:
        Decoding(**{field: value})
    assert str(error.value) == f"{field} is {value!r}; it must be {rule}."


def test_beams_and_a_temperature_do_not_go_together():
    with pytest.raises(LanguageError, match="leave temperature at 0"):
        Decoding(beams=2, temperature=0.5)


def test_one_stop_string_may_be_given_without_a_tuple():
    assert Decoding(stop="\n").stop == ("\n",)
