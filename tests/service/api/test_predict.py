"""``POST /predict``: the answer, and how long it is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.bundle import Bundle
from service.imaging import read_picture
from service.prediction.schemas import Prediction
from tests.service.conftest import Start, service_of
from tests.service.hostile import exif_of
from tests.service.tiny_bundle import CLASSES, FRAME, THRESHOLD, dark_square, expected_outputs, picture_bytes
from tests.service.wire import check_problem, post, post_form


def test_a_real_picture_gets_the_answer_that_numpy_works_out(client: TestClient, sample_picture: Path) -> None:
    data = sample_picture.read_bytes()
    response = post_form(client, data)
    assert response.status_code == 200
    answer = response.json()
    expected = expected_outputs(read_picture(data, FRAME).frame)
    probabilities = dict(zip(CLASSES, expected["probabilities"][0], strict=True))
    assert answer["probabilities"] == pytest.approx(probabilities, abs=1e-3)
    assert answer["diagnosis"] == max(probabilities, key=lambda name: probabilities[name])
    for branch, row in zip(answer["branches"], expected["branch_probabilities"][0], strict=True):
        assert list(branch["probabilities"].values()) == pytest.approx(row, abs=1e-3)
    assert answer["lesion"]["fraction"] == pytest.approx(float(expected["lesion_fraction"][0]), abs=1e-3)
    box = np.array(expected["crop_box"][0]) * [1022, 767, 1022, 767]
    assert list(answer["lesion"]["crop_box"].values()) == pytest.approx(box, abs=0.6)
    sha256 = hashlib.sha256(data).hexdigest()
    image = {"width": 1022, "height": 767, "format": "JPEG", "sha256": sha256, "notes": []}
    assert answer["image"] == {**image, "millimetres_per_pixel": None}
    decision = answer["decision"]
    assert decision["malignant_probability"] == pytest.approx(probabilities["melanoma"], abs=1e-3)
    assert decision["refer"] == (probabilities["melanoma"] >= THRESHOLD)
    assert (answer["model"]["name"], answer["model"]["provider"]) == ("tiny", "cpu")
    assert "not a medical device" in answer["notice"]
    assert answer["timings_ms"]["total"] >= answer["timings_ms"]["inference"] > 0


def test_form_and_raw_body_give_the_same_answer(client: TestClient, sample_picture: Path) -> None:
    data = sample_picture.read_bytes()
    answers = [post_form(client, data).json(), post(client, data, "image/jpeg").json()]
    for answer in answers:
        for field in ("id", "created_at", "expires_at", "attention", "timings_ms"):
            answer.pop(field)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_content_tells_the_type_whatever_the_header_says(client: TestClient, image_format: str) -> None:
    response = post(client, picture_bytes(dark_square(), image_format), "image/x-whatever; a=b")
    assert response.json()["image"]["format"] == image_format


def test_the_box_is_in_pixels_of_the_upright_picture(client: TestClient) -> None:
    picture = dark_square().crop((0, 0, 256, 200))
    answer = post(client, picture_bytes(picture, "JPEG", exif=exif_of(6), quality=95)).json()
    assert (answer["image"]["width"], answer["image"]["height"]) == (200, 256)
    box = answer["lesion"]["crop_box"]
    # The square spans 64 to 192 both ways; turned, its columns count from the old bottom edge.
    assert [box["x0"], box["y0"], box["x1"], box["y1"]] == pytest.approx([8, 64, 136, 192], abs=8)


def test_reasons_for_caution_reach_the_wire(client: TestClient) -> None:
    light = post(client, picture_bytes(Image.new("RGB", (300, 300), "white"))).json()
    assert light["lesion"] == {
        "found": False,
        "fraction": 0.0,
        "crop_box": {"x0": 0, "y0": 0, "x1": 300, "y1": 300},
    }
    assert "no_lesion_found" in light["decision"]["reasons"]
    split = Image.new("RGB", (300, 300), (0, 0, 255))
    split.paste((255, 0, 0), (0, 0, 140, 300))
    answer = post(client, picture_bytes(split)).json()
    assert {"branches_disagree", "lesion_touches_border"} <= set(answer["decision"]["reasons"])
    assert answer["decision"]["status"] == "caution"


def test_the_operating_point_can_be_chosen(client: TestClient) -> None:
    data = picture_bytes(Image.new("RGB", (300, 300), (60, 110, 110)))
    balanced, sensitive = (post(client, data, operating_point=p).json() for p in ("balanced", "high-sensitivity"))
    assert balanced["probabilities"] == sensitive["probabilities"]
    assert 0.1 <= balanced["probabilities"]["melanoma"] < THRESHOLD
    assert (balanced["decision"]["refer"], sensitive["decision"]["refer"]) == (False, True)
    refused = post(client, data, operating_point="<script>")
    check_problem(refused, 400, "high-sensitivity")
    assert "script" not in refused.text


def test_the_bundle_without_feature_attention_links_to_the_lesion_only(start: Start, plain_bundle: Bundle) -> None:
    with start(bundle=plain_bundle.folder) as client:
        links = post(client, picture_bytes(dark_square())).json()["attention"]
    assert links["spatial"] is links["correlation"] is None
    assert links["lesion"].startswith("/v1/predictions/")


def test_predictions_can_be_fetched_again_and_deleted(client: TestClient) -> None:
    first = post(client, picture_bytes(dark_square()))
    id = first.json()["id"]
    again = client.get(f"/predictions/{id}")
    assert again.content == first.content
    Prediction.model_validate_json(again.content)
    assert client.delete(f"/predictions/{id}").status_code == 204
    for gone in (client.get(f"/predictions/{id}"), client.get(f"/attention/{id}"), client.delete(f"/predictions/{id}")):
        check_problem(gone, 404, "expired or been deleted")


@pytest.mark.parametrize(
    "id", ["0" * 31, "0" * 33, "G" * 32, "A" * 32, "..%2f..%2fetc%2fpasswd", "%00" * 32, "０" * 32]
)
@pytest.mark.parametrize("place", ["predictions", "attention"])
def test_what_is_no_id_is_not_found(client: TestClient, place: str, id: str) -> None:
    check_problem(client.get(f"/{place}/{id}"), 404)


@pytest.mark.parametrize("seen", ["id", "created_at"])
def test_each_prediction_is_its_own(client: TestClient, seen: str) -> None:
    data = picture_bytes(dark_square())
    assert len({post(client, data).json()[seen] for _ in range(3)}) == 3


def test_a_proxy_learns_before_an_upload_whether_it_is_taken(start: Start) -> None:
    with start(queue_size=2) as client:
        assert (client.get("/admission").status_code, client.get("/admission").content) == (204, b"")
        with service_of(client).admission.enter("other", 2) as entry:
            entry.take_slots(2)
            check_problem(client.get("/admission"), 429, name="queue-full")
        assert client.get("/admission").status_code == 204
