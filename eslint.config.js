import js from "@eslint/js";

// The scripts of a page are inserted into it one after the other and share one scope: each may use what those before it
// define.
const BROWSER = [
  "AbortController",
  "TextDecoderStream",
  "TextEncoder",
  "WebSocket",
  "addEventListener",
  "atob",
  "btoa",
  "cancelAnimationFrame",
  "clearInterval",
  "clearTimeout",
  "document",
  "fetch",
  "getComputedStyle",
  "location",
  "matchMedia",
  "navigator",
  "requestAnimationFrame",
  "scrollTo",
  "sessionStorage",
  "setInterval",
  "setTimeout",
];
const COMMON = [
  "nameSymbol",
  "byId",
  "clamp",
  "createBar",
  "createButton",
  "createElement",
  "createSelect",
  "createSymbol",
  "divergingColor",
  "formatNumber",
  "formatPercent",
  "formatShort",
  "locale",
  "nameSymbol",
  "paint",
  "palette",
  "sequentialColor",
  "switchTheme",
  "textColor",
  "toCss",
  "translate",
  "translateElements",
  "visible",
];
const RANDOM = ["Generator"];
const AUTOGRAD = [
  "Tensor",
  "add",
  "chunk",
  "concatenate",
  "crossEntropy",
  "differentiate",
  "linear",
  "multiply",
  "oneHot",
  "oneMinus",
  "relu",
  "scale",
  "sigmoid",
  "softmax",
  "tanh",
  "zeros",
];
const CELLS = ["CELLS"];
const TRAINING = ["Training", "buildVocabulary", "splitSymbols"];
const NETWORK = ["TrainedNetwork", "UnknownSymbol"];
const TEXTS = ["TEXTS"];
const RUN = ["readTyped", "showRun", "trainedRun", "updateRunTexts"];
const TRACE = ["createTileLabel", "drawMaps", "redrawTrace", "showTrace", "stopPlayers", "trace", "updateTexts"];

function readonly(names) {
  return Object.fromEntries(names.map((name) => [name, "readonly"]));
}

// letters in the equations of textbooks
const LETTERS = ["c", "f", "g", "n", "o", "p", "r", "z", "H", "I", "V", "W"];
const EXCEPTIONS = ["a", "b", "h", "i", "k", "t", "v", "x", "y", "_"];

function nameLengths(exceptions) {
  return ["error", { min: 2, properties: "never", exceptions }];
}

// a script may define names that only later scripts use
function script(file, defined, used, letters = []) {
  return {
    files: [`src/ohlol/display/web/${file}`],
    languageOptions: { sourceType: "script", globals: readonly([...BROWSER, ...used]) },
    rules: {
      "id-length": nameLengths([...EXCEPTIONS, ...letters]),
      "no-unused-vars": ["error", { varsIgnorePattern: defined.length ? `^(${defined.join("|")})$` : undefined }],
    },
  };
}

export default [
  js.configs.recommended,
  {
    rules: {
      eqeqeq: "error",
      "id-length": nameLengths(EXCEPTIONS),
      "max-lines-per-function": ["error", { max: 50, skipBlankLines: true, skipComments: true }],
      "no-control-regex": "off",
      "no-implicit-globals": "off",
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  script("common.js", COMMON, []),
  script("trace.js", TRACE, COMMON),
  script("serve.js", [], [...COMMON, ...TRACE]),
  script("random.js", RANDOM, []),
  script("autograd.js", AUTOGRAD, [], [...LETTERS, "d", "j"]),
  script("cells.js", CELLS, AUTOGRAD, LETTERS),
  script("training.js", TRAINING, [...RANDOM, ...AUTOGRAD, ...CELLS], LETTERS),
  script("trained_network.js", NETWORK, [...AUTOGRAD, ...CELLS, ...TRAINING]),
  script("playground_texts.js", TEXTS, []),
  script("playground_run.js", RUN, [...COMMON, ...RANDOM, ...NETWORK]),
  script("playground.js", [], [...COMMON, ...AUTOGRAD, ...CELLS, ...TRAINING, ...TEXTS, ...RUN]),
];
