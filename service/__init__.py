"""The HTTP service and the command ``cin``: a model bundle in, answers to dermoscopic images out. No PyTorch."""

import os

# ONNX Runtime sends telemetry to its makers unless this is set before it is first imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
