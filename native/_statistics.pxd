"""Statistics of a nucleus's pixel values, as NumPy and SciPy define them; inlined."""

from libc.math cimport log, sqrt


# np.histogram's bins, in which HistomicsTK takes energy and entropy.
cdef enum:
    BINS = 10
    VALUES = 256


cdef inline void bin_edges(double first, double last, double* edges) noexcept nogil:
    """Write the edges np.histogram gives its bins, to the last bit: values lie on them."""
    cdef int i
    cdef double step
    if first == last:
        first -= 0.5
        last += 0.5
    step = (last - first) / BINS
    for i in range(BINS):
        edges[i] = i * step + first
    edges[BINS] = last


cdef inline int bin_of(double value, const double* edges, double per_unit) noexcept nogil:
    """Return the bin of a value within the edges; the last bin is closed.

    The product may be off by a rounding, which the edges themselves put right.
    """
    cdef int i = min(<int> ((value - edges[0]) * per_unit), BINS - 1)
    i -= value < edges[i]
    i += i < BINS - 1 and value >= edges[i + 1]
    return i


cdef inline void energy_and_entropy(
    const long long* bins, long long total, double* energy, double* entropy
) noexcept nogil:
    """Sum the squares of the bins' shares, and their entropy in nats."""
    cdef int i
    cdef double share
    energy[0] = entropy[0] = 0
    for i in range(BINS):
        if bins[i]:
            share = <double> bins[i] / total
            energy[0] += share * share
            entropy[0] -= share * log(share)


cdef inline int value_at(const int* counts, long long rank) noexcept nogil:
    """Return the value at a rank, from 0, of the pixels that are counted by value."""
    cdef int value = 0
    cdef long long passed = counts[0]
    while passed <= rank:
        value += 1
        passed += counts[value]
    return value


cdef inline double quartile(const int* counts, long long total, int quarter) noexcept nogil:
    """Return the first or third quartile, linear between two ranks."""
    cdef long long place = (total - 1) * quarter
    cdef long long rank = place // 4
    cdef double share = (place % 4) / 4.0
    cdef int low = value_at(counts, rank)
    if share == 0:
        return low
    return low + share * (value_at(counts, rank + 1) - low)


cdef inline double deviation_from(
    const int* counts, int twice_median, int first, int last, long long total
) noexcept nogil:
    """Return the median distance of values from first to last to a median, given doubled.

    Values are met by distance: those up to the median downwards, those above it upwards.
    """
    cdef int below = twice_median // 2, above = below + 1, distance = 0, lower = -1
    cdef long long passed = 0, rank = (total - 1) // 2
    while True:
        if above > last or (below >= first and twice_median <= above + below):
            distance = twice_median - 2 * below
            passed += counts[below]
            below -= 1
        else:
            distance = 2 * above - twice_median
            passed += counts[above]
            above += 1
        if lower < 0 and passed > rank:
            lower = distance
        if passed > total // 2:
            return (lower + distance) / 4.0


cdef inline void write_intensity(const int* counts, long long total, double* row) noexcept nogil:
    """Write the 12 columns of intensity of the pixels, of which there are some."""
    cdef int value, first = 0, last = VALUES - 1, twice_median
    cdef long long whole = 0
    cdef long long[BINS] bins
    cdef double[BINS + 1] edges
    cdef double mean, away, square, per_unit, second = 0, third = 0, fourth = 0
    while not counts[first]:
        first += 1
    while not counts[last]:
        last -= 1
    for value in range(BINS):
        bins[value] = 0
    bin_edges(first, last, edges)
    per_unit = BINS / (edges[BINS] - edges[0])
    for value in range(first, last + 1):
        whole += <long long> counts[value] * value
    mean = <double> whole / total
    for value in range(first, last + 1):
        if counts[value]:
            bins[bin_of(value, edges, per_unit)] += counts[value]
            away = value - mean
            square = away * away
            second += counts[value] * square
            third += counts[value] * (square * away)
            fourth += counts[value] * (square * square)
    second /= total
    third /= total
    fourth /= total
    twice_median = value_at(counts, (total - 1) // 2) + value_at(counts, total // 2)
    row[0], row[1], row[2], row[3] = first, last, mean, twice_median / 2.0
    row[4] = mean - row[3]
    row[5] = sqrt(second)
    row[6] = quartile(counts, total, 3) - quartile(counts, total, 1)
    row[7] = deviation_from(counts, twice_median, first, last, total)
    # SciPy calls values constant whose variance is within rounding; whole numbers are so only
    # where they are all the same.
    row[8] = third / (second * sqrt(second)) if first != last else 0
    row[9] = fourth / (second * second) - 3 if first != last else 0
    energy_and_entropy(bins, total, &row[10], &row[11])


cdef inline void write_gradient(
    double* slopes, long long total, long long edges_there, double* row
) noexcept nogil:
    """Write the 8 columns of gradient, of squares of doubled slopes that become slopes.

    Squares are whole numbers, so that their roots are rounded correctly, as np.hypot's are, and
    equal ones stay equal. Different ones differ by far more than SciPy takes for constant.
    """
    cdef long long i
    cdef long long[BINS] bins
    cdef double[BINS + 1] edges
    cdef double mean = 0, away, square, per_unit, second = 0, third = 0, fourth = 0
    cdef double first = slopes[0], last = slopes[0]
    for i in range(total):
        first = min(first, slopes[i])
        last = max(last, slopes[i])
    if first == last:
        # A mean that is rounded would leave a skewness of rounding's own.
        row[0] = 0.5 * sqrt(first)
        row[1] = row[2] = row[3] = row[4] = 0
        row[5] = 1
    else:
        for i in range(total):
            slopes[i] = 0.5 * sqrt(slopes[i])
        bin_edges(0.5 * sqrt(first), 0.5 * sqrt(last), edges)
        per_unit = BINS / (edges[BINS] - edges[0])
        for i in range(BINS):
            bins[i] = 0
        for i in range(total):
            mean += slopes[i]
            bins[bin_of(slopes[i], edges, per_unit)] += 1
        mean /= total
        for i in range(total):
            away = slopes[i] - mean
            square = away * away
            second += square
            third += square * away
            fourth += square * square
        second /= total
        row[0], row[1] = mean, sqrt(second)
        row[2] = third / total / (second * row[1])
        row[3] = fourth / total / (second * second) - 3
        energy_and_entropy(bins, total, &row[5], &row[4])
    row[6] = edges_there
    row[7] = <double> edges_there / total
