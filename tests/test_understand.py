import random
import time

import pytest

from agentlab import corpus, understand
from agentlab.errors import AssetError
from agentlab.finetune import Config
from agentlab.understand import Recipe

QUICK = Recipe(Config(epochs=3, learning_rate=3e-4), copies=0)


@pytest.fixture(scope="module")
def small():
    """An understander of four intents, trained in seconds."""
    whole = corpus.support()
    keep = {"track_order", "login_problem", "product_advice", "report_fault"}
    messages = {
        name: [m for m in part if set(m.intents) <= keep and (m.intents or random.Random(m.id).random() < 0.4)]
        for name, part in whole.messages.items()
    }
    labels = corpus.Labels({k: v for k, v in whole.labels.intents.items() if k in keep}, whole.labels.span_types)
    part = corpus.SupportCorpus(labels, messages, [])
    return understand.train(QUICK, part, bar=False)[0], part


def test_messages_are_understood_far_better_than_by_chance(small):
    reader, part = small
    read = reader([m.text for m in part.test])
    right = sum(u.intent == m.intent for u, m in zip(read, part.test, strict=True)) / len(read)
    assert right > 0.8
    for u in read:
        assert 0 <= u.confidence <= 1
        assert u.confidence >= u.others[0][1] >= u.others[1][1]
        assert all(0 <= s.start < s.end <= len(u.text) and s.type in part.labels.span_types for s in u.spans)
    outside = reader([m.text for m in part.split("test", "out")])
    assert sum(u.in_scope for u in read) / len(read) > sum(u.in_scope for u in outside) / len(outside) + 0.4


def test_one_message_alone_is_understood_as_in_a_batch(small):
    reader, part = small
    texts = [m.text for m in part.test[:9]]
    together, alone = reader(texts), [reader([t])[0] for t in texts]
    assert [u.intent for u in together] == [u.intent for u in alone]
    assert [u.confidence for u in together] == pytest.approx([u.confidence for u in alone], abs=0.02)
    assert reader([]) == []


@pytest.mark.parametrize(
    "text", ["", "   ", "?", "🙂🙂", "x" * 5000, "where " * 900, "\u0000", "¿dónde está?", "<b>&amp;</b>"]
)
def test_absurd_messages_get_an_answer(small, text):
    (u,) = small[0]([text])
    assert u.text == text
    assert u.intent


def test_what_was_saved_reads_the_same_and_a_damaged_folder_is_named(small, tmp_path):
    reader, part = small
    reader.save(tmp_path)
    again = understand.Understander.read(tmp_path)
    texts = [m.text for m in part.test[:20]]
    assert [u.intent for u in again(texts)] == [u.intent for u in reader(texts)]
    assert again.threshold == reader.threshold
    began = time.perf_counter()
    understand.Understander.read(tmp_path)
    assert time.perf_counter() - began < 2
    file = tmp_path / "reader.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(AssetError, match="Delete that folder; it is made anew"):
        understand.Understander.read(tmp_path)


def test_it_is_trained_once_per_recipe_and_anew_if_damaged(small, private_cache, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(understand, "train", lambda recipe: calls.append(recipe) or (small[0], None))
    understand._load.cache_clear()
    understand.load(QUICK)
    understand._load.cache_clear()
    understand.load(QUICK)
    assert calls == [QUICK]
    assert "Fine-tuning the models that understand messages, once" in capsys.readouterr().out
    (folder,) = (p for p in private_cache.iterdir() if p.is_dir())
    (folder / "reader.json").write_text("{")
    understand._load.cache_clear()
    understand.load(QUICK)
    assert len(calls) == 2
    understand._load.cache_clear()
