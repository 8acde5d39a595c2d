"""Where the feature extraction's weights come from."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import model_training.start as start_module
from model_training.network.feature_extraction import ResNetStages
from model_training.start import load_start


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A loopback server in the place of torchvision's, with a ResNet18 file whose name carries its hash."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    folder = tmp_path / "models"
    folder.mkdir()
    scratch = folder / "scratch.pth"
    torch.save(ResNetStages().state_dict(), scratch)
    path = scratch.rename(folder / f"resnet18-{hashlib.sha256(scratch.read_bytes()).hexdigest()[:8]}.pth")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{path.name}"
    monkeypatch.setattr(start_module, "TORCHVISION_URLS", {18: url, 50: url.replace(path.name, "absent.pth")})
    yield path
    server.shutdown()


def test_torchvision_is_downloaded_once_and_its_hash_checked(served: Path) -> None:
    start = load_start("torchvision")
    assert start is not None
    assert start.name == "torchvision ResNet18 IMAGENET1K_V1"
    ResNetStages().load_start(start.weights)
    served.unlink()
    assert load_start("torchvision") is not None, "the second time it is read from the copy"


def test_a_file_with_another_hash_is_refused(served: Path) -> None:
    served.write_bytes(served.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"cannot download .*set start to the path"):
        load_start("torchvision")


@pytest.mark.usefixtures("served")
def test_the_download_is_that_of_the_networks_depth() -> None:
    assert load_start("torchvision", "attention-resnet18") is not None
    with pytest.raises(ValueError, match=r"cannot download .*absent"):
        load_start("torchvision", "resnet50")


def test_a_file_says_what_it_has_seen(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": torch.zeros(2)}, path)
    plain = load_start(str(path))
    assert plain is not None
    assert (plain.name, plain.seen) == ("weights.safetensors", frozenset())
    (tmp_path / "pictures.csv").write_text("id,sha256\nISIC_0000001,ab\nISIC_0000002,\n")
    trained = load_start(str(path))
    assert trained is not None
    assert trained.seen == {"ISIC_0000001", "ISIC_0000002"}


def test_what_cannot_be_a_start(tmp_path: Path) -> None:
    assert load_start("none") is None
    with pytest.raises(ValueError, match="nor a file"):
        load_start(str(tmp_path / "absent.pth"))
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(ValueError, match=r"not a readable \.pth or \.safetensors"):
            load_start(str(tmp_path / name))
