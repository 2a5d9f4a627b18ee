// The page, put together.
function start() {
  const hours = data.duration.reduce((sum, seconds) => sum + seconds, 0) / 3600;
  const failed = data.failures ? ` · ${plural(data.failures, "file")} failed` : "";
  document.title = `${data.title} · vit1dx`;
  $("title").replaceChildren(named(data.title));
  $("facts").textContent = `${plural(count, "track")} · ${hours < 1 ? `${(60 * hours).toFixed(1)} minutes` : `${hours.toFixed(1)} hours`} · layers ${data.layers.join(", ")} · ${data.model}, ${data.created.slice(0, 10)}${failed}`;
  const kept = data.details.length === count ? "Pictures of all tracks are kept" : `Pictures of ${plural(data.details.length, "track")} of ${count.toLocaleString("en")} are kept, spread evenly over the list`;
  $("foot").append(
    element("p", {}, `Made by vit1dx ${data.version}. ${kept}, averaged over time and in 8 bits: to look at, not to compute with.`),
    element("p", {}, "Self-similarity and neighbours are cosines after the mean was taken off; attention is over even attention, on a logarithmic scale from a tenth to ten times."),
  );
  startPlayer();
  startTrack();
  startMap();
  startList();
  startGuide();
  drawLegend();
  find();
  const asked = data.ids.findIndex((id) => `#${encodeURIComponent(id)}` === location.hash);
  choose(asked >= 0 ? asked : data.details[0] ?? 0);
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(redraw);
  });
  dark.addEventListener("change", () => {
    drawLegend();
    find();
    drawNear();
    redraw();
  });
}

function redraw() {
  drawMap();
  if (state.details) drawLayer();
}

start();
