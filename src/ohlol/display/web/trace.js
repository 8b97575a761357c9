// Draws a trace, the data of `page_data` in page.py, into the markup of trace.html. `showTrace(data)` can be called again
// with other data.

const LARGE_TEXT = 24; // symbols up to which tiles are large
const LABELS_IN_TILE = 5;
const MAX_MATRIX = 8; // rows and columns of a matrix that is written out
const MAX_HISTORY = 48; // predictions shown for an epoch
const SHADES = 511;

// the data of the page, the selected one of its frames, and the arrays of that frame by name; null before `showTrace`
let trace = null;
let frame = null;
let arrays = {};
let tiles = [];
let selection = {};

// an array of two axes within a buffer
class Matrix {
  constructor(values, offset, rows, columns) {
    Object.assign(this, { values, offset, rows, columns });
  }
  at(row, column) {
    return this.values[this.offset + row * this.columns + column];
  }
  row(row) {
    return this.values.subarray(this.offset + row * this.columns, this.offset + (row + 1) * this.columns);
  }
}

function showTrace(data) {
  stopPlayers();
  locale.lang ??= data.lang;
  locale.texts = data.texts;
  trace = data;
  const last = data.layers.length - 1;
  const opened = data.frames[data.opened];
  selection = {
    step: 0,
    frame: data.opened,
    layer: last,
    gate: 0,
    mode: opened.arrays["pooling/weights"] ? "weight" : opened.saliency ? "saliency" : "loss",
    measure: "gradient",
    neuron: { layer: last, index: 0 }, // the one that the mode "neuron" shows
    hoveredNeuron: null,
    hoveredStep: null,
  };
  byId("slider").max = data.symbols.length - 1;
  byId("epochs").max = data.frames.length - 1;
  byId("lang").value = locale.lang;
  byId("epoch-bar").hidden = byId("history-section").hidden = data.frames.length < 2;
  selectFrame(selection.frame);
}

// show what the network computes with the weights of one epoch
function selectFrame(index) {
  selection.frame = clamp(index, 0, trace.frames.length - 1);
  frame = trace.frames[selection.frame];
  decodeArrays();
  buildTiles();
  updateTexts();
  drawMaps();
}

function selectStep(step) {
  selection.step = clamp(step, 0, trace.symbols.length - 1);
  drawStep();
  const tile = tiles[selection.step];
  const box = byId("text");
  if (box.scrollHeight > box.clientHeight) box.scrollTop = tile.offsetTop - box.offsetTop - box.clientHeight / 2;
}

// draw everything that depends on the selected step
function drawStep() {
  byId("slider").value = selection.step;
  const weight = arrays["pooling/weights"]?.at(0, selection.step);
  const share = weight === undefined ? "" : `${translate("weight")} ${formatNumber(weight, 3)} · `;
  const label = `${translate("step", { t: selection.step })} / ${trace.symbols.length - 1} · ${share}`;
  byId("step-label").replaceChildren(label, createSymbol(trace.symbols[selection.step]));
  colorText();
  drawNetwork();
  markStep();
  drawComputation();
  drawPrediction();
}

// --- numbers: one buffer in half or single precision, cut into named arrays

let halfTable = null;

// the value of every half-precision number by its bits
function buildHalfTable() {
  return new Float32Array(1 << 16).map((_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    if (exponent === 0) return sign * 2 ** -24 * fraction;
    return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
  });
}

function decodeHalf(buffer) {
  halfTable ??= buildHalfTable();
  const bits = new Uint16Array(buffer);
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = halfTable[bits[i]];
  return values;
}

function decodeArrays() {
  const binary = atob(frame.bytes);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const values = frame.is_half ? decodeHalf(bytes.buffer) : new Float32Array(bytes.buffer);
  arrays = {};
  for (const [name, [offset, rows, columns]] of Object.entries(frame.arrays)) {
    arrays[name] = new Matrix(values, offset, rows, columns);
  }
}

// an array of a layer; undefined where it was left out to limit the size of the page
function layerArray(layer, name) {
  return arrays[`${layer}/${name}`];
}

function largest(values, least) {
  let top = least;
  for (const value of values) top = Math.max(top, Math.abs(value));
  return top;
}

// the index of the prediction made at a step, or null
function predictionAt(step) {
  if (!trace.per_sequence) return step;
  return step === trace.symbols.length - 1 ? 0 : null;
}

// whether a label is the target of a prediction; null where the target is unknown
function isCorrect(index, label) {
  if (!trace.targets || trace.targets[index] === null) return null;
  return trace.targets[index] === label;
}

// --- texts

function layerName(index) {
  const { layer, direction } = trace.layers[index];
  return translate("layer", { layer }) + (trace.bidirectional ? ", " + translate(direction) : "");
}

function shorten(text) {
  return text.length > 60 ? text.slice(0, 60) + "…" : text;
}

function updateTexts() {
  translateElements();
  const symbols = shorten(trace.symbols.map(visible).join(trace.separator));
  const predicted = shorten(frame.predicted.map(visible).join(trace.separator));
  byId("title").replaceChildren(createElement("bdi", {}, symbols), " → ", createElement("bdi", {}, predicted));
  document.title = "ohlol: " + symbols;
  byId("summary").textContent = summaryText();
  byId("slider").setAttribute("aria-label", translate("step", { t: "" }).trim());
  byId("epochs").setAttribute("aria-label", translate("epoch"));
  byId("text").setAttribute("aria-label", translate("text"));
  byId("influence-length").textContent = influenceText();
  labelPlayers();
  drawModes();
  drawLayerButtons();
  drawHistory();
  drawStep();
}

function summaryText() {
  const end = locale.lang === "zh" ? "。" : ". ";
  let text = trace.summary[locale.lang] + end;
  if (frame.loss !== null) {
    const count = frame.losses.filter((loss) => loss !== null).length;
    text += translate("loss_" + trace.reduction, { value: frame.loss.toFixed(4), count }) + end;
  }
  return text + translate(trace.difference_text, { value: frame.difference.toExponential(0) });
}

function influenceText() {
  const saliency = frame.saliency;
  if (!saliency) return "";
  if (saliency.influence_length === null) return translate("no_influence_length", { steps: saliency.count });
  const bptt = translate("bptt", { steps: saliency.recommended_bptt });
  return translate("influence_length", { steps: saliency.influence_length }) + " " + bptt;
}

// --- what the text is coloured by

function drawModes() {
  const available = { weight: arrays["pooling/weights"], saliency: frame.saliency, neuron: true, loss: frame.losses };
  const buttons = Object.keys(available)
    .filter((mode) => available[mode])
    .map((mode) =>
      createButton(translate("color_" + mode), selection.mode === mode, () => selectMode(mode), { "data-mode": mode }),
    );
  byId("modes").replaceChildren(...buttons);
  if (selection.mode === "saliency") byId("modes").append(measureSelect());
  if (selection.mode === "neuron") byId("modes").append(...neuronInputs());
}

function selectMode(mode) {
  selection.mode = mode;
  selection.hoveredNeuron = null;
  drawModes();
  colorText();
}

function measureSelect() {
  const options = ["gradient", "ablation"].map((measure) => [measure, translate("measure_" + measure)]);
  return createSelect("measure", options, selection.measure, (measure) => {
    selection.measure = measure;
    colorText();
  });
}

function neuronInputs() {
  const last = trace.hidden_size - 1;
  const attributes = { id: "neuron", type: "number", min: 0, max: last, value: selection.neuron.index };
  const input = createElement("input", { ...attributes, "aria-label": translate("neuron") });
  input.oninput = () => {
    if (input.value === "") return;
    selection.neuron.index = clamp(Math.round(+input.value), 0, last);
    colorText();
  };
  if (trace.layers.length < 2) return [input];
  const options = trace.layers.map((_, index) => [index, layerName(index)]);
  const select = createSelect("neuron-layer", options, selection.neuron.layer, (layer) => {
    selection.neuron.layer = +layer;
    colorText();
  });
  return [select, input];
}

// --- the text

function buildTiles() {
  const isLarge = trace.symbols.length <= LARGE_TEXT;
  const box = byId("text");
  box.classList.toggle("large", isLarge);
  box.dir = trace.right_to_left ? "rtl" : "ltr";
  tiles = trace.symbols.map((_, step) => createTile(step, isLarge));
  box.replaceChildren();
  tiles.forEach((tile, step) => {
    box.append(tile);
    if (trace.symbols[step] === "\n") box.append(createElement("div", { class: "line-break" }));
  });
  paintLabels();
}

// one symbol with the most probable labels below it
function createTile(step, isLarge) {
  const symbol = createElement("div", { class: "symbol" }, visible(trace.symbols[step]));
  const tile = createElement("div", { class: "tile", "data-step": step }, symbol);
  const index = predictionAt(step);
  if (index !== null) {
    tile.append(...createMark(index));
    for (const [label, , probability] of frame.top[index].slice(0, LABELS_IN_TILE)) {
      tile.append(createTileLabel(label, probability, isLarge));
    }
  }
  tile.onclick = () => selectStep(step);
  tile.onpointerenter = () => hoverStep(step);
  tile.onpointerleave = () => hoverStep(null);
  return tile;
}

function createMark(index) {
  const correct = isCorrect(index, frame.predicted[index]);
  if (correct === null) return [];
  const text = correct ? "✓" : "✗ " + visible(trace.targets[index]);
  return [createElement("div", { class: "mark " + (correct ? "good" : "bad") }, text)];
}

function createTileLabel(label, probability, isLarge) {
  const percent = formatPercent(probability);
  const attributes = { class: "tile-label", "data-probability": probability, title: `${visible(label)}  ${percent}` };
  const element = createElement("div", attributes, createSymbol(label));
  if (isLarge) element.append(createElement("span", { dir: "ltr" }, percent));
  return element;
}

function paintLabels() {
  for (const element of byId("text").getElementsByClassName("tile-label")) {
    paint(element, sequentialColor(+element.dataset.probability));
  }
}

function hoverStep(step) {
  selection.hoveredStep = step;
  colorText();
}

// colour the symbols by the selected mode, or by the neuron under the pointer, and draw the legend
function colorText() {
  const neuron = selection.hoveredNeuron ?? (selection.mode === "neuron" ? selection.neuron : null);
  let coloring;
  if (neuron) coloring = neuronColoring(neuron);
  else if (selection.mode === "weight") coloring = weightColoring();
  else if (selection.mode === "saliency" && frame.saliency) coloring = saliencyColoring();
  else coloring = lossColoring();
  tiles.forEach((tile, step) => {
    paint(tile.firstChild, coloring.color(step));
    tile.classList.toggle("selected", step === selection.step);
  });
  const bar = createElement("i");
  bar.style.background = `linear-gradient(90deg, ${coloring.scale.map(toCss).join(", ")})`;
  byId("legend").replaceChildren(coloring.low, bar, coloring.high, createElement("bdi", {}, coloring.name));
}

function divergingScale() {
  return [divergingColor(-1), palette.base, divergingColor(1)];
}

function sequentialScale() {
  return [0, 0.5, 1].map(sequentialColor);
}

function neuronColoring({ layer, index }) {
  const states = layerArray(layer, "after/h");
  return {
    color: (step) => divergingColor(states.at(step, index)),
    scale: divergingScale(),
    low: "−1",
    high: "1",
    name: `${layerName(layer)}, ${translate("neuron")} ${index}`,
  };
}

// the share of each step in what the head reads, of a model that pools over the steps
function weightColoring() {
  const weights = arrays["pooling/weights"].row(0);
  const top = largest(weights, 0);
  return {
    color: (step) => sequentialColor(weights[step] / top),
    scale: sequentialScale(),
    low: "0",
    high: formatPercent(top),
    name: translate("weight"),
  };
}

// the influence of each symbol on the prediction of the step under the pointer, or of the selected step
function saliencyColoring() {
  const step = selection.hoveredStep ?? selection.step;
  const influence = arrays["saliency/" + selection.measure];
  const first = trace.symbols.length - influence.columns;
  const index = trace.per_sequence ? 0 : step - first;
  const isCovered = index >= 0 && index < influence.rows;
  const top = isCovered ? largest(influence.row(index), 0) : 0;
  return {
    color: (t) => (!top || t < first ? palette.base : sequentialColor(Math.sqrt(influence.at(index, t - first) / top))),
    scale: sequentialScale(),
    low: translate("low"),
    high: translate("high"),
    name: translate("influence") + " " + (trace.per_sequence ? "" : visible(frame.predicted[step])),
  };
}

function lossColoring() {
  const losses = frame.losses ?? [];
  const top = frame.losses ? Math.max(...losses.filter((loss) => loss !== null)) : 1;
  const lossAt = (step) => losses[predictionAt(step) ?? -1] ?? null;
  return {
    color: (step) => (lossAt(step) === null ? palette.base : sequentialColor(lossAt(step) / top)),
    scale: sequentialScale(),
    low: "0",
    high: formatNumber(top, 4),
    name: translate("loss"),
  };
}

// --- the training history: the predictions after each epoch

function drawHistory() {
  if (trace.frames.length < 2) return;
  const top = Math.max(...trace.frames.map((one) => one.loss ?? 0));
  const loss = frame.loss === null ? "" : ` · ${translate("loss")} ${frame.loss.toFixed(4)}`;
  byId("epoch-label").textContent = `${translate("epoch")} ${frame.epoch} / ${trace.frames.at(-1).epoch}${loss}`;
  byId("epochs").value = selection.frame;
  byId("history").replaceChildren(...trace.frames.map((one, index) => historyRow(one, index, top)));
}

function historyRow(one, index, top) {
  const isSelected = index === selection.frame;
  const label = { "aria-label": `${translate("epoch")} ${one.epoch}` };
  const button = createButton(String(one.epoch), isSelected, () => selectFrame(index), label);
  const predicted = createElement("td", { class: "predicted" }, ...historyLabels(one));
  const attributes = { "data-epoch": one.epoch, class: isSelected ? "selected" : null };
  const row = createElement("tr", attributes, createElement("td", {}, button), predicted);
  if (one.loss !== null) {
    row.append(createElement("td", { class: "loss-bar" }, createBar(one.loss / top)));
    row.append(createElement("td", { title: String(one.loss) }, one.loss.toFixed(4)));
  }
  row.onclick = (event) => {
    if (!event.target.matches("button")) selectFrame(index);
  };
  return row;
}

function historyLabels(one) {
  const labels = one.predicted.slice(0, MAX_HISTORY).flatMap((label, index) => {
    const correct = isCorrect(index, label);
    return [createSymbol(label, { class: correct === null ? "" : correct ? "good" : "bad" }), trace.separator];
  });
  return one.predicted.length > MAX_HISTORY ? [...labels, "…"] : labels;
}

// --- the network, unrolled through time: as many columns as fit

// the sizes of the drawing for a width in pixels
function networkLayout(width) {
  const size = trace.hidden_size;
  const isNarrow = width < 560;
  const hasNumbers = size <= 16;
  let columns, cellWidth, cellHeight;
  if (hasNumbers) {
    columns = size <= 4 ? (isNarrow ? Math.min(size, 2) : size) : isNarrow ? 3 : 4;
    cellWidth = 39;
    cellHeight = size <= 4 ? 27 : 23;
  } else {
    columns = Math.ceil(Math.sqrt(size));
    cellWidth = cellHeight = clamp(Math.floor((isNarrow ? 90 : 156) / columns), isNarrow ? 3 : 6, 16);
  }
  const boxWidth = columns * cellWidth;
  const boxHeight = Math.ceil(size / columns) * cellHeight;
  const gap = isNarrow ? 30 : 42;
  const left = isNarrow ? 58 : 68;
  const stepWidth = Math.max(boxWidth, 60) + gap;
  const layerHeight = boxHeight + 34;
  const top = 66;
  const bottom = top + trace.layers.length * layerHeight;
  const steps = trace.symbols.length;
  const count = clamp(Math.floor((width - left + gap - 13) / stepWidth), 1, steps);
  const first = clamp(selection.step - Math.floor(count / 2), 0, steps - count);
  const height = bottom + 58;
  return {
    width,
    hasNumbers,
    columns,
    cellWidth,
    cellHeight,
    boxWidth,
    boxHeight,
    left,
    stepWidth,
    layerHeight,
    top,
    bottom,
    count,
    first,
    height,
  };
}

function drawNetwork() {
  const layout = networkLayout(byId("network").clientWidth || 900);
  const { width, left, stepWidth, count, first, height } = layout;
  const svg = createElement("svg", {
    width: Math.min(left + count * stepWidth, Math.max(width, left + stepWidth)),
    height,
    "data-first": first,
    role: "img",
    "aria-label": translate("network"),
  });
  svg.append(arrowHead());
  for (let layer = 0; layer < trace.layers.length; layer++) svg.append(...layerLabel(layer, layout));
  for (let i = 0; i < count; i++) {
    if (first + i === selection.step)
      svg.prepend(columnFrame(i, layout, { fill: "var(--base)", stroke: "var(--accent)", "stroke-width": 2, rx: 10 }));
    svg.append(networkColumn(i, layout));
  }
  byId("network").replaceChildren(svg);
}

function arrowHead() {
  const shape = createElement("path", { d: "M0 0 8 4 0 8z", fill: "var(--soft)" });
  const size = { viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" };
  return createElement("defs", {}, createElement("marker", { id: "arrow", ...size }, shape));
}

function layerTop(layer, { top, layerHeight }) {
  return top + (trace.layers.length - 1 - layer) * layerHeight;
}

function layerLabel(layer, layout) {
  const y = layerTop(layer, layout) + layout.boxHeight / 2;
  const attributes = { x: 0, class: "soft" };
  const { layer: number, direction } = trace.layers[layer];
  const name = createElement(
    "text",
    { ...attributes, y: trace.bidirectional ? y - 2 : y + 4 },
    translate("layer", { layer: number }),
  );
  return trace.bidirectional
    ? [name, createElement("text", { ...attributes, y: y + 13 }, translate(direction))]
    : [name];
}

function centeredText(x, y, text, attributes = {}) {
  return createElement("text", { x, y, "text-anchor": "middle", ...attributes }, text);
}

// the rectangle around a column
function columnFrame(i, { left, stepWidth, boxWidth, height }, attributes) {
  const width = Math.max(boxWidth, 60) + 20;
  return createElement("rect", { x: left + i * stepWidth - 10, y: 2, width, height: height - 4, ...attributes });
}

// one time step: its prediction above the layers and its symbol below
function networkColumn(i, layout) {
  const { left, stepWidth, boxWidth, bottom, first } = layout;
  const step = first + i;
  const x = left + i * stepWidth + Math.max(boxWidth, 60) / 2;
  const column = createElement("g", { "data-column": step, style: "cursor:pointer" });
  column.append(columnFrame(i, layout, { fill: "transparent" }));
  const index = predictionAt(step);
  if (index !== null) column.append(...networkPrediction(index, x, layout.top));
  for (let layer = trace.layers.length - 1; layer >= 0; layer--) column.append(...networkBox(layer, i, x, layout));
  column.append(centeredText(x, bottom + 20, visible(trace.symbols[step]), { "font-size": 19, "font-weight": 700 }));
  column.append(centeredText(x, bottom + 40, "t = " + step, { class: "soft" }));
  return column;
}

function networkPrediction(index, x, top) {
  const [label, , probability] = frame.top[index][0];
  const isWrong = isCorrect(index, label) === false;
  const style = isWrong ? "fill:var(--bad)" : null;
  return [
    centeredText(x, 24, visible(label) + (isWrong ? " ✗" : ""), { "font-size": 18, "font-weight": 700, style }),
    centeredText(x, 40, formatPercent(probability), { class: "soft" }),
    createElement("path", { class: "wire", d: `M${x} ${top - 2}V46` }),
  ];
}

// the neurons of a layer at one time step, and the arrows to them
function networkBox(layer, i, x, layout) {
  const { boxWidth, boxHeight, stepWidth, count, first } = layout;
  const y = layerTop(layer, layout);
  const elements = [createElement("path", { class: "wire", d: `M${x} ${y + boxHeight + 32}V${y + boxHeight + 4}` })];
  for (let index = 0; index < trace.hidden_size; index++) {
    elements.push(...networkNeuron(layer, first + i, index, x - boxWidth / 2, y, layout));
  }
  if (i < count - 1) {
    const start = x + boxWidth / 2 + 3;
    const end = start + stepWidth - boxWidth - 6;
    const [from, to] = trace.layers[layer].direction === "backward" ? [end, start] : [start, end];
    elements.push(createElement("path", { class: "wire", d: `M${from} ${y + boxHeight / 2}H${to}` }));
  }
  return elements;
}

function networkNeuron(layer, step, index, boxX, boxY, { columns, cellWidth, cellHeight, hasNumbers }) {
  const value = layerArray(layer, "after/h").at(step, index);
  const color = divergingColor(value);
  const x = boxX + (index % columns) * cellWidth;
  const y = boxY + Math.floor(index / columns) * cellHeight;
  const title = createElement("title", {}, `${translate("neuron")} ${index}: ${formatNumber(value, 4)}`);
  const attributes = {
    class: "cell" + (isHovered(layer, index) ? " hovered" : ""),
    x: x + 0.5,
    y: y + 0.5,
    width: cellWidth - 1,
    height: cellHeight - 1,
    rx: hasNumbers ? 4 : 1,
    fill: toCss(color),
    "data-layer": layer,
    "data-neuron": index,
    "data-value": value,
  };
  const cell = createElement("rect", attributes, title);
  if (!hasNumbers) return [cell];
  const style = `fill:${textColor(color)};pointer-events:none`;
  return [cell, centeredText(x + cellWidth / 2, y + cellHeight / 2 + 4, formatNumber(value, 2), { style })];
}

function isHovered(layer, index) {
  const neuron = selection.hoveredNeuron;
  return neuron !== null && neuron.layer === layer && neuron.index === index;
}

// the neuron that an element of the network shows, or null
function neuronOf(element) {
  const { layer, neuron } = element.dataset ?? {};
  return neuron === undefined ? null : { layer: +layer, index: +neuron };
}

function hoverNeuron(neuron) {
  if (!neuron && !selection.hoveredNeuron) return;
  selection.hoveredNeuron = neuron;
  colorText();
}

// select the neuron and the time step that were clicked
function clickNetwork(event) {
  const neuron = neuronOf(event.target);
  const column = event.target.closest("[data-column]");
  if (neuron) {
    selection.neuron = neuron;
    selection.layer = neuron.layer;
    drawModes();
    drawLayerButtons();
    drawMaps();
  }
  if (column) selectStep(+column.dataset.column);
}

// --- gates and states over time

function drawLayerButtons() {
  if (trace.layers.length < 2) {
    byId("layers").replaceChildren();
    return;
  }
  const buttons = trace.layers.map((_, index) =>
    createButton(layerName(index), index === selection.layer, () => selectLayer(index)),
  );
  byId("layers").replaceChildren(...buttons);
}

function selectLayer(index) {
  selection.layer = index;
  drawLayerButtons();
  drawMaps();
  drawComputation();
}

function drawMaps() {
  const layer = trace.layers[selection.layer];
  const maps = [];
  if (layer.gates.length > 1) {
    layer.gates.forEach((name, k) => {
      const values = layerArray(selection.layer, "value/" + name);
      maps.push({ name, meaning: nameSymbol("gate", name), values, isPositive: layer.activations[k] === "sigmoid" });
    });
  }
  for (const line of linesOverTime()) {
    for (const name of line.variables) {
      maps.push({
        name,
        meaning: translate("source_line", { line: line.line }),
        values: lineArray(line, name),
        isPositive: false,
      });
    }
  }
  for (const name of layer.states) {
    const values = layerArray(selection.layer, "after/" + name);
    maps.push({ name: name + "'", meaning: nameSymbol("state", name), values, isPositive: false });
  }
  byId("maps").replaceChildren(...maps.filter((map) => map.values).map(createMap));
  markStep();
}

// a heat map with its legend
function createMap({ name, meaning, values, isPositive }) {
  const top = isPositive ? 1 : largestValue(values);
  const canvas = createElement("canvas", {
    width: values.rows,
    height: values.columns,
    "data-gate": name,
    role: "img",
    "aria-label": meaning,
  });
  canvas.style.height = clamp(values.columns * 15, 56, 132) + "px";
  drawPixels(canvas, values, isPositive, top);
  const box = createElement("div", { class: "map-box" }, canvas);
  box.onclick = (event) => selectStep(pointedCell(event, canvas, values).step);
  box.onpointermove = (event) => {
    const { step, neuron } = pointedCell(event, canvas, values);
    box.title = `t = ${step}, ${translate("neuron")} ${neuron}: ${formatNumber(values.at(step, neuron), 4)}`;
  };
  return createElement("div", { class: "map" }, mapTitle(name, meaning, isPositive, top), box);
}

function mapTitle(name, meaning, isPositive, top) {
  const bar = createElement("i");
  const scale = isPositive ? [sequentialColor(0), sequentialColor(1)] : divergingScale();
  bar.style.background = `linear-gradient(90deg,${scale.map(toCss).join(",")})`;
  const low = isPositive ? "0" : formatShort(-top);
  return createElement(
    "div",
    { class: "map-title" },
    createElement("b", { class: "mono" }, name),
    createElement("span", { class: "note" }, meaning),
    createElement("span", { class: "note" }, low, bar, isPositive ? "1" : formatShort(top)),
  );
}

function largestValue(values) {
  let top = 1;
  for (let row = 0; row < values.rows; row++) top = largest(values.row(row), top);
  return top;
}

// the colours of a scale as 32-bit pixels
function pixelScale(isPositive) {
  return Uint32Array.from({ length: SHADES }, (_, k) => {
    const share = k / (SHADES - 1);
    const [red, green, blue] = isPositive ? sequentialColor(share) : divergingColor(2 * share - 1);
    return 0xff000000 | (blue << 16) | (green << 8) | red;
  });
}

// one pixel per value, a row per neuron and a column per time step
function drawPixels(canvas, values, isPositive, top) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(values.rows, values.columns);
  const pixels = new Uint32Array(image.data.buffer);
  const scale = pixelScale(isPositive);
  for (let step = 0; step < values.rows; step++) {
    const row = values.row(step);
    for (let neuron = 0; neuron < values.columns; neuron++) {
      const share = isPositive ? row[neuron] : (row[neuron] / top + 1) / 2;
      pixels[neuron * values.rows + step] = scale[Math.round(clamp(share, 0, 1) * (SHADES - 1))];
    }
  }
  context.putImageData(image, 0, 0);
}

// the time step and the neuron under the pointer
function pointedCell(event, canvas, values) {
  const box = canvas.getBoundingClientRect();
  const step = Math.floor(((event.clientX - box.left) / box.width) * values.rows);
  const neuron = Math.floor(((event.clientY - box.top) / box.height) * values.columns);
  return { step: clamp(step, 0, values.rows - 1), neuron: clamp(neuron, 0, values.columns - 1) };
}

// mark the selected step in the heat maps
function markStep() {
  const steps = trace.symbols.length;
  byId("maps").style.setProperty("--step", selection.step / steps);
  byId("maps").style.setProperty("--step-width", 1 / steps);
}

// --- the computation of the selected step

function numberCell(value, { top = 2, term = null } = {}) {
  const cell = createElement("td", { title: String(value), "data-term": term }, formatNumber(value, 4));
  paint(cell, divergingColor(value, top));
  return cell;
}

function operatorCell(text) {
  return createElement("td", { class: "operator" }, text);
}

function table(id, heads, rows) {
  const head = createElement("tr", {}, ...heads.map((text) => createElement("th", {}, text)));
  const body = createElement("tbody", {}, ...rows);
  return createElement(
    "div",
    { class: "scroll" },
    createElement("table", { id }, createElement("thead", {}, head), body),
  );
}

function equation(text) {
  return createElement("div", { class: "equation" }, text);
}

function neuronNumbers() {
  return Array.from({ length: trace.hidden_size }, (_, index) => index);
}

// a row of a table, named by the number of its neuron
function neuronRow(index, ...cells) {
  const attributes = { class: isHovered(selection.layer, index) ? "hovered" : null, "data-neuron": index };
  return createElement("tr", attributes, createElement("td", { class: "name" }, String(index)), ...cells);
}

function drawComputation() {
  const layer = trace.layers[selection.layer];
  const name = trace.layers.length > 1 ? " · " + layerName(selection.layer) : "";
  byId("computation-title").textContent = translate("arithmetic", { step: selection.step }) + name;
  byId("computation").replaceChildren(
    ...(layer.equation.length ? [equation(layer.equation.join("\n"))] : []),
    ...(layer.gates.length ? gateComputation(layer) : lineComputation(layer)),
    ...gradientTable(layer),
  );
}

function gateComputation(layer) {
  const gate = Math.min(selection.gate, layer.gates.length - 1);
  return [...gateButtons(layer, gate), ...gateProducts(layer, gate), gateTable(layer, gate), ...stateTable(layer)];
}

// --- the source lines of a cell that is a module

// the lines that ran at the selected step, each with the numbers of its group of steps and its place in it
function linesAt(step) {
  const { group, groups } = frame.lines[selection.layer];
  return groups.length ? groups[group[step]].map((line, k) => ({ ...line, key: `lines/${group[step]}/${k}/` })) : [];
}

// the lines of all steps; none where some steps ran others
function linesOverTime() {
  return frame.lines[selection.layer].groups.length === 1 ? linesAt(0) : [];
}

function lineArray(line, name) {
  return layerArray(selection.layer, line.key + name);
}

function lineComputation(layer) {
  const lines = linesAt(selection.step).filter((line) => line.names.length);
  if (!lines.length) return [createElement("p", {}, translate("no_lines"))];
  const isComplete = lines.every((line) => line.names.every((name) => lineArray(line, name)));
  const leftOut = createElement("p", {}, translate("terms_left_out", { step: selection.step }));
  return [
    createElement("div", { class: "equation plain" }, translate("lines_title")),
    ...(isComplete ? [] : [leftOut]),
    createElement("div", { id: "lines" }, ...lines.map(lineBlock)),
    ...stateRows(layer),
  ];
}

// a line of source, and below it a row for each tensor that it assigns or returns
function lineBlock(line, index, lines) {
  const number = createElement("span", { class: "line-number", title: `${line.file}:${line.line}` }, String(line.line));
  const text = createElement("code", {}, line.text ?? translate("no_source"));
  text.style.marginLeft = 2 * line.depth + "ch";
  const isOtherFile = index === 0 || lines[index - 1].file !== line.file;
  const file = createElement("span", { class: "note" }, isOtherFile ? line.file : "");
  const row = frame.lines[selection.layer].row[selection.step];
  const rows = line.names
    .filter((name) => lineArray(line, name))
    .map((name) => valueRow(name, lineArray(line, name).row(row)));
  return createElement(
    "div",
    { class: "source-line", "data-line": line.line },
    createElement("div", { class: "source" }, number, text, file),
    createElement("div", { class: "scroll" }, createElement("table", {}, ...rows)),
  );
}

// the name of a tensor and its numbers
function valueRow(name, values, top = Math.max(1, largest(values, 0))) {
  const cells = Array.from(values, (value) => numberCell(value, { top }));
  const title = createElement("td", { class: "name" }, name);
  return createElement("tr", { "data-name": name }, title, ...cells);
}

// the states after the selected step
function stateRows(layer) {
  const rows = layer.states.map((name) =>
    valueRow(name + "'", layerArray(selection.layer, "after/" + name).row(selection.step)),
  );
  return [createElement("div", { class: "source-line scroll" }, createElement("table", { id: "states" }, ...rows))];
}

function gateButtons(layer, selected) {
  if (layer.gates.length < 2) return [];
  const buttons = layer.gates.map((name, k) =>
    createButton(`${name}  ${nameSymbol("gate", name)}`, k === selected, () => selectGate(k), { "data-gate": name }),
  );
  return [createElement("div", { class: "row" }, ...buttons)];
}

function selectGate(k) {
  selection.gate = k;
  drawComputation();
}

// the names of the weights and biases of a gate
function parameterNames(layer, gate) {
  const suffix = layer.gates.length > 1 ? layer.gates[gate] : "h";
  return { W_i: "W_i" + suffix, W_h: "W_h" + suffix, b_i: "b_i" + suffix, b_h: "b_h" + suffix };
}

// both products of a gate, matrix times vector, where they are small enough
function gateProducts(layer, gate) {
  const name = layer.gates[gate];
  const array = (key) => layerArray(selection.layer, key);
  const [x, h] = [array("x"), array("before/h")];
  const products = [array("terms_x/" + name), array("terms_h/" + name)];
  if (!array("W_ih") || !products[0] || Math.max(trace.hidden_size, x.columns) > MAX_MATRIX) return [];
  const { W_i, W_h } = parameterNames(layer, gate);
  const row = (matrix) => matrix.row(selection.step);
  return [
    createElement(
      "div",
      { class: "products" },
      product(W_i + " x", array("W_ih"), gate, row(x), row(products[0])),
      product(W_h + " h", array("W_hh"), gate, row(h), row(products[1])),
    ),
  ];
}

function product(name, weights, gate, vector, result) {
  const rows = neuronNumbers().map((index) => weights.row(gate * trace.hidden_size + index));
  const top = rows.reduce((least, row) => largest(row, least), 0.5);
  const column = (values) => Array.from(values, (value) => [value]);
  const matrices = [matrix(rows, top), "·", matrix(column(vector), 1), "=", matrix(column(result), 2)];
  const title = createElement("p", { class: "mono" }, name);
  return createElement("div", {}, title, createElement("div", { class: "matrix" }, ...matrices));
}

function matrix(rows, top) {
  const cells = (row) => Array.from(row, (value) => numberCell(value, { top }));
  return createElement("table", {}, ...rows.map((row) => createElement("tr", {}, ...cells(row))));
}

// one row per neuron: the terms of a gate, their sum and the value of the gate
function gateTable(layer, gate) {
  const name = layer.gates[gate];
  const array = (key) => layerArray(selection.layer, key + "/" + name);
  const [terms_x, terms_h, sum] = [array("terms_x"), array("terms_h"), array("sum")];
  if (!terms_x || !sum) return createElement("p", {}, translate("terms_left_out", { step: selection.step }));
  const reset = layer.reset_by[gate];
  const resetValues = reset === null ? null : layerArray(selection.layer, "value/" + reset);
  const t = selection.step;
  const rows = neuronNumbers().map((index) =>
    neuronRow(
      index,
      numberCell(terms_x.at(t, index), { term: "x" }),
      numberCell(array("b_ih").at(0, index), { term: "b_ih" }),
      ...(resetValues ? [numberCell(resetValues.at(t, index)), operatorCell("·")] : []),
      numberCell(terms_h.at(t, index), { term: "h" }),
      numberCell(array("b_hh").at(0, index), { term: "b_hh" }),
      numberCell(sum.at(t, index), { term: "sum" }),
      numberCell(array("value").at(t, index), { top: 1, term: "value" }),
    ),
  );
  return table("terms", gateHeads(layer, gate, reset), rows);
}

function gateHeads(layer, gate, reset) {
  const { W_i, W_h, b_i, b_h } = parameterNames(layer, gate);
  const hidden = reset === null ? [`+ ${W_h} h`, "+ " + b_h] : ["+ " + reset, "· (", `${W_h} h`, `+ ${b_h} )`];
  const value = `${layer.activations[gate]} = ${layer.gates.length > 1 ? layer.gates[gate] : "h'"}`;
  return [translate("neuron"), W_i + " x", "+ " + b_i, ...hidden, "= " + translate("sum"), value];
}

// the equations that give the new states, and the quantities in them, one row per neuron
function stateTable(layer) {
  if (layer.gates.length < 2) return [];
  const equations = layer.equation.filter((line) => line.includes("' ="));
  const columns = equations.flatMap(quantities);
  const values = columns.map((name) => quantityAt(layer, name));
  if (values.includes(null)) return [];
  const rows = neuronNumbers().map((index) =>
    neuronRow(index, ...columns.map((term, k) => numberCell(values[k](index), { top: 1, term }))),
  );
  return [equation(equations.join("\n")), table("state", [translate("neuron"), ...columns], rows)];
}

// the quantities of an equation in the order in which they stand, then its left-hand side:
// "h' = o * tanh(c')" has o, tanh(c') and h'
function quantities(line) {
  const [left, right] = line.split("=");
  return [...new Set(right.match(/[a-z]+\([a-z]+'?\)|[a-z]+'?/g)), left.trim()];
}

// a function from the number of a neuron to a quantity at the selected step; null where its array was left out
function quantityAt(layer, name) {
  const tanh = name.match(/^tanh\((.*)\)$/);
  if (tanh) {
    const inner = quantityAt(layer, tanh[1]);
    return inner && ((index) => Math.tanh(inner(index)));
  }
  let key = "before/" + name;
  if (name.endsWith("'")) key = "after/" + name.slice(0, -1);
  else if (layer.gates.includes(name)) key = "value/" + name;
  const array = layerArray(selection.layer, key);
  const step = selection.step;
  return array ? (index) => array.at(step, index) : null;
}

function gradientTable(layer) {
  if (!layerArray(selection.layer, "gradient/h")) return [];
  const rows = layer.states.map((name) => {
    const values = layerArray(selection.layer, "gradient/" + name).row(selection.step);
    return valueRow(`dL/d${name}'`, values, largest(values, 1e-9));
  });
  const title = createElement("div", { class: "equation plain" }, translate("gradient"));
  return [title, createElement("div", { class: "scroll" }, createElement("table", { id: "gradient" }, ...rows))];
}

// --- the prediction at the selected step

function drawPrediction() {
  const index = predictionAt(selection.step) ?? 0;
  const step = trace.per_sequence ? trace.symbols.length - 1 : selection.step;
  byId("prediction-title").textContent = translate("prediction_at", { step });
  const formula = trace.logits_formula + ",  p = softmax(logits)";
  const rows = frame.top[index].flatMap(([label, logit, probability]) => topLabelRow(index, label, logit, probability));
  byId("prediction").replaceChildren(
    createElement("p", { class: "mono" }, formula),
    createElement("div", { class: "top-labels", id: "top-labels" }, ...rows),
    ...lossText(index),
  );
}

function topLabelRow(index, label, logit, probability) {
  const target = isCorrect(index, label) ? "  ✓ " + translate("target") : "";
  return [
    createSymbol(label, { class: "label", "data-label-name": label }),
    createElement("span", { class: "mono", title: String(logit) }, formatNumber(logit, 4)),
    createBar(probability),
    createElement("span", { class: "mono", title: String(probability) }, formatPercent(probability) + target),
  ];
}

function lossText(index) {
  const loss = frame.losses?.[index] ?? null;
  if (loss === null) return [];
  const text = `${translate("loss")} = −log(${Math.exp(-loss).toFixed(4)}) = ${loss.toFixed(4)}`;
  return [createElement("p", { class: "mono", id: "loss", title: String(loss) }, text)];
}

// --- playing: one player moves through the steps, one through the epochs

// a player calls `next` at an interval until `isAtEnd`; started at the end it calls `restart` first
class Player {
  constructor(button, key, interval, { isAtEnd, restart, next }) {
    Object.assign(this, { button, key, interval, isAtEnd, restart, next, timer: 0 });
    byId(button).onclick = () => this.toggle();
  }
  toggle() {
    if (this.timer) this.stop();
    else this.start();
    this.label();
  }
  start() {
    if (this.isAtEnd()) this.restart();
    this.timer = setInterval(() => (this.isAtEnd() ? this.toggle() : this.next()), this.interval);
  }
  stop() {
    clearInterval(this.timer);
    this.timer = 0;
  }
  label() {
    byId(this.button).textContent = translate(this.timer ? "pause" : this.key);
  }
}

const stepPlayer = new Player("play", "play", 900, {
  isAtEnd: () => selection.step === trace.symbols.length - 1,
  restart: () => selectStep(0),
  next: () => selectStep(selection.step + 1),
});
const epochPlayer = new Player("play-epochs", "play_epochs", 600, {
  isAtEnd: () => selection.frame === trace.frames.length - 1,
  restart: () => selectFrame(0),
  next: () => selectFrame(selection.frame + 1),
});

function stopPlayers() {
  stepPlayer.stop();
  epochPlayer.stop();
}

function labelPlayers() {
  stepPlayer.label();
  epochPlayer.label();
}

// --- events

// redraw everything that has a colour
function redrawTrace() {
  paintLabels();
  drawMaps();
  drawStep();
}

function pressKey(event) {
  if (!trace || !byId("network").offsetParent) return; // the trace is not on the page
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const steps = {
    ArrowLeft: selection.step - 1,
    ArrowRight: selection.step + 1,
    Home: 0,
    End: trace.symbols.length - 1,
  };
  const epochs = { ArrowLeft: selection.frame - 1, ArrowRight: selection.frame + 1 };
  let action = null;
  if (event.shiftKey && event.key.startsWith("Arrow")) {
    if (event.key in epochs) action = () => selectFrame(epochs[event.key]);
  } else if (event.key in steps) {
    action = () => selectStep(steps[event.key]);
  } else if (event.key === " " && !event.target.matches("button")) {
    action = () => stepPlayer.toggle();
  }
  if (!action) return;
  event.preventDefault();
  action();
}

let pendingResize = 0;

function redrawAfterResize() {
  cancelAnimationFrame(pendingResize);
  pendingResize = requestAnimationFrame(() => trace && drawNetwork());
}

byId("slider").oninput = (event) => selectStep(+event.target.value);
byId("epochs").oninput = (event) => selectFrame(+event.target.value);
byId("previous").onclick = () => selectStep(selection.step - 1);
byId("next").onclick = () => selectStep(selection.step + 1);
byId("earlier").onclick = () => selectFrame(selection.frame - 1);
byId("later").onclick = () => selectFrame(selection.frame + 1);
byId("lang").onchange = (event) => {
  locale.lang = event.target.value;
  updateTexts();
  drawMaps();
};
byId("theme").onclick = () => {
  switchTheme();
  redrawTrace();
};
byId("network").addEventListener("pointerover", (event) => hoverNeuron(neuronOf(event.target)));
byId("network").addEventListener("pointerleave", () => hoverNeuron(null));
byId("network").addEventListener("click", clickNetwork);
addEventListener("keydown", pressKey);
addEventListener("resize", redrawAfterResize);
