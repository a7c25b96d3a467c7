"""Mining: what the archive's traces give to train on, read by cursor, in bounded memory, split by query."""
