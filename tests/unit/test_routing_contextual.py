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
from stream.routing.contextual import COMMON, ContextualModel
from stream.routing.contextual_fit import LEAST_TRACES, LEAST_TRUST, fit
from stream.routing.decision import decide
from stream.routing.evidence import ArmEvidence, ClassEvidence, Tally
from stream.routing.features import DIMENSION, SPECIFICATION, features
from stream.routing.overrides import Overrides
from stream.routing.refinement import Basis, Standing, chance, foreseen
from stream.routing.samplers import SAMPLERS
from stream.routing.settings import RoutingSettings

SETTINGS = RoutingSettings(policy="contextual", exploration_share=0.02)
CODE, PROSE = "```python\ndef f(x):\n    return x\n``` What does this do?", "Tell me a story about a fox who lost his hat in the snow."


def update(**means: float):  # type: ignore[no-untyped-def]
    arms = tuple(ArmEvidence(arm=Arm(model=name), id=name, drawn=Tally(100.0, 100 * mean, 100 * mean), count=100, by_source=(100, 0, 0, 0, 0)) for name, mean in means.items())
    return decide(ClassEvidence(query_class="code", arms=arms), settings=SETTINGS, overrides=Overrides(("model",)))


def weights_of(*of_features: float, beside: float = 0.0) -> tuple[float, ...]:
    return (*of_features, *(0.0,) * (DIMENSION - len(of_features)), beside)


def draws(number: int, effect: float, *, seed: int = 1) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Requests of code and of prose, arms drawn alike; arm `coder` gains so much with code and loses it with prose, `writer` the other way round."""
    rng, x, arms, rewards = random.Random(seed), [], [], []
    for _ in range(number):
        query, sign = rng.choice([(CODE, 1), (PROSE, -1)])
        arm = rng.choice(["coder", "writer"])
        gain = effect * sign * (1 if arm == "coder" else -1)
        x.append(features(query + " " + " ".join(rng.choices(["one", "two", "three", "four"], k=3))))
        arms.append(arm)
        rewards.append(float(rng.random() < 0.5 + gain))
    return np.array(x), arms, np.array(rewards), np.full(number, 0.5), np.ones(number)


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

    assert SPECIFICATION == "text-10-54-2"
    assert x[:10] == pytest.approx([math.log1p(22) / 5 - 1, -0.46, 17 / 4 / 5 - 1, 0, 0, 0, 0, 0, 0, 0])
    assert math.fsum(value * value for value in x[10:]) == pytest.approx(0.49)


def test_model_finds_which_arm_is_better_for_which_request() -> None:
    """A gain of .3 either way in a thousand draws: with code `coder` is at .8 and `writer` at .2, with prose the other way round."""
    model = fit(*draws(1_000, 0.3))

    with_code, with_prose = model.advantages(features(CODE)), model.advantages(features(PROSE))

    assert chance(with_code["coder"]) - chance(with_code["writer"]) == pytest.approx(0.6, abs=0.12)
    assert chance(with_prose["coder"]) - chance(with_prose["writer"]) == pytest.approx(-0.6, abs=0.12)
    assert model.trust > 0.9


def test_model_that_finds_nothing_moves_next_to_nothing() -> None:
    """Where features say nothing, little is used of the fit, and differences in reward stay below .03."""
    model = fit(*draws(1_000, 0.0, seed=4))

    moved = model.advantages(features(CODE))

    assert model.trust == LEAST_TRUST
    assert abs(chance(moved["coder"]) - chance(moved["writer"])) < 0.03


def test_difficulty_that_all_arms_share_tells_nothing() -> None:
    """Prose is worse for every arm by .4: either arm is moved alike, by log(.3 / .7), and so is one that is not known."""
    rng = random.Random(6)
    queries = [rng.choice([CODE, PROSE]) for _ in range(1_000)]
    rewards = np.array([float(rng.random() < (0.7 if query == CODE else 0.3)) for query in queries])
    model = fit(np.array([features(query) for query in queries]), [rng.choice(["a", "b"]) for _ in queries], rewards, np.full(1_000, 0.5), np.ones(1_000))

    moved = model.advantages(features(PROSE))

    assert abs(chance(moved["a"]) - chance(moved["b"])) < 0.05
    assert moved[COMMON] == pytest.approx(math.log(0.3 / 0.7), abs=0.15)


def test_arm_that_serves_hard_requests_is_not_charged_twice() -> None:
    """`hard` serves prose only, of which both arms do .3, `easy` serves code only, of which both do .7: their means hold for what they served.

    With code `hard` is as good as `easy`: its mean of .3 moves up towards .7 (.15 are left to what the fit does not dare), and that of
    `easy` stays where it is. Charged once more for the requests that it got, it would fall.
    """
    rng = random.Random(7)
    queries = [rng.choice([CODE, PROSE]) for _ in range(1_000)]
    chosen = [("easy" if query == CODE else "hard") if rng.random() < 0.9 else rng.choice(["easy", "hard"]) for query in queries]
    rewards = np.array([float(rng.random() < (0.7 if query == CODE else 0.3)) for query in queries])
    means = {arm: rewards[[each == arm for each in chosen]].mean() for arm in ("easy", "hard")}
    model = fit(np.array([features(query) for query in queries]), chosen, rewards, np.array([means[arm] for arm in chosen]), np.ones(1_000))

    moved = model.advantages(features(CODE))

    for arm, mean in means.items():
        assert chance(math.log(mean / (1 - mean)) + moved[arm]) == pytest.approx(0.7, abs=0.15)


def test_few_draws_or_one_arm_fit_nothing() -> None:
    """A model of no weights refines nothing."""
    assert fit(*draws(LEAST_TRACES - 1, 0.3)).weights == {}
    x, _, *others = draws(100, 0.3)
    assert fit(x, ["coder"] * 100, *others).weights == {}


def test_model_travels_as_parameters_and_another_specification_is_not_used() -> None:
    """A router of another version computes other features: it leaves the model alone instead of misreading it."""
    model = fit(*draws(200, 0.3))
    record = msgspec.json.decode(msgspec.json.encode(model.parameters((7, 0))), type=PolicyParameters)

    assert ContextualModel.of(record) == model
    assert ContextualModel.of(msgspec.structs.replace(record, feature_hash="another")) is None
    assert ContextualModel.of(msgspec.structs.replace(record, name="another")) is None
    for weights in ([1.0], [0.0] * DIMENSION, [math.inf] * (DIMENSION + 1)):
        with pytest.raises(ValueError, match="finite numbers"):
            ContextualModel.of(msgspec.structs.replace(record, parameters={"weights": {"a": weights}}))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_request_shares_sum_to_one_and_leave_exploration_its_part(sampler: str) -> None:
    """Whatever the advantages are, no arm is below what exploration gives it."""
    rng = random.Random(3)
    for _ in range(50):
        names = [f"m{number}" for number in range(rng.randint(1, 9))]
        levels = {name: rng.uniform(0.02, 0.98) for name in names}
        arms = {
            name: Standing(level - rng.uniform(0, 3), rng.uniform(0, 0.1 / len(names)), math.log(level / (1 - level)), level, 10 ** rng.uniform(-4, 0))
            for name, level in levels.items()
        }
        shares = Basis(arms, sampler, 10 ** rng.uniform(0, 5)).shares({name: rng.uniform(-9, 9) for name in names[1:]} | {COMMON: rng.uniform(-9, 9)})

        assert math.fsum(shares) == pytest.approx(1.0)
        assert all(share >= arm.floor - 1e-12 for arm, share in zip(arms.values(), shares, strict=True))


def test_level_is_moved_on_log_odds_and_the_score_as_far() -> None:
    """By hand: a level of .8 has odds of 4; halved they are 2, a chance of 2/3, so that a score of .5 falls to .5 - .8 + 2/3 = .3667.

    The other arm stays at .5: a gap of .1333 at a sharpness of 15 is drawn 1 / (2 + 2) of the time.
    """
    arms = {"a": Standing(0.5, 0.0, math.log(4.0), 0.8, 0.1), "b": Standing(0.5, 0.0, 0.0, 0.5, 0.1)}

    shares = Basis(arms, "inverse_gap", 15.0).shares({"a": -math.log(2.0), "b": 0.0})

    assert shares == pytest.approx([0.25, 0.75])


def test_router_draws_by_the_request_and_says_the_propensity_it_drew_with() -> None:
    """Two arms alike in their class; a model that favours `a` with code: ten thousand draws come as often as their propensity says (4 deviations: .02)."""
    table = RoutingTable.of(update(a=0.5, b=0.5))
    model = ContextualModel(weights={"a": weights_of(0.0, 0.0, 0.0, 0.8), "b": weights_of()})

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
    model = ContextualModel(weights={"a": (1.0,) * (DIMENSION + 1)})

    assert refined(table, table.whole, None, CODE) is table.whole
    assert refined(table, table.whole, ContextualModel(), CODE) is table.whole
    assert refined(other, other.whole, model, CODE) is other.whole


def test_table_and_router_agree_where_the_model_says_nothing() -> None:
    """A model of zeros gives each arm what the table gives it: the context-free policy is the one without context."""
    table = RoutingTable.of(update(a=0.5, b=0.6, c=0.1))

    lottery = refined(table, table.whole, ContextualModel(weights={"a": weights_of()}), CODE)

    assert lottery.shares == pytest.approx(table.whole.shares, abs=1e-9)


def test_desk_foresees_what_routers_draw() -> None:
    """Half of the sample's requests favour `a` beyond doubt, half `b`: about half each, where the table gives `b` nearly all."""
    published = update(a=0.5, b=0.6)
    model = ContextualModel(weights={"a": weights_of()}, sample=({"a": 1.0}, {"b": 1.0}))

    shares = foreseen(published, model)

    assert shares["a"] == pytest.approx(0.5, abs=0.02)
    assert math.fsum(shares.values()) == pytest.approx(1.0)
    assert foreseen(published, ContextualModel()) == {arm.id: arm.probability for arm in published.arms}
