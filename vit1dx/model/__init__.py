"""Frames to tokens: the network, its weights, and what runs it."""
