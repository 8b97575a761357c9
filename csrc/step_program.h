// A checked program of the vector machine, built once from lists of numbers and run many times.
//
// Everything that could lead outside of memory is checked here: indices and columns when the program is built, the lengths
// of the tensors in each call.
#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "program_args.h"

namespace ohlol {

// A tensor of a call: its address and the numbers from there to its end.
struct Tensor {
    i64 address, length;
};

class StepProgram {
  public:
    bool float64;
    std::vector<Memory> memories;
    std::vector<Instruction> instructions;
    std::vector<Section> sections;
    std::vector<MatrixPart> parts;
    std::vector<PackedMatrix> matrices;
    std::vector<RowProduct> products;
    std::vector<double> numbers;
    std::vector<i64> state_widths, vector_widths, accumulator_widths;
    i64 local_width = 0, temporary_width = 0, widest = 1, rows_count = 0, matrix_count = 0;

    // Numbers in groups: memories of (kind, index, width, ld); instructions of (operation, width, matrix) and four places of
    // (memory, column, is_scalar), memory -1 for none; sections of (first, last); parts of (matrix, first row, last row,
    // first column, last column); matrices of (first part, last part, transposed); products over rows of (operand memory,
    // column, K, gradient memory, column, N).
    StepProgram(bool is_float64, const std::vector<i64>& memory_numbers, const std::vector<i64>& instruction_numbers,
                const std::vector<i64>& section_numbers, const std::vector<i64>& part_numbers,
                const std::vector<i64>& matrix_numbers, const std::vector<i64>& product_numbers, std::vector<double> constants, std::vector<i64> states,
                std::vector<i64> vectors, std::vector<i64> accumulators)
        : float64(is_float64), numbers(std::move(constants)), state_widths(std::move(states)),
          vector_widths(std::move(vectors)), accumulator_widths(std::move(accumulators)) {
        for (i64 width : state_widths) require(width > 0 && width < max_width, "a width of a state");
        for (i64 width : vector_widths) require(width > 0 && width < max_width, "a width of a vector");
        for (i64 width : accumulator_widths) require(width > 0 && width < max_width, "a width of an accumulator");
        read_memories(memory_numbers);
        read_matrices(part_numbers, matrix_numbers);
        read_instructions(instruction_numbers);
        read_sections(section_numbers);
        read_products(product_numbers);
    }

    Program view() const {
        Program p{};
        p.memories = memories.data(), p.memory_count = size(memories);
        p.instructions = instructions.data(), p.instruction_count = size(instructions);
        p.sections = sections.data(), p.section_count = size(sections);
        p.parts = parts.data(), p.matrices = matrices.data(), p.matrix_count = size(matrices);
        p.products = products.data(), p.product_count = size(products);
        p.numbers = numbers.data(), p.number_count = size(numbers);
        p.state_widths = state_widths.data(), p.state_count = size(state_widths);
        p.vector_widths = vector_widths.data(), p.vector_count = size(vector_widths);
        p.accumulator_widths = accumulator_widths.data(), p.accumulator_count = size(accumulator_widths);
        p.local_width = local_width, p.temporary_width = temporary_width, p.widest = widest;
        return p;
    }

    // Refuses tensors that are shorter than the program reads or writes.
    void check_rows(std::span<const Tensor> rows, i64 S) const {
        require(size(rows) == rows_count, "the number of tensors of rows");
        for (const Memory& m : memories)
            if (m.kind == MemoryKind::rows) {
                const bool is_padded = m.ld == padded(m.width);
                check_tensor(rows[m.index], is_padded ? S * m.ld : (S - 1) * m.ld + m.width, "a tensor of rows");
            }
    }

    void check_widths(std::span<const Tensor> tensors, const std::vector<i64>& widths, i64 rows, bool optional,
                      const char* what) const {
        require(tensors.size() == widths.size(), what);
        for (std::size_t k = 0; k < widths.size(); ++k)
            if (!optional || tensors[k].address) check_tensor(tensors[k], rows * widths[k], what);
    }

    void check_products(std::span<const Tensor> results) const {
        require(results.size() == products.size(), "the number of products over rows");
        for (std::size_t k = 0; k < products.size(); ++k)
            check_tensor(results[k], products[k].N * products[k].K, "a product over rows");
    }

    // views: (address, length, rows, columns, row stride, column stride) of each matrix.
    std::vector<MatrixView> check_matrices(const std::vector<i64>& views) const {
        require(size(views) >= 6 * matrix_count, "the number of matrices");
        std::vector<MatrixView> result;
        for (i64 m = 0; m < matrix_count; ++m) {
            const i64* v = views.data() + 6 * m;
            const i64 rows = v[2], columns = v[3];
            require(rows > 0 && columns > 0 && rows < max_width && columns < max_width && v[4] >= 0 && v[5] >= 0 &&
                        v[4] < max_width && v[5] < max_width,
                    "the shape of a matrix");
            check_tensor({v[0], v[1]}, (rows - 1) * v[4] + (columns - 1) * v[5] + 1, "a matrix");
            for (const MatrixPart& part : parts)
                if (part.matrix == m) require(part.last_row <= rows && part.last_column <= columns, "a part of a matrix");
            result.push_back({reinterpret_cast<const void*>(static_cast<std::uintptr_t>(v[0])), v[4], v[5]});
        }
        return result;
    }

  private:
    static constexpr i64 max_width = i64{1} << 31;

    static void require(bool condition, const char* what) {
        if (!condition) throw std::invalid_argument(std::string("the program does not fit: ") + what);
    }

    static void check_tensor(const Tensor& tensor, i64 length, const char* what) {
        require(tensor.address != 0 && tensor.length >= length, what);
    }

    template <class V>
    static i64 size(const V& values) {
        return static_cast<i64>(values.size());
    }

    i64 padded(i64 width) const {
        const i64 unit = float64 ? 8 : 16;
        return (width + unit - 1) / unit * unit;
    }

    void read_memories(const std::vector<i64>& n) {
        require(n.size() % 4 == 0 && size(n) / 4 <= max_memories, "the memories");
        for (std::size_t i = 0; i < n.size(); i += 4) {
            require(n[i] >= 0 && n[i] < static_cast<i64>(MemoryKind::count), "the kind of a memory");
            const Memory m{static_cast<MemoryKind>(n[i]), n[i + 1], n[i + 2], n[i + 3]};
            require(m.index >= 0 && m.width > 0 && m.width < max_width && m.ld >= m.width && m.ld < max_width, "a memory");
            switch (m.kind) {
                case MemoryKind::rows: rows_count = std::max(rows_count, m.index + 1); break;
                case MemoryKind::state_before:
                case MemoryKind::state_after: require_widths(m, state_widths); break;
                case MemoryKind::vector: require_widths(m, vector_widths); break;
                case MemoryKind::accumulator: require_widths(m, accumulator_widths); break;
                case MemoryKind::number: require(m.index < size(numbers) && m.width == 1, "a number"); break;
                case MemoryKind::local:
                    require(m.ld == padded(m.width), "a local memory");
                    local_width = std::max(local_width, m.index + m.ld);
                    break;
                default:
                    require(m.ld == padded(m.width), "a temporary memory");
                    temporary_width = std::max(temporary_width, m.index + m.ld);
                    widest = std::max(widest, m.ld);
            }
            memories.push_back(m);
        }
        require(rows_count <= max_memories, "the number of tensors of rows");
    }

    void require_widths(const Memory& m, const std::vector<i64>& widths) const {
        require(m.index < size(widths) && m.width == widths[m.index] && m.ld == padded(m.width), "the width of a memory");
    }

    void read_matrices(const std::vector<i64>& part_numbers, const std::vector<i64>& n) {
        require(part_numbers.size() % 5 == 0 && n.size() % 3 == 0, "the matrices");
        for (std::size_t i = 0; i < part_numbers.size(); i += 5) {
            const i64* v = part_numbers.data() + i;
            require(v[0] >= 0 && v[0] < max_memories && v[1] >= 0 && v[1] < v[2] && v[2] < max_width && v[3] >= 0 &&
                        v[3] < v[4] && v[4] < max_width,
                    "a part of a matrix");
            parts.push_back({v[0], v[1], v[2], v[3], v[4]});
            matrix_count = std::max(matrix_count, v[0] + 1);
        }
        for (std::size_t i = 0; i < n.size(); i += 3) {
            PackedMatrix m{n[i], n[i + 1], n[i + 2] != 0, 0, 0};
            require(m.first_part >= 0 && m.first_part < m.last_part && m.last_part <= size(parts), "a packed matrix");
            for (i64 k = m.first_part; k < m.last_part; ++k) {
                const MatrixPart& part = parts[k];
                const i64 rows = part.last_row - part.first_row, columns = part.last_column - part.first_column;
                const i64 N = m.transposed ? rows : columns;
                m.K += m.transposed ? columns : rows;
                require(m.N == 0 || m.N == N, "the parts of a packed matrix");
                m.N = N;
            }
            matrices.push_back(m);
        }
    }

    Place read_place(const i64* n) const {
        require(n[0] >= -1 && n[0] < size(memories) && n[1] >= 0 && n[1] < max_width, "the place of an operand");
        return {n[0], n[1], n[2] != 0};
    }

    void require_columns(const Place& place, i64 width, const char* what) const {
        require(place.memory >= 0, what);
        require(place.column + (place.is_scalar ? 1 : width) <= memories[place.memory].width, what);
    }

    void read_instructions(const std::vector<i64>& n) {
        require(n.size() % 15 == 0, "the instructions");
        for (std::size_t i = 0; i < n.size(); i += 15) {
            const i64* v = n.data() + i;
            require(v[0] >= 0 && v[0] < static_cast<i64>(Op::count) && v[1] > 0, "an instruction");
            const Instruction in{static_cast<Op>(v[0]), v[1],  read_place(v + 3), read_place(v + 6),
                                 read_place(v + 9),     read_place(v + 12), v[2]};
            check_instruction(in);
            instructions.push_back(in);
        }
    }

    void check_instruction(const Instruction& in) const {
        const bool reduces = in.op == Op::sum || in.op == Op::amax;
        require(!in.result.is_scalar, "a result");
        require_columns(in.result, reduces ? 1 : in.width, "a result");
        const MemoryKind kind = memories[in.result.memory].kind;
        require(kind != MemoryKind::vector && kind != MemoryKind::number && kind != MemoryKind::state_before, "a result");
        require((kind == MemoryKind::accumulator) == (in.op == Op::accumulate), "an accumulator");
        if (in.op == Op::matmul) {
            require(in.matrix >= 0 && in.matrix < size(matrices), "the matrix of a product");
            const PackedMatrix& m = matrices[in.matrix];
            require(in.width == m.N && !in.a.is_scalar && !in.b.is_scalar && !in.c.is_scalar, "a product");
            require_columns(in.a, m.K, "the operand of a product");
            if (in.b.memory >= 0) require_columns(in.b, in.width, "a term of a product");
            if (in.c.memory >= 0) require_columns(in.c, in.width, "a term of a product");
            for (const Place* place : {&in.result, &in.a, &in.b, &in.c})
                require(place->memory < 0 || memories[place->memory].kind != MemoryKind::temporary, "a product");
            return;
        }
        if (reduces || in.op == Op::accumulate) require(!in.a.is_scalar, "a reduction");
        require_columns(in.a, in.width, "an operand");
        if (is_binary(in.op) || is_ternary(in.op)) require_columns(in.b, in.width, "an operand");
        if (is_ternary(in.op)) require_columns(in.c, in.width, "an operand");
    }

    void read_products(const std::vector<i64>& n) {
        require(n.size() % 6 == 0, "the products over rows");
        for (std::size_t i = 0; i < n.size(); i += 6) {
            const RowProduct product{n[i], n[i + 1], n[i + 2], n[i + 3], n[i + 4], n[i + 5]};
            require_rows(product.operands, product.operand_column, product.K);
            require_rows(product.gradients, product.gradient_column, product.N);
            products.push_back(product);
        }
    }

    void require_rows(i64 memory, i64 column, i64 width) const {
        require(memory >= 0 && memory < size(memories) && memories[memory].kind == MemoryKind::rows && column >= 0 &&
                    column < max_width && width > 0 && width < max_width && column + width <= memories[memory].width,
                "a product over rows");
    }

    void read_sections(const std::vector<i64>& n) {
        require(n.size() % 2 == 0, "the sections");
        i64 end = 0;
        for (std::size_t i = 0; i < n.size(); i += 2) {
            const Section s{n[i], n[i + 1]};
            require(s.first == end && s.first < s.last && s.last <= size(instructions), "a section");
            for (i64 k = s.first; k < s.last; ++k)
                require((instructions[k].op == Op::matmul) == (instructions[s.first].op == Op::matmul), "a section");
            require(instructions[s.first].op != Op::matmul || s.last == s.first + 1, "a section");
            end = s.last;
            sections.push_back(s);
        }
        require(end == size(instructions), "the sections");
    }
};

}  // namespace ohlol
