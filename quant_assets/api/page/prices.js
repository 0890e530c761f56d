// The view of one symbol: its chart, what happened to it, and where it stands in Dagster.

import { dagster, hideProblem, showProblem, table } from "./api.js";
import { PriceChart, RANGE_NAMES } from "./chart.js";
import { byId, count, day, el, plural, price, say } from "./dom.js";
import { KINDS, actions, held, holes, restatements, withoutBar } from "./events.js";

const ADJUST = {
  none: ["As traded", "Prices and volumes as they stood on the day; nothing is rescaled."],
  split: ["Split", "Prices, dividends and volumes on the share basis of the symbol's last session."],
  total_return: ["Total return", "Split-adjusted, and as if every dividend had been reinvested."],
};
/** Rows in the list; the chart marks all. */
const MOST_EVENTS = 400;
const COLUMNS = "date,open,high,low,close,volume,dividend,split_ratio,currency,flags";

/** One of several, as radio buttons that look like one control. */
function segments(id, choices, chosen, changed) {
  const place = byId(id);
  place.append(
    ...Object.entries(choices).map(([value, name]) =>
      el(
        "label",
        {},
        el("input", { type: "radio", name: id, value, checked: value === chosen, change: () => changed(value) }),
        el("span", {}, name),
      ),
    ),
  );
  return { set: (value) => [...place.querySelectorAll("input")].forEach((input) => (input.checked = input.value === value)) };
}

export class PricesView {
  constructor(catalog, navigate) {
    this.catalog = catalog;
    this.navigate = navigate;
    this.state = { symbol: null, adjust: "none", range: "1Y", log: false };
    this.hidden = new Set();
    this.kept = new Map();
    this.loading = null;
    this.adjust = segments("adjust", Object.fromEntries(Object.entries(ADJUST).map(([key, [name]]) => [key, name])), "none", (adjust) =>
      this.change({ adjust }),
    );
    this.range = segments("range", Object.fromEntries(RANGE_NAMES.map((name) => [name, name])), "1Y", (range) => this.change({ range }));
    byId("log").addEventListener("change", (event) => this.change({ log: event.target.checked }));
    byId("events").addEventListener("keydown", (event) => this.moveInList(event));
  }

  /** The state as it stands in the address. `instead`: of the address that is there now, to which no way leads back. */
  change(part, instead = false) {
    const { symbol, adjust, range, log } = { ...this.state, ...part };
    this.navigate(`#/prices/${encodeURIComponent(symbol ?? "")}?adjust=${adjust}&range=${range}${log ? "&log=1" : ""}`, instead);
  }

  async open(symbol, query) {
    const before = this.state;
    const adjust = query.get("adjust") in ADJUST ? query.get("adjust") : "none";
    const range = RANGE_NAMES.includes(query.get("range")) ? query.get("range") : "1Y";
    this.state = { symbol, adjust, range, log: query.get("log") === "1" };
    this.adjust.set(adjust);
    this.range.set(range);
    byId("log").checked = this.state.log;
    byId("adjust-says").textContent = ADJUST[adjust][1];
    if (!symbol) return this.openFirst(before);
    this.chart ??= new PriceChart();
    this.chart.setLog(this.state.log);
    if (before.symbol === symbol && before.adjust === adjust && this.drawn === symbol) {
      if (before.range !== range) this.chart.setRange(range);
      return undefined;
    }
    return this.load(before.symbol === symbol && this.drawn === symbol);
  }

  /** Without a symbol: the one looked at last, or the first of the catalog. */
  async openFirst(before) {
    const symbol = before.symbol || (await this.catalog())[0]?.symbol;
    if (symbol) this.change({ ...before, symbol }, true);
  }

  async load(same) {
    const { symbol, adjust } = this.state;
    this.loading?.abort();
    const stop = new AbortController();
    this.loading = stop;
    const card = byId("chart").parentElement;
    card.classList.add("busy");
    hideProblem();
    try {
      const entries = await this.catalog();
      const spelled = symbol.toUpperCase();
      const entry = entries.find((one) => one.symbol === symbol) ?? entries.find((one) => one.symbol.toUpperCase() === spelled) ?? { symbol };
      if (!same) this.title(entry);
      const asked = this.bars(symbol, adjust, stop.signal);
      const traded = adjust === "none" ? asked : this.kept.get(symbol)?.traded ?? this.bars(symbol, "none", stop.signal);
      const [shown, { rows }] = await Promise.all([asked, traded]);
      if (stop.signal.aborted) return;
      this.warn(shown.warnings);
      this.facts(entry, rows);
      const before = this.kept.get(symbol);
      // What happened beside the prices may take longer: there is a chart until then.
      this.draw(shown.rows, before ?? { events: actions(rows), absent: [] }, same, !before);
      if (!before) this.draw(shown.rows, await this.beside(entry, await traded, stop.signal), true);
      say(`${symbol}, ${ADJUST[adjust][0]}: ${plural(shown.rows.length, "session")}`);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!same) {
        this.draw([], { events: [], absent: [] }, false);
        this.drawn = null;
      }
      showProblem(error, () => this.load(same));
    } finally {
      if (this.loading === stop) card.classList.remove("busy");
    }
  }

  draw(rows, { events, absent }, keep, more = false) {
    this.all = events;
    this.chart.show(rows, absent, this.visible(), keep);
    if (!keep) this.chart.setRange(this.state.range);
    this.drawn = this.state.symbol;
    this.more = more;
    this.list();
  }

  bars(symbol, adjust, signal) {
    return table("/v1/prices", { symbols: symbol, adjust, columns: COLUMNS }, { signal });
  }

  /** What does not depend on how prices are adjusted: events, and sessions without a bar. */
  async beside(entry, traded, signal) {
    // What goes wrong beside the prices leaves a chart with fewer marks, and says so.
    const missing = [];
    const ask = (path, parameters) =>
      table(path, parameters, { signal }).then(
        ({ rows }) => rows,
        (error) => {
          if (error.name === "AbortError") throw error;
          missing.push(`${path}: ${error.message}`);
          return [];
        },
      );
    const of = { symbols: entry.symbol };
    const [gaps, claims, ledger, sessions] = await Promise.all([
      ask("/v1/gaps", { ...of, settled: true }),
      ask("/v1/quarantine", { ...of, decision: "any" }),
      ask("/v1/restatements", of),
      this.sessions(entry, traded.rows, ask),
    ]);
    const found = holes(gaps);
    const { absent, unexplained } = withoutBar(sessions, traded.rows, found);
    const events = [...actions(traded.rows), ...found, ...unexplained, ...held(claims), ...restatements(ledger)];
    events.sort((a, b) => (a.date < b.date ? 1 : a.date > b.date ? -1 : 0));
    this.missing = missing;
    this.kept.clear();
    const known = { traded, events, absent };
    if (!missing.length) this.kept.set(entry.symbol, known);
    return known;
  }

  /** The sessions from the first bar to the last: whether each has its bar is not for the gaps alone to say. */
  async sessions(entry, rows, ask) {
    if (!rows.length || !entry.exchange) return [];
    const range = { start: day(rows[0].date), end: day(rows.at(-1).date), columns: "session" };
    return (await ask(`/v1/exchanges/${encodeURIComponent(entry.exchange)}/sessions`, range)).map((row) => day(row.session));
  }

  /** What the API warns of, e.g. sessions never asked for, on which a split would not be known. */
  warn(warnings) {
    byId("warnings").replaceChildren(...warnings.map((text) => el("p", { class: "note warn" }, text)));
  }

  title(entry) {
    document.title = `${entry.symbol} · quant-assets`;
    byId("symbol-title").replaceChildren(el("b", {}, entry.symbol), " ", el("span", {}, entry.name ?? ""));
    byId("symbol-facts").textContent = "";
    byId("events").replaceChildren();
    byId("symbol-links").replaceChildren();
  }

  facts(entry, traded) {
    const bars = traded.filter((row) => row.close !== null && row.close !== undefined);
    const last = bars.at(-1);
    const before = bars.at(-2);
    const move = last && before ? last.close / before.close / (last.split_ratio ? 1 / last.split_ratio : 1) - 1 : null;
    byId("symbol-facts").replaceChildren(
      ...[
        last ? el("b", { class: "last" }, `${price(last.close)} ${last.currency ?? ""}`) : null,
        move === null ? null : el("span", { class: move < 0 ? "fall" : "rise" }, `${move < 0 ? "−" : "+"}${Math.abs(move * 100).toFixed(2)} %`),
        last ? el("span", {}, `on ${day(last.date)}`) : el("span", {}, "no bar is stored"),
        entry.exchange ? el("span", {}, entry.exchange) : null,
        entry.sector ? el("span", {}, entry.sector) : null,
        el("span", {}, plural(bars.length, "session"), bars.length ? ` since ${day(bars[0].date)}` : ""),
        entry.delisted_on ? el("span", { class: "flag" }, `delisted on ${day(entry.delisted_on)}`) : null,
      ].filter(Boolean),
    );
    if (!entry.exchange || !dagster.home()) return;
    const links = [["Cell in Dagster", dagster.partition("daily_prices", `${day(last?.date)}|${entry.exchange}`)]];
    links.push(["Profiles", dagster.partition("symbol_profiles", entry.exchange)]);
    byId("symbol-links").replaceChildren(
      el("a", { href: `#/cells/${entry.exchange}` }, "Cells"),
      ...links.filter(() => last).map(([name, href]) => el("a", { href, rel: "noopener" }, name)),
    );
  }

  visible() {
    return this.all.filter((event) => !this.hidden.has(event.kind));
  }

  /** The list of events, and which kinds it shows. */
  list() {
    const counts = new Map(KINDS.map(({ kind }) => [kind, 0]));
    this.all.forEach((event) => counts.set(event.kind, counts.get(event.kind) + 1));
    byId("kinds").replaceChildren(
      el("legend", { class: "hidden" }, "Kinds of events shown"),
      ...KINDS.map(({ kind, name, sign }) =>
        el(
          "label",
          { class: `chip event-${kind}` },
          el("input", { type: "checkbox", checked: !this.hidden.has(kind), disabled: !counts.get(kind), change: () => this.toggle(kind) }),
          el("span", {}, el("i", { "aria-hidden": "true" }, sign), ` ${name} `, el("small", {}, count(counts.get(kind)))),
        ),
      ),
    );
    this.listRows();
  }

  toggle(kind) {
    if (!this.hidden.delete(kind)) this.hidden.add(kind);
    this.chart.setEvents(this.visible());
    this.listRows();
  }

  listRows() {
    const shown = this.visible();
    const signs = Object.fromEntries(KINDS.map(({ kind, sign }) => [kind, sign]));
    const rows = shown.slice(0, MOST_EVENTS).map((event) =>
      el(
        "li",
        {},
        el(
          "button",
          { type: "button", class: `event-row event-${event.kind}`, focus: () => this.chart.select(event.date), click: () => this.goTo(event) },
          el("time", {}, event.date),
          el("i", { "aria-hidden": "true" }, signs[event.kind]),
          el("b", {}, event.line),
          el("span", {}, event.more.join(" ")),
        ),
      ),
    );
    if (!shown.length && !this.more) rows.push(el("li", { class: "none" }, this.all.length ? "No event of these kinds." : "Nothing happened: no action, no hole, nothing held or restated."));
    if (shown.length > MOST_EVENTS) rows.push(el("li", { class: "none" }, `and ${count(shown.length - MOST_EVENTS)} earlier ones, marked on the chart`));
    if (this.more) rows.unshift(el("li", { class: "none" }, "Looking for holes, held answers and restatements …"));
    else if (this.missing?.length) rows.unshift(el("li", { class: "none warn" }, `Not all could be read: ${this.missing.join("; ")}`));
    byId("events").replaceChildren(...rows);
  }

  /** On a phone the chart may be out of sight. */
  goTo(event) {
    this.chart.select(event.date);
    const chart = byId("chart").getBoundingClientRect();
    if (chart.top < 0 || chart.bottom > window.innerHeight) byId("chart").scrollIntoView({ block: "center", behavior: "smooth" });
  }

  moveInList(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...byId("events").querySelectorAll("button")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }
}
