// Every CPU operator on several threads, and from several callers at once, for a sanitizer to watch. Results are those
// of one thread. With an argument, a fault that the sanitizer must find: race, bounds or overflow.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>

#include "../../csrc/cpu/result_memory.h"

namespace {

using cheblienet::BFloat16;
using cheblienet::Half;
using cheblienet::ScalarType;
using cheblienet::Tensor;
using Maybe = std::optional<Tensor>;
using Two = std::tuple<Tensor, Tensor>;
using Three = std::tuple<Tensor, Tensor, Tensor>;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// Calls an operator by its name, with the types of its signature.
template <class Result, class... Arguments>
struct Operator {
  using Function = Result (*)(Arguments...);
  Function function;

  explicit Operator(const char* name) : function(std::any_cast<Function>(torch::stable::operators().at(name))) {}
  Result operator()(Arguments... arguments) const { return function(arguments...); }
};

Tensor empty(std::vector<int64_t> sizes, ScalarType dtype) {
  std::vector<int64_t> strides(sizes.size());
  int64_t step = 1;
  for (size_t i = sizes.size(); i-- > 0; step *= sizes[i]) strides[i] = step;
  return torch::stable::empty(sizes, strides, dtype);
}

template <class T>
Tensor made(std::vector<int64_t> sizes, ScalarType dtype, const std::function<double(int64_t)>& value) {
  Tensor t = empty(std::move(sizes), dtype);
  for (int64_t i = 0; i < t.numel(); ++i) t.mutable_data_ptr<T>()[i] = static_cast<T>(static_cast<float>(value(i)));
  return t;
}
Tensor integers(std::vector<int64_t> sizes, const std::function<int64_t(int64_t)>& value) {
  Tensor t = empty(std::move(sizes), ScalarType::Long);
  for (int64_t i = 0; i < t.numel(); ++i) t.mutable_data_ptr<int64_t>()[i] = value(i);
  return t;
}
Tensor random(std::vector<int64_t> sizes, ScalarType dtype) {
  std::minstd_rand source(7);
  const auto value = [&](int64_t) { return std::uniform_real_distribution<double>(-1, 1)(source); };
  switch (dtype) {
    case ScalarType::Double: return made<double>(sizes, dtype, value);
    case ScalarType::Float: return made<float>(sizes, dtype, value);
    case ScalarType::Half: return made<Half>(sizes, dtype, value);
    default: return made<BFloat16>(sizes, dtype, value);
  }
}
ScalarType sum_type(ScalarType dtype) { return dtype == ScalarType::Double ? dtype : ScalarType::Float; }

std::vector<double> numbers(const Tensor& t) {
  std::vector<double> out(t.numel());
  const auto copy = [&](auto zero) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(t.const_data_ptr<decltype(zero)>()[i]);
  };
  switch (t.scalar_type()) {
    case ScalarType::Byte: copy(uint8_t(0)); break;
    case ScalarType::Int: copy(int32_t(0)); break;
    case ScalarType::Long: copy(int64_t(0)); break;
    case ScalarType::Double: copy(0.0); break;
    case ScalarType::Float: copy(0.f); break;
    case ScalarType::Half: copy(Half(0.f)); break;
    case ScalarType::BFloat16: copy(BFloat16(0.f)); break;
  }
  return out;
}

using Results = std::vector<std::vector<double>>;
template <class... T>
Results results(const std::tuple<T...>& tensors) {
  return std::apply([](const auto&... t) { return Results{numbers(t)...}; }, tensors);
}

// Threads share sums, whose rounding depends on their number.
bool close(const Results& a, const Results& b, double tolerance) {
  for (size_t i = 0; i < a.size(); ++i) {
    double scale = 1;
    for (const double value : b[i]) scale = std::max(scale, std::abs(value));
    if (a[i].size() != b[i].size()) return false;
    for (size_t j = 0; j < a[i].size(); ++j)
      if (!(std::abs(a[i][j] - b[i][j]) <= tolerance * scale)) return false;
  }
  return a.size() == b.size();
}

struct Case {
  std::string name;
  double tolerance;
  std::function<Results()> run;
};

// A ring in an order of its own, with rows (V, 4), col (2 V,) and values.
struct Ring {
  Tensor rows, col, values;

  Ring(int64_t vertices, ScalarType dtype)
      : rows(empty({0}, dtype)), col(rows), values(random({2 * vertices}, sum_type(dtype))) {
    const Tensor rowptr = integers({vertices + 1}, [](int64_t i) { return 2 * i; });
    const Tensor target =
        integers({2 * vertices}, [=](int64_t i) { return (i / 2 + (i % 2 ? 1 : vertices - 1)) % vertices; });
    const Tensor order = integers({vertices}, [=](int64_t i) { return (i + vertices / 3) % vertices; });
    std::tie(rows, col, std::ignore) =
        Operator<Three, const Tensor&, const Tensor&, const Tensor&>("order_rows")(rowptr, target, order);
  }
};

void add_convolutions(std::vector<Case>& cases) {
  struct Shape {
    int64_t batch, vertices, orders, cin, cout;
  };
  // Both evaluations, both backward forms, shared samples, a wave over blocks of rows, results that are recycled.
  for (const Shape& s : {Shape{5, 300, 4, 5, 19}, Shape{8, 300, 3, 19, 5}, Shape{1, 2500, 3, 9, 8},
                         Shape{3, 8500, 3, 4, 5}, Shape{4, 2048, 2, 3, 33}})
    for (const ScalarType dtype : {ScalarType::Float, ScalarType::Double, ScalarType::Half, ScalarType::BFloat16}) {
      if (s.vertices > 300 && dtype != ScalarType::Float) continue;
      const Ring ring(s.vertices, dtype);
      const Tensor x = random({s.batch, s.vertices, s.cin}, dtype), weight = random({s.orders, s.cin, s.cout}, dtype),
                   bias = random({s.cout}, dtype), grad = random({s.batch, s.vertices, s.cout}, dtype);
      const double tolerance = dtype == ScalarType::Double ? 1e-12 : dtype == ScalarType::Float ? 1e-5 : 1e-2;
      const std::string of = std::string(" ") + torch::headeronly::toString(dtype) + " V " + std::to_string(s.vertices);
      cases.push_back(
          {"chebyshev" + of, 0, [=] {
             return Results{numbers(
                 Operator<Tensor, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, Maybe>(
                     "chebyshev")(x, weight, ring.rows, ring.col, ring.values, bias))};
           }});
      for (const bool values : {false, true})
        cases.push_back({"chebyshev_backward" + of, tolerance, [=] {
                           return results(
                               Operator<Four, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                        const Tensor&, bool, bool, bool, bool>("chebyshev_backward")(
                                   grad, x, weight, ring.rows, ring.col, ring.values, true, true, true, values));
                         }});
    }
}

void add_normalisations(std::vector<Case>& cases) {
  for (const ScalarType dtype : {ScalarType::Float, ScalarType::Double, ScalarType::Half, ScalarType::BFloat16})
    for (const int64_t channels : {1, 19, 64}) {
      const Tensor x = random({4, 1100, channels}, dtype), residual = random({4, 1100, channels}, dtype),
                   weight = random({channels}, sum_type(dtype)), bias = random({channels}, sum_type(dtype)),
                   mean = random({channels}, sum_type(dtype)),
                   var = made<float>({channels}, ScalarType::Float, [](int64_t) { return 0.5; });
      const Tensor var_of_type =
          dtype == ScalarType::Double ? made<double>({channels}, dtype, [](int64_t) { return 0.5; }) : var;
      const double tolerance = dtype == ScalarType::Double ? 1e-11 : dtype == ScalarType::Float ? 1e-5 : 2e-2;
      const std::string of = std::string(" ") + torch::headeronly::toString(dtype) + " C " + std::to_string(channels);
      cases.push_back(
          {"batch_norm" + of, tolerance, [=] {
             return results(
                 Operator<Four, const Tensor&, Maybe, const Tensor&, const Tensor&, Maybe, Maybe, double, bool>(
                     "batch_norm")(x, residual, weight, bias, {}, {}, 1e-5, true));
           }});
      cases.push_back({"batch_norm_backward" + of, tolerance, [=] {
                         return results(Operator<Three, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                 const Tensor&, const Tensor&, double, bool, bool>(
                             "batch_norm_backward")(residual, x, weight, bias, mean, var_of_type, 1e-5, true, true));
                       }});
    }
}

void add_pools(std::vector<Case>& cases) {
  const int64_t vertices = 6000, members = 4, outputs = vertices / members;
  const Tensor x = random({3, vertices, 19}, ScalarType::Float), grad = random({3, outputs, 19}, ScalarType::Float);
  const Tensor index = integers({outputs, members}, [](int64_t i) { return i % 7 == 3 ? -1 : i; });
  std::vector<int64_t> entries, rowptr{0};
  for (int64_t v = 0; v < vertices; ++v) {
    if (v % 7 != 3) entries.push_back(v);
    rowptr.push_back(static_cast<int64_t>(entries.size()));
  }
  const auto list = [](const std::vector<int64_t>& of) {
    return integers({static_cast<int64_t>(of.size())}, [&](int64_t i) { return of[i]; });
  };
  const Tensor pointers = list(rowptr), entry = list(entries);
  Tensor choice = empty({outputs}, ScalarType::Byte);
  for (int64_t o = 0; o < outputs; ++o)
    choice.mutable_data_ptr<uint8_t>()[o] = (o * members) % 7 == 3 ? 1 : 0;  // a member that there is
  for (const std::string name : {"max", "avg", "rand"}) {
    const auto forward = [=] {
      return Operator<Two, const Tensor&, const Tensor&, const Tensor&, const Tensor&, Maybe, std::string>(
          "gather_reduce")(x, index, pointers, entry, name == "rand" ? Maybe(choice) : Maybe(), name);
    };
    cases.push_back({"gather_reduce " + name, 0, [=] { return results(forward()); }});
    cases.push_back(
        {"gather_reduce_backward " + name, 0, [=] {
           const Tensor winner = std::get<1>(forward());
           return Results{numbers(
               Operator<Tensor, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, std::string>(
                   "gather_reduce_backward")(grad, winner, index, pointers, entry, name))};
         }});
  }
}

void add_graphs(std::vector<Case>& cases) {
  struct Elements {
    const char* group;
    int64_t coordinates;
  };
  const Tensor sigmas = made<double>({3}, ScalarType::Double, [](int64_t) { return 1; });
  using Nearest = Operator<Two, const Tensor&, const Tensor&, int64_t, std::string, const Maybe&>;
  using Mutual = Operator<Two, const Tensor&, const Tensor&, double, const Maybe&>;
  const auto both = [=](const Tensor& elements, const std::string& group) {
    return [=] {
      const Tensor progress = integers({2}, [](int64_t) { return 0; });
      const auto [index, sqdist] = Nearest("nearest_neighbors")(elements, sigmas, 8, group, progress);
      Results all = results(Mutual("mutual_neighbors")(index, sqdist, 1.0, progress));
      all.push_back(numbers(index));
      all.push_back(numbers(sqdist));
      all.push_back(numbers(progress));
      return all;
    };
  };
  for (const Elements& e : {Elements{"r2", 2}, Elements{"se2", 3}, Elements{"s2", 2}, Elements{"so3", 3}})
    cases.push_back(
        {std::string("neighbours ") + e.group, 0, both(random({2000, e.coordinates}, ScalarType::Double), e.group)});
  const Tensor grid = made<double>({20 * 20 * 4, 3}, ScalarType::Double, [](int64_t i) {
    const int64_t v = i / 3;
    return i % 3 == 0 ? v % 20 / 32.0 : i % 3 == 1 ? v / 20 % 20 / 32.0 : v / 400 * 0.75;
  });
  cases.push_back({"neighbours on a grid", 0, both(grid, "se2")});
  cases.push_back({"tile_tables", 0, [] {
                     const Ring ring(5000, ScalarType::Float);
                     Results all = results(Operator<Two, const Tensor&, const Tensor&, int64_t, int64_t>("tile_tables")(
                         ring.rows, ring.col, 64, 4096));
                     all.push_back(numbers(ring.rows));
                     all.push_back(numbers(ring.col));
                     return all;
                   }});
}

// Work that another thread watches, and stops.
void stop_from_outside() {
  const Tensor progress = integers({2}, [](int64_t) { return 0; }), elements = random({20000, 3}, ScalarType::Double),
               sigmas = made<double>({3}, ScalarType::Double, [](int64_t) { return 1; });
  int64_t* mailbox = progress.mutable_data_ptr<int64_t>();
  std::thread watcher([&] {
    while (__atomic_load_n(mailbox, __ATOMIC_RELAXED) == 0) std::this_thread::yield();
    __atomic_store_n(mailbox + 1, 1, __ATOMIC_RELAXED);
  });
  Operator<Two, const Tensor&, const Tensor&, int64_t, std::string, const Maybe&>("nearest_neighbors")(
      elements, sigmas, 8, "so3", progress);
  watcher.join();
}

int planted(const std::string& fault) {
  torch::stable::thread_count() = 4;
  std::vector<int> counts(4);
  const volatile int past = 4, most = std::numeric_limits<int>::max();
  if (fault == "race") torch::stable::parallel_for(0, 4, 1, [&](int64_t, int64_t) { ++counts[0]; });
  else if (fault == "bounds") return counts.data()[past];
  else if (fault == "overflow") return most + past > 0;
  else return std::fprintf(stderr, "no such fault: %s\n", fault.c_str()), 2;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) return planted(argv[1]);
  std::vector<Case> cases;
  add_convolutions(cases);
  add_normalisations(cases);
  add_pools(cases);
  add_graphs(cases);
  torch::stable::thread_count() = 1;
  std::vector<Results> expected;
  for (const Case& c : cases) expected.push_back(c.run());
  std::atomic<int> wrong{0};
  const auto check = [&](size_t i, const char* how) {
    if (close(cases[i].run(), expected[i], cases[i].tolerance)) return;
    std::fprintf(stderr, "%s: another result %s\n", cases[i].name.c_str(), how);
    ++wrong;
  };
  for (const uint32_t threads : {2, 8}) {
    torch::stable::thread_count() = threads;
    for (size_t i = 0; i < cases.size(); ++i) check(i, "with more threads");
  }
  torch::stable::thread_count() = 2;
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < 3; ++caller)
    callers.emplace_back([&, caller] {
      for (size_t i = 0; i < cases.size(); ++i) check((i + caller * 5) % cases.size(), "from several callers");
    });
  for (std::thread& caller : callers) caller.join();
  stop_from_outside();
  std::printf("%zu cases, %d wrong\n", cases.size(), wrong.load());
  return wrong > 0;
}
