"""``cin bundle``."""

from __future__ import annotations

from pathlib import Path

from service.bundle import Bundle
from tests.service.cli.conftest import cin
from tests.service.tiny_bundle import write_tiny_bundle


def test_verify(tiny_bundle: Bundle, tmp_path: Path) -> None:
    good = cin("bundle", "verify", tiny_bundle.folder)
    assert good.exit_code == 0
    assert tiny_bundle.sha256 in good.stdout
    wrong = cin("bundle", "verify", write_tiny_bundle(tmp_path / "wrong", wrong_canary=True).folder)
    assert wrong.exit_code == 1
    assert "canary" in wrong.stderr


def test_verify_finds_a_flipped_byte(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    graph = bytearray((folder / "tiny.onnx").read_bytes())
    graph[100] ^= 1
    (folder / "tiny.onnx").write_bytes(graph)
    result = cin("bundle", "verify", folder)
    assert result.exit_code == 1
    assert "SHA-256 differs" in result.stderr
