// A fake device for tests, "other". Numpy and the CPU's operations cannot access its memory. Its operations check that every
// operand is in that memory and then use those of the CPU. Its recurrent layers have the requirements of cuDNN. Loaded with
// torch.ops.load_library.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/gru_native.h>
#include <ATen/ops/lstm_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/rnn_tanh_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace {

using at::IntArrayRef;
using at::Tensor;
using at::TensorList;
using std::optional;
constexpr auto kind = c10::DeviceType::PrivateUse1;
const c10::Device place(kind, 0);
const c10::Stream stream(c10::Stream::DEFAULT, place);

struct Memory final : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) override {
        void* p = bytes ? std::malloc(bytes) : nullptr;
        return {p, p, &std::free, place};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
    void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Memory memory;
REGISTER_ALLOCATOR(kind, &memory)

// One device, one stream, on which everything has happened when it is asked for.
struct Guard final : c10::impl::NoOpDeviceGuardImpl<kind> {
    c10::Device exchangeDevice(c10::Device) const override { return place; }
    c10::Device getDevice() const override { return place; }
    c10::DeviceIndex deviceCount() const noexcept override { return 1; }
    c10::Stream getStream(c10::Device) const noexcept override { return stream; }
    c10::Stream getDefaultStream(c10::Device) const override { return stream; }
    c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return stream; }
    c10::Stream getNewStream(c10::Device, int) const override { return stream; }
    c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream; }
    void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
    void block(void*, const c10::Stream&) const override {}
    bool queryEvent(void*) const override { return true; }
    void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
    void synchronizeEvent(void*) const override {}
    void synchronizeDevice(const c10::DeviceIndex) const override {}
    bool queryStream(const c10::Stream&) const override { return true; }
    void synchronizeStream(const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

struct Hooks final : at::PrivateUse1HooksInterface {
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
    c10::DeviceIndex deviceCount() const override { return 1; }
    c10::DeviceIndex getCurrentDevice() const override { return 0; }
    void setCurrentDevice(c10::DeviceIndex) const override {}
    void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
        auto made = memory.allocate(bytes);
        if (auto both = std::min<size_t>(storage.nbytes(), bytes)) std::memcpy(made.get(), storage.data(), both);
        storage.set_data_ptr_noswap(std::move(made));
        storage.unsafeGetStorageImpl()->set_nbytes(bytes);
    }
};
[[maybe_unused]] const bool registered = (at::RegisterPrivateUse1HooksInterface(new Hooks), true);

// The same memory as the CPU sees it.
Tensor bare(const Tensor& t) {
    if (!t.is_privateuseone()) return t;
    const auto& storage = t.storage();
    const auto numbers = static_cast<int64_t>(storage.nbytes() / t.itemsize());
    const auto options = at::TensorOptions().dtype(t.dtype()).device(at::kCPU);
    return at::from_blob(const_cast<void*>(storage.data()), {numbers}, options)
        .as_strided(t.sizes(), t.strides(), t.storage_offset());
}

Tensor empty(IntArrayRef size, optional<at::ScalarType> dtype, optional<at::Layout>, optional<at::Device>,
             optional<bool>, optional<at::MemoryFormat> format) {
    const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
    return at::detail::empty_generic(size, &memory, keys, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, optional<at::ScalarType> dtype, optional<at::Layout>,
                     optional<at::Device>, optional<bool>) {
    const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
    return at::detail::empty_strided_generic(size, stride, &memory, keys, c10::dtype_or_default(dtype));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
    bare(to).copy_(bare(from));
    return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
    if (to.sizes() != from.sizes()) const_cast<Tensor&>(to).resize_(from.sizes());
    return copy_from(from, to, false);
}

at::Scalar number(const Tensor& t) { return bare(t).item(); }

// As on CUDA, a number of the CPU may stand among the operands, and an index may come from there.
void here(const Tensor& t, const c10::OperatorHandle& op) {
    TORCH_CHECK(!t.defined() || t.is_privateuseone() || t.dim() == 0, "Expected all tensors to be on the same device, but ",
                op.schema().name(), " found one on ", t.device());
}

bool is_index(const Tensor& t) { return t.scalar_type() == at::kLong || t.scalar_type() == at::kBool; }

void borrowed(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
    for (const auto& value : torch::jit::last(*stack, op.schema().arguments().size())) {
        if (value.isTensor()) here(value.toTensor(), op);
        if (value.isTensorList()) {
            for (const Tensor& t : value.toTensorList()) here(t, op);
        } else if (value.isOptionalTensorList()) {
            for (const optional<Tensor>& t : value.toOptionalTensorList()) {
                if (t && !is_index(*t)) here(*t, op);
            }
        }
    }
    at::native::cpu_fallback(op, stack);
}

// What cuDNN asks of its callers.
void strict(TensorList states, TensorList weights, const optional<Tensor>& batch_sizes = {}) {
    for (const Tensor& s : states) {
        TORCH_CHECK(s.is_privateuseone(), "rnn: hx is on ", s.device());
        TORCH_CHECK(s.is_contiguous(), "rnn: hx is not contiguous");
    }
    for (const Tensor& w : weights) TORCH_CHECK(w.is_privateuseone(), "rnn: a weight is on ", w.device());
    if (batch_sizes) TORCH_CHECK(batch_sizes->is_cpu(), "rnn: batch_sizes is on ", batch_sizes->device());
}

std::tuple<Tensor, Tensor, Tensor> lstm(const Tensor& x, TensorList hx, TensorList weights, bool biases, int64_t layers,
                                        double dropout, bool train, bool bidirectional, bool batch_first) {
    strict(hx, weights);
    return at::native::lstm(x, hx, weights, biases, layers, dropout, train, bidirectional, batch_first);
}

std::tuple<Tensor, Tensor, Tensor> lstm_packed(const Tensor& x, const Tensor& batch_sizes, TensorList hx,
                                               TensorList weights, bool biases, int64_t layers, double dropout,
                                               bool train, bool bidirectional) {
    strict(hx, weights, batch_sizes);
    return at::native::lstm(x, batch_sizes, hx, weights, biases, layers, dropout, train, bidirectional);
}

#define WITH_ONE_STATE(name)                                                                                          \
    std::tuple<Tensor, Tensor> name(const Tensor& x, const Tensor& hx, TensorList weights, bool biases,               \
                                    int64_t layers, double dropout, bool train, bool bidirectional,                   \
                                    bool batch_first) {                                                               \
        strict(hx, weights);                                                                                          \
        return at::native::name(x, hx, weights, biases, layers, dropout, train, bidirectional, batch_first);          \
    }                                                                                                                 \
    std::tuple<Tensor, Tensor> name##_packed(const Tensor& x, const Tensor& batch_sizes, const Tensor& hx,            \
                                             TensorList weights, bool biases, int64_t layers, double dropout,         \
                                             bool train, bool bidirectional) {                                        \
        strict(hx, weights, batch_sizes);                                                                             \
        return at::native::name(x, batch_sizes, hx, weights, biases, layers, dropout, train, bidirectional);          \
    }
WITH_ONE_STATE(gru)
WITH_ONE_STATE(rnn_tanh)

// torch asks every device but the CPU for these two; their gradients are those of the operations they are made of.
std::tuple<Tensor, Tensor, Tensor> lstm_cell(const Tensor& from_x, const Tensor& from_h, const Tensor& c,
                                             const optional<Tensor>& b_ih, const optional<Tensor>& b_hh) {
    auto sums = from_x + from_h;
    if (b_ih && b_ih->defined()) sums = sums + *b_ih + *b_hh;
    const auto gates = sums.chunk(4, 1);
    const auto after = gates[1].sigmoid() * c + gates[0].sigmoid() * gates[2].tanh();
    return {gates[3].sigmoid() * after.tanh(), after, at::empty({0}, sums.options())};
}

std::tuple<Tensor, Tensor> gru_cell(const Tensor& from_x, const Tensor& from_h, const Tensor& h,
                                    const optional<Tensor>& b_ih, const optional<Tensor>& b_hh) {
    const bool biases = b_ih && b_ih->defined();
    const auto x = (biases ? from_x + *b_ih : from_x).chunk(3, 1), s = (biases ? from_h + *b_hh : from_h).chunk(3, 1);
    const auto r = (x[0] + s[0]).sigmoid(), z = (x[1] + s[1]).sigmoid(), n = (x[2] + r * s[2]).tanh();
    return {n + z * (h - n), at::empty({0}, from_x.options())};
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&borrowed>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
    m.impl("empty.memory_format", empty);
    m.impl("empty_strided", empty_strided);
    m.impl("as_strided", at::native::as_strided_tensorimpl);
    m.impl("view", at::native::view);
    m.impl("_reshape_alias", at::native::_reshape_alias);
    m.impl("resize_", at::native::resize_);
    m.impl("_copy_from", copy_from);
    m.impl("_copy_from_and_resize", copy_from_and_resize);
    m.impl("_local_scalar_dense", number);
}

TORCH_LIBRARY_IMPL(aten, AutogradPrivateUse1, m) {
    m.impl("lstm.input", lstm);
    m.impl("lstm.data", lstm_packed);
    m.impl("gru.input", gru);
    m.impl("gru.data", gru_packed);
    m.impl("rnn_tanh.input", rnn_tanh);
    m.impl("rnn_tanh.data", rnn_tanh_packed);
    m.impl("_thnn_fused_lstm_cell", lstm_cell);
    m.impl("_thnn_fused_gru_cell", gru_cell);
}

// Autocast lowers the products, as CUDA's does.
TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
    KERNEL_PRIVATEUSEONE(linear, lower_precision_fp)
    KERNEL_PRIVATEUSEONE(mm, lower_precision_fp)
    KERNEL_PRIVATEUSEONE(addmm, lower_precision_fp)
}
