"""Training, evaluation and export of the Clinical-Inspired Network, and the command ``cin-train``."""

import os

# ONNX Runtime sends telemetry to its makers unless this is set before it is first imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
