// A trained run in the browser: the network that `run_data` of playground.py wrote, over texts that a visitor types.
// Nothing is recorded here, since nothing is trained.

// a symbol that the run was not trained on and that has no <unk> to be read as
class UnknownSymbol extends Error {
  constructor(symbol) {
    super(symbol);
    this.symbol = symbol;
  }
}

// the tensors of a run by name, in float64
function decodeTensors({ bytes, tensors }) {
  const binary = atob(bytes);
  const numbers = new Float32Array(Uint8Array.from(binary, (character) => character.charCodeAt(0)).buffer);
  return Object.fromEntries(
    Object.entries(tensors).map(([name, [offset, count, columns]]) => [
      name,
      new Tensor(Float64Array.from(numbers.subarray(offset, offset + count)), columns),
    ]),
  );
}

function indexSymbols(symbols) {
  return new Map(symbols.map((symbol, id) => [symbol, id]));
}

// a row of a table as a vector
function tableRow(table, id) {
  return new Tensor(table.values.slice(id * table.columns, (id + 1) * table.columns));
}

class TrainedNetwork {
  constructor(data) {
    Object.assign(this, { data, cell: CELLS[data.cell], tensors: decodeTensors(data), last: null });
    this.ids = indexSymbols(data.symbols);
    this.bigramIds = data.bigrams && indexSymbols(data.bigrams);
    this.weights = Array.from({ length: data.num_layers }, (_, layer) =>
      Array.from({ length: data.directions }, (_, direction) =>
        Object.fromEntries(
          this.cell.parameters.map(({ name }) => [name, this.tensors[`layer/${layer}/${direction}/${name}`]]),
        ),
      ),
    );
  }

  // the id of a symbol; that of <unk> for one that was not in the training data
  idOf(symbol) {
    const id = this.ids.get(symbol) ?? this.data.unk;
    if (id === null) throw new UnknownSymbol(symbol);
    return id;
  }

  // the vector of each step: one-hot, or an embedding and those of the two bigrams of a character
  encode(symbols) {
    return symbols.map((symbol, t) => {
      const id = this.idOf(symbol);
      if (!this.tensors.embedding) return oneHot(this.data.symbols.length, id);
      const parts = [tableRow(this.tensors.embedding, id)];
      if (this.bigramIds) {
        const { edge } = this.data;
        for (const pair of [(symbols[t - 1] ?? edge) + symbol, symbol + (symbols[t + 1] ?? edge)]) {
          parts.push(tableRow(this.tensors.bigrams, this.bigramIds.get(pair) ?? 0)); // the first one is <unk>
        }
      }
      return concatenate(parts);
    });
  }

  initialStates() {
    return Object.fromEntries(this.cell.states.map((name) => [name, zeros(this.data.hidden_size)]));
  }

  // one direction of a layer: its step at each input, in the order of the inputs
  runDirection(inputs, weights, isBackward, states = this.initialStates()) {
    const steps = Array(inputs.length);
    for (let k = 0; k < inputs.length; k++) {
      const t = isBackward ? inputs.length - 1 - k : k;
      steps[t] = this.cell.step(inputs[t], states, weights);
      states = steps[t].states;
    }
    return steps;
  }

  // All layers over the inputs. `before` has the states to start from, those that `after` of another call has; with it
  // the layers must read in one direction.
  runLayers(inputs, before = null) {
    const after = [];
    let directions = [];
    this.weights.forEach((weights, layer) => {
      directions = weights.map((own, direction) =>
        this.runDirection(inputs, own, direction === 1, before?.[layer] ?? this.initialStates()),
      );
      after.push(directions[0].at(-1).states);
      inputs = inputs.map((_, t) => concatenate(directions.map((steps) => steps[t].states.h)));
    });
    return { outputs: inputs, directions, after };
  }

  // what the head reads of a sequence that has one prediction
  pool(outputs, directions) {
    const { pooling } = this.data;
    if (pooling === "last") {
      return concatenate(directions.map((steps, direction) => steps.at(direction === 1 ? 0 : -1).states.h));
    }
    const columns = [...outputs[0].values.keys()];
    if (pooling === "max") {
      return new Tensor(Float64Array.from(columns, (k) => Math.max(...outputs.map(({ values }) => values[k]))));
    }
    const query = this.tensors.query; // of attention; without one all shares are equal
    const scores = outputs.map(({ values }) =>
      query ? values.reduce((sum, v, k) => sum + query.values[k] * Math.tanh(v), 0) : 0,
    );
    const shares = softmax(scores);
    return new Tensor(
      Float64Array.from(columns, (k) => shares.reduce((sum, share, t) => sum + share * outputs[t].values[k], 0)),
    );
  }

  // the labels of a prediction with their probabilities, the most probable first
  predict(output) {
    const logits = this.tensors.head_W ? linear(output, this.tensors.head_W, this.tensors.head_b) : output;
    return [...softmax(logits.values)]
      .map((probability, k) => ({ label: this.data.labels[k], probability, logit: logits.values[k] }))
      .sort((a, b) => b.probability - a.probability);
  }

  // The outputs of the last layer and its steps, forward, and the states after them. A text that continues the last one is
  // read from where that ended, if the network reads in one direction.
  run(symbols) {
    const { last } = this;
    const isContinued = last && this.data.directions === 1 && last.symbols.every((symbol, t) => symbol === symbols[t]);
    const before = isContinued ? last : { symbols: [], outputs: [], directions: [[], []], after: null };
    const rest = symbols.slice(before.symbols.length);
    if (!rest.length) return last;
    const { outputs, directions, after } = this.runLayers(this.encode(rest), before.after);
    this.last = {
      symbols,
      outputs: [...before.outputs, ...outputs],
      directions: directions.map((steps, direction) => [...before.directions[direction], ...steps]),
      after,
    };
    return this.last;
  }

  // the predictions for a text, one for each symbol or one in all, and the steps of the last layer
  read(text) {
    const { symbols, outputs, directions, after } = this.run(splitSymbols(text));
    const read = this.data.per_sequence ? [this.pool(outputs, directions)] : outputs;
    return { symbols, predictions: read.map((output) => this.predict(output)), steps: directions[0], after };
  }

  // `count` symbols that follow a text, drawn by the probabilities of the model
  continueText({ predictions, after }, count, generator) {
    const drawn = [];
    let labels = predictions.at(-1);
    for (let k = 0; k < count; k++) {
      const allowed = labels.filter(({ label }) => this.ids.get(label) !== this.data.unk);
      let rest = generator.uniform() * allowed.reduce((sum, { probability }) => sum + probability, 0);
      const { label } = allowed.find(({ probability }) => (rest -= probability) < 0) ?? allowed[0];
      drawn.push(label);
      const next = this.runLayers(this.encode([label]), after);
      after = next.after;
      labels = this.predict(next.outputs[0]);
    }
    return drawn.join("");
  }
}
