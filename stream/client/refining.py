"""Refining: what a table gives each arm, moved for one request by what its text tells, where the policy is contextual.

Pure: the random number comes from whoever draws.
"""

from __future__ import annotations

from itertools import accumulate

from stream.client.table import Lottery, RoutingTable
from stream.routing.canaries import shared
from stream.routing.contextual import ContextualModel
from stream.routing.features import features


def refined(table: RoutingTable, lottery: Lottery, model: ContextualModel | None, query: str) -> Lottery:
    """Work out what is drawn from for one request.

    Args:
        table: of the request's class.
        lottery: what the table alone would have drawn from: its arms, or the candidates among them.
        model: the newest; None where there is none.
        query: the request's text.

    Returns:
        The lottery itself where nothing more is known: the table is not of a contextual policy, or there is no model.
    """
    if model is None or not model.weights or not lottery.ids:
        return lottery
    ids = [arm_id for arm_id in lottery.ids if arm_id not in table.canaries] if table.canaries else lottery.ids
    if not table.basis.arms.keys() >= set(ids):
        return lottery
    shares = table.basis.among(ids).shares(model.advantages(features(query), ids))
    if table.canaries:
        found = shared(dict(zip(ids, shares, strict=True)), [table.canaries[arm_id] for arm_id in lottery.ids if arm_id in table.canaries])
        shares = [found.get(arm_id, 0.0) for arm_id in lottery.ids]
    return Lottery(ids=lottery.ids, arms=lottery.arms, shares=tuple(shares), cumulative=tuple(accumulate(shares)))
