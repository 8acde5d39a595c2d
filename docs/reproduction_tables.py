"""The generated parts of ``docs/reproduction.md``."""

from __future__ import annotations

from docs.tables import RELEASE, TASKS, aucs, interval, read, table, trial


def systems_of_2017(number: int) -> str:
    rows = []
    for row in read(f"table-{number}.json")["rows"]:
        if row["source"] == "ours":
            record, paper = trial("isic2017", row["system"]), row["metrics"]["seborrheic_keratosis_auc"]["paper"]
            ours = [*aucs(record["validation"]), *aucs(record["metrics"])]
            rows.append([f"`{row['system']}`", "-" if paper is None else f"{paper:.3f}", *ours])
    splits = ("validation", "test")
    heads = [f"{task}, {split}" for split in splits for task in ("Melanoma", "SK", "Mean")]
    return table(["System", "Paper, SK, test", *heads], rows)


def table_2() -> str:
    names = ("malignant_ap", "malignant_accuracy_argmax", "malignant_auc")
    rows = []
    for row in read("table-2.json")["rows"]:
        if row["source"] == "ours":
            record, figures = trial("isbi2016", row["system"]), row["metrics"]
            paper = ["-" if figures[n]["paper"] is None else f"{figures[n]['paper']:.3f}" for n in names]
            ours = [f"{record['metrics'][n]:.3f}" for n in names]
            rows.append([f"`{row['system']}`", *paper, f"{record['validation']['malignant_auc']:.3f}", *ours])
    figures_of = [f"{who}, {name}" for who in ("Paper", "Test") for name in ("AP", "ACC", "AUC")]
    return table(["System", *figures_of[:3], "AUC, held out", *figures_of[3:]], rows)


def cross_validation() -> str:
    rows = []
    for choice in read("choices-at-128/cross-validation.json")["choices"]:
        mean = choice["metrics"]["mean_auc"]
        gain = f"{mean['gain']:+.3f} ({mean['low']:+.3f} to {mean['high']:+.3f})" if "gain" in mean else "-"
        over_folds = f"{mean['folds_low']:+.3f} to {mean['folds_high']:+.3f}" if "folds_low" in mean else "-"
        means = [f"{choice['metrics'][task]['mean']:.3f}" for task in TASKS]
        rows.append([f"`{choice['name']}`", *means, gain, over_folds, str(len(choice["folds"]))])
    heads = ["Melanoma", "SK", "Mean", "Gain in the mean, 95 % interval over images", "Over folds", "Folds"]
    return table(["Variant", *heads], rows)


def recipes() -> str:
    """The folds of the recipes of two releases, by seed."""
    rows = []
    for recipe, folder, seed in (
        ("steady-recipe", "choices-at-224", 0),
        ("steady-recipe", "choices-at-224-seed-1", 1),
        ("lesion-recipe", "choices-at-224", 0),
        ("lesion-recipe", "choices-at-224-seed-1", 1),
        ("shipped-recipe", "choices-at-128", 0),
    ):
        name = f"{folder}/trials/cross-validation/{recipe}"
        folds = [read(f"{name}/fold-{fold}/trial.json") for fold in range(1, 6)]
        means = [fold["metrics"]["mean_auc"] for fold in folds]
        size = folds[0]["config"]["network"]["size"]
        cells = [*(f"{mean:.3f}" for mean in means), f"{sum(means) / len(means):.3f}"]
        rows.append([f"`{recipe}`", str(size), str(seed), *cells])
    folds_of = [f"Fold {fold}" for fold in range(1, 6)]
    return table(["Recipe", "Pixels", "Seed", *folds_of, "Mean"], rows)


def releases() -> str:
    equal = read("training-mix.json")["mean_auc_with_equal_classes"]
    rows = []
    for version in ("1.1.0", "1.2.0", "1.4.0", "2.1.0"):
        name = f"cin-isic2017-{version}"
        both = [read(f"{name}/{split}.json")["metrics"] for split in ("validation", "test")]
        level = [f"{equal[name][split]:.3f}" for split in ("validation", "test")] if name in equal else None
        level = level or [f"{figures['mean_auc']:.3f}" for figures in both]
        rows.append([version, *aucs(both[0]), *aucs(both[1]), " / ".join(level)])
    heads = [f"{task}, {split}" for split in ("validation", "test") for task in ("Melanoma", "SK", "Mean")]
    return table(["Bundle", *heads, "Mean with equal classes, validation / test"], rows)


def training_mix() -> str:
    version = RELEASE.rpartition("-")[2]
    rows = []
    for row in read("training-mix.json")["rows"]:
        pair, gain = [row[task] for task in TASKS[:2]], row["release_minus_this"]
        cells = [f"{value:.3f}" for value in (*pair, sum(pair) / 2)]
        rows.append([f"`{row['system']}`", *cells, interval(gain, "+.3f")])
    return table(["System", "Melanoma, test", "SK, test", "Mean, test", f"{version} minus this, mean"], rows)


def abstention() -> str:
    cells: dict[str, dict[str, str]] = {}
    for row in read(f"{RELEASE}/abstention.json")["measured"]:
        num = round(row["abstained"]["value"] * row["num_pictures"])
        text = f"{num} of {row['num_pictures']}: {interval(row['abstained'], '.1%')}"
        cells.setdefault(row["measured_on"], {})[row["variant"]] = text
    variants = list(dict.fromkeys(variant for row in cells.values() for variant in row))
    return table(["Set", *variants], ([f"`{name}`", *(row[v] for v in variants)] for name, row in cells.items()))


def robustness() -> str:
    rows = []
    for row in read(f"{RELEASE}/robustness.json")["changes"]:
        changed = interval(row["changed"], ".1%") if "changed" in row else "-"
        difference = f"{row['mean_difference']:.3f}" if "mean_difference" in row else "-"
        shares = [("sensitivity", ".2f"), ("specificity", ".2f"), ("withheld", ".1%")]
        values = [format(row[name]["value"], form) if name in row else "-" for name, form in shares]
        rows.append([row["change"], changed, difference, *values])
    header = ["Change", "Advice changes", "Mean change of p", "Sensitivity", "Specificity", "Without advice"]
    return table(header, rows)


def outside() -> str:
    found = read(f"{RELEASE}/outside.json")
    sets = {
        name: found[name] for name in ("clinical_photographs", "clinical_photographs, second half", "not_dermoscopy")
    }
    for half, diagnoses in found["unknown_diagnoses"].items():
        sets |= {f"{diagnosis}, {half} half": shares for diagnosis, shares in diagnoses.items()}
    rows = [
        [name, str(row["num_images"]), *(interval(row[key], ".0%") for key in ("referred", "not_referred", "withheld"))]
        for name, row in sets.items()
    ]
    return table(["Images", "Number", "Referral", "No referral", "Without advice"], rows)


def repeats() -> str:
    row = read(f"{RELEASE}/outside.json")["repeat_pairs"]
    figures = [f"{row[key]:.3f}" for key in ("median_change", "percentile_95_change")]
    cells = [str(row["num_pairs"]), *figures, interval(row["other_advice"], ".1%"), f"{row['near_threshold']:.2f}"]
    header = ["Lesions", "Median change of p", "95th percentile", "Other advice", "Near the threshold, log-odds"]
    return table(header, [cells])


def diagnoses() -> str:
    """The share of each diagnosis that is referred, by this release and the one before."""
    sets = read(f"{RELEASE}/figures.json")["sets"]
    earlier = read("cin-isic2017-1.4.0/figures.json")["sets"]
    shown = [(f"2.1.0, {name}", judged) for name, judged in sets.items()]
    shown += [(f"1.4.0, {name}", judged) for name, judged in earlier.items()]
    classes = ("melanoma", "seborrheic_keratosis", "nevus")
    rows = [[name, *(interval(judged["referred"][each]) for each in classes)] for name, judged in shown]
    return table(["Bundle, set", "Melanoma", "Seborrheic keratosis", "Nevus"], rows)


def pairs() -> str:
    rows = [
        [name, *(interval(pair["auc"]) for pair in judged["class_pairs"])]
        for name, judged in read(f"{RELEASE}/figures.json")["sets"].items()
    ]
    return table(["Set", "Melanoma against seborrheic keratosis", "Melanoma against nevus"], rows)


def groups() -> str:
    judged = read(f"{RELEASE}/figures.json")["sets"]["isic2017-train, out of fold"]
    rows = [
        [
            name,
            f"{of['num_images']} ({of['num_malignant']})",
            *(interval(of[key]) for key in ("auc", "sensitivity", "specificity")),
        ]
        for name, of in judged["groups"].items()
    ]
    return table(["Images", "Number (melanomas)", "AUC", "Sensitivity", "Specificity"], rows)


def views() -> str:
    rows = []
    for row in read("modules/views.json")["changes"]:
        shares = [f"{row[key]['value']:.1%}" for key in ("one_view", "all_views")]
        moves = [f"{row[f'mean_move_{key}']:.3f}" for key in ("one_view", "all_views")]
        rows.append([row["change"], *shares, interval(row["difference"], "+.1%"), *moves])
    heads = ["Change", "Advice changes, one view", "Five views", "Difference", "p moves, one view", "Five views"]
    return table(heads, rows)
