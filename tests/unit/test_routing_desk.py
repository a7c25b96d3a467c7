"""The routing desk: what is published when, in which version, and what an operator's word does to it."""

from __future__ import annotations

import math

import msgspec
import pytest

from stream.errors import SettingsError
from stream.records import Arm, Override, RoutingUpdate
from stream.routing.confidence import METHOD
from stream.routing.desk import CLASSES_PER_CALL, MERGED_PER_CALL, RoutingDesk
from stream.routing.settings import RoutingSettings
from stream.routing.state import RoutingState
from stream.settings import DeclaredArm, load
from tests.unit.routing_support import DAY_S, FOLD, NOW_S, by_class, desk, row, scored, shares, statistics

PIN = Override(kind="pin", query_class="code", arm=Arm(model="b"))
WITHDRAW = Override(kind="withdraw", arm=Arm(model="a"))
FREEZE = Override(kind="freeze", query_class="code")


def put(routing: RoutingDesk, override: Override) -> None:
    routing.override(override.key, override)


def decided(routing: RoutingDesk, now_s: float, query_class: str = "code") -> RoutingUpdate:
    return by_class(routing.due(now_s))[query_class]


# ---- what is decided


def test_desk_publishes_what_a_class_earned() -> None:
    """The whole record: counts, mean, interval, cost and state come from the evidence, and shares sum to 1."""
    routing = desk()
    routing.learn(statistics({"a": [row(1, 1, 0, COST_KNOWN=1, COST_NANO_USD=2_000_000_000)], "b": scored(20, 20)}))

    update = decided(routing, 0.0)
    first, second = update.arms

    assert (update.fold, update.policy, update.version[0], update.interval_method) == (FOLD, "thompson", 5, METHOD)
    assert math.fsum(shares(update).values()) == pytest.approx(1.0)
    assert (first.id, first.count, first.rated_count, first.state, second.state) == ("a", 3, 3, "exploring", "active")
    assert first.mean == pytest.approx(2 / 3)
    assert first.cost_usd == pytest.approx(2.0)
    assert first.latency_s is None
    assert first.interval is not None
    assert first.interval[0] < 2 / 3 < first.interval[1]


def test_desk_prefers_what_earned_more() -> None:
    """Forty of fifty against ten of fifty: nearly all draws, and no arm below its part of the exploration share, .05 / 2 / 2."""
    routing = desk(exploration_share=0.05)
    routing.learn(statistics({"a": scored(40, 10), "b": scored(10, 40)}))

    found = shares(decided(routing, 0.0))

    assert found["a"] > 0.97
    assert found["b"] == pytest.approx(0.0125, abs=1e-3)


def test_desk_lets_the_default_arm_lead_a_cold_class() -> None:
    """Five of ten scored traces: half to the default arm, and its part of what Thompson shares out."""
    routing = desk(default_arm=Arm(model="safe"), min_evidence=10, exploration_share=0.0)
    routing.learn(statistics({"a": scored(3, 2)}))

    update = decided(routing, 0.0)

    assert 0.5 < shares(update)["safe"] < 1.0
    assert "5 of the 10 scored traces" in update.reason


def test_desk_names_no_best_arm_before_it_is_proven() -> None:
    """Ten draws prove nothing; two thousand at .8 against .5 do."""
    early, late = desk(), desk()
    early.learn(statistics({"a": scored(8, 2), "b": scored(5, 5)}))
    late.learn(statistics({"a": scored(800, 200), "b": scored(500, 500)}))

    assert (decided(early, 0.0).best_arm, decided(late, 0.0).best_arm) == (None, "a")


def test_desk_publishes_what_unknown_classes_draw_from() -> None:
    """A router must have something for a class that nobody has seen: all classes together, and declared arms before any trace."""
    fresh = desk(declared=(Arm(model="a"), Arm(model="b")))
    routing = desk()
    routing.learn(statistics({"a": scored(40, 10)}, query_class="code"))
    routing.learn(statistics({"b": scored(10, 40)}, query_class="math"))

    assert shares(decided(fresh, 0.0, "*")) == pytest.approx({"a": 0.5, "b": 0.5})
    assert shares(decided(routing, 0.0, "*"))["a"] > 0.9


def test_desk_without_anything_publishes_nothing() -> None:
    """No arm is known: an update without arms would say nothing."""
    assert desk().due(0.0) == []


def test_desk_learns_from_traces_that_no_router_drew() -> None:
    """An imported history must move the first decision, though it can prove nothing."""
    routing = desk()
    routing.learn(statistics({"a": scored(700, 300, drawn=0), "b": scored(300, 700, drawn=0)}))

    update = decided(routing, 0.0)

    assert shares(update)["a"] > 0.9
    assert update.best_arm is None


# ---- when


def test_desk_publishes_once_until_something_changes() -> None:
    """Compacted or not, a topic is not for repeating oneself."""
    routing = desk()
    routing.learn(statistics({"a": scored(1, 0)}))
    routing.due(0.0)

    assert routing.due(0.1) == []
    assert routing.due(10.0) == []


def test_desk_publishes_a_move_after_the_interval_and_not_before() -> None:
    """A burst of statistics makes one update, not one each."""
    routing = desk(interval_s=0.5)
    routing.learn(statistics({"a": scored(5, 5), "b": scored(5, 5)}))
    routing.due(0.0)
    routing.learn(statistics({"a": scored(50, 5), "b": scored(5, 5)}, offset=2))

    assert routing.due(0.4) == []
    assert shares(decided(routing, 0.5))["a"] > 0.9


def test_desk_publishes_new_counts_of_an_unmoved_decision_a_second_later() -> None:
    """People who watch want to see counts grow; routers need not hear of it at once."""
    routing = desk(declared=(Arm(model="a"),))
    routing.learn(statistics({"a": scored(500, 500)}))
    routing.due(0.0)
    routing.learn(statistics({"a": scored(501, 500)}, offset=2))

    assert "code" not in by_class(routing.due(0.5))
    assert decided(routing, 1.0).arms[0].count == 1001


def test_desk_renews_an_update_before_it_is_too_old() -> None:
    """A router that sees no update within the staleness must be able to conclude that nobody decides any more."""
    routing = desk(max_staleness_s=60.0)
    routing.learn(statistics({"a": scored(1, 0)}))
    routing.due(0.0)

    assert routing.due(40.0) == []
    assert set(by_class(routing.due(59.0))) == {"code", "*"}


def test_desk_decides_a_bounded_number_of_classes_at_a_call_and_forgets_none() -> None:
    """A thousand classes after a restart must not hold an event loop; those that wait longest come first."""
    routing = desk()
    names = {f"class {number}" for number in range(2 * CLASSES_PER_CALL)}
    for name in names:
        routing.learn(statistics({"a": scored(1, 0)}, query_class=name))

    batches = [routing.due(0.0) for _ in range(3)]

    assert max(map(len, batches)) <= CLASSES_PER_CALL
    assert {update.query_class for batch in batches for update in batch} == {*names, "*"}


def test_desk_decides_nothing_before_all_that_it_learned_is_merged() -> None:
    """A new owner reads thousands of totals; a decision by half of them would route by half of the evidence, and no call may take seconds."""
    routing = desk()
    for number in range(2 * MERGED_PER_CALL + 1):
        routing.learn(statistics({"a": scored(1, 0)}, partition=number))

    assert [routing.due(0.0), routing.due(0.0)] == [[], []]
    assert decided(routing, 0.0).arms[0].count == 2 * MERGED_PER_CALL + 1


def test_desk_publishes_growing_versions() -> None:
    """Routers take the greater of two versions, whatever order they are read in."""
    routing = desk(epoch=7)
    for name in ("code", "math"):
        routing.learn(statistics({"a": scored(1, 0)}, query_class=name))

    assert [update.version for update in routing.due(0.0)] == [(7, 1), (7, 2), (7, 3)]
    assert routing.state.version == (7, 3)


# ---- operators


def test_a_pin_decides_at_once_and_its_lifting_too() -> None:
    """An operator who pins expects the next request to go there."""
    routing = desk()
    routing.learn(statistics({"a": scored(40, 10), "b": scored(10, 40)}))
    routing.due(0.0)

    put(routing, PIN)
    pinned = decided(routing, 0.1)
    routing.override(PIN.key, None)
    lifted = decided(routing, 0.2)

    assert (pinned.policy, shares(pinned)) == ("pinned", {"a": 0.0, "b": 1.0})
    assert pinned.exploration_share == 0.0
    assert (lifted.policy, shares(lifted)["a"] > 0.9) == ("thompson", True)


def test_a_pin_on_one_class_outranks_a_pin_on_all() -> None:
    """The narrower word is the later thought."""
    routing = desk()
    routing.learn(statistics({"a": scored(4, 1)}))
    put(routing, PIN)
    put(routing, Override(kind="pin", arm=Arm(model="c")))

    updates = by_class(routing.due(0.0))

    assert shares(updates["code"])["b"] == 1.0
    assert shares(updates["*"])["c"] == 1.0


def test_a_pinned_class_is_published_before_its_first_trace() -> None:
    """An operator may know of a class before the log does."""
    routing = desk()
    put(routing, PIN)

    assert shares(decided(routing, 0.0)) == {"b": 1.0}


def test_a_rollout_goes_out_with_every_class_at_once_and_its_lifting_too() -> None:
    """Who stops what is learned from serving means now, and everywhere; nothing else in the updates moves."""
    routing = desk()
    routing.learn(statistics({"a": scored(40, 10), "b": scored(10, 40)}))
    before = by_class(routing.due(0.0))

    word = Override(kind="rollout", share=0.0)
    put(routing, word)
    stopped = by_class(routing.due(2.0))
    routing.override(word.key, None)
    lifted = by_class(routing.due(4.0))

    assert [{name: update.rollout for name, update in updates.items()} for updates in (before, stopped, lifted)] == [
        {"code": None, "*": None},
        {"code": 0.0, "*": 0.0},
        {"code": None, "*": None},
    ]
    assert shares(stopped["code"]) == shares(before["code"])


def test_a_withdrawn_arm_is_gone_with_one_update() -> None:
    """It keeps its row, so that routers and people see that it may not serve."""
    routing = desk()
    routing.learn(statistics({"a": scored(40, 10), "b": scored(10, 40)}))
    routing.due(0.0)

    put(routing, WITHDRAW)
    update = decided(routing, 0.1)

    assert shares(update) == {"a": 0.0, "b": 1.0}
    assert [arm.state for arm in update.arms] == ["withdrawn", "active"]
    assert update.arms[0].mean is not None


def test_a_withdrawn_arm_is_gone_from_every_class_with_the_next_look() -> None:
    """All classes together are looked at once a second, and a class no more often than its interval; an operator's word waits for neither."""
    routing = desk()
    for name in ("code", "math", "chat"):
        routing.learn(statistics({"a": scored(40, 10), "b": scored(10, 40)}, query_class=name))
    routing.due(0.0)

    put(routing, WITHDRAW)
    updates = by_class(routing.due(0.001))

    assert {name: shares(update)[WITHDRAW.arm.id] for name, update in updates.items() if WITHDRAW.arm} == dict.fromkeys(("code", "math", "chat", "*"), 0.0)


def test_withdrawing_a_model_withdraws_it_with_every_agent() -> None:
    """An empty field of what is withdrawn stands for any; a field that is not routed over cannot be told apart."""
    routing = desk(arm_fields=("model", "agent"))
    routing.learn(statistics({"a|plan": scored(1, 0), "a|react": scored(1, 0), "b|react": scored(1, 0)}))
    put(routing, WITHDRAW)
    coarse = desk(arm_fields=("model",))
    coarse.learn(statistics({"a|plan": scored(1, 0), "b|react": scored(1, 0)}))
    put(coarse, Override(kind="withdraw", arm=Arm(model="a", agent="plan")))

    assert shares(decided(routing, 0.0)) == {"a|plan": 0.0, "a|react": 0.0, "b|react": 1.0}
    assert shares(decided(coarse, 0.0)) == {"a": 0.0, "b": 1.0}


def test_withdrawing_a_pair_leaves_the_model_with_other_agents() -> None:
    """All that a withdrawn arm names must fit, not any of it."""
    routing = desk(arm_fields=("model", "agent"))
    routing.learn(statistics({"a|plan": scored(1, 0), "a|react": scored(1, 0), "b|plan": scored(1, 0)}))
    put(routing, Override(kind="withdraw", arm=Arm(model="a", agent="plan")))

    assert [arm_id for arm_id, share in shares(decided(routing, 0.0)).items() if share == 0.0] == ["a|plan"]


def test_a_pin_that_was_withdrawn_leaves_the_others_to_the_policy() -> None:
    """Withdrawing outranks pinning: the class goes on with what may serve."""
    routing = desk()
    routing.learn(statistics({"a": scored(40, 10), "c": scored(10, 40)}))
    put(routing, PIN)
    put(routing, Override(kind="withdraw", arm=Arm(model="b")))

    update = decided(routing, 0.0)

    assert update.policy == "thompson"
    assert shares(update)["b"] == 0.0
    assert shares(update)["a"] > 0.9


def test_withdrawing_every_arm_leaves_nothing_to_draw() -> None:
    """Not even a pin or the default arm serves then: what was withdrawn never does."""
    routing = desk(default_arm=Arm(model="a"))
    routing.learn(statistics({"a": scored(4, 1)}))
    put(routing, WITHDRAW)
    put(routing, Override(kind="pin", arm=Arm(model="a")))

    update = decided(routing, 0.0)

    assert (update.policy, shares(update)) == ("withdrawn", {"a": 0.0})


def test_a_frozen_class_keeps_its_probabilities_over_evidence_and_restart() -> None:
    """Frozen is frozen: new evidence is counted and changes no share, in this process and the next."""
    routing = desk()
    routing.learn(statistics({"a": scored(12, 8), "b": scored(10, 10)}))
    before = shares(decided(routing, 0.0))
    put(routing, FREEZE)
    routing.learn(statistics({"a": scored(12, 800), "b": scored(10, 10)}, offset=2))
    frozen = decided(routing, 0.1)

    successor = RoutingDesk(settings=RoutingSettings(), fold=FOLD, state=RoutingState.decode(routing.state.encode()))
    successor.claim(6)
    put(successor, FREEZE)
    successor.learn(statistics({"a": scored(12, 8000), "b": scored(10, 10), "new": scored(9, 0)}, offset=3))
    later = decided(successor, 0.0)

    assert frozen.policy == "frozen"
    assert shares(frozen) == pytest.approx(before)
    assert frozen.arms[0].count == 812
    assert shares(later) == pytest.approx(before | {"new": 0.0})


def test_a_lifted_freeze_is_forgotten() -> None:
    """A second freeze must keep what was decided between the two."""
    routing = desk()
    routing.learn(statistics({"a": scored(12, 8), "b": scored(10, 10)}))
    put(routing, FREEZE)
    routing.due(0.0)
    routing.override(FREEZE.key, None)
    routing.due(0.1)

    assert routing.state.frozen == {}


def test_a_withdrawn_arm_leaves_a_frozen_class_too() -> None:
    """Withdrawing outranks freezing; the others keep their proportions."""
    routing = desk()
    routing.learn(statistics({"a": scored(12, 8), "b": scored(10, 10), "c": scored(10, 10)}))
    before = shares(decided(routing, 0.0))
    put(routing, FREEZE)
    put(routing, WITHDRAW)

    after = shares(decided(routing, 0.1))

    assert after["a"] == 0.0
    assert after["b"] / after["c"] == pytest.approx(before["b"] / before["c"])


# ---- several owners


def foreign(version: tuple[int, int]) -> RoutingUpdate:
    other = desk()
    other.learn(statistics({"a": scored(1, 0)}))
    return msgspec.structs.replace(decided(other, 0.0), version=version)


def test_an_older_foreign_update_after_ours_makes_ours_due_again() -> None:
    """A zombie's last write would otherwise be what a fresh reader of the compacted topic ends on."""
    routing = desk(epoch=5)
    routing.learn(statistics({"a": scored(1, 0)}))
    ours = decided(routing, 0.0)

    routing.saw_update(ours, "code")
    assert routing.due(0.1) == []
    routing.saw_update(foreign((4, 99)), "code")
    again = decided(routing, 0.1)

    assert shares(again) == shares(ours)
    assert again.version > ours.version


def test_a_foreign_tombstone_after_ours_makes_ours_due_again() -> None:
    """An earlier owner may have retired a class that has traces again."""
    routing = desk()
    routing.learn(statistics({"a": scored(1, 0)}))
    routing.due(0.0)

    routing.saw_update(None, "code")

    assert set(by_class(routing.due(0.1))) == {"code"}


def test_a_newer_epoch_supersedes_until_a_greater_claim() -> None:
    """Two owners never overwrite each other in turns: the older one falls silent."""
    routing = desk(epoch=5)
    routing.learn(statistics({"a": scored(1, 0)}))
    routing.saw_update(foreign((6, 1)), "code")

    assert (routing.superseded_by, routing.due(0.0), routing.greatest_epoch) == (6, [], 6)
    routing.claim(7)
    assert routing.superseded_by is None
    assert decided(routing, 0.0).version[0] == 7


def test_a_new_owner_publishes_every_class_anew() -> None:
    """What stands on the topic may be of any age and from any owner."""
    routing = RoutingDesk(settings=RoutingSettings(), fold=FOLD, state=RoutingState(epoch=4))
    routing.saw_update(foreign((4, 3)), "code")
    routing.learn(statistics({"a": scored(1, 0)}))
    routing.claim(5)

    assert set(by_class(routing.due(0.0))) == {"code", "*"}


def test_classes_without_anything_are_retired_once() -> None:
    """Another fold's classes, and those whose last partition forgot them, must not route for ever."""
    routing = desk()
    routing.saw_update(foreign((4, 3)), "gone")
    routing.learn(statistics({"a": scored(1, 0)}))
    routing.due(0.0)

    assert (routing.retired(), routing.retired()) == (["gone"], [])
    routing.forget_class(f"{FOLD}/0/code")
    routing.due(60.0)
    assert routing.retired() == ["*", "code"]
    assert routing.due(120.0) == []


def test_a_class_ends_when_its_buckets_have_aged_out() -> None:
    """Log time goes on through other classes; an idle one is retired after the kept days."""
    routing = desk()
    routing.learn(statistics({"a": scored(1, 0)}))
    routing.due(0.0)
    routing.learn(statistics({"b": [row(1, start_s=NOW_S + 40 * DAY_S)]}, query_class="math", log_time_s=NOW_S + 40 * DAY_S))
    routing.due(60.0)

    assert routing.retired() == ["code"]


@pytest.mark.parametrize("key", ["", "x", f"{FOLD}/zero/code", f"{FOLD}/9/code", "other/0/code", "//"])
def test_a_foreign_key_on_the_statistics_topic_is_ignored(key: str) -> None:
    """Whatever stands there must not end the worker."""
    routing = desk()
    routing.learn(statistics({"a": scored(1, 0)}))

    routing.forget_class(key)

    assert "code" in by_class(routing.due(0.0))


# ---- settings


def test_settings_of_a_deployment_are_taken_over() -> None:
    """Declared and default arms are cut to what is routed over; confidence becomes the chance of a false winner."""
    settings = load(arms=(DeclaredArm(id="a|react"),), default_arm="a|react", confidence=0.9, keep_days=3, routing_interval_s=0.1)

    found = RoutingSettings.of(settings)

    assert found.known_arms == (Arm(model="a"), Arm(model="a"))
    assert (found.alpha, found.keep_s, found.interval_s, found.policy) == (0.1, 3 * DAY_S, 0.1, "thompson")


def test_an_unknown_policy_is_refused_by_name() -> None:
    """At start-up, and not at the first trace."""
    with pytest.raises(SettingsError, match=r"policy 'thomson' is unknown, but routing knows thompson, .*EDDY_POLICY"):
        desk(policy="thomson")


def test_class_is_decided_anew_when_other_classes_have_taught_it_something() -> None:
    """Three of four against two of four in `code`; then a hundred of each in `math` say the opposite: `code` follows within seconds, though nothing of its own came in.

    Else what is published would depend on which class spoke last, and a new owner would publish something else from the same totals.
    """
    routing = desk(min_evidence=1)
    routing.learn(statistics({"a": scored(3, 1), "b": scored(2, 2)}))
    before = shares(decided(routing, 0.0))
    routing.learn(statistics({"a": scored(20, 80), "b": scored(80, 20)}, query_class="math"))
    for now_s in (0.2, 1.5, 3.0):
        updates = {update.query_class: update for update in routing.due(now_s)}
        after = shares(updates["code"]) if "code" in updates else before
        if after != before:
            break

    assert before["a"] > before["b"]
    assert after["a"] < after["b"]


def test_word_names_another_policy_until_it_is_lifted() -> None:
    """A learning cycle that found a better policy says so with an override; a name that is no policy's changes nothing."""
    routing = desk(policy="static", declared=(Arm(model="a"), Arm(model="b")))
    routing.learn(statistics({"a": scored(30, 2), "b": scored(2, 30)}))
    before = decided(routing, 0.0)
    put(routing, Override(kind="policy", policy="thompson"))
    changed = decided(routing, 1.0)
    put(routing, Override(kind="policy", policy="no such"))

    assert (before.policy, changed.policy, decided(routing, 2.0).policy) == ("static", "thompson", "static")
    assert shares(changed)["a"] > 0.9 > shares(before)["a"]
