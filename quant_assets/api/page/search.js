// Finds symbols by their own letters, by the company's name, and by near misses.

import { byId, el } from "./dom.js";

const MOST = 12;
/** Near misses of a text that is long enough, where fewer entries than that have it in them. */
const NEAR = { from: 3, below: 4, rank: 5 };

const folded = (text) => (text ?? "").normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase();

/** How many letters must be put in, taken out, changed or swapped, as far as `most`. */
function distance(a, b, most) {
  if (Math.abs(a.length - b.length) > most) return most + 1;
  let before = [];
  let last = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    before = last;
    last = row;
  }
  return last[b.length];
}

/** How well an entry answers: smaller is better, null not at all. */
function rank(entry, asked) {
  const { symbol, bare, name, words } = entry.folded;
  if (symbol === asked || bare === asked) return 0;
  if (symbol.startsWith(asked)) return 1;
  if (name.startsWith(asked)) return 2;
  if (words.some((word) => word.startsWith(asked))) return 3;
  if (symbol.includes(asked) || name.includes(asked)) return 4;
  if (asked.length < NEAR.from) return null;
  const most = asked.length > 5 ? 2 : 1;
  const near = Math.min(distance(bare, asked, most), ...words.map((word) => distance(word, asked, most)));
  return near <= most ? NEAR.rank + near : null;
}

/** The entries of the catalog that answer `text`, best first. */
export function matches(catalog, text) {
  const asked = folded(text.trim());
  if (!asked) return [];
  const found = [];
  for (const entry of catalog) {
    entry.folded ??= {
      symbol: folded(entry.symbol),
      bare: folded(entry.symbol).split(".")[0],
      name: folded(entry.name),
      words: folded(entry.name).split(/[^\p{L}\p{N}]+/u).filter(Boolean),
    };
    const place = rank(entry, asked);
    if (place !== null) found.push([place, entry]);
  }
  const sure = found.filter(([place]) => place < NEAR.rank);
  const shown = sure.length < NEAR.below ? found : sure;
  const listed = (entry) => (entry.is_active === false ? 1 : 0);
  shown.sort(
    ([a, one], [b, other]) =>
      a - b || listed(one) - listed(other) || one.symbol.length - other.symbol.length || (one.symbol < other.symbol ? -1 : 1),
  );
  return shown.slice(0, MOST).map(([, entry]) => entry);
}

/** Binds the search box; `catalog` promises the entries, `choose` gets a symbol. */
export function startSearch(catalog, choose) {
  const box = byId("search");
  const list = byId("found");
  let shown = [];
  let at = -1;

  const close = () => {
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const mark = (place) => {
    at = place;
    [...list.children].forEach((option, index) => option.setAttribute("aria-selected", String(index === at)));
    const marked = list.children[at];
    if (marked && shown.length) {
      box.setAttribute("aria-activedescendant", marked.id);
      marked.scrollIntoView({ block: "nearest" });
    }
  };
  const take = (entry) => {
    box.value = "";
    close();
    box.blur();
    choose(entry.symbol);
  };
  const look = async () => {
    const asked = box.value;
    if (!asked.trim()) return close();
    const entries = await catalog();
    if (box.value !== asked) return undefined;
    shown = matches(entries, asked);
    list.replaceChildren(
      ...shown.map((entry, index) =>
        el(
          "li",
          {
            role: "option",
            id: `found-${index}`,
            "aria-selected": "false",
            // Before the box loses the focus, which closes the list.
            pointerdown: (event) => event.preventDefault(),
            click: () => take(entry),
          },
          el("b", {}, entry.symbol),
          el("span", {}, entry.name ?? ""),
          el("small", {}, entry.exchange, entry.is_active === false ? " · delisted" : ""),
        ),
      ),
    );
    if (!shown.length) list.append(el("li", { class: "none" }, `Nothing in the catalog is near “${asked.trim()}”`));
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
    mark(shown.length ? 0 : -1);
    return undefined;
  };

  box.addEventListener("input", look);
  box.addEventListener("focus", look);
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      box.value = "";
      close();
    } else if (event.key === "Enter" && shown[at] && !list.hidden) {
      event.preventDefault();
      take(shown[at]);
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && shown.length) {
      event.preventDefault();
      if (list.hidden) look();
      else mark((at + (event.key === "ArrowDown" ? 1 : -1) + shown.length) % shown.length);
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      box.focus();
    }
  });
}
