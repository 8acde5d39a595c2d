"""Where the feature extraction's weights come from."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model_training.network.backbones import BACKBONES, make_stages
from model_training.network.cin import ClinicalInspiredNetwork
from model_training.training.pretrained import load_pretrained
from model_training.training.run_folder import RunFolder

# ImageNet's weights.
REAL_WIDTHS = True


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A loopback server in the place of torchvision's, with a ResNet18 file whose name carries its hash."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    folder = tmp_path / "models"
    folder.mkdir()
    scratch = folder / "scratch.pth"
    torch.save(make_stages().state_dict(), scratch)
    path = scratch.rename(folder / f"resnet18-{hashlib.sha256(scratch.read_bytes()).hexdigest()[:8]}.pth")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{path.name}"
    for name, theirs in {"resnet18": url, "attention-resnet18": url, "resnet50": f"{url}-absent.pth"}.items():
        monkeypatch.setitem(BACKBONES, name, replace(BACKBONES[name], url=theirs))
    yield path
    server.shutdown()


def test_torchvision_is_downloaded_once_and_its_hash_checked(served: Path) -> None:
    start = load_pretrained("torchvision")
    assert start is not None
    assert start.name == "torchvision ResNet18 IMAGENET1K_V1"
    make_stages().load_pretrained(start.weights)
    served.unlink()
    assert load_pretrained("torchvision") is not None, "the second time it is read from the copy"


def test_a_file_with_another_hash_is_refused(served: Path) -> None:
    served.write_bytes(served.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"cannot download .*set start to the path"):
        load_pretrained("torchvision")


@pytest.mark.usefixtures("served")
def test_the_download_is_that_of_the_networks_depth() -> None:
    assert load_pretrained("torchvision", "attention-resnet18") is not None
    with pytest.raises(ValueError, match=r"cannot download .*absent"):
        load_pretrained("torchvision", "resnet50")


def test_a_file_says_what_it_has_seen(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": torch.zeros(2)}, path)
    plain = load_pretrained(str(path))
    assert plain is not None
    assert (plain.name, plain.seen) == ("weights.safetensors", {})
    (tmp_path / "pictures.csv").write_text("id,sha256\nISIC_0000001,ab\nISIC_0000002,\n")
    trained = load_pretrained(str(path))
    assert trained is not None
    assert trained.seen == {"ISIC_0000001": "ab", "ISIC_0000002": ""}


def test_a_start_is_known_by_its_content(tmp_path: Path) -> None:
    weights = {"conv1.weight": torch.rand(2, 3), "bn1.num_batches_tracked": torch.tensor(3)}
    save_file(weights, tmp_path / "a.safetensors")
    torch.save(weights, tmp_path / "b.pth")
    save_file({**weights, "conv1.weight": torch.rand(2, 3)}, tmp_path / "c.safetensors")
    save_file({**weights, "conv1.weight": weights["conv1.weight"].reshape(3, 2)}, tmp_path / "d.safetensors")
    starts = [load_pretrained(str(path)) for path in sorted(tmp_path.iterdir())]
    first, second, *others = [start.sha256 for start in starts if start is not None]
    assert first == second
    assert len({first, *others}) == 3


def test_the_list_of_what_was_seen_must_be_readable(tmp_path: Path) -> None:
    path, table = tmp_path / "weights.safetensors", tmp_path / "pictures.csv"
    save_file({"conv1.weight": torch.zeros(2)}, path)
    table.write_text("id,sha256\nISIC_0000001,ab\n", encoding="utf-8-sig")
    start = load_pretrained(str(path))
    assert start is not None
    assert start.seen == {"ISIC_0000001": "ab"}
    for content in ("picture,sha256\nISIC_0000001,ab\n", ""):
        table.write_text(content)
        with pytest.raises(ValueError, match=r"no column 'id'.*columns id,sha256"):
            load_pretrained(str(path))


def test_a_recognition_run_is_a_start(tmp_path: Path) -> None:
    """The first branch's feature extraction, with what that run was trained on."""
    torch.manual_seed(0)
    network = ClinicalInspiredNetwork(num_classes=3, features="attention-resnet18", attention=None, distinguish=None)
    run = RunFolder(tmp_path)
    run.save_weights(network.state_dict())
    run.write_pictures({"ISIC_0000001": "ab"})
    start = load_pretrained(str(run.weights), "attention-resnet18")
    assert start is not None
    assert start.seen == {"ISIC_0000001": "ab"}
    stages = make_stages("attention-resnet18")
    stages.load_pretrained(start.weights)
    first, second = (network.get_submodule(f"branches.{i}.features.stages").state_dict() for i in range(2))
    assert all(torch.equal(value, first[name]) for name, value in stages.state_dict().items())
    assert not torch.equal(stages.get_parameter("conv1.weight"), second["conv1.weight"])


@pytest.mark.parametrize("content", [{"model": {}, "epoch": 3}, [torch.zeros(2)], {"conv1.weight": 5}])
def test_a_checkpoint_is_not_a_start(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match="save the state_dict alone"):
        load_pretrained(str(tmp_path / "checkpoint.pth"))


def test_a_damaged_copy_in_the_cache_is_named(served: Path, tmp_path: Path) -> None:
    load_pretrained("torchvision")
    copy = next((tmp_path / "hub").rglob(served.name))
    for content in (b"", b"damaged"):
        copy.write_bytes(content)
        with pytest.raises(ValueError, match=r"read its copy in .*hub"):
            load_pretrained("torchvision")


def test_the_real_files_are_asked_for() -> None:
    assert {backbone.url for backbone in BACKBONES.values()} == {
        *(
            f"https://download.pytorch.org/models/{file}.pth"
            for file in ("resnet18-f37072fd", "resnet34-b627a593", "resnet50-0676ba61", "resnet101-63fe2227")
        ),
        None,
    }
    with pytest.raises(ValueError, match=r"no weights of EfficientNet-Lite0: set start to .*lite0-57934424"):
        load_pretrained("torchvision", "efficientnet-lite0")


def test_what_cannot_be_a_start(tmp_path: Path) -> None:
    assert load_pretrained("none") is None
    with pytest.raises(ValueError, match="nor a file"):
        load_pretrained(str(tmp_path / "absent.pth"))
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(ValueError, match=r"not a readable \.pth or \.safetensors"):
            load_pretrained(str(tmp_path / name))
