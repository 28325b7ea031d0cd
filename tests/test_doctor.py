import json

import pytest
import torch
from typer.testing import CliRunner

from agentlab import assets, cli, course, device, doctor
from agentlab.errors import AssetError
from agentlab.notebooks import notebook_folder


def test_a_sound_machine_has_no_bad_line():
    checks, rows = doctor.examine(seconds=0.1)
    assert {c.name for c in checks} >= {
        "python",
        "packages",
        "cpu",
        "memory",
        "disk",
        "gpu",
        "encoder",
        "language model",
        "cache",
    }
    assert all(c.ok for c in checks if c.needed), checks
    assert {row["lesson"] for row in rows} >= {"00_start_here", "01_prepare_data"}
    assert all(row["minutes"] >= 0 and row["mb"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("lock", "ok", "needed", "text"),
    [
        ("numpy==0.0.1\n", False, False, "other versions: numpy"),
        ("no-such-package==1.0\n", False, True, "missing: no-such-package. Cure: `pip install"),
        ("# only a remark\n", True, True, "0 packages"),
    ],
)
def test_packages_are_compared_with_the_lock(tmp_path, lock, ok, needed, text):
    (tmp_path / "lock").write_text(lock)
    check = doctor.check_packages(tmp_path / "lock")
    assert (check.ok, check.needed, text in check.text) == (ok, needed, True), check


def test_no_lock_is_no_fault(tmp_path):
    assert doctor.check_packages(tmp_path / "none").ok


def test_a_broken_asset_is_bad_with_its_cure(monkeypatch):
    def broken(asset):
        raise AssetError("The weight file x is missing. Cure: `pip install y`.")

    monkeypatch.setattr(assets, "check", broken)
    check = doctor.check_asset(assets.ENCODER)
    assert not check.ok
    assert "Cure: `pip install y`" in check.text
    assert not doctor.able([check])


def test_the_command_fails_when_a_lesson_could_not_run(monkeypatch):
    bad = [doctor.Check("memory", False, "1.0 GiB; 4 GiB are needed")]
    monkeypatch.setattr(doctor, "examine", lambda: (bad, []))
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert "BAD  memory: 1.0 GiB; 4 GiB are needed" in result.output
    result = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "ok": False,
        "checks": [{"name": "memory", "ok": False, "text": "1.0 GiB; 4 GiB are needed", "needed": True}],
        "lessons": [],
    }


def test_a_note_does_not_fail(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: ([doctor.Check("packages", False, "other", needed=False)], []))
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 0
    assert "NOTE packages" in result.output


def test_a_faster_machine_is_predicted_to_need_less():
    costs = {"gflops": 100.0, "lessons": {"00_x": {"cpu": {"seconds": 60, "peak_mb": 900}}}}
    assert course.scaled(costs, 400.0)["00_x"]["cpu"] == {"seconds": 30, "peak_mb": 900}


def test_the_costs_of_a_run_are_kept_for_the_doctor(private_cache):
    run = course.Run("00_start_here", True, 42.0, 700.0)
    course.update_costs(course.Report("quick", "cpu", 42.0, [run, course.Run("01_x", False, 1.0)]))
    for gflops in (50.0, 500.0):  # what was measured here is not estimated
        costs = course.expected_costs(gflops)
        assert costs["00_start_here"]["quick"] == {"seconds": 42.0, "peak_mb": 700}
        assert "cpu" in costs["00_start_here"]
    assert "01_x" not in costs
    course.costs_file().write_text("{")
    assert course.expected_costs(50.0)


def test_the_shipped_table_knows_every_lesson():
    lessons = course.shipped_costs()["lessons"]
    assert sorted(lessons) == sorted(p.stem for p in notebook_folder().glob("[0-9]*.ipynb"))
    assert all(set(profiles) == {"quick", "cpu"} for profiles in lessons.values())


def test_the_speed_test_measures():
    assert device.matrix_gflops(0.1) > 1
    machine = device.inspect_machine()
    assert machine.cores >= 1
    assert machine.memory_gib > 0.5
    assert machine.dtype in ("float32", "bfloat16", "float16")


def test_the_number_type_is_the_one_that_this_cpu_multiplies_faster(monkeypatch):

    for gain, expected in ((0.5, "float32"), (1.1, "float32"), (2.0, "bfloat16")):
        monkeypatch.setattr(device, "bfloat16_gain", lambda gain=gain: gain)
        assert str(device.training_dtype(torch.device("cpu"))) == f"torch.{expected}"


def test_asking_the_cpu_leaves_random_numbers_and_threads_as_they_were():

    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    assert 0.05 < device.bfloat16_gain.__wrapped__(2) < 20
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
