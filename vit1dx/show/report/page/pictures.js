// Pictures of a track: self-similarity, novelty, onsets, attention, and the axis of time below.

// Bytes (row by row, the first row on top) as an image of its own size.
function image(width, height, colours, at) {
  const made = element("canvas", { width, height });
  const pen = made.getContext("2d");
  const picture = pen.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * at(x, y);
      const to = 4 * (y * width + x);
      for (let c = 0; c < 3; c++) picture.data[to + c] = colours[from + c];
      picture.data[to + 3] = 255;
    }
  }
  pen.putImageData(picture, 0, 0);
  return made;
}

function stretched(id, picture, seconds, duration, square = false) {
  const { pen, width, height } = canvasOf(id);
  const share = Math.min(seconds / duration, 1.05);
  pen.imageSmoothingEnabled = false;
  const top = square ? height * (1 - share) : 0;
  pen.drawImage(picture, 0, top, width * share, square ? height * share : height);
}

// Time runs to the right and upwards, as in all pictures of self-similarity.
function drawSimilarity(found, row, duration) {
  const n = found.bins;
  const size = (n * (n + 1)) / 2;
  const triangle = found.bytes.subarray(row * size, (row + 1) * size);
  const value = (i, j) => triangle[i * n - (i * (i - 1)) / 2 + (j - i)];
  const at = (x, y) => {
    const other = n - 1 - y;
    return x < other ? value(x, other) : value(other, x);
  };
  const picture = image(n, n, ramps().likeness, at);
  stretched("similarity", picture, n * found.step, duration, true);
}

function drawKey() {
  const { pen, width, height } = canvasOf("similarity-key");
  pen.drawImage(image(256, 1, ramps().likeness, (x) => x), 0, 0, width, height);
}

function drawAttention(found, layer, duration) {
  const row = found.layers.indexOf(layer);
  const size = found.heads * found.bins;
  const values = found.bytes.subarray(row * size, (row + 1) * size);
  const at = (x, y) => values[y * found.bins + x];
  const picture = image(found.bins, found.heads, ramps().amount, at);
  stretched("attention", picture, found.bins * found.step, duration);
  const { clientWidth: width, clientHeight: height } = $("attention");
  const pen = $("attention").getContext("2d");
  const each = height / found.heads;
  pen.font = "11px system-ui, sans-serif";
  for (let head = 0; head < found.heads; head++) {
    pen.fillStyle = style("--card");
    if (head) pen.fillRect(0, head * each - 1, width, 2);
    pen.globalAlpha = 0.85;
    pen.fillRect(4, head * each + 4, 46, 15);
    pen.globalAlpha = 1;
    pen.fillStyle = style("--ink");
    pen.fillText(`head ${head}`, 8, head * each + 15);
  }
}

// A filled curve of bytes, with marks (s) where it says something happens.
function drawCurve(id, values, step, lag, duration, marks) {
  const { pen, width, height } = canvasOf(id);
  const x = (seconds) => (seconds / duration) * width;
  pen.fillStyle = style("--paper");
  pen.fillRect(0, 0, width, height);
  pen.strokeStyle = style("--mark");
  pen.lineWidth = marks.length > width / 3 ? 0.5 : 1.25;
  pen.globalAlpha = marks.length > 60 ? 0.55 : 1;
  pen.beginPath();
  for (const mark of marks) {
    pen.moveTo(x(mark), marks.length > 60 ? height - 12 : 0);
    pen.lineTo(x(mark), height);
  }
  pen.stroke();
  pen.globalAlpha = 1;
  const floor = height - (marks.length > 60 ? 14 : 2);
  pen.beginPath();
  values.forEach((value, i) => {
    pen.lineTo(x((i + 0.5) * step - lag), floor - (value / 255) * (floor - 4));
  });
  pen.strokeStyle = style("--accent");
  pen.lineWidth = 1.25;
  pen.stroke();
  pen.lineTo(width, floor);
  pen.lineTo(0, floor);
  pen.globalAlpha = 0.15;
  pen.fillStyle = style("--accent");
  pen.fill();
  pen.globalAlpha = 1;
}

const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];
function drawAxis(duration) {
  const { pen, width } = canvasOf("axis");
  const step = STEPS.find((s) => (s / duration) * width >= 64) || STEPS[STEPS.length - 1];
  pen.fillStyle = style("--soft");
  pen.font = "11px system-ui, sans-serif";
  for (let at = 0; at <= duration; at += step) {
    const x = (at / duration) * width;
    const text = step < 1 ? at.toFixed(1) : clock(at);
    pen.fillRect(Math.min(x, width - 1), 0, 1, 5);
    pen.textAlign = x < 14 ? "left" : x > width - 14 ? "right" : "center";
    pen.fillText(text, x, 17);
  }
}
