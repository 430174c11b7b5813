// The tables of csrc/cuda/chebyshev_tiles.cuh: which vertices a tile of rows needs, and where they stand in shared
// memory, so that a GPU's lanes rarely read from one bank at the same time.
#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "../chebyshev_operands.h"
#include "pattern.h"

namespace cheblienet {
namespace {

constexpr int kClasses = 8;  // groups of banks: 16 bytes of 128
constexpr int kLanes = 8;    // that read 16 bytes each in one phase
constexpr int kSweeps = 3;   // over a greedy colouring

struct TiledRows {
  const RowSpan* rows;
  const int32_t* col;
  int64_t vertices, tile_rows;

  int64_t first(int64_t tile) const { return tile * tile_rows; }
  int64_t last(int64_t tile) const { return std::min(vertices, (tile + 1) * tile_rows); }
};

// The vertices of one tile, as numbers of rows, and the place of each.
struct Tile {
  std::vector<int32_t> members, slots;
  int32_t size = 0;  // one more than the largest place
};

// Makes tiles one after the other, in memory that it keeps.
class TileMaker {
 public:
  explicit TileMaker(const TiledRows& pattern) : pattern_(pattern), number_(pattern.vertices, -1) {}

  Tile make(int64_t tile) {
    Tile made;
    const auto add = [&](int32_t row) {
      if (number_[row] >= 0) return;
      number_[row] = static_cast<int32_t>(made.members.size());
      made.members.push_back(row);
    };
    for (int64_t r = pattern_.first(tile); r < pattern_.last(tile); ++r) {
      add(static_cast<int32_t>(r));
      for (int32_t e = pattern_.rows[r].begin; e < pattern_.rows[r].end; ++e) add(pattern_.col[e]);
    }
    find_phases(tile, static_cast<int32_t>(made.members.size()));
    colour(tile, static_cast<int32_t>(made.members.size()));
    place(made);
    for (const int32_t row : made.members) number_[row] = -1;
    return made;
  }

 private:
  // Who is read with whom: the phases (incidence_[begin_[v]], ...) in which member v is read, each once.
  void find_phases(int64_t tile, int32_t members) {
    pairs_.clear();
    phases_ = 0;
    for (int64_t group = pattern_.first(tile); group < pattern_.last(tile); group += kLanes) {
      const int64_t end = std::min(group + kLanes, pattern_.last(tile));
      int32_t longest = 0;
      for (int64_t r = group; r < end; ++r) longest = std::max(longest, pattern_.rows[r].end - pattern_.rows[r].begin);
      for (int32_t e = 0; e < longest; ++e, ++phases_) {
        const size_t begin = pairs_.size();
        for (int64_t r = group; r < end; ++r) {
          const RowSpan& row = pattern_.rows[r];
          if (row.begin + e >= row.end) continue;
          const std::pair<int32_t, int32_t> pair{number_[pattern_.col[row.begin + e]], phases_};
          if (std::find(pairs_.begin() + begin, pairs_.end(), pair) == pairs_.end()) pairs_.push_back(pair);
        }
      }
    }
    begin_.assign(members + 1, 0);
    for (const auto& pair : pairs_) ++begin_[pair.first + 1];
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    incidence_.resize(pairs_.size());
    next_.assign(begin_.begin(), begin_.end() - 1);
    for (const auto& pair : pairs_) incidence_[next_[pair.first]++] = pair.second;
  }

  // A class for each member such that few members of a class are read in one phase: greedily, those read most often
  // first, then each once more in some order.
  void colour(int64_t tile, int32_t members) {
    use_.assign(size_t(phases_) * kClasses, 0);
    counts_.assign(kClasses, 0);
    classes_.assign(members, -1);
    order_.resize(members);
    std::iota(order_.begin(), order_.end(), 0);
    const auto readings = [&](int32_t v) { return begin_[v + 1] - begin_[v]; };
    std::stable_sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) { return readings(a) > readings(b); });
    const int32_t most = (members + kClasses - 1) / kClasses + 1;
    std::minstd_rand random(static_cast<uint32_t>(tile) + 1);
    for (int sweep = 0; sweep <= kSweeps; ++sweep) {
      for (const int32_t v : order_) {
        if (classes_[v] >= 0) count(v, -1);
        int32_t cost[kClasses];
        for (int c = 0; c < kClasses; ++c) cost[c] = counts_[c] < most ? 0 : 1 << 20;
        for (int32_t i = begin_[v]; i < begin_[v + 1]; ++i)
          for (int c = 0; c < kClasses; ++c) cost[c] += use_[incidence_[i] * kClasses + c];
        int best = 0;
        for (int c = 1; c < kClasses; ++c)
          if (cost[c] < cost[best] || (cost[c] == cost[best] && counts_[c] < counts_[best])) best = c;
        classes_[v] = best;
        count(v, 1);
      }
      for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random() % i]);
    }
  }

  void count(int32_t v, int32_t change) {
    counts_[classes_[v]] += change;
    for (int32_t i = begin_[v]; i < begin_[v + 1]; ++i) use_[incidence_[i] * kClasses + classes_[v]] += change;
  }

  void place(Tile& made) const {
    made.slots.resize(made.members.size());
    int32_t used[kClasses] = {};
    for (size_t v = 0; v < made.members.size(); ++v) {
      made.slots[v] = used[classes_[v]]++ * kClasses + classes_[v];
      made.size = std::max(made.size, made.slots[v] + 1);
    }
  }

  const TiledRows& pattern_;
  std::vector<int32_t> number_;  // of each row among the members of the present tile, -1 for none
  std::vector<std::pair<int32_t, int32_t>> pairs_;
  std::vector<int32_t> begin_, next_, incidence_, classes_, counts_, order_, use_;
  int32_t phases_ = 0;
};

// Writes the two tables of a tile.
void write(const TiledRows& pattern, int64_t tile, const Tile& made, int64_t plane, int64_t degree,
           std::vector<int32_t>& slot_of, int32_t* halo, uint16_t* slots) {
  std::fill_n(halo, plane, -1);
  for (size_t v = 0; v < made.members.size(); ++v) {
    halo[made.slots[v]] = pattern.rows[made.members[v]].vertex;
    slot_of[made.members[v]] = made.slots[v];
  }
  const int64_t threads = pattern.tile_rows;
  // Entry e of a thread is half of the e / 2-th word of its column.
  std::fill_n(slots, (degree + 2) * threads, static_cast<uint16_t>(plane - 1));
  for (int64_t r = pattern.first(tile); r < pattern.last(tile); ++r) {
    const int64_t thread = r - pattern.first(tile);
    const RowSpan& row = pattern.rows[r];
    for (int64_t e = 0; e < row.end - row.begin; ++e)
      slots[(e / 2 * threads + thread) * 2 + e % 2] = static_cast<uint16_t>(slot_of[pattern.col[row.begin + e]]);
    slots[(degree / 2 * threads + thread) * 2] = static_cast<uint16_t>(slot_of[r]);
    slots[(degree / 2 * threads + thread) * 2 + 1] = 0;
  }
}

// slots (T, D / 2 + 1, tile_rows) and halo (T, plane) int32 as ops/tiles.py says; without elements where a row has more
// than 32 entries or a tile needs `most_slots` places or more.
std::tuple<Tensor, Tensor> tile_tables(const Tensor& spans, const Tensor& columns, int64_t tile_rows,
                                       int64_t most_slots) {
  STD_TORCH_CHECK(tile_rows >= 1 && tile_rows <= kMostTileRows, "tile_tables: tile_rows: expected 1 to ", kMostTileRows,
                  ", got ", tile_rows);
  const Operands operands("tile_tables", spans);
  operands.check("rows", spans, ScalarType::Int, {kAny, 4});
  operands.check("col", columns, ScalarType::Int, {kAny});
  const std::vector<Tensor> parts = checked_pattern(operands, {spans, columns}, spans.size(0), columns.size(0));
  const Tensor &rows = parts[0], &col = parts[1];
  static_cast<void>(Pattern("tile_tables", rows, col));
  const TiledRows pattern{static_cast<const RowSpan*>(rows.const_data_ptr()), col.const_data_ptr<int32_t>(),
                          rows.size(0), tile_rows};
  const int64_t tiles = (pattern.vertices + tile_rows - 1) / tile_rows;
  int64_t longest = 0;
  for (int64_t r = 0; r < pattern.vertices; ++r)
    longest = std::max<int64_t>(longest, pattern.rows[r].end - pattern.rows[r].begin);
  const int64_t degree = longest <= 16 ? 16 : 32;
  const auto none = [&] {
    return std::make_tuple(new_empty(rows, {0, degree / 2 + 1, tile_rows}, ScalarType::Int),
                           new_empty(rows, {0, 0}, ScalarType::Int));
  };
  if (longest > 32 || tiles == 0) return none();

  std::vector<Tile> made(tiles);
  torch::stable::parallel_for(0, tiles, 16, [&](int64_t begin, int64_t end) {
    TileMaker maker(pattern);
    for (int64_t tile = begin; tile < end; ++tile) made[tile] = maker.make(tile);
  });
  int64_t plane = 0;
  for (const Tile& tile : made) plane = std::max<int64_t>(plane, tile.size + 1);  // and one for zeros
  if (plane > std::min<int64_t>(most_slots, 1 << 16)) return none();

  Tensor slots = new_empty(rows, {tiles, degree / 2 + 1, tile_rows}, ScalarType::Int);
  Tensor halo = new_empty(rows, {tiles, plane}, ScalarType::Int);
  auto* const slot_data = static_cast<uint16_t*>(slots.mutable_data_ptr());
  int32_t* const halo_data = halo.mutable_data_ptr<int32_t>();
  torch::stable::parallel_for(0, tiles, 64, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> slot_of(pattern.vertices);
    for (int64_t tile = begin; tile < end; ++tile)
      write(pattern, tile, made[tile], plane, degree, slot_of, halo_data + tile * plane,
            slot_data + tile * (degree + 2) * tile_rows);
  });
  return {slots, halo};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) { m.impl("tile_tables", TORCH_BOX(&cheblienet::tile_tables)); }
