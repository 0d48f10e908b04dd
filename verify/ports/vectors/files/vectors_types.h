/* Test vectors for a port of a Keras model; README.md beside this file explains them.
 *
 * Your port includes this file and defines two functions, port_reset and port_run.
 * It may call vectors_weight and vectors_offer, which check_port.c defines.
 *
 *     cc -std=c99 -I THIS_FOLDER THIS_FOLDER/check_port.c my_port.c -lm -o check
 *     ./check
 */
#ifndef KERAS_RNN_VECTORS_H
#define KERAS_RNN_VECTORS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* The type in which the port hands over numbers: float, or what is defined here. */
#ifndef VECTORS_REAL
#define VECTORS_REAL float
#endif

typedef enum {
  VECTORS_FLOAT32, /* float */
  VECTORS_FLOAT64, /* double */
  VECTORS_INT32,   /* int32_t */
  VECTORS_INT64,   /* int64_t */
  VECTORS_INT8,    /* int8_t */
  VECTORS_UINT8,   /* uint8_t */
  VECTORS_BOOL     /* uint8_t, 0 or 1 */
} vectors_dtype;

/* An array, row by row: the last axis runs fastest. */
typedef struct {
  const char *name;
  vectors_dtype dtype; /* says what data points to */
  int rank;
  const int32_t *shape; /* rank numbers */
  size_t size;          /* how many numbers there are in all */
  const void *data;
} vectors_array;

/* Numbers that the model computes, and how far a port may be from each. */
typedef struct {
  const char *name;    /* "lstm/f", or the name of an output */
  const char *value;   /* "f" */
  const char *meaning; /* "forget gate", or empty */
  int rank;
  const int32_t *shape; /* rank numbers */
  size_t size;
  const int32_t *steps; /* time step of each index of axis 1; 0: not a time axis */
  int32_t time;         /* how many time steps there are, those not kept included */
  const double *expected;
  const double *allowed; /* below 0: this number is not compared */
} vectors_numbers;

/* What one call of a layer computes. */
typedef struct {
  const char *layer;
  const char *class_name;
  int backwards; /* whether the layer processes the last time step first */
  const vectors_numbers *numbers;
  int stepped; /* so many from the beginning are computed step by step */
  int count;
} vectors_stage;

/* One call of the model. */
typedef struct {
  const vectors_array *inputs;
  int input_count;
  const vectors_numbers *outputs;
  int output_count;
  const vectors_array *masks; /* by the call of the layer that is given it */
  int mask_count;
  const vectors_stage *stages; /* in the order of evaluation */
  int stage_count;
} vectors_call;

/* Calls that a port answers one after the other. */
typedef struct {
  const char *name;
  const char *why;
  const vectors_call *calls;
  int call_count;
} vectors_probe;

typedef struct {
  int version;
  const char *model;
  const vectors_array *weights; /* 0 if they are not in this file */
  int weight_count;
  const vectors_probe *probes;
  int probe_count;
} vectors_pack;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Your port defines these. Both return 0, or another number if they fail. ---- */

/* Forget the last call. It comes before each probe: states are zeros again. */
int port_reset(void);

/* Compute one call of the model.
 *
 * inputs        in the order of the model's inputs, each with its name
 * outputs       for each output of the model where to write it: all rows, row by row,
 *               the last axis running fastest
 */
int port_run(const vectors_array *inputs, int input_count,
             VECTORS_REAL *const *outputs, int output_count);

/* ---- check_port.c defines these; a port may call them. ---- */

/* Return a weight by its name, "lstm/kernel"; 0 if there is none in this file. */
const vectors_array *vectors_weight(const char *name);

/* Hand over intermediate numbers, to be told the first layer, step, gate and unit that
 * differs. It has an effect only while port_run is running.
 *
 * name    "lstm/f": a name from README.md
 * row     number of the row, from 0; -1: all rows
 * step    number of the time step, from 0, in the order of the input; -1: all steps,
 *         and where the numbers have no time axis
 * values  the numbers of that row and step, the last axis running fastest
 * count   how many there are
 */
void vectors_offer(const char *name, int row, int step, const VECTORS_REAL *values,
                   size_t count);

#ifdef __cplusplus
}
#endif
