// What Python sees of the kernels: functions of integers, most of them addresses from Tensor.data_ptr().
//
// Nothing is checked here: ops/recurrence.py has looked at shapes, types and strides, and an integer costs far less to pass
// than an array. The GIL is released while a kernel runs.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "job.h"
#include "stream.h"

namespace nb = nanobind;
using namespace ohlol;

namespace {

std::atomic<bool> poison{false};  // tests: fill memory that must not be read before it is written with NaN

constexpr double usual_serial_below = 4e5;
std::atomic<double> serial_below{usual_serial_below};

class Arena {
  public:
    ~Arena() { std::free(base_); }
    void* get(std::size_t bytes) {
        if (bytes > size_) {
            std::free(base_);
            size_ = 0;
            base_ = std::aligned_alloc(64, (bytes + 4095) / 4096 * 4096);
            if (!base_) throw std::bad_alloc();
            size_ = (bytes + 4095) / 4096 * 4096;
        }
        if (poison) std::memset(base_, 0xff, size_);
        return base_;
    }

  private:
    void* base_ = nullptr;
    std::size_t size_ = 0;
};

void* scratch(std::size_t bytes) {
    thread_local Arena arena;
    return arena.get(bytes);
}

std::vector<std::string> supported() {
    std::vector<std::string> names;
#ifdef OHLOL_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        names.emplace_back("avx512");
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) names.emplace_back("avx2");
#endif
    names.emplace_back("baseline");
    return names;
}

std::atomic<const Variant*> current{&variant_baseline};

void choose(const std::string& name) {
    for (const std::string& known : supported())
        if (known == name) {
#ifdef OHLOL_X86
            if (name == "avx512") return void(current = &variant_avx512);
            if (name == "avx2") return void(current = &variant_avx2);
#endif
            return void(current = &variant_baseline);
        }
    throw std::invalid_argument("this machine does not run the kernel variant '" + name + "'");
}

using Address = std::uintptr_t;

template <class T>
T* at(Address a) {
    return reinterpret_cast<T*>(a);
}

template <class T>
void fill(Sequence<T>& q, int cell, int threads, bool reverse, i64 T_, i64 B, i64 H, i64 I, Address batch_sizes,
          i64 time_stride, i64 batch_stride, Address W_ih, Address W_hh, Address b_ih, Address b_hh, Address h_0,
          Address c_0, std::vector<i64>& offsets) {
    q.cell = cell, q.threads = threads, q.reverse = reverse;
    q.T_ = T_, q.B = B, q.H = H, q.I = I;
    q.serial_below = serial_below;
    q.batch_sizes = at<const i64>(batch_sizes);
    q.time_stride = time_stride, q.batch_stride = batch_stride;
    q.rows = T_ * B;
    if (q.batch_sizes && q.batch_sizes[0] == q.batch_sizes[T_ - 1]) {  // as many entries at every step: a dense batch
        q.batch_sizes = nullptr;
        q.time_stride = B, q.batch_stride = 1;
    }
    if (q.batch_sizes) {
        offsets.resize(T_);
        i64 row = 0;
        for (i64 t = 0; t < T_; ++t) {
            offsets[t] = row;
            row += q.batch_sizes[t];
        }
        q.offsets = offsets.data();
        q.rows = row;
    }
    q.W_ih = at<const T>(W_ih), q.W_hh = at<const T>(W_hh), q.b_ih = at<const T>(b_ih), q.b_hh = at<const T>(b_hh);
    q.h_0 = at<const T>(h_0), q.c_0 = at<const T>(c_0);
}

template <class T>
void forward(int cell, int threads, bool reverse, i64 T_, i64 B, i64 H, i64 I, Address batch_sizes, i64 time_stride,
             i64 batch_stride, Address W_ih, Address W_hh, Address b_ih, Address b_hh, Address h_0, Address c_0, Address x,
             Address table, Address ids, Address out, i64 out_ld, Address h_n, Address c_n, Address gates, Address cells,
             Address hidden_n) {
    nb::gil_scoped_release release;
    Forward<T> q;
    std::vector<i64> offsets;
    fill<T>(q, cell, threads, reverse, T_, B, H, I, batch_sizes, time_stride, batch_stride, W_ih, W_hh, b_ih, b_hh, h_0, c_0,
            offsets);
    q.x = at<const T>(x), q.table = at<const T>(table), q.ids = at<const i64>(ids);
    q.out = at<T>(out), q.out_ld = out_ld, q.h_n = at<T>(h_n), q.c_n = at<T>(c_n);
    q.gates = at<T>(gates), q.cells = at<T>(cells), q.hidden_n = at<T>(hidden_n);
    current.load()->of<T>().forward(q, scratch);
}

template <class T>
void backward(int cell, int threads, bool reverse, i64 T_, i64 B, i64 H, i64 I, Address batch_sizes, i64 time_stride,
              i64 batch_stride, Address W_ih, Address W_hh, Address h_0, Address c_0, Address x, Address out, i64 out_ld,
              Address gates, Address cells, Address hidden_n, Address grad_out, i64 grad_out_ld, Address grad_h_n,
              Address grad_c_n, Address d_gates, Address d_h_0, Address d_c_0, Address d_b_ih, Address d_b_hh, Address d_x,
              bool add_d_x, Address d_W_ih, Address d_W_hh) {
    nb::gil_scoped_release release;
    Backward<T> q;
    std::vector<i64> offsets;
    fill<T>(q, cell, threads, reverse, T_, B, H, I, batch_sizes, time_stride, batch_stride, W_ih, W_hh, 0, 0, h_0, c_0,
            offsets);
    q.x = at<const T>(x), q.out = at<const T>(out), q.out_ld = out_ld;
    q.gates = at<const T>(gates), q.cells = at<const T>(cells), q.hidden_n = at<const T>(hidden_n);
    q.grad_out = at<const T>(grad_out), q.grad_out_ld = grad_out_ld;
    q.grad_h_n = at<const T>(grad_h_n), q.grad_c_n = at<const T>(grad_c_n);
    q.d_gates = at<T>(d_gates), q.d_h_0 = at<T>(d_h_0), q.d_c_0 = at<T>(d_c_0);
    q.d_b_ih = at<T>(d_b_ih), q.d_b_hh = at<T>(d_b_hh), q.d_x = at<T>(d_x), q.add_d_x = add_d_x;
    q.d_W_ih = at<T>(d_W_ih), q.d_W_hh = at<T>(d_W_hh);
    current.load()->of<T>().backward(q, scratch);
}

template <class T>
void bind_stream(nb::module_& m, const char* name) {
    nb::class_<Stream<T>>(m, name)
        .def("__init__", [](Stream<T>* self, int cell, i64 H) { new (self) Stream<T>(*current.load(), cell, H, scratch); })
        .def("add_layer", [](Stream<T>& s, i64 I, Address W_ih, Address W_hh, Address b_ih, Address b_hh, Address table) {
            s.add_layer(I, at<const T>(W_ih), at<const T>(W_hh), at<const T>(b_ih), at<const T>(b_hh), at<const T>(table));
        })
        .def("set_head", [](Stream<T>& s, i64 n, Address W, Address b) { s.set_head(n, at<const T>(W), at<const T>(b)); })
        .def("step", [](Stream<T>& s, int threads, Address x, i64 id, Address h, Address c, Address out) {
            nb::gil_scoped_release release;
            s.step(threads, at<const T>(x), id, at<T>(h), at<T>(c), at<T>(out));
        })
        .def("step_many", [](const Stream<T>& s, int threads, const std::vector<i64>& at_, Address x, const std::vector<i64>& ids,
                             Address h, Address c, Address scores) {
            std::vector<i64> best;
            {
                nb::gil_scoped_release release;
                s.step_many(threads, at_, at<const T>(x), ids, at<T>(h), at<T>(c), at<T>(scores), best);
            }
            return best;
        })
        .def("generate", [](Stream<T>& s, int threads, i64 id, Address h, Address c, i64 count, double temperature, i64 top_k,
                            double top_p, std::uint64_t seed, Address ids) {
            nb::gil_scoped_release release;
            s.generate(threads, id, at<T>(h), at<T>(c), count, {temperature, top_k, top_p, seed}, at<i64>(ids));
        });
}

}  // namespace

NB_MODULE(_kernel, m) {
    choose(supported().front());
    m.def("supported", &supported, "The variants this machine runs, fastest first.");
    m.def("select", &choose, "Choose the variant for all later calls.");
    m.def("selected", [] { return current.load()->name; }, "The variant in use.");
    m.def("set_poison", [](bool on) { poison = on; }, "Fill scratch memory with NaN before each call.");
    m.attr("SERIAL_BELOW") = usual_serial_below;
    m.def("set_serial_below", [](double work) { serial_below = work; }, "Multiplications that one thread does alone.");
    m.def("forward_float32", &forward<float>);
    m.def("forward_float64", &forward<double>);
    m.def("backward_float32", &backward<float>);
    m.def("backward_float64", &backward<double>);
    bind_stream<float>(m, "Stream_float32");
    bind_stream<double>(m, "Stream_float64");
    m.def("map_float32", [](int f, Address x, Address y, i64 n) { current.load()->f32.map(f, at<float>(x), at<float>(y), n); });
    m.def("map_float64", [](int f, Address x, Address y, i64 n) { current.load()->f64.map(f, at<double>(x), at<double>(y), n); });
}
