"""BFCL's questions and rules: what is read from the package, what the schema keeps, which calls are right."""

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from agentlab.errors import AssetError, UnknownName
from benchmarks.bfcl import (
    CATEGORIES,
    FLOORS,
    PUBLISHED,
    Question,
    Verdict,
    as_json_schema,
    floors,
    folder,
    judge,
    load,
    score,
    summary,
)

PARCEL = {
    "name": "post.send_parcel",
    "description": "Send a parcel.",
    "parameters": {
        "type": "dict",
        "properties": {
            "to": {"type": "string", "description": "The town."},
            "weight": {"type": "float", "default": 1},
            "pieces": {"type": "integer"},
            "express": {"type": "boolean", "optional": True, "default": "false"},
            "labels": {"type": "array", "items": {"type": "string", "enum": ["fragile", "heavy"]}},
            "size": {"type": "tuple", "items": {"type": "float"}},
            "sender": {
                "type": "dict",
                "properties": {"name": {"type": "string"}, "floor": {"type": "integer"}},
                "required": ["name"],
            },
            "stops": {"type": "array", "items": {"type": "dict", "properties": {"town": {"type": "string"}}}},
            "extra": {"type": "dict"},
            "note": {"type": "any"},
        },
        "required": ["to"],
    },
}
TRACK = {
    "name": "track",
    "description": "Where a parcel is.",
    "parameters": {"type": "dict", "properties": {"id": {"type": "string"}}, "required": ["id"]},
}
ANSWER = {
    "to": ["St. John's", "Saint John's"],
    "weight": [2.0, ""],
    "pieces": [3, ""],
    "express": [True, ""],
    "labels": [["fragile", "heavy"], ""],
    "size": [[1.5, 2.0], ""],
    "sender": [{"name": ["Ada L.", "Ada"], "floor": [4, ""]}, ""],
    "stops": [[{"town": ["Gander"]}, {"town": ["Corner Brook"]}], ""],
    "extra": [{"codes": [["A-1", "B-2"]]}, ""],
    "note": ["leave_at_door", ""],
}


def question(**answers: list) -> Question:
    """The request for a parcel, with other allowed values for some parameters."""
    tools = [tool | {"parameters": as_json_schema(tool["parameters"])} for tool in (TRACK, PARCEL)]
    return Question("multiple_0", "Send it.", tools, [{"post.send_parcel": ANSWER | answers}])


def call(name: str = "post.send_parcel", **arguments: object) -> dict:
    return {"name": name, "arguments": {"to": "St. John's", **arguments}}


def right(asked: Question | None = None, **arguments: object) -> bool:
    return judge(asked or question(), call(**arguments)).right


# --- which call ----------------------------------------------------------------------------------------------


def test_a_call_with_only_what_must_be_given_is_right():
    assert judge(question(), call()) == Verdict(True, "The call is right.")


def test_every_allowed_value_is_right():
    assert right(to="Saint John's", weight=2.0, pieces=3, express=True, note="leave_at_door")


def test_another_tool_is_wrong():
    assert judge(question(), call("track")).reason == "The tool to call is 'post.send_parcel', not 'track'."
    assert not judge(question(), call("Post.send_parcel")).right


@pytest.mark.parametrize("answer", [None, [], {}, "text", {"name": "post.send_parcel"}, {"name": 1, "arguments": {}}])
def test_what_is_no_call_is_wrong_where_one_is_wanted(answer):
    assert judge(question(), answer) == Verdict(False, "One call is wanted, not 0.")


def test_two_calls_are_one_too_many_even_if_both_are_right():
    assert judge(question(), [call()]).right
    assert judge(question(), [call(), call()]) == Verdict(False, "One call is wanted, not 2.")


def test_dots_become_underscores_only_for_a_model_that_was_shown_underscores():
    plain, underscored = call(), call("post_send_parcel")
    assert [judge(question(), one).right for one in (plain, underscored)] == [True, False]
    assert [judge(question(), one, underscores=True).right for one in (plain, underscored)] == [False, True]


@pytest.mark.parametrize(("answer", "verdict"), [
    (None, Verdict(True, "No tool fits, and none was called.")),
    ({"name": "track"}, Verdict(True, "No tool fits, and none was called.")),
    (call("track"), Verdict(False, "No tool fits, and one was called.")),
    (call("unheard of"), Verdict(False, "No tool fits, and one was called.")),
    ([call(), call()], Verdict(False, "No tool fits, and one was called.")),
])  # fmt: skip
def test_where_no_tool_fits_any_call_is_wrong_and_no_call_is_right(answer, verdict):
    assert judge(Question("irrelevance_0", "How are you?", question().tools, None), answer) == verdict


# --- which parameters ----------------------------------------------------------------------------------------


def test_a_missing_required_parameter_is_wrong_even_where_the_answer_may_leave_it_out():
    asked = question(to=["Gander", ""])
    verdict = judge(asked, {"name": "post.send_parcel", "arguments": {"pieces": 3}})
    assert verdict == Verdict(False, "'to' is required and missing.")


def test_an_optional_parameter_that_the_request_asks_for_must_be_given():
    assert judge(question(pieces=[3]), call()).reason == "'pieces' is optional, but this request asks for it."
    assert right(question(pieces=[3]), pieces=3)


def test_a_parameter_unknown_to_the_tool_or_to_the_answer_is_not_expected():
    assert judge(question(), call(colour="red")).reason == "'colour' is not expected."
    unanswered = question()
    del unanswered.answers[0]["post.send_parcel"]["pieces"]
    assert judge(unanswered, call(pieces=3)).reason == "'pieces' is not expected."
    assert not right(question(colour=["red", ""]), colour="red")


# --- types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parameter", "value"), [
    ("pieces", 3.0), ("pieces", "3"), ("pieces", True), ("pieces", None), ("pieces", [3]),
    ("weight", "2"), ("weight", True), ("express", 1), ("express", "true"), ("to", 7), ("labels", "fragile"),
    ("sender", "Ada"), ("sender", [{"name": "Ada"}]), ("stops", {"town": "Gander"}), ("note", 5),
])  # fmt: skip
def test_a_value_of_another_type_is_wrong(parameter, value):
    assert not right(**{parameter: value})


def test_the_reason_names_the_type_and_the_value():
    assert judge(question(), call(pieces="3")).reason == "'pieces' is to be an integer, not '3'."
    assert judge(question(), call(labels="heavy")).reason == "'labels' is to be an array of strings, not 'heavy'."


def test_an_int_will_do_for_a_float_but_not_for_a_float_in_a_list():
    assert right(weight=2)
    assert not right(weight=3)
    strict = question(size=[[1.0, 2.0]])
    assert right(strict, size=[1.0, 2.0])
    assert not right(strict, size=[1, 2])


def test_a_boolean_is_no_number():
    asked = question(pieces=[1], weight=[1.0])
    assert right(asked, pieces=1, weight=1.0)
    assert not right(asked, pieces=True, weight=1.0)
    assert not right(asked, pieces=1, weight=True)


def test_an_item_has_the_type_of_the_schema_or_of_the_first_item_of_the_answer():
    assert right(question(size=[[1, 2.0]]), size=[1, 2.0])
    assert not right(question(size=[[1.5, 2]]), size=[1.5, 2])


def test_items_of_any_type_pass_where_the_list_may_be_left_out():
    assert right(question(size=[[1.0, 2.0], ""]), size=[1, 2])


def test_an_answer_of_another_type_stands_for_a_variable_and_is_compared_to_the_letter():
    variable = question(pieces=["piece_count"], to=[True])
    assert right(variable, pieces="piece_count", to=True)
    assert not right(variable, pieces="Piece_Count", to=True)
    assert not right(variable, pieces="piece_count", to="True")
    listed = question(labels=["all_labels"])
    assert right(listed, labels="all_labels")
    assert not right(listed, labels=["all_labels"])


# --- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["st john's", 'ST. JOHN"S', "St-John's", "s,t./-_*^John's", "Saint  John's"])
def test_strings_are_compared_without_case_spaces_some_punctuation_and_kind_of_quote(value):
    assert right(to=value)


@pytest.mark.parametrize("value", ["St. Johns", "St; John's", "St:John's!", "St\tJohn's", ""])
def test_other_punctuation_counts(value):
    assert not right(to=value)


def test_an_empty_string_is_right_where_the_parameter_may_be_left_out():
    assert right(note="")
    assert right(note=" - ")
    assert not right(pieces="")
    assert not right(question(pieces=["", 3]), pieces="")


def test_null_is_never_right():
    assert not any(right(**{name: None}) for name in ANSWER)


def test_any_means_a_string():
    assert right(note="Leave at door")


def test_lists_are_compared_in_order_and_their_strings_plainly():
    assert right(labels=["Fragile", "HEAVY "])
    assert not right(labels=["heavy", "fragile"])
    assert not right(labels=["fragile"])
    assert right(size=[1.5, 2.0])


def test_an_empty_list_is_right_where_the_list_may_be_left_out():
    assert right(labels=[])
    assert right(stops=[])
    assert not right(question(labels=[["fragile"]]), labels=[])
    assert not right(question(stops=[[{"town": ["Gander"]}]]), stops=[])


def test_lists_within_lists_are_compared_to_the_letter():
    asked = question(labels=[[["A-1"], ["b"]]])
    assert right(asked, labels=[["A-1"], ["b"]])
    assert not right(asked, labels=[["a1"], ["b"]])


def test_each_key_of_an_object_has_allowed_values_of_its_own():
    assert right(sender={"name": "ada l", "floor": 4})
    assert right(sender={"name": "Ada"})
    assert not right(sender={"name": "Ada", "floor": 5})
    assert not right(sender={"name": "Ada", "floor": "4"})


def test_an_object_with_a_key_too_many_or_too_few_is_wrong():
    assert not right(sender={"name": "Ada", "street": "Elm"})
    assert not right(sender={"floor": 4})
    assert not right(sender={})
    assert right(question(sender=[{"name": [""], "floor": [4, ""]}]), sender={})


def test_what_lies_deeper_in_an_object_is_compared_to_the_letter():
    assert right(extra={"codes": ["A-1", "B-2"]})
    assert not right(extra={"codes": ["a-1", "B-2"]})
    assert not right(extra={"codes": ["B-2", "A-1"]})


def test_one_of_several_allowed_objects_is_enough_but_not_a_mixture():
    asked = question(sender=[{"name": ["Ada"], "floor": [1]}, {"name": ["Bo"], "floor": [2]}])
    assert right(asked, sender={"name": "Bo", "floor": 2})
    assert not right(asked, sender={"name": "Ada", "floor": 2})


def test_objects_in_a_list_are_compared_one_for_one():
    assert right(stops=[{"town": "gander"}, {"town": "corner-brook"}])
    assert not right(stops=[{"town": "corner brook"}, {"town": "gander"}])
    assert not right(stops=[{"town": "gander"}])
    assert not right(stops=["gander", "corner brook"])


# --- the schema ----------------------------------------------------------------------------------------------


def test_the_schema_is_valid_and_takes_the_answers():
    schema = as_json_schema(PARCEL["parameters"])
    jsonschema.Draft202012Validator.check_schema(schema)
    given = {
        "to": "Gander",
        "weight": 2,
        "labels": ["heavy"],
        "size": [1.5],
        "sender": {"name": "Ada"},
        "extra": {"a": 1},
    }
    jsonschema.validate(given, schema)
    for wrong in ({}, {"to": 1}, {"to": "", "colour": "red"}, {"to": "", "labels": ["red"]}, {"to": "", "sender": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_schema_keeps_what_a_model_reads_and_drops_what_is_no_schema():
    assert as_json_schema(PARCEL["parameters"] | {"optional": []})["required"] == ["to"]
    properties = as_json_schema(PARCEL["parameters"])["properties"]
    assert properties["to"] == {"type": "string", "description": "The town."}
    assert properties["weight"] == {"type": "number", "default": 1}
    assert properties["express"] == {"type": "boolean", "default": "false"}
    assert properties["labels"] == {"type": "array", "items": {"type": "string", "enum": ["fragile", "heavy"]}}
    assert properties["sender"]["required"] == ["name"]
    assert (properties["extra"], properties["note"]) == ({"type": "object"}, {"type": "string"})


def test_an_unknown_type_is_refused():
    with pytest.raises(UnknownName) as error:
        as_json_schema({"type": "dict", "properties": {"when": {"type": "strin"}}})
    assert str(error.value).startswith("Unknown type 'strin'. Did you mean 'string'? Available: any, array, boolean,")


# --- reading -------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a package of that name, which cannot be imported, and one question in each category."""
    data = tmp_path / "bfcl_eval" / "data"
    (data / "possible_answer").mkdir(parents=True)
    (tmp_path / "bfcl_eval" / "__init__.py").write_text("raise RuntimeError('imported')")
    for category in CATEGORIES:
        entry = {"id": f"{category}_0", "question": [[{"role": "user", "content": "Send it."}]], "function": [PARCEL]}
        (data / f"BFCL_v4_{category}.json").write_text(json.dumps(entry) + "\n")
        answer = {"id": f"{category}_0", "ground_truth": [{"post.send_parcel": ANSWER}]}
        if category != "irrelevance":
            (data / "possible_answer" / f"BFCL_v4_{category}.json").write_text(json.dumps(answer) + "\n")
    return tmp_path


@pytest.mark.parametrize("named", [".", "bfcl_eval"])
def test_the_data_are_found_in_the_folder_that_the_environment_names(package, monkeypatch, named):
    monkeypatch.setenv("BFCL_EVAL", str(package / named))
    assert folder() == package / "bfcl_eval" / "data"


def test_the_data_are_found_where_python_finds_the_package_which_is_not_imported(package, monkeypatch):
    monkeypatch.delenv("BFCL_EVAL", raising=False)
    monkeypatch.syspath_prepend(str(package))
    assert folder() == package / "bfcl_eval" / "data"


def test_a_missing_package_is_said_with_its_cure(tmp_path, monkeypatch):
    cure = "Try: pip install --no-deps --target DIR bfcl-eval==2026.3.23, and set BFCL_EVAL=DIR."
    monkeypatch.setenv("BFCL_EVAL", str(tmp_path))
    with pytest.raises(AssetError) as error:
        folder()
    assert str(error.value) == f"The questions of bfcl-eval are not in BFCL_EVAL={tmp_path}. {cure}"
    monkeypatch.delenv("BFCL_EVAL")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AssetError) as error:
        load("multiple")
    assert str(error.value) == f"The questions of bfcl-eval are not installed. {cure}"


def test_a_question_has_its_request_its_tools_as_json_schema_and_its_answers(package, monkeypatch):
    monkeypatch.setenv("BFCL_EVAL", str(package))
    [one] = load("simple_python")
    tools = [PARCEL | {"parameters": as_json_schema(PARCEL["parameters"])}]
    assert one == Question("simple_python_0", "Send it.", tools, [{"post.send_parcel": ANSWER}])
    assert [other.answers for other in load("irrelevance")] == [None]


def test_an_unknown_category_is_refused():
    with pytest.raises(UnknownName) as error:
        load("multipel")
    assert str(error.value) == (
        "Unknown category 'multipel'. Did you mean 'multiple'? Available: irrelevance, multiple, simple_python."
    )


# --- scores --------------------------------------------------------------------------------------------------


def test_the_mean_counts_each_category_the_same():
    yes, no = Verdict(True, ""), Verdict(False, "")
    verdicts = {"simple_python": [yes, no, no, no], "multiple": [yes, no], "irrelevance": [yes]}
    assert score(verdicts["simple_python"]) == 25
    assert summary(verdicts) == {
        "simple_python": 25,
        "multiple": 50,
        "irrelevance": 100,
        "mean": pytest.approx(175 / 3),
    }


def test_never_calling_is_right_only_where_no_tool_fits(package, monkeypatch):
    monkeypatch.setenv("BFCL_EVAL", str(package))
    assert list(FLOORS) == ["never call"]
    assert floors({category: load(category) for category in CATEGORIES}) == {
        "never call": {"simple_python": 0, "multiple": 0, "irrelevance": 100, "mean": pytest.approx(100 / 3)}
    }


def test_published_figures_are_percents_of_the_number_of_questions():
    questions = {"simple_python": 400, "multiple": 200, "irrelevance": 240}
    for percents in PUBLISHED.values():
        assert {name: round(value * questions[name] / 100) / questions[name] for name, value in percents.items()} == {
            name: pytest.approx(value / 100, abs=0.0006) for name, value in percents.items()
        }


# --- the questions themselves --------------------------------------------------------------------------------


def installed() -> bool:
    try:
        return folder().is_dir()
    except AssetError:
        return False


def first(allowed: object) -> object:
    """The value that a model would write for an allowed one: in an object the first for each key."""
    if isinstance(allowed, dict):
        return {key: first(values[0]) for key, values in allowed.items()}
    return [first(item) for item in allowed] if isinstance(allowed, list) else allowed


@pytest.mark.skipif(not installed(), reason="bfcl-eval is not installed")
def test_the_official_questions_are_all_there_and_their_first_answers_are_right():
    questions = {category: load(category) for category in CATEGORIES}
    assert {category: len(them) for category, them in questions.items()} == {
        "simple_python": 400, "multiple": 200, "irrelevance": 240
    }  # fmt: skip
    verdicts = Counter()
    for one in questions["simple_python"] + questions["multiple"]:
        [(name, allowed)] = one.answers[0].items()
        kept = {key: [value for value in values if value != ""] for key, values in allowed.items()}
        arguments = {key: first(values[0]) for key, values in kept.items() if values}
        verdicts[judge(one, {"name": name, "arguments": arguments})] += 1
    assert verdicts == {Verdict(True, "The call is right."): 600}
    assert floors(questions)["never call"] == {
        "simple_python": 0, "multiple": 0, "irrelevance": 100, "mean": pytest.approx(100 / 3)
    }  # fmt: skip
