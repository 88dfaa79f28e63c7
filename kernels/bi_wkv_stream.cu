// Bi-WKV forward of sequences that no cluster holds: the last of three launches.

__device__ __noinline__ void steep_outputs(const Arguments a, const Place p) {
#pragma unroll 1
  for (int q = 0; q < VECTOR; ++q) {
    if (p.count == 0) break;
    Channel c;
    c.start(a, p);
    const double w2 = (double)a.w[p.channel + q] * 1.4426950408889634;
    const double u2 = (double)a.u[p.channel + q] * 1.4426950408889634;
    Steep behind[RUN];
    Steep sum = widened(entering(a.runs, a.carries, FUTURE, a, p, c, q));
#pragma unroll 1
    for (int i = RUN - 1; i >= 0; --i) {
      if (i < p.count) behind[i] = sum;
      sum.scale -= w2;
      if (i < p.count)
        sum = joined(sum, term(a, p.offset + (size_t)i * a.channels + q));
    }
    sum = widened(entering(a.runs, a.carries, PAST, a, p, c, q));
#pragma unroll 1
    for (int i = 0; i < p.count; ++i) {
      const size_t at = p.offset + (size_t)i * a.channels + q;
      const Steep own = term(a, at);
      const Steep all = joined(joined(sum, behind[i]), aged(own, -u2));
      a.y[at] = narrow(all.values / all.weights);
      sum = joined(aged(sum, w2), own);
    }
  }
}

// y of one piece, from what lies before it (past, moved to its end) and behind it.
__device__ __forceinline__ void walk(
    const Channel& c, int q, const float (&e)[PIECE][VECTOR],
    const float (&x)[PIECE][VECTOR], float (&past)[2], const float (&future)[2],
    float (&y)[PIECE][VECTOR]) {
  const float decay = c.decay[q], bonus = c.bonus[q];
  float values = future[0], weights = future[1], below[PIECE];
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
    y[i][q] = fmaf(bonus, x[i][q], values);
    below[i] = fmaf(bonus, e[i][q], weights);
    values = fmaf(values, decay, x[i][q]);
    weights = fmaf(weights, decay, e[i][q]);
  }
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    y[i][q] = (y[i][q] + past[0]) * reciprocal(below[i] + past[1]);
    past[0] = fmaf(past[0], decay, x[i][q]);
    past[1] = fmaf(past[1], decay, e[i][q]);
  }
}

// The outputs. Tiles from the end on, because those that the first launch read
// last may still be in the cache.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    bi_wkv_outputs(const Arguments a) {
  const Place p(a, (int)(gridDim.y - 1 - blockIdx.y));
  Word keys[RUN], values[RUN];
  fetch(a, p, a.k, NO_KEY, keys);
  fetch(a, p, a.v, 0, values);
  Channel c;
  if (c.start(a, p)) {
    steep_outputs(a, p);
    return;
  }
  find_top(keys, c);
  float past[VECTOR][2], sums[PIECES][VECTOR][2];
  find_edges(a, p, c, keys, values, past, sums);
  char* to = reinterpret_cast<char*>(a.y + p.offset);
  const u32 pitch = a.channels * sizeof(Element);
#pragma unroll
  for (int piece = 0; piece < PIECES; ++piece) {
    float e[PIECE][VECTOR], x[PIECE][VECTOR], y[PIECE][VECTOR];
    weigh(c, keys, values, piece, e, x);
#pragma unroll
    for (int q = 0; q < VECTOR; ++q)
      walk(c, q, e, x, past[q], sums[piece][q], y);
    write_piece(to, pitch, piece * PIECE, p.count, p.count == RUN, y);
  }
}
