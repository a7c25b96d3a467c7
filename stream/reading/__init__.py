"""What is read off a record of the log: its fields, query class, outcome, arm and partition. Pure."""
