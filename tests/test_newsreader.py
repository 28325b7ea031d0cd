"""The model that reads news: its heads, its loss, both sides of a text, and reading in columns."""

import numpy as np
import pytest
import torch

from agentlab import assets, finetune, heads, news, newsreader
from agentlab.errors import AgentLabError
from agentlab.losses import IGNORE

TWO = {"tone": ("good", "bad", "neither"), "topic": ("deals", "people")}


@pytest.fixture(scope="module")
def reader():
    return newsreader.load()  # the quick one, trained once for these data


# --- heads ---


def test_each_head_has_a_softmax_of_its_own_and_the_losses_add_up():
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 5), torch.tensor([[0, 1], [2, 0], [1, 1], [0, 0], [2, 1], [1, 0]])
    alone = [
        torch.nn.functional.cross_entropy(logits[:, a:b], targets[:, n], reduction="sum")
        for n, (a, b) in enumerate(((0, 3), (3, 5)))
    ]
    assert heads.heads_loss(logits, targets, TWO) == pytest.approx(float(sum(alone)))


def test_a_value_that_is_not_known_teaches_nothing():
    logits = torch.randn(2, 5, requires_grad=True)
    heads.heads_loss(logits, torch.tensor([[0, IGNORE], [IGNORE, IGNORE]]), TWO).backward()
    assert logits.grad[0, :3].abs().sum() > 0
    assert logits.grad[0, 3:].abs().sum() == 0
    assert logits.grad[1].abs().sum() == 0


def test_what_is_told_becomes_numbers_and_what_is_left_out_is_ignored():
    tokenizer = assets.load_encoder()[1]
    items = heads.encode(["one", "two"], [{"tone": "neither", "topic": "people"}, {"topic": "deals"}], TWO, tokenizer, 16)  # fmt: skip
    assert [i.targets for i in items] == [(2, 1), (IGNORE, 0)]
    assert heads.encode([], [], TWO, tokenizer, 16) == []


def test_a_saved_reader_comes_back_and_a_damaged_file_is_found_out(tmp_path):
    saved, path = heads.new_reader(TWO, seed=1), tmp_path / "reader.safetensors"
    heads.save(saved, TWO, path)
    again, names, _ = heads.load(path)
    assert names == TWO
    assert heads.is_sound(path)
    weights = saved.intent_head.weight
    assert torch.equal(again.intent_head.weight, weights.to(torch.bfloat16).float())
    path.write_bytes(path.read_bytes()[:5000])
    assert not heads.is_sound(path)


def test_there_is_nothing_to_learn_from_an_empty_list():
    with pytest.raises(finetune.TrainingError, match="There is nothing to train on"):
        newsreader.train(newsreader.QUICK, learn=[], check=[], bar=False)


# --- reading ---


def test_a_text_is_read_once_for_every_company_that_it_names(reader):
    two, none, one = reader(["Halvern drops Voltamere for cheaper cells", "Rates stay where they are", "HLVN up"])
    assert [r.company for r in two] == ["HLVN", "VTMR"]
    assert [r.company for r in none] == [""]
    assert [r.company for r in one] == ["HLVN"]
    assert reader([]) == []


def test_the_name_itself_changes_nothing_and_the_side_does(reader):
    text = "{} loses its biggest customer to {}"
    one, other = reader.from_side([text.format("Halvern", "Quillon"), text.format("Merrowbank", "Skarholm")], ["HLVN", "MRWB"])  # fmt: skip
    assert (one.sentiment, one.topic, one.sentiment_sure) == (other.sentiment, other.topic, other.sentiment_sure)
    p = reader.probabilities([text.format("Halvern", "Quillon")] * 2, ["HLVN", "QLSC"])["sentiment"]
    assert not np.allclose(p[0], p[1])


def test_a_company_that_nobody_listed_is_read_as_the_markets_news(reader):
    told = reader.told(["Nobody has heard of Umbrafax, whose shares collapse after huge losses"])[0]
    assert not [subject for subject in (*told.bad, *told.calm) if subject.startswith("company")]


@pytest.mark.parametrize("text", ["", " ", "🙂", "x" * 5000, "\x00", "Halvern " * 400])
def test_odd_texts_are_read_as_well(reader, text):
    found = reader([text])[0]
    assert found[0].sentiment in news.SENTIMENTS
    assert 0 < found[0].topic_sure <= 1


def test_what_counts_of_a_text_is_how_probable_it_is(reader):
    text = "Halvern drops Voltamere for cheaper cells"
    (told,) = reader.told([text])
    p = reader.probabilities([text] * 2, ["HLVN", "VTMR"])
    negative = p["sentiment"][:, news.SENTIMENTS.index("negative")]
    assert told.bad["company HLVN"] == pytest.approx(negative[0], abs=0.02)
    assert told.calm["company VTMR"] == pytest.approx(1 - negative[1], abs=0.02)
    topics = {subject: p for subject, p in told.bad.items() if subject.startswith("topic")}
    assert sum(topics.values()) == pytest.approx(negative.max(), abs=0.02)
    assert sum(w for s, w in told.calm.items() if s.startswith("topic")) == pytest.approx(1 - negative.max(), abs=0.02)
    assert reader.told([]) == []


def test_even_the_quick_model_beats_the_word_list_and_knows_topics(reader):
    items = news.load_news("validation")
    scores = reader.scores(items)
    from agentlab.evaluate import macro_f1

    lexicon = macro_f1([i.sentiment for i in items], newsreader.by_lexicon([i.text for i in items]))
    assert scores["sentiment"] > lexicon + 0.1
    assert scores["topic"] > 0.55


def test_the_word_floor_learns_from_the_train_part_alone():
    items = news.load_news("validation")
    guess = newsreader.by_words(news.load_news("train"), items, "topic")
    assert len(guess) == len(items)
    assert np.mean([g == i.topic for g, i in zip(guess, items, strict=True)]) > 0.4


def test_an_empty_list_is_read_as_nothing():
    assert newsreader.by_lexicon([]) == []


# --- columns ---


def test_columns_say_the_same_as_readings_and_keep_what_was_there(reader):
    texts = [i.text for i in news.load_news("test")][:60]
    batch = {"text": np.array(texts, dtype=object), "place": np.arange(60)}
    told = newsreader.read_columns(batch, reader)
    first = [found[0] for found in reader(texts)]
    assert told["place"].tolist() == list(range(60))
    assert told["company"].tolist() == [r.company for r in first]
    assert np.mean([a == r.topic for a, r in zip(told["topic"], first, strict=True)]) > 0.98
    assert np.mean([a == r.sentiment for a, r in zip(told["sentiment"], first, strict=True)]) > 0.98
    assert told["negative"].dtype == np.float32
    assert set(batch) == {"text", "place"}


def test_a_batch_without_texts_says_what_it_has(reader):
    with pytest.raises(AgentLabError, match=r"The batch has no column `text`; it has headline, place\."):
        newsreader.read_columns({"headline": np.array([]), "place": np.array([])}, reader)


def test_nothing_to_read_has_no_speed(reader):
    with pytest.raises(AgentLabError, match="There is nothing to read"):
        newsreader.measure_speed(reader, [])
    with pytest.raises(AgentLabError, match="There is nothing to read"):
        newsreader.read_with_ray([])


def test_batches_are_read_faster_than_single_texts(reader):
    texts = [i.text for i in news.load_news("test")][:128]
    batched, single = newsreader.measure_speed(reader, texts, 64), newsreader.measure_speed(reader, texts[:32], 1)
    assert batched.texts == 128
    assert batched.per_second > 1.3 * single.per_second
