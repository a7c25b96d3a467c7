"""What reads the topic beside Eddy, each a program of its own that says how far it is; no module here imports Eddy."""
