"""Agents' configurations that follow what their traces show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.errors import AgentConfigError
from stream.learning.analyzer import TRACES_MAX
from stream.learning.evolving import live
from stream.learning.evolving.document import NEW, edited, settings_of
from stream.learning.evolving.evidence import AgentEvidence
from stream.learning.evolving.scoring import recommendations
from stream.learning.evolving.suggesting import LEAST_EVIDENCE, interval, suggested_tools, suggested_turns
from stream.learning.trace import Trace
from stream.reading.query_class import classify_query


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What enough evidence suggests for one agent.

    Attributes:
        agent: its name.
        query_class: that the evidence is of; empty: every one.
        tools: in the order of the success rate that each surely has; those of the present configuration that little is known of come last.
        max_turns: None where too few traces succeeded.
        traces: that the evidence is of.
        success_rates: by tool, the bounds of its success rate, 95 %, for those with enough calls that said whether they succeeded.
    """

    agent: str
    query_class: str
    tools: list[str]
    max_turns: int | None
    traces: int
    success_rates: dict[str, tuple[float, float]]


class AgentConfigEvolver:
    """Recommends configurations from traces, and keeps them with their versions.

    Args:
        trace_store: with `list_traces(limit=…, [agent=…])`.
        config_dir: the live configuration's folder; it is made where it is not there.
        min_quality: of a trace, in [0, 1]; see `analyze`.
    """

    def __init__(self, trace_store: Any, *, config_dir: str | Path, min_quality: float = 0.5) -> None:
        self._store, self._config_dir, self._min_quality = trace_store, Path(config_dir), min_quality
        (self._config_dir / live.HISTORY).mkdir(parents=True, exist_ok=True)

    def analyze(self, *, agent: str | None = None) -> list[dict[str, Any]]:
        """Recommend, for every class of queries, what worked in it.

        A class of which every trace failed, or is rated below `min_quality`, is left out, as is a tool all of whose calls, three or more, said that they failed.

        Args:
            agent: only from its traces; None: from all.

        Returns:
            One dict a class, in alphabetical order, with `query_class`, `recommended_tools`, `recommended_agent`, `recommended_max_turns`, `sample_count`.
        """
        return recommendations(self._traces(agent), min_quality=self._min_quality)

    def suggest(self, *, agent: str | None = None, query_class: str | None = None, min_evidence: int = LEAST_EVIDENCE) -> list[Suggestion]:
        """Suggest a configuration for every agent of which enough is known, each by its own traces alone.

        Tools count by what their calls said of themselves; one that does not say counts neither way.

        Args:
            agent: only this one; None: all.
            query_class: only from traces of this class; None: of all.
            min_evidence: calls of a tool, and traces that succeeded, from which something is concluded.
        """
        known: dict[str, AgentEvidence] = defaultdict(AgentEvidence)
        for trace in self._traces(agent):
            if trace.agent and query_class in (None, classify_query(trace.query)):
                known[trace.agent].take(trace)
        found = (self._suggestion(name, query_class or "", each, min_evidence) for name, each in sorted(known.items()) if live.NAME.fullmatch(name))
        return [each for each in found if each.success_rates or each.max_turns is not None]

    def write_config(
        self,
        agent_name: str,
        *,
        tools: list[str],
        max_turns: int | None = None,
        temperature: float | None = None,
        system_prompt: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Path:
        """Make a configuration live; what was live before becomes a version of the history, and nothing happens where both are the same.

        Other keys, comments and their order stay as a person wrote them.

        Args:
            agent_name: whose it is.
            tools: names.
            max_turns: None: as they are, 10 in a new file.
            temperature: None: as it is, .3 in a new file.
            system_prompt: None: as it is, empty in a new file.
            provenance: where it comes from; kept in a file beside the version.

        Raises:
            AgentConfigError: the name cannot be a file's, a value is none that TOML knows, or what is live is no TOML.
        """
        given = {"tools": [str(tool) for tool in tools], "max_turns": max_turns, "temperature": temperature, "system_prompt": system_prompt}
        live.change(self._config_dir, agent_name, lambda now: with_values(now, agent_name, given), provenance=provenance)
        return self._config_dir / f"{agent_name}.toml"

    def list_versions(self, agent_name: str) -> list[dict[str, Any]]:
        """List the versions, oldest first, the live one last: dicts with `version`, `path` and `modified`, epoch seconds.

        A version keeps its number for good.
        """
        files = live.kept(self._config_dir, live.checked(agent_name))
        current = self._config_dir / f"{agent_name}.toml"
        if current.exists():
            files[max(files, default=0) + 1] = current
        return [{"version": number, "path": str(path), "modified": path.stat().st_mtime} for number, path in files.items()]

    def rollback(self, agent_name: str, version: int) -> None:
        """Make an earlier version live again, byte for byte, as a new version; nothing happens where it is what is live.

        Raises:
            AgentConfigError: there is no such version.
        """
        text = live.text_of(self._config_dir, live.checked(agent_name), version)
        if text is None:
            there = [each["version"] for each in self.list_versions(agent_name)]
            raise AgentConfigError(f"agent {agent_name!r} has no version {version}, but its versions are {there}; name one of them")
        live.change(self._config_dir, agent_name, lambda _: text, provenance={"rollback_to": version})

    def provenance(self, agent_name: str, version: int) -> dict[str, Any]:
        """Return where a version comes from; nothing where a person wrote it."""
        return live.provenance(self._config_dir, live.checked(agent_name), version)

    def _traces(self, agent: str | None) -> list[Trace]:
        if agent is None:
            return list(self._store.list_traces(limit=TRACES_MAX))
        return [trace for trace in self._store.list_traces(limit=TRACES_MAX, agent=agent) if trace.agent == agent]

    def _suggestion(self, agent: str, query_class: str, known: AgentEvidence, least: int) -> Suggestion:
        now = [str(tool) for tool in settings_of(live.read(self._config_dir, agent), agent).get("tools", [])]
        rates = {name: interval(succeeded, calls) for name, (calls, succeeded) in known.tools.items() if calls >= least}
        return Suggestion(agent, query_class, suggested_tools(known, now, least=least), suggested_turns(known, least=least), known.traces, rates)


def with_values(now: str | None, agent: str, given: Mapping[str, Any]) -> str:
    """Return a configuration with values, those that are None left as they are; a new one, or one without a table of its own, has the seed's defaults."""
    values = {key: value for key, value in given.items() if value is not None}
    return edited(now, agent, values if settings_of(now, agent) else NEW | {"name": agent} | values)
