"""Claims and leases of training jobs, as the log alone decides them."""

import pytest

from stream.records import TrainingClaim, TrainingFinished, TrainingJob, TrainingProgress
from stream.training.leases import Jobs

JOB = TrainingJob(job_id="j", requested_at=0.0, spec={})


def claim(trainer, lease_s=10.0):
    return TrainingClaim(job_id="j", trainer=trainer, lease_s=lease_s)


def progress(trainer):
    return TrainingProgress(job_id="j", trainer=trainer, step=1)


def jobs(*entries):
    read = Jobs()
    for at_ms, entry in entries:
        read.take(entry, at_ms)
    return read


def test_the_first_claim_wins_until_its_lease_ends():
    read = jobs((0, JOB), (1_000, claim("a")), (1_001, claim("b")))
    assert read.is_held("j", "a", 10_999)
    assert not read.is_held("j", "b", 10_999)
    assert read.free(10_999) == []
    assert read.free(11_000) == [JOB]


def test_progress_of_the_holder_renews_and_of_another_does_not():
    read = jobs((0, JOB), (0, claim("a")), (5_000, progress("a")), (9_000, progress("b")))
    assert read.is_held("j", "a", 14_999)
    assert read.free(15_000) == [JOB]


def test_an_expired_lease_is_claimed_again_and_the_first_holder_has_lost_it():
    read = jobs((0, JOB), (0, claim("a")), (10_000, claim("b")), (10_001, progress("a")))
    assert read.is_held("j", "b", 19_999)
    assert not read.is_held("j", "a", 10_001)


def test_late_progress_keeps_the_job_where_nobody_has_claimed_it():
    read = jobs((0, JOB), (0, claim("a")), (12_000, progress("a")), (12_001, claim("b")))
    assert read.is_held("j", "a", 21_999)


def test_a_job_that_has_ended_is_not_run_again():
    end = TrainingFinished(job_id="j", trainer="a", status="completed")
    assert jobs((0, JOB), (0, claim("a")), (5, end), (6, JOB), (7, claim("b"))).free(1e9) == []


@pytest.mark.parametrize("lease_s", [0.0, -1.0, float("nan")])
def test_a_claim_without_a_lease_holds_nothing(lease_s):
    assert jobs((0, JOB), (0, claim("a", lease_s))).free(1) == [JOB]


def test_no_lease_is_longer_than_an_hour():
    assert jobs((0, JOB), (0, claim("a", 1e9))).free(3_600_000) == [JOB]
