"""Nothing that was sent is written to a disk."""

from __future__ import annotations

import io
import resource
from pathlib import Path

import pytest
from PIL import Image

from service.bundle import Bundle
from tests.service.served import served


def test_nothing_is_written_to_a_disk(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The system itself forbids the process to write a single byte to any file; and none is made.

    ONNX Runtime's telemetry would make one, of a session that it reports on.
    """

    def forbid() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    buffer = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(buffer, "PNG")
    large = buffer.getvalue()
    assert len(large) > 2**20, "more than a form is usually held in memory"
    with served(tiny_bundle.folder, before=forbid, TMPDIR=str(tmp_path)) as service, service.client() as client:
        for answer in (
            client.post("/predict", files={"image": large}),
            client.post("/predict", content=large, headers={"Content-Type": "image/png"}),
            client.post("/predict/batch", files=[("image", large), ("image", large)]),
        ):
            assert answer.status_code == 200
        id = client.post("/predict", files={"image": large}).json()["id"]
        assert client.get(f"/attention/{id}").status_code == 200
        assert client.delete(f"/predictions/{id}").status_code == 204
    assert list(tmp_path.iterdir()) == []


def test_the_system_does_forbid_it(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """With records in a folder, the same limit is noticed at once."""

    def forbid() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    with (
        pytest.raises(AssertionError, match="cannot be used"),
        served(tiny_bundle.folder, before=forbid, CIN_RECORDS_FOLDER=str(tmp_path)),
    ):
        pass
