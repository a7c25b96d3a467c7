"""The demo: the whole loop on a data folder of its own, and a fleet of simulated agents whose true rewards are known."""
