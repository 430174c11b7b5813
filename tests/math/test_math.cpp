// Host tests of csrc/math that need nothing but a compiler, so that sanitizers can watch them.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "../../csrc/math/nearest.h"
#include "../../csrc/math/r2.h"
#include "../../csrc/math/s2.h"
#include "../../csrc/math/se2.h"

using namespace cheblienet;

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::printf("failed: %s\n", what);
}

bool close(double a, double b, double tolerance) {
  return std::abs(a - b) <= tolerance * (1 + std::abs(a) + std::abs(b));
}

template <class Group>
void check_group(const char* name, const Metric<double>& metric) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<double> uniform(-3, 3);
  std::vector<typename Group::Element> elements;
  for (int i = 0; i < 60; ++i) {
    const double c[3] = {uniform(generator), uniform(generator), uniform(generator)};
    elements.push_back(Group::prepare(c));
  }
  for (const auto& g : elements) {
    expect(Group::squared_distance(g, g, metric) == 0, name);
    for (const auto& h : elements) {
      const double d = Group::squared_distance(g, h, metric);
      expect(std::isfinite(d) && d >= 0, name);
      expect(close(d, Group::squared_distance(h, g, metric), 1e-10), name);
      expect(Group::lower_bound(g, h, metric) <= d * (1 + 1e-12), name);
      cheblienet::Box<double, Group::box_dimensions> first, second;  // a box may be a single point
      Group::embed(g, first.low);
      Group::embed(h, second.low);
      std::copy(first.low, first.low + Group::box_dimensions, first.high);
      std::copy(second.low, second.low + Group::box_dimensions, second.high);
      expect(Group::box_bound(first, second, metric) <= d * (1 + 1e-12), name);
      expect(d <= metric.squared_norm(Group::log(g, h)) * (1 + 1e-10), name);
    }
  }
}

// exp of se(2) in closed form: the rotation by theta and the translation that the integral of the rotation carries.
void check_se2_exponential() {
  std::mt19937 generator(3);
  std::uniform_real_distribution<double> uniform(-3.1, 3.1);
  const double origin[3] = {0, 0, 0};
  for (int i = 0; i < 200; ++i) {
    const double h[3] = {uniform(generator), uniform(generator),
                         i % 4 ? uniform(generator) : 1e-9 * uniform(generator)};
    const Tangent<double> c = SE2<double>::log(SE2<double>::prepare(origin), SE2<double>::prepare(h));
    const double t = c.c3, a = std::abs(t) < 1e-7 ? 1 : std::sin(t) / t,
                 b = std::abs(t) < 1e-7 ? t / 2 : (1 - std::cos(t)) / t;
    expect(close(a * c.c1 - b * c.c2, h[0], 1e-9) && close(b * c.c1 + a * c.c2, h[1], 1e-9),
           "exp(log(h)) == h on SE(2)");
  }
}

void check_nearest() {
  std::vector<double> distance(4);
  std::vector<int> index(4);
  NearestList<double, int> list{distance.data(), index.data(), 4};
  for (int i = 0; i < 9; ++i) list.insert(i % 3, i);
  expect(list.size == 4 && index[0] == 0 && index[1] == 3 && index[2] == 6 && index[3] == 1, "nearest list");
  expect(list.whole_shells(3) == 3 && list.whole_shells(2) == 0, "whole shells");
}

int main() {
  const Metric<double> isotropic{1, 1, 1}, anisotropic{1, 0.1, 0.0026};
  check_group<R2<double>>("R2", anisotropic);
  check_group<SE2<double>>("SE(2)", anisotropic);
  check_group<S2<double>>("S2", isotropic);
  check_group<SO3<double>>("SO(3)", anisotropic);
  check_se2_exponential();
  check_nearest();
  std::printf(failures ? "%d failures\n" : "all passed\n", failures);
  return failures != 0;
}
