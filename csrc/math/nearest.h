// A bounded list of the nearest candidates, ordered by (distance, index), and the shells it splits into.
// Both backends select through it, so both break ties alike.
#pragma once
#include "host_device.h"

namespace cheblienet {

// Squared distances that agree within this relative tolerance are one shell: rounding reaches 1e-14, distinct distances
// of a regular sampling differ by far more.
constexpr double kShellTolerance = 1e-5;

// True where a sorted list of squared distances steps from one shell into the next.
template <class T>
CHEBLIENET_HD bool is_shell_boundary(T before, T after) {
  return after > before * (1 + T(kShellTolerance));
}

// Views of caller-owned storage of `capacity` entries; the first `size` are filled and sorted.
template <class T, class Index>
struct NearestList {
  T* distance;
  Index* index;
  int64_t capacity;
  int64_t size = 0;

  // What a candidate has to beat: nothing while the list is not full.
  CHEBLIENET_HD bool rejects(T d) const { return size == capacity && d > distance[size - 1]; }

  CHEBLIENET_HD static bool precedes(T d1, Index i1, T d2, Index i2) { return d1 < d2 || (d1 == d2 && i1 < i2); }

  CHEBLIENET_HD void insert(T d, Index i) {
    if (size == capacity && !precedes(d, i, distance[size - 1], index[size - 1])) return;
    int64_t slot = size < capacity ? size++ : size - 1;
    for (; slot > 0 && precedes(d, i, distance[slot - 1], index[slot - 1]); --slot) {
      distance[slot] = distance[slot - 1];
      index[slot] = index[slot - 1];
    }
    distance[slot] = d;
    index[slot] = i;
  }

  // The largest number of leading entries, at most `k`, that is a union of whole shells. The list must hold the k + 1
  // nearest, or all candidates if there are no more.
  CHEBLIENET_HD int64_t whole_shells(int64_t k) const {
    if (size <= k) return size;
    while (k > 0 && !is_shell_boundary(distance[k - 1], distance[k])) --k;
    return k;
  }

  // Orders the members of each shell by index, so that rounding does not show in the result.
  CHEBLIENET_HD void sort_shells(int64_t count) {
    for (int64_t begin = 0, end; begin < count; begin = end) {
      for (end = begin + 1; end < count && !is_shell_boundary(distance[end - 1], distance[end]);) ++end;
      for (int64_t a = begin + 1; a < end; ++a) {
        const T d = distance[a];
        const Index i = index[a];
        int64_t b = a;
        for (; b > begin && index[b - 1] > i; --b) {
          distance[b] = distance[b - 1];
          index[b] = index[b - 1];
        }
        distance[b] = d;
        index[b] = i;
      }
    }
  }
};

}  // namespace cheblienet
