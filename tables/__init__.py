"""What a worker remembers, in the order in which a record meets it; each module registers one table on the app."""

MODULES = ("checkpoints", "class_statistics", "routing_state")
