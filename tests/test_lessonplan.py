"""Plans fit their minutes, whatever the lesson, and say what a teacher needs."""

import re

import pytest
from typer.testing import CliRunner

from agentlab import cli, lessonplan, notebooks
from agentlab.errors import AgentLabError, UnknownName


@pytest.mark.parametrize("lesson", notebooks.lesson_names())
def test_a_lesson_is_read_whole(lesson):
    """Every code cell and every exercise stands in one section, and the minutes add up to what the lesson states."""
    _, minutes, sections = lessonplan.read_sections(lesson)
    source = notebooks.read_source(notebooks.notebook_folder() / "src" / f"{lesson}.py")
    code = sum(cell.cell_type == "code" for cell in source.cells)
    assert [n for s in sections for n in s.cells] == list(range(1, code + 1))
    assert [e.id for s in sections for e in s.exercises] == notebooks.exercise_ids(source)
    total = sum(s.minutes + sum(e.minutes for e in s.exercises) for s in sections)
    assert total == pytest.approx(minutes)


@pytest.mark.parametrize("minutes", [45, 90, 180])
@pytest.mark.parametrize("lesson", notebooks.lesson_names())
def test_a_plan_fits_and_wastes_little(lesson, minutes):
    plan = lessonplan.plan_lesson(lesson, minutes)
    pauses = lessonplan.breaks(minutes) * lessonplan.BREAK_MINUTES
    assert plan.taught + pauses <= minutes
    left = minutes - pauses - plan.taught
    smallest = min((e.minutes for e in plan.home), default=None)
    assert smallest is None or left < smallest + max(s.minutes for s in (step.section for step in plan.steps))
    assert [s.section.title for s in plan.steps] == [s.title for s in lessonplan.read_sections(lesson)[2]]


def test_easy_exercises_are_done_in_class_before_hard_ones():
    plan = lessonplan.plan_lesson("02", 45)
    done = [e for step in plan.steps for e in step.exercises]
    assert done
    assert max(e.difficulty for e in done) <= min(e.difficulty for e in plan.home if e.minutes <= 8) + 1
    assert {"loss.smoothed_dz", "loss.bce_from_logits"} <= {e.id for e in plan.home}


def test_the_whole_lesson_fits_where_there_is_time():
    plan = lessonplan.plan_lesson("01_prepare_data", 90)
    assert plan.home == []
    assert {step.mode for step in plan.steps} == {lessonplan.TOGETHER}


def test_the_text_has_cells_stop_points_pair_tasks_and_help():
    text = lessonplan.text_of(lessonplan.plan_lesson("04", 180))
    clocks = [int(h) * 60 + int(m) for h, m in re.findall(r"^(\d):(\d\d)  ", text, re.M)]
    assert clocks == sorted(clocks)
    assert clocks[0] == 0
    assert clocks[-1] <= 180
    assert "BREAK, 10 min" in text
    assert re.search(r"STOP POINT at 0:\d\d: nothing is open here\. Next time begin at “[^”]+”\s+\(cells \d+", text)
    assert "Exercise language.top_p: 12 min, difficulty 2 of 3, in pairs" in text
    assert "Stuck for 10 minutes? Say: values, order = torch.sort" in text
    assert "Exercise language.greedy: 8 min, difficulty 1 of 3, alone" in text
    assert max(map(len, text.splitlines())) <= 130


def test_what_is_left_for_home_is_named():
    assert "For home, or for who is fast: " in lessonplan.text_of(lessonplan.plan_lesson("03", 45))


@pytest.mark.parametrize(("days", "minutes"), [(2, 300), (3, 240), (2, 400)])
def test_the_course_fits_its_days(days, minutes):
    planned = lessonplan.plan_course(days, minutes)
    assert len(planned) <= days
    for day in planned:
        assert sum(step.minutes for _, steps in day for step in steps) <= minutes
    taught = [plan.lesson for day in planned for plan, _ in day]
    assert list(dict.fromkeys(taught)) == notebooks.lesson_names()
    text = lessonplan.course_text(planned, minutes)
    assert text.count("DAY ") == len(planned)
    assert "BREAK" in text


def test_too_little_time_is_said():
    with pytest.raises(AgentLabError, match="too few for a lesson"):
        lessonplan.plan_lesson("02", 10)
    with pytest.raises(AgentLabError, match="1 days of 60 minutes are too few"):
        lessonplan.plan_course(1, 60)
    with pytest.raises(UnknownName, match="Unknown lesson '77'"):
        lessonplan.plan_lesson("77", 45)


def test_the_command():
    result = CliRunner().invoke(cli.app, ["class", "plan", "00", "--minutes", "45"])
    assert "00 · Start here: a plan for 45 minutes" in result.output
    assert "30 minutes are left: the play cell" in result.output
    assert "DAY 2" in CliRunner().invoke(cli.app, ["class", "plan", "--days", "2"]).output
    assert isinstance(CliRunner().invoke(cli.app, ["class", "plan"]).exception, AgentLabError)


# --- the guide for teachers ---


def test_every_command_of_the_teaching_guide_exists():
    from typer.main import get_command

    guide = (notebooks.notebook_folder() / "teaching.md").read_text(encoding="utf-8")
    lines = re.findall(r"^agentlab (.+)$|`agentlab ([^`]+)`", guide, re.M)
    assert len(lines) >= 6
    for words in ((block or inline).split() for block, inline in lines):
        command = get_command(cli.app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not hasattr(command, "commands"), words
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, words
    grading = get_command(cli.app).commands["grade"]
    assert {"--seconds", "--memory", "--unprotected"} <= {o for p in grading.params for o in p.opts}
