"""How to take part in the loop: decide, call, publish, rate.

It imports without Faust, torch or a broker; aiokafka and the settings are imported when a client is made.
"""

from __future__ import annotations

from stream.client.agent_configs import AgentConfigs
from stream.client.eddy import Eddy
from stream.client.publisher import FeedbackPublisher, TracePublisher
from stream.client.request import Request
from stream.client.router import Router
from stream.client.sync import SyncEddy, SyncFeedbackPublisher, SyncRouter, SyncTracePublisher

__all__ = [
    "AgentConfigs",
    "Eddy",
    "FeedbackPublisher",
    "Request",
    "Router",
    "SyncEddy",
    "SyncFeedbackPublisher",
    "SyncRouter",
    "SyncTracePublisher",
    "TracePublisher",
]
