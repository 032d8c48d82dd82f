// What a page does once it is shown: it renews itself, and goes to another window, order or page without a reload.
// Every part that changes has `data-live` and an id; the server renders it, here it is only exchanged.
import { draw } from "./charts.js";

const EVERY = 5000; // milliseconds from one renewal to the next
const TYPING = 200; // milliseconds of silence after which a search is sent
const STALE = 15000; // milliseconds without a renewal that are worth a word

const find = (id) => document.getElementById(id);
let renewed = Date.now();
let asking; // what aborts the request for the newest one
let asked = 0; // counts what was asked for, so that a late answer does not replace a newer one
let timer;

function exchange(page) {
  const focused = document.activeElement;
  for (const part of page.querySelectorAll("[data-live]")) {
    const old = find(part.id);
    if (!old) return false;
    if (old.outerHTML === part.outerHTML) continue;
    const inside = old.contains(focused) && focused;
    const same = inside && [...part.querySelectorAll("a, [tabindex]"), part].find(
      (one) => (inside.id && one.id === inside.id) || (inside.href && one.href === inside.href),
    );
    old.replaceWith(part);
    if (same) same.focus({ preventScroll: true });
  }
  document.title = page.title;
  return true;
}

function trouble(text) {
  const element = find("trouble");
  element.textContent = text;
  element.hidden = !text;
}

// Shows what the server has at this page's address now. Whatever goes wrong, the figures stay, and the page says so.
async function renew({ navigating = false } = {}) {
  const mine = ++asked;
  clearTimeout(timer);
  asking?.abort(); // a read that nobody looks at needs no turn
  asking = new AbortController();
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" }, signal: asking.signal });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (mine !== asked) return;
    if (!response.ok) throw new Error(page.querySelector("main p")?.textContent ?? response.statusText);
    // Another kind of page, as the first figures after the one that says how to begin.
    if (page.body.dataset.view !== document.body.dataset.view || !exchange(page)) return location.reload();
    renewed = Date.now();
    trouble("");
    await draw();
  } catch (error) {
    if (mine !== asked) return;
    const reason = error instanceof TypeError ? "The dashboard is not responding." : error.message;
    if (navigating || Date.now() - renewed > STALE || !(error instanceof TypeError)) {
      trouble(`Not refreshed since ${find("as-of").textContent}. ${reason}`);
    }
  }
  plan();
}

function plan() {
  clearTimeout(timer);
  // Of a window that has ended it is no link: nothing changes in it.
  const paused = new URLSearchParams(location.search).get("live") === "off";
  if (find("live")?.href && !paused) timer = setTimeout(() => (document.hidden ? plan() : renew()), EVERY);
}

function go(url, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", url);
  else if (url !== location.href) history.pushState(null, "", url);
  return renew({ navigating: true });
}

function formUrl(form) {
  const query = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...query]) if (!value) query.delete(name);
  return new URL(`${location.pathname}?${query}`, location.href).href;
}

document.addEventListener("click", (event) => {
  const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button);
  const link = event.target.closest("a[data-here]");
  if (link && plain) {
    event.preventDefault();
    go(withSearch(link.href));
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) copyText(copy, find(copy.dataset.copy));
  for (const details of document.querySelectorAll("details[open]")) {
    if (!details.contains(event.target)) details.open = false;
  }
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-here]")) return;
  event.preventDefault();
  event.target.closest("details")?.removeAttribute("open");
  go(withState(formUrl(event.target), event.target));
});

// A form was rendered with the page; what has changed in the address since then counts.
function withState(url, form) {
  const now = new URLSearchParams(location.search);
  const wanted = new URL(url);
  const own = new Set([...form.elements].filter((field) => field.type !== "hidden").map((field) => field.name));
  if (own.has("since")) now.delete("window");
  for (const name of [...own, "page"]) now.delete(name);
  for (const [name, value] of wanted.searchParams) if (own.has(name)) now.set(name, value);
  wanted.search = now.toString();
  return wanted.href;
}

const search = find("search");
let typing;
search?.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => go(withState(formUrl(search.form), search.form), { replace: true }), TYPING);
});

// A link was rendered for the search of then; what has been typed since counts, whether or not it was answered.
function withSearch(url) {
  const wanted = new URL(url);
  if (!search || wanted.pathname !== location.pathname) return url;
  clearTimeout(typing);
  if ((wanted.searchParams.get("q") ?? "") === search.value) return url;
  wanted.searchParams.delete("page");
  if (search.value) wanted.searchParams.set("q", search.value);
  else wanted.searchParams.delete("q");
  return wanted.href;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const details of document.querySelectorAll("details[open]")) {
      details.open = false;
      details.querySelector("summary").focus();
    }
    if (event.target === search) search.blur();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    search.select();
  }
  if (event.key === "p") find("live")?.click();
});

async function copyText(button, element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = "Copied";
  } catch { // a browser gives the clipboard to secure pages only
    getSelection().selectAllChildren(element);
    button.textContent = "Selected: copy with Ctrl-C";
  }
  setTimeout(() => (button.textContent = "Copy"), 2500);
}
for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;

window.addEventListener("popstate", () => {
  if (search) search.value = new URLSearchParams(location.search).get("q") ?? "";
  renew({ navigating: true });
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && Date.now() - renewed > EVERY) plan();
});

// The theme: as the system has it, until one is chosen.
const theme = find("theme");
const LABELS = { auto: ["◐", "System"], light: ["☼", "Light"], dark: ["☾", "Dark"] };
const themeNow = () => document.documentElement.dataset.theme ?? "auto";
theme.hidden = false;
function nameTheme() {
  const [sign, label] = LABELS[themeNow()];
  theme.querySelector(".sign").textContent = sign;
  theme.querySelector(".wide").textContent = label;
  theme.setAttribute("aria-label", `Theme: ${label}`);
}
nameTheme();
theme.addEventListener("click", () => {
  const next = { auto: "light", light: "dark", dark: "auto" }[themeNow()];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  localStorage.setItem("metrics-collector-theme", next);
  nameTheme();
  draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

document.addEventListener("zoom", (event) => {
  const query = new URLSearchParams(location.search);
  for (const name of ["window", "page"]) query.delete(name);
  for (const name of ["since", "until"]) query.set(name, event.detail[name]);
  go(new URL(`?${query}`, location.href).href);
});

draw();
plan();
