// What happened to a symbol: splits, dividends, holes, held answers, restatements. Each with the days it is of, a line
// for the list and sentences for whoever points at it.

import { day, exact, moment, plural } from "./dom.js";

/** The kinds, in the order of their lanes; `sign` stands in the list, `shape` on the chart. */
export const KINDS = [
  { kind: "split", name: "Splits", sign: "▲", shape: "arrowUp" },
  { kind: "dividend", name: "Dividends", sign: "●", shape: "circle" },
  { kind: "hole", name: "Holes", sign: "■", shape: "square" },
  { kind: "held", name: "Held", sign: "◆", shape: "square" },
  { kind: "restatement", name: "Restated", sign: "▼", shape: "arrowDown" },
];

/** The actions that as-traded rows carry. */
export function actions(rows) {
  const found = [];
  for (const row of rows) {
    const date = day(row.date);
    if (row.split_ratio !== null && row.split_ratio !== undefined && row.split_ratio !== 1) {
      found.push({
        kind: "split",
        date,
        last: date,
        line: `Split ${ratio(row.split_ratio)}`,
        more: [
          row.split_ratio >= 1
            ? `From this session on a share of before is ${exact(row.split_ratio)} shares.`
            : `From this session on ${exact(1 / row.split_ratio)} shares of before are one.`,
          "As traded, the price steps here; split-adjusted, it does not.",
        ],
      });
    }
    if (row.dividend) {
      found.push({
        kind: "dividend",
        date,
        last: date,
        line: `Dividend ${exact(row.dividend)} ${row.currency ?? ""}`.trim(),
        more: ["Ex-date: who buys the share in this session or later does not get it.", "Per share, as declared."],
      });
    } else if (row.dividend === null && row.close !== null) {
      found.push({
        kind: "held",
        date,
        last: date,
        line: "A dividend in doubt",
        more: ["Whether, or how much, was paid is not settled: the bar is stored, the dividend is not."],
      });
    }
  }
  return found;
}

/** `2:1`, or `1:10` where shares were merged. */
function ratio(value) {
  if (value >= 1) return Number.isInteger(value) ? `${value}:1` : fraction(value);
  const inverse = 1 / value;
  return Math.abs(inverse - Math.round(inverse)) < 1e-6 ? `1:${Math.round(inverse)}` : fraction(value);
}

/** The ratio with the smallest numbers that make it. */
function fraction(value) {
  for (let below = 2; below <= 1000; below += 1) {
    const above = value * below;
    if (Math.abs(above - Math.round(above)) < 1e-6 * below) return `${Math.round(above)}:${below}`;
  }
  return `${exact(value)}:1`;
}

const GAP_KINDS = {
  market: "No symbol of the exchange has a bar, or the session was never asked for.",
  late_start: "From the day the symbol is listed to its first bar.",
  early_end: "From the symbol's last bar on: a suspension that goes on, a delisting that nobody has stated, or a hole.",
  suspended: "Bars on both sides, stated again and again, while others traded: a suspension.",
  hole: "Bars are missing and may still come.",
};

export const gapSays = (gap) => GAP_KINDS[gap.kind] ?? String(gap.kind ?? "").replaceAll("_", " ");

/** Sessions without a bar. */
export function holes(gaps) {
  return gaps.map((gap) => {
    const first = day(gap.first);
    const last = day(gap.last) || first;
    const asked = gap.asked_on
      ? `Last asked on ${day(gap.asked_on)}${gap.answers ? `, ${plural(gap.answers, "answer")} so far` : ""}.`
      : "Not asked for yet.";
    return {
      kind: "hole",
      date: first,
      last,
      line: `${gap.settled ? "Suspended" : "No bar"}: ${gap.sessions ? plural(gap.sessions, "session") : "sessions"}${
        last === first ? "" : ` to ${last}`
      }`,
      more: [gapSays(gap), gap.reason ? `The source: ${gap.reason}.` : "", asked].filter(Boolean),
    };
  });
}

/** The sessions that have no bar: all that are in `found` holes or in none, and a hole for those that are in none. */
export function withoutBar(sessions, rows, found) {
  const there = new Set(rows.filter((row) => row.close !== null && row.close !== undefined).map((row) => day(row.date)));
  const absent = sessions.filter((date) => !there.has(date));
  const runs = [];
  let last = -2;
  sessions.forEach((date, place) => {
    if (there.has(date) || found.some((hole) => hole.date <= date && date <= hole.last)) return;
    if (place === last + 1) runs.at(-1).push(date);
    else runs.push([date]);
    last = place;
  });
  const unexplained = runs.map((dates) => ({
    kind: "hole",
    date: dates[0],
    last: dates.at(-1),
    line: `No bar: ${plural(dates.length, "session")}${dates.length > 1 ? ` to ${dates.at(-1)}` : ""}`,
    more: ["No gap of this symbol is on record: the whole exchange lacks it, or it was never asked for. The cell of the day says which."],
  }));
  return { absent, unexplained };
}

/** Answers that contradict the evidence and are not stored, and what became of earlier ones. */
export function held(claims) {
  return claims.map((claim) => {
    const pending = claim.decision === "pending";
    return {
      kind: "held",
      date: day(claim.first),
      last: day(claim.last),
      line: pending ? "An answer is held" : `A held answer was ${String(claim.decision).replaceAll("_", " ")}`,
      more: [
        sentence(claim.rule),
        `${SCOPES[claim.scope] ?? sentence(claim.scope)} Claimed first on ${day(claim.since)}, on ${plural(claim.claims, "day")} so far.`,
        pending ? `Nothing of it is stored. It is asked again, or a person decides: quant-assets quarantine show ${claim.item}` : "",
      ].filter(Boolean),
    };
  });
}

const SCOPES = {
  answer: "All of the answer.",
  row: "The bar.",
  action: "The dividend or the split; the bar is stored without it.",
};

const CLASSES = {
  correction: "A correction of the source",
  late_split: "A split that became known late",
  late_dividend: "A dividend that became known late",
  unit_change: "Another unit of money",
  vanished_row: "The source no longer has the row",
  appeared_row: "A row that the source did not have before",
  rescaled: "A stretch on another scale, claimed on several days",
  replaced: "Another history, claimed on several days",
};

/** Values that changed after they had been stored: those of one session and moment are one event. */
export function restatements(ledger) {
  const groups = new Map();
  for (const row of ledger) {
    const key = `${day(row.date)} ${row.detected_at}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map((rows) => {
    const [first] = rows;
    const date = day(first.date);
    const kind = first.class;
    return {
      kind: "restatement",
      date,
      last: date,
      line: `Restated: ${[...new Set(rows.map((row) => row.field))].join(", ")}`,
      more: [
        ...rows.map((row) => `${row.field}: ${stated(row.old)} → ${stated(row.new)}.`),
        kind ? `${CLASSES[kind] ?? String(kind).replaceAll("_", " ")}.` : "",
        first.rows > 1 ? `${plural(first.rows, "row")} from ${day(first.first_date)} on were replaced.` : "",
        `Detected ${moment(first.detected_at)}.`,
      ].filter(Boolean),
    };
  });
}

/** Old and new values are texts; most of them are numbers. */
export function stated(given) {
  if (given === null || given === undefined || given === "") return "nothing";
  return Number.isFinite(Number(given)) ? exact(given) : String(given);
}

function sentence(text) {
  if (!text) return "";
  const trimmed = String(text).trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}
