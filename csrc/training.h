// The arguments of the kernels of a training step outside of the layers: the optimizer and the loss.
#pragma once

#include "kernel_args.h"

namespace ohlol {

// A condition that the compiler knows, as an argument.
struct Always {
    static constexpr bool value = true;
};
struct Never {
    static constexpr bool value = false;
};

enum Rule : int { adam = 0, adamw = 1, sgd = 2, rmsprop = 3 };

// One parameter of a step, all of its tensors contiguous and of `size` numbers.
template <class T>
struct StepTensor {
    T* parameter;
    T* grad;                                 // null: only the mean changes
    T *first, *second;                       // the mean of the gradients, or the momentum, and the mean of their squares; null
                                             // where the rule has none
    T* mean;                                 // of the parameter over the steps, or null
    i64 size;
    double lr, step_size, second_scale;      // Adam: lr / (1 - beta1^t) and sqrt(1 - beta2^t) at step t
};

template <class T>
struct StepArgs {
    int rule = adam, threads = 1;
    double serial_below = 0;
    i64 count = 0;
    const StepTensor<T>* tensors = nullptr;
    double beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
    double max_norm = 0;                     // the gradients are scaled in place so that their norm is at most this
    double mean_weight = 0;                  // of the new parameters in the mean
};

// The cross-entropy of rows of logits with K labels; see cross_entropy.h.
template <class T>
struct CrossEntropyArgs {
    int threads = 1;
    double serial_below = 0;
    i64 rows = 0, K = 0, ld = 0;
    T* logits = nullptr;                     // (rows, K) without the bias, at distances of ld, which has space for full vectors;
                                             // become their gradients, or logits with the bias
    const T *bias = nullptr, *weights = nullptr;  // (K,) or null, of the labels
    const i64* targets = nullptr;            // (rows,)
    i64 ignored = -100;                      // a target without a loss
    double smoothing = 0, scale = 1;         // the gradients are multiplied by `scale`
    bool with_gradients = false;
    T* d_bias = nullptr;                     // (K,) or null; the gradients are added to it
    i64* best = nullptr;                     // (rows,) or null, the labels with the largest logits
};

// The sums (size, N) of the rows (rows, N) of each id.
template <class T>
struct ScatterArgs {
    int threads = 1;
    double serial_below = 0;
    i64 rows = 0, N = 0, size = 0;
    const T* values = nullptr;
    const i64* ids = nullptr;                // (rows,)
    T* sums = nullptr;
};

template <class T>
struct TrainingFunctions {
    double (*take_step)(const StepArgs<T>&, AllocateScratch);
    double (*cross_entropy)(const CrossEntropyArgs<T>&, AllocateScratch);
    void (*scatter_rows)(const ScatterArgs<T>&, AllocateScratch);
};

struct Training {
    TrainingFunctions<float> f32;
    TrainingFunctions<double> f64;
    template <class T>
    const TrainingFunctions<T>& functions() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};

extern const Training training_baseline;
extern const Training training_avx2;
extern const Training training_avx512;

}  // namespace ohlol
