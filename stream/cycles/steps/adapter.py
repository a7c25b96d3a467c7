"""Step 6: where a base model is named and enough answers are worth learning from, an adapter is trained by a job of its own; the cycle waits for it without its lock."""
