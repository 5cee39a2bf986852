"use strict";
const $ = (id) => document.getElementById(id);
const watch = new Watch(performance.now());
let chosen = "0";
let streams = {};
let reading = null;

// One stream of JPEG pictures; each part says its number and when its frame was captured.
async function read(n) {
  const control = new AbortController();
  reading = { n, control };
  try {
    const answer = await fetch("/stream?n=" + encodeURIComponent(n) + asked(), { signal: control.signal, cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const reader = answer.body.getReader();
    let rest = new Uint8Array(0);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const all = new Uint8Array(rest.length + value.length);
      all.set(rest);
      all.set(value, rest.length);
      rest = parts(all, (head, body) => {
        if (reading && reading.control === control && body.length) draw(head, body);
      });
    }
  } catch (error) { /* The watch tells what is missing. */ }
  setTimeout(() => { if (reading && reading.control === control) read(chosen); }, 500);
}

// WebRTC takes over where the server offers it. Until its first picture has come, and after its
// end, the pictures come as JPEG.
let direct = null, retry = 0;
function takeOver(offered) {
  if (!offered || !Direct.possible || direct || performance.now() < retry) return;
  const own = direct = new Direct({ n: chosen, show: selection() }, {
    present: (told, ...area) => {
      if (direct !== own) return;
      if (reading) reading.control.abort();
      reading = null;
      present(told.result, told.number, told.captured_ns, ...area);
    },
    ended: () => {
      if (direct !== own) return;
      direct = null;
      retry = performance.now() + 30000;
      if (!reading) read(chosen);
    },
  });
}

// The switches choose what the server draws for this page; nobody else sees a change.
const PARTS = ["masks", "contours", "boxes", "labels", "tips", "ids"];
let usual = null;
function selection() {
  const boxes = [...$("show").querySelectorAll("input")];
  if (!boxes.length) return "";
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  return chosen.join() === usual.join() ? "" : chosen.join() || "none";
}

function asked() {
  return selection() && "&show=" + encodeURIComponent(selection());
}

function switches(shown) {
  if (usual || !shown) return;
  usual = PARTS.filter((part) => shown.includes(part));
  for (const part of PARTS) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.value = part;
    box.checked = usual.includes(part);
    box.addEventListener("change", () => follow(chosen));
    label.append(box, part);
    $("show").append(label);
  }
  $("show").hidden = false;
}

// Calls take(head, body) for every whole part; returns the bytes that are left.
function parts(data, take) {
  for (;;) {
    let end = 0;
    while (end + 3 < data.length && !(data[end] === 13 && data[end + 1] === 10 && data[end + 2] === 13 && data[end + 3] === 10)) end++;
    if (end + 3 >= data.length) return data;
    const head = Object.fromEntries(new TextDecoder().decode(data.subarray(0, end)).split("\r\n")
      .slice(1).map((line) => [line.split(":")[0].toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
    const from = end + 4, to = from + Number(head["content-length"] || 0);
    if (data.length < to + 2) return data;
    take(head, data.slice(from, to));
    data = data.slice(to + 2);
  }
}

// Only the newest picture is drawn: a slow browser leaves pictures out and is not late.
let next = null, drawing = false;
async function draw(head, body) {
  next = [head, body];
  if (drawing) return;
  drawing = true;
  while (next) {
    const [own, bytes] = next;
    next = null;
    try {
      const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
      if (reading) {
        present(JSON.parse(own["x-result"] || "{}"), Number(own["x-picture"]),
          Number(own["x-captured-ns"]), bitmap, 0, 0, bitmap.width, bitmap.height);
      }
      bitmap.close();
    } catch (error) { /* A damaged picture: the watch sees that none came. */ }
  }
  drawing = false;
}

// Shows a part of an image, and what the server says of exactly this picture.
function present(result, number, capturedNs, image, x, y, width, height) {
  const view = $("view");
  if (view.width !== width) view.width = width;
  if (view.height !== height) view.height = height;
  view.getContext("2d").drawImage(image, x, y, width, height, 0, 0, width, height);
  instruments(result.instruments || []);
  watch.picture(number, capturedNs, performance.now());
}

function follow(n) {
  chosen = n;
  watch.follow(performance.now());
  const before = direct;
  direct = null;
  retry = 0;
  if (before) before.end();
  if (reading) reading.control.abort();
  read(n);
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

// The instruments that are drawn on the picture: they come with it.
function instruments(drawn) {
  fill($("instruments").tBodies[0], drawn.map((i) => [
    i.track_id === undefined ? "" : i.track_id, i.class, i.score.toFixed(2),
    i.tips.map((t) => t.map(Math.round).join(", ")).join("  |  ") || "–",
    i.angle.toFixed(0) + "°"]), "none");
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
  switches(now.show);
  $("reasons").textContent = (now.reasons || []).join("; ");
  $("model").textContent = now.model || "";
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
  const control = new AbortController();
  const limit = setTimeout(() => control.abort(), 1200);
  try {
    const answer = await fetch("/state.json", { cache: "no-store", signal: control.signal });
    if (answer.ok) {
      const all = await answer.json();
      streams = all.streams;
      if (streams[chosen]) watch.answer(all.now_ns, streams[chosen], performance.now());
      render(streams);
      takeOver(all.webrtc);
      document.body.dataset.ready = "1";
    }
  } catch (error) { /* The watch tells that no answer came. */ }
  clearTimeout(limit);
  tell();
  setTimeout(tick, 500);
}

// Says whether what is shown is live; several times a second, whatever the network does.
function tell() {
  const now = performance.now(), wrong = watch.verdict(now), stream = streams[chosen] || {};
  const state = wrong ? wrong[0] : stream.state || "…";
  $("state").textContent = state;
  $("state").className = "state " + (wrong ? "WRONG" : state);
  const age = watch.age(now);
  $("age").textContent = age === null ? "" : "picture " + Math.round(age) + " ms old";
  $("picture").className = wrong ? "wrong" : "";
  $("warning").hidden = !wrong;
  if (wrong) {
    $("warning").firstElementChild.textContent = wrong[0];
    $("warning").lastElementChild.textContent = wrong[1];
  }
}

$("stream").addEventListener("change", (event) => follow(event.target.value));
// The token has become a cookie: it need not stand in the address bar and in the history.
if (location.search) history.replaceState(null, "", location.pathname);
document.addEventListener("visibilitychange", tell);
read(chosen);
tick();
setInterval(tell, 250);
