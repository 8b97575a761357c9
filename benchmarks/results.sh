#!/usr/bin/env bash
# The runs of docs/results.md, on the data of OHLOL_DATA (default ../shared/data). Usage: results.sh [NAME...]
set -euo pipefail
data=${OHLOL_DATA:-../shared/data}
out=${OHLOL_RUNS:-runs}

ewt() {
  ohlol train "$data/ewt/en_ewt-ud-train.conllu" --dev "$data/ewt/en_ewt-ud-dev.conllu" --out "$out/ewt"
  ohlol evaluate "$out/ewt" "$data/ewt/en_ewt-ud-test.conllu"
}

tinyshakespeare() {
  ohlol train "$data/tinyshakespeare/input.txt" --out "$out/tinyshakespeare"
  ohlol generate "$out/tinyshakespeare" --prompt "ROMEO:" --length 600 --seed 1
}

names() {
  ohlol train "$data/names/names_train.csv" --input 1 --target 2 --out "$out/names"
  ohlol evaluate "$out/names" "$data/names/names_test.csv"
}

udc() {
  ohlol train "$data/udc/train.conll" --format segment --dev "$data/udc/dev.conll" --head softmax --out "$out/udc"
  ohlol evaluate "$out/udc" "$data/udc/test.conll"
}

m4hourly() {
  ohlol train "$data/m4hourly/Hourly-train.csv" --layout wide --horizon 48 --out "$out/m4hourly"
  ohlol predict "$out/m4hourly" "$data/m4hourly/Hourly-train.csv" --intervals 95 >"$out/m4hourly.csv"
}

for name in "${@:-ewt tinyshakespeare names udc m4hourly}"; do
  for one in $name; do
    echo "== $one"
    time "$one"
  done
done
