// What the service answers, as far as the page reads it, and what the page makes of it. For the type checker alone.

export type Box = { x0: number; y0: number; x1: number; y1: number };
export type Point = { x: number; y: number };
export type Shares = Record<string, number>;

export interface Decision {
  operating_point: string;
  prevalence: number | null;
  malignant_probability: number | null;
  threshold: number;
  refer: boolean | null;
  status: "ok" | "caution" | "abstained";
  reasons: string[];
  abstained_because: string[];
}

export interface Quality {
  sharpness: number;
  dark_share: number;
  bright_share: number;
  unfamiliarity: number;
}

export interface Prediction {
  id: string;
  created_at: string;
  expires_at: string | null;
  probabilities: Shares | null;
  branches: { probabilities: Shares }[] | null;
  decision: Decision;
  lesion: { found: boolean; fraction: number; crop_box: Box };
  quality: Quality | null;
  image: { width: number; height: number; format: string; sha256: string; notes: string[]; millimetres_per_pixel: number | null };
  attention: { lesion: string; spatial: string | null; correlation: string | null };
  model: { name: string; version: string; sha256: string; variant: string; provider: string };
  follow_up: FollowUp | null;
}

/** Which lesion it is, and the date of the visit; empty: not said. */
export type FollowUp = { lesion: string; visit: string };

export interface Said {
  at: string;
  opinion: "agree" | "disagree" | "unsure" | null;
  diagnosis: string | null;
  histology: string | null;
  date: string;
  recall_months: number | null;
  millimetres_per_pixel: number | null;
}

export type Size = { along_mm: number; across_mm: number; at_least: boolean };

export interface Change {
  since: string;
  verdict: "none" | "higher" | "lower" | "not_measured" | "not_comparable";
  malignant_probability: number | null;
  repeatability: { median_change: number; percentile_95_change: number } | null;
  size: { along_mm: number; across_mm: number } | null;
}

export interface SeenImage {
  id: string;
  at: string;
  model: string;
  refer: boolean | null;
  malignant_probability: number | null;
  reasons: string[];
  size: Size | null;
  feedback: Said[];
}

export interface LesionVisit {
  visit: string;
  num_images: number;
  num_averaged: number;
  malignant_probability: number | null;
  size: Size | null;
  changes: Change[];
  images: SeenImage[];
}

export type Timeline = { lesion: string; visits: LesionVisit[] };

export interface WorkItem {
  lesion: string | null;
  visit: string;
  advice: "refer" | "none";
  malignant_probability: number | null;
  ids: string[];
}

export interface Recall {
  lesion: string;
  last_visit: string;
  months: number;
  due: string;
  is_due: boolean;
}

export interface LesionSummary {
  lesion: string;
  last_visit: string;
  num_visits: number;
  num_images: number;
}

export type Interval = { value: number; low: number; high: number };

export interface OperatingPoint {
  name: string;
  threshold: number;
  sensitivity: Interval;
  specificity: Interval;
  measured_on: string;
  chosen_on: string | null;
}

export interface Repeatability {
  measured_on: string;
  median_change: number;
  percentile_95_change: number;
  other_advice: Interval;
}

/** What switching the lesion feature attention off changed in testing. */
export interface AttentionInfluence {
  measured_on: string;
  num_images: number;
  median_change: number;
  percentile_95_change: number;
  other_advice: Interval;
  row_spread: number;
}

export interface Abstention {
  max_unfamiliarity: number;
  min_sharpness: number;
  max_dark_share: number;
  max_bright_share: number;
}

export interface Manifest {
  name: string;
  version: string;
  classes: { name: string; label: string; malignant: boolean; role: "malignant" | "benign" | "unknown" }[];
  frame_size: number;
  frame_jpeg_quality: number | null;
  outputs: { name: string; shape: (number | string)[] }[];
  prevalence: Shares | null;
  operating_points: OperatingPoint[];
  default_operating_point: string;
  abstention: Abstention | null;
  repeatability: Repeatability | null;
  attention_influence: AttentionInfluence | null;
}

export interface Model {
  card: string;
  manifest: Manifest;
  sha256: string;
  variant: string;
  provider: string;
  operating_point: string;
  keeps_ledger: boolean;
  takes_jobs: boolean;
}

export type MapKind = "lesion" | "spatial" | "correlation";
export type Branch = "mean" | "1" | "2";

export type Place = "upper_left" | "top" | "upper_right" | "left" | "middle" | "right" | "lower_left" | "bottom" | "lower_right";

export interface Peak {
  x: number;
  y: number;
  value: number;
  lesion: "inside" | "edge" | "outside" | null;
  place: Place;
}

export interface Summary {
  map: MapKind;
  branch: Branch;
  region: "picture" | "crop";
  peak: number;
  evidence_level: number;
  evident: boolean;
  share: number;
  centre: Point | null;
  peaks: Peak[];
  outline: Point[][];
}

/** Which map to lay over the image; a spot, in pixels of the upright image, for the correlation map alone. */
export type Choice = { kind: MapKind; branch: Branch; spot: Point | null };
/** How many spots a map has, and one of them. */
export type Grid = { columns: number; rows: number };
export type Cell = { column: number; row: number };

/** Zoom 1 fits the image into the stage; x and y are what is in its middle, as fractions of the image. */
export type View = { zoom: number; x: number; y: number };
/** In pixels of the upright image. */
export type Marks = { box: Box | null; outline: Point[][]; spot: Box | null; ends: Point[] };

export type Impression = "refer" | "no_referral" | "unsure";
export type Verdict = "refer" | "no_referral" | "abstained";

/** Kept in this browser; nothing of a patient. */
export interface Preferences {
  language?: string;
  theme?: "light" | "dark";
  /** Share of malignant lesions in the clinic, 0 to 1; the model's own mix without it. */
  prevalence?: number;
  /** The service's default without it. */
  operatingPoint?: string;
  impressionFirst?: boolean;
}

/** Whom an answer is for: what the service converts it to. */
export type Clinic = { prevalence?: number; operatingPoint?: string };

export interface Upload {
  clinic: Clinic;
  followUp: FollowUp;
  /** The same when an upload is tried again. */
  idempotencyKey: string;
  onProgress: (share: number) => void;
  signal: AbortSignal;
}

/** An image of this tab: waiting, on its way, failed, or answered. */
export interface Item {
  /** Counts the images of this tab. */
  number: number;
  file: Blob;
  /** Of the file; shown here, never sent. */
  name: string;
  /** Of the file, in memory. */
  url: string;
  /** What shows it: the same, or the network's frame where a browser cannot. */
  shown: string;
  example: string | null;
  state: "waiting" | "sending" | "failed" | "answered";
  /** Of the bytes that were sent. */
  share: number;
  problem: unknown;
  /** When a busy service is asked again, in milliseconds since 1970. */
  retryAt: number | null;
  /** Makes sending again safe (`Idempotency-Key`). */
  key: string;
  prediction: Prediction | null;
  /** The same as it was given to the upload, which is what a ledger keeps. */
  recorded: Prediction | null;
  /** That answered. */
  model: Model | null;
  /** What is to be sent with it, where the service keeps a ledger. */
  lesion: string;
  visit: string;
  /** What its reader has said of it, as sent. */
  said: Partial<Said>[];
  /** For the print and the record alone. */
  reference: string;
  site: string;
  /** As calibrated by its reader; null: not calibrated. */
  millimetresWide: number | null;
  /** Of the lesion, in pixels of the answer's image; empty until it was fetched. */
  outline: Point[][];
  /** What its reader thought before the answer was shown. */
  impression: Impression | null;
  /** Whether an impression is wanted before its answer is shown. */
  covered: boolean;
}

/** An image with its answer. */
export type Result = Item & { prediction: Prediction; model: Model };

export type Actions = {
  /** Shows all answers for another clinic; undefined is the service's default. */
  adjust: (changes: Clinic) => void;
  showCard: () => void;
  agreement: () => { same: number; of: number };
};

export type Child = Node | string | null | undefined | false;
