/** The words of an answer, as an English clinician writes them. */

import { allOf, anyOf, apart, difference, number, percent } from "../../format.js";

/** @import { Verdict } from "../../types.js" */

export const text = {
  /** Names of diagnoses, as they stand alone. @type {Record<string, string>} */
  classes: {
    melanoma: "Melanoma",
    nevus: "Naevus",
    seborrheic_keratosis: "Seborrhoeic keratosis",
    basal_cell_carcinoma: "Basal cell carcinoma",
    squamous_cell_carcinoma: "Squamous cell carcinoma",
  },
  /** The same within a sentence. */
  within: (name = "") => name.toLowerCase(),

  decision: {
    refer: "Refer",
    no_referral: (judged = "") => `No referral advised${judged && ` for ${judged}`}`,
    abstained: "No assessment: image not suitable",
    risk: (names = [""]) => `${allOf(names)} risk`,
    because: (names = [""], share = 0, threshold = 0, refer = false) => {
      const [shown, limit] = apart(share, threshold);
      return `${allOf(names)} risk ${shown}, ${refer ? "at or above" : "below"} the decision threshold of ${limit}.`;
    },
    threshold: (share = "") => `Decision threshold ${share}`,
    /** @type {Partial<Record<Verdict, (names: string[]) => string>>} */
    notRuledOut: {
      no_referral: () => "Not ruled out: if in doubt, refer.",
      abstained: (names) => `Nothing was assessed; ${anyOf(names)} is not ruled out.`,
    },
    ownMix: (names = "", share = "") => `Calibrated for a population with ${share} ${names}. If fewer: lower risk, same advice.`,
    clinic: (names = "", share = "") => `For your clinic, where ${share} of lesions are ${names}.`,
    noMix: "The model does not say for which population this risk holds.",
    setClinic: "Set the share in your clinic",
    change: "Change",
    caution: "Interpret with caution",
    also: "Also noted",
    abstainedBecause: "Why not",
    abstainedWhatNext: "Take another image, or judge the lesion without this software.",
    /** @type {Record<string, string>} */
    reasons: {
      no_lesion_found: "No lesion was found; place it in the middle of the image.",
      lesion_touches_border: "The lesion reaches the edge of the image; take one that shows all of it.",
      several_lesions: "Probably more than one lesion, judged together; take one image of each.",
      branches_disagree: "The model's two halves disagree on the diagnosis; trust your own judgement.",
      not_sure: "At the model's mix, none of the diagnoses it knows is likely enough: a referral is advised below the threshold too.",
      near_threshold: "The risk is close to the threshold: a second image may change the advice.",
      near_not_sure: "The model is not quite sure: a second image may change the advice.",
      small_picture: "The image has fewer pixels than the model needs; send the original.",
      burned_in_annotation: "The file says that there is writing in the image; it may mislead the model and name the patient.",
      recognizable_features: "The file says that the patient can be recognised in the image. Show the lesion alone.",
      not_dermoscopy: "This image is unlike the dermoscopic images the model learned from. Was it taken with a dermatoscope?",
      blurred: "The image is blurred; focus and take it again.",
      too_dark: "The image is too dark; use more light.",
      too_bright: "The image is too bright; use less light or pressure.",
      no_colour: "The image has no colour; take it in colour.",
      tiny_lesion: "The lesion is very small in the image; move closer.",
    },
  },

  limits: {
    unknown: "Cannot recognise",
    unknownMeans: (others = [""], known = [""]) => `${anyOf(["clinical photographs", ...others, "anything else"])}. It knows ${allOf(known)}.`,
    testing: "In testing",
    notMeasured: "Not tested: how many malignant lesions it misses was not measured.",
  },

  performance: {
    title: "How well it did",
    /** @type {(names: string[]) => string} */
    cases: (names) => (names.join() === "melanoma" ? "melanomas" : "malignant lesions"),
    /** Of 100 malignant lesions missed, of 100 harmless ones referred. */
    said: (cases = "", missed = 0, referred = 0) => `It missed ${missed < 1 ? "fewer than 1" : missed} of 100 ${cases} and flagged ${referred < 1 ? "fewer than 1" : referred} of 100 harmless lesions.`,
    expectMore: "Expect more misses elsewhere.",
    sensitivity: "Sensitivity",
    specificity: "Specificity",
    sensitivityMeans: "of malignant lesions were referred",
    specificityMeans: "of harmless lesions were not",
    interval: (low = 0, high = 0) => `95% interval ${percent(low)} to ${percent(high)}`,
    measured: (where = "") => `Measured on ${where}.`,
    chosen: (where = "") => `The threshold was chosen on ${where}.`,
    repeatability: "A second image of the same lesion",
    repeats: (share = 0, low = 0, high = 0) => `gave the other advice in ${percent(share)} of pairs (95% interval ${percent(low)} to ${percent(high)}).`,
    changes: (median = 0, most = 0, where = "") => `At the model's mix the risk changed by at most ${number(median * 100)} percentage points in half of them, and ${number(most * 100)} in 95 of 100 (${where}).`,
  },

  clinic: {
    title: "Your clinic",
    prevalence: (names = "") => `Lesions you examine that are ${names}`,
    own: "Use the model's mix",
    point: "Operating point",
    /** @type {Record<string, string>} */
    points: { balanced: "Balanced", "high-sensitivity": "High sensitivity", dermatologist: "As dermatologists" },
    remembered: "Remembered in this browser and used for every answer.",
    values: "Predictive values in your clinic",
    positive: (names = [""]) => `Of lesions referred, ${anyOf(names)} (PPV)`,
    negative: (names = [""]) => `Of lesions not referred, no ${anyOf(names)} (NPV)`,
    ends: "In brackets: with sensitivity and specificity at both ends of their intervals.",
    none: "Here every lesion is referred, or none: one of the values has no meaning.",
    at: (share = "") => `Where ${share} of lesions are malignant.`,
    invalid: "Type a number from 0.1 to 99.",
  },

  probabilities: {
    title: "Probabilities by diagnosis",
    caption: "Calibrated probabilities, malignant diagnoses first",
    warning: "Do not decide by the most probable diagnosis: where malignant lesions are rare, another one is nearly always more probable.",
    class: "Diagnosis",
    mean: "Mean",
    branch: "Branch",
    malignant: "malignant",
    unknown: (name = "") => `${name} (may be malignant or not)`,
    sum: "All malignant diagnoses",
    mix: (shares = [""]) => `The model's own mix: ${allOf(shares)}.`,
  },

  quality: {
    title: "Image quality",
    image: "This image",
    limit: "Limit",
    /** @type {Record<string, string>} */
    rows: {
      sharpness: "Sharpness",
      dark_share: "Dark pixels",
      bright_share: "Nearly white pixels",
      unfamiliarity: "Distance from the training images (1 is typical)",
    },
    least: (value = "") => `at least ${value}`,
    most: (value = "") => `at most ${value}`,
  },

  done: {
    title: "What was done to the image",
    read: (format = "", width = 0, height = 0) => `Read as ${format}, ${width} × ${height} pixels, turned upright.`,
    /** @type {Record<string, string>} */
    notes: {
      profile_ignored: "Colour profile ignored.",
      cmyk_without_profile: "Printing inks (CMYK) without a profile; the colours may be off.",
    },
    squashed: (size = 0, /** @type {number | null} */ quality) => `Squashed to ${size} × ${size} pixels${quality ? ` and compressed (JPEG, quality ${quality})` : ""}; finer detail is lost.`,
    kept: (size = 0) => `It has the ${size} × ${size} pixels the model uses already.`,
    cropped: (share = 0) => `Cropped to ${percent(share)} of the image.`,
    lesion: (share = 0) => `The lesion covers ${percent(share)} of the image.`,
    noLesion: "No lesion was found; the whole image was used.",
  },

  model: {
    title: "Model",
    name: "Name and version",
    runs: "Runs as",
    digest: "Digest (SHA-256)",
    answered: "Answered",
    expires: "Deleted in the service",
    card: "Read the model card",
    id: "Answer's id",
  },

  record: {
    title: "For the record",
    reference: "Reference",
    site: "Body site",
    why: "Printed and copied; never sent or kept. No patient's name.",
    copy: "Copy for the record",
    copied: "Copied.",
    print: "Print or PDF",
    image: "Image",
    reader: "Read by",
    signature: "Date and signature",
  },

  details: "Details",

  impression: {
    title: "Your impression first",
    question: "What would you do with this lesion?",
    /** @type {Record<string, string>} */
    choices: { refer: "Refer", no_referral: "Not refer", unsure: "Unsure" },
    show: "Show the answer",
    yours: (choice = "") => `Your impression before the answer: ${choice.toLowerCase()}.`,
    agreement: (same = 0, of = 0) => `Agreement in this session: ${same} of ${of}.`,
  },

  compare: {
    title: "Two images side by side",
    leave: "Back to one image",
    map: "Map on both",
    caption: "Probabilities of both images and their difference, B less A",
    points: (shares = 0) => `${difference(shares)} pp`,
    abstained: "no assessment",
    linked: "Zoom and position are linked.",
    noScale: "The scale of both is not known: that a lesion looks larger says nothing about growth.",
    scales: "Each image has its own scale: compare the sizes, not the looks.",
    noDifference: "An image without an assessment has no difference to show.",
    models: "The two answers come from different models; their probabilities cannot be compared.",
  },
};
