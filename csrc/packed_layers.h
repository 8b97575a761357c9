// A stack of layers whose weights are packed once, and steps of one sequence or of many with it.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "contention.h"
#include "kernel_args.h"
#include "platform.h"

namespace ohlol {

// How the next symbol is drawn from the logits; ops/stepping.py has the same in Python.
struct Sampling {
    double temperature;   // 0: the highest logit, the first one on ties
    i64 top_k;            // 0: all
    double top_p;         // 1: all
    std::uint64_t seed;
};

// The n-th number in [0, 1) of a seed (splitmix64).
inline double uniform(std::uint64_t seed, std::uint64_t n) {
    std::uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return static_cast<double>(z >> 11) * 0x1p-53;
}

// Draws the n-th symbol; `order` and `weights` are memory that is reused between calls.
template <class T>
i64 sample(const std::vector<T>& logits, const Sampling& sampling, std::uint64_t n, std::vector<i64>& order,
           std::vector<double>& weights) {
    const i64 size = static_cast<i64>(logits.size());
    if (sampling.temperature <= 0) return std::max_element(logits.begin(), logits.end()) - logits.begin();
    order.resize(size);
    std::iota(order.begin(), order.end(), i64{0});
    const auto above = [&](i64 a, i64 b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); };
    const i64 k = sampling.top_k > 0 && sampling.top_k < size ? sampling.top_k : size;
    std::partial_sort(order.begin(), order.begin() + k, order.end(), above);
    weights.resize(k);
    double total = 0;
    for (i64 i = 0; i < k; ++i) {
        const double difference = static_cast<double>(logits[order[i]]) - static_cast<double>(logits[order[0]]);
        weights[i] = std::exp(difference / sampling.temperature);
        total += weights[i];
    }
    i64 kept = k;
    if (sampling.top_p < 1) {
        double sum = 0;
        for (kept = 0; kept < k && sum < sampling.top_p * total; ++kept) sum += weights[kept];
        if (kept == 0) kept = 1;
        total = 0;
        for (i64 i = 0; i < kept; ++i) total += weights[i];
    }
    const double threshold = uniform(sampling.seed, n) * total;
    double sum = 0;
    for (i64 i = 0; i < kept; ++i) {
        sum += weights[i];
        if (threshold < sum) return order[i];
    }
    return order[kept - 1];
}

// One thread computes a step of fewer multiplications; the limit is lower than for other calls, since the weights are packed.
constexpr double step_serial_below = 1e5;

template <class T>
class PackedLayers {
  public:
    PackedLayers(const Variant& variant, int cell, int format, i64 H, AllocateScratch allocate)
        : functions_(variant.functions<T>()), cell_(cell), format_(format), H_(H), allocate_(allocate) {}

    // Adds a layer on top. W_ih may be null for a first layer with a table. The table must stay valid, the rest is copied.
    void add_layer(i64 I, const T* W_ih, const T* W_hh, const T* b_ih, const T* b_hh, const T* table) {
        ForwardArgs<T> args;
        args.cell = cell_, args.format = format_, args.T_ = 1, args.B = 1, args.H = H_, args.I = table ? 0 : I, args.rows = 1;
        args.time_stride = 1;
        args.W_ih = table ? nullptr : W_ih, args.W_hh = W_hh, args.b_ih = b_ih, args.b_hh = b_hh;
        args.table = table;
        packed_weights_.push_back(allocate_block(functions_.pack(args, nullptr)));
        functions_.pack(args, packed_weights_.back().get());
        args.packed_weights = packed_weights_.back().get();
        args.serial_below = step_serial_below;
        layers_.push_back(args);
    }

    // A dense layer to K logits, W (K, H); the bias must stay valid.
    void set_head(i64 K, const T* W, const T* bias) {
        logits_.resize(K);
        head_bias_ = bias;
        head_ = allocate_block(functions_.pack_dense(W, K, H_, nullptr));
        functions_.pack_dense(W, K, H_, head_.get());
    }

    // One step of one sequence: replaces h and c (L, H); the input is x (I,), or an id where there is a table. Writes the top
    // layer's state to out unless it is null.
    void step(int threads, const T* x, i64 id, T* h, T* c, T* out) {
        layer_out_.resize(2 * H_);
        h_before_.assign(h, h + layers_.size() * H_);
        const T* input = x;
        for (std::size_t l = 0; l < layers_.size(); ++l) {
            ForwardArgs<T> args = layers_[l];
            if (threads > 1 && threads_are_forced()) args.serial_below = 0;
            args.threads = threads;
            args.odd_step = odd_step_;
            args.h_0 = h_before_.data() + l * H_, args.c_0 = c ? c + l * H_ : nullptr;
            args.h_n = h + l * H_, args.c_n = c ? c + l * H_ : nullptr;
            if (args.table)
                args.ids = &id;
            else
                args.x = input;
            args.out = l + 1 == layers_.size() && out ? out : layer_out_.data() + (l & 1) * H_;
            args.out_ld = H_;
            functions_.forward(args, allocate_);
            input = args.out;
        }
        top_out_ = input;
        odd_step_ ^= 1;
    }

    // Reads `id`, draws a symbol from the head's logits, reads that one, and so on.
    void generate(int threads, i64 id, T* h, T* c, i64 count, Sampling sampling, i64* ids) {
        const i64 K = static_cast<i64>(logits_.size());
        for (i64 n = 0; n < count; ++n) {
            step(threads, nullptr, id, h, c, nullptr);
            functions_.dense(threads, 1, top_out_, head_.get(), head_bias_, K, H_, logits_.data());
            id = ids[n] = sample(logits_, sampling, static_cast<std::uint64_t>(n), order_, sampling_weights_);
        }
    }

    // One step of the n sequences whose states are in these slots of h and c, (slots, L, H), which are replaced. The input is
    // x (n, I), or ids where there is a table. Writes logits (n, K), or without a head the top layer's states (n, H), and the
    // index of the highest number of each row. The object does not change: several threads may call this at once.
    void step_batch(int threads, const std::vector<i64>& slots, const T* x, const std::vector<i64>& ids, T* h, T* c, T* logits,
                    std::vector<i64>& best) const {
        const i64 n = static_cast<i64>(slots.size()), L = static_cast<i64>(layers_.size());
        thread_local std::vector<T> buffers;
        buffers.resize(5 * n * H_);
        T *layer_out[2] = {buffers.data(), buffers.data() + n * H_};
        T *h_before = layer_out[1] + n * H_, *h_after = h_before + n * H_, *c_now = h_after + n * H_;
        const T* input = x;
        for (i64 l = 0; l < L; ++l) {
            ForwardArgs<T> args = layers_[l];
            if (threads > 1 && threads_are_forced()) args.serial_below = 0;
            args.threads = threads, args.B = n, args.rows = n, args.time_stride = n;
            for (i64 b = 0; b < n; ++b) {
                std::copy_n(h + (slots[b] * L + l) * H_, H_, h_before + b * H_);
                if (c) std::copy_n(c + (slots[b] * L + l) * H_, H_, c_now + b * H_);
            }
            args.h_0 = h_before, args.h_n = h_after;
            if (c) args.c_0 = args.c_n = c_now;
            if (args.table)
                args.ids = ids.data();
            else
                args.x = input;
            args.out = l + 1 == L && !head_ ? logits : layer_out[l & 1];
            args.out_ld = H_;
            functions_.forward(args, allocate_);
            for (i64 b = 0; b < n; ++b) {
                std::copy_n(h_after + b * H_, H_, h + (slots[b] * L + l) * H_);
                if (c) std::copy_n(c_now + b * H_, H_, c + (slots[b] * L + l) * H_);
            }
            input = args.out;
        }
        const i64 K = head_ ? static_cast<i64>(logits_.size()) : H_;
        if (head_) functions_.dense(threads, n, input, head_.get(), head_bias_, K, H_, logits);
        best.resize(n);
        for (i64 b = 0; b < n; ++b) best[b] = std::max_element(logits + b * K, logits + (b + 1) * K) - (logits + b * K);
    }

  private:
    struct Free {
        void operator()(void* p) const { free_aligned(p); }
    };
    using Block = std::unique_ptr<void, Free>;
    static Block allocate_block(std::size_t bytes) { return Block(allocate_aligned(bytes)); }

    Functions<T> functions_;
    int cell_, format_;
    i64 H_;
    int odd_step_ = 0;
    AllocateScratch allocate_;
    std::vector<ForwardArgs<T>> layers_;
    std::vector<Block> packed_weights_;
    Block head_;
    const T* head_bias_ = nullptr;
    const T* top_out_ = nullptr;
    std::vector<T> layer_out_, h_before_, logits_;
    std::vector<i64> order_;
    std::vector<double> sampling_weights_;
};

}  // namespace ohlol
