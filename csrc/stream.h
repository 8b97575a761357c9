// Sequences one step at a time: a stack of layers whose weights are packed once, the loop that writes text with it, and
// one step of many sequences together.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "job.h"

namespace ohlol {

// How the next symbol is drawn from the scores; ops/stream.py has the same in Python.
struct Sampling {
    double temperature;   // 0: the highest score, the first of equals
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

template <class T>
i64 sample(const std::vector<T>& scores, const Sampling& how, std::uint64_t n, std::vector<i64>& order,
           std::vector<double>& p) {
    const i64 size = static_cast<i64>(scores.size());
    if (how.temperature <= 0) return std::max_element(scores.begin(), scores.end()) - scores.begin();
    order.resize(size);
    std::iota(order.begin(), order.end(), i64{0});
    const auto above = [&](i64 a, i64 b) { return scores[a] > scores[b] || (scores[a] == scores[b] && a < b); };
    const i64 k = how.top_k > 0 && how.top_k < size ? how.top_k : size;
    std::partial_sort(order.begin(), order.begin() + k, order.end(), above);
    p.resize(k);
    double total = 0;
    for (i64 i = 0; i < k; ++i) {
        p[i] = std::exp((static_cast<double>(scores[order[i]]) - static_cast<double>(scores[order[0]])) / how.temperature);
        total += p[i];
    }
    i64 kept = k;
    if (how.top_p < 1) {
        double sum = 0;
        for (kept = 0; kept < k && sum < how.top_p * total; ++kept) sum += p[kept];
        if (kept == 0) kept = 1;
        total = 0;
        for (i64 i = 0; i < kept; ++i) total += p[i];
    }
    const double mark = uniform(how.seed, n) * total;
    double sum = 0;
    for (i64 i = 0; i < kept; ++i) {
        sum += p[i];
        if (mark < sum) return order[i];
    }
    return order[kept - 1];
}

template <class T>
class Stream {
  public:
    Stream(const Variant& variant, int cell, i64 H, Scratch scratch)
        : run_(variant.of<T>()), cell_(cell), H_(H), scratch_(scratch) {}

    // The pointers of W_hh, the biases and the table must stay valid: Python holds the tensors.
    void add_layer(i64 I, const T* W_ih, const T* W_hh, const T* b_ih, const T* b_hh, const T* table) {
        Forward<T> q;
        q.cell = cell_, q.T_ = 1, q.B = 1, q.H = H_, q.I = table ? 0 : I, q.rows = 1;
        q.time_stride = 1;
        q.W_ih = table ? nullptr : W_ih, q.W_hh = W_hh, q.b_ih = b_ih, q.b_hh = b_hh;
        q.table = table;
        memory_.push_back(block(run_.pack(q, nullptr)));
        run_.pack(q, memory_.back().get());
        q.packed = memory_.back().get();
        q.serial_below = 1e5;
        layers_.push_back(q);
    }

    void set_head(i64 n, const T* W, const T* b) {
        scores_.resize(n);
        head_bias_ = b;
        head_ = block(run_.pack_dense(W, n, H_, nullptr));
        run_.pack_dense(W, n, H_, head_.get());
    }

    // One step of all layers; h and c (L, H) are replaced; the input is x (I,) or the id of a table's row.
    void step(int threads, const T* x, i64 id, T* h, T* c, T* out) {
        out_.resize(2 * H_);
        before_.assign(h, h + layers_.size() * H_);
        const T* below = x;
        for (std::size_t l = 0; l < layers_.size(); ++l) {
            Forward<T> q = layers_[l];
            q.threads = threads;
            q.turn = turn_;
            q.h_0 = before_.data() + l * H_, q.c_0 = c ? c + l * H_ : nullptr;
            q.h_n = h + l * H_, q.c_n = c ? c + l * H_ : nullptr;
            if (q.table) q.ids = &id;
            else q.x = below;
            q.out = l + 1 == layers_.size() && out ? out : out_.data() + (l & 1) * H_;
            q.out_ld = H_;
            run_.forward(q, scratch_);
            below = q.out;
        }
        top_ = below;
        turn_ ^= 1;
    }

    // Feeds `id`, draws a symbol, feeds that one, and so on.
    void generate(int threads, i64 id, T* h, T* c, i64 count, Sampling how, i64* ids) {
        for (i64 n = 0; n < count; ++n) {
            step(threads, nullptr, id, h, c, nullptr);
            run_.dense(threads, 1, top_, head_.get(), head_bias_, static_cast<i64>(scores_.size()), H_, scores_.data());
            id = ids[n] = sample(scores_, how, static_cast<std::uint64_t>(n), order_, p_);
        }
    }

    // One step of some of many sequences. `at` says where the n of them lie in h and c, (., L, H), which are replaced; the input
    // is x (n, I) or the ids of the table's rows. Gives scores (n, K), without a head the top layer's states, and of each
    // row the place of its highest score. Nothing of the stream itself changes: threads may step it at one time.
    void step_many(int threads, const std::vector<i64>& at, const T* x, const std::vector<i64>& ids, T* h, T* c, T* scores,
                   std::vector<i64>& best) const {
        const i64 n = static_cast<i64>(at.size()), L = static_cast<i64>(layers_.size());
        thread_local std::vector<T> rows;
        rows.resize(5 * n * H_);
        T *out[2] = {rows.data(), rows.data() + n * H_}, *before = out[1] + n * H_, *h_l = before + n * H_, *c_l = h_l + n * H_;
        const T* below = x;
        for (i64 l = 0; l < L; ++l) {
            Forward<T> q = layers_[l];
            q.threads = threads, q.B = n, q.rows = n, q.time_stride = n;
            for (i64 b = 0; b < n; ++b) {
                std::copy_n(h + (at[b] * L + l) * H_, H_, before + b * H_);
                if (c) std::copy_n(c + (at[b] * L + l) * H_, H_, c_l + b * H_);
            }
            q.h_0 = before, q.h_n = h_l;
            if (c) q.c_0 = q.c_n = c_l;
            if (q.table) q.ids = ids.data();
            else q.x = below;
            q.out = l + 1 == L && !head_ ? scores : out[l & 1];
            q.out_ld = H_;
            run_.forward(q, scratch_);
            for (i64 b = 0; b < n; ++b) {
                std::copy_n(h_l + b * H_, H_, h + (at[b] * L + l) * H_);
                if (c) std::copy_n(c_l + b * H_, H_, c + (at[b] * L + l) * H_);
            }
            below = q.out;
        }
        const i64 K = head_ ? static_cast<i64>(scores_.size()) : H_;
        if (head_) run_.dense(threads, n, below, head_.get(), head_bias_, K, H_, scores);
        best.resize(n);
        for (i64 b = 0; b < n; ++b) best[b] = std::max_element(scores + b * K, scores + (b + 1) * K) - (scores + b * K);
    }

  private:
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };
    using Block = std::unique_ptr<void, Free>;
    static Block block(std::size_t bytes) {
        void* p = std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
        if (!p) throw std::bad_alloc();
        return Block(p);
    }

    Functions<T> run_;
    int cell_;
    i64 H_;
    int turn_ = 0;
    Scratch scratch_;
    std::vector<Forward<T>> layers_;
    std::vector<Block> memory_;
    Block head_;
    const T* head_bias_ = nullptr;
    const T* top_ = nullptr;
    std::vector<T> out_, before_, scores_;
    std::vector<i64> order_;
    std::vector<double> p_;
};

}  // namespace ohlol
