"""What Eddy costs, measured beside what else could do the job, on the same machine, broker and topic; `make bench` runs all of it."""
