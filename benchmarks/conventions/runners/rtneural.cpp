// Runs an LSTMLayer or GRULayer of RTNeural, with its STL backend, over the steps of rows.
// stdin: kind (0 LSTM, 1 GRU) T B I U, then x (B, T, I), W, U and b as float32.
// stdout: the outputs (B, T, U).
#define RTNEURAL_USE_STL 1
#define RTNEURAL_DEFAULT_ALIGNMENT 16
#include <array>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <vector>
#include "config.h"
#include "gru/gru.h"
#include "gru/gru.tpp"
#include "lstm/lstm.h"
#include "lstm/lstm.tpp"
using Rows = std::vector<std::vector<float>>;

static Rows matrix(int rows, int columns) {
  Rows m(rows, std::vector<float>(columns));
  for (auto &row : m)
    if (fread(row.data(), 4, columns, stdin) != size_t(columns))
      throw std::runtime_error("the input ends early");
  return m;
}

template <typename Layer>
static void run(Layer &layer, const Rows &x, int T, int B, int U) {
  std::vector<float> h(U);
  for (int b = 0; b < B; ++b) {
    layer.reset();
    for (int t = 0; t < T; ++t) {
      layer.forward(x[b * T + t].data(), h.data());
      fwrite(h.data(), 4, U, stdout);
    }
  }
}

int main() {
  int head[5];
  if (fread(head, 4, 5, stdin) != 5) return 2;
  const int T = head[1], B = head[2], I = head[3], U = head[4];
  const int G = head[0] == 0 ? 4 : 3;
  const Rows x = matrix(B * T, I), w = matrix(I, G * U), u = matrix(U, G * U);
  if (head[0] == 0) {
    RTNeural::LSTMLayer<float> layer(I, U);
    layer.setWVals(w);
    layer.setUVals(u);
    layer.setBVals(matrix(1, G * U)[0]);
    run(layer, x, T, B, U);
  } else {
    RTNeural::GRULayer<float> layer(I, U);
    layer.setWVals(w);
    layer.setUVals(u);
    layer.setBVals(matrix(2, G * U));
    run(layer, x, T, B, U);
  }
}
