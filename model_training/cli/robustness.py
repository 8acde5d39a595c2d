"""``cin-train robustness`` and ``robustness-out-of-fold``: how steady a bundle's advice is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from model_training.cli.abstention import experiment_of, write_figures
from model_training.cli.options import (
    CacheOption,
    ConfigOption,
    DataOption,
    RunOption,
    SetOption,
    command,
    console,
    make_run,
)
from model_training.config import NUM_FOLDS
from model_training.release.fold_networks import other_settings, out_of_fold_parts
from model_training.release.outside import with_measured
from model_training.release.robustness import STEADY, measure_robustness, own_part, robustness_of
from service.bundle import Bundle, check_target, load_bundle


@command
def robustness(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with limits to abstain at.")],
    figures: Annotated[Path, typer.Option(help="File for the figures, .json.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the same bundle with these figures; default: none.")
    ] = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Change the validation images, not their lesions, in many ways; measure how often the advice changes."""
    source = load_bundle(bundle)
    if out is not None:  # before anything is measured
        check_target(out)
    images = experiment_of(source, data, cache).validation_set()
    with console().status(f"changing {images.name}"):
        rows = measure_robustness(source, [own_part(source, images)])
    report_robustness(source, figures, rows, {"set": images.name, "num_images": len(images)})
    if out is not None:
        measured = robustness_of(rows, measured_on=f"{images.name} ({len(images)} images)")
        with_measured(source, out, robustness=measured)


@command
def robustness_out_of_fold(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with limits to abstain at.")],
    run: RunOption,
    figures: Annotated[Path, typer.Option(help="File for the figures, .json.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Measure how often advice changes on the training images, each answered by a network that was not trained on it.

    These are the networks of `cin-train out-of-fold`, as many as are finished in `--run`. Their second stage has the
    bundle's configuration; in what the rest differs is in the figures. Losses of quality are not measured.
    """
    source, experiment = load_bundle(bundle), make_run(config, set_, data, cache, run)
    with TemporaryDirectory() as folder:
        parts = out_of_fold_parts(source, experiment, Path(folder))
        name = f"{experiment.config.data.train}, out of fold, {len(parts)} of {NUM_FOLDS} folds"
        with console().status(f"changing {name}"):
            rows = measure_robustness(source, parts, STEADY)
    num_images = sum(len(part.images) for part in parts)
    about = {"set": name, "num_images": num_images, "other_settings": other_settings(source, experiment)}
    report_robustness(source, figures, rows, about)


def report_robustness(bundle: Bundle, path: Path, rows: list[dict[str, Any]], about: Mapping[str, Any]) -> None:
    """Write the figures to ``path``, and print the shares of changed and of withheld advice."""
    point = bundle.manifest.default_operating_point
    write_figures(path, bundle, {**about, "operating_point": point, "changes": rows})
    for row in rows:
        shares = ", ".join(f"{key} {row[key]['value']:.1%}" for key in ("changed", "withheld") if key in row)
        console().print(f"{row['change']}: {shares}", highlight=False)
