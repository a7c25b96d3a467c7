"""The steps of a cycle over a real archive: what is new, what is proposed, how it is judged, and that it goes live once."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.cycles.evidence import Evidence
from stream.cycles.inbox import take_job
from stream.cycles.ledger import LIFETIME, Ledger
from stream.cycles.machine import Bench, Machine
from stream.cycles.plan import Plan
from stream.cycles.promoting import carry_out_words, discard
from stream.cycles.states import Standing, State
from stream.cycles.steps import STEPS
from stream.cycles.steps.configs import proposed
from stream.learning.evolving import live, pins
from stream.learning.evolving.evidence import AgentEvidence
from stream.learning.gate import Lifetime
from stream.learning.splits import split_of
from stream.records import AgentConfig, CycleOrder, CycleRequested, Override, TrainingFinished, TrainingJob
from stream.settings import load
from tests.unit.archive_support import Log, Record, filled, no_archive_left_open, opened  # noqa: F401 - a fixture

BY_HAND = '# mine\n[agent]\nname = "react"\ntools = ["browser", "own"]  # until now\nsystem_prompt = "Be kind."\n'


def call(tool: str, *, success: bool | None) -> dict[str, Any]:
    return {"step_type": "tool_call", "timestamp": 1.0, "input": {"tool": tool}, "output": {} if success is None else {"success": success}}


def fill(log: Log, traces: int, *, first: int = 0, **fields: Any) -> Log:
    """Traces of an agent whose tool `sql` works, whose tool `browser` does not, and whose tool `quiet` does not say."""
    steps = [call("sql", success=True), call("browser", success=False), call("quiet", success=None)]
    for number in range(first, first + traces):
        log.trace(f"t{number}", query=f"question {number}", result=f"answer {number}", outcome="success", feedback=0.9, steps=steps, **fields)
    return log


def by_tools(folder: Path) -> dict[str, float]:
    """Evaluate: whoever has no browser solves all of 200 samples, others half of them."""
    text = (folder / "react.toml").read_text()
    return {f"s{number}": float("browser" not in text or number % 2 == 0) for number in range(200)}


def breaks_on_change(folder: Path) -> float:
    """Evaluate the live configuration only."""
    if "browser" not in (folder / "react.toml").read_text():
        raise RuntimeError("no such tool")
    return 0.5


class Deployment:
    """A data folder with an archive and a ledger, worked on without a learner."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.now = folder, 1000.0
        self.plan = replace(Plan.of(load(data_dir=folder, **settings)), archive=folder / "archive.sqlite3")
        self.ledger = Ledger(self.plan.ledger, lambda: self.now)
        self.bench = Bench(self.plan, self.ledger, lambda: self.now)

    async def archive(self, log: Log) -> None:
        await filled(self.folder, log)

    async def archive_more(self, records: list[Record]) -> None:
        archive = await opened(self.folder)
        await archive.append({0: records})
        await archive.index()
        await archive.close()

    def write(self, text: str, agent: str = "react") -> None:
        self.plan.config_dir.mkdir(parents=True, exist_ok=True)
        (self.plan.config_dir / f"{agent}.toml").write_text(text)

    def run(self, cycle_id: str, *, until: State | None = None, **asked: Any) -> State:
        self.ledger.request(CycleRequested(cycle_id=cycle_id, trigger="test", requested_at=1.0, **asked))
        carry_out_words(self.bench)
        Machine(self.bench, STEPS, discard).run(cycle_id, until=until)
        return self.ledger.cycle(cycle_id).state

    def candidates(self, cycle_id: str) -> dict[str, Any]:
        return {candidate.name: candidate for candidate in self.ledger.candidates(cycle_id)}

    def sent(self, topic: str) -> list[Any]:
        return [json.loads(message.value) for message in self.ledger.unsent(1000) if message.topic == topic and message.value is not None]

    def announced(self) -> list[Any]:
        """What is to be sent of configurations that are live; that they were on trial before is said too."""
        return [config for config in self.sent("eddy.agent-configs") if not config.get("trial")]

    def live(self, agent: str = "react") -> str | None:
        return live.read(self.plan.config_dir, agent)


@pytest.fixture
def deploy(tmp_path: Path):
    made = []

    def make(**settings: Any) -> Deployment:
        made.append(Deployment(tmp_path, **settings))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()


Deploy = Callable[..., Deployment]
EVALUATOR = "tests.unit.test_cycles_steps:by_tools"


async def test_cycle_promotes_what_is_proven_and_the_next_one_sees_only_what_is_new(deploy: Deploy) -> None:
    """Thirty traces: the tool that works leads, the one that surely fails goes, hand-written text stays; the second cycle finds nothing new."""
    here, log = deploy(evaluator=EVALUATOR), fill(Log(), 30)
    await here.archive(log)
    here.write(BY_HAND)

    assert here.run("c1") is State.COMPLETED
    assert here.live() == '# mine\n[agent]\nname = "react"\ntools = ["sql", "own"]  # until now\nsystem_prompt = "Be kind."\nmax_turns = 5\n'
    (config,) = here.announced()
    assert msgspec.convert(config, AgentConfig) == AgentConfig(agent="react", version=2, toml=here.live() or "")
    assert (here.plan.config_dir / ".history" / "react.v1.toml").read_text() == BY_HAND
    assert json.loads((here.plan.config_dir / ".history" / "react.v2.json").read_text())["cycle"] == "c1"
    assert not here.plan.folder("c1").exists()

    assert here.run("c2") is State.SKIPPED
    await here.archive_more(fill(log, 5, first=30).records[30:])
    assert here.run("c3", until=State.MINED) is State.MINED
    assert here.ledger.detail("c3", State.MINED)["traces"] == 5


async def test_rejected_candidate_leaves_no_byte(deploy: Deploy) -> None:
    """Nothing live is touched before a verdict; the folder that it was evaluated in is gone."""
    here = deploy(evaluator="tests.unit.test_cycles_steps:breaks_on_change")
    await here.archive(fill(Log(), 30))
    here.write(BY_HAND)

    assert here.run("c1") is State.REJECTED
    assert "RuntimeError: no such tool" in here.candidates("c1")["config/react"].detail["why"]
    assert {str(path.relative_to(here.plan.config_dir)) for path in here.plan.config_dir.rglob("*")} == {"react.toml"}
    assert here.live() == BY_HAND
    assert not here.plan.folder("c1").exists()


async def test_failing_evaluation_of_what_is_live_ends_the_cycle(deploy: Deploy) -> None:
    """There is nothing to hold candidates against."""
    here = deploy(evaluator="tests.unit.test_cycles_steps:no_such_function")
    await here.archive(fill(Log(), 30))

    assert here.run("c1") is State.ABORTED
    assert "no_such_function" in here.ledger.detail("c1", State.ABORTED)["said"]


async def test_error_is_set_aside_once_for_each_candidate(deploy: Deploy) -> None:
    """e-LOND at level .05: the first candidate has .05/2. A crash after it was set aside, and before the verdict, uses it up once."""
    here = deploy(evaluator=EVALUATOR)
    await here.archive(fill(Log(), 30))
    here.write(BY_HAND)
    assert here.run("c1", until=State.TRAINED) is State.TRAINED
    lifetime = Lifetime(0.05)
    lifetime.alpha("c1/config/react")
    here.ledger.put_marks({LIFETIME: lifetime.encode()})

    assert here.run("c1") is State.COMPLETED
    places = Lifetime.decode(here.ledger.mark(LIFETIME, "")).places
    assert {name: (place.alpha, place.promoted) for name, place in places.items()} == {"c1/config/react": (0.025, True)}


async def test_held_candidate_is_refused_once_the_live_configuration_has_changed(deploy: Deploy) -> None:
    """A person edited it after it was staged: to promote it would undo that."""
    here = deploy(promotion="approve", evaluator=EVALUATOR)
    await here.archive(fill(Log(), 30))
    here.write(BY_HAND)
    assert here.run("c1") is State.STAGED
    here.write(BY_HAND.replace("kind", "brief"))
    here.ledger.order(CycleOrder(cycle_id="c1", order="approve", given_at=1.0))
    carry_out_words(here.bench)

    candidate = here.candidates("c1")["config/react"]
    assert candidate.standing is Standing.DISCARDED
    assert "has changed since" in candidate.detail["why"]
    assert here.live() == BY_HAND.replace("kind", "brief")
    assert here.announced() == []


async def test_newer_proposal_takes_the_place_of_a_held_one(deploy: Deploy) -> None:
    """Two of one agent could not both be promoted."""
    here, log = deploy(promotion="approve", evaluator=EVALUATOR), fill(Log(), 30)
    await here.archive(log)
    here.write(BY_HAND)
    here.run("c1")
    await here.archive_more(fill(log, 30, first=30).records[30:])
    here.run("c2")

    assert here.candidates("c1")["config/react"].standing is Standing.DISCARDED
    assert "c2" in here.candidates("c1")["config/react"].detail["why"]
    assert here.candidates("c2")["config/react"].standing is Standing.HELD


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_promotion_that_was_begun_is_finished_once(deploy: Deploy, is_replaced: bool) -> None:
    """A crash after the intent: whether the file was replaced or not, it is live once, under one version, and told once."""
    here = deploy(promotion="approve", evaluator=EVALUATOR)
    await here.archive(fill(Log(), 30))
    here.write(BY_HAND)
    here.run("c1")
    candidate = here.candidates("c1")["config/react"]
    here.ledger.move(candidate, Standing.PROMOTING, {"version": 2})
    if is_replaced:
        live.replace(here.plan.config_dir, "react", candidate.detail["toml"], version=2, before=candidate.detail["before"], provenance={})
    for _ in range(2):
        carry_out_words(here.bench)

    assert here.live() == candidate.detail["toml"]
    assert [config["version"] for config in here.announced()] == [2]
    assert sorted(path.name for path in (here.plan.config_dir / ".history").glob("*.toml")) == ["react.v1.toml"]


@pytest.mark.parametrize("name", ["", "x" * 101])
async def test_agent_whose_name_is_no_files_is_left_alone(deploy: Deploy, name: str) -> None:
    """Its other evidence counts, and the cycle says so."""
    here = deploy()
    await here.archive(fill(Log(), 30, agent=name))

    assert here.run("c1") is State.COMPLETED
    assert here.ledger.candidates("c1") == []
    assert "no file's" in here.ledger.detail("c1", State.CONFIGURED)["said"]


@pytest.mark.parametrize("name", ["../escape", "a/b", ".hidden", "..", "a\nb", "a\0b", "CON:"])
def test_no_name_leaves_the_folder(name: str) -> None:
    """Names come from traces; the archive refuses some of these, and this all of them."""
    assert live.NAME.fullmatch(name) is None


async def test_configuration_that_cannot_be_read_is_left_alone(deploy: Deploy) -> None:
    """A person's mistake is a person's to mend."""
    here = deploy()
    await here.archive(fill(Log(), 30))
    here.write("[agent\n")

    assert here.run("c1") is State.COMPLETED
    assert "cannot be read" in here.ledger.detail("c1", State.CONFIGURED)["said"]
    assert here.live() == "[agent\n"


@pytest.mark.parametrize("is_held", [False, True])
async def test_pinned_configuration_is_left_alone(deploy: Deploy, is_held: bool) -> None:
    """A pin keeps a cycle from proposing, and what was held before it from becoming live though a person approves."""
    here = deploy(promotion="approve", evaluator=EVALUATOR)
    await here.archive(fill(Log(), 30))
    here.write(BY_HAND)
    if is_held:
        here.run("c1")
        here.ledger.order(CycleOrder(cycle_id="c1", order="approve", given_at=1.0))
    pins.pin(here.plan.config_dir, "react", reason="audited", at=1.0)
    carry_out_words(here.bench) if is_held else here.run("c1")

    assert here.live() == BY_HAND
    found = here.candidates("c1")
    assert "audited" in (found["config/react"].detail["why"] if is_held else here.ledger.detail("c1", State.CONFIGURED)["said"])
    assert is_held or found == {}


def test_one_lucky_trace_changes_nothing() -> None:
    """Nineteen calls conclude nothing, twenty do; what is proposed again from the same evidence is no change."""
    few, enough = AgentEvidence(traces=19, tools={"sql": [19, 19]}), AgentEvidence(traces=20, tools={"sql": [20, 20], "browser": [20, 2]})

    assert proposed("react", None, few)[1] == ""
    text, summary = proposed("react", None, enough)
    assert text == '[agent]\nname = "react"\ntools = ["sql"]\n'
    assert summary == "tools [] become ['sql']"
    assert proposed("react", text, enough) == (text, "")


def test_only_what_is_too_little_is_carried_on() -> None:
    """By hand: of two tools the one with nineteen calls; of traces that succeeded nineteen, and none of twenty."""
    enough = AgentEvidence(traces=40, tools={"sql": [20, 20], "own": [19, 3]}, calls=[20] + [0] * 100)
    few = AgentEvidence(traces=19, calls=[0, 19] + [0] * 99)

    assert enough.below(20) == AgentEvidence(traces=40, tools={"own": [19, 3]})
    assert few.below(20) == few
    assert AgentEvidence(traces=40, tools={"sql": [20, 20]}).below(20) is None
    carried = Evidence(traces=9, draws=499, agents={"a": enough, "b": AgentEvidence(traces=3)}).carried(least=20, least_draws=500)
    assert carried == Evidence(draws=499, agents={"a": AgentEvidence(traces=40, tools={"own": [19, 3]})})
    assert Evidence(draws=500).carried(least=20, least_draws=500) == Evidence()


# ---- adapters


async def parked(deploy: Deploy) -> Deployment:
    here = deploy(train_model="tiny", train_min_pairs=10, train_max_s=3600, redact=False)
    log = fill(Log(), 60)
    fill(log, 3, first=60, agent="other")
    await here.archive(log)
    assert here.run("c1") is State.WAITING
    return here


async def test_cycle_waits_for_its_training_job_without_its_lock(deploy: Deploy) -> None:
    """One job, with a dataset of good answers to queries of the training split, each with its trace; others may run meanwhile."""
    here = await parked(deploy)

    (sent,) = here.sent("eddy.training-jobs")
    job = msgspec.convert(sent, TrainingJob)
    data = Path(job.spec["dataset"]["path"]).read_bytes()
    lines = [json.loads(line) for line in data.splitlines()]
    assert job.spec["base_model"] == "tiny"
    assert hashlib.sha256(data).hexdigest() == job.spec["dataset"]["sha256"]
    assert len(lines) == job.spec["dataset"]["samples"]
    assert 20 < len(lines) < 55  # some .6 of 63
    first, *calls, last = lines[0]["messages"]
    assert [first, last] == [{"role": "user", "content": f"question {lines[0]['trace_id'][1:]}"}, {"role": "assistant", "content": f"answer {lines[0]['trace_id'][1:]}"}]
    assert [message["role"] for message in calls] == ["assistant", "tool"] * 3
    assert {split_of(line["messages"][0]["content"]) for line in lines} == {"train"}
    assert here.ledger.runnable() is None
    here.ledger.request(CycleRequested(cycle_id="c2", trigger="test", requested_at=2.0))
    assert here.ledger.runnable().cycle_id == "c2"


def trained_on(here: Deployment) -> list[list[str]]:
    """The trace ids of each job's data set."""
    return [[json.loads(line)["trace_id"] for line in Path(job["spec"]["dataset"]["path"]).read_text().splitlines()] for job in here.sent("eddy.training-jobs")]


def in_training(count: int, first: int = 0) -> list[str]:
    """Trace ids of `fill` whose queries are of the training split."""
    return [f"t{number}" for number in range(first, first + count) if split_of(f"question {number}") == "train"]


async def test_answers_that_are_too_few_are_kept_for_the_next_cycle(deploy: Deploy) -> None:
    """Twenty traces have some twelve answers to train on; with twenty more there are enough, and all of both are trained on, each once."""
    here, log = deploy(train_model="tiny", train_min_pairs=20, redact=False), fill(Log(), 20)
    await here.archive(log)
    assert here.run("c1") is State.STAGED
    assert "are kept for the next cycle" in here.ledger.detail("c1", State.TRAINED)["said"]
    await here.archive_more(fill(log, 20, first=20).records[20:])

    assert here.run("c2") is State.WAITING
    (ids,) = trained_on(here)
    assert sorted(ids) == sorted(in_training(40))
    assert len(in_training(20)) < 20 <= len(in_training(40))


async def test_answers_of_a_job_that_failed_are_trained_on_by_the_next(deploy: Deploy) -> None:
    """What a job that ended well was trained on is not trained on again; what one that failed was is."""
    here, log = deploy(train_model="tiny", train_min_pairs=1, redact=False), fill(Log(), 10)
    await here.archive(log)
    here.run("c1")
    take_job(here.ledger, msgspec.json.encode(TrainingFinished(job_id="c1-adapter", trainer="t", status="failed", detail={"reason": "out of memory"})))
    here.run("c1")
    await here.archive_more(fill(log, 10, first=10).records[10:])
    here.run("c2")
    take_job(here.ledger, msgspec.json.encode(TrainingFinished(job_id="c2-adapter", trainer="t", status="succeeded", detail={"adapter": ADAPTER})))
    here.run("c2")
    await here.archive_more(fill(log, 10, first=20).records[20:])
    here.run("c3")

    first, second, third = map(sorted, trained_on(here))
    assert (first, second, third) == (sorted(in_training(10)), sorted(in_training(20)), sorted(in_training(10, first=20)))


async def test_cycle_beside_one_that_waits_trains_nothing_and_is_not_mined_again(deploy: Deploy) -> None:
    """The second mines ten more traces, trains nothing, and moves the cursor, which the first then leaves where it is; the third trains on what the first had not."""
    here, log = deploy(train_model="tiny", train_min_pairs=1, redact=False), fill(Log(), 10)
    await here.archive(log)
    assert here.run("c1") is State.WAITING
    await here.archive_more(fill(log, 10, first=10).records[10:])
    here.run("c2")
    assert "cycle c1 has an adapter trained still" in here.ledger.detail("c2", State.TRAINED)["said"]
    take_job(here.ledger, msgspec.json.encode(TrainingFinished(job_id="c1-adapter", trainer="t", status="succeeded", detail={"adapter": ADAPTER})))
    here.run("c1")
    assert here.ledger.mark("mined/*", "") == "20"
    await here.archive_more(fill(log, 1, first=20).records[20:])
    here.run("c3")

    assert here.ledger.detail("c3", State.MINED)["traces"] == 1
    first, second = map(sorted, trained_on(here))
    assert (first, second) == (sorted(in_training(10)), sorted(in_training(11, first=10)))


async def test_rating_that_comes_after_its_trace_was_mined_reaches_the_next_cycle_once(deploy: Deploy) -> None:
    """Unrated traces give nothing to train on; rated, they do, in the next cycle and in no later one, whoever says the same again."""
    here, log = deploy(train_model="tiny", train_min_pairs=1, redact=False), Log()
    for number in range(12):
        log.trace(f"t{number}", query=f"question {number}", result=f"answer {number}")
    await here.archive(log)
    assert here.run("c1") is State.COMPLETED
    assert trained_on(here) == []
    for number in range(12):
        log.feedback(f"t{number}", 0.9)
    await here.archive_more(log.records[12:])

    assert here.run("c2") is State.WAITING
    mined = here.ledger.detail("c2", State.MINED)
    assert (mined["traces"], mined["late"]) == (0, 12)
    assert sorted(trained_on(here)[0]) == sorted(in_training(12))
    take_job(here.ledger, msgspec.json.encode(TrainingFinished(job_id="c2-adapter", trainer="t", status="succeeded", detail={"adapter": ADAPTER})))
    here.run("c2")
    log.feedback("t0", 0.95, rater="second")
    await here.archive_more(log.records[24:])
    assert here.run("c3") is State.SKIPPED
    assert len(trained_on(here)) == 1


async def test_data_set_is_redacted_and_says_so(deploy: Deploy) -> None:
    """The file that leaves for a trainer has no address in it; the job and the step say how many were taken out."""
    here, log = deploy(train_model="tiny", train_min_pairs=1), Log()
    for number in range(12):
        log.trace(f"t{number}", query=f"question {number}", result="Ask jane@example.com.", outcome="success")
    await here.archive(log)
    assert here.run("c1") is State.WAITING

    (job,) = here.sent("eddy.training-jobs")
    text, found = Path(job["spec"]["dataset"]["path"]).read_text(), {"email": len(in_training(12))}
    assert "jane@" not in text
    assert text.count("Ask [email].") == found["email"]
    assert job["spec"]["dataset"]["redacted"] == here.ledger.detail("c1", State.WAITING)["redacted"] == found


async def test_evidence_that_is_too_little_counts_in_the_next_cycle(deploy: Deploy) -> None:
    """Twelve calls conclude nothing, and twelve more do: they are twenty-four. Once it has been concluded from them, they are used up."""
    here, log = deploy(), fill(Log(), 12)
    await here.archive(log)
    here.write(BY_HAND)
    assert here.run("c1") is State.COMPLETED
    assert here.candidates("c1") == {}
    await here.archive_more(fill(log, 12, first=12).records[12:])
    assert here.run("c2") is State.STAGED
    assert "browser" not in here.candidates("c2")["config/react"].detail["toml"]
    await here.archive_more(fill(log, 12, first=24).records[24:])
    assert here.run("c3") is State.COMPLETED
    assert here.candidates("c3") == {}


ADAPTER = {"name": "tiny-1", "base_model": "tiny", "uri": "file:///x", "sha256": "0", "status": "trained"}


async def test_adapter_is_judged_by_answers_and_announced(deploy: Deploy) -> None:
    """Sixty answers, all wrong without it and right with it: its gate lets it through."""
    here = await parked(deploy)
    scores = {"of": "answers", "base": {f"q{n}": 0.0 for n in range(60)}, "adapter": {f"q{n}": 1.0 for n in range(60)}}
    finished = TrainingFinished(job_id="c1-adapter", trainer="t", status="succeeded", detail={"adapter": ADAPTER, "scores": scores})
    take_job(here.ledger, msgspec.json.encode(finished))

    assert here.run("c1") is State.COMPLETED
    assert here.candidates("c1")["adapter/tiny"].detail["verdict"] == "promote"
    assert here.sent("eddy.adapters") == [{"schema": 1, **ADAPTER, "status": "live"}]


@pytest.mark.parametrize("scores", [None, {"of": "token_accuracy", "base": {"q": 0.1}, "adapter": {"q": 0.9}}, {"of": "answers", "base": {}, "adapter": {}}, "all of them"])
async def test_adapter_without_scored_answers_is_held(deploy: Deploy, scores: Any) -> None:
    """A lower loss alone, or more tokens right, promotes nothing."""
    here = await parked(deploy)
    detail = {"adapter": ADAPTER, "loss": 0.1, "scores": scores}
    take_job(here.ledger, msgspec.json.encode(TrainingFinished(job_id="c1-adapter", trainer="t", status="succeeded", detail=detail)))

    here.run("c1")
    assert here.candidates("c1")["adapter/tiny"].standing is Standing.HELD
    assert here.sent("eddy.adapters") == []


@pytest.mark.parametrize("adapter", [None, "tiny-1", {"name": 3}])
async def test_job_that_names_no_adapter_brings_none(deploy: Deploy, adapter: Any) -> None:
    """A job's word is another process's."""
    here = await parked(deploy)
    take_job(here.ledger, msgspec.json.encode(TrainingFinished(job_id="c1-adapter", trainer="t", status="failed", detail={"adapter": adapter, "reason": "out of memory"})))

    here.run("c1")
    assert "out of memory" in here.ledger.detail("c1", State.TRAINED)["said"]
    assert "adapter/tiny" not in here.candidates("c1")


async def test_failed_or_late_job_brings_no_adapter_and_the_cycle_goes_on(deploy: Deploy) -> None:
    """The other candidates must not wait for ever."""
    here = await parked(deploy)
    here.now += 3600
    assert here.ledger.runnable().cycle_id == "c1"

    assert here.run("c1") is State.STAGED
    assert "has not ended in 3,600 s" in here.ledger.detail("c1", State.TRAINED)["said"]


# ---- routing


def drawn(log: Log, number: int, arm: str, score: float) -> None:
    """A request whose arm was drawn evenly of two."""
    decision = {"kind": "drawn", "query_class": "code", "arm": {"model": arm}, "propensity": 0.5, "candidates": ["good", "bad"]}
    log.trace(f"d{number}", query=f"question {number}", model=arm, outcome="success" if score else "failure", decision=decision)


async def test_draws_that_are_too_few_count_in_the_next_cycle(deploy: Deploy) -> None:
    """Three hundred of five hundred: no policies are compared; with three hundred more they are, and are used up."""
    here, log, said = deploy(policy="static"), Log(), []
    for cycle_id, first, count in (("c1", 0, 300), ("c2", 300, 300), ("c3", 600, 10)):
        for number in range(first, first + count):
            drawn(log, number, ("good", "bad")[number % 2], 1.0)
        await here.archive_more(log.records[first:])
        here.run(cycle_id)
        said.append(here.ledger.detail(cycle_id, State.ROUTED)["said"])

    assert said[0].startswith("300 new requests were drawn")
    assert "would have earned" in said[1]
    assert said[2].startswith("10 new requests were drawn")


async def test_policy_that_would_have_earned_more_takes_over(deploy: Deploy) -> None:
    """A static policy draws evenly of an arm at .9 and one at .2: whoever follows the evidence earns some .35 more on queries that it was not chosen by."""
    here, log, rng = deploy(policy="static"), Log(), random.Random(3)
    for number in range(3_000):
        arm = rng.choice(("good", "bad"))
        drawn(log, number, arm, float(rng.random() < (0.9 if arm == "good" else 0.2)))
    await here.archive(log)

    here.run("c1")
    ((name, candidate),) = [(name, each) for name, each in here.candidates("c1").items() if each.kind == "routing"]
    assert candidate.detail["verdict"] == "promote"
    assert 0.25 < candidate.detail["estimate"] < 0.45
    (override,) = here.sent("eddy.overrides")
    assert msgspec.convert(override, Override).policy == name.removeprefix("routing/")


async def test_policies_that_are_as_good_as_what_drew_are_not_proposed_to_live(deploy: Deploy) -> None:
    """Two arms that are alike: nothing earns more, whatever is tried."""
    here, log, rng = deploy(policy="static"), Log(), random.Random(4)
    for number in range(2_000):
        drawn(log, number, rng.choice(("good", "bad")), float(rng.random() < 0.5))
    await here.archive(log)

    here.run("c1")
    assert here.sent("eddy.overrides") == []
