"""The learner's archive: every record of the log in one SQLite file, indexed, and the mirror that an embedded broker is restored from.

It is a view of the log: records and the position up to which they are archived share one transaction. Nothing here folds.
"""
