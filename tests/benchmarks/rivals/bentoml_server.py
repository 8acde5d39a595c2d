"""BentoML: one worker process for each core on a CPU, adaptive batching on a GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from tests.benchmarks.rivals.networks import MAX_BATCH, PORT, WORKERS, Network

Picture = Annotated[Path, ContentType("image/*")]


@bentoml.service(workers=WORKERS, traffic={"timeout": 60})
class Classify:
    """The service that ``bentoml serve`` runs."""

    def __init__(self) -> None:
        self.network = Network()

    if MAX_BATCH == 1:

        @bentoml.api
        def predict(self, image: Picture) -> dict[str, Any]:
            """A picture's answer."""
            return self.network.answer([self.network.decode(image.read_bytes())])[0]

    else:

        @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000)
        def predict(self, image: list[Picture]) -> list[dict[str, Any]]:
            """The answers of a batch."""
            return self.network.answer([self.network.decode(one.read_bytes()) for one in image])


if __name__ == "__main__":
    service = f"{__spec__.name}:Classify"
    command = [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(PORT)]
    os.execv(sys.executable, command)
