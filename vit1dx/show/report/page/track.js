// The chosen track: its pictures at a layer, and its neighbours.
function choose(i) {
  if (i === state.chosen) return;
  state.chosen = i;
  state.details = detailed.has(i) ? unpacked(json(`track-${i}`)) : null;
  $("track").hidden = false;
  $("name").querySelector("bdi").textContent = data.ids[i];
  const codes = data.warnings[i];
  const label = data.label.names.length > 1 ? [" · ", named(data.label.name), ": ", named(labelOf(i) || "none")] : [];
  $("about").replaceChildren(clock(data.duration[i]), ...label, codes && ` · warnings: ${codes.replaceAll(",", ", ")}`);
  const embedded = $(`audio-${i}`);
  setMusic(embedded ? embedded.textContent : state.details && state.details.audio);
  const [first] = neighboursOf(i);
  $("said").textContent = `${data.ids[i]}, ${clock(data.duration[i])}. ${first ? `Nearest: ${data.ids[first.track]}.` : ""}`;
  drawNear();
  drawTrack();
  markInList();
  drawMap();
  history.replaceState(null, "", `#${encodeURIComponent(data.ids[i])}`);
}

function unpacked(found) {
  if (found.similarity) {
    found.similarity.bytes = bytes(found.similarity.matrices);
    found.similarity.curves = bytes(found.similarity.novelty);
  }
  if (found.attention) found.attention.bytes = bytes(found.attention.rows);
  if (found.onsets.heights) {
    found.onsets.bytes = bytes(found.onsets.heights);
    found.onsets.seconds = Array.from(words(found.onsets.times), (ms) => ms / 1000);
  }
  return found;
}

function drawTrack() {
  const found = state.details;
  $("pictures").hidden = $("slider").hidden = !found;
  $("no-details").hidden = !!found;
  if (!found) {
    $("no-details").textContent = `This page has pictures of ${plural(data.details.length, "track")} of ${count.toLocaleString("en")}, spread evenly over the list; vit1dx report --details N takes more.`;
    return;
  }
  const at = Math.max(0, found.layers.indexOf(nearestLayer(found.layers)));
  const slider = $("layer");
  slider.max = found.layers.length - 1;
  slider.value = at;
  drawLayer();
}

const nearestLayer = (layers) =>
  layers.reduce((best, layer) => (Math.abs(layer - state.layer) < Math.abs(best - state.layer) ? layer : best));

function drawLayer() {
  const found = state.details;
  const row = Number($("layer").value);
  const layer = found.layers[row];
  const duration = data.duration[state.chosen];
  $("layer-out").textContent = layer;
  $("layer").setAttribute("aria-valuetext", `layer ${layer}`);
  $("similarity").closest("figure").hidden = $("novelty").closest("figure").hidden = !found.similarity;
  if (found.similarity) drawTokens(found.similarity, row, layer, duration);
  drawOnsets(found.onsets, duration);
  const shown = found.attention && found.attention.layers.includes(layer);
  $("attention").closest("figure").hidden = !shown; // before it is drawn: what is hidden has no size
  if (shown) drawAttention(found.attention, layer, duration);
  $("attention-caption").textContent = `Attention of the class token to each frame, layer ${layer}, by head`;
  drawAxis(duration);
  placeCursors();
  markInGuide(layer);
}

// What sequence tokens give: self-similarity, and novelty along its diagonal.
function drawTokens(found, row, layer, duration) {
  const { bins, step, curves } = found;
  $("similarity-caption").textContent = `Self-similarity, layer ${layer}`;
  drawSimilarity(found, row, duration);
  drawKey();
  const sections = found.boundaries[row];
  const places = sections.length && sections.length < 13 ? ` (${sections.map(clock).join(", ")})` : "";
  const counted = sections.length === 1 ? "1 boundary" : `${sections.length} boundaries`;
  $("novelty-caption").textContent = `Novelty, layer ${layer}: ${counted}${places}`;
  drawCurve("novelty", curves.subarray(row * bins, (row + 1) * bins), step, 0, duration, sections);
}

function drawOnsets(found, duration) {
  const figure = $("onsets").closest(".lane");
  figure.hidden = !found.bytes;
  if (!found.bytes) {
    $("onsets-caption").textContent = `No onsets: ${found.none}`;
    return;
  }
  $("onsets-caption").textContent = `Onset strength from attention (${found.curve}): ${plural(found.count, "onset")}${found.seconds.length < found.count ? ", too many to mark" : ""}`;
  drawCurve("onsets", found.bytes, found.step, found.lag, duration, found.seconds);
}

function drawNear() {
  const items = neighboursOf(state.chosen).map(({ track, cosine }) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", "data-track": track, onclick: () => choose(track) },
        element("span", {}, dot(track)),
        named(data.ids[track]),
        element("span", { class: "cosine" }, cosine.toFixed(3)),
      ),
    ),
  );
  $("near").replaceChildren(...items);
  $("near-hint").textContent = items.length
    ? `By cosine of mean tokens of layer ${data.layer}, less the mean of the collection; compared with all tracks.`
    : "There is no other track.";
}

function startTrack() {
  $("layer").addEventListener("input", () => {
    state.layer = state.details.layers[Number($("layer").value)];
    drawLayer();
  });
}
