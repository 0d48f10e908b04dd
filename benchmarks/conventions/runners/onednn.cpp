// Runs one recurrent primitive of oneDNN in one direction.
// stdin: kind T B I U, then x (T, B, I), weights_layer (I, G, U), weights_iter (U, G, U)
// and bias as float32. stdout: dst_layer (T, B, U), the last h (B, U), of an LSTM also c.
#include <cstdio>
#include <stdexcept>
#include <unordered_map>
#include <vector>
#include "dnnl.hpp"
using namespace dnnl;
using dims = memory::dims;
using tag = memory::format_tag;

static engine cpu(engine::kind::cpu, 0);

static memory array(const dims &shape, tag format, bool read) {
  memory m({shape, memory::data_type::f32, format}, cpu);
  long count = 1;
  for (auto n : shape) count *= n;
  float *data = static_cast<float *>(m.get_data_handle());
  if (!read) for (long k = 0; k < count; ++k) data[k] = 0;
  else if (fread(data, 4, count, stdin) != size_t(count))
    throw std::runtime_error("the input ends early");
  return m;
}

static void put(const memory &m, long count) {
  fwrite(m.get_data_handle(), 4, count, stdout);
}

int main() {
  int head[5];
  if (fread(head, 4, 5, stdin) != 5) return 2;
  const int kind = head[0];  // 0 lstm, 1 lbr_gru, 2 gru, 3 vanilla_rnn
  const long T = head[1], B = head[2], I = head[3], U = head[4];
  const long G = kind == 0 ? 4 : kind == 3 ? 1 : 3, rows = kind == 1 ? 4 : G;
  memory x = array({T, B, I}, tag::tnc, true);
  memory w = array({1, 1, I, G, U}, tag::ldigo, true);
  memory r = array({1, 1, U, G, U}, tag::ldigo, true);
  memory b = array({1, 1, rows, U}, tag::ldgo, true);
  memory y = array({T, B, U}, tag::tnc, false);
  memory h0 = array({1, 1, B, U}, tag::ldnc, false), h = array({1, 1, B, U}, tag::ldnc, false);
  memory c0 = array({1, 1, B, U}, tag::ldnc, false), c = array({1, 1, B, U}, tag::ldnc, false);
  const auto run = prop_kind::forward_inference;
  const auto way = rnn_direction::unidirectional_left2right;
  auto d = [](const memory &m) { return m.get_desc(); };
  std::unordered_map<int, memory> all = {
      {DNNL_ARG_SRC_LAYER, x}, {DNNL_ARG_SRC_ITER, h0}, {DNNL_ARG_WEIGHTS_LAYER, w},
      {DNNL_ARG_WEIGHTS_ITER, r}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST_LAYER, y},
      {DNNL_ARG_DST_ITER, h}};
  primitive made;
  if (kind == 0) {
    all[DNNL_ARG_SRC_ITER_C] = c0;
    all[DNNL_ARG_DST_ITER_C] = c;
    made = lstm_forward(lstm_forward::primitive_desc(
        cpu, run, way, d(x), d(h0), d(c0), d(w), d(r), d(b), d(y), d(h), d(c)));
  } else if (kind == 1) {
    made = lbr_gru_forward(lbr_gru_forward::primitive_desc(
        cpu, run, way, d(x), d(h0), d(w), d(r), d(b), d(y), d(h)));
  } else if (kind == 2) {
    made = gru_forward(gru_forward::primitive_desc(
        cpu, run, way, d(x), d(h0), d(w), d(r), d(b), d(y), d(h)));
  } else {
    made = vanilla_rnn_forward(vanilla_rnn_forward::primitive_desc(
        cpu, run, algorithm::eltwise_tanh, way, d(x), d(h0), d(w), d(r), d(b), d(y), d(h)));
  }
  stream s(cpu);
  made.execute(s, all);
  s.wait();
  put(y, T * B * U);
  put(h, B * U);
  if (kind == 0) put(c, B * U);
}
