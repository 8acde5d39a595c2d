/** The words of the part over time: which lesion it is, its visits, what clinicians say, what is due. */

import { allOf, difference, number, signed } from "../../format.js";

const percentagePoints = (share = 0) => `${number(Math.abs(share) * 100)} percentage points`;

export const text = {
  title: "Over time",
  loading: "Loading",
  back: "All lesions",
  lesion: "Lesion",
  visit: "Date of the visit",
  labelRule: "Your own label, such as L-12: letters and digits, a digit at least. It is kept, so never a name.",
  next: "Follow a lesion: the next images show",
  follow: "Follow this lesion",
  change: "Change lesion or visit",
  another: "Another image of this lesion",
  timeline: "Timeline",
  timelineOf: (lesion = "") => `Timeline of ${lesion}`,
  calibrated: "Risks as the model is calibrated, whatever your clinic's share.",
  averages: "Several images of one visit are averaged.",
  visitOf: (day = "") => `visit of ${day}`,
  open: "Open the image",
  risk: (share = "") => `risk ${share}`,
  averaged: (averaged = 0, images = 0) => (averaged === images ? (images > 1 ? `average of ${images} images` : "one image") : `${averaged} of ${images} images counted`),
  firstVisit: "First visit: nothing to compare with.",

  /** @type {Record<string, (since: string, by: number) => string>} */
  verdicts: {
    none: (since, by) => `No change since ${since} (${difference(by)} pp).`,
    higher: (since, by) => `Risk higher than on ${since}, by ${percentagePoints(by)}.`,
    lower: (since, by) => `Risk lower than on ${since}, by ${percentagePoints(by)}.`,
    not_measured: (since, by) => `${difference(by)} pp since ${since}. Not to be called a change: how much two images of one lesion differ was not measured for this model.`,
    not_comparable: (since) => `Not comparable with ${since}: another model answered then. Send the earlier images again.`,
  },
  repeats: (half = 0, most = 0) => `Two images of one unchanged lesion differ by ${number(half * 100)} pp in the median, and by up to ${number(most * 100)} pp in 95 of 100 pairs.`,
  size: (size = "", least = false) => `Model's outline ${least ? "at least" : "about"} ${size}.`,
  noScale: "No scale, so nothing is said of its size.",
  larger: (along = 0, across = 0) => `Outline ${allOf([`${signed(along)} mm along`, `${signed(across)} mm across`])}. How much two outlines of one lesion differ was not measured, so this is not called a change.`,
  keepScale: "Keep the calibrated scale with this image",
  scaleKept: "scale kept",

  answer: "Your answer",
  opinion: "The advice",
  recorded: (advice = "", point = "") => `Your answer is about the recorded advice: ${advice} (${point}).`,
  /** @type {Record<string, string>} */
  opinions: { agree: "Agree", disagree: "Disagree", unsure: "Unsure" },
  diagnosis: "Diagnosis",
  histology: "Histology",
  date: "Date",
  recall: "Next visit",
  /** @type {Record<number, string>} */
  months: { 3: "in 3 months", 6: "in 6 months", 12: "in 12 months", 0: "no recall" },
  write: "Write down",
  written: "Written down.",
  nothing: "Choose an opinion, a diagnosis, histology or the next visit.",
  noAnswer: "No clinician's answer yet",
  /** @type {Record<string, string>} */
  diagnoses: { other_malignant: "Other malignant", dermatofibroma: "Dermatofibroma", vascular_lesion: "Vascular lesion", other_benign: "Other benign" },

  worklist: (count = 0) => `Waiting for a clinician (${count})`,
  worklistMeans: "Not yet answered: referrals by risk, then images without an assessment.",
  nothingWaits: "Nothing waits.",
  unlabelled: "image without a lesion",
  recalls: (count = 0) => `Recalls due (${count})`,
  calendar: "Calendar",
  onlyDue: "Only those that are due",
  nothingDue: "None.",
  due: (day = "", isDue = false) => (isDue ? `due since ${day}` : `due on ${day}`),
  since: (months = 0, last = "") => `${months} months after ${last}`,
  lesions: (count = 0) => `Lesions (${count})`,
  search: "Search",
  visits: (visits = 0, images = 0, last = "") => `${visits} ${visits === 1 ? "visit" : "visits"}, ${images} ${images === 1 ? "image" : "images"}, last on ${last}`,
  more: (count = 0) => `${count} more; search for them.`,

  eraseLesion: "Delete this lesion",
  eraseImage: "Delete this image's record",
  eraseMeans: "Answers and feedback are erased here and in the service, and cannot be brought back. The audit log keeps that they were deleted.",
  erase: (lesion = "") => `Delete everything of ${lesion}`,
  erased: "Deleted.",
};
