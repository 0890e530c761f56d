// Dark, light, or as the system has it.

import { byId } from "./dom.js";

const KEY = "quant-assets-theme";
const ORDER = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };
const NAMES = { auto: "as the system", light: "light", dark: "dark" };
const root = document.documentElement;
const listeners = new Set();
const system = window.matchMedia("(prefers-color-scheme: dark)");

/** Calls back whenever the colours change. */
export const onTheme = (listener) => listeners.add(listener);

/** The value of a colour of the style sheet, as it is now. */
export const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

function colours() {
  const { theme } = root.dataset;
  root.classList.toggle("dark", theme === "dark" || (theme === "auto" && system.matches));
  listeners.forEach((listener) => listener());
}

function set(theme) {
  root.dataset.theme = theme;
  const button = byId("theme");
  button.firstElementChild.textContent = SIGNS[theme];
  button.setAttribute("aria-label", `Theme: ${NAMES[theme]}`);
  button.title = `Theme: ${NAMES[theme]}`;
  colours();
}

export function startTheme() {
  const kept = localStorage.getItem(KEY);
  set(ORDER.includes(kept) ? kept : "auto");
  byId("theme").addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(root.dataset.theme) + 1) % ORDER.length];
    localStorage.setItem(KEY, next);
    set(next);
  });
  system.addEventListener("change", colours);
}
