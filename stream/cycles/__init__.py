"""Learning cycles as a service: eight persisted steps in a child process of the learner, and what is announced of them."""
