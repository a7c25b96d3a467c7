"""What is overridden in faust-streaming 0.15.3 and aiokafka 0.14: one file an override, with its reason.

| file | overrides | because |
|---|---|---|
| `chunks` | `Consumer.getmany`, `Schema.compile`, `AIOKafkaConsumerThread._create_worker_consumer` | one event at a time costs forty times what reading does |
| `drain` | `Consumer._drain_messages` | it makes four helper tasks a message |
| `idle` | `Consumer._wait_next_records`, `_getmany` | it sleeps a second when nothing is open, and fetches everything when nothing is left |
| `commits` | `Consumer._new_offset`, `_add_gap` | only what is durable may be committed |
| `seeking` | `Consumer.perform_seek` | the recovered state decides where to read on, not the group's offset |
| `resuming` | `Consumer.resume_partitions`, `pause_partitions`, `resume_flow` | records read before the queues are emptied are lost |
| `log_bounds` | `AIOKafkaConsumerThread._highwaters`, `earliest_offsets` | Tansu's ListOffsets stops before the last batch, and may start behind the first |
| `fetch_wait` | `AIOKafkaConsumerThread._create_worker_consumer` | 1.5 s are hard-coded, and Tansu does not wake a long poll |
| `one_loop` | `ServiceThread._gather_remaining_tasks`, `QueueServiceThread.call_thread`, `WorkerThread` | two threads of one Python share one lock and no cache |
| `heartbeat` | `GroupCoordinator._do_heartbeat` | who may write depends on when the group last heard of us |
| `recovery` | `Store.apply_changelog_batch` and others | the last write must not win, and nothing is decoded twice |
| `stream.record_batches` | `PartitionRecords._unpack_records` | record by record is dear, and a header name that is not UTF-8 stops a partition; it lies above, for every reader |
| `stream.frames` | `AIOKafkaConnection._create_reader_task`, `_read` | asyncio's streams copy a fetch three times; it lies above, for every process that fetches much |

`pins` holds the fingerprints of the overridden methods; a test fails when one of them changes upstream. `probe` overrides nothing:
it reads single records and the bounds of logs, outside the group.
"""
