// Draws what page.py's `data` gives into the markup of trace.html, in the colours of style.css: show(data), again and
// again if there is more than one. What the data say is put in as text, never as HTML.
const $ = id => document.getElementById(id), root = document.documentElement;
let D, T, H, whole, arrays, tiles = [], S = {lang: null};

function show(data) {
  const lang = S.lang ?? data.lang, last = data.layers.length - 1;
  for (const name of ["timer", "lesson"]) clearInterval(S[name]);
  S = {t: 0, frame: data.opened, layer: last, gate: 0, unit: null, pinned: {layer: last, unit: 0}, mode: data.frames[data.opened].memory ? "memory" : "loss", measure: "gradient", hover: null, lang, timer: 0, lesson: 0};
  D = data; T = D.symbols.length; H = D.units; whole = D.task === "classify";
  $("slider").max = T - 1; $("epochs").max = D.frames.length - 1; $("lang").value = S.lang;
  $("times").hidden = $("learning").hidden = D.frames.length < 2;
  at(S.frame);
}

// one frame of the data: what the network works out with the weights of one epoch
function at(k) {
  S.frame = Math.max(0, Math.min(D.frames.length - 1, k));
  D = {...D, ...D.frames[S.frame]};
  cut(); makeText(); words(); maps();
}

// numbers: one buffer of half or single precision, cut into named arrays
const halves = new Float32Array(1 << 16).map((_, b) => { const s = b & 0x8000 ? -1 : 1, e = b >> 10 & 31, f = b & 1023; return e === 31 ? (f ? NaN : s * Infinity) : e ? s * 2 ** (e - 15) * (1 + f / 1024) : s * 2 ** -24 * f; });
function cut() {
  const raw = atob(D.bytes), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  let values = D.half ? new Uint16Array(bytes.buffer) : new Float32Array(bytes.buffer);
  if (D.half) { const wide = new Float32Array(values.length); for (let i = 0; i < wide.length; i++) wide[i] = halves[values[i]]; values = wide; }
  arrays = {};
  for (const [name, [offset, rows, columns]] of Object.entries(D.arrays)) arrays[name] = {rows, columns, at: (r, c) => values[offset + r * columns + c], row: r => values.subarray(offset + r * columns, offset + (r + 1) * columns)};
}
const A = (layer, name) => arrays[layer + "/" + name];

// words
const say = (key, values = {}) => D.texts[S.lang][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
const signs = {" ": "␣", "\n": "⏎", "\t": "⇥", "": "∅"};
const unseen = /^(?=.{1,2}$)[\p{C}\p{Z}\p{M}]$/u;  // alone it shows nothing, or stands on its neighbour
const sign = s => signs[s] ?? (unseen.test(s) ? "U+" + s.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") : s);
const f4 = v => (v < 0 ? "−" : "") + Math.abs(v).toFixed(4);
const f1 = v => (v < 0 ? "−" : "") + (Math.abs(v) === Math.round(Math.abs(v)) ? Math.abs(v) : Math.abs(v).toFixed(1));
const percent = p => (p * 100).toFixed(p < 0.0995 ? 1 : 0) + " %";

// small makers: text goes in as text, never as HTML
function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "text", "path", "line", "title", "marker", "defs"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) if (v !== null && v !== undefined) made.setAttribute(k, v);
  made.append(...children);
  return made;
}
function button(text, pressed, act, more = {}) { const b = el("button", {"aria-pressed": pressed, ...more}, text); b.onclick = act; return b; }

// colours
const rgb = name => { const h = getComputedStyle(root).getPropertyValue(name).trim(); return [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16)); };
let C = {};
function palette() { C = {base: rgb("--base"), plus: rgb("--plus"), minus: rgb("--minus"), more: rgb("--more")}; }
const mix = (a, b, k) => a.map((v, i) => Math.round(v + (b[i] - v) * k));
const diverging = (v, top = 1) => mix(C.base, v > 0 ? C.plus : C.minus, Math.min(1, Math.abs(v) / top) * 0.92);
const growing = v => mix(C.base, C.more, Math.min(1, Math.max(0, v)) * 0.92);
const css = c => `rgb(${c.join(",")})`;
const light = c => { const [r, g, b] = c.map(v => v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const over = c => light(c) > 0.179 ? "#000000" : "#ffffff";  // whichever has the higher contrast, and that is never under 4.5
function paint(node, colour) { node.style.background = css(colour); node.style.color = over(colour); }
function theme(name) { root.dataset.theme = name; palette(); }

const answerAt = t => whole ? (t === T - 1 ? 0 : null) : t;
const layerName = k => say("layer", {layer: D.layers[k].layer}) + (D.both ? ", " + say(D.layers[k].direction) : "");
const stop = () => S.lang === "zh" ? "。" : ". ";

function words() {
  root.lang = S.lang === "zh" ? "zh-CN" : "en";
  const chosen = D.chosen.map(sign).join(D.glue), read = D.symbols.map(sign).join(D.glue), cut = s => s.length > 60 ? s.slice(0, 60) + "…" : s;
  $("title").replaceChildren(el("bdi", {}, cut(read)), " → ", el("bdi", {}, cut(chosen)));
  document.title = "ohlol: " + cut(read);
  let about = D.about[S.lang] + stop();
  if (D.loss !== null) about += say("loss_" + D.reduction, {value: D.loss.toFixed(4), count: D.losses.filter(v => v !== null).length}) + stop();
  $("about").textContent = about + say("difference", {value: D.difference.toExponential(0)});
  for (const node of document.querySelectorAll("[data-t]")) {
    if (node.hasAttribute("data-label")) { node.setAttribute("aria-label", say(node.dataset.t)); node.title = say(node.dataset.t); }
    else node.textContent = say(node.dataset.t);
  }
  $("slider").setAttribute("aria-label", say("step", {t: ""}).trim());
  $("epochs").setAttribute("aria-label", say("epoch"));
  $("text").setAttribute("aria-label", say("text"));
  $("play").textContent = say(S.timer ? "pause" : "play");
  $("learn").textContent = say(S.lesson ? "pause" : "learn");
  $("horizon").textContent = !D.memory ? "" : D.memory.horizon === null ? say("no_horizon", {steps: D.memory.count}) : say("horizon", {steps: D.memory.horizon}) + " " + say("bptt", {steps: D.memory.bptt});
  modes(); tabs(); lessons(); all();
}

function modes() {
  const made = [["memory", "colour_memory"], ["unit", "colour_unit"], ["loss", "colour_loss"]].filter(([m]) => m === "memory" ? D.memory : m === "loss" ? D.losses : true);
  $("modes").replaceChildren(...made.map(([mode, key]) => button(say(key), S.mode === mode, () => { S.mode = mode; S.unit = null; modes(); text(); }, {"data-mode": mode})));
  if (S.mode === "memory") $("modes").append(choice("measure", ["gradient", "ablation"].map(m => [m, say("measure_" + m)]), S.measure, v => { S.measure = v; text(); }));
  if (S.mode === "unit") {
    if (D.layers.length > 1) $("modes").append(choice("unitlayer", D.layers.map((_, k) => [k, layerName(k)]), S.pinned.layer, v => { S.pinned.layer = +v; text(); }));
    const number = el("input", {id: "unit", type: "number", min: 0, max: H - 1, value: S.pinned.unit, "aria-label": say("unit")});
    number.oninput = () => { if (number.value !== "") { S.pinned.unit = Math.max(0, Math.min(H - 1, Math.round(+number.value))); text(); } };
    $("modes").append(number);
  }
}
function choice(id, options, value, act) {
  const made = el("select", {id}, ...options.map(([v, s]) => el("option", {value: v}, s)));
  made.value = value;
  made.onchange = () => act(made.value);
  return made;
}

// the text
function makeText() {
  const big = T <= 24; tiles = [];
  $("text").classList.toggle("big", big);
  $("text").dir = D.rtl ? "rtl" : "ltr";
  $("text").replaceChildren();
  for (let t = 0; t < T; t++) {
    const tile = el("div", {class: "tile", "data-step": t}, el("div", {class: "in"}, sign(D.symbols[t])));
    const n = answerAt(t);
    if (n !== null) {
      if (D.targets && D.targets[n] !== null) { const good = D.targets[n] === D.chosen[n]; tile.append(el("div", {class: "mark " + (good ? "good" : "bad")}, good ? "✓" : "✗ " + sign(D.targets[n]))); }
      for (const [label, , p] of D.top[n].slice(0, 5)) { const g = el("div", {class: "g", "data-p": p, title: sign(label) + "  " + percent(p)}, el("bdi", {}, sign(label)), ...(big ? [el("span", {dir: "ltr"}, percent(p))] : [])); tile.append(g); }
    }
    tile.onclick = () => go(t);
    tile.onpointerenter = () => { S.hover = t; text(); };
    tile.onpointerleave = () => { S.hover = null; text(); };
    tiles.push(tile); $("text").append(tile);
    if (D.symbols[t] === "\n") $("text").append(el("div", {class: "break"}));
  }
  guesses();
}
function guesses() { for (const g of $("text").getElementsByClassName("g")) paint(g, growing(+g.dataset.p)); }
function text() {
  const unit = S.unit ?? (S.mode === "unit" ? S.pinned : null), from = S.hover ?? S.t;
  let colour, legend;
  if (unit) {
    const rows = A(unit.layer, "after/h");
    colour = t => diverging(rows.at(t, unit.unit));
    legend = ["−1", "1", css(diverging(-1)), css(C.base), css(diverging(1)), layerName(unit.layer) + ", " + say("unit") + " " + unit.unit];
  } else if (S.mode === "memory" && D.memory) {
    const m = arrays["memory/" + S.measure], first = T - m.columns, n = whole ? 0 : from - first;
    let top = 0;
    if (n >= 0 && n < m.rows) for (let t = 0; t < m.columns; t++) top = Math.max(top, m.at(n, t));
    colour = t => n < 0 || n >= m.rows || t < first || !top ? C.base : growing(Math.sqrt(m.at(n, t - first) / top));
    legend = [say("low"), say("high"), css(growing(0)), css(growing(0.5)), css(growing(1)), say("influence") + " " + (whole ? "" : sign(D.chosen[from]))];
  } else {
    const top = Math.max(...(D.losses ?? [1]).filter(v => v !== null));
    colour = t => { const n = answerAt(t); return n === null || !D.losses || D.losses[n] === null ? C.base : growing(D.losses[n] / top); };
    legend = ["0", f4(top), css(growing(0)), css(growing(0.5)), css(growing(1)), say("loss")];
  }
  tiles.forEach((tile, t) => { paint(tile.firstChild, colour(t)); tile.classList.toggle("on", t === S.t); });
  const bar = el("i"); bar.style.background = `linear-gradient(90deg, ${legend[2]}, ${legend[3]}, ${legend[4]})`;
  $("legend").replaceChildren(legend[0], bar, legend[1], el("bdi", {}, legend[5]));
}

// learning: what came out after each epoch
function lessons() {
  if (D.frames.length < 2) return;
  const top = Math.max(...D.frames.map(f => f.loss ?? 0)), most = 48;
  $("when").textContent = `${say("epoch")} ${D.epoch} / ${D.frames.at(-1).epoch}` + (D.loss === null ? "" : ` · ${say("loss")} ${D.loss.toFixed(4)}`);
  $("epochs").value = S.frame;
  $("lessons").replaceChildren(...D.frames.map((frame, k) => {
    const said = el("td", {class: "said"}, ...frame.chosen.slice(0, most).flatMap((label, n) => {
      const good = D.targets && D.targets[n] !== null ? (D.targets[n] === label ? "good" : "bad") : "";
      return [el("bdi", {class: good}, sign(label)), D.glue];
    }), frame.chosen.length > most ? "…" : "");
    const number = button(String(frame.epoch), k === S.frame, () => at(k), {"aria-label": `${say("epoch")} ${frame.epoch}`});
    const row = el("tr", {"data-epoch": frame.epoch, class: k === S.frame ? "now" : null}, el("td", {}, number), said);
    if (frame.loss !== null) { const fill = el("div", {class: "fill"}); fill.style.width = frame.loss / top * 100 + "%"; row.append(el("td", {class: "lossbar"}, el("div", {class: "track"}, fill)), el("td", {title: String(frame.loss)}, frame.loss.toFixed(4))); }
    row.onclick = e => { if (!e.target.matches("button")) at(k); };
    return row;
  }));
}

// the network through time: only the columns that fit
function net() {
  const width = $("net").clientWidth || 900, narrow = width < 560, numbers = H <= 16;
  const grid = H <= 4 ? [narrow ? Math.min(H, 2) : H, 39, 27] : numbers ? [narrow ? 3 : 4, 39, 23] : [Math.ceil(Math.sqrt(H)), 0, 0];
  if (!grid[1]) grid[1] = grid[2] = Math.max(narrow ? 3 : 6, Math.min(16, Math.floor((narrow ? 90 : 156) / grid[0])));
  const boxW = grid[0] * grid[1], boxH = Math.ceil(H / grid[0]) * grid[2];
  const gap = narrow ? 30 : 42, colW = Math.max(boxW, 60) + gap, left = narrow ? 58 : 68;
  const count = Math.max(1, Math.min(T, Math.floor((width - left + gap - 13) / colW)));
  const first = Math.max(0, Math.min(T - count, S.t - Math.floor(count / 2)));
  const rows = D.layers.length, step = boxH + 34, top = 66, height = top + rows * step + 58;
  const svg = el("svg", {width: Math.min(left + count * colW, Math.max(width, left + colW)), height, "data-first": first, role: "img", "aria-label": say("network")});
  svg.append(el("defs", {}, el("marker", {id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse"}, el("path", {d: "M0 0 8 4 0 8z", fill: "var(--soft)"}))));
  const middle = (x, y, s, more = {}) => el("text", {x, y, "text-anchor": "middle", ...more}, s);
  for (let k = 0; k < rows; k++) {
    const y = top + (rows - 1 - k) * step + boxH / 2;
    svg.append(el("text", {x: 0, y: D.both ? y - 2 : y + 4, class: "soft"}, say("layer", {layer: D.layers[k].layer})));
    if (D.both) svg.append(el("text", {x: 0, y: y + 13, class: "soft"}, say(D.layers[k].direction)));
  }
  for (let i = 0; i < count; i++) {
    const t = first + i, x0 = left + i * colW, x = x0 + Math.max(boxW, 60) / 2, on = t === S.t, n = answerAt(t), g = el("g", {"data-column": t, style: "cursor:pointer"});
    if (on) svg.insertBefore(el("rect", {x: x0 - 10, y: 2, width: Math.max(boxW, 60) + 20, height: height - 4, rx: 10, fill: "var(--base)", stroke: "var(--accent)", "stroke-width": 2}), svg.firstChild);
    g.append(el("rect", {x: x0 - 10, y: 2, width: Math.max(boxW, 60) + 20, height: height - 4, fill: "transparent"}));
    if (n !== null) {
      const [label, , p] = D.top[n][0], good = !D.targets || D.targets[n] === null || D.targets[n] === label;
      g.append(middle(x, 24, sign(label) + (good ? "" : " ✗"), {"font-size": 18, "font-weight": 700, style: good ? null : "fill:var(--bad)"}), middle(x, 40, percent(p), {class: "soft"}));
      g.append(el("path", {class: "wire", d: `M${x} ${top - 2}V46`}));
    }
    for (let k = rows - 1; k >= 0; k--) {
      const y = top + (rows - 1 - k) * step, bx = x - boxW / 2, after = A(k, "after/h"), back = D.layers[k].direction === "backward", mid = y + boxH / 2;
      g.append(el("path", {class: "wire", d: `M${x} ${y + boxH + 32}V${y + boxH + 4}`}));
      for (let j = 0; j < H; j++) {
        const v = after.at(t, j), c = diverging(v), cx = bx + j % grid[0] * grid[1], cy = y + Math.floor(j / grid[0]) * grid[2];
        const lit = S.unit && S.unit.layer === k && S.unit.unit === j;
        const cell = el("rect", {class: "cell" + (lit ? " lit" : ""), x: cx + .5, y: cy + .5, width: grid[1] - 1, height: grid[2] - 1, rx: numbers ? 4 : 1, fill: css(c), "data-layer": k, "data-unit": j, "data-value": v}, el("title", {}, say("unit") + " " + j + ": " + f4(v)));
        g.append(cell);
        if (numbers) g.append(middle(cx + grid[1] / 2, cy + grid[2] / 2 + 4, (v < 0 ? "−" : "") + Math.abs(v).toFixed(2), {style: `fill:${over(c)};pointer-events:none`}));
      }
      const a = x + boxW / 2 + 3, b = a + colW - boxW - 6;
      if (i < count - 1) g.append(el("path", {class: "wire", d: back ? `M${b} ${mid}H${a}` : `M${a} ${mid}H${b}`}));
    }
    const y = top + rows * step;
    g.append(middle(x, y + 20, sign(D.symbols[t]), {"font-size": 19, "font-weight": 700}), middle(x, y + 40, "t = " + t, {class: "soft"}));
    svg.append(g);
  }
  $("net").replaceChildren(svg);
}
$("net").addEventListener("pointerover", e => { const u = e.target.dataset?.unit; const next = u === undefined ? null : {layer: +e.target.dataset.layer, unit: +u}; if (next || S.unit) { S.unit = next; text(); } });
$("net").addEventListener("pointerleave", () => { if (S.unit) { S.unit = null; text(); } });
$("net").addEventListener("click", e => {
  const u = e.target.dataset?.unit, column = e.target.closest("[data-column]");
  if (u !== undefined) { S.pinned = {layer: +e.target.dataset.layer, unit: +u}; S.layer = S.pinned.layer; modes(); tabs(); maps(); }
  if (column) go(+column.dataset.column);
});

// gates
function tabs() {
  $("layers").replaceChildren(...(D.layers.length < 2 ? [] : D.layers.map((_, k) => button(layerName(k), k === S.layer, () => { S.layer = k; tabs(); maps(); arithmetic(); }))));
}
function maps() {
  const layer = D.layers[S.layer], rows = [], shades = 511, ramp = f => Uint32Array.from({length: shades}, (_, k) => { const [r, g, b] = f(k); return 0xff000000 | b << 16 | g << 8 | r; });
  const ramps = {true: ramp(k => growing(k / (shades - 1))), false: ramp(k => diverging(2 * k / (shades - 1) - 1))};
  if (layer.gates.length > 1) layer.gates.forEach((name, k) => rows.push([name, "gate_" + name, A(S.layer, "value/" + name), layer.functions[k] === "sigmoid"]));
  for (const name of layer.states) rows.push([name + "'", "state_" + name, A(S.layer, "after/" + name), false]);
  $("maps").replaceChildren(...rows.filter(r => r[2]).map(([name, key, a, positive]) => {
    const canvas = el("canvas", {width: T, height: H, "data-gate": name, role: "img", "aria-label": say(key)}), ink = canvas.getContext("2d"), image = ink.createImageData(T, H), pixels = new Uint32Array(image.data.buffer), colours = ramps[positive];
    let top = 1; if (!positive) for (let t = 0; t < T; t++) for (const v of a.row(t)) top = Math.max(top, Math.abs(v));
    for (let t = 0; t < T; t++) { const row = a.row(t); for (let j = 0; j < H; j++) pixels[j * T + t] = colours[Math.round(Math.max(0, Math.min(1, positive ? row[j] : (row[j] / top + 1) / 2)) * (shades - 1))]; }
    ink.putImageData(image, 0, 0);
    canvas.style.height = Math.max(56, Math.min(132, H * 15)) + "px";
    const frame = el("div", {}, canvas);
    frame.onclick = e => { const r = canvas.getBoundingClientRect(); go(Math.min(T - 1, Math.floor((e.clientX - r.left) / r.width * T))); };
    frame.onpointermove = e => { const r = canvas.getBoundingClientRect(), t = Math.min(T - 1, Math.floor((e.clientX - r.left) / r.width * T)), j = Math.min(H - 1, Math.max(0, Math.floor((e.clientY - r.top) / r.height * H))); frame.title = `t = ${t}, ${say("unit")} ${j}: ${f4(a.at(t, j))}`; };
    const bar = el("i"); bar.style.background = positive ? `linear-gradient(90deg,${css(growing(0))},${css(growing(1))})` : `linear-gradient(90deg,${css(diverging(-1))},${css(C.base)},${css(diverging(1))})`; bar.style.width = "48px";
    return el("div", {class: "map"}, el("div", {style: "border:0;display:flex;gap:8px;align-items:baseline;cursor:default;--w:-9;--at:-9"}, el("b", {class: "mono"}, name), el("span", {class: "key"}, say(key)), el("span", {class: "key", style: "margin-left:auto"}, positive ? "0" : f1(-top), bar, positive ? "1" : f1(top))), frame);
  }));
  mark();
}
function mark() { $("maps").style.setProperty("--at", S.t / T); $("maps").style.setProperty("--w", 1 / T); }
// the arithmetic
const cell = (v, o = {}) => { const c = diverging(v, o.top ?? 2), td = el("td", {title: String(v), "data-k": o.key}, (o.plus && v >= 0 ? "+" : "") + f4(v)); if (!o.plain) paint(td, c); return td; };
const op = s => el("td", {class: "op"}, s);
function matrix(rows, top) { return el("table", {}, ...rows.map(r => el("tr", {}, ...Array.from(r, v => cell(v, {top}))))); }
function product(name, letter, weights, from, vector, result) {
  const rows = []; let top = 0.5;
  for (let j = 0; j < H; j++) { rows.push(weights.row(from + j)); for (const v of rows[j]) top = Math.max(top, Math.abs(v)); }
  return el("div", {}, el("p", {class: "mono", style: "margin:0"}, name + " " + letter), el("div", {class: "matrix"}, matrix(rows, top), "·", matrix(Array.from(vector, v => [v]), 1), "=", matrix(Array.from(result, v => [v]), 2)));
}
function arithmetic() {
  const L = D.layers[S.layer], k = Math.min(S.gate, L.gates.length - 1), name = L.gates[k], many = L.gates.length > 1, out = [], a = n => A(S.layer, n), t = S.t;
  $("arith").textContent = say("arithmetic", {step: t}) + (D.layers.length > 1 ? " · " + layerName(S.layer) : "");
  out.push(el("div", {class: "eq"}, L.equation.join("\n")));
  if (many) out.push(el("div", {class: "row"}, ...L.gates.map((g, i) => { const b = el("button", {"aria-pressed": i === k, "data-gate": g}, g + "  " + say("gate_" + g)); b.onclick = () => { S.gate = i; arithmetic(); }; return b; })));
  const sub = many ? name : "", W = s => many ? `W_${s}${sub}` : `W_${s}h`, B = s => many ? `b_${s}${sub}` : `b_${s}h`, X = a("x"), before = a("before/h");
  if (a("W_ih") && a("terms_x/" + name) && H <= 8 && X.columns <= 8) {
    out.push(el("div", {class: "products"}, product(W("i"), "x", a("W_ih"), k * H, X.row(t), a("terms_x/" + name).row(t)), product(W("h"), "h", a("W_hh"), k * H, before.row(t), a("terms_h/" + name).row(t))));
  }
  const value = a("value/" + name), total = a("sum/" + name), x = a("terms_x/" + name), h = a("terms_h/" + name), bi = a("b_ih/" + name), bh = a("b_hh/" + name);
  const scaled = L.cell === "gru" && name === "n", lit = j => S.unit && S.unit.layer === S.layer && S.unit.unit === j ? "lit" : null;
  if (x && total) {
    const head = [say("unit"), W("i") + " x", "+ " + B("i"), ...(scaled ? ["+ r", "· ("] : []), (scaled ? "" : "+ ") + W("h") + " h", "+ " + B("h") + (scaled ? " )" : ""), "= " + say("sum"), `${L.functions[k]} = ${many ? name : "h'"}`];
    const body = []; for (let j = 0; j < H; j++) body.push(el("tr", {class: lit(j), "data-unit": j}, el("td", {class: "name"}, String(j)), cell(x.at(t, j), {key: "x"}), cell(bi.at(0, j), {key: "b_ih"}), ...(scaled ? [cell(a("value/r").at(t, j)), op("·")] : []), cell(h.at(t, j), {key: "h"}), cell(bh.at(0, j), {key: "b_hh"}), cell(total.at(t, j), {key: "sum"}), cell(value.at(t, j), {top: 1, key: "value"})));
    out.push(el("div", {class: "scroll"}, el("table", {id: "terms"}, el("thead", {}, el("tr", {}, ...head.map(s => el("th", {}, s)))), el("tbody", {}, ...body))));
  } else out.push(el("p", {}, say("terms_left_out", {step: t})));
  if (many) {
    const lstm = L.cell === "lstm", v = g => a("value/" + g), columns = lstm ? ["f", "c", "i", "g", "c'", "o", "tanh(c')", "h'"] : ["z", "n", "h", "h'"];
    const pick = {f: j => v("f")?.at(t, j), i: j => v("i")?.at(t, j), g: j => v("g")?.at(t, j), o: j => v("o")?.at(t, j), c: j => a("before/c").at(t, j), "c'": j => a("after/c").at(t, j), "tanh(c')": j => Math.tanh(a("after/c").at(t, j)), z: j => v("z")?.at(t, j), n: j => v("n")?.at(t, j), h: j => before.at(t, j), "h'": j => a("after/h").at(t, j)};
    if (v(L.gates[0])) out.push(el("div", {class: "eq"}, L.equation.filter(line => line.includes("' =")).join("\n")), el("div", {class: "scroll"}, el("table", {id: "state"}, el("thead", {}, el("tr", {}, ...[say("unit"), ...columns].map(s => el("th", {}, s)))), el("tbody", {}, ...Array.from({length: H}, (_, j) => el("tr", {"data-unit": j}, el("td", {class: "name"}, String(j)), ...columns.map(c => cell(pick[c](j), {top: 1, key: c}))))))));
  }
  if (a("gradient/h")) {
    out.push(el("div", {class: "eq", style: "font-weight:400"}, say("gradient")));
    out.push(el("div", {class: "scroll"}, el("table", {id: "gradient"}, ...L.states.map(s => { let top = 1e-9; for (const v of a("gradient/" + s).row(t)) top = Math.max(top, Math.abs(v)); return el("tr", {}, el("td", {}, `dL/d${s}'`), ...Array.from(a("gradient/" + s).row(t), v => cell(v, {top}))); }))));
  }
  $("equation").replaceChildren(...out);
}

function answer() {
  const n = answerAt(S.t) ?? 0, out = [];
  $("answertitle").textContent = say("answers", {step: whole ? T - 1 : S.t});
  out.push(el("p", {class: "mono"}, D.head ? "score = W h' + b,  p = softmax(score)" : "score = h',  p = softmax(score)"));
  const rows = [];
  for (const [label, score, p] of D.top[n]) {
    const fill = el("div", {class: "fill"}); fill.style.width = p * 100 + "%";
    const wanted = D.targets && D.targets[n] === label;
    rows.push(el("bdi", {class: "label", "data-label": label}, sign(label)), el("span", {class: "mono", title: String(score)}, f4(score)), el("div", {class: "track"}, fill), el("span", {class: "mono", title: String(p)}, percent(p) + (wanted ? "  ✓ " + say("wanted") : "")));
  }
  out.push(el("div", {class: "answers", id: "answers"}, ...rows));
  if (D.losses && D.losses[n] !== null) out.push(el("p", {class: "mono", id: "loss", style: "margin:10px 0 0", title: String(D.losses[n])}, `${say("loss")} = −log(${Math.exp(-D.losses[n]).toFixed(4)}) = ${D.losses[n].toFixed(4)}`));
  $("answer").replaceChildren(...out);
}

function all() { $("slider").value = S.t; $("now").replaceChildren(say("step", {t: S.t}) + " / " + (T - 1) + " · ", el("bdi", {}, sign(D.symbols[S.t]))); text(); net(); mark(); arithmetic(); answer(); }
function go(t) { S.t = Math.max(0, Math.min(T - 1, t)); all(); const tile = tiles[S.t], box = $("text"); if (box.scrollHeight > box.clientHeight) box.scrollTop = tile.offsetTop - box.offsetTop - box.clientHeight / 2; }

// two clocks: one through the steps, one through the epochs
function play() { if (S.timer) { clearInterval(S.timer); S.timer = 0; } else { if (S.t === T - 1) go(0); S.timer = setInterval(() => { if (S.t === T - 1) play(); else go(S.t + 1); }, 900); } $("play").textContent = say(S.timer ? "pause" : "play"); }
function learn() { const last = D.frames.length - 1; if (S.lesson) { clearInterval(S.lesson); S.lesson = 0; } else { if (S.frame === last) at(0); S.lesson = setInterval(() => { if (S.frame === last) learn(); else at(S.frame + 1); }, 600); } $("learn").textContent = say(S.lesson ? "pause" : "learn"); }
$("slider").oninput = e => go(+e.target.value);
$("epochs").oninput = e => at(+e.target.value);
$("back").onclick = () => go(S.t - 1);
$("forth").onclick = () => go(S.t + 1);
$("earlier").onclick = () => at(S.frame - 1);
$("later").onclick = () => at(S.frame + 1);
$("play").onclick = play;
$("learn").onclick = learn;
$("lang").onchange = e => { S.lang = e.target.value; words(); maps(); };
$("theme").onclick = () => { theme(root.dataset.theme === "dark" ? "light" : "dark"); guesses(); maps(); all(); };
addEventListener("keydown", e => {
  if (!D || !$("net").offsetParent || e.target.matches("input, select, textarea") || e.ctrlKey || e.metaKey || e.altKey) return;
  const to = {ArrowLeft: S.t - 1, ArrowRight: S.t + 1, Home: 0, End: T - 1}[e.key];
  if (e.shiftKey && e.key.startsWith("Arrow")) { if (e.key === "ArrowLeft" || e.key === "ArrowRight") { e.preventDefault(); at(S.frame + (e.key === "ArrowRight" ? 1 : -1)); } }
  else if (to !== undefined) { e.preventDefault(); go(to); }
  else if (e.key === " " && !e.target.matches("button")) { e.preventDefault(); play(); }
});
let waiting = 0;
addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => D && net()); });
theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
