// The chart of one symbol: candles, volume, and lanes of events below. Drawn by TradingView's library.

import {
  CandlestickSeries,
  HistogramSeries,
  LineSeries,
  PriceScaleMode,
  TickMarkType,
  createChart,
  createSeriesMarkers,
} from "./vendor/lightweight-charts.mjs";
import { MONTHS, byId, compact, day, digitsOf, el, price } from "./dom.js";
import { KINDS } from "./events.js";
import { colour, onTheme } from "./theme.js";

const LANE = 20;
/** Pixels in which the pointer is at an event. */
const NEAR = 8;
/** Sessions of one hole that are marked each. */
const MOST_MARKS = 250;
const RANGES = { "1M": { months: 1 }, "6M": { months: 6 }, "1Y": { months: 12 }, "5Y": { months: 60 }, All: null };
export const RANGE_NAMES = Object.keys(RANGES);

export class PriceChart {
  constructor() {
    this.place = byId("chart");
    this.times = [];
    this.at = new Map();
    this.rows = new Map();
    this.digits = 2;
    this.events = [];
    this.lanes = [];
    this.selected = null;
    this.chart = createChart(this.place, {
      autoSize: true,
      layout: { attributionLogo: true, panes: { enableResize: false }, fontFamily: "inherit", fontSize: 12 },
      crosshair: { mode: 0 },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.12, bottom: 0.06 } },
      timeScale: { borderVisible: false, rightOffset: 3, minBarSpacing: 0.02, fixLeftEdge: true, tickMarkFormatter: tick },
      handleScroll: { vertTouchDrag: false },
      localization: { locale: "en", dateFormat: "yyyy-MM-dd" },
    });
    const silent = { lastValueVisible: false, priceLineVisible: false };
    this.candles = this.chart.addSeries(CandlestickSeries, { priceLineVisible: false }, 0);
    this.volume = this.chart.addSeries(HistogramSeries, { ...silent, priceFormat: { type: "custom", formatter: compact, minMove: 1 } }, 1);
    this.lane = this.chart.addSeries(
      LineSeries,
      {
        ...silent,
        priceScaleId: "events",
        lineVisible: false,
        crosshairMarkerVisible: false,
        autoscaleInfoProvider: () => ({ priceRange: { minValue: -0.5, maxValue: Math.max(0.5, this.lanes.length - 0.5) } }),
      },
      2,
    );
    this.lane.priceScale().applyOptions({ scaleMargins: { top: 0, bottom: 0 } });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.15, bottom: 0 } });
    this.markers = createSeriesMarkers(this.lane, []);
    this.chart.panes()[0].setStretchFactor(5);
    this.chart.panes()[1].setStretchFactor(1);
    this.chart.subscribeCrosshairMove((moved) => this.pointed(moved));
    // A finger has no place above the chart: a tap is what pointing is to a mouse.
    this.chart.subscribeClick((tapped) => this.tapped(tapped));
    this.place.addEventListener("keydown", (event) => this.pressed(event));
    this.place.addEventListener("blur", () => this.leave());
    // A page that scrolls under the pointer takes nothing away from what was chosen by other means.
    this.place.addEventListener("mouseleave", () => this.selected === null && this.leave());
    onTheme(() => this.paint());
    new ResizeObserver(() => this.placeLanes()).observe(this.place);
    this.paint();
  }

  /** Rows (bars by date), sessions that have none, and events. `keep`: the days that are seen, and the one chosen. */
  show(rows, absent, events, keep = false) {
    const seen = keep ? this.chart.timeScale().getVisibleLogicalRange() : null;
    const chosen = keep ? this.times[this.selected] : undefined;
    const before = this.times;
    this.rows = new Map(rows.map((row) => [day(row.date), row]));
    this.times = [...new Set([...this.rows.keys(), ...absent, ...events.map((event) => event.date)])].sort();
    this.at = new Map(this.times.map((time, index) => [time, index]));
    this.setEvents(events, false);
    const bars = this.times.map((time) => ({ time, ...(this.rows.get(time) ?? {}) }));
    const traded = (bar) => bar.open !== null && bar.open !== undefined && bar.close !== null && bar.close !== undefined;
    this.smallest = Math.min(...bars.filter(traded).map((bar) => bar.low ?? bar.close));
    this.digits = digitsOf(rows);
    const digits = this.smallest >= 1 ? this.digits : Math.min(8, Math.max(this.digits, 3 - Math.floor(Math.log10(this.smallest || 1))));
    this.candles.applyOptions({ priceFormat: { type: "custom", formatter: (value) => price(value, this.digits), minMove: 10 ** -digits } });
    this.candles.setData(
      bars.map(({ time, ...bar }) =>
        traded(bar)
          ? { time, open: bar.open, high: bar.high ?? Math.max(bar.open, bar.close), low: bar.low ?? Math.min(bar.open, bar.close), close: bar.close }
          : { time },
      ),
    );
    this.paintVolume();
    this.lane.setData(this.times.map((time) => ({ time, value: 0 })));
    this.paintMarkers();
    if (seen) this.chart.timeScale().setVisibleLogicalRange({ from: this.moved(before, seen.from), to: this.moved(before, seen.to) });
    this.select(chosen ?? null);
  }

  /** Where a place among the days of before is now. */
  moved(before, place) {
    const near = Math.max(0, Math.min(before.length - 1, Math.round(place)));
    return (this.at.get(before[near]) ?? near) + place - near;
  }

  /** Which events are marked. */
  setEvents(events, paint = true) {
    this.events = events;
    const there = new Set(events.map((event) => event.kind));
    this.lanes = KINDS.filter(({ kind }) => there.has(kind)).map(({ kind }) => kind);
    // A pane cannot be empty, and one without lanes is not to be seen.
    this.chart.panes()[2].setHeight(Math.max(2, this.lanes.length * LANE));
    if (paint) this.paintMarkers();
  }

  setLog(on) {
    this.chart.priceScale("right", 0).applyOptions({ mode: on ? PriceScaleMode.Logarithmic : PriceScaleMode.Normal });
  }

  setRange(name) {
    const months = RANGES[name]?.months;
    const scale = this.chart.timeScale();
    if (!this.times.length) return;
    const last = this.times.length - 1;
    let first = 0;
    if (months) {
      const from = new Date(`${this.times[last]}T00:00:00Z`);
      from.setUTCMonth(from.getUTCMonth() - months);
      const since = from.toISOString().slice(0, 10);
      first = Math.max(0, this.times.findIndex((time) => time >= since));
    }
    scale.setVisibleLogicalRange({ from: first - 0.5, to: last + Math.max(1, (last - first) * 0.02) });
  }

  paint() {
    const text = colour("ink-soft");
    const line = colour("line");
    this.chart.applyOptions({
      layout: { background: { type: "solid", color: colour("card") }, textColor: text, panes: { separatorColor: line, separatorHoverColor: line } },
      grid: { vertLines: { color: colour("grid") }, horzLines: { color: colour("grid") } },
      crosshair: {
        vertLine: { color: colour("ink-soft"), labelBackgroundColor: colour("ink-strong") },
        horzLine: { color: colour("ink-soft"), labelBackgroundColor: colour("ink-strong") },
      },
    });
    const [up, down] = [colour("up"), colour("down")];
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
    if (this.times.length) {
      this.paintVolume();
      this.paintMarkers();
    }
  }

  paintVolume() {
    const [up, down] = [colour("up-soft"), colour("down-soft")];
    this.volume.setData(
      this.times.map((time) => {
        const row = this.rows.get(time);
        if (!row || row.volume === null) return { time };
        return { time, value: row.volume, color: (row.close ?? 0) >= (row.open ?? 0) ? up : down };
      }),
    );
  }

  paintMarkers() {
    const colours = Object.fromEntries(KINDS.map(({ kind }) => [kind, colour(`event-${kind}`)]));
    const shapes = Object.fromEntries(KINDS.map(({ kind, shape }) => [kind, shape]));
    const marks = this.events.flatMap((event) =>
      this.daysOf(event).map((time) => ({
        time,
        position: "atPriceMiddle",
        price: this.laneOf(event.kind),
        shape: shapes[event.kind],
        color: colours[event.kind],
        size: 0.9,
      })),
    );
    this.markers.setMarkers(marks.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0)));
    byId("lanes").replaceChildren(
      ...this.lanes.map((kind) => el("span", { class: `lane event-${kind}` }, KINDS.find((one) => one.kind === kind).name)),
    );
    this.placeLanes();
  }

  /** The days that an event has a mark on: all of a hole, as far as that many can be told apart. */
  daysOf(event) {
    const first = this.at.get(event.date);
    const last = this.at.get(event.last) ?? first;
    return last - first > MOST_MARKS ? [event.date, event.last] : this.times.slice(first, last + 1);
  }

  laneOf(kind) {
    return this.lanes.length - 1 - this.lanes.indexOf(kind);
  }

  /** The names of the lanes stand beside them. */
  placeLanes() {
    requestAnimationFrame(() => {
      const below = this.chart.timeScale().height();
      const names = byId("lanes");
      names.style.bottom = `${below + 1}px`;
      names.style.height = `${this.lanes.length * LANE}px`;
    });
  }

  /** The events nearest to a place, if they are of its day or within some pixels of it. */
  eventsNear(index, pixels = 0, kind = null) {
    const reach = Math.max(0.5, pixels / Math.max(this.chart.timeScale().options().barSpacing, 0.001));
    const off = (event) => {
      const first = this.at.get(event.date);
      return Math.max(0, first - index, index - (this.at.get(event.last) ?? first));
    };
    const near = this.events.filter((event) => (!kind || event.kind === kind) && off(event) <= reach);
    const best = Math.min(...near.map(off));
    return near.filter((event) => off(event) <= best + 0.5);
  }

  /** The events at a place of the pointer; in the lanes, those of its lane. */
  under(moved) {
    const kind = moved.paneIndex === 2 ? this.lanes[Math.min(this.lanes.length - 1, Math.floor(moved.point.y / LANE))] : null;
    return this.eventsNear(moved.logical, NEAR, kind);
  }

  pointed(moved) {
    // Without a source event it is the answer to `select`.
    if (!moved.sourceEvent || !moved.point || moved.logical === undefined) return;
    const { clientX, clientY } = moved.sourceEvent;
    if (this.pointer?.clientX === clientX && this.pointer?.clientY === clientY) return;
    this.pointer = { clientX, clientY };
    this.selected = null;
    this.tell(this.times[Math.max(0, Math.min(this.times.length - 1, Math.round(moved.logical)))]);
    this.tip(this.under(moved), moved.point.x);
  }

  tapped(moved) {
    if (!moved.point || moved.logical === undefined || !this.times.length) return;
    const [event] = this.under(moved);
    const index = Math.max(0, Math.min(this.times.length - 1, Math.round(moved.logical)));
    const inside = event && this.at.get(event.date) <= index && index <= (this.at.get(event.last) ?? -1);
    this.select(event && !inside ? event.date : this.times[index]);
  }

  leave() {
    this.selected = null;
    this.chart.clearCrosshairPosition();
    byId("tip").hidden = true;
    this.tell(this.lastTraded());
  }

  lastTraded() {
    for (let index = this.times.length - 1; index >= 0; index -= 1) {
      if (this.rows.get(this.times[index])?.close) return this.times[index];
    }
    return undefined;
  }

  /** The bar of a day in the legend. */
  tell(time) {
    const legend = byId("legend");
    if (!time) return legend.replaceChildren();
    const row = this.rows.get(time);
    const parts = [el("b", {}, time)];
    if (!row || row.close === null || row.close === undefined) parts.push(el("span", {}, "no bar"));
    else {
      for (const [letter, name] of [["O", "open"], ["H", "high"], ["L", "low"], ["C", "close"]]) {
        parts.push(el("span", {}, el("i", {}, letter), price(row[name], this.digits)));
      }
      parts.push(el("span", {}, el("i", {}, "V"), compact(row.volume)));
      if (row.flags) parts.push(el("span", { class: "flag" }, String(row.flags).replaceAll("_", " ")));
    }
    return legend.replaceChildren(...parts);
  }

  /** Explains events beside the place; hides the explanation where there are none. */
  tip(events, x) {
    const tip = byId("tip");
    tip.hidden = !events.length;
    if (!events.length) return;
    tip.replaceChildren(...events.slice(0, 4).map((event) => explained(event)));
    if (events.length > 4) tip.append(el("p", {}, `and ${events.length - 4} more, in the list below`));
    const room = this.place.clientWidth;
    const width = Math.min(300, room - 16);
    tip.style.width = `${width}px`;
    tip.style.left = `${Math.max(8, Math.min(room - width - 8, x < room / 2 ? x + 14 : x - width - 14))}px`;
  }

  /** Moves the crosshair to a day, scrolls to it, explains what is there. null: nowhere. */
  select(time, { spoken = false } = {}) {
    const index = time === null ? undefined : this.at.get(time);
    if (index === undefined) return this.leave();
    const scale = this.chart.timeScale();
    const seen = scale.getVisibleLogicalRange();
    if (seen && (index < seen.from + 0.5 || index > seen.to - 0.5)) {
      const half = (seen.to - seen.from) / 2;
      scale.setVisibleLogicalRange({ from: index - half, to: index + half });
    }
    this.selected = index;
    // The new range is in force with the next frame.
    requestAnimationFrame(() => {
      if (this.selected !== index) return;
      const row = this.rows.get(time);
      const level = row?.close ?? this.rows.get(this.lastTraded())?.close ?? 0;
      this.chart.setCrosshairPosition(level, time, this.candles);
      this.tell(time);
      const here = this.eventsNear(index);
      this.tip(here, scale.timeToCoordinate(time) ?? this.place.clientWidth / 2);
      if (spoken) byId("readout").textContent = spokenBar(time, row, here, this.digits);
    });
    return undefined;
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.times.length) return;
    const now = this.selected ?? this.times.length;
    const scale = this.chart.timeScale();
    const step = event.shiftKey ? 20 : 1;
    const moves = {
      ArrowLeft: () => Math.max(0, now - step),
      ArrowRight: () => Math.min(this.times.length - 1, now + step),
      Home: () => 0,
      End: () => this.times.length - 1,
      n: () => this.nextEvent(now, 1),
      p: () => this.nextEvent(now, -1),
    };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (moves[key]) {
      const next = moves[key]();
      if (next !== undefined) this.select(this.times[next], { spoken: true });
    } else if (key === "+" || key === "=" || key === "-") {
      const seen = scale.getVisibleLogicalRange();
      const middle = this.selected ?? (seen.from + seen.to) / 2;
      const factor = key === "-" ? 1.25 : 0.8;
      scale.setVisibleLogicalRange({ from: middle + (seen.from - middle) * factor, to: middle + (seen.to - middle) * factor });
    } else if (key === "Escape") this.leave();
    else return;
    event.preventDefault();
  }

  nextEvent(from, direction) {
    const places = this.events.map((event) => this.at.get(event.date)).filter((place) => (direction > 0 ? place > from : place < from));
    return places.length ? (direction > 0 ? Math.min(...places) : Math.max(...places)) : undefined;
  }
}

/** A time on the axis: a year, a month, or a day with its month. */
function tick(time, type) {
  const [year, month, date] = (typeof time === "string" ? time : `${time.year}-${time.month}-${time.day}`).split("-").map(Number);
  if (type === TickMarkType.Year) return String(year);
  return type === TickMarkType.Month ? MONTHS[month - 1] : `${date} ${MONTHS[month - 1]}`;
}

/** What an event is, for the tip. */
function explained(event) {
  const until = event.last && event.last !== event.date ? ` – ${event.last}` : "";
  return el(
    "div",
    { class: `event event-${event.kind}` },
    el("b", {}, event.line),
    el("small", {}, event.date + until),
    ...event.more.map((line) => el("p", {}, line)),
  );
}

function spokenBar(time, row, events, digits) {
  const said = (name) => `${name} ${price(row[name], digits)}`;
  const bar = row?.close ? `${["open", "high", "low", "close"].map(said).join(", ")}, volume ${compact(row.volume)}` : "no bar";
  return [`${time}: ${bar}`, ...events.map((event) => `${event.line}. ${event.more.join(" ")}`)].join(". ");
}
