"""``cin-train abstention``, ``degraded`` and ``referrals``: when a bundle gives advice, and which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from model_training.cli.options import (
    LEDGER,
    CacheOption,
    DataOption,
    FiguresOption,
    LedgerOption,
    PhotographsOption,
    command,
    console,
)
from model_training.config import Config, DataConfig
from model_training.files import write_json
from model_training.release.abstention import add_abstention, read_judged
from model_training.release.robustness import judge_degraded
from model_training.release.variant_referrals import judge_referrals
from model_training.training.command_line import command_line
from model_training.training.experiment import Experiment
from service.bundle import Bundle, load_bundle


def _experiment_of(bundle: Bundle, data: Path, cache: Path) -> Experiment:
    """The experiment that a bundle's pictures are those of; its run is not needed."""
    config = Config(data=DataConfig.model_validate(bundle.manifest.provenance.config["recognition"]["data"]))
    return Experiment(config, data, cache, Path(), console())


def _keep(figures: Path, bundle: Bundle, found: Mapping[str, Any]) -> None:
    """Write what was found, with the command that found it and the bundle that it is about."""
    about = {"command": command_line(), "bundle": f"{bundle.manifest.name} {bundle.manifest.version}"}
    write_json(figures, {**about, **found})


def tell_abstention(bundle: Bundle, figures: Path | None) -> None:
    """Print how many pictures of each set get no advice, and keep the limits and that in ``figures``."""
    limits = bundle.manifest.abstention
    assert limits is not None
    if figures is not None:
        _keep(figures, bundle, limits.model_dump())
    for measured in limits.measured:
        console().print(
            f"{measured.measured_on} {measured.variant}: {measured.abstained.value:.2%} of {measured.num_pictures} "
            f"without advice; {measured.num_by_reason}",
            highlight=False,
        )


@command
def abstention(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle whose graphs tell their features.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    version: Annotated[str, typer.Option(help="The version that the bundle becomes.")],
    photographs: PhotographsOption = None,
    figures: FiguresOption = None,
    purpose: Annotated[str, typer.Option(help="What the test split is read for; without one it is not read.")] = "",
    ledger: LedgerOption = LEDGER,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Fit anew when a bundle gives no advice, as `export` does: to the pictures that it was trained on."""
    source = load_bundle(bundle)
    if figures is not None:  # what the test set was read for must not be lost in the end
        figures.parent.mkdir(parents=True, exist_ok=True)
    manifest = source.manifest
    shown = None
    if photographs is not None:
        size, quality = manifest.frame_size, manifest.frame_jpeg_quality
        shown = read_judged(data / photographs, frame_size=size, jpeg_quality=quality)
    written = add_abstention(
        source,
        out,
        _experiment_of(source, data, cache),
        ledger=ledger,
        purpose=purpose or None,
        photographs=shown,
        version=version,
    )
    tell_abstention(written, figures)


@command
def degraded(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with limits to abstain at.")],
    figures: Annotated[Path, typer.Option(help="File for the figures, .json.")],
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Blur, darken and brighten the validation pictures: what becomes of referrals, and how many get no advice."""
    source = load_bundle(bundle)
    pictures = _experiment_of(source, data, cache).validation_set()
    rows = judge_degraded(source, pictures)
    point = source.manifest.default_operating_point
    _keep(figures, source, {"set": pictures.name, "operating_point": point, "degraded": rows})
    for row in rows:
        shares = ", ".join(f"{name} {row[name]['value']:.2f}" for name in ("sensitivity", "specificity", "abstained"))
        console().print(f"{row['kind']} {row['level']}: {shares}", highlight=False)


@command
def referrals(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    figures: Annotated[Path, typer.Option(help="File for the figures, .json.")],
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Hold each variant's referrals of the validation pictures against float32's, at every operating point."""
    source = load_bundle(bundle)
    pictures = _experiment_of(source, data, cache).validation_set()
    rows = judge_referrals(source, pictures)
    _keep(figures, source, {"set": pictures.name, "num_pictures": len(pictures), "referrals": rows})
    for row in rows:
        rates = ", ".join(f"{name} {row[name]['value']:.3f}" for name in ("sensitivity", "specificity"))
        said = f"{row['operating_point']} {row['variant']}: {rates}; {row['changed']['value']:.1%} other than fp32's"
        console().print(said, highlight=False)
