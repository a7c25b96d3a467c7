"""A toy agent that runs with whatever configuration is live: it can add where its configuration gives it the tool, and says so where not.

EDDY_BOOTSTRAP=127.0.0.1:9092 python examples/toy_agent.py "What is 2 + 3?"

A promotion (`eddy cycles approve`, or a learning cycle by itself) changes what it does with the next request, `eddy configs rollback toy 1`
brings back what it did before, and nothing is restarted. With EDDY_ARM=model,agent,config a request's arm names the version that is to serve it.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from collections.abc import Callable

from stream.client import AgentConfigs, Eddy

AGENT = "toy"
TOOLS: dict[str, Callable[[list[int]], int]] = {"add": sum}
"""What it could do; what it may do stands in its configuration."""


def answer(query: str, toml: str) -> tuple[str, list[dict[str, object]]]:
    """Answer a query by a configuration; returns the answer, and the steps that were taken.

    Args:
        query: what is asked.
        toml: the configuration's text; empty where the agent has none yet.
    """
    config = tomllib.loads(toml).get("agent", {}) if toml else {}
    numbers = [int(digits) for digits in re.findall(r"\d+", query)]
    if "add" not in config.get("tools", []) or not numbers:
        return config.get("system_prompt", "") or "I cannot add.", []
    result = TOOLS["add"](numbers)
    return str(result), [{"step_type": "tool_call", "input": {"tool": "add", "arguments": {"numbers": numbers}}, "output": {"success": True, "result": result}}]


async def serve(eddy: Eddy, configs: AgentConfigs, query: str) -> str:
    """Serve one request: by the version that its arm names, else by the live one."""
    async with eddy.request(query) as request:
        config = configs.get(AGENT, request.arm.config_version) or configs.get(AGENT)
        result, steps = answer(query, config.toml if config else "")
        version = str(config.version) if config else ""
        request.finish(result=result, steps=steps, outcome="success" if steps else "failure", agent=AGENT, config_version=version)
    return result


async def main(queries: list[str]) -> None:
    """Serve what the command line asks."""
    async with Eddy() as eddy, AgentConfigs() as configs:
        await configs.ready()
        for query in queries:
            print(await serve(eddy, configs, query))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["What is 2 + 3?"]))
