// Nearest neighbours on a regular grid of the plane, with or without orientations. Translations are symmetries of the
// distance, so one list of offsets per orientation, by ascending distance, serves all places: each takes the first that
// lead to the grid.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "../math/nearest.h"
#include "../torch_api.h"
#include "progress.h"

namespace cheblienet {

// Elements (x + i dx, y + j dy, the k-th orientation) at index i + nx j + nx ny k.
struct Grid {
  int64_t nx, ny, orientations;
  double dx, dy;
};

// The grid of at least 2 x 2 places that elements of `d` coordinates form, if they do.
inline std::optional<Grid> find_grid(const double* elements, int64_t vertices, int d) {
  const auto at = [&](int64_t v, int c) { return elements[v * d + c]; };
  const auto same = [&](int64_t v, int64_t u, int c) { return c == d || at(v, c) == at(u, c); };
  Grid grid{1, 1, 1, 0, 0};
  while (grid.nx < vertices && same(grid.nx, 0, 1) && same(grid.nx, 0, 2)) ++grid.nx;
  while (grid.ny * grid.nx < vertices && same(grid.ny * grid.nx, 0, 2)) ++grid.ny;
  const int64_t places = grid.nx * grid.ny;
  if (grid.nx < 2 || grid.ny < 2 || vertices % places != 0) return {};
  grid.orientations = vertices / places;
  grid.dx = (at(grid.nx - 1, 0) - at(0, 0)) / static_cast<double>(grid.nx - 1);
  grid.dy = (at(places - 1, 1) - at(0, 1)) / static_cast<double>(grid.ny - 1);
  // A distance may differ by twice as much, far less than distances of one shell.
  const double tolerance = 1e-10;
  if (grid.dx == 0 || grid.dy == 0) return {};
  for (int64_t v = 0; v < vertices; ++v) {
    const auto i = static_cast<double>(v % grid.nx), j = static_cast<double>(v % places / grid.nx);
    if (!(std::abs(at(v, 0) - at(0, 0) - i * grid.dx) <= tolerance * std::abs(grid.dx) &&
          std::abs(at(v, 1) - at(0, 1) - j * grid.dy) <= tolerance * std::abs(grid.dy) &&
          same(v, v / places * places, 2)))
      return {};
  }
  return grid;
}

template <class Group>
class GridSearch {
 public:
  GridSearch(const double* elements, const Grid& grid, const Metric<double>& metric, int64_t k,
             const Progress& progress)
      : grid_(grid), metric_(metric), k_(k), progress_(progress), offsets_(grid.orientations) {
    for (int64_t o = 0; o < grid.orientations; ++o)
      origins_.push_back(Group::prepare(elements + o * grid.nx * grid.ny * Group::coordinates));
    for (auto& origin : origins_) origin.x = origin.y = 0;
  }

  // The neighbours of all elements; false, without a result, where too many offsets would have to be measured.
  bool run(int64_t* index, double* sqdist) {
    for (double radius = 2 * std::sqrt((k_ + 1) * std::abs(grid_.dx * grid_.dy));; radius *= 2) {
      if (!measure(radius)) return false;
      if (take(index, sqdist)) return true;
    }
  }

 private:
  struct Offset {
    double sqdist;
    int64_t step;  // of the index
    int32_t x, y;
  };
  using List = NearestList<double, int64_t>;  // of steps

  int64_t vertices() const { return grid_.nx * grid_.ny * grid_.orientations; }
  int64_t capacity() const { return std::min(k_ + 1, vertices() - 1); }

  // Lists all offsets up to a distance that grows with `radius`: beyond it some might lie outside the window measured.
  bool measure(double radius) {
    const auto window = [&](int64_t n, double step) {
      return static_cast<int64_t>(std::min(static_cast<double>(n - 1), radius / std::abs(step)));
    };
    const int64_t wx = window(grid_.nx, grid_.dx), wy = window(grid_.ny, grid_.dy);
    const int64_t count = (2 * wx + 1) * (2 * wy + 1) * grid_.orientations * grid_.orientations;
    if (count > kPerVertex * vertices()) return false;
    double outside = std::numeric_limits<double>::infinity();
    if (wx < grid_.nx - 1) outside = (wx + 1) * std::abs(grid_.dx);
    if (wy < grid_.ny - 1) outside = std::min(outside, (wy + 1) * std::abs(grid_.dy));
    const double reach = metric_.least_planar() * outside * outside * (1 - 1e-9);
    torch::stable::parallel_for(0, grid_.orientations, 1, [&](int64_t first, int64_t last) {
      for (int64_t from = first; from < last; ++from) {
        auto& offsets = offsets_[from];
        offsets.clear();
        for (int64_t to = 0; to < grid_.orientations; ++to)
          for (int64_t y = -wy; y <= wy && !progress_.stopped(); ++y)
            for (int64_t x = -wx; x <= wx; ++x) {
              auto target = origins_[to];
              target.x = static_cast<double>(x) * grid_.dx;
              target.y = static_cast<double>(y) * grid_.dy;
              const double d = Group::squared_distance(origins_[from], target, metric_);
              const int64_t step = x + grid_.nx * (y + grid_.ny * (to - from));
              if (d <= reach && step != 0)
                offsets.push_back({d, step, static_cast<int32_t>(x), static_cast<int32_t>(y)});
            }
        std::sort(offsets.begin(), offsets.end(),
                  [](const Offset& a, const Offset& b) { return List::precedes(a.sqdist, a.step, b.sqdist, b.step); });
      }
    });
    return true;
  }

  // False where the lists are too short for an element.
  bool take(int64_t* index, double* sqdist) const {
    std::atomic<bool> enough{true};
    const int64_t grain = 1 + 1024 / grid_.nx;
    torch::stable::parallel_for(0, grid_.ny * grid_.orientations, grain, [&](int64_t first, int64_t last) {
      std::vector<double> distance(capacity()), inner_distance(capacity());
      std::vector<int64_t> step(capacity()), inner_step(capacity());
      List list{distance.data(), step.data(), capacity()}, inner{inner_distance.data(), inner_step.data(), capacity()};
      int64_t orientation = -1, inner_whole = 0;
      Margins margins{};
      for (int64_t row = first; row < last && enough && !progress_.stopped(); ++row) {
        const int64_t y = row % grid_.ny;
        if (orientation != row / grid_.ny) {
          orientation = row / grid_.ny;
          margins = fill_without_boundary(orientation, inner);
          inner_whole = order(inner);
        }
        for (int64_t x = 0; x < grid_.nx; ++x) {
          const int64_t v = row * grid_.nx + x;
          const bool inside = x >= margins.x && x < grid_.nx - margins.x && y >= margins.y && y < grid_.ny - margins.y;
          if (inside) {
            write(inner, inner_whole, v, index, sqdist);
          } else if (fill(orientation, x, y, list)) {
            write(list, order(list), v, index, sqdist);
          } else {
            enough = false;
            return;
          }
        }
      }
    });
    return enough;
  }

  // How far from the boundary the offsets of a list lead to the grid.
  struct Margins {
    int64_t x, y;
  };

  // The neighbours of elements whose offsets all lead to the grid. Margins are the grid's size if there are none.
  Margins fill_without_boundary(int64_t orientation, List& list) const {
    const auto& offsets = offsets_[orientation];
    if (static_cast<int64_t>(offsets.size()) < capacity()) return {grid_.nx, grid_.ny};
    Margins margins{};
    for (list.size = 0; list.size < capacity(); ++list.size) {
      const Offset& offset = offsets[list.size];
      list.distance[list.size] = offset.sqdist;
      list.index[list.size] = offset.step;
      margins = {std::max<int64_t>(margins.x, std::abs(offset.x)), std::max<int64_t>(margins.y, std::abs(offset.y))};
    }
    return margins;
  }

  bool fill(int64_t orientation, int64_t x, int64_t y, List& list) const {
    list.size = 0;
    for (const Offset& offset : offsets_[orientation]) {
      if (x + offset.x < 0 || x + offset.x >= grid_.nx || y + offset.y < 0 || y + offset.y >= grid_.ny) continue;
      list.distance[list.size] = offset.sqdist;
      list.index[list.size] = offset.step;
      if (++list.size == capacity()) return true;
    }
    return false;
  }

  int64_t order(List& list) const {
    const int64_t whole = list.whole_shells(k_);
    list.sort_shells(whole);
    return whole;
  }

  void write(const List& list, int64_t whole, int64_t v, int64_t* index, double* sqdist) const {
    std::copy_n(list.distance, k_, sqdist + v * k_);
    for (int64_t i = 0; i < whole; ++i) index[v * k_ + i] = v + list.index[i];
    std::fill_n(index + v * k_ + whole, k_ - whole, int64_t(-1));
  }

  // Above this many offsets per element the search tree is the faster way, and the leaner one.
  static constexpr int64_t kPerVertex = 32;

  Grid grid_;
  Metric<double> metric_;
  int64_t k_;
  const Progress& progress_;
  std::vector<typename Group::Element> origins_;
  std::vector<std::vector<Offset>> offsets_;
};

}  // namespace cheblienet
