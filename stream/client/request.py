"""The handle of one request: the arm that was chosen for it, and what its trace will say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from stream.records import Arm, Decision, Trace

ERROR_CHARACTERS = 500
NOT_THE_ARMS_FAULT = (GeneratorExit, KeyboardInterrupt, SystemExit)
"""Ends of a block that say nothing of the arm: the outcome stays unknown. A cancelled call counts as a failure: it is what
a caller's time-out looks like from inside."""


class Request:
    """One request, from the choice of its arm to its trace: `async with`, or plain `with`; nothing in it waits.

    Leaving the block publishes the trace. Without `finish` it says what is known, with the outcome unknown; with an
    exception the outcome is `failure` (unless `finish` named one) and the exception goes on to the caller.

    Args:
        decide: chooses the arm on entering.
        publish: takes the trace on leaving.
        template: what is known of the trace before the call.
    """

    def __init__(self, decide: Callable[[], Decision], publish: Callable[[Trace], object], template: Mapping[str, Any]) -> None:
        self._decide = decide
        self._publish = publish
        self._fields: dict[str, Any] = dict(template)
        self._steps: list[dict[str, Any]] = []
        self._metadata: dict[str, Any] = dict(template.get("metadata") or {})
        self._decision: Decision | None = None
        self._started_s = self._started_at = 0.0
        self._latency_s: float | None = None

    @property
    def decision(self) -> Decision:
        """How the arm was chosen.

        Raises:
            RuntimeError: the block was not entered.
        """
        if self._decision is None:
            raise RuntimeError("a request has no decision yet, but it is made on entering the block; write `async with eddy.request(...) as request`")
        return self._decision

    @property
    def arm(self) -> Arm:
        """What should serve the request; empty only where no arm is known at all."""
        return self.decision.arm

    @property
    def trace_id(self) -> str:
        """The id under which the request is rated later."""
        return self.decision.trace_id

    @property
    def query_class(self) -> str:
        """The class that the arm was chosen for."""
        return self.decision.query_class

    def add_step(
        self,
        step_type: str,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 (the field's name on the wire)
        output: Mapping[str, Any] | None = None,
        duration_s: float = 0.0,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Note a step of the agent, such as `generate`, `tool_call`, `retrieve`; what it holds must not be changed later."""
        self._steps.append(
            {
                "step_type": step_type,
                "timestamp": time.time(),
                "duration_seconds": duration_s,
                "input": input or {},
                "output": output or {},
                "metadata": metadata or {},
            }
        )

    def finish(
        self,
        *,
        result: str = "",
        outcome: str | None = None,
        feedback: float | None = None,
        total_tokens: int = 0,
        cost_usd: float = 0.0,
        steps: Iterable[dict[str, Any]] = (),
        metadata: Mapping[str, Any] | None = None,
        **served: Any,
    ) -> None:
        """Say how it went; the latency is measured up to here. A later call adds to an earlier one.

        Args:
            result: the answer.
            outcome: `success`, `failure`, or None where it is not known.
            feedback: a first rating in [0, 1], by the program.
            total_tokens: tokens in and out; 0 is unknown.
            cost_usd: what it cost; 0 is unknown.
            steps: steps of the agent, after those of `add_step`.
            metadata: what else to keep.
            served: fields of the trace that say what really served: `model`, `agent`, `engine`, `config_version`, `adapter`;
                and `messages`; a `total_latency_seconds` outranks the measured one. Any other name goes to the metadata.
        """
        self._latency_s = time.perf_counter() - self._started_s
        given = {"result": result, "outcome": outcome, "feedback": feedback, "total_tokens": total_tokens, "cost_usd": cost_usd}
        self._fields |= {name: value for name, value in given.items() if value} | ({"feedback": feedback} if feedback is not None else {})
        self._steps += steps or ()
        self._metadata |= metadata or {}
        known = {name: value for name, value in served.items() if name in Trace.__struct_fields__}
        self._fields |= known
        self._metadata |= {name: value for name, value in served.items() if name not in known}

    def __enter__(self) -> Self:
        self._decision = self._decide()
        self._started_at, self._started_s = time.time(), time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._latency_s is None:
            self._latency_s = time.perf_counter() - self._started_s
        if error is not None:
            self._note(error)
        self._publish(self._trace())

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)

    def _note(self, error: BaseException) -> None:
        self._metadata |= {"error_type": type(error).__name__, "error": _text_of(error)}
        if not isinstance(error, NOT_THE_ARMS_FAULT):
            self._fields.setdefault("outcome", "failure")

    def _trace(self) -> Trace:
        arm, latency_s = self.arm, self._latency_s or 0.0
        decided = {"model": arm.model, "agent": arm.agent, "config_version": arm.config_version, "adapter": arm.adapter}
        measured = {"started_at": self._started_at, "ended_at": self._started_at + latency_s, "total_latency_seconds": latency_s}
        identity = {"trace_id": self.trace_id, "query_class": self.query_class, "decision": self._decision}
        known = {name: value for name, value in decided.items() if value} | measured | self._fields
        return Trace(**(known | identity | {"steps": self._steps, "metadata": self._metadata}))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:ERROR_CHARACTERS]
    except Exception:  # an exception whose own __str__ raises
        return ""
