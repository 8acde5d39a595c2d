/** Every word of the page, in one place for its translation. */

import { number, percent, percents, wholePercent } from "./format.js";

/** @import { Box, MapKind, Summary } from "./types.js" */

const maps = { lesion: "Lesion", spatial: "Spatial", correlation: "Correlation" };
const branches = { mean: "both branches", 1: "branch 1", 2: "branch 2" };

export const text = {
  skip: "Skip to the picture",
  brand: "Clinical-Inspired Network",
  purpose: "Reads one dermoscopic picture of a pigmented lesion",
  statement: "Research software, not a medical device. Not for diagnosis, triage or treatment decisions. The maps are no evidence that an answer is right.",
  served: (name = "", version = "", variant = "", provider = "") => `${name} ${version}, ${variant} on ${provider}`,

  tools: { label: "Tools", new: "New picture", compare: "Compare", print: "Print", theme: "Light or dark" },

  start: {
    title: "Drop a dermoscopic picture here",
    ways: "or paste one from the clipboard",
    choose: "Choose a picture",
    take: "Take a picture",
    formats: "JPEG, PNG, WebP, TIFF or BMP. Sent to this service only; its bytes are not kept.",
    examples: "Or try an example",
    impression: "Ask for my impression first",
    impressionWhy: "The answer stays covered until then.",
  },
  /** @type {Record<string, { title: string, source: string, known: string }>} */
  examples: {
    melanoma: { title: "Dark, irregular lesion", source: "ISIC_0001140, CC0", known: "Known diagnosis: melanoma. The shipped model was trained on it, among others." },
    nevus: { title: "Red and brown lesion", source: "ISIC_0013793, CC0", known: "Known diagnosis: nevus. The shipped model was not trained on it; it is one of those on which its threshold was chosen." },
  },

  picture: (count = 0) => `Picture ${count}`,
  example: (count = 0) => `Picture ${count}, an example`,

  progress: {
    sending: (share = 0) => `Sending, ${wholePercent(share)}`,
    waiting: "Reading the picture",
    again: "Reading the picture again",
    give_up: "Give up",
  },

  problem: {
    again: "Try again",
    another: "Choose another picture",
    kept: "Your picture is still here.",
    wait: (seconds = 0) => `The service asks to wait ${seconds} ${seconds === 1 ? "second" : "seconds"}.`,
    /** @type {Record<string, { title: string, text: string, detail?: boolean }>} */
    kinds: {
      "malformed-request": { title: "This could not be sent as a picture", text: "The service did not find a picture in it:", detail: true },
      "too-large": { title: "The picture is too large", text: "Send a smaller copy of it:", detail: true },
      "unsupported-type": { title: "This is not a picture the service reads", text: "It looks at the content, not at the name:", detail: true },
      "undecodable-picture": { title: "The picture cannot be read", text: "What the service says of it:", detail: true },
      unauthorized: { title: "The service asks for an access key", text: "Ask whoever runs it for one." },
      "queue-full": { title: "The service is busy", text: "As many pictures are being read as it can take." },
      "rate-limited": { title: "Too many pictures in a short time", text: "Your access allows no more for the moment." },
      "not-ready": { title: "The service is not ready", text: "It is starting, ending, or has stopped trusting itself." },
      "insufficient-storage": { title: "The service has no room for an answer", text: "Whoever runs it has to make room." },
      "request-timeout": { title: "Sending took too long", text: "The connection was too slow for the service." },
      "deadline-exceeded": { title: "No answer in time", text: "The service took too long." },
      unreachable: { title: "The service cannot be reached", text: "The connection is broken, or it is not running." },
      "not-found": { title: "The service no longer keeps this answer", text: "Answers expire after a while. Send the picture again to see its maps." },
      changed: { title: "The model has just changed", text: "The service describes another one by now." },
      unknown: { title: "The service failed", text: "Try again; if that does not help, tell whoever runs it." },
    },
  },

  impression: {
    title: "Your impression first",
    question: "What would you do with this lesion?",
    /** @type {Record<string, string>} */
    choices: { refer: "Refer", no_referral: "Not refer", unsure: "Unsure" },
    show: "Show the answer",
    yours: (choice = "") => `Your impression before the answer: ${choice.toLowerCase()}.`,
  },

  decision: {
    refer: "Refer",
    no_referral: "Below the referral threshold",
    abstained: "The network abstains",
    because: (names = "", share = 0, threshold = 0, refer = false) => {
      const [shown, limit] = percents(share, threshold);
      return `${names}: ${shown}, ${refer ? "at or above" : "below"} the threshold of ${limit}.`;
    },
    noReferralMeans: "Not a finding of harmlessness: some malignant lesions fall below it.",
    caution: "Look twice, because",
    also: "Also noted",
    abstainedBecause: "No probabilities are shown, because",
    abstainedWhatNext: "Take another picture, or judge the lesion without this software.",
    /** @type {Record<string, string>} */
    reasons: {
      no_lesion_found: "no lesion was found, and the whole picture was judged instead.",
      lesion_touches_border: "the lesion reaches the edge of the picture; part of it may be missing.",
      several_lesions: "the picture seems to show more than one lesion; take one of each, as they were judged together.",
      branches_disagree: "the two branches of the network name different diagnoses.",
      near_threshold: "the probability is close to the threshold; another picture of the same lesion may fall on its other side.",
      small_picture: "the picture has fewer pixels than the network takes.",
      not_dermoscopy: "this does not look like a dermoscopic picture.",
      blurred: "the picture is blurred; focus and take it again.",
      too_dark: "the picture is too dark; take it with more light.",
      too_bright: "the picture is too bright; take it with less light or pressure.",
      no_colour: "the picture has no colour; take it in colour.",
      tiny_lesion: "the lesion is very small in the picture; take it from closer by.",
    },
  },

  probabilities: {
    title: "Probabilities",
    caption: "Calibrated probabilities by class, most probable first",
    class: "Class",
    mean: "Mean",
    branch: "Branch",
    malignant: "malignant",
    sum: "Malignant in all",
    threshold: (threshold = 0) => `Threshold ${percent(threshold)}`,
    agree: (name = "") => `Both branches name ${name}.`,
    disagree: (one = "", two = "") => `Branch 1 names ${one}, branch 2 ${two}.`,
    apart: (name = "", shares = 0) => `They differ most in ${name}, by ${number(shares * 100)} percentage points.`,
    mix: (shares = "") => `The probabilities hold where lesions are mixed as the model's were: ${shares}.`,
  },

  point: {
    title: "Operating point",
    choose: "Judge at",
    refers: (threshold = 0) => `Refers from ${percent(threshold)} malignant.`,
    sensitivity: "Sensitivity",
    specificity: "Specificity",
    sensitivityMeans: "of malignant lesions are referred",
    specificityMeans: "of the others are not",
    interval: (low = 0, high = 0) => `${percent(low)} to ${percent(high)}`,
    measured: (where = "") => `95 % intervals; measured on ${where}.`,
  },

  prevalence: {
    title: "What it means where you work",
    label: "Malignant among the lesions you see",
    unit: "%",
    positive: "Of those referred, malignant (PPV)",
    negative: "Of those not referred, benign (NPV)",
    ends: "In brackets: with sensitivity and specificity at both ends of their intervals.",
    none: "Here every lesion is referred, or none: one of the values has no meaning.",
    invalid: "Type a number from 0.1 to 99.",
  },

  done: {
    title: "What was done to the picture",
    read: (format = "", width = 0, height = 0) => `Read as ${format}, ${width} × ${height} pixels, turned upright.`,
    /** @type {Record<string, string>} */
    notes: {
      profile_ignored: "Colour profile ignored.",
      cmyk_without_profile: "Printing inks (CMYK) without a profile; the colours may be off.",
    },
    squashed: (size = 0, /** @type {number | null} */ quality) => `Squashed to ${size} × ${size} pixels${quality ? ` and compressed (JPEG, quality ${quality})` : ""}; finer detail is lost.`,
    kept: (size = 0) => `It has the network's ${size} × ${size} pixels already.`,
    cropped: (/** @type {Box} */ box, share = 0) => `Cropped to x ${box.x0} to ${box.x1}, y ${box.y0} to ${box.y1}: ${percent(share)} of the picture.`,
    lesion: (share = 0) => `The lesion covers ${percent(share)} of the picture.`,
    noLesion: "No lesion was found; the whole picture was used.",
    times: "How long it took, in milliseconds",
    /** @type {Record<string, string>} */
    stages: { decode: "Decode", queue: "Wait", inference: "Network", total: "In all" },
  },

  model: {
    title: "Model",
    name: "Name and version",
    runs: "Runs as",
    digest: "Digest (SHA-256)",
    answered: "Answered",
    card: "Read the model card",
    id: "Answer's id",
  },

  note: { label: "Reference for the print", why: "Printed on the report; never sent or kept." },

  viewer: {
    label: "Picture viewer",
    role: "picture viewer",
    zoom: "Zoom",
    in: "Zoom in",
    out: "Zoom out",
    fit: "Fit the picture",
    native: "Native pixels",
    keys: "Keys in the viewer",
    keyList: [
      ["+  −", "zoom"],
      ["0", "fit the picture"],
      ["1", "native pixels"],
      ["Arrows", "move the picture; on the correlation map, choose a spot"],
      ["Enter", "show what is related to the spot"],
      ["Shift + arrows", "move the picture on the correlation map"],
      ["Esc", "let go of the spot"],
      ["O", "map on and off"],
    ],
    cannotShow: "The browser cannot show this kind of picture; this is what the network was given.",
    noPreview: "The browser cannot show this.",
    alone: "The picture without a map.",
    dashes: "Dashed: the crop that the network judged. Solid: the outline of the lesion it found.",
    lifted: "Map switched off; press O to see it again.",
  },

  overlays: {
    map: "Map",
    none: "None",
    kinds: maps,
    branch: "Branch",
    branches: { mean: "Mean", 1: "1", 2: "2" },
    opacity: "Opacity of the map",
    split: "Without | with the map",
    box: "Crop",
    outline: "Lesion outline",
    frame: "As the network gets it",
    /** @type {Record<MapKind, [string, string, string]>} */
    scales: {
      lesion: ["0", "1", "Lesion area attention"],
      spatial: ["1×", "4× or more", "the average spot"],
      correlation: ["1×", "4× or more", "the average pair of spots"],
    },
    legend: (low = "", high = "", unit = "") => `Colours run from ${low} to ${high}, ${unit}.`,
    relate: "Click a spot inside the dashed crop to see what the network relates to it.",
    spotMoved: (row = 0, column = 0, rows = 0, columns = 0) => `Spot in row ${row} of ${rows}, column ${column} of ${columns}. Enter shows what is related to it.`,
    outside: "The spot is outside the crop.",
    /** What a map shows, for those who do not see it. */
    says: (/** @type {Summary} */ summary, /** @type {string | null} */ where, spot = false) => {
      const of = summary.region === "crop" ? "crop" : "picture";
      const name = summary.map === "lesion" ? "Lesion area attention" : `${maps[summary.map]} attention, ${branches[summary.branch]}${spot ? ", related to the spot" : ""}`;
      const unit = summary.map === "lesion" ? "" : " × the average";
      if (!summary.evident) return `${name}: nothing stands out; it stays below ${number(summary.evidence_level)}${unit} everywhere, so it is not drawn.`;
      return `${name}: centred ${where} of the ${of}; ${percent(summary.share)} of the ${of} is at or above ${number(summary.evidence_level)}${unit}, the highest value is ${number(summary.peak)}${unit}.`;
    },
    /** Rows from above, columns from the left. */
    places: [
      ["upper left", "at the top", "upper right"],
      ["on the left", "in the middle", "on the right"],
      ["lower left", "at the bottom", "lower right"],
    ],
  },

  compare: {
    title: "Two pictures side by side",
    leave: "Back to one picture",
    pick: (side = "") => `Picture ${side}`,
    map: "Map on both",
    caption: "Probabilities of both pictures and their difference, B less A",
    difference: "B − A",
    abstained: "abstained",
    linked: "Zoom and position are linked. No scale is known: that a lesion looks larger says nothing of growth.",
    noDifference: "The network abstained, so there is no difference to show.",
    models: "The two answers come from different models; their probabilities cannot be compared.",
  },

  recent: {
    title: "This tab",
    abstained: "abstained",
    forgetAll: "Delete all",
    why: "The last 24, in this tab's memory until it is closed.",
    all: "Everything",
    forget: (name = "") => `Delete ${name}`,
    open: (name = "", verdict = "") => `${name}, ${verdict}`,
    forgotten: (name = "") => `${name} was deleted here and in the service.`,
    forgottenHere: (name = "") => `${name} was deleted here. The service did not confirm it; there it expires by itself.`,
  },

  key: {
    title: "Access key",
    why: "This service reads pictures for holders of a key only. It stays in this tab's memory until that is closed.",
    field: "Key",
    refused: "The service did not accept that key.",
    use: "Use the key",
    cancel: "Cancel",
  },
  card: { title: "Model card", close: "Close" },
};

/**
 * The words at a dotted path, for the elements of index.html.
 * @param {string} path
 * @returns {string}
 */
export function words(path) {
  /** @type {any} */
  let found = text;
  for (const part of path.split(".")) found = found?.[part];
  if (typeof found !== "string") throw new Error(`no words for ${path}`);
  return found;
}
