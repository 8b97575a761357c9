"""The Python API in a few lines: train on a pair, predict, and load the saved run again."""

import ohlol

model = ohlol.fit([("hello", "ohlol")], out="runs/hello-python", seed=1)
print("".join(model.predict("hello").labels))  # ohlol

loaded = ohlol.load("runs/hello-python")
print(loaded.predict("hello", n_best=2).best[0][0][0])  # o
