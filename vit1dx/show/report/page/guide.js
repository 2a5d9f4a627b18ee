// The layer guide: what was measured of the weights, by layer and task.
function startGuide() {
  if (!data.guide) return;
  $("guide").hidden = false;
  $("guide-hint").textContent =
    "Linear probes on songs and sounds that neither the model nor the probes had met; the layer is the best on songs held back. Bars: each layer's figure, from the lowest to the highest.";
  const heads = ["Task", "Best layer", "ViT-1D", "Untrained", "Log-mel", "Layers 1 to 12", "Measured as"];
  $("guide-frame").append(
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...data.guide.map(guideRow)),
    ),
  );
}

function guideRow(found) {
  const kept = data.layers.includes(found.layer);
  const figure = (value) => element("td", {}, percent(value));
  const low = Math.min(...found.by_layer);
  const span = Math.max(...found.by_layer) - low || 1;
  const bars = element("span", { class: "bars", role: "img", "aria-label": found.by_layer.map((value, i) => `layer ${i + 1} ${percent(value)}`).join(", ") });
  found.by_layer.forEach((value, i) => {
    const bar = element("i", { "data-layer": i + 1, class: i + 1 === found.layer ? "best" : "", title: `layer ${i + 1}: ${percent(value)}` });
    bar.style.height = `${15 + (85 * (value - low)) / span}%`;
    bars.append(bar);
  });
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, found.task),
    element("td", {}, element("button", { type: "button", disabled: !kept, "aria-label": kept ? `Show layer ${found.layer}, the best for ${found.task}` : null, onclick: () => showLayer(found.layer) }, `layer ${found.layer}`)),
    figure(found.value),
    figure(found.untrained),
    figure(found["log-mel"]),
    element("td", {}, bars),
    element("td", {}, element("small", {}, `${found.measure}; ${found.unit === "frame" ? "a frame" : `a track, ${found.pooling}`}`)),
  );
}

function showLayer(layer) {
  state.layer = layer;
  if (state.details) drawTrack();
  $("track").scrollIntoView({ block: "nearest" });
}

function markInGuide(layer) {
  for (const bar of document.querySelectorAll(".bars i")) bar.classList.toggle("shown", Number(bar.dataset.layer) === layer);
}
