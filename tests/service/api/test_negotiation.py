"""Which media type an ``Accept`` header prefers."""

from __future__ import annotations

import pytest

from service.api.negotiation import preferred

OFFERED = {
    "application/json": {"charset": "utf-8"},
    "application/fhir+json": {"charset": "utf-8", "fhirversion": "4.0"},
}
JSON, FHIR = OFFERED


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        (" , ,", JSON),
        ("*/*", JSON),
        ("*", JSON),
        ("application/*", JSON),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, image/webp, */*;q=0.8", JSON),
        ("application/json", JSON),
        ("application/json; charset=UTF-8", JSON),
        ("APPLICATION/FHIR+JSON", FHIR),
        ("application/fhir+json; fhirVersion=4.0", FHIR),
        ('application/fhir+json; fhirVersion="4.0"', FHIR),
        ("application/fhir+json;fhirVersion=5.0", None),
        ("application/fhir+json;fhirVersion=5.0, application/json;q=0.1", JSON),
        ("application/json, application/fhir+json", JSON),
        ("application/fhir+json, application/json", JSON),
        ("application/json;q=0.9, application/fhir+json", FHIR),
        ("application/fhir+json;q=0.5, */*;q=0.4", FHIR),
        ("application/fhir+json;q=0.5, */*", JSON),
        # The most specific range counts, also where another one has a higher weight.
        ("application/json;q=0.1, application/*;q=0.9", FHIR),
        ("*/*, application/json;q=0", FHIR),
        ("application/fhir+json;fhirVersion=4.0;q=0, application/fhir+json", None),
        ("application/json;q=0, application/fhir+json;q=0", None),
        ("application/json;q=0", None),
        ("application/xml+fhir, application/json+fhir", None),
        ("application/xml, text/csv", None),
        ("fhir", None),
        ("application", None),
        ("*/json", None),
        ("application/json;q=high", None),
        ("application/json;q=-1", None),
        ("application/json;q=2", None),
        ("application/json;q=nan", None),
        ("application/json;q=nan, application/fhir+json", FHIR),
        ('text/plain;x="a, application/json"', None),
        ('application/json;x="', None),
        (";;q=1;,/,//,a/b/c", None),
        ("\x00\xff, application/fhir+json", FHIR),
    ],
)
def test_the_preferred_type(accept: str, expected: str | None) -> None:
    assert preferred(accept, OFFERED) == expected


def test_one_offer_is_taken_or_refused() -> None:
    batch = {JSON: OFFERED[JSON]}
    assert preferred("application/fhir+json, */*;q=0.1", batch) == JSON
    assert preferred("application/fhir+json", batch) is None
