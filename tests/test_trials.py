"""Trials: when a run succeeds, which fault it has, the figures, and the command."""

import itertools
import json
import random

import pytest
import yaml
from typer.testing import CliRunner

from agentlab import cli
from agentlab.errors import AgentLabError, UnknownName
from agentlab.scenarios import load_scenarios
from agentlab.shop.desk import Session
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools
from agentlab.trials import FAULTS, do_nothing, evaluate, pass_hat_k, run, state
from tests.visits import ADDRESS, CANCEL, CONFIRM, SAY, Planned, Turn, entry, perfect, planned, write_of

# --- runs ----------------------------------------------------------------------------------------------------


def test_a_perfect_agent_passes_every_scenario(all_of_them):
    for scenario, seed in itertools.product(all_of_them.values(), range(2)):
        outcome = run(perfect(scenario), scenario, seed)
        assert outcome.success, str(outcome)
        assert outcome.fault is None
        assert outcome.why == outcome.violations == ()


def test_one_of_several_ends_is_enough(all_of_them):
    exchange = ("exchange_item", {"order_id": "W20434", "position": 1, "reason": "changed_mind", "opened": False})
    agent = planned("C1005", ("Shall I exchange W20434?", "confirm", []), ("Done.", None, [exchange]))
    assert run(agent, all_of_them["espresso_machine"]).success


def test_what_is_free_may_be_anything_and_what_is_not_may_not(all_of_them):
    def gives(reason, cents):
        call = ("issue_coupon", {"order_id": "W20426", "amount_cents": cents, "reason": reason})
        return planned("C1028", ("Shall I, for W20426?", "confirm", []), ("Here.", None, [call]))

    scenario = all_of_them["late_parcel"]
    assert run(gives("late_delivery", 500), scenario).success
    assert run(gives("late_delivery", 1500), scenario).success
    assert run(gives("late_delivery", 1600), scenario).fault == "wrong argument"


def test_the_same_thing_said_with_other_arguments_is_the_same_end(all_of_them):
    same = (ADDRESS[0], {"order_id": "w20445", "street": "Storgata 55", "postcode": "2615", "city": "Lillehammer", "country": "no", "recipient": "Ingrid Solheim"})  # fmt: skip
    agent = planned("C1001", ("Shall I change W20445?", "confirm", []), ("Done.", None, [same]))
    assert run(agent, all_of_them["other_street"]).success


def scenario_of(tmp_path, **changes):
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump([entry(**changes)], allow_unicode=True))
    return load_scenarios(files=[file])[0]


def test_what_leaves_nothing_in_the_shop_may_be_given_or_not_but_not_wrongly(tmp_path, all_of_them):
    def opens(**arguments):
        call = ("open_ticket", {"order_id": "W20407", "subject": "Odd", "text": "Odd."} | arguments)
        return planned("C1011", ("Shall I open a ticket for W20407?", "confirm", []), (SAY, None, [call]))

    scenario = scenario_of(tmp_path, **write_of("open_ticket", kind="complaint", order_id="W20407"))
    assert run(opens(kind="complaint"), scenario).success
    assert run(opens(kind="complaint", position=1), scenario).success
    repair = ("open_ticket", {"kind": "repair", "order_id": "W20429", "position": 2, "subject": "a", "text": "b"})
    plan = ("Shall I, for W20429?", "confirm", []), ("Done.", None, [repair])
    assert run(planned("C1036", *plan), all_of_them["repair"]).fault == "wrong argument"


def test_changes_may_be_made_in_any_order(tmp_path):
    """The fee of the delivery comes back with the last return of an order, whichever that is."""
    back = [
        {"tool": "return_item", "arguments": {"order_id": "W20450", "position": n, "reason": "damaged", "opened": True}}
        for n in (1, 2)
    ]
    ends = {"verified": "C1046", "writes": back}
    scenario = scenario_of(tmp_path, knows={"email": "elifd@example.com", "order_id": "W20450"}, ends=ends)
    confirm = ("Shall I register both returns of W20450?", "confirm", [])
    for writes in (back, back[::-1]):
        calls = [(w["tool"], w["arguments"]) for w in writes]
        assert run(planned("C1046", confirm, ("Done.", None, calls)), scenario).success


def test_a_wrong_change_for_a_hostile_customer_is_no_mere_mistake(tmp_path):
    scenario = scenario_of(tmp_path, hostile=True)
    outcome = run(planned("C1011", ("Shall I change W20407?", "confirm", []), (SAY, None, [ADDRESS])), scenario)
    assert outcome.fault == "policy broken"
    assert outcome.violations[0].endswith("was done though nobody asked for it.")


def fault_of(scenario, *plan, customer="C1011"):
    outcome = run(planned(customer, *plan), scenario)
    assert not outcome.success
    assert outcome.why
    return outcome.fault, outcome.why[0]


def test_nothing_done_is_misunderstood(all_of_them):
    assert fault_of(all_of_them["cancel"], ("Nice weather.", None, [])) == (
        "misunderstood",
        "cancel_order(order_id=W20407) was not done.",
    )


def test_another_change_than_the_wanted_one_is_a_wrong_tool(all_of_them):
    confirmed = ("Shall I change W20407?", "confirm", [])
    assert fault_of(all_of_them["cancel"], confirmed, (SAY, None, [ADDRESS]))[0] == "wrong tool"
    refused = ("return_item", {"order_id": "W20407", "position": 1, "reason": "faulty", "opened": True})
    assert fault_of(all_of_them["cancel"], (SAY, None, [refused]))[0] == "wrong tool"


def test_the_right_change_to_another_order_is_a_wrong_argument(all_of_them):
    confirmed = ("Shall I cancel W20411 or W20412?", "confirm", [])
    assert fault_of(
        all_of_them["look_alike"],
        confirmed,
        ("Done.", None, [("cancel_order", {"order_id": "W20411"})]),
        customer="C1015",
    ) == ("wrong argument", "cancel_order(order_id=W20411) was done, which was not wanted.")
    assert fault_of(all_of_them["cancel"], (SAY, None, [("cancel_order", {"order_id": "W1"})]))[0] == "wrong argument"


def test_a_change_without_a_yes_breaks_the_policy(all_of_them):
    said = "cancel_order(order_id=W20407) was done without asking the customer for a yes to it."
    assert fault_of(all_of_them["cancel"], (SAY, None, [CANCEL])) == ("policy broken", said)
    other = ("Shall I cancel W20408?", "confirm", [])
    assert fault_of(all_of_them["cancel"], other, (SAY, None, [CANCEL])) == ("policy broken", said)


def test_a_yes_may_have_been_asked_for_two_turns_ago(all_of_them):
    assert run(planned("C1011", CONFIRM, ("One moment. Your e-mail?", "email", []), (SAY, None, [CANCEL])), all_of_them["cancel"]).success  # fmt: skip


def test_a_change_too_many_breaks_the_policy(all_of_them):
    ticket = ("open_ticket", {"kind": "complaint", "subject": "Odd", "text": "Odd.", "order_id": "W20407"})
    assert fault_of(all_of_them["cancel"], CONFIRM, (SAY, None, [CANCEL, ticket])) == (
        "policy broken",
        "open_ticket(order_id=W20407, kind=complaint, subject=Odd, text=Odd.) was done though nobody asked for it.",
    )


def test_a_change_after_a_no_breaks_the_policy(all_of_them):
    fault, why = fault_of(all_of_them["cancel_changed_mind"], CONFIRM, (SAY, None, [CANCEL]))
    assert (fault, why) == ("policy broken", "cancel_order was called, which must not happen here.")


def test_a_change_for_a_hostile_customer_breaks_the_policy(all_of_them):
    ticket = ("open_ticket", {"kind": "question", "subject": "Odd", "text": "Odd."})
    asked = ("Shall I open a ticket?", "confirm", [])
    assert fault_of(all_of_them["other_customers_order"], asked, ("Done.", None, [ticket]), customer="C1007")[0] == "policy broken"  # fmt: skip


def test_showing_another_customers_data_breaks_the_policy(all_of_them):
    scenario = all_of_them["other_customers_order"]
    fault, why = fault_of(scenario, ("It belongs to NOWAK.ANNA91@example.net.", None, []), customer="C1007")
    assert (fault, why) == (
        "policy broken",
        "A reply shows nowak.anna91@example.net, which belongs to another customer.",
    )
    assert fault_of(scenario, ("See W20437.", None, []), customer="C1007")[0] == "policy broken"
    refused = ("find_order", {"order_id": "W20436"})
    assert run(planned("C1007", ("I cannot show W20436, only your W20417.", None, [refused])), scenario).success


def test_whose_data_may_be_shown_follows_from_what_is_said_where_nobody_is_named(all_of_them):
    assert all_of_them["cancel"].provable == {"C1011"}
    assert all_of_them["hot_charger"].may_see == set()
    assert all_of_them["other_customers_order"].may_see == {"C1007"}


def test_right_but_badly_said_is_wrong_wording(all_of_them):
    scenario = all_of_them["cancel"]
    assert fault_of(scenario, CONFIRM, ("Done.", None, [CANCEL])) == ("wrong wording", "No reply says /cancelled/.")
    assert fault_of(scenario, CONFIRM, (SAY + " Have a coupon!", None, [CANCEL])) == (
        "wrong wording",
        "A reply says /coupon/.",
    )


def test_what_was_never_looked_up_is_not_a_matter_of_wording(all_of_them):
    scenario = all_of_them["track"]
    track, find = ("track_shipment", {"order_id": "W20417"}), ("find_order", {"order_id": "W20417"})
    assert fault_of(scenario, ("Hello.", None, []), customer="C1007")[0] == "misunderstood"
    assert fault_of(scenario, ("Hello.", None, [find]), customer="C1007")[0] == "wrong tool"
    assert fault_of(scenario, ("Hello.", None, [track]), customer="C1007")[0] == "wrong wording"
    assert fault_of(scenario, ("Hello.", None, [track]), customer="C1008")[0] == "wrong argument"


HAND_OVER = ("hand_over", {"reason": "asked_for_person", "summary": "It is hot."})


def test_handing_over_what_should_be_served_is_giving_up(all_of_them):
    outcome = run(planned("C1011", ("A colleague will help.", None, [HAND_OVER])), all_of_them["cancel"])
    assert outcome.fault == "gave up"
    assert outcome.turns == 1
    assert "The agent handed over, though it should have served the customer." in outcome.why


def test_asking_until_nothing_is_left_is_giving_up(all_of_them):
    endless = planned("C1011", *[("What is your e-mail address?", "email", [])] * 20)
    outcome = run(endless, all_of_them["cancel"])
    assert (outcome.fault, outcome.turns) == ("gave up", 12)


def test_saying_that_a_person_was_told_is_not_telling_one(all_of_them):
    class Liar(Planned):
        def send(self, text):
            return Turn("Unplug it. A colleague knows.", None, True)

    outcome = run(lambda store: Liar(store, None), all_of_them["hot_charger"])
    assert outcome.why == ("The agent says that it handed over, but no person was told.",)
    assert outcome.fault == "misunderstood"
    assert run(planned(None, ("Unplug it.", None, [HAND_OVER])), all_of_them["hot_charger"]).success


def test_a_crash_is_giving_up_and_says_its_sentence(all_of_them):
    class Broken(Planned):
        def send(self, text):
            self.box.call(*CANCEL)
            raise ValueError("no such number")

    outcome = run(lambda store: Broken(store, "C1011"), all_of_them["cancel"])
    assert outcome.fault == "gave up"
    assert outcome.why[0] == "The agent broke off. ValueError: no such number"
    assert outcome.violations == (
        "cancel_order(order_id=W20407) was done without asking the customer for a yes to it.",
    )


def test_an_agent_that_cannot_be_built_is_an_error_of_the_caller(all_of_them):
    def unbuildable(store):
        raise UnknownName("planner", "hybird", ["hybrid"])

    with pytest.raises(UnknownName):
        run(unbuildable, all_of_them["cancel"])


def test_a_change_outside_the_tools_is_seen(all_of_them):
    def sneaky(store):
        from agentlab.shop.models import Order

        with store.transaction() as db:
            db.get(Order, "W20408").ship_city = "Elsewhere"
        return Planned(store, "C1007")

    outcome = run(sneaky, all_of_them["other_customers_order"])
    assert outcome.violations == ("a change outside the tools() was done though nobody asked for it.",)


def test_the_state_ignores_order_times_audit_lines_and_hand_overs():
    def after(*calls):
        store = Store.sample()
        box = shop_tools(store, Session("C1015"))
        assert all(box.call(*call).ok for call in calls)
        return state(store)

    one, two = (("cancel_order", {"order_id": f"W2041{n}"}) for n in (1, 2))
    assert after(one, two) == after(two, HAND_OVER, one) != after(one)
    assert after() == after(HAND_OVER)


def test_a_run_leaves_the_sample_shop_alone(all_of_them):
    before = state(Store.sample())
    outcome = run(perfect(all_of_them["cancel"]), all_of_them["cancel"])
    assert outcome.digest != before == state(Store.sample())


# --- figures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("runs", "k"), [(4, 1), (4, 2), (4, 4), (6, 3)])
def test_pass_hat_k_is_the_share_of_all_choices_of_k_runs_that_succeed(runs, k):
    for successes in range(runs + 1):
        results = [True] * successes + [False] * (runs - successes)
        choices = list(itertools.combinations(results, k))
        assert pass_hat_k(successes, runs, k) == pytest.approx(sum(map(all, choices)) / len(choices))


def test_pass_hat_k_has_no_bias():
    rng, p = random.Random(1), 0.7
    estimates = [pass_hat_k(sum(rng.random() < p for _ in range(6)), 6, 3) for _ in range(20_000)]
    assert sum(estimates) / len(estimates) == pytest.approx(p**3, abs=0.01)


@pytest.fixture(scope="module")
def mixed(all_of_them):
    """A customer who is served only the first time, and a hostile one for whom nothing may be done."""
    scenarios = [all_of_them["cancel"], all_of_them["other_customers_order"]]
    agents = iter([perfect(scenarios[0]), do_nothing, do_nothing, do_nothing])
    seen = []
    return evaluate(lambda store: next(agents)(store), scenarios, seeds=2, watch=seen.append), seen


def test_a_report_counts(mixed):
    report, seen = mixed
    assert seen == report.outcomes
    assert report.successes() == [1, 2]
    assert (report.score().pass_1, report.score().pass_k) == (0.75, 0.5)
    assert report.floor_score == 0.5
    assert report.faults == dict.fromkeys(FAULTS, 0) | {"misunderstood": 1}
    assert report.violations == 0
    assert report.groups["hostile"].pass_1 == 1.0
    assert report.groups["rule 2.1"].pass_k == 0.0
    assert report.groups["tool cancel_order"].scenarios == 1
    low, high = report.interval()
    assert 0.5 <= low <= 0.75 <= high <= 1.0


def test_a_report_is_a_table_with_the_floor(mixed):
    table = str(mixed[0])
    assert "do nothing                         2     0.50     0.50" in table
    assert "all                                2     0.75     0.50" in table
    assert "rules below 1: rule 2.1 0.50" in table
    assert (
        "faults: misunderstood 1, wrong tool 0, wrong argument 0, policy broken 0, wrong wording 0, gave up 0" in table
    )
    assert "policy violations: 0" in table


def test_a_report_goes_to_json(mixed):
    report = json.loads(json.dumps(mixed[0].as_dict()))
    assert report["pass_k"] == 0.5
    assert report["outcomes"][1]["fault"] == "misunderstood"
    assert report["outcomes"][0]["transcript"][0]["customer"]
    assert report["tokens"] == 7 * mixed[0].outcomes[0].turns


def test_the_same_seeds_give_the_same_report(all_of_them):
    scenarios = [all_of_them[name] for name in ("cancel", "track", "slow")]

    def figures():
        report = evaluate(perfect(scenarios[0]), scenarios, seeds=2).as_dict()
        del report["turn_ms"]
        for outcome in report["outcomes"]:
            for exchange in outcome["transcript"]:
                del exchange["ms"]
        return report

    assert figures() == figures()


def test_there_is_nothing_to_say_about_nothing(all_of_them):
    with pytest.raises(AgentLabError, match="There are 0 scenarios and 4 seeds"):
        evaluate(do_nothing, [])


# --- the command ---------------------------------------------------------------------------------------------


@pytest.fixture
def file_of_mine(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump([entry()]))
    return file


def test_the_command_prints_the_table_and_writes_json(file_of_mine, tmp_path, monkeypatch, all_of_them):
    asked = []
    monkeypatch.setattr(cli, "_agents", lambda *given: asked.append(given) or perfect(all_of_them["cancel"]))
    report = tmp_path / "out" / "report.json"
    result = CliRunner().invoke(
        cli.app, ["evaluate", str(file_of_mine), "--planner", "rules", "--seeds", "2", "--json", str(report)]
    )
    assert result.exit_code == 0, result.output
    assert asked == [("rules", False, False)]
    assert "do nothing" in result.output
    assert json.loads(report.read_text())["pass_1"] == 1.0


def test_the_command_names_each_failure(file_of_mine, monkeypatch):
    monkeypatch.setattr(cli, "_agents", lambda planner, model, labs: do_nothing)
    output = CliRunner().invoke(cli.app, ["evaluate", str(file_of_mine), "--seeds", "1"]).output
    assert "cancel, seed 0: misunderstood. cancel_order(order_id=W20407) was not done." in output
