"""Language tools over NLTK, spaCy and Transformers, for a model to call and for people to use.

Each tool takes plain text and gives plain data. What it needs is loaded once, at the first call. Those that end in ``_all``
are for many texts at once, through ``nlp.pipe`` or batched tensors, and are no tools but functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from agentlab import assets, understand
from agentlab.toolkit import Retry, Toolbox, tool

Text = Annotated[str, Field(min_length=1, max_length=10_000)]
READ_BY_MODEL = 4000  # characters that the language model reads in a second or two
SHAPES = {
    "order_id": [[{"TEXT": "#", "OP": "?"}, {"TEXT": {"REGEX": r"^[Ww]?\d{5}$"}}]],
    "amount": [
        [{"TEXT": {"IN": ["€", "$", "£"]}}, {"LIKE_NUM": True}],
        [{"LIKE_NUM": True}, {"LOWER": {"IN": ["€", "eur", "euro", "euros", "usd", "dollars", "gbp", "pounds"]}}],
        [{"TEXT": {"REGEX": r"^(€|\$|£)\d+([.,]\d+)?$|^\d+([.,]\d+)?(€|\$|£)$"}}],
    ],
    "date": [
        [{"TEXT": {"REGEX": r"^\d{4}-\d{2}-\d{2}$"}}],
        [{"TEXT": {"REGEX": r"^\d{1,2}(st|nd|rd|th)?$"}}, {"LOWER": "of", "OP": "?"}, {"LOWER": {"IN": "january february march april may june july august september october november december".split()}}],
        [{"LOWER": {"IN": ["last", "next", "this"]}, "OP": "?"}, {"LOWER": {"IN": "monday tuesday wednesday thursday friday saturday sunday".split()}}],
        [{"LOWER": {"IN": ["today", "yesterday", "tomorrow"]}}],
    ],
    "email": [[{"LIKE_EMAIL": True}]],
}  # fmt: skip


# --- NLTK ----------------------------------------------------------------------------------------------------


@tool
def split_sentences(text: Text) -> list[str]:
    """Cut a text into sentences (NLTK's Punkt).

    Args:
        text: the text
    """
    return list(assets.load_sentence_tokenizer().tokenize(text))


@tool
def split_words(text: Text) -> list[str]:
    """Cut a text into words and punctuation marks (NLTK's Treebank rules).

    Args:
        text: the text
    """
    return _words(text)


@tool
def tag_words(text: Text) -> list[dict]:
    """Say the part of speech of each word, as Penn Treebank tags (NLTK's averaged perceptron).

    Args:
        text: the text
    """
    return [{"word": word, "tag": tag} for word, tag in assets.load_tagger().tag(_words(text))]


@tool
def stem_words(text: Text) -> list[dict]:
    """Reduce each word to its stem (NLTK's Snowball stemmer), so that returned and returning meet.

    Args:
        text: the text
    """
    stemmer = assets.load_nltk().stem.SnowballStemmer("english")
    return [{"word": word, "stem": stemmer.stem(word)} for word in _words(text) if word.isalpha()]


@tool
def find_collocations(texts: list[Text], top: Annotated[int, Field(ge=1, le=50)] = 10) -> list[dict]:
    """Find pairs of words that stand side by side more often than chance (NLTK, likelihood ratio).

    Args:
        texts: several texts, the more the better
        top: how many pairs
    """
    nltk = assets.load_nltk()
    finder = nltk.collocations.BigramCollocationFinder.from_documents(
        [[w.lower() for w in _words(t) if w.isalpha()] for t in texts]
    )
    finder.apply_freq_filter(2)
    scored = finder.score_ngrams(nltk.collocations.BigramAssocMeasures.likelihood_ratio)[:top]
    return [{"pair": " ".join(pair), "score": round(score, 2)} for pair, score in scored]


@tool
def score_sentiment(text: Text) -> dict:
    """Score how positive or negative a text sounds, from -1 to 1 (VADER, a lexicon: no irony, no context).

    Args:
        text: the text
    """
    scores = assets.load_sentiment().polarity_scores(text)
    return {"score": scores["compound"], **{k: scores[k[:3]] for k in ("positive", "neutral", "negative")}}


# --- spaCy ---------------------------------------------------------------------------------------------------


@tool
def find_entities(text: Text) -> list[dict]:
    """Find names of people, places, organisations, dates and sums of money (spaCy).

    Args:
        text: the text
    """
    return find_entities_all([text])[0]


def find_entities_all(texts: Sequence[str]) -> list[list[dict]]:
    """`find_entities` for many texts at once."""
    docs = assets.load_spacy().pipe(texts, disable=["parser", "lemmatizer"])
    return [
        [{"text": e.text, "type": e.label_, "start": e.start_char, "end": e.end_char} for e in d.ents] for d in docs
    ]


@tool
def find_lemmas(text: Text) -> list[dict]:
    """Say the dictionary form of each word (spaCy): is for are, order for orders.

    Args:
        text: the text
    """
    return [{"word": t.text, "lemma": t.lemma_} for t in assets.load_spacy()(text) if not t.is_space]


@tool
def parse_sentences(text: Text) -> list[dict]:
    """Say for each word which word it depends on and how (spaCy's dependency parser).

    Args:
        text: the text
    """
    return [{"word": t.text, "relation": t.dep_, "head": t.head.text} for t in assets.load_spacy()(text) if not t.is_space]  # fmt: skip


@tool
def find_noun_phrases(text: Text) -> list[str]:
    """Find the noun phrases of a text (spaCy), such as my new kettle.

    Args:
        text: the text
    """
    return [chunk.text for chunk in assets.load_spacy()(text).noun_chunks]


@tool
def find_shapes(text: Text) -> list[dict]:
    """Find order numbers, sums of money, dates and e-mail addresses by their shape (spaCy's rule matcher).

    Args:
        text: the text
    """
    nlp, matcher = assets.load_spacy(), _matcher()
    doc = nlp.make_doc(text)
    spans = [(doc.vocab.strings[kind], doc[start:end]) for kind, start, end in matcher(doc)]
    found, taken = [], set()
    for kind, span in sorted(spans, key=lambda x: -len(x[1])):  # the longest first; what overlaps it is dropped
        if not taken & set(range(span.start, span.end)):
            taken |= set(range(span.start, span.end))
            found.append({"text": span.text, "type": kind, "start": span.start_char, "end": span.end_char})
    return sorted(found, key=lambda f: f["start"])


# --- Transformers --------------------------------------------------------------------------------------------


@tool
def read_message(text: Text) -> dict:
    """Understand a customer's message: intent, how sure, whether it is the shop's business, and its spans (fine-tuned).

    Args:
        text: the customer's message
    """
    return read_message_all([text])[0]


def read_message_all(texts: Sequence[str]) -> list[dict]:
    """`read_message` for many messages at once."""
    return [
        {
            "intent": u.intent,
            "confidence": round(u.confidence, 3),
            "in_scope": u.in_scope,
            "spans": [{"text": u.text[s.start : s.end], "type": s.type} for s in u.spans],
        }
        for u in understand.load()(texts)
    ]


@tool
def search_texts(query: Text, texts: list[Text], top: Annotated[int, Field(ge=1, le=50)] = 3) -> list[dict]:
    """Find the texts that mean nearly the same as a query, the nearest first (cosine of the encoder's embeddings).

    Args:
        query: what is looked for
        texts: where it is looked for
        top: how many
    """
    if not texts:
        raise Retry("texts is empty; give at least one text to look in.")
    vectors = assets.embed([query, *texts])
    scores = vectors[1:] @ vectors[0]
    return [{"text": texts[i], "score": round(float(scores[i]), 3)} for i in (-scores).argsort()[:top]]


@tool
def summarize_text(text: Text, sentences: Annotated[int, Field(ge=1, le=10)] = 1) -> str:
    """Shorten a text to the sentences of it that say most of the whole (nearest to the mean of the encoder's embeddings).

    Args:
        text: the text, best one of several sentences
        sentences: how many are kept
    """
    said = assets.load_sentence_tokenizer().tokenize(text)
    if len(said) <= sentences:
        return text
    vectors = assets.embed(said)
    nearest = (-(vectors @ vectors.mean(0))).argsort()[:sentences]
    return " ".join(said[n] for n in sorted(nearest))


@tool
def write_summary(text: Text) -> dict:
    """Summarise a letter or dialogue in one sentence (language model); a sentence of the text where the model invents.

    Args:
        text: the letter or dialogue
    """
    from agentlab.wording import faithful, summary_prompt

    new = _written(summary_prompt(text), text)
    if new and faithful(new, {"text": text}):
        return {"summary": new, "by": "language model"}
    return {"summary": summarize_text(text), "by": "extract"}


@tool
def rewrite_text(text: Text, tone: Literal["friendly", "formal", "apologetic", "short"]) -> dict:
    """Say the same in another tone (language model); the text as it was where the model changes what it claims.

    Args:
        text: the text, one to three sentences
        tone: how it should sound
    """
    from agentlab.wording import claims, faithful, rewrite_prompt

    new = _written(rewrite_prompt(text, tone), text)
    kept = {(c.kind, c.value) for c in claims(text)} <= {(c.kind, c.value) for c in claims(new)}
    if new and kept and faithful(new, {"text": text}):
        return {"text": new, "by": "language model"}
    return {"text": text, "by": "nobody: the model changed a fact, so the text is as it was"}


def toolbox() -> Toolbox:
    """All language tools in one box."""
    return Toolbox(
        [
            split_sentences, split_words, tag_words, stem_words, find_collocations, score_sentiment, find_entities,
            find_lemmas, parse_sentences, find_noun_phrases, find_shapes, read_message, search_texts, summarize_text,
            write_summary, rewrite_text,
        ]
    )  # fmt: skip


def _words(text: str) -> list[str]:
    tokenizer = assets.load_nltk().tokenize.NLTKWordTokenizer()  # it takes a full stop off the end of a sentence only
    return [w for sentence in assets.load_sentence_tokenizer().tokenize(text) for w in tokenizer.tokenize(sentence)]


def _written(prompt: list[dict], text: str) -> str:
    """What the course's assistant writes for this prompt about ``text``; empty if it was cut off, or has nothing to read."""
    from agentlab.assistant import load_assistant

    if not text.strip() or len(text) > READ_BY_MODEL:
        return ""
    written = load_assistant().complete(prompt, max_tokens=120)
    return written.text.strip() if written.stopped == "end" else ""


@assets.loaded_once
def _matcher():
    from spacy.matcher import Matcher

    matcher = Matcher(assets.load_spacy().vocab)
    for kind, patterns in SHAPES.items():
        matcher.add(kind, patterns)
    return matcher
