// The cells: one step of each by its equations, with the names of textbooks. x is the input, h the hidden state, c the
// cell state. `step` returns the gates and the states after the step.
//
// `parameters` lists the weights in the order in which torch draws them: the name, the gates that its rows belong to, H
// rows each, and its columns: "I" for the input, "H" for the hidden state, 1 for a bias. A cell of ohlol that torch does
// not have draws the parameters of its linear layers (`isLinear`) when it makes these, and then all again. `gateTexts` has
// the keys of the names of gates that are called otherwise in other cells.

function torchParameters(gates) {
  return [
    { name: "W_ih", gates, columns: "I" },
    { name: "W_hh", gates, columns: "H" },
    { name: "b_ih", gates, columns: 1 },
    { name: "b_hh", gates, columns: 1 },
  ];
}

function linearParameter(name, gates, columns) {
  return { name, gates, columns, isLinear: true };
}

const CELLS = {
  rnn: {
    parameters: torchParameters(["h"]),
    states: ["h"],
    step(x, { h }, { W_ih, W_hh, b_ih, b_hh }) {
      return { gates: {}, states: { h: tanh(add(linear(x, W_ih, b_ih), linear(h, W_hh, b_hh))) } };
    },
  },

  gru: {
    parameters: torchParameters(["r", "z", "n"]),
    states: ["h"],
    step(x, { h }, { W_ih, W_hh, b_ih, b_hh }) {
      const [x_r, x_z, x_n] = chunk(linear(x, W_ih, b_ih), 3);
      const [h_r, h_z, h_n] = chunk(linear(h, W_hh, b_hh), 3);
      const r = sigmoid(add(x_r, h_r)); // reset gate
      const z = sigmoid(add(x_z, h_z)); // update gate
      const n = tanh(add(x_n, multiply(r, h_n))); // candidate state
      return { gates: { r, z, n }, states: { h: add(multiply(oneMinus(z), n), multiply(z, h)) } };
    },
  },

  lstm: {
    parameters: torchParameters(["i", "f", "g", "o"]),
    states: ["h", "c"],
    step(x, { h, c }, { W_ih, W_hh, b_ih, b_hh }) {
      const sums = chunk(add(linear(x, W_ih, b_ih), linear(h, W_hh, b_hh)), 4);
      const i = sigmoid(sums[0]); // input gate
      const f = sigmoid(sums[1]); // forget gate
      const g = tanh(sums[2]); // candidate cell state
      const o = sigmoid(sums[3]); // output gate
      const next = add(multiply(f, c), multiply(i, g));
      return { gates: { i, f, g, o }, states: { h: multiply(o, tanh(next)), c: next } };
    },
  },

  rnn_relu: {
    parameters: torchParameters(["h"]),
    states: ["h"],
    step(x, { h }, { W_ih, W_hh, b_ih, b_hh }) {
      return { gates: {}, states: { h: relu(add(linear(x, W_ih, b_ih), linear(h, W_hh, b_hh))) } };
    },
  },

  reset_gru: {
    parameters: [
      linearParameter("W_i", ["r", "z", "n"], "I"),
      linearParameter("b", ["r", "z", "n"], 1),
      linearParameter("W_h", ["r", "z"], "H"),
      linearParameter("W_hn", ["n"], "H"),
    ],
    states: ["h"],
    step(x, { h }, { W_i, b, W_h, W_hn }) {
      const [x_r, x_z, x_n] = chunk(linear(x, W_i, b), 3);
      const [h_r, h_z] = chunk(linear(h, W_h), 2);
      const r = sigmoid(add(x_r, h_r)); // reset gate
      const z = sigmoid(add(x_z, h_z)); // update gate
      const n = tanh(add(x_n, linear(multiply(r, h), W_hn))); // candidate state
      return { gates: { r, z, n }, states: { h: add(multiply(oneMinus(z), n), multiply(z, h)) } };
    },
  },

  mgu: {
    parameters: [
      linearParameter("W_i", ["f", "n"], "I"),
      linearParameter("b", ["f", "n"], 1),
      linearParameter("W_hf", ["f"], "H"),
      linearParameter("W_hn", ["n"], "H"),
    ],
    states: ["h"],
    step(x, { h }, { W_i, b, W_hf, W_hn }) {
      const [x_f, x_n] = chunk(linear(x, W_i, b), 2);
      const f = sigmoid(add(x_f, linear(h, W_hf))); // forget gate
      const n = tanh(add(x_n, linear(multiply(f, h), W_hn))); // candidate state
      return { gates: { f, n }, states: { h: add(multiply(oneMinus(f), h), multiply(f, n)) } };
    },
  },

  ugrnn: {
    parameters: [
      linearParameter("W_i", ["g", "n"], "I"),
      { ...linearParameter("b", ["g", "n"], 1), increase: { gate: "g", by: 1 } },
      linearParameter("W_h", ["g", "n"], "H"),
    ],
    states: ["h"],
    gateTexts: { g: "gate_g_update" },
    step(x, { h }, { W_i, b, W_h }) {
      const sums = chunk(add(linear(x, W_i, b), linear(h, W_h)), 2);
      const g = sigmoid(sums[0]); // update gate
      const n = tanh(sums[1]); // candidate state
      return { gates: { g, n }, states: { h: add(multiply(g, h), multiply(oneMinus(g), n)) } };
    },
  },

  mingru: {
    parameters: [linearParameter("W", ["z", "n"], "I"), linearParameter("b", ["z", "n"], 1)],
    states: ["h"],
    step(x, { h }, { W, b }) {
      const [sum, n] = chunk(linear(x, W, b), 2); // n is the candidate state
      const z = sigmoid(sum); // update gate
      return { gates: { z, n }, states: { h: add(multiply(oneMinus(z), h), multiply(z, n)) } };
    },
  },

  coupled_lstm: {
    parameters: [
      linearParameter("W_i", ["f", "g", "o"], "I"),
      linearParameter("b", ["f", "g", "o"], 1),
      linearParameter("W_h", ["f", "g", "o"], "H"),
    ],
    states: ["h", "c"],
    step(x, { h, c }, { W_i, b, W_h }) {
      const sums = chunk(add(linear(x, W_i, b), linear(h, W_h)), 3);
      const f = sigmoid(sums[0]); // forget gate
      const g = tanh(sums[1]); // candidate cell state
      const o = sigmoid(sums[2]); // output gate
      const next = add(multiply(f, c), multiply(oneMinus(f), g));
      return { gates: { f, g, o }, states: { h: multiply(o, tanh(next)), c: next } };
    },
  },

  peephole_lstm: {
    parameters: [
      { name: "p", gates: ["i", "f", "o"], columns: 1 },
      linearParameter("W_i", ["i", "f", "g", "o"], "I"),
      linearParameter("b", ["i", "f", "g", "o"], 1),
      linearParameter("W_h", ["i", "f", "g", "o"], "H"),
    ],
    states: ["h", "c"],
    step(x, { h, c }, { p, W_i, b, W_h }) {
      const [p_i, p_f, p_o] = chunk(p, 3);
      const sums = chunk(add(linear(x, W_i, b), linear(h, W_h)), 4);
      const i = sigmoid(add(sums[0], multiply(p_i, c))); // input gate
      const f = sigmoid(add(sums[1], multiply(p_f, c))); // forget gate
      const g = tanh(sums[2]); // candidate cell state
      const next = add(multiply(f, c), multiply(i, g));
      const o = sigmoid(add(sums[3], multiply(p_o, next))); // output gate, of the new cell state
      return { gates: { i, f, g, o }, states: { h: multiply(o, tanh(next)), c: next } };
    },
  },
};
