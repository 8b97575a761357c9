// Vectors and matrices that record how they are computed, so that `backward` can go from the loss back to every weight:
// reverse-mode differentiation. All numbers are float64.

// a vector, or a matrix whose rows follow each other; `gradient` is that of the loss with respect to each number
class Tensor {
  constructor(values, columns = 1) {
    Object.assign(this, { values, columns, rows: values.length / columns, gradient: null });
  }
  // the array to which gradients are added
  get slope() {
    this.gradient ??= new Float64Array(this.values.length);
    return this.gradient;
  }
}

// the backward functions of the operations so far, in their order; null while nothing is recorded
let tape = null;

// the result of an operation, and how its gradient becomes those of its operands
function createResult(values, backward) {
  const result = new Tensor(values);
  tape?.push(() => result.gradient && backward(result.gradient));
  return result;
}

// compute a loss and its gradients with respect to all that it depends on
function differentiate(computeLoss) {
  tape = [];
  const loss = computeLoss();
  const operations = tape;
  tape = null;
  loss.slope[0] = 1;
  for (const operation of operations.reverse()) operation();
  return loss;
}

function zeros(size) {
  return new Tensor(new Float64Array(size));
}

function oneHot(size, index) {
  const result = zeros(size);
  result.values[index] = 1;
  return result;
}

// the numbers of the entries of a vector that are not 0: one, where it is one-hot
function findNonzero({ values }) {
  return Uint32Array.from(values.keys()).filter((k) => values[k] !== 0);
}

// W x + b; without b, W x
function linear(x, W, b = null) {
  const { rows, columns, values: weights } = W;
  const vector = x.values;
  const inputs = findNonzero(x);
  const values = b ? b.values.slice() : new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < inputs.length; j++) sum += weights[i * columns + inputs[j]] * vector[inputs[j]];
    values[i] += sum;
  }
  return createResult(values, (slope) => {
    for (let i = 0; i < rows; i++) {
      for (const k of inputs) W.slope[i * columns + k] += slope[i] * x.values[k];
      for (let k = 0; k < columns; k++) x.slope[k] += slope[i] * W.values[i * columns + k];
      if (b) b.slope[i] += slope[i];
    }
  });
}

// an operation on each number of a vector; `derivative` is a function of the result
function createPointwise(compute, derivative) {
  return (x) => {
    const values = x.values.map(compute);
    return createResult(values, (slope) => slope.forEach((d, i) => (x.slope[i] += d * derivative(values[i]))));
  };
}

const sigmoid = createPointwise(
  (v) => 1 / (1 + Math.exp(-v)),
  (y) => y * (1 - y),
);
const tanh = createPointwise(Math.tanh, (y) => 1 - y * y);
const relu = createPointwise(
  (v) => Math.max(v, 0),
  (y) => (y > 0 ? 1 : 0),
);
const oneMinus = createPointwise(
  (v) => 1 - v,
  () => -1,
);

// the sum of vectors
function add(...terms) {
  const values = terms[0].values.map((_, i) => terms.reduce((sum, term) => sum + term.values[i], 0));
  return createResult(values, (slope) => terms.forEach((term) => slope.forEach((d, i) => (term.slope[i] += d))));
}

// the products of the numbers of two vectors, one by one
function multiply(a, b) {
  return createResult(
    a.values.map((v, i) => v * b.values[i]),
    (slope) =>
      slope.forEach((d, i) => {
        a.slope[i] += d * b.values[i];
        b.slope[i] += d * a.values[i];
      }),
  );
}

// a vector times a number
function scale(x, factor) {
  return createResult(
    x.values.map((v) => v * factor),
    (slope) => slope.forEach((d, i) => (x.slope[i] += d * factor)),
  );
}

// a vector cut into parts of equal size, as torch's `chunk`
function chunk(x, count) {
  const size = x.rows / count;
  return Array.from({ length: count }, (_, part) =>
    createResult(x.values.slice(part * size, (part + 1) * size), (slope) =>
      slope.forEach((d, i) => (x.slope[part * size + i] += d)),
    ),
  );
}

function concatenate(vectors) {
  return new Tensor(Float64Array.from(vectors.flatMap((vector) => [...vector.values])));
}

function softmax(values) {
  const top = Math.max(...values);
  const powers = values.map((v) => Math.exp(v - top));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((v) => v / sum);
}

// -log of the probability that the softmax of the logits gives to the target
function crossEntropy(logits, target) {
  const top = Math.max(...logits.values);
  const sum = logits.values.reduce((total, v) => total + Math.exp(v - top), 0);
  return createResult(Float64Array.of(top + Math.log(sum) - logits.values[target]), ([slope]) =>
    softmax(logits.values).forEach((p, i) => (logits.slope[i] += slope * (p - (i === target ? 1 : 0)))),
  );
}
