// Shared by both pages: elements, texts, numbers and colours. Text is inserted as text nodes, never as HTML.

const root = document.documentElement;
const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "rect", "text", "path", "line", "title", "marker", "defs"]);
const VISIBLE_SYMBOLS = { " ": "␣", "\n": "⏎", "\t": "⇥", "": "∅" };
// a control character, a separator or a combining mark: alone it is invisible, or drawn onto its neighbour
const INVISIBLE = /^(?=.{1,2}$)[\p{C}\p{Z}\p{M}]$/u;

// the language of the page and its texts by language and key
const locale = { lang: null, texts: {} };

// --- elements

function byId(id) {
  return document.getElementById(id);
}

// an HTML or SVG element; attributes that are null or undefined are left out
function createElement(tag, attributes = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG_NAMESPACE, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function createButton(text, pressed, onclick, attributes = {}) {
  const button = createElement("button", { "aria-pressed": pressed, ...attributes }, text);
  button.onclick = onclick;
  return button;
}

function createSelect(id, options, value, onchange) {
  const select = createElement(
    "select",
    { id },
    ...options.map(([key, text]) => createElement("option", { value: key }, text)),
  );
  select.value = value;
  select.onchange = () => onchange(select.value);
  return select;
}

// a symbol or label, isolated from the direction of the text around it
function createSymbol(symbol, attributes = {}) {
  return createElement("bdi", attributes, visible(symbol));
}

// a horizontal bar, filled to a share from 0 to 1
function createBar(share) {
  const fill = createElement("div", { class: "fill" });
  fill.style.width = share * 100 + "%";
  return createElement("div", { class: "track" }, fill);
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

// --- texts

function translate(key, values = {}) {
  return locale.texts[locale.lang][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// the name of a gate or state; that of its kind for a symbol of a cell without a translation
function nameSymbol(kind, symbol) {
  const key = `${kind}_${symbol}`;
  return translate(key in locale.texts[locale.lang] ? key : kind);
}

// fill in the text of every element that names one, or its label where it shows a sign
function translateElements() {
  root.lang = locale.lang === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) {
    const text = translate(element.dataset.text);
    if (element.hasAttribute("data-label")) {
      element.setAttribute("aria-label", text);
      element.title = text;
    } else {
      element.textContent = text;
    }
  }
}

function visible(symbol) {
  if (symbol in VISIBLE_SYMBOLS) return VISIBLE_SYMBOLS[symbol];
  if (!INVISIBLE.test(symbol)) return symbol;
  return "U+" + symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
}

// --- numbers

function formatNumber(value, digits) {
  return (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
}

// one decimal, or none for a whole number
function formatShort(value) {
  return formatNumber(value, Number.isInteger(value) ? 0 : 1);
}

function formatPercent(share) {
  return (share * 100).toFixed(share < 0.0995 ? 1 : 0) + " %";
}

// --- colours, as arrays of red, green and blue

const palette = {};

// read the colours of the current theme from the style sheet
function readPalette() {
  const style = getComputedStyle(root);
  for (const name of ["base", "positive", "negative", "high"]) {
    const hex = style.getPropertyValue("--" + name).trim();
    palette[name] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  }
}

function setTheme(name) {
  root.dataset.theme = name;
  readPalette();
}

function switchTheme() {
  setTheme(root.dataset.theme === "dark" ? "light" : "dark");
}

function mixColors(from, to, share) {
  return from.map((value, i) => Math.round(value + (to[i] - value) * share));
}

// the colour of a value on a scale from -top to top
function divergingColor(value, top = 1) {
  const end = value > 0 ? palette.positive : palette.negative;
  return mixColors(palette.base, end, Math.min(1, Math.abs(value) / top) * 0.92);
}

// the colour of a value on a scale from 0 to 1
function sequentialColor(value) {
  return mixColors(palette.base, palette.high, clamp(value, 0, 1) * 0.92);
}

function toCss(color) {
  return `rgb(${color.join(",")})`;
}

function luminance(color) {
  const [red, green, blue] = color.map((v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// black or white, whichever has the higher contrast, which is at least 4.5
function textColor(background) {
  return luminance(background) > 0.179 ? "#000000" : "#ffffff";
}

function paint(element, background) {
  element.style.background = toCss(background);
  element.style.color = textColor(background);
}

setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
