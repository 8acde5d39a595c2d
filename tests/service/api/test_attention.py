"""``GET /attention/{id}``: the overlays of a prediction."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.attention.overlay import LONG_SIDE, MEDIA_TYPE, RGB, AttentionMaps, OverlayOptions, render
from service.bundle import Bundle
from service.imaging import read_picture
from service.storage.maps import unpack_maps
from tests.service.conftest import Start, service_of
from tests.service.served import make_key
from tests.service.tiny_bundle import FRAME, dark_square, expected_outputs, picture_bytes
from tests.service.wire import check_problem


def _predict(client: TestClient, data: bytes) -> dict[str, Any]:
    answer = client.post("/predict", content=data, headers={"content-type": "image/png"})
    assert answer.status_code == 200
    return answer.json()


def _picture(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def test_the_links_of_a_real_picture_lead_to_its_overlays(client: TestClient, sample_picture: Path) -> None:
    data = sample_picture.read_bytes()
    links = _predict(client, data)["attention"]
    outputs = expected_outputs(read_picture(data, FRAME).frame)
    maps = AttentionMaps(
        frame=read_picture(data, FRAME).frame,
        width=1022,
        height=767,
        crop_box=outputs["crop_box"][0],
        lesion=outputs["lesion_attention"][0],
        spatial=outputs["spatial_attention"][0],
        correlation=outputs["correlation_attention"][0],
    )
    assert set(links) == {"lesion", "spatial", "correlation"}
    for kind, link in links.items():
        response = client.get(link)
        assert response.headers["content-type"] == "image/png"
        assert response.headers["cache-control"] == "no-store"
        got = np.asarray(_picture(response.content)).astype(int)
        expected = render(maps, OverlayOptions(kind=kind)).astype(int)
        assert got.shape == expected.shape
        # A map that differs by one in 255 may move a pixel of the drawing.
        assert np.abs(got - expected).mean() < 1.0, kind


def test_the_tint_lies_on_the_lesion(client: TestClient) -> None:
    picture = Image.new("RGB", (256, 256), "white")
    picture.paste((120, 20, 20), (64, 64, 192, 192))
    id = _predict(client, picture_bytes(picture))["id"]
    shown, hidden = (
        np.asarray(_picture(client.get(f"/attention/{id}", params={"opacity": o}).content)).astype(int)
        for o in (0.8, 0.0)
    )
    change = np.abs(shown - hidden).sum(axis=2)
    assert change[300:450, 300:450].mean() > 50
    assert change[20:150, 20:700].max() == 0


def test_an_overlay_is_a_png_file_without_metadata(client: TestClient) -> None:
    id = _predict(client, picture_bytes(dark_square()))["id"]
    response = client.get(f"/attention/{id}")
    assert response.headers["content-type"] == MEDIA_TYPE
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.format == "PNG"
        assert max(image.size) == LONG_SIDE
        assert not image.getexif()


def test_choices_change_the_picture(client: TestClient) -> None:
    answer = _predict(client, picture_bytes(dark_square(start=32)))
    choices: list[dict[str, Any]] = [
        {},
        {"map": "spatial"},
        {"map": "correlation"},
        {"map": "correlation", "x": 60, "y": 60},
        {"view": "crop"},
        {"opacity": 0.1},
        {"map": "spatial", "branch": "1"},
    ]
    pictures = [client.get(f"/attention/{answer['id']}", params=choice) for choice in choices]
    assert [p.status_code for p in pictures] == [200] * len(choices)
    assert len({p.content for p in pictures}) == len(choices)


def test_nothing_of_the_uploaded_file_is_in_the_overlay(client: TestClient) -> None:
    data = picture_bytes(dark_square(), "JPEG", comment=b"John Doe") + b"<html>John Doe</html>"
    response = client.get(_predict(client, data)["attention"]["lesion"])
    assert b"John Doe" not in response.content


@pytest.mark.parametrize(
    "query",
    [
        "map=heat",
        "opacity=2",
        "opacity=nan",
        "branch=3",
        "view=all",
        "map=correlation&x=nan&y=1",
        "map=correlation&x=-1&y=1",
        "map=correlation&x=10",
        "map=lesion&x=100&y=100",
        "map=correlation&x=1&y=1",
    ],
)
def test_impossible_wishes(client: TestClient, query: str) -> None:
    id = _predict(client, picture_bytes(dark_square()))["id"]
    response = client.get(f"/attention/{id}?{query}")
    assert response.status_code == 400, query
    assert response.headers["content-type"] == "application/problem+json"


def test_a_model_without_feature_attention_says_so(start: Start, plain_bundle: Bundle) -> None:
    with start(bundle=plain_bundle.folder) as client:
        id = _predict(client, picture_bytes(dark_square()))["id"]
        assert client.get(f"/attention/{id}").status_code == 200
        for kind in ("spatial", "correlation"):
            response = client.get(f"/attention/{id}", params={"map": kind})
            assert response.status_code == 404
            assert f"no {kind} attention" in response.json()["detail"]


def test_overlays_end_with_the_record(start: Start) -> None:
    with start(record_ttl_seconds=1.0) as client:
        link = _predict(client, picture_bytes(dark_square()))["attention"]["lesion"]
        known = {"if-none-match": client.get(link).headers["etag"]}
        assert client.get(link, headers=known).status_code == 304
        time.sleep(1.05)
        assert client.get(link).status_code == 404
        assert client.get(link, headers=known).status_code == 404


def test_an_etag_is_no_way_to_a_record_of_another_client(start: Start, tmp_path: Path) -> None:
    log, keys = tmp_path / "audit.jsonl", tmp_path / "keys.json"
    one, two = ({"Authorization": f"Bearer {make_key(keys, name)}"} for name in ("one", "two"))
    with start(keys=keys, audit=log) as client:
        posted = client.post(
            "/predict", content=picture_bytes(dark_square()), headers={"content-type": "image/png"} | one
        )
        link = posted.json()["attention"]["lesion"]
        known = {"if-none-match": client.get(link, headers=one).headers["etag"]}
        assert client.get(link, headers=known | one).status_code == 304
        assert client.get(link, headers=known | two).status_code == 404
    reads = [json.loads(line) for line in log.read_text().splitlines() if '"attention-read"' in line]
    assert [(read["by"].partition(":")[0], read["outcome"]) for read in reads] == [
        ("one", "done"),
        ("one", "done"),
        ("two", "not-found"),
    ]


def test_an_overlay_that_the_client_has_is_not_sent_again(client: TestClient) -> None:
    link = _predict(client, picture_bytes(dark_square()))["attention"]["lesion"]
    first = client.get(link)
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}'):
        again = client.get(link, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(link, headers={"if-none-match": '"other"'}).content == first.content
    others = [client.get(f"{link}?{other}").headers["etag"] for other in ("opacity=0.5", "branch=1", "view=crop")]
    others.append(client.get(_predict(client, picture_bytes(dark_square()))["attention"]["lesion"]).headers["etag"])
    assert len({etag, *others}) == 5
    impossible = client.get(link.replace("lesion", "correlation"), params={"x": 1}, headers={"if-none-match": "*"})
    assert impossible.status_code == 400
    client.delete(link.partition("/maps")[0])
    assert client.get(link, headers={"if-none-match": etag}).status_code == 404


def test_spots_of_one_cell_are_one_overlay(client: TestClient) -> None:
    link = _predict(client, picture_bytes(dark_square(start=32)))["attention"]["correlation"]
    spots = [(x, 60.0) for x in (60.0, 60.01, 60.02, 90.0)]
    answers = [client.get(f"{link}?x={x}&y={y}") for x, y in spots]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.headers["etag"] for answer in answers[:3]}) == 1
    assert answers[3].headers["etag"] != answers[0].headers["etag"]
    assert answers[3].content != answers[0].content


def test_the_etag_is_answered_before_the_record_is_unpacked(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = _predict(client, picture_bytes(dark_square()))
    link = prediction["attention"]["lesion"]
    etag = client.get(link).headers["etag"]
    unpacked: list[bytes] = []

    def counting(data: bytes) -> AttentionMaps:
        unpacked.append(data)
        return unpack_maps(data)

    monkeypatch.setattr("service.storage.store.unpack_maps", counting)
    assert client.get(link, headers={"if-none-match": etag}).status_code == 304
    assert client.get(link).status_code == 200, "from the cache of overlays"
    assert client.get(f"/predictions/{prediction['id']}").status_code == 200
    assert unpacked == []
    assert client.get(f"{link}?opacity=0.5", headers={"if-none-match": etag}).status_code == 200
    assert len(unpacked) == 1


def test_an_overlay_is_drawn_once_while_it_is_looked_at(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[OverlayOptions] = []

    def counting(maps: AttentionMaps, options: OverlayOptions) -> RGB:
        drawn.append(options)
        return render(maps, options)

    monkeypatch.setattr("service.api.routes.attention.render", counting)
    prediction = _predict(client, picture_bytes(dark_square()))
    link = prediction["attention"]["lesion"]
    pictures = {client.get(link).content for _ in range(3)}
    assert (len(pictures), len(drawn)) == (1, 1)
    client.get(f"{link}?opacity=0.5")
    assert len(drawn) == 2, "another overlay of the same record"
    client.delete(f"/predictions/{prediction['id']}")
    assert client.get(link).status_code == 404, "what was drawn goes with the record"


def test_nearly_the_same_opacity_is_the_same_overlay(client: TestClient) -> None:
    link = _predict(client, picture_bytes(dark_square()))["attention"]["lesion"]
    first, near, far = (client.get(f"{link}?opacity={opacity}") for opacity in ("0.5", "0.512345", "0.55"))
    assert first.headers["etag"] == near.headers["etag"] != far.headers["etag"]
    assert first.content == near.content != far.content


def test_drawing_takes_a_slot_and_a_cached_overlay_takes_none(start: Start) -> None:
    with start(queue_size=1) as client:
        link = _predict(client, picture_bytes(dark_square()))["attention"]["lesion"]
        drawn = client.get(link).content
        with service_of(client).admission.enter("another") as entry:
            entry.take_slots()
            assert client.get(link).content == drawn
            check_problem(client.get(f"{link}?opacity=1"), 429, name="queue-full")
            check_problem(client.get(f"{link}/summary"), 429, name="queue-full")
        assert client.get(f"{link}?opacity=1").status_code == 200


def test_drawing_has_a_deadline(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.routes.attention.render", lambda *_: time.sleep(2.5))
    with start(deadline_seconds=2) as client:  # the canary has it, too
        check_problem(client.get(_predict(client, picture_bytes(dark_square()))["attention"]["lesion"]), 504)
