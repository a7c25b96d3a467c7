"""`eddy routes evaluate` and `eddy report`, through a real archive."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from stream.archive.draws import Silence, read_draws
from stream.archive.hindsight import Hindsight
from stream.archive.reader import ArchiveReader
from stream.archive.restore import ARCHIVE_FILE
from stream.cli import main
from stream.cli.evaluating import seconds_of
from stream.errors import EddyError
from stream.fold.spec import FoldSpec
from stream.reading.query_class import classify_query
from stream.routing.off_policy_draws import LoggedDraw
from stream.routing.settings import RoutingSettings
from stream.settings import load
from tests.unit.archive_support import Log, filled

EVER = "100000d"
"""A period that holds the log, which begins in 2023."""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDDY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EDDY_PARTITIONS", "1")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    code = exit_.value.code
    return code if isinstance(code, int) else 0


def decision(arm: str, propensity: float, *, among: tuple[str, ...] = ("a", "b"), kind: str = "drawn") -> dict[str, object]:
    return {"type": "decision", "kind": kind, "arm": {"model": arm}, "propensity": propensity, "candidates": among, "query_class": "code"}


def drawn_log(requests: int = 400) -> Log:
    """A is right in half of its requests and costs 1 cent, b always and 3; drawn 1 : 3."""
    rng, log, count = random.Random(1), Log(), 0
    for number in range(requests):
        arm = "a" if rng.random() < 0.25 else "b"
        count += arm == "a"
        outcome = "failure" if arm == "a" and count % 2 else "success"
        served = {"model": arm, "outcome": outcome, "cost_usd": 0.01 if arm == "a" else 0.03, "total_latency_seconds": 2.0}
        log.trace(f"t{number}", **served, decision={"trace_id": f"t{number}", **decision(arm, 0.25 if arm == "a" else 0.75)})
    return log


async def archived(folder: Path, log: Log) -> Path:
    path = await filled(folder, log)
    assert path.name == ARCHIVE_FILE
    return path


async def draws_of(folder: Path, log: Log) -> list[LoggedDraw | None]:
    with ArchiveReader(await archived(folder, log)) as reader:
        return list(read_draws(reader, fields=("model",)))


# ---- reading draws


async def test_a_draw_has_what_its_request_came_to_in_the_end(tmp_path: Path) -> None:
    """A rating that comes days later is what the draw earned; what is not known is not nought."""
    log = Log()
    log.trace("t1", decision={"trace_id": "t1", **decision("m", 0.5, among=("m", "n"))}, cost_usd=0.25, outcome="failure")
    log.feedback("t1", 0.75)
    log.trace("t2", decision={"trace_id": "t2", **decision("m", 0.25, among=("m", "n"))})

    assert await draws_of(tmp_path, log) == [
        LoggedDraw("code", "m", 0.5, ("m", "n"), scores={"human": 0.75, "outcome": 0.0}, cost_usd=0.25, latency_s=None),
        LoggedDraw("code", "m", 0.25, ("m", "n"), scores={}),
    ]


async def test_a_decision_that_travelled_by_itself_is_found(tmp_path: Path) -> None:
    """Routers may publish decisions apart, so that silence is seen; the first on a request counts, and the trace's own outranks it."""
    log = Log()
    log.say("t1", **decision("m", 0.5, among=("m",)))
    log.say("t1", **decision("m", 0.1, among=("m",)))
    log.say("t2", **decision("m", 0.1, among=("m",)))
    log.trace("t1")
    log.trace("t2", decision={"trace_id": "t2", **decision("m", 0.75, among=("m",))})

    assert [draw and draw.propensity for draw in await draws_of(tmp_path, log)] == [0.5, 0.75]


@pytest.mark.parametrize(
    "said",
    [
        None,
        decision("m", 0.5, kind="sticky"),
        decision("other", 0.5, among=("other",)),
        decision("m", 0.5, among=("n", "o")),
        decision("m", 0.5, among=("m", "a|b|c|d|e")),
        decision("m", 0.5, among=tuple(f"m{number}" for number in range(1_100))),
        {"kind": "drawn", "arm": {"model": "m"}},
        {"kind": "drawn", "arm": {"model": "m"}, "propensity": 0.5, "candidates": [1, 2]},
    ],
    ids=["no decision", "sticky", "another arm served", "not among its candidates", "no arm's name", "too many candidates", "no propensity", "no text"],
)
async def test_what_does_not_fit_together_is_no_draw(said: dict[str, object] | None, tmp_path: Path) -> None:
    """Whatever a sender writes, only a draw with a known propensity of the arm that served is weighed; the trace is counted."""
    log = Log()
    log.trace("t1", **({"decision": {"trace_id": "t1", **said}} if said else {}))

    assert await draws_of(tmp_path, log) == [None]


async def test_copies_of_a_trace_are_one_draw(tmp_path: Path) -> None:
    """At-least-once delivery must not weigh a request twice."""
    log = Log()
    for _ in range(3):
        log.trace("t1", decision={"trace_id": "t1", **decision("m", 0.5, among=("m",))})

    assert len(await draws_of(tmp_path, log)) == 1


@pytest.mark.parametrize("comes_late", [False, True])
async def test_a_draw_whose_trace_never_came_is_a_failure_by_setting(comes_late: bool, tmp_path: Path) -> None:
    """An arm that crashes leaves no trace, and would look good; one that was only slow is judged by its trace. The log goes on by a second a record."""
    log = Log()
    log.say("crashed", **decision("m", 0.5, among=("m", "n")))
    for number in range(5):
        log.trace(f"t{number}")
    if comes_late:
        log.trace("crashed", outcome="success")
    with ArchiveReader(await archived(tmp_path, log)) as reader:
        found = [draw for draw in read_draws(reader, fields=("model",), silence=Silence(deadline_s=3)) if draw]
        unset = [draw for draw in read_draws(reader, fields=("model",)) if draw]
        other = [draw for draw in read_draws(reader, fields=("model",), query_class="math", silence=Silence(deadline_s=3)) if draw]

    assert [draw.scores for draw in found] == [{"outcome": float(comes_late)}]
    assert [draw.scores for draw in unset] == [{"outcome": 1.0}] * comes_late
    assert other == []


async def test_records_are_handed_over_before_the_draw_that_follows_them(tmp_path: Path) -> None:
    """Each once, and never the draw's own trace or what came after it: a policy that saw it would be judged by what it knows."""
    log = Log()
    for number in range(3):
        log.trace(f"t{number}", decision={"trace_id": f"t{number}", **decision("m", 0.5, among=("m",))})
        log.feedback(f"t{number}", 1.0)
    seen: list[int] = []
    had = []
    with ArchiveReader(await archived(tmp_path, log)) as reader:
        for _ in read_draws(reader, fields=("model",), before=lambda entry: seen.append(entry.offset)):
            had.append(list(seen))

    assert had == [[], [0, 1], [0, 1, 2, 3]]


# ---- the policy in hindsight


async def test_policy_is_shown_only_what_came_before(tmp_path: Path) -> None:
    """Otherwise a draw would be judged by a policy that knows how it ended: before the first record nothing is known, and greed follows what was seen."""
    settings = load(partitions=1)
    hindsight = Hindsight(RoutingSettings(policy="learned", exploration_share=0.0, min_evidence=1), FoldSpec.of(settings), classify_query)
    log = Log()
    log.trace("t1", model="a", outcome="failure")
    log.trace("t2", model="b", outcome="success")
    seen = []
    with ArchiveReader(await archived(tmp_path, log)) as reader:
        for entry in reader.entries():
            seen.append(dict(hindsight.probabilities("code")))
            hindsight.take(entry)
    seen.append(dict(hindsight.probabilities("code")))

    assert seen == [{}, {"a": 1.0}, {"a": 0.0, "b": 1.0}]


# ---- the commands


async def test_evaluate_answers_what_a_fixed_arm_would_have_earned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Always a would have been right half of the time for a cent; a hundred draws of it bear that out."""
    await archived(tmp_path, drawn_log(600))

    assert run("routes", "evaluate", "--arm", "a", "--since", EVER, "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["target"], said["traces"], said["draws"], said["can_tell"]) == ("always a", 600, 600, True)
    assert said["reward"]["target"]["doubly_robust"]["interval"][0] < 0.5 < said["reward"]["target"]["doubly_robust"]["interval"][1]
    assert said["cost_usd"]["target"]["snips"]["value"] == pytest.approx(0.01)
    assert said["cost_usd"]["logged"]["value"] == pytest.approx(0.025, abs=0.002)


async def test_evaluate_plays_a_policy_over_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thompson finds b, which is always right, within the first requests: it would have earned far more than the .875 that was earned."""
    await archived(tmp_path, drawn_log())

    assert run("routes", "evaluate", "--policy", "thompson", "--since", EVER, "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert said["target"] == "policy thompson"
    assert said["reward"]["target"]["doubly_robust"]["value"] > 0.92
    assert said["reward"]["logged"]["value"] == pytest.approx(0.875, abs=0.02)


async def test_evaluate_tells_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with the figures, and sentences that say on what share of traces they stand."""
    log = drawn_log(40)
    log.trace("undrawn")
    await archived(tmp_path, log)

    assert run("routes", "evaluate", "--arm", "a", "--since", EVER) == 0

    said = capsys.readouterr().out
    assert "always a: judged by 40 draws (98% of 41 traces)" in said
    assert "The logs cannot tell: of the reward, where it is known the draws are worth" in said
    assert "cost_usd" in said


async def test_evaluate_says_what_it_cannot_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A ceiling's prices follow the spend of whoever drew, and a context is not in the class's shares: silence would promise either. A fixed arm has neither."""
    await archived(tmp_path, drawn_log(40))
    monkeypatch.setenv("EDDY_MAX_COST_USD", "0.02")

    said = {}
    for target in (("--policy", "contextual"), ("--arm", "a")):
        assert run("routes", "evaluate", *target, "--since", EVER) == 0
        said[target[0]] = " ".join(capsys.readouterr().out.split())

    assert "Ceilings are not held here" in said["--policy"]
    assert "without the text of a request" in said["--policy"]
    assert "Ceilings" not in said["--arm"]


async def test_report_is_one_plain_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """.875 instead of .5 was earned, for 1.5 cents more in each of 1,000 requests: $15."""
    await archived(tmp_path, drawn_log(1_000))

    assert run("report", "--arm", "a", "--since", EVER, "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert said["sentence"].startswith("Routing earned +0.3")
    assert ") and cost $1" in said["sentence"]
    assert "over 1,000 requests against always using a" in said["sentence"]
    assert said["gain"]["reward"]["interval"][0] < 0.375 < said["gain"]["reward"]["interval"][1]
    assert said["gain"]["saved_usd"]["interval"][0] < -15.0 < said["gain"]["saved_usd"]["interval"][1]
    assert said["gain"]["saved_s"]["value"] == pytest.approx(0.0)


async def test_report_goes_by_the_reward_that_is_set(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever routes by another reward than quality is told what was earned of that."""
    await archived(tmp_path, drawn_log(40))
    monkeypatch.setenv("EDDY_REWARD", "seed")

    assert run("report", "--arm", "a", "--since", EVER, "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["judged_by"], said["reward"]["draws"]) == ("seed", 0)  # none of these traces says what its tokens were


async def test_report_says_what_would_make_the_logs_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """40 requests with some ten draws of a are worth ten: it takes ten times as many."""
    await archived(tmp_path, drawn_log(40))

    assert run("report", "--arm", "a", "--since", EVER) == 0

    said = " ".join(capsys.readouterr().out.split())
    assert "The logs cannot tell what routing is worth against always using a" in said
    assert "rated draws at its present share, or a greater EDDY_EXPLORATION_SHARE" in said


async def test_unrated_draws_are_said_with_what_they_could_hide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the requests with the arm are rated, all of these good: all of it lies between half and whole."""
    log = Log()
    for number in range(400):
        rated = {"outcome": "success"} if number % 2 else {}
        log.trace(f"t{number}", **rated, decision={"trace_id": f"t{number}", **decision("m", 1.0, among=("m",))})
    await archived(tmp_path, log)

    assert run("report", "--arm", "m", "--since", EVER) == 0

    said = " ".join(capsys.readouterr().out.split())
    assert "50.0% of them are rated" in said
    assert "it would be 0.500 to 1.000" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("routes", "evaluate"), "there is no archive at"),
        (("report", "--arm", "a"), "there is no archive at"),
        (("report",), "there is no default arm"),
        (("routes", "evaluate", "--policy", "clever"), "policy 'clever' is unknown"),
        (("routes", "evaluate", "--since", "soon"), "'soon' is no period"),
    ],
)
def test_commands_say_what_is_missing(arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Who has no archive yet reads where one comes from, and no traceback."""
    assert run(*arguments) == 1

    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


async def test_commands_say_when_nothing_can_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Traces without draws, and periods without traces, are another thing than a bad policy."""
    log = Log()
    log.trace("t1")
    await archived(tmp_path, log)

    assert run("report", "--arm", "a", "--since", EVER) == 1
    assert "no router drew the arm of any of the 1 traces" in capsys.readouterr().err
    assert run("report", "--arm", "a", "--since", "1m") == 1
    assert "no trace of the last 1m is archived" in capsys.readouterr().err


@pytest.mark.parametrize("period", ["", "7", "d", "-1d", "0d", "1y", "1 d"])
def test_what_is_no_period_is_refused(period: str) -> None:
    """A slip must not be taken for another period."""
    with pytest.raises(EddyError, match="is no period"):
        seconds_of(period)
