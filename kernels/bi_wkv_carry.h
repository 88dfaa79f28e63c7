// What a chunk of tokens hands on to the next one, and how it fades on the way.
#pragma once

#include "bi_wkv_lanes.h"
#include "bi_wkv_tiles.h"

namespace medurwkv::MEDURWKV_ISA {
namespace {

constexpr float kNoTerms = -1e9f;  // exponent of an empty sum

// e^x for |x| up to 17, to 14 digits.
MEDURWKV_INLINE void exact_exponentials(const double* x, double* y) {
  constexpr double reciprocals[] = {1.0 / 8, 1.0 / 7, 1.0 / 6, 1.0 / 5,
                                    1.0 / 4, 1.0 / 3, 1.0 / 2, 1.0};
  constexpr double part = 1.0 / 256;
  for (int i = 0; i < kLanes; ++i) y[i] = 1.0 + x[i] * part / 9;
  for (const double reciprocal : reciprocals)
    for (int i = 0; i < kLanes; ++i) y[i] = 1.0 + y[i] * (x[i] * part) * reciprocal;
  for (int doubling = 0; doubling < 8; ++doubling)
    for (int i = 0; i < kLanes; ++i) y[i] *= y[i];
}

// What the decay does to a tile's channels over one token and over one chunk.
struct Decay {
  Lanes step;      // e^-w
  Lanes bonus;     // e^u
  Lanes mantissa;  // e^(-w·chunk) = (mantissa + rest) · 2^exponent
  Lanes rest;
  Lanes exponent;
  Lanes fraction;  // log2(mantissa), in [0, 1)
  Lanes cross;     // chunk · e^(-w·(chunk-1)), over 2^exponent
  Lanes loss;      // 1 - e^-w
  Lanes growth;    // e^w
  Lanes gain;      // 1 - e^w
};

MEDURWKV_INLINE Decay make_decay(const float* w, const float* u) {
  float step[kLanes], bonus[kLanes], mantissa[kLanes], rest[kLanes];
  float exponent[kLanes], fraction[kLanes], cross[kLanes];
  float loss[kLanes], growth[kLanes], gain[kLanes];
  double x[kLanes], over_token[kLanes], over_chunk[kLanes];
  for (int i = 0; i < kLanes; ++i) x[i] = u[i];
  exact_exponentials(x, over_token);
  for (int i = 0; i < kLanes; ++i) bonus[i] = static_cast<float>(over_token[i]);
  for (int i = 0; i < kLanes; ++i) x[i] = -static_cast<double>(w[i]);
  exact_exponentials(x, over_token);
  for (int i = 0; i < kLanes; ++i) {
    over_chunk[i] = over_token[i];
    for (int length = 1; length < kChunk; length *= 2) over_chunk[i] *= over_chunk[i];
  }
  for (int i = 0; i < kLanes; ++i) {
    std::int64_t bits;
    std::memcpy(&bits, &over_chunk[i], sizeof bits);
    const int binary = static_cast<int>(bits >> 52) - 1023;
    const std::int64_t inverse_bits = static_cast<std::int64_t>(1023 - binary) << 52;
    double inverse;
    std::memcpy(&inverse, &inverse_bits, sizeof inverse);
    const double scaled = over_chunk[i] * inverse;
    step[i] = static_cast<float>(over_token[i]);
    exponent[i] = static_cast<float>(binary);
    mantissa[i] = static_cast<float>(scaled);
    rest[i] = static_cast<float>(scaled - mantissa[i]);
    fraction[i] = static_cast<float>(x[i] * (1.4426950408889634 * kChunk) - binary);
    cross[i] = static_cast<float>(kChunk * scaled / over_token[i]);
    loss[i] = static_cast<float>(1.0 - over_token[i]);
    growth[i] = static_cast<float>(1.0 / over_token[i]);
    gain[i] = static_cast<float>(1.0 - 1.0 / over_token[i]);
  }
  return {load(step),     load(bonus),    load(mantissa), load(rest),
          load(exponent), load(fraction), load(cross),
          load(loss),     load(growth),   load(gain)};
}

// A carry of N sums with one exponent. It is handed on from chunk to chunk rather than
// run through the tokens, and what rounding takes away is added again at the next
// chunk, so that the error does not grow with the length of the sequence.
template <int N>
struct Carry {
  Lanes sum[N];
  Lanes lost[2];  // by rounding, of sums 0 and 1
  Lanes exponent;
  // Binary orders of growth, below 1, that the exponent does not count yet.
  Lanes drift;

  MEDURWKV_INLINE void clear() {
    for (int i = 0; i < N; ++i) sum[i] = splat(0.0f);
    lost[0] = lost[1] = splat(0.0f);
    exponent = splat(kNoTerms);
    drift = splat(0.0f);
  }
  MEDURWKV_INLINE void save(float* to) const {
    for (int i = 0; i < N; ++i) store(to + i * kLanes, sum[i]);
    store(to + N * kLanes, exponent);
  }
  MEDURWKV_INLINE void restore(const float* from) {
    for (int i = 0; i < N; ++i) sum[i] = load(from + i * kLanes);
    exponent = load(from + N * kLanes);
  }
  // Moves the exponent over one chunk and returns where it was too low by one bit.
  MEDURWKV_INLINE Lanes fade(const Decay& decay) {
    drift = drift + decay.fraction;
    const Lanes full = splat(1.0f);
    const Lanes excess = where_below(drift, full, splat(0.0f), full);
    drift = drift - excess;
    exponent = exponent + decay.exponent + excess;
    return excess;
  }
  // The carry behind a chunk whose own sums, without it, are `local`.
  MEDURWKV_INLINE void pass(const Lanes* local, Lanes scale, const Decay& decay) {
    const Lanes excess = fade(decay);
    const Lanes top = larger(exponent, scale);
    const Lanes old = power_of_two(exponent - excess - top);
    const Lanes fresh = power_of_two(scale - top);
    if constexpr (N == 4) {
      // Sums 2 and 3 are sums over the steps of sums 0 and 1.
      for (int i = 0; i < 2; ++i)
        sum[2 + i] = fresh * local[2 + i] +
                     old * (decay.mantissa * sum[2 + i] +
                            (decay.rest * sum[2 + i] + decay.cross * sum[i]));
    }
    // Where the carry fades little, only the change is rounded and what is lost is
    // kept.
    const Lanes kept = old * decay.mantissa, rest = old * decay.rest;
    const Lanes one = splat(1.0f), half = splat(0.5f), none = splat(0.0f);
    const Lanes steady = where_below(kept, half, none, one);
    const Lanes change = kept - steady;
    for (int i = 0; i < 2; ++i) {
      const Lanes before = steady * sum[i];
      const Lanes added =
          fresh * local[i] + change * sum[i] + (rest * sum[i] + kept * lost[i]);
      sum[i] = before + added;
      lost[i] = added - (sum[i] - before);
    }
    exponent = top;
  }
};

}  // namespace
}  // namespace medurwkv::MEDURWKV_ISA
