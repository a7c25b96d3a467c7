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
    return said + [f"{name} is declared, but no policy holds it yet: it changes no draw" for name in unheld(settings)]


def unheld(settings: Settings) -> list[str]:
    """Name the ceilings and prices that are set.

    Example:
        >>> from stream.settings import Settings
        >>> unheld(Settings(max_cost_usd=0.01))
        ['max_cost_usd']
    """
    prices = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")
    named = [name for name in ("max_cost_usd", "max_latency_s") if getattr(settings, name) is not None]
    return named + [name for name in prices if any(getattr(arm, name) is not None for arm in settings.arms)]
