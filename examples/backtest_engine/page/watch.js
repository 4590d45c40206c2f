"use strict";
// Start a backtest, follow its events over WebSocket, draw them. No state outlives the page.

const base = location.pathname.replace(/\/watch\/?$/, "");   // also right below a gateway's prefix
const TRANSIENT = [1001, 1005, 1006, 1011, 1012, 1013, 1014]; // closes after which another try makes sense
const MAX_TRIES = 5;
const MAX_ROWS = 200;
const $ = (id) => document.getElementById(id);
const form = $("form");
let run = null;

const freshRun = (cash, bars) => ({
  id: null, cash, bars, socket: null, lastEvent: 0, tries: 0, over: false, points: [], fills: [],
});

// ---- talking to the service -------------------------------------------------------------------

const apiKey = () => $("key").value.trim();
const keyHeader = () => (apiKey() ? { "X-API-Key": apiKey() } : {});

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { ...keyHeader(), ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : undefined,
    credentials: "same-origin",
  });
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const refusal = answer && answer.error ? answer.error : { message: `${response.status} ${response.statusText}` };
  throw Object.assign(new Error(refusal.message), { fields: (refusal.details && refusal.details.fields) || {} });
}

async function streamAddress(id, after) {
  const address = new URL(`${base}/${id}/stream`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if (after) address.searchParams.set("after", after);
  // A browser cannot put headers on a WebSocket: the key buys a short-lived ticket instead.
  if (apiKey()) address.searchParams.set("ticket", (await call("POST", "/auth/ws-ticket")).ticket);
  return address;
}

async function follow(current) {
  const address = await streamAddress(current.id, current.lastEvent);
  if (current.over || current !== run) return;
  const socket = new WebSocket(address);
  current.socket = socket;
  socket.onmessage = (message) => {
    if (current !== run) return;
    const event = JSON.parse(message.data);
    current.lastEvent = event.id;
    current.tries = 0;
    (handlers[event.event] || (() => {}))(event.data, current);
  };
  socket.onclose = (closed) => { if (current === run && !current.over) lost(current, closed); };
}

function lost(current, closed) {
  const why = `The stream closed with ${closed.code}${closed.reason ? `: ${closed.reason}` : ""}.`;
  if (!TRANSIENT.includes(closed.code) || current.tries >= MAX_TRIES) return end("failed", "Stream lost", why);
  current.tries += 1;
  showState("queued", `Reconnecting (${current.tries} of ${MAX_TRIES})`);
  setTimeout(() => {
    if (current === run && !current.over) follow(current).catch((error) => end("failed", "Stream lost", error.message));
  }, 400 * 2 ** current.tries);
}

// ---- what each event means --------------------------------------------------------------------

const handlers = {
  started: () => showState("running", "Running"),
  trade: (trade, current) => {
    const equity = trade.side === "buy" ? trade.quantity * trade.price : trade.cash;
    current.fills.push({ bar: trade.bar + 1, side: trade.side, equity });
    // Progress comes in steps: the fill itself is a point of the curve too.
    current.points.push({ bar: trade.bar + 1, equity });
    addRow(trade);
    draw();
  },
  progress: (at, current) => {
    current.points.push({ bar: at.bar, equity: at.equity, hold: current.cash * (1 + at.buy_and_hold_return) });
    showState("running", "Running");
    showProgress(at.bar, at.bars);
    showFigures(at);
    draw();
  },
  completed: (figures, current) => {
    showProgress(current.bars, current.bars);
    showFigures(figures);
    end("completed", "Completed");
    showFullCurve(current).catch(() => {});
  },
  failed: (failure) => end("failed", "Failed", failure.error),
  cancelled: () => end("cancelled", "Stopped"),
};

async function showFullCurve(current) {
  // A late or interrupted reader may have missed events; the results have the whole curve.
  const results = await call("GET", `${base}/${current.id}/results`);
  if (current !== run) return;
  const first = results.equity_curve[0].price;
  current.points = results.equity_curve.map((point) => ({
    bar: point.bar + 1, equity: point.equity, hold: (current.cash * point.price) / first,
  }));
  draw();
}

function end(state, text, problem) {
  run.over = true;
  if (run.socket) run.socket.close();
  showState(state, text);
  $("run").disabled = false;
  $("stop").disabled = true;
  if (problem) showProblem(problem);
}

// ---- the form ---------------------------------------------------------------------------------

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const wanted = readForm();
  clear(wanted);
  const current = run;
  $("run").disabled = true;
  showState("queued", "Starting");
  try {
    current.id = (await call("POST", base, wanted)).id;
    $("stop").disabled = false;
    await follow(current);
  } catch (error) {
    end("failed", "Not started", error.message);
    for (const name of Object.keys(error.fields || {})) if (form.elements[name]) form.elements[name].ariaInvalid = "true";
  }
});

$("stop").addEventListener("click", () => {
  $("stop").disabled = true;
  call("POST", `${base}/${run.id}/cancel`).catch((error) => showProblem(error.message));
});

$("shuffle").addEventListener("click", () => { form.elements.seed.value = Math.floor(Math.random() * 100000); });

function readForm() {
  const wanted = {};
  for (const field of form.querySelectorAll("input[name]")) {
    const text = field.value.trim();
    // An empty field leaves the choice to the service.
    if (text !== "") wanted[field.name] = field.type === "number" ? Number(text) : text;
  }
  return wanted;
}

function clear(wanted) {
  run = freshRun(wanted.initial_cash || 10000, wanted.bars || 1000);
  $("problem").hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  for (const id of ["equity", "total-return", "hold-return", "drawdown", "sharpe", "trades"]) show(id, "–");
  $("fills").replaceChildren(emptyRow());
  showProgress(0, run.bars);
  draw();
}

// ---- showing ----------------------------------------------------------------------------------

const money = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const signed = (text) => text.replace("-", "−");
const percent = (ratio) => signed(`${ratio > 0 ? "+" : ""}${(100 * ratio).toFixed(2)} %`);

function show(id, text, tone = "") { $(id).textContent = text; $(id).className = tone; }
function showRatio(id, ratio) { show(id, percent(ratio), ratio > 0 ? "up" : ratio < 0 ? "down" : ""); }
function showFigures(figures) {
  show("equity", money(figures.equity));
  showRatio("total-return", figures.total_return);
  showRatio("hold-return", figures.buy_and_hold_return);
  show("drawdown", percent(-figures.max_drawdown));
  show("sharpe", figures.sharpe === null ? "–" : signed(figures.sharpe.toFixed(2)));
  show("trades", figures.trade_count.toLocaleString("en"));
}
function showState(state, text) { $("state").dataset.state = state; $("state-text").textContent = text; }
function showProblem(text) { $("problem").textContent = text; $("problem").hidden = false; }

function showProgress(bar, bars) {
  const done = Math.round((100 * bar) / bars);
  $("fill").style.width = `${done}%`;
  $("progress").setAttribute("aria-valuenow", String(done));
  $("bar").textContent = bar.toLocaleString("en");
  $("bars").textContent = bars.toLocaleString("en");
}

function emptyRow() {
  const row = document.createElement("tr");
  row.className = "empty";
  const cell = row.insertCell();
  cell.colSpan = 5;
  cell.textContent = "No trades yet.";
  return row;
}

function addRow(trade) {
  const body = $("fills");
  if (body.firstElementChild && body.firstElementChild.className === "empty") body.replaceChildren();
  const row = body.insertRow(0);
  const tone = trade.side === "buy" ? "up" : "down";
  const profit = trade.profit === null ? "" : signed(money(trade.profit));
  const cells = [trade.bar + 1, trade.side, trade.price.toFixed(2), trade.quantity.toFixed(3), profit];
  cells.forEach((text, column) => {
    const cell = row.insertCell();
    cell.textContent = text;
    if (column === 1) cell.className = tone;
    if (column === 4 && trade.profit) cell.className = trade.profit > 0 ? "up" : "down";
  });
  while (body.rows.length > MAX_ROWS) body.deleteRow(-1);
}

// ---- the curve --------------------------------------------------------------------------------

const canvas = $("curve");
let drawing = 0;
function draw() { if (!drawing) drawing = requestAnimationFrame(() => { drawing = 0; paint(); }); }
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: light)").addEventListener("change", draw);

function paint() {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const colour = colours();
  const current = run || freshRun(10000, 600);
  const held = current.points.filter((point) => point.hold !== undefined);
  const values = [current.cash, ...current.points.map((point) => point.equity), ...held.map((point) => point.hold)];
  const ticks = niceTicks(values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b)));
  const [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const left = 62, right = width - 10, top = 10, bottom = height - 24;
  const x = (bar) => left + ((right - left) * bar) / current.bars;
  const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low);

  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  pen.lineWidth = 1;
  for (const tick of ticks) {
    pen.strokeStyle = colour.line;
    line(pen, [[left, y(tick)], [right, y(tick)]]);
    pen.fillStyle = colour.muted;
    pen.fillText(tick.toLocaleString("en"), left - 9, y(tick));
  }
  pen.textAlign = "center";
  for (let part = 0; part <= 4; part += 1) {
    const bar = Math.round((current.bars * part) / 4);
    pen.textAlign = part === 4 ? "right" : part === 0 ? "left" : "center";
    pen.fillText(bar.toLocaleString("en"), x(bar), height - 9);
  }
  pen.setLineDash([4, 5]);
  pen.strokeStyle = colour.muted;
  line(pen, [[left, y(current.cash)], [right, y(current.cash)]]);
  pen.setLineDash([]);
  if (!current.points.length) return;

  pen.lineJoin = "round";
  pen.lineWidth = 1.5;
  pen.strokeStyle = colour.hold;
  line(pen, held.map((point) => [x(point.bar), y(point.hold)]));
  const curve = current.points.map((point) => [x(point.bar), y(point.equity)]);
  pen.lineWidth = 2.25;
  pen.strokeStyle = colour.accent;
  line(pen, curve);
  pen.lineTo(curve[curve.length - 1][0], bottom);
  pen.lineTo(curve[0][0], bottom);
  const shade = pen.createLinearGradient(0, top, 0, bottom);
  shade.addColorStop(0, `${colour.accent}3d`);
  shade.addColorStop(1, `${colour.accent}00`);
  pen.fillStyle = shade;
  pen.fill();
  paintFills(pen, current, colour, x, y);
}

function paintFills(pen, current, colour, x, y) {
  for (const fill of current.fills) {
    pen.beginPath();
    pen.arc(x(fill.bar), y(fill.equity), 4, 0, 2 * Math.PI);
    pen.fillStyle = fill.side === "buy" ? colour.up : colour.down;
    pen.fill();
    pen.strokeStyle = colour.panel;
    pen.stroke();
  }
}

function line(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}

function niceTicks(low, high) {
  const least = Math.max(Math.abs(high) * 0.02, 1e-6);
  if (high - low < least) [low, high] = [low - least / 2, high + least / 2];
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const ticks = [];
  const first = Math.floor(low / step);
  for (let place = first; (place - 1) * step < high; place += 1) ticks.push(Number((place * step).toPrecision(12)));
  return ticks;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["line", "muted", "accent", "hold", "up", "down", "panel"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

draw();
