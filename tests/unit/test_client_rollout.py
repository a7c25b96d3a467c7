"""The rollout: whom what is learned serves, with which propensity, and what it would do where it only observes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product

import msgspec
import pytest

from stream.client import rollout
from stream.client.router import Router
from stream.client.table import RoutingTable
from stream.errors import SettingsError
from stream.records import Arm, Decision, RoutingUpdate
from stream.settings import Settings, load
from tests.broker.client_tools import routing_update

MakeSettings = Callable[..., Settings]
LEARNED = {"a": 0.6, "default": 0.4}


def update_with(word: float | None = None, version: int = 1, probabilities: dict[str, float] = LEARNED, **given: object) -> RoutingUpdate:
    made = routing_update("code", probabilities, version=(1, version), **given)  # type: ignore[arg-type]
    return msgspec.structs.replace(made, rollout=word)


def hear(router: Router, update: RoutingUpdate) -> None:
    router.snapshot.apply(update.query_class.encode(), msgspec.json.encode(update))


@pytest.fixture
def routed(make_settings: MakeSettings) -> Callable[..., Router]:
    def make(share: object, *updates: RoutingUpdate, seed: int = 7, **given: object) -> Router:
        router = Router(settings=make_settings("127.0.0.1:9", default_arm="default", rollout=share, **given), seed=seed)
        for update in updates or (update_with(),):
            hear(router, update)
        return router

    return make


# ---- a share


def test_propensity_is_that_of_the_whole_draw() -> None:
    """Share .25 of a .6 and default .4: a has .25 * .6 = .15, the default .25 * .4 + .75 = .85; an arm that was not learned, .75."""
    lottery = RoutingTable.of(update_with()).lottery()

    def drawn(rest: str) -> dict[str, float]:
        draws = [rollout.draw(lottery, u, share=0.25, is_in=is_in, rest=Arm(model=rest)) for u, is_in in product((0.1, 0.9), (True, False))]
        return {draw.arm.id: draw.propensity for draw in draws if draw}

    assert drawn("default") == pytest.approx({"a": 0.15, "default": 0.85})
    assert drawn("other") == pytest.approx({"a": 0.15, "default": 0.1, "other": 0.75})


@pytest.mark.parametrize("session", [False, True], ids=["alone", "of sessions"])
def test_frequencies_are_the_logged_propensities(routed: Callable[..., Router], session: bool) -> None:
    """An estimate divides by what was logged: 20,000 draws, each arm within five standard errors (a false alarm once in a million)."""
    router = routed(0.25)

    decisions = [router.select("q", query_class="code", session_id=f"s{number}" if session else None) for number in range(20_000)]

    counts = Counter(decision.arm.id for decision in decisions)
    logged = {decision.arm.id: decision.propensity for decision in decisions}
    assert logged == pytest.approx({"a": 0.15, "default": 0.85})
    assert counts["a"] / 20_000 == pytest.approx(0.15, abs=5 * (0.15 * 0.85 / 20_000) ** 0.5)
    assert {(decision.kind, decision.candidates) for decision in decisions} == {("drawn", ("a", "default"))}


def test_default_arm_that_may_not_serve_leaves_the_rest_to_the_next(routed: Callable[..., Router]) -> None:
    """Of candidates a and b without the default, the first serves the rest: a has .25 * 1/3 + .75 = 5/6, b .25 * 2/3 = 1/6.
    Where the default is withdrawn the next declared arm does; where nothing is left for the rest, all follow what was learned.
    """
    three = update_with(probabilities={"a": 0.2, "b": 0.4, "default": 0.4})
    gone = update_with(probabilities={"a": 1.0, "default": 0.0}, states={"default": "withdrawn"})

    def propensities(router: Router, **given: object) -> dict[str, float | None]:
        return {decision.arm.id: decision.propensity for decision in (router.select("q", query_class="code", **given) for _ in range(200))}  # type: ignore[arg-type]

    assert propensities(routed(0.25, three), candidates=["a", "b"]) == pytest.approx({"a": 5 / 6, "b": 1 / 6})
    assert propensities(routed(0.25, gone, arms=[{"id": "default"}, {"id": "next"}])) == pytest.approx({"a": 0.25, "next": 0.75})
    assert propensities(routed(0.25, gone)) == {"a": 1.0}


def test_session_is_in_the_rollout_or_not_for_good(routed: Callable[..., Router]) -> None:
    """Two processes with other seeds agree on every session's side, and so does one that has forgotten it; raising the share takes nobody out."""
    always_a = update_with(probabilities={"a": 1.0})
    names = [f"s{number}" for number in range(300)]

    def inside(router: Router) -> set[str]:
        return {name for name in names if router.select("q", query_class="code", session_id=name).arm.id == "a"}

    few, again, more = inside(routed(0.2, always_a)), inside(routed(0.2, always_a, seed=8)), inside(routed(0.5, always_a))

    assert few == again < more
    assert 30 < len(few) < 90


def test_session_sticks_to_its_arm_on_either_side(routed: Callable[..., Router]) -> None:
    """What serves a session's first request serves it to the end, without a propensity."""
    router = routed(0.5)

    first, later = ([router.select("q", query_class="code", session_id=f"s{number}") for number in range(50)] for _ in range(2))

    assert [decision.arm for decision in later] == [decision.arm for decision in first]
    assert {(decision.kind, decision.propensity) for decision in later} == {("sticky", None)}


# ---- observing


def test_observing_serves_the_default_arm_and_says_what_it_would_do(routed: Callable[..., Router]) -> None:
    """Nothing is drawn, so nothing has a propensity; over 500 requests both arms that could be drawn are shown."""
    decisions = [routed("observe").select("q", query_class="code"), *(routed("observe", seed=seed).select("q", query_class="code") for seed in range(50))]

    assert {(decision.kind, decision.arm.id, decision.propensity, decision.policy_version) for decision in decisions} == {("fallback", "default", None, "1.1")}
    assert {decision.would_be.id for decision in decisions if decision.would_be} == {"a", "default"}


def test_observing_shows_nothing_where_nothing_was_learned(routed: Callable[..., Router]) -> None:
    """A class without an update has nothing that would be drawn."""
    decision = routed("observe").select("q", query_class="never seen")

    assert (decision.kind, decision.arm.id, decision.would_be) == ("fallback", "default", None)


def test_observing_ends_what_a_session_was_served_with_and_later_keeps_the_default_for_it(routed: Callable[..., Router]) -> None:
    """Who stops the rollout means every request; when it goes on, a session is not switched a second time."""
    router = routed(1, update_with(probabilities={"a": 1.0}))
    before = router.select("q", query_class="code", session_id="s")
    hear(router, update_with(0.0, version=2, probabilities={"a": 1.0}))
    stopped = router.select("q", query_class="code", session_id="s")
    hear(router, update_with(None, version=3, probabilities={"a": 1.0}))
    after = router.select("q", query_class="code", session_id="s")

    assert [(decision.kind, decision.arm.id) for decision in (before, stopped, after)] == [("drawn", "a"), ("fallback", "default"), ("sticky", "default")]


def test_pin_is_obeyed_while_observing(routed: Callable[..., Router]) -> None:
    """A pin is an operator's own word, not something learned."""
    decision = routed("observe", update_with(policy="pinned", probabilities={"a": 1.0})).select("q", query_class="code")

    assert (decision.kind, decision.arm.id) == ("pinned", "a")


# ---- the setting and the operator's word


@pytest.mark.parametrize(("own", "word", "expected"), [(1, None, 1.0), (1, 0.25, 0.25), (0.1, 0.25, 0.1), (0.25, 1.0, 0.25), ("observe", 0.25, None), (1, 0.0, None)])
def test_smaller_of_setting_and_word_counts(routed: Callable[..., Router], own: object, word: float | None, expected: float | None) -> None:
    """A process that was told to observe stays so whatever is said later, and the word can stop every process: with a learned alone, its propensity is the share."""
    router = routed(own, update_with(word, probabilities={"a": 1.0}))

    decisions = [router.select("q", query_class="code") for _ in range(100)]

    assert {decision.propensity for decision in decisions if decision.arm.id == "a"} == ({expected} if expected else set())


@pytest.mark.parametrize("said", ["0", "1.5", "-0.1", "nan", "some", ""])
def test_rollout_that_means_nothing_is_refused(said: str) -> None:
    """A typing error must not route everything, or nothing."""
    with pytest.raises(SettingsError, match="rollout is"):
        load(rollout=said, default_arm="default")


@pytest.mark.parametrize("said", ["observe", "0.05"])
def test_rollout_without_a_default_arm_is_refused(said: str) -> None:
    """The rest would be served by nobody."""
    with pytest.raises(SettingsError, match="set EDDY_DEFAULT_ARM"):
        load(rollout=said)

    assert load(rollout=said, arms=[{"id": "declared"}]).rollout in (0.0, 0.05)


def test_records_from_before_the_rollout_still_decode() -> None:
    """A router of this version reads a worker's updates of the last one, and the fold the decisions of older routers."""
    update = msgspec.to_builtins(update_with())
    decision = msgspec.to_builtins(Decision(trace_id="t", kind="fallback", query_class="code", arm=Arm()))
    del update["rollout"], decision["would_be"]

    assert msgspec.convert(update, RoutingUpdate).rollout is None
    assert msgspec.convert(decision, Decision).would_be is None
