/*
 * percentile.c - the value that a share of many does not exceed.
 *
 * Owns: nothing. Runs in: jobbox-report, jobboxd. Privilege: none; pure functions.
 */
#include <math.h>

#include "report/group.h"

static void swap(float *a, float *b)
{
    float t = *a;
    *a = *b;
    *b = t;
}

/* Puts the value of this rank in its place, smaller ones before it: a fraction of what sorting costs. */
static float select_rank(float *v, size_t n, size_t rank)
{
    size_t low = 0;
    size_t high = n - 1;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v[mid] < v[low])
            swap(&v[mid], &v[low]);
        if (v[high] < v[low])
            swap(&v[high], &v[low]);
        if (v[high] < v[mid])
            swap(&v[high], &v[mid]);
        float pivot = v[mid];
        size_t i = low;
        size_t j = high;
        for (;;) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i >= j)
                break;
            swap(&v[i++], &v[j--]);
        }
        if (rank <= j)
            high = j;
        else
            low = j + 1;
    }
    return v[rank];
}

double jb_percentile(float *values, size_t n, double p)
{
    if (n == 0)
        return NAN;
    size_t rank = (size_t)ceil(p / 100 * (double)n);
    return (double)select_rank(values, n, rank > 0 ? rank - 1 : 0);
}
