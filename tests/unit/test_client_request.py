"""The handle of a request: what its trace says, and that an error inside goes on to the caller."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from stream.client.request import Request
from stream.records import Arm, Decision, Trace

DECISION = Decision(trace_id="t", kind="drawn", query_class="code", arm=Arm(model="m", agent="a"), propensity=0.5)


def request_into(traces: list[Trace], **template: Any) -> Request:
    return Request(lambda: DECISION, traces.append, {"query": "q", **template})


async def test_finished_request_publishes_what_was_said_and_measured() -> None:
    """Decision, class and arm from the router; the rest from `finish`; the latency from the clock, up to `finish`."""
    traces: list[Trace] = []
    async with request_into(traces, session_id="s", metadata={"app": 1}) as request:
        request.add_step("tool_call", input={"tool": "bash"}, duration_s=0.5)
        time.sleep(0.02)
        request.finish(result="r", outcome="success", feedback=0.0, total_tokens=3, cost_usd=0.1, steps=[{"step_type": "respond"}], metadata={"n": 2}, model="served")
        time.sleep(0.02)

    (trace,) = traces
    assert (trace.trace_id, trace.query, trace.query_class, trace.session_id, trace.decision) == ("t", "q", "code", "s", DECISION)
    assert (trace.model, trace.agent) == ("served", "a")
    assert (trace.result, trace.outcome, trace.feedback, trace.total_tokens, trace.cost_usd) == ("r", "success", 0.0, 3, 0.1)
    assert [step["step_type"] for step in trace.steps] == ["tool_call", "respond"]
    assert trace.metadata == {"app": 1, "n": 2}
    assert 0.02 <= trace.total_latency_seconds < 0.04
    assert trace.ended_at - trace.started_at == pytest.approx(trace.total_latency_seconds, abs=1e-5)


async def test_error_publishes_a_failed_trace_and_goes_on_to_the_caller() -> None:
    """An arm that makes callers fail must be seen to fail, and the caller must see its own error."""
    traces: list[Trace] = []
    with pytest.raises(ZeroDivisionError):
        async with request_into(traces):
            _ = 1 / 0

    (trace,) = traces
    assert trace.outcome == "failure"
    assert trace.metadata == {"error_type": "ZeroDivisionError", "error": "division by zero"}
    assert trace.total_latency_seconds > 0


async def test_time_out_of_the_caller_is_a_failure() -> None:
    """Seen from inside it is a cancellation; an arm that hangs must not look better than one that answers."""
    traces: list[Trace] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), request_into(traces):
            await asyncio.sleep(10)

    assert traces[0].outcome == "failure"


def test_end_of_the_process_says_nothing_of_the_arm() -> None:
    """Control-C is not the model's fault."""
    traces: list[Trace] = []
    with pytest.raises(KeyboardInterrupt), request_into(traces):
        raise KeyboardInterrupt

    assert traces[0].outcome is None


def test_outcome_that_was_stated_outlives_a_later_error() -> None:
    """The answer was good; what broke after it was the caller's own."""
    traces: list[Trace] = []

    def serve() -> None:
        with request_into(traces) as request:
            request.finish(outcome="success")
            raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        serve()

    assert traces[0].outcome == "success"


def test_request_without_finish_publishes_what_is_known() -> None:
    """The outcome is unknown, which is neither a success nor a failure; cost and tokens of 0 are unknown as well."""
    traces: list[Trace] = []
    with request_into(traces):
        pass

    (trace,) = traces
    assert (trace.outcome, trace.feedback, trace.total_tokens, trace.cost_usd, trace.model) == (None, None, 0, 0.0, "m")


def test_finish_takes_whatever_is_unknown_as_none() -> None:
    """What a model's client reports is often missing: that must not raise in the caller's path."""
    traces: list[Trace] = []
    with request_into(traces) as request:
        request.finish(result=None, total_tokens=None, cost_usd=None, steps=None, flavour="new")  # type: ignore[arg-type]

    assert (traces[0].result, traces[0].total_tokens, traces[0].steps, traces[0].metadata) == ("", 0, [], {"flavour": "new"})


def test_decision_before_the_block_is_an_error_that_says_what_to_do() -> None:
    """A mistake of the programmer, made before any request is served."""
    with pytest.raises(RuntimeError, match="async with"):
        _ = request_into([]).arm
