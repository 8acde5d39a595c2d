"""An audit log of a service that was used, and its events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from service.access.keys import create_key
from service.app import create_app
from service.audit.chain import Entry
from service.audit.file import AuditFile
from service.bundle import Bundle
from service.cli.main import app
from service.settings import Settings
from tests.service.wire import FORM


def used_log(bundle: Bundle, folder: Path) -> Path:
    """The log of a service that predicted, showed, refused and deleted, and entries about the log itself."""
    log, keys = folder / "audit.jsonl", folder / "keys.json"
    headers = {"Authorization": f"Bearer {create_key(keys, 'clinic', announce=lambda key: None)}"}
    kept = {"keys": keys, "audit": log, "ledger": folder / "ledger.sqlite"}
    settings = Settings.model_validate({"bundle": bundle.folder, "provider": "cpu", "inference_threads": 1, **kept})
    with TestClient(create_app(settings)) as client:
        id = client.post("/predict?lesion=L-1", files=FORM, headers=headers).json()["id"]
        client.post(f"/v1/predictions/{id}/feedback", json={"opinion": "agree"}, headers=headers)
        for path in ("lesions", "lesions/L-1", "worklist", "recalls"):
            assert client.get(f"/v1/{path}", headers=headers).status_code == 200
        client.delete("/v1/lesions/L-2", headers=headers)
        client.post("/predict", files={"image": b"%PDF-1.7"}, headers=headers)
        accept = headers | {"Accept": "application/fhir+json"}
        assert client.get(f"/v1/predictions/{id}?subject=Patient/Zaphod", headers=accept).status_code == 200
        client.get(f"/v1/predictions/{id}/maps/lesion", headers=headers)
        client.get(f"/v1/predictions/{'0' * 32}", headers=headers)
        client.delete(f"/v1/predictions/{id}", headers=headers)
        client.get(f"/v1/predictions/{id}")
    file = AuditFile(log)
    file.append([Entry.now("key-created", by="cin keys, user x", client=""), Entry.now("torn-line-cut", bytes=40)])
    file.append([Entry.now("gap", reason="it was removed"), Entry.now("of-a-later-version", deep={"a": [1]})])
    file.close()
    return log


def export(*files: Path) -> Result:
    """What ``cin audit export --fhir`` does."""
    return CliRunner().invoke(app, ["audit", "export", "--fhir", *map(str, files)])


def events_of(*files: Path) -> list[dict[str, Any]]:
    """What it prints."""
    result = export(*files)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
