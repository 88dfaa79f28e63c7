// The backward pass for channels too steep for one scale per block: log space.

// The block's contributions to the gradients of w and u.
__device__ __forceinline__ void reduce_block(
    Shared& s, const Arguments& a, const Place& p, const float (&gw)[VECTOR],
    const float (&gu)[VECTOR]) {
  __syncthreads();
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    float sums[2] = {gw[q], gu[q]};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int reach = ROW / 2; reach > 0; reach /= 2)
        sums[n] += __shfl_down_sync(0xffffffffu, sums[n], reach * LANES);
      if (p.run % ROW == 0) s.part[n][p.run / ROW][p.lane * VECTOR + q] = sums[n];
    }
  }
  __syncthreads();
  for (int x = threadIdx.x; x < 2 * COLUMNS; x += blockDim.x) {
    const int which = x / COLUMNS, column = x % COLUMNS;
    const int channel = (int)blockIdx.x * COLUMNS + column;
    if (channel >= a.channels) continue;
    float sum = 0.0f;
#pragma unroll 4
    for (int row = 0; row < p.runs / ROW; ++row) sum += s.part[which][row][column];
    const size_t block = ((size_t)blockIdx.z * a.splits + p.split) * CLUSTER + p.rank;
    a.partial[(block * 2 + which) * a.channels + channel] = sum;
  }
}

// Multiply pairs of sums: what lies on one side of a token by what lies on the other.
__device__ __forceinline__ float paired(Steep sums, Steep grads, double w2) {
  const float scale = exp2_fast((float)(sums.scale + grads.scale - w2));
  return scale * (sums.values * grads.values - sums.weights * grads.weights);
}

__device__ __noinline__ void steep_backward(
    Shared& s, const Arguments a, const Place p) {
  steep_runs(s, a, p);
  steep_exchange(s, a, p, false);
  Steep behind[VECTOR][RUN], grads[VECTOR][RUN], edge[VECTOR];
#pragma unroll 1
  for (int q = 0; q < VECTOR; ++q) {
    const int column = p.lane * VECTOR + q;
    const bool real = p.count > 0;
    const double w2 = real ? (double)a.w[p.channel + q] * 1.4426950408889634 : 0.0;
    const double u2 = real ? (double)a.u[p.channel + q] * 1.4426950408889634 : 0.0;
    Steep sum = steep_edge(s, p, FUTURE, column, w2);
#pragma unroll 1
    for (int i = RUN - 1; i >= 0; --i) {
      if (i < p.count) behind[q][i] = sum;
      sum.scale -= w2;
      if (i < p.count)
        sum = joined(sum, term(a, p.offset + (size_t)i * a.channels + q));
    }
    sum = edge[q] = steep_edge(s, p, PAST, column, w2);
    Steep past = nothing(), future = nothing();
#pragma unroll 1
    for (int i = 0; i < RUN; ++i) {
      past.scale -= w2;
      if (i >= p.count) continue;
      const size_t at = p.offset + (size_t)i * a.channels + q;
      const Steep own = term(a, at);
      const Steep all = joined(joined(sum, behind[q][i]), aged(own, -u2));
      const float inverse = 1.0f / all.weights, g = widen(a.grad[at]) * inverse;
      grads[q][i] = {g, g * all.values * inverse, -all.scale};
      sum = joined(aged(sum, w2), own);
      past = joined(past, grads[q][i]);
    }
#pragma unroll 1
    for (int i = p.count - 1; i >= 0; --i)
      future = joined(aged(future, w2), grads[q][i]);
    to_shared(s, p, PAST, p.run, column, past);
    to_shared(s, p, FUTURE, p.run, column, future);
  }
  if (!steep_exchange(s, a, p, true)) return;
  float gw[VECTOR], gu[VECTOR];
#pragma unroll 1
  for (int q = 0; q < VECTOR; ++q) {
    gw[q] = gu[q] = 0.0f;
    if (p.count == 0) continue;
    const int column = p.lane * VECTOR + q;
    const double w2 = (double)a.w[p.channel + q] * 1.4426950408889634;
    const double u2 = (double)a.u[p.channel + q] * 1.4426950408889634;
    Steep future = steep_edge(s, p, FUTURE, column, w2), beyond[RUN];
    future.scale -= w2 * (double)(RUN - p.count);
#pragma unroll 1
    for (int i = p.count - 1; i >= 0; --i) {
      beyond[i] = future;
      future = joined(aged(future, w2), grads[q][i]);
    }
    Steep past = steep_edge(s, p, PAST, column, w2), sum = edge[q];
#pragma unroll 1
    for (int i = 0; i < p.count; ++i) {
      const size_t at = p.offset + (size_t)i * a.channels + q;
      const Steep own = term(a, at), grad = grads[q][i];
      gw[q] -= paired(sum, beyond[i], w2) + paired(behind[q][i], past, w2);
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
  reduce_block(s, a, p, gw, gu);
}
