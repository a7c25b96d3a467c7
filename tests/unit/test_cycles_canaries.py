"""Canaries of cycles over a real archive: what counts of what they earn, and what is made of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.cycles.account import Account
from stream.cycles.canaries import look_at_all
from stream.cycles.inbox import FROZEN
from stream.cycles.ledger import LIFETIME
from stream.cycles.promoting import carry_out_words
from stream.cycles.states import Standing, State
from stream.cycles.trials import name_of
from stream.errors import SettingsError
from stream.learning.gate import Lifetime
from stream.records import Arm, CycleOrder
from stream.settings import load
from tests.unit.archive_support import Log, no_archive_left_open  # noqa: F401 - a fixture
from tests.unit.test_cycles_steps import BY_HAND, EVALUATOR, Deploy, Deployment, fill

CANARY = {"arm": "model,agent,config", "canary_share": 0.05, "canary_tools": True}


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    made: list[Deployment] = []

    def make(**settings: Any) -> Deployment:
        made.append(Deployment(tmp_path, **settings))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()


class Trial:
    """A deployment whose cycle `c1` has made its candidate a canary."""

    def __init__(self, here: Deployment, log: Log) -> None:
        self.here, self._log, self._random = here, log, random.Random(1)

    @classmethod
    async def begun(cls, deploy: Callable[..., Deployment], **settings: Any) -> Trial:
        here, log = deploy(**CANARY, **settings), fill(Log(), 30)
        await here.archive(log)
        here.write(BY_HAND)
        here.run("c1")
        return cls(here, log)

    @property
    def name(self) -> str:
        return name_of(self.candidate.detail["toml"])

    @property
    def candidate(self) -> Any:
        return self.here.candidates("c1")["config/react"]

    async def serve(self, requests: int, *, live: float, canary: float, rated: bool = True, silent: bool = False, beside: bool = True) -> None:
        """Requests of which every twentieth is the canary's; each succeeds with the chance that is given."""
        first = len(self._log.records)
        for number in range(requests):
            is_canary = number % 20 == 0
            if is_canary and silent:
                continue
            arm = Arm(model="m", agent="react", config_version=self.name if is_canary else "1")
            candidates = [Arm(model="m", agent="react", config_version=version).id for version in ("1", *([self.name] if beside else []))]
            decision = {
                "kind": "drawn",
                "arm": {"model": "m", "agent": "react", "config_version": arm.config_version},
                "propensity": 0.05 if is_canary else 0.95,
                "candidates": candidates,
            }
            score = float(self._random.random() < (canary if is_canary else live))
            self._log.trace(f"r{first + number}", query="q", config_version=arm.config_version, decision=decision, **({"feedback": score} if rated else {}))
        await self.here.archive_more(self._log.records[first:])

    def look(self) -> Standing:
        look_at_all(self.here.bench)
        return Standing(self.candidate.standing)

    def words(self) -> list[tuple[str, float | None]]:
        """What is to be sent of canaries on `eddy.overrides`, tombstones too."""
        sent = [message for message in self.here.ledger.unsent(1000) if message.topic == "eddy.overrides"]
        return [(message.key, None if message.value is None else json.loads(message.value)["share"]) for message in sent]


async def test_candidate_that_passes_its_gate_serves_a_share_first(deploy: Deploy) -> None:
    """It is not live; its arm, its share and the number of rewards that it takes are told; the cycle is over and has its candidate at work."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)

    assert trial.here.ledger.cycle("c1").state is State.STAGED
    assert trial.candidate.standing is Standing.CANARY
    assert trial.here.live() == BY_HAND
    assert trial.words() == [(f"canary/|react|{trial.name}", 0.05)]
    assert "rewards" in trial.candidate.detail["why"]
    (staged, running) = trial.here.sent("eddy.agent-configs")
    assert [(config["trial"], config["status"], config["version"]) for config in (staged, running)] == [(trial.name, "shadow", 0), (trial.name, "canary", 0)]
    assert running["toml"] == trial.candidate.detail["toml"]


async def test_canary_that_does_better_goes_live(deploy: Deploy) -> None:
    """All of its requests succeed, where half of the others do: after some hundred of its own it is proven."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    for _ in range(8):
        await trial.serve(400, live=0.5, canary=1.0)
        trial.look()
    carry_out_words(trial.here.bench)

    assert trial.candidate.standing is Standing.PROMOTED
    assert trial.here.live() == trial.candidate.detail["toml"]
    assert trial.words()[-1] == (f"canary/|react|{trial.name}", None)
    assert [config["version"] for config in trial.here.announced()] == [2]


async def test_canary_that_does_worse_is_withdrawn_and_nothing_live_has_changed(deploy: Deploy) -> None:
    """None of its requests succeeds: it is withdrawn by the same transaction that notes the verdict."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    for _ in range(8):
        await trial.serve(400, live=0.8, canary=0.0)
        trial.look()

    assert trial.candidate.standing is Standing.DISCARDED
    assert trial.candidate.detail["verdict"] == "reject"
    assert trial.words()[-1] == (f"canary/|react|{trial.name}", None)
    assert trial.here.live() == BY_HAND


async def test_canary_whose_requests_do_not_come_back_is_withdrawn(deploy: Deploy) -> None:
    """An agent that breaks publishes nothing: of 1,000 requests fifty were its own, and none is there; 50 - 5 · √50 would be missed by chance."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    await trial.serve(1_000, live=0.5, canary=0.0, silent=True)

    assert trial.look() is Standing.DISCARDED
    assert "come to an end" in trial.candidate.detail["why"]


async def test_ratings_that_come_later_count_once_and_in_their_order(deploy: Deploy) -> None:
    """Forty traces without a score are nothing; then two of the canary and thirty-eight others are rated, the same twice."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    first = len(trial._log.records)
    await trial.serve(40, live=0.5, canary=0.5, rated=False)
    trial.look()
    for _ in range(2):
        begun = len(trial._log.records)
        for number in reversed(range(40)):
            trial._log.feedback(f"r{first + number}", number / 100)
        await trial.here.archive_more(trial._log.records[begun:])
        trial.look()

    seen = json.loads(trial.here.ledger.mark(f"canary/{trial.candidate.id}", ""))
    assert seen["canary"] == [0.2, 0.0]
    assert seen["control"] == [number / 100 for number in reversed(range(40)) if number not in (0, 20)]
    assert seen["waiting"] == {}


async def test_requests_in_which_it_could_not_have_been_drawn_do_not_count(deploy: Deploy) -> None:
    """Those drawn before routers knew of it are of another time."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    await trial.serve(40, live=0.5, canary=0.5, beside=False)
    trial.look()

    assert json.loads(trial.here.ledger.mark(f"canary/{trial.candidate.id}", ""))["traces"] == [0, 0]


async def test_a_freeze_ends_a_canary_and_a_person_may_still_promote_it(deploy: Deploy) -> None:
    """What is frozen takes no requests by the way."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    trial.here.ledger.put_marks({FROZEN: "`eddy freeze '*'` stands"})

    assert trial.look() is Standing.HELD
    assert trial.words()[-1] == (f"canary/|react|{trial.name}", None)
    trial.here.ledger.order(CycleOrder(cycle_id="c1", order="approve", given_at=1.0))
    carry_out_words(trial.here.bench)
    assert trial.candidate.standing is Standing.PROMOTED


async def test_a_person_may_promote_or_discard_a_canary_that_runs(deploy: Deploy) -> None:
    """Its arm is withdrawn either way."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    trial.here.ledger.order(CycleOrder(cycle_id="c1", order="discard", given_at=1.0))
    carry_out_words(trial.here.bench)

    assert trial.candidate.standing is Standing.DISCARDED
    assert trial.words()[-1] == (f"canary/|react|{trial.name}", None)
    assert trial.look() is Standing.DISCARDED


async def test_live_configuration_that_a_person_changes_ends_the_canary(deploy: Deploy) -> None:
    """To promote it would undo that."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    trial.here.write(BY_HAND.replace("kind", "brief"))

    assert trial.look() is Standing.DISCARDED
    assert trial.words()[-1] == (f"canary/|react|{trial.name}", None)


@pytest.mark.parametrize(
    "changed",
    [{"canary_tools": False}, {"canary_share": 0.0}],
    ids=["a change of tools", "none asked for"],
)
async def test_without_a_canary_the_offline_gate_decides_alone(deploy: Deploy, changed: dict[str, Any]) -> None:
    """Canaries are off by default, for changes of tools even where others have them."""
    here, log = deploy(**(CANARY | changed), evaluator=EVALUATOR), fill(Log(), 30)
    await here.archive(log)
    here.write(BY_HAND)

    assert here.run("c1") is State.COMPLETED
    assert here.candidates("c1")["config/react"].standing is Standing.PROMOTED


def test_canary_that_could_not_be_drawn_is_refused_at_the_start(tmp_path: Path) -> None:
    """Versions must be arms of their own for one of them to get a share."""
    with pytest.raises(SettingsError, match="EDDY_ARM=model,agent,config"):
        load(data_dir=tmp_path, canary_share=0.05)
    with pytest.raises(SettingsError, match="takes for ever"):
        load(data_dir=tmp_path, canary_share=0.001, arm="model,agent,config")


async def test_without_an_evaluator_the_canary_judges_alone(deploy: Deploy) -> None:
    """Nothing else can: it is no more held for a person."""
    trial = await Trial.begun(deploy)

    assert trial.candidate.standing is Standing.CANARY


async def test_share_of_promotions_that_may_be_false_is_spent_on_the_canary_alone(deploy: Deploy) -> None:
    """The offline gate before it lets through what it likes: nothing of that is live."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)

    lifetime = Lifetime.decode(trial.here.ledger.mark(LIFETIME, ""))
    assert list(lifetime.places) == ["c1/config/react"]
    assert trial.candidate.detail["error"] < 0.05


async def test_account_that_two_processes_write_to_loses_nothing(deploy: Deploy) -> None:
    """The learner notes a canary's verdict while a cycle's process sets an error aside for its candidate: both read the account before either writes."""
    trial = await Trial.begun(deploy, evaluator=EVALUATOR)
    bench, first = trial.here.bench, trial.candidate
    trial.here.ledger.stage("c1", "routing/ucb", {})
    second = trial.here.candidates("c1")["routing/ucb"]
    noted = Account(bench, first).marks(promoted=True)
    alpha = Account(bench, second).alpha()
    trial.here.ledger.put_marks(noted)

    places = Lifetime.decode(trial.here.ledger.mark(LIFETIME, "")).places
    assert [place.promoted for place in places.values()] == [True, None]
    assert places["c1/routing/ucb"].alpha == alpha
