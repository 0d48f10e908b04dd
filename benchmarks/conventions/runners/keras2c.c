/* Runs k2c_lstm, k2c_gru or k2c_simpleRNN of the C library of keras2c over rows.
   stdin: kind (0 LSTM, 1 GRU that resets after, 2 GRU that resets before, 3 simpleRNN)
   T B I U, then x (B, T, I), kernel, recurrent kernel and bias as float32.
   stdout: the outputs (B, T, U). */
#include <stdio.h>
#include <stdlib.h>
#include "k2c_include.h"

static k2c_tensor tensor(size_t rows, size_t columns, int filled) {
  k2c_tensor t = {0};
  t.ndim = 2;
  t.numel = rows * columns;
  t.shape[0] = rows;
  t.shape[1] = columns;
  t.array = calloc(t.numel, 4);
  if (filled && fread(t.array, 4, t.numel, stdin) != t.numel) exit(2);
  return t;
}

int main(void) {
  int head[5];
  if (fread(head, 4, 5, stdin) != 5) return 2;
  const int kind = head[0], T = head[1], B = head[2], I = head[3], U = head[4];
  const int G = kind == 0 ? 4 : kind == 3 ? 1 : 3;
  k2c_tensor all = tensor(B * T, I, 1), w = tensor(G * I, U, 1), r = tensor(G * U, U, 1);
  k2c_tensor b = tensor(kind == 1 || kind == 2 ? 2 : 1, G * U, 1), y = tensor(T, U, 0);
  float *state = malloc(8 * U), *work = malloc(64 * U);
  for (int row = 0; row < B; ++row) {
    k2c_tensor x = all;
    x.array += row * T * I;
    x.numel = T * I;
    x.shape[0] = T;
    for (int k = 0; k < 2 * U; ++k) state[k] = 0;
    if (kind == 0)
      k2c_lstm(&y, &x, state, &w, &r, &b, work, 0, 1, k2c_sigmoid, k2c_tanh);
    else if (kind == 3)
      k2c_simpleRNN(&y, &x, state, &w, &r, &b, work, 0, 1, k2c_tanh);
    else
      k2c_gru(&y, &x, state, &w, &r, &b, work, kind == 1, 0, 1, k2c_sigmoid, k2c_tanh);
    fwrite(y.array, 4, y.numel, stdout);
  }
  return 0;
}
