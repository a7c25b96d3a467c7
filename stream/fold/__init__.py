"""The state of a partition as a pure fold of its log, and how that state is written down and found again. No I/O, no clock, no randomness."""
