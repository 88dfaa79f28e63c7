// Bi-WKV of one tile of channels, forward and backward; see docs/kernels.md.
//
// The sequence is cut into chunks of 32 tokens over which the decay stays within
// e^24. A chunk's weights e^k are kept relative to a power of two of their
// own, its scale. What comes in from the left and the right, the carries, are
// mantissas with a whole binary exponent each. If no carry exceeds a chunk's scale
// by more than kHeadroom bits, everything in the chunk is computed at that scale
// (the usual case); otherwise at the largest of the three.

#include "bi_wkv_carry.h"
#include "bi_wkv_lanes.h"
#include "bi_wkv_tiles.h"

namespace medurwkv::MEDURWKV_ISA {
namespace {

constexpr float kHeadroom = 16.0f;
constexpr std::ptrdiff_t kCarry2 = 3 * kLanes;
constexpr std::ptrdiff_t kCarry4 = 5 * kLanes;

MEDURWKV_INLINE std::ptrdiff_t chunk_count(std::ptrdiff_t tokens) {
  return (tokens + kChunk - 1) / kChunk;
}

MEDURWKV_INLINE std::ptrdiff_t chunk_end(const Tile& tile, std::ptrdiff_t start) {
  const std::ptrdiff_t end = start + kChunk;
  return end < tile.tokens ? end : tile.tokens;
}

// One chunk from right to left: writes e^k at the chunk's scale to `weights` and
// keeps its scale and the carry that comes in from its right. Returns false where all
// keys of the chunk are too large or too small to be split.
template <int N>
MEDURWKV_INLINE bool weigh_chunk(const Tile& tile, const Decay& decay, std::ptrdiff_t c,
                                 float* weights, float* scales, float* carries,
                                 Carry<N>& carry) {
  const std::ptrdiff_t stride = tile.stride;
  const std::ptrdiff_t start = c * kChunk, end = chunk_end(tile, start);
  Lanes largest = load(tile.k + start * stride);
  for (std::ptrdiff_t t = start + 1; t < end; ++t)
    largest = larger(largest, load(tile.k + t * stride));
  if (any_below(largest, splat(-kKeyLimit)) || any_below(splat(kKeyLimit), largest))
    return false;
  for (std::ptrdiff_t t = start - 1; t >= start - kChunk && t >= 0; --t) {
    fetch(tile.k + t * stride);
    fetch(tile.v + t * stride);
  }
  const Lanes scale = binary_exponent(largest);
  store(scales + c * kLanes, scale);
  carry.save(carries + c * (N + 1) * kLanes);
  Lanes sum[N];
  for (int i = 0; i < N; ++i) sum[i] = splat(0.0f);
  for (std::ptrdiff_t t = end - 1; t >= start; --t) {
    const Lanes weight = exponential(load(tile.k + t * stride), scale);
    store(weights + t * stride, weight);
    if constexpr (N == 4) {
      sum[2] = decay.step * sum[2] + sum[0];
      sum[3] = decay.step * sum[3] + sum[1];
    }
    sum[0] = decay.step * sum[0] + weight * load(tile.v + t * stride);
    sum[1] = decay.step * sum[1] + weight;
  }
  carry.pass(sum, scale, decay);
  return true;
}

// Neighbouring tiles that go through the chunks together, so that memory is met in
// whole rows of them.
struct Tiles {
  Tile tile[kMostTiles];
  Decay decay[kMostTiles];
  int count;
};

MEDURWKV_INLINE void split(const Tile& tile, std::size_t scratch, Tiles& tiles) {
  tiles.count = tile.count;
  for (int i = 0; i < tile.count; ++i) {
    const int at = i * kLanes;
    Tile& one = tiles.tile[i];
    one = tile;
    one.w += at;
    one.u += at;
    one.k += at;
    one.v += at;
    one.y += at;
    one.scratch += static_cast<std::size_t>(i) * scratch;
    if (tile.grad != nullptr) {
      one.grad += at;
      one.gk += at;
      one.gv += at;
      one.gw += at;
      one.gu += at;
    }
    tiles.decay[i] = make_decay(one.w, one.u);
  }
}

// What the published variant carries beside the past: the past at the segment's start,
// faded since, and the additional term that grows; all at 2^exponent.
struct Segment {
  Lanes before[2], grown[2];
  Lanes exponent;

  MEDURWKV_INLINE void clear() {
    for (int i = 0; i < 2; ++i) before[i] = grown[i] = splat(0.0f);
    exponent = splat(kNoTerms);
  }
};

// One chunk of the forward pass; `past` is taken at the chunk's left end and left
// at its right end.
template <bool Rescaled, bool Segmented>
MEDURWKV_INLINE void forward_chunk(const Tile& tile, const Decay& decay,
                                   std::ptrdiff_t start, std::ptrdiff_t end,
                                   Lanes scale, Lanes top, const Carry<2>& future,
                                   Carry<2>& past, float* after, Segment& segment) {
  const std::ptrdiff_t stride = tile.stride;
  const Lanes factor = power_of_two(scale - top);
  const Lanes future_factor = power_of_two(future.exponent - top);
  const Lanes past_factor = power_of_two(past.exponent - top);
  Lanes values = future.sum[0] * future_factor;
  Lanes weights = future.sum[1] * future_factor;
  for (std::ptrdiff_t t = end - 1; t >= start; --t) {
    Lanes weight = load(tile.y + t * stride);
    if constexpr (Rescaled) weight = weight * factor;
    float* row = after + (t - start) * 2 * kLanes;
    store(row, values);
    store(row + kLanes, weights);
    values = decay.step * values + weight * load(tile.v + t * stride);
    weights = decay.step * weights + weight;
  }
  Lanes run[2] = {past.sum[0] * past_factor, past.sum[1] * past_factor};
  Lanes local[2] = {splat(0.0f), splat(0.0f)};
  Lanes before[2], grown[2];
  std::ptrdiff_t inside = 0;  // tokens since the segment's start
  if constexpr (Segmented) {
    const Lanes old = power_of_two(segment.exponent - top);
    for (int i = 0; i < 2; ++i) {
      before[i] = segment.before[i] * old;
      grown[i] = segment.grown[i] * old;
    }
    inside = start % tile.segment;
  }
  for (std::ptrdiff_t t = start; t < end; ++t) {
    Lanes weight = load(tile.y + t * stride);
    const Lanes value = load(tile.v + t * stride);
    local[0] = decay.step * local[0] + weight * value;
    local[1] = decay.step * local[1] + weight;
    if constexpr (Rescaled) weight = weight * factor;
    const float* row = after + (t - start) * 2 * kLanes;
    const Lanes own = decay.bonus * weight;
    const Lanes weighted = weight * value;
    if constexpr (Segmented) {
      if (inside == 0) {
        for (int i = 0; i < 2; ++i) {
          before[i] = run[i];
          grown[i] = splat(0.0f);
        }
      } else {
        grown[0] = decay.growth * grown[0] + decay.gain * weighted;
        grown[1] = decay.growth * grown[1] + decay.gain * weight;
      }
      const Lanes numerator = own * value + (run[0] - decay.loss * before[0]) +
                              (decay.step * load(row) + grown[0]);
      const Lanes denominator = own + (run[1] - decay.loss * before[1]) +
                                (decay.step * load(row + kLanes) + grown[1]);
      store(tile.y + t * stride, numerator / denominator);
      for (int i = 0; i < 2; ++i) before[i] = decay.step * before[i];
      if (++inside == tile.segment) inside = 0;
    } else {
      const Lanes numerator = own * value + (run[0] + load(row));
      const Lanes denominator = own + (run[1] + load(row + kLanes));
      store(tile.y + t * stride, numerator / denominator);
    }
    run[0] = decay.step * run[0] + weighted;
    run[1] = decay.step * run[1] + weight;
  }
  if constexpr (Segmented) {
    for (int i = 0; i < 2; ++i) {
      segment.before[i] = before[i];
      segment.grown[i] = grown[i];
    }
    segment.exponent = top;
  }
  past.pass(local, scale, decay);
}

std::size_t forward_scratch(std::ptrdiff_t tokens) {
  return static_cast<std::size_t>(chunk_count(tokens) * (kLanes + kCarry2) +
                                  2 * kChunk * kLanes);
}

template <bool Segmented>
MEDURWKV_INLINE bool forward_tiles(const Tile& all) {
  Tiles tiles;
  split(all, forward_scratch(all.tokens), tiles);
  const std::ptrdiff_t chunks = chunk_count(all.tokens);
  const std::ptrdiff_t carries_at = chunks * kLanes;
  const std::ptrdiff_t after_at = carries_at + chunks * kCarry2;
  Carry<2> carry[kMostTiles];
  for (int i = 0; i < tiles.count; ++i) carry[i].clear();
  for (std::ptrdiff_t c = chunks - 1; c >= 0; --c) {
    for (int i = 0; i < tiles.count; ++i) {
      const Tile tile = tiles.tile[i];
      const Decay decay = tiles.decay[i];
      Carry<2> own = carry[i];
      if (!weigh_chunk<2>(tile, decay, c, tile.y, tile.scratch,
                          tile.scratch + carries_at, own))
        return false;
      carry[i] = own;
    }
  }
  Segment segment[kMostTiles];
  for (int i = 0; i < tiles.count; ++i) {
    carry[i].clear();
    segment[i].clear();
  }
  for (std::ptrdiff_t c = 0; c < chunks; ++c) {
    const std::ptrdiff_t start = c * kChunk, end = chunk_end(all, start);
    for (int i = 0; i < tiles.count; ++i) {
      const Tile tile = tiles.tile[i];
      const Decay decay = tiles.decay[i];
      const Lanes scale = load(tile.scratch + c * kLanes);
      Carry<2> future;
      future.restore(tile.scratch + carries_at + c * kCarry2);
      float* after = all.scratch + after_at;  // of one tile at a time
      Carry<2> past = carry[i];
      const Lanes highest = larger(past.exponent, future.exponent);
      if (any_below(scale + splat(kHeadroom), highest))
        forward_chunk<true, Segmented>(tile, decay, start, end, scale,
                                       larger(scale, highest), future, past, after,
                                       segment[i]);
      else
        forward_chunk<false, Segmented>(tile, decay, start, end, scale, scale, future,
                                        past, after, segment[i]);
      carry[i] = past;
    }
  }
  return true;
}

bool forward(const Tile& all) {
  return all.segment > 0 ? forward_tiles<true>(all) : forward_tiles<false>(all);
}

// One chunk of the backward pass from left to right. Writes p = grad / denominator,
// at scale 2^-top, to gv, and adds to the gradients of w and u.
template <bool Rescaled>
MEDURWKV_INLINE void divide_chunk(const Tile& tile, const Decay& decay,
                                  std::ptrdiff_t start, std::ptrdiff_t end, Lanes scale,
                                  Lanes top, const Carry<4>& future, Carry<4>& past,
                                  Carry<2>& grads, float* after) {
  const std::ptrdiff_t stride = tile.stride;
  const Lanes factor = power_of_two(scale - top);
  const Lanes future_factor = power_of_two(future.exponent - top);
  const Lanes past_factor = power_of_two(past.exponent - top);
  Lanes sum[4], run[4], local[4];
  for (int i = 0; i < 4; ++i) {
    sum[i] = future.sum[i] * future_factor;
    run[i] = past.sum[i] * past_factor;
    local[i] = splat(0.0f);
  }
  for (std::ptrdiff_t t = end - 1; t >= start; --t) {
    Lanes weight = load(tile.gk + t * stride);
    if constexpr (Rescaled) weight = weight * factor;
    float* row = after + (t - start) * 4 * kLanes;
    for (int i = 0; i < 4; ++i) store(row + i * kLanes, sum[i]);
    sum[2] = decay.step * sum[2] + sum[0];
    sum[3] = decay.step * sum[3] + sum[1];
    sum[0] = decay.step * sum[0] + weight * load(tile.v + t * stride);
    sum[1] = decay.step * sum[1] + weight;
  }
  Lanes p_sum = splat(0.0f), q_sum = splat(0.0f);
  Lanes by_decay = splat(0.0f), by_bonus = splat(0.0f);
  for (std::ptrdiff_t t = start; t < end; ++t) {
    Lanes weight = load(tile.gk + t * stride);
    const Lanes value = load(tile.v + t * stride);
    local[2] = decay.step * local[2] + local[0];
    local[3] = decay.step * local[3] + local[1];
    local[0] = decay.step * local[0] + weight * value;
    local[1] = decay.step * local[1] + weight;
    if constexpr (Rescaled) weight = weight * factor;
    const float* row = after + (t - start) * 4 * kLanes;
    const Lanes own = decay.bonus * weight;
    const Lanes numerator = own * value + (run[0] + load(row));
    const Lanes denominator = own + (run[1] + load(row + kLanes));
    const Lanes inverse = splat(1.0f) / denominator;
    const Lanes p = load(tile.grad + t * stride) * inverse;
    const Lanes q = p * (numerator * inverse);
    store(tile.gv + t * stride, p);
    by_bonus = by_bonus + weight * (value * p - q);
    by_decay = by_decay + (p * (run[2] + load(row + 2 * kLanes)) -
                           q * (run[3] + load(row + 3 * kLanes)));
    p_sum = decay.step * p_sum + p;
    q_sum = decay.step * q_sum + q;
    run[2] = decay.step * run[2] + run[0];
    run[3] = decay.step * run[3] + run[1];
    run[0] = decay.step * run[0] + weight * value;
    run[1] = decay.step * run[1] + weight;
  }
  past.pass(local, scale, decay);
  const Lanes grads_local[2] = {p_sum, q_sum};
  grads.pass(grads_local, splat(0.0f) - top, decay);
  float part[kLanes];
  store(part, by_decay * decay.step);
  for (int i = 0; i < kLanes; ++i) tile.gw[i] -= static_cast<double>(part[i]);
  store(part, by_bonus * decay.bonus);
  for (int i = 0; i < kLanes; ++i) tile.gu[i] += static_cast<double>(part[i]);
}

// One chunk of the backward pass from right to left: p is spread back to keys and
// values. All of p is at 2^-top; the result is formed at 2^level.
template <bool Rescaled>
MEDURWKV_INLINE void spread_chunk(const Tile& tile, const Decay& decay,
                                  std::ptrdiff_t start, std::ptrdiff_t end, Lanes scale,
                                  Lanes top, Lanes level, const Carry<2>& past,
                                  Carry<2>& future, float* before) {
  const std::ptrdiff_t stride = tile.stride;
  const Lanes factor = power_of_two(splat(0.0f) - top - level);
  const Lanes past_factor = power_of_two(past.exponent - level);
  const Lanes future_factor = power_of_two(future.exponent - level);
  const Lanes headroom = splat(126.0f);
  const Lanes exponent = scale + level;
  const Lanes out_factor =
      power_of_two(where_below(headroom, exponent, headroom, exponent));
  Lanes p_sum = past.sum[0] * past_factor, q_sum = past.sum[1] * past_factor;
  for (std::ptrdiff_t t = start; t < end; ++t) {
    Lanes p = load(tile.gv + t * stride);
    if constexpr (Rescaled) p = p * factor;
    float* row = before + (t - start) * 2 * kLanes;
    store(row, p_sum);
    store(row + kLanes, q_sum);
    p_sum = decay.step * p_sum + p;
    q_sum = decay.step * q_sum + p * load(tile.y + t * stride);
  }
  Lanes run[2] = {future.sum[0] * future_factor, future.sum[1] * future_factor};
  Lanes local[2] = {splat(0.0f), splat(0.0f)};
  for (std::ptrdiff_t t = end - 1; t >= start; --t) {
    Lanes p = load(tile.gv + t * stride);
    const Lanes y = load(tile.y + t * stride);
    local[0] = decay.step * local[0] + p;
    local[1] = decay.step * local[1] + p * y;
    if constexpr (Rescaled) p = p * factor;
    const Lanes q = p * y;
    const float* row = before + (t - start) * 2 * kLanes;
    const Lanes weight = load(tile.gk + t * stride) * out_factor;
    const Lanes gv = weight * (decay.bonus * p + (run[0] + load(row)));
    const Lanes gq = weight * (decay.bonus * q + (run[1] + load(row + kLanes)));
    store(tile.gv + t * stride, gv);
    store(tile.gk + t * stride, load(tile.v + t * stride) * gv - gq);
    run[0] = decay.step * run[0] + p;
    run[1] = decay.step * run[1] + q;
  }
  future.pass(local, splat(0.0f) - top, decay);
}

std::size_t backward_scratch(std::ptrdiff_t tokens) {
  return static_cast<std::size_t>(
      chunk_count(tokens) * (2 * kLanes + kCarry4 + kCarry2) + 4 * kChunk * kLanes);
}

bool backward(const Tile& all) {
  Tiles tiles;
  split(all, backward_scratch(all.tokens), tiles);
  const std::ptrdiff_t chunks = chunk_count(all.tokens);
  const std::ptrdiff_t tops_at = chunks * kLanes;
  const std::ptrdiff_t carries_at = tops_at + chunks * kLanes;
  const std::ptrdiff_t grad_carries_at = carries_at + chunks * kCarry4;
  const std::ptrdiff_t states_at = grad_carries_at + chunks * kCarry2;
  Carry<4> carry[kMostTiles];
  Carry<2> grads[kMostTiles];
  for (int i = 0; i < tiles.count; ++i) {
    carry[i].clear();
    grads[i].clear();
    for (int lane = 0; lane < kLanes; ++lane)
      tiles.tile[i].gw[lane] = tiles.tile[i].gu[lane] = 0.0;
  }
  for (std::ptrdiff_t c = chunks - 1; c >= 0; --c) {
    for (int i = 0; i < tiles.count; ++i) {
      const Tile& tile = tiles.tile[i];
      if (!weigh_chunk<4>(tile, tiles.decay[i], c, tile.gk, tile.scratch,
                          tile.scratch + carries_at, carry[i]))
        return false;
    }
  }

  for (int i = 0; i < tiles.count; ++i) carry[i].clear();
  for (std::ptrdiff_t c = 0; c < chunks; ++c) {
    const std::ptrdiff_t start = c * kChunk, end = chunk_end(all, start);
    for (int i = 0; i < tiles.count; ++i) {
      const Tile& tile = tiles.tile[i];
      const Lanes scale = load(tile.scratch + c * kLanes);
      Carry<4> future;
      future.restore(tile.scratch + carries_at + c * kCarry4);
      grads[i].save(tile.scratch + grad_carries_at + c * kCarry2);
      float* tops = tile.scratch + tops_at + c * kLanes;
      float* states = all.scratch + states_at;
      const Lanes highest = larger(carry[i].exponent, future.exponent);
      if (any_below(scale + splat(kHeadroom), highest)) {
        const Lanes top = larger(scale, highest);
        store(tops, top);
        divide_chunk<true>(tile, tiles.decay[i], start, end, scale, top, future,
                           carry[i], grads[i], states);
      } else {
        store(tops, scale);
        divide_chunk<false>(tile, tiles.decay[i], start, end, scale, scale, future,
                            carry[i], grads[i], states);
      }
    }
  }

  Carry<2> later[kMostTiles];
  for (int i = 0; i < tiles.count; ++i) later[i].clear();
  for (std::ptrdiff_t c = chunks - 1; c >= 0; --c) {
    const std::ptrdiff_t start = c * kChunk, end = chunk_end(all, start);
    for (int i = 0; i < tiles.count; ++i) {
      const Tile& tile = tiles.tile[i];
      const Lanes scale = load(tile.scratch + c * kLanes);
      const Lanes top = load(tile.scratch + tops_at + c * kLanes);
      Carry<2> before;
      before.restore(tile.scratch + grad_carries_at + c * kCarry2);
      float* states = all.scratch + states_at;
      const Lanes own = splat(0.0f) - top;
      const Lanes highest = larger(before.exponent, later[i].exponent);
      if (any_below(own + splat(kHeadroom), highest))
        spread_chunk<true>(tile, tiles.decay[i], start, end, scale, top,
                           larger(own, highest), before, later[i], states);
      else
        spread_chunk<false>(tile, tiles.decay[i], start, end, scale, top, own, before,
                            later[i], states);
    }
  }
  return true;
}

}  // namespace
}  // namespace medurwkv::MEDURWKV_ISA
