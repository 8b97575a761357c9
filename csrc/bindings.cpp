// The Python module of the kernels. Most arguments are addresses from Tensor.data_ptr(): an integer costs far less to pass
// than an array.
//
// Nothing is checked here: ops/ has checked shapes, dtypes and strides. The GIL is released while a kernel runs.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <atomic>
#include <cstring>
#include <exception>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "contention.h"
#include "kernel_args.h"
#include "keyword_call.h"
#include "packed_layers.h"
#include "platform.h"
#include "step_program.h"
#include "training.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace ohlol;

namespace {

std::atomic<bool> poison{false};  // for tests: fill scratch memory with NaN before each call

constexpr double default_serial_below = 4e5;
std::atomic<double> serial_below{default_serial_below};

// fork() copies the calling thread only. The OpenMP pool of the child still lists the threads of the parent, and a parallel
// region would wait for them forever; so a forked process runs every call on one thread.
std::atomic<bool> forked{false};

int usable_threads(i64 threads) { return forked ? 1 : static_cast<int>(threads); }

class Arena {
  public:
    ~Arena() { free_aligned(base_); }
    void* get(std::size_t bytes) {
        if (bytes > size_) {
            free_aligned(base_);
            base_ = nullptr;
            size_ = 0;
            const std::size_t pages = (bytes + 4095) / 4096 * 4096;
            base_ = allocate_aligned(pages);
            size_ = pages;
        }
        if (poison) std::memset(base_, 0xff, size_);
        return base_;
    }

  private:
    void* base_ = nullptr;
    std::size_t size_ = 0;
};

void* allocate_scratch(std::size_t bytes) {
    thread_local Arena arena;
    return arena.get(bytes);
}

std::vector<std::string> supported() {
    std::vector<std::string> names;
#ifdef OHLOL_X86
    if (runs_avx512()) names.emplace_back("avx512");
    if (runs_avx2()) names.emplace_back("avx2");
#endif
    names.emplace_back("baseline");
    return names;
}

std::atomic<const Variant*> selected_variant{&variant_baseline};
std::atomic<const Training*> selected_training{&training_baseline};

void check_supported(const std::string& name) {
    for (const std::string& known : supported())
        if (known == name) return;
    throw std::invalid_argument("this machine does not run the kernel variant '" + name + "'");
}

void select_variant(const std::string& name) {
    check_supported(name);
    const Variant* variant = &variant_baseline;
    const Training* training = &training_baseline;
#ifdef OHLOL_X86
    if (name == "avx512") variant = &variant_avx512, training = &training_avx512;
    if (name == "avx2") variant = &variant_avx2, training = &training_avx2;
#endif
    selected_variant = variant;
    selected_training = training;
}

using Address = std::uintptr_t;

template <class T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

// The first of the T batch sizes of a packed batch, or 0 unless they are positive, descending and `rows` in total.
i64 packed_batch(Address batch_sizes, i64 T, i64 rows) {
    const i64* sizes = pointer<const i64>(batch_sizes);
    i64 before = rows;
    for (i64 t = 0; t < T; ++t) {
        if (sizes[t] < 1 || sizes[t] > before || sizes[t] > rows) return 0;
        before = sizes[t];
        rows -= before;
    }
    return rows == 0 && T > 0 ? sizes[0] : 0;
}

// The arguments of one layer in one direction as Python passes them; see kernel_args.h for their shapes. Most are addresses,
// 0 where there is no tensor.
struct LayerCall {
    i64 kernel, threads;
    i64 T, B, H, I;
    i64 batch_sizes, time_stride, batch_stride, reverse;
    i64 W_ih, W_hh, b_ih, b_hh;
    i64 h_0 = 0, c_0 = 0, x = 0, out, out_ld, gates = 0, cell_states = 0, hidden_n = 0;
};

struct ForwardCall : LayerCall {
    i64 table = 0, ids = 0, h_n, c_n, packed_weights = 0;
};

struct BackwardCall : LayerCall {
    i64 grad_out, grad_out_ld, grad_h_n, grad_c_n;
    i64 d_input_terms = 0, d_W_ih, d_W_hh, d_b_ih, d_b_hh, d_h_0, d_c_0, d_x, add_d_x;
};

template <class Call>
std::vector<Field<Call>> with_layer_fields(const std::vector<Field<Call>>& fields) {
    std::vector<Field<Call>> all{
        {"kernel", true, {&Call::kernel}},
        {"threads", true, {&Call::threads}},
        {"shape", true, {&Call::T, &Call::B, &Call::H, &Call::I}},
        {"rows", true, {&Call::batch_sizes, &Call::time_stride, &Call::batch_stride, &Call::reverse}},
        {"weights", true, {&Call::W_ih, &Call::W_hh, &Call::b_ih, &Call::b_hh}},
        {"states", true, {&Call::h_0, &Call::c_0}},
        {"x", false, {&Call::x}},
        {"out", true, {&Call::out, &Call::out_ld}},
        {"saved", true, {&Call::gates, &Call::cell_states, &Call::hidden_n}},
    };
    all.insert(all.end(), fields.begin(), fields.end());
    if (all.size() > max_named_arguments) throw std::logic_error("too many named arguments");
    return all;
}

KeywordParser<ForwardCall>& forward_parser() {
    using Call = ForwardCall;
    static KeywordParser<Call> parser("forward", with_layer_fields<Call>({
                                                     {"lookup", false, {&Call::table, &Call::ids}},
                                                     {"final_states", true, {&Call::h_n, &Call::c_n}},
                                                     {"packed_weights", false, {&Call::packed_weights}},
                                                 }));
    return parser;
}

KeywordParser<BackwardCall>& backward_parser() {
    using Call = BackwardCall;
    static KeywordParser<Call> parser(
        "backward", with_layer_fields<Call>({
                        {"grad_out", true, {&Call::grad_out, &Call::grad_out_ld}},
                        {"grad_final_states", true, {&Call::grad_h_n, &Call::grad_c_n}},
                        {"d_input_terms", false, {&Call::d_input_terms}},
                        {"d_weights", true, {&Call::d_W_ih, &Call::d_W_hh, &Call::d_b_ih, &Call::d_b_hh}},
                        {"d_states", true, {&Call::d_h_0, &Call::d_c_0}},
                        {"d_x", true, {&Call::d_x, &Call::add_d_x}},
                    }));
    return parser;
}

// A kernel's number encodes its cell, the format of its weights and its dtype.
constexpr i64 kernel_number(int cell, int format, bool float64) { return 8 * cell + 2 * format + (float64 ? 1 : 0); }
constexpr int cell_of(i64 kernel) { return static_cast<int>(kernel / 8); }
constexpr int format_of(i64 kernel) { return static_cast<int>(kernel / 2 % 4); }
constexpr bool is_float64(i64 kernel) { return kernel % 2 != 0; }

nb::dict kernel_numbers() {
    nb::dict numbers;
    const std::pair<const char*, int> cells[] = {{"rnn", rnn}, {"rnn_relu", rnn_relu}, {"gru", gru}, {"lstm", lstm}};
    for (const auto& [name, cell] : cells) {
        numbers[nb::make_tuple(name, "float32")] = kernel_number(cell, plain, false);
        numbers[nb::make_tuple(name, "float64")] = kernel_number(cell, plain, true);
        numbers[nb::make_tuple(name, "bf16")] = kernel_number(cell, bf16, false);
        numbers[nb::make_tuple(name, "int8")] = kernel_number(cell, int8, false);
    }
    return numbers;
}

template <class T>
void fill_layer_args(LayerArgs<T>& args, const LayerCall& call, std::vector<i64>& offsets) {
    args.cell = cell_of(call.kernel), args.threads = usable_threads(call.threads), args.reverse = call.reverse != 0;
    args.T_ = call.T, args.B = call.B, args.H = call.H, args.I = call.I;
    args.serial_below = serial_below;
    args.batch_sizes = pointer<const i64>(call.batch_sizes);
    args.time_stride = call.time_stride, args.batch_stride = call.batch_stride;
    args.rows = call.T * call.B;
    if (args.batch_sizes && args.batch_sizes[0] == args.batch_sizes[call.T - 1]) {  // all sizes are equal: a dense batch
        args.batch_sizes = nullptr;
        args.time_stride = call.B, args.batch_stride = 1;
    }
    if (args.batch_sizes) {
        offsets.resize(call.T);
        i64 row = 0;
        for (i64 t = 0; t < call.T; ++t) {
            offsets[t] = row;
            row += args.batch_sizes[t];
        }
        args.offsets = offsets.data();
        args.rows = row;
    }
    args.W_ih = pointer<const T>(call.W_ih), args.W_hh = pointer<const T>(call.W_hh);
    args.b_ih = pointer<const T>(call.b_ih), args.b_hh = pointer<const T>(call.b_hh);
    args.h_0 = pointer<const T>(call.h_0), args.c_0 = pointer<const T>(call.c_0);
}

template <class T>
void run_forward(const ForwardCall& call) {
    ForwardArgs<T> args;
    std::vector<i64> offsets;
    fill_layer_args<T>(args, call, offsets);
    args.x = pointer<const T>(call.x), args.table = pointer<const T>(call.table), args.ids = pointer<const i64>(call.ids);
    args.out = pointer<T>(call.out), args.out_ld = call.out_ld;
    args.h_n = pointer<T>(call.h_n), args.c_n = pointer<T>(call.c_n);
    args.gates = pointer<T>(call.gates), args.cell_states = pointer<T>(call.cell_states);
    args.hidden_n = pointer<T>(call.hidden_n);
    args.format = format_of(call.kernel), args.packed_weights = pointer<void>(call.packed_weights);
    selected_variant.load()->functions<T>().forward(args, allocate_scratch);
}

template <class T>
void run_backward(const BackwardCall& call) {
    BackwardArgs<T> args;
    std::vector<i64> offsets;
    fill_layer_args<T>(args, call, offsets);
    args.x = pointer<const T>(call.x), args.out = pointer<const T>(call.out), args.out_ld = call.out_ld;
    args.gates = pointer<const T>(call.gates), args.cell_states = pointer<const T>(call.cell_states);
    args.hidden_n = pointer<const T>(call.hidden_n);
    args.grad_out = pointer<const T>(call.grad_out), args.grad_out_ld = call.grad_out_ld;
    args.grad_h_n = pointer<const T>(call.grad_h_n), args.grad_c_n = pointer<const T>(call.grad_c_n);
    args.d_input_terms = pointer<T>(call.d_input_terms);
    args.d_h_0 = pointer<T>(call.d_h_0), args.d_c_0 = pointer<T>(call.d_c_0);
    args.d_b_ih = pointer<T>(call.d_b_ih), args.d_b_hh = pointer<T>(call.d_b_hh);
    args.d_x = pointer<T>(call.d_x), args.add_d_x = call.add_d_x != 0;
    args.d_W_ih = pointer<T>(call.d_W_ih), args.d_W_hh = pointer<T>(call.d_W_hh);
    selected_variant.load()->functions<T>().backward(args, allocate_scratch);
}

// Packs the weights of a layer in one direction; returns the bytes needed, and only that if destination is 0.
std::size_t pack_weights(i64 kernel, i64 I, i64 H, std::array<Address, 4> weights, Address destination) {
    ForwardArgs<float> args;
    args.cell = cell_of(kernel), args.format = format_of(kernel), args.T_ = args.B = args.rows = 1, args.I = I, args.H = H;
    args.W_ih = pointer<const float>(weights[0]), args.W_hh = pointer<const float>(weights[1]);
    args.b_ih = pointer<const float>(weights[2]), args.b_hh = pointer<const float>(weights[3]);
    return selected_variant.load()->f32.pack(args, pointer<void>(destination));
}

// The offsets of the rows of each step; refuses batch sizes that are not positive, descending and S in total.
std::vector<i64> row_offsets(const i64* batch_sizes, i64 T, i64 B, i64 S) {
    std::vector<i64> offsets(static_cast<std::size_t>(T));
    if (packed_batch(reinterpret_cast<Address>(batch_sizes), T, S) != B) throw std::invalid_argument("the batch sizes do not fit");
    i64 row = 0;
    for (i64 t = 0; t < T; ++t) {
        offsets[t] = row;
        row += batch_sizes[t];
    }
    return offsets;
}

std::vector<Tensor> tensors_of(const std::vector<i64>& numbers) {
    if (numbers.size() % 2) throw std::invalid_argument("a tensor is an address and a length");
    std::vector<Tensor> tensors;
    tensors.reserve(numbers.size() / 2);
    for (std::size_t k = 0; k < numbers.size(); k += 2) tensors.push_back({numbers[k], numbers[k + 1]});
    return tensors;
}

template <class T>
std::vector<T*> pointers_of(std::span<const Tensor> tensors) {
    std::vector<T*> pointers;
    pointers.reserve(tensors.size());
    for (const Tensor& tensor : tensors) pointers.push_back(pointer<T>(static_cast<Address>(tensor.address)));
    return pointers;
}

// Matrices of a program in another format than plain, as pack_program wrote them.
struct PackedMatrices {
    int format = plain;
    Tensor bytes{};
};

struct ProgramCall {
    i64 threads, T, B, S, batch_sizes;
    bool reverse;
    std::span<const Tensor> rows, vectors, initial, final, accumulators, products;
    const std::vector<i64>& matrices;
    PackedMatrices packed;
};

i64 reduced_products = 0;  // for tests: the products of programs in another format than plain

// The bytes of a program's matrices in another format than plain.
i64 packed_program_bytes(const StepProgram& program, const ReducedFunctions& reduced, int format) {
    if (program.float64 || (format != bf16 && format != int8)) throw std::invalid_argument("the program has no such format");
    std::size_t bytes = 0;
    for (const PackedMatrix& m : program.matrices) bytes += reduced.matrix_bytes(format, m.K, m.N);
    return static_cast<i64>(bytes);
}

// Packs the matrices of a program; returns the bytes needed, and only that if destination is 0.
i64 pack_program(const StepProgram& program, int format, const std::vector<i64>& views, Address destination) {
    const ReducedFunctions& reduced = *selected_variant.load()->reduced;
    const i64 bytes = packed_program_bytes(program, reduced, format);
    if (!destination) return bytes;
    const std::vector<MatrixView> matrices = program.check_matrices(views);
    std::vector<float> rows;
    char* to = pointer<char>(destination);
    for (const PackedMatrix& m : program.matrices) {
        rows.resize(static_cast<std::size_t>(m.K * m.N));
        i64 first_k = 0;
        for (i64 i = m.first_part; i < m.last_part; ++i) {
            const MatrixPart& part = program.parts[i];
            const MatrixView& view = matrices[part.matrix];
            const float* data = static_cast<const float*>(view.data) + part.first_row * view.row_stride +
                                part.first_column * view.column_stride;
            const i64 K = m.transposed ? part.last_column - part.first_column : part.last_row - part.first_row;
            const i64 k_stride = m.transposed ? view.column_stride : view.row_stride;
            const i64 n_stride = m.transposed ? view.row_stride : view.column_stride;
            for (i64 n = 0; n < m.N; ++n)
                for (i64 k = 0; k < K; ++k) rows[n * m.K + first_k + k] = data[n * n_stride + k * k_stride];
            first_k += K;
        }
        reduced.pack_matrix(format, m.K, m.N, rows.data(), to);
        to += reduced.matrix_bytes(format, m.K, m.N);
    }
    return bytes;
}

template <class T>
void run_step_program(const StepProgram& program, const ProgramCall& call) {
    ProgramArgs<T> args;
    std::vector<i64> offsets;
    args.program = program.view();
    args.threads = usable_threads(call.threads), args.reverse = call.reverse;
    args.T_ = call.T, args.B = call.B, args.rows = call.S, args.serial_below = serial_below;
    args.time_stride = call.B, args.batch_stride = 1;
    if (call.batch_sizes) {
        args.batch_sizes = pointer<const i64>(call.batch_sizes);
        offsets = row_offsets(args.batch_sizes, call.T, call.B, call.S);
        args.offsets = offsets.data();
    } else if (call.T < 1 || call.B < 1 || call.S != call.T * call.B) {
        throw std::invalid_argument("the rows are not T * B");
    }
    const std::vector<Tensor> of_rows = program.split_rows(call.rows, call.S);
    program.check_widths(call.vectors, program.vector_widths, 1, false, "a vector");
    program.check_widths(call.initial, program.state_widths, call.B, true, "an initial state");
    program.check_widths(call.final, program.state_widths, call.B, true, "a final state");
    program.check_widths(call.accumulators, program.accumulator_widths, 1, false, "a sum over rows");
    program.check_products(call.products);
    const Variant& variant = *selected_variant.load();
    std::vector<MatrixView> matrices;
    if (call.packed.format == plain) {
        matrices = program.check_matrices(call.matrices);
    } else {
        const i64 bytes = packed_program_bytes(program, *variant.reduced, call.packed.format);
        if (!call.packed.bytes.address || call.packed.bytes.length < bytes)
            throw std::invalid_argument("the program does not fit: the packed matrices");
        args.format = call.packed.format, args.packed = pointer<const char>(static_cast<Address>(call.packed.bytes.address));
        args.reduced = variant.reduced, args.reduced_products = &reduced_products;
    }
    const auto rows = pointers_of<T>(of_rows), final = pointers_of<T>(call.final);
    const auto accumulators = pointers_of<T>(call.accumulators), products = pointers_of<T>(call.products);
    const auto vectors = pointers_of<const T>(call.vectors), initial = pointers_of<const T>(call.initial);
    args.rows_data = rows.data(), args.vector_data = vectors.data(), args.matrix_data = matrices.data();
    args.initial = initial.data(), args.final = final.data(), args.accumulator_data = accumulators.data();
    args.product_data = products.data();
    variant.functions<T>().run_program(args, allocate_scratch);
}

// The tensors of a call in the order of their kinds; `before`, if there is one, runs first on all rows at once: its tensors of
// rows are the first ones of the program.
template <class T>
void run_step_programs(const StepProgram& program, const StepProgram* before, i64 before_threads,
                       const std::array<i64, 3>& shape, i64 threads, i64 batch_sizes, bool reverse,
                       const std::vector<Tensor>& tensors, const std::vector<i64>& matrices, int format,
                       const std::array<i64, 4>& packed) {
    std::size_t at = 0;
    const auto take = [&](i64 count) {
        if (tensors.size() - at < static_cast<std::size_t>(count))
            throw std::invalid_argument("the program does not fit: the number of tensors");
        at += count;
        return std::span<const Tensor>(tensors).subspan(at - count, count);
    };
    const auto size = [](const auto& widths) { return static_cast<i64>(widths.size()); };
    const i64 states = size(program.state_widths);
    const auto rows = take(program.rows_tensors), vectors = take(size(program.vector_widths));
    const auto initial = take(states), final = take(states);
    const auto accumulators = take(size(program.accumulator_widths)), products = take(size(program.products));
    if (at != tensors.size()) throw std::invalid_argument("the program does not fit: the number of tensors");
    const auto [T_, B, S] = shape;
    if (before) {
        if (before->float64 != program.float64 || before->rows_tensors > program.rows_tensors)
            throw std::invalid_argument("the program does not fit: the program before it");
        run_step_program<T>(*before, {before_threads, 1, S, S, 0, false, rows.first(before->rows_tensors), vectors, {}, {}, {},
                                      {}, matrices, {format, {packed[2], packed[3]}}});
    }
    run_step_program<T>(program, {threads, T_, B, S, batch_sizes, reverse, rows, vectors, initial, final, accumulators,
                                  products, matrices, {format, {packed[0], packed[1]}}});
}

void bind_step_program(nb::module_& m) {
    using Numbers = std::vector<i64>;
    nb::class_<StepProgram>(m, "StepProgram")
        .def(
            "__init__",
            [](StepProgram* self, bool float64, const Numbers& memories, const Numbers& layout, const Numbers& instructions,
               const Numbers& sections, const Numbers& parts, const Numbers& matrices, const Numbers& products,
               const std::vector<double>& numbers, const Numbers& states, const Numbers& vectors,
               const Numbers& accumulators) {
                new (self) StepProgram(float64, memories, layout, instructions, sections, parts, matrices, products,
                                       numbers, states, vectors, accumulators);
            },
            nb::kw_only(), "float64"_a, "memories"_a, "layout"_a, "instructions"_a, "sections"_a, "parts"_a, "matrices"_a,
            "products"_a, "numbers"_a, "states"_a, "vectors"_a, "accumulators"_a)
        .def(
            "run",
            [](const StepProgram& self, i64 threads, std::array<i64, 3> shape, i64 batch_sizes, bool reverse,
               const Numbers& tensors, const Numbers& matrices, const StepProgram* before, i64 before_threads, int format,
               const std::array<i64, 4>& packed) {
                const std::vector<Tensor> checked = tensors_of(tensors);
                nb::gil_scoped_release release;
                (self.float64 ? run_step_programs<double> : run_step_programs<float>)(
                    self, before, before_threads, shape, threads, batch_sizes, reverse, checked, matrices, format, packed);
            },
            nb::kw_only(), "threads"_a, "shape"_a, "batch_sizes"_a, "reverse"_a, "tensors"_a, "matrices"_a,
            "before"_a = nb::none(), "before_threads"_a = 1, "format"_a = static_cast<int>(plain), "packed"_a = std::array<i64, 4>{},
            "Run a program. The shape is (T, B, S); the tensors, each an address and a length, are those of rows, vectors, "
            "initial and final states, accumulators and products over rows. With a format of `FORMATS`, the matrices are what "
            "`pack` wrote for this variant: address and length, and those of the program before.")
        .def("pack", &pack_program, nb::kw_only(), "format"_a, "matrices"_a, "destination"_a,
             nb::call_guard<nb::gil_scoped_release>(),
             "Pack the float32 matrices in a format of `FORMATS` for calls of `run` with this variant; the bytes needed, and only "
             "that if destination is 0.");
    nb::dict formats;
    formats["bf16"] = static_cast<int>(bf16), formats["int8"] = static_cast<int>(int8);
    m.attr("FORMATS") = formats;
    m.def("reduced_products", [] { return __atomic_load_n(&reduced_products, __ATOMIC_RELAXED); },
          "For tests: how many products programs have computed in a format of `FORMATS`, one for each block of rows.");
    nb::list operations, kinds;
    for (const char* name : operation_names) operations.append(name);
    for (const char* name : memory_kind_names) kinds.append(name);
    m.attr("PROGRAM_OPERATIONS") = operations;
    m.attr("PROGRAM_MEMORIES") = kinds;
}

// A conditional random field over packed sequences as Python passes it; see CrfArgs. Checks what leads outside of memory: the
// batch sizes and the labels.
struct CrfCall {
    i64 threads;
    std::array<i64, 4> shape;   // T, B, S, K
    Address batch_sizes, emissions, transitions, start, end, labels;
};

template <class T>
CrfArgs<T> crf_args(const CrfCall& call, std::vector<i64>& offsets) {
    CrfArgs<T> args;
    const auto [T_, B, S, K] = call.shape;
    args.threads = usable_threads(call.threads), args.serial_below = serial_below;
    args.T_ = T_, args.B = B, args.rows = S, args.K = K;
    args.batch_sizes = pointer<const i64>(call.batch_sizes);
    offsets = row_offsets(args.batch_sizes, T_, B, S);
    args.offsets = offsets.data();
    args.emissions = pointer<const T>(call.emissions), args.transitions = pointer<const T>(call.transitions);
    args.start = pointer<const T>(call.start), args.end = pointer<const T>(call.end);
    args.labels = pointer<const i64>(call.labels);
    for (i64 row = 0; args.labels && row < S; ++row)
        if (args.labels[row] < 0 || args.labels[row] >= K)
            throw std::out_of_range("the label " + std::to_string(args.labels[row]) + " is none of " + std::to_string(K));
    return args;
}

template <class T>
void bind_crf(nb::module_& m, const char* suffix) {
    using Shape = std::array<i64, 4>;
    const std::string name = suffix;
    m.def(
        ("crf_forward_" + name).c_str(),
        [](i64 threads, Shape shape, Address batch_sizes, Address emissions, Address transitions, Address start, Address end,
           Address labels, Address alphas, Address losses) {
            nb::gil_scoped_release release;
            std::vector<i64> offsets;
            CrfArgs<T> args =
                crf_args<T>({threads, shape, batch_sizes, emissions, transitions, start, end, labels}, offsets);
            args.alphas = pointer<T>(alphas), args.losses = pointer<T>(losses);
            selected_variant.load()->functions<T>().crf_forward(args, allocate_scratch);
        },
        nb::kw_only(), "threads"_a, "shape"_a, "batch_sizes"_a, "emissions"_a, "transitions"_a, "start"_a, "end"_a,
        "labels"_a, "alphas"_a, "losses"_a);
    m.def(
        ("crf_backward_" + name).c_str(),
        [](i64 threads, Shape shape, Address batch_sizes, Address emissions, Address transitions, Address start, Address end,
           Address labels, Address alphas, Address grad, std::array<Address, 4> gradients) {
            nb::gil_scoped_release release;
            std::vector<i64> offsets;
            CrfArgs<T> args =
                crf_args<T>({threads, shape, batch_sizes, emissions, transitions, start, end, labels}, offsets);
            args.alphas = pointer<T>(alphas), args.grad = pointer<const T>(grad);
            args.d_emissions = pointer<T>(gradients[0]), args.d_transitions = pointer<T>(gradients[1]);
            args.d_start = pointer<T>(gradients[2]), args.d_end = pointer<T>(gradients[3]);
            selected_variant.load()->functions<T>().crf_backward(args, allocate_scratch);
        },
        nb::kw_only(), "threads"_a, "shape"_a, "batch_sizes"_a, "emissions"_a, "transitions"_a, "start"_a, "end"_a,
        "labels"_a, "alphas"_a, "grad"_a, "gradients"_a);
    m.def(
        ("crf_decode_" + name).c_str(),
        [](i64 threads, Shape shape, Address batch_sizes, Address emissions, Address transitions, Address start, Address end,
           Address best, Address scores) {
            nb::gil_scoped_release release;
            std::vector<i64> offsets;
            CrfArgs<T> args = crf_args<T>({threads, shape, batch_sizes, emissions, transitions, start, end, 0}, offsets);
            args.best = pointer<i64>(best), args.scores = pointer<T>(scores);
            selected_variant.load()->functions<T>().crf_decode(args, allocate_scratch);
        },
        nb::kw_only(), "threads"_a, "shape"_a, "batch_sizes"_a, "emissions"_a, "transitions"_a, "start"_a, "end"_a, "best"_a,
        "scores"_a);
}

void bind_smoothing(nb::module_& m) {
    m.def(
        "smooth",
        [](i64 threads, std::array<i64, 5> shape, Address values, std::array<Address, 4> rates, std::array<Address, 3> states,
           Address squared, Address forecasts) {
            nb::gil_scoped_release release;
            ohlol::SmoothArgs<double> args;
            args.threads = usable_threads(threads), args.serial_below = serial_below;
            args.T_ = shape[0], args.M = shape[1], args.m = shape[2], args.horizon = shape[3], args.first = shape[4];
            args.values = pointer<const double>(values);
            args.alpha = pointer<const double>(rates[0]), args.beta = pointer<const double>(rates[1]);
            args.phi = pointer<const double>(rates[2]), args.gamma = pointer<const double>(rates[3]);
            args.level = pointer<const double>(states[0]), args.slope = pointer<const double>(states[1]);
            args.seasons = pointer<const double>(states[2]);
            args.squared = pointer<double>(squared), args.forecasts = pointer<double>(forecasts);
            selected_variant.load()->f64.smooth(args, allocate_scratch);
        },
        nb::kw_only(), "threads"_a, "shape"_a, "values"_a, "rates"_a, "states"_a, "squared"_a, "forecasts"_a);
}

// A step of an optimizer. Of each tensor Python passes the addresses of parameter, gradient, first, second and mean, and the
// size; and as numbers lr, step size and scale of the second moment.
template <class T>
double take_step(i64 rule, i64 threads, const std::vector<i64>& tensors, const std::vector<double>& rates,
                 const std::array<double, 6>& constants) {
    constexpr std::size_t addresses = 6, numbers = 3;
    const std::size_t count = tensors.size() / addresses;
    if (tensors.size() != addresses * count || rates.size() != numbers * count)
        throw std::invalid_argument("the tensors of a step do not fit");
    std::vector<StepTensor<T>> checked;
    checked.reserve(count);
    for (std::size_t k = 0; k < count; ++k) {
        const i64* const of = tensors.data() + addresses * k;
        const double* const rate = rates.data() + numbers * k;
        checked.push_back({pointer<T>(of[0]), pointer<T>(of[1]), pointer<T>(of[2]), pointer<T>(of[3]), pointer<T>(of[4]),
                           of[5], rate[0], rate[1], rate[2]});
    }
    StepArgs<T> args;
    args.rule = static_cast<int>(rule), args.threads = usable_threads(threads), args.serial_below = serial_below;
    args.count = static_cast<i64>(count), args.tensors = checked.data();
    args.beta1 = constants[0], args.beta2 = constants[1], args.eps = constants[2], args.weight_decay = constants[3];
    args.max_norm = constants[4], args.mean_weight = constants[5];
    return selected_training.load()->functions<T>().take_step(args, allocate_scratch);
}

template <class T>
void bind_training(nb::module_& m, const char* suffix) {
    m.def(
        (std::string("take_step_") + suffix).c_str(),
        [](i64 rule, i64 threads, const std::vector<i64>& tensors, const std::vector<double>& rates,
           const std::array<double, 6>& constants) {
            nb::gil_scoped_release release;
            return take_step<T>(rule, threads, tensors, rates, constants);
        },
        nb::kw_only(), "rule"_a, "threads"_a, "tensors"_a, "rates"_a, "constants"_a);
    m.def(
        (std::string("cross_entropy_") + suffix).c_str(),
        [](i64 threads, std::array<i64, 3> shape, Address logits, Address bias, Address weights, Address targets, i64 ignored,
           double smoothing, double scale, bool with_gradients, Address d_bias, Address best) {
            nb::gil_scoped_release release;
            CrossEntropyArgs<T> args;
            args.threads = usable_threads(threads), args.serial_below = serial_below;
            args.rows = shape[0], args.K = shape[1], args.ld = shape[2];
            args.logits = pointer<T>(logits), args.bias = pointer<const T>(bias), args.weights = pointer<const T>(weights);
            args.targets = pointer<const i64>(targets), args.ignored = ignored;
            args.smoothing = smoothing, args.scale = scale, args.with_gradients = with_gradients;
            args.d_bias = pointer<T>(d_bias), args.best = pointer<i64>(best);
            for (i64 row = 0; row < args.rows; ++row)
                if (args.targets[row] != ignored && (args.targets[row] < 0 || args.targets[row] >= args.K))
                    throw std::out_of_range("the label " + std::to_string(args.targets[row]) + " is none of " +
                                            std::to_string(args.K));
            return selected_training.load()->functions<T>().cross_entropy(args, allocate_scratch);
        },
        nb::kw_only(), "threads"_a, "shape"_a, "logits"_a, "bias"_a, "weights"_a, "targets"_a, "ignored"_a, "smoothing"_a,
        "scale"_a, "with_gradients"_a, "d_bias"_a, "best"_a);
    m.def(
        (std::string("scatter_rows_") + suffix).c_str(),
        [](i64 threads, std::array<i64, 3> shape, Address values, Address ids, Address sums) {
            nb::gil_scoped_release release;
            ScatterArgs<T> args;
            args.threads = usable_threads(threads), args.serial_below = serial_below;
            args.rows = shape[0], args.N = shape[1], args.size = shape[2];
            args.values = pointer<const T>(values), args.ids = pointer<const i64>(ids), args.sums = pointer<T>(sums);
            for (i64 row = 0; row < args.rows; ++row)
                if (args.ids[row] < 0 || args.ids[row] >= args.size)
                    throw std::out_of_range("the id " + std::to_string(args.ids[row]) + " is none of " +
                                            std::to_string(args.size));
            selected_training.load()->functions<T>().scatter_rows(args, allocate_scratch);
        },
        nb::kw_only(), "threads"_a, "shape"_a, "values"_a, "ids"_a, "sums"_a);
}

// The most multiply-adds a second of an instruction set, in registers and on all threads: of the best of several runs.
double measure_peak(const std::string& name, bool float64, int threads, double seconds) {
    check_supported(name);
    const Peak* peak = &peak_baseline;
#ifdef OHLOL_X86
    if (name == "avx512") peak = &peak_avx512;
    if (name == "avx2") peak = &peak_avx2;
#endif
    nb::gil_scoped_release release;
    const auto run = [&](i64 rounds) {
        double sum64;
        float sum32;
        return float64 ? peak->f64(rounds, &sum64) : peak->f32(rounds, &sum32);
    };
    const i64 start = now_in_ns(), rounds = 100'000;  // a fraction of a millisecond
    double best = 0;
    while (double(now_in_ns() - start) < 1e9 * seconds || best == 0) {
        double operations = 0;
        i64 started = 0, ended = 0;
#pragma omp parallel num_threads(usable_threads(threads)) reduction(+ : operations)
        {
#pragma omp barrier
#pragma omp master
            started = now_in_ns();
            operations += run(rounds);
#pragma omp barrier
#pragma omp master
            ended = now_in_ns();
        }
        best = std::max(best, 1e9 * operations / double(ended - started));
    }
    return best;
}

// Parses a call and runs it without the GIL.
template <class Call>
PyObject* call_kernel(KeywordParser<Call>& parser, void (*run_float32)(const Call&), void (*run_float64)(const Call&),
                      PyObject* const* values, Py_ssize_t positional, PyObject* names) {
    try {
        Call call;
        if (!parser.parse(values, positional, names, call)) return nullptr;
        nb::gil_scoped_release release;
        (is_float64(call.kernel) ? run_float64 : run_float32)(call);
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* forward(PyObject*, PyObject* const* values, Py_ssize_t positional, PyObject* names) {
    return call_kernel(forward_parser(), &run_forward<float>, &run_forward<double>, values, positional, names);
}

PyObject* backward(PyObject*, PyObject* const* values, Py_ssize_t positional, PyObject* names) {
    return call_kernel(backward_parser(), &run_backward<float>, &run_backward<double>, values, positional, names);
}

template <class Function>
PyMethodDef keyword_function(const char* name, Function function, const char* doc) {
    return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), METH_FASTCALL | METH_KEYWORDS, doc};
}

PyMethodDef keyword_functions[] = {
    keyword_function("forward", &forward, "Run one layer in one direction over a batch; all arguments are named."),
    keyword_function("backward", &backward, "The gradients of one layer in one direction; all arguments are named."),
    {},
};

template <class T>
void bind_packed_layers(nb::module_& m, const char* name) {
    using Layers = PackedLayers<T>;
    nb::class_<Layers>(m, name)
        .def(
            "__init__",
            [](Layers* self, i64 kernel, i64 H) {
                new (self) Layers(*selected_variant.load(), cell_of(kernel), format_of(kernel), H, allocate_scratch);
            },
            nb::kw_only(), "kernel"_a, "H"_a)
        .def(
            "add_layer",
            [](Layers& self, i64 I, Address W_ih, Address W_hh, Address b_ih, Address b_hh, Address table) {
                self.add_layer(I, pointer<const T>(W_ih), pointer<const T>(W_hh), pointer<const T>(b_ih),
                               pointer<const T>(b_hh), pointer<const T>(table));
            },
            nb::kw_only(), "I"_a, "W_ih"_a, "W_hh"_a, "b_ih"_a, "b_hh"_a, "table"_a)
        .def(
            "set_head",
            [](Layers& self, i64 K, Address W, Address bias) {
                self.set_head(K, pointer<const T>(W), pointer<const T>(bias));
            },
            nb::kw_only(), "K"_a, "W"_a, "bias"_a)
        .def(
            "step",
            [](Layers& self, int threads, Address x, i64 id, Address h, Address c, Address out) {
                nb::gil_scoped_release release;
                self.step(usable_threads(threads), pointer<const T>(x), id, pointer<T>(h), pointer<T>(c), pointer<T>(out));
            },
            nb::kw_only(), "threads"_a, "x"_a, "id"_a, "h"_a, "c"_a, "out"_a)
        .def(
            "step_batch",
            [](const Layers& self, int threads, const std::vector<i64>& slots, Address x, const std::vector<i64>& ids,
               Address h, Address c, Address logits) {
                std::vector<i64> best;
                {
                    nb::gil_scoped_release release;
                    self.step_batch(usable_threads(threads), slots, pointer<const T>(x), ids, pointer<T>(h),
                                    pointer<T>(c), pointer<T>(logits), best);
                }
                return best;
            },
            nb::kw_only(), "threads"_a, "slots"_a, "x"_a, "ids"_a, "h"_a, "c"_a, "logits"_a)
        .def(
            "generate",
            [](Layers& self, int threads, i64 id, Address h, Address c, i64 count, double temperature, i64 top_k, double top_p,
               std::uint64_t seed, Address ids) {
                nb::gil_scoped_release release;
                self.generate(usable_threads(threads), id, pointer<T>(h), pointer<T>(c), count,
                              {temperature, top_k, top_p, seed}, pointer<i64>(ids));
            },
            nb::kw_only(), "threads"_a, "id"_a, "h"_a, "c"_a, "count"_a, "temperature"_a, "top_k"_a, "top_p"_a, "seed"_a,
            "ids"_a);
}

}  // namespace

NB_MODULE(_kernel, m) {
    nb::set_leak_warnings(false);  // modules of torch keep programs alive until the interpreter has ended
    select_variant(supported().front());
    call_in_forked_child([] {
        forked = true;
        reset_contention();
    });
    m.def("supported", &supported, "The variants this machine runs, fastest first.");
    m.def("select", &select_variant, "Choose the variant for all later calls.");
    m.def("selected", [] { return selected_variant.load()->name; }, "The variant in use.");
    m.def("set_poison", [](bool on) { poison = on; }, "Fill scratch memory with NaN before each call.");
    m.attr("SERIAL_BELOW") = default_serial_below;
    m.def("set_serial_below", [](double work) { serial_below = work; }, "Multiplications below which one thread runs a call.");
    m.def("limit_threads", &limit_threads, "The most threads that run a call, whatever it is split into; 0 for no limit.");
    m.def("force_threads", &force_threads, "For tests: use threads whatever time they lose.");
    m.def("set_leave_timeout", &set_leave_timeout, "For tests: after how many nanoseconds late threads must leave; 0: as usual.");
    m.def(
        "threaded_calls",
        [] {
            const ThreadedCalls calls = threaded_calls();
            return std::array{calls.count, calls.threads, calls.serial_estimate};
        },
        "For tests: how many calls ran on several threads; of the last one, the threads and the estimated time of one thread.");
    m.def("is_contended", &is_contended, "Whether calls run on one thread at present, since the processors are in use.");
    m.def("packed_batch", &packed_batch, "The first batch size, or 0 unless they are positive, descending and `rows` in total.");
    m.def("pack_weights", &pack_weights, nb::kw_only(), "kernel"_a, "I"_a, "H"_a, "weights"_a, "destination"_a,
          nb::call_guard<nb::gil_scoped_release>(),
          "Pack the float32 weights (W_ih or 0, W_hh, b_ih, b_hh) of a layer in one direction for calls of `forward` with this "
          "variant; the bytes needed, and only that if destination is 0.");
    m.attr("KERNELS") = kernel_numbers();
    m.attr("FORWARD_ARGUMENTS") = nb::cast(forward_parser().names());
    m.attr("BACKWARD_ARGUMENTS") = nb::cast(backward_parser().names());
    if (PyModule_AddFunctions(m.ptr(), keyword_functions) != 0) throw nb::python_error();
    bind_packed_layers<float>(m, "PackedLayersFloat32");
    bind_packed_layers<double>(m, "PackedLayersFloat64");
    bind_step_program(m);
    bind_crf<float>(m, "float32");
    bind_crf<double>(m, "float64");
    bind_smoothing(m);
    bind_training<float>(m, "float32");
    bind_training<double>(m, "float64");
    m.def("measure_peak", &measure_peak, "variant"_a, "float64"_a, "threads"_a, "seconds"_a,
          "Operations a second of multiply-adds in registers, of an instruction set that this machine runs.");
    m.def("apply_float32", [](int function, Address x, Address y, i64 n) {
        selected_variant.load()->f32.apply(function, pointer<const float>(x), pointer<float>(y), n);
    });
    m.def("apply_float64", [](int function, Address x, Address y, i64 n) {
        selected_variant.load()->f64.apply(function, pointer<const double>(x), pointer<double>(y), n);
    });
}
