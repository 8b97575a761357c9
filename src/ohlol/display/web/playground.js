// The page: one or two networks in training, side by side, with all their numbers; and a trained run (playground_run.js).

const MOST_PAIRS = 8;
const MOST_STEPS = 24; // symbols of an input
const MOST_SYMBOLS = 24; // different ones
const LARGEST_SEED = 2 ** 32 - 1;
const SPEEDS = [0.5, 1, 2, 5, 10, Infinity]; // epochs per second
const WEIGHT_STEP = 0.1;
const LARGEST_WEIGHT = 1000;
const VISIBLE_CHANGE = 0.005; // of a number with two decimals
const CANDIDATES = ["gate_n", "gate_g"]; // between -1 and 1; other gates are shares between 0 and 1
const CURVE = { width: 420, height: 150, left: 38, right: 8, top: 8, bottom: 20 };

const data = JSON.parse(byId("data").textContent);
const panels = [];
let problem = null; // of the input: an InputProblem, or null
let timer = 0; // of the training that runs; 0 while none does

// wrong input, as the key and the values of its text
class InputProblem extends Error {
  constructor(key, values = {}) {
    super(key);
    Object.assign(this, { key, values });
  }
}

// --- reading the input

function parsePairs(text) {
  const lines = text.split("\n").map((line) => line.trim().split(/\s+/).filter(Boolean));
  const pairs = lines.flatMap((words, k) => (words.length ? [checkPair(words, k + 1)] : []));
  if (!pairs.length || pairs.length > MOST_PAIRS) throw new InputProblem("error_count", { most: MOST_PAIRS });
  const count = buildVocabulary(pairs).length;
  if (count > MOST_SYMBOLS) throw new InputProblem("error_symbols", { count, most: MOST_SYMBOLS });
  return pairs;
}

function checkPair(words, line) {
  if (words.length !== 2) throw new InputProblem("error_pair", { line });
  const [inputs, targets] = words.map((word) => splitSymbols(word).length);
  if (inputs > MOST_STEPS) throw new InputProblem("error_long", { line, most: MOST_STEPS });
  if (inputs !== targets) {
    throw new InputProblem("error_length", { line, input: words[0], target: words[1], inputs, targets });
  }
  return words;
}

function readNumber(input, key, isWhole = false) {
  const value = input.value === "" ? NaN : +input.value;
  const [low, high] = [+input.min, +input.max];
  if (!(value >= low && value <= high) || (isWhole && !Number.isInteger(value))) {
    throw new InputProblem("error_number", { name: translate(key), low, high });
  }
  return value;
}

function showProblem() {
  byId("error").textContent = problem ? translate(problem.key, problem.values) : "";
  for (const id of ["train", "one-epoch"]) byId(id).disabled = problem !== null;
}

// run an action on the input, and show what is wrong with it
function checkInput(action) {
  try {
    problem = null;
    action();
  } catch (error) {
    if (!(error instanceof InputProblem)) throw error;
    problem = error;
    stopTraining();
  }
  showProblem();
}

// --- a number on the page that follows the network

// `read` returns the number, `color` the background for it; with `isPercent` it is a share
class LiveNumber {
  constructor(read, color, isPercent = false) {
    Object.assign(this, { read, color, isPercent, before: null, element: createElement("td") });
  }
  update() {
    const value = this.read();
    this.element.textContent = this.isPercent ? formatPercent(value) : formatNumber(value, 2);
    this.element.title = String(value);
    paint(this.element, this.color(value));
    this.element.classList.toggle("changed", this.hasChanged());
  }
  hasChanged() {
    return this.before !== null && Math.abs(this.read() - this.before) >= VISIBLE_CHANGE;
  }
}

// --- a panel: the settings of one network, its training and its numbers

class Panel {
  constructor(letter, settings) {
    Object.assign(this, { letter, settings, inputs: {}, sequence: 0, training: null, head: null, edit: null });
    this.element = createElement("section", { class: "panel", "data-panel": letter });
  }

  // begin again from the initial weights; the fields of the settings stay, since one of them may have the focus
  restart(pairs, lr) {
    this.training = new Training({ ...this.settings, lr }, pairs);
    this.pairs = pairs;
    this.sequence = Math.min(this.sequence, pairs.length - 1);
    this.edit = null;
    if (!this.head) {
      this.build();
      return;
    }
    this.updateHead();
    this.buildNumbers();
  }

  train() {
    this.edit = null;
    this.training.step();
  }

  // make all elements, in the current language
  build() {
    const title = createElement("h2", {}, translate("cell_title", { letter: this.letter }));
    this.equation = createElement("div", { class: "equation" });
    this.command = createElement("p", { class: "command" });
    this.head = createElement("div", { class: "head" }, title, this.createSettings(), this.equation, this.command);
    this.results = createElement("div");
    this.network = createElement("div");
    this.element.replaceChildren(this.head, this.results, this.network);
    this.updateHead();
    this.buildNumbers();
  }

  updateHead() {
    this.equation.textContent = data.equations[this.settings.cell].join("\n");
    this.hiddenField.hidden = !this.settings.hasHead;
    this.updateCommand();
  }

  // make the elements that show the network and its training
  buildNumbers() {
    this.stepNumbers = [];
    this.weightNumbers = [];
    this.selected = { parameter: this.training.parameters[0], index: 0 };
    this.shown = 0; // rows of the history
    this.now = createElement("div", { class: "now" });
    this.curve = createElement("div", { class: "curve-box" });
    this.rows = createElement("tbody");
    const note = createElement("p", { class: "note" }, translate("now_note"));
    const history = createElement("table", { class: "history" }, historyHead(), this.rows);
    this.results.replaceChildren(this.now, note, this.curve, createTitle("history"), scrollBox(history));
    this.network.replaceChildren(...this.createSteps(), ...this.createWeights());
    this.update();
  }

  update() {
    const { training } = this;
    const predicted = createElement(
      "span",
      { class: "predicted" },
      ...predictedTexts(training.predicted, training.pairs),
    );
    this.now.replaceChildren(
      createElement("span", { class: "epoch" }, translate("epoch_now", { epoch: training.epoch })),
      predicted,
      createElement("span", { class: "loss", title: String(training.loss) }, formatLoss(training.loss)),
    );
    for (const number of [...this.stepNumbers, ...this.weightNumbers]) number.update();
    this.updatePredictions();
    this.updateHistory();
    this.updateEditor();
  }

  // --- settings

  createSettings() {
    const { settings } = this;
    const choose = (name, convert) => (value) => {
      settings[name] = convert ? convert(value) : value;
      restartTraining();
    };
    const cells = Object.keys(CELLS).map((name) => [name, name]);
    const reductions = ["mean", "sum"].map((name) => [name, translate("reduction_" + name)]);
    const heads = ["identity", "linear"].map((name) => [name, translate("head_" + name)]);
    const head = settings.hasHead ? "linear" : "identity";
    const row = createElement(
      "div",
      { class: "row" },
      field("cell", createSelect(this.id("cell"), cells, settings.cell, choose("cell"))),
      field("reduction", createSelect(this.id("reduction"), reductions, settings.reduction, choose("reduction"))),
      field(
        "head",
        createSelect(
          this.id("head"),
          heads,
          head,
          choose("hasHead", (value) => value === "linear"),
        ),
      ),
    );
    this.hiddenField = this.createNumber("hidden_size", "hiddenSize", 1, 16);
    row.append(this.hiddenField, this.createNumber("seed", "seed", 0, LARGEST_SEED));
    return row;
  }

  // a field for a whole number of the settings
  createNumber(key, name, min, max) {
    const attributes = { id: this.id(key), type: "number", min, max, value: this.settings[name] };
    const input = createElement("input", attributes);
    input.onchange = restartTraining;
    this.inputs[name] = { input, key };
    return field(key, input);
  }

  // take the numbers of the fields as settings
  readNumbers() {
    for (const [name, { input, key }] of Object.entries(this.inputs)) {
      if (name !== "hiddenSize" || this.settings.hasHead) this.settings[name] = readNumber(input, key, true);
    }
  }

  id(name) {
    return `${name}-${this.letter}`;
  }

  // the command line of the same training
  updateCommand() {
    const { cell, reduction, hasHead, hiddenSize, seed } = this.settings;
    const words = ["ohlol train"];
    for (const pair of this.pairs) words.push("--pair", ...pair.map(quoteWord));
    words.push("--cell", cell);
    const isTorchCell = CELLS[cell].parameters.some(({ name }) => name === "W_ih");
    if (reduction === "sum") words.push(isTorchCell ? "--loop" : "--loss-reduction sum");
    if (hasHead) words.push("--head softmax --hidden-size", hiddenSize);
    words.push("--lr", this.training.settings.lr, "--epochs", byId("epochs").value, "--seed", seed);
    this.command.replaceChildren(translate("command") + " ", createElement("code", {}, words.join(" ")));
  }

  // --- each step: gates, states, logits and probabilities of the selected pair

  createSteps() {
    const { training } = this;
    const { hasHead } = training.settings;
    const [input] = training.pairs[this.sequence];
    const table = createElement("table", { class: "numbers steps" });
    const symbols = input.map((symbol) => createElement("th", { class: "symbol", scope: "col" }, createSymbol(symbol)));
    table.append(createElement("tr", {}, rowHead(translate("input")), ...symbols));
    const { gates, states } = training.sequences[this.sequence][0];
    for (const name of Object.keys(gates)) this.addGate(table, name);
    for (const name of Object.keys(states)) {
      const isLogits = name === "h" && !hasHead;
      const title = `${nameSymbol("state", name)} ${name}'${isLogits ? " = " + translate("logits") : ""}`;
      this.addRows(table, title, states[name].rows, (step, k) => step.states[name].values[k], {
        label: (k) => (isLogits ? `${k} ${training.symbols[k]}` : k),
      });
    }
    const label = (k) => training.symbols[k];
    const count = training.symbols.length;
    if (hasHead) {
      const options = { label, color: (value) => divergingColor(value, 4) };
      this.addRows(table, translate("logits"), count, (step, k) => step.logits.values[k], options);
    }
    const options = { label, color: sequentialColor, isPercent: true };
    this.addRows(table, translate("probability"), count, (step, k) => step.probabilities[k], options);
    this.addPredictions(table, input.length);
    return [createTitle("steps"), ...this.createSequenceSelect(), scrollBox(table)];
  }

  addGate(table, name) {
    const key = this.training.cell.gateTexts?.[name] ?? `gate_${name}`;
    const color = CANDIDATES.includes(key) ? divergingColor : sequentialColor;
    const count = this.training.sequences[this.sequence][0].gates[name].rows;
    const read = (step, k) => step.gates[name].values[k];
    this.addRows(table, `${translate(key)} ${name}`, count, read, { color: (value) => color(value) });
  }

  // a row for each number of a vector, a column for each step
  addRows(table, title, count, read, { label = (k) => k, color = (value) => divergingColor(value), isPercent } = {}) {
    const steps = this.training.sequences[this.sequence].length;
    table.append(createElement("tr", {}, createElement("th", { class: "group", colspan: steps + 1 }, title)));
    for (let k = 0; k < count; k++) {
      const numbers = Array.from({ length: steps }, (_, t) => {
        const current = () => read(this.training.sequences[this.sequence][t], k);
        return new LiveNumber(current, color, isPercent);
      });
      this.stepNumbers.push(...numbers);
      table.append(createElement("tr", {}, rowHead(label(k)), ...numbers.map(({ element }) => element)));
    }
  }

  addPredictions(table, steps) {
    const keys = { predicted: "prediction", target: "target", loss: "loss" };
    this.predictions = Object.entries(keys).map(([name, key]) => {
      const cells = Array.from({ length: steps }, () => createElement("td"));
      table.append(createElement("tr", { "data-row": name }, rowHead(translate(key)), ...cells));
      return cells;
    });
  }

  updatePredictions() {
    const [predicted, target, losses] = this.predictions;
    this.training.sequences[this.sequence].forEach((step, t) => {
      const isCorrect = step.predicted === step.target;
      predicted[t].replaceChildren(createSymbol(step.predicted, { class: isCorrect ? "good" : "bad" }));
      predicted[t].className = "predicted";
      target[t].replaceChildren(createSymbol(step.target));
      losses[t].textContent = step.loss.toFixed(2);
      losses[t].title = String(step.loss);
    });
  }

  createSequenceSelect() {
    if (this.pairs.length < 2) return [];
    const options = this.pairs.map(([input, target], k) => [k, `${input} → ${target}`]);
    const select = createSelect(this.id("sequence"), options, this.sequence, (value) => {
      this.sequence = +value;
      this.edit = null;
      this.buildNumbers();
      drawCurves();
      byId(this.id("sequence")).focus();
    });
    return [createElement("div", { class: "row" }, field("sequence", select))];
  }

  // --- weights, and changing one by hand

  createWeights() {
    const matrices = this.training.parameters.map((parameter) => this.createMatrix(parameter));
    this.comparison = createElement("p", { class: "comparison", role: "status" });
    return [
      createTitle("weights"),
      createElement("p", {}, translate("weights_note")),
      this.createEditor(),
      this.comparison,
      createElement("div", { class: "matrices" }, ...matrices),
    ];
  }

  createMatrix(parameter) {
    const { name, gates, tensor } = parameter;
    const { rows, columns } = tensor;
    const height = rows / gates.length;
    const table = createElement("table", { class: "numbers", role: "grid", "aria-label": name });
    const heads = columnNames(parameter, this.training);
    const title = heads.length
      ? heads.map((head) => createElement("th", { scope: "col" }, head))
      : [createElement("th")];
    table.append(createElement("tr", {}, createElement("th", { class: "group" }, name), ...title));
    const numbers = [];
    for (let i = 0; i < rows; i++) {
      const label = name.endsWith("_y") ? this.training.symbols[i] : `${gates[Math.floor(i / height)]}${i % height}`;
      const row = createElement("tr", {}, rowHead(label));
      for (let k = 0; k < columns; k++) {
        const index = i * columns + k;
        const number = new LiveNumber(
          () => tensor.values[index],
          (value) => divergingColor(value, 2),
        );
        const place = `${name}[${label}${heads.length ? ", " + heads[k] : ""}]`;
        const attributes = {
          role: "gridcell",
          tabindex: index ? -1 : 0,
          "aria-label": translate("weight", { name: place }),
        };
        for (const [key, value] of Object.entries(attributes)) number.element.setAttribute(key, value);
        number.element.onfocus = number.element.onclick = () =>
          this.selectWeight(parameter, index, place, number.element);
        row.append(number.element);
        numbers.push(number);
      }
      table.append(row);
    }
    if (this.selected.parameter === parameter)
      this.selected = { ...this.selected, ...placeOf(numbers[0].element, name) };
    table.onkeydown = (event) => this.moveInMatrix(event, numbers, columns);
    this.weightNumbers.push(...numbers);
    return createElement("div", {}, table);
  }

  createEditor() {
    const attributes = { min: -4, max: 4, step: 0.01, type: "range" };
    this.slider = createElement("input", attributes);
    const limits = { min: -LARGEST_WEIGHT, max: LARGEST_WEIGHT, step: "any" };
    this.number = createElement("input", { id: this.id("weight"), type: "number", ...limits });
    this.slider.oninput = () => this.changeWeight(+this.slider.value);
    this.number.oninput = () => {
      if (this.number.value !== "") this.changeWeight(+this.number.value);
    };
    this.place = createElement("b", { class: "mono" });
    this.slope = createElement("span", { class: "note" });
    this.undo = createButton(translate("undo"), null, () => this.undoEdit());
    return createElement("div", { class: "row editor" }, this.place, this.slider, this.number, this.undo, this.slope);
  }

  selectWeight(parameter, index, place, element) {
    this.selected = { parameter, index, place, element };
    this.updateEditor();
  }

  moveInMatrix(event, numbers, columns) {
    const at = numbers.findIndex(({ element }) => element === event.target);
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const changes = { "+": WEIGHT_STEP, "=": WEIGHT_STEP, "-": -WEIGHT_STEP, "−": -WEIGHT_STEP };
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) {
      const next = at + moves[event.key];
      if (next >= 0 && next < numbers.length) {
        numbers[at].element.tabIndex = -1;
        numbers[next].element.tabIndex = 0;
        numbers[next].element.focus();
      }
    } else if (event.key in changes) {
      this.changeWeight(numbers[at].read() + changes[event.key]);
    } else if (event.key === "Enter") {
      this.number.focus();
      this.number.select();
    } else {
      return;
    }
    event.preventDefault();
  }

  changeWeight(value) {
    const { parameter, index } = this.selected;
    if (!Number.isFinite(value)) return;
    stopTraining();
    if (!this.edit) this.beginEdit();
    this.training.setWeight(parameter, index, clamp(value, -LARGEST_WEIGHT, LARGEST_WEIGHT));
    this.update();
    drawCurves();
  }

  // keep what the first change of a weight starts from
  beginEdit() {
    const { training } = this;
    for (const number of [...this.stepNumbers, ...this.weightNumbers]) number.before = number.read();
    this.edit = {
      values: training.parameters.map(({ tensor }) => tensor.values.slice()),
      isEdited: training.isEdited,
      loss: training.loss,
      predicted: training.predicted,
    };
  }

  undoEdit() {
    const { training, edit } = this;
    if (!edit) return;
    training.parameters.forEach(({ tensor }, k) => tensor.values.set(edit.values[k]));
    training.isEdited = edit.isEdited;
    training.evaluate();
    this.edit = null;
    this.update();
    drawCurves();
  }

  updateEditor() {
    const { parameter, index, place, element } = this.selected;
    const value = parameter.tensor.values[index];
    this.place.textContent = place;
    const label = translate("weight", { name: place });
    for (const input of [this.slider, this.number]) input.setAttribute("aria-label", label);
    this.slider.value = value;
    if (document.activeElement !== this.number || +this.number.value !== value) this.number.value = +value.toFixed(6);
    this.slope.textContent = `${translate("gradient")} ${formatNumber(parameter.tensor.slope[index], 4)}`;
    for (const number of this.weightNumbers) number.element.classList.toggle("selected", number.element === element);
    this.undo.disabled = !this.edit;
    this.updateComparison();
  }

  updateComparison() {
    const numbers = [...this.stepNumbers, ...this.weightNumbers];
    if (!this.edit) {
      for (const number of numbers) {
        number.before = null;
        number.element.classList.remove("changed");
      }
      this.comparison.textContent = "";
      return;
    }
    const { training, edit } = this;
    const count = this.stepNumbers.filter((number) => number.hasChanged()).length;
    this.comparison.textContent =
      `${translate("before_edit")} ${edit.predicted.join(" ")} ${formatLoss(edit.loss)} → ` +
      `${translate("after_edit")} ${training.predicted.join(" ")} ${formatLoss(training.loss)}. ` +
      translate("changed_count", { count });
  }

  // --- the history of the losses

  updateHistory() {
    const { history } = this.training;
    for (; this.shown < history.length; this.shown++) {
      const { loss, predicted, isEdited } = history[this.shown];
      const number = createElement("td", {}, String(this.shown + 1) + (isEdited ? " ✎" : ""));
      if (isEdited) number.title = translate("edited");
      const texts = createElement("td", { class: "predicted" }, ...predictedTexts(predicted, this.training.pairs));
      const bar = createElement("td", { class: "loss-bar" }, createBar(clamp(loss / history[0].loss, 0, 1)));
      const exact = createElement("td", { class: "loss", title: String(loss) }, formatLoss(loss));
      this.rows.append(createElement("tr", { "data-epoch": this.shown + 1 }, number, texts, bar, exact));
    }
  }

  // the loss at each epoch, that of the current weights last
  get losses() {
    return [...this.training.history.map(({ loss }) => loss), this.training.loss];
  }

  // the loss where all symbols are equally probable
  get uniformLoss() {
    const { pairs, symbols, settings } = this.training;
    const steps = pairs.reduce((sum, [input]) => sum + input.length, 0);
    return Math.log(symbols.length) * (settings.reduction === "mean" ? 1 : steps / pairs.length);
  }
}

// --- elements of a panel

function createTitle(key) {
  return createElement("h3", {}, translate(key));
}

function scrollBox(table) {
  return createElement("div", { class: "scroll" }, table);
}

function field(key, input) {
  return createElement("label", { class: "field" }, createElement("span", {}, translate(key)), input);
}

function rowHead(label) {
  return createElement("th", { scope: "row" }, String(label));
}

function historyHead() {
  const heads = [translate("epoch"), translate("predicted"), "", translate("loss")];
  return createElement("thead", {}, createElement("tr", {}, ...heads.map((text) => createElement("th", {}, text))));
}

function formatLoss(loss) {
  return Number.isFinite(loss) ? loss.toFixed(4) : String(loss);
}

// the names of the columns of a weight: symbols for the input, numbers of units for a state, none for a bias
function columnNames({ tensor, name }, { symbols, cell }) {
  if (tensor.columns === 1 && name.startsWith("b")) return [];
  const shape = cell.parameters.find((one) => one.name === name);
  if (shape?.columns === 1) return [];
  if (shape?.columns === "I") return symbols.map(visible);
  return Array.from({ length: tensor.columns }, (_, k) => String(k));
}

function placeOf(element) {
  return { element, place: element.getAttribute("aria-label").replace(/^\S+ /, "") };
}

// the predicted texts, their symbols coloured by whether they are the targets
function predictedTexts(predicted, pairs) {
  return predicted.flatMap((text, k) => {
    const symbols = splitSymbols(text).map((symbol, t) =>
      createSymbol(symbol, { class: symbol === pairs[k][1][t] ? "good" : "bad" }),
    );
    return k ? [" ", ...symbols] : symbols;
  });
}

// a word of a command line
function quoteWord(word) {
  return /^[\p{L}\p{N}_.]+$/u.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

// --- curves, on the same scale in both panels

function drawCurves() {
  const all = panels.flatMap((panel) => [...panel.losses, panel.uniformLoss]).filter(Number.isFinite);
  const top = Math.max(...all) * 1.05;
  const epochs = Math.max(+byId("epochs").value || 1, ...panels.map(({ training }) => training.epoch));
  for (const panel of panels) panel.curve.replaceChildren(...createCurve(panel, top, epochs));
}

function createCurve(panel, top, epochs) {
  const { width, height, left, right, bottom } = CURVE;
  const x = (epoch) => left + ((width - left - right) * epoch) / epochs;
  const y = (loss) => height - bottom - ((height - bottom - CURVE.top) * loss) / top;
  const path = (losses) => {
    const points = losses.map((loss, k) => `${x(k).toFixed(1)},${y(Math.min(loss, top)).toFixed(1)}`);
    return `M${points.join("L")}`;
  };
  const caption = translate("curve", { value: formatLoss(panel.uniformLoss) });
  const svg = createElement("svg", {
    class: "curve",
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": caption,
  });
  const base = { x1: left, x2: width - right, y1: y(0), y2: y(0) };
  svg.append(createElement("line", base), createElement("line", { x1: left, x2: left, y1: y(0), y2: CURVE.top }));
  for (const other of panels) {
    if (other !== panel) svg.append(createElement("path", { class: "other", d: path(other.losses) }));
  }
  const uniform = Array(epochs + 1).fill(panel.uniformLoss);
  svg.append(
    createElement("path", { class: "uniform", d: path(uniform) }),
    createElement("path", { d: path(panel.losses) }),
  );
  const label = (text, attributes) => svg.append(createElement("text", attributes, text));
  label(top.toFixed(1), { x: left - 5, y: CURVE.top + 8, "text-anchor": "end" });
  label("0", { x: left - 5, y: y(0) + 3, "text-anchor": "end" });
  label("0", { x: left, y: height - 5, "text-anchor": "middle" });
  label(String(epochs), { x: width - right, y: height - 5, "text-anchor": "end" });
  return [svg, createElement("p", { class: "note" }, caption)];
}

// --- training

// begin again from the initial weights of the settings on the page
function restartTraining() {
  checkInput(restartPanels);
}

function restartPanels() {
  stopTraining();
  const { pairs, lr } = readSettings();
  for (const panel of panels) panel.restart(pairs, lr);
  drawCurves();
}

// all that is written in the fields
function readSettings() {
  const pairs = parsePairs(byId("pairs").value);
  const lr = readNumber(byId("lr"), "lr");
  readNumber(byId("epochs"), "epochs", true);
  for (const panel of panels) panel.readNumbers();
  return { pairs, lr };
}

// train to another number of epochs, from where the training is
function changeEpochs() {
  checkInput(() => {
    readSettings();
    for (const panel of panels) panel.updateCommand();
    drawCurves();
  });
}

function trainEpoch() {
  for (const panel of panels) {
    panel.train();
    panel.update();
  }
  drawCurves();
  if (panels.some(({ training }) => !Number.isFinite(training.loss))) {
    problem = new InputProblem("error_finite");
    showProblem();
    stopTraining();
  }
}

function isFinished() {
  return panels[0].training.epoch >= +byId("epochs").value;
}

function startTraining() {
  if (isFinished()) restartTraining();
  if (!problem) scheduleEpoch();
  labelControls();
}

function scheduleEpoch() {
  timer = setTimeout(() => {
    timer = 0;
    trainEpoch();
    if (!isFinished() && !problem) scheduleEpoch();
    labelControls();
  }, 1000 / currentSpeed());
}

function stopTraining() {
  clearTimeout(timer);
  timer = 0;
  labelControls();
}

function currentSpeed() {
  return SPEEDS[+byId("speed").value];
}

function labelControls() {
  byId("train").textContent = translate(timer ? "stop" : "train");
  byId("train").setAttribute("aria-pressed", String(Boolean(timer)));
  const speed = currentSpeed();
  const label = Number.isFinite(speed) ? translate("speed_rate", { rate: speed }) : translate("speed_fastest");
  byId("speed-label").textContent = label;
  byId("speed").setAttribute("aria-valuetext", label);
}

// --- the page

function setTwoCells(isTwo) {
  if (isTwo && panels.length < 2) panels.push(new Panel("B", { ...panels[0].settings, cell: "gru" }));
  panels.length = isTwo ? 2 : 1;
  byId("panels").classList.toggle("two", isTwo);
  byId("panels").replaceChildren(...panels.map(({ element }) => element));
  restartTraining();
}

function updateTexts() {
  translateElements();
  document.title = "ohlol: " + translate("title");
  byId("lang").value = locale.lang;
  labelControls();
  showProblem();
  for (const panel of panels) if (panel.training) panel.build();
  if (panels.every(({ training }) => training)) drawCurves();
  updateRunTexts();
}

function openPage() {
  locale.texts = TEXTS;
  locale.lang = data.lang ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
  showRun(data.run);
  panels.push(new Panel("A", { cell: "rnn", reduction: "mean", hasHead: false, hiddenSize: 4, seed: 1 }));
  setTwoCells(byId("two-cells").checked);
  updateTexts();
}

byId("train").onclick = () => (timer ? stopTraining() : startTraining());
byId("one-epoch").onclick = () => {
  stopTraining();
  trainEpoch();
};
byId("restart").onclick = restartTraining;
byId("speed").oninput = labelControls;
for (const id of ["pairs", "lr"]) byId(id).onchange = restartTraining;
byId("epochs").onchange = changeEpochs;
byId("two-cells").onchange = (event) => setTwoCells(event.target.checked);
byId("lang").onchange = (event) => {
  locale.lang = event.target.value;
  updateTexts();
};
byId("theme").onclick = () => {
  switchTheme();
  for (const panel of panels) panel.update();
  if (trainedRun) readTyped();
};

openPage();
