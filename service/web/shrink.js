/** A smaller copy of an image, for slow connections. */

/** Below so many bytes there is little to gain. */
const LARGE = 400_000;
const QUALITY = 0.92;
/** More of a side, in pixels, than a network here takes. */
const SIDE = 1536;

/** @param {Blob} file */
export const canShrink = ({ type, size }) => size > LARGE && /^image\/(jpeg|png|webp|bmp)$/.test(type);

/** The image as a JPEG of at most {@link SIDE} pixels a side; itself when that is no smaller. @param {Blob} file @returns {Promise<Blob>} */
export async function shrunk(file) {
  const image = await createImageBitmap(file); // upright
  const scale = Math.min(1, SIDE / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(image.width * scale);
  canvas.height = Math.round(image.height * scale);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  const copy = await new Promise((/** @type {(blob: Blob | null) => void} */ resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return copy && copy.size < file.size ? copy : file;
}
