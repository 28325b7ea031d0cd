"""Exercise of lesson 00: one small function, to see how exercises work."""

from __future__ import annotations

import random
import re

from agentlab.exercises.engine import Choice, Exercise, Mistake, Quiz, Wrong, expect_type


def order_number(text):
    return "W" + "".join(letter for letter in text if letter.isdigit())


def check_order_number(order_number) -> None:
    rng = random.Random()
    for largest in (99_999, 9_999) * 10:  # every second number begins with a zero
        digits = f"{rng.randint(0, largest):05d}"
        for form in ("#W{}", "W{}", "w{}", "#w{}", "W {}", "{}", "#{}", " w{} "):
            given, right = form.format(digits), "W" + digits
            answer = order_number(given)
            expect_type(answer, str, "The result")
            if answer == right:
                continue
            if answer == digits:
                raise Wrong(f"The letter is missing: {given!r} gave {answer!r}, and {right!r} was wanted.")
            if answer.startswith("WW"):
                raise Wrong(f"There is one W too many: {given!r} gave {answer!r}.")
            if answer == answer.lower() != right:
                raise Wrong(f"The W must be a capital: {given!r} gave {answer!r}.")
            if " " in answer:
                raise Wrong(f"A space was left in: {given!r} gave {answer!r}.")
            if answer.startswith("#"):
                raise Wrong(f"The # was left in: {given!r} gave {answer!r}.")
            if answer.lstrip("W") == digits.lstrip("0") != digits:
                raise Wrong(
                    f"The leading zeros got lost: {given!r} gave {answer!r}. An order number is text, not an int."
                )
            raise Wrong(f"{given!r} gave {answer!r}, and {right!r} was wanted.")


EXERCISES = (
    Exercise(
        id="start.order_number",
        question="""
            Customers type the same order number in many ways: `#W20417`, `w20417`, `W 20417`, `20417`.
            Write `order_number(text)`, which gives `"W20417"` for all of them: a capital W and the five digits.
        """,
        minutes=3,
        difficulty=1,
        hints=(
            "Which characters of the text do you want to keep, and which do you add yourself?",
            '`"".join(c for c in text if c.isdigit())` keeps the digits.',
        ),
        solution=order_number,
        check=check_order_number,
        mistakes=(
            Mistake(lambda text: re.sub(r"\D", "", text), "The letter is missing"),
            Mistake(lambda text: "W" + text.strip("# "), "one W too many"),
            Mistake(lambda text: text.upper().replace("#", "").replace(" ", ""), "The letter is missing"),
            Mistake(lambda text: "w" + re.sub(r"\D", "", text), "must be a capital"),
            Mistake(lambda text: f"W{int(re.sub(r'[^0-9]', '', text))}", "leading zeros"),
            Mistake(lambda text: None, "is a `return` missing?"),
        ),
        praise="Right, for every spelling that was tried.",
    ),
)

QUIZZES = (
    Quiz(
        id="start.quiz_parts",
        question="Which part found that the message is about a fault, though the word fault is not in it?",
        choices=(
            Choice(
                "spaCy's named entities",
                False,
                "They mark dates, sums and names; they know nothing of what the customer wants.",
            ),
            Choice(
                "The encoder", True, "It turned the message and each topic into a vector, and near vectors mean alike."
            ),
            Choice(
                "The language model",
                False,
                "It wrote a reply. It was not asked to decide, and its text is no decision you can test.",
            ),
        ),
    ),
)
