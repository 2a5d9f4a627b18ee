// The table of tracks: searched, sorted, and as long as it has been scrolled.
const MORE = 200;
const COLUMNS = [
  { name: "Track", key: (i) => data.ids[i] },
  { name: "Length", key: (i) => data.duration[i], number: true },
  { name: data.label.name, key: (i) => labelOf(i) },
  { name: "Warnings", key: (i) => data.warnings[i] },
  ...(data.details.length < count ? [{ name: "Pictures", key: (i) => (detailed.has(i) ? 0 : 1) }] : []),
];
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const searched = data.ids.map(plain);
const labelOf = (i) => data.label.names[data.label.of[i]];
const list = { order: [], shown: 0, column: 0, down: false, label: null, focus: 0, hits: new Set() };

function compare(a, b) {
  const key = COLUMNS[list.column].key;
  const [x, y] = [key(a), key(b)];
  const order = typeof x === "number" ? x - y : collator.compare(x, y);
  return (list.down ? -order : order) || a - b;
}

function find() {
  const asked = plain($("search").value).split(/\s+/).filter(Boolean);
  const fits = (i) =>
    (list.label === null || data.label.of[i] === list.label) &&
    asked.every((word) => searched[i].includes(word));
  list.order = [...data.ids.keys()].filter(fits).sort(compare);
  list.hits = new Set(list.order);
  list.shown = list.focus = 0;
  $("list").replaceChildren();
  $("list-frame").scrollTop = 0;
  extend();
  const n = list.order.length;
  $("count").textContent = n === count ? plural(count, "track") : `${n.toLocaleString("en")} of ${plural(count, "track")}`;
  drawMap();
}

function row(i) {
  const codes = data.warnings[i];
  const told = codes.split(",").map((code) => data.codes[code] || code).join("; ");
  const chosen = i === state.chosen;
  return element(
    "tr",
    { "data-track": i, "aria-current": chosen && "true" },
    element("td", {}, element("button", { type: "button", tabindex: -1, onclick: () => choose(i) }, named(data.ids[i]))),
    element("td", { class: "number" }, clock(data.duration[i])),
    element("td", { title: labelOf(i) }, dot(i), named(labelOf(i))),
    element("td", { class: codes && "warn", title: codes && told }, codes.replaceAll(",", ", ")),
    ...(data.details.length < count ? [element("td", {}, detailed.has(i) ? "yes" : "")] : []),
  );
}

function dot(i) {
  const made = element("span", { class: "dot", "aria-hidden": "true" });
  made.style.background = colourOf(i);
  return made;
}

function extend() {
  const next = list.order.slice(list.shown, list.shown + MORE);
  $("list").append(...next.map(row));
  list.shown += next.length;
  rove();
}

// One row at a time can be tabbed to; arrow keys go on from there.
function rove(focus = false) {
  $("list").querySelector('button[tabindex="0"]')?.setAttribute("tabindex", "-1");
  const button = $("list").rows[list.focus]?.querySelector("button");
  button?.setAttribute("tabindex", "0");
  if (focus) button?.focus();
}

function moveInList(event) {
  const page = 10;
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -count, End: count };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const to = list.focus + steps[event.key];
  list.focus = Math.max(0, Math.min(to, list.order.length - 1));
  while (list.focus >= list.shown) extend();
  rove(true);
}

function sortBy(column) {
  list.down = list.column === column && !list.down;
  list.column = column;
  drawHead();
  find();
}

function drawHead() {
  [...$("head").cells].forEach((cell, i) => {
    const way = list.down ? "descending" : "ascending";
    cell.setAttribute("aria-sort", i === list.column ? way : "none");
    cell.querySelector("span").textContent = i === list.column ? (list.down ? " ▼" : " ▲") : "";
  });
}

function startList() {
  $("head").append(
    ...COLUMNS.map((column, i) =>
      element(
        "th",
        { scope: "col", class: column.number && "number" },
        element("button", { type: "button", onclick: () => sortBy(i) }, named(column.name), element("span", { "aria-hidden": "true" })),
      ),
    ),
  );
  drawHead();
  let waiting = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(find, 80);
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && list.order.length) choose(list.order[0]);
    if (event.key === "ArrowDown") rove(true);
  });
  $("list").addEventListener("keydown", moveInList);
  $("list").addEventListener("focusin", (event) => {
    list.focus = event.target.closest("tr").sectionRowIndex;
    rove();
  });
  $("list-frame").addEventListener("scroll", () => {
    const frame = $("list-frame");
    if (frame.scrollTop + frame.clientHeight > frame.scrollHeight - 400 && list.shown < list.order.length) extend();
  });
}

function markInList() {
  for (const one of $("list").rows) {
    if (Number(one.dataset.track) === state.chosen) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
}
