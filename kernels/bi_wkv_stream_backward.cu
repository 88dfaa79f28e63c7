// Bi-WKV backward of sequences that no cluster holds: after the forward sums one launch
// for the sums of p and q, the small one between, and one for the gradients. The formulas
// are told in bi_wkv_backward.cu.

// p and q of a piece, from what lies before it (past, moved to its end) and behind it.
__device__ __forceinline__ void differentiate(
    const Channel& c, const Place& p, int piece, int q, const float (&e)[PIECE][VECTOR],
    const float (&x)[PIECE][VECTOR], const Word (&grads)[RUN], float (&past)[2],
    const float (&behind)[2], float (&above)[PIECE][VECTOR],
    float (&below)[PIECE][VECTOR]) {
  const float decay = c.decay[q], bonus = c.bonus[q];
  float values = behind[0], weights = behind[1];
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
    above[i][q] = fmaf(bonus, x[i][q], values);
    below[i][q] = fmaf(bonus, e[i][q], weights);
    values = fmaf(values, decay, x[i][q]);
    weights = fmaf(weights, decay, e[i][q]);
  }
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    float g[VECTOR];
    unpack(grads[piece * PIECE + i], g);
    const float inverse = reciprocal(below[i][q] + past[1]);
    const float y = (above[i][q] + past[0]) * inverse;
    const bool real = piece * PIECE + i < p.count;
    above[i][q] = real ? g[q] * inverse : 0.0f;
    below[i][q] = real ? above[i][q] * y : 0.0f;
    past[0] = fmaf(past[0], decay, x[i][q]);
    past[1] = fmaf(past[1], decay, e[i][q]);
  }
}

// Sums of derivatives have any sign: the larger of the two tells their size.
__device__ __forceinline__ void normalise_grads(Sum& sum) {
  const float size = fminf(exponent(sum.values, sum.weights), 126.0f);
  if (size == EMPTY) {
    sum = no_sum();
    return;
  }
  const float shift = __int_as_float((127 - (int)size) << 23);
  sum.values *= shift;
  sum.weights *= shift;
  sum.scale += size;
}

// p and q of a token, whose own scale is that of its denominator, turned round.
__device__ __forceinline__ Steep steep_grad(
    const Arguments& a, size_t at, Steep sum, Steep behind, Steep own, double u2) {
  const Steep all = joined(joined(sum, behind), aged(own, -u2));
  const float inverse = 1.0f / all.weights, g = widen(a.grad[at]) * inverse;
  return {g, g * all.values * inverse, -all.scale};
}

// What lies behind each token of a run.
__device__ __forceinline__ void steep_behind(
    const Arguments& a, const Place& p, int q, double w2, Steep sum,
    Steep (&behind)[RUN]) {
#pragma unroll 1
  for (int i = RUN - 1; i >= 0; --i) {
    if (i < p.count) behind[i] = sum;
    sum.scale -= w2;
    if (i < p.count) sum = joined(sum, term(a, p.offset + (size_t)i * a.channels + q));
  }
}

__device__ __noinline__ void steep_grad_sums(
    const Arguments a, const Place p, const Channel c, Sum (&own)[2][VECTOR]) {
#pragma unroll 1
  for (int q = 0; q < VECTOR; ++q) {
    own[PAST][q] = own[FUTURE][q] = no_sum();
    if (p.count == 0) continue;
    const double w2 = (double)a.w[p.channel + q] * 1.4426950408889634;
    const double u2 = (double)a.u[p.channel + q] * 1.4426950408889634;
    Steep behind[RUN], past = nothing(), future = nothing();
    steep_behind(a, p, q, w2, widened(entering(a.runs, a.carries, FUTURE, a, p, c, q)),
                 behind);
    Steep sum = widened(entering(a.runs, a.carries, PAST, a, p, c, q));
#pragma unroll 1
    for (int i = 0; i < RUN; ++i) {
      past.scale -= w2;
      if (i >= p.count) continue;
      const size_t at = p.offset + (size_t)i * a.channels + q;
      const Steep key = term(a, at);
      const Steep grad = steep_grad(a, at, sum, behind[i], key, u2);
      sum = joined(aged(sum, w2), key);
      past = joined(past, grad);
      future = joined(future, aged(grad, w2 * (double)i));
    }
    own[PAST][q] = rounded(past);
    own[FUTURE][q] = rounded(future);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    bi_wkv_grad_sums(const Arguments a) {
  __shared__ Parts parts;
  const Place p(a, (int)(gridDim.y - 1 - blockIdx.y));
  Word keys[RUN], values[RUN], grads[RUN];
  fetch(a, p, a.k, NO_KEY, keys);
  fetch(a, p, a.v, 0, values);
  fetch(a, p, a.grad, 0, grads);
  Channel c;
  Sum own[2][VECTOR];
  if (c.start(a, p)) {
    steep_grad_sums(a, p, c, own);
  } else {
    find_top(keys, c);
    float past[VECTOR][2], sums[PIECES][VECTOR][2];
    find_edges(a, p, c, keys, values, past, sums);
    float before[VECTOR][2] = {};
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece) {
      float e[PIECE][VECTOR], x[PIECE][VECTOR], p0[PIECE][VECTOR], p1[PIECE][VECTOR];
      weigh(c, keys, values, piece, e, x);
#pragma unroll
      for (int q = 0; q < VECTOR; ++q) {
        differentiate(c, p, piece, q, e, x, grads, past[q], sums[piece][q], p0, p1);
#pragma unroll
        for (int i = 0; i < PIECE; ++i) {
          before[q][0] = fmaf(before[q][0], c.decay[q], p0[i][q]);
          before[q][1] = fmaf(before[q][1], c.decay[q], p1[i][q]);
        }
        sum_back(c, q, p0, p1, sums[piece][q]);
      }
    }
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      float behind[2] = {};
      behind_pieces(c, q, sums, behind);
      own[PAST][q] = {before[q][0], before[q][1], -c.top[q]};
      own[FUTURE][q] = {behind[0], behind[1], -c.top[q]};
    }
  }
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    normalise_grads(own[PAST][q]);
    normalise_grads(own[FUTURE][q]);
  }
  hand_out(parts, a.grad_runs, a.grad_tiles, a, p, c, own);
}

// Multiply pairs of sums: what lies on one side of a token by what lies on the other.
__device__ __forceinline__ float paired(Steep sums, Steep grads, double w2) {
  const float scale = exp2_fast((float)(sums.scale + grads.scale - w2));
  return scale * (sums.values * grads.values - sums.weights * grads.weights);
}

__device__ __noinline__ void steep_grads(
    const Arguments a, const Place p, const Channel c, float (&gw)[VECTOR],
    float (&gu)[VECTOR]) {
#pragma unroll 1
  for (int q = 0; q < VECTOR; ++q) {
    gw[q] = gu[q] = 0.0f;
    if (p.count == 0) continue;
    const double w2 = (double)a.w[p.channel + q] * 1.4426950408889634;
    const double u2 = (double)a.u[p.channel + q] * 1.4426950408889634;
    Steep behind[RUN], grads[RUN], beyond[RUN];
    steep_behind(a, p, q, w2, widened(entering(a.runs, a.carries, FUTURE, a, p, c, q)),
                 behind);
    const Steep edge = widened(entering(a.runs, a.carries, PAST, a, p, c, q));
    Steep sum = edge;
#pragma unroll 1
    for (int i = 0; i < p.count; ++i) {
      const size_t at = p.offset + (size_t)i * a.channels + q;
      const Steep key = term(a, at);
      grads[i] = steep_grad(a, at, sum, behind[i], key, u2);
      sum = joined(aged(sum, w2), key);
    }
    Steep future = widened(entering(a.grad_runs, a.grad_carries, FUTURE, a, p, c, q));
    future.scale -= w2 * (double)(RUN - p.count);
#pragma unroll 1
    for (int i = p.count - 1; i >= 0; --i) {
      beyond[i] = future;
      future = joined(aged(future, w2), grads[i]);
    }
    Steep past = widened(entering(a.grad_runs, a.grad_carries, PAST, a, p, c, q));
    sum = edge;
#pragma unroll 1
    for (int i = 0; i < p.count; ++i) {
      const size_t at = p.offset + (size_t)i * a.channels + q;
      const Steep own = term(a, at), grad = grads[i];
      gw[q] -= paired(sum, beyond[i], w2) + paired(behind[i], past, w2);
      const Steep all = joined(joined(past, beyond[i]), aged(grad, -u2));
      const float scale = exp2_fast((float)(all.scale + own.scale));
      const float gv = all.values * scale;
      a.gv[at] = narrow(gv);
      a.gk[at] = narrow(own.values * gv - all.weights * scale);
      gu[q] += exp2_fast((float)(grad.scale + own.scale + u2)) *
               (own.values * grad.values - grad.weights);
      sum = joined(aged(sum, w2), own);
      past = joined(aged(past, w2), grad);
    }
  }
}

// Gradients of a piece: of v in e's place, of k in x's place; sums for w and u.
__device__ __forceinline__ void collect(
    const Channel& c, int q, float (&e)[PIECE][VECTOR], float (&x)[PIECE][VECTOR],
    const float (&p0)[PIECE][VECTOR], const float (&p1)[PIECE][VECTOR],
    const float (&behind)[2], float (&past)[2], const float (&grad_behind)[2],
    float (&grad_past)[2], float& pairs, float& own) {
  const float decay = c.decay[q], bonus = c.bonus[q];
  float f[4] = {behind[0], behind[1], grad_behind[0], grad_behind[1]};
  float after[PIECE][4];  // what lies behind each token: values, weights, p, q
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
#pragma unroll
    for (int n = 0; n < 4; ++n) after[i][n] = f[n];
    f[0] = fmaf(f[0], decay, x[i][q]);
    f[1] = fmaf(f[1], decay, e[i][q]);
    f[2] = fmaf(f[2], decay, p0[i][q]);
    f[3] = fmaf(f[3], decay, p1[i][q]);
  }
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    const float weight = e[i][q], value = x[i][q];
    pairs = fmaf(past[0], after[i][2], fmaf(-past[1], after[i][3], pairs));
    pairs = fmaf(after[i][0], grad_past[0], fmaf(-after[i][1], grad_past[1], pairs));
    own = fmaf(value, p0[i][q], fmaf(-weight, p1[i][q], own));
    const float all0 = fmaf(bonus, p0[i][q], after[i][2] + grad_past[0]);
    const float all1 = fmaf(bonus, p1[i][q], after[i][3] + grad_past[1]);
    e[i][q] = weight * all0;
    x[i][q] = fmaf(value, all0, -weight * all1);
    past[0] = fmaf(past[0], decay, value);
    past[1] = fmaf(past[1], decay, weight);
    grad_past[0] = fmaf(grad_past[0], decay, p0[i][q]);
    grad_past[1] = fmaf(grad_past[1], decay, p1[i][q]);
  }
}

// What enters a run of p and q, in the run's scale. The factor is applied in halves,
// because alone it may be too large where its product is not.
__device__ __forceinline__ void take_grads(
    const Arguments& a, const Place& p, const Channel& c, int kind, int q,
    float (&to)[2]) {
  const Sum sum = entering(a.grad_runs, a.grad_carries, kind, a, p, c, q);
  const float half = exp2_fast(0.5f * (sum.scale + c.top[q]));
  to[0] = half * (half * sum.values);
  to[1] = half * (half * sum.weights);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    bi_wkv_grads(const Arguments a) {
  __shared__ float sums[2][ROWS][COLUMNS];
  const Place p(a, blockIdx.y);
  Word keys[RUN], values[RUN], grads[RUN];
  fetch(a, p, a.k, NO_KEY, keys);
  fetch(a, p, a.v, 0, values);
  fetch(a, p, a.grad, 0, grads);
  Channel c;
  float gw[VECTOR], gu[VECTOR];
  if (c.start(a, p)) {
    steep_grads(a, p, c, gw, gu);
  } else {
    find_top(keys, c);
    float past[VECTOR][2], behind[PIECES][VECTOR][2];
    find_edges(a, p, c, keys, values, past, behind);
    float start[VECTOR][2], grad_past[VECTOR][2], grad_behind[PIECES][VECTOR][2];
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      start[q][0] = past[q][0];
      start[q][1] = past[q][1];
    }
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece) {
      float e[PIECE][VECTOR], x[PIECE][VECTOR], p0[PIECE][VECTOR], p1[PIECE][VECTOR];
      weigh(c, keys, values, piece, e, x);
#pragma unroll
      for (int q = 0; q < VECTOR; ++q) {
        differentiate(c, p, piece, q, e, x, grads, past[q], behind[piece][q], p0, p1);
        sum_back(c, q, p0, p1, grad_behind[piece][q]);
      }
    }
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      float future[2];
      take_grads(a, p, c, PAST, q, grad_past[q]);
      take_grads(a, p, c, FUTURE, q, future);
      behind_pieces(c, q, grad_behind, future);
      past[q][0] = start[q][0];
      past[q][1] = start[q][1];
      gw[q] = gu[q] = 0.0f;
    }
    char* to_v = reinterpret_cast<char*>(a.gv + p.offset);
    char* to_k = reinterpret_cast<char*>(a.gk + p.offset);
    const u32 pitch = a.channels * sizeof(Element);
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece) {
      float e[PIECE][VECTOR], x[PIECE][VECTOR], p0[PIECE][VECTOR], p1[PIECE][VECTOR];
      weigh(c, keys, values, piece, e, x);
#pragma unroll
      for (int q = 0; q < VECTOR; ++q) {
        float again[2] = {past[q][0], past[q][1]};
        differentiate(c, p, piece, q, e, x, grads, again, behind[piece][q], p0, p1);
        collect(c, q, e, x, p0, p1, behind[piece][q], past[q], grad_behind[piece][q],
                grad_past[q], gw[q], gu[q]);
      }
      write_piece(to_v, pitch, piece * PIECE, p.count, p.count == RUN, e);
      write_piece(to_k, pitch, piece * PIECE, p.count, p.count == RUN, x);
    }
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      // Behind the sequence's end sums may have grown beyond all bounds.
      gw[q] = p.count > 0 ? gw[q] * -c.decay[q] : 0.0f;
      gu[q] = p.count > 0 ? gu[q] * c.bonus[q] : 0.0f;
    }
  }
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    sums[0][p.row][p.lane * VECTOR + q] = gw[q];
    sums[1][p.row][p.lane * VECTOR + q] = gu[q];
  }
  __syncthreads();
  for (int x = threadIdx.x; x < 2 * COLUMNS; x += blockDim.x) {
    const int which = x / COLUMNS, column = x % COLUMNS;
    const int channel = (int)blockIdx.x * COLUMNS + column;
    if (channel >= a.channels) continue;
    float sum = 0.0f;
#pragma unroll
    for (int row = 0; row < ROWS; ++row) sum += sums[which][row][column];
    a.partial[(p.tile * 2 + which) * a.channels + channel] = sum;
  }
}
