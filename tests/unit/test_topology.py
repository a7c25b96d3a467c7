"""The printed topology is what runs, and docs/topology.md is what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import SettingsError
from stream.settings import load
from stream.topology import AgentEdges, draw, edges_of, page_of


def test_docs_hold_the_topology_that_the_code_prints() -> None:
    """A page drawn once and forgotten misleads; run `python -m stream topology --write docs/topology.md` when this fails."""
    page = Path(__file__).parents[2] / "docs" / "topology.md"

    assert page.read_text(encoding="utf-8") == draw(load())


def test_agent_whose_first_line_does_not_say_what_it_reads_is_refused() -> None:
    """The line says `traces`, the live agent reads statistics: one of the two is wrong, and nobody should draw either."""
    with pytest.raises(SettingsError, match="observe"):
        edges_of("observe", "traces -> [observe] -> routing", ["eddy.statistics"])


def test_graph_has_an_arrow_for_everything_that_flows() -> None:
    """By hand: one topic in, one out, one table that the agent writes and reads back."""
    agent = AgentEdges(name="learn-it", reads=("eddy.traces",), publishes=("eddy.statistics",), tables=("memory",))

    page = page_of([agent], {"memory": "What is remembered.\n\nKey: a\nWritten by: learn_it\nRead by: learn_it"})

    for arrow in ("eddy_traces --> learn_it", "learn_it --> eddy_statistics", "learn_it --> memory", "memory --> learn_it"):
        assert f"    {arrow}\n" in page
