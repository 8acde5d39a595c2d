"""LitServe: decoding and network in worker processes, one for each core, as its guide on speed has it."""

from __future__ import annotations

from typing import Any

import litserve

from tests.benchmarks.rivals.networks import MAX_BATCH, ON_GPU, PORT, WORKERS, Network


class Classify(litserve.LitAPI):
    """The hooks that LitServe calls in a worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Once a worker."""
        self.network = Network()

    def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def]  # an annotation would make it a query
        """A form's file to a frame."""
        return self.network.decode(request["image"].file.read())

    def predict(self, x: Any) -> Any:
        """A frame, or a batch of them, to its answers."""
        return self.network.answer(list(x)) if MAX_BATCH > 1 else self.network.answer([x])[0]

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Frames as they are."""
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Answers as they are."""
        return output

    def encode_response(self, output: Any) -> Any:
        """JSON as it is."""
        return output


if __name__ == "__main__":
    api = Classify(max_batch_size=MAX_BATCH, batch_timeout=0.0 if MAX_BATCH == 1 else 0.002)
    server = litserve.LitServer(api, accelerator="cuda" if ON_GPU else "cpu", workers_per_device=WORKERS, timeout=60)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="error")
