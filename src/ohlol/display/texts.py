"""The texts of figures, pages and tables by key, in English; the catalogue has their translations.

The scripts of the pages get them by their keys, in both languages; some keys are composed, as `loss_mean`.
"""

from ohlol.utils.translation import LANGUAGES, message_id, translate

TEXTS: dict[str, str] = {
    # the model
    "model": message_id("{cell}, {layers} x {hidden_size}"),
    "bidirectional": message_id("bidirectional"),
    "head_identity": message_id("head identity: the hidden state is the logits"),
    "difference": message_id("The equations and the model differ by at most {value}."),
    "difference_lines": message_id("The cell in float64 and the model differ by at most {value}."),
    "layer": message_id("layer {layer}"),
    "forward": message_id("forward"),
    "backward": message_id("backward"),
    # time steps and predictions
    "step": message_id("step {t}"),
    "input": message_id("input"),
    "top_labels": message_id("top {count}"),
    "target": message_id("target"),
    "weight": message_id("weight"),
    "pooled": message_id("the head reads r: {equation}"),
    "loss": message_id("loss"),
    "loss_mean": message_id("loss {value}, mean of {count}"),
    "loss_sum": message_id("loss {value}, sum of {count}"),
    "prediction": message_id("prediction"),
    "label": message_id("label"),
    "logit": message_id("logit"),
    "probability": message_id("probability"),
    "neuron": message_id("neuron"),
    "sum": message_id("sum"),
    "gradient": message_id("gradient of the loss"),
    "more_neurons": message_id("{count} more neurons"),
    "gate": message_id("gate"),
    "gate_h": message_id("new state"),
    "gate_r": message_id("reset gate"),
    "gate_z": message_id("update gate"),
    "gate_n": message_id("candidate state"),
    "gate_i": message_id("input gate"),
    "gate_f": message_id("forget gate"),
    "gate_g": message_id("candidate cell state"),
    "gate_o": message_id("output gate"),
    "no_source": message_id("(the source of this line is not available)"),
    "no_lines": message_id("This cell has no source lines: it is compiled, or torch's own."),
    "state": message_id("state"),
    "state_h": message_id("hidden state"),
    "state_c": message_id("cell state"),
    # saliency
    "influence_length": message_id("After {steps} steps the influence of an input stays below 1 % of its peak."),
    "no_influence_length": message_id(
        "Within these {steps} steps the influence does not stay below 1 % of its peak: use a longer text."
    ),
    "bptt": message_id("Recommended for training: bptt = {steps}."),
    # neurons
    "tracks": message_id("{neuron} tracks {feature}"),
    "evidence": message_id("r = {r} on the second half of the text, {r_selection} on the first; most active at:"),
    "no_finding": message_id("No neuron tracks any of these features with |r| of at least {least}."),
    "not_tracked": message_id("The best neuron of each feature with |r| below {least}:"),
    "matches": message_id("The neurons that are on over {text} are also on at (step, share of them):"),
    "feature_position_in_the_line": message_id("position in the line"),
    "feature_position_in_the_word": message_id("position in the word"),
    "feature_inside_quotes": message_id("inside quotes"),
    "feature_inside_brackets": message_id("inside brackets"),
    "feature_after_a_space": message_id("after a space"),
    "feature_after_a_line_end": message_id("after a line end"),
    "feature_a_space": message_id("a space"),
    "feature_a_line_end": message_id("a line end"),
    "feature_upper_case": message_id("upper case"),
    "feature_a_digit": message_id("a digit"),
    "feature_a_vowel": message_id("a vowel"),
    "feature_punctuation": message_id("punctuation"),
    # cell, layer and matrix products
    "prove": message_id("{cell}: the same weights, {count} implementations"),
    "prove_scale": message_id("{sizes}. Largest difference from {reference} in float64:"),
    "prove_products": message_id("plain matrix products"),
    "prove_loop": message_id("the cell in a loop"),
    "prove_in_loop": message_id("{name} in a loop"),
    "prove_states": message_id("states"),
    "prove_gradients": message_id("gradients"),
    "prove_converted": message_id("Cell weights -> layer weights -> cell weights: equal bit for bit."),
    "prove_not_converted": message_id("Cell weights -> layer weights -> cell weights: NOT equal."),
    # the review of a program
    "review_instead": message_id("instead"),
    "review_page": message_id("read"),
    "review_none": message_id("{name}: none of the known mistakes"),
    "review_one": message_id("{name}: 1 finding"),
    "review_count": message_id("{name}: {count} findings"),
    "review_call": message_id("line {line}: {layer} reads {shape}"),
    "review_stopped": message_id("The program was stopped at the time limit."),
    "review_error": message_id("The program ended with an error: {error}"),
    # the end of a training
    "end_stopped": message_id(
        "stopped after epoch {epoch} of {epochs} (`patience`): no better {metric} since epoch {best}, whose "
        "weights are kept"
    ),
    "end_stopped_early": message_id(
        "stopped after epoch {epoch} (`patience`): no better {metric} since epoch {best}, whose weights are kept"
    ),
    "end_best": message_id("no better {metric} since epoch {best}: the weights of epoch {best} are kept"),
    "end_improving": message_id("the last epoch was the best: train again with more `epochs`"),
    "end_improving_time": message_id(
        "the last epoch was the best when the time was over: train again with more `minutes`"
    ),
    # a loss compared with its baselines
    "baseline": message_id("loss {loss} nats per prediction, the mean of {count}, compared with"),
    "baseline_forecast": message_id("loss {loss}, mean squared error of {count} standardized values, compared with"),
    "forecast_start": message_id("exponential smoothing alone, without the network: {metrics}"),
    "forecast_start_kept": message_id(
        "exponential smoothing alone is best ({metrics}): the network found nothing to correct, and changes nothing"
    ),
    "run_start": message_id("the run that this one started from, on the same data: {metrics}"),
    "run_start_kept": message_id(
        "the run that this one started from is best on these data ({metrics}): its weights are kept"
    ),
    "baseline_summed": message_id("the same loss summed over a sequence, as training shows it"),
    "baseline_uniform": message_id("all labels equally probable, ln {labels}"),
    "baseline_even": message_id("probability 0.5 for every label, ln 2"),
    "baseline_shares": message_id("share of each label in the data that were measured"),
    "baseline_frequencies": message_id("label frequencies of the training data"),
    "baseline_mean": message_id("always the mean of the training data, measured on that data"),
    "baseline_lower_bound": message_id("the minimum for logits between -1 and 1; not with `head=softmax`"),
    "baseline_not_beaten": message_id("This is no better than guessing: train longer, or try another `lr`."),
    # the scores of classes
    "class": message_id("class"),
    "precision": message_id("precision"),
    "recall": message_id("recall"),
    "support": message_id("support"),
    "macro_mean": message_id("macro mean"),
    "weighted_mean": message_id("weighted mean"),
    "calibration": message_id("accuracy {accuracy}; expected calibration error {error}, in {bins} bins of confidence"),
    "confusion_target": message_id("target (number)"),
    "confusion_predicted": message_id("predicted"),
    "confusion_title": message_id("share of each target, per cent"),
    "confusion_left_out": message_id("share of each target, per cent; the {count} most frequent of {all} classes"),
    # packing
    "packing_title": message_id("{module}: sequences of unequal lengths in one batch"),
    "packing_padded": message_id("Padding"),
    "packing_padded_how": message_id(
        "The sequences are padded with zeros to the longest, so that they fit in one tensor; . is padding. Of {all} "
        "steps {padding} are padding."
    ),
    "packing_sorting": message_id("Order of the sequences"),
    "packing_sorted": message_id(
        "The lengths are in descending order, so nothing is sorted and both indices are None. Another order needs "
        "enforce_sorted=False."
    ),
    "packing_unsorted": message_id(
        "enforce_sorted=False sorts the sequences by length, the longest first: {order}. sorted_indices[k] is the "
        "sequence in place k, unsorted_indices[b] the place of sequence b; the layer uses it to return h_n in the "
        "order of the input."
    ),
    "packing_packed": message_id("What pack_padded_sequence returns"),
    "packing_packed_how": message_id(
        "data holds the steps without the padding, one time step after the other. batch_sizes[t] is the number of "
        "sequences that have a step t."
    ),
    "packing_loop": message_id("The loop over the time steps"),
    "packing_loop_how": message_id(
        "At step t only the first batch_sizes[t] rows of the state are computed. A sequence that has ended keeps its "
        "state."
    ),
    "packing_loop_backward": message_id(
        "The backward direction runs the same loop from the last time step to the first: a sequence joins at its own "
        "last step."
    ),
    "packing_rows": message_id("rows"),
    "packing_alive": message_id("alive"),
    "packing_ended": message_id("ends here"),
    "packing_final": message_id("What h_n has"),
    "packing_final_how": message_id(
        "h_n has each sequence's state after its own last step, not after the last time step of the batch; the rows "
        "of the top layer are:"
    ),
    "packing_step": message_id("step", "a heading"),
    "packing_direction": message_id("direction"),
    "packing_without": message_id("Without packing"),
    "packing_with": message_id("h_n packed"),
    "packing_not": message_id("h_n without"),
    "packing_h_n": message_id("difference"),
    "packing_output": message_id("of output"),
    "packing_sequence": message_id("sequence"),
    "packing_length": message_id("length"),
    "packing_nothing": message_id("All sequences are equally long: there is no padding, and packing changes nothing."),
    "packing_unpacked": message_id(
        "Without packing the layer reads the padding as well. A zero is an input like any other: biases and state "
        "still change h, and h_n is the state after {steps} steps for every sequence."
    ),
    "packing_unpacked_forward": message_id(
        "output is still right at the sequence's own steps, since the padding comes after them."
    ),
    "packing_unpacked_backward": message_id(
        "The backward direction even starts with the padding: its output differs at the sequence's own steps too."
    ),
    "packing_unpacked_layers": message_id(
        " So does that of the forward direction, since the second layer reads both directions of the first."
    ),
    "packing_differences": message_id(
        "The differences are the largest ones: of h_n, and of output at the sequence's own steps."
    ),
    "packing_tensors": message_id("Shapes"),
    "packing_tensor": message_id("tensor"),
    "packing_letters": message_id("letters"),
    "packing_shape": message_id("shape"),
    "packing_wrong": message_id("Wrong calls"),
    "packing_no_error": message_id("No error! packed.data is {shape} instead of {expected}."),
    "packing_no_error_same": message_id("No error, and the same shape! But the rows of data are other steps."),
    "packing_fix_batch_first": message_id("The input is {given}; batch_first={value} takes {taken}."),
    "packing_fix_order": message_id("Pass enforce_sorted=False, or sort the sequences by length."),
    # learning curves
    "curve_loss": message_id("loss, nats"),
    "curve_absolute_error": message_id("loss, absolute error of standardized values"),
    "curve_squared_error": message_id("loss, squared error of standardized values"),
    "curve_quantile_loss": message_id("loss, quantile loss of scaled values"),
    "curve_summed_loss": message_id("training loss, summed over a sequence"),
    "curve_metric": message_id("{name}"),
    "curve_grad_norm": message_id("gradient norm before clipping"),
    "curve_saturation": message_id("share of hidden values with |h| > 0.95"),
    "in_training": message_id("in training"),
    "measured": message_id("measured"),
    "steps": message_id("step", "an axis"),
    # forecasts
    "forecast_title": message_id("Forecast"),
    "forecast_time": message_id("time"),
    "forecast_row": message_id("row"),
    "forecast_history": message_id("history"),
    "forecast_point": message_id("forecast"),
    "forecast_interval": message_id("{percent} % interval"),
    "forecast_left_out": message_id("not drawn: {count} more series or columns"),
    # a backtest
    "backtest_summary": message_id(
        "series: {series}   origins: {origins}   steps: {steps}   season: {season}   values: {values}"
    ),
    "backtest_model": message_id("model"),
    "backtest_seasonal_naive": message_id("seasonal naive"),
    "backtest_naive": message_id("naive"),
    "backtest_by_step": message_id("MASE by step"),
    "backtest_inside": message_id("{intervals}: per cent of the values inside of this interval. MSIS: of the widest."),
    "backtest_left_out": message_id("left out, since they are too short: {count} of {all} series"),
    "backtest_missing": message_id("{column}: missing, and not measured: {count} values"),
    "backtest_constant": message_id(
        "{column}: left out of MASE and MSIS: {count} forecasts, whose history is constant or not longer than a season"
    ),
    "backtest_beaten": message_id(
        "The model beats the {baseline} forecast: MASE {model} against {other}, lower by {difference}."
    ),
    "backtest_not_beaten": message_id(
        "The model does not beat the {baseline} forecast: MASE {model} against {other}, higher by {difference}."
    ),
    "backtest_unscaled": message_id("The model is not compared with the {baseline} forecast, since there is no MASE."),
    # a study
    "trial": message_id("trial"),
    "study_history": message_id("{name} of each trial"),
    "study_importance": message_id("importance of each setting"),
    "study_few": message_id("{count} complete trials are too few to estimate the importance."),
    "study_against": message_id("{name} against {setting}"),
    "study_complete": message_id("complete"),
    "study_pruned": message_id("pruned"),
    "study_so_far": message_id("best so far"),
    "study_choice": message_id("{count} complete"),
    "study_choice_metrics": message_id("best {best}   median {median}"),
    "study_counts": message_id("{complete} complete, {pruned} pruned, {failed} failed, {running} running"),
    # the page of a trace
    "text": message_id("Text"),
    "labels_below": message_id(
        "Below each symbol: the five most probable labels; the stronger the colour, the higher the probability."
    ),
    "color_by": message_id("Colour by"),
    "color_saliency": message_id("saliency: influence on this prediction"),
    "color_weight": message_id("weight of each step"),
    "color_neuron": message_id("state of one neuron"),
    "color_loss": message_id("loss of each prediction"),
    "measure_gradient": message_id("gradient"),
    "measure_ablation": message_id("ablation"),
    "network": message_id("The network, unrolled through time"),
    "network_hint": message_id(
        "Select a time step with the slider, the arrow keys or a click. Point at a neuron to colour the text by it."
    ),
    "gates": message_id("Gates and states over time"),
    "gates_hint": message_id("Each row is a neuron, each column a time step. Click to select a time step."),
    "arithmetic": message_id("Computation at step {step}"),
    "source_line": message_id("line {line}"),
    "lines_title": message_id("Source lines and what they compute"),
    "terms_left_out": message_id(
        "The terms are left out to limit the size of this page; `ohlol explain --step {step}` shows them."
    ),
    "prediction_at": message_id("Prediction at step {step}"),
    "influence": message_id("influence on the prediction"),
    "low": message_id("low"),
    "high": message_id("high"),
    "previous": message_id("Previous step"),
    "next": message_id("Next step"),
    "play": message_id("Play"),
    "pause": message_id("Pause"),
    "theme": message_id("Light or dark"),
    "epoch": message_id("epoch"),
    "earlier": message_id("Earlier epoch"),
    "later": message_id("Later epoch"),
    "play_epochs": message_id("Play epochs"),
    "training_history": message_id("Training history"),
    "training_history_hint": message_id(
        "Predictions after each epoch; 0 is before training. Select an epoch to show the network as it was then."
    ),
    "keys": message_id(
        "Keys: left and right move by a step, with Shift by an epoch; Home and End move to the ends, space plays."
    ),
    # the page of a server
    "try": message_id("Try it"),
    "train": message_id("Train", "a heading"),
    "reference": message_id("API reference"),
    "key_needed": message_id("This server requires an API key"),
    "key_use": message_id("Use it"),
    "key_wrong": message_id("The key is wrong."),
    "no_server": message_id("The server does not answer."),
    "lost": message_id("The connection is lost; trying again."),
    "served_model": message_id("Model"),
    "parameters": message_id("{count} parameters"),
    "typed": message_id("Type here"),
    "typed_stream": message_id(
        "The model reads one symbol per time step while you type. Point at a symbol, or use the arrow keys, to see "
        "its most probable labels."
    ),
    "typed_whole": message_id(
        "The model is bidirectional, so the whole text is read again after each change. Point at a symbol, or use "
        "the arrow keys, to see its most probable labels."
    ),
    "typed_next": message_id("Below each symbol: the most probable next symbol."),
    "typed_numbers": message_id("This model reads numbers: see predict with rows in the API reference."),
    "read_as_unknown": message_id("not in the training data, read as <unk>"),
    "explain_this": message_id("Explain this"),
    "close": message_id("Close"),
    "generate": message_id("Generate", "a heading"),
    "generate_hint": message_id("The model continues the text above."),
    "generate_start": message_id("Generate", "a button"),
    "stop": message_id("Stop"),
    "temperature": message_id("temperature"),
    "top_k": message_id("top-k, 0 for all"),
    "length": message_id("symbols"),
    "pairs": message_id("Train a network"),
    "pair_input": message_id("input"),
    "pair_target": message_id("target"),
    "add_pair": message_id("Add a pair"),
    "remove": message_id("Remove"),
    "train_limits": message_id(
        "Each input has a target of the same length, one character per time step. The server trains at most {pairs} "
        "pairs of {symbols} characters, {epochs} epochs, {hidden} neurons and {seconds} seconds, in {trainings} "
        "sessions at once."
    ),
    "cell": message_id("cell"),
    "head": message_id("linear head"),
    "hidden_size": message_id("hidden size"),
    "epochs": message_id("epochs"),
    "learning_rate": message_id("learning rate"),
    "seed": message_id("seed"),
    "speed": message_id("speed"),
    "speed_slow": message_id("slow"),
    "speed_steady": message_id("medium"),
    "speed_fast": message_id("fastest"),
    "train_start": message_id("Train", "a button"),
    "cancel": message_id("Cancel"),
    "train_begins": message_id("Starting"),
    "train_running": message_id("Epoch {epoch} of {epochs}"),
    "train_done": message_id("Done: {right} of {all} correct with the best weights"),
    "train_cancelled": message_id("Cancelled after epoch {epoch}"),
    "train_ended": message_id("Ended: {why}"),
    "predictions": message_id("Predictions"),
    "mean_probability": message_id("mean probability {percent}"),
    "loss_by_epoch": message_id("Loss per epoch"),
    "hidden_states": message_id("Hidden states"),
    "hidden_states_hint": message_id("After each symbol, one row per neuron; blue is negative, orange positive."),
    "open_training": message_id("Explain this training"),
}
"""Key -> English text."""
CONTEXTS = {
    "generate": "a heading",
    "generate_start": "a button",
    "packing_step": "a heading",
    "steps": "an axis",
    "train": "a heading",
    "train_start": "a button",
}
"""The context of a text, by its key, where another one has the same English text and another translation."""


def text(key: str, lang: str, **values: object) -> str:
    """Return one text with its placeholders filled in.

    >>> text("step", "en", t=8)
    'step 8'
    """
    return translate(TEXTS[key], lang=lang, context=CONTEXTS.get(key), **values)


def name_symbol(kind: str, symbol: str, lang: str) -> str:
    """The name of a gate or state; that of its kind for a symbol of a cell without a translation.

    >>> name_symbol("gate", "r", "en"), name_symbol("gate", "q", "en")
    ('reset gate', 'gate')
    """
    key = f"{kind}_{symbol}"
    return text(key if key in TEXTS else kind, lang)


def texts_by_language() -> dict[str, dict[str, str]]:
    """Return every text by language and key, for the pages."""
    return {lang: {key: text(key, lang) for key in TEXTS} for lang in LANGUAGES}
