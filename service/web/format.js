/** Numbers, shares, dates and names, as the page's language writes them. */

export const language = "en-GB";

const wholePercentage = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });
const decimal = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const points = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "exceptZero" });
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "short" });

/** A share as a percentage; what is not quite nothing, or not quite all, never reads so. */
export function percent(share = 0, digits = 1) {
  const format = new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits });
  const least = 0.01 / 10 ** digits;
  if (share > 0 && share < least / 2) return `<${format.format(least)}`;
  if (share < 1 && share > 1 - least / 2) return `>${format.format(1 - least)}`;
  return format.format(share);
}
/** Two shares with as many digits as it takes to tell them apart. */
export function percents(a = 0, b = 0) {
  const digits = [1, 2, 3, 4, 5].find((count) => percent(a, count) !== percent(b, count));
  return [percent(a, digits), percent(b, digits)];
}
/** A share as a whole percentage. */
export const wholePercent = (share = 0) => wholePercentage.format(share);
export const number = (value = 0) => decimal.format(value);
/** A difference of two shares in percentage points. */
export const difference = (shares = 0) => `${points.format(shares * 100)} pp`;
export const time = (iso = "") => clock.format(new Date(iso));
export const date = (iso = "") => day.format(new Date(iso));
/** A name of the model's, for people. */
export const plain = (name = "") => name.replaceAll(/[-_]/g, " ");
