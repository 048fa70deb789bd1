"""Haralick's textures (IEEE Trans. SMC 3, 1973) of a box of levels; inlined into the kernel.

What they sum runs over levels that occur. Counts stay whole numbers as long as they can.
"""

from libc.math cimport exp, log2, sqrt
from libc.string cimport memset


cdef enum:
    LEVELS = 32
    DIRECTIONS = 4
    TEXTURES = 13
    SUMS = 63
    CELLS = 528
    # Cells are counted by what they hold up to this: their logarithms are then few.
    FEW = 64


cdef struct Counts:
    # How often a level lies right, below, below right and below left of another.
    int[DIRECTIONS][LEVELS][LEVELS] pairs


cdef struct Summary:
    # Of one direction's pairs, both ways: the upper triangle's cells by present level; rows, by
    # present level; pairs by the levels' sum and gap; how many cells hold so many pairs, for a
    # few, and what the other cells hold, each of them so many times.
    long long[CELLS] cells
    long long[LEVELS] rows
    long long[LEVELS] gaps
    long long[SUMS] sums
    long long[FEW] alike
    long long[CELLS] large
    int[CELLS] times
    int many


cdef inline double bits_of(double share) noexcept nogil:
    """Return the logarithm as HistomicsTK takes it: of a little more."""
    return log2(share + 1e-5)


cdef inline int cut_levels(
    const unsigned char* channel, Py_ssize_t stride, int height, int width,
    const unsigned char* level_of, unsigned char* levels, int* present,
) noexcept nogil:
    """Write a box's levels row by row, and which of them there are; return how many."""
    cdef int x, kinds = 0
    cdef bint[LEVELS] found
    memset(found, 0, sizeof(found))
    for _ in range(height):
        for x in range(width):
            levels[x] = level_of[channel[x]]
            found[levels[x]] = True
        channel += stride
        levels += width
    for x in range(LEVELS):
        if found[x]:
            present[kinds] = x
            kinds += 1
    return kinds


cdef inline void count_pairs(
    const unsigned char* here, int height, int width, Counts* counts
) noexcept nogil:
    """Count neighbours in all directions, each pair once."""
    cdef int x, level
    cdef const unsigned char* below
    memset(counts, 0, sizeof(Counts))
    for _ in range(height - 1):
        below = here + width
        counts.pairs[1][here[0]][below[0]] += 1
        for x in range(1, width):
            level = here[x]
            counts.pairs[0][here[x - 1]][level] += 1
            counts.pairs[1][level][below[x]] += 1
            counts.pairs[2][here[x - 1]][below[x]] += 1
            counts.pairs[3][level][below[x - 1]] += 1
        here = below
    for x in range(1, width):
        counts.pairs[0][here[x - 1]][here[x]] += 1


cdef inline long long gather_pairs(
    const int[LEVELS][LEVELS] pairs, const int* present, int kinds, Summary* summary
) noexcept nogil:
    """Sum one direction's pairs, taken both ways, as textures need them; return how many.

    Most cells are empty. They are added all the same: that costs less than asking each.
    """
    cdef int a, b, i, j
    cdef long long count, row, total = 0
    cdef long long* cell = summary.cells
    memset(summary.rows, 0, sizeof(summary.rows))
    memset(summary.gaps, 0, sizeof(summary.gaps))
    memset(summary.sums, 0, sizeof(summary.sums))
    memset(summary.alike, 0, sizeof(summary.alike))
    summary.many = 0
    for a in range(kinds):
        i = present[a]
        count = 2 * <long long> pairs[i][i]
        cell[0] = row = count
        cell += 1
        summary.sums[2 * i] += count
        summary.gaps[0] += count
        if count < FEW:
            summary.alike[count] += 1
        else:
            summary.large[summary.many], summary.times[summary.many] = count, 1
            summary.many += 1
        for b in range(a + 1, kinds):
            j = present[b]
            count = <long long> pairs[i][j] + pairs[j][i]
            cell[0] = count
            cell += 1
            row += count
            summary.rows[b] += count
            summary.sums[i + j] += 2 * count
            summary.gaps[j - i] += 2 * count
            if count < FEW:
                summary.alike[count] += 2
            else:
                summary.large[summary.many], summary.times[summary.many] = count, 2
                summary.many += 1
        summary.rows[a] += row
        total += summary.rows[a]
    return total


cdef inline double entropy_of(const long long* counts, int size, double total) noexcept nogil:
    """Return the entropy in bits of counts, among them zeros."""
    cdef int i
    cdef double share, entropy = 0
    for i in range(size):
        if counts[i]:
            share = counts[i] / total
            entropy -= share * bits_of(share)
    return entropy


cdef inline bint textures_of(
    const int[LEVELS][LEVELS] pairs, const int* present, int kinds, double* out
) noexcept nogil:
    """Write the 13 textures of one direction; False where IMC1 has no value and is 0."""
    cdef int a, b, i
    cdef Summary summary
    cdef const long long* cell = summary.cells
    cdef double[LEVELS] alone
    cdef double total, share, square, bits, mean = 0, variance = 0
    cdef double asm = 0, whole = 0, first = 0, second = 0, single
    cdef double contrast = 0, idm = 0, sum_variance = 0, gap_variance = 0
    memset(out, 0, TEXTURES * sizeof(double))
    total = <double> gather_pairs(pairs, present, kinds, &summary)
    if total == 0:
        return False
    for a in range(kinds):
        alone[a] = summary.rows[a] / total
        mean += alone[a] * present[a]
    for a in range(kinds):
        variance += alone[a] * (present[a] - mean) * (present[a] - mean)
        # A cell off the diagonal stands for two: sums are of halves until the end.
        square = alone[a] * alone[a]
        bits = 0.5 * bits_of(square)
        second -= square * bits
        first -= cell[0] * bits
        cell += 1
        for b in range(a + 1, kinds):
            square = alone[a] * alone[b]
            bits = bits_of(square)
            second -= square * bits
            first -= cell[0] * bits
            cell += 1
    second *= 2
    first *= 2 / total
    for i in range(1, FEW):
        if summary.alike[i]:
            share = i / total
            asm += summary.alike[i] * share * share
            whole -= summary.alike[i] * share * bits_of(share)
    for i in range(summary.many):
        share = summary.large[i] / total
        asm += summary.times[i] * share * share
        whole -= summary.times[i] * share * bits_of(share)
    for i in range(LEVELS):
        share = summary.gaps[i] / total
        contrast += share * (i * i)
        idm += share / (1 + i * i)
        # Of the shares themselves and not of gaps: so HistomicsTK has it.
        gap_variance += (share - 1.0 / LEVELS) * (share - 1.0 / LEVELS) / LEVELS
    for i in range(2 * present[0], 2 * present[kinds - 1] + 1):
        sum_variance += summary.sums[i] / total * (i - 2 * mean) * (i - 2 * mean)
    single = entropy_of(summary.rows, kinds, total)
    out[0] = asm
    out[1] = contrast
    # The covariance: (i - m)(j - m) is a quarter of (i + j - 2 m)^2 - (i - j)^2.
    out[2] = (sum_variance - contrast) / 4 / variance if variance > 0 else 0
    out[3] = variance
    out[4] = idm
    out[5] = 2 * mean
    out[6] = sum_variance
    out[7] = entropy_of(summary.sums, SUMS, total)
    out[8] = whole
    out[9] = gap_variance
    out[10] = entropy_of(summary.gaps, LEVELS, total)
    out[11] = (whole - first) / single if single != 0 else 0
    out[12] = sqrt(max(0.0, 1 - exp(-2 * (second - whole))))
    return single != 0


cdef inline void write_haralick(
    const unsigned char* channel, Py_ssize_t stride, int height, int width,
    const unsigned char* level_of, unsigned char* levels, Counts* counts, double* row,
) noexcept nogil:
    """Write mean and range over the directions of each texture, 26 columns."""
    cdef int[LEVELS] present
    cdef double[DIRECTIONS][TEXTURES] each
    cdef int kinds, d, t
    cdef bint valued = True
    cdef double least, most, whole
    kinds = cut_levels(channel, stride, height, width, level_of, levels, present)
    count_pairs(levels, height, width, counts)
    for d in range(DIRECTIONS):
        if not textures_of(counts.pairs[d], present, kinds, each[d]):
            valued = False
    for t in range(TEXTURES):
        least = most = whole = each[0][t]
        for d in range(1, DIRECTIONS):
            least = min(least, each[d][t])
            most = max(most, each[d][t])
            whole += each[d][t]
        row[2 * t], row[2 * t + 1] = whole / DIRECTIONS, most - least
    if not valued:
        row[22] = row[23] = 0
