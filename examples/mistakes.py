"""A program with mistakes, for docs/review.md: which of five names is Italian?"""

import torch
from torch import nn

NAMES = ["rossi", "bianchi", "smith", "russo", "brown"]
ITALIAN = torch.tensor([1, 1, 0, 1, 0])
LETTERS = sorted(set("".join(NAMES)))


class Classifier(nn.Module):
    """An LSTM in both directions."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1 + len(LETTERS), 8, padding_idx=0)
        self.lstm = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(32, 2)

    def forward(self, x):
        """Ids (B, T) to what should be logits (B, 2)."""
        _, (h_n, _) = self.lstm(self.embedding(x))
        state = torch.cat([h_n[-1], h_n[-1]], dim=1)
        return torch.softmax(self.linear(state), dim=1)


ids = [torch.tensor([1 + LETTERS.index(letter) for letter in name]) for name in NAMES]
x = nn.utils.rnn.pad_sequence(ids, batch_first=True)
model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()
for _ in range(20):
    loss = criterion(model(x), ITALIAN)
    loss.backward()
    optimizer.step()
print(loss.item())
