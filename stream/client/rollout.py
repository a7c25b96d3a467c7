"""The rollout: which requests follow what was learned, while the default arm serves the rest.

Pure: the random numbers come from the caller.
"""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

from stream.client.table import Draw, Lottery
from stream.records import Arm


def is_in(share: float, session_id: str | None, u: float) -> bool:
    """Say whether a request follows what was learned.

    A session is in or out by its id: in every process alike and for good; raising the share only adds sessions.

    Args:
        share: of the requests that do, in [0, 1].
        session_id: of the request, if it is of a session.
        u: uniform in [0, 1), for requests without one.

    Example:
        >>> [is_in(0.25, None, u) for u in (0.2, 0.25)]
        [True, False]
    """
    return (xxh3_64_intdigest(session_id.encode(errors="replace")) / 2**64 if session_id else u) < share


def draw(lottery: Lottery, u: float, *, share: float, is_in: bool, rest: Arm) -> Draw | None:
    """Draw for a request of which it is known whether it follows what was learned.

    The propensity is that of the whole way: with s the share, p what was learned and d the default arm, arm a has
    s p(a) + (1 - s) [a = d]. With a session's side taken by its id, that is its probability over sessions.

    Args:
        lottery: what was learned, over what may serve.
        u: uniform in [0, 1).
        share: of the requests that follow it, in (0, 1].
        is_in: whether this one does.
        rest: what serves the others; an empty arm where nothing can, and then all follow what was learned.

    Returns:
        None where nothing was learned that may serve.

    Example:
        >>> two = Lottery(ids=("a", "d"), arms=(Arm(model="a"), Arm(model="d")), shares=(0.5, 0.5), cumulative=(0.5, 1.0))
        >>> [draw(two, 0.7, share=0.25, is_in=True, rest=Arm(model=name)).propensity for name in ("d", "e")]
        [0.875, 0.125]
    """
    learned, rest_id = lottery.draw(u), rest.id
    if share >= 1.0 or learned is None or not rest_id:
        return learned
    ids = lottery.ids if rest_id in lottery.share_of else (*lottery.ids, rest_id)
    if is_in and learned.arm != rest:
        return Draw(learned.arm, share * learned.propensity, ids)
    return Draw(rest, min(1.0, share * lottery.share_of.get(rest_id, 0.0) + 1.0 - share), ids)
