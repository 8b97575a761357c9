// The arguments of the kernels: plain pointers and sizes, the same for every instruction set.
//
// Names of sizes: T_ time steps, B entries of the batch (sequences), I input size, H hidden size, G gates, S rows.
// A row is one step of one entry. Entry b of step t is row `offset(t) + b * batch_stride`: a packed batch has batch_sizes
// and batch_stride 1; in a dense batch every step has B entries, and (time_stride, batch_stride) is (B, 1) for time first
// and (1, T) for batch first. Entries are sorted by length, longest first, so step t has the entries 0 .. entries(t) - 1.
//
// A gate is activation(input term + hidden term): the input term is W_ih x + b_ih, the hidden term W_hh h + b_hh.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ohlol {

using i64 = std::int64_t;

enum Cell : int { rnn = 0, rnn_relu = 1, gru = 2, lstm = 3 };

// What the weights of a forward pass become before their products; see reduced_weights.h. Only float32 has others than plain.
enum Format : int { plain = 0, bf16 = 1, int8 = 2 };

template <class T>
struct LayerArgs {
    int cell = 0, threads = 1;
    bool reverse = false;                    // from the last step to the first
    i64 T_ = 0, B = 0, H = 0, I = 0;
    const i64* batch_sizes = nullptr;        // (T,), null for a dense batch
    const i64* offsets = nullptr;            // (T,), the first row of each step; set with batch_sizes
    i64 time_stride = 0, batch_stride = 1;
    i64 rows = 0;                            // S
    double serial_below = 0;                 // with fewer multiplications, one thread runs the whole call
    const T *W_ih = nullptr, *W_hh = nullptr, *b_ih = nullptr, *b_hh = nullptr;
    const T *h_0 = nullptr, *c_0 = nullptr;  // (B, H), null for zeros

    i64 entries(i64 t) const { return batch_sizes ? batch_sizes[t] : B; }
    i64 row(i64 t, i64 b) const { return (batch_sizes ? offsets[t] : t * time_stride) + b * batch_stride; }
};

template <class T>
struct ForwardArgs : LayerArgs<T> {
    const T* x = nullptr;                    // (S, I); or, instead of x and W_ih,
    const T* table = nullptr;                // (V, G*H), the products W_ih x of V symbols, and
    const i64* ids = nullptr;                // (S,), the symbol of each row
    T* out = nullptr;                        // (S, .) with leading dimension out_ld
    i64 out_ld = 0;
    T *h_n = nullptr, *c_n = nullptr;        // (B, H); h_n must not be h_0
    T* gates = nullptr;                      // (S, G*H), kept for backward; null where there is no backward
    T* cell_states = nullptr;                // (S, H), LSTM, likewise
    T* hidden_n = nullptr;                   // (S, H), GRU: W_hn h + b_hn, likewise
    int format = plain;                      // of the weights
    void* packed_weights = nullptr;          // what Functions::pack wrote; null to pack in this call
    int odd_step = 0;                        // PackedLayers runs one step per call; alternates 0 and 1 so that
                                             // the panels are read in alternating directions
};

template <class T>
struct BackwardArgs : LayerArgs<T> {
    const T* x = nullptr;                    // (S, I), for d_W_ih
    const T* out = nullptr;
    i64 out_ld = 0;
    const T *gates = nullptr, *cell_states = nullptr, *hidden_n = nullptr;  // kept by forward
    const T* grad_out = nullptr;             // (S, .) with leading dimension grad_out_ld, or null
    i64 grad_out_ld = 0;
    const T *grad_h_n = nullptr, *grad_c_n = nullptr;      // (B, H) or null
    T* d_input_terms = nullptr;              // (S, G*H); null where only the products below need it
    T *d_h_0 = nullptr, *d_c_0 = nullptr;    // (B, H) or null
    T *d_b_ih = nullptr, *d_b_hh = nullptr;  // (G*H,) or null; they differ in the GRU's n only
    T *d_x = nullptr, *d_W_ih = nullptr, *d_W_hh = nullptr;  // or null
    bool add_d_x = false;                    // add to d_x: it holds the other direction's gradient
};

// A linear-chain conditional random field over packed sequences with K labels; see crf.h.
template <class T>
struct CrfArgs : LayerArgs<T> {
    i64 K = 0;
    const T *emissions = nullptr, *transitions = nullptr;      // (S, K), (K, K) from row to column
    const T *start = nullptr, *end = nullptr;                  // (K,), of the first and of the last label
    const i64* labels = nullptr;                               // (S,) or null
    T *losses = nullptr, *alphas = nullptr;                    // (B,) log partition minus the score of the labels, if there
                                                               // are any; (S, K), kept for backward
    const T* grad = nullptr;                                   // (B,), of losses
    T *d_emissions = nullptr, *d_transitions = nullptr, *d_start = nullptr, *d_end = nullptr;
    i64* best = nullptr;                                       // (S,), the labels that decode finds, and
    T* scores = nullptr;                                       // (B,), their scores
};

// M models of exponential smoothing over a series of T rows, with a season of m rows; see smoothing.h.
template <class T>
struct SmoothArgs {
    int threads = 1;
    double serial_below = 0;
    i64 T_ = 0, M = 0, m = 1, horizon = 0;
    i64 first = 0;                                             // the row from which on errors are summed
    const T* values = nullptr;                                 // (T,), NaN where one is missing
    const T *alpha = nullptr, *beta = nullptr, *phi = nullptr, *gamma = nullptr;  // (M,)
    const T *level = nullptr, *slope = nullptr;                // (M,), before the first row
    const T* seasons = nullptr;                                // (m, M), likewise
    T* squared = nullptr;                                      // (M,), the sums of squared errors
    T* forecasts = nullptr;                                    // (T, horizon, M)
};

// Returns memory for one call, aligned to 64 bytes; it belongs to the calling thread and is reused by its next call.
using AllocateScratch = void* (*)(std::size_t bytes);

template <class T>
struct ProgramArgs;

template <class T>
struct Functions {
    void (*forward)(const ForwardArgs<T>&, AllocateScratch);
    void (*backward)(const BackwardArgs<T>&, AllocateScratch);
    std::size_t (*pack)(const ForwardArgs<T>&, void* destination);  // bytes needed; writes unless destination is null
    std::size_t (*pack_dense)(const T* W, i64 n, i64 K, void* destination);  // likewise
    void (*dense)(int threads, i64 rows, const T* x, const void* packed, const T* bias, i64 n, i64 K, T* y);
    void (*run_program)(const ProgramArgs<T>&, AllocateScratch);
    void (*crf_forward)(const CrfArgs<T>&, AllocateScratch);
    void (*crf_backward)(const CrfArgs<T>&, AllocateScratch);
    void (*crf_decode)(const CrfArgs<T>&, AllocateScratch);
    void (*smooth)(const SmoothArgs<T>&, AllocateScratch);
    void (*apply)(int function, const T* x, T* y, i64 n);  // 0 tanh, 1 sigmoid; for tests
};

// result = rows W + b + c, with W of K rows and N columns in another format than plain; b and c may be null.
struct ReducedProduct {
    int format;
    i64 K, N, count;                         // `count` rows
    const void *packed, *rows;               // what pack_matrix wrote; the rows, prepared where the format asks for it
    i64 row_stride;                          // in numbers, or in bytes of prepared rows
    const float *b, *c;
    i64 b_stride, c_stride;
    float* result;
    i64 result_stride;
    bool backwards;                          // from the last panel to the first
};

// The forward pass, the packing of weights, and the products of the vector machine in another format than plain.
struct ReducedFunctions {
    void (*forward)(const ForwardArgs<float>&, AllocateScratch);
    std::size_t (*pack)(const ForwardArgs<float>&, void* destination);
    std::size_t (*matrix_bytes)(int format, i64 K, i64 N);                     // of what pack_matrix writes
    void (*pack_matrix)(int format, i64 K, i64 N, const float* rows, void* destination);  // rows: N rows of K numbers
    i64 (*row_bytes)(int format, i64 K);     // of a prepared row; 0 where rows are read as they are
    void (*prepare_rows)(const float* rows, i64 stride, i64 count, i64 K, void* space);
    void (*multiply)(const ReducedProduct&);
};

struct Variant {
    const char* name;
    Functions<float> f32;
    Functions<double> f64;
    const ReducedFunctions* reduced;
    template <class T>
    const Functions<T>& functions() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};

extern const ReducedFunctions reduced_baseline;
extern const ReducedFunctions reduced_avx2;
extern const ReducedFunctions reduced_avx512;

extern const Variant variant_baseline;
extern const Variant variant_avx2;
extern const Variant variant_avx512;

// Multiply-adds in registers, `rounds` times; returns the operations. See peak.cpp.
struct Peak {
    const char* name;
    double (*f32)(i64 rounds, float* sum);
    double (*f64)(i64 rounds, double* sum);
};

extern const Peak peak_baseline;
extern const Peak peak_avx2;
extern const Peak peak_avx512;

}  // namespace ohlol
