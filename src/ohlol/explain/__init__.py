"""What a network computes, as numbers: traces, saliency, neurons, equivalence, history, shapes and curves."""
