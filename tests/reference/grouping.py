"""Grouping the slow way: at every joint try every assignment of candidates to people, and take the best."""

import math


def group(candidates, order, tag_threshold):
    """People as a list of {joint: candidate number}.

    Args:
        candidates: {joint: [(tag vector, score), ...]}.
        order: the joints, in the order in which they are given to people.
    """
    people = []
    for joint in order:
        found = candidates.get(joint, [])
        means = [(_mean_tag(person, candidates), _mean_score(person, candidates)) for person in people]
        gains = [[_gain(tag, score, *mean, tag_threshold) for mean in means] for tag, score in found]
        _, choice = max(_assignments(gains, 0, frozenset()), default=(0, ()))
        for candidate, person in enumerate(choice):
            if person is None:
                people.append({joint: candidate})
            else:
                people[person][joint] = candidate
    return people


def _assignments(gains, candidate, taken):
    """Every way to give the candidates from this one on to people or to nobody: (gain, choice)."""
    if candidate == len(gains):
        yield 0.0, ()
        return
    options = [(0.0, None)]
    options += [(gain, person) for person, gain in enumerate(gains[candidate]) if gain and person not in taken]
    for gain, person in options:
        for rest, choice in _assignments(gains, candidate + 1, taken | {person} - {None}):
            yield gain + rest, (person, *choice)


def _gain(tag, score, mean, sureness, tag_threshold):
    distance = math.dist(tag, mean)
    return 1 - (distance / tag_threshold) ** 2 + 2 * score * sureness if distance < tag_threshold else None


def _mean_score(person, candidates):
    return sum(candidates[joint][candidate][1] for joint, candidate in person.items()) / len(person)


def _mean_tag(person, candidates):
    tags = [candidates[joint][candidate][0] for joint, candidate in person.items()]
    return [sum(values) / len(tags) for values in zip(*tags)]
