// The map: each track a point, near others that are alike; colours by label.
const places = floats(data.map.places);
const near = { tracks: words(data.near.tracks), cosines: floats(data.near.cosines) };
const neighboursOf = (i) =>
  Array.from({ length: data.near.count }, (_, k) => ({
    track: near.tracks[i * data.near.count + k],
    cosine: near.cosines[i * data.near.count + k],
  }));
const view = { zoom: 1, x: 0.5, y: 0.5 };

// Labels that are all numbers, and many, are a scale; others get a colour each, the most frequent first.
const values = data.label.names.map((name) => (name.trim() === "" ? NaN : Number(name)));
const given = data.label.names.filter(Boolean);
const isScale = given.length > 8 && data.label.names.every((name, k) => !name || Number.isFinite(values[k]));
const range = isScale ? [Math.min(...values.filter(Number.isFinite)), Math.max(...values.filter(Number.isFinite))] : null;
const sizes = new Array(data.label.names.length).fill(0);
for (const label of data.label.of) sizes[label]++;
const ranked = [...sizes.keys()].filter((k) => data.label.names[k]).sort((a, b) => sizes[b] - sizes[a]);
const rank = new Map(ranked.map((label, place) => [label, place]));

function colourOfLabel(label) {
  const theme = dark.matches ? "dark" : "light";
  if (isScale && Number.isFinite(values[label])) {
    const at = 3 * Math.round((255 * (values[label] - range[0])) / (range[1] - range[0] || 1));
    return `rgb(${ramps().number.slice(at, at + 3).join(" ")})`;
  }
  return (rank.has(label) && PALETTE[theme][rank.get(label)]) || OTHERS[theme];
}
const colourOf = (i) => colourOfLabel(data.label.of[i]);

function frame() {
  const { clientWidth: width, clientHeight: height } = $("map");
  const side = (Math.min(width, height) - 36) * view.zoom;
  return {
    x: (i) => width / 2 + (places[2 * i] - view.x) * side,
    y: (i) => height / 2 - (places[2 * i + 1] - view.y) * side,
    width, height, side,
  };
}

function drawMap() {
  const { pen, width, height } = canvasOf("map");
  const at = frame();
  pen.fillStyle = style("--paper");
  pen.fillRect(0, 0, width, height);
  const size = Math.max(1.6, Math.min(6, 60 / Math.sqrt(count))) * Math.min(2, Math.sqrt(view.zoom));
  const colours = data.label.names.map((_, label) => colourOfLabel(label));
  const all = list.hits.size === count;
  for (const hits of all ? [true] : [false, true]) {
    pen.globalAlpha = hits ? 0.85 : 0.12;
    for (let i = 0; i < count; i++) {
      if (!all && list.hits.has(i) !== hits) continue;
      pen.fillStyle = colours[data.label.of[i]];
      pen.beginPath();
      pen.arc(at.x(i), at.y(i), size, 0, 7);
      pen.fill();
    }
  }
  pen.globalAlpha = 1;
  if (state.chosen !== null) drawChosen(pen, at, size);
}

function drawChosen(pen, at, size) {
  const [x, y] = [at.x(state.chosen), at.y(state.chosen)];
  pen.strokeStyle = style("--ink");
  pen.lineWidth = 0.75;
  pen.globalAlpha = 0.6;
  for (const { track } of neighboursOf(state.chosen)) {
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(at.x(track), at.y(track));
    pen.stroke();
  }
  pen.globalAlpha = 1;
  pen.fillStyle = colourOf(state.chosen);
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(x, y, size + 3, 0, 7);
  pen.fill();
  pen.stroke();
}

function pointAt(event) {
  const box = $("map").getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const at = frame();
  let [best, found] = [14 ** 2, null];
  for (const i of list.order) {
    const far = (at.x(i) - x) ** 2 + (at.y(i) - y) ** 2;
    if (far < best) [best, found] = [far, i];
  }
  return found;
}

function tell(i) {
  const tip = $("tip");
  tip.hidden = i === null;
  if (i === null) return;
  const at = frame();
  tip.replaceChildren(named(data.ids[i]), ` · ${clock(data.duration[i])}`);
  tip.style.left = `${Math.max(0, Math.min(at.x(i) + 12, at.width - tip.offsetWidth))}px`;
  tip.style.top = `${Math.max(0, at.y(i) - tip.offsetHeight - 8)}px`;
}

// The nearest shown track in a direction, those straight ahead first.
function moveOnMap(event) {
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const way = ways[event.key];
  if (event.key === "+" || event.key === "-") zoomBy(event.key === "+" ? 1.5 : 1 / 1.5);
  if (!way || !list.order.length) return;
  event.preventDefault();
  if (state.chosen === null) return choose(list.order[0]);
  let [best, found] = [Infinity, null];
  for (const i of list.order) {
    const dx = places[2 * i] - places[2 * state.chosen];
    const dy = places[2 * i + 1] - places[2 * state.chosen + 1];
    const ahead = dx * way[0] + dy * way[1];
    const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    if (i === state.chosen || ahead <= 0 || aside > 2 * ahead) continue;
    if (ahead + 2 * aside < best) [best, found] = [ahead + 2 * aside, i];
  }
  if (found !== null) choose(found);
}

function zoomBy(factor, x = 0, y = 0) {
  const before = frame().side;
  view.zoom = Math.max(1, Math.min(80, view.zoom * factor));
  const after = frame().side;
  view.x += x / before - x / after;
  view.y -= y / before - y / after;
  if (view.zoom === 1) view.x = view.y = 0.5;
  tell(null);
  drawMap();
}

function drawLegend() {
  const legend = $("legend");
  legend.replaceChildren();
  if (data.label.names.length < 2) return;
  if (isScale) {
    const bar = element("canvas", { "aria-hidden": "true" });
    legend.append(element("div", { class: "scale" }, named(data.label.name), String(range[0]), bar, String(range[1])));
    bar.width = 256;
    bar.height = 1;
    bar.getContext("2d").drawImage(image(256, 1, ramps().number, (x) => x), 0, 0);
    return;
  }
  const unknown = data.label.names.indexOf("");
  for (const label of [...ranked, ...(unknown < 0 ? [] : [unknown])].slice(0, 60)) {
    const spot = element("span", { class: "dot", "aria-hidden": "true" });
    spot.style.background = colourOfLabel(label);
    const press = () => {
      list.label = list.label === label ? null : label;
      for (const one of legend.children) one.setAttribute("aria-pressed", String(one === button && list.label !== null));
      find();
    };
    const name = data.label.names[label] || "none";
    const button = element("button", { type: "button", "aria-pressed": String(list.label === label), onclick: press }, spot, named(name), ` ${sizes[label]}`);
    legend.append(button);
  }
  if (ranked.length > 60) legend.append(element("span", { class: "hint" }, `and ${ranked.length - 60} more`));
}

function startMap() {
  const map = $("map");
  const how = data.map.kind === "pca"
    ? `principal components, ${data.map.shares.map(percent).join(" and ")} of the variance`
    : "UMAP";
  $("map-hint").replaceChildren(`Mean tokens of layer ${data.layer}, by ${how}; coloured by `, named(data.label.name), ". Arrow keys go from track to track, + and \u2212 zoom, dragging moves.");
  map.setAttribute("aria-label", `Map of ${plural(count, "track")}`);
  let held = null;
  map.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, y: event.clientY, moved: false };
    map.setPointerCapture(event.pointerId);
  });
  map.addEventListener("pointermove", (event) => {
    if (!held) return tell(pointAt(event));
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!held.moved && Math.hypot(dx, dy) < 4) return;
    const side = frame().side;
    view.x -= dx / side;
    view.y += dy / side;
    held = { x: event.clientX, y: event.clientY, moved: true };
    drawMap();
  });
  map.addEventListener("pointerup", (event) => {
    const found = held && !held.moved ? pointAt(event) : null;
    held = null;
    if (found !== null) choose(found);
  });
  map.addEventListener("pointercancel", () => (held = null));
  map.addEventListener("pointerleave", () => tell(null));
  map.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== map) return; // so that the page can be scrolled
    event.preventDefault();
    const box = map.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    zoomBy(Math.exp(-event.deltaY / 300), x, y);
  }, { passive: false });
  map.addEventListener("keydown", moveOnMap);
  $("zoom-in").addEventListener("click", () => zoomBy(1.6));
  $("zoom-out").addEventListener("click", () => zoomBy(1 / 1.6));
  $("zoom-all").addEventListener("click", () => zoomBy(0));
}
