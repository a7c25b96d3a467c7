"""What is looked at before a process starts: settings that cannot work are refused, those that have no effect are named.

It looks at nothing outside the process: brokers and folders are `eddy doctor`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stream.errors import SettingsError
from stream.reading.query_class import classifier
from stream.reading.reward import reward_function
from stream.routing.registry import policy_named
from stream.settings import unknown_variables

if TYPE_CHECKING:
    from stream.settings import Settings


def check(settings: Settings) -> None:
    """Refuse names that nothing stands behind: a worker would end on them again and again.

    Raises:
        SettingsError: the policy, the classifier or the reward is unknown.
    """
    faults = []
    for find, name in ((policy_named, settings.policy), (classifier, settings.classifier), (reward_function, settings.reward)):
        try:
            find(name)
        except SettingsError as exc:
            faults.append(str(exc))
    if faults:
        raise SettingsError("; ".join(faults))


def doubts(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Name what is set and does nothing, a sentence each."""
    said = [f"{name} is in the environment, but no setting has that name; `docs/operations.md` lists them all" for name in unknown_variables(environment)]
    return said + [f"{name} is declared, but nothing reads it yet: a trace says itself what it cost" for name in unheld(settings)]


def unheld(settings: Settings) -> list[str]:
    """Name the prices that are declared: what a request cost is taken from its trace alone.

    Example:
        >>> from stream.settings import Settings
        >>> unheld(Settings(arms=[{"id": "m", "usd_per_million_input_tokens": 2.5}]))
        ['usd_per_million_input_tokens']
    """
    prices = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")
    return [name for name in prices if any(getattr(arm, name) is not None for arm in settings.arms)]
