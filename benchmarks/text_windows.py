"""A language model of characters, scored as nanoGPT scores its example of characters: windows from random places.

    python benchmarks/text_windows.py FILE [--run RUN] [--windows N] [--length T] [--quick]

nanoGPT keeps the last tenth of the text apart, draws windows of 256 characters from it, 64 at a time and 200 times, and
reports the mean loss: a window is read from its beginning, without what precedes it. `ohlol evaluate` reads the text
from its beginning to its end, so that a prediction can use all that precedes it. Both are printed. Without RUN, a model
is trained on FILE with the default settings.
Source: karpathy/nanoGPT, config/train_shakespeare_char.py and `estimate_loss` in train.py.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from timing import parse_arguments

import ohlol

SEED = 0
QUICK = {"hidden_size": 8, "embedding_size": 4, "epochs": 1}


def main() -> None:
    """Print the loss of the whole text and of the windows, in nats and in bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--windows", type=int, default=200 * 64)
    parser.add_argument("--length", type=int, default=256)
    arguments = parse_arguments(parser, windows=4, length=16)
    settings = QUICK if arguments.quick else {}
    model = ohlol.load(arguments.run) if arguments.run else ohlol.fit(arguments.file, **settings)
    text = arguments.file.read_text(encoding="utf-8")
    text, length = text[int(0.9 * len(text)) :], arguments.length
    starts = np.random.default_rng(SEED).integers(len(text) - length, size=arguments.windows)
    windows = [text[start : start + length + 1] for start in starts]  # a window has `length` predictions
    for name, texts in (("the whole text", [text]), (f"{len(windows):,} windows of {length}", windows)):
        loss = model.evaluate(model.raw_data(texts)).mean_loss
        print(f"{name}: {loss:.4f} nats, {loss / math.log(2):.4f} bits per character")


if __name__ == "__main__":
    main()
