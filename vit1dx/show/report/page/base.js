// What all parts of the page use: its data, elements, colours, and bytes.
const $ = (id) => document.getElementById(id);
const json = (id) => JSON.parse($(id).textContent);
const data = json("collection");
const count = data.ids.length;
const detailed = new Set(data.details);
const state = { chosen: null, layer: data.layer, details: null };
const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

function element(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...inside);
  return made;
}

// Text that may be written in either direction, kept from turning what stands around it.
const named = (text) => element("bdi", {}, text);

function bytes(base64) {
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
  return found;
}
const floats = (base64) => new Float32Array(bytes(base64).buffer);
const words = (base64) => new Uint32Array(bytes(base64).buffer);

const two = (n) => String(n).padStart(2, "0");
function clock(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const minutes = Math.floor(s / 60);
  return minutes < 60
    ? `${minutes}:${two(s % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(s % 60)}`;
}
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

// Colours between anchors, as 256 times red, green, blue.
function ramp(anchors) {
  const stops = anchors.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) {
      table[3 * i + c] = stops[low][c] + (place - low) * (stops[low + 1][c] - stops[low][c]);
    }
  }
  return table;
}
const RAMPS = {
  light: {
    likeness: ramp(["#053061", "#2f79b5", "#8ec3de", "#e6eff4", "#f9ede4", "#f6b596", "#d25849", "#67001f"]),
    amount: ramp(["#ffffff", "#deebf4", "#9dc6e0", "#4a93c5", "#155fa0", "#08306b", "#03132e"]),
    number: ramp(["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39"]),
  },
  dark: {
    likeness: ramp(["#9eb0ff", "#5199c6", "#2b5c77", "#1a2833", "#1a1210", "#4f1a0b", "#9c4f3b", "#ffacac"]),
    amount: ramp(["#12161b", "#14304d", "#1b568c", "#3c87c4", "#7fb9e6", "#c6e2f7", "#ffffff"]),
    number: ramp(["#5b3b9a", "#4a6fb5", "#3b9aa8", "#35b98a", "#7ad151", "#c8e34a", "#fde725"]),
  },
};
const ramps = () => RAMPS[dark.matches ? "dark" : "light"];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Safe for colour-blind eyes (Okabe and Ito; Paul Tol), lighter where the ground is dark.
const PALETTE = {
  light: ["#0072b2", "#d55e00", "#008566", "#b3508a", "#8a6d00", "#3f8fc4", "#882255", "#5b5bd6", "#5a7d1d", "#7a5c48", "#00757d", "#a33b1f", "#4f6d9a", "#9a6fc0"],
  dark: ["#56b4e9", "#ff8a3d", "#2cc79a", "#e58fbe", "#e6c229", "#9ad0f5", "#e0668f", "#a5a5ff", "#a4cf55", "#cfae96", "#5fd3d9", "#ff6f59", "#8fa8d0", "#c79af0"],
};
const OTHERS = { light: "#8b95a1", dark: "#6b7683" };

// A canvas as large as it is shown, in the screen's own dots; drawn on in the page's units.
function canvasOf(id) {
  const canvas = $(id);
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  return { canvas, pen, width, height };
}
