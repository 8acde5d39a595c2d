"""What cards and checklists say about the origin of the images: the challenges', or own ones."""

from __future__ import annotations

from collections.abc import Mapping

from model_training.config import Config

_CHALLENGES: Mapping[str, str] = {
    "mix": "The challenge sets hold far more melanomas than a clinic sees: predictive values do not carry over.",
    "rarer": "Where melanoma is rarer, referrals are less often right.",
    "readings": "`results/test-ledger.jsonl` in the repository lists every reading, `docs/reproduction.md` what came "
    "of it.",
    "image_types": "Dermoscopic still images of one skin lesion each, from the ISIC archive.",
    "artefacts": "Hairs, rulers, ink, gel bubbles and dark corners occur in all sets; none was removed or marked.\n"
    "   Coloured calibration patches occur with benign lesions only (Nauta et al., 2021): a network may take them for "
    "a sign.",
    "devices": "Several dermatoscopes and cameras; the labels do not say which took an image.",
    "references": "Challenges of the International Skin Imaging Collaboration: ISBI 2016 (Gutman et al.,\n"
    "   arXiv:1605.01397), ISIC 2017 (Codella et al., arXiv:1710.05006). CC0.",
    "skin": "Not recorded. Dark skin is rare in public dermoscopy sets.",
    "patients": "Patients are not identified: one may be on both sides.",
    "external": "None: the test set comes from the same archive. Some of its images look like training\n"
    "    images (`cin-train audit` lists them).",
    "vendors": "Yes, mixed; not labelled, so not measured apart.",
    "labelling": "Diagnoses and lesion outlines as the challenges published them; outlines drawn by clinical experts.",
    "labels": "The challenges' own",
    "histology": "As published by the challenges; not recorded for each image.",
    "benchmark": "`docs/reproduction.md` compares the network with itself without its parts, and with\n"
    "    systems that the paper compares with, under one protocol, which need not be this run's.",
    "openness": "Weights, code and service are open:",
    "enriched": "which holds\n    far more melanomas than a clinic sees",
}

_OWN: Mapping[str, str] = {
    "mix": "Where malignant lesions are rarer or more frequent than in these sets, predictive values do not carry "
    "over.",
    "rarer": "Where malignant lesions are rarer, referrals are less often right.",
    "readings": "the ledger of `cin-train evaluate` lists every reading.",
    "image_types": "The owner's still images, meant to be dermoscopic, of one skin lesion each.",
    "artefacts": "Not recorded.",
    "devices": "Not recorded.",
    "references": "None: the images are the owner's.",
    "skin": "Not recorded.",
    "patients": "Images of one `group` of the table (a patient, a lesion) are on\n    one side; without groups, a "
    "patient may be on both.",
    "external": "Not recorded: whether the test set comes from elsewhere, the owner knows.",
    "vendors": "Not recorded.",
    "labelling": "As in the owner's table; how they were made is not recorded.",
    "labels": "The owner's",
    "histology": "Not recorded.",
    "benchmark": "Not done for these images.",
    "openness": "Code and service are open; the weights as their owner decides:",
    "enriched": "which may\n    hold more malignant lesions than a clinic sees",
}


def origin_texts(config: Config) -> Mapping[str, str]:
    """The texts by their places in the templates."""
    return _OWN if config.data.is_own(config.data.train) else _CHALLENGES
