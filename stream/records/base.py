"""What all records share: the schema's version, names that stand for more than one, and the arm."""

from __future__ import annotations

import re

import msgspec

SCHEMA = 1
"""Version of every record's schema; a reader takes this one and the two before it, as they come to be."""

ANY_CLASS = "*"
"""The name that stands for every class: key of the update for classes without one of their own, and class of overrides that hold for all."""
OVERFLOW = "~overflow"
"""Name of the class, and model of the arm, that take what is beyond a partition's caps."""

_TENANT = re.compile(r"(?:[^\\|]|\\.)*\|", re.DOTALL)
"""A tenant in the name of a class that is kept apart: up to the first `|` that is not escaped."""


def class_of_tenant(tenant: str, query_class: str) -> str:
    r"""Name a tenant's own class, where tenants are kept apart: `TENANT|CLASS`, with `|` and `\` escaped by `\`.

    Whatever the two are called, two pairs never have one name, and none has that of a class of no tenant, such as `*`.

    Example:
        >>> class_of_tenant("acme", "code"), class_of_tenant("", "code"), class_of_tenant("a|b", "*")
        ('acme|code', '|code', 'a\\|b|*')
    """
    return f"{_escaped(tenant)}|{_escaped(query_class)}"


def pool_of_tenant(name: str) -> str:
    """Name the class that stands for every class of a class's tenant; `*` for a class of no tenant.

    Example:
        >>> pool_of_tenant("acme|code"), pool_of_tenant("~overflow")
        ('acme|*', '*')
    """
    found = _TENANT.match(name)
    return found.group() + ANY_CLASS if found else ANY_CLASS


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("|", "\\|")


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What every record has."""

    schema: int = SCHEMA


TRIAL = "~"
"""How the name of a configuration begins that is on trial and not live: no number does."""


def is_trial(config_version: str) -> bool:
    """Whether a version of a configuration is on trial: it serves as a canary, or not at all."""
    return config_version.startswith(TRIAL)


class Arm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What can be chosen to serve a request; an empty field is one that the choice leaves open."""

    model: str = ""
    agent: str = ""
    config_version: str = ""
    adapter: str = ""

    @property
    def id(self) -> str:
        r"""The arm's name: its fields joined by `|`, empty ones at the end left out, `|` and `\` escaped by `\`.

        Example:
            >>> Arm(model="gpt-4", agent="react").id
            'gpt-4|react'
            >>> Arm(model="a|b").id
            'a\\|b'
        """
        fields = [self.model, self.agent, self.config_version, self.adapter]
        while fields and not fields[-1]:
            fields.pop()
        return "|".join(map(_escaped, fields))

    @classmethod
    def parse(cls, arm_id: str) -> Arm:
        r"""Read an arm's name back.

        Raises:
            ValueError: more than four fields.

        Example:
            >>> Arm.parse("gpt-4|react") == Arm(model="gpt-4", agent="react")
            True
        """
        fields, escaped = [""], False
        for character in arm_id:
            if not escaped and character == "\\":
                escaped = True
            elif not escaped and character == "|":
                fields.append("")
            else:
                fields[-1] += character
                escaped = False
        if len(fields) > 4:
            raise ValueError(
                f"arm {arm_id!r} has {len(fields)} fields, but an arm is MODEL|AGENT|CONFIG_VERSION|ADAPTER;"
                r" write a `|` inside a name as `\|`"
            )
        names = ("model", "agent", "config_version", "adapter")
        return cls(**dict(zip(names, fields, strict=False)))
