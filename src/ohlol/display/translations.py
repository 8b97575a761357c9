"""The texts of the terminal output, the figures and the pages, in English and Chinese."""

import os
from collections.abc import Mapping

from ohlol.utils.errors import InputError

LANGUAGES = ("en", "zh")

TEXTS: dict[str, tuple[str, str]] = {
    # the model
    "model": ("{cell}, {layers} x {hidden_size}", "{cell}，{layers} 层，隐藏维度 {hidden_size}"),
    "bidirectional": ("bidirectional", "双向"),
    "head_identity": ("head identity: the hidden state is the logits", "输出头 identity：隐藏状态就是 logits"),
    "difference": (
        "The equations and the model differ by at most {value}.",
        "按公式计算的结果与模型前向计算的结果最多相差 {value}。",
    ),
    "difference_lines": (
        "The cell in float64 and the model differ by at most {value}.",
        "单元按 float64 计算的结果与模型前向计算的结果最多相差 {value}。",
    ),
    "layer": ("layer {layer}", "第 {layer} 层"),
    "forward": ("forward", "正向"),
    "backward": ("backward", "反向"),
    # time steps and predictions
    "step": ("step {t}", "第 {t} 步"),
    "input": ("input", "输入"),
    "top_labels": ("top {count}", "前 {count} 名"),
    "target": ("target", "目标"),
    "weight": ("weight", "权重"),
    "pooled": ("the head reads r: {equation}", "输出层读取 r：{equation}"),
    "loss": ("loss", "损失"),
    "loss_mean": ("loss {value}, mean of {count}", "损失 {value}，{count} 步的平均值"),
    "loss_sum": ("loss {value}, sum of {count}", "损失 {value}，{count} 步之和"),
    "prediction": ("prediction", "预测"),
    "label": ("label", "标签"),
    "logit": ("logit", "logit 值"),
    "probability": ("probability", "概率"),
    "neuron": ("neuron", "神经元"),
    "sum": ("sum", "求和"),
    "gradient": ("gradient of the loss", "损失的梯度"),
    "more_neurons": ("{count} more neurons", "另有 {count} 个神经元"),
    "gate": ("gate", "门"),
    "gate_h": ("new state", "新状态"),
    "gate_r": ("reset gate", "重置门"),
    "gate_z": ("update gate", "更新门"),
    "gate_n": ("candidate state", "候选状态"),
    "gate_i": ("input gate", "输入门"),
    "gate_f": ("forget gate", "遗忘门"),
    "gate_g": ("candidate cell state", "候选细胞状态"),
    "gate_o": ("output gate", "输出门"),
    "no_source": ("(the source of this line is not available)", "（没有这一行的源代码）"),
    "no_lines": (
        "This cell has no source lines: it is compiled, or torch's own.",
        "该单元没有源代码行：已编译，或为 torch 自带。",
    ),
    "state": ("state", "状态"),
    "state_h": ("hidden state", "隐藏状态"),
    "state_c": ("cell state", "细胞状态"),
    # saliency
    "influence_length": (
        "After {steps} steps the influence of an input stays below 1 % of its peak.",
        "经过 {steps} 步，输入的影响就一直低于峰值的 1%。",
    ),
    "no_influence_length": (
        "Within these {steps} steps the influence does not stay below 1 % of its peak: use a longer text.",
        "在这 {steps} 步之内，影响没有稳定降到峰值的 1% 以下：请换一段更长的文本。",
    ),
    "bptt": ("Recommended for training: bptt = {steps}.", "训练时建议 bptt = {steps}。"),
    # neurons
    "tracks": ("{neuron} tracks {feature}", "{neuron} 跟踪的特征：{feature}"),
    "evidence": (
        "r = {r} on the second half of the text, {r_selection} on the first; most active at:",
        "文本后半部分 r = {r}，前半部分 r = {r_selection}；最活跃的位置：",
    ),
    "no_finding": (
        "No neuron tracks any of these features with |r| of at least {least}.",
        "没有神经元以 |r| ≥ {least} 跟踪这些特征。",
    ),
    "not_tracked": (
        "The best neuron of each feature with |r| below {least}:",
        "|r| 低于 {least} 的特征，各列出最好的神经元：",
    ),
    "matches": (
        "The neurons that are on over {text} are also on at (step, share of them):",
        "在“{text}”处激活的神经元，还在以下位置激活（步，比例）：",
    ),
    "feature_position_in_the_line": ("position in the line", "行内位置"),
    "feature_position_in_the_word": ("position in the word", "词内位置"),
    "feature_inside_quotes": ("inside quotes", "引号内"),
    "feature_inside_brackets": ("inside brackets", "括号内"),
    "feature_after_a_space": ("after a space", "空格之后"),
    "feature_after_a_line_end": ("after a line end", "换行之后"),
    "feature_a_space": ("a space", "空格"),
    "feature_a_line_end": ("a line end", "换行"),
    "feature_upper_case": ("upper case", "大写"),
    "feature_a_digit": ("a digit", "数字"),
    "feature_a_vowel": ("a vowel", "元音"),
    "feature_punctuation": ("punctuation", "标点"),
    # cell, layer and matrix products
    "prove": ("{cell}: the same weights, {count} implementations", "{cell}：同一组权重，{count} 种实现"),
    "prove_scale": (
        "{sizes}. Largest difference from {reference} in float64:",
        "{sizes}。与 float64 {reference}的最大差异：",
    ),
    "prove_products": ("plain matrix products", "矩阵乘法"),
    "prove_loop": ("the cell in a loop", "循环调用单元"),
    "prove_states": ("states", "状态"),
    "prove_gradients": ("gradients", "梯度"),
    "prove_converted": (
        "Cell weights -> layer weights -> cell weights: equal bit for bit.",
        "cell 权重 -> layer 权重 -> cell 权重：逐位相同。",
    ),
    "prove_not_converted": (
        "Cell weights -> layer weights -> cell weights: NOT equal.",
        "cell 权重 -> layer 权重 -> cell 权重：不相同！",
    ),
    # the review of a program
    "review_instead": ("instead", "改为"),
    "review_page": ("read", "说明"),
    "review_none": ("{name}: none of the known mistakes", "{name}：没有发现已知的错误"),
    "review_one": ("{name}: 1 finding", "{name}：发现 1 处"),
    "review_count": ("{name}: {count} findings", "{name}：发现 {count} 处"),
    "review_call": ("line {line}: {layer} reads {shape}", "第 {line} 行：{layer} 读到 {shape}"),
    "review_stopped": ("The program was stopped at the time limit.", "程序到达时间限制，已停止。"),
    "review_error": ("The program ended with an error: {error}", "程序出错结束：{error}"),
    # the end of a training
    "end_stopped": (
        "stopped after epoch {epoch} of {epochs} (`--patience`): no better {metric} since epoch {best}, whose weights "
        "are kept",
        "在第 {epoch} 个 epoch（共 {epochs} 个）停止（`--patience`）：自第 {best} 个 epoch 起 {metric} 没有改善，"
        "保留该 epoch 的权重",
    ),
    "end_stopped_early": (
        "stopped after epoch {epoch} (`--patience`): no better {metric} since epoch {best}, whose weights are kept",
        "在第 {epoch} 个 epoch 停止（`--patience`）：自第 {best} 个 epoch 起 {metric} 没有改善，保留该 epoch 的权重",
    ),
    "end_best": (
        "no better {metric} since epoch {best}: the weights of epoch {best} are kept",
        "自第 {best} 个 epoch 起 {metric} 没有改善：保留该 epoch 的权重",
    ),
    "end_improving": (
        "the {metric} still improved in the last epoch: train with more `--epochs`",
        "最后一个 epoch 的 {metric} 仍在改善：请增大 `--epochs` 继续训练",
    ),
    "end_improving_time": (
        "the {metric} still improved when the time was over: train with more `--minutes`",
        "时间用完时 {metric} 仍在改善：请增大 `--minutes` 继续训练",
    ),
    # a loss compared with its baselines
    "baseline": (
        "loss {loss} nats per prediction, the mean of {count}, compared with",
        "每个预测的损失为 {loss} 奈特（{count} 个的平均值），对照：",
    ),
    "baseline_forecast": (
        "loss {loss}, mean squared error of {count} standardized values, compared with",
        "损失 {loss}，即 {count} 个标准化数值的均方误差，对照：",
    ),
    "forecast_start": (
        "exponential smoothing alone, without the network: {metrics}",
        "仅指数平滑、不用网络：{metrics}",
    ),
    "forecast_start_kept": (
        "exponential smoothing alone is best ({metrics}): the network found nothing to correct, and changes nothing",
        "仅指数平滑最好（{metrics}）：网络没有找到可修正之处，不作改动",
    ),
    "baseline_summed": (
        "the same loss summed over a sequence, as training shows it",
        "同一损失对一个序列求和，即训练时显示的值",
    ),
    "baseline_uniform": ("all labels equally probable, ln {labels}", "所有标签等概率，即 ln {labels}"),
    "baseline_even": ("probability 0.5 for every label, ln 2", "每个标签的概率均为 0.5，即 ln 2"),
    "baseline_shares": ("share of each label in the data that were measured", "按所测数据中各标签的占比预测"),
    "baseline_frequencies": ("label frequencies of the training data", "按训练数据中各标签的频率预测"),
    "baseline_mean": (
        "always the mean of the training data, measured on that data",
        "总是预测训练数据的平均值（在训练数据上测得）",
    ),
    "baseline_lower_bound": (
        "the minimum for logits between -1 and 1; not with `head=softmax`",
        "logits 限于 -1 与 1 之间时的最小值；设 `head=softmax` 即可去掉这一限制",
    ),
    "baseline_not_beaten": (
        "This is no better than guessing: train longer, or try another `lr`.",
        "这并不比猜测更好：请训练更久，或换一个 `lr`。",
    ),
    # the scores of classes
    "class": ("class", "类别"),
    "precision": ("precision", "精确率"),
    "recall": ("recall", "召回率"),
    "support": ("support", "样本数"),
    "macro_mean": ("macro mean", "宏平均"),
    "weighted_mean": ("weighted mean", "加权平均"),
    "calibration": (
        "accuracy {accuracy}; expected calibration error {error}, in {bins} bins of confidence",
        "准确率 {accuracy}；期望校准误差 {error}（按置信度分 {bins} 组）",
    ),
    "confusion_target": ("target (number)", "目标（数量）"),
    "confusion_predicted": ("predicted", "预测"),
    "confusion_title": ("share of each target, per cent", "占各目标的百分比"),
    "confusion_left_out": (
        "share of each target, per cent; the {count} most frequent of {all} classes",
        "占各目标的百分比；{all} 个类别中最常见的 {count} 个",
    ),
    # learning curves
    "curve_loss": ("loss, nats", "损失（奈特）"),
    "curve_absolute_error": ("loss, absolute error of standardized values", "损失（标准化数值的平均绝对误差）"),
    "curve_squared_error": ("loss, squared error of standardized values", "损失（标准化数值的均方误差）"),
    "curve_quantile_loss": ("loss, quantile loss of scaled values", "损失（缩放后数值的分位数损失）"),
    "curve_summed_loss": ("training loss, summed over a sequence", "训练损失，对一个序列求和"),
    "curve_metric": ("{name}", "指标：{name}"),
    "curve_grad_norm": ("gradient norm before clipping", "裁剪前的梯度范数"),
    "curve_saturation": ("share of hidden values with |h| > 0.95", "|h| > 0.95 的隐藏值所占比例"),
    "in_training": ("in training", "训练中"),
    "measured": ("measured", "评估"),
    "steps": ("step", "步"),
    # forecasts
    "forecast_title": ("Forecast", "预测"),
    "forecast_time": ("time", "时间"),
    "forecast_row": ("row", "行"),
    "forecast_history": ("history", "历史"),
    "forecast_point": ("forecast", "预测"),
    "forecast_interval": ("{percent} % interval", "{percent}% 区间"),
    "forecast_left_out": ("not drawn: {count} more series or columns", "未画出的序列或列：另有 {count} 个"),
    # a backtest
    "backtest_summary": (
        "series: {series}   origins: {origins}   steps: {steps}   season: {season}   values: {values}",
        "序列：{series}   起点：{origins}   步数：{steps}   季节：{season}   数值：{values}",
    ),
    "backtest_model": ("model", "模型"),
    "backtest_seasonal_naive": ("seasonal naive", "季节朴素法"),
    "backtest_naive": ("naive", "朴素法"),
    "backtest_by_step": ("MASE by step", "各步的 MASE"),
    "backtest_inside": (
        "{intervals}: per cent of the values inside of this interval. MSIS: of the widest.",
        "{intervals}：落在该区间内的数值所占百分比。MSIS：最宽的区间。",
    ),
    "backtest_left_out": (
        "left out, since they are too short: {count} of {all} series",
        "因长度不足而略去的序列：{all} 个中的 {count} 个",
    ),
    "backtest_missing": (
        "{column}: missing, and not measured: {count} values",
        "{column}：缺失而未计入的数值：{count} 个",
    ),
    "backtest_constant": (
        "{column}: left out of MASE and MSIS: {count} forecasts, whose history is constant or not longer than a season",
        "{column}：未计入 MASE 和 MSIS 的预测：{count} 个（其历史不变，或不长于一个季节）",
    ),
    "backtest_beaten": (
        "The model beats the {baseline} forecast: MASE {model} against {other}, lower by {difference}.",
        "模型优于{baseline}：MASE 为 {model}，后者为 {other}，低 {difference}。",
    ),
    "backtest_not_beaten": (
        "The model does not beat the {baseline} forecast: MASE {model} against {other}, higher by {difference}.",
        "模型不优于{baseline}：MASE 为 {model}，后者为 {other}，高 {difference}。",
    ),
    "backtest_unscaled": (
        "The model is not compared with the {baseline} forecast, since there is no MASE.",
        "没有 MASE，因此模型未与{baseline}比较。",
    ),
    # a study
    "trial": ("trial", "试验"),
    "study_history": ("{name} of each trial", "各次试验的指标：{name}"),
    "study_importance": ("importance of each setting", "各项设置的重要性"),
    "study_few": (
        "{count} complete trials are too few to estimate the importance.",
        "只有 {count} 次试验完成，不足以估计重要性。",
    ),
    "study_against": ("{name} against {setting}", "{name} 与 {setting}"),
    "study_complete": ("complete", "完成"),
    "study_pruned": ("pruned", "已剪枝"),
    "study_so_far": ("best so far", "目前最好"),
    "study_choice": ("{count} complete", "完成 {count} 次"),
    "study_choice_metrics": ("best {best}   median {median}", "最好 {best}   中位数 {median}"),
    "study_counts": (
        "{complete} complete, {pruned} pruned, {failed} failed, {running} running",
        "完成 {complete} 次，剪枝 {pruned} 次，失败 {failed} 次，进行中 {running} 次",
    ),
    # the page of a trace
    "text": ("Text", "文本"),
    "labels_below": (
        "Below each symbol: the five most probable labels; the stronger the colour, the higher the probability.",
        "每个符号下方是概率最高的五个标签，颜色越深，概率越大。",
    ),
    "color_by": ("Colour by", "着色依据"),
    "color_saliency": ("saliency: influence on this prediction", "显著性：各输入对当前预测的影响"),
    "color_weight": ("weight of each step", "每一步的权重"),
    "color_neuron": ("state of one neuron", "单个神经元的状态"),
    "color_loss": ("loss of each prediction", "每个预测的损失"),
    "measure_gradient": ("gradient", "梯度"),
    "measure_ablation": ("ablation", "消融"),
    "network": ("The network, unrolled through time", "按时间展开的网络"),
    "network_hint": (
        "Select a time step with the slider, the arrow keys or a click. Point at a neuron to colour the text by it.",
        "用滑块、方向键或点击选择时间步；指向一个神经元，文本就按它的状态着色。",
    ),
    "gates": ("Gates and states over time", "门与状态随时间的变化"),
    "gates_hint": (
        "Each row is a neuron, each column a time step. Click to select a time step.",
        "每行是一个神经元，每列是一个时间步。点击可选择时间步。",
    ),
    "arithmetic": ("Computation at step {step}", "第 {step} 步的计算"),
    "source_line": ("line {line}", "第 {line} 行"),
    "lines_title": ("Source lines and what they compute", "源代码行及其计算结果"),
    "terms_left_out": (
        "The terms are left out to limit the size of this page; `ohlol explain --step {step}` shows them.",
        "为了控制页面大小，这里省略了各项；可以用 `ohlol explain --step {step}` 查看。",
    ),
    "prediction_at": ("Prediction at step {step}", "第 {step} 步的预测"),
    "influence": ("influence on the prediction", "对预测的影响"),
    "low": ("low", "低"),
    "high": ("high", "高"),
    "previous": ("Previous step", "上一步"),
    "next": ("Next step", "下一步"),
    "play": ("Play", "播放"),
    "pause": ("Pause", "暂停"),
    "theme": ("Light or dark", "浅色或深色"),
    "epoch": ("epoch", "轮次"),
    "earlier": ("Earlier epoch", "上一轮"),
    "later": ("Later epoch", "下一轮"),
    "play_epochs": ("Play epochs", "播放训练过程"),
    "training_history": ("Training history", "训练过程"),
    "training_history_hint": (
        "Predictions after each epoch; 0 is before training. Select an epoch to show the network as it was then.",
        "每一轮训练之后的预测；0 表示训练之前。选择一轮，整页显示当时的网络。",
    ),
    "keys": (
        "Keys: left and right move by a step, with Shift by an epoch; Home and End move to the ends, space plays.",
        "按键：左右方向键移动一步，同时按 Shift 移动一轮；Home 和 End 跳到两端，空格键播放。",
    ),
    # the page of a server
    "try": ("Try it", "试用"),
    "train": ("Train", "训练"),
    "reference": ("API reference", "API 文档"),
    "key_needed": ("This server requires an API key", "此服务器需要 API 密钥"),
    "key_use": ("Use it", "使用"),
    "key_wrong": ("The key is wrong.", "密钥不正确。"),
    "no_server": ("The server does not answer.", "服务器没有响应。"),
    "lost": ("The connection is lost; trying again.", "连接已断开，正在重试。"),
    "served_model": ("Model", "模型"),
    "parameters": ("{count} parameters", "{count} 个参数"),
    "typed": ("Type here", "在这里输入"),
    "typed_stream": (
        "The model reads one symbol per time step while you type. Point at a symbol, or use the arrow keys, to see its "
        "most probable labels.",
        "模型随输入逐个符号读取，每个符号一个时间步；指向一个符号，或用方向键选择，可查看概率最高的标签。",
    ),
    "typed_whole": (
        "The model is bidirectional, so the whole text is read again after each change. Point at a symbol, or use the "
        "arrow keys, to see its most probable labels.",
        "这是双向模型，每次修改都会重新读取整段文本；指向一个符号，或用方向键选择，可查看概率最高的标签。",
    ),
    "typed_next": (
        "Below each symbol: the most probable next symbol.",
        "每个符号下方：概率最高的下一个符号。",
    ),
    "typed_numbers": (
        "This model reads numbers: see predict with rows in the API reference.",
        "这个模型的输入是数值：见 API 文档中带 rows 的 predict。",
    ),
    "read_as_unknown": ("not in the training data, read as <unk>", "训练数据中没有，按 <unk> 读取"),
    "explain_this": ("Explain this", "解释这段输入"),
    "close": ("Close", "关闭"),
    "generate": ("Generate", "生成文本"),
    "generate_hint": ("The model continues the text above.", "模型从上面的文本继续生成。"),
    "generate_start": ("Generate", "开始生成"),
    "stop": ("Stop", "停止"),
    "temperature": ("temperature", "温度"),
    "top_k": ("top-k, 0 for all", "top-k，0 表示全部"),
    "length": ("symbols", "符号数"),
    "pairs": ("Train a network", "训练一个网络"),
    "pair_input": ("input", "输入"),
    "pair_target": ("target", "目标"),
    "add_pair": ("Add a pair", "添加一对"),
    "remove": ("Remove", "删除"),
    "train_limits": (
        "Each input has a target of the same length, one character per time step. The server trains at most {pairs} "
        "pairs of {symbols} characters, {epochs} epochs, {hidden} neurons and {seconds} seconds, in {trainings} "
        "sessions at once.",
        "每个输入对应一个等长的目标，每个时间步一个字符。由服务器训练：最多 {pairs} 对，每边 {symbols} 个字符，"
        "{epochs} 轮，{hidden} 个神经元，{seconds} 秒，同时 {trainings} 个训练。",
    ),
    "cell": ("cell", "循环单元"),
    "head": ("linear head", "线性输出头"),
    "hidden_size": ("hidden size", "隐藏维度"),
    "epochs": ("epochs", "训练轮数"),
    "learning_rate": ("learning rate", "学习率"),
    "seed": ("seed", "随机种子"),
    "speed": ("speed", "速度"),
    "speed_slow": ("slow", "慢"),
    "speed_steady": ("medium", "中"),
    "speed_fast": ("fastest", "最快"),
    "train_start": ("Train", "开始训练"),
    "cancel": ("Cancel", "取消"),
    "train_begins": ("Starting", "正在开始"),
    "train_running": ("Epoch {epoch} of {epochs}", "第 {epoch} 轮，共 {epochs} 轮"),
    "train_done": (
        "Done: {right} of {all} correct with the best weights",
        "完成：使用最佳权重时，{all} 对中有 {right} 对正确",
    ),
    "train_cancelled": ("Cancelled after epoch {epoch}", "在第 {epoch} 轮之后取消"),
    "train_ended": ("Ended: {why}", "结束：{why}"),
    "predictions": ("Predictions", "预测结果"),
    "mean_probability": ("mean probability {percent}", "平均概率 {percent}"),
    "loss_by_epoch": ("Loss per epoch", "每一轮的损失"),
    "hidden_states": ("Hidden states", "隐藏状态"),
    "hidden_states_hint": (
        "After each symbol, one row per neuron; blue is negative, orange positive.",
        "每个符号之后的状态，每个神经元一行；蓝色为负，橙色为正。",
    ),
    "open_training": ("Explain this training", "查看这次训练的详情"),
}
"""Key -> (English, Chinese)."""


def language(lang: str | None, environment: Mapping[str, str] | None = None) -> str:
    """Return `lang`, or the language of the environment where it is None.

    Raises:
        InputError: `lang` is not one of `LANGUAGES`.

    >>> language(None, {"LANG": "zh_CN.UTF-8"}), language(None, {"LC_ALL": "C", "LANG": "zh_CN"}), language("zh")
    ('zh', 'en', 'zh')
    """
    if lang is not None:
        if lang not in LANGUAGES:
            raise InputError(f"`lang` is {lang!r}; it must be one of {', '.join(LANGUAGES)}")
        return lang
    environment = os.environ if environment is None else environment
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def text(key: str, lang: str, **values: object) -> str:
    """Return one text with its placeholders filled in.

    >>> text("step", "en", t=8)
    'step 8'
    """
    return TEXTS[key][LANGUAGES.index(lang)].format(**values)


def name_symbol(kind: str, symbol: str, lang: str) -> str:
    """The name of a gate or state; that of its kind for a symbol of a cell without a translation.

    >>> name_symbol("gate", "r", "en"), name_symbol("gate", "q", "en")
    ('reset gate', 'gate')
    """
    key = f"{kind}_{symbol}"
    return text(key if key in TEXTS else kind, lang)


def catalogue() -> dict[str, dict[str, str]]:
    """Return every text by language and key, for the pages."""
    return {lang: {key: texts[k] for key, texts in TEXTS.items()} for k, lang in enumerate(LANGUAGES)}
