// The kernels of a training step outside of the layers, for one instruction set: this file is compiled once for each
// OHLOL_VARIANT, and must not use templates of the standard library, as recurrence.cpp.
#include "cross_entropy.h"
#include "optimizer.h"
#include "scatter.h"

#define OHLOL_JOIN_(a, b) a##b
#define OHLOL_JOIN(a, b) OHLOL_JOIN_(a, b)

template <class T>
constexpr ohlol::TrainingFunctions<T> functions{&take_step<T>, &cross_entropy<T>, &scatter_rows<T>};

const ohlol::Training ohlol::OHLOL_JOIN(training_, OHLOL_VARIANT) = {functions<float>, functions<double>};
