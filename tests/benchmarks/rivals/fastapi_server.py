"""What a user would write first: FastAPI, a plain function, one process."""

from __future__ import annotations

from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile

from tests.benchmarks.rivals.networks import PORT, Network

app = FastAPI()
network = Network()


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    """A picture's answer."""
    return network.answer([network.decode(image.file.read())])[0]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="error")
