"""Exercises of lesson 01: from raw messages to tensors."""

from __future__ import annotations

import random
import re
import string

import torch

from agentlab.exercises.engine import Choice, Exercise, Guarded, Mistake, Quiz, Wrong, expect, expect_type, kind_of

WORDS = "my the headset charger does not two three order parcel came back blue cracked refund please when Lisbon W20417".split()
TYPES = ("product", "quantity", "order_id", "problem")


# --- mark-up -------------------------------------------------------------------------------------------------


def read_markup(line):
    text, spans, at = "", [], 0
    for match in re.finditer(r"\[([^\[\]]+)\]\((\w+)\)", line):
        text += line[at : match.start()]
        spans.append((len(text), len(text) + len(match[1]), match[2]))
        text += match[1]
        at = match.end()
    return text + line[at:], spans


def check_read_markup(read_markup) -> None:
    rng = random.Random()
    for round_number in range(30):
        pieces = [
            (
                " ".join(rng.choices(WORDS, k=rng.randint(1, 2))),
                rng.choice(TYPES) if round_number % 5 and rng.random() < 0.5 else "",
            )
            for _ in range(rng.randint(3, 9))
        ]
        if round_number == 0:  # the words of a span stand in the line before it, too
            pieces = [
                ("the charger is not my", ""),
                ("charger", "product"),
                ("and came with", ""),
                ("two", "quantity"),
                ("cables", ""),
            ]
        line, text, spans = "", "", []
        for n, (words, kind) in enumerate(pieces):
            space = " " if n else ""
            if kind:
                spans.append((len(text) + len(space), len(text) + len(space) + len(words), kind))
                line += f"{space}[{words}]({kind})"
            else:
                line += space + words
            text += space + words
        answer = read_markup(line)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise Wrong(f"Return the two things (text, spans); yours is {kind_of(answer)}")
        got_text, got = answer[0], [tuple(s) for s in answer[1]]
        if got_text != text:
            if isinstance(got_text, str) and text.startswith(got_text):
                raise Wrong(f"The end of the line after the last span is missing: {line!r} gave {got_text!r}.")
            raise Wrong(f"The plain text of {line!r} should be {text!r}; yours is {got_text!r}.")
        if got == spans:
            continue
        if len(got) != len(spans):
            raise Wrong(f"{line!r} has {len(spans)} spans; yours has {len(got)}.")
        if [(s, e - 1, k) for s, e, k in spans] == got:
            raise Wrong(
                "The end of a span is one too small: it is the first character after the span, as in text[start:end]."
            )
        if [k for *_, k in got] == [k for *_, k in spans]:
            shown = [got_text[s:e] for s, e, _ in got]
            wanted = [text[s:e] for s, e, _ in spans]
            if shown == wanted:
                raise Wrong(
                    f"A span sits on another place where the same words stand: {line!r} gave {got}, not {spans}."
                )
            raise Wrong(
                f"Your positions cut {shown} out of the plain text; {wanted} was wanted. Do they count the line with its brackets?"
            )
        raise Wrong(f"{line!r} should give the spans {spans}; yours are {got}.")


def positions_in_the_line(line):
    spans = [(m.start(1), m.end(1), m[2]) for m in re.finditer(r"\[([^\[\]]+)\]\((\w+)\)", line)]
    return re.sub(r"\[([^\[\]]+)\]\((\w+)\)", r"\1", line), spans


def last_character_included(line):
    text, spans = read_markup(line)
    return text, [(s, e - 1, k) for s, e, k in spans]


def found_by_their_words(line):
    text, spans = read_markup(line)
    return text, [(text.find(text[s:e]), text.find(text[s:e]) + e - s, k) for s, e, k in spans]


def first_span_only(line):
    text, spans = read_markup(line)
    return text, spans[:1]


def tail_dropped(line):
    text, spans = read_markup(line)
    return (text[: spans[-1][1]] if spans else text), spans


# --- splits --------------------------------------------------------------------------------------------------


def split_by_group(groups, test_share, seed):
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)
    chosen, size = set(), 0
    for name in names:
        if size >= test_share * len(groups):
            break
        chosen.add(name)
        size += groups.count(name)
    return ["test" if group in chosen else "train" for group in groups]


def check_split_by_group(split_by_group) -> None:
    rng = random.Random()
    for _ in range(5):
        groups = [rng.randrange(120) for _ in range(300)]
        share, seed = rng.uniform(0.15, 0.35), rng.randrange(1000)
        split = split_by_group(list(groups), share, seed)
        expect_type(split, list, "The result")
        expect(len(split) == len(groups), f"Give one name per message: {len(groups)} messages, {len(split)} names.")
        expect(
            set(split) == {"train", "test"},
            f"The names are 'train' and 'test'; yours are {sorted(set(map(str, split)))}.",
        )
        for group in set(groups):
            sides = {side for side, g in zip(split, groups, strict=True) if g == group}
            expect(len(sides) == 1, f"Group {group} stands on both sides: its messages leak from train into test.")
        part = split.count("test") / len(split)
        if abs(part - share) > 0.08:
            swapped = " Are train and test swapped?" if abs(1 - part - share) < 0.08 else " Count messages, not groups."
            raise Wrong(f"{share:.0%} of the messages should be test; yours has {part:.0%}.{swapped}")
        expect(
            split_by_group(list(groups), share, seed) == split,
            "The same seed gave another split: use random.Random(seed).",
        )
        others = [split_by_group(list(groups), share, other) for other in range(2000, 2004)]
        expect(any(other != split for other in others), "Every seed gives the same split: the seed has no effect.")


def every_message_alone(groups, test_share, seed):
    rng = random.Random(seed)
    return ["test" if rng.random() < test_share else "train" for _ in groups]


def in_order(groups, test_share, seed):
    chosen, size = set(), 0
    for name in sorted(set(groups)):
        if size >= test_share * len(groups):
            break
        chosen.add(name)
        size += groups.count(name)
    return ["test" if group in chosen else "train" for group in groups]


def sides_swapped(groups, test_share, seed):
    return ["train" if side == "test" else "test" for side in split_by_group(groups, test_share, seed)]


def without_the_seed(groups, test_share, seed):
    return split_by_group(groups, test_share, random.random())


# --- WordPiece -----------------------------------------------------------------------------------------------


def word_pieces(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def check_word_pieces(word_pieces) -> None:
    from tokenizers.models import WordPiece

    rng = random.Random()
    for round_number in range(40):
        word = "".join(rng.choices("abcd", k=rng.randint(1, 10)))
        vocabulary = {"".join(rng.choices("abcd", k=rng.randint(1, 4))) for _ in range(60)}
        vocabulary |= {"##" + "".join(rng.choices("abcd", k=rng.randint(1, 4))) for _ in range(60)}
        vocabulary |= {prefix + letter for letter in "abcd" for prefix in ("", "##")}
        if round_number % 4 == 3:  # now and then a word that can only be covered in part
            word += "x"
        if round_number == 0:
            word, vocabulary = "headsets", {"he", "h", "head", "##s", "##set", "##sets", "##a", "##d", "##e", "##t"}
        numbers = {piece: i for i, piece in enumerate(["[UNK]", *sorted(vocabulary)])}
        right = [token.value for token in WordPiece(numbers, unk_token="[UNK]").tokenize(word)]
        answer = word_pieces(word, set(vocabulary))
        expect_type(answer, list, "The result")
        if answer == right:
            continue
        if right == ["[UNK]"]:
            raise Wrong(
                f"{word!r} cannot be covered by the vocabulary, so the whole word is ['[UNK]']; yours is {answer}."
            )
        if answer == ["[UNK]"]:
            raise Wrong(f"{word!r} can be covered: {right}. Do you look up later pieces with ## in front?")
        if [p.removeprefix("##") for p in answer] == [p.removeprefix("##") for p in right]:
            raise Wrong(f"The pieces after the first begin with ##: {word!r} is {right}; yours is {answer}.")
        if len(answer) > len(right):
            raise Wrong(f"Take the longest piece first: {word!r} is {right}; yours is {answer}.")
        raise Wrong(f"{word!r} is {right}; yours is {answer}.")


def shortest_first(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        for end in range(start + 1, len(word) + 1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def unmarked_pieces(word, vocabulary):
    return [piece.removeprefix("##") for piece in word_pieces(word, vocabulary)]


def partly_unknown(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary:
                break
        else:
            return [*pieces, "[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


# --- labels onto subwords ------------------------------------------------------------------------------------


def token_labels(word_labels, word_ids):
    labels, previous = [], None
    for word in word_ids:
        labels.append(word_labels[word] if word is not None and word != previous else -100)
        previous = word
    return labels


def check_token_labels(token_labels) -> None:
    rng = random.Random()
    for _ in range(30):
        word_labels = [rng.choice((0, 0, 1, 2)) for _ in range(rng.randint(2, 8))]
        counts = [rng.randint(1, 3) for _ in word_labels]
        counts[rng.randrange(len(counts))] = 2
        word_ids = [None, *(w for w, n in enumerate(counts) for _ in range(n)), None]
        firsts = [1 + sum(counts[:w]) for w in range(len(counts))]
        right = [-100] * len(word_ids)
        for position, label in zip(firsts, word_labels, strict=True):
            right[position] = label
        answer = token_labels(list(word_labels), list(word_ids))
        expect_type(answer, list, "The result")
        shown = f"word labels {word_labels}, word ids {word_ids}"
        expect(
            len(answer) == len(word_ids),
            f"One label per token: {len(word_ids)} tokens, {len(answer)} labels ({shown}).",
        )
        if answer == right:
            continue
        if answer == laid_on_positions(word_labels, word_ids):
            raise Wrong(
                f"Your word labels are laid on token positions: as soon as a word has two pieces, all later ones are off ({shown})."
            )
        if answer[0] != -100 or answer[-1] != -100:
            raise Wrong(
                f"[CLS] and [SEP] belong to no word and get -100; yours are {answer[0]} and {answer[-1]} ({shown})."
            )
        later = [i for i, w in enumerate(word_ids) if w is not None and i not in firsts]
        if all(answer[i] == right[i] for i in firsts) and any(answer[i] != -100 for i in later):
            raise Wrong(
                f"Only the first piece of a word carries its label; later pieces get -100, else long words count twice ({shown})."
            )
        if answer[1] == -100:
            raise Wrong(f"Word 0 has no label in yours. `if word_id:` is false for 0 as well as for None ({shown}).")
        missing = next((i for i in firsts if answer[i] == -100), None)
        if missing is not None:
            raise Wrong(
                f"Word {word_ids[missing]} lost its label. Two neighbours may have the same label and are still two words ({shown})."
            )
        raise Wrong(f"The labels should be {right}; yours are {answer} ({shown}).")


def laid_on_positions(word_labels, word_ids):
    inner = (word_labels + [-100] * len(word_ids))[: len(word_ids) - 2]
    return [-100, *inner, -100]


def label_on_every_piece(word_labels, word_ids):
    return [-100 if word is None else word_labels[word] for word in word_ids]


def specials_are_o(word_labels, word_ids):
    labels = token_labels(word_labels, word_ids)
    return [0, *labels[1:-1], 0]


def zero_is_false(word_labels, word_ids):
    labels, previous = [], None
    for word in word_ids:
        labels.append(word_labels[word] if word and word != previous else -100)
        previous = word
    return labels


def same_label_same_word(word_labels, word_ids):
    labels, previous = [], None
    for word in word_ids:
        label = -100 if word is None else word_labels[word]
        labels.append(label if label != previous else -100)
        previous = label
    return labels


# --- padding -------------------------------------------------------------------------------------------------


def pad_batch(rows, pad_id):
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def check_pad_batch(pad_batch) -> None:
    rng = random.Random()
    for _ in range(20):
        pad_id = rng.choice((0, 0, 7))
        rows = [[rng.randrange(10, 99) for _ in range(rng.randint(2, 12))] for _ in range(rng.randint(2, 6))]
        rows[0][-1] = pad_id  # a real token may have the number of the padding
        given, width = [list(row) for row in rows], max(map(len, rows))
        answer = pad_batch(given, pad_id)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise Wrong(f"Return the two tensors (ids, mask); yours is {kind_of(answer)}")
        ids, mask = answer
        expect_type(ids, torch.Tensor, "ids")
        expect_type(mask, torch.Tensor, "mask")
        expect(
            given == rows, "Your function changed the rows that it was given; the next epoch would find them padded."
        )
        shape = (len(rows), width)
        expect(
            tuple(ids.shape) == shape,
            f"ids should be {shape}, as wide as the longest row of this batch; yours is {tuple(ids.shape)}.",
        )
        expect(tuple(mask.shape) == shape, f"mask should be {shape}; yours is {tuple(mask.shape)}.")
        for row, got, seen in zip(rows, ids.tolist(), mask.tolist(), strict=True):
            rest = width - len(row)
            if got[: len(row)] != row:
                side = (
                    "The padding stands on the left; put it on the right."
                    if rest and got[rest:] == row
                    else f"{row} became {got}."
                )
                raise Wrong(side)
            expect(got[len(row) :] == [pad_id] * rest, f"The padding of {got} should be {pad_id}.")
            seen = [int(x) for x in seen]
            if seen != [1] * len(row) + [0] * rest:
                if sum(seen) > len(row):
                    raise Wrong(
                        f"The mask is 1 on padding: {seen} for {got}. The model would read the padding as words."
                    )
                raise Wrong(
                    f"The mask is 0 on a real token: {seen} for {row}. A token may have the padding's number; count lengths instead."
                )


def padded_to_128(rows, pad_id):
    ids = torch.tensor([row + [pad_id] * (128 - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (128 - len(row)) for row in rows])


def mask_of_ones(rows, pad_id):
    ids, _ = pad_batch(rows, pad_id)
    return ids, torch.ones_like(ids)


def mask_by_number(rows, pad_id):
    ids, _ = pad_batch(rows, pad_id)
    return ids, (ids != pad_id).long()


def padded_on_the_left(rows, pad_id):
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])


def padded_in_place(rows, pad_id):
    lengths = [len(row) for row in rows]
    for row in rows:
        row += [pad_id] * (max(lengths) - len(row))
    return torch.tensor(rows), torch.tensor([[1] * n + [0] * (max(lengths) - n) for n in lengths])


# --- waste ---------------------------------------------------------------------------------------------------


def padding_share(lengths, batches):
    real = sum(lengths[i] for batch in batches for i in batch)
    total = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - real / total


def check_padding_share(padding_share) -> None:
    rng = random.Random()
    for _ in range(20):
        lengths = [rng.randint(3, 60) for _ in range(rng.randint(20, 50))]
        order = list(range(len(lengths)))
        rng.shuffle(order)
        cuts = sorted(rng.sample(range(1, len(order)), 4))
        batches = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
        grid = [[1 if j < lengths[i] else 0 for j in range(max(lengths[k] for k in b))] for b in batches for i in b]
        right = sum(cell == 0 for row in grid for cell in row) / sum(len(row) for row in grid)
        answer = padding_share(list(lengths), [list(b) for b in batches])
        expect_type(answer, (int, float), "The result")
        if abs(answer - right) < 1e-9:
            continue
        per_batch = [1 - sum(lengths[i] for i in b) / (len(b) * max(lengths[i] for i in b)) for b in batches]
        if abs(answer - (1 - right)) < 1e-9:
            raise Wrong("That is the share of real tokens; the share of padding is one minus it.")
        if abs(answer - sum(per_batch) / len(per_batch)) < 1e-9:
            raise Wrong(
                "That is the mean of the batches' shares, where a small batch weighs as much as a large one. Divide sums instead."
            )
        if abs(answer - (1 - sum(lengths) / (len(lengths) * max(lengths)))) < 1e-9:
            raise Wrong("Each batch is as wide as its own longest message, not as the longest of all.")
        raise Wrong(f"For the lengths {lengths} and batches {batches} it should be {right:.4f}; yours is {answer:.4f}.")


def share_of_real_tokens(lengths, batches):
    return 1 - padding_share(lengths, batches)


def mean_of_shares(lengths, batches):
    return sum(padding_share(lengths, [batch]) for batch in batches) / len(batches)


def one_width_for_all(lengths, batches):
    return 1 - sum(lengths) / (len(lengths) * max(lengths))


# --- the planted-bug lab -------------------------------------------------------------------------------------


class SupportDataset(torch.utils.data.Dataset):
    def __init__(self, sentences, labels, tokenizer, tags):
        number = {tag: i for i, tag in enumerate(tags)}
        self.sentences, self.tokenizer = sentences, tokenizer
        self.labels = [[number[label] for label in row] for row in labels]

    def __len__(self):
        return len(self.sentences)

    def __getitem__(self, i):
        encoded = self.tokenizer(self.sentences[i], is_split_into_words=True, truncation=True, max_length=128)
        labels, previous = [], None
        for word in encoded.word_ids():
            labels.append(self.labels[i][word] if word is not None and word != previous else -100)
            previous = word
        return {"input_ids": encoded["input_ids"], "labels": labels}


class FaultyDataset(torch.utils.data.Dataset):
    """The lab's subject: it runs without an error, and teaches a model four wrong things."""

    def __init__(self, sentences, labels, tokenizer, tags):
        number = {tag: i for i, tag in enumerate(tags)}
        self.sentences, self.tokenizer = sentences, tokenizer
        for row in labels:
            assert all(label in number for label in row), "unknown label"
        self.labels = [[number[label] for label in row] for labels in labels]

    def __len__(self):
        return len(self.sentences)

    def __getitem__(self, i):
        encoded = self.tokenizer(
            self.sentences[i], is_split_into_words=True, padding="max_length", truncation=True, max_length=128
        )
        labels = self.labels[i] + [0] * (128 - len(self.labels[i]))
        return {"input_ids": encoded["input_ids"], "labels": labels}


def check_support_dataset(dataset_class) -> None:
    from agentlab.assets import load_encoder

    _, tokenizer = load_encoder()
    rng, tags = random.Random(), ("O", "Customer", "Sales", "Support")

    def unknown():  # always cut into several pieces, so that labels by position go astray from the first word on
        return "zq" + "".join(rng.choices(string.ascii_lowercase, k=7))

    sentences = [[unknown(), *rng.choices(WORDS, k=rng.randint(3, 8)), unknown()] for _ in range(5)]
    labels = [[rng.choice(tags) for _ in sentence] for sentence in sentences]
    for row in labels:
        row[0], row[-1] = "Support", "Sales"
    data = dataset_class(sentences, labels, tokenizer, tags)
    item = Guarded(data.__getitem__)
    expect(Guarded(data.__len__)() == 5, "The dataset of five messages should have the length 5.")
    for i, (sentence, row) in enumerate(zip(sentences, labels, strict=True)):
        got = item(i)
        expect_type(got, dict, "An item")
        for key in ("input_ids", "labels"):
            expect(key in got, f"An item needs {key!r}; yours has {sorted(got)}.")
        ids, label_ids = ([int(x) for x in got[key]] for key in ("input_ids", "labels"))
        encoded = tokenizer(sentence, is_split_into_words=True)
        expect(
            len(ids) <= len(encoded["input_ids"]),
            f"Message {i} has {len(encoded['input_ids'])} tokens and came padded to {len(ids)}. Leave padding to the batch.",
        )
        expect(ids == encoded["input_ids"], f"The token ids of message {i} are not those of its words.")
        expect(len(label_ids) == len(ids), f"Message {i} has {len(ids)} tokens and {len(label_ids)} labels.")
        right = token_labels([tags.index(label) for label in row], encoded.word_ids())
        if label_ids == right:
            continue
        others = [
            token_labels([tags.index(x) for x in (other + ["O"] * 20)[: len(row)]], encoded.word_ids())
            for other in labels
        ]
        if label_ids in others:
            raise Wrong(
                f"Message {i} got the labels of another message. Which variable still holds the row of an earlier loop?"
            )
        if label_ids[0] != -100 or label_ids[-1] != -100:
            raise Wrong(f"[CLS] and [SEP] of message {i} carry a label and will be scored; they need -100.")
        raise Wrong(
            f"The labels of message {i} should be {right}; yours are {label_ids}. Does each label stand on its word's first piece?"
        )


class StillShadowed(SupportDataset):
    def __init__(self, sentences, labels, tokenizer, tags):
        super().__init__(sentences, labels, tokenizer, tags)
        number = {tag: i for i, tag in enumerate(tags)}
        self.labels = [([number[label] for label in labels[-1]] + [0] * 20)[: len(row)] for row in labels]


class StillPadded(SupportDataset):
    def __getitem__(self, i):
        item = super().__getitem__(i)
        return {"input_ids": item["input_ids"] + [0] * 90, "labels": item["labels"] + [-100] * 90}


class StillScoresSpecials(SupportDataset):
    def __getitem__(self, i):
        item = super().__getitem__(i)
        return {"input_ids": item["input_ids"], "labels": [0, *item["labels"][1:-1], 0]}


class StillOnPositions(SupportDataset):
    def __getitem__(self, i):
        ids = super().__getitem__(i)["input_ids"]
        return {"input_ids": ids, "labels": [-100, *(self.labels[i] + [-100] * 200)[: len(ids) - 2], -100]}


EXERCISES = (
    Exercise(
        id="prepare.read_markup",
        question="""
            Write `read_markup(line)`. It takes a line such as `send [two](quantity) [HDMI cables](product)` and returns
            `(text, spans)`: the plain text `"send two HDMI cables"` and a list of `(start, end, type)`, here
            `[(5, 8, "quantity"), (9, 20, "product")]`, so that `text[start:end]` is the words of the span.
        """,
        minutes=10,
        difficulty=2,
        hints=(
            r"`re.finditer(r'\[([^\[\]]+)\]\((\w+)\)', line)` gives one match per span; `match[1]` is its words, `match[2]` its type.",
            "Build the plain text piece by piece. A span starts where the text that you have built so far ends.",
        ),
        solution=read_markup,
        check=check_read_markup,
        mistakes=(
            Mistake(positions_in_the_line, "count the line with its brackets"),
            Mistake(last_character_included, "one too small"),
            Mistake(found_by_their_words, "another place where the same words stand"),
            Mistake(first_span_only, "yours has 1"),
            Mistake(tail_dropped, "after the last span is missing"),
            Mistake(lambda line: (line, []), "The plain text of"),
        ),
        praise="Right: the positions hold on every line that was tried.",
    ),
    Exercise(
        id="prepare.split_by_group",
        question="""
            Write `split_by_group(groups, test_share, seed)`. `groups` has a number for each message; near-duplicates
            share one. Return a list of `"train"` and `"test"`, one for each message: no group on both sides, about
            `test_share` of the messages in test, another split for another seed, and always the same for the same seed.
        """,
        minutes=8,
        difficulty=2,
        hints=(
            "Decide per group, not per message: shuffle the distinct group numbers with `random.Random(seed)`.",
            "Take groups into test, one after the other, until their messages make up the share.",
        ),
        solution=split_by_group,
        check=check_split_by_group,
        mistakes=(
            Mistake(every_message_alone, "stands on both sides"),
            Mistake(in_order, "the seed has no effect"),
            Mistake(sides_swapped, "swapped"),
            Mistake(without_the_seed, "The same seed gave another split"),
        ),
        praise="Right: nothing leaks, and the split can be repeated.",
    ),
    Exercise(
        id="prepare.word_pieces",
        question="""
            Write `word_pieces(word, vocabulary)`, which splits a word as WordPiece does: take the longest beginning
            that is in the vocabulary, then the longest beginning of the rest with `##` in front, and so on. A word that
            cannot be covered gives `["[UNK]"]`. With `{"head", "##set", "##s"}`, `"headsets"` gives
            `["head", "##set", "##s"]`.
        """,
        minutes=10,
        difficulty=2,
        hints=(
            "A `while start < len(word)` loop, and inside it a loop over `end` from the back: the first hit is the longest.",
            "`for ... else` runs its else when no `break` happened: that is the place for `[UNK]`.",
        ),
        solution=word_pieces,
        check=check_word_pieces,
        mistakes=(
            Mistake(shortest_first, "Take the longest piece first"),
            Mistake(unmarked_pieces, "begin with ##"),
            Mistake(partly_unknown, "the whole word is ['[UNK]']"),
            Mistake(
                lambda word, vocabulary: [word[0], *("##" + letter for letter in word[1:])],
                "Take the longest piece first",
            ),
        ),
        praise="Right: the same pieces as the tokenizers library gives.",
    ),
    Exercise(
        id="prepare.token_labels",
        question="""
            Write `token_labels(word_labels, word_ids)`. `word_ids` says for each token which word it comes from, `None`
            for `[CLS]` and `[SEP]`. Return one label per token: the word's label on its first piece, `-100` on later
            pieces and on special tokens. `word_labels = [0, 2]` and `word_ids = [None, 0, 1, 1, None]` give
            `[-100, 0, 2, -100, -100]`.
        """,
        minutes=8,
        difficulty=2,
        hints=(
            "Go through `word_ids` and remember the previous one: a first piece is one whose word differs from it.",
            "Word 0 is a word: compare with `is not None`.",
        ),
        solution=token_labels,
        check=check_token_labels,
        mistakes=(
            Mistake(laid_on_positions, "laid on token positions"),
            Mistake(label_on_every_piece, "Only the first piece"),
            Mistake(specials_are_o, "belong to no word"),
            Mistake(zero_is_false, "Word 0 has no label"),
            Mistake(same_label_same_word, "Two neighbours may have the same label"),
        ),
        praise="Right: every word counts once, and nothing else counts.",
    ),
    Exercise(
        id="prepare.pad_batch",
        question="""
            Write `pad_batch(rows, pad_id)`. `rows` is a list of lists of token ids. Return `(ids, mask)`, two tensors of
            shape (rows, longest row of this batch): the ids padded on the right with `pad_id`, and a mask that is 1 on
            real tokens and 0 on padding. Leave the rows as they were.
        """,
        minutes=8,
        difficulty=1,
        hints=(
            "`row + [pad_id] * n` makes a new list; `row += ...` changes the one you were given.",
            "Make the mask from the lengths, not from the ids: a real token may have the number `pad_id`.",
        ),
        solution=pad_batch,
        check=check_pad_batch,
        mistakes=(
            Mistake(padded_to_128, "as wide as the longest row"),
            Mistake(mask_of_ones, "The mask is 1 on padding"),
            Mistake(mask_by_number, "The mask is 0 on a real token"),
            Mistake(padded_on_the_left, "on the left"),
            Mistake(padded_in_place, "changed the rows"),
        ),
        praise="Right, and no wider than it must be.",
    ),
    Exercise(
        id="prepare.padding_share",
        question="""
            Write `padding_share(lengths, batches)`: the share of all tokens that is padding, when each batch (a list of
            message numbers) is padded to its own longest message. Lengths `[2, 4]` in one batch give `0.25`.
        """,
        minutes=6,
        difficulty=1,
        hints=(
            "A batch holds (number of messages) x (longest length) tokens in all.",
            "Add up real tokens and all tokens over all batches, and divide once, at the end.",
        ),
        solution=padding_share,
        check=check_padding_share,
        mistakes=(
            Mistake(share_of_real_tokens, "one minus it"),
            Mistake(mean_of_shares, "mean of the batches' shares"),
            Mistake(one_width_for_all, "its own longest message"),
        ),
    ),
    Exercise(
        id="prepare.support_dataset",
        question="""
            Repair `FaultyDataset`. Write the class `SupportDataset` with the same arguments, such that `dataset[i]` gives
            `{"input_ids": ..., "labels": ...}` for message `i`: its own labels, unpadded, the label of a word on its first
            piece, and `-100` on everything that must not be scored. There are four faults in it.
        """,
        minutes=15,
        difficulty=3,
        hints=(
            "Print the labels of messages 0 and 1. In `[[... for label in row] for labels in labels]`, who is `row`?",
            "Padding belongs to the batch (`pad_batch`), not to the item: drop `padding=` and the zeros behind the labels.",
            "You have written the alignment already: `token_labels(self.labels[i], encoded.word_ids())`.",
        ),
        solution=SupportDataset,
        check=check_support_dataset,
        mistakes=(
            Mistake(FaultyDataset, "came padded to 128"),
            Mistake(StillShadowed, "the labels of another message"),
            Mistake(StillPadded, "Leave padding to the batch"),
            Mistake(StillScoresSpecials, "[CLS] and [SEP]"),
            Mistake(StillOnPositions, "on its word's first piece"),
        ),
        praise="Right: all four faults are gone.",
    ),
)

QUIZZES = (
    Quiz(
        id="prepare.quiz_leak",
        question="A colleague makes five variants of every message by swapping words, then splits at random. The test accuracy rises by 0.3. What happened?",
        choices=(
            Choice(
                "The variants taught the model to generalize.",
                False,
                "Then the accuracy on messages of other customers would rise too. Split first, and see.",
            ),
            Choice(
                "Variants of test messages stand in the training part.",
                True,
                "The model recognizes what it has seen. Make variants after the split, or keep each family in one part.",
            ),
            Choice(
                "Five times the data needs five times the epochs.",
                False,
                "The epochs have no part in it: the test messages are no longer new.",
            ),
        ),
    ),
    Quiz(
        id="prepare.quiz_ignore",
        question="You label padding with O instead of -100. The token accuracy that you report ...",
        choices=(
            Choice("stays the same.", False, "Every padded position now counts as an easy hit."),
            Choice(
                "rises, and says less.",
                True,
                "Most of the positions are padding, all O, all easily right: the figure grows with the width of the padding.",
            ),
            Choice("falls.", False, "Padding is easy to predict, so it adds hits, not misses."),
        ),
    ),
    Quiz(
        id="prepare.quiz_floor",
        question="Why measure TF-IDF with logistic regression before fine-tuning anything?",
        choices=(
            Choice(
                "It may be good enough, and it says how much a larger model must add.",
                True,
                "A second of training, no GPU: whatever costs more has to beat it on the same split.",
            ),
            Choice(
                "Its weights initialize the neural model.",
                False,
                "They have nothing in common with the encoder's weights.",
            ),
            Choice(
                "A low floor proves that the data are bad.",
                False,
                "A low floor only says that words alone do not decide. People may still agree on every label.",
            ),
        ),
    ),
)
