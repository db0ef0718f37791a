/* Heaps of numbers whose first element is the smallest: the likeliest tokens. */
#ifndef EC_HEAP_H
#define EC_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* Makes heap[0 .. n - 1] one again when only its element `at` may be larger than those below it. */
static inline void ec_heap_sift(uint64_t *heap, size_t n, size_t at) {
    uint64_t moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= moving) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static inline void ec_heap_make(uint64_t *heap, size_t n) {
    for (size_t i = n / 2; i > 0; i--) ec_heap_sift(heap, n, i - 1);
}

/* Takes the smallest of n elements, of which n - 1 stay. */
static inline uint64_t ec_heap_take(uint64_t *heap, size_t n) {
    uint64_t smallest = heap[0];
    heap[0] = heap[n - 1];
    if (n > 1) ec_heap_sift(heap, n - 1, 0);
    return smallest;
}

#endif
