"""Routing: from merged totals to what routers draw from; pure, with no Kafka, clock, environment or randomness in it."""
