/* Nearest point of a winding: Babai's nearest plane, then descent over the lattice's neighbours. */
#include <math.h>
#include <string.h>

#include "encoder.h"

#define SIDE 4294967296.0 /* the box in coordinate units */
#define DIM EC_MAX_DIM

typedef struct target {
    double value[DIM]; /* (weight - centre) / scale: what a point's integer value should be */
    uint32_t counted;  /* components that count */
} target;

typedef struct point {
    int64_t k;
    int64_t at[DIM];
    double distance; /* squared, in integer values */
} point;

static inline int32_t value_at(const ec_search *s, int64_t coordinate) {
    uint32_t x = (uint32_t)(((uint64_t)coordinate * s->levels) >> 32);
    return s->table != NULL ? s->table[x] : (int32_t)(2 * x + s->offset) - (int32_t)s->levels;
}

static inline int is_inside(const ec_search *s, int64_t k, const int64_t *at) {
    if ((uint64_t)k >= s->points) return 0;
    for (uint32_t d = 0; d < s->dim; d++) {
        if ((uint64_t)at[d] >= UINT64_C(1) << 32) return 0;
    }
    return 1;
}

static inline double distance_to(const ec_search *s, const target *t, const int64_t *at) {
    double sum = 0;
    for (uint32_t d = 0; d < t->counted; d++) {
        double off = t->value[d] - value_at(s, at[d]);
        sum += off * off;
    }
    return sum;
}

static double coordinate_of(const ec_search *s, double value) {
    if (s->table == NULL) return (value / s->levels + 1) * (SIDE / 2);
    double position = (value - s->first_value) / s->value_step;
    if (position <= 0) return s->inverse[0];
    if (position >= s->n_inverse) return s->inverse[s->n_inverse];
    uint32_t i = (uint32_t)position;
    if (i == s->n_inverse) i--;
    return s->inverse[i] + (position - i) * (s->inverse[i + 1] - s->inverse[i]);
}

/* Interval of coordinates in which nearest_plane's point is certainly inside, for dimension d;
 * empty when the box is smaller than the lattice's cell. */
static void safe_interval(const ec_search *s, uint32_t d, double *low, double *high) {
    if (d == 0) { /* k = 0 .. points - 1 */
        *low = (double)s->shift[0] - s->generator[0] + s->radius + 1;
        *high = (double)s->shift[0] + (double)s->points * s->generator[0] - s->radius - 1;
    } else {
        *low = s->radius;
        *high = SIDE - 1 - s->radius;
    }
}

/* Babai's nearest plane: a lattice point at most s->radius from coordinates c. */
static void nearest_plane(const ec_search *s, const double *c, point *p) {
    double rest[DIM];
    p->k = 0;
    for (uint32_t d = 0; d < s->dim; d++) {
        p->at[d] = s->shift[d];
        rest[d] = c[d] - s->shift[d];
    }
    for (uint32_t i = s->dim; i-- > 0;) {
        double projection = 0;
        for (uint32_t d = 0; d < s->dim; d++) projection += rest[d] * s->gram_schmidt[i * DIM + d];
        int64_t z = (int64_t)floor(projection / s->gram_schmidt_norm2[i] + 0.5);
        p->k += z * s->basis_k[i];
        for (uint32_t d = 0; d < s->dim; d++) {
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

static void descend(const ec_search *s, const target *t, point *p) {
    for (;;) {
        const int64_t *best = NULL;
        double least = p->distance;
        const int64_t *step = s->neighbours;
        for (uint32_t j = 0; j < s->n_neighbours; j++, step += 1 + s->dim) {
            int64_t at[DIM];
            for (uint32_t d = 0; d < s->dim; d++) at[d] = p->at[d] + step[1 + d];
            if (!is_inside(s, p->k + step[0], at)) continue;
            double distance = distance_to(s, t, at);
            if (distance < least) {
                least = distance;
                best = step;
            }
        }
        if (best == NULL) return;
        p->k += best[0];
        for (uint32_t d = 0; d < s->dim; d++) p->at[d] += best[1 + d];
        p->distance = least;
    }
}

/* Largest |value - v| over the values v at coordinates low .. high. */
static double farthest_value(const ec_search *s, double value, double low, double high) {
    double v_low = value_at(s, low < 0 ? 0 : (int64_t)low);
    double v_high = value_at(s, high > SIDE - 1 ? UINT32_MAX : (int64_t)high);
    return fmax(fabs(value - v_low), fabs(value - v_high));
}

/* A bound on the distance from t to the point that `nearest` returns, in integer values: the start
 * lies within `radius` of `safe`, and descent only comes closer. */
static double distance_bound(const ec_search *s, const target *t, const double *safe, double radius) {
    double by_coordinate = 0, shift = 0;
    for (uint32_t d = 0; d < t->counted; d++) {
        double far = farthest_value(s, t->value[d], safe[d] - radius, safe[d] + radius);
        double moved = (t->value[d] / s->levels + 1) * (SIDE / 2) - safe[d];
        by_coordinate += far * far;
        shift += moved * moved;
    }
    if (s->table != NULL) return sqrt(by_coordinate);
    double by_ball = (sqrt(shift) + radius) * 2 * s->levels / SIDE + sqrt((double)s->dim);
    return fmin(sqrt(by_coordinate), by_ball);
}

/* The best point found for t, and a bound on its distance (in integer values). */
static double nearest(const ec_search *s, const target *t, point *best) {
    double c[DIM] = {0}, safe[DIM] = {0};
    int fits = 1, moved = 0;
    for (uint32_t d = 0; d < s->dim; d++) {
        double low, high;
        safe_interval(s, d, &low, &high);
        c[d] = fmin(fmax(coordinate_of(s, t->value[d]), 0), SIDE - 1);
        safe[d] = fmin(fmax(c[d], low), high);
        fits &= low <= high;
        moved |= safe[d] != c[d];
    }
    double bound;
    if (fits) {
        nearest_plane(s, safe, best);
        bound = distance_bound(s, t, safe, s->radius);
    } else { /* a handful of points: start at the one next to t along the winding's first axis */
        double k = floor((c[0] - s->shift[0]) / s->generator[0] + 0.5);
        point_of(s, (uint32_t)fmin(fmax(k, 0), s->points - 1), best);
        for (uint32_t d = 0; d < s->dim; d++) safe[d] = SIDE / 2;
        bound = distance_bound(s, t, safe, SIDE / 2);
    }
    best->distance = distance_to(s, t, best->at);
    descend(s, t, best);
    if (!moved) return bound;

    point other; /* next to the box's sides: the same from the target itself */
    nearest_plane(s, c, &other);
    if (is_inside(s, other.k, other.at)) {
        other.distance = distance_to(s, t, other.at);
        descend(s, t, &other);
        if (other.distance < best->distance) *best = other;
    }
    return bound;
}

static uint32_t encode_one(const ec_search *s, const target *t, double scale, ec_encode_stats *stats) {
    point best;
    double bound = nearest(s, t, &best);
    uint32_t code = (uint32_t)best.k + s->centre;
    double absolute = 0, centre_distance = 0, centre_absolute = 0, size = 0;
    for (uint32_t d = 0; d < t->counted; d++) {
        absolute += fabs(t->value[d] - value_at(s, best.at[d]));
        centre_distance += t->value[d] * t->value[d];
        centre_absolute += fabs(t->value[d]);
        size = fmax(size, fabs(t->value[d]));
    }
    if (s->centre && centre_distance <= best.distance) {
        code = 0;
        best.distance = centre_distance;
        absolute = centre_absolute;
    }
    stats->squared_error += best.distance * scale * scale;
    stats->absolute_error += absolute * scale;
    /* float32 rounding of scale * value and of the sum with the centre comes on top */
    bound = (bound + (size + s->levels) * 0x1p-23) * scale;
    if (bound > stats->error_bound) stats->error_bound = bound;
    return code;
}

void ec_encode_points(const ec_search *s, const float *weights, size_t n, uint32_t missing,
                      const float *centre_point, const float *class_scale, const uint8_t *classes,
                      uint32_t *indices, ec_encode_stats *stats) {
    memset(stats, 0, sizeof *stats);
    for (size_t i = 0; i < n; i++) {
        uint32_t class_index = classes != NULL ? classes[i] : 0;
        double scale = class_scale[class_index];
        target t = {{0}, s->dim - (i + 1 == n ? missing : 0)};
        for (uint32_t d = 0; d < s->dim; d++) {
            double off = (double)weights[i * s->dim + d] - centre_point[d];
            t.value[d] = scale > 0 ? off / scale : 0;
        }
        indices[i] = class_index * (s->points + s->centre) + encode_one(s, &t, scale, stats);
    }
}

/* One group at one scale, given up as soon as its squared error reaches `limit`; the last `missing`
 * weights count for nothing. */
static void encode_group(const ec_search *s, const float *weights, size_t n, uint32_t missing, double scale,
                         double limit, uint32_t *indices, ec_encode_stats *stats) {
    memset(stats, 0, sizeof *stats);
    for (size_t i = 0; i < n && stats->squared_error < limit; i++) {
        target t = {{0}, s->dim - (i + 1 == n ? missing : 0)};
        for (uint32_t d = 0; d < s->dim; d++) t.value[d] = weights[i * s->dim + d] / scale;
        indices[i] = encode_one(s, &t, scale, stats);
    }
}

static void zero_group(const float *weights, size_t n, uint32_t dim, ec_encode_stats *stats) {
    memset(stats, 0, sizeof *stats);
    for (size_t i = 0; i < n; i += dim) {
        double norm2 = 0;
        for (size_t j = i; j < n && j < i + dim; j++) {
            norm2 += (double)weights[j] * weights[j];
            stats->absolute_error += fabs(weights[j]);
        }
        stats->squared_error += norm2;
        stats->error_bound = fmax(stats->error_bound, sqrt(norm2));
    }
}

void ec_encode_groups(const ec_search *s, const float *weights, size_t n_weights, size_t group,
                      float base_scale, const float *factors, double unit_rms, int reach,
                      uint32_t *indices, uint8_t *scales, ec_encode_stats *stats) {
    uint32_t trial[65536];
    memset(stats, 0, sizeof *stats);
    for (size_t first = 0; first < n_weights; first += group, scales++) {
        size_t count = n_weights - first < group ? n_weights - first : group;
        size_t n = (count + s->dim - 1) / s->dim;
        uint32_t missing = (uint32_t)(n * s->dim - count);
        double sum = 0;
        for (size_t j = 0; j < count; j++) sum += (double)weights[first + j] * weights[first + j];
        double wanted = sqrt(sum / (double)count) / unit_rms;

        ec_encode_stats best, now;
        zero_group(weights + first, count, s->dim, &best);
        *scales = 0;
        memset(indices + first / s->dim, 0, n * sizeof *indices);
        int middle = 1; /* the least byte whose scale is the wanted one or more */
        while (middle < 255 && (double)base_scale * factors[middle] < wanted) middle++;
        /* from the middle outward, so that the others are given up early */
        for (int step = 0; step <= 2 * reach && sum > 0; step++) {
            int byte = middle + (step % 2 ? (step + 1) / 2 : -(step / 2));
            if (byte < 1 || byte > 255) continue;
            float scale = base_scale * factors[byte];
            encode_group(s, weights + first, n, missing, scale, best.squared_error, trial, &now);
            if (now.squared_error < best.squared_error) {
                best = now;
                *scales = (uint8_t)byte;
                memcpy(indices + first / s->dim, trial, n * sizeof *trial);
            }
        }
        stats->squared_error += best.squared_error;
        stats->absolute_error += best.absolute_error;
        if (best.error_bound > stats->error_bound) stats->error_bound = best.error_bound;
    }
}
