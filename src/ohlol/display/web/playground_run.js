// The part of the playground for a trained run: what the model predicts for a text while it is typed.

const LABELS_IN_RUN_TILE = 3;
const LABELS_IN_RUN_LIST = 8;
const RUN_UNITS = 64; // rows of the picture of the hidden state
const DRAWN_SYMBOLS = 60; // of a continuation

// the network, what it read last, and the selected step of it; null without a run
let trainedRun = null;

function showRun(data) {
  if (!data) return;
  trainedRun = { network: new TrainedNetwork(data), reading: null, step: 0, draws: 0 };
  byId("run").hidden = false;
  byId("run-continue").hidden = !data.continues_text;
  byId("typed").value = data.example;
  byId("typed").oninput = readTyped;
  byId("continue").onclick = continueTyped;
  byId("run-tiles").onkeydown = moveInTiles;
}

function updateRunTexts() {
  if (!trainedRun) return;
  const { data } = trainedRun.network;
  byId("run-title").textContent = translate("run_title", { name: data.name });
  const about = {
    cell: data.cell + (data.directions > 1 ? ` (${translate("run_bidirectional")})` : ""),
    layers: data.num_layers,
    hidden: data.hidden_size,
    task: data.task,
    count: data.symbols.length,
  };
  byId("run-about").textContent = translate("run_about", about);
  const note = data.continues_text ? "run_next" : data.per_sequence ? "run_classify" : "run_label";
  byId("run-note").textContent = translate(note);
  const values = { count: RUN_UNITS, total: data.hidden_size };
  const more = data.hidden_size > RUN_UNITS ? " " + translate("run_states_first", values) : "";
  byId("run-states-note").textContent = translate("run_states") + more;
  readTyped();
}

function readTyped() {
  const text = byId("typed").value;
  byId("run-error").textContent = "";
  byId("continued").textContent = "";
  trainedRun.reading = null;
  try {
    if (text) trainedRun.reading = trainedRun.network.read(text);
  } catch (error) {
    if (!(error instanceof UnknownSymbol)) throw error;
    const known = trainedRun.network.data.symbols.slice(0, 60).map(visible).join(" ");
    const unknown = translate("unknown", { symbol: visible(error.symbol) });
    byId("run-error").textContent = `${unknown} ${translate("seen", { symbols: known })}`;
  }
  byId("run-output").hidden = !trainedRun.reading;
  if (!trainedRun.reading) return;
  trainedRun.step = trainedRun.reading.symbols.length - 1;
  drawRunTiles();
  drawRunStates();
  selectRunStep(trainedRun.step);
}

function drawRunTiles() {
  const { symbols, predictions } = trainedRun.reading;
  const { per_sequence } = trainedRun.network.data;
  const tiles = symbols.map((symbol, t) => {
    const tile = createElement("div", { class: "tile" }, createElement("div", { class: "symbol" }, visible(symbol)));
    for (const { label, probability } of per_sequence ? [] : predictions[t].slice(0, LABELS_IN_RUN_TILE)) {
      const element = createElement("div", { class: "tile-label", title: String(probability) }, createSymbol(label));
      paint(element, sequentialColor(probability));
      tile.append(element);
    }
    tile.onclick = () => selectRunStep(t);
    return tile;
  });
  byId("run-tiles").replaceChildren(...tiles);
}

function selectRunStep(step) {
  const { symbols, predictions } = trainedRun.reading;
  const { per_sequence } = trainedRun.network.data;
  trainedRun.step = clamp(step, 0, symbols.length - 1);
  [...byId("run-tiles").children].forEach((tile, t) => tile.classList.toggle("selected", t === trainedRun.step));
  byId("run-selected").textContent = per_sequence
    ? ""
    : translate("run_selected", {
        symbol: symbols
          .slice(0, trainedRun.step + 1)
          .map(visible)
          .join(""),
      });
  const rows = predictions[per_sequence ? 0 : trainedRun.step].slice(0, LABELS_IN_RUN_LIST);
  byId("run-labels").replaceChildren(
    ...rows.flatMap(({ label, probability, logit }) => [
      createSymbol(label, { class: "label" }),
      createElement("span", { class: "mono", title: String(logit) }, formatNumber(logit, 3)),
      createBar(probability),
      createElement("span", { class: "mono", title: String(probability) }, formatPercent(probability)),
    ]),
  );
}

function moveInTiles(event) {
  const steps = { ArrowLeft: trainedRun.step - 1, ArrowRight: trainedRun.step + 1, Home: 0, End: Infinity };
  if (!(event.key in steps)) return;
  event.preventDefault();
  selectRunStep(steps[event.key]);
}

// the hidden states as an image: a column for each symbol, a row for each unit
function drawRunStates() {
  const { steps } = trainedRun.reading;
  const units = Math.min(RUN_UNITS, steps[0].states.h.rows);
  const canvas = byId("run-states");
  Object.assign(canvas, { width: steps.length, height: units });
  canvas.style.width = `min(100%, ${steps.length * 26}px)`;
  canvas.style.height = `${clamp(units * 14, 40, 260)}px`;
  const context = canvas.getContext("2d");
  const image = context.createImageData(steps.length, units);
  const top = Math.max(1, ...steps.flatMap((step) => [...step.states.h.values].map(Math.abs)));
  steps.forEach((step, t) => {
    for (let k = 0; k < units; k++) {
      const color = divergingColor(step.states.h.values[k], top);
      image.data.set([...color, 255], (k * steps.length + t) * 4);
    }
  });
  context.putImageData(image, 0, 0);
}

function continueTyped() {
  if (!trainedRun.reading) return;
  trainedRun.draws += 1; // another continuation each time
  const generator = new Generator(trainedRun.draws);
  const text = trainedRun.network.continueText(trainedRun.reading, DRAWN_SYMBOLS, generator);
  byId("continued").textContent = byId("typed").value + text;
}
