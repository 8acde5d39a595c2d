"""The paper's Tables 1 to 3 as printed, and the experiments that reproduce their rows.

Figures have the names of :func:`~model_training.evaluation.evaluate.classification_figures`; ACC, SE and SP follow
the paper's rule, the class of highest probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# Column heads for the figures that the tables show.
HEADS = MappingProxyType(
    {"auc": "AUC", "ap": "AP", "accuracy_argmax": "ACC", "sensitivity_argmax": "SE", "specificity_argmax": "SP"}
)


@dataclass(frozen=True)
class Challenge:
    """The sets of one challenge, as changes to the experiment's configuration."""

    name: str
    assignments: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One row: its name in the paper, the printed figures, and the system that reproduces it, if any."""

    name: str
    paper: Mapping[str, float] = field(default_factory=dict)
    system: str | None = None
    # Number of additional training images for the printed figures, if the paper gives it.
    external: int | None = None
    # The system that differs from this one in one module only, if the baseline differs in more.
    control: str | None = None


@dataclass(frozen=True)
class Table:
    """One table: its data, rows and figures, and the number of positive test images of each task."""

    number: int
    title: str
    challenge: Challenge
    num_pictures: int
    num_positive: Mapping[str, int]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    # The system that the others are compared with.
    baseline: str | None = None

    def systems(self) -> tuple[str, ...]:
        """The systems to run, in the order of the rows."""
        return tuple(row.system for row in self.rows if row.system is not None)


def _task(task: str, **figures: float) -> dict[str, float]:
    names = {"acc": "accuracy_argmax", "se": "sensitivity_argmax", "sp": "specificity_argmax"}
    return {f"{task}_{names.get(name, name)}": figure for name, figure in figures.items()}


def _keratosis(**figures: float) -> dict[str, float]:
    return _task("seborrheic_keratosis", **figures)


def _melanoma(**figures: float) -> dict[str, float]:
    return _task("melanoma", **figures)


def _malignant(**figures: float) -> dict[str, float]:
    return _task("malignant", **figures)


def _modules(area: bool, attention: bool, distinguish: bool, branches: str) -> tuple[str, ...]:
    return (
        f"network.lesion_area_attention={str(area).lower()}",
        f"network.lesion_feature_attention={str(attention).lower()}",
        f"network.distinguish={str(distinguish).lower()}",
        f"network.branches={branches}",
    )


# Without the distinguish module nothing needs a second branch.
_BASELINE = _modules(False, False, False, "single")

# Each system's changes of the configuration. The systems that the paper compares with use the whole image.
SYSTEMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "baseline": _BASELINE,
        "a": _modules(True, False, False, "single"),
        "f": _modules(False, True, False, "single"),
        "d": _modules(False, False, True, "separate"),
        "af": _modules(True, True, False, "single"),
        "cin": _modules(True, True, True, "separate"),
        # D needs a second network; this row shows the effect of the second network alone.
        "two-branches": _modules(False, False, False, "separate"),
        # The same for the full network, from which it differs in D alone.
        "af-two-branches": _modules(True, True, False, "separate"),
        "sdl": (*_modules(False, False, True, "separate"), "network.distinguish_form=synergic"),
        "arl": (*_BASELINE, "network.features=attention-resnet18"),
        "resnet50": (*_BASELINE, "network.features=resnet50"),
    }
)


ISIC_2017 = Challenge(
    "isic2017", ("data.train=isic2017-train", "data.validation=isic2017-validation", "data.test=isic2017-test")
)
# Its images are held out at random, so they have no folds to cross-fit the first stage in.
ISBI_2016 = Challenge(
    "isbi2016",
    ("data.train=isic2016-train", "data.holdout=0.2", "data.test=isic2016-test", "area.cross_fit=false"),
)
_POSITIVE_2017 = {"melanoma": 117, "seborrheic_keratosis": 90}

TABLE_1 = Table(
    number=1,
    title="Modules of CIN on ISIC 2017, second sub-task (seborrheic keratosis)",
    challenge=ISIC_2017,
    num_pictures=600,
    num_positive=_POSITIVE_2017,
    metrics=(*(f"seborrheic_keratosis_{name}" for name in HEADS if name != "ap"), "melanoma_auc", "mean_auc"),
    baseline="baseline",
    rows=(
        Row("Baseline", _keratosis(auc=0.927, acc=0.863, se=0.678, sp=0.869), "baseline"),
        Row("CIN (A)", _keratosis(auc=0.944, acc=0.922, se=0.778, sp=0.947), "a"),
        Row("CIN (F)", _keratosis(auc=0.940, acc=0.864, se=0.823, sp=0.871), "f"),
        Row("CIN (D)", _keratosis(auc=0.939, acc=0.905, se=0.711, sp=0.939), "d", control="two-branches"),
        Row("CIN (A+F)", _keratosis(auc=0.960, acc=0.915, se=0.644, sp=0.959), "af"),
        Row("CIN (A+F+D)", _keratosis(auc=0.981, acc=0.943, se=0.829, sp=0.965), "cin", control="af-two-branches"),
        Row("Baseline, two branches", {}, "two-branches"),
        Row("CIN (A+F), two branches", {}, "af-two-branches"),
    ),
)

TABLE_2 = Table(
    number=2,
    title="ISBI 2016, melanoma against the rest; 20 % of the training set held out at random in each run",
    challenge=ISBI_2016,
    num_pictures=379,
    num_positive={"malignant": 75},
    metrics=("malignant_ap", "malignant_accuracy_argmax", "malignant_auc"),
    rows=(
        Row("CIN (ours)", _malignant(ap=0.740, acc=0.887, auc=0.873), "cin"),
        Row("DCNN-FV", _malignant(ap=0.685, acc=0.868, auc=0.852)),
        Row("SDL", _malignant(ap=0.664, acc=0.858, auc=0.818), "sdl"),
        Row("CUMED", _malignant(ap=0.637, acc=0.855, auc=0.804)),
        Row("GTDL", _malignant(ap=0.619, acc=0.813, auc=0.802)),
        Row("Result2-3B", _malignant(ap=0.615, acc=0.844, auc=0.808)),
        Row("USYD", _malignant(ap=0.580, acc=0.686, auc=0.793)),
        Row("Mufic-IT", _malignant(ap=0.534, acc=0.760, auc=0.685)),
        Row("ARL-CNN", {}, "arl"),
        Row("ResNet18", {}, "baseline"),
        Row("ResNet50", {}, "resnet50"),
    ),
)


def _both(melanoma: dict[str, float], keratosis: dict[str, float], *, mean_auc: float) -> dict[str, float]:
    return {**_melanoma(**melanoma), **_keratosis(**keratosis), "mean_auc": mean_auc}


TABLE_3 = Table(
    number=3,
    title="ISIC 2017, both sub-tasks from one model of three classes",
    challenge=ISIC_2017,
    num_pictures=600,
    num_positive=_POSITIVE_2017,
    metrics=(
        *(f"melanoma_{name}" for name in HEADS),
        *(f"seborrheic_keratosis_{name}" for name in HEADS),
        "mean_auc",
    ),
    rows=(
        Row(
            "CIN (ours)",
            _both(
                {"auc": 0.920, "ap": 0.814, "acc": 0.894, "se": 0.645, "sp": 0.948},
                {"auc": 0.981, "ap": 0.902, "acc": 0.943, "se": 0.829, "sp": 0.965},
                mean_auc=0.951,
            ),
            "cin",
            external=0,
        ),
        Row(
            "RHN",
            _both(
                {"auc": 0.883, "ap": 0.810, "acc": 0.890, "se": 0.732, "sp": 0.901},
                {"auc": 0.961, "ap": 0.843, "acc": 0.885, "se": 0.912, "sp": 0.907},
                mean_auc=0.926,
            ),
            external=0,
        ),
        Row(
            "ARL-CNN",
            _both(
                {"auc": 0.875, "acc": 0.850, "se": 0.658, "sp": 0.896},
                {"auc": 0.958, "acc": 0.868, "se": 0.878, "sp": 0.867},
                mean_auc=0.917,
            ),
            "arl",
            external=1320,
        ),
        Row(
            "SDL",
            _both({"auc": 0.868, "ap": 0.689, "acc": 0.872}, {"auc": 0.955, "ap": 0.818, "acc": 0.917}, mean_auc=0.912),
            "sdl",
            external=1320,
        ),
        Row(
            "RENI",
            _both(
                {"auc": 0.868, "ap": 0.710, "acc": 0.828, "se": 0.735, "sp": 0.851},
                {"auc": 0.953, "ap": 0.786, "acc": 0.803, "se": 0.978, "sp": 0.773},
                mean_auc=0.911,
            ),
            external=1444,
        ),
        Row(
            "gpm-LSSSD",
            _both(
                {"auc": 0.856, "ap": 0.747, "acc": 0.823, "se": 0.103, "sp": 0.998},
                {"auc": 0.963, "ap": 0.839, "acc": 0.875, "se": 0.178, "sp": 0.998},
                mean_auc=0.910,
            ),
            external=900,
        ),
        Row(
            "Alea-Jacta-Est",
            _both(
                {"auc": 0.874, "ap": 0.715, "acc": 0.872, "se": 0.547, "sp": 0.950},
                {"auc": 0.943, "ap": 0.790, "acc": 0.895, "se": 0.356, "sp": 0.990},
                mean_auc=0.908,
            ),
            external=7544,
        ),
        Row(
            "EResNet",
            _both(
                {"auc": 0.870, "ap": 0.732, "acc": 0.858, "se": 0.427, "sp": 0.963},
                {"auc": 0.921, "ap": 0.770, "acc": 0.918, "se": 0.589, "sp": 0.976},
                mean_auc=0.896,
            ),
            external=1600,
        ),
        Row(
            "DLSL",
            _both(
                {"auc": 0.836, "ap": 0.665, "acc": 0.845, "se": 0.350, "sp": 0.965},
                {"auc": 0.935, "ap": 0.808, "acc": 0.913, "se": 0.556, "sp": 0.976},
                mean_auc=0.886,
            ),
            external=1341,
        ),
        Row("ResNet18", {}, "baseline"),
        Row("ResNet50", {}, "resnet50"),
    ),
)

TABLES = {table.number: table for table in (TABLE_1, TABLE_2, TABLE_3)}
