"""``cin-train abstention``, ``outside``, ``influence``, ``variant-referrals``: a bundle's advice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from model_training.cli.options import (
    LEDGER,
    CacheOption,
    ClinicalOption,
    DataOption,
    FiguresOption,
    LedgerOption,
    OtherDiagnosesOption,
    PhotographsOption,
    app,
    command,
    console,
)
from model_training.config import Config, DataConfig, NetworkConfig
from model_training.files import write_json
from model_training.release.abstention import NamedFrames, add_abstention, read_frames
from model_training.release.familiarity import Photographs
from model_training.release.influence import measure_influence
from model_training.release.outside import (
    CLINICAL_PHOTOGRAPHS,
    UNKNOWN_DIAGNOSES,
    LabelledImages,
    SetError,
    halves,
    measure_diagnoses,
    measure_frames,
    measure_repeats,
    name_halves,
    outside_advice,
    read_labelled,
    with_measured,
)
from model_training.release.variant_referrals import compare_referrals
from model_training.training.command_line import command_line
from model_training.training.experiment import Experiment
from service.bundle import Bundle, Repeatability, check_target, load_bundle

REPEAT_PAIRS = "repeat_pairs"
OTHER_PHOTOGRAPHS = {CLINICAL_PHOTOGRAPHS: "clinical_photographs/images", "not_dermoscopy": "not_dermoscopy"}


class Folders(NamedTuple):
    """Reads sets of images below ``data`` as frames of one graph."""

    data: Path
    frame_size: int
    jpeg_quality: int | None

    def frames(self, folder: str) -> NamedFrames:
        """The images of a folder, by name."""
        return read_frames(self.data / folder, frame_size=self.frame_size, jpeg_quality=self.jpeg_quality)

    def labelled(self, folder: str, table: str) -> LabelledImages:
        """The images that a table lists."""
        return read_labelled(self.data / folder, table, frame_size=self.frame_size, jpeg_quality=self.jpeg_quality)

    def counted(self, folder: str | None) -> NamedFrames | None:
        """The images of ``--photographs``."""
        return None if folder is None else self.frames(folder)

    def photographs(self, clinical: str | None, other_diagnoses: str | None) -> Photographs | None:
        """The first halves of ``--clinical`` and ``--other-diagnoses``; the second halves are for judging."""
        if clinical is None:
            return None
        other = None if other_diagnoses is None else halves(self.labelled(other_diagnoses, "labels.csv"))[0].frames
        first, _ = name_halves(self.frames(clinical).frames)
        if not len(first):
            raise SetError(f"{self.data / clinical} holds one photograph; half of at least two are used")
        return Photographs(first, other)


def experiment_of(bundle: Bundle, data: Path, cache: Path) -> Experiment:
    """An experiment with the bundle's image sets and orientation, without a run."""
    trained = bundle.manifest.provenance.config["recognition"]
    canonical = trained["network"].get("canonical_orientation", False)
    config = Config(
        data=DataConfig.model_validate(trained["data"]), network=NetworkConfig(canonical_orientation=canonical)
    )
    return Experiment(config, data, cache, Path(), console())


def write_figures(path: Path, bundle: Bundle, figures: Mapping[str, Any]) -> None:
    """Write ``figures`` with the command line and the bundle's name and version."""
    about = {"command": command_line(), "bundle": f"{bundle.manifest.name} {bundle.manifest.version}"}
    write_json(path, {**about, **figures})


def report_abstention(bundle: Bundle, figures: Path | None) -> None:
    """Print the share of each set that gets no advice, and write the limits and shares to ``figures``."""
    limits = bundle.manifest.abstention
    assert limits is not None
    if figures is not None:
        write_figures(figures, bundle, limits.model_dump())
    for measured in limits.measured:
        console().print(
            f"{measured.measured_on} {measured.variant}: {measured.abstained.value:.2%} of {measured.num_pictures} "
            f"without advice; {measured.num_by_reason}",
            highlight=False,
        )


@command
def abstention(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle whose graphs output features.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    version: Annotated[str, typer.Option(help="The version of the bundle to write.")],
    photographs: PhotographsOption = None,
    clinical: ClinicalOption = None,
    other_diagnoses: OtherDiagnosesOption = None,
    figures: FiguresOption = None,
    purpose: Annotated[str, typer.Option(help="Why the test split is read; without a purpose it is not read.")] = "",
    ledger: LedgerOption = LEDGER,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Fit the limits of a bundle again, as `export` does, to the images that it was trained on."""
    source = load_bundle(bundle)
    if figures is not None:  # before the test set is read, so that its figures cannot be lost
        figures.parent.mkdir(parents=True, exist_ok=True)
    manifest = source.manifest
    folders = Folders(data, manifest.frame_size, manifest.frame_jpeg_quality)
    written = add_abstention(
        source,
        out,
        experiment_of(source, data, cache),
        version=version,
        ledger=ledger,
        purpose=purpose or None,
        counted=folders.counted(photographs),
        photographs=folders.photographs(clinical, other_diagnoses),
    )
    report_abstention(written, figures)


@command
def outside(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with limits to abstain at.")],
    figures: Annotated[Path, typer.Option(help="File for the figures, .json.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the same bundle with these figures; default: none.")
    ] = None,
    data: DataOption = Path("data"),
) -> None:
    """Measure advice on other diagnoses and other photographs, and how far two images of one lesion differ.

    Reads those that `data` has of the folders unknown_diagnoses, repeat_pairs, clinical_photographs, not_dermoscopy.
    """
    source = load_bundle(bundle)
    manifest = source.manifest
    if out is not None:  # before anything is measured
        check_target(out)
        if not (data / REPEAT_PAIRS).is_dir():
            raise SetError(f"{data} has no folder {REPEAT_PAIRS}, so there is no repeatability to write into {out}")

    folders = Folders(data, manifest.frame_size, manifest.frame_jpeg_quality)
    found: dict[str, Any] = {}
    repeats: Repeatability | None = None
    if (data / UNKNOWN_DIAGNOSES).is_dir():
        unknown = folders.labelled(UNKNOWN_DIAGNOSES, "labels.csv")
        found[UNKNOWN_DIAGNOSES] = {
            half: measure_diagnoses(source, part)
            for half, part in zip(("first", "second"), halves(unknown), strict=True)
        }
    if (data / REPEAT_PAIRS).is_dir():
        repeats = measure_repeats(source, folders.labelled(REPEAT_PAIRS, "lesions.csv"), measured_on=REPEAT_PAIRS)
        found[REPEAT_PAIRS] = None if repeats is None else repeats.model_dump()
    for name, folder in OTHER_PHOTOGRAPHS.items():
        if (data / folder).is_dir():
            frames = folders.frames(folder).frames
            found[name] = measure_frames(source, frames)
            if name == CLINICAL_PHOTOGRAPHS:
                found[f"{name}, second half"] = measure_frames(source, name_halves(frames)[1])
    if not found:
        raise SetError(
            f"{data} holds none of the folders {', '.join((UNKNOWN_DIAGNOSES, REPEAT_PAIRS, *OTHER_PHOTOGRAPHS))}"
        )
    write_figures(figures, source, {"operating_point": manifest.default_operating_point, **found})
    if out is not None:
        measured = {"repeatability": repeats, "outside": outside_advice(found)}
        with_measured(source, out, **{name: value for name, value in measured.items() if value})
    console().print_json(data=found)


@command
def influence(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with lesion feature attention.")],
    figures: Annotated[Path, typer.Option(help="File for the figures, .json.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the same bundle with the influence measured; default: none.")
    ] = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Switch the lesion feature attention off for the validation images; measure what changes in the answers."""
    source = load_bundle(bundle)
    if out is not None:  # before anything is measured
        check_target(out)
    images = experiment_of(source, data, cache).validation_set()
    measured = measure_influence(source, images.frames, measured_on=f"{images.name} ({len(images)} images)")
    write_figures(
        figures, source, {"operating_point": source.manifest.default_operating_point, **measured.model_dump()}
    )
    if out is not None:
        with_measured(source, out, attention_influence=measured)
    console().print_json(data=measured.model_dump())


@command
def variant_referrals(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    figures: Annotated[Path, typer.Option(help="File for the figures, .json.")],
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Compare each variant's referrals on the validation images with float32's, at every operating point."""
    source = load_bundle(bundle)
    pictures = experiment_of(source, data, cache).validation_set()
    rows = compare_referrals(source, pictures)
    write_figures(figures, source, {"set": pictures.name, "num_pictures": len(pictures), "referrals": rows})
    for row in rows:
        rates = ", ".join(f"{name} {row[name]['value']:.3f}" for name in ("sensitivity", "specificity"))
        changed = f"{row['changed']['value']:.1%} differ from fp32"
        console().print(f"{row['operating_point']} {row['variant']}: {rates}; {changed}", highlight=False)


# The name in the command lines of earlier results.
app.command("referrals", hidden=True)(variant_referrals)
