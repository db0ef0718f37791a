/* Messages of calls that fail. */
#ifndef EC_WHY_H
#define EC_WHY_H

#include "runner.h"

/* Fills a message, unless `why` is NULL: the text as printf would print it, cut where there is no more room. */
void ec_why(ec_message *why, const char *hint, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Text of a file that a terminal can show: at most 40 bytes, others than printable ASCII become '?'. */
typedef struct ec_shown { char text[41]; } ec_shown;
ec_shown ec_show(ec_slice text);

#endif
