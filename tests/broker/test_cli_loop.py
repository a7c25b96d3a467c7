"""The command line and a running worker: what is published is counted, exactly once, and what an operator says is obeyed."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.children import Child
from stream.cli import main, rebuilding
from stream.cli.sending import send_all
from stream.client import SyncRouter
from stream.provision import provision
from stream.settings import Settings
from stream.topics import TRACES
from tests.conftest import Broker

pytestmark = pytest.mark.slow

CLASSES = ("code", "math", "chat")
MODELS = ("large", "small")
WITHIN_S = 60.0
"""A loaded machine takes ten seconds to start a worker, and the group six to let it in."""


def lines(count: int) -> list[dict[str, Any]]:
    """Traces of which the large model solves all and the small one a fifth."""
    return [
        {"trace_id": f"t{n}", "query": "q", "query_class": CLASSES[n % 3], "model": MODELS[n % 2], "outcome": "success" if n % 2 == 0 or n % 5 == 0 else "failure"}
        for n in range(count)
    ]


@pytest.fixture
def settings(fresh_broker: Broker, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    made = make_settings(fresh_broker.bootstrap)
    asyncio.run(provision(made))
    monkeypatch.chdir(Path(__file__).parents[2])
    for name in ("bootstrap", "partitions", "data_dir", "worker_port", "learner_port"):
        monkeypatch.setenv(f"EDDY_{name.upper()}", str(getattr(made, name)))
    return made


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """A worker process, ended in order afterwards."""
    child = Child("worker", "worker", environment={}, log_path=tmp_path / "worker.log", say=lambda text: None)
    process = child.launch()
    yield
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def eddy(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--json"])
    said = capsys.readouterr()
    assert not exit_.value.code, said.err
    return json.loads(said.out)


def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    deadline_s = time.monotonic() + WITHIN_S
    while not holds(seen := look()):
        assert time.monotonic() < deadline_s, seen
        time.sleep(0.3)
    return seen


@pytest.mark.usefixtures("worker")
def test_class_counts_equal_the_file_and_publishing_again_changes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """1,000 traces in three classes by n mod 3: 334, 333, 333; a second copy of each is a duplicate within the horizon.

    The worker has read the second copies once a trace published after them is counted in every partition, so forty more follow.
    """
    first, path = lines(1_000), tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, first)))
    expected = dict(Counter(line["query_class"] for line in first))
    markers = tmp_path / "markers.jsonl"
    markers.write_text("\n".join(json.dumps({"trace_id": f"m{n}", "query_class": "marker", "model": "m"}) for n in range(40)))

    assert eddy(capsys, "publish", str(path))["published"] == 1_000
    report = until(lambda: eddy(capsys, "routes"), lambda seen: seen["traces"] >= 1_000)
    eddy(capsys, "publish", str(path))
    eddy(capsys, "publish", str(markers))
    again = until(lambda: eddy(capsys, "routes"), lambda seen: seen["classes"].get("marker", {}).get("count") == 40)

    assert {name: entry["count"] for name, entry in report["classes"].items()} == expected
    assert {name: entry["count"] for name, entry in again["classes"].items()} == expected | {"marker": 40}
    assert sum(arm["count"] for arm in report["classes"]["code"]["arms"].values()) == 334


@pytest.mark.usefixtures("worker")
def test_pin_and_withdrawal_are_obeyed_until_they_are_lifted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The large model is the better one; pinned to the small one, routers draw only that; withdrawn everywhere, never."""
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, lines(600))))
    eddy(capsys, "publish", str(path))

    def shares(seen: dict[str, Any], query_class: str) -> dict[str, float]:
        return {name: arm.get("probability", -1.0) for name, arm in seen["classes"].get(query_class, {"arms": {}})["arms"].items()}

    until(lambda: eddy(capsys, "routes"), lambda seen: seen["traces"] == 600 and shares(seen, "math").get("large", 0.0) > 0.5)
    eddy(capsys, "pin", "math", "small")
    pinned = until(lambda: eddy(capsys, "routes"), lambda seen: shares(seen, "math").get("small") == 1.0)
    eddy(capsys, "unpin", "math")
    eddy(capsys, "withdraw", "small")
    withdrawn = until(lambda: eddy(capsys, "routes"), lambda seen: all(shares(seen, name).get("small", 0.0) <= 0.0 for name in CLASSES))
    explanation = eddy(capsys, "routes", "explain", "math")

    assert shares(pinned, "code")["large"] > 0.5
    assert all(shares(withdrawn, name)["large"] == 1.0 for name in CLASSES)
    assert explanation["overrides"]


@pytest.mark.usefixtures("worker")
def test_bad_record_is_listed_with_its_reason(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """What another producer wrote and the worker could not read is found by an operator."""
    asyncio.run(send_all(settings, [(TRACES.name, b"k", b"\xff not json")]))

    letters = until(lambda: eddy(capsys, "dead-letters", "list"), lambda seen: seen["total"] >= 1)["letters"]

    assert [letter["reason"] for letter in letters] == ["not_json"]


@pytest.mark.usefixtures("worker")
def test_rebuild_folds_the_log_under_new_settings_and_makes_that_fold_active(
    settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A horizon of its own is another fold: it counts the same 121 traces beside the first, then takes its place; again, there is nothing to do.

    One record is garbage and one stands under another key. The first fold sent a dead letter and a copy of them, the 123rd record; the
    second does not send them again.
    """
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, lines(120))))
    eddy(capsys, "publish", str(path))
    stray = json.dumps(lines(121)[120]).encode()
    asyncio.run(send_all(settings, [(TRACES.name, b"garbage", b"{"), (TRACES.name, b"another key", stray)]))
    before = until(lambda: eddy(capsys, "routes"), lambda seen: seen["traces"] == 121)
    asyncio.run(rebuilding._caught_up(settings, f"eddy-{before['fold']}", quiet=True))

    monkeypatch.setenv("EDDY_HORIZON", "777")
    rebuilt = eddy(capsys, "rebuild")
    after = until(lambda: eddy(capsys, "routes"), lambda seen: seen["traces"] == 121)
    again = eddy(capsys, "rebuild")

    assert rebuilt == {"fold": after["fold"], "records": 123, "was_active": False}
    assert after["fold"] != before["fold"]
    assert again["was_active"] is True
    assert sum(asyncio.run(rebuilding._ends(settings)).values()) == 123
    assert eddy(capsys, "dead-letters", "list")["total"] == 1


@pytest.fixture
def seeds_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDDY_REWARD", "seed")


@pytest.mark.usefixtures("seeds_reward", "worker")
def test_seeds_reward_routes_to_the_fast_and_cheap_arm(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Fast fails always and slow never, but quality is not what is asked for: .4 · 29/30 + .3 · .95 + .3 · .5 = .8217, and .4/3 + .3 · .1 + .15 = .3133."""
    arms = {"fast": ("failure", 1.0, 0.0005), "slow": ("success", 20.0, 0.009)}
    tokens = [{"step_type": "generate", "output": {"prompt_tokens": 50, "completion_tokens": 50}}]
    traces = [
        {"trace_id": f"{model}{n}", "query_class": "code", "model": model, "outcome": outcome, "total_latency_seconds": latency_s, "cost_usd": cost_usd, "steps": tokens}
        for n in range(60)
        for model, (outcome, latency_s, cost_usd) in arms.items()
    ]
    (tmp_path / "traces.jsonl").write_text("\n".join(map(json.dumps, traces)))

    eddy(capsys, "publish", str(tmp_path / "traces.jsonl"))
    routed = until(lambda: eddy(capsys, "routes")["classes"].get("code", {"arms": {}})["arms"], lambda arms: [arm.get("rated_count") for arm in arms.values()] == [60, 60])

    fast, slow = routed["fast"], routed["slow"]
    assert fast["probability"] > 0.9
    assert fast["mean"] == pytest.approx(0.82167, abs=1e-5)
    assert slow["worst_case"] == [pytest.approx(0.31333, abs=1e-5)] * 2
    assert fast["rated_share"] == 1.0


@pytest.fixture
def tenants_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDDY_TENANTS", "apart")
    monkeypatch.setenv("EDDY_DEFAULT_ARM", "small")


@pytest.mark.usefixtures("tenants_apart", "worker")
def test_tenants_are_routed_apart_and_a_rollout_stops_them_all(settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Acme's good model is the rival's bad one; each is routed by its own traces, a third tenant by what is declared. Then an operator lets all routers only observe."""
    traces = [
        {"trace_id": f"{tenant}{model}{n}", "tenant": tenant, "query_class": "code", "model": model, "outcome": "success" if model == good else "failure"}
        for n in range(30)
        for tenant, good in (("acme", "large"), ("rival|code", "small"))
        for model in MODELS
    ]
    (tmp_path / "traces.jsonl").write_text("\n".join(map(json.dumps, traces)))
    eddy(capsys, "publish", str(tmp_path / "traces.jsonl"))

    def routes(tenant: str) -> dict[str, Any]:
        return eddy(capsys, "routes", "--tenant", tenant)

    def all_counted(report: dict[str, Any]) -> bool:
        arms = [arm for entry in report["classes"].values() for arm in entry["arms"].values()]
        return [arm.get("rated_count") for arm in arms] == [30, 30] and report["any_class"] is not None

    acme, rival = (until(lambda tenant=tenant: routes(tenant), all_counted) for tenant in ("acme", "rival|code"))
    assert set(acme["classes"]) == {"acme|code"}
    assert acme["classes"]["acme|code"]["arms"]["large"]["probability"] > 0.9
    assert rival["classes"]["rival\\|code|code"]["arms"]["small"]["probability"] > 0.9
    assert set(routes("nobody")["any_class"]["arms"]) == {"small"}

    client = Settings(bootstrap=settings.bootstrap)
    with SyncRouter(settings=client) as router:
        assert router.ready(30)
        drawn = {router.select("q", query_class="code", tenant="acme").arm.model for _ in range(50)}
        eddy(capsys, "rollout", "observe")
        stopped = until(lambda: router.select("q", query_class="code", tenant="acme"), lambda decision: decision.kind == "fallback")

    assert "large" in drawn
    assert (stopped.arm.model, stopped.propensity, stopped.would_be is not None) == ("small", None, True)
    assert eddy(capsys, "routes")["rollout"] == 0.0


@pytest.mark.usefixtures("worker")
def test_judge_is_read_on_the_scale_of_people_who_saw_the_same_traces(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A judge calls all of 440 traces perfect; people who saw 380 of them call these worthless, so that of 1 there 20/400 = .05 is believed. People give the other arm .6."""
    rows = [{"trace_id": f"{model}{n}", "query_class": "code", "model": model} for model, count in (("seen", 380), ("unseen", 60), ("other", 60)) for n in range(count)]
    said = {"seen": (("judge", 1.0), ("human", 0.0)), "unseen": (("judge", 1.0),), "other": (("human", 0.6),)}
    rows += [
        {"type": "feedback", "trace_id": row["trace_id"], "rater": kind, "rater_kind": kind, "score": score, "given_at": time.time()}
        for row in rows
        for kind, score in said[row["model"]]
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))

    eddy(capsys, "publish", str(tmp_path / "log.jsonl"))
    arms = until(lambda: eddy(capsys, "routes")["classes"].get("code", {"arms": {}})["arms"], lambda arms: sum(arm.get("rated_count", 0) for arm in arms.values()) == 500)

    assert arms["unseen"]["mean"] == pytest.approx(0.05, abs=0.01)
    assert arms["other"]["mean"] == pytest.approx(0.6)
    assert arms["other"]["probability"] > 0.9
    assert "A score s by judge is read as 0.000 + 0.05" in eddy(capsys, "routes", "explain", "code")["text"]
