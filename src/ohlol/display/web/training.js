// Trains a small network on pairs of texts, as `ohlol train` does on a few pairs: one-hot symbols, one recurrent layer,
// cross-entropy and Adam, on all pairs at once. An epoch is one step of Adam.

const ADAM = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

// the symbols of a text: its code points after NFC normalization
function splitSymbols(text) {
  return Array.from(text.normalize("NFC"));
}

// the symbols of all texts, each once, by code point
function buildVocabulary(pairs) {
  const symbols = new Set(pairs.flat().flatMap(splitSymbols));
  return [...symbols].sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
}

// the initial weights of a cell by name, each with the gates of its rows; the same as torch's for the same seed
function drawCell(cell, sizes, generator) {
  const H = sizes.H;
  const shapes = cell.parameters.map((one) => ({
    ...one,
    columns: sizes[one.columns] ?? one.columns,
    size: one.gates.length * H * (sizes[one.columns] ?? one.columns),
  }));
  for (const { isLinear, size } of shapes) {
    if (isLinear) generator.uniformBetween(0, 1, size);
  }
  const bound = 1 / Math.sqrt(H);
  return shapes.map(({ name, gates, columns, size, increase }) => {
    const tensor = new Tensor(generator.uniformBetween(-bound, bound, size), columns);
    const first = increase ? gates.indexOf(increase.gate) * H : size;
    for (let i = first; i < Math.min(first + H, size); i++) {
      tensor.values[i] = Math.fround(tensor.values[i] + increase.by);
    }
    return { name, gates, tensor };
  });
}

// the initial weights of a linear layer, as those of `torch.nn.Linear`
function drawHead(inputs, outputs, generator) {
  const bound = Math.sqrt(3) * (Math.sqrt(2 / 6) / Math.sqrt(inputs));
  const W = new Tensor(generator.uniformBetween(-bound, bound, outputs * inputs), inputs);
  const b = new Tensor(generator.uniformBetween(-1 / Math.sqrt(inputs), 1 / Math.sqrt(inputs), outputs));
  return [
    { name: "W_y", gates: ["y"], tensor: W },
    { name: "b_y", gates: ["y"], tensor: b },
  ];
}

// One network in training. `settings` has the name of the cell, `hasHead`: whether a linear layer follows it, or its
// hidden state itself is the logits; `hiddenSize`, which then is the number of symbols; `seed`; `lr`, the learning rate;
// and `reduction`: "mean" over all steps, as with a layer, or "sum" over the steps of a sequence, as with a cell in a
// loop.
class Training {
  constructor(settings, pairs) {
    this.settings = settings;
    this.cell = CELLS[settings.cell];
    this.pairs = pairs.map(([input, target]) => [splitSymbols(input), splitSymbols(target)]);
    this.symbols = buildVocabulary(pairs);
    const V = this.symbols.length;
    this.hiddenSize = settings.hasHead ? settings.hiddenSize : V;
    const generator = new Generator(settings.seed);
    this.parameters = drawCell(this.cell, { I: V, H: this.hiddenSize }, generator);
    if (settings.hasHead) this.parameters.push(...drawHead(this.hiddenSize, V, generator));
    this.weights = Object.fromEntries(this.parameters.map(({ name, tensor }) => [name, tensor]));
    this.moments = this.parameters.map(({ tensor }) => ({
      mean: new Float64Array(tensor.values.length),
      square: new Float64Array(tensor.values.length),
    }));
    this.epoch = 0;
    this.history = []; // loss and predicted texts of each epoch, before its step, as `ohlol train` prints them
    this.evaluate();
  }

  // the network over one text: for each step its gates, states and logits
  run(symbols) {
    let states = Object.fromEntries(this.cell.states.map((name) => [name, zeros(this.hiddenSize)]));
    return symbols.map((symbol) => {
      const x = oneHot(this.symbols.length, this.symbols.indexOf(symbol));
      const step = this.cell.step(x, states, this.weights);
      states = step.states;
      const logits = this.settings.hasHead ? linear(states.h, this.weights.W_y, this.weights.b_y) : states.h;
      return { ...step, logits };
    });
  }

  // forward and backward pass with the current weights; `sequences`, `loss` and the gradients are of these
  evaluate() {
    for (const { tensor } of this.parameters) tensor.gradient = null;
    const loss = differentiate(() => {
      this.sequences = this.pairs.map(([input, target]) =>
        this.run(input).map((step, t) => {
          const stepLoss = crossEntropy(step.logits, this.symbols.indexOf(target[t]));
          return { ...step, symbol: input[t], target: target[t], stepLoss };
        }),
      );
      const losses = this.sequences.flat().map(({ stepLoss }) => stepLoss);
      const divisor = this.settings.reduction === "mean" ? losses.length : this.pairs.length;
      return scale(add(...losses), 1 / divisor);
    });
    for (const step of this.sequences.flat()) {
      step.probabilities = softmax(step.logits.values);
      step.predicted = this.symbols[step.probabilities.indexOf(Math.max(...step.probabilities))];
      step.loss = step.stepLoss.values[0];
    }
    this.loss = loss.values[0];
    this.predicted = this.sequences.map((steps) => steps.map(({ predicted }) => predicted).join(""));
  }

  // one epoch: a step of Adam by the gradients of the current weights
  step() {
    this.history.push({ loss: this.loss, predicted: this.predicted, isEdited: this.isEdited ?? false });
    this.isEdited = false;
    this.epoch += 1;
    this.parameters.forEach(({ tensor }, index) => this.updateParameter(tensor, this.moments[index]));
    this.evaluate();
  }

  // Adam of Kingma and Ba (2015), as `torch.optim.Adam` computes it
  updateParameter({ values, slope }, { mean, square }) {
    const { beta1, beta2, epsilon } = ADAM;
    const stepSize = this.settings.lr / (1 - beta1 ** this.epoch);
    const correction = Math.sqrt(1 - beta2 ** this.epoch);
    for (let i = 0; i < values.length; i++) {
      mean[i] = beta1 * mean[i] + (1 - beta1) * slope[i];
      square[i] = beta2 * square[i] + (1 - beta2) * slope[i] ** 2;
      values[i] -= (stepSize * mean[i]) / (Math.sqrt(square[i]) / correction + epsilon);
    }
  }

  // set one weight by hand; training goes on from it
  setWeight(parameter, index, value) {
    parameter.tensor.values[index] = value;
    this.isEdited = true;
    this.evaluate();
  }
}
