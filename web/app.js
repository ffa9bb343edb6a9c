// The dashboard: one stream of the coordinator's status, drawn as it comes. It only reads, unless the
// operator pastes the secret. Whatever came from a worker or a run file is put in as text, never as
// markup.
"use strict";

const POINTS_MAX = 4000;    // of the curve, kept and drawn
const PAGE_POINTS = 1000;
const EVENTS_MAX = 200;
const DRAW_MS = 500;        // charts are drawn at most this often
const SLOW = 1.5;           // times what the median worker took in that round
const STRAGGLER = 2;        // times the median worker's time for a chunk

const $ = (id) => document.getElementById(id);
const state = {
  status: null, strips: [], run: 0, points: [], held: [], pace: [], events: [], lastEvent: 0,
  secret: "", filling: false, drawn: 0, charts: {}, perStep: NaN,
};

// ---- small things ----

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (k === "class") e.className = v;
    else if (k === "on") e.addEventListener("click", v);
    else e.setAttribute(k, v);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

const isNumber = (x) => typeof x === "number" && isFinite(x);

function number(x, digits) {
  if (!isNumber(x)) return "–";
  return x.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

function short(x) { // three figures, with k and M
  if (!isNumber(x)) return "–";
  const a = Math.abs(x);
  if (a >= 1e6) return number(x / 1e6, 2) + " M";
  if (a >= 1e4) return number(x / 1e3, 1) + " k";
  return number(x, a >= 100 || a === 0 ? 0 : a >= 1 ? 2 : 3);
}

function seconds(s) {
  if (!isNumber(s)) return "–";
  if (s < 1e-3) return number(s * 1e6, 0) + " µs";
  if (s < 1) return number(s * 1e3, s < 0.1 ? 1 : 0) + " ms";
  if (s < 90) return number(s, 1) + " s";
  if (s < 5400) return number(s / 60, 0) + " min";
  if (s < 172800) return number(s / 3600, 1) + " h";
  return number(s / 86400, 1) + " days";
}

function put(id, text) {
  const e = $(id);
  if (e.textContent !== text) e.textContent = text;
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function median(list) {
  if (list.length === 0) return 0;
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

// A table of objects, whatever their fields; columns: [key, heading, text of the value].
function fill(table, rows, columns) {
  const head = el("tr");
  for (const [, title, show] of columns) head.append(el("th", { scope: "col", class: show ? "n" : "" }, title));
  const body = el("tbody");
  for (const row of rows) {
    const tr = el("tr");
    for (const [key, , show] of columns) {
      const v = row[key];
      tr.append(el("td", { class: show ? "n" : "" }, show ? show(v, row) : v === null || v === undefined ? "–" : String(v)));
    }
    body.append(tr);
  }
  table.replaceChildren(el("thead", {}, head), body);
}

const columnsOf = (row) => Object.keys(row).filter((k) => typeof row[k] !== "object")
  .map((k) => [k, k.replace(/_/g, " "), isNumber(row[k]) ? short : null]);

// ---- the run ----

function tile(name, value, note) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, " " + note) : null));
}

function drawRun() {
  const s = state.status, open = s.open;
  const run = open || s.runs[s.runs.length - 1];
  const active = s.workers.filter((w) => w.state === "active").length;
  const record = s.runs.find((r) => run && r.run === run.run);
  put("run-name", run ? run.name : "No run was submitted yet");
  const phase = open ? open.phase : record ? record.state : "";
  put("run-phase", phase);
  $("run-phase").className = "badge " + (phase === "failed" ? "bad" : phase.startsWith("waiting") || phase === "paused" ? "warn" : "good");
  put("run-code", run && run.code ? "code " + run.code + (run.code_auto ? " (chosen by measuring)" : "") +
    (run.code_since > 0 ? ", since step " + run.code_since : "") : "");
  document.title = run ? run.name + " " + run.step + "/" + run.steps + " – Brigade" : "Brigade";
  $("progress").max = run ? run.steps : 1;
  $("progress").value = run ? run.step : 0;
  const rows = [];
  if (run) {
    rows.push(tile("step", number(run.step, 0), "of " + number(run.steps, 0)));
    rows.push(tile("loss", number(run.loss, 4)));
    rows.push(tile("held out", number(run.held_out_loss, 4),
      isNumber(run.held_out_accuracy) ? number(100 * run.held_out_accuracy, 1) + " %" : ""));
  }
  if (open) {
    rows.push(tile(open.targets + " a second", short(open.targets_per_second)));
    rows.push(tile("time a step", seconds(open.seconds_per_step)));
    rows.push(tile("to go", seconds(open.eta_s)));
    rows.push(tile("steps that waited", number(open.waited_steps, 0)));
  }
  rows.push(tile("workers", String(active), "of " + s.workers.length));
  $("tiles").replaceChildren(...rows);
  drawRunButtons(record);
  const csv = $("csv");
  csv.hidden = !run;
  if (run) csv.href = "/api/v1/curve?format=csv&run=" + run.run;
}

function drawRunButtons(record) {
  const box = $("run-buttons");
  const can = record && state.secret !== "";
  box.hidden = !can;
  if (!can) return;
  const verb = record.state === "paused" ? "resume" : "pause";
  if (box.dataset.verb === verb + record.run) return;
  box.dataset.verb = verb + record.run;
  box.replaceChildren(el("button", { type: "button", on: () => change(verb, { run: record.run }) }, verb));
}

function drawModels() {
  const open = state.status.open;
  const models = open && open.models ? open.models : [];
  $("models-box").hidden = models.length < 2;
  if (models.length < 2) return;
  fill($("models"), models, [["model", "model"], ["step", "step", (v, m) => number(v, 0) + " / " + number(m.steps, 0)],
    ["lr", "rate", short], ["loss", "loss", (v) => number(v, 4)], ["held_out_loss", "held out", (v) => number(v, 4)],
    ["seed", "seed"]]);
}

function drawTuning() {
  const t = state.status.open && state.status.open.tuning;
  $("tuning-box").hidden = !t;
  if (!t) return;
  put("tuning-now", t.state + ", " + number(t.decisions, 0) + " decision(s), measured " + seconds(t.measured_round_s) + " a round");
  fill($("tuning"), t.table || [], [["code", "code"], ["step_s", "a step", seconds],
    ["worker_s", "of workers", seconds], ["spread_s", "spread", seconds],
    ["waited", "waited", (v) => number(100 * v, 1) + " %"]]);
}

// A pipeline's stages, first to last. How stale a shadow is: the steps made since its oldest slice.
function stageCard(line, g) {
  const names = g.holders.map((h) => line.lanes > 1 ? h.worker + " (" + laneList(h.lanes) + ")" : h.worker);
  const kept = [["shadow", g.shadow], ["parity", g.parity]].filter((k) => k[1]).map(([what, k]) =>
    el("div", { class: "muted", title: what + " kept by " + k.worker }, what + " " + Math.max(0, line.committed - k.version) + " steps old, " + k.worker));
  const busy = isNumber(g.compute_s) && g.compute_s + g.wait_s > 0 ? Math.round(100 * g.compute_s / (g.compute_s + g.wait_s)) : NaN;
  return el("li", { class: names.length === 0 ? "lost" : "" },
    el("strong", {}, "stage " + g.stage),
    el("div", {}, names.length > 0 ? names.join(", ") : "nobody"),
    isNumber(busy) ? el("div", { class: "muted", title: "computes " + seconds(g.compute_s) + ", waits " + seconds(g.wait_s) + " of a step" },
      "at work " + busy + " % of " + seconds(g.compute_s + g.wait_s)) : null,
    g.bytes_per_token > 0 ? el("div", { class: "muted" }, short(g.bytes_per_token) + " bytes a token") : null,
    ...kept,
    g.rung_last ? el("div", {}, el("span", { class: "badge warn" }, "came back by " + g.rung_last)) : null);
}

function laneList(bits) {
  return [...Array(16).keys()].filter((i) => bits >> i & 1).join(" ");
}

function stageOf(w) {
  const line = state.status.open && state.status.open.line;
  const g = line && line.stages.find((s) => s.holders.some((h) => h.worker === w.worker));
  return g ? g.stage : null;
}

function drawStages() {
  const line = state.status.open && state.status.open.line;
  $("stages").hidden = !line;
  if (!line) return;
  const back = Object.entries(line.recoveries || {}).filter((r) => r[1] > 0).map((r) => r[0] + " " + r[1]);
  put("stages-now", line.phase + ", placement " + line.generation +
    (line.checkpoint > 0 ? ", checkpoint of step " + line.checkpoint : ", no checkpoint yet") +
    (back.length > 0 ? "; came back by " + back.join(", ") : ""));
  $("stage-line").replaceChildren(...line.stages.map((g) => stageCard(line, g)));
}

function drawLedger() {
  const raw = state.status.ledger;
  const rows = Array.isArray(raw) ? raw : raw && Array.isArray(raw.entries) ? raw.entries : [];
  $("ledger-box").hidden = rows.length === 0;
  if (rows.length > 0) fill($("ledger"), rows, columnsOf(rows[0]));
}

function drawRuns() {
  fill($("runs"), [...state.status.runs].reverse(), [["run", "run"], ["name", "name"], ["state", "state"],
    ["step", "step", (v, r) => number(v, 0) + " / " + number(r.steps, 0)], ["loss", "loss", (v) => number(v, 4)],
    ["held_out_loss", "held out", (v) => number(v, 4)]]);
}

// ---- workers and their strips ----

// Of a round that ended first it is known only that the worker would have taken longer: how much, its
// time for a chunk tells (ratio: to that of the median worker).
function drawStrip(canvas, times, middle, ratio) {
  const scale = window.devicePixelRatio || 1, wide = canvas.clientWidth || 240, high = canvas.clientHeight || 24;
  if (canvas.width !== Math.round(wide * scale)) {
    canvas.width = Math.round(wide * scale);
    canvas.height = Math.round(high * scale);
  }
  const g = canvas.getContext("2d"), slots = 48, step = canvas.width / slots;
  g.clearRect(0, 0, canvas.width, canvas.height);
  const top = 2.5 * median(middle.filter((m) => m > 0)) || 1;
  times.forEach((t, i) => {
    const x = (slots - times.length + i) * step, took = t < 0 ? Math.max(-t, middle[i] * ratio) : t;
    const slow = took > SLOW * middle[i] && middle[i] > 0;
    g.fillStyle = t === 0 ? color("line") : t < 0 ? color(slow ? "bad" : "muted") : color(slow ? "warn" : "one");
    const h = t === 0 ? scale : Math.max(scale * 2, Math.min(1, took / top) * canvas.height);
    g.fillRect(x, canvas.height - h, Math.max(1, step - scale), h);
  });
}

// Never heard in time: says something only where most others are heard. A code that decides at the
// first instant does without one of each group, however quick that one is.
function findUnheard(workers) {
  const active = workers.map((w, i) => i).filter((i) => workers[i].state === "active");
  const unheard = active.filter((i) => (state.strips[i] || []).length > 12 && !state.strips[i].some((t) => t > 0));
  return new Set(4 * unheard.length <= active.length ? unheard : []);
}

// middle: for each round what the median of those that finished took; chunk: the median worker's.
function workerRow(w, times, middle, chunk, unheard) {
  const done = times.filter((t) => t > 0), late = times.filter((t, i) => Math.abs(t) > SLOW * middle[i]).length;
  const isStraggler = w.state === "active" && times.length > 3 && (unheard || w.chunk_s > STRAGGLER * chunk);
  const gone = ["left", "lost", "away", "revoked"].includes(w.state);
  const kind = w.state === "active" ? "good" : w.state === "lost" || w.state === "revoked" || w.state === "quarantined" ? "bad" : gone ? "" : "warn";
  const canvas = el("canvas", { class: "strip", role: "img",
    "aria-label": times.length === 0 ? "no rounds yet" : "median " + seconds(median(done)) + ", slow in " + late + " of the last " + times.length + " rounds" });
  const task = stageOf(w) !== null ? "stage " + stageOf(w) : w.task ? "step " + w.task.step + ", part " + w.task.unit : w.position === null ? "spare" : "";
  const tr = el("tr", { class: (isStraggler ? "straggler" : "") + (gone ? " gone" : "") },
    el("td", { title: w.key }, w.worker || w.key.slice(0, 8)),
    el("td", {}, el("span", { class: "badge " + (isStraggler ? "warn" : kind) }, isStraggler ? "straggler" : w.state)),
    el("td", {}, canvas), el("td", { class: "n" }, seconds(w.chunk_s)),
    el("td", { class: "n" }, isNumber(w.late_share) ? number(100 * w.late_share, 0) + " %" : "–"),
    el("td", { class: "n" }, number(w.shares_used, 0)), el("td", { class: "muted" }, task),
    state.secret === "" ? null : el("td", {},
      el("button", { type: "button", on: () => change("drain", { worker: w.key }) }, "drain"),
      el("button", { type: "button", on: () => confirm("Take away the key of " + w.worker + "?") && change("revoke", { worker: w.key }) }, "revoke")));
  return { tr, draw: () => drawStrip(canvas, times, middle, chunk > 0 && isNumber(w.chunk_s) ? w.chunk_s / chunk : 1) };
}

function drawWorkers() {
  const workers = state.status.workers;
  const count = Math.max(0, ...state.strips.map((t) => t.length)), middle = [];
  for (let i = 0; i < count; i++) middle.push(median(state.strips.map((t) => t[i]).filter((t) => t > 0)));
  const chunk = median(workers.filter((w) => w.state === "active" && isNumber(w.chunk_s)).map((w) => w.chunk_s));
  const body = $("workers").tBodies[0];
  if (body.contains(document.activeElement)) return; // a button in use stays where it is
  const unheard = findUnheard(workers);
  const rows = workers.map((w, i) => workerRow(w, state.strips[i] || [], middle, chunk, unheard.has(i)));
  body.replaceChildren(...rows.map((r) => r.tr));
  for (const r of rows) r.draw();
  document.querySelector("#workers .act").hidden = state.secret === "";
  const active = workers.filter((w) => w.state === "active").length;
  put("workers-count", active + " active of " + workers.length + (chunk > 0 ? ", median " + seconds(chunk) + " a chunk" : ""));
}

// ---- events ----

const EVENT_CLASS = { lost: "bad", "bad-share": "bad", "digests-differ": "bad", unfit: "bad", starved: "warn",
  "re-attempt": "warn", draining: "warn", joined: "good", enrolled: "good", checkpoint: "", recovered: "warn", line: "" };

function takeEvents(list) {
  const fresh = list.filter((e) => e.sequence > state.lastEvent);
  if (fresh.length === 0) return;
  if (state.lastEvent > 0 && fresh[0].sequence > state.lastEvent + 1) {
    loadEvents();
    return;
  }
  state.events.push(...fresh);
  state.events.splice(0, Math.max(0, state.events.length - EVENTS_MAX));
  state.lastEvent = fresh[fresh.length - 1].sequence;
  $("events").replaceChildren(...[...state.events].reverse().map((e) => el("li", {},
    el("time", { datetime: e.time, title: e.time }, new Date(e.time).toLocaleTimeString("en-GB")),
    el("span", { class: EVENT_CLASS[e.kind] || "" }, e.worker && !e.text.includes(e.worker) ? e.worker + ": " + e.text : e.text))));
}

async function loadEvents() {
  const reply = await fetch("/api/v1/events?limit=" + EVENTS_MAX);
  if (!reply.ok) return;
  state.events = [];
  state.lastEvent = 0;
  takeEvents((await reply.json()).events);
}

// ---- curves ----

function takePoints(points) {
  const last = state.points.length > 0 ? state.points[state.points.length - 1].step : 0;
  const fresh = points.filter((p) => p.step > last);
  if (fresh.length === 0) return;
  if (fresh[0].step > last + 1) { // some were missed: ask for them
    fillCurve();
    return;
  }
  state.points.push(...fresh);
  state.points.splice(0, Math.max(0, state.points.length - POINTS_MAX));
}

// The points between what is here and the newest step, page by page; one filling at a time.
async function fillCurve() {
  const open = state.status && state.status.open, run = state.run;
  if (state.filling || run === 0) return;
  state.filling = true;
  try {
    const newest = open ? open.step : state.status.runs.find((r) => r.run === run).step;
    let from = state.points.length > 0 ? state.points[state.points.length - 1].step + 1 : 1;
    from = Math.max(from, newest - POINTS_MAX + 1);
    for (let page = 0; page * PAGE_POINTS < POINTS_MAX; page++) {
      const reply = await fetch("/api/v1/curve?run=" + run + "&from=" + from + "&limit=" + PAGE_POINTS);
      if (!reply.ok || run !== state.run) break;
      const curve = await reply.json();
      if (curve.held_out.length > 0) state.held = curve.held_out;
      if (curve.points.length === 0) break;
      if (state.points.length > 0 && from > state.points[state.points.length - 1].step + 1) state.points = [];
      state.points.push(...curve.points);
      from = curve.points[curve.points.length - 1].step + 1;
    }
    state.points.splice(0, Math.max(0, state.points.length - POINTS_MAX));
    drawCharts(true);
  } finally {
    state.filling = false;
  }
}

function takeHeldOut() {
  const open = state.status.open;
  if (!open) return;
  for (const m of open.models || []) {
    if (!isNumber(m.held_out_loss)) continue;
    const step = (m.held_out_step - 1) * open.models.length + m.model + 1;
    if (!state.held.some((h) => h.step === step)) state.held.push({ step, model: m.model, loss: m.held_out_loss });
  }
  if (isNumber(open.targets_per_second)) {
    state.perStep = open.targets_per_second * open.seconds_per_step;
    const last = state.pace[state.pace.length - 1];
    if (!last || last[0] !== open.step) state.pace.push([open.step, open.targets_per_second]);
    state.pace.splice(0, Math.max(0, state.pace.length - POINTS_MAX));
  }
}

function series(label, name, extra) {
  return Object.assign({ label, stroke: color(name), width: 1.6, points: { show: false }, spanGaps: true,
    value: (u, v) => short(v) }, extra);
}

function chart(id, lines, data) {
  const box = $(id), key = lines.map((l) => l.label + l.stroke).join("|");
  const old = state.charts[id];
  if (old && old.key === key) {
    old.plot.setData(data);
    return;
  }
  if (old) old.plot.destroy();
  const axis = () => ({ stroke: color("muted"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line") },
    font: "12px system-ui, sans-serif" });
  const plot = new uPlot({
    width: box.clientWidth, height: 220, scales: { x: { time: false } }, cursor: { y: false },
    axes: [axis(), Object.assign(axis(), { size: 56, values: (u, v) => v.map(short) })],
    series: [{ label: "step", value: (u, v) => (v === null ? "–" : String(v)) }, ...lines],
  }, data, box);
  state.charts[id] = { plot, key };
}

const MODEL_COLORS = ["one", "good", "warn", "bad", "muted", "one", "good", "warn"];

function drawCharts(now) {
  const t = performance.now();
  if (!now && t - state.drawn < DRAW_MS) return;
  state.drawn = t;
  const run = state.status && (state.status.open || state.status.runs.find((r) => r.run === state.run));
  if (!run || state.points.length === 0) return;
  const count = run.models ? run.models.length : 1;
  const x = state.points.map((p) => p.step), at = new Map(x.map((step, i) => [step, i]));
  const lines = [], data = [x];
  for (let m = 0; m < count; m++) {
    lines.push(series(count > 1 ? "model " + m : "training", MODEL_COLORS[m], m > 4 ? { dash: [4, 3] } : {}));
    data.push(state.points.map((p) => (p.model === m ? p.loss : null)));
  }
  const held = new Array(x.length).fill(null);
  let hasHeld = false;
  for (const h of state.held) {
    if (!at.has(h.step)) continue;
    held[at.get(h.step)] = h.loss;
    hasHeld = true;
  }
  if (hasHeld) {
    lines.push(series("held out", "two", { points: { show: true, size: 5 }, dash: [6, 4] }));
    data.push(held);
  }
  chart("loss", lines, data);
  put("loss-now", isNumber(run.loss) ? number(run.loss, 4) + " at step " + run.step : "");
  const what = (state.status.open && state.status.open.targets) || "samples";
  let pace = [x, smooth(state.points.map((p) => (p.seconds > 0 && isNumber(state.perStep) ? state.perStep / p.seconds : null)))];
  if (count > 1 || !isNumber(state.perStep)) pace = [state.pace.map((p) => p[0]), state.pace.map((p) => p[1])];
  chart("pace", [series(what + " a second", "one", {})], pace);
  put("pace-now", state.status.open ? short(state.status.open.targets_per_second) + " " + what + " a second" : "");
}

// The mean over the last 8 steps: single rounds jump too much to be read.
function smooth(list) {
  return list.map((v, i) => {
    const part = list.slice(Math.max(0, i - 7), i + 1).filter(isNumber);
    return part.length === 0 ? null : part.reduce((a, b) => a + b, 0) / part.length;
  });
}

// ---- changes ----

async function change(verb, body) {
  put("said", verb + " …");
  $("operate").open = true;
  try {
    const reply = await fetch("/api/v1/" + verb, { method: "POST", body: JSON.stringify(body),
      headers: { "Content-Type": "application/json", Authorization: "Bearer " + state.secret } });
    const answer = await reply.json();
    put("said", reply.ok ? verb + ": done" : answer.error);
    if (reply.status === 401) state.secret = "";
  } catch (e) {
    put("said", "the coordinator did not answer: look whether it was done before you try again");
  }
}

$("key-form").addEventListener("submit", (e) => {
  e.preventDefault();
  state.secret = $("key").value.trim();
  $("key").value = "";
  put("said", state.secret === "" ? "no secret: the page only looks" : "buttons are shown; the coordinator checks the secret when one is used");
  if (state.status) draw();
});

// ---- the stream ----

function draw() {
  drawRun();
  drawModels();
  drawTuning();
  drawStages();
  drawWorkers();
  drawLedger();
  drawRuns();
  drawCharts(false);
}

function take(message) {
  const s = message.status;
  state.status = s;
  state.strips = message.strips || [];
  const run = s.open || s.runs[s.runs.length - 1];
  const id = run ? run.run : 0;
  if (id !== state.run) {
    Object.assign(state, { run: id, points: [], held: [], pace: [], perStep: NaN });
    if (id !== 0) fillCurve();
  }
  if (s.open && !state.filling) takePoints(message.points || []);
  takeHeldOut();
  if (state.lastEvent === 0 && s.events.length > 0) loadEvents();
  else takeEvents(s.events);
  draw();
}

function link(name, text) {
  $("link").className = "link " + name;
  put("link", text);
}

function listen() {
  const source = new EventSource("/api/v1/stream");
  source.onmessage = (m) => {
    link("live", "live");
    take(JSON.parse(m.data));
  };
  source.onerror = () => {
    link("away", "the coordinator is away; this page comes back with it");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

function restyle() {
  for (const c of Object.values(state.charts)) c.plot.destroy();
  state.charts = {};
  if (state.status) {
    drawCharts(true);
    drawWorkers();
  }
}

$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches, root = document.documentElement;
  const is = root.dataset.theme || (dark ? "dark" : "light");
  root.dataset.theme = is === "dark" ? "light" : "dark";
  restyle();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
addEventListener("resize", () => {
  for (const [id, c] of Object.entries(state.charts)) c.plot.setSize({ width: $(id).clientWidth, height: 220 });
});
listen();
