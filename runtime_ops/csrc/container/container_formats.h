/* The formats of a container and their tables: shared by opening a container and by using it. */
#ifndef EC_CONTAINER_FORMATS_H
#define EC_CONTAINER_FORMATS_H

#include "container/container_payloads.h"

/* Where the first key of each format lies in the file, so that a format is found at once whatever
 * the order of keys; 8 KiB of the stack of whoever opens a file. */
typedef struct ec_format_starts {
    uint32_t at[EC_CONTAINER_MAX_FORMATS];   /* 0: not seen */
} ec_format_starts;

/* What tensors of a format are made of. */
typedef struct ec_layout {
    ec_columns columns;   /* all zero for a plain format */
    ec_format critical;   /* only if there are critical columns */
    ec_format rest;
} ec_layout;

/* Takes the keys edgecomp.format.*, the first of which is at hand; sets n_formats. */
ec_status ec_formats_take(ec_pairs *pairs, ec_format_starts *starts, ec_container *container);

/* Takes the tables, and checks what formats say of tables and of each other. */
ec_status ec_formats_check(const ec_format_starts *starts, ec_payloads *payloads);

/* What tensors of format i are made of, tables included. Without `starts`, formats are searched
 * for. */
ec_status ec_layout_find(const ec_container *container, const ec_format_starts *starts, uint32_t i,
                         ec_layout *layout);

#endif
