// Elements and texts. Data becomes text nodes only: nothing of it is ever read as HTML.

export const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** An element with attributes (functions are listeners, null leaves one out) and children (texts or nodes). */
export function el(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Says something to a screen reader. */
export function say(text) {
  byId("status").textContent = text;
}

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => (value === null || value === undefined ? "–" : plain.format(value));
export const compact = (value) => (value === null || value === undefined ? "–" : short.format(value));

/** A price with as many digits as it needs, two at least and four (below 1: four significant ones) at most: exchanges
 * trade in half cents and tenths of them. */
export function price(value, most = 4) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const digits = size >= 1 || size === 0 ? most : Math.min(8, Math.max(most, 3 - Math.floor(Math.log10(size))));
  return value.toLocaleString("en", { minimumFractionDigits: Math.min(2, digits), maximumFractionDigits: digits });
}

/** A number as it is, without digits that a float only pretends to have. */
export const exact = (value) => Number(value).toLocaleString("en", { maximumSignificantDigits: 10 });

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const day = (value) => (value ? String(value).slice(0, 10) : "");

/** How many digits the prices of rows have behind the point: two to four; of adjusted ones, which have no end, few. */
export function digitsOf(rows, names = ["open", "high", "low", "close"]) {
  const values = rows.flatMap((row) => names.map((name) => row[name])).filter((value) => value !== null && value !== undefined);
  for (const digits of [2, 3, 4]) {
    const scale = 10 ** digits;
    if (values.every((value) => Math.abs(value * scale - Math.round(value * scale)) < 1e-6 * Math.max(1, Math.abs(value)))) return digits;
  }
  return values.every((value) => Math.abs(value) >= 10) ? 2 : 3;
}

/** A moment in UTC, to the minute. */
export const moment = (value) => (value ? String(value).replace("T", " ").slice(0, 16) + " UTC" : "");
