// What the kernels are measured against: one thread per channel, one token at a time.
// Written for the comparison; nothing else uses it.

#define LOG_EMPTY (-1e30f)

struct Serial {
  const float *w, *u, *k, *v;
  float *y, *states;  // states: (3, B, T, C)
  int batch, tokens, channels;
};

// Bi-WKV: backwards for what lies behind every token, kept in memory, then forwards.
extern "C" __global__ void serial_bi_wkv(const Serial a) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= a.batch * a.channels) return;
  const int channel = column % a.channels;
  const size_t origin = (size_t)(column / a.channels) * a.tokens * a.channels + channel;
  const size_t all = (size_t)a.batch * a.tokens * a.channels;
  const float w = a.w[channel], u = a.u[channel];
  float values = 0.0f, weights = 0.0f, scale = LOG_EMPTY;
  for (int t = a.tokens - 1; t >= 0; --t) {
    const size_t at = origin + (size_t)t * a.channels;
    a.states[at] = values;
    a.states[all + at] = weights;
    a.states[2 * all + at] = scale;
    const float top = fmaxf(scale - w, a.k[at]);
    const float old = __expf(scale - w - top), own = __expf(a.k[at] - top);
    values = old * values + own * a.v[at];
    weights = old * weights + own;
    scale = top;
  }
  values = weights = 0.0f;
  scale = LOG_EMPTY;
  for (int t = 0; t < a.tokens; ++t) {
    const size_t at = origin + (size_t)t * a.channels;
    const float k = a.k[at], v = a.v[at], behind = a.states[2 * all + at];
    float top = fmaxf(fmaxf(scale, behind), u + k);
    const float past = __expf(scale - top), future = __expf(behind - top);
    const float self = __expf(u + k - top);
    a.y[at] = (past * values + future * a.states[at] + self * v) /
              (past * weights + future * a.states[all + at] + self);
    top = fmaxf(scale - w, k);
    const float old = __expf(scale - w - top), own = __expf(k - top);
    values = old * values + own * v;
    weights = old * weights + own;
    scale = top;
  }
}

struct SerialWkv6 {
  const float *r, *k, *v, *w, *u;
  float* y;
  int batch, tokens, heads;
};

// WKV6 in the layout of the published kernel: a block per sequence and head, a thread
// per value channel with its column of the state in registers, two sweeps over all tokens.
extern "C" __global__ void __launch_bounds__(64) serial_wkv6(const SerialWkv6 a) {
  __shared__ float r[64], k[64], d[64], u[64];
  const int head = blockIdx.x % a.heads, me = threadIdx.x;
  const size_t stride = (size_t)a.heads * 64;
  const size_t origin = (size_t)(blockIdx.x / a.heads) * a.tokens * stride + head * 64 + me;
  u[me] = a.u[head * 64 + me];
  for (int sweep = 0; sweep < 2; ++sweep) {
    float state[64] = {};
    for (int i = 0; i < a.tokens; ++i) {
      const size_t at = origin + (size_t)(sweep ? i : a.tokens - 1 - i) * stride;
      __syncthreads();
      r[me] = a.r[at];
      k[me] = a.k[at];
      d[me] = __expf(-__expf(a.w[at]));
      __syncthreads();
      const float v = a.v[at];
      float y = sweep ? a.y[at] : 0.0f;
#pragma unroll
      for (int j = 0; j < 64; ++j) {
        const float x = k[j] * v;
        y += r[j] * (sweep ? u[j] * x + state[j] : state[j]);
        state[j] = state[j] * d[j] + x;
      }
      a.y[at] = y;
    }
  }
}
