"""Tenants kept apart: what one tenant's traces say never changes another's routing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.client.eddy import Eddy
from stream.client.router import Router
from stream.fold.fold import fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.reading.query_class import classify_query
from stream.records import ANY_CLASS, OVERFLOW, Arm, Override, RoutingUpdate, class_of_tenant, pool_of_tenant
from stream.routing.desk import RoutingDesk
from stream.routing.overrides import Overrides
from stream.routing.registry import policies
from stream.routing.settings import RoutingSettings
from stream.routing.state import RoutingState
from stream.settings import Settings
from tests.broker.client_tools import routing_update
from tests.logs import START_MS, LogRecord, small_spec
from tests.unit.routing_support import by_class, desk, row, scored, shares, statistics

MakeSettings = Callable[..., Settings]
Names = st.text(alphabet="a|\\*~", max_size=5)


# ---- names


@given(st.tuples(Names, Names), st.tuples(Names, Names))
def test_two_tenants_classes_never_have_one_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Hostile tenants are made of separators and escapes: still no two pairs meet, and none is the pool of all or the overflow."""
    first, second = class_of_tenant(*one), class_of_tenant(*other)

    assert (first == second) == (one == other)
    assert first not in {ANY_CLASS, OVERFLOW}
    assert pool_of_tenant(first) == class_of_tenant(one[0], ANY_CLASS)
    assert (pool_of_tenant(first) == pool_of_tenant(second)) == (one[0] == other[0])


# ---- the whole way: log, fold, desk


def routes_of(log: list[dict[str, Any]], spec: FoldSpec, settings: RoutingSettings) -> dict[str, bytes]:
    """Fold a log over two partitions and decide as it grows, every five seconds; the last updates by class, without what counts them."""
    routing = RoutingDesk(settings=settings, fold=spec.id, state=RoutingState())
    routing.claim(1)
    states, said = [PartitionState(number, spec) for number in range(2)], list[RoutingUpdate]()
    for step, _ in enumerate(range(0, log[-1]["at_ms"] + 1, STEP_MS)):
        for state in states:
            mine = [body for body in log if body["at_ms"] // STEP_MS == step and PARTITION[body["trace_id"]] == state.number]
            records = [LogRecord(state.position + at, START_MS + body["at_ms"], body["trace_id"].encode(), json.dumps(body).encode()) for at, body in enumerate(mine)]
            fold(state, records, classify_query)
            for query_class in state.take_changed_classes():
                routing.learn(state.statistics(query_class))
        said += routing.due(step * STEP_MS / 1000, limit=10_000)
    said += routing.due(log[-1]["at_ms"] / 1000 + 100, limit=10_000)
    updates = {update.query_class: msgspec.structs.replace(update, version=(0, 0)) for update in said}
    return {name: msgspec.json.encode(update) for name, update in updates.items()}


STEP_MS = 5_000


class _Partition(dict[str, int]):
    def __missing__(self, trace_id: str) -> int:
        from stream.reading.partitioning import partition_of

        return self.setdefault(trace_id, partition_of(trace_id.encode(), 2))


PARTITION = _Partition()


def log_of(tenants: tuple[str, ...], seed: int, count: int = 100) -> list[dict[str, Any]]:
    """Traces of tenants who disagree on which model is good; every step ends in each partition with one of the first tenant, so that time is the same without the others."""
    rnd, log = random.Random(seed), []
    for number in range(count):
        tenant, model = rnd.choice(tenants), rnd.choice(["m1", "m2"])
        is_good = rnd.random() < (0.9 if (model == "m1") == (tenant == tenants[0]) else 0.1)
        body = {"trace_id": f"t{number}", "tenant": tenant, "model": model if tenant == tenants[0] else rnd.choice([model, "secret"]), "query_class": rnd.choice(["code", "math"])}
        body |= {"outcome": "success" if is_good else "failure", "cost_usd": rnd.random(), "total_latency_seconds": 9 * rnd.random(), "at_ms": number * 1000}
        if rnd.random() < 0.7:
            body["decision"] = {"kind": "drawn", "arm": {"model": body["model"]}, "propensity": 0.5, "query_class": body["query_class"]}
        log.append(body)
        if rnd.random() < 0.3:  # a decision whose trace never comes
            waits = {"type": "decision", "trace_id": f"silent{number}", "kind": "drawn", "arm": {"model": body["model"]}, "propensity": 0.5}
            log.append({**waits, "tenant": tenant, "query_class": body["query_class"], "at_ms": number * 1000})
        for rater, kind, share in (("ana", "human", 0.4), ("model", "judge", 0.6)):
            if rnd.random() < share:
                score = (is_good if kind == "human" else tenant == tenants[0]) * 1.0  # judges tell the first tenant's traces from the others', not good from bad
                rating = {"type": "feedback", "trace_id": body["trace_id"], "rater": rater, "rater_kind": kind, "score": score}
                log.append({**rating, "given_at": START_MS / 1000, "at_ms": number * 1000})
    clock = {"tenant": tenants[0], "model": "m1", "query_class": "code", "outcome": "success", "cost_usd": 0.5}
    names = [f"clock{number}" for number in range(8 * count * 1000 // STEP_MS)]
    for number in range(2):
        mine = (name for name in names if PARTITION[name] == number)
        log += [{**clock, "trace_id": next(mine), "at_ms": end - 1} for end in range(STEP_MS, count * 1000 + 1, STEP_MS)]
    return sorted(log, key=lambda body: body["at_ms"])


TENANTS = ("acme", "rival", "acme|code", "")


def updates(log: list[dict[str, Any]], tenants: str, **given: Any) -> dict[str, bytes]:
    spec = small_spec(partitions=2, horizon=1_000, max_classes=100, max_arms=10, keep_minutes=99, tenants=tenants)
    return routes_of(log, spec, RoutingSettings(default_arm=Arm(model="m1"), tenants_apart=tenants == "apart", **given))


@pytest.mark.parametrize("policy", sorted(policies()))
@pytest.mark.parametrize("ceilings", [{}, {"max_cost_usd": 0.3, "max_latency_s": 4.0}], ids=["no ceilings", "ceilings"])
@pytest.mark.parametrize("seed", range(2))
def test_no_byte_of_a_tenants_updates_is_owed_to_another(seed: int, ceilings: dict[str, float], policy: str) -> None:
    """Without the traces of all others, a tenant's updates and that for tenants never seen are the same, byte for byte."""
    log = log_of(TENANTS, seed)
    acmes = {body["trace_id"] for body in log if body.get("tenant") == "acme"}
    alone = [body for body in log if body["trace_id"] in acmes]

    together, without = (updates(bodies, "apart", policy=policy, **ceilings) for bodies in (log, alone))

    assert set(without) == {"acme|code", "acme|math", "acme|*", "*"}
    assert {name: together[name] for name in without} == without
    assert set(together) - set(without) == {class_of_tenant(tenant, name) for tenant in ("rival", "acme|code", "") for name in ("code", "math", "*")}
    assert (msgspec.json.decode(without["acme|code"], type=RoutingUpdate).lambda_cost > 0) == bool(ceilings)


def test_shared_tenants_learn_from_each_other() -> None:
    """The same logs where tenants are shared: what the test above compares does change."""
    log = log_of(TENANTS, seed=0)

    assert updates(log, "shared")["code"] != updates([body for body in log if body.get("tenant") == "acme"], "shared")["code"]


# ---- the desk


def test_tenants_pool_is_its_own_and_the_common_one_knows_nothing() -> None:
    """Acme finds b good in code, so an unknown class of acme's prefers b; a tenant never seen has the declared arms alone, and what overflowed is nobody's."""
    routing = desk(tenants_apart=True, default_arm=Arm(model="a"))
    routing.learn(statistics({"a": scored(5, 45), "b": scored(45, 5)}, query_class="acme|code"))
    routing.learn(statistics({"a": scored(45, 5), "c": scored(5, 45)}, query_class="rival|code"))
    routing.learn(statistics({"d": scored(50, 0)}, query_class=OVERFLOW))

    updates = by_class(routing.due(0.0))

    assert set(updates) == {"acme|code", "acme|*", "rival|code", "rival|*", OVERFLOW, ANY_CLASS}
    assert (shares(updates["acme|*"])["b"] > 0.9, shares(updates["rival|*"])["a"] > 0.9) == (True, True)
    assert {name: set(shares(updates[name])) for name in ("acme|*", "rival|*", ANY_CLASS)} == {"acme|*": {"a", "b"}, "rival|*": {"a", "c"}, ANY_CLASS: {"a"}}


def test_word_on_a_tenant_holds_for_its_classes_alone() -> None:
    """An operator pins a whole tenant by its pool; a class's own word is narrower, the one on `*` wider."""
    routing = desk(tenants_apart=True)
    for name in ("acme|code", "acme|math", "rival|code"):
        routing.learn(statistics({"a": scored(9, 1)}, query_class=name))
    routing.due(0.0)

    for name, model in (("acme|*", "tenants"), ("acme|math", "own"), (ANY_CLASS, "everyone's")):
        word = Override(kind="pin", query_class=name, arm=Arm(model=model))
        routing.override(word.key, word)
    updates = by_class(routing.due(2.0))

    pinned = {name: arm for name, update in updates.items() for arm, share in shares(update).items() if share == 1.0}
    assert pinned == {"acme|code": "tenants", "acme|math": "own", "acme|*": "tenants", "rival|code": "everyone's", "rival|*": "everyone's", ANY_CLASS: "everyone's"}


def test_what_a_tenant_spends_moves_its_own_price_alone() -> None:
    """A price moves by a step a look: a busy tenant's looks must not hurry another's price along."""
    routing = desk(tenants_apart=True, max_cost_usd=0.1)

    def spend(tenant: str, offset: int) -> None:
        dear = row(*[1.0] * (10 * offset), COST_KNOWN=10 * offset, COST_NANO_USD=10 * offset * 500_000_000)
        routing.learn(statistics({"a": [dear], "b": [row(1.0)]}, query_class=f"{tenant}|code", offset=offset))

    for offset in range(1, 4):
        spend("acme", offset)
        routing.due(float(offset))
    for look in range(4, 8):  # its last news are worth some more
        routing.due(float(look))
    before = dict(routing.state.prices)
    for offset in range(1, 4):
        spend("rival", offset)
        routing.due(10.0 + offset)

    assert set(before) == {"acme|*"}
    assert set(routing.state.prices) == {"acme|*", "rival|*"}
    assert min(price.cost for price in routing.state.prices.values()) > 0
    assert routing.state.prices["acme|*"] == before["acme|*"]


def test_shared_tenants_know_no_words_on_a_tenant() -> None:
    """Where tenants are shared, `acme|*` is a class like any other that a sender may name."""
    overrides = Overrides(("model",))
    overrides.put("pin/acme|*", Override(kind="pin", query_class="acme|*", arm=Arm(model="m")))

    assert (overrides.pin("acme|code"), overrides.pin("acme|*")) == (None, Arm(model="m"))


def test_routers_are_told_no_scores_where_tenants_are_apart() -> None:
    """A model that all tenants taught may stand on the topic from before: without scores no router refines by it."""
    for apart in (False, True):
        routing = desk(tenants_apart=apart, policy="contextual")
        routing.learn(statistics({"a": scored(9, 10), "b": scored(5, 10)}, query_class="acme|code"))

        update = by_class(routing.due(0.0))["acme|code"]

        assert [arm.score is None for arm in update.arms] == [apart, apart]


def test_tenant_leaves_the_desk_with_its_last_class() -> None:
    """Tenants come and go: when all that was said of one has aged out, its pool is retired too and nothing of it is kept."""
    routing = desk(tenants_apart=True)
    routing.learn(statistics({"a": scored(9, 1)}, query_class="acme|code"))
    routing.due(0.0)

    routing.learn(statistics({}, query_class="acme|code", offset=2))
    routing.due(2.0)

    assert routing.retired() == ["acme|*", "acme|code"]
    assert not routing.book._pools


# ---- the router


@pytest.fixture
def router(make_settings: MakeSettings) -> Router:
    made = Router(settings=make_settings("127.0.0.1:9", tenants="apart", default_arm="default"), seed=7)
    for name, model in (("acme|code", "acmes"), ("acme|*", "acmes-pool"), ("*", "declared")):
        hear(made, routing_update(name, {model: 1.0}))
    return made


def hear(router: Router, update: RoutingUpdate) -> None:
    router.snapshot.apply(update.query_class.encode(), msgspec.json.encode(update))


@pytest.mark.parametrize(
    ("tenant", "query_class", "model"),
    [("acme", "code", "acmes"), ("acme", "math", "acmes-pool"), ("rival", "code", "declared"), ("", "acme|code", "declared"), ("acme|code", "", "declared")],
)
def test_router_draws_from_the_tenants_own_class_then_its_pool_then_what_is_declared(router: Router, tenant: str, query_class: str, model: str) -> None:
    """The decision says the class as the caller knows it, and the tenant beside it: the fold puts the two together once."""
    decision = router.select("q", query_class=query_class, tenant=tenant)

    assert (decision.arm.model, decision.query_class, decision.tenant) == (model, query_class, tenant)


def test_sessions_of_two_tenants_may_have_one_name(router: Router) -> None:
    """A tenant must not be served by an arm that another's session was given."""
    first = router.select("q", query_class="code", tenant="acme", session_id="1")
    other = router.select("q", query_class="code", tenant="rival", session_id="1")
    again = router.select("q", query_class="math", tenant="acme", session_id="1")

    assert [(decision.kind, decision.arm.model) for decision in (first, other, again)] == [("drawn", "acmes"), ("drawn", "declared"), ("sticky", "acmes")]


def test_handle_chooses_for_the_tenant_and_the_fold_counts_its_trace_there(make_settings: MakeSettings) -> None:
    """From the handle to the fold: the class that the router drew for is the class that the trace is counted in."""
    eddy = Eddy(settings=make_settings("127.0.0.1:9", tenants="apart"), tenant="acme", seed=7)
    hear(eddy.router, routing_update("acme|code", {"acmes": 1.0}))
    published: list[Any] = []
    request = eddy.request("q", query_class="code", trace_id="t")
    request._publish = published.append

    with request:
        request.finish(outcome="success")

    state = PartitionState(0, small_spec(tenants="apart"))
    fold(state, [LogRecord(0, START_MS, b"t", msgspec.json.encode(published[0]))], classify_query)
    assert request.arm.model == "acmes"
    assert state.all_classes() == ("acme|code",)
