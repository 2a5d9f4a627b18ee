// Playback: a cursor at the music's place in every picture, and clicks there that set it.
const LANES = ["similarity", "novelty", "onsets", "attention"];
const cursors = new Map();

function startPlayer() {
  const audio = $("audio");
  for (const id of LANES) {
    const canvas = $(id);
    const holder = element("div");
    const across = element("i", { class: "cursor", "data-of": id });
    const up = id === "similarity" ? element("i", { class: "cursor flat" }) : null;
    holder.className = "lane";
    canvas.replaceWith(holder);
    holder.append(canvas, across, ...(up ? [up] : []));
    cursors.set(id, { across, up });
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * data.duration[state.chosen]);
    });
  }
  let running = false;
  const follow = () => {
    placeCursors();
    running = !audio.paused && !audio.ended;
    if (running) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    if (!running && !still.matches) follow();
  });
  for (const event of ["timeupdate", "seeked", "pause", "loadedmetadata"]) audio.addEventListener(event, placeCursors);
  audio.addEventListener("error", () => {
    if (audio.getAttribute("src")) silent("The browser cannot play this music, or does not find it.");
  });
}

function seek(seconds) {
  const audio = $("audio");
  if (!audio.hidden) audio.currentTime = Math.max(0, seconds);
}

function placeCursors() {
  if (state.chosen === null) return;
  const share = Math.min(1, $("audio").currentTime / data.duration[state.chosen]);
  for (const { across, up } of cursors.values()) {
    across.style.left = `${100 * share}%`;
    if (up) up.style.bottom = `${100 * share}%`;
  }
}

function silent(reason) {
  $("audio").hidden = true;
  $("no-audio").hidden = false;
  $("no-audio").textContent = reason;
  for (const { across, up } of cursors.values()) {
    across.hidden = true;
    if (up) up.hidden = true;
  }
}

function setMusic(address) {
  const audio = $("audio");
  audio.pause();
  audio.removeAttribute("src");
  if (!address) {
    audio.load();
    silent("No music: it is not where it was read from, or this page has no details of the track.");
    return;
  }
  audio.hidden = false;
  $("no-audio").hidden = true;
  for (const { across, up } of cursors.values()) {
    across.hidden = false;
    if (up) up.hidden = false;
  }
  audio.src = address;
  audio.currentTime = 0;
  placeCursors();
}
