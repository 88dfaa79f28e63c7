// WKV6 (VRWKV6's attention), forward and backward, chunk by chunk.
//
// Per head, with decay d_t = exp(-exp(w_t)) per key channel j, a state S[j, i] is the sum
// of k_s[j] v_s[i] over the tokens on one side of t, each decayed by the tokens between;
//   y_t[i] = sum_j r_t[j] (before_t[j, i] + after_t[j, i] + u[j] k_t[j] v_t[i]).
// Every factor is at most 1, so nothing can overflow, however long the sequence.
// A chunk's tokens are walked one by one, with the state in registers; what all chunks
// before and behind contribute is summed first (`wkv6_states`, `wkv6_scan`), so that
// chunks are independent of each other.
// Backward: v's gradient is the same operator on (k, r, g). Those of r and k are row sums
// of the states of (k, v) and (r, g) (`wkv6_rows`). w's comes from the pairs of tokens on
// both sides of each token: their sum at a chunk's start is the product of two states,
// and from token to token it changes by what r's and k's gradients say.

#define N 64      // channels of a head
#define TOKENS 16  // of a tile in shared memory

struct Wkv6 {
  const float *r, *k, *v, *w, *u, *g;  // (B, T, H, N); u (H, N)
  float* y;
  float *states, *other;      // (2 directions, B, H, chunks, N, N) of (k, v); of (r, g)
  float* decays;              // (B, H, chunks, N), over a chunk
  float *before, *after;      // rows' sums, (B, T, H, N)
  float *kbefore, *kafter;    // the same of (r, g)
  float *gr, *gk, *gw, *partial;
  int batch, tokens, heads, chunks, length;
};

struct Chunk {
  int chunk, head, first, end;
  size_t origin, stride;  // of the head's first token; between tokens

  __device__ __forceinline__ explicit Chunk(const Wkv6& a) {
    chunk = blockIdx.x;
    head = (int)blockIdx.y % a.heads;
    first = chunk * a.length;
    end = min(a.tokens, first + a.length);
    stride = (size_t)a.heads * N;
    origin = ((size_t)(blockIdx.y / a.heads) * a.tokens) * stride + head * N;
  }
  __device__ __forceinline__ size_t state(const Wkv6& a, int direction, int at) const {
    return (((size_t)direction * gridDim.y + blockIdx.y) * a.chunks + at) * N * N;
  }
  __device__ __forceinline__ int tiles() const {
    return (end - first + TOKENS - 1) / TOKENS;
  }
};

__device__ __forceinline__ float decay(float w) { return expf(-expf(w)); }

// Direction 0 walks forwards, 1 backwards; tokens of a tile and tiles alike.
__device__ __forceinline__ int turned(int direction, int i, int count) {
  return direction == 0 ? i : count - 1 - i;
}

// Each chunk's own state as seen from its end (direction 0) or its start (1).
extern "C" __global__ void __launch_bounds__(N) wkv6_states(const Wkv6 a) {
  __shared__ __align__(16) float keys[TOKENS][N], fades[TOKENS][N];
  __shared__ float values[TOKENS][N];
  const Chunk c(a);
  const int me = threadIdx.x, direction = blockIdx.z;
  float state[N] = {}, fade = 1.0f;
  for (int tile = 0; tile < c.tiles(); ++tile) {
    const int first = c.first + turned(direction, tile, c.tiles()) * TOKENS;
    const int count = min(TOKENS, c.end - first);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TOKENS; ++i) {
      if (i >= count) break;
      const size_t at = c.origin + (first + i) * c.stride + me;
      keys[i][me] = a.k[at];
      values[i][me] = a.v[at];
      const float d = decay(a.w[at]);
      fades[i][me] = d;
      fade *= d;
    }
    __syncthreads();
    for (int i = 0; i < count; ++i) {
      const int t = turned(direction, i, count);
      const float value = values[t][me];
      const float4* key = reinterpret_cast<const float4*>(keys[t]);
      const float4* d = reinterpret_cast<const float4*>(fades[t]);
#pragma unroll
      for (int j = 0; j < N / 4; ++j) {
        const float4 kk = key[j], dd = d[j];
        state[4 * j] = fmaf(state[4 * j], dd.x, kk.x * value);
        state[4 * j + 1] = fmaf(state[4 * j + 1], dd.y, kk.y * value);
        state[4 * j + 2] = fmaf(state[4 * j + 2], dd.z, kk.z * value);
        state[4 * j + 3] = fmaf(state[4 * j + 3], dd.w, kk.w * value);
      }
    }
  }
  float* to = a.states + c.state(a, direction, c.chunk);
#pragma unroll
  for (int j = 0; j < N; ++j) to[j * N + me] = state[j];
  if (direction == 0)
    a.decays[((size_t)blockIdx.y * a.chunks + c.chunk) * N + me] = fade;
}

// Replace the chunks' states by the sum of those before (behind) each.
extern "C" __global__ void __launch_bounds__(256) wkv6_scan(const Wkv6 a) {
  const int element = blockIdx.x * 256 + threadIdx.x, direction = blockIdx.z;
  float* states = a.states +
                  ((size_t)direction * gridDim.y + blockIdx.y) * a.chunks * N * N +
                  element;
  const float* decays = a.decays + (size_t)blockIdx.y * a.chunks * N + element / N;
  float sum = 0.0f;
#pragma unroll 8
  for (int i = 0; i < a.chunks; ++i) {
    const int chunk = turned(direction, i, a.chunks);
    const float own = states[(size_t)chunk * N * N];
    states[(size_t)chunk * N * N] = sum;
    sum = fmaf(sum, decays[chunk * N], own);
  }
}

// y: a thread keeps a column of the state.
extern "C" __global__ void __launch_bounds__(N) wkv6_columns(const Wkv6 a) {
  __shared__ __align__(16) float keys[TOKENS][N], fades[TOKENS][N], reads[TOKENS][N];
  __shared__ float values[TOKENS][N], behind[TOKENS][N], own[TOKENS];
  const Chunk c(a);
  const int me = threadIdx.x;
  for (int direction = 1; direction >= 0; --direction) {
    float state[N];
    const float* from = a.states + c.state(a, direction, c.chunk);
#pragma unroll
    for (int j = 0; j < N; ++j) state[j] = from[j * N + me];
    for (int tile = 0; tile < c.tiles(); ++tile) {
      const int first = c.first + turned(direction, tile, c.tiles()) * TOKENS;
      const int count = min(TOKENS, c.end - first);
      __syncthreads();
#pragma unroll
      for (int i = 0; i < TOKENS; ++i) {
        if (i >= count) break;
        const size_t at = c.origin + (first + i) * c.stride + me;
        keys[i][me] = a.k[at];
        reads[i][me] = a.r[at];
        values[i][me] = a.v[at];
        fades[i][me] = decay(a.w[at]);
        if (direction == 0) behind[i][me] = a.y[at];
      }
      __syncthreads();
      if (direction == 0) {
        if (me < count) {
          float sum = 0.0f;
          for (int i = 0; i < N; ++i) {
            const int j = (i + me) % N;  // spread over the banks
            sum = fmaf(a.u[c.head * N + j] * keys[me][j], reads[me][j], sum);
          }
          own[me] = sum;
        }
        __syncthreads();
      }
      for (int i = 0; i < count; ++i) {
        const int t = turned(direction, i, count);
        const size_t at = c.origin + (first + t) * c.stride + me;
        const float value = values[t][me];
        const float4* key = reinterpret_cast<const float4*>(keys[t]);
        const float4* read = reinterpret_cast<const float4*>(reads[t]);
        const float4* d = reinterpret_cast<const float4*>(fades[t]);
        float y[4] = {};
#pragma unroll
        for (int j = 0; j < N / 4; ++j) {
          const float4 kk = key[j], rr = read[j], dd = d[j];
          y[0] = fmaf(rr.x, state[4 * j], y[0]);
          y[1] = fmaf(rr.y, state[4 * j + 1], y[1]);
          y[2] = fmaf(rr.z, state[4 * j + 2], y[2]);
          y[3] = fmaf(rr.w, state[4 * j + 3], y[3]);
          state[4 * j] = fmaf(state[4 * j], dd.x, kk.x * value);
          state[4 * j + 1] = fmaf(state[4 * j + 1], dd.y, kk.y * value);
          state[4 * j + 2] = fmaf(state[4 * j + 2], dd.z, kk.z * value);
          state[4 * j + 3] = fmaf(state[4 * j + 3], dd.w, kk.w * value);
        }
        const float sum = (y[0] + y[1]) + (y[2] + y[3]);
        a.y[at] = direction == 1 ? sum : behind[t][me] + fmaf(own[t], value, sum);
      }
    }
  }
}

// sum_i g_t[i] S_t[j, i] on both sides of every token: a thread keeps a row of the state.
extern "C" __global__ void __launch_bounds__(N) wkv6_rows(const Wkv6 a) {
  __shared__ __align__(16) float values[TOKENS][N], grads[TOKENS][N];
  __shared__ float keys[TOKENS][N], fades[TOKENS][N];
  const Chunk c(a);
  const int me = threadIdx.x, direction = blockIdx.z;
  float* to = direction == 0 ? a.before : a.after;
  float state[N];
  const float4* from = reinterpret_cast<const float4*>(
      a.states + c.state(a, direction, c.chunk) + me * N);
#pragma unroll
  for (int i = 0; i < N / 4; ++i) {
    const float4 four = from[i];
    state[4 * i] = four.x;
    state[4 * i + 1] = four.y;
    state[4 * i + 2] = four.z;
    state[4 * i + 3] = four.w;
  }
  for (int tile = 0; tile < c.tiles(); ++tile) {
    const int first = c.first + turned(direction, tile, c.tiles()) * TOKENS;
    const int count = min(TOKENS, c.end - first);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TOKENS; ++i) {
      if (i >= count) break;
      const size_t at = c.origin + (first + i) * c.stride + me;
      values[i][me] = a.v[at];
      grads[i][me] = a.g[at];
      keys[i][me] = a.k[at];
      fades[i][me] = decay(a.w[at]);
    }
    __syncthreads();
    for (int i = 0; i < count; ++i) {
      const int t = turned(direction, i, count);
      const size_t at = c.origin + (first + t) * c.stride + me;
      const float key = keys[t][me], d = fades[t][me];
      const float4* value = reinterpret_cast<const float4*>(values[t]);
      const float4* grad = reinterpret_cast<const float4*>(grads[t]);
      float sum[4] = {};
#pragma unroll
      for (int j = 0; j < N / 4; ++j) {
        const float4 vv = value[j], gg = grad[j];
        sum[0] = fmaf(gg.x, state[4 * j], sum[0]);
        sum[1] = fmaf(gg.y, state[4 * j + 1], sum[1]);
        sum[2] = fmaf(gg.z, state[4 * j + 2], sum[2]);
        sum[3] = fmaf(gg.w, state[4 * j + 3], sum[3]);
        state[4 * j] = fmaf(state[4 * j], d, key * vv.x);
        state[4 * j + 1] = fmaf(state[4 * j + 1], d, key * vv.y);
        state[4 * j + 2] = fmaf(state[4 * j + 2], d, key * vv.z);
        state[4 * j + 3] = fmaf(state[4 * j + 3], d, key * vv.w);
      }
      to[at] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
  }
}

// Gradients of r, k, w and u from the rows' sums.
extern "C" __global__ void __launch_bounds__(N) wkv6_finish(const Wkv6 a) {
  __shared__ float products[2][N / 32];
  const Chunk c(a);
  const int me = threadIdx.x;
  const float u = a.u[c.head * N + me];
  // Pairs across the chunk's start: sources before it and after it.
  float forwards = 0.0f, backwards = 0.0f;
  if (c.chunk > 0) {
    const size_t row = (size_t)me * N;
    const float* f = a.states + c.state(a, 0, c.chunk) + row;
    const float* g = a.other + c.state(a, 1, c.chunk - 1) + row;
    const float* fo = a.other + c.state(a, 0, c.chunk) + row;
    const float* go = a.states + c.state(a, 1, c.chunk - 1) + row;
    for (int i = 0; i < N; ++i) {
      forwards = fmaf(f[i], g[i], forwards);
      backwards = fmaf(fo[i], go[i], backwards);
    }
  }
  float gu = 0.0f;
  for (int t = c.first; t < c.end; ++t) {
    const size_t at = c.origin + t * c.stride + me;
    const float r = a.r[at], k = a.k[at], w = a.w[at];
    float product = a.v[at] * a.g[at];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
      product += __shfl_xor_sync(0xffffffffu, product, distance);
    if (me % 32 == 0) products[t % 2][me / 32] = product;
    __syncthreads();
    product = products[t % 2][0] + products[t % 2][1];
    const float before = a.before[at], after = a.after[at];
    const float kbefore = a.kbefore[at], kafter = a.kafter[at];
    a.gr[at] = before + after + u * k * product;
    a.gk[at] = kbefore + kafter + u * r * product;
    gu = fmaf(r * k, product, gu);
    forwards -= r * before;   // pairs that end here
    backwards -= k * kbefore;
    // Nothing reaches across a token that decays so much; what rounding has left would be
    // multiplied by a large factor.
    const bool cut = decay(w) < 1e-30f;
    if (cut) forwards = backwards = 0.0f;
    a.gw[at] = cut ? 0.0f : -expf(w) * (forwards + backwards);
    forwards += k * kafter;   // pairs that begin here
    backwards += r * after;
  }
  a.partial[(((size_t)blockIdx.y / a.heads) * a.chunks + c.chunk) * a.heads * N +
            c.head * N + me] = gu;
}
