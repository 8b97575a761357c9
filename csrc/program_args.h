// A program of the vector machine, and the arguments of a call: plain arrays, the same for every instruction set.
//
// A program is one step of a recurrence: instructions that read and write memories. A row is one entry of the batch. The
// machine runs the program for each step, over blocks of rows.
#pragma once

#include "kernel_args.h"

namespace ohlol {

// The operations, in the order of their names in `operation_names`.
enum class Op : int {
    copy, neg, abs, sign, relu, sigmoid, tanh, exp, expm1, log, log1p, sqrt, rsqrt, reciprocal, sin, cos, erf, isnan, square,
    add, sub, mul, div, minimum, maximum, gt, ge, eq, ne, pow, tanh_grad, sigmoid_grad,
    where, mul_add,
    sum, amax, accumulate,
    matmul,
    count
};

constexpr const char* operation_names[] = {
    "copy", "neg", "abs", "sign", "relu", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal",
    "sin", "cos", "erf", "isnan", "square",
    "add", "sub", "mul", "div", "minimum", "maximum", "gt", "ge", "eq", "ne", "pow", "tanh_grad", "sigmoid_grad",
    "where", "mul_add",
    "sum", "amax", "accumulate",
    "matmul"};
static_assert(sizeof(operation_names) / sizeof(operation_names[0]) == static_cast<std::size_t>(Op::count));

constexpr bool is_unary(Op op) { return op <= Op::square; }
constexpr bool is_binary(Op op) { return op >= Op::add && op <= Op::sigmoid_grad; }
constexpr bool is_ternary(Op op) { return op == Op::where || op == Op::mul_add; }

enum class MemoryKind : int {
    rows,          // (S, ld), a tensor of all steps
    state_before,  // the state that a step reads, and
    state_after,   // the one it writes
    vector,        // (width,), the same for every row
    number,        // a constant
    local,         // of one block of rows
    temporary,     // of one block of rows within a section
    accumulator,   // (width,), a sum over all rows
    count
};

constexpr const char* memory_kind_names[] = {"rows", "state_before", "state_after", "vector",
                                             "number", "local", "temporary", "accumulator"};

struct Memory {
    MemoryKind kind;
    i64 index;  // among the tensors of its kind; of local and temporary memory the offset, in numbers for each row
    i64 width, ld;
};

// Where an operand lies: a column of a memory. A scalar operand is one number for each row, repeated over the width.
struct Place {
    i64 memory = -1, column = 0;
    bool is_scalar = false;
};

struct Instruction {
    Op op;
    i64 width;            // columns of the result; of a reduction, of the operand
    Place result, a, b, c;  // of matmul: a is (rows, K), b and c are added to the product
    i64 matrix = -1;      // of matmul
};

// Instructions that are pointwise, or one matmul.
struct Section {
    i64 first, last;
};

// K rows and N columns of a packed matrix: parts of weight matrices below each other.
struct MatrixPart {
    i64 matrix, first_row, last_row, first_column, last_column;
};

struct PackedMatrix {
    i64 first_part, last_part;
    bool transposed;
    i64 K, N;
};

// A product over all rows, after the last step: gradients^T operands, (N, K), of two memories of rows.
struct RowProduct {
    i64 operands, operand_column, K, gradients, gradient_column, N;
};

struct MatrixView {
    const void* data;
    i64 row_stride, column_stride;
};

struct Program {
    const Memory* memories;
    i64 memory_count;
    const Instruction* instructions;
    i64 instruction_count;
    const Section* sections;
    i64 section_count;
    const MatrixPart* parts;
    const PackedMatrix* matrices;
    i64 matrix_count;
    const RowProduct* products;
    i64 product_count;
    const double* numbers;
    const i64* state_widths;
    i64 state_count, vector_count, accumulator_count, number_count;
    const i64 *vector_widths, *accumulator_widths;
    i64 local_width, temporary_width;  // numbers for each row of a block
    i64 widest;                        // ld of the widest temporary
};

template <class T>
struct ProgramArgs : LayerArgs<T> {
    Program program;
    T* const* rows_data;           // by the index of a memory
    const T* const* vector_data;
    const MatrixView* matrix_data;
    const T* const* initial;       // (B, width) of each state, null for zeros
    T* const* final;
    T* const* accumulator_data;    // (width,), overwritten
    T* const* product_data;        // (N, K), overwritten
    int format = plain;            // of the packed matrices; with another than plain,
    const char* packed = nullptr;  // what was written by reduced->pack_matrix for each, one after the other, instead of matrix_data,
    const ReducedFunctions* reduced = nullptr;  // their functions,
    i64* reduced_products = nullptr;            // and how many products they have computed, to which this call adds its own
};

// The largest number of memories in a program.
constexpr i64 max_memories = 512;

}  // namespace ohlol
