"""The page's JavaScript against TypeScript's checker, and its types against the service's schema."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from service.api.routes.page import WEB
from service.bundle import Manifest, OperatingPoint
from service.bundle.abstention import Abstention
from service.bundle.manifest import Repeatability
from service.ledger.timeline import Change, Said, SeenImage, Visit
from service.ledger.worklist import LesionSummary, Recall, WorkItem
from service.prediction.attention_summary import AttentionSummary
from service.prediction.schemas import DecisionBody, ModelCard, Prediction, QualityBody

HERE = Path(__file__).parent
TSC = HERE / "node_modules" / ".bin" / "tsc"


def test_the_types_hold() -> None:
    if shutil.which("node") is None or not TSC.exists():
        pytest.skip("the type checker is not there; install Node.js with npm, then make test brings it")
    done = subprocess.run([TSC, "--project", HERE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Decision", DecisionBody),
        ("Prediction", Prediction),
        ("Quality", QualityBody),
        ("Repeatability", Repeatability),
        ("Abstention", Abstention),
        ("OperatingPoint", OperatingPoint),
        ("Manifest", Manifest),
        ("Model", ModelCard),
        ("Summary", AttentionSummary),
        ("Said", Said),
        ("Change", Change),
        ("SeenImage", SeenImage),
        ("LesionVisit", Visit),
        ("WorkItem", WorkItem),
        ("Recall", Recall),
        ("LesionSummary", LesionSummary),
    ],
)
def test_the_page_reads_nothing_that_the_service_does_not_say(name: str, model: type[BaseModel]) -> None:
    text = (WEB / "types.d.ts").read_text(encoding="utf-8")
    block = re.search(rf"interface {name} {{(.*?)\n}}", text, re.DOTALL)
    assert block is not None
    properties = set(re.findall(r"^  (\w+):", block[1], re.MULTILINE))
    assert len(properties) > 3
    assert properties <= set(model.model_fields)
