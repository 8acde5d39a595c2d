"""Ray Serve: one replica for each core on a CPU, dynamic batching on a GPU."""

# No postponed annotations: FastAPI could not find them in a class that Ray has sent to another process.
import signal
import sys
import time
from typing import Any

import ray
from fastapi import FastAPI, UploadFile
from ray import serve

from tests.benchmarks.rivals.networks import MAX_BATCH, ON_GPU, PORT, THREADS, WORKERS, Network

app = FastAPI()


@serve.deployment(
    num_replicas=WORKERS,
    max_ongoing_requests=100,
    ray_actor_options={"num_cpus": 0.5 if WORKERS > 1 else 1, "num_gpus": int(ON_GPU)},
)
@serve.ingress(app)
class Classify:
    """The deployment."""

    def __init__(self) -> None:
        self.network = Network()

    if MAX_BATCH == 1:

        @app.post("/predict")
        def predict(self, image: UploadFile) -> dict[str, Any]:
            """A picture's answer, on a thread of the replica's pool."""
            return self.network.answer([self.network.decode(image.file.read())])[0]

    else:

        @app.post("/predict")
        async def predict(self, image: UploadFile) -> dict[str, Any]:
            """A picture's answer, in a batch."""
            return await self.run(self.network.decode(await image.read()))

        @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.002)
        async def run(self, frames: list[Any]) -> list[dict[str, Any]]:
            """The answers of a batch."""
            return self.network.answer(frames)


if __name__ == "__main__":
    ray.init(num_cpus=max(2, WORKERS * THREADS), include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Classify.bind())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(1)
