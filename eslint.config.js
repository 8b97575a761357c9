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
const TRACE = ["createTileLabel", "drawMaps", "redrawTrace", "showTrace", "stopPlayers", "trace", "updateTexts"];

function readonly(names) {
  return Object.fromEntries(names.map((name) => [name, "readonly"]));
}

// a script may define names that only later scripts use
function script(file, defined, used) {
  return {
    files: [`src/ohlol/display/web/${file}`],
    languageOptions: { sourceType: "script", globals: readonly([...BROWSER, ...used]) },
    rules: {
      "no-unused-vars": ["error", { varsIgnorePattern: defined.length ? `^(${defined.join("|")})$` : undefined }],
    },
  };
}

export default [
  js.configs.recommended,
  {
    rules: {
      eqeqeq: "error",
      "id-length": [
        "error",
        { min: 2, properties: "never", exceptions: ["a", "b", "h", "i", "k", "t", "v", "x", "y", "_"] },
      ],
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
];
