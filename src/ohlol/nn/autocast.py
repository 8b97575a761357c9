"""What autocast does in torch's recurrent layers on the CPU."""

# pyright: reportPrivateUsage=false
import torch


def runs_in_onednn(dtype: torch.dtype) -> bool:
    """Whether torch runs an LSTM over a dense input of this dtype in oneDNN, whose results have autocast's dtype."""
    if not torch._C._get_mkldnn_enabled() or not torch.backends.mkldnn.is_available():
        return False
    operators = torch.ops.mkldnn
    if dtype is torch.bfloat16:
        return operators._is_mkldnn_bf16_supported()
    if dtype is torch.float16:
        return not torch.is_grad_enabled() and operators._is_mkldnn_fp16_supported()
    return dtype is torch.float32
