"""What Prometheus scrapes: one line a metric, `eddy_<noun>_<unit>`, labels from closed or capped sets only.

Each process serves its own registry: a gauge that it never sets would say 0, as if it had been measured.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WORKER, LEARNER = CollectorRegistry(), CollectorRegistry()
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# The worker: what it folds.
FOLDED = Counter("eddy_folded_records_total", "Records of eddy.traces folded since the process began, refused ones included.", registry=WORKER)
FOLD_SECONDS = Histogram("eddy_fold_seconds", "Time to fold one chunk.", buckets=SECONDS, registry=WORKER)
CHUNK_RECORDS = Histogram("eddy_chunk_records", "Records in one chunk.", buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000), registry=WORKER)
PARTITION_COUNTS = Gauge("eddy_partition_records", "What a partition's state has counted over its whole log.", ["partition", "counter"], registry=WORKER)
DEAD_LETTERS = Counter("eddy_dead_letters_total", "Records refused, each a dead letter.", ["topic", "reason"], registry=WORKER)
FORWARDS = Counter("eddy_forwards_total", "Records sent on to the partition of their trace id.", ["reason"], registry=WORKER)
UNREADABLE = Counter("eddy_unreadable_records_total", "Records of Eddy's own topics that could not be read and were left out.", ["topic"], registry=WORKER)
STALE_CHUNKS = Counter("eddy_stale_chunks_total", "Chunks of an assignment that has ended, left to the next owner.", registry=WORKER)

# The worker: what it holds and keeps.
LAG = Gauge("eddy_lag_records", "Records of a partition not folded yet.", ["partition"], registry=WORKER)
INDEX_ENTRIES = Gauge("eddy_index_entries", "Entries of a partition's join index.", ["partition"], registry=WORKER)
CLASSES = Gauge("eddy_classes", "Query classes of a partition.", ["partition"], registry=WORKER)
ARMS = Gauge("eddy_arms", "Arms over all classes of a partition.", ["partition"], registry=WORKER)
CHECKPOINTS = Counter("eddy_checkpoints_total", "Checkpoints acknowledged.", ["kind"], registry=WORKER)
CHECKPOINT_BYTES = Counter("eddy_checkpoint_bytes_total", "Bytes of acknowledged checkpoints.", registry=WORKER)
CHECKPOINT_SECONDS = Histogram("eddy_checkpoint_seconds", "Time from taking a checkpoint to its acknowledgement.", buckets=SECONDS, registry=WORKER)
TOMBSTONES = Counter("eddy_checkpoint_tombstones_total", "Parts of older checkpoints retired.", registry=WORKER)
RECOVERY_SECONDS = Gauge("eddy_recovery_seconds", "Time the last assignment took, from its start until records flow.", registry=WORKER)
REBALANCES = Counter("eddy_rebalances_total", "Assignments received.", registry=WORKER)
EPOCHS = Counter("eddy_log_epochs_total", "Logs found to have been made anew.", registry=WORKER)
LOST = Counter("eddy_lost_records_total", "Records that the broker had removed before they were folded.", registry=WORKER)
ZOMBIE_WRITES = Counter("eddy_zombie_writes_total", "Records found that an earlier owner wrote after its successor had begun.", ["topic"], registry=WORKER)
OWNERSHIP_WAITS = Counter("eddy_ownership_waits_total", "Writes held back because ownership was in doubt.", registry=WORKER)
LAST_PROGRESS = Gauge("eddy_last_progress_timestamp_seconds", "When a record was last folded, or none was left to fold, in epoch seconds.", registry=WORKER)

# The worker: what it publishes.
STATISTICS = Counter("eddy_statistics_published_total", "Running totals published.", registry=WORKER)
STATISTICS_BYTES = Counter("eddy_statistics_published_bytes_total", "Bytes of running totals published.", registry=WORKER)
ROUTING_UPDATES = Counter("eddy_routing_updates_published_total", "Routing updates published.", registry=WORKER)
ROUTING_OWNER = Gauge("eddy_routing_owner", "1 while this worker decides the routing.", registry=WORKER)
ROUTING_EPOCH = Gauge("eddy_routing_epoch", "Epoch of the policy versions that this worker publishes.", registry=WORKER)

# The learner.
ARCHIVE_ROWS = Gauge("eddy_archive_rows", "Rows in the archive.", ["table"], registry=LEARNER)
ARCHIVE_BYTES = Gauge("eddy_archive_bytes", "Size of the archive's file.", registry=LEARNER)
ARCHIVE_LAG = Gauge("eddy_archive_lag_records", "Records of a partition not archived yet.", ["partition"], registry=LEARNER)
ARCHIVED = Counter("eddy_archived_records_total", "Records archived since the process began.", registry=LEARNER)
ARCHIVE_COMMIT_SECONDS = Histogram("eddy_archive_commit_seconds", "Time of one transaction of the archive.", buckets=SECONDS, registry=LEARNER)
ARCHIVE_REMOVED = Counter("eddy_archive_removed_rows_total", "Rows removed by retention or on request.", ["reason"], registry=LEARNER)
MIRRORED = Counter("eddy_mirrored_records_total", "Records of small and compacted topics mirrored.", ["topic"], registry=LEARNER)

# Learning cycles.
CYCLE_STEPS = Counter("eddy_cycle_steps_total", "Steps of learning cycles done and announced.", ["step"], registry=LEARNER)
CYCLES_ENDED = Counter("eddy_cycles_total", "Learning cycles ended and announced.", ["status"], registry=LEARNER)
CYCLE_ANNOUNCEMENTS = Counter("eddy_cycle_announcements_total", "What cycles brought forth, announced: configurations, overrides, training jobs.", ["topic"], registry=LEARNER)
CYCLE_RUNNING = Gauge("eddy_cycle_running", "1 while a cycle's process runs.", registry=LEARNER)
CYCLE_PROCESS_SECONDS = Histogram("eddy_cycle_process_seconds", "Time of one process of a cycle.", buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600), registry=LEARNER)
CYCLE_PEAK_BYTES = Gauge("eddy_cycle_peak_bytes", "Resident memory that the last process of a cycle held at most, with all that it started.", registry=LEARNER)


def folded(records: int) -> None:
    """Note that a chunk was folded, now."""
    FOLDED.inc(records)
    CHUNK_RECORDS.observe(records)
    progressed()


def progressed() -> None:
    """Note that the worker gets on, now: it has folded something, or has nothing to fold."""
    LAST_PROGRESS.set(time.time())
