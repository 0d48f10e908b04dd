/* A port for the tests: the layers in plan.h one after the other, by the equations.
 *
 * MISTAKE in the environment names a mistake to make.
 */
#include "vectors.h"
#include "plan.h" /* enum kind, struct layer, plan[], LAYERS */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int mistake(const char *name) {
  const char *made = getenv("MISTAKE");
  return made && !strcmp(made, name);
}

static float *zeros(size_t count) {
  float *found = calloc(count ? count : 1, sizeof *found);
  if (!found) exit(70);
  return found;
}

static const vectors_array *weight(const char *layer, const char *name) {
  char path[200];
  sprintf(path, "%s/%s", layer, name);
  return vectors_weight(path);
}

static void offer(const char *layer, const char *name, int row, int step,
                  const float *values, size_t count) {
  char path[200];
  sprintf(path, "%s/%s", layer, name);
  if (!mistake("offers nothing")) vectors_offer(path, row, step, values, count);
}

static float activation(int kind, float x) {
  switch (kind) {
    case SIGMOID: return 1.0f / (1.0f + expf(-x));
    case TANH: return tanhf(x);
    case RELU: return x > 0.0f ? x : 0.0f;
    default: return x;
  }
}

/* y[j] = sum over k of x[k] * w[k][j], from column `from` on */
static void times(const float *x, const vectors_array *w, int from, int count,
                  float *y) {
  const int rows = w->shape[0], width = w->shape[1];
  const float *data = w->data;
  int j, k;
  for (j = 0; j < count; j++)
    for (y[j] = 0.0f, k = 0; k < rows; k++)
      y[j] += x[k] * data[(size_t)k * (size_t)width + (size_t)(from + j)];
}

typedef struct { float h[64], c[64]; } state;

typedef struct {
  const vectors_array *kernel, *recurrent, *bias;
} weights;

/* The part of row `row` of the bias that belongs to a column. */
static float bias_of(const weights *w, int row, int column) {
  const float *data = w->bias ? w->bias->data : 0;
  if (!data || mistake("no bias")) return 0.0f;
  if (w->bias->rank == 1) return row ? 0.0f : data[column];
  return data[row * w->bias->shape[1] + column];
}

static void lstm(const struct layer *l, const char *name, const weights *w,
                 const float *x, state *s, int row, int step) {
  static const char *names[] = {"i", "f", "c_hat", "o"};
  const int u = l->units;
  float gate[4][64], part[256], back[256];
  int g, k;
  times(x, w->kernel, 0, 4 * u, part);
  times(s->h, w->recurrent, 0, 4 * u, back);
  for (g = 0; g < 4; g++) {
    int from = g;
    if (mistake("gates swapped") && g < 2) from = 1 - g;
    for (k = 0; k < u; k++) {
      float z = part[from * u + k] + back[from * u + k] + bias_of(w, 0, from * u + k);
      if (mistake("one bias") && g == 1 && k == 2) z -= bias_of(w, 0, u + 2);
      gate[g][k] = activation(g == 2 ? l->activation : l->recurrent_activation, z);
    }
    offer(name, names[g], row, step, gate[g], (size_t)u);
  }
  for (k = 0; k < u; k++) {
    s->c[k] = gate[1][k] * s->c[k] + gate[0][k] * gate[2][k];
    s->h[k] = gate[3][k] * activation(l->activation, s->c[k]);
  }
}

static void gru(const struct layer *l, const char *name, const weights *w,
                const float *x, state *s, int row, int step) {
  const int u = l->units;
  float z[64], r[64], hat[64], part[192], back[192], reset[64], inside[64];
  int k;
  times(x, w->kernel, 0, 3 * u, part);
  times(s->h, w->recurrent, 0, 3 * u, back);
  for (k = 0; k < u; k++) {
    z[k] = activation(l->recurrent_activation,
                      part[k] + bias_of(w, 0, k) + back[k] + bias_of(w, 1, k));
    r[k] = activation(l->recurrent_activation, part[u + k] + bias_of(w, 0, u + k) +
                                                   back[u + k] + bias_of(w, 1, u + k));
    reset[k] = r[k] * s->h[k];
  }
  times(reset, w->recurrent, 2 * u, u, inside);
  for (k = 0; k < u; k++) {
    float from_h = r[k] * (back[2 * u + k] + bias_of(w, 1, 2 * u + k));
    if (!l->reset_after) from_h = inside[k];
    if (mistake("reset before"))
      from_h = inside[k] + bias_of(w, 1, 2 * u + k);
    hat[k] = activation(l->activation, part[2 * u + k] + bias_of(w, 0, 2 * u + k) +
                                           from_h);
  }
  for (k = 0; k < u; k++) s->h[k] = z[k] * s->h[k] + (1.0f - z[k]) * hat[k];
  offer(name, "z", row, step, z, (size_t)u);
  offer(name, "r", row, step, r, (size_t)u);
  offer(name, "h_hat", row, step, hat, (size_t)u);
}

static void simple(const struct layer *l, const weights *w, const float *x, state *s) {
  const int u = l->units;
  float part[64], back[64];
  int k;
  times(x, w->kernel, 0, u, part);
  times(s->h, w->recurrent, 0, u, back);
  for (k = 0; k < u; k++)
    s->h[k] = activation(l->activation, part[k] + bias_of(w, 0, k) + back[k]);
}

/* Run one direction; y is (rows, steps, units) in the order of processing. */
static void loop(const struct layer *l, const char *name, int backwards, const float *x,
                 const unsigned char *mask, int rows, int steps, int features,
                 state *states, float *y) {
  const int u = l->units;
  weights w;
  int row, k, j;
  w.kernel = weight(name, "kernel");
  w.recurrent = weight(name, "recurrent_kernel");
  w.bias = weight(name, "bias");
  for (row = 0; row < rows; row++) {
    state own, *s = l->stateful && !mistake("not carried") ? &states[row] : &own;
    float shown[64] = {0};
    if (s == &own) memset(&own, 0, sizeof own);
    for (k = 0; k < steps; k++) {
      const int t = backwards ? steps - 1 - k : k;
      const int read = mistake("late") && t ? t - 1 : t;
      const float *at = x + ((size_t)row * (size_t)steps + (size_t)read) *
                                (size_t)features;
      const int masked = mask && !mask[row * steps + t] && !mistake("no mask");
      if (!masked) {
        if (l->kind == LSTM) lstm(l, name, &w, at, s, row, t);
        if (l->kind == GRU) gru(l, name, &w, at, s, row, t);
        if (l->kind == SIMPLE) simple(l, &w, at, s);
        memcpy(shown, s->h, sizeof shown);
      } else if (l->zeroes) {
        memset(shown, 0, sizeof shown);
      }
      if (l->kind == LSTM) offer(name, "c", row, t, s->c, (size_t)u);
      offer(name, "h", row, t, s->h, (size_t)u);
      for (j = 0; j < u; j++)
        y[((size_t)row * (size_t)steps + (size_t)k) * (size_t)u + (size_t)j] = shown[j];
    }
    if (!l->sequences) /* the first output of a row is the only one */
      memcpy(y + (size_t)row * (size_t)steps * (size_t)u, shown,
             (size_t)u * sizeof *shown);
  }
}

static state kept[LAYERS][64];

int port_reset(void) {
  memset(kept, 0, sizeof kept);
  return mistake("no reset");
}

int port_run(const vectors_array *inputs, int input_count,
             VECTORS_REAL *const *outputs, int output_count) {
  const int rows = inputs[0].shape[0], steps = inputs[0].shape[1];
  int features = inputs[0].rank > 2 ? inputs[0].shape[2] : 1, times_now = steps;
  unsigned char *mask = 0;
  float *x = zeros(inputs[0].size), *y;
  size_t k, n = inputs[0].size;
  int row, j, number;
  if (input_count != 1 || output_count != 1) return 1;
  for (k = 0; k < n; k++)
    x[k] = inputs[0].dtype == VECTORS_FLOAT32 ? ((const float *)inputs[0].data)[k]
                                              : (float)((const int32_t *)inputs[0].data)[k];
  for (number = 0; number < LAYERS; number++) {
    const struct layer *l = &plan[number];
    if (l->kind == EMBEDDING) {
      const vectors_array *table = weight(l->name, "embeddings");
      const size_t width = (size_t)table->shape[1];
      y = zeros(n * width);
      for (k = 0; k < n; k++)
        memcpy(y + k * width, (const float *)table->data + (size_t)x[k] * width,
               width * sizeof *y);
      if (l->makes_mask) {
        mask = malloc(n);
        for (k = 0; k < n; k++) mask[k] = x[k] != 0.0f;
      }
      features = (int)width;
    } else if (l->kind == MASKING) {
      const size_t cells = (size_t)rows * (size_t)steps;
      mask = calloc(cells, 1);
      y = zeros(n);
      for (k = 0; k < n; k++) mask[k / (size_t)features] |= x[k] != l->mask_value;
      for (k = 0; k < n; k++) y[k] = mask[k / (size_t)features] ? x[k] : 0.0f;
    } else if (l->kind == DENSE) {
      const vectors_array *kernel = weight(l->name, "kernel");
      const vectors_array *bias = weight(l->name, "bias");
      const size_t each = (size_t)rows * (size_t)times_now;
      y = zeros(each * (size_t)l->units);
      for (k = 0; k < each; k++) {
        float *z = y + k * (size_t)l->units, sum = 0.0f;
        times(x + k * (size_t)features, kernel, 0, l->units, z);
        for (j = 0; j < l->units; j++) z[j] += ((const float *)bias->data)[j];
        for (j = 0; l->activation == SOFTMAX && j < l->units; j++)
          sum += z[j] = expf(z[j]);
        for (j = 0; j < l->units; j++)
          z[j] = l->activation == SOFTMAX ? z[j] / sum : activation(l->activation, z[j]);
      }
      features = l->units;
    } else {
      const int two = l->backward[0] != 0, u = l->units, width = two ? 2 * u : u;
      const size_t size = (size_t)rows * (size_t)steps * (size_t)u;
      const int out = l->sequences ? steps : 1;
      float *one = zeros(size), *other = zeros(size);
      loop(l, l->name, l->backwards, x, mask, rows, steps, features, kept[number], one);
      if (two)
        loop(l, l->backward, 1, x, mask, rows, steps, features, kept[number], other);
      y = zeros((size_t)rows * (size_t)out * (size_t)width);
      for (row = 0; row < rows; row++)
        for (j = 0; j < out; j++) {
          const int turned = l->sequences ? out - 1 - j : 0;
          float *to = y + ((size_t)row * (size_t)out + (size_t)j) * (size_t)width;
          memcpy(to, one + ((size_t)row * (size_t)steps + (size_t)j) * (size_t)u,
                 (size_t)u * sizeof *y);
          if (two)
            memcpy(to + u,
                   other + ((size_t)row * (size_t)steps + (size_t)turned) * (size_t)u,
                   (size_t)u * sizeof *y);
        }
      free(one);
      free(other);
      times_now = out;
      features = width;
    }
    free(x);
    x = y;
    n = (size_t)rows * (size_t)times_now * (size_t)features;
    offer(l->whole, "output", -1, -1, x, n);
  }
  memcpy(outputs[0], x, n * sizeof *x);
  free(x);
  free(mask);
  if (mistake("wrong name")) vectors_offer("nothing/f", 0, 0, outputs[0], 1);
  if (mistake("wrong count")) vectors_offer("lstm/h", 0, 0, outputs[0], 1);
  if (mistake("nan")) outputs[0][0] = NAN;
  return mistake("refuses");
}
