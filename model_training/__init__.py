"""Training, evaluation and export."""

import os

# ONNX Runtime tells its makers about every process and model unless this is said before it is first imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
