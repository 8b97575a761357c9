// How the columns of a matrix are cut into panels.
#pragma once

#include "threads.h"

namespace {

// The panels of a packed matrix: `count` of them, whose vectors differ by at most one.
struct Panels {
    i64 vectors, count;
    Panels(i64 N, i64 lanes, i64 max_vectors)
        : vectors((N + lanes - 1) / lanes), count((vectors + max_vectors - 1) / max_vectors) {}
    Range at(i64 p) const { return {vectors * p / count, vectors * (p + 1) / count}; }
};

}  // namespace
