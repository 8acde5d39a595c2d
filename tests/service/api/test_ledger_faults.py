"""What was acknowledged stays: over kill -9, a restart and a full disk. Clients that leave get no entry."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import httpx
import pytest

from service.bundle import Bundle
from service.ledger.file import LedgerFile
from service.ledger.ledger import Ledger
from service.runtime import Service
from tests.service.api.followed import picture
from tests.service.ledger.ledgers import answer, checked, fill
from tests.service.running import play, until
from tests.service.served import cin, served

PNG = {"content-type": "image/png"}


def work(url: str, number: int, answered: list[tuple[str, str]], said: list[str]) -> None:
    """Send images and feedback until the service is gone."""
    with httpx.Client(base_url=url, timeout=20) as client:
        for count in range(10_000):
            label = f"L-{number}-{count}"
            try:
                sent = client.post("/v1/predictions", content=picture(), headers=PNG, params={"lesion": label})
                if sent.status_code != 201:
                    continue
                answered.append((sent.json()["id"], label))
                told = client.post(f"/v1/predictions/{sent.json()['id']}/feedback", json={"opinion": "agree"})
                if told.status_code == 201:
                    said.append(sent.json()["id"])
            except httpx.HTTPError:
                return


@pytest.mark.integration
def test_kill_9_loses_nothing_that_was_acknowledged(tiny_bundle: Bundle, tmp_path: Path) -> None:
    ledger, audit = tmp_path / "ledger.sqlite", tmp_path / "audit.jsonl"
    answered: list[tuple[str, str]] = []
    said: list[str] = []
    for number in range(2):
        with served(tiny_bundle.folder, CIN_LEDGER=str(ledger), CIN_AUDIT=str(audit)) as service:
            workers = [
                threading.Thread(target=work, args=(service.url, 3 * number + each, answered, said))
                for each in range(3)
            ]
            for worker in workers:
                worker.start()
            enough = len(said) + 10
            while len(said) < enough:
                assert any(worker.is_alive() for worker in workers)
                workers[0].join(0.01)
            service.process.kill()
            for worker in workers:
                worker.join()
    with (
        served(tiny_bundle.folder, CIN_LEDGER=str(ledger), CIN_AUDIT=str(audit)) as service,
        service.client() as client,
    ):
        for id, label in answered:
            (visit,) = client.get(f"/v1/lesions/{label}").raise_for_status().json()["visits"]
            (image,) = visit["images"]
            assert image["id"] == id
            assert len(image["feedback"]) >= said.count(id)
        assert service.end() == 0
    done = cin("audit", "verify", str(audit), "--ledger", str(ledger))
    assert done.returncode == 0, done.stderr
    assert checked(ledger).num_feedback >= len(said) >= 20


@pytest.mark.integration
def test_a_full_disk_refuses_and_loses_nothing(tiny_bundle: Bundle, small_disk: Path) -> None:
    filler = small_disk / "filler"
    with (
        served(tiny_bundle.folder, CIN_LEDGER=str(small_disk / "ledger.sqlite")) as service,
        service.client() as client,
    ):

        def send(label: str) -> httpx.Response:
            return client.post("/v1/predictions", content=picture(), headers=PNG, params={"lesion": label})

        kept = [send(f"L-{number}").raise_for_status().json() for number in range(3)]
        fill(filler)
        refused = []
        for number in range(3, 200):
            response = send(f"L-{number}")
            if response.status_code == 201:  # its own files may have some room still
                kept.append(response.json())
            else:
                refused.append(response)
            if len(refused) == 5:
                break
        assert [response.status_code for response in refused] == [507] * 5
        assert "ledger" in refused[0].json()["detail"]
        told = client.post(f"/v1/predictions/{kept[0]['id']}/feedback", json={"opinion": "agree"})
        assert told.status_code == 507
        assert client.get("/healthz").status_code == 200
        filler.unlink()
        assert send("L-1000").status_code == 201
        seen = client.get("/v1/lesions").json()["items"]
        assert {item["lesion"] for item in seen} == {each["follow_up"]["lesion"] for each in kept} | {"L-1000"}


def test_a_client_that_left_gets_no_entry(tmp_path: Path) -> None:
    """Its entry is withdrawn as soon as it is written."""
    path = tmp_path / "ledger.sqlite"

    async def leave() -> None:
        file = LedgerFile(path)
        ledger = Ledger(file)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # holds up every writer
        adding = asyncio.create_task(ledger.add(answer("Gone-1")))
        await asyncio.sleep(0.05)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        other.execute("ROLLBACK")
        other.close()
        await ledger.close()

    asyncio.run(leave())
    verdict = checked(path)
    assert (verdict.num_answers, verdict.num_erased) == (0, 1)


def test_a_disk_that_hangs_refuses_at_once_and_recovers(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.ledger.ledger.DEADLINE_SECONDS", 0.2)
    gate, append = threading.Event(), LedgerFile.append

    def hang(file: LedgerFile, entry: object) -> object:
        gate.wait()
        return append(file, entry)  # type: ignore[arg-type]

    async def scenario(client: httpx.AsyncClient, service: Service) -> None:
        monkeypatch.setattr(LedgerFile, "append", hang)
        refused = [await client.post("/v1/predictions", content=picture(), headers=PNG) for _ in range(2)]
        assert [response.status_code for response in refused] == [503, 503]
        assert service.ledger.failing
        gate.set()
        monkeypatch.setattr(LedgerFile, "append", append)
        answered = await client.post("/v1/predictions", content=picture(), headers=PNG)
        while answered.status_code == 503:
            await asyncio.sleep(0.01)
            answered = await client.post("/v1/predictions", content=picture(), headers=PNG)
        assert answered.status_code == 201
        await until(lambda: not service.ledger.failing)

    play(scenario, tiny_bundle, ledger=tmp_path / "ledger.sqlite")
    verdict = checked(tmp_path / "ledger.sqlite")
    assert (verdict.num_answers, verdict.num_erased) == (1, 1)
