"""The contextual model: what it finds, what it leaves alone, and that its propensities are those of the draw."""

from __future__ import annotations

import math
import random
from collections import Counter

import msgspec
import numpy as np
import pytest

from stream.client.refining import refined
from stream.client.table import RoutingTable
from stream.records import Arm, PolicyParameters
from stream.routing.contextual import LEAST_TRACES, LEAST_TRUST, ContextualModel, fit, foreseen, inverse_gap, request_shares
from stream.routing.decision import decide
from stream.routing.evidence import ArmEvidence, ClassEvidence, Tally
from stream.routing.features import DIMENSION, SPECIFICATION, features
from stream.routing.overrides import Overrides
from stream.routing.settings import RoutingSettings

SETTINGS = RoutingSettings(policy="contextual", exploration_share=0.02)
CODE, PROSE = "```python\ndef f(x):\n    return x\n``` What does this do?", "Tell me a story about a fox who lost his hat in the snow."


def update(**means: float):  # type: ignore[no-untyped-def]
    arms = tuple(ArmEvidence(arm=Arm(model=name), id=name, drawn=Tally(100.0, 100 * mean, 100 * mean), count=100, by_source=(100, 0, 0, 0, 0)) for name, mean in means.items())
    return decide(ClassEvidence(query_class="code", arms=arms), settings=SETTINGS, overrides=Overrides(("model",)))


def draws(number: int, effect: float, *, seed: int = 1) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Requests of code and of prose, arms drawn alike; arm `coder` gains so much with code and loses it with prose, `writer` the other way round."""
    rng, x, arms, residuals = random.Random(seed), [], [], []
    for _ in range(number):
        query, sign = rng.choice([(CODE, 1), (PROSE, -1)])
        arm = rng.choice(["coder", "writer"])
        gain = effect * sign * (1 if arm == "coder" else -1)
        x.append(features(query + " " + " ".join(rng.choices(["one", "two", "three", "four"], k=3))))
        arms.append(arm)
        residuals.append((rng.random() < 0.5 + gain) - 0.5)
    return np.array(x), arms, np.array(residuals), np.ones(number)


def test_features_are_finite_bounded_and_of_one_length_for_hostile_text() -> None:
    """Whatever a request holds, a router computes on."""
    for text in ("", " ", "\x00" * 9_000, "9" * 10_000, "a" * 100_000, "{" * 9_999, "🦊" * 5_000, "\ud800 lone", "SELECT " * 2_000, "$" * 5_000, "1 " * 4_000 + "+"):
        x = features(text)

        assert len(x) == DIMENSION
        assert all(map(math.isfinite, x))
        assert max(map(abs, x)) <= 3.0


def test_features_do_not_change_unnoticed() -> None:
    """Another version of the features must have another name: a model's weights are for the old ones. By hand: 20 letters of 4 words, one of them twice.

    ln(24) / 5 - 1; 4 / 100 - .5; 4.75 letters a token on average / 5 - 1; no code, maths, question, choices, lines, digits, brackets.
    """
    x = features("four words, four more.")

    assert SPECIFICATION == "text-10-54-1"
    assert x[:10] == pytest.approx([math.log1p(22) / 5 - 1, -0.46, 17 / 4 / 5 - 1, 0, 0, 0, 0, 0, 0, 0])
    assert math.fsum(value * value for value in x[10:]) == pytest.approx(0.49)


def test_model_finds_which_arm_is_better_for_which_request() -> None:
    """A gain of .3 either way in a thousand draws: with code `coder` is ahead by about .6, with prose behind by as much."""
    model = fit(*draws(1_000, 0.3))

    with_code, with_prose = model.advantages(features(CODE)), model.advantages(features(PROSE))

    assert with_code["coder"] - with_code["writer"] == pytest.approx(0.6, abs=0.12)
    assert with_prose["coder"] - with_prose["writer"] == pytest.approx(-0.6, abs=0.12)
    assert model.trust > 0.9


def test_model_that_finds_nothing_moves_next_to_nothing() -> None:
    """Where features say nothing, what is used of the fit is a twentieth, and differences stay below .02."""
    model = fit(*draws(1_000, 0.0, seed=4))

    moved = model.advantages(features(CODE))

    assert model.trust <= 0.3
    assert abs(moved["coder"] - moved["writer"]) < 0.02
    assert LEAST_TRUST == 0.05


def test_difficulty_that_all_arms_share_tells_nothing() -> None:
    """Prose is worse for every arm by .4: neither arm is moved against the other."""
    rng = random.Random(6)
    queries = [rng.choice([CODE, PROSE]) for _ in range(1_000)]
    residuals = np.array([(rng.random() < (0.7 if query == CODE else 0.3)) - 0.5 for query in queries])
    model = fit(np.array([features(query) for query in queries]), [rng.choice(["a", "b"]) for _ in queries], residuals, np.ones(1_000))

    moved = model.advantages(features(PROSE)) or {"a": 0.0, "b": 0.0}

    assert abs(moved["a"] - moved["b"]) < 0.03


def test_few_draws_or_one_arm_fit_nothing() -> None:
    """A model of no weights refines nothing."""
    x, arms, residuals, weights = draws(LEAST_TRACES - 1, 0.3)

    assert fit(x, arms, residuals, weights).weights == {}
    x, _, residuals, weights = draws(100, 0.3)
    assert fit(x, ["coder"] * 100, residuals, weights).weights == {}


def test_model_travels_as_parameters_and_another_specification_is_not_used() -> None:
    """A router of another version computes other features: it leaves the model alone instead of misreading it."""
    model = fit(*draws(200, 0.3))
    record = msgspec.json.decode(msgspec.json.encode(model.parameters((7, 0))), type=PolicyParameters)

    assert ContextualModel.of(record) == model
    assert ContextualModel.of(msgspec.structs.replace(record, feature_hash="another")) is None
    assert ContextualModel.of(msgspec.structs.replace(record, name="another")) is None
    for weights in ([1.0], [math.inf] * DIMENSION):
        with pytest.raises(ValueError, match="finite numbers"):
            ContextualModel.of(msgspec.structs.replace(record, parameters={"weights": {"a": weights}}))


def test_inverse_gap_gives_equal_arms_equal_shares_and_worse_ones_less_the_more_is_known() -> None:
    """Shares sum to 1; at no sharpness all are alike; the worst arm's share is 1 / (3 + 100 · .4)."""
    assert inverse_gap([0.3, 0.9, 0.1], 0.0) == pytest.approx([1 / 3] * 3)
    shares = inverse_gap([0.5, 0.5, 0.1], 100.0)
    assert shares[0] == shares[1]
    assert shares[2] == pytest.approx(1 / 43)
    assert math.fsum(shares) == pytest.approx(1.0)


def test_request_shares_sum_to_one_and_leave_exploration_its_part() -> None:
    """Whatever the advantages are, no arm is below what exploration gives it."""
    rng = random.Random(3)
    for _ in range(200):
        names = [f"m{number}" for number in range(rng.randint(1, 9))]
        floors = {name: rng.uniform(0, 0.1 / len(names)) for name in names}
        shares = request_shares({name: rng.uniform(-3, 1) for name in names}, floors, {name: rng.uniform(-1, 1) for name in names}, 10 ** rng.uniform(0, 5))

        assert math.fsum(shares) == pytest.approx(1.0)
        assert all(share >= floors[name] - 1e-12 for name, share in zip(names, shares, strict=True))


def test_router_draws_by_the_request_and_says_the_propensity_it_drew_with() -> None:
    """Two arms alike in their class; a model that favours `a` with code: ten thousand draws come as often as their propensity says (4 deviations: .02)."""
    table = RoutingTable.of(update(a=0.5, b=0.5))
    model = ContextualModel(weights={"a": (0.0, 0.0, 0.0, 0.1) + (0.0,) * (DIMENSION - 4), "b": (0.0,) * DIMENSION})

    for query, favoured in ((CODE, True), (PROSE, False)):
        lottery, rng = refined(table, table.whole, model, query), random.Random(2)
        drawn = Counter(draw.arm.model for _ in range(10_000) if (draw := lottery.draw(rng.random())))
        assert (lottery.share_of["a"] > 0.9) is favoured
        assert drawn["a"] / 10_000 == pytest.approx(lottery.share_of["a"], abs=0.02)


def test_router_draws_from_the_table_where_there_is_no_model_or_no_score() -> None:
    """No model, an empty one, or a table of another policy: exactly what was published."""
    published = update(a=0.5, b=0.6)
    plain = msgspec.structs.replace(published, arms=tuple(msgspec.structs.replace(arm, score=None) for arm in published.arms))
    table, other = RoutingTable.of(published), RoutingTable.of(plain)
    model = ContextualModel(weights={"a": (1.0,) * DIMENSION})

    assert refined(table, table.whole, None, CODE) is table.whole
    assert refined(table, table.whole, ContextualModel(), CODE) is table.whole
    assert refined(other, other.whole, model, CODE) is other.whole


def test_table_and_router_agree_where_the_model_says_nothing() -> None:
    """A model of zeros gives each arm what the table gives it: the context-free policy is the one without context."""
    table = RoutingTable.of(update(a=0.5, b=0.6, c=0.1))

    lottery = refined(table, table.whole, ContextualModel(weights={"a": (0.0,) * DIMENSION}), CODE)

    assert lottery.shares == pytest.approx(table.whole.shares, abs=1e-9)


def test_desk_foresees_what_routers_draw() -> None:
    """Half of the sample's requests favour `a` beyond doubt, half `b`: about half each, where the table gives `b` nearly all."""
    published = update(a=0.5, b=0.6)
    model = ContextualModel(weights={"a": (0.0,) * DIMENSION}, sample=({"a": 1.0}, {"b": 1.0}))

    shares = foreseen(published, model)

    assert shares["a"] == pytest.approx(0.5, abs=0.02)
    assert math.fsum(shares.values()) == pytest.approx(1.0)
    assert foreseen(published, ContextualModel()) == {arm.id: arm.probability for arm in published.arms}
