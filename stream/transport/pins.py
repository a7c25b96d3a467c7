"""Fingerprints of the methods overridden here, and of those that must go on calling them as they do.

A changed fingerprint says: read the upstream change, see whether the override still holds, then pin the new one.
"""

from __future__ import annotations

import hashlib
import inspect
from functools import reduce
from importlib import import_module
from typing import Any

PINS: dict[str, str] = {
    "faust.transport.consumer:Consumer.getmany": "4b168d84882a70d6",
    "faust.transport.consumer:Consumer._wait_next_records": "6218e1969a636b3f",
    "faust.transport.consumer:Consumer._drain_messages": "44a2500309e83c63",
    "faust.transport.consumer:Consumer._new_offset": "1d2c7ea89a7ad4f1",
    "faust.transport.consumer:Consumer._add_gap": "4df2573ded7c1c2c",
    "faust.transport.consumer:Consumer._filter_tps_with_pending_acks": "f6f9239774234e7e",
    "faust.transport.consumer:Consumer._commit_offsets": "1a69799041188441",
    "faust.transport.consumer:Consumer.perform_seek": "0e8c130ff4b0afd8",
    "faust.transport.consumer:Consumer.resume_partitions": "afe6b7c02a41d63c",
    "faust.transport.consumer:Consumer.pause_partitions": "27a1c94bdacd54de",
    "faust.transport.consumer:Consumer.resume_flow": "db59630f25b5819b",
    "faust.transport.consumer:Consumer.wait_empty": "e4662fe24f094819",
    "faust.transport.consumer:ThreadDelegateConsumer._getmany": "f9d47aa9010b5ff2",
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "0870ec53dea75083",
    "faust.transport.drivers.aiokafka:Consumer._to_message": "7c24f6511b2fcef7",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start": "38b4e8bd1e10723a",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "c2701bfc3e6f6cad",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._highwaters": "a7f4f97d9f32aca2",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.earliest_offsets": "5d697cd768735af7",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._seek_wait": "9d221e816d940467",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": "39a2c6c79fc1455a",
    "faust.stores.memory:Store.__post_init__": "e59c82f3785458b2",
    "faust.stores.memory:Store.apply_changelog_batch": "71863e3cd727aac2",
    "faust.stores.memory:Store.on_recovery_completed": "a00bef343e139602",
    "faust.tables.base:Collection._new_store": "914a2bda605d38f5",
    "faust.tables.recovery:Recovery.on_rebalance": "aa4d997a1795ceae",
    "faust.tables.recovery:Recovery.on_recovery_completed": "6ef567acf072e46d",
    "faust.tables.recovery:Recovery._restart_recovery": "6bd8a8558a2dffe4",
    "faust.tables.recovery:Recovery._slurp_changelogs": "7825c7e50f766d5a",
    "faust.tables.recovery:Recovery._build_offsets": "27eec86be06cb51f",
    "faust.app.base:App._on_partitions_revoked": "d5c895bbe57dc73a",
    "faust.app.base:App._on_partitions_assigned": "de932b7927db85b3",
    "faust.app.base:App._stop_consumer": "55854a5de12c3f52",
    "faust.serializers.schemas:Schema.compile": "d46eec5ce3195b2c",
    "mode.threads:ServiceThread.__init__": "82979878990cdff5",
    "mode.threads:ServiceThread.start": "f11841038a033a05",
    "mode.threads:ServiceThread.stop": "32d026539c3665b2",
    "mode.threads:ServiceThread.crash": "68a766aadc5f7196",
    "mode.threads:ServiceThread._serve": "67809eae09573ac7",
    "mode.threads:ServiceThread._shutdown_thread": "d7377862e73421a2",
    "mode.threads:ServiceThread._gather_remaining_tasks": "6f65b92dd1012485",
    "mode.threads:QueueServiceThread.call_thread": "479edda75b54734b",
    "mode.threads:WorkerThread.start": "5197205805187453",
    "mode.threads:WorkerThread.stop": "c80d8f1597fa362c",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": "dc1d6632aaa68e96",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "be4348896b9b66af",
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": "59bf948fff47eed5",
    "aiokafka.consumer.fetcher:FetchResult.getall": "3e717e30de5068d5",
    "aiokafka.consumer.fetcher:FetchResult.check_assignment": "b5340df67e3f330f",
    "aiokafka.consumer.fetcher:PartitionRecords.__init__": "8ec1c2ae6ea1af87",
    "aiokafka.consumer.fetcher:PartitionRecords._consume_aborted_up_to": "56876530cd6412f3",
    "aiokafka.consumer.fetcher:PartitionRecords._contains_abort_marker": "17e9ad2322ef4e0a",
    "aiokafka.consumer.fetcher:PartitionRecords._consumer_record": "e668541600b047ab",
    "aiokafka.consumer.fetcher:PartitionRecords.__next__": "63ac34a08c309098",
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": "b803e6d46480732c",
    "aiokafka.conn:AIOKafkaConnection.connect": "b0f9ba7f0cf6b432",
    "aiokafka.conn:AIOKafkaConnection._create_reader_task": "9577a6e84c72c36b",
    "aiokafka.conn:AIOKafkaConnection._read": "7b892995c0b81468",
    "aiokafka.conn:AIOKafkaConnection._handle_frame": "46a7d9b8cf7ca222",
    "aiokafka.conn:AIOKafkaProtocol.__init__": "119ac9d6340560a7",
    "aiokafka.conn:AIOKafkaProtocol.connection_lost": "4086ca76bc152ea1",
    "aiokafka.conn:create_conn": "673276cbddb4dc7c",
    "aiokafka.record.default_records:_DefaultRecordBatchPy._maybe_uncompress": "c9d0dc2bed50cc86",
    "aiokafka.record.default_records:_DefaultRecordBatchPy._read_msg": "0997ab7a58505c93",
}


def fingerprint(path: str) -> str:
    """Hash the source of a function, given as `module:Class.method`."""
    function = upstream(path)
    plain = inspect.unwrap(getattr(function, "fun", function))  # a task of a mode service wraps its function
    return hashlib.sha256(inspect.getsource(plain).encode()).hexdigest()[:16]


def upstream(path: str) -> Any:
    """Find what upstream has under a name, given as `module:Class.method`."""
    module, _, name = path.partition(":")
    return reduce(_upstream, name.split("."), import_module(module))


def _upstream(owner: Any, name: str) -> Any:
    """Get an attribute as upstream has it: a class of ours may stand in the place of the one that it extends."""
    found = getattr(owner, name)
    own = (cls for cls in getattr(found, "__mro__", ()) if cls.__module__ == getattr(owner, "__name__", None))
    return next(own, found)


def changed() -> list[str]:
    """Name the pinned functions whose source is another than when the overrides were written."""
    return [path for path, pinned in PINS.items() if fingerprint(path) != pinned]
