"""``cin bundle``: verify a model bundle, and measure its reference for drift."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.bundle import BundleError, load_bundle, measure_reference, write_bundle
from service.cli.archive import ArchiveError, find_pictures
from service.cli.common import refuse
from service.cli.files import read_file
from service.imaging import PictureError
from service.inference.answers import EngineError
from service.inference.engine import Engine
from service.settings import usable_cpus

app = typer.Typer(no_args_is_help=True, help="Model bundles.")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    provider: Annotated[Literal["cpu", "cuda", "tensorrt"], typer.Option(help="Where the network runs.")] = "cpu",
) -> None:
    """Check every file of a bundle, and with every variant the canary image's outputs and prediction."""
    try:
        bundle = load_bundle(folder)
        for variant in bundle.manifest.variants:
            engine = Engine(bundle, variant=variant.name, provider=provider, threads=1)
            difference = engine.canary_difference()
            if difference > bundle.canary_tolerance(variant.name):
                refuse(f"{variant.name}: the canary image's probabilities differ by {difference:.2g} from the bundle's")
            if variant.canary_prediction is None:
                typer.echo(
                    f"cin: {variant.name}: the bundle is older than schema 5 and expects no prediction for its canary, "
                    "so that classes in another order would not be noticed",
                    err=True,
                )
            typer.echo(f"{variant.name}: the canary image's probabilities are within {difference:.2g}")
    except (BundleError, EngineError) as error:
        refuse(str(error))
    manifest = bundle.manifest
    typer.echo(f"{manifest.name} {manifest.version}: {len(manifest.files)} files as written, sha256 {bundle.sha256}")


@app.command()
def reference(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder; its manifest is rewritten.")],
    pictures: Annotated[list[Path], typer.Argument(help="Dermoscopy images, and folders of them.")],
    measured_on: Annotated[str, typer.Option(help="What these images are.")],
) -> None:
    """Measure the distribution of the probabilities on images: the reference for drift."""
    try:
        bundle = load_bundle(folder)
        engine = Engine(bundle, variant="fp32", provider="cpu", threads=usable_cpus())
        engine.canary_difference()  # what is written expects its predictions to be these
        found = find_pictures(pictures).pictures
        frames = (bundle.read_picture(read_file(path, sys.maxsize)).frame for path in found)
        probabilities = [engine.run(frame[None])[0].probabilities for frame in frames]
        classes = [c.name for c in bundle.manifest.classes]
        measured = measure_reference(probabilities, classes, measured_on=measured_on)
        fields = bundle.manifest.model_dump(exclude={"schema_version", "files"})
        files = {name: bundle.path(name) for name in bundle.manifest.files}
        written = write_bundle(folder, files=files, manifest={**fields, "reference": measured})
    except (ArchiveError, BundleError, EngineError, PictureError, OSError) as error:
        refuse(str(error))
    typer.echo(f"{measured.num_pictures} images; the bundle's sha256 is now {written.sha256}")
