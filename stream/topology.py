"""Draws the graph of agents, tables and topics as it really runs, in Markdown with Mermaid; `docs/topology.md` holds what it says.

What an agent reads is taken from the live Faust app; what it publishes and writes, from the first line of its module:
`traces -> [observe] -> statistics, dead letters, forwards; writes checkpoints`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream.errors import SettingsError
from stream.topics import DAY_MS, DEAD_LETTERS, TOPICS, TRACES, Topic

if TYPE_CHECKING:
    from stream.settings import Settings

EDGE = re.compile(r"(?P<reads>[^\[]+?) -> \[(?P<name>[\w-]+)\] -> (?P<publishes>[^;]+?)(?:; (?:writes|keeps) (?P<writes>.+?))?\.?$")
SPOKEN = {"dead letters": DEAD_LETTERS.name, "forwards": TRACES.name}
"""What a docstring calls otherwise than by its topic's name."""

HEAD = """\
# Topology

Printed by `python -m stream topology` from the running code; a test holds this page equal to it.

```mermaid
flowchart LR
"""
CLIENTS = """\
    clients(["agents, raters, routers"]) --> eddy_traces
    eddy_routing --> clients
    eddy_traces --> learner(["learner"]) --> archive[("archive, SQLite")]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEdges:
    """What one agent reads, publishes to and writes; topics by their names, tables by theirs."""

    name: str
    reads: tuple[str, ...]
    publishes: tuple[str, ...]
    tables: tuple[str, ...]


def draw(settings: Settings) -> str:
    """Draw the graph.

    Raises:
        SettingsError: an agent's first line does not say what flows through it, or not what it really reads.
    """
    from stream.app import create_app

    app = create_app(settings)
    agents = [edges_of(name.split(".")[-1], inspect.getdoc(inspect.getmodule(agent.fun)) or "", agent.channel.topics) for name, agent in app.agents.items()]
    tables = importlib.import_module("stream.tables")
    described = {name: inspect.getdoc(importlib.import_module(f"stream.tables.{name}")) or "" for name in tables.MODULES}
    return page_of(agents, described)


def edges_of(name: str, docstring: str, reads: Iterable[str]) -> AgentEdges:
    """Read an agent's edges off its first line.

    Args:
        name: of the agent.
        docstring: of its module.
        reads: the topics that the live agent reads.

    Raises:
        SettingsError: the line says something else.

    Example:
        >>> edges_of("observe", "traces -> [observe] -> statistics; writes checkpoints.", ["eddy.traces"]).publishes
        ('eddy.statistics',)
    """
    line, reads = docstring.partition("\n")[0], tuple(reads)
    found = EDGE.fullmatch(line)
    if found is None or found["name"] != name or not set(_topics(found["reads"])) <= set(reads):
        raise SettingsError(
            f"the first line of agent {name} is {line!r}, but it says what flows through it: `TOPICS -> [{name}] -> TOPICS; writes TABLES`, of {', '.join(reads)}; correct it"
        )
    return AgentEdges(name=name, reads=reads, publishes=_topics(found["publishes"]), tables=tuple(_listed(found["writes"] or "")))


def page_of(agents: Iterable[AgentEdges], tables: Mapping[str, str]) -> str:
    """Put the whole page together."""
    agents = list(agents)
    used = {topic for agent in agents for topic in (*agent.reads, *agent.publishes)}
    nodes = [f'    {_id(topic.name)}[/"{topic.name}"/]\n' for topic in TOPICS if topic.name in used]
    nodes += [f'    {_id(agent.name)}["{agent.name}"]\n' for agent in agents] + [f'    {_id(name)}[("{name}")]\n' for name in tables]
    return HEAD + "".join(nodes) + CLIENTS + "".join(_arrows(agents, tables)) + "```\n" + _agents_part(agents) + _tables_part(tables) + _topics_part()


def _arrows(agents: Iterable[AgentEdges], tables: Mapping[str, str]) -> list[str]:
    arrows = []
    for agent in agents:
        arrows += [(topic, agent.name) for topic in agent.reads] + [(agent.name, topic) for topic in agent.publishes]
        arrows += [(agent.name, name) for name, docstring in tables.items() if _id(agent.name) in _fact(docstring, "Written by")]
        arrows += [(name, agent.name) for name, docstring in tables.items() if _id(agent.name) in _fact(docstring, "Read by")]
    return [f"    {_id(source)} --> {_id(target)}\n" for source, target in arrows]


def _id(name: str) -> str:
    """Make a name an id of Mermaid's; a dot or a hyphen in one reads as something else."""
    return name.replace(".", "_").replace("-", "_")


def _agents_part(agents: Iterable[AgentEdges]) -> str:
    rows = [f"| `{agent.name}` | {_code(agent.reads)} | {_code(agent.publishes)} | {_code(agent.tables)} |\n" for agent in agents]
    return "\n## Agents\n\n| agent | reads | publishes to | keeps |\n|---|---|---|---|\n" + "".join(rows)


def _tables_part(tables: Mapping[str, str]) -> str:
    parts = [f"\n### `{name}`\n\n{_summary(docstring)}\n\n{_facts(docstring)}" for name, docstring in tables.items()]
    return "\n## Tables\n" + "".join(parts)


def _topics_part() -> str:
    rows = [
        f"| `{topic.name}` | {topic.key} | {_code(record.__name__ for record in topic.records) or 'bytes untouched'} | {topic.partitions or 'P'} | {_kept(topic)} |\n"
        for topic in TOPICS
    ]
    return "\n## Topics\n\nP is `EDDY_PARTITIONS`.\n\n| topic | key | records | partitions | kept |\n|---|---|---|---|---|\n" + "".join(rows)


def _kept(topic: Topic) -> str:
    return "the last of every key" if topic.compacted else f"{topic.retention_ms // DAY_MS} days"


def _summary(docstring: str) -> str:
    return " ".join(docstring.partition("\n\n")[0].split())


def _facts(docstring: str) -> str:
    return "".join(f"- {name}: {said}\n" for name in ("Key", "Value", "Changelog", "Written by", "Read by") if (said := _fact(docstring, name)))


def _fact(docstring: str, name: str) -> str:
    found = re.search(rf"^{name}: +(.+)$", docstring, re.MULTILINE)
    return found[1] if found is not None else ""


def _topics(text: str) -> tuple[str, ...]:
    return tuple(SPOKEN.get(name, f"eddy.{name}") for name in _listed(text))


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _code(names: Iterable[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)
