import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import assets, corpus, encoding
from agentlab.corpus import Span
from agentlab.errors import AgentLabError

TAGS = ("O", "B-product", "I-product", "B-person", "I-person")


def test_word_piece_agrees_with_the_real_tokenizer():
    _, tokenizer = assets.load_encoder()
    vocabulary = tokenizer.get_vocab()
    words = {w for m in corpus.support().train for w in m.text.lower().split() if w.isalpha() and w.isascii()}
    assert len(words) > 1000
    assert all(encoding.word_piece(w, vocabulary) == tokenizer.tokenize(w) for w in words)
    assert encoding.word_piece("ü", {"u"}) == ["[UNK]"]


def test_labels_decode_back_to_the_spans():
    """Every span of every training message comes back from its BIO labels, up to the pieces' edges."""
    _, tokenizer = assets.load_encoder()
    tags = corpus.support().labels.bio_tags
    for message in corpus.support().split("train", "all"):
        batch = tokenizer(message.text, return_offsets_mapping=True)
        labels = encoding.align_labels(message.spans, batch["offset_mapping"], tags)
        assert labels[0] == labels[-1] == encoding.IGNORE
        found = []
        for label, (start, end) in zip(labels, batch["offset_mapping"], strict=True):
            tag = "O" if label == encoding.IGNORE else tags[label]
            if tag[0] == "B":
                found.append([start, end, tag[2:]])
            elif tag[0] == "I":
                found[-1][1] = end
        assert [s for _, _, s in found] == [s.type for s in message.spans], message
        for (start, end, _), span in zip(found, message.spans, strict=True):
            assert start <= span.start
            assert span.end <= end, message.markup()


def test_neighbouring_spans_of_one_type_stay_two():
    labels = encoding.align_labels([Span(0, 3, "person"), Span(4, 7, "person")], [(0, 0), (0, 3), (4, 7), (0, 0)], TAGS)
    assert labels == [-100, 3, 3, -100]


def test_encode_and_collate():
    _, tokenizer = assets.load_encoder()
    messages = corpus.support().split("train", "all")[:7]
    tags, intents = corpus.support().labels.bio_tags, list(corpus.support().labels.intents)
    items = encoding.encode(messages, tokenizer, tags, intents)
    batch = encoding.collate(items, tokenizer.pad_token_id)
    assert (
        batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape == (7, max(map(len, items)))
    )
    for row, item in enumerate(items):
        assert batch["attention_mask"][row].sum() == len(item)
        assert (batch["labels"][row, len(item) :] == encoding.IGNORE).all()
        assert batch["input_ids"][row, : len(item)].tolist() == item.ids
    assert encoding.collate(items, pad_to=128)["input_ids"].shape == (7, 128)
    with pytest.raises(AgentLabError, match="do not fit into pad_to=2"):
        encoding.collate(items, pad_to=2)
    with pytest.raises(AgentLabError, match="empty"):
        encoding.encode([], tokenizer, tags, intents)


def test_long_messages_are_cut_and_out_of_scope_is_ignored():
    _, tokenizer = assets.load_encoder()
    items = encoding.encode([corpus.Message("word " * 500)], tokenizer, TAGS, ["x"], max_tokens=32)
    assert len(items[0]) == 32
    assert items[0].intent == encoding.IGNORE


@given(st.lists(st.integers(1, 90), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3))
def test_buckets_hold_every_index_once(lengths, size, seed):
    batches = list(encoding.length_buckets(lengths, size, seed, batches_per_pool=3))
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size
    assert batches == list(encoding.length_buckets(lengths, size, seed, batches_per_pool=3))


def test_buckets_waste_less_and_change_with_the_seed():
    lengths = [5 + (i * 37) % 60 for i in range(640)]
    plain = [list(range(i, i + 16)) for i in range(0, 640, 16)]
    buckets = list(encoding.length_buckets(lengths, 16))
    assert encoding.wasted_share(lengths, buckets) < encoding.wasted_share(lengths, plain) / 3
    assert encoding.wasted_share(lengths, plain) < encoding.wasted_share(lengths, plain, pad_to=128)
    assert buckets != list(encoding.length_buckets(lengths, 16, seed=1))
    with pytest.raises(AgentLabError, match="at least 1"):
        list(encoding.length_buckets(lengths, 0))
