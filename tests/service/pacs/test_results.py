"""What is made of one image of a PACS."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence

import pytest
from pydicom import dcmread, uid

from service.bundle import Bundle
from service.cli.dicom import OF_RESULTS
from service.dicom.identity import KINDS, Kind
from service.imaging import UnsupportedPicture
from service.pacs.client import Instance, PacsError
from service.pacs.results import PredictedResults
from service.runtime import predicting
from service.settings import Settings
from tests.service.imaging.dicoms import DERMOSCOPY, PHOTOGRAPH
from tests.service.pacs.orthanc import source, uid_of

INSTANCE = Instance("2.25.1001", "2.25.2001", uid_of(0), DERMOSCOPY, 1)


def play(scenario: Callable[[PredictedResults], Awaitable[None]], bundle: Bundle, kinds: Sequence[Kind]) -> None:
    async def played() -> None:
        settings = Settings(bundle=bundle.folder, provider="cpu", inference_threads=1)
        async with asyncio.timeout(20), predicting(settings, bundle) as predictor:
            await scenario(PredictedResults(predictor, kinds))

    asyncio.run(played())


@pytest.mark.parametrize("kinds", [("sr",), ("sr", "sc"), KINDS])
def test_the_results_have_the_identifiers_that_are_asked_for(kinds: Sequence[Kind], tiny_bundle: Bundle) -> None:
    async def scenario(results: PredictedResults) -> None:
        files = [await results.make(INSTANCE, source(0)) for _ in range(2)]
        objects = [[dcmread(io.BytesIO(file)) for file in each] for each in files]
        for each in objects:
            assert [item.SOPInstanceUID for item in each] == results.uids(INSTANCE)
            assert {item.StudyInstanceUID for item in each} == {INSTANCE.study}
            # Else a watch would find its own results.
            assert {item.Modality for item in each} <= set(OF_RESULTS)

    play(scenario, tiny_bundle, kinds)


def test_another_model_and_operating_point_have_results_of_their_own(tiny_bundle: Bundle, plain_bundle: Bundle) -> None:
    found: list[Sequence[str]] = []

    async def scenario(results: PredictedResults) -> None:
        found.append(results.uids(INSTANCE))

    for bundle in (tiny_bundle, tiny_bundle, plain_bundle):
        play(scenario, bundle, ("sr", "seg"))
    assert found[0] == found[1]
    assert not set(found[0]) & set(found[2])


@pytest.mark.parametrize("file", [source(1), source(0, study=2)], ids=["another image", "the image in another study"])
def test_the_file_of_another_instance_gets_no_results(file: bytes, tiny_bundle: Bundle) -> None:
    """They would be stored for another patient."""

    async def scenario(results: PredictedResults) -> None:
        with pytest.raises(PacsError, match="another instance"):
            await results.make(INSTANCE, file)

    play(scenario, tiny_bundle, ("sr",))


def test_a_file_that_is_no_image_gets_its_reason(tiny_bundle: Bundle) -> None:
    async def scenario(results: PredictedResults) -> None:
        with pytest.raises(UnsupportedPicture, match="Comprehensive SR"):
            await results.make(INSTANCE, source(0, sop_class=uid.ComprehensiveSRStorage))

    play(scenario, tiny_bundle, ("sr",))


def test_which_instances_are_left_out(tiny_bundle: Bundle) -> None:
    async def scenario(results: PredictedResults) -> None:
        def reason(sop_class: str, num_frames: int = 1) -> str | None:
            return results.reason_to_skip(INSTANCE._replace(sop_class=sop_class, num_frames=num_frames))

        assert reason(DERMOSCOPY) is None
        assert reason(PHOTOGRAPH) is None
        assert reason(DERMOSCOPY, 2) == "several frames"
        assert reason(uid.ComprehensiveSRStorage) == "Comprehensive SR Storage"
        for unknown in ("", "2.25.99"):
            assert reason(unknown) == "objects of an unknown kind"

    play(scenario, tiny_bundle, ("sr",))
