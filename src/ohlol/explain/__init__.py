"""What a network does, as numbers: traces, saliency, neurons, equivalence, curves, shapes."""
