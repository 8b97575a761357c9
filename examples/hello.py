"""The Python API in a few lines: train on a pair, look at the labels, save a run and load it again."""

import ohlol

model = ohlol.fit([("hello", "ohlol")], out="runs/hello-python", seed=1)
print("".join(model.predict("hello").labels))  # ohlol

same = ohlol.load("runs/hello-python")
print(same.predict("hello", n_best=2).best[0][0][0])  # o
