// The mathematics of csrc/math as Python functions, so that property tests run the very lines that the kernels compile.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "../../csrc/math/nearest.h"
#include "../../csrc/math/r2.h"
#include "../../csrc/math/s2.h"
#include "../../csrc/math/se2.h"

namespace py = pybind11;
using namespace cheblienet;

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <class T>
Metric<T> metric(const std::array<T, 3>& sigmas) {
  return {sigmas[0], sigmas[1], sigmas[2]};
}

// One row of `width` results for each pair of rows of g and h.
template <class Group, class F>
py::array_t<typename Group::Scalar> for_pairs(const Array<typename Group::Scalar>& g,
                                              const Array<typename Group::Scalar>& h, py::ssize_t width, const F& f) {
  using T = typename Group::Scalar;
  py::array_t<T> out({g.shape(0), width});
  for (py::ssize_t i = 0; i < g.shape(0); ++i)
    f(Group::prepare(g.data(i, 0)), Group::prepare(h.data(i, 0)), out.mutable_data(i, 0));
  return out;
}

template <class Group>
void add_group(py::module_& m, const char* name) {
  using T = typename Group::Scalar;
  py::module_ sub = m.def_submodule(name);
  sub.def("log", [](const Array<T>& g, const Array<T>& h) {
    return for_pairs<Group>(g, h, 3, [](const auto& a, const auto& b, T* out) {
      const Tangent<T> c = Group::log(a, b);
      out[0] = c.c1, out[1] = c.c2, out[2] = c.c3;
    });
  });
  sub.def("squared_distance", [](const Array<T>& g, const Array<T>& h, std::array<T, 3> sigmas) {
    return for_pairs<Group>(
        g, h, 1, [&](const auto& a, const auto& b, T* out) { *out = Group::squared_distance(a, b, metric(sigmas)); });
  });
  sub.def("lower_bound", [](const Array<T>& g, const Array<T>& h, std::array<T, 3> sigmas) {
    return for_pairs<Group>(
        g, h, 1, [&](const auto& a, const auto& b, T* out) { *out = Group::lower_bound(a, b, metric(sigmas)); });
  });
}

PYBIND11_MODULE(cheblienet_math_probe, m) {
  add_group<R2<double>>(m, "r2_float64");
  add_group<SE2<double>>(m, "se2_float64");
  add_group<S2<double>>(m, "s2_float64");
  add_group<SO3<double>>(m, "so3_float64");
  add_group<R2<float>>(m, "r2_float32");
  add_group<SE2<float>>(m, "se2_float32");
  add_group<S2<float>>(m, "s2_float32");
  add_group<SO3<float>>(m, "so3_float32");

  // The list after inserting the distances with their positions as indices, and how many whole shells of at most k.
  m.def("nearest", [](const std::vector<double>& distances, int64_t k) {
    std::vector<double> distance(k + 1);
    std::vector<int64_t> index(k + 1);
    NearestList<double, int64_t> list{distance.data(), index.data(), k + 1};
    for (size_t i = 0; i < distances.size(); ++i) list.insert(distances[i], static_cast<int64_t>(i));
    const int64_t count = list.whole_shells(k);
    list.sort_shells(count);
    index.resize(count);
    distance.resize(list.size);
    return std::pair(index, distance);
  });
}
