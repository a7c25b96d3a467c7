"""Triggers: when enough has come in, or changed, for a learning cycle to be worth its time. Pure: totals in, a request out."""
