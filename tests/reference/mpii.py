"""MPII's table as HRNet's evaluation makes it, joint by joint and person by person."""

LEFT_OUT = (6, 7)  # pelvis and thorax


def mean_at(points, truth, missing, heads, step):
    """The mean in percent at the threshold of that number in 0, .01, .02, ...; the code takes number 11 for .1."""
    threshold, shares, counts = 0.01 * step, [], []
    for joint in range(16):
        right = count = 0
        for person in range(len(points)):
            if missing[person][joint]:
                continue
            (x0, y0), (x1, y1) = heads[person]
            size = 0.6 * ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
            (x, y), (u, v) = points[person][joint], truth[person][joint]
            count += 1
            right += ((x - u) ** 2 + (y - v) ** 2) ** 0.5 / size <= threshold
        if joint not in LEFT_OUT:
            shares.append(100 * right / count)
            counts.append(count)
    return sum(share * count for share, count in zip(shares, counts)) / sum(counts)
