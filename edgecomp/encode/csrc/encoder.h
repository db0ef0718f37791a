/* Encoding for the winding codec: the nearest point of a winding to a vector of weights.
 *
 * Coordinates are in units of 2^-32 of the box's side, unwrapped, so that the points with index
 * 0 .. points - 1 are exactly those points of the lattice { shift + k generator + 2^32 e_2 .. e_D }
 * that lie in the box. Python (edgecomp/encode/lattice.py) supplies a reduced basis of that lattice.
 */
#ifndef EC_ENCODER_H
#define EC_ENCODER_H

#include <stddef.h>
#include <stdint.h>

#define EC_MAX_DIM 4
#define EC_MAX_GROUP 65536

typedef struct ec_search {
    uint32_t dim, points, levels, offset, centre;
    uint32_t generator[EC_MAX_DIM], shift[EC_MAX_DIM];
    const int16_t *table;           /* int16 [levels], or NULL: the linear map */
    double coordinate_per_value;    /* of the linear map: 2^31 / levels */
    const double *inverse;          /* of the table: float64 [n_inverse + 2], coordinates of the */
    uint32_t n_inverse;             /* values first_value + i / steps_per_value */
    double first_value, steps_per_value;
    int64_t basis_k[EC_MAX_DIM];    /* change of k along each basis vector */
    int64_t basis[EC_MAX_DIM * EC_MAX_DIM];       /* basis vectors, row by row */
    double projection[EC_MAX_DIM * EC_MAX_DIM];   /* Gram-Schmidt vectors over their squared lengths */
    double radius;                  /* no target is farther than this from the nearest plane's point */
    const int64_t *neighbours;      /* int64 [n_neighbours][1 + dim]: change of k, of coordinates */
    uint32_t n_relevant;            /* the first of them are the Voronoi-relevant ones; the others */
    uint32_t n_neighbours;          /* help next to the box's sides */
} ec_search;

/* Sums over what was encoded, and the guarantee that came with it. */
typedef struct ec_encode_stats {
    double squared_error, absolute_error;
    double error_bound;             /* no vector of dim weights is farther from its point */
} ec_encode_stats;

/* Encodes n vectors of dim weights (float32 [n][dim]; the last may lack `missing` weights, which
 * hold anything finite and count for nothing). Vector i has the scale class_scale[classes[i]], or
 * class_scale[0] if classes is NULL. Writes index class * (points + centre) + code to indices. */
void ec_encode_points(const ec_search *search, const float *weights, size_t n, uint32_t missing,
                      const float *centre_point, const float *class_scale, const uint8_t *classes,
                      uint32_t *indices, ec_encode_stats *stats);

/* The scales that a group may have: base * factors[byte], looked for from the one that maps the
 * group's root mean square to unit_rms, up to `reach` bytes to each side. */
typedef struct ec_scales {
    float base;
    const float *factors;           /* float32 [256] */
    double unit_rms;
    int reach;
} ec_scales;

/* Encodes n_weights weights (float32, padded with zeros to a multiple of dim) in groups of `group`
 * that each get the byte of the scale with the least squared error. */
void ec_encode_groups(const ec_search *search, const float *weights, size_t n_weights, size_t group,
                      const ec_scales *scales, uint32_t *indices, uint8_t *bytes, ec_encode_stats *stats);

/* Packs n indices from the start of out, which holds zeros. */
void ec_pack_bits(const uint32_t *indices, size_t n, uint32_t bits, uint8_t *out);
void ec_pack_radix(const uint32_t *indices, size_t n, uint32_t radix, uint32_t digits, uint64_t *out);

/* ---- trellis ---------------------------------------------------------------------------------- */

#define EC_BAND_ROWS 16
#define EC_STRIP_COLUMNS 4
#define EC_TILE_WEIGHTS 64
#define EC_CHUNK_STRIPS 16 /* of a walk without feedback */
#define EC_LOOKAHEAD 128 /* weights that a walk looks at beyond those that it decides about */
#define EC_ANY_STATE 4294967295

/* A trellis: every state's value, in the order that ec_trellis_place tells. */
typedef struct ec_trellis_search {
    uint32_t state_bits, step_bits, dim;
    const float *values;            /* float32 [dim][2^state_bits] */
} ec_trellis_search;

/* Some columns of a matrix, whose rows are a multiple of 16 and columns one of 4, to be encoded from the last
 * to the first. Before columns first .. end - 1 those behind have been. */
typedef struct ec_trellis_job {
    ec_trellis_search search;
    uint64_t columns;
    uint64_t first, end;            /* multiples of 4 */
    const uint8_t *order;           /* uint8 [64]: element of a tile that each weight of the string is */
    float *targets;                 /* float32 [rows][columns], in units of the table; feedback changes it */
    const float *row_weights;       /* float32 [rows]: what an error counts; 0 beyond the matrix */
    const float *column_weights;    /* float32 [columns] */
    const float *feedback;          /* float32 [end - first]^2: [c][p] what an error of column first + c adds */
                                    /* to the target of first + p, p in a strip before; NULL: none */
    uint32_t *states;               /* uint32 [bands]: of the step behind, or EC_ANY_STATE; moves on */
    float *values;                  /* float32 [rows][columns]: the encoded weights */
    uint8_t *codes;                 /* [bands][band_bytes], zeros at first */
    uint64_t band_bytes;
} ec_trellis_job;

/* Where a state's value is in `values`. */
uint32_t ec_trellis_place(uint32_t state_bits, uint32_t step_bits, uint32_t state);

/* Bytes of scratch memory, aligned as floats are, that an encoding takes. */
uint64_t ec_trellis_scratch_bytes(const ec_trellis_search *search);

/* Encodes some bands: the path of least weighted squared error, strip by strip with feedback, else in chunks
 * of EC_CHUNK_STRIPS; each begins where the one behind ended. Bands may be encoded at the
 * same time, each with scratch memory of its own. */
void ec_trellis_encode(const ec_trellis_job *job, uint64_t first_band, uint64_t n_bands, void *scratch);

#endif
