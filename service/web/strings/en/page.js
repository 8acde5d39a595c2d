/** The words around an answer: how images come in, the session, the viewer, and what may go wrong. */

import { allOf, number, percent, wholePercent } from "../../format.js";

/** @import { MapKind, Peak, Summary } from "../../types.js" */

const maps = { lesion: "Lesion", spatial: "Spatial", correlation: "Correlation" };
const branches = { mean: "both branches", 1: "branch 1", 2: "branch 2" };

const sides = { upper_left: "upper left", top: "upper", upper_right: "upper right", left: "left", middle: "", right: "right", lower_left: "lower left", bottom: "lower", lower_right: "lower right" };
const beyond = { upper_left: ", to the upper left", top: ", above it", upper_right: ", to the upper right", left: ", to the left", middle: "", right: ", to the right", lower_left: ", to the lower left", bottom: ", below it", lower_right: ", to the lower right" };

/** "at the upper left edge of the lesion" @param {Peak} peak */
function peakAt({ lesion, place }) {
  if (lesion === "outside") return `outside the lesion${beyond[place]}`;
  const side = sides[place] && `${sides[place]} `;
  if (lesion === "edge") return `at the ${side}edge of the lesion`;
  return `in the ${side || "middle "}${side ? "part " : ""}of the ${lesion ? "lesion" : "crop"}`;
}

export const text = {
  skip: "Skip to the image",
  purpose: "Melanoma risk from a dermoscopic image.",
  research: "Research software, not a medical device.",
  statement: "Not for diagnosis, triage or treatment decisions. The maps are no evidence that an answer is right.",
  language: "Language",
  cancel: "Cancel",

  tools: { label: "Tools", new: "New image", list: "List", compare: "Compare", print: "Print", time: "Over time", theme: "Light or dark" },

  start: {
    title: "Drop dermoscopic images here",
    touch: "Take or choose dermoscopic images",
    ways: "or paste them from the clipboard; several at once, or a folder",
    choose: "Choose images",
    folder: "Choose a folder",
    take: "Take a photo",
    attach: "Attach the dermatoscope to the camera first. One lesion, in focus, filling a third of the image.",
    formats: "JPEG, PNG, WebP, TIFF, BMP, AVIF or DICOM. Sent to this service only; the files and their names are not kept.",
    examples: "Or try an example",
    impression: "Ask for my impression first",
  },
  /** @type {Record<string, { title: string, known: string }>} */
  examples: {
    melanoma: { title: "Dark, irregular lesion", known: "Known diagnosis: melanoma. The shipped model was trained on it, among others." },
    nevus: { title: "Red and brown lesion", known: "Known: naevus. The model was not trained on this image." },
  },

  picture: (/** @type {number | string} */ count) => `Image ${count}`,
  example: (count = 0) => `Image ${count}, an example`,

  progress: {
    sending: (share = 0) => `Sending, ${wholePercent(share)}`,
    waiting: "Reading the image",
    queued: "Waiting",
    retry: (seconds = 0) => `The service is busy; sent again in ${seconds} s`,
    slow: "The connection is slow.",
    shrink: "Send a smaller copy",
  },

  problem: {
    again: "Try again",
    another: "Choose another image",
    kept: "Your image is still here.",
    wait: (seconds = 0) => `The service asks to wait ${seconds} ${seconds === 1 ? "second" : "seconds"}.`,
    says: "The service says:",
    /** @type {Record<string, { title: string, text?: string, detail?: boolean }>} */
    kinds: {
      "malformed-request": { title: "This could not be sent as an image", detail: true },
      conflict: { title: "The image has to be sent again", detail: true },
      "too-large": { title: "The image is too large", text: "Send a smaller copy of it:", detail: true },
      "unsupported-type": { title: "This is not an image the service reads", text: "It looks at the content, not at the name:", detail: true },
      "undecodable-picture": { title: "The image cannot be read", detail: true },
      unauthorized: { title: "The service asks for an access key", text: "Ask the person who runs it for one." },
      "queue-full": { title: "The service is busy", text: "It is reading as many images as it can." },
      "rate-limited": { title: "Too many images in a short time", text: "Your access allows no more for the moment." },
      "not-ready": { title: "The service is not ready", text: "It is starting, stopping, or failed its self-test." },
      "insufficient-storage": { title: "The service has no room for an answer", text: "The person who runs it has to make room." },
      "request-timeout": { title: "Sending took too long", text: "The connection was too slow for the service." },
      "deadline-exceeded": { title: "No answer in time", text: "The service took too long." },
      stalled: { title: "Sending came to a halt", text: "Nothing was sent for half a minute." },
      unreachable: { title: "The service cannot be reached", text: "The connection is broken, or it is not running." },
      "not-found": { title: "The service no longer keeps this answer", text: "Answers expire after a while. Send the image again to see more of it." },
      changed: { title: "The model has just changed", text: "Send the image again." },
      unknown: { title: "The service failed", text: "Try again; if that does not help, tell the person who runs it." },
    },
  },

  session: {
    title: "This session (not saved)",
    summary: (refer = 0, none = 0, below = 0, failed = 0, open = 0) =>
      [
        refer && `${refer} refer`,
        none && `${none} no assessment`,
        failed && `${failed} failed`,
        below && `${below} no referral`,
        open && `${open} to go`,
      ].filter(Boolean).join(", "),
    abstained: "No assessment",
    covered: "Answer covered",
    failed: "Failed",
    retry: (name = "") => `Try ${name} again`,
    retryAll: "Try all failed again",
    deleteAll: "Delete all",
    all: (count = 0) => `All ${count}`,
    why: "Kept in this tab until it is closed. Referrals by risk, then images without an assessment.",
    remove: (name = "") => `Delete ${name}`,
    deleted: (name = "") => `${name} deleted.`,
    undo: "Undo",
    deletedEverywhere: (name = "") => `${name} was deleted here and in the service.`,
    deletedHere: (name = "") => `${name} was deleted here. The service did not confirm it; there it expires by itself.`,
    stays: (name = "") => `${name} is off this list. What was recorded over time stays.`,
    restored: (name = "") => `${name} is back.`,
    full: (most = 0, left = 0) => `Only ${most} images are kept at a time: ${left} not taken. Delete some first.`,
  },

  viewer: {
    label: "Image viewer",
    zoom: "Zoom",
    in: "Zoom in",
    out: "Zoom out",
    fit: "Fit the image",
    native: "Native pixels",
    turn: "Turn",
    full: "Full screen",
    light: "Brightness and contrast",
    lightMeans: "Of what is shown here; the answer stays.",
    brightness: "Brightness",
    contrast: "Contrast",
    keys: "Keys in the viewer",
    keyList: [
      ["Arrows", "move the image"],
      ["O", "map on and off"],
    ],
    cannotShow: "The browser cannot show this kind of image; this is what the model was given.",
    noPreview: "The browser cannot show this.",
    dashes: (count = 1) => `Dashed: the crop that was examined enlarged. Solid: ${count > 1 ? `the outlines of ${count} regions it found; the risk covers all of them together.` : "the outline of the lesion it found."}`,
    lifted: "Map switched off; press O to see it again.",
  },

  scale: {
    title: "Scale and size",
    unknown: "This image's scale is not known.",
    file: "The scale is the one that the file states.",
    own: "Calibrated by its reader; for this image, until the tab is closed.",
    calibrate: "Calibrate on the ruler",
    remove: "Remove the calibration",
    marks: [
      "Choose a mark of the ruler in the image. Without a mouse: zoom in, move the image with the arrows; Enter takes what is under the cross.",
      "Now another mark, as far away as possible.",
    ],
    distance: "Distance between both marks",
    use: "Use",
    invalid: (wide = "", least = 0, most = 0) => `That would make the image ${wide} mm wide; it may be ${least} to ${most} mm. Check the length, or choose other marks.`,
    size: (along = "", across = "", least = false, own = false) => `Lesion ${least ? "at least" : "about"} ${along} × ${across} mm, along and across the model's outline; scale ${own ? "calibrated by the reader" : "from the file"}.`,
  },

  overlays: {
    title: "What the model looked at",
    map: "Map",
    none: "None",
    kinds: maps,
    opacity: "Opacity of the map",
    split: "Without | with the map",
    box: "Crop",
    outline: "Lesion outline",
    frame: "Show the model's input",
    /** @type {Record<MapKind, [string, string, string]>} */
    scales: {
      lesion: ["0", "1", "Lesion area attention"],
      spatial: ["1×", "1.5× or more", "the average spot"],
      correlation: ["1×", "2.5× or more", "the average pair of spots"],
    },
    legend: (low = "", high = "", unit = "") => `Colours run from ${low} to ${high}, ${unit}.`,
    placesCrop: "This map sets the dashed crop, which is examined enlarged.",
    notMeasured: "How much this map influences answers was not measured.",
    influence: (half = 0, most = 0, advice = 0, images = 0, where = "") =>
      `Measured on ${where}: with spatial and correlation attention switched off, the risk at the model's mix changes by at most ${number(half * 100)} percentage points in half of the images and ${number(most * 100)} in 95 of 100, the advice in ${advice} of ${images}.`,
    slight: "So these maps explain little of an answer.",
    relate: "Choose a spot inside the dashed crop (click, or arrows and Enter; Esc lets go) to see what the model relates to it.",
    spotMoved: (row = 0, column = 0, rows = 0, columns = 0) => `Spot in row ${row} of ${rows}, column ${column} of ${columns}. Enter shows what is related to it.`,
    outside: "The spot is outside the crop.",
    /** What a map shows, for those who do not see it. */
    says: (/** @type {Summary} */ summary, /** @type {string | null} */ where, spot = false) => {
      const of = summary.region === "crop" ? "crop" : "image";
      const name = summary.map === "lesion" ? "Lesion area attention" : `${maps[summary.map]} attention, ${branches[summary.branch]}${spot ? ", related to the spot" : ""}`;
      const unit = summary.map === "lesion" ? "" : " × the average";
      if (!summary.evident) return `${name}: nothing stands out; it stays below ${number(summary.evidence_level)}${unit} everywhere, so it is not drawn.`;
      if (summary.peaks.length) return `${name}: highest ${allOf(summary.peaks.map((peak) => `${peakAt(peak)} (${number(peak.value)}×)`))}; 1× is the average spot.`;
      return `${name}: centred ${where} of the ${of}; ${percent(summary.share)} of the ${of} is at or above ${number(summary.evidence_level)}${unit}, the highest value is ${number(summary.peak)}${unit}.`;
    },
    /** Rows from above, columns from the left. */
    places: [
      ["upper left", "at the top", "upper right"],
      ["on the left", "in the middle", "on the right"],
      ["lower left", "at the bottom", "lower right"],
    ],
  },

  key: {
    title: "Access key",
    why: "This service reads images for holders of a key only. It stays in this tab's memory until that is closed.",
    field: "Key",
    refused: "The service did not accept that key.",
    use: "Use the key",
  },
  card: { title: "Model card", close: "Close" },
};
