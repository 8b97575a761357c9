
// The page of a server: type and see labels, generate, train, and open any of it in the drawing of trace.js. What a
// server says is put in as text, never as HTML.
const P = JSON.parse($("data").textContent), U = {models: [], model: null, key: sessionStorage.getItem("ohlol-key") ?? "", steps: [], at: null, epochs: [], seen: null, follow: true, pairs: [["hello", "ohlol"]]};
const tell = (key, values = {}) => P.texts[S.lang][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

// asking
const headers = more => ({...(U.key ? {authorization: "Bearer " + U.key} : {}), ...more});
async function ask(path, body, options = {}) {
  const answer = await fetch(path, {...(body === undefined ? {} : {method: "POST", body: JSON.stringify(body)}), headers: headers(body === undefined ? {} : {"content-type": "application/json"}), ...options});
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(said.detail ?? answer.statusText), {status: answer.status});
  }
  return answer;
}
const at_model = what => `/v1/models/${encodeURIComponent(U.model.name)}/${what}`;
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const found = Object.fromEntries(block.split("\n").map(line => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      yield [found.event ?? "message", JSON.parse(found.data)];
    }
  }
}
const wrong = (id, error) => { if (id === "wrong") $("heardall").classList.toggle("stale", !!error); $(id).textContent = error ? (error.status === undefined && error instanceof TypeError ? tell("no_server") : error.message) : ""; };

// the models
async function enter() {
  try {
    U.models = await (await ask("/v1/models")).json();
    $("keyform").hidden = true;
    wrong("wrong", null);
  } catch (error) {
    if (error.status === 401) { $("keyform").hidden = false; $("keywrong").textContent = U.key ? tell("key_wrong") : ""; $("key").focus(); } else wrong("wrong", error);
    return error.status !== 401;
  }
  $("models").replaceChildren(...U.models.map(m => el("option", {value: m.name}, m.name)));
  const same = U.models.find(m => m.name === U.model?.name && m.task === U.model.task && m.streams === U.model.streams);
  if (!same) { choose(U.models[0].name); return; }
  U.model = same; $("models").value = same.name; describe(); listen();  // what was typed stays
}
$("keyform").onsubmit = e => { e.preventDefault(); U.key = $("key").value.trim(); sessionStorage.setItem("ohlol-key", U.key); enter(); };
function choose(name) {
  U.model = U.models.find(m => m.name === name);
  stopWriting();
  line.leave();
  $("typed").value = U.model.example ?? "";
  $("typed").disabled = $("explain").disabled = U.model.task === "forecast";
  $("writing").hidden = U.model.task !== "next";
  $("written").hidden = true;
  hear([]); describe(); listen();
}
function describe() {
  if (!U.model) return;
  const m = U.model, parts = [m.task, `${m.cell} ${m.layers} x ${m.hidden_size}`, ...(m.bidirectional ? [tell("both_directions")] : []), tell("parameters", {count: m.parameters.toLocaleString("en")})];
  $("described").textContent = parts.join(S.lang === "zh" ? "，" : ", ");
  $("typedhint").textContent = tell(m.task === "forecast" ? "typed_numbers" : m.task === "next" ? "typed_next" : m.streams ? "typed_stream" : "typed_whole");
  $("typed").setAttribute("aria-label", tell("typed"));
  $("typed").placeholder = m.task === "forecast" ? "" : tell("typed");
}
$("models").onchange = () => choose($("models").value);

// the stream: one message on its way at a time, and what was typed meanwhile is the next
const line = {
  socket: null, busy: false, heard: null, again: 0,
  leave() { clearTimeout(this.again); const socket = this.socket; this.socket = null; this.busy = false; this.heard = null; if (socket?.readyState === 0) socket.onopen = () => socket.close(); else socket?.close(); },
  open() {
    const key = btoa(String.fromCharCode(...new TextEncoder().encode(U.key))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
    const socket = new WebSocket(location.origin.replace("http", "ws") + at_model("stream"), ["ohlol", ...(U.key ? ["ohlol.key." + key] : [])]);
    this.socket = socket;
    socket.onmessage = ({data}) => {
      if (socket !== this.socket) return;
      const said = JSON.parse(data);
      if ("session" in said) { wrong("wrong", null); this.heard = null; }
      else if ("error" in said) { this.busy = false; this.heard = null; wrong("wrong", new Error(said.error)); if (this.wanted() === this.sent) return; }
      else if ("closing" in said) return;
      else { this.busy = false; this.heard = this.sent; wrong("wrong", null); hear(this.fresh ? said.steps ?? [] : [...U.steps, ...said.steps]); }
      this.send();
    };
    socket.onclose = () => { if (socket === this.socket) { this.socket = null; this.busy = false; this.retry(); } };
  },
  retry() { clearTimeout(this.again); this.heard = null; this.again = setTimeout(async () => { wrong("wrong", new Error(tell("lost"))); if (await enter()) { wrong("wrong", new Error(tell("lost"))); this.retry(); } }, 1500); },
  wanted: () => $("typed").value.normalize("NFC"),
  send() {
    const text = this.wanted(), socket = this.socket;
    if (this.busy || !socket || socket.readyState !== 1 || text === this.heard) return;
    const more = this.heard !== null && U.model.level === "char" && text.startsWith(this.heard);
    this.fresh = !more; this.sent = text; this.busy = true;
    const read = more ? text.slice(this.heard.length) : text;
    socket.send(JSON.stringify({reset: this.fresh, n_best: 5, ...(read.trim() || (read && U.model.level === "char") ? {read} : {})}));
  },
};
let whole_busy = false, whole_last = null;
async function predict_whole() {
  const text = $("typed").value, model = U.model;
  if (whole_busy || text === whole_last) return;
  whole_busy = true; whole_last = text;
  try {
    if (!text.trim()) hear([]);
    else {
      const said = (await (await ask(at_model("predict"), {inputs: text, n_best: 5})).json()).predictions[0];
      if (model === U.model) hear(said.labels.map((label, i) => ({symbol: said.labels.length === said.symbols.length ? said.symbols[i] : null, label, probability: said.probabilities[i], best: said.best[i], unknown: said.unknown.includes(said.symbols[i])})), said.symbols);
    }
    wrong("wrong", null);
  } catch (error) { wrong("wrong", error); if (error.status === undefined && model === U.model) line.retry(); }
  whole_busy = false;
  if (model === U.model) predict_whole();
}
function listen() {
  whole_last = null;
  if (U.model.task === "forecast") return;
  if (U.model.streams) { if (!line.socket) line.open(); line.send(); } else predict_whole();
}
$("typed").oninput = () => { U.at = null; listen(); };

// what was heard
function hear(steps, symbols = null) {
  const one = symbols !== null && steps.length === 1 && symbols.length !== 1;
  U.steps = steps;
  const big = steps.length <= 24, box = $("heard");
  box.classList.toggle("big", big);
  box.replaceChildren(...(one ? [] : steps.map((step, t) => {
    const tile = el("div", {class: "tile" + (step.unknown ? " odd" : ""), "data-step": t}, el("div", {class: "in"}, el("bdi", {}, sign(step.symbol))));
    if (step.unknown) tile.title = tell("read_as_unknown");
    const g = el("div", {class: "g", "data-p": step.probability, title: sign(step.label) + "  " + percent(step.probability)}, el("bdi", {}, sign(step.label)), ...(big ? [el("span", {}, percent(step.probability))] : []));
    paint(g, growing(step.probability));
    tile.append(g);
    tile.onclick = tile.onpointerenter = () => { U.at = t; likely(); };
    return tile;
  })));
  box.hidden = !box.childElementCount;
  const short = U.model?.level === "char" && steps.every(step => Array.from(step.label).length === 1);
  $("saying").textContent = U.model?.task === "label" ? steps.map(step => step.label).join(short ? "" : " ") : "";
  box.scrollTop = box.scrollHeight;
  $("explain").disabled = !steps.length;
  likely();
}
$("heard").onkeydown = e => {
  const way = {ArrowLeft: -1, ArrowRight: 1}[e.key];
  if (!way) return;
  e.preventDefault(); e.stopPropagation();
  U.at = Math.max(0, Math.min(U.steps.length - 1, (U.at ?? U.steps.length - 1) + way));
  likely();
  $("heard").querySelector(".on")?.scrollIntoView({block: "nearest"});
};
function likely() {
  const last = U.steps.length - 1, at = U.at === null ? last : Math.min(U.at, last), step = U.steps[at];
  for (const tile of $("heard").children) tile.classList.toggle("on", +tile.dataset.step === at);
  $("likely").replaceChildren(...(step?.best ?? []).flatMap(([label, p]) => {
    const fill = el("div", {class: "fill"}); fill.style.width = p * 100 + "%";
    return [el("bdi", {class: "label"}, sign(label)), el("div", {class: "track"}, fill), el("span", {class: "mono", title: String(p)}, percent(p))];
  }));
}

// writing
let writing = null;
function stopWriting() { writing?.abort(); writing = null; $("write").textContent = tell("write_start"); }
$("write").onclick = async () => {
  if (writing) { stopWriting(); return; }
  const mine = writing = new AbortController(), prompt = $("typed").value, words = U.model.level === "word";
  $("write").textContent = tell("stop");
  $("written").hidden = false;
  $("before").textContent = prompt; $("made").textContent = "";
  wrong("wrong", null);
  try {
    const body = {prompt, length: +$("length").value, temperature: +$("temperature").value, top_k: +$("topk").value};
    let end = prompt.slice(-1) || "\n";
    for await (const [name, said] of events(await ask(at_model("generate"), body, {signal: mine.signal}))) {
      if (mine.signal.aborted) break;
      if (name !== "message") continue;
      for (const symbol of said.symbols) { $("made").append((words && end !== "\n" && symbol !== "\n" ? " " : "") + symbol); end = symbol; }
      $("written").scrollTop = $("written").scrollHeight;
      await new Promise(requestAnimationFrame);
    }
  } catch (error) { if (error.name !== "AbortError") wrong("wrong", error); }
  if (writing === mine) stopWriting();
};
$("temperature").oninput = () => { $("temperatureis").textContent = (+$("temperature").value).toFixed(2); };

// explaining
$("explain").onclick = async () => {
  wrong("wrong", null);
  try { view(await (await ask(at_model("explain/page"), {input: $("typed").value, lang: S.lang})).json()); } catch (error) { wrong("wrong", error); }
};
function view(data) {
  $("view").hidden = false;
  show(data); document.title = "ohlol";
  $("view").scrollIntoView({behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"});
  $("closeview").focus({preventScroll: true});
}
$("closeview").onclick = () => { $("view").hidden = true; for (const name of ["timer", "lesson"]) { clearInterval(S[name]); S[name] = 0; } scrollTo(0, 0); $($("try").hidden ? "opentraining" : "explain").focus(); };
$("view").onkeydown = e => { if (e.key === "Escape") $("closeview").click(); };

// training
function pairs() {
  $("pairs").replaceChildren(...U.pairs.map((pair, k) => {
    const side = (place, key) => { const box = el("input", {maxlength: P.limits.symbols, spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-label": tell(key) + " " + (k + 1), placeholder: tell(key)}); box.value = pair[place]; box.oninput = () => { pair[place] = box.value; }; return box; };
    const remove = button(tell("remove"), null, () => { U.pairs.splice(k, 1); pairs(); });
    remove.disabled = U.pairs.length === 1;
    return el("div", {class: "pair"}, side(0, "pair_input"), "→", side(1, "pair_target"), remove);
  }));
  $("addpair").disabled = U.pairs.length >= P.limits.pairs;
}
$("addpair").onclick = () => { U.pairs.push(["", ""]); pairs(); $("pairs").lastChild.firstChild.focus(); };
$("head").onchange = () => { const on = $("head").checked; $("hidden").disabled = !on; $("hidden").value = on ? 16 : ""; };
let training = null;
function running(on) { $("start").disabled = on; $("cancel").disabled = !on; }
$("start").onclick = async () => {
  const mine = training = new AbortController();
  running(true); wrong("trainwrong", null);
  U.epochs = []; U.seen = null; U.follow = true; U.told = ["train_begins", {}]; U.explain = null; U.final = null; state(); drawTraining();
  const body = {pairs: U.pairs.map(([input, target]) => ({input, target})), cell: $("cell").value, head: $("head").checked, epochs: +$("rounds").value, lr: +$("rate").value, seed: +$("seed").value, pace: +$("pace").value};
  if (body.head) body.hidden_size = +$("hidden").value;
  try {
    for await (const [name, said] of events(await ask("/v1/train", body, {signal: mine.signal}))) {
      if (name === "start") U.run = said;
      else if (name === "epoch") { U.epochs.push(said); if (U.follow) U.seen = U.epochs.length; U.told = ["train_running", {epoch: said.epoch, epochs: U.run.epochs}]; }
      else if (name === "done") { U.final = said.pairs; U.explain = said.explain; U.told = ["train_done", {right: rightOf(said.pairs), all: U.run.pairs.length}]; }
      else U.told = ["train_ended", {why: said.detail}];
      state(); drawTraining();
    }
  } catch (error) {
    U.told = error.name === "AbortError" ? ["train_cancelled", {epoch: U.epochs.length}] : null;
    if (U.told === null) wrong("trainwrong", error);
  }
  training = null; running(false); state(); drawTraining();
};
$("cancel").onclick = () => training?.abort();
$("epochslider").oninput = () => { U.seen = +$("epochslider").value; U.follow = U.seen === U.epochs.length; drawTraining(); };
$("opentraining").onclick = () => view(U.explain);
const rightOf = said => said.filter((one, k) => one.labels.join("") === U.run.pairs[k][1].normalize("NFC")).length;
function state() { $("trainstate").textContent = U.told ? tell(...U.told) : ""; }

function drawTraining() {
  const count = U.epochs.length;
  $("shown").hidden = !count;
  $("opentraining").hidden = !U.explain;
  if (!count) return;
  const epoch = U.epochs[U.seen - 1];
  $("epochslider").max = count; $("epochslider").value = U.seen; $("epochslider").setAttribute("aria-label", tell("epoch"));
  $("epochis").textContent = `${tell("epoch")} ${epoch.epoch} / ${U.run.epochs} · ${tell("loss")} ${epoch.loss.toFixed(4)}`;
  $("says").replaceChildren(...epoch.pairs.map((one, k) => {
    const wanted = Array.from(U.run.pairs[k][1].normalize("NFC"));
    const said = one.labels.map((label, t) => el("bdi", {class: label === wanted[t] ? "good" : "bad", title: percent(one.probabilities[t])}, sign(label)));
    const sure = one.probabilities.reduce((a, b) => a + b, 0) / one.probabilities.length;
    return el("tr", {}, el("td", {}, el("bdi", {}, Array.from(U.run.pairs[k][0], sign).join(""))), el("td", {}, "→"), el("td", {class: "said"}, ...said), el("td", {class: "pct"}, tell("how_sure", {percent: percent(sure)})));
  }));
  curve(); states(epoch);
}
function curve() {
  const W = $("curve").clientWidth || 760, H = 190, left = 40, bottom = 24, losses = U.epochs.map(e => e.loss), last = Math.max(training ? U.run.epochs : U.epochs.length, 2), top = Math.max(...losses) * 1.05;
  const x = k => left + (k - 1) / (last - 1) * (W - left - 12), y = v => 8 + (1 - v / top) * (H - bottom - 8);
  const svg = el("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": tell("loss_by_epoch")});
  const nice = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find(s => top / s <= 5) ?? top;
  for (let v = 0; v < top; v += nice) svg.append(el("line", {class: "grid", x1: left, x2: W - 12, y1: y(v), y2: y(v)}), el("text", {x: left - 7, y: y(v) + 4, "text-anchor": "end", class: "soft"}, String(+v.toFixed(2))));
  const every = [1, 2, 5, 10, 20, 50, 100].find(s => last / s * 34 <= W - left) ?? 100;
  for (let k = 1; k <= last; k++) if (k === 1 || k % every === 0) svg.append(el("text", {x: x(k), y: H - 6, "text-anchor": "middle", class: "soft"}, String(k)));
  svg.append(el("line", {class: "at", x1: x(U.seen), x2: x(U.seen), y1: 8, y2: H - bottom}));
  svg.append(el("path", {class: "line", d: losses.map((v, i) => `${i ? "L" : "M"}${x(i + 1).toFixed(1)} ${y(v).toFixed(1)}`).join("")}));
  svg.append(el("path", {class: "dot", d: `M${x(U.seen) - 5} ${y(losses[U.seen - 1])}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0`}));
  svg.onclick = e => { const box = svg.getBoundingClientRect(), k = Math.round(1 + ((e.clientX - box.left) / box.width * W - left) / (W - left - 12) * (last - 1)); U.seen = Math.max(1, Math.min(U.epochs.length, k)); U.follow = U.seen === U.epochs.length; drawTraining(); };
  $("curve").replaceChildren(svg);
}
function states(epoch) {
  $("states").replaceChildren(...epoch.pairs.map((one, k) => {
    const symbols = Array.from(U.run.pairs[k][0].normalize("NFC")), units = one.hidden[0].length, wide = units > 8;
    const head = el("tr", {}, el("th"), ...symbols.map(s => el("th", {}, el("bdi", {}, sign(s)))));
    const rows = Array.from({length: units}, (_, j) => el("tr", {}, el("th", {class: "unit"}, wide ? "" : String(j)), ...one.hidden.map((row, t) => {
      const td = el("td", {"data-unit": j, "data-step": t, title: `${sign(symbols[t])} · ${tell("unit")} ${j}: ${f4(row[j])}`}, wide ? "" : (row[j] < 0 ? "−" : "") + Math.abs(row[j]).toFixed(2));
      paint(td, diverging(row[j]));
      return td;
    })));
    return el("table", {class: wide ? "wide" : ""}, head, ...rows);
  }));
}

// the frame: tabs, language, light and dark
function tab(name) {
  for (const one of ["try", "train"]) { $(one).hidden = one !== name; $("tab-" + one).setAttribute("aria-selected", one === name); $("tab-" + one).tabIndex = one === name ? 0 : -1; }
  $("view").hidden = true;
}
function retext() {
  if (D) { $("lang").value = S.lang; words(); maps(); }
  root.lang = S.lang === "zh" ? "zh-CN" : "en";
  document.title = "ohlol";
  for (const node of document.querySelectorAll("[data-t]")) {
    if (node.hasAttribute("data-label")) { node.setAttribute("aria-label", tell(node.dataset.t)); node.title = tell(node.dataset.t); }
    else node.textContent = tell(node.dataset.t);
  }
  $("trainlimits").textContent = tell("train_limits", P.limits);
  $("write").textContent = tell(writing ? "stop" : "write_start");
  describe(); pairs(); state(); drawTraining();
}
$("language").onchange = () => { S.lang = $("language").value; retext(); };
$("shade").onclick = () => { theme(root.dataset.theme === "dark" ? "light" : "dark"); if (D) { guesses(); maps(); all(); } hear(U.steps); drawTraining(); };
addEventListener("resize", () => { if (U.epochs.length) curve(); });
$("tab-try").onclick = () => tab("try");
$("tab-train").onclick = () => tab("train");
document.querySelector("nav").onkeydown = e => {
  if (!["ArrowLeft", "ArrowRight"].includes(e.key) || !P.trains) return;
  e.stopPropagation();
  const other = $("try").hidden ? "try" : "train";
  tab(other); $("tab-" + other).focus();
};
S.lang = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
$("language").value = S.lang;
$("tab-train").hidden = !P.trains;
$("rounds").max = P.limits.epochs; $("hidden").max = P.limits.hidden;
$("temperature").oninput();
tab("try"); retext(); enter();
