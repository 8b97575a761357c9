"""A recurrent cell as a plain PyTorch module, for docs/cells.md: `ohlol train FILE --cell my_cell:MyCell`."""

import torch


class MyCell(torch.nn.Module):
    """One gate, which chooses between the old state and a new value."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.linear = torch.nn.Linear(input_size + hidden_size, 2 * hidden_size)

    def forward(self, x, h):
        """One step: x (B, I) and the state h (B, H) to the next state."""
        z, n = self.linear(torch.cat([x, h], dim=1)).chunk(2, dim=1)
        z = torch.sigmoid(z)
        n = torch.tanh(n)
        return (1 - z) * h + z * n
