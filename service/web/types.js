/**
 * What the service answers, as far as the page reads it. Types only; the browser never loads this file.
 *
 * @typedef {{ x0: number, y0: number, x1: number, y1: number }} Box
 * @typedef {{ x: number, y: number }} Point
 * @typedef {Record<string, number>} Shares
 *
 * @typedef {object} Decision
 * @property {string} operating_point
 * @property {number} malignant_probability
 * @property {number} threshold
 * @property {boolean | null} refer
 * @property {"clear" | "caution" | "abstained"} status
 * @property {string[]} reasons
 * @property {string[]} [abstained_because]
 *
 * @typedef {object} Prediction
 * @property {string} id
 * @property {string} created_at
 * @property {string} diagnosis
 * @property {Shares} probabilities
 * @property {{ probabilities: Shares }[]} branches
 * @property {Decision} decision
 * @property {{ found: boolean, fraction: number, crop_box: Box }} lesion
 * @property {{ width: number, height: number, format: string, sha256: string }} image
 * @property {{ lesion: string, spatial: string | null, correlation: string | null }} attention
 * @property {{ name: string, version: string, sha256: string, variant: string, provider: string }} model
 * @property {{ decode: number, queue: number, inference: number, total: number }} timings_ms
 * @property {string} notice
 *
 * @typedef {{ value: number, low: number, high: number }} Interval
 *
 * @typedef {object} OperatingPoint
 * @property {string} name
 * @property {number} threshold
 * @property {Interval} sensitivity
 * @property {Interval} specificity
 * @property {string} measured_on
 *
 * @typedef {object} Manifest
 * @property {string} name
 * @property {string} version
 * @property {{ name: string, label: string, malignant: boolean }[]} classes
 * @property {number} frame_size
 * @property {number | null} frame_jpeg_quality
 * @property {number} network_size
 * @property {{ name: string, shape: (number | string)[] }[]} outputs
 * @property {Shares | null} prevalence
 * @property {OperatingPoint[]} operating_points
 * @property {string} intended_use
 * @property {string} licence
 *
 * @typedef {object} Model
 * @property {string} card
 * @property {Manifest} manifest
 * @property {string} sha256
 * @property {string} variant
 * @property {string} provider
 * @property {string} operating_point
 *
 * @typedef {"lesion" | "spatial" | "correlation"} MapKind
 * @typedef {"mean" | "1" | "2"} Branch
 *
 * @typedef {object} Summary
 * @property {MapKind} map
 * @property {Branch} branch
 * @property {"picture" | "crop"} region
 * @property {number} peak
 * @property {number} evidence_level
 * @property {boolean} evident
 * @property {number} share
 * @property {Point | null} centre
 * @property {Point[][]} outline
 *
 * @typedef {object} Result A picture of this tab and its answer.
 * @property {number} number Counts the pictures of this tab.
 * @property {Blob} file
 * @property {string} url Of the picture, in memory; upright in an <img>.
 * @property {Prediction} prediction
 * @property {string | null} example Which of the examples it is.
 * @property {Impression | null} impression What its reader thought before the answer was shown.
 *
 * @typedef {"refer" | "no_referral" | "unsure"} Impression
 */

export {};
