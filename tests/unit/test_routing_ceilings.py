"""Ceilings are held by prices: what arms are expected to use up, what is owed, and where prices go."""

from __future__ import annotations

import random

import pytest

from stream.records import Arm
from stream.routing.book import Book
from stream.routing.ceilings import CREDIT_REQUESTS, Account, Prices, Spending, burdens, charge, debt, expected, moved
from stream.routing.contextual import ContextualModel
from stream.routing.decision import decide
from stream.routing.evidence import ArmEvidence, ClassEvidence, Quantity, Tally
from stream.routing.overrides import Overrides
from stream.routing.settings import RoutingSettings
from stream.routing.state import RoutingState
from stream.routing.treasury import Treasury
from tests.unit.routing_support import NOW_S, by_class, desk, row, shares, statistics

UNDER = RoutingSettings(max_cost_usd=0.01, max_latency_s=2.0)


def arm(name: str, *, cost: float | None = None, latency: float | None = None, good: float = 0.5) -> ArmEvidence:
    known = [Quantity() if value is None else Quantity(10.0, 10.0 * value) for value in (cost, latency)]
    scores = Tally(100.0, 100 * good, 100 * good)
    return ArmEvidence(arm=Arm(model=name), id=name, drawn=scores, count=100, by_source=(100, 0, 0, 0, 0), recent_cost_usd=known[0], recent_latency_s=known[1])


def class_of(*arms: ArmEvidence) -> ClassEvidence:
    return ClassEvidence(query_class="code", arms=arms)


def test_charge_is_price_times_what_an_arm_uses_up_of_each_ceiling() -> None:
    """Twice the cost ceiling at .1 each and half the latency ceiling at .2: .2 and .1."""
    charged = charge(class_of(arm("a", cost=0.02, latency=1.0)), Prices(cost=0.1, latency=0.2), UNDER).arms[0]

    assert burdens(class_of(arm("a", cost=0.02, latency=1.0)), UNDER) == [(2.0, 0.5)]
    assert charged.burden == 2.0
    assert charged.toll == pytest.approx(0.3)


def test_an_arm_of_unknown_cost_is_never_free() -> None:
    """It counts as using up the whole ceiling, however cheap the others are."""
    charged = charge(class_of(arm("a", cost=0.0001, latency=0.1), arm("b")), Prices(cost=0.1), UNDER)

    assert charged.arms[1].burden == 1.0
    assert charged.arms[1].toll == pytest.approx(0.1)


def test_nothing_is_charged_without_a_ceiling() -> None:
    """The evidence is handed back as it is."""
    evidence = class_of(arm("a", cost=5.0))

    assert charge(evidence, Prices(cost=9.0), RoutingSettings()) is evidence


def test_expectation_weighs_what_arms_use_up_by_their_shares() -> None:
    """A quarter of 4 ceilings and three quarters of nothing."""
    evidence = class_of(arm("a", cost=0.04, latency=0.0), arm("b", cost=0.0, latency=0.0))

    assert expected(evidence, {"a": 0.25, "b": 0.75}, UNDER).cost == pytest.approx(1.0)


def test_debt_is_never_lent_out_of_what_was_not_spent_before() -> None:
    """A hundred requests for nothing leave a credit of ten requests, not of a hundred."""
    assert debt([Spending(100, 0.0)], 100) == -CREDIT_REQUESTS
    assert debt([Spending(100, 0.0), Spending(20, 60.0)], 100) == pytest.approx(40.0 - CREDIT_REQUESTS)


def test_account_goes_through_buckets_in_the_order_of_time() -> None:
    """The same buckets in another order: first the debt of 20, then 5 less. The busiest minute says over how many requests it is paid back."""
    buckets = {(60, 120, 0): (300, 295), (60, 60, 0): (10, 30)}

    account = Account.of(buckets, 0, 1.0)

    assert account == (15.0, 300.0)
    assert Account.of(dict(reversed(buckets.items())), 0, 1.0) == account


def test_price_rises_while_too_much_is_expected_and_falls_to_nothing_when_it_is_not() -> None:
    """From 0 by .1 * .005 a step; down by the same rule; never below 0."""
    assert moved(0.0, 2.0, 0.0, 100) == pytest.approx(0.0005)
    assert moved(1.0, 0.0, 0.0, 100) == pytest.approx(1.0 - 0.1 * 1.005)
    assert moved(0.0001, 0.0, 0.0, 100) == 0.0


def test_debt_lowers_what_is_aimed_at() -> None:
    """Half a ceiling a request is expected: too little to move a price, unless sixty requests' worth is owed."""
    assert moved(0.1, 0.5, 0.0, 100) < 0.1
    assert moved(0.1, 0.5, 60.0, 100) > 0.1


@pytest.mark.parametrize("policy", ["thompson", "contextual", "epsilon_greedy", "ucb"])
def test_spend_settles_at_the_ceiling_where_the_better_arm_is_too_dear(policy: str) -> None:
    """Arm `dear` is better by .2 (known of 30 traces each) and costs four ceilings, `cheap` a tenth of one: over two thousand requests the mean is within 5 %.

    With costs known exactly the dear arm can have (1 - .1) / 3.9 = 23 % of the requests; a policy that ignored the ceiling would spend 3.9.
    """
    settings = RoutingSettings(policy=policy, max_cost_usd=1.0, declared=(Arm(model="cheap"), Arm(model="dear")))
    book, overrides, rng = Book(settings, ""), Overrides(settings.arm_fields), random.Random(5)
    treasury, spent = Treasury(settings, book, {}, interval_s=0.0), 0.0
    for name, goods in (("dear", 24), ("cheap", 18)):  # whether they are found out is another matter
        book.add("code", [(name, Arm(model=name), (), (row(*[1.0] * goods, *[0.0] * (30 - goods), start_s=NOW_S),))], NOW_S * 1000)
    for request in range(2_000):
        evidence = book.evidence("code")
        update = decide(evidence, settings=settings, overrides=overrides, prices=treasury.of("code"))
        treasury.take_note("code")
        treasury.expect(evidence, update, ContextualModel())
        treasury.look(float(request))
        name = rng.choices([one.id for one in update.arms], [one.probability for one in update.arms])[0]
        cost, good = (4.0, 0.8) if name == "dear" else (0.1, 0.6)
        spent += cost
        at_s = NOW_S + 6 * request
        one = row(float(rng.random() < good), start_s=at_s // 60 * 60, COST_KNOWN=1, COST_NANO_USD=int(cost * 1e9))
        book.add("code", [(name, Arm(model=name), (), (one,))], at_s * 1000)

    assert 0.9 < spent / 2_000 < 1.05


def test_desk_charges_keeps_its_prices_and_says_them_per_dollar() -> None:
    """A class that spends ten ceilings a request: the price p rises by .1 (p + .005) at each of 18 looks, is in the update as reward per dollar, and in the state."""
    routing, updates = desk(max_cost_usd=0.01, policy="thompson"), {}
    for look in range(1, 20):
        spent = [row(1.0, COST_KNOWN=1, COST_NANO_USD=100_000_000)] * look
        routing.learn(statistics({"dear": spent, "cheap": [row(0.0, COST_KNOWN=1, COST_NANO_USD=1_000_000)]}, offset=look))
        updates |= by_class(routing.due(float(look)))

    price = routing.state.prices["*"].cost
    assert price == pytest.approx(0.005 * (1.1**18 - 1))
    assert updates["code"].lambda_cost == pytest.approx(price / 0.01, rel=0.2)
    assert RoutingState.decode(routing.state.encode()).prices == routing.state.prices


def test_without_a_ceiling_the_desk_keeps_no_prices() -> None:
    """What is not asked for is not in the way."""
    routing = desk()
    routing.learn(statistics({"a": [row(1.0, COST_KNOWN=1, COST_NANO_USD=10**12)]}))

    assert by_class(routing.due(0.0))["code"].lambda_cost == 0.0
    assert routing.state.prices == {}
    assert shares(by_class(routing.due(100.0))["code"]) == {"a": 1.0}
