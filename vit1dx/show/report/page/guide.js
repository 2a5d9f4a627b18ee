// The layer guide: which layer of the weights served which task best.
function startGuide() {
  if (!data.guide.length) return;
  $("guide").hidden = false;
  $("guide-hint").textContent =
    "Measured of these weights, mostly by linear probes, on songs and sounds that neither model nor probes had met. A layer that is kept can be shown.";
  const heads = ["Task", "Best layer", "Score", "Log-mel instead", "Tokens", "Measured as"];
  $("guide-frame").append(
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...data.guide.map(guideRow)),
    ),
  );
}

function guideRow({ task, layer, score, log_mel, tokens, measure }) {
  const kept = data.layers.includes(layer);
  const label = kept ? `Show layer ${layer}, the best for ${task}` : null;
  const show = () => showLayer(layer);
  const button = element("button", { type: "button", disabled: !kept, "aria-label": label, onclick: show }, `layer ${layer}`);
  const bar = element("i", { "aria-hidden": "true" });
  bar.style.width = `${100 * score}%`;
  bar.style.setProperty("--other", `${Math.round(1000 * (log_mel / score)) / 10}%`);
  return element(
    "tr",
    { "data-layer": layer },
    element("th", { scope: "row" }, task),
    element("td", {}, button),
    element("td", {}, element("span", { class: "figure" }, percent(score)), element("span", { class: "bar-of" }, bar)),
    element("td", {}, percent(log_mel)),
    element("td", {}, tokens),
    element("td", {}, element("small", {}, measure)),
  );
}

function showLayer(layer) {
  state.layer = layer;
  if (state.details) drawTrack();
  $("track").scrollIntoView({ block: "nearest" });
}

function markInGuide(layer) {
  for (const row of document.querySelectorAll("#guide tr[data-layer]")) {
    row.classList.toggle("shown", Number(row.dataset.layer) === layer);
  }
}
