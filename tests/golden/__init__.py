"""The golden log, which guards `FOLD_VERSION`: a fold that ends in another state on it is another fold.

`python -m tests.golden` writes the log and, by the oracle, what it must fold to.
"""
