"""The records that flow through Eddy's topics: what is on the wire, in JSON, one struct a record.

Reading an untrusted record is `stream.reading.record`'s work; these types are what Eddy writes and what clients build.
"""

from stream.records.base import ANY_CLASS, OVERFLOW, SCHEMA, TRIAL, Arm, Record, class_of_tenant, is_trial, pool_of_tenant
from stream.records.cycles import Adapter, AgentConfig, CycleFinished, CycleOrder, CycleRequested, CycleStep, TrainingClaim, TrainingFinished, TrainingJob, TrainingProgress
from stream.records.learned import PARAMETERS_KEY, ArmRouting, ArmState, ArmStatistics, Override, OverrideKind, PartitionStatistics, PolicyParameters, RoutingUpdate
from stream.records.log import Decision, DecisionKind, Feedback, Forget, RaterKind, Trace

__all__ = [
    "ANY_CLASS",
    "OVERFLOW",
    "PARAMETERS_KEY",
    "SCHEMA",
    "TRIAL",
    "Adapter",
    "AgentConfig",
    "Arm",
    "ArmRouting",
    "ArmState",
    "ArmStatistics",
    "CycleFinished",
    "CycleOrder",
    "CycleRequested",
    "CycleStep",
    "Decision",
    "DecisionKind",
    "Feedback",
    "Forget",
    "Override",
    "OverrideKind",
    "PartitionStatistics",
    "PolicyParameters",
    "RaterKind",
    "Record",
    "RoutingUpdate",
    "Trace",
    "TrainingClaim",
    "TrainingFinished",
    "TrainingJob",
    "TrainingProgress",
    "class_of_tenant",
    "is_trial",
    "pool_of_tenant",
]
