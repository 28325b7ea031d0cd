import pytest

from agentlab import errors


def test_an_unknown_name_suggests_the_nearest_and_lists_all():
    with pytest.raises(
        errors.UnknownName, match=r"Did you mean 'refund_status'.*Available: cancel_order, refund_status"
    ):
        raise errors.UnknownName("intent", "refund_stauts", ["refund_status", "cancel_order"])


def test_nothing_is_suggested_where_nothing_is_near():
    assert "Did you mean" not in str(errors.UnknownName("intent", "zzz", ["refund_status"]))
    assert str(errors.UnknownName("lesson", "x", [])).endswith("Available: none.")


def test_a_data_error_names_file_line_and_cure():
    error = errors.DataError("an empty message.", "a/b.yml", 7, "Delete the line.")
    assert str(error) == "a/b.yml:7: an empty message. Delete the line."
    assert (error.file, error.line) == ("a/b.yml", 7)


@pytest.mark.parametrize(
    "kind", [errors.DataError, errors.UnknownName, errors.AssetError, errors.LessonError, errors.NetworkBlocked]
)
def test_all_errors_have_one_base(kind):
    assert issubclass(kind, errors.AgentLabError)
