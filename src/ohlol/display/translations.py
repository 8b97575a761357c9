"""Every word that `ohlol explain` and the page of `ohlol serve` show, in English and Chinese, and nothing of where."""

import os
from collections.abc import Mapping

from ohlol.utils.errors import InputError

LANGUAGES = ("en", "zh")

TEXTS: dict[str, tuple[str, str]] = {
    # the model
    "model": ("{cell}, {layers} x {units}", "{cell}，{layers} 层 x {units} 个单元"),
    "both_directions": ("both directions", "双向"),
    "no_head": ("no head: the state is the scores", "没有输出层：状态就是得分"),
    "difference": (
        "The equations and the model differ by {value} at most.",
        "按公式算出的数与模型本身最多相差 {value}。",
    ),
    "layer": ("layer {layer}", "第 {layer} 层"),
    "forward": ("forward", "正向"),
    "backward": ("backward", "反向"),
    # steps and answers
    "step": ("step {t}", "第 {t} 步"),
    "reads": ("reads", "读入"),
    "guess": ("guess", "猜测"),
    "wanted": ("wanted", "正确"),
    "loss": ("loss", "损失"),
    "loss_mean": ("loss {value}, mean of {count}", "损失 {value}，{count} 步的平均"),
    "loss_sum": ("loss {value}, sum of {count}", "损失 {value}，{count} 步之和"),
    "answer": ("answer", "答案"),
    "label": ("label", "标签"),
    "score": ("score", "得分"),
    "probability": ("probability", "概率"),
    "unit": ("unit", "单元"),
    "sum": ("sum", "总和"),
    "gradient": ("gradient of the loss", "损失的梯度"),
    "more_units": ("{count} more units", "另有 {count} 个单元"),
    "gate_h": ("new state", "新状态"),
    "gate_r": ("reset gate", "重置门"),
    "gate_z": ("update gate", "更新门"),
    "gate_n": ("proposed state", "候选状态"),
    "gate_i": ("input gate", "输入门"),
    "gate_f": ("forget gate", "遗忘门"),
    "gate_g": ("candidate", "候选值"),
    "gate_o": ("output gate", "输出门"),
    "state_h": ("hidden state", "隐藏状态"),
    "state_c": ("cell state", "细胞状态"),
    # memory
    "memory": ("Memory", "记忆"),
    "horizon": (
        "After {steps} steps an input's influence stays under 1 % of its peak.",
        "过了 {steps} 步，一个输入的影响就不到峰值的 1 %。",
    ),
    "no_horizon": (
        "Over these {steps} steps the influence never drops under 1 % of its peak for good: read a longer text.",
        "在这 {steps} 步之内，影响始终没有稳定降到峰值的 1 % 以下：请换一段更长的文本。",
    ),
    "bptt": ("Recommended for training: --bptt {steps}.", "训练时建议：--bptt {steps}。"),
    # units
    "tracks": ("{unit} tracks {feature}", "{unit} 跟踪：{feature}"),
    "evidence": (
        "r = {r} where it was tested, {found} where it was found; most active at:",
        "检验部分 r = {r}，寻找部分 r = {found}；最活跃的地方：",
    ),
    "no_finding": (
        "No unit tracks any of these features with |r| of {least}.",
        "没有单元以 |r| ≥ {least} 跟踪这些特征。",
    ),
    "not_tracked": ("Below |r| = {least}, the best unit of each:", "|r| 低于 {least} 的特征，各取最好的单元："),
    "matches": (
        "The units on over {text} are on at step, and how many of them:",
        "与“{text}”处亮起的单元相同的地方（步，比例）：",
    ),
    "feature_position_in_the_line": ("position in the line", "行内位置"),
    "feature_position_in_the_word": ("position in the word", "词内位置"),
    "feature_inside_quotes": ("inside quotes", "引号之内"),
    "feature_inside_brackets": ("inside brackets", "括号之内"),
    "feature_after_a_space": ("after a space", "空格之后"),
    "feature_after_a_line_end": ("after a line end", "换行之后"),
    "feature_a_space": ("a space", "空格"),
    "feature_a_line_end": ("a line end", "换行"),
    "feature_upper_case": ("upper case", "大写"),
    "feature_a_digit": ("a digit", "数字"),
    "feature_a_vowel": ("a vowel", "元音"),
    "feature_punctuation": ("punctuation", "标点"),
    # cell, layer and matrix products
    "prove": ("{cell}: the same weights, {count} ways", "{cell}：同一组权重，{count} 种算法"),
    "prove_scale": (
        "{sizes}. Largest difference to matrix products by hand in float64:",
        "{sizes}。与 float64 手写矩阵乘法的最大差别：",
    ),
    "prove_states": ("states", "状态"),
    "prove_gradients": ("gradients", "梯度"),
    "prove_converted": (
        "Cell weights -> layer weights -> cell weights: the same to the last bit.",
        "单元权重 -> 层权重 -> 单元权重：每一位都相同。",
    ),
    "prove_not_converted": (
        "Cell weights -> layer weights -> cell weights: NOT the same.",
        "单元权重 -> 层权重 -> 单元权重：不相同！",
    ),
    # what a loss is worth
    "worth": (
        "loss {loss} nats an answer, the mean of {count}, beside",
        "每个答案损失 {loss} 奈特（{count} 个的平均），对照：",
    ),
    "worth_forecast": (
        "loss {loss}, the mean square error of {count} steps in scaled numbers, beside",
        "损失 {loss}，即 {count} 步标准化数值的均方误差，对照：",
    ),
    "worth_summed": (
        "the same as a sum over a sequence, which training shows",
        "同一损失对一个序列求和，训练时显示的就是它",
    ),
    "worth_uniform": ("every answer equally likely, ln {answers}", "所有答案等可能，即 ln {answers}"),
    "worth_frequencies": ("each answer as often as in the training data", "按训练数据中各答案的频率来猜"),
    "worth_mean": ("always the mean of the training data, on those data", "在训练数据上，总是预测其平均值"),
    "worth_floor": (
        "the floor: scores between -1 and 1 allow no less; --head takes it away",
        "下限：得分只在 -1 与 1 之间，不可能更低；加 --head 即可去掉它",
    ),
    "worth_nothing": (
        "That is no better than guessing: train longer, or try another --lr.",
        "这并不比猜测更好：请训练更久，或换一个 --lr。",
    ),
    # curves
    "curve_loss": ("loss, nats", "损失（奈特）"),
    "curve_summed": ("loss in training, summed over a sequence", "训练中的损失，对一个序列求和"),
    "curve_score": ("{name}", "指标：{name}"),
    "curve_grad_norm": ("norm of the gradient, before clipping", "裁剪前的梯度范数"),
    "curve_saturation": ("hidden values above 0.95 in size", "绝对值超过 0.95 的隐藏值"),
    "in_training": ("in training", "训练中"),
    "measured": ("measured", "测得"),
    "steps": ("step", "步"),
    # a study
    "trial": ("trial", "试验"),
    "study_history": ("{name} of each trial", "各次试验的指标：{name}"),
    "study_importance": ("importance of each setting", "各项设置的重要性"),
    "study_few": (
        "Of {count} complete trials nothing can be said of what matters.",
        "只有 {count} 次试验完成，还看不出哪些设置重要。",
    ),
    "study_against": ("{name} against {setting}", "{name} 与 {setting}"),
    "study_complete": ("complete", "完成"),
    "study_pruned": ("ended early", "提前结束"),
    "study_so_far": ("best so far", "目前最好"),
    "study_choice": ("{count} complete", "完成 {count} 次"),
    "study_choice_scores": ("best {best}   median {median}", "最好 {best}   中位数 {median}"),
    "study_counts": (
        "{complete} complete, {pruned} ended early, {failed} failed, {running} running",
        "完成 {complete} 次，提前结束 {pruned} 次，失败 {failed} 次，进行中 {running} 次",
    ),
    # the page
    "title": ("What the network works out", "网络在算什么"),
    "text": ("The text", "文本"),
    "guesses_below": (
        "Below each symbol: the five likeliest answers; the stronger the colour, the likelier.",
        "每个符号下面是最可能的五个答案，颜色越浓，概率越大。",
    ),
    "colour_by": ("Colour by", "着色"),
    "colour_memory": ("memory: what mattered to this answer", "记忆：哪些输入影响了这个答案"),
    "colour_unit": ("activation of one unit", "一个单元的激活值"),
    "colour_loss": ("loss of each answer", "每个答案的损失"),
    "measure_gradient": ("gradient", "梯度"),
    "measure_ablation": ("ablation", "消融"),
    "network": ("The network, unrolled through time", "按时间展开的网络"),
    "network_hint": (
        "Choose a step with the slider, the arrow keys or a click. Point at a unit to colour the text by it.",
        "用滑块、方向键或点击来选择一步；指向一个单元，文本就按它的激活值着色。",
    ),
    "gates": ("Gates and states over time", "门与状态随时间的变化"),
    "gates_hint": (
        "A row is a unit, a column a step. Click to go there.",
        "一行是一个单元，一列是一步。点击可以跳过去。",
    ),
    "arithmetic": ("The arithmetic of step {step}", "第 {step} 步的算式"),
    "terms_left_out": (
        "The terms are left out to keep this page small; `ohlol explain --step {step}` shows them.",
        "为了控制页面大小，这里省略了各项；用 `ohlol explain --step {step}` 可以看到。",
    ),
    "answers": ("The answer at step {step}", "第 {step} 步的答案"),
    "influence": ("influence on the answer", "对答案的影响"),
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
    "learn": ("Learn", "学习过程"),
    "learning": ("Learning", "学习过程"),
    "learning_hint": (
        "What came out after each epoch; 0 is before the first. Choose one, and the whole page shows that moment.",
        "每一轮之后的输出；0 是训练之前。选一轮，整页就显示那一刻的网络。",
    ),
    "keys": (
        "Keys: left and right move a step, with Shift an epoch; Home and End go to the ends, space plays.",
        "按键：左右方向键移动一步，同时按 Shift 则移动一轮；Home 和 End 到两端，空格键播放。",
    ),
    # the page of a server
    "try": ("Try it", "试一试"),
    "train": ("Train", "训练"),
    "reference": ("Reference", "接口说明"),
    "key_needed": ("This server asks for its key", "这台服务器需要密钥"),
    "key_use": ("Use it", "使用"),
    "key_wrong": ("That is not the key.", "密钥不对。"),
    "no_server": ("The server does not answer.", "服务器没有回应。"),
    "lost": ("The connection is lost; trying again.", "连接断开，正在重试。"),
    "served_model": ("Model", "模型"),
    "parameters": ("{count} parameters", "{count} 个参数"),
    "typed": ("Type here", "在这里输入"),
    "typed_stream": (
        "The model reads as you type, one symbol a step. Point at a symbol, or take the arrow keys, for its likeliest "
        "labels.",
        "边输入边读，一个符号一步；指向一个符号，或用方向键选择，看它最可能的标签。",
    ),
    "typed_whole": (
        "The model reads from both ends, so all of the text is read again as you type. Point at a symbol, or take the "
        "arrow keys, for its likeliest labels.",
        "模型从两端读，所以每次输入都重新读整段文本；指向一个符号，或用方向键选择，看它最可能的标签。",
    ),
    "typed_next": (
        "Below each symbol: what the model expects to follow it.",
        "每个符号下面：模型预计接下来的符号。",
    ),
    "typed_numbers": (
        "This model reads numbers: see predict with rows in the reference.",
        "这个模型读数字：见接口说明里带 rows 的 predict。",
    ),
    "read_as_unknown": ("not seen in training, read as <unk>", "训练时没有见过，当作 <unk> 读入"),
    "explain_this": ("Explain this", "解释这段输入"),
    "close": ("Close", "关闭"),
    "write": ("Go on writing", "接着写"),
    "write_hint": ("The model goes on from the text above.", "模型从上面的文字接着往下写。"),
    "write_start": ("Write", "开始写"),
    "stop": ("Stop", "停止"),
    "temperature": ("temperature", "温度"),
    "top_k": ("top-k, 0 for all", "top-k，0 为全部"),
    "length": ("symbols", "符号数"),
    "pairs": ("Teach a network", "教会一个网络"),
    "pair_input": ("input", "输入"),
    "pair_target": ("target", "目标"),
    "add_pair": ("Add a pair", "加一对"),
    "remove": ("Remove", "删除"),
    "train_limits": (
        "An input and what should come out, a character for each. The server trains: at most {pairs} pairs of "
        "{symbols} characters, {epochs} epochs, {hidden} units and {seconds} seconds, on {trainings} pages at once.",
        "一个输入和应有的输出，字符一一对应。由服务器训练：最多 {pairs} 对，每边 {symbols} 个字符，{epochs} 轮，"
        "{hidden} 个单元，{seconds} 秒，同时 {trainings} 个页面。",
    ),
    "cell": ("cell", "单元类型"),
    "head": ("linear head", "线性输出层"),
    "hidden_units": ("units", "隐藏单元"),
    "epochs": ("epochs", "轮数"),
    "learning_rate": ("learning rate", "学习率"),
    "seed": ("seed", "随机种子"),
    "speed": ("pace", "快慢"),
    "speed_slow": ("slow", "慢"),
    "speed_steady": ("steady", "适中"),
    "speed_fast": ("at once", "全速"),
    "train_start": ("Train", "开始训练"),
    "cancel": ("Cancel", "取消"),
    "train_begins": ("Beginning", "正在开始"),
    "train_running": ("Epoch {epoch} of {epochs}", "第 {epoch} 轮，共 {epochs} 轮"),
    "train_done": (
        "Done: {right} of {all} right with the best weights",
        "完成：用最好的权重，{all} 对中对了 {right} 对",
    ),
    "train_cancelled": ("Cancelled after epoch {epoch}", "第 {epoch} 轮之后取消"),
    "train_ended": ("Ended: {why}", "结束：{why}"),
    "train_says": ("What it says", "它说什么"),
    "how_sure": ("{percent} sure", "把握 {percent}"),
    "loss_by_epoch": ("Loss of each epoch", "每一轮的损失"),
    "hidden_states": ("Hidden states", "隐藏状态"),
    "hidden_states_hint": (
        "After each symbol, a row a unit; blue is negative, orange positive.",
        "每个符号之后，一行一个单元；蓝色为负，橙色为正。",
    ),
    "open_training": ("Every number of this training", "这次训练的每一个数"),
}
"""Key -> (English, Chinese)."""


def language(asked: str | None, environment: Mapping[str, str] | None = None) -> str:
    """The language to show: the one asked for, or that of the environment.

    Raises:
        InputError: a language that there is not.

    >>> language(None, {"LANG": "zh_CN.UTF-8"}), language(None, {"LC_ALL": "C", "LANG": "zh_CN"}), language("zh")
    ('zh', 'en', 'zh')
    """
    if asked is not None:
        if asked not in LANGUAGES:
            raise InputError(f"--lang is {asked!r}; it must be one of {', '.join(LANGUAGES)}")
        return asked
    environment = os.environ if environment is None else environment
    found = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "zh" if found.lower().startswith("zh") else "en"


def text(key: str, lang: str, **values: object) -> str:
    """One text, its places filled.

    >>> text("bptt", "en", steps=8)
    'Recommended for training: --bptt 8.'
    """
    return TEXTS[key][LANGUAGES.index(lang)].format(**values)


def catalogue() -> dict[str, dict[str, str]]:
    """Every text, by language and key, for the page."""
    return {lang: {key: both[k] for key, both in TEXTS.items()} for k, lang in enumerate(LANGUAGES)}
