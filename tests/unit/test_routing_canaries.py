"""Canaries among a class's arms: their share of the draws, at the desk and at a router that refines."""

from __future__ import annotations

import math
import random
from collections import Counter

import msgspec
import pytest

from stream.client import Router
from stream.client.agent_configs import AgentConfigs
from stream.client.refining import refined
from stream.client.table import RoutingTable
from stream.records import AgentConfig, Arm, Override, RoutingUpdate
from stream.routing.contextual import ContextualModel
from stream.routing.desk import RoutingDesk
from stream.routing.features import DIMENSION
from tests.unit.routing_support import desk, scored, shares, statistics
from tests.unit.test_routing_desk import decided, put

FIELDS = ("model", "agent", "config_version")
TRIAL = "~1f0c2d3e"
WORD = Override(kind="canary", arm=Arm(agent="react", config_version=TRIAL), share=0.05)
ARMS = {"a|react|1": scored(40, 10), "b|react|1": scored(30, 20), "b|plan|1": scored(20, 30)}


def learned(**settings: object) -> RoutingDesk:
    routing = desk(arm_fields=FIELDS, **settings)
    routing.learn(statistics(ARMS))
    return routing


def state_of(update: RoutingUpdate, arm_id: str) -> str:
    return {arm.id: arm.state for arm in update.arms}[arm_id]


def test_canary_gets_its_share_of_what_its_agent_gets_and_nothing_of_others() -> None:
    """Beside both models of `react`, a twentieth of each; `plan` keeps what it had; all sum to 1."""
    routing = learned()
    before = shares(decided(routing, 0.0))
    put(routing, WORD)

    update = decided(routing, 1.0)
    after = shares(update)

    for model in "ab":
        assert after[f"{model}|react|{TRIAL}"] == pytest.approx(0.05 * before[f"{model}|react|1"])
        assert after[f"{model}|react|1"] == pytest.approx(0.95 * before[f"{model}|react|1"])
        assert state_of(update, f"{model}|react|{TRIAL}") == "canary"
    assert after["b|plan|1"] == pytest.approx(before["b|plan|1"])
    assert math.fsum(after.values()) == pytest.approx(1.0)


def test_canary_never_gets_more_than_a_twentieth_whoever_asks() -> None:
    """A word with a share of all is an error of whoever wrote it."""
    routing = learned()
    put(routing, msgspec.structs.replace(WORD, share=1.0))

    assert sum(share for arm_id, share in shares(decided(routing, 0.0)).items() if TRIAL in arm_id) <= 0.05


def test_canary_that_earns_more_gets_no_more_and_is_gone_with_its_word() -> None:
    """It is no arm of the policy; once the word is lifted it is withdrawn, whatever it has earned."""
    routing = desk(arm_fields=FIELDS)
    routing.learn(statistics(ARMS | {f"a|react|{TRIAL}": scored(50, 0)}))
    put(routing, WORD)
    running = decided(routing, 0.0)
    routing.override(WORD.key, None)
    over = decided(routing, 1.0)

    assert shares(running)[f"a|react|{TRIAL}"] == pytest.approx(shares(running)["a|react|1"] / 19)
    assert running.best_arm != f"a|react|{TRIAL}"
    assert shares(over)[f"a|react|{TRIAL}"] == 0.0
    assert state_of(over, f"a|react|{TRIAL}") == "withdrawn"


def test_operators_words_outrank_a_canary() -> None:
    """A pinned class has its pin; a withdrawn canary, and one of a withdrawn agent, serves nobody."""
    pinned, withdrawn, without_agent = learned(), learned(), learned()
    put(pinned, Override(kind="pin", query_class="code", arm=Arm(model="a", agent="react", config_version="1")))
    put(withdrawn, Override(kind="withdraw", arm=Arm(agent="react", config_version=TRIAL)))
    put(without_agent, Override(kind="withdraw", arm=Arm(agent="react")))
    for routing in (pinned, withdrawn, without_agent):
        put(routing, WORD)
        assert all(share == 0.0 for arm_id, share in shares(decided(routing, 0.0)).items() if TRIAL in arm_id)


def test_what_ran_as_a_shadow_counts_for_nobody_where_versions_are_not_routed_over() -> None:
    """Its trace names the model, but users never saw what it answered."""
    routing = desk(arm_fields=("model",))
    routing.learn(statistics({"a|react|1": scored(5, 5), f"a|react|{TRIAL}": scored(0, 50)}))

    (arm,) = decided(routing, 0.0).arms
    assert (arm.count, arm.mean) == (10, 0.5)


def test_router_that_moves_scores_for_a_request_keeps_the_canarys_share() -> None:
    """Whatever the text says of the models, a canary is drawn a nineteenth as often as what it stands beside."""
    routing = learned(policy="contextual")
    put(routing, WORD)
    table = RoutingTable.of(decided(routing, 0.0))
    weights = {f"{model}|react|1": (0.0,) * DIMENSION + (bias,) for model, bias in (("a", -3.0), ("b", 3.0))}

    moved = refined(table, table.lottery(), ContextualModel(weights=weights), "Sort a list")

    assert moved.share_of["b|react|1"] > table.whole.share_of["b|react|1"] + 0.1
    for model in "ab":
        assert moved.share_of[f"{model}|react|{TRIAL}"] == pytest.approx(moved.share_of[f"{model}|react|1"] / 19)
    assert math.fsum(moved.shares) == pytest.approx(1.0)
    drawn = Counter(draw.arm.config_version for _ in range(20_000) if (draw := moved.draw(random.random())))
    react = sum(moved.share_of[arm_id] for arm_id in moved.ids if "react" in arm_id)
    assert drawn[TRIAL] <= 20_000 * 0.05 * react + 5 * math.sqrt(20_000 * 0.05)  # five standard deviations


def test_agent_is_handed_what_its_decision_named_and_the_newest_trial_as_a_shadow() -> None:
    """A trial is never what is live; once it is over its name gives nothing, and live versions stay."""
    configs = AgentConfigs("127.0.0.1:9")
    for config in (AgentConfig(agent="react", version=3, toml="live"), AgentConfig(agent="react", version=0, toml="tried", trial=TRIAL, status="shadow")):
        configs.apply(config.key.encode(), msgspec.json.encode(config))

    assert getattr(configs.get("react"), "toml", None) == "live"
    assert getattr(configs.get("react", TRIAL), "toml", None) == "tried"
    assert getattr(configs.shadow("react"), "toml", None) == "tried"
    configs.apply(f"react|{TRIAL}".encode(), None)
    assert configs.shadow("react") is None
    assert configs.get("react", TRIAL) is None
    assert getattr(configs.get("react", 3), "toml", None) == "live"
    configs.apply(b"react", None)
    assert configs.get("react") is None


def test_two_canaries_of_an_agent_do_not_get_two_shares() -> None:
    """The newer word counts: an agent's requests are tried on once."""
    routing = learned()
    put(routing, msgspec.structs.replace(WORD, given_at=2.0))
    put(routing, Override(kind="canary", arm=Arm(agent="react", config_version="~older"), share=0.05, given_at=1.0))

    drawn = shares(decided(routing, 0.0))
    assert sum(share for arm_id, share in drawn.items() if "~" in arm_id) <= 0.05
    assert all(share == 0.0 for arm_id, share in drawn.items() if "~older" in arm_id)


def test_session_of_a_canary_draws_again_once_it_is_over() -> None:
    """A session sticks to its arm, but not to a version that nobody serves any more, whether a trace of it came or not."""
    routing = learned()
    put(routing, WORD)
    router = Router("127.0.0.1:9", seed=1)
    running = decided(routing, 0.0)
    router.snapshot.apply(b"code", msgspec.json.encode(running))
    sessions = [f"s{number}" for number in range(400)]
    tried = [session for session in sessions if router.select("q", query_class="code", session_id=session).arm.config_version == TRIAL]
    routing.override(WORD.key, None)
    kept = [router.select("q", query_class="code", session_id=session).kind for session in tried]
    router.snapshot.apply(b"code", msgspec.json.encode(decided(routing, 1.0)))
    after = [router.select("q", query_class="code", session_id=session) for session in tried]

    assert tried
    assert set(kept) == {"sticky"}
    assert {decision.kind for decision in after} == {"drawn"}
    assert not any(decision.arm.config_version == TRIAL for decision in after)
