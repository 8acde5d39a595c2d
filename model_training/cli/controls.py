"""``cin-train controls``: single modules on frozen features."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from model_training.cli.options import (
    CacheOption,
    ConfigOption,
    DataOption,
    ResultsOption,
    SetOption,
    command,
    make_experiment,
)
from model_training.config import NUM_FOLDS
from model_training.data.isic import CLASSES_2017
from model_training.files import write_text
from model_training.studies.control_report import control_table
from model_training.studies.module_controls import (
    RECIPE_NAMES,
    SECOND_BACKBONE,
    Control,
    Records,
    Study,
    View,
    control_data,
    run_control,
)
from model_training.training.command_line import command_line
from model_training.training.pretrained import load_pretrained


@command
def controls(
    study: Annotated[Study, typer.Argument(help="The module to examine.")],
    recipe: Annotated[list[str] | None, typer.Option(help="Only this recipe; may be repeated.")] = None,
    fold: Annotated[list[int] | None, typer.Option(help="Only this fold, from 1; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each recipe is trained with.")] = 1,
    view: Annotated[
        Literal["crop", "whole"], typer.Option(help="The lesion, by its mask, or the whole image.")
    ] = "crop",
    layer: Annotated[Literal["layer3", "layer4"], typer.Option(help="The features.")] = "layer4",
    second_start: Annotated[
        str, typer.Option(help="For `teacher`: the weights of EfficientNet-Lite0, as of `start`.")
    ] = "none",
    results: ResultsOption = Path("results/modules"),
    config: ConfigOption = None,
    set_: SetOption = None,
    data: DataOption = Path("data"),
    cache: CacheOption = Path("cache"),
) -> None:
    """Train one module at a time on frozen features of the training set: does it learn, and does it have an effect?"""
    names = RECIPE_NAMES[study]
    if unknown := sorted(set(recipe or ()) - set(names)):
        raise ValueError(f"there is no recipe {unknown[0]}; choose among {', '.join(names)}")
    experiment = make_experiment(config, set_, data, cache, Path("runs"))
    if experiment.classes() != CLASSES_2017:
        raise ValueError("the controls are about the classes of ISIC 2017: set data.train=isic2017-train")
    if experiment.recognition_pretrained is None:
        raise ValueError("frozen features need pretrained weights: set start")
    second = load_pretrained(second_start, SECOND_BACKBONE)
    if study == "teacher" and second is None:
        raise ValueError("the teacher needs the weights of a second backbone: set --second-start")
    records = Records(results / f"{study}.json")
    features = control_data(
        study,
        experiment.frames(experiment.config.data.train),
        experiment.recognition_pretrained,
        view,
        layer,
        cache=cache,
        second=second,
    )
    seen: View = "both" if study in ("share", "teacher") else view
    for seed in range(seeds):
        for number in fold or range(1, NUM_FOLDS + 1):
            for name in recipe or names:
                control = Control(study, name, seen, layer, number - 1, seed)
                begun = time.monotonic()
                if control.name not in records.by_name:
                    records.add(control.name, {"command": command_line(), **run_control(control, features)})
                record = records.by_name[control.name]
                figures = "  ".join(f"{key} {value:.4g}" for key, value in record.items() if isinstance(value, float))
                said = f"{control.name}: {figures}  ({time.monotonic() - begun:.0f} s)"
                experiment.console.print(said, highlight=False)
    write_text(results / f"{study}.md", control_table(study, records.by_name) + "\n")
