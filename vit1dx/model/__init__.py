"""Frames to tokens: the network, its weights, and what runs it."""

import os

# Importing ONNX Runtime makes a number for this user, and reports to its maker over the network,
# unless it is told not to before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
