// The page of a server: label what is typed, generate, train, and open a trace of any of it with trace.js.

const LARGE_INPUT = 24; // symbols up to which tiles are large
const TOP_LABELS = 5;
const RETRY_AFTER = 1500; // milliseconds
const KEY_NAME = "ohlol-key"; // in the session storage

const settings = JSON.parse(byId("data").textContent);
locale.texts = settings.texts;
const server = { key: sessionStorage.getItem(KEY_NAME) ?? "", models: [], model: null };

// --- requests

async function request(path, body, options = {}) {
  const headers = server.key ? { authorization: "Bearer " + server.key } : {};
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    options = { method: "POST", body: JSON.stringify(body), ...options };
  }
  const response = await fetch(path, { headers, ...options });
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({}));
  throw Object.assign(new Error(detail ?? response.statusText), { status: response.status });
}

async function requestJson(path, body, options) {
  return (await request(path, body, options)).json();
}

function modelPath(operation) {
  return `/v1/models/${encodeURIComponent(server.model.name)}/${operation}`;
}

// the name and the data of each server-sent event
async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) yield parseEvent(block);
  }
}

function parseEvent(block) {
  const fields = Object.fromEntries(
    block.split("\n").map((line) => {
      const end = line.indexOf(": ");
      return [line.slice(0, end), line.slice(end + 2)];
    }),
  );
  return [fields.event ?? "message", JSON.parse(fields.data)];
}

function hasNoAnswer(error) {
  return error.status === undefined && error instanceof TypeError;
}

// show an error in an element, or remove it where the error is null
function showError(id, error) {
  if (id === "error") byId("output").classList.toggle("stale", error !== null);
  if (error === null) byId(id).textContent = "";
  else byId(id).textContent = hasNoAnswer(error) ? translate("no_server") : error.message;
}

// --- models

// load the list of models; returns whether it failed and is worth trying again
async function loadModels() {
  try {
    server.models = await requestJson("/v1/models");
  } catch (error) {
    if (error.status !== 401) {
      showError("error", error);
      return true;
    }
    byId("key-form").hidden = false;
    byId("key-error").textContent = server.key ? translate("key_wrong") : "";
    byId("key").focus();
    return false;
  }
  byId("key-form").hidden = true;
  showError("error", null);
  byId("models").replaceChildren(...server.models.map(({ name }) => createElement("option", { value: name }, name)));
  const same = server.models.find(isSelectedModel);
  if (same) keepModel(same);
  else selectModel(server.models[0].name);
  return false;
}

function isSelectedModel({ name, task, streams }) {
  const model = server.model;
  return model !== null && model.name === name && model.task === task && model.streams === streams;
}

// take the new data of the selected model; the input stays
function keepModel(model) {
  server.model = model;
  byId("models").value = model.name;
  describeModel();
  readInput();
}

function selectModel(name) {
  server.model = server.models.find((model) => model.name === name);
  const { columns, example, task } = server.model;
  stopGenerating();
  connection.close();
  byId("typed").value = example ?? "";
  byId("typed").disabled = byId("explain").disabled = columns !== null;
  byId("generate-section").hidden = task !== "next";
  byId("generated-box").hidden = true;
  showSteps([]);
  describeModel();
  readInput();
}

function describeModel() {
  if (!server.model) return;
  const { task, columns, cell, layers, hidden_size, bidirectional, parameters } = server.model;
  const parts = [task, `${cell} ${layers} x ${hidden_size}`];
  if (bidirectional) parts.push(translate("bidirectional"));
  parts.push(translate("parameters", { count: parameters.toLocaleString("en") }));
  byId("model-summary").textContent = parts.join(locale.lang === "zh" ? "，" : ", ");
  byId("typed-hint").textContent = translate(typedHint());
  byId("typed").setAttribute("aria-label", translate("typed"));
  byId("typed").placeholder = columns !== null ? "" : translate("typed");
}

function typedHint() {
  const { task, columns, streams } = server.model;
  if (columns !== null) return "typed_numbers";
  if (task === "next") return "typed_next";
  return streams ? "typed_stream" : "typed_whole";
}

function submitKey(event) {
  event.preventDefault();
  server.key = byId("key").value.trim();
  sessionStorage.setItem(KEY_NAME, server.key);
  loadModels();
}

// --- the input of a model that streams: one message at a time; what is typed meanwhile is sent next

const connection = {
  socket: null,
  isBusy: false,
  isReset: false, // whether the last message began a new sequence
  sentText: null,
  readText: null, // the text that the state of the server covers; null where that is unknown
  retryTimer: 0,

  close() {
    clearTimeout(this.retryTimer);
    const socket = this.socket;
    Object.assign(this, { socket: null, isBusy: false, readText: null });
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket?.close();
  },

  open() {
    const url = location.origin.replace("http", "ws") + modelPath("stream");
    const socket = new WebSocket(url, ["ohlol", ...(server.key ? ["ohlol.key." + encodeKey(server.key)] : [])]);
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      if (socket === this.socket) this.receive(JSON.parse(data));
    };
    socket.onclose = () => {
      if (socket !== this.socket) return;
      Object.assign(this, { socket: null, isBusy: false });
      this.retry();
    };
  },

  receive(message) {
    if ("closing" in message) return;
    if ("session" in message) {
      this.readText = null;
      showError("error", null);
    } else if ("error" in message) {
      Object.assign(this, { isBusy: false, readText: null });
      showError("error", new Error(message.error));
      if (inputText() === this.sentText) return; // the same text would be refused again
    } else {
      Object.assign(this, { isBusy: false, readText: this.sentText });
      showError("error", null);
      showSteps(this.isReset ? (message.steps ?? []) : [...typed.steps, ...message.steps]);
    }
    this.send();
  },

  // send what was typed since the last message, or all of it where the text before was changed
  send() {
    const text = inputText();
    if (this.isBusy || this.socket?.readyState !== WebSocket.OPEN || text === this.readText) return;
    const byCharacter = server.model.level === "char";
    const isContinued = this.readText !== null && byCharacter && text.startsWith(this.readText);
    Object.assign(this, { isBusy: true, isReset: !isContinued, sentText: text });
    const read = isContinued ? text.slice(this.readText.length) : text;
    const hasSymbols = read.trim() !== "" || (read !== "" && byCharacter);
    this.socket.send(JSON.stringify({ reset: this.isReset, n_best: TOP_LABELS, ...(hasSymbols ? { read } : {}) }));
  },

  retry() {
    clearTimeout(this.retryTimer);
    this.readText = null;
    this.retryTimer = setTimeout(async () => {
      showError("error", new Error(translate("lost")));
      if (!(await loadModels())) return;
      showError("error", new Error(translate("lost")));
      this.retry();
    }, RETRY_AFTER);
  },
};

// a key as a WebSocket subprotocol can hold it: base64url without padding
function encodeKey(key) {
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(key)));
  return base64.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function inputText() {
  return byId("typed").value.normalize("NFC");
}

// --- the input of another model: the whole text in one request at a time

const wholeText = { isBusy: false, last: null };

async function predictWhole() {
  const text = byId("typed").value;
  const model = server.model;
  if (wholeText.isBusy || text === wholeText.last) return;
  Object.assign(wholeText, { isBusy: true, last: text });
  try {
    if (!text.trim()) showSteps([]);
    else {
      const { predictions } = await requestJson(modelPath("predict"), { inputs: text, n_best: TOP_LABELS });
      if (model === server.model) {
        showSteps(predictionSteps(predictions[0]), predictions[0].symbols);
        if (predictions[0].number !== undefined) byId("labels").textContent = predictions[0].number.toPrecision(6);
        if (model.task === "multilabel") byId("labels").textContent = predictions[0].labels.join(", ");
      }
    }
    showError("error", null);
  } catch (error) {
    showError("error", error);
    if (error.status === undefined && model === server.model) connection.retry();
  }
  wholeText.isBusy = false;
  if (model === server.model) predictWhole();
}

// a prediction as the steps of a stream
function predictionSteps({ labels, symbols, probabilities, best, unknown }) {
  return best.map((alternatives, i) => ({
    symbol: best.length === symbols.length ? symbols[i] : null,
    label: labels[i] ?? "",
    probability: probabilities[i] ?? 0,
    best: alternatives,
    unknown: unknown.includes(symbols[i]),
  }));
}

// read the input with the selected model
function readInput() {
  wholeText.last = null;
  const { task, columns, streams } = server.model;
  if (columns !== null) return;
  if (!streams || task === "regress" || task === "multilabel") {
    predictWhole();
    return;
  }
  if (!connection.socket) connection.open();
  connection.send();
}

// --- the output: a tile per symbol, and the most probable labels of one of them

// the steps that are shown, and the selected one; null follows the last
const typed = { steps: [], selected: null };

function showSteps(steps, symbols = null) {
  typed.steps = steps;
  const isOneForAll = symbols !== null && steps.length === 1 && symbols.length !== 1;
  const isLarge = steps.length <= LARGE_INPUT;
  const box = byId("tiles");
  box.classList.toggle("large", isLarge);
  box.replaceChildren(...(isOneForAll ? [] : steps.map((step, t) => createStepTile(step, t, isLarge))));
  box.hidden = !box.childElementCount;
  box.scrollTop = box.scrollHeight;
  byId("labels").textContent = labelText(steps);
  byId("explain").disabled = !steps.length;
  drawTopLabels();
}

function createStepTile(step, t, isLarge) {
  const symbol = createElement("div", { class: "symbol" }, createSymbol(step.symbol));
  const label = createTileLabel(step.label, step.probability, isLarge);
  paint(label, sequentialColor(step.probability));
  const attributes = { class: "tile" + (step.unknown ? " unknown" : ""), "data-step": t };
  const tile = createElement("div", attributes, symbol, label);
  if (step.unknown) tile.title = translate("read_as_unknown");
  tile.onclick = tile.onpointerenter = () => {
    typed.selected = t;
    drawTopLabels();
  };
  return tile;
}

// all labels in a row, for a model that labels each symbol
function labelText(steps) {
  if (server.model?.task !== "label") return "";
  const areCharacters = server.model.level === "char" && steps.every(({ label }) => Array.from(label).length === 1);
  return steps.map(({ label }) => label).join(areCharacters ? "" : " ");
}

function drawTopLabels() {
  const last = typed.steps.length - 1;
  const selected = typed.selected === null ? last : Math.min(typed.selected, last);
  for (const tile of byId("tiles").children) tile.classList.toggle("selected", +tile.dataset.step === selected);
  const rows = (typed.steps[selected]?.best ?? []).flatMap(([label, probability]) => [
    createSymbol(label, { class: "label" }),
    createBar(probability),
    createElement("span", { class: "mono", title: String(probability) }, formatPercent(probability)),
  ]);
  byId("typed-labels").replaceChildren(...rows);
}

function moveSelection(event) {
  const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!direction) return;
  event.preventDefault();
  event.stopPropagation();
  const last = typed.steps.length - 1;
  typed.selected = Math.max(0, Math.min(last, (typed.selected ?? last) + direction));
  drawTopLabels();
  byId("tiles").querySelector(".selected")?.scrollIntoView({ block: "nearest" });
}

// --- generating

let generation = null; // aborts the running request

function stopGenerating() {
  generation?.abort();
  generation = null;
  byId("generate").textContent = translate("generate_start");
}

async function generate() {
  const controller = new AbortController();
  generation = controller;
  const prompt = byId("typed").value;
  byId("generate").textContent = translate("stop");
  byId("generated-box").hidden = false;
  byId("prompt").textContent = prompt;
  byId("generated").textContent = "";
  showError("error", null);
  try {
    await writeGenerated(prompt, controller.signal);
  } catch (error) {
    if (error.name !== "AbortError") showError("error", error);
  }
  if (generation === controller) stopGenerating();
}

// append the symbols as they come
async function writeGenerated(prompt, signal) {
  const numbers = {
    length: +byId("length").value,
    temperature: +byId("temperature").value,
    top_k: +byId("top-k").value,
  };
  const hasWords = server.model.level === "word";
  let last = prompt.slice(-1) || "\n";
  for await (const [name, data] of readEvents(
    await request(modelPath("generate"), { prompt, ...numbers }, { signal }),
  )) {
    if (signal.aborted) return;
    if (name !== "message") continue;
    for (const symbol of data.symbols) {
      const space = hasWords && last !== "\n" && symbol !== "\n" ? " " : "";
      byId("generated").append(space + symbol);
      last = symbol;
    }
    byId("generated-box").scrollTop = byId("generated-box").scrollHeight;
    await new Promise(requestAnimationFrame);
  }
}

function showTemperature() {
  byId("temperature-value").textContent = (+byId("temperature").value).toFixed(2);
}

// --- explaining

async function explainInput() {
  showError("error", null);
  try {
    openTrace(await requestJson(modelPath("explain/page"), { input: byId("typed").value, lang: locale.lang }));
  } catch (error) {
    showError("error", error);
  }
}

function openTrace(data) {
  byId("trace-view").hidden = false;
  showTrace(data);
  document.title = "ohlol";
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  byId("trace-view").scrollIntoView({ behavior: isCalm ? "auto" : "smooth" });
  byId("close-trace").focus({ preventScroll: true });
}

function closeTrace() {
  byId("trace-view").hidden = true;
  stopPlayers();
  scrollTo(0, 0);
  byId(byId("try").hidden ? "open-training" : "explain").focus();
}

// --- training

const training = {
  pairs: [["hello", "ohlol"]],
  controller: null, // aborts the running request
  run: null, // the data of the event "start"
  epochs: [], // the data of the events "epoch"
  shownEpoch: null, // counted from 1
  isFollowing: true, // whether the last epoch is shown as it comes
  status: null, // the key and the values of a text
  trace: null, // the data of the trace, once the training is done
};

function drawPairs() {
  byId("pairs").replaceChildren(...training.pairs.map(createPair));
  byId("add-pair").disabled = training.pairs.length >= settings.limits.pairs;
}

function createPair(pair, k) {
  const remove = createButton(translate("remove"), null, () => {
    training.pairs.splice(k, 1);
    drawPairs();
  });
  remove.disabled = training.pairs.length === 1;
  const sides = [createSide(pair, 0, "pair_input", k), "→", createSide(pair, 1, "pair_target", k)];
  return createElement("div", { class: "pair" }, ...sides, remove);
}

// the input or the target of a pair
function createSide(pair, side, key, k) {
  const input = createElement("input", {
    maxlength: settings.limits.symbols,
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    "aria-label": `${translate(key)} ${k + 1}`,
    placeholder: translate(key),
  });
  input.value = pair[side];
  input.oninput = () => {
    pair[side] = input.value;
  };
  return input;
}

function addPair() {
  training.pairs.push(["", ""]);
  drawPairs();
  byId("pairs").lastChild.firstChild.focus();
}

function switchHead() {
  const hasHead = byId("head").checked;
  byId("hidden-size").disabled = !hasHead;
  byId("hidden-size").value = hasHead ? 16 : "";
}

function trainingRequest() {
  const body = {
    pairs: training.pairs.map(([input, target]) => ({ input, target })),
    cell: byId("cell").value,
    head: byId("head").checked,
    epochs: +byId("epoch-count").value,
    lr: +byId("lr").value,
    seed: +byId("seed").value,
    pace: +byId("pace").value,
  };
  if (body.head) body.hidden_size = +byId("hidden-size").value;
  return body;
}

function setRunning(isRunning) {
  byId("start").disabled = isRunning;
  byId("cancel").disabled = !isRunning;
}

async function train() {
  const controller = new AbortController();
  Object.assign(training, { controller, epochs: [], shownEpoch: null, isFollowing: true, trace: null });
  training.status = ["train_begins", {}];
  setRunning(true);
  showError("train-error", null);
  drawTraining();
  try {
    const response = await request("/v1/train", trainingRequest(), { signal: controller.signal });
    for await (const [name, data] of readEvents(response)) {
      receiveTraining(name, data);
      drawTraining();
    }
  } catch (error) {
    const isCancelled = error.name === "AbortError";
    training.status = isCancelled ? ["train_cancelled", { epoch: training.epochs.length }] : null;
    if (!isCancelled) showError("train-error", error);
  }
  training.controller = null;
  setRunning(false);
  drawTraining();
}

function receiveTraining(name, data) {
  if (name === "start") training.run = data;
  else if (name === "epoch") {
    training.epochs.push(data);
    if (training.isFollowing) training.shownEpoch = training.epochs.length;
    training.status = ["train_running", { epoch: data.epoch, epochs: training.run.epochs }];
  } else if (name === "done") {
    training.trace = data.explain;
    training.status = ["train_done", { right: countCorrect(data.pairs), all: training.run.pairs.length }];
  } else training.status = ["train_ended", { why: data.detail }];
}

function countCorrect(predictions) {
  return predictions.filter(({ labels }, k) => labels.join("") === targetOf(k).join("")).length;
}

function targetOf(k) {
  return Array.from(training.run.pairs[k][1].normalize("NFC"));
}

// show an epoch, counted from 1; the last one is followed
function showEpoch(number) {
  training.shownEpoch = clamp(number, 1, training.epochs.length);
  training.isFollowing = training.shownEpoch === training.epochs.length;
  drawTraining();
}

function drawTraining() {
  byId("train-status").textContent = training.status ? translate(...training.status) : "";
  const count = training.epochs.length;
  byId("training-result").hidden = !count;
  byId("open-training").hidden = !training.trace;
  if (!count) return;
  const epoch = training.epochs[training.shownEpoch - 1];
  const slider = byId("epoch-slider");
  slider.max = count;
  slider.value = training.shownEpoch;
  slider.setAttribute("aria-label", translate("epoch"));
  const loss = `${translate("loss")} ${epoch.loss.toFixed(4)}`;
  byId("epoch-text").textContent = `${translate("epoch")} ${epoch.epoch} / ${training.run.epochs} · ${loss}`;
  byId("predictions").replaceChildren(...epoch.pairs.map(predictionRow));
  drawLossCurve();
  byId("hidden-states").replaceChildren(...epoch.pairs.map(stateColumns));
}

function predictionRow({ labels, probabilities }, k) {
  const target = targetOf(k);
  const predicted = labels.map((label, t) => {
    const title = formatPercent(probabilities[t]);
    return createSymbol(label, { class: label === target[t] ? "good" : "bad", title });
  });
  const mean = probabilities.reduce((a, b) => a + b, 0) / probabilities.length;
  const input = Array.from(training.run.pairs[k][0], visible).join("");
  return createElement(
    "tr",
    {},
    createElement("td", {}, createElement("bdi", {}, input)),
    createElement("td", {}, "→"),
    createElement("td", { class: "predicted" }, ...predicted),
    createElement("td", { class: "percent" }, translate("mean_probability", { percent: formatPercent(mean) })),
  );
}

// the hidden states of a pair: a column per symbol, a row per neuron
function stateColumns({ hidden }, k) {
  const symbols = Array.from(training.run.pairs[k][0].normalize("NFC"));
  const isWide = hidden[0].length > 8;
  const heads = symbols.map((symbol) => createElement("th", {}, createSymbol(symbol)));
  const rows = hidden[0].map((_, neuron) => {
    const name = createElement("th", { class: "neuron" }, isWide ? "" : String(neuron));
    return createElement(
      "tr",
      {},
      name,
      ...hidden.map((row, t) => stateCell(row[neuron], neuron, t, symbols[t], isWide)),
    );
  });
  const head = createElement("tr", {}, createElement("th"), ...heads);
  return createElement("table", { class: isWide ? "wide" : "" }, head, ...rows);
}

function stateCell(value, neuron, step, symbol, isWide) {
  const title = `${visible(symbol)} · ${translate("neuron")} ${neuron}: ${formatNumber(value, 4)}`;
  const attributes = { "data-neuron": neuron, "data-step": step, title };
  const cell = createElement("td", attributes, isWide ? "" : formatNumber(value, 2));
  paint(cell, divergingColor(value));
  return cell;
}

// --- the curve of the loss

const CURVE = { height: 190, left: 40, right: 12, top: 8, bottom: 24 };

// the scales of the drawing: from epochs and losses to pixels and back
function curveScales() {
  const width = byId("loss-curve").clientWidth || 760;
  const losses = training.epochs.map(({ loss }) => loss);
  const last = Math.max(training.controller ? training.run.epochs : losses.length, 2);
  const top = Math.max(...losses) * 1.05;
  const [plotWidth, plotHeight] = [width - CURVE.left - CURVE.right, CURVE.height - CURVE.bottom - CURVE.top];
  return {
    width,
    losses,
    last,
    top,
    x: (epoch) => CURVE.left + ((epoch - 1) / (last - 1)) * plotWidth,
    y: (loss) => CURVE.top + (1 - loss / top) * plotHeight,
    epochAt: (x) => Math.round(1 + ((x - CURVE.left) / plotWidth) * (last - 1)),
  };
}

function drawLossCurve() {
  const scales = curveScales();
  const { width, losses, x, y } = scales;
  const [epoch, loss] = [training.shownEpoch, losses[training.shownEpoch - 1]];
  const points = losses.map((value, i) => `${i ? "L" : "M"}${x(i + 1).toFixed(1)} ${y(value).toFixed(1)}`);
  const label = { role: "img", "aria-label": translate("loss_by_epoch") };
  const svg = createElement(
    "svg",
    { viewBox: `0 0 ${width} ${CURVE.height}`, ...label },
    ...lossTicks(scales),
    ...epochTicks(scales),
    createElement("line", {
      class: "cursor",
      x1: x(epoch),
      x2: x(epoch),
      y1: CURVE.top,
      y2: CURVE.height - CURVE.bottom,
    }),
    createElement("path", { class: "line", d: points.join("") }),
    createElement("path", { class: "dot", d: `M${x(epoch) - 5} ${y(loss)}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0` }),
  );
  svg.onclick = (event) => {
    const box = svg.getBoundingClientRect();
    showEpoch(scales.epochAt(((event.clientX - box.left) / box.width) * width));
  };
  byId("loss-curve").replaceChildren(svg);
}

function lossTicks({ width, top, y }) {
  const interval = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find((one) => top / one <= 5) ?? top;
  const ticks = [];
  for (let loss = 0; loss < top; loss += interval) {
    const position = { x: CURVE.left - 7, y: y(loss) + 4, "text-anchor": "end", class: "soft" };
    ticks.push(
      createElement("line", { class: "grid", x1: CURVE.left, x2: width - CURVE.right, y1: y(loss), y2: y(loss) }),
    );
    ticks.push(createElement("text", position, String(+loss.toFixed(2))));
  }
  return ticks;
}

function epochTicks({ width, last, x }) {
  const interval = [1, 2, 5, 10, 20, 50, 100].find((one) => (last / one) * 34 <= width - CURVE.left) ?? 100;
  const ticks = [];
  for (let epoch = 1; epoch <= last; epoch++) {
    if (epoch !== 1 && epoch % interval !== 0) continue;
    const position = { x: x(epoch), y: CURVE.height - 6, "text-anchor": "middle", class: "soft" };
    ticks.push(createElement("text", position, String(epoch)));
  }
  return ticks;
}

// --- tabs, language and theme

function selectTab(name) {
  for (const one of ["try", "train"]) {
    byId(one).hidden = one !== name;
    byId("tab-" + one).setAttribute("aria-selected", one === name);
    byId("tab-" + one).tabIndex = one === name ? 0 : -1;
  }
  byId("trace-view").hidden = true;
}

function moveTab(event) {
  if (!["ArrowLeft", "ArrowRight"].includes(event.key) || !settings.trains) return;
  event.stopPropagation();
  const other = byId("try").hidden ? "try" : "train";
  selectTab(other);
  byId("tab-" + other).focus();
}

function selectLanguage(lang) {
  locale.lang = lang;
  byId("language").value = lang;
  if (trace) {
    byId("lang").value = lang;
    updateTexts();
    drawMaps();
  }
  translateElements();
  document.title = "ohlol";
  byId("train-limits").textContent = translate("train_limits", settings.limits);
  byId("generate").textContent = translate(generation ? "stop" : "generate_start");
  describeModel();
  drawPairs();
  drawTraining();
}

function redrawPage() {
  if (trace) redrawTrace();
  showSteps(typed.steps);
  drawTraining();
}

// --- events

byId("key-form").onsubmit = submitKey;
byId("models").onchange = () => selectModel(byId("models").value);
byId("typed").oninput = () => {
  typed.selected = null;
  readInput();
};
byId("tiles").onkeydown = moveSelection;
byId("generate").onclick = () => (generation ? stopGenerating() : generate());
byId("temperature").oninput = showTemperature;
byId("explain").onclick = explainInput;
byId("close-trace").onclick = closeTrace;
byId("trace-view").onkeydown = (event) => {
  if (event.key === "Escape") closeTrace();
};
byId("add-pair").onclick = addPair;
byId("head").onchange = switchHead;
byId("start").onclick = train;
byId("cancel").onclick = () => training.controller?.abort();
byId("epoch-slider").oninput = () => showEpoch(+byId("epoch-slider").value);
byId("open-training").onclick = () => openTrace(training.trace);
byId("language").onchange = () => selectLanguage(byId("language").value);
byId("theme-button").onclick = () => {
  switchTheme();
  redrawPage();
};
byId("tab-try").onclick = () => selectTab("try");
byId("tab-train").onclick = () => selectTab("train");
document.querySelector("nav").onkeydown = moveTab;
addEventListener("resize", () => {
  if (training.epochs.length) drawLossCurve();
});

byId("tab-train").hidden = !settings.trains;
byId("epoch-count").max = settings.limits.epochs;
byId("hidden-size").max = settings.limits.hidden;
showTemperature();
selectTab("try");
selectLanguage(navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
loadModels();
