"""Whether a face is a living one: challenges that need no weights, and networks beside them.

Nothing here knows of cameras: it takes faces, the pictures they are in, and the time in seconds.
"""
