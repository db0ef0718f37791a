/* Nearest point of a winding: Babai's nearest plane, then descent over the lattice's neighbours.
 *
 * The search is compiled once per dim, with and without a companding table (SPECIALISE below), so
 * that its short loops unroll. `counted` is how many of a vector's weights count: dim, but for the
 * last vector of a tensor whose size is no multiple of dim. */
#include <math.h>
#include <string.h>

#include "encoder.h"

#define SIDE 4294967296.0 /* the box in coordinate units */
#define DIM EC_MAX_DIM
#define INLINE static inline __attribute__((always_inline))

/* (weight - centre) / scale: what a point's integer values should be */
typedef struct target { double value[DIM]; } target;

typedef struct point {
    int64_t k;
    int64_t at[DIM];
    double distance; /* squared, in integer values */
} point;

/* The part of the box in which the nearest plane's point is certainly one of the winding's. */
typedef struct safe_box {
    double low[DIM], high[DIM];
    int exists; /* the box is larger than the lattice's cell */
} safe_box;

static safe_box safe_box_of(const ec_search *s) {
    safe_box box = {{0}, {0}, 1};
    for (uint32_t d = 0; d < s->dim; d++) {
        box.low[d] = s->radius;
        box.high[d] = SIDE - 1 - s->radius;
    }
    /* the first coordinate also tells k, which runs from 0 to points - 1 */
    double first = (double)s->shift[0] - s->generator[0] + s->radius + 1;
    double last = (double)s->shift[0] + (double)s->points * s->generator[0] - s->radius - 1;
    box.low[0] = fmax(box.low[0], first);
    box.high[0] = fmin(box.high[0], last);
    for (uint32_t d = 0; d < s->dim; d++) box.exists &= box.low[d] <= box.high[d];
    return box;
}

INLINE int32_t value_at(const ec_search *s, int64_t coordinate, int companded) {
    uint32_t x = (uint32_t)(((uint64_t)coordinate * s->levels) >> 32);
    return companded ? s->table[x] : (int32_t)(2 * x + s->offset) - (int32_t)s->levels;
}

INLINE int is_inside(const ec_search *s, int64_t k, const int64_t *at, uint32_t dim) {
    uint64_t beyond = 0;
    for (uint32_t d = 0; d < dim; d++) beyond |= (uint64_t)at[d] >> 32;
    return beyond == 0 && (uint64_t)k < s->points;
}

INLINE double distance_to(const ec_search *s, const target *t, const int64_t *at, uint32_t counted, int companded) {
    double sum = 0;
    for (uint32_t d = 0; d < counted; d++) {
        double off = t->value[d] - value_at(s, at[d], companded);
        sum += off * off;
    }
    return sum;
}

INLINE double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

INLINE double coordinate_of(const ec_search *s, double value, int companded) {
    if (!companded) return value * s->coordinate_per_value + SIDE / 2;
    double position = clamp((value - s->first_value) * s->steps_per_value, 0, s->n_inverse);
    uint32_t i = (uint32_t)position; /* inverse has one entry more than positions reach */
    return s->inverse[i] + (position - i) * (s->inverse[i + 1] - s->inverse[i]);
}

/* Coordinates of t, clamped to the whole box and to the safe box; 1 when the two differ. */
INLINE int locate(const ec_search *s, const safe_box *box, const target *t, double *c, double *safe,
                  uint32_t dim, int companded) {
    int moved = 0;
    for (uint32_t d = 0; d < dim; d++) {
        c[d] = clamp(coordinate_of(s, t->value[d], companded), 0, SIDE - 1);
        safe[d] = clamp(c[d], box->low[d], box->high[d]);
        moved |= safe[d] != c[d];
    }
    return moved;
}

/* Babai's nearest plane: a lattice point at most s->radius from coordinates c. */
INLINE void nearest_plane(const ec_search *s, const double *c, point *p, uint32_t dim) {
    double rest[DIM];
    p->k = 0;
    for (uint32_t d = 0; d < dim; d++) {
        p->at[d] = s->shift[d];
        rest[d] = c[d] - s->shift[d];
    }
    for (uint32_t i = dim; i-- > 0;) {
        double projection = 0.5;
        for (uint32_t d = 0; d < dim; d++) projection += rest[d] * s->projection[i * DIM + d];
        int64_t z = (int64_t)projection;
        z -= (double)z > projection; /* floor */
        p->k += z * s->basis_k[i];
        for (uint32_t d = 0; d < dim; d++) {
            int64_t step = z * s->basis[i * DIM + d];
            p->at[d] += step;
            rest[d] -= (double)step;
        }
    }
}

/* Point k, whatever the lattice. */
static void point_of(const ec_search *s, uint32_t k, point *p) {
    p->k = k;
    for (uint32_t d = 0; d < s->dim; d++) p->at[d] = (uint32_t)(k * s->generator[d] + s->shift[d]);
}

/* The best of neighbours first .. last - 1 of p that is closer to t than p, or NULL; *least becomes its
 * squared distance. */
INLINE const int64_t *best_neighbour(const ec_search *s, const target *t, const point *p, uint32_t first, uint32_t last,
                                     double *least, uint32_t dim, uint32_t counted, int companded) {
    const int64_t *best = NULL;
    const int64_t *step = s->neighbours + (size_t)first * (1 + dim);
    for (uint32_t j = first; j < last; j++, step += 1 + dim) {
        int64_t at[DIM];
        for (uint32_t d = 0; d < dim; d++) at[d] = p->at[d] + step[1 + d];
        if (!is_inside(s, p->k + step[0], at, dim)) continue;
        double distance = distance_to(s, t, at, counted, companded);
        if (distance < *least) {
            *least = distance;
            best = step;
        }
    }
    return best;
}

/* Goes from p, which is a point, to the best neighbour until none is better. Next to the box's sides
 * the others are tried when no relevant one is better. */
INLINE void descend(const ec_search *s, const target *t, int near_side, point *p, uint32_t dim, uint32_t counted,
                    int companded) {
    p->distance = distance_to(s, t, p->at, counted, companded);
    for (;;) {
        const int64_t *best = best_neighbour(s, t, p, 0, s->n_relevant, &p->distance, dim, counted, companded);
        if (best == NULL && near_side) {
            best = best_neighbour(s, t, p, s->n_relevant, s->n_neighbours, &p->distance, dim, counted, companded);
        }
        if (best == NULL) return;
        p->k += best[0];
        for (uint32_t d = 0; d < dim; d++) p->at[d] += best[1 + d];
    }
}

/* The code found for t, and its squared distance in integer values. */
INLINE uint32_t encode_one(const ec_search *s, const safe_box *box, const target *t, double *distance, uint32_t dim,
                           uint32_t counted, int companded) {
    double c[DIM], safe[DIM];
    point best = {0, {0}, 0}, other = {0, {0}, 0};
    int moved = locate(s, box, t, c, safe, dim, companded);
    if (box->exists) {
        nearest_plane(s, safe, &best, dim);
    } else { /* a handful of points: start at the one next to t along the winding's first axis */
        double k = floor((c[0] - s->shift[0]) / s->generator[0] + 0.5);
        point_of(s, (uint32_t)clamp(k, 0, s->points - 1), &best);
    }
    descend(s, t, moved, &best, dim, counted, companded);
    if (moved) { /* next to the box's sides: the same from the target itself */
        nearest_plane(s, c, &other, dim);
        if (other.k != best.k && is_inside(s, other.k, other.at, dim)) {
            descend(s, t, moved, &other, dim, counted, companded);
            if (other.distance < best.distance) best = other;
        }
    }
    *distance = best.distance;
    if (!s->centre) return (uint32_t)best.k;
    double from_centre = 0;
    for (uint32_t d = 0; d < counted; d++) from_centre += t->value[d] * t->value[d];
    if (from_centre > best.distance) return (uint32_t)best.k + 1;
    *distance = from_centre;
    return 0;
}

/* A run of n vectors of dim weights with scales by class; NULL classes are all 0. */
typedef struct run {
    const float *weights;
    size_t n;
    uint32_t missing; /* weights that the last vector lacks */
    const float *centre_point;
    const float *class_scale;
    const uint8_t *classes;
} run;

INLINE target target_at(const run *r, size_t i, double scale, uint32_t dim) {
    target t = {{0}};
    double inverse = scale > 0 ? 1 / scale : 0;
    for (uint32_t d = 0; d < dim; d++) {
        t.value[d] = ((double)r->weights[i * dim + d] - r->centre_point[d]) * inverse;
    }
    return t;
}

/* Codes of a run and its squared error, given up as soon as that reaches `limit`. */
INLINE double encode_run(const ec_search *s, const safe_box *box, const run *r, double limit, uint32_t *codes,
                         uint32_t dim, int companded) {
    double sum = 0, distance;
    for (size_t i = 0; i < r->n && sum < limit; i++) {
        double scale = r->class_scale[r->classes != NULL ? r->classes[i] : 0];
        target t = target_at(r, i, scale, dim);
        if (i + 1 == r->n && r->missing != 0) {
            uint32_t counted = r->missing < dim ? dim - r->missing : 0;
            codes[i] = encode_one(s, box, &t, &distance, dim, counted, companded);
        } else {
            codes[i] = encode_one(s, box, &t, &distance, dim, dim, companded);
        }
        sum += distance * scale * scale;
    }
    return sum;
}

typedef double encode_run_fn(const ec_search *s, const safe_box *box, const run *r, double limit, uint32_t *codes);

#define SPECIALISE(dim, companded)                                                                              \
    static double encode_run_##dim##_##companded(const ec_search *s, const safe_box *box, const run *r,         \
                                                 double limit, uint32_t *codes) {                               \
        return encode_run(s, box, r, limit, codes, dim, companded);                                             \
    }
SPECIALISE(1, 0) SPECIALISE(2, 0) SPECIALISE(3, 0) SPECIALISE(4, 0)
SPECIALISE(1, 1) SPECIALISE(2, 1) SPECIALISE(3, 1) SPECIALISE(4, 1)

static encode_run_fn *encode_run_for(const ec_search *s) {
    static encode_run_fn *const table[2][DIM] = {
        {encode_run_1_0, encode_run_2_0, encode_run_3_0, encode_run_4_0},
        {encode_run_1_1, encode_run_2_1, encode_run_3_1, encode_run_4_1},
    };
    return table[s->table != NULL][s->dim - 1];
}

/* Largest |value - v| over the values v at coordinates low .. high. */
static double farthest_value(const ec_search *s, double value, double low, double high) {
    int companded = s->table != NULL;
    double v_low = value_at(s, low < 0 ? 0 : (int64_t)low, companded);
    double v_high = value_at(s, high > SIDE - 1 ? UINT32_MAX : (int64_t)high, companded);
    return fmax(fabs(value - v_low), fabs(value - v_high));
}

/* A bound on the distance from t to its point, in integer values: the search starts within `radius`
 * of the target moved into the safe box, and only comes closer. */
static double distance_bound(const ec_search *s, const safe_box *box, const target *t, uint32_t counted) {
    double c[DIM], safe[DIM], by_coordinate = 0, moved2 = 0, radius = s->radius;
    locate(s, box, t, c, safe, s->dim, s->table != NULL);
    if (!box->exists) radius = SIDE / 2;
    for (uint32_t d = 0; d < counted; d++) {
        if (!box->exists) safe[d] = SIDE / 2;
        double far = farthest_value(s, t->value[d], safe[d] - radius, safe[d] + radius);
        double moved = (t->value[d] / s->levels + 1) * (SIDE / 2) - safe[d];
        by_coordinate += far * far;
        moved2 += moved * moved;
    }
    if (s->table != NULL) return sqrt(by_coordinate);
    /* linear: a ball around the moved target, and a level of rounding per coordinate */
    double by_ball = (sqrt(moved2) + radius) * 2 * s->levels / SIDE + sqrt((double)s->dim);
    return fmin(sqrt(by_coordinate), by_ball);
}

/* Adds the errors of a run, and the bounds that hold for them; with a scale of 0 codes say nothing
 * and every weight decodes to the centre. */
static void account(const ec_search *s, const safe_box *box, const run *r, const uint32_t *codes,
                    ec_encode_stats *stats) {
    for (size_t i = 0; i < r->n; i++) {
        double scale = r->class_scale[r->classes != NULL ? r->classes[i] : 0];
        uint32_t counted = s->dim - (i + 1 == r->n ? r->missing : 0);
        int at_centre = scale == 0 || (s->centre && codes[i] == 0);
        target t = target_at(r, i, scale > 0 ? scale : 1, s->dim);
        point p = {0, {0}, 0};
        double squared = 0, absolute = 0, size = 0;
        if (!at_centre) point_of(s, codes[i] - s->centre, &p);
        for (uint32_t d = 0; d < counted; d++) {
            double off = t.value[d] - (at_centre ? 0 : value_at(s, p.at[d], s->table != NULL));
            squared += off * off;
            absolute += fabs(off);
            size = fmax(size, fabs(t.value[d]));
        }
        double bound = scale > 0 ? distance_bound(s, box, &t, counted) : sqrt(squared);
        if (scale == 0) scale = 1;
        stats->squared_error += squared * scale * scale;
        stats->absolute_error += absolute * scale;
        /* scale * value and the sum with the centre are each rounded to float32 */
        double largest = (size + bound) * scale, centre = 0;
        for (uint32_t d = 0; d < s->dim; d++) centre = fmax(centre, fabs(r->centre_point[d]));
        double rounding = sqrt((double)s->dim) * 0x1p-24 * (2 * largest + centre);
        bound = (bound * scale + rounding) * (1 + 0x1p-20);
        if (bound > stats->error_bound) stats->error_bound = bound;
    }
}

void ec_encode_points(const ec_search *s, const float *weights, size_t n, uint32_t missing,
                      const float *centre_point, const float *class_scale, const uint8_t *classes,
                      uint32_t *indices, ec_encode_stats *stats) {
    safe_box box = safe_box_of(s);
    run r = {weights, n, missing, centre_point, class_scale, classes};
    memset(stats, 0, sizeof *stats);
    encode_run_for(s)(s, &box, &r, HUGE_VAL, indices);
    account(s, &box, &r, indices, stats);
    for (size_t i = 0; i < n && classes != NULL; i++) indices[i] += classes[i] * (s->points + s->centre);
}

/* The least byte whose scale is `wanted` or more. */
static int byte_for(double wanted, float base_scale, const float *factors) {
    int low = 1, high = 255;
    while (low < high) {
        int middle = (low + high) / 2;
        if ((double)base_scale * factors[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The byte of the scale with the least squared error found; 0 for a group of zeros, or one that zeros
 * serve best. Writes the group's codes. */
static uint8_t encode_group(const ec_search *s, const safe_box *box, run *r, const ec_scales *scales, uint32_t *codes) {
    uint32_t trial[EC_MAX_GROUP];
    size_t count = r->n * s->dim - r->missing;
    double sum = 0;
    for (size_t j = 0; j < count; j++) sum += (double)r->weights[j] * r->weights[j];
    double least = sum; /* that of byte 0: all zeros */
    uint8_t best = 0;
    memset(codes, 0, r->n * sizeof *codes);
    int middle = byte_for(sqrt(sum / (double)count) / scales->unit_rms, scales->base, scales->factors);
    /* from the middle up, then down, as long as it gets better; a trial that gets worse is given up */
    for (int direction = 1; direction >= -1 && sum > 0; direction -= 2) {
        for (int step = direction > 0 ? 0 : 1; step <= scales->reach; step++) {
            int byte = middle + direction * step;
            if (byte < 1 || byte > 255) break;
            float scale = scales->base * scales->factors[byte];
            r->class_scale = &scale;
            double error = encode_run_for(s)(s, box, r, least, trial);
            if (error >= least) {
                if (step > 0) break;
                continue;
            }
            least = error;
            best = (uint8_t)byte;
            memcpy(codes, trial, r->n * sizeof *trial);
        }
    }
    return best;
}

void ec_encode_groups(const ec_search *s, const float *weights, size_t n_weights, size_t group,
                      const ec_scales *scales, uint32_t *indices, uint8_t *bytes, ec_encode_stats *stats) {
    static const float origin[DIM] = {0};
    safe_box box = safe_box_of(s);
    memset(stats, 0, sizeof *stats);
    for (size_t first = 0; first < n_weights; first += group, bytes++) {
        size_t count = n_weights - first < group ? n_weights - first : group;
        size_t n = (count + s->dim - 1) / s->dim;
        run r = {weights + first, n, (uint32_t)(n * s->dim - count), origin, NULL, NULL};
        uint32_t *codes = indices + first / s->dim;
        *bytes = encode_group(s, &box, &r, scales, codes);
        float scale = scales->base * scales->factors[*bytes];
        r.class_scale = &scale;
        account(s, &box, &r, codes, stats);
    }
}
