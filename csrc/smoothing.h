// Exponential smoothing of one series by many models: the sum of squared errors of each, and the forecasts from each row.
//
//     expected = level + phi slope                 error = value - expected - season[t mod m], or 0 where a value is missing
//     level = expected + alpha error               slope = phi slope + beta error
//     season[t mod m] += gamma error               forecast k = level + (phi + ... + phi^k) slope + season[(t + k) mod m]
//
// Models are the lanes of the vectors, several vectors at once, since each step waits for the one before it. Threads split
// the models.
#pragma once

#include "threads.h"

namespace {

using ohlol::SmoothArgs;

constexpr i64 smoothing_vectors = 4;

// The states of N vectors of models over all rows; the last vector has `last` models.
template <class T, int N>
void smooth_models(const SmoothArgs<T>& args, i64 model, i64 last, T* seasons) {
    constexpr i64 L = Simd<T>::lanes;
    const i64 M = args.M, m = args.m, h = args.horizon;
    Vec<T> level[N], slope[N], alpha[N], beta[N], phi[N], gamma[N], squared[N];
    i64 count[N];
    for (int v = 0; v < N; ++v) {
        const i64 at = model + v * L;
        count[v] = v == N - 1 ? last : L;
        level[v] = load_part<T>(args.level + at, count[v]), slope[v] = load_part<T>(args.slope + at, count[v]);
        alpha[v] = load_part<T>(args.alpha + at, count[v]), beta[v] = load_part<T>(args.beta + at, count[v]);
        phi[v] = load_part<T>(args.phi + at, count[v]), gamma[v] = load_part<T>(args.gamma + at, count[v]);
        squared[v] = Vec<T>{};
        for (i64 i = 0; i < m; ++i) store<T>(seasons + (i * N + v) * L, load_part<T>(args.seasons + i * M + at, count[v]));
    }
    i64 phase = 0;
    for (i64 t = 0; t < args.T_; ++t) {
        const T value = args.values[t];
        const bool is_missing = value != value;
        T* const season = seasons + phase * N * L;
        for (int v = 0; v < N; ++v) {
            const Vec<T> pattern = load<T>(season + v * L), damped = phi[v] * slope[v], expected = level[v] + damped;
            const Vec<T> error = is_missing ? Vec<T>{} : (value - expected) - pattern;
            if (t >= args.first) squared[v] += error * error;
            level[v] = expected + alpha[v] * error;
            slope[v] = damped + beta[v] * error;
            store<T>(season + v * L, pattern + gamma[v] * error);
        }
        phase = phase + 1 == m ? 0 : phase + 1;
        i64 ahead = phase;
        Vec<T> power[N], damping[N];
        for (int v = 0; v < N; ++v) power[v] = phi[v], damping[v] = phi[v];
        for (i64 k = 0; k < h; ++k) {
            for (int v = 0; v < N; ++v) {
                const Vec<T> forecast = level[v] + damping[v] * slope[v] + load<T>(seasons + (ahead * N + v) * L);
                store_part<T>(args.forecasts + (t * h + k) * M + model + v * L, forecast, count[v]);
                power[v] *= phi[v];
                damping[v] += power[v];
            }
            ahead = ahead + 1 == m ? 0 : ahead + 1;
        }
    }
    for (int v = 0; v < N; ++v) store_part<T>(args.squared + model + v * L, squared[v], count[v]);
}

template <class T>
void smooth(const SmoothArgs<T>& args, AllocateScratch allocate) {
    constexpr i64 L = Simd<T>::lanes, width = smoothing_vectors * L;
    const i64 blocks = (args.M + width - 1) / width;
    const double work = double(args.T_) * double(args.M) * double(8 + 4 * args.horizon);
    const int parts = work < args.serial_below ? 1 : static_cast<int>(min(args.threads, blocks));
    ThreadSlot* slots = nullptr;
    T* own = nullptr;
    const i64 size = args.m * width, gap = thread_gap_bytes / i64(sizeof(T));
    const auto lay_out = [&](BumpAllocator& memory) {
        slots = memory.allocate<ThreadSlot>(parts);
        own = memory.allocate<T>(parts * (size + gap));
    };
    BumpAllocator count{nullptr};
    lay_out(count);
    BumpAllocator memory{static_cast<char*>(allocate(count.used))};
    lay_out(memory);
    const auto run_part = [&](int part) {
        T* const seasons = own + part * (size + gap);
        const Range range = split(blocks, part, parts);
        for (i64 block = range.lo; block < range.hi; ++block) {
            const i64 model = block * width, left = min(width, args.M - model), last = (left - 1) % L + 1;
            switch ((left + L - 1) / L) {
                case 1: smooth_models<T, 1>(args, model, last, seasons); break;
                case 2: smooth_models<T, 2>(args, model, last, seasons); break;
                case 3: smooth_models<T, 3>(args, model, last, seasons); break;
                default: smooth_models<T, smoothing_vectors>(args, model, last, seasons);
            }
        }
    };
    run_threads(slots, parts, [&](Thread& thread) { thread.each_part(run_part); });
}

}  // namespace
