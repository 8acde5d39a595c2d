"""Content negotiation (RFC 9110, 12.5.1): the media type that an ``Accept`` header prefers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.request import parse_http_list

from python_multipart.multipart import parse_options_header

# A media type's parameters, in lower case.
Parameters = Mapping[str, str]


@dataclass(frozen=True)
class _Range:
    kind: str
    parameters: Parameters
    weight: float

    def specificity(self, kind: str, parameters: Parameters) -> int:
        """How closely the range describes a media type; 0: not at all."""
        main, _, _ = kind.partition("/")
        if self.kind not in (kind, f"{main}/*", "*/*") or not self.parameters.items() <= parameters.items():
            return 0
        return 1 + 100 * (2 if self.kind == kind else self.kind != "*/*") + len(self.parameters)


def preferred(accept: str, offered: Mapping[str, Parameters]) -> str | None:
    """The offered media type of highest weight in an ``Accept`` header, the first of equals; None: none is accepted.

    ``offered`` has the parameters by media type, in lower case. An empty header accepts everything, a range that
    cannot be read nothing.
    """
    if not accept.strip(" \t,"):
        return next(iter(offered))
    ranges = [found for text in parse_http_list(accept) if (found := _read(text)) is not None]
    weights = {kind: _weight(kind, parameters, ranges) for kind, parameters in offered.items()}
    best = max(weights, key=weights.__getitem__)
    return best if weights[best] > 0 else None


def _weight(kind: str, parameters: Parameters, ranges: Sequence[_Range]) -> float:
    """The weight of the most specific range that describes the media type; 0: none does, or it is refused."""
    described = [
        (specificity, range.weight) for range in ranges if (specificity := range.specificity(kind, parameters))
    ]
    return max(described)[1] if described else 0.0


def _read(text: str) -> _Range | None:
    kind, options = parse_options_header(text)
    parameters = {name.decode("latin-1").lower(): value.decode("latin-1").lower() for name, value in options.items()}
    try:
        weight = float(parameters.pop("q", "1"))
    except ValueError:
        return None
    name = kind.decode("latin-1").lower()
    return _Range("*/*" if name == "*" else name, parameters, weight) if 0 <= weight <= 1 else None
