"""Tenants kept apart: a class of one tenant is a class of its own name, so that nothing else has to know of tenants."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import msgspec

from stream.reading.arm import read_name
from stream.records import class_of_tenant

Reading = TypeVar("Reading", bound=msgspec.Struct)

_KNOWN = 4096
"""Names of classes that are remembered: some times the classes of a busy deployment."""


class _Decided(msgspec.Struct, gc=False):
    tenant: str = ""


class _Tenant(msgspec.Struct, gc=False):
    tenant: str = ""
    decision: _Decided | None = None


_decode = msgspec.json.Decoder(_Tenant).decode


@lru_cache(maxsize=_KNOWN)
def _class_apart(tenant: str, query_class: str) -> str:
    return class_of_tenant(read_name(tenant, "tenant"), query_class)


def set_apart(reading: Reading, value: bytes) -> Reading:
    """Put what was read of a record into its tenant's own class, if it is of a class.

    Raises:
        MalformedRecordError, msgspec.ValidationError: as `class_apart`.
    """
    if not (query_class := getattr(reading, "query_class", "")):
        return reading
    return msgspec.structs.replace(reading, query_class=class_apart(value, query_class))


def class_apart(value: bytes, query_class: str) -> str:
    """Name the class of a record's own tenant: the one that it gives, else the one that its decision was made for.

    Args:
        value: a record of the log that has been read already.
        query_class: its class among its tenant's.

    Raises:
        MalformedRecordError: `bad_name`, the tenant's is longer than 256 characters or has a control character.
        msgspec.ValidationError: the tenant is no text.
    """
    said = _decode(value)
    return _class_apart(said.tenant or (said.decision.tenant if said.decision is not None else ""), query_class)
