// How the store stands: exchanges and their freshness, what is missing, what is held, and the last jobs.

import { ApiProblem, dagster, table } from "./api.js";
import { byId, count, day, el, moment, plural } from "./dom.js";
import { gapSays } from "./events.js";

const FEW = 12;

/** A card with a heading; `fill` makes its content, and what goes wrong in it stays in it. */
function card(title, fill, link) {
  const body = el("div", { class: "card-body busy" });
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
        ...rows.map((row) => el("tr", {}, ...columns.map(([, content, kind]) => el("td", { class: kind ?? null }, content(row) ?? "")))),
      ),
    ),
  );
}

const symbolLink = (row) => (row.symbol ? el("a", { href: `#/prices/${encodeURIComponent(row.symbol)}?range=All` }, row.symbol) : el("i", {}, "whole market"));

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
        el("div", { class: "stack" }, card("Freshness", () => this.freshness()), card("Gaps", () => this.gaps()), card("Symbols", async () => this.symbols(entries))),
        el(
          "div",
          { class: "stack" },
          card("Last jobs", () => this.jobs(), dagster.home() ? el("a", { href: `${dagster.home()}/runs`, rel: "noopener" }, "Runs in Dagster") : ""),
          card("Held answers", () => this.held()),
          card("Restatements", () => this.restated()),
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
      line("make demo"),
      el("p", { class: "note" }, "fills a store of its own, offline, in a minute; serve it with QUANT_ASSETS_HOME=.quant-assets/demo."),
      el("p", {}, el("button", { type: "button", class: "first", click: () => location.reload() }, "Look again")),
    );
  }

  async freshness() {
    const { rows } = await table("/v1/exchanges");
    if (!rows.length) return nothing("No exchange is in use.");
    const code = (row) => row.exchange ?? row.code;
    return rowsTable(
      "Freshness of exchanges",
      [
        ["Exchange", (row) => el("a", { href: `#/cells/${code(row)}` }, code(row))],
        ["Last complete", (row) => day(row.last_complete) || "–"],
        ["Complete", (row) => count(row.complete ?? row.cells?.complete), "number"],
        ["Partial", (row) => count(row.partial ?? row.cells?.partial), "number"],
        ["Failed", (row) => count(row.failed ?? row.cells?.failed), "number"],
        ["Rows", (row) => count(row.rows), "number"],
      ],
      rows,
    );
  }

  async jobs() {
    const { rows } = await table("/v1/jobs", { limit: FEW }, { quiet: true, pages: 1 });
    if (!rows.length) return nothing("No job was asked for over the API or the command line yet.");
    return rowsTable(
      "Last jobs",
      [
        ["Job", (row) => row.kind ?? row.job],
        ["Of", (row) => row.exchange ?? row.parameters?.exchange ?? ""],
        ["Status", (row) => el("span", { class: `badge job-${row.status}` }, String(row.status ?? "").replaceAll("_", " "))],
        ["Asked", (row) => moment(row.created_at ?? row.requested_at)],
        ["Run", (row) => (row.run_id ? el("a", { href: dagster.run(row.run_id), rel: "noopener" }, "open") : "–")],
      ],
      rows.slice(0, FEW),
    );
  }

  async gaps() {
    const { rows } = await table("/v1/gaps");
    const open = rows.filter((row) => !row.settled).sort((a, b) => (day(a.last) < day(b.last) ? 1 : -1));
    if (!open.length) return nothing("Nothing is missing: every session has its rows.");
    return [
      nothing(`${plural(open.length, "gap")}, of ${plural(open.reduce((sum, row) => sum + (row.sessions ?? 0), 0), "session")}. quant-assets backfill --missing asks again.`),
      rowsTable(
        "Gaps",
        [
          ["Symbol", symbolLink],
          ["Kind", (row) => el("span", { title: gapSays(row) }, String(row.kind).replaceAll("_", " "))],
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
    const pending = rows.filter((row) => (row.decision ?? "pending") === "pending");
    if (!pending.length) return nothing("No answer is in doubt.");
    return rowsTable(
      "Held answers",
      [
        ["Symbol", symbolLink],
        ["Session", (row) => day(row.date ?? row.first)],
        ["Why", (row) => row.rule, "sentence"],
      ],
      pending.slice(0, FEW),
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
        ["Was", (row) => row.old, "number"],
        ["Is", (row) => row.new, "number"],
        ["Detected", (row) => day(row.detected_at)],
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
