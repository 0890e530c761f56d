// Questions to the API: rows of tables, problem documents, and the key where one is asked for.

import { byId } from "./dom.js";

const KEY = "quant-assets-key";
/** Rows of a page of an answer: as many as one may have. */
const PAGE = 100_000;

/** What the API answered instead of data: an RFC 9457 document, or what stands for one. */
export class ApiProblem extends Error {
  constructor(document) {
    super(document.detail || document.title);
    this.document = document;
    this.status = document.status;
  }
}

let asking = null;

/** Asks for a key once, however many questions wait for it. Answers whether there is one now. */
function askForKey(why) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("key-why").textContent = why;
    byId("key").value = "";
    dialog.addEventListener(
      "close",
      () => {
        const key = byId("key").value.trim();
        const given = dialog.returnValue === "use" && key !== "";
        if (given) sessionStorage.setItem(KEY, key);
        asking = null;
        resolve(given);
      },
      { once: true },
    );
    dialog.returnValue = "";
    dialog.showModal();
  });
  return asking;
}

/** The answer to a GET as JSON, with its response. Raises ApiProblem. `quiet`: no key is asked for. */
export async function get(path, parameters = {}, { signal, quiet = false } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const address = query.size ? `${path}?${query}` : path;
  for (;;) {
    const used = sessionStorage.getItem(KEY);
    const headers = { Accept: "application/json" };
    if (used) headers.Authorization = `Bearer ${used}`;
    let response;
    try {
      response = await fetch(address, { headers, signal, credentials: "same-origin" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiProblem({
        title: "The API does not answer",
        status: 0,
        detail: "no answer from this server; is quant-assets serve still running?",
      });
    }
    if (response.ok) return { body: await response.json(), response };
    const problem = await problemOf(response);
    if (response.status === 401 && !quiet) {
      // Another question may have brought a key meanwhile.
      if (sessionStorage.getItem(KEY) !== used) continue;
      sessionStorage.removeItem(KEY);
      if (await askForKey(problem.message)) continue;
    }
    throw problem;
  }
}

/** Opens a report page in a tab of its own. A navigation carries no key, so with one the page is fetched here; its
 * links to other report pages, which would carry none either, become texts. */
export function openReport(event, path) {
  const key = sessionStorage.getItem(KEY);
  if (!key) return;
  event.preventDefault();
  const tab = window.open("", "_blank");
  fetch(path, { headers: { Authorization: `Bearer ${key}` }, credentials: "same-origin" })
    .then(async (response) => {
      if (!response.ok) throw await problemOf(response);
      const report = new DOMParser().parseFromString(await response.text(), "text/html");
      report.querySelector("nav")?.remove();
      for (const link of report.querySelectorAll("a")) link.replaceWith(link.textContent);
      const page = new Blob([`<!doctype html>${report.documentElement.outerHTML}`], { type: "text/html" });
      tab.location = URL.createObjectURL(page);
    })
    .catch((error) => {
      tab.close();
      showProblem(error);
    });
}

async function problemOf(response) {
  const fallback = { title: response.statusText || "Error", status: response.status, detail: "" };
  try {
    return new ApiProblem({ ...fallback, ...(await response.json()) });
  } catch {
    return new ApiProblem(fallback);
  }
}

/** All rows of a table, page by page, and what the API warns of. Raises ApiProblem. */
export async function table(path, parameters = {}, options = {}) {
  const rows = [];
  const warnings = new Set();
  let cursor = null;
  do {
    const { body } = await get(path, { limit: PAGE, ...parameters, orient: "columns", cursor }, options);
    for (const row of records(body)) rows.push(row);
    body.warnings.forEach((warning) => warnings.add(warning));
    cursor = body.next;
  } while (cursor);
  return { rows, warnings: [...warnings] };
}

/** Rows as objects, of columns. */
function records({ data, rows }) {
  const names = Object.keys(data);
  return Array.from({ length: rows }, (_, at) => Object.fromEntries(names.map((name) => [name, data[name][at]])));
}

/** What a problem says, in the page. `again` tries once more. */
export function showProblem(error, again) {
  const place = byId("problem");
  const document_ = error instanceof ApiProblem ? error.document : { title: "A fault of this page", detail: String(error) };
  const title = document.createElement("strong");
  title.textContent = document_.title + (document_.status ? ` (${document_.status})` : "");
  const detail = document.createElement("span");
  detail.textContent = document_.detail ?? "";
  place.replaceChildren(title, " ", detail);
  if (again) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", () => {
      hideProblem();
      again();
    });
    place.append(" ", button);
  }
  place.hidden = false;
}

export function hideProblem() {
  byId("problem").hidden = true;
}

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;

/** A link into Dagster, where one is configured. */
export const dagster = {
  home: () => meta("dagster-url"),
  partition: (asset, key) =>
    `${meta("dagster-url")}/assets/${asset}?view=partitions&partition=${encodeURIComponent(key)}`,
  asset: (asset) => `${meta("dagster-url")}/assets/${asset}`,
  run: (id) => `${meta("dagster-url")}/runs/${encodeURIComponent(id)}`,
};
