"""The results of an image of a PACS: one prediction, as DICOM objects of the image's study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from pydicom.uid import UID

from service.access.keys import ANYONE, Caller
from service.dicom.identity import Kind, instance_uids
from service.dicom.objects import build, encode
from service.dicom.source import read_source
from service.imaging.dicom import PHOTOGRAPHS
from service.pacs.client import OTHER_INSTANCE, Instance, PacsError
from service.prediction.predictor import Predictor

_CALLER = Caller(ANYONE, counted_as=ANYONE)


@dataclass(frozen=True)
class PredictedResults:
    """Results of these kinds, by the transaction that every prediction takes."""

    predictor: Predictor
    kinds: Sequence[Kind]

    def uids(self, instance: Instance) -> Sequence[str]:
        """The identifiers of an instance's results."""
        point, model = self.predictor.point, self.predictor.scheduler.bundle.sha256
        return list(instance_uids(self.kinds, instance.uid, model, operating_point=point.name).values())

    def reason_to_skip(self, instance: Instance) -> str | None:
        """The kind of an instance that gets no results, None for one that does; a name of the standard's."""
        if instance.sop_class not in PHOTOGRAPHS:
            name = UID(instance.sop_class).name
            return name if name != instance.sop_class else "objects of an unknown kind"
        return "several frames" if instance.num_frames > 1 else None

    async def make(self, instance: Instance, data: bytes) -> Sequence[bytes]:
        """The results, as DICOM files, for an instance and its file.

        Raises :class:`PacsError` for the file of another instance, and what :meth:`Predictor.predict` raises.
        """
        predictor, manifest = self.predictor, self.predictor.scheduler.bundle.manifest
        compute = predictor.scheduler.compute
        source = await compute(lambda: read_source(data), _CALLER.counted_as)
        if (source.study, source.instance) != (instance.study, instance.uid):
            # The results would be another patient's.
            raise PacsError(OTHER_INSTANCE)
        result = await predictor.predict(data, _CALLER, predictor.point, began=perf_counter())

        def files() -> list[bytes]:
            objects = build(self.kinds, source, result.prediction, result.maps, manifest.classes)
            return [encode(item) for item in objects]

        return await compute(files, _CALLER.counted_as)
