"""Trials: what is told of a configuration from when it is staged until it is live or discarded.

It stands on `eddy.agent-configs` under the agent and the trial's name, for whoever wants to run it as a shadow, and as a canary on
`eddy.overrides` too while it serves a share of the requests. Pure: what is to be sent is a function of how a candidate's standing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from stream.cycles.entries import Message
from stream.cycles.states import Standing
from stream.learning.evolving.live import digest
from stream.records import TRIAL, AgentConfig, Arm, Override
from stream.topics import AGENT_CONFIGS, OVERRIDES

OVER = frozenset({Standing.PROMOTED, Standing.DISCARDED})
"""Standings that end a trial."""


def name_of(toml: str) -> str:
    """Name the trial of a configuration: the same text has the same name.

    Example:
        >>> name_of("")
        '~e3b0c442'
    """
    return TRIAL + digest(toml)[:8]


def messages(kind: str, agent: str, detail: Mapping[str, Any], before: Standing | None, after: Standing, at: float) -> list[Message]:
    """Say what is to be sent as a candidate's standing changes.

    Args:
        kind: of the candidate; only configurations have trials.
        agent: whose configuration it is.
        detail: of the candidate: its `toml`, and the `share` of a canary.
        before: where it stood; None: it is new.
        after: where it stands now.
        at: epoch seconds.
    """
    if kind != "config" or before is after or "toml" not in detail:
        return []
    toml, status = str(detail["toml"]), _status(after)
    found, trial = [], name_of(toml)
    if status != (None if before is None else _status(before)):
        config = AgentConfig(agent=agent, version=0, toml=toml, trial=trial, status=status or "shadow")
        found.append(_message(AGENT_CONFIGS.name, config.key, config if status else None))
    if Standing.CANARY in (before, after):
        word = Override(kind="canary", arm=Arm(agent=agent, config_version=trial), share=detail.get("share"), reason="a learning cycle tries it", given_at=at)
        found.append(_message(OVERRIDES.name, word.key, word if after is Standing.CANARY else None))
    return found if after is Standing.CANARY else found[::-1]  # what is to be drawn is there before it is drawn, and until it no longer is


def _status(standing: Standing) -> Literal["shadow", "canary"] | None:
    return None if standing in OVER or standing is Standing.ANNOUNCED else "canary" if standing is Standing.CANARY else "shadow"


def _message(topic: str, key: str, record: AgentConfig | Override | None) -> Message:
    return Message(0, topic, key, None if record is None else msgspec.json.encode(record).decode())
