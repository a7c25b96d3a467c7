"""What a router chooses, by kind; and that its snapshot never goes back. No broker is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import permutations

import msgspec
import pytest

from stream.client.router import Router
from stream.client.snapshot import Snapshot
from stream.errors import MalformedRecordError
from stream.records import ANY_CLASS, Arm, Decision, PolicyParameters, RoutingUpdate
from stream.settings import Settings
from tests.broker.client_tools import routing_update

MakeSettings = Callable[..., Settings]


def router_with(settings: Settings, *updates: RoutingUpdate, **options: int) -> Router:
    router = Router(settings=settings, **{"seed": 7, **options})
    for update in updates:
        router.snapshot.apply(update.query_class.encode(), msgspec.json.encode(update))
    return router


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings("127.0.0.1:9", arms=[{"id": "declared"}, {"id": "default"}], default_arm="default")


def test_drawn_decision_carries_what_an_estimate_off_policy_needs(settings: Settings) -> None:
    """Class by the seed's classifier (a short text), propensity .25 or .75 as published, version EPOCH.COUNTER, the arms drawn among."""
    router = router_with(settings, routing_update("short", {"a": 0.25, "b|react": 0.75}, version=(12, 3)))

    decision = router.select("hello")

    assert (decision.kind, decision.query_class, decision.policy_version, decision.candidates) == ("drawn", "short", "12.3", ("a", "b|react"))
    assert decision.propensity == {"a": 0.25, "b|react": 0.75}[decision.arm.id]
    assert decision.arm in (Arm(model="a"), Arm(model="b", agent="react"))
    assert len(decision.trace_id) == 32


def test_draws_are_repeatable_with_a_seed_and_trace_ids_are_not(settings: Settings) -> None:
    """Two routers of one seed must not publish under the same ids: the second's traces would count as duplicates."""
    update = routing_update("code", {"a": 0.5, "b": 0.5})

    first, second = ([router.select("q", query_class="code") for _ in range(20)] for router in (router_with(settings, update), router_with(settings, update)))

    assert [decision.arm for decision in first] == [decision.arm for decision in second]
    assert len({decision.trace_id for decision in first + second}) == 40


def test_class_without_an_update_draws_from_the_pooled_one(settings: Settings) -> None:
    """A class that nobody has seen profits from what all others have shown; the draw has a propensity like any other."""
    router = router_with(settings, routing_update(ANY_CLASS, {"pooled": 1.0}), routing_update("code", {"own": 1.0}))

    assert router.select("q", query_class="never seen").arm.model == "pooled"
    assert router.select("q", query_class="never seen").propensity == 1.0
    assert router.select("q", query_class="code").arm.model == "own"


@pytest.mark.parametrize(
    ("given", "candidates", "chosen"),
    [
        ({"default_arm": "default", "arms": [{"id": "first"}, {"id": "default"}]}, None, "default"),
        ({"arms": [{"id": "first"}, {"id": "second"}]}, None, "first"),
        ({"default_arm": "default"}, ["x|react", "y"], "x|react"),
        ({"default_arm": "default"}, ["x", "default"], "default"),
        ({}, ["x", Arm(model="y")], "x"),
        ({}, None, ""),
    ],
)
def test_fallback_takes_the_default_then_the_first_declared_then_the_first_candidate(make_settings: MakeSettings, given: dict, candidates: list | None, chosen: str) -> None:
    """Before anything is learned a request must still be served; such a choice is no draw and is never learned from as one."""
    decision = router_with(make_settings("127.0.0.1:9", **given)).select("q", candidates=candidates)

    assert (decision.kind, decision.arm.id, decision.propensity) == ("fallback", chosen, None)


def test_fallback_where_no_candidate_can_be_drawn_avoids_withdrawn_arms(settings: Settings) -> None:
    """The table knows none of the candidates but one that is withdrawn: the other serves, and nobody where there is no other."""
    router = router_with(settings, routing_update("code", {"a": 1.0, "gone": 0.0}, states={"gone": "withdrawn"}))

    assert router.select("q", query_class="code", candidates=["gone", "new"]).arm.model == "new"
    nobody = router.select("q", query_class="code", candidates=["gone"])
    assert (nobody.kind, nobody.arm) == ("fallback", Arm())


def test_default_arm_that_is_withdrawn_everywhere_serves_no_unknown_class(settings: Settings) -> None:
    """A withdrawal reaches routers class by class; a class without an update must not be the hole in it."""
    router = router_with(settings, routing_update("code", {"a": 1.0, "default": 0.0}, states={"default": "withdrawn"}))
    assert router.select("q", query_class="new").arm.model == "declared"

    router.snapshot.apply(b"math", msgspec.json.encode(routing_update("math", {"default": 1.0})))
    assert router.select("q", query_class="new").arm.model == "default"


def test_session_sticks_to_its_first_arm_without_a_propensity(settings: Settings) -> None:
    """A tool loop must not change its model half way, and only its first choice was a draw."""
    router = router_with(settings, routing_update("code", {"a": 0.5, "b": 0.5}), routing_update("math", {"c": 1.0}))

    first = router.select("q", query_class="code", session_id="s")
    later = [router.select("q", query_class=name, session_id="s") for name in ("code", "math", "unknown")]

    assert (first.kind, first.propensity) == ("drawn", 0.5)
    assert {(decision.kind, decision.arm, decision.propensity) for decision in later} == {("sticky", first.arm, None)}


def test_session_whose_arm_was_withdrawn_or_is_no_candidate_draws_again(settings: Settings) -> None:
    """Withdrawn arms are gone with one update, for running sessions too."""
    router = router_with(settings, routing_update("code", {"a": 1.0, "b": 0.0}))
    assert router.select("q", query_class="code", session_id="s").arm.model == "a"

    router.snapshot.apply(b"code", msgspec.json.encode(routing_update("code", {"a": 0.0, "b": 1.0}, version=(1, 2), states={"a": "withdrawn"})))
    again = router.select("q", query_class="code", session_id="s")
    elsewhere = router.select("q", query_class="code", session_id="s", candidates=["x"])

    assert (again.kind, again.arm.model, again.propensity) == ("drawn", "b", 1.0)
    assert (elsewhere.kind, elsewhere.arm.model) == ("fallback", "x")


def test_sessions_are_bounded_and_the_least_recently_used_leaves(settings: Settings) -> None:
    """Three sessions in room for two: the first was used again and stays, the second leaves and draws anew."""
    router = router_with(settings, routing_update("code", {"a": 1.0}), max_sessions=2)
    for session in ("one", "two", "one", "three"):
        router.select("q", query_class="code", session_id=session)

    kinds = [router.select("q", query_class="code", session_id=session).kind for session in ("one", "three", "two")]

    assert kinds == ["sticky", "sticky", "drawn"]


def test_pinned_class_is_not_drawn_from(settings: Settings) -> None:
    """An operator's word is marked as such; where the request excludes the pinned arm, it is a fallback and no draw either."""
    router = router_with(settings, routing_update("code", {"a": 1.0, "b": 0.0}, policy="pinned", version=(3, 4)))

    pinned, excluded = router.select("q", query_class="code"), router.select("q", query_class="code", candidates=["b"])

    assert (pinned.kind, pinned.arm.model, pinned.propensity, pinned.policy_version) == ("pinned", "a", None, "3.4")
    assert (excluded.kind, excluded.arm.model, excluded.propensity) == ("fallback", "b", None)


@pytest.mark.parametrize("query", [None, 7, ["a", "list"], b"bytes", "\ud800"])
def test_query_of_another_type_is_routed_all_the_same(settings: Settings, query: object) -> None:
    """The client never raises into a request's path, whatever it is handed."""
    assert router_with(settings).select(query).arm.model == "default"  # type: ignore[arg-type]


def test_decisions_are_published_when_asked(settings: Settings) -> None:
    """Silence after a decision shows a crash, so that the decision must be on the log before the call is made."""

    class Recorder:
        def __init__(self) -> None:
            self.records: list[Decision] = []

        def publish(self, record: Decision) -> bool:
            self.records.append(record)
            return True

    recorder = Recorder()
    router = Router(settings=settings, publish_decisions=True, publisher=recorder)  # type: ignore[arg-type]

    decision = router.select("q", trace_id="mine")

    assert recorder.records == [decision]
    assert decision.trace_id == "mine"


def test_snapshot_ends_on_the_newest_version_in_any_order() -> None:
    """Versions (1, 9), (2, 1), (2, 2) in every order of arrival: (2, 2) stands, since a zombie's write may come last."""
    for order in permutations([(1, 9), (2, 1), (2, 2)]):
        snapshot = Snapshot()
        for version in order:
            snapshot.apply(b"code", msgspec.json.encode(routing_update("code", {str(version): 1.0}, version=version)))

        assert snapshot.tables["code"].whole.ids == ("(2, 2)",), order


def test_tombstone_removes_a_class_and_an_older_update_does_not_bring_it_back() -> None:
    """What the owner retired, a zombie must not revive; the owner itself may, with a newer version."""
    snapshot = Snapshot()
    snapshot.apply(b"code", msgspec.json.encode(routing_update("code", {"a": 1.0}, version=(2, 1))))

    snapshot.apply(b"code", None)
    snapshot.apply(b"code", msgspec.json.encode(routing_update("code", {"zombie": 1.0}, version=(1, 9))))
    assert not snapshot.tables
    snapshot.apply(b"code", msgspec.json.encode(routing_update("code", {"b": 1.0}, version=(2, 2))))

    assert snapshot.tables["code"].whole.ids == ("b",)


def test_log_made_anew_may_bring_lower_versions_and_keeps_what_it_lacks() -> None:
    """A deployment that was wiped counts from 1 again; a router that went on comparing would be deaf for ever."""
    serving, anew = Snapshot(), Snapshot()
    for name in ("code", "math"):
        serving.apply(name.encode(), msgspec.json.encode(routing_update(name, {"old": 1.0}, version=(9, 9))))
    anew.apply(b"code", msgspec.json.encode(routing_update("code", {"new": 1.0}, version=(1, 1))))

    adopted = serving.adopt(anew)

    assert [update.query_class for update in adopted] == ["code"]
    assert {name: table.whole.ids for name, table in serving.tables.items()} == {"code": ("new",), "math": ("old",)}
    assert serving.apply(b"code", msgspec.json.encode(routing_update("code", {"newer": 1.0}, version=(1, 2)))) is not None


def test_parameters_of_a_policy_that_the_router_does_not_know_are_passed_over_and_nonsense_is_refused() -> None:
    """Both stand on `eddy.routing`; only what is neither is worth a warning."""
    snapshot = Snapshot()

    parameters = msgspec.json.encode(PolicyParameters(name="contextual", version=(1, 1), feature_hash="f", parameters={}))
    assert snapshot.apply(b"~policy/contextual", parameters) is None
    assert snapshot.model is None
    for value in (b"", b"7", b"\xff\xfe", b'{"query_class": "code"}'):
        with pytest.raises(MalformedRecordError):
            snapshot.apply(b"code", value)


def test_router_frequencies_follow_the_update(settings: Settings) -> None:
    """10,000 draws of an arm with .3: four standard deviations are .0183, passed with probability 6e-5 (seeded)."""
    router = router_with(settings, routing_update("code", {"a": 0.3, "b": 0.7}))

    drawn = Counter(router.select("q", query_class="code").arm.model for _ in range(10_000))

    assert abs(drawn["a"] / 10_000 - 0.3) < 0.0183


@pytest.mark.parametrize(
    "asked",
    [{"query_class": []}, {"session_id": ["a"]}, {"session_id": 7}, {"tenant": 5}, {"candidates": [None]}, {"candidates": 5}, {"candidates": "a"}, {"candidates": Arm(model="a")}],
    ids=str,
)
def test_arguments_of_another_type_cost_no_request(settings: Settings, asked: dict[str, object]) -> None:
    """`select` stands in every request's path: what a caller passes by mistake must not end one. An arm by itself is the only candidate."""
    router = router_with(settings, routing_update("general", {"a": 0.5, "b": 0.5}), routing_update("*", {"a": 0.5, "b": 0.5}))

    arm = router.select("hello", **asked).arm  # type: ignore[arg-type]

    assert arm.model == "a" if asked.get("candidates") in ("a", Arm(model="a")) else arm.model in ("a", "b", "default", "")


def test_default_arm_that_names_more_than_is_routed_over_is_withdrawn_with_its_model(make_settings: MakeSettings) -> None:
    """`gpt-4|react` where only models are routed over is `gpt-4`: once that is withdrawn nothing of it serves."""
    settings = make_settings("127.0.0.1:9", default_arm="gpt-4|react")
    router = router_with(settings, routing_update("general", {"gpt-4": 0.0}, states={"gpt-4": "withdrawn"}))

    assert router_with(settings).select("hello").arm == Arm(model="gpt-4")
    assert router.select("hello", query_class="general").arm == Arm()
