"""The model card's section on abstention."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from model_training.reporting.text import table
from service.bundle import Abstention, MeasuredAbstention

# The aims: no advice on at most this share of dermoscopy images, and on at least this share of others.
MOST_DERMOSCOPY = 0.02
LEAST_OTHERS = 0.95

_TITLE = "## Images that get no advice"

_SECTION = """\
{title}

Images beyond a limit get their reasons and no advice. The limits were fitted to images of {fitted_on}:
`not_dermoscopy` above an unfamiliarity of {max_unfamiliarity:.2f} (1 is typical), `blurred` below a sharpness of
{min_sharpness:.3f}, `too_dark` with more than {max_dark_share:.0%} of dark pixels, `too_bright` with more than
{max_bright_share:.0%} of nearly white ones, `no_colour`, `no_lesion_found`. A lesion of
less than {min_lesion_fraction:.2%} of the image (`tiny_lesion`) is judged, with caution. That an image is familiar
does not say that it shows skin: only that the network's features of it are usual.

{measured}
{misses}
Shares without advice with their 95 % intervals (Wilson); an image may have several reasons.
"""


def with_abstention(card: str, abstention: Abstention, *, name: str, version: str, dermoscopy: Collection[str]) -> str:
    """``card`` with the title ``name version``, and a section on these limits before that on the export gate.

    ``dermoscopy`` has the names of the measured sets that are dermoscopy.
    """
    card = re.sub(rf"\A# {re.escape(name)} .*", f"# {name} {version}", card)
    card = re.sub(rf"{_TITLE}\n.*?(?=^## |\Z)", "", card, flags=re.DOTALL | re.MULTILINE)
    section = _SECTION.format(
        title=_TITLE,
        measured=table(["Set", "Variant", "Pictures", "Without advice", "Reasons"], _rows(abstention.measured)),
        misses=_misses(abstention.measured, dermoscopy),
        **abstention.model_dump(exclude={"measured", "familiarity"}),
    )
    before, gate, after = card.partition("## Export gate")
    return f"{before}{section}\n{gate}{after}"


def _misses(measured: list[MeasuredAbstention], dermoscopy: Collection[str]) -> str:
    """The aims, and the sets that miss them."""
    aims = f"Aimed at: at most {MOST_DERMOSCOPY:.0%} of dermoscopy images, at least {LEAST_OTHERS:.0%} of others."
    missed = [
        f"`{m.measured_on}` with {m.variant}"
        for m in measured
        if (m.abstained.value > MOST_DERMOSCOPY if m.measured_on in dermoscopy else m.abstained.value < LEAST_OTHERS)
    ]
    return f"\n{aims}" + (f" **Missed by {', '.join(missed)}.**" if missed else "") + "\n"


def _rows(measured: list[MeasuredAbstention]) -> Iterator[list[str]]:
    for m in measured:
        share = m.abstained
        reasons = ", ".join(f"{reason} {num}" for reason, num in m.num_by_reason.items())
        yield [
            m.measured_on,
            m.variant,
            str(m.num_pictures),
            f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]",
            reasons or "-",
        ]
