// Starts the page: the catalog, the search, and the view that the address names.

import { ApiProblem, hideProblem, showProblem, table } from "./api.js";
import { CellsView } from "./cells.js";
import { byId } from "./dom.js";
import { Overview } from "./overview.js";
import { PricesView } from "./prices.js";
import { startSearch } from "./search.js";
import { startTheme } from "./theme.js";

let entries = null;

/** The catalog's entries by symbol, asked for once; none where there is no catalog yet. Raises ApiProblem. */
function catalog() {
  entries ??= table("/v1/catalog", { columns: "symbol,name,exchange,sector,delisted_on,is_active" }).then(
    ({ rows }) => rows.sort((a, b) => (a.symbol < b.symbol ? -1 : 1)),
    (error) => {
      entries = null;
      if (error instanceof ApiProblem && error.status === 404) return [];
      throw error;
    },
  );
  return entries;
}

/** Goes to an address; `instead` of the one that is there now, so that the way back leads past it. */
function navigate(address, instead = false) {
  if (instead) history.replaceState(null, "", address);
  if (location.hash === address) route();
  else location.hash = address;
}

const views = {};

/** #/prices/AAPL?adjust=split → the view, what it is of, and how. */
async function route() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [, name = "", ...rest] = path.split("/");
  const view = ["prices", "cells"].includes(name) ? name : "overview";
  for (const one of document.querySelectorAll(".view")) one.hidden = one.id !== view;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = view === "cells" ? "Cells · quant-assets" : "quant-assets";
  hideProblem();
  try {
    await views[view].open(decodeURIComponent(rest.join("/")), new URLSearchParams(query));
  } catch (error) {
    showProblem(error, route);
  }
}

startTheme();
views.overview = new Overview(catalog);
views.prices = new PricesView(catalog, navigate);
views.cells = new CellsView(navigate);
startSearch(
  () =>
    catalog().catch((error) => {
      showProblem(error);
      return [];
    }),
  (symbol) => navigate(`#/prices/${encodeURIComponent(symbol)}`),
);
window.addEventListener("hashchange", route);
byId("problem").hidden = true;
route();
