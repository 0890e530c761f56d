// The calendar of an exchange: every session's cell by its state, a year a block, newest first.

import { dagster, showProblem, table } from "./api.js";
import { MONTHS, byId, compact, count, day, el, moment, plural, say } from "./dom.js";

const STATES = {
  complete: ["complete", "every symbol that was listed has its row"],
  "partial-3": ["partial, 99 % and more", "few symbols have no row; the cell names them"],
  "partial-2": ["95 to 99 %", "some symbols have no row; the cell names them"],
  "partial-1": ["below 95 %", "many symbols have no row; the cell names them"],
  failed: ["failed", "nothing usable came"],
  closed: ["closed", "the exchange did not trade"],
  absent: ["not asked", "a session without a cell"],
};
const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const SIZE = 11;
const STEP = 13;
const LEFT = 30;
const TOP = 16;
const MOST_NAMED = 60;
const CELL = "date,state,rows,bytes,expected,received,reason,source,recorded_at";
const DAY = 86_400_000;

const plain = (state) => state.split("-")[0];
const nameOf = (state) => (plain(state) === "partial" ? "partial" : STATES[state][0]);
const narrow = window.matchMedia("(max-width: 720px)");
const atNoon = (text) => new Date(`${text}T12:00:00Z`);
const weekday = (date) => (date.getUTCDay() + 6) % 7;
const plus = (text, days) => new Date(atNoon(text).getTime() + days * DAY).toISOString().slice(0, 10);

export class CellsView {
  constructor(navigate) {
    this.cells = new Map();
    this.gaps = [];
    this.absent = new Set();
    byId("cells-exchange").addEventListener("change", (event) => navigate(`#/cells/${event.target.value}`));
    byId("states").replaceChildren(
      ...Object.entries(STATES).map(([state, [name, says]]) =>
        el("li", { title: says }, el("i", { class: `swatch state-${state}` }), name),
      ),
    );
    const years = byId("years");
    years.addEventListener("pointermove", (event) => this.hover(event));
    years.addEventListener("pointerleave", () => (byId("cell-tip").hidden = true));
    years.addEventListener("click", (event) => this.choose(event.target.dataset?.day));
    years.addEventListener("keydown", (event) => this.pressed(event));
    narrow.addEventListener("change", () => this.code && this.draw());
  }

  async open(code) {
    const { rows: exchanges } = await table("/v1/exchanges", { columns: "exchange" });
    const codes = exchanges.map((row) => row.exchange);
    const chosen = codes.includes(code) ? code : codes[0];
    byId("cells-exchange").replaceChildren(...codes.map((one) => el("option", { value: one, selected: one === chosen }, one)));
    byId("cells-exchange").value = chosen;
    if (code && !codes.includes(code)) {
      showProblem(new Error(`${code} is no exchange in use here: ${codes.join(", ")}`));
    }
    await this.load(chosen);
  }

  async load(code) {
    this.code = code;
    byId("years").classList.add("busy");
    try {
      const [cells, gaps] = await Promise.all([
        table("/v1/cells", { exchange: code, columns: CELL }),
        table("/v1/gaps", { exchange: code, settled: true }),
      ]);
      if (this.code !== code) return;
      const known = new Map(cells.rows.map((row) => [day(row.date), row]));
      const absent = await this.sessionsWithout(code, known, gaps.rows);
      if (this.code !== code) return;
      Object.assign(this, { cells: known, gaps: gaps.rows, absent });
      this.draw();
      const days = [...this.cells.keys()].sort();
      byId("cells-facts").textContent = days.length
        ? `${plural(days.length, "cell")} from ${days[0]} to ${days.at(-1)}`
        : `No cell of ${code} yet: quant-assets backfill --exchange ${code} --start 2012-01-03 makes them.`;
      this.tell(null);
      say(`${code}: ${plural(days.length, "cell")}`);
    } finally {
      byId("years").classList.remove("busy");
    }
  }

  /** The sessions that have no cell at all. */
  async sessionsWithout(code, known, gaps) {
    const ranges = gaps.filter((gap) => gap.kind === "market").map((gap) => [day(gap.first), day(gap.last)]);
    const open = ranges.filter(([first, last]) => first !== last || !known.has(first));
    if (!open.length) return new Set();
    const range = { start: open.map(([first]) => first).sort()[0], end: open.map(([, last]) => last).sort().at(-1) };
    const { rows } = await table(`/v1/exchanges/${encodeURIComponent(code)}/sessions`, { ...range, columns: "session" });
    const sessions = rows.map((row) => day(row.session));
    return new Set(sessions.filter((date) => !known.has(date) && open.some(([first, last]) => first <= date && date <= last)));
  }

  /** The state of a day, and of a partial one how much came; undefined where there is nothing to show. */
  stateOf(date) {
    const cell = this.cells.get(date);
    if (!cell) return this.absent.has(date) ? "absent" : undefined;
    if (cell.state !== "partial") return cell.state;
    const share = cell.expected ? cell.received / cell.expected : 0;
    return share >= 0.99 ? "partial-3" : share >= 0.95 ? "partial-2" : "partial-1";
  }

  draw() {
    const days = [...this.cells.keys(), ...this.absent].sort();
    const years = [];
    if (days.length) {
      for (let year = Number(days.at(-1).slice(0, 4)); year >= Number(days[0].slice(0, 4)); year -= 1) years.push(year);
    }
    // Saturdays and Sundays only where somebody trades on them.
    const weekend = Math.max(4, ...days.map((date) => weekday(atNoon(date))));
    this.rows = [...Array(weekend + 1).keys()];
    byId("years").replaceChildren(...years.map((year) => this.year(year)));
  }

  year(year) {
    const counts = {};
    // On a phone half a year is as wide as fingers need it.
    const parts = narrow.matches ? [[`${year}-01-01`, `${year}-07-01`], [`${year}-07-01`, `${year + 1}-01-01`]] : [[`${year}-01-01`, `${year + 1}-01-01`]];
    const drawings = parts.map(([first, end]) => this.part(year, first, end, counts));
    const told = ["complete", "partial", "failed", "closed", "absent"]
      .filter((state) => counts[state])
      .map((state) => `${count(counts[state])} ${nameOf(state)}`)
      .join(", ");
    drawings.forEach((one) => one.setAttribute("aria-label", `${this.code} ${year}: ${told || "no cells"}. Arrow keys move by day and week.`));
    return el("figure", { class: "year", "data-year": year }, el("figcaption", {}, el("b", {}, String(year)), " ", told), ...drawings);
  }

  /** The days from `first` to before `end`, a column a week; `counts` get the cells by state. */
  part(year, first, end, counts) {
    const offset = weekday(atNoon(first));
    const squares = [];
    const labels = [];
    let columns = 0;
    for (let date = first, number = 0; date < end; date = plus(date, 1), number += 1) {
      const place = number + offset;
      const [column, row] = [Math.floor(place / 7), place % 7];
      if (date.endsWith("-01")) {
        labels.push(el("svg:text", { x: LEFT + (column + (row ? 1 : 0)) * STEP, y: 10 }, MONTHS[Number(date.slice(5, 7)) - 1]));
      }
      const state = this.stateOf(date);
      if (!this.rows.includes(row)) continue;
      columns = column + 1;
      if (state) counts[plain(state)] = (counts[plain(state)] ?? 0) + 1;
      squares.push(...this.square(date, state, LEFT + column * STEP, TOP + row * STEP));
    }
    const names = this.rows
      .filter((row) => row % 2 === 0)
      .map((row) => el("svg:text", { x: 0, y: TOP + row * STEP + SIZE - 1.5 }, WEEKDAYS[row]));
    const width = LEFT + (narrow.matches ? Math.max(27, columns) : 54) * STEP;
    const height = TOP + this.rows.length * STEP;
    return el("svg:svg", { viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "application" }, ...labels, ...names, ...squares);
  }

  /** A day: its colour says the state, and a sign in it does for those who do not see the colour. */
  square(date, state, x, y) {
    const made = [
      el("svg:rect", { x, y, width: SIZE, height: SIZE, rx: 2, class: `day state-${state ?? "none"}`, "data-day": state ? date : null }),
    ];
    if (state === "failed") {
      made.push(el("svg:path", { d: `M${x + 3} ${y + 3}l5 5m0-5l-5 5`, class: "day-sign" }));
    } else if (state?.startsWith("partial")) {
      // The larger the corner, the more is missing.
      const corner = { "partial-3": 4, "partial-2": 6, "partial-1": 9 }[state];
      made.push(el("svg:path", { d: `M${x + SIZE} ${y + SIZE - corner}v${corner}h-${corner}z`, class: "day-sign partial" }));
    }
    return made;
  }

  /** Who is missing on a day. */
  missing(date) {
    return this.gaps
      .filter((gap) => gap.symbol && day(gap.first) <= date && date <= day(gap.last))
      .map((gap) => ({ symbol: gap.symbol, reason: gap.reason, outcome: gap.outcome }));
  }

  summary(date) {
    const cell = this.cells.get(date);
    const state = this.stateOf(date);
    const lines = [`${WEEKDAYS[weekday(atNoon(date))]} ${date}: ${state ? nameOf(state) : "no session"}`];
    if (cell && cell.expected) lines.push(`${count(cell.received)} of ${plural(cell.expected, "symbol")}`);
    if (cell?.reason) lines.push(cell.reason);
    if (state === "absent") lines.push("A session that has no cell: it was never asked for.");
    return lines;
  }

  hover(event) {
    const tip = byId("cell-tip");
    const date = event.target.dataset?.day;
    tip.hidden = !date || event.pointerType === "touch";
    if (tip.hidden) return;
    const absent = this.missing(date);
    const named = absent.slice(0, 6).map((one) => one.symbol).join(", ");
    const [head, ...lines] = this.summary(date);
    tip.replaceChildren(
      el("b", {}, head),
      ...lines.map((line) => el("p", {}, line)),
      absent.length ? el("p", {}, `missing: ${named}${absent.length > 6 ? ` and ${absent.length - 6} more` : ""}`) : "",
    );
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - 276);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${event.clientY + 18 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : event.clientY + 18}px`;
  }

  choose(date) {
    if (!date) return;
    this.chosen = date;
    for (const one of byId("years").querySelectorAll(".chosen")) one.classList.remove("chosen");
    const square = byId("years").querySelector(`[data-day="${date}"]`);
    square?.classList.add("chosen");
    this.tell(date);
    // On a phone what is told stands over the lower half of the window.
    const below = square ? square.getBoundingClientRect().bottom - 0.45 * window.innerHeight : 0;
    if (narrow.matches && below > 0) window.scrollBy({ top: below, behavior: "smooth" });
  }

  /** Everything of a day, beside the calendar. */
  tell(date) {
    const place = byId("cell");
    place.classList.toggle("empty", !date);
    if (!date) return place.replaceChildren(el("p", { class: "note" }, "Choose a day to see its cell."));
    const cell = this.cells.get(date) ?? {};
    const state = this.stateOf(date);
    const absent = this.missing(date);
    const facts = [
      ["Expected", cell.expected === undefined ? null : plural(cell.expected, "symbol")],
      ["Received", cell.expected ? `${count(cell.received)} (${((100 * cell.received) / cell.expected).toFixed(1)} %)` : null],
      ["Rows", cell.rows ? count(cell.rows) : null],
      ["Size", cell.bytes ? `${compact(cell.bytes)}B` : null],
      ["Source", cell.source],
      ["Reason", cell.reason],
      ["Recorded", moment(cell.recorded_at)],
    ].filter(([, value]) => value);
    return place.replaceChildren(
      el(
        "h2",
        {},
        date,
        " ",
        el("span", { class: `badge state-${plain(state ?? "")}` }, state ? nameOf(state) : ""),
        el("button", { type: "button", class: "quiet close", "aria-label": "Close", click: () => this.tell(null) }, "×"),
      ),
      el("dl", {}, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
      absent.length ? el("h3", {}, `Missing (${count(absent.length)})`) : "",
      el(
        "ul",
        { class: "missing" },
        ...absent.slice(0, MOST_NAMED).map((one) =>
          el("li", {}, el("a", { href: `#/prices/${encodeURIComponent(one.symbol)}?range=All` }, one.symbol), " ", el("span", {}, one.reason || one.outcome || "")),
        ),
        absent.length > MOST_NAMED ? el("li", {}, `and ${count(absent.length - MOST_NAMED)} more`) : "",
      ),
      dagster.home() ? el("p", {}, el("a", { href: dagster.partition("daily_prices", `${date}|${this.code}`), rel: "noopener" }, "The cell in Dagster")) : "",
    );
  }

  pressed(event) {
    const drawing = event.target.closest("svg");
    const step = { ArrowLeft: -7, ArrowRight: 7, ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!drawing || !step) return;
    event.preventDefault();
    const { year } = drawing.parentElement.dataset;
    const days = [...drawing.parentElement.querySelectorAll("[data-day]")].map((square) => square.dataset.day);
    if (!days.length) return;
    let next = this.chosen?.startsWith(year) ? plus(this.chosen, step) : days[0];
    // Over what is empty, to the next day that is not.
    while (next.startsWith(year) && !days.includes(next)) next = plus(next, Math.sign(step));
    if (next.startsWith(year)) this.choose(next);
  }
}
