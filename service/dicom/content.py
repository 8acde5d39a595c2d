"""Content items of structured reports (PS3.3, C.17.3): the tree's nodes, by their value type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from service.dicom.coding import Code, item

Relation = Literal["CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT", "SELECTED FROM"]

PERCENT = Code("%", "UCUM", "Percent")


def container(name: Code, children: Iterable[Dataset], template: str | None = None) -> Dataset:
    """A heading with what it contains; ``template`` is the number of its template in PS3.16."""
    node = _node("CONTAINS", "CONTAINER", name, ContinuityOfContent="CONTINUOUS")
    if template is not None:
        followed = Dataset()
        followed.MappingResource, followed.TemplateIdentifier = "DCMR", template
        node.ContentTemplateSequence = Sequence([followed])
    node.ContentSequence = Sequence(children)
    return node


def text(relation: Relation, name: Code, value: str) -> Dataset:
    """A text."""
    return _node(relation, "TEXT", name, TextValue=value)


def uid_reference(relation: Relation, name: Code, value: str) -> Dataset:
    """An identifier."""
    return _node(relation, "UIDREF", name, UID=value)


def code(relation: Relation, name: Code, value: Code, children: Iterable[Dataset] = ()) -> Dataset:
    """A coded concept."""
    return _with(_node(relation, "CODE", name, ConceptCodeSequence=Sequence([item(value)])), children)


def percentage(name: Code, share: float, children: Iterable[Dataset] = ()) -> Dataset:
    """A share, 0 to 1, in per cent: precise enough to compare a risk with its threshold as the service did."""
    measured = Dataset()
    measured.NumericValue = f"{100 * share:.10g}"
    measured.MeasurementUnitsCodeSequence = Sequence([item(PERCENT)])
    return _with(_node("CONTAINS", "NUM", name, MeasuredValueSequence=Sequence([measured])), children)


def image(relation: Relation, name: Code, referred: Dataset) -> Dataset:
    """A reference to an image."""
    return _node(relation, "IMAGE", name, ReferencedSOPSequence=Sequence([referred]))


def polyline(name: Code, points: Iterable[float], selected_from: Dataset) -> Dataset:
    """Connected lines in an image: column and row of each point, from the top left corner of the first pixel."""
    drawn = _node("CONTAINS", "SCOORD", name, GraphicType="POLYLINE", GraphicData=list(points))
    return _with(drawn, [selected_from])


def _node(relation: Relation, value_type: str, name: Code, **elements: Any) -> Dataset:
    node = Dataset()
    node.RelationshipType, node.ValueType = relation, value_type
    node.ConceptNameCodeSequence = Sequence([item(name)])
    for keyword, value in elements.items():
        setattr(node, keyword, value)
    return node


def _with(node: Dataset, children: Iterable[Dataset]) -> Dataset:
    if children := list(children):
        node.ContentSequence = Sequence(children)
    return node
