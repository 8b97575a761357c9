// What a call of the recurrence is told: plain pointers and sizes, the same for every instruction set.
//
// Rows. The steps of all sequences lie in one matrix; entry b of step t is row `offset(t) + b * batch_stride`. A packed
// batch has batch_sizes and stride 1; a dense one is the case where every step has B entries: time first is
// (time_stride, batch_stride) = (B, 1), batch first is (1, T). Entries are sorted by length, longest first, so the ones
// that live at step t are 0 .. n(t) - 1.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ohlol {

using i64 = std::int64_t;

enum Cell : int { rnn_tanh = 0, rnn_relu = 1, gru = 2, lstm = 3 };
constexpr int gates_of(int cell) { return cell == lstm ? 4 : cell == gru ? 3 : 1; }

template <class T>
struct Sequence {
    int cell = 0, threads = 1;
    bool reverse = false;
    i64 T_ = 0, B = 0, H = 0, I = 0;
    const i64* batch_sizes = nullptr;     // (T,), or null for a dense batch
    const i64* offsets = nullptr;         // (T,), with batch_sizes
    i64 time_stride = 0, batch_stride = 1;
    i64 rows = 0;                         // S, the number of rows in all
    double serial_below = 0;              // multiplications below which one thread does everything
    const T *W_ih = nullptr, *W_hh = nullptr, *b_ih = nullptr, *b_hh = nullptr;
    const T *h_0 = nullptr, *c_0 = nullptr;  // (B, H), null for zeros

    i64 n(i64 t) const { return batch_sizes ? batch_sizes[t] : B; }
    i64 row(i64 t, i64 b) const { return (batch_sizes ? offsets[t] : t * time_stride) + b * batch_stride; }
};

template <class T>
struct Forward : Sequence<T> {
    const T* x = nullptr;          // (S, I), or
    const T* table = nullptr;      // (V, G*H): what the projection without bias makes of every symbol, and
    const i64* ids = nullptr;      // (S,) rows of the table
    int turn = 0;                  // a stream: 1 every other step, so that the panels are walked to and fro
    T* out = nullptr;              // (S, .) with leading dimension out_ld
    i64 out_ld = 0;
    T *h_n = nullptr, *c_n = nullptr;        // (B, H); h_n apart from h_0
    void* packed = nullptr;        // the weights as Functions::pack has left them, or null to pack them now
    T *gates = nullptr, *cells = nullptr;    // saved for backward, or null: (S, G*H) after activation, (S, H) LSTM
    T* hidden_n = nullptr;                   // (S, H), GRU: W_hn h + b_hn
};

template <class T>
struct Backward : Sequence<T> {
    const T* x = nullptr;          // (S, I), for d_W_ih
    const T* out = nullptr;
    i64 out_ld = 0;
    const T *gates = nullptr, *cells = nullptr, *hidden_n = nullptr;
    const T* grad_out = nullptr;   // (S, .) with leading dimension grad_out_ld, or null
    i64 grad_out_ld = 0;
    const T *grad_h_n = nullptr, *grad_c_n = nullptr;  // (B, H) or null
    T* d_gates = nullptr;          // (S, G*H): gradient of the input projections; null where nobody outside wants it
    T *d_h_0 = nullptr, *d_c_0 = nullptr;    // (B, H) or null
    T *d_b_ih = nullptr, *d_b_hh = nullptr;  // (G*H,) or null: equal but for the GRU's candidate
    T *d_x = nullptr, *d_W_ih = nullptr, *d_W_hh = nullptr;  // or null
    bool add_d_x = false;          // to what is there: the second direction
};

// Memory of one call, aligned to 64 bytes: thread-local to the caller and kept between calls.
using Scratch = void* (*)(std::size_t bytes);

template <class T>
struct Functions {
    void (*forward)(const Forward<T>&, Scratch);
    void (*backward)(const Backward<T>&, Scratch);
    std::size_t (*pack)(const Forward<T>&, void* to);  // the bytes needed; writes them if there is a place
    std::size_t (*pack_dense)(const T* W, i64 n, i64 K, void* to);
    void (*dense)(int threads, i64 rows, const T* x, const void* packed, const T* bias, i64 n, i64 K, T* y);
    void (*map)(int function, const T* x, T* y, i64 n);  // 0 tanh, 1 sigmoid: for the tests
};

struct Variant {
    const char* name;
    Functions<float> f32;
    Functions<double> f64;
    template <class T>
    const Functions<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};

extern const Variant variant_baseline;
extern const Variant variant_avx2;
extern const Variant variant_avx512;

}  // namespace ohlol
