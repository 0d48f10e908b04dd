/* Check a port of a Keras model against the test vectors in vectors.h.
 *
 * Prints PASS, or FAIL with the first probe, call, layer, step, gate and unit at which
 * the port differs. Exit code 0: pass, 1: fail, 2: the port used vectors_offer wrongly.
 */
#define VECTORS_DATA
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SHOWN 8 /* names in a list, at most */

/* What is known of one array of numbers in the call that is running. */
typedef struct {
  const vectors_numbers *numbers;
  const vectors_stage *stage; /* 0 for an output of the model */
  double *port;               /* what the port handed over */
  unsigned char *seen;        /* which of them it did */
} record;

/* How much of what has one name was handed over, in all calls. */
typedef struct {
  const char *name;
  size_t offered, all;
} tally;

/* The first number that differs. */
typedef struct {
  int found;
  const vectors_probe *probe;
  int call;
  record where;
  size_t at;
  double port;
  char before[400]; /* layers before it that agree */
} difference;

static record *records; /* of the call that is running; 0 between calls */
static int record_count;
static tally *tallies;
static int tally_count;
static size_t compared, offered, comparable;
static double worst; /* greatest error / allowed, of the outputs */

static void stop(const char *why) {
  fprintf(stderr, "check_port: %s\n", why);
  exit(2);
}

static void *allocated(size_t count, size_t size) {
  void *found = calloc(count ? count : 1, size);
  if (!found) stop("out of memory");
  return found;
}

const vectors_array *vectors_weight(const char *name) {
  int k;
  for (k = 0; k < vectors.weight_count; k++)
    if (!strcmp(vectors.weights[k].name, name)) return &vectors.weights[k];
  return 0;
}

/* How many numbers one row has at one time step. */
static size_t inner_size(const vectors_numbers *n) {
  size_t size = 1;
  int k;
  for (k = n->steps ? 2 : 1; k < n->rank; k++) size *= (size_t)n->shape[k];
  return size;
}

static void misused(const char *name, int row, int step, const char *what,
                    size_t expected, size_t received) {
  fprintf(stderr,
          "check_port: vectors_offer(\"%s\", row %d, step %d): expected %s%lu. "
          "Received: %lu\n",
          name, row, step, what, (unsigned long)expected, (unsigned long)received);
  exit(2);
}

static void keep(record *to, size_t at, const VECTORS_REAL *values, size_t count) {
  size_t k;
  for (k = 0; k < count; k++) {
    to->port[at + k] = (double)values[k];
    to->seen[at + k] = 1;
  }
}

/* Keep what belongs to one row, given at one step or at all. */
static void keep_row(record *to, int row, int step, const VECTORS_REAL *values) {
  const vectors_numbers *n = to->numbers;
  size_t inner = inner_size(n), kept = n->steps ? (size_t)n->shape[1] : 1, k;
  for (k = 0; k < kept; k++) {
    size_t at = ((size_t)row * kept + k) * inner;
    if (!n->steps)
      keep(to, at, values, inner);
    else if (step < 0)
      keep(to, at, values + (size_t)n->steps[k] * inner, inner);
    else if (n->steps[k] == step)
      keep(to, at, values, inner);
  }
}

void vectors_offer(const char *name, int row, int step, const VECTORS_REAL *values,
                   size_t count) {
  record *to = 0;
  const vectors_numbers *n;
  size_t each, rows;
  int k;
  for (k = 0; k < record_count; k++)
    if (records[k].stage && !strcmp(records[k].numbers->name, name)) to = &records[k];
  if (!to) {
    if (!records || !records[0].stage) return; /* a pack of outputs alone */
    fprintf(stderr, "check_port: vectors_offer(\"%s\"): expected one of these names:",
            name);
    for (k = 0; k < record_count; k++)
      if (records[k].stage) fprintf(stderr, " %s", records[k].numbers->name);
    fprintf(stderr, "\n");
    exit(2);
  }
  n = to->numbers;
  if (row >= n->shape[0])
    misused(name, row, step, "a row below ", (size_t)n->shape[0], (size_t)row);
  if (n->steps && step >= n->time)
    misused(name, row, step, "a step below ", (size_t)n->time, (size_t)step);
  each = inner_size(n) * (n->steps && step < 0 ? (size_t)n->time : 1);
  rows = row < 0 ? (size_t)n->shape[0] : 1;
  if (count != each * rows)
    misused(name, row, step, "a count of numbers of ", each * rows, count);
  for (k = 0; k < (int)rows; k++)
    keep_row(to, row < 0 ? k : row, step, values + (size_t)k * each);
}

static void add_tally(const record *r) {
  size_t at;
  int k;
  for (k = 0; k < tally_count; k++)
    if (!strcmp(tallies[k].name, r->numbers->name)) break;
  if (k == tally_count) {
    tallies = realloc(tallies, (size_t)(tally_count + 1) * sizeof *tallies);
    if (!tallies) stop("out of memory");
    tallies[tally_count].name = r->numbers->name;
    tallies[tally_count].offered = tallies[tally_count].all = 0;
    tally_count++;
  }
  for (at = 0; at < r->numbers->size; at++) {
    if (r->numbers->allowed[at] < 0) continue;
    tallies[k].all++;
    tallies[k].offered += r->seen[at];
  }
}

/* Compare one number; return whether it differs. */
static int differs(const record *r, size_t at) {
  const double allowed = r->numbers->allowed[at];
  double error;
  if (allowed < 0) return 0;
  comparable += r->stage != 0;
  if (!r->seen[at]) return 0;
  error = fabs(r->port[at] - r->numbers->expected[at]);
  offered += r->stage != 0;
  compared += r->stage == 0;
  if (!r->stage && error / allowed > worst) worst = error / allowed;
  return !(error <= allowed); /* NaN differs */
}

/* Keep the first difference; those after it are compared for the counts alone. */
static void note(difference *first, int *clean, const record *r, size_t at) {
  if (!differs(r, at)) return;
  *clean = 0;
  if (first->found) return;
  first->found = 1;
  first->where = *r;
  first->at = at;
  first->port = r->port[at];
}

/* Compare a stage: gates and states step by step in the order of processing, in each
 * step one gate after the other, then the rest. */
static int compare_stage(const record *r, int count, int stepped, difference *first) {
  const int backwards = r->stage->backwards;
  int clean = 1, k, step;
  for (step = 0; stepped && step < r->numbers->shape[1]; step++)
    for (k = 0; k < stepped; k++) {
      const vectors_numbers *n = r[k].numbers;
      const size_t inner = inner_size(n), kept = (size_t)n->shape[1];
      const size_t s = backwards ? kept - 1 - (size_t)step : (size_t)step;
      size_t row, unit;
      for (row = 0; row < (size_t)n->shape[0]; row++)
        for (unit = 0; unit < inner; unit++)
          note(first, &clean, &r[k], (row * kept + s) * inner + unit);
    }
  for (k = stepped; k < count; k++) {
    size_t at;
    for (at = 0; at < r[k].numbers->size; at++) note(first, &clean, &r[k], at);
  }
  return clean;
}

static void add_before(difference *first, const char *layer) {
  const size_t used = strlen(first->before), room = sizeof first->before - used;
  if (room > strlen(layer) + 3)
    sprintf(first->before + used, "%s%s", used ? ", " : "", layer);
}

/* Compare what the port made of a call; return whether all agrees. */
static int compare_call(const vectors_call *call, difference *first) {
  const record *r = records;
  int clean = 1, k, j;
  if (!first->found) first->before[0] = 0;
  for (k = 0; k < call->stage_count; k++) {
    const vectors_stage *stage = &call->stages[k];
    size_t at, any = 0;
    for (j = 0; j < stage->count; j++)
      for (at = 0; at < r[j].numbers->size; at++) any += r[j].seen[at];
    if (!compare_stage(r, stage->count, stage->stepped, first)) clean = 0;
    if (!first->found && any) add_before(first, stage->layer);
    for (j = 0; j < stage->count; j++) add_tally(&r[j]);
    r += stage->count;
  }
  for (k = 0; k < call->output_count; k++, r++) {
    size_t at;
    for (at = 0; at < r->numbers->size; at++) note(first, &clean, r, at);
  }
  return clean;
}

static void open_records(const vectors_call *call) {
  int k, j;
  record_count = call->output_count;
  for (k = 0; k < call->stage_count; k++) record_count += call->stages[k].count;
  records = allocated((size_t)record_count, sizeof *records);
  record_count = 0;
  for (k = 0; k < call->stage_count; k++)
    for (j = 0; j < call->stages[k].count; j++) {
      records[record_count].numbers = &call->stages[k].numbers[j];
      records[record_count++].stage = &call->stages[k];
    }
  for (k = 0; k < call->output_count; k++)
    records[record_count++].numbers = &call->outputs[k];
  for (k = 0; k < record_count; k++) {
    records[k].port = allocated(records[k].numbers->size, sizeof(double));
    records[k].seen = allocated(records[k].numbers->size, 1);
  }
}

static void close_records(void) {
  int k;
  for (k = 0; k < record_count; k++) {
    free(records[k].port);
    free(records[k].seen);
  }
  free(records);
  records = 0;
  record_count = 0;
}

/* Have the port compute a call; return what port_run returned. */
static int run(const vectors_call *call) {
  VECTORS_REAL **outputs = allocated((size_t)call->output_count, sizeof *outputs);
  const int first = record_count - call->output_count;
  int k, code;
  size_t at;
  for (k = 0; k < call->output_count; k++) {
    outputs[k] = allocated(call->outputs[k].size, sizeof **outputs);
    for (at = 0; at < call->outputs[k].size; at++) /* what is not written differs */
      outputs[k][at] = (VECTORS_REAL)NAN;
  }
  code = port_run(call->inputs, call->input_count, outputs, call->output_count);
  for (k = 0; k < call->output_count; k++) {
    keep(&records[first + k], 0, outputs[k], call->outputs[k].size);
    free(outputs[k]);
  }
  free(outputs);
  return code;
}

static void print_place(const difference *d) {
  const vectors_numbers *n = d->where.numbers;
  const vectors_stage *stage = d->where.stage;
  size_t rest = d->at;
  int index[16], k;
  for (k = n->rank - 1; k >= 0; k--) {
    if (k < 16) index[k] = (int)(rest % (size_t)n->shape[k]);
    rest /= (size_t)n->shape[k];
  }
  if (stage)
    printf("  layer      : %s (%s)\n", stage->layer, stage->class_name);
  else
    printf("  output     : %s\n", n->name);
  if (n->steps)
    printf("  step       : %d of 0..%d%s\n", n->steps[index[1]], n->time - 1,
           stage && stage->backwards && *n->meaning ? ", read backwards" : "");
  if (*n->meaning)
    printf("  %-10s : %s (%s)\n", strstr(n->meaning, "state") ? "state" : "gate",
           n->value, n->meaning);
  else if (stage)
    printf("  value      : %s\n", n->value);
  if (n->rank > 1) printf("  unit       : %d\n", index[n->rank - 1]);
  printf("  row        : %d\n", index[0]);
  if (n->rank > 3 && n->rank < 16) {
    printf("  index      : [");
    for (k = 0; k < n->rank; k++) printf(k ? ", %d" : "%d", index[k]);
    printf("]\n");
  }
}

static void print_difference(const difference *d) {
  const vectors_numbers *n = d->where.numbers;
  printf("FAIL: the port differs from the model; first\n");
  printf("  probe      : %s (%s)\n", d->probe->name, d->probe->why);
  printf("  call       : %d of %d\n", d->call + 1, d->probe->call_count);
  print_place(d);
  printf("  port       : %.9g\n", d->port);
  printf("  model      : %.9g\n", n->expected[d->at]);
  printf("  difference : %.3g, allowed %.3g\n", fabs(d->port - n->expected[d->at]),
         n->allowed[d->at]);
  if (*d->before) printf("  before it  : %s agree\n", d->before);
  if (!offered && comparable)
    printf("  hint       : offer gates and states (vectors_offer) to be told which\n");
}

static void print_not_offered(void) {
  int k, shown = 0;
  for (k = 0; k < tally_count; k++) {
    if (tallies[k].offered || !tallies[k].all) continue;
    if (shown < MAX_SHOWN)
      printf("%s%s", shown ? ", " : "not offered: ", tallies[k].name);
    shown++;
  }
  if (shown > MAX_SHOWN) printf(" and %d more", shown - MAX_SHOWN);
  if (shown) printf("\n");
}

int main(void) {
  static difference first; /* none yet */
  int failed = 0, calls = 0, k, j;
  for (k = 0; k < vectors.probe_count; k++) {
    const vectors_probe *probe = &vectors.probes[k];
    int clean = 1, code = port_reset();
    if (code) printf("port_reset returned %d\n", code);
    for (j = 0; j < probe->call_count && !code; j++, calls++) {
      const int known = first.found;
      open_records(&probe->calls[j]);
      code = run(&probe->calls[j]);
      if (code) printf("port_run returned %d in call %d\n", code, j + 1);
      if (!code && !compare_call(&probe->calls[j], &first)) clean = 0;
      if (first.found && !known) {
        first.probe = probe;
        first.call = j;
      }
      close_records();
    }
    clean = clean && !code;
    failed += !clean;
    printf("%s  %s\n", clean ? "pass" : "FAIL", probe->name);
  }
  if (first.found)
    print_difference(&first);
  else if (failed)
    printf("FAIL: the port could not compute every call\n");
  else
    printf("PASS: %d probes, %d calls, %lu numbers of outputs agree "
           "(greatest error / allowed %.3g)\n",
           vectors.probe_count, calls, (unsigned long)compared, worst);
  if (comparable)
    printf("gates, states and outputs of layers: %lu of %lu numbers were offered\n",
           (unsigned long)offered, (unsigned long)comparable);
  if (!failed) print_not_offered();
  free(tallies);
  return failed ? 1 : 0;
}
