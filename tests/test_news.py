"""Financial news: the data, who is meant in a text, the parts, and what a broken file is told."""

import shutil
from collections import Counter, defaultdict

import pytest

from agentlab import corpus, news
from agentlab.errors import AgentLabError, DataError, UnknownName

HEAD = ",".join(news.COLUMNS)
GOOD = "2026-02-09T08:40,wire,HLVN,sales,positive,,Halvern sells more cars"


@pytest.fixture(scope="module")
def items():
    return news.load_news()


@pytest.fixture(scope="module")
def companies():
    return news.load_companies()


@pytest.fixture
def folder(tmp_path):
    """A copy of the data with one file of items, which a test may break."""
    copy = tmp_path / "finance"
    shutil.copytree(news.finance_folder(), copy, ignore=shutil.ignore_patterns("items", "splits.csv"))
    (copy / "items" / "plain").mkdir(parents=True)
    (copy / "items" / "plain" / "one.csv").write_text(f"{HEAD}\n{GOOD}\n", encoding="utf-8")
    return copy


# --- the data ---


def test_there_are_enough_items_of_every_topic_and_sentiment(items):
    assert len(items) >= 900
    assert set(news.load_labels()["topics"]) == {i.topic for i in items}
    for sentiment in news.SENTIMENTS:
        assert sum(i.sentiment == sentiment for i in items) >= 300
    for part in ("train", "validation", "test", "challenge"):
        assert min(Counter(i.topic for i in news.load_news(part)).values()) >= 20


def test_stories_do_not_leak_between_the_parts():
    parts = {part: {i.story for i in news.load_news(part) if i.story} for part in ("train", "validation", "test")}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]
    assert not parts["validation"] & parts["test"]


def test_no_text_stands_in_two_parts(items):
    where = defaultdict(set)
    for part in news.PARTS:
        for item in news.load_news(part):
            where[item.text.casefold()].add(part)
    assert [text for text, parts in where.items() if len(parts) > 1] == []


def test_no_row_is_there_twice_and_none_says_two_things_of_one_company(items):
    said = Counter((i.text, i.company) for i in items)
    assert [key for key, n in said.items() if n > 1] == []


def test_the_company_of_an_item_is_named_in_it(items, companies):
    unnamed = [i for i in items if i.company and i.company not in news.find_companies(i.text, companies)]
    assert [f"{i.file}:{i.line}: {i.text}" for i in unnamed] == []


def test_the_challenge_part_holds_hard_items_and_the_test_part_none():
    assert {i.register for i in news.load_news("challenge")} == {"hard"}
    assert {i.register for i in news.load_news("test")} == {"plain"}


def test_every_event_has_items_of_its_company_and_its_days(items):
    events = news.load_events()
    assert len(events) >= 12
    for event in events:
        told = [i for i in items if i.story == event.id]
        assert len(told) >= 8, event.id
        assert all(event.first <= i.time.date() <= event.last for i in told), event.id
        if event.company:
            assert {i.company for i in told} == {event.company}
        if event.kind == "busy":
            assert not any(i.sentiment == "negative" for i in told)


# --- what is refused, and how ---


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(UnknownName, match="Did you mean 'test'"):
        news.load_news("tets")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2026-02-09T08:40,wire,HLVM,sales,positive,,More cars", r"one\.csv:2: .*Unknown company 'HLVM'. Did you mean 'HLVN'"),
        ("2026-02-09T08:40,wire,HLVN,sale,positive,,More cars", "Unknown topic 'sale'. Did you mean 'sales'"),
        ("2026-02-09T08:40,wire,HLVN,sales,good,,More cars", "Unknown sentiment 'good'"),
        ("2026-02-09T08:40,press,HLVN,sales,positive,,More cars", "Unknown source 'press'"),
        ("yesterday,wire,HLVN,sales,positive,,More cars", "'yesterday' is no time.*2026-02-09T08:40"),
        ("2026-02-09T08:40,wire,HLVN,sales,positive,,Cars, and more", "expected 7 cells, found 8.*Quote a text with commas"),
        ("2026-02-09T08:40,wire,HLVN,sales,positive,, ", "an item without text"),
        ('2026-02-09T08:40,wire,HLVN,sales,positive,,"Cars" and', "malformed CSV"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_named_with_its_line(folder, row, what):
    (folder / "items" / "plain" / "one.csv").write_text(f"{HEAD}\n{row}\n", encoding="utf-8")
    with pytest.raises(DataError, match=what):
        news.read_items(folder)


def test_a_file_without_the_right_head_is_refused(folder):
    (folder / "items" / "plain" / "one.csv").write_text(f"time,text\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"one\.csv:1: .*the first line must be time,source"):
        news.read_items(folder)


def test_a_folder_without_items_is_refused(tmp_path, folder):
    shutil.rmtree(folder / "items")
    with pytest.raises(DataError, match="no items"):
        news.read_items(folder)


def test_an_item_that_is_in_no_part_says_how_to_place_it(folder):
    (folder / "splits.csv").write_text("message_id,split,group\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"in no part.*python -m agentlab\.news splits"):
        news.load_news("train", folder)


def test_items_are_placed_and_keep_their_part(folder):
    assert sum(news.write_splits(folder).values()) == 1
    before = corpus.read_splits(folder / "splits.csv")
    more = f"{HEAD}\n{GOOD}\n2026-02-10T08:40,wire,VTMR,legal,negative,,Voltamere is sued over patents\n"
    (folder / "items" / "plain" / "one.csv").write_text(more, encoding="utf-8")
    assert sum(news.write_splits(folder).values()) == 2
    after = corpus.read_splits(folder / "splits.csv")
    assert {id: after[id][0] for id in before} == {id: part for id, (part, _) in before.items()}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("HLVN: {name: Halvern}\n", "HLVN needs `name` and `sector`"),
        ("- Halvern\n", "expected a table of tickers"),
        ("AAA: {name: Alfa, sector: cars}\nBBB: {name: Beta, also: [alfa], sector: cars}\n", "are both called 'alfa'"),
    ],
)
def test_companies_that_cannot_be_told_apart_are_refused(folder, text, what):
    (folder / "companies.yml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=what):
        news.load_companies(folder)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x: {kind: surge, topic: sales}\n", "x needs kind, topic, first, last and what"),
        ("x: {kind: wave, topic: sales, first: 2026-02-01, last: 2026-02-02, what: w}\n", "unknown kind, topic or company"),
        ("x: {kind: busy, topic: sales, first: 2026-02-03, last: 2026-02-02, what: w}\n", "the first not after the last"),
    ],
)  # fmt: skip
def test_a_malformed_event_is_named(folder, text, what):
    (folder / "events.yml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=what):
        news.load_events(folder)


# --- who is meant ---


def test_companies_are_found_by_name_ticker_and_in_any_case(companies):
    assert news.find_companies("$HLVN up, halvern motors says; QUILLON too", companies) == ["HLVN", "QLSC"]
    assert news.find_companies("Halverns and Quillonites sing", companies) == []
    assert news.find_companies("", companies) == []
    assert news.find_companies("Halvern", {}) == []


def test_a_text_is_seen_from_the_side_of_the_company_that_is_meant(companies):
    text = "Halvern wins the contract that Quillon Semiconductors lost"
    assert news.masked(text, "HLVN", companies) == "the company wins the contract that another company lost"
    assert news.masked(text, "QLSC", companies) == "another company wins the contract that the company lost"


def test_the_same_news_in_other_words_shares_a_group(companies):
    def item(text, **more):
        return news.News(text, **{"company": "HLVN", "topic": "sales", "sentiment": "positive", **more})

    items = [
        item("Halvern sells out in a week"),
        item("No car left at Halvern after seven days"),  # same company, topic and sentiment
        item("Voltamere sells out in a week", company="VTMR", sentiment="negative"),  # the first, but for the name
        item("Merrowbank grows in the north", company="MRWB", topic="earnings"),
        item("A flaw opens banks", company="", topic="cyber", story="s"),
        item("Customers of Merrowbank wait", company="MRWB", topic="cyber", story="s"),  # one story
    ]
    groups = news.story_groups(items, companies)
    assert groups[0] == groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len({groups[0], groups[3], groups[4]}) == 3


# --- Financial PhraseBank's shape ---


@pytest.fixture
def phrases(tmp_path):
    (tmp_path / "Sentences_AllAgree.txt").write_bytes("Orders rose .@positive\n\nA caf\xe9 opens @ noon .@neutral\n".encode("latin-1"))  # fmt: skip
    (tmp_path / "Sentences_66Agree.txt").write_text("Orders rose .@positive\nThe plant was shut .\n")
    (tmp_path / "Sentences_50Agree.txt").write_text("\n")
    return tmp_path


def test_phrasebank_is_read_with_the_level_of_agreement(phrases):
    assert news.load_phrasebank(phrases) == [("Orders rose .", "positive"), ("A café opens @ noon .", "neutral")]


@pytest.mark.parametrize(
    ("agreement", "what"),
    [
        ("66", r"Sentences_66Agree\.txt:2: .*expected sentence@sentiment, found 'The plant was shut \.'"),
        ("50", "no sentences"),
        ("75", r"Sentences_75Agree\.txt.*missing.*Unpack the data set there"),
        ("most", "Unknown agreement level 'most'.*50, 66, 75, all"),
    ],
)
def test_a_phrasebank_that_does_not_fit_is_named(phrases, agreement, what):
    with pytest.raises(AgentLabError, match=what):
        news.load_phrasebank(phrases, agreement)


def test_a_hub_name_without_a_network_asks_for_a_folder():
    with pytest.raises(AgentLabError, match=r"no-such/phrasebank.*(Give a folder|pip install datasets)"):
        news.load_phrasebank("no-such/phrasebank")


def test_the_fingerprint_of_the_data_names_what_a_model_was_trained_on(folder):
    before = corpus.fingerprint(folder)
    (folder / "items" / "plain" / "one.csv").write_text(f"{HEAD}\n{GOOD} and vans\n", encoding="utf-8")
    assert corpus.fingerprint(folder) != before


def test_the_readme_says_how_many_items_each_part_has():
    readme = (corpus.data_folder() / "README.md").read_text(encoding="utf-8")
    for part in news.PARTS:
        items = news.load_news(part)
        kinds = " | ".join(str(sum(i.sentiment == s for i in items)) for s in news.SENTIMENTS)
        assert f"| {part} | {len(items)} | {kinds} | {sum(i.register == 'hard' for i in items)} |" in readme
