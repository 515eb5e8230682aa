"""Training: from faces of many people, or a teacher, to a network that ``identify`` uses.

The room stands beside the road and calls it. Everything but ``config`` needs the train extra.
"""
