"use strict";
const $ = (id) => document.getElementById(id);
let chosen = "0";
let shown = null;

function show(n) {
  if (shown === n || document.readyState !== "complete") return;
  shown = n;
  $("view").src = "/stream?n=" + encodeURIComponent(n) + "&t=" + Date.now();
}

function cells(row, texts) {
  for (const text of texts) row.insertCell().textContent = text;
}

function fill(body, rows, empty) {
  body.replaceChildren();
  for (const texts of rows) cells(body.insertRow(), texts);
  if (!rows.length && empty) {
    const cell = body.insertRow().insertCell();
    cell.colSpan = 5;
    cell.className = "empty";
    cell.textContent = empty;
  }
}

function chart(ages) {
  const canvas = $("chart"), c = canvas.getContext("2d");
  const w = canvas.width, h = canvas.height;
  c.clearRect(0, 0, w, h);
  if (ages.length < 2) return;
  const top = Math.max(10, ...ages.map((a) => a[1])) * 1.15;
  c.strokeStyle = "#2c3338";
  c.fillStyle = "#93a0a8";
  c.font = "20px system-ui, sans-serif";
  c.lineWidth = 1;
  for (let i = 1; i <= 3; i++) {
    const y = h - (h * i) / 4;
    c.beginPath(); c.moveTo(0, y); c.lineTo(w, y); c.stroke();
    c.fillText(Math.round((top * i) / 4) + " ms", 4, y - 5);
  }
  for (const [k, colour, width] of [[0, "#93a0a8", 2], [1, "#58a6d8", 3]]) {
    c.strokeStyle = colour;
    c.lineWidth = width;
    c.beginPath();
    ages.forEach((a, i) => {
      const x = (w * i) / (ages.length - 1), y = h - (h * a[k]) / top;
      if (i) c.lineTo(x, y); else c.moveTo(x, y);
    });
    c.stroke();
  }
  $("agenow").textContent = ages[ages.length - 1][1].toFixed(1) + " ms";
}

function render(all) {
  const keys = Object.keys(all), list = $("stream");
  if (list.options.length !== keys.length) {
    list.replaceChildren();
    for (const key of keys) list.add(new Option(all[key].name, key));
    list.hidden = keys.length < 2;
  }
  const now = all[chosen];
  if (!now) return;
  show(chosen);
  $("state").textContent = now.state || "…";
  $("state").className = "state " + (now.state || "");
  $("reasons").textContent = (now.reasons || []).join("; ");
  $("model").textContent = now.model || "";
  fill($("instruments").tBodies[0], (now.instruments || []).map((i) => [
    i.track_id === undefined ? "" : i.track_id, i.class, i.score.toFixed(2),
    i.tips.map((t) => t.map(Math.round).join(", ")).join("  |  ") || "–",
    i.angle.toFixed(0) + "°"]), "none");
  fill($("stages").tBodies[0], Object.entries(now.stages || {}).map(([k, s]) =>
    [k, ...["p50", "p95", "p99", "max"].map((p) => s[p].toFixed(1))]));
  const counts = { "frames/s": now.fps, ...now.counts };
  $("counts").replaceChildren(...Object.entries(counts).map(([k, v]) => {
    const box = document.createElement("div"), t = document.createElement("dt"),
      d = document.createElement("dd");
    t.textContent = k; d.textContent = v; box.append(t, d);
    return box;
  }));
  $("outputs").replaceChildren(...(now.outputs || []).map((o) => {
    const item = document.createElement("li");
    item.textContent = o.name + ": " + (o.failed ? "failed: " + o.failed
      : o.written + " written, " + o.dropped + " dropped");
    if (o.failed) item.className = "failed";
    return item;
  }));
  chart(now.ages || []);
}

async function tick() {
  try {
    const answer = await fetch("/state.json", { cache: "no-store" });
    render(await answer.json());
    document.body.dataset.ready = "1";
  } catch (error) {
    $("state").textContent = "NO CONNECTION";
    $("state").className = "state FAULT";
    shown = null;
  }
  setTimeout(tick, 500);
}

$("stream").addEventListener("change", (event) => { chosen = event.target.value; });
// The page starts with one frame and its state; the stream follows.
render(initial);
addEventListener("load", () => setTimeout(tick, 200));
