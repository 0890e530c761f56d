// How the store stands: exchanges and their freshness, what is missing, what is held, and the last jobs.

import { ApiProblem, dagster, get, openReport, table } from "./api.js";
import { byId, compact, count, day, el, moment, plural } from "./dom.js";
import { gapSays, stated } from "./events.js";

const FEW = 12;
/** Milliseconds after which jobs that are under way are looked at again; longer and longer where nothing happens. */
const LOOK_AGAIN = 3_000;
const LOOK_AT_LEAST = 30_000;
const ENDED = new Set(["completed", "partial", "failed", "cancelled"]);

/** A card with a heading; `fill` makes its content, and what goes wrong in it stays in it. */
function card(title, fill, link) {
  const body = el("div", { class: "card-body busy" }, el("p", { class: "note" }, "Loading …"));
  const made = el("section", { class: "card", "aria-label": title }, el("div", { class: "card-head" }, el("h2", {}, title), link ?? ""), body);
  fill()
    .then((content) => body.replaceChildren(...[content].flat()))
    .catch((error) => body.replaceChildren(el("p", { class: "note warn" }, told(error))))
    .finally(() => body.classList.remove("busy"));
  return made;
}

function told(error) {
  if (!(error instanceof ApiProblem)) return String(error);
  if (error.status === 401 || error.status === 403) return `${error.document.title}: ${error.message}`;
  return error.message;
}

/** Whether the last session that is over has its complete cell, has one that lacks something, or has none. */
function freshness(row) {
  const over = day(row.last_session_over);
  const late = !row.last_complete || day(row.last_complete) < over;
  const said = !late ? "up to date" : day(row.last_cell) >= over ? "incomplete" : `behind ${over}`;
  const title = `The last session whose bars are final: ${over || "none"}`;
  return el("span", { class: `badge ${late ? "job-partial" : "job-completed"}`, title }, said);
}

/** What a job was asked for, in a line. */
function asked({ parameters: of, exchanges }) {
  const range = of.start_year ?? of.start ?? of.date;
  return [
    exchanges.join(", "),
    range === undefined ? "" : `${range}${of.end ? ` to ${of.end}` : of.date ? "" : " on"}`,
    of.symbols?.length ? (of.symbols.length > 3 ? plural(of.symbols.length, "symbol") : of.symbols.join(", ")) : "",
    (of.universes ?? []).join(", "),
    of.mode ?? "",
  ]
    .filter(Boolean)
    .join(" · ");
}

function jobsTable(jobs) {
  if (!jobs.length) return nothing("None was asked for over the API or by quant-assets jobs. What schedules start stands in Dagster.");
  const runs = (job) =>
    job.runs.filter(() => dagster.home()).map((run) => el("a", { class: "run", href: dagster.run(run.id), rel: "noopener" }, run.part || run.id.slice(0, 8)));
  const said = (job) => [job.note, ...job.warnings].filter(Boolean).join("; ");
  const progress = ({ progress: of, status }) =>
    status === "downloading_data" && of.symbols
      ? [`${count(of.symbols_done)} / ${count(of.symbols)}`, el("small", {}, " symbols")]
      : of.cells
        ? [`${count(of.cells_done)} / ${count(of.cells)}`, el("small", {}, " cells")]
        : "";
  return rowsTable(
    "Last jobs",
    [
      ["Job", (job) => [el("b", {}, job.kind.replaceAll("_", " ")), el("small", {}, asked(job)), said(job) ? el("small", { class: ENDED.has(job.status) ? "warn" : null }, said(job)) : ""], "job"],
      ["Status", (job) => el("span", { class: `badge job-${job.status}` }, job.status.replaceAll("_", " "))],
      ["Done", progress, "number"],
      ["Asked (UTC)", (job) => el("time", { datetime: job.requested_at, title: `by ${job.requested_by}` }, moment(job.requested_at).slice(5, 16)), "wide"],
      ["Runs", runs],
    ],
    jobs,
  );
}

const nothing = (text) => el("p", { class: "note" }, text);

/** A table of some rows. `columns`: a heading, and what makes the cell's content of a row. */
function rowsTable(caption, columns, rows) {
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...columns.map(([name, , kind]) => el("th", { scope: "col", class: kind ?? null }, name)))),
      el(
        "tbody",
        {},
        ...rows.map((row) => el("tr", {}, ...columns.map(([, content, kind]) => el("td", { class: kind ?? null }, ...[content(row) ?? ""].flat())))),
      ),
    ),
  );
}

const symbolLink = (row) => (row.symbol ? el("a", { href: `#/prices/${encodeURIComponent(row.symbol)}?range=All` }, row.symbol) : el("i", {}, `all of ${row.exchange}`));

export class Overview {
  constructor(catalog) {
    this.catalog = catalog;
  }

  async open() {
    const place = byId("overview");
    const entries = await this.catalog();
    if (!entries.length) return place.replaceChildren(this.empty());
    place.replaceChildren(
      el("div", { class: "heading" }, el("div", {}, el("h1", {}, "Overview"), el("p", { class: "facts" }, `${plural(entries.length, "symbol")} in the catalog`))),
      el(
        "div",
        { class: "cards" },
        el("div", { class: "stack" }, card("Freshness", () => this.freshness()), card("Gaps", () => this.gaps())),
        el(
          "div",
          { class: "stack" },
          card("Last jobs", () => this.jobs(), dagster.home() ? el("a", { href: `${dagster.home()}/runs`, rel: "noopener" }, "Runs in Dagster") : ""),
          card("Held answers", () => this.held()),
          card("Restatements", () => this.restated()),
          card("Report pages", () => this.reports()),
          card("Symbols", async () => this.symbols(entries)),
        ),
      ),
    );
    return undefined;
  }

  empty() {
    const line = (text) => el("pre", {}, el("code", {}, text));
    return el(
      "div",
      { class: "card empty-store" },
      el("h1", {}, "This store is empty"),
      el("p", {}, "There is no catalog of symbols yet, and so no prices. Either of these fills it:"),
      line("quant-assets backfill --exchange US --start 2012-01-03"),
      el("p", { class: "note" }, "fetches the symbols of your universe (QUANT_ASSETS_UNIVERSE) from that day on."),
      line("quant-assets demo"),
      el("p", { class: "note" }, "fills a store of its own, offline, in a minute; which quant-assets serve --demo serves."),
      el("p", {}, el("button", { type: "button", class: "first", click: () => location.reload() }, "Look again")),
    );
  }

  async freshness() {
    const { rows } = await table("/v1/exchanges");
    if (!rows.length) return nothing("No exchange is in use.");
    return rowsTable(
      "Freshness of exchanges",
      [
        ["Exchange", (row) => el("a", { href: `#/cells/${row.exchange}`, title: row.name }, row.exchange)],
        ["Last complete", (row) => day(row.last_complete) || "–"],
        ["State", (row) => freshness(row)],
        ["Complete", (row) => count(row.cells_complete), "number wide"],
        ["Partial", (row) => count(row.cells_partial), "number wide"],
        ["Failed", (row) => count(row.cells_failed), "number"],
        ["Rows", (row) => el("span", { title: count(row.rows) }, row.rows < 1e6 ? count(row.rows) : compact(row.rows)), "number wide"],
      ],
      rows,
    );
  }

  async reports() {
    const { body } = await get("/v1/reports");
    if (!body.pages.length) return nothing("None has been made yet: quant-assets report makes them, and so does a schedule of Dagster's.");
    const link = ({ exchange, path }) =>
      el("a", { href: path, target: "_blank", rel: "noopener", click: (event) => openReport(event, path) }, exchange ?? "All exchanges");
    return [
      nothing("Inventory, coverage by month, worst symbols, storage and its growth, one file each."),
      el("ul", { class: "symbols" }, ...body.pages.map((one) => el("li", {}, link(one)))),
    ];
  }

  /** The last jobs; while one is under way they are looked at again, and once it has ended so is all else. */
  async jobs(place = el("div", {}), before = null, wait = LOOK_AGAIN) {
    const { body } = await get("/v1/jobs", { limit: FEW }, { quiet: before !== null });
    const text = JSON.stringify(body.jobs);
    if (text !== before) place.replaceChildren(jobsTable(body.jobs));
    const ended = new Set(body.jobs.filter((job) => ENDED.has(job.status)).map((job) => job.id));
    const was = before ? JSON.parse(before).filter((job) => !ENDED.has(job.status)) : [];
    if (was.some((job) => ended.has(job.id))) this.open();
    else if (ended.size < body.jobs.length) {
      const next = text === before ? Math.min(LOOK_AT_LEAST, wait * 1.5) : LOOK_AGAIN;
      setTimeout(() => {
        const seen = place.isConnected && !byId("overview").hidden;
        if (seen) this.jobs(place, text, next).catch((error) => place.prepend(el("p", { class: "note warn" }, told(error))));
      }, next);
    }
    return place;
  }

  async gaps() {
    const { rows: open } = await table("/v1/gaps");
    open.sort((a, b) => (day(a.last) < day(b.last) ? 1 : -1));
    if (!open.length) return nothing("Nothing is missing: every session has its rows.");
    return [
      nothing(`${plural(open.length, "gap")}, ${plural(open.reduce((sum, row) => sum + (row.sessions ?? 0), 0), "session")} in all. quant-assets backfill --missing asks again.`),
      rowsTable(
        "Gaps",
        [
          ["Symbol", symbolLink],
          ["Kind", (row) => el("span", { title: gapSays(row) }, String(row.kind).replaceAll("_", " ")), "wide"],
          ["First", (row) => day(row.first)],
          ["Last", (row) => day(row.last)],
          ["Sessions", (row) => count(row.sessions), "number"],
        ],
        open.slice(0, FEW),
      ),
    ];
  }

  async held() {
    const { rows } = await table("/v1/quarantine");
    if (!rows.length) return nothing("No answer is in doubt.");
    return rowsTable(
      "Held answers",
      [
        ["Symbol", symbolLink],
        ["Session", (row) => day(row.first)],
        ["Why", (row) => row.rule, "sentence"],
        ["Since", (row) => day(row.since)],
      ],
      rows.slice(0, FEW),
    );
  }

  async restated() {
    const { rows } = await table("/v1/restatements");
    if (!rows.length) return nothing("No stored value has changed.");
    rows.sort((a, b) => (String(a.detected_at) < String(b.detected_at) ? 1 : -1));
    return rowsTable(
      "Restatements",
      [
        ["Symbol", symbolLink],
        ["Session", (row) => day(row.date)],
        ["Field", (row) => row.field],
        ["Was", (row) => stated(row.old), "number"],
        ["Is", (row) => stated(row.new), "number"],
        ["Detected", (row) => day(row.detected_at), "wide"],
      ],
      rows.slice(0, FEW),
    );
  }

  symbols(entries) {
    return [
      el(
        "ul",
        { class: "symbols" },
        ...entries.slice(0, 60).map((one) => el("li", {}, el("a", { href: `#/prices/${encodeURIComponent(one.symbol)}`, title: one.name ?? "" }, one.symbol))),
      ),
      entries.length > 60 ? nothing(`and ${count(entries.length - 60)} more: search finds them (key /)`) : "",
    ];
  }
}
