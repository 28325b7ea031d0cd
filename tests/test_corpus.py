import json
import random
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import corpus
from agentlab.errors import AgentLabError, DataError, UnknownName

LABELS = """\
intents: {cancel_order: wants it stopped, track_order: asks where it is}
spans:
  product: {coarse: Sales, description: what was bought}
  person: {coarse: Customer, description: a name}
"""
CANCEL = """\
version: "3.1"
nlu:
- intent: cancel_order
  examples: |
    - stop the [blue kettle](product) please
    - I have changed my mind about everything
"""


@pytest.fixture
def folder(tmp_path):
    """A small corpus without mistakes."""
    root = tmp_path / "support"
    (root / "intents").mkdir(parents=True)
    (root / "labels.yml").write_text(LABELS)
    (root / "intents" / "cancel_order.yml").write_text(CANCEL)
    corpus.write_splits(root)
    return root


def add(folder, text, name="more.yml", intent="track_order"):
    path = folder / "intents" / name
    path.write_text(f'version: "3.1"\nnlu:\n- intent: {intent}\n  examples: |\n    - {text}\n')
    return path


# --- mark-up ---


@pytest.mark.parametrize("line", ["[a [b](x) c](y)", "a [b](x", "a b](x) c", "a [b] c", "[a](x y)"])
def test_broken_markup_is_refused_with_file_and_line(line):
    with pytest.raises(DataError, match=r"file\.yml:3: "):
        corpus.parse_markup(line, "file.yml", 3)


plain = st.text(
    st.characters(codec="utf-8", exclude_characters="[]()", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1
)


@given(st.lists(st.tuples(plain, st.sampled_from(["", "product", "person"])), min_size=1, max_size=8))
def test_markup_survives_the_way_there_and_back(pieces):
    line = "".join(f"[{text}]({kind})" if kind else text for text, kind in pieces)
    text, spans = corpus.parse_markup(line)
    assert text == "".join(t for t, _ in pieces)
    assert [(text[s.start : s.end], s.type) for s in spans] == [(t, k) for t, k in pieces if k]
    assert corpus.Message(text, spans=spans).markup() == line


# --- the shipped corpus ---


def test_the_shipped_corpus_has_no_mistakes():
    assert [str(mistake) for mistake in corpus.check_support()] == []


def test_the_shipped_corpus_is_as_large_as_promised():
    support = corpus.support()
    single = [m for m in support.everything if len(m.intents) == 1]
    per_intent = {name: sum(m.intent == name for m in single) for name in support.labels.intents}
    assert len(per_intent) >= 24
    assert min(per_intent.values()) >= 60, min(per_intent, key=per_intent.get)
    out = [m for m in support.everything if not m.intents]
    assert len(out) >= 250
    assert 0.4 <= sum(m.kind == "near" for m in out) / len(out) <= 0.65
    assert sum(len(m.intents) == 2 for m in support.everything) >= 120
    assert len({s.type for m in single for s in m.spans}) >= 12
    assert set(support.labels.span_types.values()) == {"Customer", "Sales", "Support"}


def test_the_challenge_set_is_labelled_by_kind_and_apart():
    support = corpus.support()
    assert {m.kind for m in support.challenge} == {"typos", "slang", "negation", "long_story", "non_native", "sarcasm"}
    assert not {m.id for m in support.challenge} & {m.id for m in support.everything}


def test_every_intent_is_in_every_part_and_validation_and_test_share_alike():
    support = corpus.support()
    for name in support.labels.intents:
        train, validation, test = (sum(m.intent == name for m in support.split(part)) for part in corpus.SPLITS)
        assert train > 4 * validation, name  # the messages that were written later are all in train
        share = corpus.SHARES["validation"] / (corpus.SHARES["validation"] + corpus.SHARES["test"])
        assert abs(validation / (validation + test) - share) < 0.05, (name, validation, test)


def test_no_group_of_near_duplicates_stands_in_two_parts():
    support = corpus.support()
    parts = [(m, name) for name in corpus.SPLITS for m in support.messages[name]]
    groups = corpus.near_duplicate_groups([m.text for m, _ in parts])
    pairs = {(group, name) for group, (_, name) in zip(groups, parts, strict=True)}
    assert len(pairs) == len(set(groups))


def test_the_floor_leaves_room():
    support = corpus.support()
    floor = corpus.measure_floor(support.train, support.test)
    print(
        f"floor on test: accuracy {floor.accuracy:.3f}, macro F1 {floor.macro_f1:.3f}, majority {floor.majority_accuracy:.3f}"
    )
    assert floor.majority_accuracy < 0.1 < floor.accuracy <= 0.88


def test_messages_are_not_slots_filled_in():
    """Blank the spans and digits: hardly any two messages of an intent may then be alike, nor begin alike."""
    support = corpus.support()
    for name in support.labels.intents:
        skeletons = []
        for m in (m for m in support.everything if m.intents == (name,)):
            text = m.text
            for span in sorted(m.spans, reverse=True):
                text = text[: span.start] + "_" + text[span.end :]
            skeletons.append(corpus.normalize(text))
        long_ones = [s for s in skeletons if len(s.split()) > 3]
        assert len(set(long_ones)) >= 0.99 * len(long_ones), name
        assert len(corpus.near_duplicate_pairs(long_ones)) < 0.1 * len(long_ones), name
        openings = {" ".join(s.split()[:4]) for s in long_ones}
        assert len(openings) > 0.8 * len(long_ones), name


# --- the checker ---


def test_a_sound_corpus_passes(folder):
    assert corpus.check_support(folder) == []
    assert len(corpus.load_support(folder).everything) == 2


@pytest.mark.parametrize(
    ("text", "intent", "what"),
    [
        ("where is it now", "track_ordr", "Unknown intent 'track_ordr'. Did you mean 'track_order'"),
        ("where is my [lamp](produkt)", "track_order", "Unknown span type 'produkt'. Did you mean 'product'"),
        ("where is [my [lamp](product)](person)", "track_order", "overlapping spans"),
        ("where is my [lamp ](product) now", "track_order", "begins or ends in a space"),
        ("", "track_order", "an empty message"),
        ("where is my \ufffd lamp", "track_order", "bad encoding"),
        ("stop the blue kettle please", "track_order", "an exact duplicate of intents/cancel_order.yml:5"),
        ("STOP the blue  kettle, please!", "cancel_order", "an exact duplicate"),
        ("a message that nobody has placed yet", "track_order", "in no split"),
    ],
)
def test_the_checker_names_file_and_line(folder, text, intent, what):
    path = add(folder, text, intent=intent)
    found = [m for m in corpus.check_support(folder) if what in str(m)]
    assert found, [str(m) for m in corpus.check_support(folder)]
    assert (found[0].file, found[0].line) == (str(path), 5)


def test_near_duplicates_across_splits_are_found(folder):
    add(folder, "I have changed my mind about everythin", intent="cancel_order")
    corpus.write_splits(folder)
    assert corpus.check_support(folder) == []  # kept together
    rows = (folder / "splits.csv").read_text().splitlines()
    near = corpus.Message("I have changed my mind about everythin").id
    where = next(row for row in rows if row.startswith(near)).split(",")[1]
    other = "test" if where != "test" else "train"
    (folder / "splits.csv").write_text(
        "\n".join(r.replace(where, other) if r.startswith(near) else r for r in rows) + "\n"
    )
    assert any("a near-duplicate" in str(m) and "across splits" in str(m) for m in corpus.check_support(folder))


def test_new_messages_can_all_go_to_training_and_the_old_ones_stay(folder):
    before = corpus.read_splits(folder / "splits.csv")
    path = add(folder, "stop everything now")
    path.write_text(path.read_text() + "".join(f"    - {word} is what I want\n" for word in "red green blue".split()))
    corpus.write_splits(folder, new="train")
    after = corpus.read_splits(folder / "splits.csv")
    assert {i: after[i][0] for i in before} == {i: split for i, (split, _) in before.items()}
    assert {split for i, (split, _) in after.items() if i not in before} == {"train"}
    with pytest.raises(UnknownName, match="'train'"):
        corpus.write_splits(folder, new="trian")


def test_bytes_that_are_not_utf8_are_named_with_their_line(folder):
    (folder / "intents" / "bad.yml").write_bytes(b'version: "3.1"\nnlu:\n- intent: track_order # caf\xe9\n')
    assert any("bad.yml:3: byte 0xe9 is not UTF-8" in str(m) for m in corpus.check_support(folder))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("nlu: [", "malformed YAML"),
        ("just words", "expected a list `nlu`"),
        ("nlu:\n- examples: |\n    - hello there\n", "an entry needs `intent`"),
        ("nlu:\n- intent: track_order\n  examples: [a, b]\n", "must be a block of lines"),
        ("nlu:\n- intent: track_order\n  examples: |\n    where is it\n", "must begin with '- '"),
    ],
)
def test_malformed_files_are_named(folder, content, what):
    (folder / "intents" / "bad.yml").write_text(content)
    mistakes = [str(m) for m in corpus.check_support(folder)]
    assert any("bad.yml" in m and what in m for m in mistakes), mistakes


@pytest.mark.parametrize(
    "content", ["", "a,b,c\n", "message_id,split,group\nx,trian,1\n", "message_id,split,group\nx,train,one\n"]
)
def test_a_broken_split_file_is_named(folder, content):
    (folder / "splits.csv").write_text(content)
    assert "splits.csv" in str(corpus.check_support(folder)[0])


def test_labels_need_a_coarse_group(folder):
    (folder / "labels.yml").write_text("intents: {a: b}\nspans: {product: {coarse: Sale}}\n")
    assert "one of Customer, Sales, Support" in str(corpus.check_support(folder)[0])


def test_a_split_of_a_message_that_is_gone_is_named(folder):
    with open(folder / "splits.csv", "a") as file:
        file.write("0123456789,train,99\n")
    assert any("splits.csv:4: message 0123456789 does not exist" in str(m) for m in corpus.check_support(folder))


def test_a_missing_folder_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"labels\.yml: this file is missing"):
        corpus.load_support(tmp_path)
    monkeypatch.setenv("AGENTLAB_DATA", str(tmp_path))
    (tmp_path / "support").mkdir()
    assert corpus.data_folder() == tmp_path


def test_unknown_splits_and_scopes_are_refused():
    with pytest.raises(UnknownName, match="Did you mean 'train'"):
        corpus.support().split("trian")
    with pytest.raises(UnknownName, match="scope"):
        corpus.support().split("train", "some")


# --- splits ---


@given(st.lists(st.integers(0, 40), min_size=60, max_size=200), st.integers(0, 5))
def test_groups_are_never_torn(groups, seed):
    labels = [f"intent {g % 3}" for g in groups]
    split = corpus.assign_splits(labels, groups, seed)
    assert len({(g, s) for g, s in zip(groups, split, strict=True)}) == len(set(groups))
    assert split == corpus.assign_splits(labels, groups, seed)


@given(st.lists(st.integers(0, 40), min_size=60, max_size=120), st.integers(0, 40))
def test_new_messages_move_no_old_one(groups, more):
    labels = [f"intent {g % 3}" for g in groups]
    old = corpus.assign_splits(labels, groups)
    wider = [*groups, *range(100, 100 + more), groups[0]]
    now = corpus.assign_splits([*labels, *["intent 0"] * more, labels[0]], wider, before=[*old, *[""] * (more + 1)])
    assert now[: len(old)] == old
    assert now[-1] == old[0]  # a new near-duplicate goes where its group is
    assert set(now) <= set(corpus.SPLITS)


def test_a_message_that_joins_two_splits_takes_both_out_of_the_test():
    assert corpus.assign_splits(["a"] * 3, [0, 0, 0], before=["test", "train", ""]) == ["train"] * 3


def test_near_duplicate_groups_join_chains():
    texts = ["where is my blue parcel", "where is my blue parcel now", "stop it", "where is my blue parcel now??"]
    a, b, c, d = corpus.near_duplicate_groups(texts)
    assert a == b == d != c


# --- external sets ---


def test_banking77_from_a_folder(tmp_path):
    (tmp_path / "train.csv").write_text('text,category\n"I lost, yes lost, my card",lost_card\nhello,hi\n')
    (tmp_path / "test.csv").write_text("text,category\nwhere is it,track\n")
    loaded = corpus.load_banking77(tmp_path)
    assert loaded.splits["train"][0] == ("I lost, yes lost, my card", "lost_card")
    assert loaded.intents == ["hi", "lost_card", "track"]


@pytest.mark.parametrize(
    "content", ["", "a,b\n", "text,category\nonly one cell\n", "text,category\n,x\n", "text,category\n"]
)
def test_broken_csv_is_named(tmp_path, content):
    (tmp_path / "train.csv").write_text(content)
    (tmp_path / "test.csv").write_text("text,category\na,b\n")
    with pytest.raises(DataError, match=r"train\.csv"):
        corpus.load_banking77(tmp_path)


def test_clinc150_from_a_folder(tmp_path):
    rows = {"train": [["a b", "x"]], "val": [["c", "y"]], "test": [["d", "x"]]}
    rows |= {"oos_train": [["e", "oos"]], "oos_val": [], "oos_test": [["f", "oos"]]}
    (tmp_path / "data_full.json").write_text(json.dumps(rows))
    loaded = corpus.load_clinc150(tmp_path)
    assert loaded.splits["train"] == [("a b", "x"), ("e", corpus.OUT_OF_SCOPE)]
    assert loaded.intents == ["x", "y"]


@pytest.mark.parametrize("content", ["{", "[]", '{"train": []}', '{"train": [["a"]], "val": [], "test": []}'])
def test_broken_json_is_named(tmp_path, content):
    (tmp_path / "data_full.json").write_text(content)
    with pytest.raises(DataError, match=r"data_full\.json"):
        corpus.load_clinc150(tmp_path)


def test_a_hub_name_without_the_hub_is_one_sentence():
    with pytest.raises(AgentLabError, match="no/such-set"):
        corpus.load_banking77("no/such-set")


def test_a_copied_corpus_reads_the_same(tmp_path):
    shutil.copytree(corpus.data_folder() / "support", tmp_path / "support")
    rng = random.Random(0)
    copy, original = corpus.load_support(tmp_path / "support"), corpus.support()
    assert [m.id for m in rng.sample(copy.train, 5)] == [m.id for m in random.Random(0).sample(original.train, 5)]
