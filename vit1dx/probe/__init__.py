"""Linear probes: features and annotations to a table of scores by layer (extra ``probe``)."""
