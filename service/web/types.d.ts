// What the service answers, as far as the page reads it, and what the page makes of it. For the type checker alone.

export type Box = { x0: number; y0: number; x1: number; y1: number };
export type Point = { x: number; y: number };
export type Shares = Record<string, number>;

export interface Decision {
  operating_point: string;
  malignant_probability: number;
  threshold: number;
  refer: boolean | null;
  status: "clear" | "caution" | "abstained";
  reasons: string[];
  abstained_because: string[];
}

export interface Prediction {
  id: string;
  created_at: string;
  diagnosis: string;
  probabilities: Shares;
  branches: { probabilities: Shares }[];
  decision: Decision;
  lesion: { found: boolean; fraction: number; crop_box: Box };
  image: { width: number; height: number; format: string; sha256: string; notes: string[] };
  attention: { lesion: string; spatial: string | null; correlation: string | null };
  model: { name: string; version: string; sha256: string; variant: string; provider: string };
  timings_ms: { decode: number; queue: number; inference: number; total: number };
  notice: string;
}

export type Interval = { value: number; low: number; high: number };

export interface OperatingPoint {
  name: string;
  threshold: number;
  sensitivity: Interval;
  specificity: Interval;
  measured_on: string;
}

export interface Manifest {
  name: string;
  version: string;
  classes: { name: string; label: string; malignant: boolean }[];
  frame_size: number;
  frame_jpeg_quality: number | null;
  outputs: { name: string; shape: (number | string)[] }[];
  prevalence: Shares | null;
  operating_points: OperatingPoint[];
}

export interface Model {
  card: string;
  manifest: Manifest;
  sha256: string;
  variant: string;
  provider: string;
}

export type MapKind = "lesion" | "spatial" | "correlation";
export type Branch = "mean" | "1" | "2";

export interface Summary {
  map: MapKind;
  branch: Branch;
  region: "picture" | "crop";
  peak: number;
  evidence_level: number;
  evident: boolean;
  share: number;
  centre: Point | null;
  outline: Point[][];
}

/** Which map to lay over the picture; a spot, in pixels of the upright picture, for the correlation map alone. */
export type Choice = { kind: MapKind; branch: Branch; spot: Point | null };
/** How many spots a map has, and one of them. */
export type Grid = { columns: number; rows: number };
export type Cell = { column: number; row: number };

/** Zoom 1 fits the picture into the stage; x and y are what is in its middle, as fractions of the picture. */
export type View = { zoom: number; x: number; y: number };
/** In pixels of the upright picture. */
export type Marks = { box: Box | null; outline: Point[][]; spot: Box | null };

export type Impression = "refer" | "no_referral" | "unsure";

/** A picture on its way to an answer. */
export interface Reading {
  file: Blob;
  url: string;
  example: string | null;
  /** Counts the pictures of this tab. */
  number: number;
  /** The same picture's answer that this one is to take the place of. */
  replaces: Result | null;
  operatingPoint?: string;
}

/** A picture of this tab and its answer. */
export interface Result {
  file: Blob;
  /** Of the file, in memory. */
  url: string;
  /** What shows it: the same, or the network's frame where a browser cannot. */
  shown: string;
  example: string | null;
  number: number;
  prediction: Prediction;
  /** That answered. */
  model: Model;
  /** For the print alone. */
  note: string;
  /** What its reader thought before the answer was shown. */
  impression: Impression | null;
}

/** What a reader may set; shared by all answers of the tab. */
export type Settings = { percent: number };
export type Actions = { judgeAt: (point: string) => void; showCard: () => void };

export type Child = Node | string | null | undefined | false;
