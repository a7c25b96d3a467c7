"""Every policy of the registry against every property; each property with a broken decision that must fail it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from stream.records import Arm, Override
from stream.routing.decision import decide
from stream.routing.evidence import ArmEvidence, ClassEvidence, Quantity, Tally
from stream.routing.overrides import Overrides
from stream.routing.registry import policies
from stream.routing.settings import RoutingSettings

Decider = Callable[[ClassEvidence, RoutingSettings, Overrides], dict[str, float]]
Property = Callable[[Decider, RoutingSettings], None]
SETTINGS = RoutingSettings(default_arm=Arm(model="m1"))


def deciding(policy: str) -> Decider:
    """A registered policy, as the desk uses it."""

    def shares(evidence: ClassEvidence, settings: RoutingSettings, overrides: Overrides) -> dict[str, float]:
        update = decide(evidence, settings=replace(settings, policy=policy), overrides=overrides)
        return {arm.id: arm.probability for arm in update.arms}

    return shares


# ---- what is decided on


def arm(name: str, *, successes: float = 0.0, failures: float = 0.0, undrawn: Tally = Tally(), graded: bool = False) -> ArmEvidence:  # noqa: B008
    weight = successes + failures
    rated = round(weight + undrawn.weight)
    squares = successes * 0.9 if graded else successes
    scores = Tally(weight, successes, squares)
    return ArmEvidence(arm=Arm(model=name), id=name, drawn=scores, confounded=undrawn, graded=graded, count=rated, by_source=(rated, 0, 0, 0), confounded_cap=20.0)


def evidence(*arms: ArmEvidence) -> ClassEvidence:
    return ClassEvidence(query_class="code", arms=arms)


def random_evidence(rng: random.Random) -> ClassEvidence:
    scale, graded = 10 ** rng.uniform(0, 4), rng.random() < 0.3
    names = [f"m{number}" for number in range(rng.randint(2, 12))]
    undrawn = [Tally(30.0, 30 * mean, 30 * mean) for mean in (rng.random() for _ in names)]
    return evidence(
        *(
            arm(name, successes=rng.random() * scale, failures=rng.random() * scale, undrawn=rng.choice([Tally(), others]), graded=graded)
            for name, others in zip(names, undrawn, strict=True)
        )
    )


def lived_in(rng: random.Random) -> ClassEvidence:
    """The same after some life: arms that have changed, that many decisions wait for, that are dear, or of unknown price."""

    def lived(one: ArmEvidence) -> ArmEvidence:
        changed_s = rng.choice([None, 60])
        return replace(
            one,
            changed_s=changed_s,
            rated_since_change=None if changed_s is None else rng.randint(0, 50),
            unresolved=rng.choice([0, 0, 10, 10_000]),
            recent_cost_usd=rng.choice([Quantity(), Quantity(10.0, 10.0 ** rng.uniform(-3, 3))]),
            toll=rng.choice([0.0, rng.random()]),
            burden=rng.choice([0.0, 10.0 ** rng.uniform(-1, 2)]),
        )

    found = random_evidence(rng)
    return replace(found, arms=tuple(map(lived, found.arms)))


SEEDED = random.Random(4)
LIVED_IN = [lived_in(random.Random(number)) for number in range(40)]
ORDINARY = [random_evidence(SEEDED) for _ in range(25)]
EXTREME = [
    evidence(arm("m1")),
    evidence(*(arm(f"m{number}") for number in range(128))),
    evidence(arm("m1", successes=1e7), arm("m2", failures=1e7), arm("m3")),
    evidence(arm("m1", successes=1e7), arm("m2", successes=1e7 - 1, failures=1.0), arm("m3", failures=1e7)),
    evidence(arm("m1", failures=1e7), arm("m2", failures=1e7)),
    evidence(arm("m1", successes=1e-9), arm("m2", failures=1e-9), arm("m3", successes=0.3, failures=0.1)),
    evidence(*(arm(f"m{number}", successes=3.0**number, failures=2.0**number) for number in range(14))),
    evidence(*(arm(f"m{number}", successes=90.0, failures=10.0, graded=number % 2 == 0) for number in range(71))),
]


# ---- the properties


def shares_are_probabilities(decider: Decider, settings: RoutingSettings) -> None:
    """One probability an arm, in [0, 1], with sum 1, for ordinary and for extreme evidence, with a ceiling and with nothing but exploration."""
    for case, given in product((*ORDINARY, *EXTREME, *LIVED_IN), (settings, replace(settings, max_cost_usd=0.1), replace(settings, exploration_share=1.0))):
        shares = decider(case, given, Overrides(settings.arm_fields))
        assert set(shares) == {one.id for one in case.arms}
        assert all(0.0 <= share <= 1.0 for share in shares.values())
        assert math.fsum(shares.values()) == pytest.approx(1.0, abs=1e-9)


def withdrawn_arms_get_nothing(decider: Decider, settings: RoutingSettings) -> None:
    """A withdrawn arm gets nothing, the others share all; where all are withdrawn nobody gets anything."""
    for case in (*ORDINARY, *EXTREME):
        overrides = Overrides(settings.arm_fields)
        overrides.put("withdraw/m1", Override(kind="withdraw", arm=Arm(model="m1")))
        shares = decider(case, settings, overrides)
        assert shares["m1"] == 0.0
        assert math.fsum(shares.values()) == pytest.approx(1.0 if len(case.arms) > 1 else 0.0, abs=1e-9)


def pins_get_everything(decider: Decider, settings: RoutingSettings) -> None:
    """A pinned class draws its pin alone, also where it has no evidence."""
    for pin in ("m1", "unheard-of"):
        overrides = Overrides(settings.arm_fields)
        overrides.put("pin/code", Override(kind="pin", query_class="code", arm=Arm(model=pin)))
        assert decider(ORDINARY[0], settings, overrides)[pin] == 1.0


def order_of_arms_changes_nothing(decider: Decider, settings: RoutingSettings) -> None:
    """The same arms in another order get the same shares."""
    for case in (*ORDINARY, *EXTREME, *LIVED_IN):
        turned = replace(case, arms=case.arms[::-1])
        before, after = (decider(one, settings, Overrides(settings.arm_fields)) for one in (case, turned))
        assert after == pytest.approx(before, abs=1e-9)


def same_evidence_gives_same_shares(decider: Decider, settings: RoutingSettings) -> None:
    """Deciding twice gives exactly the same: nothing is drawn at random."""
    for case in ORDINARY:
        before, after = (decider(case, settings, Overrides(settings.arm_fields)) for _ in range(2))
        assert before == after


def better_scores_never_lower_a_share(decider: Decider, settings: RoutingSettings) -> None:
    """Turning failures of one arm into successes lowers nobody's share but the others'."""
    for successes in (10.0, 50.0, 90.0):
        others = (arm("m2", successes=60.0, failures=40.0), arm("m3", successes=5.0, failures=4.0))
        worse = evidence(arm("m1", successes=successes, failures=100.0 - successes), *others)
        better = evidence(arm("m1", successes=successes + 5, failures=95.0 - successes), *others)
        before, after = (decider(case, settings, Overrides(settings.arm_fields))["m1"] for case in (worse, better))
        assert after >= before - 1e-6


def exploration_reaches_every_arm(decider: Decider, settings: RoutingSettings) -> None:
    """With exploration share e and k arms none is below e / 2k, and of n arms to be explored none below e / 2n."""
    for case in ORDINARY:
        shares = decider(case, settings, Overrides(settings.arm_fields))
        assert min(shares.values()) >= settings.exploration_share / 2 / len(case.arms) - 1e-12
    proven = [arm(f"m{number}", successes=1e5, failures=10.0) for number in range(9)]
    shares = decider(evidence(*proven, arm("new")), settings, Overrides(settings.arm_fields))
    assert shares["new"] >= settings.exploration_share / 2


def new_arms_are_explored_in_time(decider: Decider, settings: RoutingSettings) -> None:
    """With exploration share e and n new arms, each has the evidence it needs after 2n * min_evidence / e requests, though it never succeeds.

    In the mean, and so without chance: every request adds an arm's share to its draws. Beside three arms of 10,000 draws each
    and without a floor under what is favoured no policy would look at the new ones.
    """
    for new in (1, 3):
        names, drawn = [f"new{number}" for number in range(new)], dict.fromkeys((f"new{number}" for number in range(new)), 0.0)
        requests = 0
        while min(drawn.values()) < settings.min_evidence:
            known = [arm(f"m{number}", successes=9_000.0, failures=1_000.0) for number in range(3)]
            unknown = [replace(arm(name, failures=float(int(drawn[name]))), count=int(drawn[name])) for name in names]
            shares = decider(evidence(*known, *unknown), settings, Overrides(settings.arm_fields))
            drawn = {name: drawn[name] + 10 * shares[name] for name in names}
            requests += 10
            assert requests <= 2 * new * settings.min_evidence / settings.exploration_share + 10


PROPERTIES: list[Property] = [
    shares_are_probabilities,
    withdrawn_arms_get_nothing,
    pins_get_everything,
    order_of_arms_changes_nothing,
    same_evidence_gives_same_shares,
    better_scores_never_lower_a_share,
]


@pytest.mark.parametrize("policy", policies())
@pytest.mark.parametrize("held", PROPERTIES, ids=lambda held: held.__name__)
@pytest.mark.parametrize("default_arm", [None, Arm(model="m1")], ids=["no default", "default m1"])
def test_every_policy_holds_every_property(policy: str, held: Property, default_arm: Arm | None) -> None:
    """Whatever policy a deployment names, the promises that routers and operators rely on are kept."""
    held(deciding(policy), replace(SETTINGS, default_arm=default_arm))


@pytest.mark.parametrize("policy", [name for name, policy in policies().items() if policy.explores])
def test_every_exploring_policy_reaches_every_arm(policy: str) -> None:
    """A new arm is explored within a bounded number of requests, and no arm is ever given up for good."""
    exploration_reaches_every_arm(deciding(policy), SETTINGS)


@pytest.mark.parametrize("policy", [name for name, policy in policies().items() if policy.explores])
def test_every_exploring_policy_explores_new_arms_in_time(policy: str) -> None:
    """A model that was added yesterday must not wait for luck: the bound that docs/routing.md gives, held to the request."""
    new_arms_are_explored_in_time(deciding(policy), SETTINGS)


# ---- broken decisions, one at least for each property


def all_nothing(case: ClassEvidence, settings: RoutingSettings, overrides: Overrides) -> dict[str, float]:
    return dict.fromkeys((one.id for one in case.arms), 0.0)


def not_a_number(case: ClassEvidence, settings: RoutingSettings, overrides: Overrides) -> dict[str, float]:
    return dict.fromkeys((one.id for one in case.arms), math.nan)


def deaf_to_operators(case: ClassEvidence, settings: RoutingSettings, overrides: Overrides) -> dict[str, float]:
    return deciding("thompson")(case, settings, Overrides(settings.arm_fields))


def first_come(case: ClassEvidence, settings: RoutingSettings, overrides: Overrides) -> dict[str, float]:
    return {one.id: float(place == 0) for place, one in enumerate(case.arms)}


def at_random(case: ClassEvidence, settings: RoutingSettings, overrides: Overrides) -> dict[str, float]:
    return {one.id: SEEDED.random() for one in case.arms}


def worst_first(case: ClassEvidence, settings: RoutingSettings, overrides: Overrides) -> dict[str, float]:
    shares = {one.id: 1.0 - (one.believed.mean or 0.0) for one in case.arms}
    return {arm_id: share / (sum(shares.values()) or 1.0) for arm_id, share in shares.items()}


def never_exploring(case: ClassEvidence, settings: RoutingSettings, overrides: Overrides) -> dict[str, float]:
    return deciding("thompson")(case, replace(settings, exploration_share=0.0), overrides)


@pytest.mark.parametrize(
    ("held", "broken"),
    [
        (shares_are_probabilities, all_nothing),
        (shares_are_probabilities, not_a_number),
        (withdrawn_arms_get_nothing, deaf_to_operators),
        (pins_get_everything, first_come),
        (order_of_arms_changes_nothing, first_come),
        (same_evidence_gives_same_shares, at_random),
        (better_scores_never_lower_a_share, worst_first),
        (exploration_reaches_every_arm, never_exploring),
        (new_arms_are_explored_in_time, never_exploring),
    ],
    ids=lambda function: function.__name__,
)
def test_every_property_fails_a_broken_decision(held: Property, broken: Decider) -> None:
    """A property that nothing can fail would prove nothing."""
    with pytest.raises((AssertionError, KeyError)):
        held(broken, SETTINGS)


def test_every_property_has_a_broken_decision() -> None:
    """The list above leaves no property out."""
    marks = test_every_property_fails_a_broken_decision.pytestmark  # type: ignore[attr-defined]
    tried = {held for held, _ in marks[0].args[1]}

    assert tried == {*PROPERTIES, exploration_reaches_every_arm, new_arms_are_explored_in_time}
